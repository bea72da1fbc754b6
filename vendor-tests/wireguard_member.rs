//! Machines of a clan's WireGuard network, for a user who is a member of it and whose
//! computer is not: Clan's topology with the real wireguard-go, in namespaces of their own.
//! Our binary runs there as nobody, who has no rights and no device.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Home, Run, noise, run, running, sshd_config, start, until, wait};
use crate::links::{Namespace, PORT};
use crate::one_key::{self, Case, name_it_db};

const DIRECT: &str = "clan_lib.network.direct";
/// Who has no rights.
const NOBODY: &str = "65534";
/// Where the controller is.
pub const ENDPOINT: &str = "10.92.1.1";
pub const PREFIX: &str = "fd11:2:3:400";
pub const WEB: &str = "0:0:b:2";
pub const ADMIN: &str = "0:0:a:1";

/// A pair of keys.
pub struct Key {
    pub private: String,
    pub public: String,
}

impl Key {
    fn new(home: &Home, name: &str) -> Self {
        let private = run("wg", &["genkey"], "wireguard-tools");
        let file = home.secret(&format!("{name}.key"), &private);
        let pipe = format!("wg pubkey < {}", file.display());
        let public = run("sh", &["-c", &pipe], "wireguard-tools").trim().to_owned();
        Self { private, public }
    }
}

/// A WireGuard device in a namespace.
pub struct Device {
    program: Child,
    socket: String,
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        // A program that is killed leaves it behind.
        let _ = std::fs::remove_file(&self.socket);
    }
}

pub fn device(place: &Namespace, name: &str, address: &str, settings: &[&str]) -> Device {
    let [program, enter] = place.enter();
    let mut command = Command::new(&program);
    command.args([&enter, "wireguard-go", "-f", name]).env("WG_PROCESS_FOREGROUND", "1");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let socket = format!("/var/run/wireguard/{name}.sock");
    // A test that was killed may have left one of this name: names are numbers of processes.
    let _ = std::fs::remove_file(&socket);
    let device = Device { program: start(&mut command, "wireguard-go"), socket };
    until("a WireGuard device", || std::path::Path::new(&device.socket).exists());
    run(&program, &[&[&*enter, "wg", "set", name], settings].concat(), "wireguard-tools");
    place.ip(&format!("addr add {address}/56 dev {name}"));
    place.ip(&format!("link set {name} mtu 1420 up"));
    device
}

/// A controller, a machine behind it, and a computer that is in no network.
pub struct World {
    pub home: Home,
    pub us: Namespace,
    pub own: Key,
    pub admin: Key,
    pub web: Key,
    _devices: [Device; 2],
    sshd: Child,
    pub controller: Namespace,
    machine: Namespace,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

impl World {
    pub fn new() -> Self {
        println!("{}", run("wg", &["--version"], "wireguard-tools"));
        println!("{}", run("wireguard-go", &["--version"], "wireguard-go"));
        let home = Home::new();
        let (us, controller, machine) = (Namespace::new(), Namespace::new(), Namespace::new());
        for (at, end) in [(1, &us), (2, &machine)] {
            let peer = format!("netns /proc/{}/ns/net", end.pid());
            controller.ip(&format!("link add u{at} type veth peer name u0 {peer}"));
            controller.ip(&format!("addr add 10.92.{at}.1/24 dev u{at}"));
            controller.ip(&format!("link set u{at} up"));
            end.ip(&format!("addr add 10.92.{at}.2/24 dev u0"));
            end.ip("link set u0 up");
        }
        let [program, enter] = controller.enter();
        let forward = "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        run(&program, &[&enter, "sh", "-c", forward], "util-linux");
        let [own, admin, web] = ["own", "admin", "web"].map(|name| Key::new(&home, name));
        let file = |name: &str| home.path(&format!("{name}.key")).display().to_string();
        // As long as 15 letters at most, and one of its kind on this computer.
        let name = |letter: &str| format!("wg{letter}{}", us.pid());
        let at = |end: &str| format!("{PREFIX}:{end}");
        let of = |end: &str| format!("{PREFIX}:{end}/128");
        let devices = [
            device(
                &controller,
                &name("c"),
                &format!("{PREFIX}::1"),
                &[
                    "private-key",
                    &file("own"),
                    "listen-port",
                    "51820",
                    "peer",
                    &web.public,
                    "allowed-ips",
                    &of(WEB),
                    "peer",
                    &admin.public,
                    "allowed-ips",
                    &of(ADMIN),
                ],
            ),
            device(
                &machine,
                &name("m"),
                &at(WEB),
                &[
                    "private-key",
                    &file("web"),
                    "peer",
                    &own.public,
                    "allowed-ips",
                    &format!("{PREFIX}::/56"),
                    "endpoint",
                    "10.92.2.1:51820",
                    "persistent-keepalive",
                    "25",
                ],
            ),
        ];
        let config = sshd_config(&home, "::", PORT, &home.default_key(), "MaxStartups 100\n");
        let log = std::fs::File::create(home.path("sshd.log")).unwrap();
        let [program, enter] = machine.enter();
        let mut command = Command::new(program);
        command.args([&enter, "/usr/sbin/sshd", "-D", "-e", "-f"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let sshd = start(&mut command, "openssh-server");
        until("sshd", || home.read("sshd.log").contains("Server listening"));
        clan(&home, &own, &admin, &web);
        Self { home, us, own, admin, web, _devices: devices, sshd, controller, machine }
    }

    /// Our binary, as nobody.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_through(&[], args)
    }

    /// The same with something before it.
    pub fn command_through(&self, before: &[&str], args: &[&str]) -> Command {
        let clan = ["--flake", "clan", "--exports", "clan/clan-connect.json"];
        self.command_of(&clan, before, args)
    }

    /// The same for this clan, or none.
    fn command_of(&self, clan: &[&str], before: &[&str], args: &[&str]) -> Command {
        let dir = self.home.dir.path().display().to_string();
        run("chown", &["-R", &format!("{NOBODY}:{NOBODY}"), &dir], "coreutils");
        let [program, enter] = self.us.enter();
        let nobody = ["/usr/bin/setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
        let through = [&[&*program, &*enter], before, &nobody[..], &["/usr/bin/setsid"]].concat();
        self.home.command_with(&through, &[clan, args].concat())
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(args), "util-linux")))
    }

