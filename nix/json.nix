# JSON text as clan-connect writes it: two spaces a level, and the fields of a snapshot in
# their order. Owns the form of the text; knows nothing of what it says.
{ lib }:
let
  # A field of an object whose order matters.
  field = name: value: { inherit name value; };

  # Older versions of nix write two of the control characters by their number.
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

  # The fields of `names` first, in their order, then whatever else there is.
  ordered =
    names: object:
    let
      known = builtins.filter (name: object ? ${name}) names;
      others = builtins.attrNames (removeAttrs object names);
    in
    map (name: field name object.${name}) (known ++ others);
in
{
  # The text of a snapshot, without references to the store: what it names is not needed to
  # read it, and a machine would else be deployed with the whole source of its clan.
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
