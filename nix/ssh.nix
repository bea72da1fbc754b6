# This function makes the configuration with which a stock OpenSSH reaches the machines of a
# clan: lines for ssh_config(5) and for known_hosts. These lines name machines of the clan and
# nothing else. They therefore change neither the route to another host nor the keys that are
# trusted for it.
{ lib }:
{
  # A snapshot, either made by snapshot.nix or read from a file.
  snapshot,
  # The words of a command line that connects to a machine if `proxy NAME PORT` is appended.
  command,
  # The user who logs in, or `null` for the user that the clan names.
  user ? null,
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

  # Whether a text is a plain name for ssh_config(5) and for the shell of a ProxyCommand.
  isWord = text: isString text && match "[A-Za-z0-9_][A-Za-z0-9_.-]*" text != null;
  # Whether a name can only be the name of a machine: it is neither a DNS name nor an address.
  isMachinesAlone =
    name:
    let
      is = pattern: match pattern name != null;
    in
    isWord name
    && !is ".*[.].*"
    && !is "[0-9][0-9A-Fa-fxX]*"
    && !is "[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]";
  # Whether a text is a public key. A marker such as `@revoked` is not the type of a key.
  isKey = text: match "[a-z0-9][a-z0-9@.-]* [A-Za-z0-9+/=]+( [[:print:]]*)?" text != null;

  exports = snapshot.exports or { };
  machines = snapshot.machines or { };

  # The networks that lead to each machine, each with its priority and user.
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

  # The same for exports in which the machines are inside of their networks, as clan-core wrote
  # them in 2025.
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

  # The user in `user@host`, or `null`.
  userIn =
    address:
    let
      said = if isString address then match "([^@]*)@.*" address else null;
    in
    if said == null then null else elemAt said 0;

  # The users for the addresses and networks of a machine, in the order of preference.
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

  # ssh(1) expands percent signs before a shell splits the words.
  words = lib.concatMapStringsSep " " (
    word: builtins.replaceStrings [ "%" ] [ "%%" ] (lib.escapeShellArg word)
  ) command;

  block = user: all: ''
    Host ${lib.concatStringsSep " " all}
      User ${user}
      ProxyCommand ${words} proxy %n %p
  '';

  keysOf =
    machine:
    let
      said = machines.${machine}.host_keys or [ ];
    in
    filter (key: isString key && isKey key) (if isList said then said else [ ]);
in
{
  # The lines for ssh_config(5). They end with `Match all`, so that the lines after them apply to
  # all hosts, as they would without these lines.
  config =
    lib.concatStrings (lib.mapAttrsToList block (builtins.groupBy userOf reached))
    + lib.optionalString (reached != [ ]) "Match all\n";

  # The machines with their keys, in the form of `programs.ssh.knownHosts`.
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

  # The machines that have an address, but no line for ssh_config(5).
  leftOut = filter (machine: users machine != [ ] && !fits machine) names;
}
