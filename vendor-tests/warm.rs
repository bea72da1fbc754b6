//! Sessions that stay warm: the connection of one command serves the next ones, against
//! OpenSSH's sshd, with its log as the witness of who has connected.

mod called_off;
mod places;
mod sharing;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Home, Run, Server, Terminal, free_port, noise, signal, sshd, start, until, wait,
};

const IP: &str = "127.0.0.1";

/// A machine `m` of a clan, and a directory for sockets.
pub(crate) struct Warm {
    pub(crate) home: Home,
    pub(crate) server: Server,
}

impl Warm {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, IP, &key, "MaxSessions 50\nAllowTcpForwarding yes\n");
        let warm = Self { home, server };
        warm.exports(warm.server.address.port());
        fs::create_dir(warm.home.path("run")).unwrap();
        fs::set_permissions(warm.home.path("run"), Permissions::from_mode(0o700)).unwrap();
        warm
    }

    fn exports(&self, port: u16) {
        let peer = json!({ "host": { "plain": IP }, "port": port });
        let exports = json!({ "net": { "priority": 10, "peers": { "m": peer } } });
        self.home.write("exports.json", exports.to_string());
    }

    /// Our binary with these arguments behind the exports.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let exports = self.home.path("exports.json").display().to_string();
        let mut command = self.home.command(&[&["--exports", &exports], args].concat());
        command.env("XDG_RUNTIME_DIR", self.home.path("run"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(args), "util-linux")))
    }

    /// A session that is to stay, with more arguments and this script to run.
    pub(crate) fn kept(&self, more: &[&str], script: &str) -> Command {
        let words = ["ssh", "m", "--persist", "1m"];
        self.command(&[&words, more, &["-c", "sh", "-c", script]].concat())
    }

    pub(crate) fn ssh(&self, more: &[&str], script: &str) -> Run {
        Run::of(wait(start(&mut self.kept(more, script), "util-linux")))
    }

    /// How often somebody has logged in.
    pub(crate) fn logins(&self) -> usize {
        self.server.log().matches("Accepted publickey").count()
    }

    pub(crate) fn connections(&self) -> usize {
        self.server.log().matches("Connection from ").count()
    }

    /// The names in the directory for sockets.
    pub(crate) fn sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.path("run/clan-connect")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// What is warm, as we are told.
    fn told(&self) -> Vec<Value> {
        let listed = self.run(&["network", "list", "--json"]).exits(0).text();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed["warm"].as_array().unwrap().clone()
    }

    /// The master of the one socket that there is, by the kernel's table of sockets.
    pub(crate) fn master(&self) -> i32 {
        let sockets = self.sockets();
        assert_eq!(sockets.len(), 1, "{sockets:?}");
        master_of(sockets[0].to_str().unwrap())
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        for socket in self.sockets() {
            if let Some(pid) = holder(socket.to_str().unwrap()) {
                signal(pid, Signal::CONT);
            }
        }
        let _ = self.command(&["close", "--all"]).output();
    }
}

fn master_of(socket: &str) -> i32 {
    holder(socket).unwrap_or_else(|| panic!("nobody has {socket}"))
}

/// The process that listens at a socket.
fn holder(socket: &str) -> Option<i32> {
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    // It was bound by another name before it had this one.
    let line = table
        .lines()
        .find(|line| line.split_whitespace().nth(7).is_some_and(|path| path.starts_with(socket)))?;
    let inode = format!("socket:[{}]", line.split_whitespace().nth(6)?);
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| link.to_str() == Some(&inode))
    })
}

pub(crate) fn is_running(pid: i32) -> bool {
    // One that has ended, and that nobody has asked for, has no files.
    fs::read_link(format!("/proc/{pid}/fd/0")).is_ok()
}

