//! Machines in Yggdrasil, for a user whose computer is not in it: real daemons in namespaces
//! of their own. Our binary runs there as nobody, who has no rights and no device.

mod sessions;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};

use crate::harness::{Home, PROGRAMS, Run, noise, run, sshd_config, start, until, wait};
use crate::links::{Namespace, PORT};
use crate::one_key::{self, Case, name_it_db};

const DIRECT: &str = "clan_lib.network.direct";
/// Who has no rights.
const NOBODY: &str = "65534";
const RELAY: &str = "10.93.1.1";
const MACHINE: &str = "10.93.2.2";
const PACKAGE: &str = "yggdrasil 0.5, which vendor-tests/newer-yggdrasil fetches";

fn program() -> String {
    let program = format!("{PROGRAMS}/yggdrasil-0.5/yggdrasil");
    assert!(std::path::Path::new(&program).exists(), "no {program}: run vendor-tests/run");
    program
}

/// A key that the program has made, and its address.
struct Key {
    hex: String,
    address: String,
}

impl Key {
    fn new(home: &Home, name: &str) -> Self {
        let made = run(&program(), &["-genconf", "-json"], PACKAGE);
        let made: Value = serde_json::from_str(&made).unwrap();
        let hex = made["PrivateKey"].as_str().unwrap().to_owned();
        let file = home.write(name, json!({ "PrivateKey": hex }).to_string());
        let args = ["-useconffile", file.to_str().unwrap(), "-address"];
        Self { hex, address: run(&program(), &args, PACKAGE).trim().to_owned() }
    }

    /// As Clan keeps it.
    fn pem(&self) -> String {
        let seed = HEXLOWER.decode(&self.hex.as_bytes()[..64]).unwrap();
        let prefix = HEXLOWER.decode(b"302e020100300506032b657004220420").unwrap();
        let der = BASE64.encode(&[prefix, seed].concat());
        format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
    }
}

/// A daemon in a namespace.
struct Daemon(Child);

