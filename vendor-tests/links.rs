//! Machines in network namespaces of their own, reached over real links: dead
//! ones, a slow one, one that is cut. OpenSSH's sshd is what answers.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Home, Run, run, sshd_config, start, until, wait};

/// Where sshd listens.
pub const PORT: u16 = 2222;

/// A namespace that exists as long as the process in it.
pub struct Namespace(Child);

impl Namespace {
    pub fn new() -> Self {
        let mut command = Command::new("/usr/bin/unshare");
        let child = start(command.args(["--net", "sleep", "1200"]), "util-linux");
        let namespace = Self(child);
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let pid = namespace.pid();
        until("a network namespace", || of(&pid).is_some_and(|it| Some(it) != of("self")));
        namespace.ip("link set lo up");
        namespace
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// What starts a program there.
    pub fn enter(&self) -> [String; 2] {
        ["/usr/bin/nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.pid())]
    }

    pub fn ip(&self, words: &str) {
        let [program, place] = self.enter();
        let args: Vec<&str> = [&*place, "ip"].into_iter().chain(words.split(' ')).collect();
        run(&program, &args, "iproute2");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Sessions of sshd, which hear nothing of the end over a cut link.
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let own = of(&self.pid());
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().into_string().unwrap_or_default();
            let number = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
            if let Some(number) = number.filter(|_| own.is_some() && of(&pid) == own) {
                // It may be gone by now.
                let _ = rustix::process::kill_process(number, rustix::process::Signal::KILL);
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// OpenSSH's sshd there, on every address; it writes sshd.log.
pub fn sshd_in(namespace: &Namespace, home: &Home, authorized: &str, config: &str) -> Child {
    let config = sshd_config(home, "0.0.0.0", PORT, authorized, config);
    let log = std::fs::File::create(home.path("sshd.log")).unwrap();
    let [program, place] = namespace.enter();
    let mut command = Command::new(program);
    command.args([&place, "/usr/sbin/sshd", "-D", "-e", "-f"]).arg(config);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let sshd = start(&mut command, "openssh-server");
    until("sshd", || home.read("sshd.log").contains("Server listening"));
    sshd
}

/// A client and a machine, with a link for every network.
struct World {
    home: Home,
    client: Namespace,
    machine: Namespace,
    sshd: Child,
    /// Carries the slow link.
    slow: Option<Child>,
}

impl World {
    /// Links 1 to 3 join 10.91.N.1, the client, and 10.91.N.2, the machine.
    fn new() -> Self {
        println!("{}", run("ip", &["-V"], "iproute2"));
        let home = Home::new();
        let key = home.default_key();
        let (client, machine) = (Namespace::new(), Namespace::new());
        for link in 1..=3 {
            let peer = format!("netns /proc/{}/ns/net", machine.pid());
            client.ip(&format!("link add n{link} type veth peer name n{link} {peer}"));
            for (end, host) in [(&client, 1), (&machine, 2)] {
                end.ip(&format!("addr add 10.91.{link}.{host}/24 dev n{link}"));
                end.ip(&format!("link set n{link} up"));
            }
            // Whoever has this address is gone, and nothing says so.
            client.ip(&format!("neigh add 10.91.{link}.9 lladdr 02:00:00:00:00:09 dev n{link}"));
        }
        let more = "LogLevel DEBUG1\nMaxStartups 100\n";
        let sshd = sshd_in(&machine, &home, &key, more);
        Self { home, client, machine, sshd, slow: None }
    }

    /// A link that joins 10.91.4.1 and 10.91.4.2 with this round trip.
    fn add_slow_link(&mut self, round_trip: u32) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-tests/slow-link");
        let (client, machine) = (self.client.pid(), self.machine.pid());
        let delay = (round_trip / 2).to_string();
        let mut command = Command::new(script);
        command.args([&client, "10.91.4.1", &machine, "10.91.4.2", &delay]);
        let mut child = start(command.stdout(Stdio::piped()), "python3");
        let mut up = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut up).unwrap();
        self.slow = Some(child);
        assert_eq!(up, "up\n");
    }

    fn log(&self) -> String {
        self.home.read("sshd.log")
    }

    /// A clan in which `m` has these addresses, the best first.
    fn exports(&self, hosts: &[&str]) {
        let network = |(at, host): (usize, &&str)| {
            let peers = json!({ "m": { "host": { "plain": host }, "port": PORT } });
            (format!("net{}", at + 1), json!({ "priority": 100 - at, "peers": peers }))
        };
        let networks: serde_json::Map<_, _> = hosts.iter().enumerate().map(network).collect();
        self.home.write("exports.json", serde_json::Value::from(networks).to_string());
    }

    fn command(&self, args: &[&str]) -> Command {
        let [program, place] = self.client.enter();
        let args = [&["--exports", "exports.json"], args].concat();
        self.home.command_with(&[&program, &place, "/usr/bin/setsid"], &args)
    }

    fn ssh(&self, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(args), "util-linux")))
    }

