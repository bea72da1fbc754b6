//! What the tunnel of a member carries, and what is said when it cannot: Debian's
//! wireguard-go as a clan's controller, in namespaces of the tests' own, and our binary
//! there as nobody.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Terminal, noise, run, signal, start, until, wait_status};
use crate::wireguard_member::{ADMIN, ENDPOINT, PREFIX, World, device};

const KEY: [&str; 2] = ["--wireguard-key", "admin.key"];
/// Where WireGuard listens.
const PORT: &str = "51820";
const BLOCK: usize = 16 << 20;

/// A slow line that loses some, between us and the controller.
struct Line(Child);

impl Line {
    fn new(world: &World, address: &str, port: &str, delay: u32, loss: u32) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-tests/udp-link");
        let [program, enter] = world.controller.enter();
        let mut command = Command::new(program);
        command.args([&enter, script, address, port, PORT]);
        command.args([delay.to_string(), loss.to_string()]);
        let mut child = start(command.stdout(Stdio::piped()), "python3");
        let mut up = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut up).unwrap();
        assert_eq!(up, "up\n");
        Self(child)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The clan says that its controller is there.
fn set_endpoint(world: &World, host: &str, port: u16) {
    let snapshot = world.home.read("clan/clan-connect.json");
    let mut snapshot: serde_json::Value = serde_json::from_str(&snapshot).unwrap();
    snapshot["services"]["vpn"]["roles"]["controller"]["gate"] =
        serde_json::json!({ "endpoint": host, "port": port });
    world.home.write("clan/clan-connect.json", snapshot.to_string());
}

fn ssh(world: &World, command: &str) -> Command {
    world.command(&[&KEY[..], &["ssh", "web", "-c", "sh", "-c", command]].concat())
}

/// Sends so many blocks and has them compared there; how long it takes.
fn send(world: &World, block: &[u8], count: usize) -> Duration {
    let sum = "sha256sum";
    let began = Instant::now();
    let mut there = start(ssh(world, sum).stdin(Stdio::piped()), "");
    let mut here = Command::new("/usr/bin/sha256sum");
    let mut here = start(here.stdin(Stdio::piped()).stdout(Stdio::piped()), "coreutils");
    let (mut to_there, mut to_here) = (there.stdin.take().unwrap(), here.stdin.take().unwrap());
    for _ in 0..count {
        to_there.write_all(block).unwrap();
        to_here.write_all(block).unwrap();
    }
    drop((to_there, to_here));
    let text = |child: &mut Child| {
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let sums = (text(&mut there), text(&mut here));
    let took = began.elapsed();
    assert!(wait_status(&mut there).success());
    assert!(wait_status(&mut here).success());
    assert_eq!(sums.0, sums.1);
    took
}

/// Fetches so many blocks.
fn fetch(world: &World, block: &[u8], count: usize) -> Duration {
    let file = world.home.path("block").display().to_string();
    let command = format!("i=0; while [ $i -lt {count} ]; do cat {file}; i=$((i+1)); done");
    let began = Instant::now();
    let mut child = start(&mut ssh(world, &command), "");
    let mut stdout = child.stdout.take().unwrap();
    let mut got = vec![0; block.len()];
    for _ in 0..count {
        stdout.read_exact(&mut got).unwrap();
        assert!(got == block);
    }
    assert_eq!(stdout.read(&mut got).unwrap(), 0);
    assert!(wait_status(&mut child).success());
    began.elapsed()
}

/// A gibibyte is compared in so many parts, as others use the processors now and then.
const PARTS: usize = 4;

#[test]
fn a_gibibyte_each_way_arrives_whole_and_half_as_quick_as_by_a_device() {
    let world = World::new();
    let block = noise(BLOCK);
    world.home.write("block", &block);
    let count = (1 << 30) / BLOCK / PARTS;
    let both_ways = || [send(&world, &block, count), fetch(&world, &block, count)];
    let key = world.home.path("admin.key").display().to_string();
    let endpoint = format!("{ENDPOINT}:{PORT}");
    let network = format!("{PREFIX}::/56");
    let settings = ["private-key", &key, "peer", &world.own.public];
    let settings = [&settings[..], &["allowed-ips", &network, "endpoint", &endpoint]].concat();
    let parts: Vec<_> = (0..PARTS)
        .map(|part| {
            let ours = both_ways();
            // The same binary, the same key, and the kernel's route through wireguard-go.
            let name = format!("wg{part}{}", world.us.pid());
            let _device = device(&world.us, &name, &format!("{PREFIX}:{ADMIN}"), &settings);
            (ours, both_ways())
        })
        .collect();
    for (at, way) in ["there", "back"].into_iter().enumerate() {
        let rate = |took: Duration| (1 << 30) as f64 / took.as_secs_f64() / 1e6;
        let ours: Duration = parts.iter().map(|(ours, _)| ours[at]).sum();
        let theirs: Duration = parts.iter().map(|(_, theirs)| theirs[at]).sum();
        println!("{way} {:.0} MB/s, by a device {:.0} MB/s", rate(ours), rate(theirs));
        let share = |(ours, theirs): &([Duration; 2], [Duration; 2])| {
            theirs[at].as_secs_f64() / ours[at].as_secs_f64()
        };
        let shares: Vec<_> = parts.iter().map(share).collect();
        println!("{way} {shares:.2?} of it");
        assert!(shares.iter().any(|share| *share >= 0.5), "{way} {parts:?}");
    }
}

#[test]
fn a_terminal_works_and_whatever_ends_us_the_machine_hears_of_it() {
    let world = World::new();
    let shell = [&KEY[..], &["ssh", "web"]].concat();
    let mut terminal = Terminal::of(world.command(&shell), 90, 30);
    terminal.send("stty size; echo do''ne\r");
    terminal.expect("30 90");
    terminal.expect("done");
    terminal.send("exit 5\r");
    assert_eq!(terminal.exit_code(), Some(5));
    until("the end of the shell", || world.sessions() == 0);
    for by in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut child = start(&mut ssh(&world, "echo up; sleep 100"), "");
        let mut up = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut up).unwrap();
        assert_eq!(up, "up\n");
        let asked = Instant::now();
        signal(i32::try_from(child.id()).unwrap(), by);
        assert_eq!(wait_status(&mut child).code(), Some(128 + by.as_raw()));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        until("the end of the session", || world.sessions() == 0);
    }
}