    /// How many connections the machine has.
    pub fn sessions(&self) -> usize {
        let [program, enter] = self.machine.enter();
        let args = [&*enter, "ss", "-Htn", "state", "established"];
        run(&program, &args, "iproute2").lines().count()
    }
}

/// The clan: `web` in the network and nowhere else, and `admin`, which is no computer.
fn clan(home: &Home, controller: &Key, admin: &Key, web: &Key) {
    let host = |name: &str| {
        json!({ "peer": { "hosts": [{ "plain": name }], "port": PORT,
                                              "user": "root" } })
    };
    let exports = json!({
        "clan-core/wireguard:vpn::": { "networking": { "module": DIRECT, "priority": 1000 } },
        "clan-core/wireguard:vpn:controller:gate": host("gate.lab"),
        "clan-core/wireguard:vpn:peer:web": host("web.lab"),
        "clan-core/wireguard:vpn:peer:admin": host("admin.lab"),
    });
    let settings = json!({ "controller": { "gate": { "endpoint": ENDPOINT } },
                           "peer": { "web": {}, "admin": {} } });
    let snapshot = json!({
        "clan_connect_snapshot": 1, "exports": exports,
        "services": { "vpn": { "service": "wireguard", "roles": settings } },
    });
    home.write("clan/.clan-flake", "");
    home.write("clan/clan-connect.json", snapshot.to_string());
    let var = |machine: &str, generator: &str, file: &str, value: &str| {
        let dir = format!("clan/vars/per-machine/{machine}/wireguard-{generator}-vpn");
        home.write(&format!("{dir}/{file}/value"), format!("{value}\n"));
    };
    for (machine, key) in [("gate", controller), ("admin", admin), ("web", web)] {
        var(machine, "keys", "publickey", &key.public);
    }
    var("gate", "network", "prefix", PREFIX);
    var("admin", "network", "suffix", ADMIN);
    var("web", "network", "suffix", WEB);
}

#[test]
fn a_member_without_rights_reaches_a_machine_behind_the_controller() {
    let world = World::new();
    let key = ["--wireguard-key", "admin.key"];
    let with = |args: &[&'static str]| [&key[..], args].concat();
    let done = world.run(&with(&["-v", "ssh", "web", "-c", "cat"])).exits(0);
    let done = done.says(&["over network vpn", "web.lab"]);
    assert!(!done.stderr.contains(world.admin.private.trim()), "{}", done.stderr);
    // Every byte, there and back.
    let data = noise(8 << 20);
    let mut echo = world.command(&with(&["ssh", "web", "-c", "cat"]));
    crate::harness::returns(echo.stdin(Stdio::piped()), &data);
    // Nobody says the end for us.
    until("the end of every session", || world.sessions() == 0);
    let list = world.run(&with(&["network", "list", "--json"])).exits(0).text();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["networks"][0]["running"], "in-process", "{list}");
    assert_eq!(list["networks"][0]["way"], "wireguard", "{list}");
    let ping = world.run(&with(&["network", "ping", "web", "--json"])).exits(0).text();
    let ping: Value = serde_json::from_str(&ping).unwrap();
    assert_eq!(ping["routes"][0]["ok"], true, "{ping}");
    let list = world.run(&with(&["network", "list"])).exits(0).text();
    assert!(list.contains("in-process (wireguard)"), "{list}");
    let ping = world.run(&with(&["network", "ping", "web"])).exits(0).text();
    assert!(ping.starts_with("vpn via web.lab (on demand: wireguard): "), "{ping}");
    let overview = world.run(&with(&["network", "overview"])).exits(0).text();
    assert!(overview.contains("vpn (on demand: wireguard)"), "{overview}");
    // As `ssh`, by an address or a name of the network, which is no machine's name.
    let port = PORT.to_string();
    let accept = ["openssh", "-v", "-oBatchMode=yes", "-oStrictHostKeyChecking=accept-new"];
    let of_web = format!("{PREFIX}:{WEB}");
    for host in [&of_web, "web.lab"] {
        let target = format!("root@{host}");
        let args = [&key[..], &accept, &["-p", &port, &target, "echo", "in"]].concat();
        let done = world.run(&args).exits(0);
        assert_eq!(done.text(), "in\n");
        assert!(!done.stderr.contains("is the machine"), "{}", done.stderr);
    }
    // It is the machine to a command that wants one.
    let done = world.run(&with(&["-v", "ssh", "web.lab", "-c", "echo", "in"])).exits(0);
    assert_eq!(done.text(), "in\n");
    let proxy = world.run(&with(&["proxy", "web.lab"])).text();
    assert!(proxy.starts_with("SSH-2.0-"), "{proxy:?}");
    world.run(&with(&["proxy", "other.lab"])).says(&["unknown machine"]);
    // A clan that nobody has named leads nowhere.
    let target = format!("root@{of_web}");
    let args = [&key[..], &accept, &["-p", &port, &target, "true"]].concat();
    let mut alone = world.command_of(&[], &[], &args);
    let alone = Run::of(wait(start(&mut alone, "util-linux"))).exits(255);
    alone.says(&["Network is unreachable"]);
    // The controller itself is a member, too, and has no sshd.
    world.run(&with(&["ssh", "gate", "-c", "true"])).exits(255).says(&["connection refused"]);
    assert!(running(&["wireguard-key"]).is_empty());
}

