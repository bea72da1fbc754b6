# What can be said of the way from a machine to a clan's others: as options of the module for
# NixOS, and as settings of the clan service's role. docs/nix.md has a table of them.
{ lib }:
let
  inherit (lib) mkOption types;
in
{
  openssh = mkOption {
    type = types.bool;
    default = true;
    description = ''
      Whether a stock `ssh` reaches the clan's machines by their names, with their host keys.
    '';
  };

  user = mkOption {
    type = types.nullOr types.singleLineStr;
    default = null;
    description = ''
      Who logs in where nothing else is said; by default whom the clan names for the machine.
    '';
  };

  identity = mkOption {
    type = types.nullOr types.singleLineStr;
    default = null;
    example = "/run/secrets/ssh-key";
    description = ''
      The file with the private key that root logs in with, which the machines have to let in.
      Other users have keys of their own.
    '';
  };

  group = mkOption {
    type = types.nullOr types.singleLineStr;
    default = null;
    example = "clan-connect";
    description = ''
      The group whose members reach machines by secret hosts, too: root opens them for the
      group in /run/clan-connect. By default root alone does.
    '';
  };

  default = mkOption {
    type = types.bool;
    default = false;
    description = "Whether commands that name no clan mean this one, by `$CLAN_DIR`.";
  };

  tor = {
    client = mkOption {
      type = types.enum [
        "auto"
        "embedded"
        "system"
      ];
      default = "auto";
      description = ''
        Which Tor client connects: that of clan-connect, one that runs already, or whichever
        can sooner.
      '';
    };
    state = mkOption {
      type = types.nullOr types.singleLineStr;
      default = null;
      example = "none";
      description = ''
        Where guards and the list of relays are kept, which has to be writable for whoever
        connects, or `none`; by default a place of each user's own.
      '';
    };
    config = mkOption {
      type = types.nullOr types.singleLineStr;
      default = null;
      description = "A file in the format of arti.toml, such as for bridges.";
    };
  };

  iroh = {
    relays = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      description = "Relays where machines are met instead of the public ones, or `none`.";
    };
    discovery = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      description = ''
        Where it is looked up where tickets lead, instead of the public servers, or `none`.
      '';
    };
  };
}