    /// The time to a command's output.
    fn time(&self) -> Duration {
        // What worked last would start at once.
        let _ = std::fs::remove_dir_all(self.home.path("home/.cache"));
        let started = Instant::now();
        assert_eq!(self.ssh(&["ssh", "m", "-c", "echo", "hi"]).exits(0).text(), "hi\n");
        started.elapsed()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in [Some(&mut self.sshd), self.slow.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn two_dead_networks_cost_little() {
    let world = World::new();
    // The fastest of several: other tests may run meanwhile.
    let (mut alone, mut after_dead_ones) = (Duration::MAX, Duration::MAX);
    for _ in 0..8 {
        world.exports(&["10.91.3.2"]);
        alone = alone.min(world.time());
        world.exports(&["10.91.1.9", "10.91.2.9", "10.91.3.2"]);
        after_dead_ones = after_dead_ones.min(world.time());
    }
    println!("alone {alone:?}, after two black holes {after_dead_ones:?}");
    assert!(after_dead_ones <= alone + Duration::from_millis(500));
    // They really are black holes, and the third was not tried at once.
    assert!(after_dead_ones >= alone + Duration::from_millis(300));
    // What worked last starts at once and still has to wait for the better ones.
    let done = world.ssh(&["-v", "ssh", "m", "-c", "true"]).exits(0);
    assert!(done.stderr.contains("over network net3"), "{}", done.stderr);
}

#[test]
fn a_slow_network_of_higher_priority_wins() {
    let mut world = World::new();
    world.add_slow_link(300);
    world.exports(&["10.91.4.2", "10.91.1.2"]);
    for _ in 0..3 {
        let started = Instant::now();
        let done = world.ssh(&["-v", "ssh", "m", "-c", "true"]).exits(0);
        println!("300 ms of round trip: {:?}", started.elapsed());
        done.says(&["trying net2", "over network net1"]);
    }
    let fastest = ["-v", "ssh", "m", "--prefer", "fastest", "-c", "true"];
    world.ssh(&fastest).exits(0).says(&["over network net2"]);
}

#[test]
fn a_second_command_over_a_master_costs_two_round_trips() {
    let mut world = World::new();
    world.add_slow_link(300);
    let path = |name: &str| world.home.path(name).display().to_string();
    let (socket, known, key) = (path("m"), path("known"), path("home/.ssh/id_ed25519"));
    let (known, port) = (format!("-oUserKnownHostsFile={known}"), format!("-p{PORT}"));
    let fixed = ["-F", "none", "-oStrictHostKeyChecking=accept-new", &known, &port, "-i", &key];
    let to = "root@10.91.4.2";
    let [program, place] = world.client.enter();
    let ours = |args: &[&str]| {
        let args = [&["openssh"], &fixed[..], args].concat();
        world.home.command_with(&[&program, &place, "/usr/bin/setsid"], &args)
    };
    let theirs = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args([&place, "/usr/bin/ssh"]).args(fixed).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    // To the output: sshd's exit status is one round trip behind it, held up by
    // Nagle's algorithm on its side.
    let time = |mut command: Command| {
        let started = Instant::now();
        let mut child = start(&mut command, "openssh-client");
        let mut output = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut output).unwrap();
        let elapsed = started.elapsed();
        assert_eq!(&output, b"hi\n");
        assert!(wait(child).status.success());
        elapsed
    };
    let second = |client: &dyn Fn(&[&str]) -> Command| {
        let mut master = start(&mut client(&["-M", "-N", "-S", &socket, to]), "");
        until("the master", || std::path::Path::new(&socket).exists());
        let run = || time(client(&["-S", &socket, to, "echo", "hi"]));
        let fastest = [run(), run(), run()].into_iter().min().unwrap();
        assert!(wait(start(&mut client(&["-S", &socket, "-O", "exit", to]), "")).status.success());
        master.wait().unwrap();
        fastest
    };
    let alone = time(ours(&[to, "echo", "hi"]));
    let their_own = time(theirs(&[to, "echo", "hi"]));
    let (mine, other) = (second(&ours), second(&theirs));
    println!(
        "300 ms of round trip: alone {alone:?}, OpenSSH {their_own:?}; over a master {mine:?}, \
         OpenSSH {other:?}, ratio {:.2}",
        mine.as_secs_f64() / other.as_secs_f64()
    );
    // A login takes 4 or 5 round trips less.
    assert!(alone + Duration::from_millis(900) < their_own, "{alone:?} against {their_own:?}");
    // One more would be 300; on a busy machine the two are slow alike.
    assert!(mine < other + Duration::from_millis(250), "{mine:?} against {other:?}");
    assert!(mine + Duration::from_millis(900) < alone, "{mine:?} against {alone:?}");
}

#[test]
fn of_a_hundred_races_the_server_sees_one_login_each_and_no_word_of_the_losers() {
    const RUNS: usize = 100;
    const AT_ONCE: usize = 10;
    let mut world = World::new();
    // Longer than the head start, so that the second network starts as well.
    world.add_slow_link(240);
    world.exports(&["10.91.4.2", "10.91.1.2", "10.91.2.2"]);
    let args = ["ssh", "m", "--grace", "2", "-c", "true"];
    for _ in 0..RUNS / AT_ONCE {
        let start = |_| start(&mut world.command(&args), "util-linux");
        let children: Vec<Child> = (0..AT_ONCE).map(start).collect();
        for child in children {
            Run::of(wait(child)).exits(0);
        }
    }
    let log = world.log();
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    let from_slow = count("Connection from 10.91.4.1");
    let from_fast = count("Connection from 10.91.1.1");
    println!("connections: {from_slow} over the slow link, {from_fast} over the fast one");
    assert!(from_fast > RUNS / 2, "there was a race");
    assert_eq!(from_slow, RUNS);
    assert_eq!(count("Accepted publickey for root from 10.91.4.1 "), RUNS);
    assert_eq!(count("Accepted publickey for"), RUNS);
    // What the client says first is its version; losers say nothing.
    assert_eq!(count("Remote protocol version"), RUNS);
}

#[test]
fn a_link_that_is_cut_in_mid_session_is_noticed_and_named() {
    let world = World::new();
    world.exports(&["10.91.1.2", "10.91.2.2"]);
    let args = [
        "-v",
        "ssh",
        "m",
        "--ssh-option",
        "ServerAliveInterval",
        "1",
        "--ssh-option",
        "ServerAliveCountMax",
        "2",
        "-c",
        "sh",
        "-c",
        "echo up; sleep 60",
    ];
    let mut child = start(&mut world.command(&args), "util-linux");
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let cut = Instant::now();
    world.machine.ip("link set n1 down");
    let done = Run::of(wait(child)).exits(255);
    let noticed = cut.elapsed();
    println!("noticed after {noticed:?}: {}", done.stderr);
    assert!(noticed < Duration::from_secs(5), "{noticed:?}");
    done.says(&["connection to m", "no longer answers", "hint: connect again"]);
    // The next one goes where there is a link.
    world.ssh(&["-v", "ssh", "m", "-c", "true"]).exits(0).says(&["over network net2"]);
}

#[test]
fn whether_a_vpn_runs_is_told_by_its_device() {
    let home = Home::new();
    let client = Namespace::new();
    let network = |service: &str, host: &str| {
        json!({
            format!("mine/{service}:net::"): { "networking": { "module": "clan_lib.network.direct" } },
            format!("mine/{service}:net:r:m"): { "peer": { "hosts": [{ "plain": host }] } },
        })
    };
    let running = |service: &str, host: &str| {
        home.write("exports.json", network(service, host).to_string());
        let [program, place] = client.enter();
        // Its own view of the devices, too.
        let own_sys = "mount -t sysfs none /sys && exec \"$@\"";
        let through =
            [&program, &place, "/usr/bin/unshare", "--mount", "/bin/sh", "-c", own_sys, "sh"];
        let args = ["--exports", "exports.json", "network", "list", "--json"];
        let mut command = home.command_with(&through, &args);
        command.env("PATH", "/usr/bin:/bin");
        let done = Run::of(wait(start(&mut command, "util-linux"))).exits(0);
        let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        value["networks"][0]["running"].as_str().unwrap().to_owned()
    };
    assert_eq!(running("tinc", "10.243.0.2"), "no");
    assert_eq!(running("internet", "10.243.0.2"), "n/a");
    client.ip("tuntap add dev tinc0 mode tun");
    client.ip("addr add 10.243.0.1/24 dev tinc0");
    assert_eq!(running("tinc", "10.243.0.2"), "no", "it is down");
    client.ip("link set tinc0 up");
    assert_eq!(running("tinc", "10.243.0.2"), "yes");
    assert_eq!(running("tinc", "10.244.0.2"), "no");
    assert_eq!(running("tinc", "peer.tinc"), "unknown");
    client.ip("tuntap add dev lan mode tun");
    client.ip("addr add 201:2:3::1/128 dev lan");
    client.ip("link set lan up");
    client.ip("route add 200::/7 dev lan");
    assert_eq!(running("yggdrasil", "202:80d::1"), "yes");
    assert_eq!(running("mycelium", "42a:b024::1"), "no");
}
