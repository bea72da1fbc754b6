//! Programs of other accounts that say what tor says, on tor's port. Needs root,
//! to be those accounts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{BINARY, Home, Run, free_port, run, start, until, wait};

const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
const IP: &str = "127.0.0.1";
const ROOT: u32 = 0;
const NOBODY: u32 = 65534;
/// Of no account.
const OTHER: u32 = 12345;

/// Listens as one account and accepts as another; answers as tor does, but that
/// it never connects anybody.
const FAKE: &str = r#"
import os, socket, sys
ip, port, first, then, heard = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
log = open(heard, "ab", buffering=0)
os.setresuid(-1, first, -1)
listener = socket.socket()
listener.bind((ip, port))
listener.listen(5)
os.setresuid(-1, 0, -1)
os.setresuid(-1, then, -1)
log.write(b"ready\n")
while True:
    stream, _ = listener.accept()
    stream.settimeout(10)
    try:
        while True:
            got = stream.recv(4096)
            if not got:
                break
            log.write(repr(got).encode() + b"\n")
            if got.startswith(b"GET"):
                stream.sendall(b"HTTP/1.0 501 Tor is not an HTTP Proxy\r\n\r\n")
                break
            if len(got) < 6:
                stream.sendall(b"\x05\x00")
            else:
                stream.sendall(b"\x05\x01\x00\x01\0\0\0\0\0\0")
    except OSError:
        pass
    stream.close()
"#;

struct Fake {
    child: Child,
    heard: std::path::PathBuf,
    socks: String,
}

impl Fake {
    fn new(home: &Home, ip: &str, listens: u32, accepts: u32) -> Self {
        assert!(rustix::process::geteuid().is_root(), "only root can be others");
        let port = free_port(IP);
        let heard = home.path(&format!("heard-{port}"));
        let mut command = Command::new("python3");
        command.args(["-c", FAKE, ip, &port.to_string(), &listens.to_string()]);
        command.arg(accepts.to_string()).arg(&heard);
        let child = start(command.stdin(Stdio::null()), "python3");
        until("the fake tor", || fs::read_to_string(&heard).is_ok_and(|text| text == "ready\n"));
        Self { child, heard, socks: format!("{IP}:{port}") }
    }

    /// What it was told, but for its own first line.
    fn heard(&self) -> String {
        fs::read_to_string(&self.heard).unwrap().replace("ready\n", "")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine behind an onion service, and a Tor network that is not there, so
/// that our own client gets nowhere.
fn home() -> Home {
    let home = Home::new();
    let peers = json!({ "m": { "host": { "plain": ONION } } });
    home.write("exports.json", json!({ "tor": { "priority": 10, "peers": peers } }).to_string());
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let id = "0000000000000000000000000000000000000001";
    let config = format!(
        "[tor_network]\nauthorities.v3idents = [\"{id}\"]\nfallback_caches = [{{ \
         rsa_identity = \"{id}\", ed_identity = \"{key}\", orports = [\"127.0.0.1:1\"] }}]\n"
    );
    home.write("arti.toml", config);
    home
}

fn args(client: &str) -> Vec<&str> {
    let files = ["--exports", "exports.json", "--tor-config", "arti.toml", "--tor-state", "none"];
    [&files[..], &["--tor", client, "-v", "ssh", "m", "--timeout", "3", "-c", "true"]].concat()
}

fn ssh(home: &Home, client: &str, fake: &Fake) -> Run {
    home.run_with_env(&args(client), &[("TOR_SOCKS", &fake.socks)]).exits(255)
}

#[test]
fn a_stranger_on_tors_port_is_told_nothing() {
    let home = home();
    for (ip, uid, name) in
        [(IP, NOBODY, "user nobody"), ("0.0.0.0", NOBODY, "user nobody"), (IP, OTHER, "user 12345")]
    {
        let fake = Fake::new(&home, ip, uid, uid);
        let remark =
            format!("the program that listens on {} is not used: it belongs to {name}", fake.socks);
        ssh(&home, "auto", &fake).says(&[&remark, "starting Tor"]);
        let error = format!(
            "the program that listens on {} belongs to {name}, so the onion address is not sent to \
             it",
            fake.socks
        );
        ssh(&home, "system", &fake).says(&[&error, "hint: run tor as", "$TOR_SOCKS"]);
        assert_eq!(fake.heard(), "", "it is not even connected to");
    }
}

#[test]
fn a_process_that_takes_the_port_after_the_owner_check_does_not_get_the_onion_name() {
    let home = home();
    // As if root's tor had ended, and another had taken its place.
    let fake = Fake::new(&home, IP, ROOT, NOBODY);
    for client in ["auto", "system"] {
        ssh(&home, client, &fake).says(&["belongs to user nobody"]);
    }
    let heard = fake.heard();
    assert!(heard.contains("GET / ") && heard.contains(r"\x05\x02"), "{heard}");
    assert!(!heard.contains(&ONION[..20]), "{heard}");
}

#[test]
fn roots_tor_and_tors_own_account_are_told_the_name() {
    let home = home();
    let tor = run("id", &["-u", "debian-tor"], "tor").trim().parse().unwrap();
    for (ip, listens, accepts) in
        [(IP, ROOT, ROOT), ("0.0.0.0", ROOT, tor), (IP, tor, tor), (IP, ROOT, tor)]
    {
        for client in ["auto", "system"] {
            let fake = Fake::new(&home, ip, listens, accepts);
            ssh(&home, client, &fake);
            let heard = fake.heard();
            assert!(heard.contains(ONION), "{client} {listens} {accepts}: {heard}");
        }
    }
}

#[test]
fn a_users_own_tor_is_told_the_name_and_that_of_another_user_is_not() {
    let home = home();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(home.dir.path(), open.clone()).unwrap();
    // Where everybody may read it.
    let copy = home.path("clan-connect");
    run("cp", &[BINARY, copy.to_str().unwrap()], "coreutils");
    fs::set_permissions(&copy, open).unwrap();
    for (uid, is_told) in [(OTHER, true), (NOBODY, false)] {
        let fake = Fake::new(&home, IP, uid, uid);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &OTHER.to_string(), "--clear-groups"]).arg(&copy);
        command.args(args("system")).env_clear().env("TOR_SOCKS", &fake.socks);
        command.env("HOME", "/nonexistent").current_dir(home.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = Run::of(wait(start(&mut command, "util-linux"))).exits(255);
        assert_eq!(fake.heard().contains(ONION), is_told, "{uid}: {}", done.stderr);
    }
}

#[test]
fn without_proc_only_who_asks_for_the_systems_tor_gets_it() {
    let home = home();
    let through = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"];
    for (client, is_told) in [("auto", false), ("system", true)] {
        let fake = Fake::new(&home, IP, ROOT, ROOT);
        let mut command = home.command_with(&through, &args(client));
        command.env("TOR_SOCKS", &fake.socks).env("PATH", "/usr/bin:/bin");
        let done = Run::of(wait(start(&mut command, "util-linux"))).exits(255);
        assert_eq!(fake.heard().contains(ONION), is_told, "{client}: {}", done.stderr);
        let done = if is_told {
            done
        } else {
            done.says(&["without /proc its owner cannot be found out"])
        };
        assert_eq!(done.stdout, b"", "{}", done.stderr);
    }
}
