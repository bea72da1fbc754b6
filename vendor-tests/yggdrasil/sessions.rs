//! What sessions over Yggdrasil carry and survive, and that the daemon of this computer has
//! precedence for as long as it runs.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Daemon, Key, MACHINE, RELAY, World};
use crate::harness::{Terminal, noise, start, until, wait_status};
use crate::links::{Namespace, PORT};

const MUCH: usize = 64 << 20;
/// Twelve minutes, in which places in the tree are renewed twice and sessions grow stale.
const IDLE: Duration = Duration::from_secs(12 * 60);

/// One that does not stay.
fn ssh<'a>(world: &World, more: &[&'a str], command: &[&'a str]) -> Command {
    let words = [&["ssh", "web", "--no-persist"], more, &["-c"], command].concat();
    let mut command = world.command(&words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[test]
fn a_terminal_works_over_a_third_node() {
    let world = World::new();
    let mut terminal = Terminal::of(world.command(&["ssh", "web", "--no-persist"]), 91, 31);
    terminal.send("stty size; echo do''ne\r");
    terminal.expect("31 91");
    terminal.expect("done");
    terminal.send("exit 7\r");
    assert_eq!(terminal.exit_code(), Some(7));
    until("the end of the session", || world.sessions() == 0);
}

/// Sends and fetches so much; how much memory our process has taken at most, in KiB.
fn carry(world: &World, data: &[u8], more: &[&str]) -> [u64; 2] {
    let peak = |child: &Child| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let there = world.home.path("there").display().to_string();
    let _ = std::fs::remove_file(&there);
    let sink = format!("cat > {there}; echo whole; cat");
    let mut child = start(&mut ssh(world, more, &["sh", "-c", &sink]), "util-linux");
    // It is the last in the line of programs that start each other.
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    to.write_all(data).unwrap();
    until("all of it", || std::fs::metadata(&there).is_ok_and(|it| it.len() == MUCH as u64));
    let up = peak(&child);
    drop(to);
    let mut said = String::new();
    from.read_to_string(&mut said).unwrap();
    assert_eq!(said, "whole\n");
    assert!(wait_status(&mut child).success());
    assert!(std::fs::read(&there).unwrap() == data);

    let source = format!("cat {there}; read wait");
    let mut child = start(&mut ssh(world, more, &["sh", "-c", &source]), "util-linux");
    let (to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut back = vec![0; data.len()];
    from.read_exact(&mut back).unwrap();
    let down = peak(&child);
    assert!(back == data);
    drop(to);
    assert_eq!(from.read(&mut [0]).unwrap(), 0);
    wait_status(&mut child);
    [up, down]
}

#[test]
fn much_arrives_whole_each_way_and_takes_little_more_memory_than_directly() {
    let world = World::new();
    let data = noise(MUCH);
    let over = carry(&world, &data, &["--network", "ygg"]);
    let direct = format!("root@{MACHINE}:{PORT}");
    let directly = carry(&world, &data, &["--target-host", &direct]);
    println!("at most, to it and from it: {over:?} KiB, directly {directly:?} KiB");
    for (over, directly) in over.into_iter().zip(directly) {
        assert!(over < directly + (20 << 10), "{over} {directly}");
    }
}

/// Takes connections in a namespace and says nothing on them.
struct Silent(Child);

impl Silent {
    fn new(place: &Namespace) -> Self {
        let script = "import socket, sys\n\
                      server = socket.create_server(('0.0.0.0', 7000))\n\
                      print('up', flush=True)\n\
                      sys.stdin.read()";
        let [program, enter] = place.enter();
        let mut command = Command::new(program);
        command.args([&enter, "python3", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = start(&mut command, "python3");
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        Self(child)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn after_a_peer_that_says_nothing_the_next_one_is_tried() {
    let world = World::new();
    let _silent = Silent::new(&world.relay);
    let peer = format!("tcp://{RELAY}:7000");
    let with = ["--yggdrasil-peer", &peer];
    let began = Instant::now();
    let words = [&with[..], &["ssh", "web", "--no-persist", "-c", "echo", "hi"]].concat();
    assert_eq!(world.run(&words).exits(0).text(), "hi\n");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Where there is no other, it is said what was waited for.
    let exports = world.home.read("clan/exports.json");
    world.home.write("clan/exports.json", exports.replace(RELAY, "10.93.1.77"));
    let words = [&with[..], &["ssh", "web", "--timeout", "20", "-c", "true"]].concat();
    let began = Instant::now();
    world.run(&words).exits(255).says(&["Yggdrasil: peering: the peer sends nothing"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_daemon_of_this_computer_is_used_for_as_long_as_it_runs() {
    let world = World::new();
    let own = Key::new(&world.home, "own.json");
    let state = || {
        let list = world.run(&["network", "list", "--json"]).exits(0).text();
        let list: Value = serde_json::from_str(&list).unwrap();
        let ping = world.run(&["network", "ping", "web", "--json"]).exits(0).text();
        let ping: Value = serde_json::from_str(&ping).unwrap();
        let mut child = start(&mut ssh(&world, &[], &["sh", "-c", "echo $SSH_CONNECTION"]), "");
        let mut from = String::new();
        child.stdout.take().unwrap().read_to_string(&mut from).unwrap();
        assert!(wait_status(&mut child).success());
        let network = &list["networks"][0];
        let is_ours = !from.starts_with(&format!("{} ", own.address));
        let running = (network["running"].clone(), network["way"].clone());
        (running, ping["routes"][0]["ok"].clone(), is_ours)
    };
    let without = ((json!("in-process"), json!("yggdrasil")), json!(true), true);
    assert_eq!(state(), without);
    let settings = json!({ "IfName": "ygg0", "Peers": [format!("tcp://{RELAY}:6443")],
                           "Listen": ["tcp://127.0.0.1:6443"] });
    let daemon = Daemon::new(&world.home, &world.us, "own", &own, settings);
    until("a peering", || world.home.read("own.log").contains("Connected outbound"));
    // It takes a while until others know it.
    let [program, enter] = world.us.enter();
    let inside = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.arg(&enter).args(words).stderr(Stdio::null()).output().unwrap()
    };
    let knocks = || {
        std::thread::sleep(Duration::from_millis(500));
        inside(&["python3", "-c", KNOCK, &world.web]).status.success()
    };
    // The others have just lost the node with this very key, and look for it anew.
    assert!((0..60).any(|_| knocks()), "the daemon leads nowhere");
    assert_eq!(state(), ((json!("yes"), Value::Null), json!(true), false));
    drop(daemon);
    until("the end of its device", || !inside(&["ip", "link", "show", "ygg0"]).status.success());
    assert_eq!(state(), without);
}

/// Connects to the address.
const KNOCK: &str = "import socket, sys\n\
                     socket.create_connection((sys.argv[1], 2222), 1)";

/// A session in which nobody says anything.
#[test]
#[ignore = "takes twelve minutes"]
fn twelve_idle_minutes_are_survived() {
    let world = World::new();
    let mut child = start(&mut ssh(&world, &[], &["cat"]), "util-linux");
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut echo = |word: &[u8]| {
        let began = Instant::now();
        to.write_all(word).unwrap();
        let mut back = vec![0; word.len()];
        from.read_exact(&mut back).unwrap();
        assert_eq!(back, word);
        began.elapsed()
    };
    println!("before: {:?}", echo(b"before\n"));
    std::thread::sleep(IDLE);
    let after = echo(b"after\n");
    println!("after: {after:?}");
    assert!(after < Duration::from_secs(5), "{after:?}");
    assert_eq!(world.sessions(), 1);
    drop(to);
    assert!(wait_status(&mut child).success());
}
