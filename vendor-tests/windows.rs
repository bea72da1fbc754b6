//! How much memory connections take that nobody reads, and how fast a long link is,
//! beside OpenSSH.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::time::Duration;

use crate::harness::{THEIRS, free_port, start, until};
use crate::openssh_personality::Place;

const CONNECTIONS: usize = 40;

/// The most that a process has taken so far, in KiB.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Fills connections through a listener on the machine; returns what the client
/// took before and after.
fn filled(place: &Place, ssh: &str) -> (u64, u64) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = free_port("127.0.0.1");
    let forward = format!("{there}:{}", target.local_addr().unwrap());
    let mut command = place.client(ssh, &["-N", "-R", &forward, "box"]);
    let mut client = start(&mut command, "openssh-client");
    let connect = || TcpStream::connect(("127.0.0.1", there)).ok();
    until("the listener", || connect().is_some());
    let before = peak(&client);
    std::thread::spawn(move || {
        let mut all = Vec::new();
        while let Ok((stream, _)) = target.accept() {
            all.push(stream);
        }
    });
    let fill = || {
        let mut stream = connect().unwrap();
        // By then everything between here and there is full.
        stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
        while stream.write_all(&[0; 1 << 16]).is_ok() {}
        stream
    };
    let full: Vec<TcpStream> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(fill)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let after = peak(&client);
    drop(full);
    client.kill().unwrap();
    client.wait().unwrap();
    (before, after)
}

#[test]
fn connections_that_nobody_reads_take_no_more_memory_than_with_openssh() {
    let place = Place::shared("AllowTcpForwarding yes\n");
    let (ours_before, ours) = filled(&place, &place.ours());
    let (theirs_before, theirs) = filled(&place, THEIRS);
    println!(
        "{CONNECTIONS}: ours {ours_before} to {ours} KiB, OpenSSH {theirs_before} to {theirs} KiB"
    );
    assert!(ours > ours_before + (16 << 10), "they were filled");
    let (more, their_more) = (ours - ours_before, theirs - theirs_before);
    assert!(more < their_more.max(96 << 10), "{more} KiB against {their_more} KiB");
}
