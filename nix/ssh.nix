# What a stock OpenSSH is told of a clan's machines: the way to them, and their host keys.
# Owns the lines for ssh_config(5) and known_hosts; they name machines and nothing else, so
# that no other host is led or trusted by them.
{ lib }:
{
  # A snapshot, as snapshot.nix makes it or as it is read from a file.
  snapshot,
  # The words of a command that leads to a machine once `proxy NAME PORT` stands after them.
  command,
  # Who logs in; `null` for whom the clan names.
  user ? null,
  # The file with the private key that root here logs in with; `null` for whatever there is.
  identity ? null,
}:
let
  inherit (builtins)
    attrNames
    elemAt
    filter
    isAttrs
    isList
    isString
    length
    match
    ;

  # Nothing but a name to ssh_config(5), and to the shell of a ProxyCommand.
  isWord = text: isString text && match "[A-Za-z0-9_][A-Za-z0-9_.-]*" text != null;
  # A machine's and no other host's: neither a name of the DNS nor an address.
  isMachinesAlone =
    name:
    let
      is = pattern: match pattern name != null;
    in
    isWord name
    && !is ".*[.].*"
    && !is "[0-9][0-9A-Fa-fxX]*"
    && !is "[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]";
  # No marker such as `@revoked` stands for the type.
  isKey = text: match "[a-z0-9][a-z0-9@.-]* [A-Za-z0-9+/=]+( [[:print:]]*)?" text != null;

  exports = snapshot.exports or { };
  machines = snapshot.machines or { };

  # The networks that lead to each machine, with the user there.
  routes = lib.foldl' (
    all: key:
    let
      entry = exports.${key};
      parts = lib.splitString ":" key;
      network = "${elemAt parts 0}:${elemAt parts 1}::";
      machine = lib.last parts;
      networking = exports.${network}.networking or null;
      route = {
        priority = networking.priority or 1000;
        user = entry.peer.user or null;
      };
    in
    if length parts == 4 && machine != "" && isAttrs (entry.peer or null) && isAttrs networking then
      all // { ${machine} = (all.${machine} or [ ]) ++ [ route ]; }
    else
      all
  ) nested (attrNames exports);

  # As clan-core of 2025 put the machines into their networks.
  nested = lib.foldl' (
    all: key:
    let
      entry = exports.${key};
      networking = entry.networking or entry;
      said = networking.peers or null;
      peers = lib.optionalAttrs (isAttrs said) said;
      add = machine: (all.${machine} or [ ]) ++ [
        {
          priority = networking.priority or 1000;
          user = peers.${machine}.user or null;
        }
      ];
    in
    if isAttrs entry then all // lib.genAttrs (attrNames peers) add else all
  ) { } (attrNames exports);

  # What `user@host` says of the user.
  userIn =
    address:
    let
      said = if isString address then match "([^@]*)@.*" address else null;
    in
    if said == null then null else elemAt said 0;

  # The addresses and networks of a machine, best first, as users.
  users =
    machine:
    let
      target = machines.${machine}.target_host or null;
      configured = (snapshot.configured or { }).${machine} or null;
      better = a: b: a.priority > b.priority;
    in
    lib.optional (target != null) (userIn target)
    ++ map (route: route.user) (builtins.sort better (routes.${machine} or [ ]))
    ++ lib.optional (configured != null) (userIn configured);

  userOf =
    machine:
    let
      best = builtins.head (users machine);
    in
    if user != null then
      user
    else if best == null then
      "root"
    else
      best;

  names = attrNames (machines // routes);
  fits = machine: isMachinesAlone machine && users machine != [ ] && isWord (userOf machine);
  reached = filter fits names;

  # ssh(1) replaces what stands after a percent sign before a shell takes the words apart.
  words = lib.concatMapStringsSep " " (
    word: builtins.replaceStrings [ "%" ] [ "%%" ] (lib.escapeShellArg word)
  ) command;

  block = user: all: ''
    Host ${lib.concatStringsSep " " all}
      User ${user}
      ProxyCommand ${words} proxy %n %p
  '';

  # Others cannot read the file, and would hear of it each time.
  ofRoot = ''
    Match originalhost ${lib.concatStringsSep "," reached} localuser root
      IdentityFile "${builtins.replaceStrings [ "%" "\\" "\"" ] [ "%%" "\\\\" "\\\"" ] identity}"
  '';

  keysOf =
    machine:
    let
      said = machines.${machine}.host_keys or [ ];
    in
    filter (key: isString key && isKey key) (if isList said then said else [ ]);
in
{
  # Lines for ssh_config(5). What follows them holds for all hosts, as without them.
  config =
    lib.concatStrings (lib.mapAttrsToList block (builtins.groupBy userOf reached))
    + lib.optionalString (reached != [ ] && identity != null) ofRoot
    + lib.optionalString (reached != [ ]) "Match all\n";

  # Machines with their keys, as `programs.ssh.knownHosts` takes them.
  knownHosts = builtins.listToAttrs (
    lib.concatMap (
      machine:
      lib.imap1 (number: publicKey: {
        name = "${machine} ${toString number}";
        value = {
          hostNames = [ machine ];
          inherit publicKey;
        };
      }) (keysOf machine)
    ) (filter isMachinesAlone (attrNames machines))
  );

  # Machines with an address that the lines do not lead to.
  leftOut = filter (machine: users machine != [ ] && !fits machine) names;
}
