# clan-connect on a machine with NixOS: the program, what it knows of clans, and a stock
# OpenSSH that goes by it. Owns the options `programs.clan-connect`; they are described in
# docs/nix.md. Knows nothing of clan-core: service.nix does.
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

  # The whole command for a clan, but for what is to be done.
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
      inherit (clan) user identity;
    };

  # A service for a clan that opens its secret hosts for a group. The file with them goes with
  # the service, and is made anew for another snapshot.
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
        # In memory, root's, and for the group to read.
        RuntimeDirectory = "clan-connect/${name}";
        RuntimeDirectoryMode = "0750";
        Group = clan.group;
        UMask = "0027";
        # It reads the machine's key and the file, and nothing else.
        CapabilityBoundingSet = "";
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateNetwork = true;
        PrivateTmp = true;
        # Empty rather than closed: an error would else complain about keys of root.
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
        What is known of the clan: a file that `clan-connect exports snapshot` has written,
        or the same as a value, as the clan service makes it.
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
      description = "The package that has `bin/clan-connect`.";
    };
    clans = mkOption {
      type = types.attrsOf (types.submodule clan);
      default = { };
      description = "Clans whose machines are reached from here, each by a name of its own.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = lib.all (name: builtins.match "[A-Za-z0-9_][A-Za-z0-9_.-]*" name != null) (
          builtins.attrNames cfg.clans
        );
        message = ''
          programs.clan-connect.clans: a name holds letters, digits, dots, dashes and
          underscores only
        '';
      }
      {
        assertion = builtins.length defaults <= 1;
        message = ''
          programs.clan-connect.clans: no more than one can be the default, and these are:
          ${lib.concatStringsSep ", " defaults}
        '';
      }
    ];

    warnings = lib.concatLists (
      lib.mapAttrsToList (
        name: glue:
        lib.optional (glue.leftOut != [ ]) ''
          programs.clan-connect.clans.${name}: ssh is not led to these machines, because their
          name may be another host's, or it or their user is more than a word to it:
          ${lib.concatStringsSep ", " glue.leftOut}
        ''
      ) glued
    );

    environment.systemPackages = [ cfg.package ];

    # No links into the store, where a group can write beside the file.
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
