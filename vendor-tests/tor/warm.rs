//! A machine behind an onion service, whose session stays: the next command starts no
//! Tor, and has no circuit to build.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Machine;
use super::network::network;
use crate::harness::{Run, start, wait};

#[test]
fn the_next_command_starts_no_tor() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let run = machine.home.path("run");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, Permissions::from_mode(0o700)).unwrap();
    let ours = |command: &mut Command| {
        command.env("XDG_RUNTIME_DIR", &run).env("CLAN_CONNECT_PERSIST", "1m");
        start(command, "util-linux")
    };
    let echo = || {
        let started = Instant::now();
        let args = machine.args("state", &["-v"], &["echo", "hello"]);
        let done = Run::of(wait(ours(&mut machine.home.command(&args)))).exits(0);
        assert_eq!(done.text(), "hello\n");
        (started.elapsed(), done.stderr)
    };
    let (cold, said) = echo();
    assert!(said.contains("over network tor"), "{said}");
    let (warm, said) = echo();
    println!("first {cold:?}, next {warm:?}");
    assert!(!said.contains("starting Tor") && !said.contains("trying "), "{said}");
    assert!(warm < cold, "{warm:?} is not less than {cold:?}");
    assert_eq!(
        machine.server.log().matches("Accepted publickey").count(),
        2,
        "the first was apart"
    );
    // Nor does a stream for another program, which is one more of the same circuit.
    let args = ["--exports", "exports.json", "--tor-config", "arti.toml", "--tor-state", "state"];
    let proxy = [&args[..], &["--tor", "embedded", "proxy", "m", "-v", "-o", "User=root"]].concat();
    let mut command = machine.home.command(&proxy);
    let mut child = ours(command.stdin(Stdio::piped()));
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"SSH-2.0-x\r\n").unwrap();
    let mut begin = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"SSH-2.0-");
    drop(input);
    let done = Run::of(wait(child));
    assert!(done.stderr.contains("over a warm connection"), "{}", done.stderr);
    let close = ours(&mut machine.home.command(&["close", "--all"]));
    assert_eq!(Run::of(wait(close)).exits(0).text(), "closed m  as root over tor\n");
}