#[test]
fn a_key_is_found_and_used_by_one_process_at_a_time() {
    let world = World::new();
    let home = &world.home;
    home.secret("home/.config/clan-connect/wireguard-key", &world.admin.private);
    let mut first = start(
        world.command(&["ssh", "web", "-c", "sleep", "3"]).stdin(Stdio::null()),
        "util-linux",
    );
    until("a session", || world.sessions() == 1);
    let began = Instant::now();
    let done = world.run(&["-v", "ssh", "web", "-c", "echo", "second"]).exits(0);
    assert_eq!(done.text(), "second\n");
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    done.says(&["waiting for another clan-connect that uses the key of admin"]);
    assert!(first.wait().unwrap().success());
    // With another key there is nothing to wait for, but whose it is is said.
    let other = world.run(&["--wireguard-key", "web.key", "ssh", "gate", "-c", "true"]);
    let other = other.exits(255);
    assert!(!other.stderr.contains(world.web.private.trim()), "{}", other.stderr);
}

/// The case of one key in several processes.
fn with_one_key(check: impl FnOnce(&Case<'_>)) {
    let world = World::new();
    let home = &world.home;
    home.secret("home/.config/clan-connect/wireguard-key", &world.admin.private);
    name_it_db(home, "clan/clan-connect.json", &format!("{PREFIX}:{WEB}"));
    check(&Case {
        home,
        us: &world.us,
        command: &|args| world.command(args),
        sessions: &|| world.sessions(),
        busy: "waiting for another clan-connect that uses the key of admin",
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
    with_one_key(|case| {
        let key = case.home.path("admin.key").display().to_string();
        one_key::the_environment_changes_nothing(case, &["--wireguard-key", &key]);
    });
}

#[test]
fn nobody_keeps_a_key_from_us_by_its_name() {
    with_one_key(one_key::a_stranger_with_its_name_is_no_obstacle);
}

#[test]
fn the_key_of_a_machine_that_is_never_deployed_is_opened_in_memory() {
    let world = World::new();
    let home = &world.home;
    run("age-keygen", &["-o", home.path("me").to_str().unwrap()], "age");
    let me = run("age-keygen", &["-y", home.path("me").to_str().unwrap()], "age");
    let var = "clan/secrets/clan-vars/per-machine/admin/wireguard-keys-vpn/privatekey";
    home.write(&format!("{var}/users"), "");
    let sealed = home.path(&format!("{var}/privatekey.age")).display().to_string();
    let plain = home.path("admin.key").display().to_string();
    run("age", &["-r", me.trim(), "-o", &sealed, &plain], "age");
    std::fs::remove_file(&plain).unwrap();
    let args =
        ["--identity", "me", "--wireguard-key", "var:admin", "ssh", "web", "-c", "echo", "hi"];
    let done = world.run(&args).exits(0);
    assert_eq!(done.text(), "hi\n");
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
}

#[test]
fn a_controller_that_does_not_answer_is_said_to_be_silent() {
    let world = World::new();
    let snapshot = world.home.read("clan/clan-connect.json");
    world.home.write("clan/clan-connect.json", snapshot.replace(ENDPOINT, "10.92.1.9"));
    let args = ["--wireguard-key", "admin.key", "ssh", "web", "--timeout", "3", "-c", "true"];
    let began = Instant::now();
    let failed = world.run(&args).exits(255);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    failed.says(&["vpn via web.lab port 2222: "]);
}
