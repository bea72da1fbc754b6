# This file writes JSON text as clan-connect does: with two spaces per level, and with the
# fields of a snapshot in a fixed order. It knows the form of the text, and not its meaning.
{ lib }:
let
  # One field of an object in which the order of the fields matters.
  field = name: value: { inherit name value; };

  # Older versions of nix write two of the control characters as numbers.
  string =
    text:
    builtins.replaceStrings
      [ "\\\\" "\\u0008" "\\u000c" ]
      [ "\\\\" "\\b" "\\f" ]
      (builtins.toJSON text);

  lines =
    indent: opening: closing: all:
    if all == [ ] then
      opening + closing
    else
      "${opening}\n"
      + lib.concatMapStringsSep ",\n" (line: "${indent}  ${line}") all
      + "\n${indent}${closing}";

  fields =
    indent: all:
    lines indent "{" "}" (map (it: "${string it.name}: ${render (indent + "  ") it.value}") all);

  render =
    indent: value:
    if value ? inOrder then
      fields indent value.inOrder
    else if builtins.isAttrs value then
      fields indent (lib.mapAttrsToList field value)
    else if builtins.isList value then
      lines indent "[" "]" (map (render (indent + "  ")) value)
    else if builtins.isString value then
      string value
    else
      builtins.toJSON value;

  # The fields in `names` come first, in the order of that list; all other fields follow.
  ordered =
    names: object:
    let
      known = builtins.filter (name: object ? ${name}) names;
      others = builtins.attrNames (removeAttrs object names);
    in
    map (name: field name object.${name}) (known ++ others);
in
{
  # The text of a snapshot. It carries no references to the store: nobody needs the named
  # paths to read the text, and with references each machine would be deployed with the whole
  # source of its clan.
  snapshot =
    snapshot:
    let
      machine = said: {
        inOrder = ordered [ "target_host" "tags" "host_keys" "certificate" ] said;
      };
      service = said: { inOrder = ordered [ "service" "roles" ] said; };
      nested =
        snapshot
        // lib.optionalAttrs (snapshot ? machines) {
          machines = lib.mapAttrs (_: machine) snapshot.machines;
        }
        // lib.optionalAttrs (snapshot ? services) {
          services = lib.mapAttrs (_: service) snapshot.services;
        };
      all = ordered [
        "clan_connect_snapshot"
        "fingerprint"
        "domain"
        "machines"
        "authorities"
        "configured"
        "services"
        "vars"
        "secret_hosts"
        "failed"
        "exports"
      ] nested;
    in
    builtins.unsafeDiscardStringContext (fields "" all + "\n");
}
