//! A machine of a clan has one host key, whatever address is dialled: two real
//! servers at two addresses of one machine, of which at most one is it.

use std::process::Command;

use serde_json::{Value, json};

use crate::clan::{SECRET_HOST, blog_exports, clan, seal_host};
use crate::harness::{Home, Run, Server, free_port, sshd, start, wait};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";
const OTHER_IP: &str = "127.0.0.9";

/// A home that knows nobody, and a key that servers take.
struct Case {
    home: Home,
    authorized: String,
}

impl Case {
    fn new() -> Self {
        let home = Home::new();
        let authorized = home.default_key();
        Self { home, authorized }
    }

    fn server(&self, ip: &str) -> Server {
        sshd(&self.home, ip, &self.authorized, "")
    }

    /// A server with the host key of another one.
    fn twin(&self, of: &Server, ip: &str) -> Server {
        let key = self.home.path(&format!("sshd-{}/host_key", of.port()));
        sshd(&self.home, ip, &self.authorized, &format!("HostKey {}", key.display()))
    }

    fn ssh(&self, exports: &Value, args: &[&str]) -> Run {
        let file = self.home.write("exports.json", exports.to_string());
        let fixed = ["--exports", file.to_str().unwrap(), "-v", "ssh"];
        self.home.run(&[&fixed, args, &["-c", "echo", "in"]].concat())
    }

    fn known(&self) -> String {
        self.home.read("home/.ssh/known_hosts")
    }

    /// The names in known_hosts, in order.
    fn names(&self) -> Vec<String> {
        let known = self.known();
        known.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    }

    fn key(&self, server: &Server) -> String {
        let text = self.home.read(&format!("sshd-{}/host_key.pub", server.port()));
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }
}

/// `m` at these addresses, best first.
fn exports(hosts: &[(&str, u16)]) -> Value {
    let networks = hosts.iter().enumerate().map(|(at, (host, port))| {
        let network = json!({
            "priority": 1000 - at, "module": "clan_lib.network.direct",
            "peers": { "m": { "host": { "plain": host }, "port": port } },
        });
        (format!("net{at}"), network)
    });
    Value::Object(networks.collect())
}

fn accepted(server: &Server) -> usize {
    server.log().matches("Accepted publickey").count()
}

#[test]
fn another_key_at_another_address_of_a_known_machine_is_a_changed_one() {
    let case = Case::new();
    let (good, evil) = (case.server(IP), case.server(OTHER_IP));
    let closed = free_port(IP);
    let both = |first: u16| exports(&[(IP, first), (OTHER_IP, evil.address.port())]);
    case.ssh(&both(good.address.port()), &["m"]).exits(0).says(&["trusted on first use"]);
    assert_eq!(case.names(), ["m", &format!("[{IP}]:{}", good.port())]);
    let known = case.known();
    // The way to it is blocked, and somebody else answers at its other address.
    for blocked in [good.address.port(), closed] {
        let hosts = exports(&[(IP, blocked), (OTHER_IP, evil.address.port())]);
        let args: &[&str] = if blocked == closed { &["m"] } else { &["m", "--network", "net1"] };
        let done = case.ssh(&hosts, args).exits(255);
        done.says(&["IDENTIFICATION HAS CHANGED", "known_hosts:1"]);
    }
    // An address that is in no network of it is not trusted more.
    let target = evil.target();
    let hosts = both(good.address.port());
    case.ssh(&hosts, &["m", "--target-host", &target]).exits(255).says(&["HAS CHANGED"]);
    assert_eq!((case.known(), accepted(&evil)), (known, 0));
    // A wrong key first, then an unknown one: as before.
    let third = case.server(IP);
    let name = format!("[{IP}]:{}", third.port());
    case.home.write("home/.ssh/known_hosts", format!("{name} {}\n", case.key(&good)));
    let hosts = exports(&[(IP, third.address.port()), (OTHER_IP, evil.address.port())]);
    case.ssh(&hosts, &["m"]).exits(255);
    assert_eq!((accepted(&third), accepted(&evil)), (0, 0));
}