#[test]
fn a_slow_line_that_loses_some_carries_all() {
    let world = World::new();
    set_endpoint(&world, ENDPOINT, 51999);
    let _line = Line::new(&world, ENDPOINT, "51999", 100, 5);
    let block = noise(1 << 20);
    world.home.write("block", &block);
    let began = Instant::now();
    let done = ssh(&world, "echo hi").output().unwrap();
    assert_eq!(done.stdout, b"hi\n", "{}", String::from_utf8_lossy(&done.stderr));
    println!("a command: {:?}", began.elapsed());
    let rate = |took: Duration| (1 << 20) as f64 / took.as_secs_f64() / 1e3;
    println!("there {:.0} kB/s", rate(send(&world, &block, 1)));
    println!("back {:.0} kB/s", rate(fetch(&world, &block, 1)));
}

#[test]
fn a_controller_that_moves_is_found_again_in_mid_session() {
    let world = World::new();
    let hosts = world.home.write("hosts", "10.92.1.1 gate.example\n").display().to_string();
    set_endpoint(&world, "gate.example", 51999);
    world.controller.ip("addr add 10.92.1.3/24 dev u1");
    let line = Line::new(&world, "10.92.1.1", "51999", 0, 0);
    let mount = format!("mount --bind {hosts} /etc/hosts && exec \"$@\"");
    let before = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", &mount, "sh"];
    let args = [&KEY[..], &["ssh", "web", "-c", "cat"]].concat();
    let mut command = world.command_through(&before, &args);
    let path = "/usr/bin:/bin:/usr/sbin:/sbin";
    let mut child = start(command.stdin(Stdio::piped()).env("PATH", path), "util-linux");
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut echo = |word: &str| {
        stdin.write_all(word.as_bytes()).unwrap();
        let mut heard = String::new();
        stdout.read_line(&mut heard).unwrap();
        assert_eq!(heard, word);
    };
    echo("before\n");
    drop(line);
    let _line = Line::new(&world, "10.92.1.3", "51999", 0, 0);
    // In place: what is mounted is the file and not its name.
    std::fs::write(&hosts, "10.92.1.3 gate.example\n").unwrap();
    let began = Instant::now();
    echo("after\n");
    println!("found again after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(45));
    drop(stdin);
    assert!(wait_status(&mut child).success());
}

#[test]
fn silence_a_closed_port_and_a_machine_that_is_down_are_told_apart() {
    let world = World::new();
    let failing = |machine: &'static str| {
        world.run(&[&KEY[..], &["ssh", machine, "-c", "true"]].concat()).exits(255)
    };
    set_endpoint(&world, ENDPOINT, 51821);
    failing("web").says(&["nothing listens at the WireGuard controller's endpoint"]);
    set_endpoint(&world, ENDPOINT, 51820);
    let [program, enter] = world.controller.enter();
    let name = format!("wgc{}", world.us.pid());
    let forget = |key: &str| {
        let args = [&*enter, "wg", "set", &name, "peer", key, "remove"];
        run(&program, &args, "wireguard-tools");
    };
    forget(&world.web.public);
    failing("web").says(&["the WireGuard controller answers, but not the machine behind it"]);
    forget(&world.admin.public);
    let silent = failing("web");
    assert!(!silent.stderr.contains(world.admin.private.trim()), "{}", silent.stderr);
    silent.says(&["nothing came back from the WireGuard controller"]);
}
