# This clan service installs clan-connect on machines of a clan, together with a snapshot of the
# clan. nix builds the snapshot with the configuration of the machine, so that both have the
# same age. This file defines the roles and their settings, which docs/nix.md describes, and it
# is the only one that reads values of clan-core.
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
    description = "Reaches the machines of the clan with clan-connect and with a stock ssh";

    interface.options = import ./options.nix { inherit lib; } // {
      snapshot = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = ''
          A file that `clan-connect exports snapshot` has written. It replaces the snapshot that
          nix makes.
        '';
      };
      secretHosts = mkOption {
        type = types.nullOr types.path;
        default =
          let
            committed = directory + "/clan-connect.json";
          in
          if builtins.pathExists committed then committed else null;
        defaultText = lib.literalMD "the clan's `clan-connect.json`, if there is one";
        description = ''
          A file that `clan-connect exports snapshot --for MACHINE` has written. The part of it
          that is for this machine is added to the snapshot that nix makes.
        '';
      };
      irohTickets = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether the machine gets the iroh tickets of the other machines. Without tickets it
          cannot reach any machine by iroh. Every user of the machine can read them, and whoever
          has a ticket can reach the sshd of that machine from anywhere.
        '';
      };
      configuredHosts = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether the snapshot contains `clan.core.networking.targetHost` of all machines. To
          read it, nix evaluates the configurations of all machines once for each machine that
          has this role.
        '';
      };
    };

    perInstance =
      {
        instanceName,
        settings,
        machine,
        meta,
        ...
      }:
      {
        nixosModule =
          { config, options, ... }:
          let
            # clan-core gives each machine this view of its clan. Older versions give less.
            isTold = options ? clanConfig && options.clanConfig.isDefined;
            clan = lib.optionalAttrs isTold config.clanConfig;
            configurations = clan.nixosConfigurations or { };
            # Only the part that is encrypted for this machine is of use here.
            sealed =
              if settings.secretHosts == null then
                { }
              else
                (builtins.fromJSON (builtins.readFile settings.secretHosts)).secret_hosts or { };
            own = lib.optionalAttrs (sealed ? ${machine.name}) {
              secret_hosts.${machine.name} = sealed.${machine.name};
            };
            made = snapshotOf {
              inherit directory exports;
              inherit (settings) irohTickets;
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
                snapshot = if settings.snapshot != null then settings.snapshot else made // own;
                inherit (settings)
                  openssh
                  user
                  group
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
