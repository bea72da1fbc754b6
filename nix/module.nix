# This module installs clan-connect on a machine with NixOS, gives it what it has to know of
# clans, and configures a stock OpenSSH to use it. It defines the options
# `programs.clan-connect`, which docs/nix.md describes. It does not depend on clan-core; only
# service.nix does.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  cfg = config.programs.clan-connect;
  json = import ./json.nix { inherit lib; };
  ssh = import ./ssh.nix { inherit lib; };

  fileOf = name: "clan-connect/${name}/clan-connect.json";

  # The command line for a clan, without the subcommand.
  commandOf =
    name: clan:
    [
      "${cfg.package}/bin/clan-connect"
      "--exports"
      "/etc/${fileOf name}"
    ]
    ++ lib.optionals (clan.tor.client != "auto") [
      "--tor"
      clan.tor.client
    ]
    ++ lib.optionals (clan.tor.state != null) [
      "--tor-state"
      clan.tor.state
    ]
    ++ lib.optionals (clan.tor.config != null) [
      "--tor-config"
      clan.tor.config
    ]
    ++ lib.concatMap (relay: [
      "--iroh-relay"
      relay
    ]) clan.iroh.relays
    ++ lib.concatMap (place: [
      "--iroh-discovery"
      place
    ]) clan.iroh.discovery;

  valueOf =
    clan:
    if builtins.isAttrs clan.snapshot then
      clan.snapshot
    else
      builtins.fromJSON (builtins.readFile clan.snapshot);

  gluedOf =
    name: clan:
    ssh {
      snapshot = valueOf clan;
      command = commandOf name clan;
      inherit (clan) user;
    };

  # The systemd service that decrypts the secret hosts of a clan for a group. systemd removes
  # the decrypted files when the service stops, and restarts the service when the snapshot
  # changes.
  openerOf =
    name: clan:
    let
      snapshot = clan.snapshot;
      said = if builtins.isAttrs snapshot then json.snapshot snapshot else builtins.readFile snapshot;
    in
    {
      description = "Secret hosts of the clan ${name} for the group ${clan.group}";
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ (builtins.hashString "sha256" (builtins.unsafeDiscardStringContext said)) ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = lib.escapeShellArgs [
          "${cfg.package}/bin/clan-connect"
          "--exports"
          "/etc/${fileOf name}"
          "exports"
          "unseal"
          "/run/clan-connect/${name}"
        ];
        # This directory is in memory. It belongs to root, and the group can read it.
        RuntimeDirectory = "clan-connect/${name}";
        RuntimeDirectoryMode = "0750";
        Group = clan.group;
        UMask = "0027";
        # The service reads the key of the machine and the snapshot, and nothing else.
        CapabilityBoundingSet = "";
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateNetwork = true;
        PrivateTmp = true;
        # An empty home gives no error. With an inaccessible one, an error message would
        # complain about keys of root.
        ProtectHome = "tmpfs";
        ProtectSystem = "strict";
      };
    };

  opened = lib.filterAttrs (_: clan: clan.group != null) cfg.clans;

  glued = lib.mapAttrs gluedOf (lib.filterAttrs (_: clan: clan.openssh) cfg.clans);
  defaults = builtins.attrNames (lib.filterAttrs (_: clan: clan.default) cfg.clans);

  clan.options = import ./options.nix { inherit lib; } // {
    snapshot = mkOption {
      type = types.either types.path (types.attrsOf types.raw);
      description = ''
        The snapshot of the clan: either a file that `clan-connect exports snapshot` has
        written, or a value of the same form, as the clan service makes it.
      '';
    };
  };
in
{
  options.programs.clan-connect = {
    enable = lib.mkEnableOption "clan-connect, ssh for the machines of a clan";
    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalMD "the package of clan-connect's flake";
      description = "The package that contains `bin/clan-connect`.";
    };
    clans = mkOption {
      type = types.attrsOf (types.submodule clan);
      default = { };
      description = "The clans whose machines can be reached from here, each under its own name.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = lib.all (name: builtins.match "[A-Za-z0-9_][A-Za-z0-9_.-]*" name != null) (
          builtins.attrNames cfg.clans
        );
        message = ''
          programs.clan-connect.clans: a name may contain only letters, digits, dots, dashes and
          underscores
        '';
      }
      {
        assertion = builtins.length defaults <= 1;
        message = ''
          programs.clan-connect.clans: only one clan can be the default, but these are set so:
          ${lib.concatStringsSep ", " defaults}
        '';
      }
    ];

    warnings = lib.concatLists (
      lib.mapAttrsToList (
        name: glue:
        lib.optional (glue.leftOut != [ ]) ''
          programs.clan-connect.clans.${name}: ssh gets no configuration for these machines,
          because another host may have their name, or because their name or their user contains
          characters that have a meaning in ssh_config:
          ${lib.concatStringsSep ", " glue.leftOut}
        ''
      ) glued
    );

    environment.systemPackages = [ cfg.package ];

    # With a mode, NixOS copies the files and does not link them into the store. A group can
    # write into the directory of the store, and clan-connect refuses files in such a place.
    environment.etc = lib.mapAttrs' (name: clan: {
      name = fileOf name;
      value = {
        mode = "0444";
      }
      // (
        if builtins.isAttrs clan.snapshot then
          { text = json.snapshot clan.snapshot; }
        else
          { source = clan.snapshot; }
      );
    }) cfg.clans;

    users.groups = lib.mapAttrs' (_: clan: {
      name = clan.group;
      value = { };
    }) opened;

    systemd.services = lib.mapAttrs' (name: clan: {
      name = "clan-connect-${name}";
      value = openerOf name clan;
    }) opened;

    environment.variables = lib.mkIf (defaults != [ ]) {
      CLAN_DIR = "/etc/clan-connect/${lib.head defaults}";
    };

    programs.ssh.extraConfig = lib.concatStrings (lib.mapAttrsToList (_: glue: glue.config) glued);
    programs.ssh.knownHosts = lib.mkMerge (
      lib.mapAttrsToList (
        name: glue:
        lib.mapAttrs' (key: value: {
          name = "clan-connect ${name} ${key}";
          inherit value;
        }) glue.knownHosts
      ) glued
    );
  };
}
