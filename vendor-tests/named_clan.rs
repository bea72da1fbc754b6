//! Called as `ssh`, with a clan that the user has named: its word about a machine's
//! key counts however much of the clan can be read.

use serde_json::json;

use crate::harness::{Home, Run, sshd, start, wait};

/// Joins standard input and output to a port of this computer.
const NC: &str = "#!/usr/bin/python3
import os, select, socket, sys
stream = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
while True:
    ready, _, _ = select.select([0, stream], [], [])
    if stream in ready:
        data = stream.recv(65536)
        if not data or os.write(1, data) < 0:
            break
    if 0 in ready:
        data = os.read(0, 65536)
        if not data:
            break
        stream.sendall(data)
";

/// A server that is not `web01`, which the name leads to all the same, and the key of
/// the right one.
struct Place {
    home: Home,
    _server: crate::harness::Server,
    proxy: String,
    right: String,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, "127.0.0.1", &key, "");
        home.keygen("right", "ed25519", "");
        let right = home.read("right.pub");
        let port = server.port();
        let script = home.script("nc", NC);
        let proxy = format!("-oProxyCommand={} {port}", script.display());
        home.write("clan/.clan-flake", "");
        let bare = right.split(' ').take(2).collect::<Vec<_>>().join(" ");
        Self { home, _server: server, proxy, right: bare }
    }

    /// `ssh NAME`, with the clan named by `$CLAN_DIR`.
    fn ssh(&self, more: &[&str], name: &str) -> Run {
        let fixed = ["-oStrictHostKeyChecking=accept-new", &self.proxy, name, "echo", "in"];
        let args = [&["openssh"], more, &fixed].concat();
        let mut command = self.home.command(&args);
        Run::of(wait(start(command.env("CLAN_DIR", self.home.path("clan")), "")))
    }

    fn is_refused(&self, name: &str) -> Run {
        let done = self.ssh(&[], name).exits(255).says(&["Host key verification failed."]);
        assert_eq!(done.text(), "");
        assert!(!self.home.path("home/.ssh/known_hosts").exists());
        done
    }
}

#[test]
fn a_key_among_the_vars_counts_although_the_exports_cannot_be_read_or_lack_the_machine() {
    let place = Place::new();
    let key = "clan/vars/per-machine/web01/openssh/ssh.id_ed25519.pub/value";
    place.home.write(key, &place.right);
    // There is no nix, and no snapshot.
    place.is_refused("web01").says(&["web01 is dialled directly, the clan cannot be read"]);
    place.home.write("clan/clan-connect.json", "{");
    place.is_refused("web01").says(&["the clan cannot be read"]);
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": {}, "exports": {} });
    place.home.write("clan/clan-connect.json", snapshot.to_string());
    place.is_refused("web01");
    place.is_refused("WEB01");
}

#[test]
fn no_first_use_is_trusted_in_silence_while_the_clan_cannot_be_read() {
    let place = Place::new();
    place.is_refused("web01").says(&["whether web01 is a machine of the clan cannot be told"]);
    // What is known is as good as ever, and so is a host that no clan has.
    place.ssh(&[], "box.test").exits(0);
    let known = place.home.read("home/.ssh/known_hosts").replace("box.test", "web01");
    place.home.write("home/.ssh/known_hosts", known);
    assert_eq!(place.ssh(&[], "web01").exits(0).text(), "in\n");
}

#[test]
fn capitals_are_the_same_machine() {
    let place = Place::new();
    let machines = json!({ "web01": { "host_keys": [place.right] } });
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": machines, "exports": {} });
    place.home.write("clan/clan-connect.json", snapshot.to_string());
    for name in ["web01", "WEB01", "Web01"] {
        place.ssh(&[], name).exits(255);
        assert!(!place.home.path("home/.ssh/known_hosts").exists(), "{name}");
    }
}

#[test]
fn exports_that_are_named_before_count_as_well() {
    let place = Place::new();
    let machines = json!({ "web01": { "host_keys": [place.right], "target_host": "127.0.0.1:1" } });
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": machines, "exports": {} });
    place.home.write("named.json", snapshot.to_string());
    let args = ["--exports", "named.json", "openssh", "-oStrictHostKeyChecking=accept-new"];
    let args = [&args[..], &[&place.proxy, "web01", "echo", "in"]].concat();
    let done = Run::of(wait(start(&mut place.home.command(&args), ""))).exits(255);
    assert_eq!(done.text(), "");
    assert!(!place.home.path("home/.ssh/known_hosts").exists());
}

/// Vars that cannot be read may be the machine's.
#[test]
fn vars_that_cannot_be_read_are_not_taken_for_none() {
    use std::os::unix::fs::{PermissionsExt, chown};
    const NOBODY: u32 = 65534;
    let place = Place::new();
    let home = &place.home;
    let mode = |path: &str, mode| {
        std::fs::set_permissions(home.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(".", 0o755);
    let value = "clan/vars/per-machine/web01/openssh/ssh.id_ed25519.pub/value";
    home.write(value, &place.right);
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": {}, "exports": {} });
    home.write("clan/clan-connect.json", snapshot.to_string());
    for path in ["home", "home/.ssh", "home/.ssh/config", "home/.ssh/id_ed25519"] {
        chown(home.path(path), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let ssh = |name: &str| {
        let args =
            ["openssh", "-lroot", "-oStrictHostKeyChecking=accept-new", &place.proxy, name, "true"];
        let through = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let mut command = home.command_with(&through, &args);
        command.env("PATH", "/usr/bin:/bin").env("CLAN_DIR", home.path("clan"));
        Run::of(wait(start(&mut command, "util-linux")))
    };
    let is_refused = || {
        let done = ssh("web01").exits(255);
        assert!(!home.path("home/.ssh/known_hosts").exists(), "{}", done.stderr);
        done
    };
    is_refused().says(&["Host key verification failed."]);
    for (dir, bits) in [
        ("clan/vars", 0o700),
        ("clan/vars", 0o711),
        ("clan/vars/per-machine", 0o700),
        ("clan/vars/per-machine", 0o711),
        ("clan/vars/per-machine/web01", 0o700),
        ("clan/vars/per-machine/web01/openssh/ssh.id_ed25519.pub", 0o700),
    ] {
        mode(dir, bits);
        is_refused().says(&[&home.path(dir).display().to_string(), "cannot be looked into"]);
        mode(dir, 0o755);
    }
    // Allowed although it cannot be looked at: then no first use is trusted in silence.
    for (dir, bits) in [("clan/vars", 0o700), ("clan/vars/per-machine", 0o711)] {
        mode(dir, bits);
        let through = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let clan = home.path("clan").display().to_string();
        let mut allow = home.command_with(&through, &["trust-clan", &clan]);
        Run::of(wait(start(&mut allow, "util-linux"))).exits(0);
        is_refused().says(&["cannot be told", &home.path(dir).display().to_string()]);
        mode(dir, 0o755);
    }
    // A host that no clan has is as good as ever.
    ssh("box.test").exits(0);
}