#[test]
fn the_second_command_has_neither_a_connection_nor_a_login() {
    let warm = Warm::new();
    let started = Instant::now();
    let first = warm.ssh(&[], "echo one; echo two >&2; exit 3").exits(3);
    // Its outputs are closed when it is done: nobody waits for who stays.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(first.text(), "one\n");
    // Its key was new.
    assert!(first.stderr.ends_with("two\n"), "{}", first.stderr);
    let connections = warm.connections();
    let second = warm.ssh(&[], "echo three; echo four >&2; exit 4").exits(4);
    assert_eq!((second.text().as_str(), second.stderr.as_str()), ("three\n", "four\n"));
    assert_eq!((warm.logins(), warm.connections()), (1, connections));
    // Data both ways, to the last byte, and the end of our input.
    let data = noise(3 << 20);
    let mut child = start(warm.kept(&[], "cat").stdin(Stdio::piped()), "");
    let mut input = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    assert!(wait(child).stdout == data);
    writer.join().unwrap().unwrap();
    // A signal that ends the command, and one that ends us.
    warm.ssh(&[], "kill -TERM $$").exits(143);
    assert_eq!((warm.logins(), warm.connections()), (1, connections));
    let told = warm.told();
    let expected = json!([{ "machine": "m", "network": "net", "user": "root", "sessions": 0 }]);
    assert_eq!(Value::from(told), expected);
    let listed = warm.run(&["network", "list"]).exits(0).text();
    assert!(listed.ends_with("\nWarm connections\n  m  as root over net\n"), "{listed}");
    let pid = warm.master();
    let closed = warm.run(&["close", "m"]).exits(0);
    assert_eq!(closed.text(), "closed m  as root over net\n");
    until("the end of the master", || !is_running(pid));
    assert!(warm.sockets().is_empty());
    warm.run(&["close", "m"]).exits(0).says(&["no connection to m is kept"]);
    warm.run(&["close"]).exits(2);
    assert!(warm.told().is_empty());
    warm.ssh(&[], "true").exits(0);
    assert_eq!(warm.logins(), 2);
    // Of another clan it is another machine.
    warm.home.copy("exports.json", "other.json");
    let mut other = warm.home.command(&["--exports", "other.json", "close", "m"]);
    other.env("XDG_RUNTIME_DIR", warm.home.path("run"));
    Run::of(wait(start(&mut other, ""))).exits(0).says(&["no connection to m is kept"]);
    assert_eq!(warm.run(&["close", "--all"]).exits(0).text(), "closed m  as root over net\n");
}

#[test]
fn who_stays_holds_nothing_of_its_caller() {
    let warm = Warm::new();
    // Loud or not, and with a secret in the command.
    warm.ssh(&["-v"], "true; : hunter2").exits(0);
    let pid = warm.master();
    for number in 0..3 {
        let file = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
        assert_eq!(file.to_str(), Some("/dev/null"), "{number}");
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Its session is its own, and has no terminal (proc(5)).
    assert_eq!((fields[3], fields[4]), (pid.to_string().as_str(), "0"));
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(line, "clan-connect\0[warm]\0");
    let name = warm.sockets()[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    // At the end of a session of the user's the system sends this one.
    signal(pid, Signal::TERM);
    until("the end of the master", || !is_running(pid));
    assert!(warm.sockets().is_empty());
}

#[test]
fn it_goes_when_nobody_uses_it_for_so_long() {
    let warm = Warm::new();
    let args = |script| ["ssh", "m", "--persist", "1", "-c", "sh", "-c", script];
    warm.run(&args("true")).exits(0);
    let pid = warm.master();
    // What runs holds it.
    warm.run(&args("sleep 2")).exits(0);
    assert!(is_running(pid) && warm.logins() == 1);
    until("the end of the master", || !is_running(pid));
    assert!(warm.sockets().is_empty());
}

#[test]
fn a_master_that_is_stopped_killed_or_without_its_server_holds_nobody_up() {
    let warm = Warm::new();
    let count = warm.home.path("count").display().to_string();
    let runs = |warm: &Warm, logins: usize| {
        let started = Instant::now();
        let done = warm.ssh(&[], &format!("echo x >> {count}; echo done")).exits(0);
        assert_eq!(done.text(), "done\n");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        assert_eq!(warm.logins(), logins);
    };
    runs(&warm, 1);
    let stopped = warm.master();
    signal(stopped, Signal::STOP);
    runs(&warm, 2);
    signal(stopped, Signal::CONT);
    signal(stopped, Signal::KILL);
    // There is a new one in its place.
    runs(&warm, 2);
    signal(warm.master(), Signal::KILL);
    runs(&warm, 3);
    // The server cuts it, as when it is started anew.
    let pid = warm.master();
    for child in below(i32::try_from(warm.server.pid()).unwrap()) {
        signal(child, Signal::KILL);
    }
    until("the end of the master", || !is_running(pid));
    assert!(warm.sockets().is_empty());
    runs(&warm, 4);
    let lines = fs::read_to_string(warm.home.path("count")).unwrap().lines().count();
    assert_eq!(lines, 5);
}

/// The processes that descend from this one.
fn below(root: i32) -> Vec<i32> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all: Vec<i32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        found.extend(all.iter().filter(|child| parent(**child) == Some(pid)));
        at += 1;
    }
    found.split_off(1)
}

/// Passes connections on, and holds back what comes while it is told to.
struct Relay {
    port: u16,
    is_silent: Arc<AtomicBool>,
    is_used: Arc<AtomicBool>,
}

