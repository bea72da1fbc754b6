//! When Tor is begun with at all: a real sshd over a network that is up but slow,
//! and a port on which every word to a tor is seen.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Home, Run, Server, sshd};

const IP: &str = "127.0.0.1";
const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
/// Long enough to see a Tor that begins with the first failure, and short enough
/// for the second that Tor leaves to the others.
const SLOW: Duration = Duration::from_millis(300);

/// A machine in three networks: one that is off, one that is slow, and Tor.
struct Place {
    home: Home,
    _server: Server,
    socks: TcpListener,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, IP, &key, "");
        let slow = slow(server.address.port());
        let peer = |port: u16| json!({ "m": { "host": { "plain": IP }, "port": port } });
        let exports = json!({
            "internet": { "priority": 30, "peers": peer(1) },
            "vpn": { "priority": 20, "peers": peer(slow) },
            "tor": { "priority": 10, "peers": { "m": { "host": { "plain": ONION } } } },
        });
        home.write("exports.json", exports.to_string());
        let socks = TcpListener::bind((IP, 0)).unwrap();
        socks.set_nonblocking(true).unwrap();
        Self { home, _server: server, socks }
    }

    fn ssh(&self, options: &[&str]) -> Run {
        let args = ["--exports", "exports.json", "--tor", "system", "-v", "ssh", "m"];
        let socks = self.socks.local_addr().unwrap().to_string();
        let args = [&args[..], options, &["--timeout", "5", "-c", "true"]].concat();
        self.home.run_with_env(&args, &[("TOR_SOCKS", &socks)])
    }

    /// Whether Tor was begun with.
    fn has_begun(&self) -> bool {
        match self.socks.accept() {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A port that leads to another one, with a pause before the first byte.
fn slow(to: u16) -> u16 {
    let listener = TcpListener::bind((IP, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for here in listener.incoming().flatten() {
            std::thread::spawn(move || {
                std::thread::sleep(SLOW);
                let there = TcpStream::connect((IP, to)).unwrap();
                let pipe = |mut from: TcpStream, mut into: TcpStream| {
                    let _ = io::copy(&mut from, &mut into);
                    let _ = into.shutdown(Shutdown::Write);
                };
                let (back, forth) = (there.try_clone().unwrap(), here.try_clone().unwrap());
                std::thread::spawn(move || pipe(back, forth));
                pipe(here, there);
            });
        }
    });
    port
}

#[test]
fn tor_is_left_alone_while_a_vpn_answers_remembered_or_not() {
    let place = Place::new();
    for time in ["first", "remembered", "again"] {
        let done = place.ssh(&[]).exits(0);
        let done = done.says(&["failed: internet", "connected to m over network vpn"]);
        assert!(!done.stderr.contains("trying tor"), "{time}: {}", done.stderr);
        assert!(!place.has_begun(), "{time}: {}", done.stderr);
    }
}

#[test]
fn tor_begins_when_nothing_better_is_left() {
    let place = Place::new();
    // The port on the command line is closed in every network.
    let done = place.ssh(&["-p", "1"]).exits(255);
    let done = done.says(&["failed: internet", "failed: vpn", "trying tor"]);
    assert!(place.has_begun(), "{}", done.stderr);
}
