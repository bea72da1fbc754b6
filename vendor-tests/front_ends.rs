//! What `clan-connect ssh` and `ssh` do alike for a machine of a clan: the network
//! that last led there, and a line about what takes so long.

use std::process::Command;

use serde_json::json;

use crate::harness::{Home, Run, Server, Terminal, sshd, start, wait};
use crate::reach::Hole;

const IP: &str = "127.0.0.1";

/// A machine in two networks that answer nobody, and in one that works.
struct Place {
    home: Home,
    _server: Server,
    hole: Hole,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, IP, &key, "");
        let hole = Hole::new();
        let peer = |port| json!({ "web": { "host": { "plain": IP }, "port": port } });
        let public = home.read(&format!("sshd-{}/host_key.pub", server.port()));
        home.write("clan/.clan-flake", "");
        let snapshot = json!({
            "clan_connect_snapshot": 1,
            "fingerprint": clan_connect::internals::fingerprint(&home.path("clan")),
            "machines": { "web": { "host_keys": [public.trim()] } },
            "exports": {
                "dead": { "priority": 30, "peers": peer(hole.port) },
                "also": { "priority": 20, "peers": peer(hole.port) },
                "good": { "priority": 10, "peers": peer(server.address.port()) },
            },
        });
        home.write("clan/clan-connect.json", snapshot.to_string());
        Self { home, _server: server, hole }
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command: Command = self.home.command(args);
        Run::of(wait(start(command.env("CLAN_DIR", self.home.path("clan")), "util-linux")))
    }

    fn on_terminal(&self, args: &[&str]) -> Terminal {
        let clan = self.home.path("clan").display().to_string();
        Terminal::start(&self.home, args, 80, 24, &[("CLAN_DIR", &clan)])
    }
}

/// The networks in the order in which they were tried.
fn tried(run: &Run) -> Vec<&str> {
    // As `ssh` it is a line of its debugging.
    let lines = run.stderr.lines().map(|line| line.strip_prefix("debug1: ").unwrap_or(line));
    let lines = lines.filter_map(|line| line.strip_prefix("trying "));
    lines.filter_map(|rest| rest.split(' ').next()).collect()
}

#[test]
fn the_network_that_last_worked_starts_at_once_whoever_was_called() {
    let native: &[&str] = &["-v", "ssh", "web", "-c", "true"];
    let ssh: &[&str] = &["openssh", "-v", "web", "true"];
    for (first, second) in [(native, ssh), (ssh, native), (ssh, ssh)] {
        let place = Place::new();
        let done = place.run(first).exits(0);
        assert_eq!(tried(&done), ["dead", "also", "good"], "{}", done.stderr);
        done.says(&["connected to web over network good as root@127.0.0.1 port"]);
        let done = place.run(second).exits(0);
        assert_eq!(tried(&done)[..2], ["dead", "good"], "{}", done.stderr);
    }
}

#[test]
fn what_takes_long_is_said_on_a_terminal_unless_nobody_is_to_be_disturbed() {
    let place = Place::new();
    let slow = "-oConnectTimeout=3";
    for (args, is_shown) in [
        (&["ssh", "web", "--network", "dead", "--timeout", "3"][..], true),
        (&["openssh", slow, "dead", "true"], true),
        (&["openssh", "-q", slow, "dead", "true"], false),
        (&["openssh", "-oBatchMode=yes", slow, "dead", "true"], false),
        (&["openssh", "-f", slow, "dead", "true"], false),
        (&["openssh", "-v", slow, "dead", "true"], false),
    ] {
        let port = place.hole.port;
        let config = format!("Host dead\n  HostName {IP}\n  Port {port}\n");
        place.home.write("home/.ssh/config", config);
        let mut terminal = place.on_terminal(args);
        assert_eq!(terminal.exit_code(), Some(255), "{args:?}");
        let text = terminal.text();
        assert_eq!(text.contains("connecting to"), is_shown, "{args:?}: {text}");
        if is_shown {
            // It is gone when the error comes.
            let (_, last) = text.rsplit_once("\x1b[K").unwrap();
            assert!(!last.contains("connecting to"), "{args:?}: {text}");
        }
    }
    // None at all where nobody looks.
    let done = place.run(&["openssh", slow, "dead", "true"]).exits(255);
    assert!(!done.stderr.contains("connecting to"), "{}", done.stderr);
}