impl Relay {
    fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind((IP, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = is_silent.clone();
        let is_used = Arc::new(AtomicBool::new(false));
        let used = is_used.clone();
        std::thread::spawn(move || {
            for (number, ours) in listener.incoming().flatten().enumerate() {
                let Ok(theirs) = TcpStream::connect(address) else { return };
                used.store(true, Ordering::Relaxed);
                // Only the first one falls silent.
                let silent = (number == 0).then(|| silent.clone());
                for (mut from, mut to) in [
                    (ours.try_clone().unwrap(), theirs.try_clone().unwrap()),
                    (theirs.try_clone().unwrap(), ours.try_clone().unwrap()),
                ] {
                    let silent = silent.clone();
                    std::thread::spawn(move || {
                        let mut chunk = [0; 4096];
                        while let Ok(count @ 1..) = from.read(&mut chunk) {
                            let is_silent =
                                || silent.as_ref().is_some_and(|it| it.load(Ordering::Relaxed));
                            while is_silent() {
                                std::thread::sleep(Duration::from_millis(10));
                            }
                            if to.write_all(&chunk[..count]).is_err() {
                                return;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Self { port, is_silent, is_used }
    }
}

#[test]
fn on_a_dead_connection_nothing_is_begun_and_one_of_its_own_is_made() {
    let warm = Warm::new();
    let relay = Relay::to(warm.server.address);
    warm.exports(relay.port);
    let count = warm.home.path("count").display().to_string();
    let script = format!("echo x >> {count}; echo done");
    assert_eq!(warm.ssh(&[], &script).exits(0).text(), "done\n");
    let dead = warm.master();
    relay.is_silent.store(true, Ordering::Relaxed);
    let started = Instant::now();
    assert_eq!(warm.ssh(&[], &script).exits(0).text(), "done\n");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // What comes back late finds nothing to be done.
    relay.is_silent.store(false, Ordering::Relaxed);
    until("the end of the dead one", || !is_running(dead));
    assert_eq!(warm.logins(), 2);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\n");
    // There is a warm one again.
    warm.ssh(&[], "true").exits(0);
    assert_eq!(warm.logins(), 2);
}

#[test]
fn several_first_commands_at_once_are_all_served_and_one_stays() {
    let warm = Warm::new();
    let children: Vec<_> = (0..4)
        .map(|number| start(&mut warm.kept(&[], &format!("echo {number}; exit {number}")), ""))
        .collect();
    for (number, child) in children.into_iter().enumerate() {
        let done = Run::of(wait(child)).exits(i32::try_from(number).unwrap());
        assert_eq!(done.text(), format!("{number}\n"));
    }
    let logins = warm.logins();
    until("the others' end", || warm.told().len() == 1);
    assert_eq!(warm.sockets().len(), 1);
    warm.ssh(&[], "true").exits(0);
    assert_eq!(warm.logins(), logins);
}

#[test]
fn commands_end_one_by_one_whichever_came_first() {
    let warm = Warm::new();
    let mut first =
        start(warm.kept(&[], "read line; echo $line; exit 5").stdin(Stdio::piped()), "");
    until("the master", || warm.sockets().len() == 1);
    let mut second =
        start(warm.kept(&[], "read line; echo $line; exit 6").stdin(Stdio::piped()), "");
    until("the second one", || warm.told()[0]["sessions"].as_u64() >= Some(2));
    first.stdin.take().unwrap().write_all(b"one\n").unwrap();
    let first = Run::of(wait(first)).exits(5);
    assert_eq!(first.text(), "one\n");
    second.stdin.take().unwrap().write_all(b"two\n").unwrap();
    assert_eq!(Run::of(wait(second)).exits(6).text(), "two\n");
    // One that is killed takes its command with it, and nobody else.
    let mark = warm.home.path("mark").display().to_string();
    let script = format!("echo $$ > {mark}.new; mv {mark}.new {mark}; cat");
    let mut doomed = start(warm.kept(&[], &script).stdin(Stdio::piped()), "");
    until("the command", || std::path::Path::new(&mark).exists());
    let theirs: i32 = fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    until("the end of its command", || !is_running(theirs));
    warm.ssh(&[], "true").exits(0);
    assert_eq!(warm.logins(), 1);
}

#[test]
fn at_a_terminal_it_is_warm_by_itself_and_the_terminal_is_as_ever() {
    let warm = Warm::new();
    let exports = warm.home.path("exports.json").display().to_string();
    let run = warm.home.path("run").display().to_string();
    let env = [("XDG_RUNTIME_DIR", run.as_str())];
    let terminal = |more: &[&str]| {
        let args = [&["--exports", &exports, "ssh", "m"], more].concat();
        Terminal::start(&warm.home, &args, 91, 33, &env)
    };
    let mut alone = terminal(&["--no-persist", "-c", "echo", "alone"]);
    assert_eq!(alone.exit_code(), Some(0));
    assert!(warm.sockets().is_empty());
    for round in 0..2 {
        let mut shell = terminal(&["-c", "sh"]);
        let before = shell.settings();
        shell.send("stty size; echo r$((40 + 2))\r");
        shell.expect("33 91");
        shell.expect("r42");
        assert!(shell.is_raw());
        shell.resize(70, 20);
        shell.send("exit 9\r");
        assert_eq!(shell.exit_code(), Some(9), "{}", shell.text());
        assert!(!shell.is_raw() || before == shell.settings());
        assert_eq!(warm.logins(), 2, "round {round}");
    }
    // The terminal goes, and the master stays.
    let pid = warm.master();
    let gone = terminal(&["-c", "sh"]);
    gone.expect("#");
    drop(gone);
    warm.ssh(&["-t"], "true").exits(0);
    assert!(is_running(pid));
}

#[test]
fn forwards_go_over_it_and_end_with_who_asked_for_them() {
    let warm = Warm::new();
    let port = warm.server.address.port();
    let local = free_port(IP);
    let forward = format!("{IP}:{local}:{IP}:{port}");
    let banner = || -> Option<[u8; 4]> {
        let mut stream = TcpStream::connect((IP, local)).ok()?;
        let mut start = [0; 4];
        stream.read_exact(&mut start).ok()?;
        Some(start)
    };
    // Alone it begins nothing that stays.
    let forwarding = |more: &[&str]| {
        let args = [&["ssh", "m", "--persist", "1m", "-L", &forward], more].concat();
        start(&mut warm.command(&args), "")
    };
    let mut alone = forwarding(&["-N"]);
    until("the forward", || banner() == Some(*b"SSH-"));
    assert!(warm.sockets().is_empty());
    alone.kill().unwrap();
    alone.wait().unwrap();
    warm.ssh(&[], "true").exits(0);
    let logins = warm.logins();
    let mut shared = forwarding(&["-N"]);
    until("the forward", || banner() == Some(*b"SSH-"));
    assert_eq!(warm.logins(), logins);
    shared.kill().unwrap();
    shared.wait().unwrap();
    until("its end", || TcpStream::connect((IP, local)).is_err());
    let args = ["ssh", "m", "--persist", "1m", "-L", &forward, "-c", "cat"];
    let mut with_command = start(warm.command(&args).stdin(Stdio::piped()), "");
    until("the forward", || banner() == Some(*b"SSH-"));
    drop(with_command.stdin.take());
    assert!(with_command.wait().unwrap().success());
    until("its end", || TcpStream::connect((IP, local)).is_err());
    // A stream, and its end from our side.
    let to = format!("{IP}:{port}");
    let stream = warm.run(&["ssh", "m", "--persist", "1m", "-W", &to]).exits(0).text();
    assert!(stream.starts_with("SSH-2.0-"), "{stream}");
    assert_eq!(warm.logins(), logins);
}

#[test]
fn proxy_goes_the_way_that_is_known_and_logs_in_nowhere() {
    let warm = Warm::new();
    let stream = |more: &[&str]| {
        let mut command = warm.command(&[&["proxy", "m", "-v"], more].concat());
        let mut child = start(command.env("CLAN_CONNECT_PERSIST", "1m").stdin(Stdio::piped()), "");
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"SSH-2.0-x\r\n").unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut start = [0; 8];
        output.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"SSH-2.0-");
        // The server sees the end of what we have to say, and ends it.
        drop(input);
        Run { stdout: start.to_vec(), ..Run::of(wait(child)) }.exits(0)
    };
    let alone = stream(&[]);
    assert!(!alone.stderr.contains("over a warm connection"), "{}", alone.stderr);
    assert!(warm.sockets().is_empty(), "it has logged in nowhere, and keeps nothing");
    warm.ssh(&[], "true").exits(0);
    let logins = warm.logins();
    let connections = warm.connections();
    stream(&[]).says(&["over a warm connection"]);
    assert_eq!((warm.logins(), warm.connections()), (logins, connections + 1));
    let apart = stream(&["--no-persist"]);
    assert!(!apart.stderr.contains("over a warm connection"), "{}", apart.stderr);
    // Another port of the same machine.
    let echo = TcpListener::bind((IP, 0)).unwrap();
    let port = echo.local_addr().unwrap().port().to_string();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = echo.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).unwrap();
    });
    let args = ["proxy", "m", &port, "-v"];
    let mut command = warm.command(&args);
    let mut child = start(command.env("CLAN_CONNECT_PERSIST", "1m").stdin(Stdio::piped()), "");
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let done = Run::of(wait(child)).exits(0).says(&["over a warm connection"]);
    assert_eq!(done.text(), "HELLO");
    served.join().unwrap();
}
