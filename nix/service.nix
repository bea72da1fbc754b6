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
  manifest.description = "Reach the clan's machines by their names, over the best network";
  manifest.categories = [ "Network" ];
  manifest.readme = builtins.readFile ../docs/nix.md;

  roles.client = {
    description = "Reaches the machines of the clan: by clan-connect, and by a stock ssh";

    interface.options = import ./options.nix { inherit lib; } // {
      snapshot = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = ''
          A file that `clan-connect exports snapshot` has written, instead of what nix knows.
        '';
      };
      configuredHosts = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether `clan.core.networking.targetHost` of all machines is looked at, which
          evaluates all their configurations for each machine that has this role.
        '';
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
            isTold = options ? clanConfig && options.clanConfig.isDefined;
            clan = lib.optionalAttrs isTold config.clanConfig;
            configurations = clan.nixosConfigurations or { };
            made = snapshotOf {
              inherit directory exports;
              inventory = {
                inherit meta;
              }
              // (clan.inventory or { });
              configured = lib.optionalAttrs settings.configuredHosts (
                lib.mapAttrs (
                  _: machine: machine.config.clan.core.networking.targetHost or null
                ) configurations
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
