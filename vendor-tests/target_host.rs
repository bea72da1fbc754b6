//! Addresses that people have written into the inventory, good and bad, before a
//! real sshd.

use serde_json::{Value, json};

use crate::harness::{Home, Server, sshd};

const IP: &str = "127.0.0.1";

struct Clan {
    home: Home,
    server: Server,
}

impl Clan {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, IP, &key, "");
        Self { home, server }
    }

    /// Machine `m` with this `targetHost`, in these networks.
    fn write(&self, target: &str, exports: Value) {
        let machines = json!({ "m": { "target_host": target } });
        let snapshot =
            json!({ "clan_connect_snapshot": 1, "machines": machines, "exports": exports });
        self.home.write("snapshot.json", snapshot.to_string());
    }

    fn ssh(&self, options: &[&str]) -> crate::harness::Run {
        let args = ["--exports", "snapshot.json", "ssh", "m", "-c", "true"];
        self.home.run(&[&args[..4], options, &args[4..]].concat())
    }
}

#[test]
fn options_that_are_refused_leave_the_address() {
    let clan = Clan::new();
    let at = format!("root@{}", clan.server.target());
    for (options, why) in [
        ("?ProxyCommand=touch%20pwned", "option ProxyCommand is not taken from an address"),
        ("?User=x&localcommand=touch%20pwned", "option localcommand is not taken from an address"),
        ("?hunter2", "an option has no value"),
        ("?ServerAliveInterval=1", "option ServerAliveInterval is ignored"),
    ] {
        clan.write(&format!("{at}{options}"), json!({}));
        let done = clan.ssh(&["-v"]).exits(0);
        let done = done.says(&["over network inventory", "targetHost of \"m\"", why]);
        assert!(!done.stderr.contains("pwned") && !done.stderr.contains("hunter2"));
        clan.ssh(&[]).exits(0);
    }
    assert!(!clan.home.path("pwned").exists());
}

#[test]
fn an_address_that_is_none_is_the_reason_in_the_error() {
    let clan = Clan::new();
    for (target, why) in [
        ("root@host:99999", "the port is not a number from 1 to 65535"),
        ("root@2001:db8::1", "an IPv6 address takes brackets after a user"),
        ("-oProxyCommand=touch", "the host starts with -"),
        ("root:hunter2@host", "a password is not taken here"),
    ] {
        clan.write(target, json!({}));
        let done = clan.ssh(&[]).exits(255);
        let done = done.says(&["machine \"m\" has no address: targetHost of \"m\"", why]);
        assert!(!done.stderr.contains("hunter2"), "{}", done.stderr);
        // The networks still count, and the user hears of it all the same.
        let port = clan.server.address.port();
        let peers = json!({ "m": { "host": { "plain": IP }, "port": port } });
        clan.write(target, json!({ "internet": { "priority": 10, "peers": peers } }));
        clan.ssh(&[]).exits(0).says(&["warning: targetHost of \"m\"", why]);
    }
}