#[test]
fn its_key_is_known_at_all_its_addresses_once_it_is_at_one() {
    let case = Case::new();
    let first = case.server(IP);
    let second = case.twin(&first, OTHER_IP);
    let hosts = exports(&[(IP, first.address.port()), (OTHER_IP, second.address.port())]);
    let strict = ["m", "--network", "net1", "--host-key-check", "strict"];
    case.ssh(&hosts, &strict).exits(255).says(&["is not known"]);
    case.ssh(&hosts, &["m", "--network", "net0"]).exits(0);
    case.ssh(&hosts, &strict).exits(0).says(&["vouched for by the key in", "known_hosts:1"]);
    // By its name alone it is known at an address that is new.
    let moved = case.twin(&first, OTHER_IP);
    let hosts = exports(&[(OTHER_IP, moved.address.port())]);
    case.ssh(&hosts, &strict[..1]).exits(0);
    // What ssh(1) has learned at one address counts, too, and what is revoked for its name.
    let name = format!("[{IP}]:{}", first.port());
    case.home.write("home/.ssh/known_hosts", format!("{name} {}\n", case.key(&first)));
    let hosts = exports(&[(IP, first.address.port()), (OTHER_IP, second.address.port())]);
    case.ssh(&hosts, &strict).exits(0);
    case.home.write("home/.ssh/known_hosts", format!("@revoked m {}\n{0}\n", case.key(&first)));
    case.ssh(&hosts, &["m"]).exits(255).says(&["REVOKED HOST KEY"]);
}

#[test]
fn two_machines_behind_one_address_are_two_and_a_name_of_the_users_is_one() {
    let case = Case::new();
    let (one, two) = (case.server(IP), case.server(IP));
    let hosts = json!({ "net": { "module": "clan_lib.network.direct", "peers": {
        "one": { "host": { "plain": IP }, "port": one.address.port() },
        "two": { "host": { "plain": IP }, "port": two.address.port() },
    } } });
    for machine in ["one", "two", "one"] {
        case.ssh(&hosts, &[machine]).exits(0);
    }
    assert_eq!(case.names().len(), 4, "{}", case.known());
    // A name that the user has given counts alone.
    let third = case.server(OTHER_IP);
    let third = exports(&[(OTHER_IP, third.address.port())]);
    case.ssh(&third, &["m"]).exits(0);
    let names = case.names().len();
    case.ssh(&third, &["m", "--ssh-option", "HostKeyAlias", "elsewhere"]).exits(0);
    assert_eq!(case.names().len(), names + 1, "under that name alone");
    // An address without a clan is that address.
    case.home.run(&["ssh", "m", "--target-host", &one.target(), "-c", "true"]).exits(0);
}

#[test]
fn a_secret_address_is_covered_by_the_machines_other_addresses_and_not_shown() {
    let home = Home::new();
    let authorized = home.default_key();
    clan(&home);
    seal_host(&home, SECRET_HOST);
    let case = Case { home, authorized };
    let (evil, good) = (case.server(SECRET_HOST), case.server(IP));
    let exports = blog_exports(&case.home, evil.address.port());
    let mut value: Value =
        serde_json::from_str(&std::fs::read_to_string(&exports).unwrap()).unwrap();
    value["internet"]["peers"]["my_cool_machine"]["port"] = json!(good.address.port());
    case.home.write("clan/exports.json", value.to_string());
    let dir = case.home.path("clan");
    let ssh = |args: &[&str]| {
        let fixed = ["--flake", dir.to_str().unwrap(), "--exports", &exports, "ssh"];
        let args = [&fixed[..], &["my_cool_machine"], args, &["-c", "echo", "in"]].concat();
        case.home.run(&args)
    };
    ssh(&["--network", "internet"]).exits(0);
    let done = ssh(&["--network", "hidden"]).exits(255).says(&["HAS CHANGED"]);
    assert!(!done.stderr.contains(SECRET_HOST), "{}", done.stderr);
    // Asked about, it is the machine.
    case.home.write("home/.ssh/known_hosts", "");
    let fixed = ["--flake", dir.to_str().unwrap(), "--exports", &exports, "ssh"];
    let more = ["my_cool_machine", "--network", "hidden", "--host-key-check", "ask", "-c", "true"];
    let args = [&fixed[..], &more].concat();
    let mut terminal = crate::harness::Terminal::start(&case.home, &args, 200, 50, &[]);
    let title = "authenticity of host 'my_cool_machine (<secret: tor_tor/hostname>)' can't";
    terminal.expect(title);
    terminal.expect("(yes/no/[fingerprint])? ");
    terminal.send("no\r");
    assert_eq!(terminal.exit_code(), Some(255));
    assert!(!terminal.text().contains(SECRET_HOST), "{}", terminal.text());
}