impl Daemon {
    fn new(home: &Home, place: &Namespace, name: &str, key: &Key, settings: Value) -> Self {
        let mut all = json!({ "PrivateKey": key.hex, "AdminListen": "none", "IfName": "none",
                              "MulticastInterfaces": [], "IfMTU": 65535 });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let file = home.write(&format!("{name}.conf"), all.to_string());
        let log = std::fs::File::create(home.path(&format!("{name}.log"))).unwrap();
        let [enter, space] = place.enter();
        let mut command = Command::new(enter);
        command.args([&space, &program(), "-useconffile"]).arg(file);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = Self(start(&mut command, PACKAGE));
        let log = format!("{name}.log");
        until("a daemon of Yggdrasil", || home.read(&log).contains("listener started"));
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A machine, a relay between it and us, and a computer that is in no network.
struct World {
    home: Home,
    us: Namespace,
    /// The machine's address.
    web: String,
    member: Key,
    relay_key: Key,
    relay_daemon: Option<Daemon>,
    _machine_daemon: Daemon,
    sshd: Child,
    relay: Namespace,
    machine: Namespace,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// What the relay listens at.
fn relay_settings() -> Value {
    json!({ "Listen": ["tcp://0.0.0.0:6443", "tls://0.0.0.0:6446",
                       "tcp://0.0.0.0:6450?password=secret"] })
}

impl World {
    fn new() -> Self {
        println!("{}", run(&program(), &["-version"], PACKAGE));
        let home = Home::new();
        let (us, relay, machine) = (Namespace::new(), Namespace::new(), Namespace::new());
        for (at, end) in [(1, &us), (2, &machine)] {
            let peer = format!("netns /proc/{}/ns/net", end.pid());
            relay.ip(&format!("link add u{at} type veth peer name u0 {peer}"));
            relay.ip(&format!("addr add 10.93.{at}.1/24 dev u{at}"));
            relay.ip(&format!("link set u{at} up"));
            end.ip(&format!("addr add 10.93.{at}.2/24 dev u0"));
            end.ip("link set u0 up");
            end.ip(&format!("route add default via 10.93.{at}.1"));
        }
        let [enter, space] = relay.enter();
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run(&enter, &[&space, "sh", "-c", forward], "util-linux");
        let [relay_key, web, member] =
            ["relay.key", "web.key", "member.json"].map(|name| Key::new(&home, name));
        let relay_daemon = Daemon::new(&home, &relay, "relay", &relay_key, relay_settings());
        let settings = json!({ "Listen": ["tcp://0.0.0.0:6443"], "IfName": "ygg0",
                               "Peers": ["tcp://10.93.2.1:6443"] });
        let machine_daemon = Daemon::new(&home, &machine, "web", &web, settings);
        until("a peering", || home.read("web.log").contains("Connected outbound"));
        let config = sshd_config(
            &home,
            "::",
            PORT,
            &home.default_key(),
            "MaxStartups 100\nListenAddress 0.0.0.0\n",
        );
        let log = std::fs::File::create(home.path("sshd.log")).unwrap();
        let [enter, space] = machine.enter();
        let mut command = Command::new(enter);
        command.args([&space, "/usr/sbin/sshd", "-D", "-e", "-f"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let sshd = start(&mut command, "openssh-server");
        until("sshd", || home.read("sshd.log").contains("Server listening"));
        clan(&home, &web.address, true);
        home.secret("member.key", &member.hex);
        home.secret("member.pem", member.pem());
        let (_machine_daemon, relay_daemon) = (machine_daemon, Some(relay_daemon));
        let web = web.address;
        Self {
            home,
            us,
            web,
            member,
            relay_key,
            relay_daemon,
            _machine_daemon,
            sshd,
            relay,
            machine,
        }
    }

    /// Our binary, as nobody.
    fn command(&self, args: &[&str]) -> Command {
        let dir = self.home.dir.path().display().to_string();
        run("chown", &["-R", &format!("{NOBODY}:{NOBODY}"), &dir], "coreutils");
        let [program, enter] = self.us.enter();
        let nobody = ["/usr/bin/setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
        let through = [&[&*program, &*enter], &nobody[..], &["/usr/bin/setsid"]].concat();
        let exports = ["--exports", "clan/exports.json"];
        let has_exports = self.home.path("clan/exports.json").exists();
        let exports = if has_exports { &exports[..] } else { &[] };
        self.home.command_with(&through, &[&["--flake", "clan"], exports, args].concat())
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(args), "util-linux")))
    }

    /// How many connections the machine's sshd has.
    fn sessions(&self) -> usize {
        let [program, enter] = self.machine.enter();
        let port = format!("( sport = :{PORT} )");
        let args = [&*enter, "ss", "-Htn", "state", "established", &port];
        run(&program, &args, "iproute2").lines().count()
    }

    /// As Clan's module has it: packets are only for members, here by the way back to them.
    fn let_in_members_only(&self) {
        self.machine.ip("-6 route del 200::/7 dev ygg0");
        self.machine.ip(&format!("-6 route add {}/128 dev ygg0", self.member.address));
    }
}

/// The clan: `web` in Yggdrasil and nowhere else, and perhaps a machine that has an address.
fn clan(home: &Home, address: &str, has_relay: bool) {
    let mut exports = json!({
        "clan-core/yggdrasil:ygg::": { "networking": { "module": DIRECT, "priority": 2000 } },
        "clan-core/yggdrasil:ygg:default:web":
            { "peer": { "hosts": [{ "plain": address }], "port": PORT, "user": "root" } },
        "clan-core/internet:net::": { "networking": { "module": DIRECT, "priority": 1000 } },
    });
    if has_relay {
        let relay = json!({ "peer": { "hosts": [{ "plain": RELAY }] } });
        exports["clan-core/internet:net:default:relay"] = relay;
    }
    home.write("clan/.clan-flake", "");
    home.write("clan/exports.json", exports.to_string());
}

#[test]
fn a_machine_behind_a_relay_is_reached_without_rights_and_without_a_daemon() {
    let world = World::new();
    // With a key of its own a connection is not kept warm for long.
    let with = |args: &[&'static str]| [&["--yggdrasil-key", "member.key"], args].concat();
    let done = world.run(&with(&["-v", "ssh", "web", "-c", "echo", "hi"])).exits(0);
    assert_eq!(done.text(), "hi\n");
    done.says(&["over network ygg"]);
    // Every byte, there and back.
    let data = noise(8 << 20);
    let mut echo = world.command(&with(&["ssh", "web", "-c", "cat"]));
    crate::harness::returns(echo.stdin(Stdio::piped()), &data);
    // Nobody says the end for us.
    until("the end of every session", || world.sessions() == 0);
    let list = world.run(&["network", "list", "--json"]).exits(0).text();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["networks"][0]["running"], "in-process", "{list}");
    assert_eq!(list["networks"][0]["way"], "yggdrasil", "{list}");
    let ping = world.run(&["network", "ping", "web", "--json"]).exits(0).text();
    let ping: Value = serde_json::from_str(&ping).unwrap();
    assert_eq!(ping["routes"][0]["ok"], true, "{ping}");
    assert_eq!(ping["routes"][0]["way"], "yggdrasil", "{ping}");
}

#[test]
fn peers_are_met_over_tcp_and_tls_with_a_password_and_directly() {
    let world = World::new();
    let web = world.home.read("clan/exports.json");
    world.home.write("clan/exports.json", web.replace(RELAY, "10.93.1.77"));
    let key = HEXLOWER.encode(&HEXLOWER.decode(&world.relay_key.hex.as_bytes()[64..]).unwrap());
    let pinned = format!("tcp://{RELAY}:6443?key={key}");
    let direct = format!("tcp://{MACHINE}:6443");
    for peer in [&*pinned, &format!("tls://{RELAY}:6446"), &direct] {
        let args = ["--yggdrasil-peer", peer, "ssh", "web", "-c", "echo", "hi"];
        assert_eq!(world.run(&args).exits(0).text(), "hi\n", "{peer}");
    }
    let option = format!("YggdrasilPeer=tcp://{RELAY}:6450?password=secret");
    let args = ["ssh", "web", "--ssh-option", "YggdrasilPeer", &option[14..], "-c", "echo", "hi"];
    assert_eq!(world.run(&args).exits(0).text(), "hi\n");
}

#[test]
fn a_peer_that_leads_nowhere_is_said_to() {
    let world = World::new();
    let exports = world.home.read("clan/exports.json");
    let address = world.member.address.clone();
    let failed = |peer: &str| {
        let args = ["--yggdrasil-peer", peer, "ssh", "web", "--timeout", "8", "-c", "true"];
        world.run(&args).exits(255)
    };
    let web = serde_json::from_str::<Value>(&exports).unwrap();
    let hosts = &web["clan-core/yggdrasil:ygg:default:web"]["peer"]["hosts"];
    clan(&world.home, hosts[0]["plain"].as_str().unwrap(), false);
    failed(&format!("tcp://{RELAY}:6450")).says(&["Yggdrasil", "another password"]);
    failed(&format!("tcp://{MACHINE}:{PORT}")).says(&["peering", "it is not Yggdrasil"]);
    failed(&format!("tcp://{RELAY}:6443?key={}", "00".repeat(32)))
        .says(&["not one of the named keys"]);
    failed(&format!("tcp://{RELAY}:7777")).says(&["no peer can be connected to"]);
    // A machine that is not there.
    clan(&world.home, &address, false);
    failed(&format!("tcp://{RELAY}:6443")).says(&["lookup: no node knows the machine"]);
}

#[test]
fn only_a_members_key_is_let_in_where_the_machine_has_clans_firewall() {
    let world = World::new();
    world.let_in_members_only();
    let began = Instant::now();
    let stranger = world.run(&["ssh", "web", "--timeout", "4", "-c", "true"]).exits(255);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    stranger.says(&["does not answer on that port", "use a member's key"]);
    for key in ["member.key", "member.pem"] {
        let args = ["--yggdrasil-key", key, "ssh", "web", "-c", "echo", "hi"];
        let done = world.run(&args).exits(0);
        assert_eq!(done.text(), "hi\n");
        assert!(!done.stderr.contains(&world.member.hex[..32]), "{}", done.stderr);
    }
    world.home.secret("no.key", "hunter2");
    let args = ["--yggdrasil-key", "no.key", "ssh", "web", "-c", "true"];
    world.run(&args).exits(255).says(&[
        "the Yggdrasil key no.key: it is neither PEM nor hexadecimal",
        "--yggdrasil-key FILE",
    ]);
    let args = ["--yggdrasil-key", "clan/exports.json", "ssh", "web", "-c", "true"];
    world.run(&args).exits(255).says(&["is open to other users", "chmod 600 clan/exports.json"]);
}

#[test]
fn a_key_that_is_kept_is_let_in_by_its_address_and_used_by_one_at_a_time() {
    let mut world = World::new();
    let identity = world.run(&["network", "identity", "ygg", "--json"]).exits(0).text();
    let identity: Value = serde_json::from_str(&identity).unwrap();
    // The daemon itself says the same of the key.
    let pem = std::fs::read_to_string(identity["file"].as_str().unwrap()).unwrap();
    let config =
        world.home.write("kept.json", json!({ "PrivateKeyPath": identity["file"] }).to_string());
    let args = ["-useconffile", config.to_str().unwrap(), "-address"];
    let address = run(&program(), &args, PACKAGE).trim().to_owned();
    assert_eq!(identity["addresses"], json!([address]));
    world.member.address = address;
    world.let_in_members_only();
    let mut first = start(
        world.command(&["ssh", "web", "-c", "sleep", "3"]).stdin(Stdio::null()),
        "util-linux",
    );
    until("a session", || world.sessions() == 1);
    let done = world.run(&["-v", "ssh", "web", "-c", "echo", "second"]).exits(0);
    assert_eq!(done.text(), "second\n");
    let done = done.says(&["waiting for another clan-connect that uses the key of Yggdrasil"]);
    assert!(first.wait().unwrap().success());
    let body = pem.lines().nth(1).unwrap();
    assert!(!done.stderr.contains(body), "{}", done.stderr);
}

/// The case of one key in several processes: a kept key that is let in.
fn with_one_key(check: impl FnOnce(&Case<'_>)) {
    let world = World::new();
    world.let_in_members_only();
    name_it_db(&world.home, "clan/exports.json", &world.web);
    check(&Case {
        home: &world.home,
        us: &world.us,
        command: &|args| world.command(&[&["--yggdrasil-key", "member.key"], args].concat()),
        sessions: &|| world.sessions(),
        busy: "waiting for another clan-connect that uses the key of Yggdrasil",
    });
}

#[test]
fn two_terminals_share_one_key() {
    with_one_key(one_key::terminals_share_it);
}

#[test]
fn the_end_of_whoever_has_the_key_is_told() {
    with_one_key(one_key::what_becomes_of_the_one_that_has_it_is_told);
}

#[test]
fn scripts_wait_for_one_key_and_share_it() {
    with_one_key(one_key::scripts_wait_and_then_share_it);
}

#[test]
fn one_key_is_one_whatever_the_variables_are() {
    with_one_key(|case| one_key::the_environment_changes_nothing(case, &[]));
}

#[test]
fn an_address_that_is_named_is_reached_by_the_clans_machines() {
    let world = World::new();
    let exports: Value = serde_json::from_str(&world.home.read("clan/exports.json")).unwrap();
    let address =
        exports["clan-core/yggdrasil:ygg:default:web"]["peer"]["hosts"][0]["plain"].clone();
    let target = format!("root@[{}]:{PORT}", address.as_str().unwrap());
    let snapshot = json!({ "clan_connect_snapshot": 1, "exports": exports });
    world.home.write("clan/clan-connect.json", snapshot.to_string());
    std::fs::remove_file(world.home.path("clan/exports.json")).unwrap();
    let args = ["ssh", "web", "--target-host", &target, "-c", "echo", "hi"];
    assert_eq!(world.run(&args).exits(0).text(), "hi\n");
    // As `ssh` it is but a host, to which the clan leads all the same.
    let (port, target) = (PORT.to_string(), format!("root@{}", address.as_str().unwrap()));
    let options = ["openssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=accept-new"];
    let args = [&options[..], &["-p", &port, &target, "echo", "hi"]].concat();
    assert_eq!(world.run(&args).exits(0).text(), "hi\n");
}

#[test]
fn two_sessions_at_once_and_a_relay_that_restarts_are_survived() {
    let mut world = World::new();
    let script = "echo one; sleep 6; echo two";
    let begin = |world: &World| {
        let mut command = world.command(&["ssh", "web", "-c", "sh", "-c", script]);
        let mut child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()), "util-linux");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "one");
        (child, lines)
    };
    let mut both = [begin(&world), begin(&world)];
    world.relay_daemon = None;
    let again = Daemon::new(&world.home, &world.relay, "relay", &world.relay_key, relay_settings());
    world.relay_daemon = Some(again);
    for (child, lines) in &mut both {
        assert_eq!(lines.next().unwrap().unwrap(), "two");
        assert!(child.wait().unwrap().success());
    }
}
