# The clan service: gives machines clan-connect, and a snapshot of their clan that nix builds
# together with them, so that it is as old as they are. Owns what the roles and their
# settings are called, which docs/nix.md describes, and what is taken of clan-core.
{
  lib,
  directory,
  exports,
  ...
}:
let
  inherit (lib) mkOption types;
  snapshotOf = import ./snapshot.nix { inherit lib; };
in
{
  _class = "clan.service";
  manifest.name = "clan-connect";
  manifest.description = "Reach the clan's machines by their names, over the best network that both have";
  manifest.categories = [ "Network" ];
  manifest.readme = builtins.readFile ../docs/nix.md;

  roles.client = {
    description = "Reaches the machines of the clan: by clan-connect, and by a stock ssh";

    interface.options = {
      openssh = mkOption {
        type = types.bool;
        default = true;
        description = "Whether a stock `ssh` reaches the clan's machines by their names, with their host keys.";
      };
      user = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Who logs in where nothing else is said; by default whom the clan names for the machine.";
      };
      default = mkOption {
        type = types.bool;
        default = false;
        description = "Whether commands that name no clan mean this one, by `$CLAN_DIR`.";
      };
      snapshot = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "A file that `clan-connect exports snapshot` has written, instead of what nix knows.";
      };
      configuredHosts = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether `clan.core.networking.targetHost` of all machines is looked at, which
          evaluates all their configurations for each machine that has this role.
        '';
      };
      tor = {
        client = mkOption {
          type = types.enum [
            "auto"
            "embedded"
            "system"
          ];
          default = "auto";
          description = "Which Tor client connects: that of clan-connect, one that runs already, or whichever can sooner.";
        };
        state = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = "Where guards and the list of relays are kept, or `none`; by default a place of each user's own.";
        };
        config = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = "A file in the format of arti.toml, such as for bridges.";
        };
      };
      iroh = {
        relays = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Relays where machines are met instead of the public ones, or `none`.";
        };
        discovery = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Where it is looked up where tickets lead, instead of the public servers, or `none`.";
        };
      };
    };

    perInstance =
      {
        instanceName,
        settings,
        meta,
        ...
      }:
      {
        nixosModule =
          { config, options, ... }:
          let
            # What clan-core tells each machine of its clan; older ones tell it less.
            clan = if options ? clanConfig && options.clanConfig.isDefined then config.clanConfig else { };
            configurations = clan.nixosConfigurations or { };
            made = snapshotOf {
              inherit directory exports;
              inventory = {
                inherit meta;
              }
              // (clan.inventory or { });
              configured = lib.optionalAttrs settings.configuredHosts (
                lib.mapAttrs (_: machine: machine.config.clan.core.networking.targetHost or null) configurations
              );
            };
          in
          {
            imports = [ ./module.nix ];
            programs.clan-connect = {
              enable = true;
              clans.${instanceName} = {
                snapshot = if settings.snapshot != null then settings.snapshot else made;
                inherit (settings)
                  openssh
                  user
                  default
                  tor
                  iroh
                  ;
              };
            };
          };
      };
  };
}
