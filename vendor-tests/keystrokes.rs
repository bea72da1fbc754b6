//! `ObscureKeystrokeTiming`: what somebody on the path sees of what is typed, as a
//! server records it that offers OpenSSH's ping (paramiko's, with that message added).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::{Home, Terminal, start, until};
use crate::scripted::python;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-tests/ping-server");

/// What has arrived: `data` or `ping`, after how many milliseconds, and how long it is.
type Message = (String, f64, usize);

struct PingServer {
    home: Home,
    child: Child,
    seen: Arc<Mutex<Vec<Message>>>,
    port: String,
}

impl PingServer {
    fn new(offers: &str) -> Self {
        let home = Home::new();
        home.default_key();
        let mut command = Command::new(python());
        command.arg(SCRIPT).arg(offers).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = start(&mut command, "python3-paramiko");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let port = first.strip_prefix("port ").unwrap().to_owned();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                let message =
                    (words[0].to_owned(), words[1].parse().unwrap(), words[2].parse().unwrap());
                sink.lock().unwrap().push(message);
            }
        });
        Self { home, child, seen, port }
    }

    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let fixed = [
            "openssh",
            "-F",
            "none",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            // Old versions of paramiko know none of ours.
            "-oKexAlgorithms=ecdh-sha2-nistp256",
            "-p",
            &self.port,
        ];
        [&fixed[..], more, &["root@127.0.0.1"]].concat()
    }

    /// A shell there, on a terminal, once it is ready.
    fn shell(&self, more: &[&str]) -> Terminal {
        let args = self.args(more);
        let terminal = Terminal::start(&self.home, &args, 80, 24, &[]);
        terminal.expect("ready");
        until("the raw terminal", || terminal.is_raw());
        terminal
    }

    fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    fn count(&self, kind: &str) -> usize {
        self.seen().iter().filter(|(known, ..)| known == kind).count()
    }
}

impl Drop for PingServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Types it with pauses that belong to each letter, as a person would.
fn type_slowly(terminal: &mut Terminal, text: &str) {
    for (at, letter) in text.chars().enumerate() {
        terminal.send(&letter.to_string());
        std::thread::sleep(Duration::from_millis(7 + 31 * (at as u64 % 5)));
    }
}

/// The time between two messages, most of all.
fn usual_gap(seen: &[Message]) -> f64 {
    let mut gaps: Vec<f64> = seen.windows(2).map(|two| two[1].1 - two[0].1).collect();
    gaps.sort_by(f64::total_cmp);
    gaps[gaps.len() / 2]
}

#[test]
fn what_is_typed_leaves_on_a_grid_among_messages_of_its_size() {
    let server = PingServer::new("yes");
    let mut terminal = server.shell(&[]);
    type_slowly(&mut terminal, "correct horse battery");
    until("chaff after the last letter", || server.count("ping") > 30);
    let seen = server.seen();
    let first = seen.iter().position(|(kind, ..)| kind == "data").unwrap();
    let gap = usual_gap(&seen[first..]);
    assert!((15.0..25.0).contains(&gap), "{gap}: {seen:?}");
    // Neither the number nor the size of messages tells a letter from none.
    let pings = seen.iter().filter(|(kind, ..)| kind == "ping").map(|(.., length)| *length);
    let data = seen.iter().filter(|(kind, ..)| kind == "data").map(|(.., length)| *length);
    assert_eq!(pings.min(), data.min(), "{seen:?}");
    // Three seconds after the last letter it is quiet again.
    let mut before = 0;
    until("the end of the chaff", || {
        let now = server.count("ping");
        let is_over = now == before;
        before = now;
        std::thread::sleep(Duration::from_millis(400));
        is_over
    });
    // All of it has arrived, in its order.
    terminal.expect("correct horse battery");
    terminal.send("\u{4}");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn nothing_is_added_where_nobody_wants_it_or_the_server_does_not_offer_it() {
    for (offers, more) in [
        ("no", &[][..]),
        ("yes", &["-oObscureKeystrokeTiming=no"]),
        // What has no terminal is not typed.
        ("yes", &["-T"]),
    ] {
        let server = PingServer::new(offers);
        if more == ["-T"] {
            let mut command = server.home.command(&server.args(more));
            let mut child = start(command.stdin(Stdio::piped()), "util-linux");
            use std::io::Write;
            child.stdin.take().unwrap().write_all(b"abc\x04").unwrap();
            assert!(crate::harness::wait(child).status.success());
        } else {
            let mut terminal = server.shell(more);
            type_slowly(&mut terminal, "abcdef");
            terminal.expect("abcdef");
            terminal.send("\u{4}");
            assert_eq!(terminal.exit_code(), Some(0));
        }
        assert_eq!(server.count("ping"), 0, "{offers} {more:?}");
        assert!(server.count("data") > 0);
    }
}

#[test]
fn another_grid_is_kept_and_a_paste_is_not_held_up() {
    let server = PingServer::new("yes");
    let mut terminal = server.shell(&["-oObscureKeystrokeTiming=interval:80"]);
    type_slowly(&mut terminal, "abc");
    until("chaff", || server.count("ping") > 8);
    let gap = usual_gap(&server.seen());
    assert!((65.0..95.0).contains(&gap), "{gap}: {:?}", server.seen());
    let pasted = "x".repeat(3000);
    terminal.send(&pasted);
    terminal.expect(&"x".repeat(1000));
    let longest = server.seen().iter().map(|(.., length)| *length).max().unwrap();
    assert!(longest > 256, "{longest}");
    terminal.send("\u{4}");
    assert_eq!(terminal.exit_code(), Some(0));
}
