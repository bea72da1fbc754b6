//! Where a server is asked to listen (`-R`, RemoteForward, `-O forward`), beside
//! OpenSSH's ssh: an address that nobody named is the machine's own (channels.c,
//! `channel_rfwd_bind_host`), whatever the server would allow.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use crate::harness::{THEIRS, free_port, start, until};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";
/// `LISTEN` in /proc/net/tcp.
const LISTENS: &str = "0A";

/// A client that ends with us.
struct Client(Child);

impl Client {
    fn start(place: &Place, ssh: &str, args: &[&str]) -> Self {
        let mut command = place.client(ssh, args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(start(&mut command, "openssh-client"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who can come in where somebody listens at this port: the machine itself, or all.
/// Both families are one here: their sockets do not open at the same time.
fn listeners(port: u16) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, number) = fields[1].split_once(':').unwrap();
            if fields[3] == LISTENS && u16::from_str_radix(number, 16) == Ok(port) {
                found.insert(match address {
                    "0100007F" | "00000000000000000000000001000000" => "itself",
                    "00000000" | "00000000000000000000000000000000" => "all",
                    other => panic!("{other}"),
                });
            }
        }
    }
    found
}

/// Where the server listens when a client asks it by `args`, in which `PORT` stands
/// for a port that is free; nothing if the client is refused.
fn asked(place: &Place, ssh: &str, args: &[&str]) -> BTreeSet<&'static str> {
    let port = free_port(IP);
    let args: Vec<String> = args.iter().map(|arg| arg.replace("PORT", &port.to_string())).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let fixed = ["-oExitOnForwardFailure=yes", "-N"];
    let mut client = Client::start(place, ssh, &[&fixed, &args[..], &["box"]].concat());
    let mut seen = BTreeSet::new();
    until("the listener or the end", || {
        seen = listeners(port);
        !seen.is_empty() || client.0.try_wait().unwrap().is_some()
    });
    seen
}

const NOT_NAMED: [&[&str]; 4] = [
    &["-R", "PORT:127.0.0.1:9"],
    &["-R", "PORT"],
    &["-oRemoteForward=PORT 127.0.0.1:9"],
    &["-oGatewayPorts=yes", "-R", "PORT:127.0.0.1:9"],
];
const EVERYBODY: [&[&str]; 4] = [
    &["-R", ":PORT:127.0.0.1:9"],
    &["-R", "*:PORT:127.0.0.1:9"],
    &["-oRemoteForward=*:PORT 127.0.0.1:9"],
    &["-R", "*:PORT"],
];
const NAMED: [&[&str]; 3] = [
    &["-R", "127.0.0.1:PORT:127.0.0.1:9"],
    &["-R", "localhost:PORT:127.0.0.1:9"],
    &["-R", "0.0.0.0:PORT:127.0.0.1:9"],
];

#[test]
fn an_address_that_nobody_named_is_the_machines_own() {
    let place = Place::shared("AllowTcpForwarding yes\nGatewayPorts clientspecified\n");
    let ours = place.ours();
    for args in NOT_NAMED {
        let (theirs, seen) = (asked(&place, THEIRS, args), asked(&place, &ours, args));
        assert_eq!(seen, theirs, "{args:?}");
        assert_eq!(seen, BTreeSet::from(["itself"]), "{args:?}");
    }
    for args in EVERYBODY {
        let (theirs, seen) = (asked(&place, THEIRS, args), asked(&place, &ours, args));
        assert_eq!(seen, theirs, "{args:?}");
        assert_eq!(seen, BTreeSet::from(["all"]), "{args:?}");
    }
    for args in NAMED {
        let (theirs, seen) = (asked(&place, THEIRS, args), asked(&place, &ours, args));
        assert_eq!((seen.len(), &seen), (1, &theirs), "{args:?}");
    }
}

#[test]
fn a_server_that_permits_only_its_own_address_lets_it_be_had() {
    let place = Place::shared(
        "AllowTcpForwarding yes\nGatewayPorts clientspecified\nPermitListen localhost:*\n",
    );
    let ours = place.ours();
    let all = NOT_NAMED.iter().chain(&EVERYBODY).chain(&NAMED);
    for args in all {
        let (theirs, seen) = (asked(&place, THEIRS, args), asked(&place, &ours, args));
        assert_eq!(seen, theirs, "{args:?}");
    }
    assert!(!asked(&place, &ours, NOT_NAMED[0]).is_empty());
    assert!(asked(&place, &ours, EVERYBODY[0]).is_empty());
}

#[test]
fn a_shared_connection_asks_for_the_same_and_takes_it_back() {
    let place = Place::shared("AllowTcpForwarding yes\nGatewayPorts clientspecified\n");
    let ours = place.ours();
    let mut seen = Vec::new();
    for (master, client) in [(THEIRS, THEIRS), (&ours, &ours), (&ours, THEIRS), (THEIRS, &ours)] {
        let socket = place.home.path(&format!("m{}", seen.len()));
        let name = socket.to_str().unwrap();
        let _master = Client::start(&place, master, &["-M", "-N", "-S", name, "box"]);
        until("the master", || socket.exists());
        let run = |word: &str, forward: &str| {
            let mut command = place.client(client, &["-S", name, "-O", word, "-R", forward, "box"]);
            let mut child = start(&mut command, "openssh-client");
            assert!(crate::harness::wait_status(&mut child).success(), "{word} {forward}");
        };
        let mut all = Vec::new();
        for start in ["", ":", "*:", "localhost:", "127.0.0.1:"] {
            let port = free_port(IP);
            let forward = format!("{start}{port}:{IP}:9");
            run("forward", &forward);
            all.push(listeners(port));
            run("cancel", &forward);
            until("the end of the listener", || listeners(port).is_empty());
        }
        seen.push(all);
    }
    assert!(seen[0].iter().all(|all| !all.is_empty()), "{seen:?}");
    for other in &seen[1..] {
        assert_eq!(*other, seen[0]);
    }
}
