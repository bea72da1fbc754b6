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

  # The generator of the key that root of a machine logs in with.
  generatorOf = instanceName: "clan-connect-${instanceName}";
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
      secretHosts = mkOption {
        type = types.nullOr types.path;
        default =
          let
            committed = directory + "/clan-connect.json";
          in
          if builtins.pathExists committed then committed else null;
        defaultText = lib.literalMD "the clan's `clan-connect.json`, if there is one";
        description = ''
          A file that `clan-connect exports snapshot --for MACHINE` has written: what it has for
          the machine is added to what nix knows.
        '';
      };
      loginKey = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether clan makes a key for this machine that root logs in with, at the machines that
          have the role `server`.
        '';
      };
      irohTickets = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether the machine knows the tickets of the others, without which none is reached by
          iroh. Everybody on it can read them, and whoever has a ticket reaches that machine's
          sshd from anywhere.
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
        machine,
        meta,
        ...
      }:
      {
        nixosModule =
          {
            config,
            options,
            pkgs,
            ...
          }:
          let
            generator = generatorOf instanceName;
            # What clan-core tells each machine of its clan; older ones tell it less.
            isTold = options ? clanConfig && options.clanConfig.isDefined;
            clan = lib.optionalAttrs isTold config.clanConfig;
            configurations = clan.nixosConfigurations or { };
            # Encrypted for this very machine; what is for others is of no use here.
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
            clan.core.vars.generators = lib.optionalAttrs settings.loginKey {
              ${generator} = {
                files.id_ed25519 = { };
                files."id_ed25519.pub".secret = false;
                runtimeInputs = [ pkgs.openssh ];
                script = ''
                  ssh-keygen -q -t ed25519 -N "" -C ${lib.escapeShellArg machine.name} -f "$out/id_ed25519"
                '';
              };
            };
            programs.clan-connect = {
              enable = true;
              clans.${instanceName} = {
                snapshot = if settings.snapshot != null then settings.snapshot else made // own;
                identity =
                  if settings.identity == null && settings.loginKey then
                    config.clan.core.vars.generators.${generator}.files.id_ed25519.path
                  else
                    settings.identity;
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

  roles.server = {
    description = "Lets in root of the clients that have a key of their own for that";

    interface.options.user = mkOption {
      type = types.singleLineStr;
      default = "root";
      description = "As whom they log in here.";
    };

    perInstance =
      {
        instanceName,
        settings,
        roles,
        ...
      }:
      {
        nixosModule =
          let
            fileOf =
              name:
              directory + "/vars/per-machine/${name}/${generatorOf instanceName}/id_ed25519.pub/value";
            clients = builtins.attrNames (
              lib.filterAttrs (_: client: client.settings.loginKey) (roles.client.machines or { })
            );
            generated = builtins.filter builtins.pathExists (map fileOf clients);
          in
          {
            users.users.${settings.user}.openssh.authorizedKeys.keys = map (
              file: lib.trim (builtins.readFile file)
            ) generated;
          };
      };
  };
}
