# This function makes a snapshot of a clan from what nix knows of the clan: the same value as
# `clan-connect exports snapshot` writes. It selects what connecting to the machines needs. It
# reads public vars only and decrypts no secret. module.nix says what a machine does with the
# snapshot.
#
# The value differs from the file of that command in three ways. It has no fingerprint, because
# nothing that nix has built can be older than the clan. No path is copied into the store. And
# the tickets of iroh, which every user of the machine could read, are in it only on request.
#
# As in that file, hosts that are vars do not name the flake. Nobody reads that name, and with
# it each commit would change every machine.
{ lib }:
{
  # The value of `clan.exports`, or of the argument `exports` of a clan service.
  exports,
  # The value of `clan.inventory`.
  inventory ? { },
  # The directory of the clan, which contains its public vars.
  directory ? null,
  # The value of `clan.core.networking.targetHost` for each machine for which it was evaluated.
  configured ? { },
  # Whether the snapshot contains tickets of iroh. They are public vars, but whoever has a
  # ticket can reach the sshd of the machine from anywhere.
  irohTickets ? false,
}:
let
  inherit (builtins)
    attrNames
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    ;

  # The greatest length of a public var and of a setting in the snapshot, in bytes.
  maxText = 1024;
  # The greatest number of texts in one setting.
  maxTexts = 64;
  # The greatest depth to which modules may import each other.
  maxDepth = 16;

  attempt = value: builtins.tryEval (builtins.deepSeq value value);
  either =
    value: default:
    let
      tried = attempt value;
    in
    if tried.success then tried.value else default;
  attrsOr = value: if isAttrs value then value else { };
  listOr = value: if isList value then value else [ ];
  # An attribute set whose evaluation may fail. Its attributes are not evaluated here, and may
  # fail later.
  attrsIn =
    value:
    let
      tried = builtins.tryEval value;
    in
    if tried.success then attrsOr tried.value else { };
  textOr = value: if isString value then value else null;
  # An attribute set with one attribute, or an empty one if the value is null or empty.
  given =
    name: value:
    lib.optionalAttrs (value != null && value != [ ] && value != { }) { ${name} = value; };

  ## Exports

  # The value in a form that JSON has. It throws an error for a value that JSON cannot have.
  data =
    value:
    if isFunction value then
      throw "a function is no data"
    else if isPath value then
      toString value
    else if isList value then
      map data value
    else if !isAttrs value then
      value
    else if value ? outPath then
      toString value.outPath
    else
      let
        isVar = value ? generator && value ? file;
      in
      lib.mapAttrs (_: data) (removeAttrs value (lib.optional isVar "flake"));

  tried = lib.mapAttrs (_: value: attempt (data value)) exports;
  failed = attrNames (lib.filterAttrs (_: it: !it.success) tried);
  good = lib.mapAttrs (_: it: it.value) (lib.filterAttrs (_: it: it.success) tried);

  # The parts of a key: it is `SERVICE:INSTANCE:ROLE:MACHINE`, or the name of an instance.
  scope =
    key:
    let
      parts = lib.splitString ":" key;
      at = builtins.elemAt parts;
    in
    if builtins.length parts == 4 then
      {
        service = at 0;
        instance = at 1;
        machine = at 3;
      }
    else
      {
        service = "";
        instance = key;
        machine = "";
      };

  # The peers: one for each machine in each network, with its hosts.
  peers = lib.concatMap (
    key:
    let
      at = scope key;
      entry = attrsOr good.${key};
      networking = attrsOr (entry.networking or entry);
      nested = if at.machine == "" then attrsOr (networking.peers or { }) else { };
      own = lib.optionalAttrs (at.machine != "" && isAttrs (entry.peer or null)) {
        ${at.machine} = entry.peer;
      };
    in
    lib.mapAttrsToList (machine: peer: {
      inherit (at) service instance;
      inherit machine;
      hosts = listOr (attrsOr peer).hosts or [ (attrsOr peer).host or null ];
    }) (nested // own)
  ) (attrNames good);

  networks = lib.concatMap (
    key:
    let
      at = scope key;
      entry = attrsOr good.${key};
    in
    lib.optional (at.machine == "" && (isAttrs (entry.networking or null) || at.service == "")) (
      at // { module = textOr ((attrsOr (entry.networking or entry)).module or null); }
    )
  ) (attrNames good);

  ## Public vars

  isName =
    name: isString name && name != "" && name != "." && name != ".." && !lib.hasInfix "/" name;

  # The value of a public var. The var of the machine itself comes before a shared one.
  public =
    machine: generator: file:
    let
      paths = map (place: directory + "/vars/${place}/${generator}/${file}/value") [
        "per-machine/${machine}"
        "shared"
      ];
      there = builtins.filter builtins.pathExists paths;
    in
    if directory == null || !lib.all isName [ machine generator file ] || there == [ ] then
      null
    else
      builtins.readFile (builtins.head there);

  keys =
    machine: generator: file:
    let
      text = public machine generator file;
      lines = map lib.trim (lib.splitString "\n" text);
    in
    if text == null then
      [ ]
    else
      builtins.filter (line: line != "" && !lib.hasPrefix "#" line) lines;

  ## Machines

  said = attrsIn (inventory.machines or { });
  # The machines of each tag, and the tags of each machine. The inventory can state them in
  # either place.
  tags = lib.filterAttrs (_: isList) (attrsOr (clean 4 (inventory.tags or { })));
  ownTags = lib.mapAttrs (
    _: machine: builtins.filter isString (listOr (clean 2 ((attrsIn machine).tags or [ ])))
  ) said;
  tagged =
    tag:
    builtins.filter isString (tags.${tag} or [ ])
    ++ builtins.filter (name: builtins.elem tag ownTags.${name}) (attrNames said);

  machine =
    name:
    let
      ofInventory = attrsIn (said.${name} or { });
      listed = builtins.filter (tag: builtins.elem name tags.${tag}) (attrNames tags);
      certificates = keys name "openssh-cert" "ssh.id_ed25519-cert.pub";
    in
    given "target_host" (textOr (either (ofInventory.deploy.targetHost or null) null))
    // given "tags" (attrNames (lib.genAttrs (ownTags.${name} or [ ] ++ listed) (_: null)))
    // given "host_keys" (
      keys name "openssh" "ssh.id_ed25519.pub" ++ keys name "openssh-rsa" "ssh.id_rsa.pub"
    )
    // given "certificate" (if certificates == [ ] then null else builtins.head certificates);

  # A machine that exports anything exists, if its name is valid.
  exporting = builtins.filter (name: builtins.match "[A-Za-z0-9_][A-Za-z0-9_.-]*" name != null) (
    map (peer: peer.machine) peers ++ map (key: (scope key).machine) (attrNames good)
  );

  machines = lib.genAttrs (attrNames said ++ exporting) machine;
  names = attrNames machines;

  ## Settings of services

  # The services whose settings the snapshot contains, and the names of these settings.
  wanted = [
    "wireguard"
    "mycelium"
    "yggdrasil"
  ];
  settingNames = [
    "endpoint"
    "port"
    "domain"
    "mtu"
    "controller"
    "ports.tcp"
    "ports.tls"
    "extraPeers"
    "addHostedPublicNodes"
  ];

  # The value without the parts that are not data, and without all that is deeper than `depth`.
  clean =
    depth: value:
    let
      tried = builtins.tryEval value;
      it = tried.value;
    in
    if !tried.success || depth == 0 || isFunction it || isPath it then
      null
    else if isAttrs it then
      (if it ? outPath then null else lib.mapAttrs (_: clean (depth - 1)) it)
    else if isList it then
      map (clean (depth - 1)) it
    else
      it;

  isShort = value: isString value && builtins.stringLength value <= maxText;
  isSetting =
    value:
    isShort value
    || isInt value
    || isBool value
    || (isList value && builtins.length value <= maxTexts && lib.all isShort value);

  # The settings in a module of the inventory. Its own settings override those of its imports.
  flatten =
    depth: module:
    if depth == 0 || !isAttrs module then
      { }
    else
      lib.foldl' (all: import: all // flatten (depth - 1) import) { } (
        listOr (module.imports or [ ])
      )
      // flatten (depth - 1) (module.config or null)
      // settingsIn "" module;

  settingsIn =
    prefix: module:
    lib.foldl' (
      all: key:
      let
        name = prefix + key;
        raw = module.${key};
        isOverride = isAttrs raw && raw._type or null == "override";
        value = if isOverride then raw.content or null else raw;
      in
      all
      // (
        if isAttrs value && prefix == "" then
          settingsIn "${name}." value
        else
          lib.optionalAttrs (builtins.elem name settingNames && isSetting value) {
            ${name} = value;
          }
      )
    ) { } (attrNames module);

  # The members of a role with the settings that hold for them. The settings of their tags
  # override those of the role, and the settings of the member override both.
  members =
    role:
    let
      settings = module: flatten maxDepth module;
      defaults = settings (role.settings or null);
      add =
        all: machine: more:
        all
        // {
          ${machine} = (all.${machine} or defaults) // settings ((attrsOr more).settings or null);
        };
      ofTags = attrsOr (role.tags or { });
      byTags = lib.foldl' (
        all: tag: lib.foldl' (all: machine: add all machine ofTags.${tag}) all (tagged tag)
      ) { } (attrNames ofTags);
      ofMachines = attrsOr (role.machines or { });
    in
    lib.foldl' (all: machine: add all machine ofMachines.${machine}) byTags (attrNames ofMachines);

  services =
    let
      instances = attrsIn (inventory.instances or { });
      nameOf = instance: clean 1 (instance.module.name or null);
      kept = lib.filterAttrs (_: instance: builtins.elem (nameOf instance) wanted) instances;
    in
    lib.mapAttrs (_: instance: {
      service = nameOf instance;
      roles = lib.mapAttrs (_: members) (
        lib.filterAttrs (_: isAttrs) (attrsOr (clean 24 (instance.roles or { })))
      );
    }) kept;

  ## Vars that connecting needs

  # The name of a service without the name of its author.
  short = service: lib.last (lib.splitString "/" service);

  hostVars = lib.concatMap (
    network:
    let
      isOf = peer: peer.service == network.service && peer.instance == network.instance;
      isIroh = lib.hasSuffix ".p2p_ssh_iroh" (toString network.module);
      ticket = peer: {
        inherit (peer) machine;
        generator = "p2p-ssh-iroh-${network.instance}";
        file = "ticket";
      };
      vars =
        peer:
        if isIroh && !irohTickets then
          [ ]
        else if peer.hosts == [ ] && isIroh then
          [ (ticket peer) ]
        else
          map (host: host.var) (builtins.filter (host: isAttrs (host.var or null)) peer.hosts);
    in
    lib.concatMap vars (builtins.filter isOf peers)
  ) networks;

  # The vars with the public keys and the addresses of the members of a WireGuard network.
  wireguardVars = lib.concatMap (
    network:
    let
      inherit (network) instance;
      service = if network.service == "" then instance else short network.service;
      isOf = peer: peer.service == network.service && peer.instance == instance;
      ofExports = map (peer: peer.machine) (builtins.filter isOf peers);
      roles = services.${instance}.roles or { };
      ofSettings = lib.concatMap attrNames (builtins.attrValues roles);
      isWireguard = (services.${instance}.service or "wireguard") == "wireguard";
      var = machine: generator: file: {
        inherit machine file;
        generator = "wireguard-${generator}-${instance}";
      };
    in
    lib.optionals (service == "wireguard") (
      lib.concatMap (machine: [
        (var machine "keys" "publickey")
        (var machine "network" "prefix")
        (var machine "network" "suffix")
      ]) (ofExports ++ lib.optionals isWireguard ofSettings)
    )
  ) networks;

  vars = lib.foldl' (
    all: var:
    let
      value = public var.machine var.generator var.file;
    in
    if value == null || builtins.stringLength value > maxText then
      all
    else
      all
      // {
        ${var.machine} = (all.${var.machine} or { }) // {
          "${var.generator}/${var.file}" = lib.trim value;
        };
      }
  ) { } (hostVars ++ wireguardVars);

  addresses = lib.mapAttrs (_: it: textOr it.value) (
    lib.filterAttrs (_: it: it.success) (lib.mapAttrs (_: attempt) configured)
  );
in
{
  clan_connect_snapshot = 1;
  inherit machines services;
  exports = good;
}
// given "domain" (textOr (either (inventory.meta.domain or null) null))
// given "authorities" (
  lib.optionals (names != [ ]) (keys (lib.last names) "openssh-ca" "id_ed25519.pub")
)
// given "configured" addresses
// given "vars" vars
// given "failed" failed