#[test]
fn all_names_of_a_machine_follow_when_its_keys_are_renewed() {
    let case = Case::new();
    let home = &case.home;
    for (name, kind) in [("one", "ed25519"), ("rsa", "rsa")] {
        home.keygen(name, kind, "");
    }
    let path = |name: &str| home.path(name).display().to_string();
    let config = format!("HostKey {}\nHostKey {}\n", path("one"), path("rsa"));
    let server = sshd(home, IP, &case.authorized, &config);
    let hosts = exports(&[(IP, server.address.port()), (OTHER_IP, 1)]);
    case.ssh(&hosts, &["m"]).exits(0);
    let file = home.path("exports.json");
    let args = ["--exports", file.to_str().unwrap(), "-v", "ssh", "m", "-c", "sleep", "1"];
    home.run(&args).exits(0).says(&["1 more host keys of this server stored"]);
    let address = format!("[{IP}]:{}", server.port());
    assert_eq!(case.names(), ["m", &address, &address, "m"], "{}", case.known());
    // What is removed is removed under all of them.
    let exports = file.to_str().unwrap();
    home.run(&["--exports", exports, "network", "trust", "remove", "m"]).exits(0);
    assert_eq!(case.known(), "");
    let key = case.home.read("one.pub");
    home.run(&["--exports", exports, "network", "trust", "add", "m", &key]).exits(0);
    assert_eq!(case.names(), ["m", &address, &format!("[{OTHER_IP}]:1")]);
}

#[test]
fn called_as_ssh_a_machine_of_the_clan_is_one_and_any_other_host_is_its_address() {
    let place = Place::new("");
    let dir = place.home.path("clan");
    place.home.write("clan/.clan-flake", "");
    let key = place.home.read("home/.ssh/id_ed25519.pub");
    let evil = sshd(&place.home, OTHER_IP, &key, "");
    let networks = |first: u16| {
        let exports = exports(&[(IP, first), (OTHER_IP, evil.address.port())]);
        let snapshot = json!({
            "clan_connect_snapshot": 1,
            "fingerprint": clan_connect::internals::fingerprint(&dir),
            "machines": { "m": {} },
            "exports": exports,
        });
        place.home.write("clan/clan-connect.json", snapshot.to_string());
    };
    let ssh = |args: &[&str]| {
        let mut command: Command = place.command(&place.ours(), args);
        Run::of(wait(start(command.env("CLAN_DIR", &dir), "")))
    };
    networks(place.server.address.port());
    let new = "-oStrictHostKeyChecking=accept-new";
    ssh(&[new, "m", "echo", "in"]).exits(0).says(&["Permanently added 'm' (ED25519)"]);
    networks(free_port(IP));
    let done = ssh(&[new, "m", "echo", "in"]).exits(255);
    done.says(&["IDENTIFICATION HAS CHANGED", "Host key verification failed."]);
    assert_eq!(accepted(&evil), 0);
    // By its address it is any host.
    let port = format!("-p{}", evil.port());
    ssh(&[new, &port, &format!("root@{OTHER_IP}"), "true"]).exits(0);
}
