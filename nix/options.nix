# These options say how a machine reaches the other machines of a clan. The module for NixOS
# and the role of the clan service both have them. docs/nix.md lists them in a table.
{ lib }:
let
  inherit (lib) mkOption types;
in
{
  openssh = mkOption {
    type = types.bool;
    default = true;
    description = ''
      Whether a stock `ssh` reaches the clan's machines by their names and knows their host
      keys.
    '';
  };

  user = mkOption {
    type = types.nullOr types.singleLineStr;
    default = null;
    description = ''
      The user who logs in if the command line names none. By default it is the user that the
      clan names for the machine.
    '';
  };

  group = mkOption {
    type = types.nullOr types.singleLineStr;
    default = null;
    example = "clan-connect";
    description = ''
      The group whose members can also use secret hosts to reach machines. Root decrypts these
      hosts for the group into /run/clan-connect. By default only root can use them.
    '';
  };

  default = mkOption {
    type = types.bool;
    default = false;
    description = "Whether commands that name no clan use this one, which `$CLAN_DIR` then names.";
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
        The Tor client that connects: `embedded` is the client in clan-connect, `system` is a
        tor that already runs, and `auto` takes the one that can connect first.
      '';
    };
    state = mkOption {
      type = types.nullOr types.singleLineStr;
      default = null;
      example = "none";
      description = ''
        The directory in which the Tor client keeps its guards and its list of relays. Every
        user who connects must be able to write it. With `none` the client keeps nothing. By
        default each user has a directory of their own.
      '';
    };
    config = mkOption {
      type = types.nullOr types.singleLineStr;
      default = null;
      description = "A configuration file in the format of arti.toml, for example with bridges.";
    };
  };

  iroh = {
    relays = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      description = ''
        The relays through which iroh reaches machines, in place of the public ones. With `none`
        it uses no relay.
      '';
    };
    discovery = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      description = ''
        The servers that iroh asks for the current addresses of a ticket, in place of the public
        ones. With `none` it asks no server.
      '';
    };
  };
}
