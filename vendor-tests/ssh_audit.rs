//! What ssh-audit thinks of us as a client.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Home, PROGRAMS, free_port, start, until, wait};

/// What it warns about and servers force, below what it does not warn about: those
/// without the post-quantum exchange, which OpenSSH before 9.9 is, and those in FIPS
/// mode, which have no MAC of the better kind.
const FORCED: [&str; 8] = [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
    "hmac-sha2-512",
    "hmac-sha2-256",
];

#[test]
fn it_finds_no_failure_and_no_warning_that_servers_do_not_force() {
    let home = Home::new();
    let port = free_port("127.0.0.1");
    let mut command = Command::new("python3");
    command
        .args(["-m", "ssh_audit.ssh_audit", "-j", "-c", "-p", &port.to_string()])
        .env("PYTHONPATH", format!("{PROGRAMS}/ssh-audit"))
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let audit = start(&mut command, "python3, and run vendor-tests/run");
    let listening = || {
        let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap();
        tcp.lines().any(|line| line.contains(&format!(":{port:04X} 00000000:0000 0A")))
    };
    until("ssh-audit", listening);
    let target = format!("root@127.0.0.1:{port}");
    home.run(&["ssh", "m", "--target-host", &target, "-c", "true"]).exits(255);
    let done = wait(audit);
    let report: Value =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    let mut seen = 0;
    for kind in ["kex", "key", "enc", "mac"] {
        for algorithm in report[kind].as_array().unwrap() {
            let name = algorithm["algorithm"].as_str().unwrap();
            let notes = &algorithm["notes"];
            println!("{kind} {name}: {notes}");
            assert!(notes["fail"].is_null(), "{algorithm}");
            assert!(notes["warn"].is_null() || FORCED.contains(&name), "{algorithm}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{report}");
}
