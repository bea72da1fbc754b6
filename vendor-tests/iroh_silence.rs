//! Relays, name servers and machines that take what they are told and say nothing: how
//! long they are waited for, what is said of them, and who else gets his turn.

use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use iroh::{EndpointAddr, SecretKey};
use iroh_tickets::endpoint::EndpointTicket;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Run, free_port, signal, start, until, wait, wait_status};
use crate::iroh::{ALONE, Clan, endpoints};
use crate::iroh_peer::{Manner, Peer};

/// Lets everybody in and hears nobody.
struct Mute {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Mute {
    fn new() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self { tcp, udp }
    }

    fn url(&self) -> String {
        format!("http://{}", self.tcp.local_addr().unwrap())
    }

    fn domain(&self) -> String {
        format!("d.test@{}", self.udp.local_addr().unwrap())
    }
}

fn bare() -> String {
    EndpointTicket::new(EndpointAddr::new(SecretKey::generate().public())).to_string()
}

fn at_relay(url: &str) -> String {
    let address = EndpointAddr::new(SecretKey::generate().public());
    EndpointTicket::new(address.with_relay_url(url.parse().unwrap())).to_string()
}

#[test]
fn whoever_says_nothing_is_named_when_the_time_is_up() {
    let mute = Mute::new();
    let (url, domain) = (mute.url(), mute.domain());
    let silent = Peer::new(Manner::Silent, None);
    let unopened = Peer::new(Manner::Deaf, None);
    let cases = [
        (at_relay(&url), &*url, "none", "did not answer in time, directly or by relay (dial"),
        (bare(), "none", &*domain, "(resolve"),
        (bare(), "none", &*url, "(resolve"),
        (silent.ticket(), "none", "none", "(banner"),
        (unopened.ticket(), "none", "none", "(banner"),
    ];
    std::thread::scope(|scope| {
        for (ticket, relay, discovery, why) in &cases {
            // As long as the user says, and as long as the technology does.
            for (said, most) in [(&["--timeout", "3"][..], 8), (&[], 30)] {
                scope.spawn(move || {
                    let clan = Clan::new();
                    clan.machine("m", ticket);
                    let with = ["--iroh-relay", relay, "--iroh-discovery", discovery];
                    let args = [&["ssh", "m"][..], said, &["-c", "true"]].concat();
                    let started = Instant::now();
                    let done = clan.home.run(&Clan::args(&with, &args)).exits(255);
                    let took = started.elapsed();
                    println!("{took:?} {}", done.stderr);
                    done.says(&["p2p via <secret: p2p-ssh-iroh-p2p/ticket>: ", why, "hint: "]);
                    assert!(took < Duration::from_secs(most), "{why}: {took:?}");
                });
            }
        }
    });
}

/// glibc's would load modules of whatever system this runs on.
#[test]
fn names_of_relays_and_servers_are_looked_up_without_the_c_library() {
    let (relay, server) = ("http://relay.test:81", "http://server.test:82/pkarr");
    for (ticket, relay, discovery) in
        [(at_relay(relay), relay, "none"), (bare(), relay, server), (bare(), "none", "d.test")]
    {
        let clan = Clan::new();
        clan.machine("m", &ticket);
        let with = ["--iroh-relay", relay, "--iroh-discovery", discovery];
        let args = Clan::args(&with, &["ssh", "m", "--timeout", "3", "-c", "true"]);
        // Nobody is there to be asked.
        let trace = ["/usr/bin/unshare", "-n", "/usr/bin/strace", "-f", "-o", "calls"];
        let trace = [&trace[..], &["-e", "trace=openat,connect,execve"]].concat();
        let mut command = clan.home.command_with(&trace, &args);
        Run::of(wait(start(&mut command, "strace"))).exits(255).says(&["p2p via"]);
        let calls = clan.home.read("calls");
        assert!(calls.contains("/etc/resolv.conf"), "{relay} {discovery}: no name was looked up");
        for file in ["gai.conf", "nsswitch.conf", "libnss_", "nscd"] {
            assert!(!calls.contains(file), "{relay} {discovery}: {file} was opened");
        }
    }
}

#[test]
fn a_signal_ends_at_once_whatever_is_waited_for() {
    let mute = Mute::new();
    let (url, domain) = (mute.url(), mute.domain());
    let silent = Peer::new(Manner::Silent, None);
    for (ticket, relay, discovery, phase) in [
        (at_relay(&url), &*url, "none", "p2p: trying to connect"),
        (bare(), "none", &*domain, "p2p: looking up the address of its ticket"),
        (silent.ticket(), "none", "none", "p2p: trying to connect"),
    ] {
        for by in [Signal::TERM, Signal::INT] {
            let clan = Clan::new();
            clan.machine("m", &ticket);
            let with = ["--iroh-relay", relay, "--iroh-discovery", discovery];
            let mut command = clan.home.command(&Clan::args(&with, &["-v", "ssh", "m"]));
            let log = std::fs::File::create(clan.home.path("log")).unwrap();
            command.stdout(Stdio::null()).stderr(log);
            let mut child = start(&mut command, "util-linux");
            until("the phase", || clan.home.read("log").contains(phase));
            let asked = Instant::now();
            signal(i32::try_from(child.id()).unwrap(), by);
            let status = wait_status(&mut child);
            println!("{phase}, {by:?}: {status}, {:?}", asked.elapsed());
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
            assert_eq!(status.code(), Some(128 + by.as_raw()));
        }
    }
}

/// `p2p` at priority 3000, and sshd itself at another.
fn with_direct(clan: &Clan, priority: u16, port: u16) {
    let direct = json!({ "priority": priority, "peers": { "m": {
        "host": { "plain": "127.0.0.1" }, "port": port } } });
    let ticket = json!({ "priority": 3000, "module": "clan_lib.network.p2p_ssh_iroh",
                         "peers": { "m": {} } });
    let exports = json!({ "direct": direct, "p2p": ticket }).to_string();
    clan.home.write("clan/exports.json", exports);
}

#[test]
fn nothing_of_iroh_is_started_where_another_network_answers_first() {
    let clan = Clan::new();
    let sshd = clan.sshd();
    let peer = Peer::new(Manner::Leads(sshd.address), None);
    clan.machine("m", &peer.ticket());
    with_direct(&clan, 4000, sshd.address.port());
    let mut command = clan.home.command_with(
        &["/usr/bin/strace", "-f", "-e", "trace=connect,bind,prctl", "-o", "calls"],
        &Clan::args(&ALONE, &["ssh", "m", "-c", "true"]),
    );
    Run::of(wait(start(&mut command, "strace"))).exits(0);
    let calls = clan.home.read("calls");
    assert!(calls.contains(&format!("htons({})", sshd.address.port())), "{calls}");
    assert!(endpoints(&calls) == 0 && !calls.contains("\"iroh\""), "{calls}");
    assert_eq!(peer.ends().len(), 0);
}

#[test]
fn each_network_takes_over_where_the_other_does_not_answer() {
    let clan = Clan::new();
    let sshd = clan.sshd();
    let leads = Peer::new(Manner::Leads(sshd.address), None);
    let silent = Peer::new(Manner::Silent, None);
    for (ticket, priority, port, winner) in [
        (leads.ticket(), 4000, free_port("127.0.0.1"), "p2p"),
        (silent.ticket(), 1000, sshd.address.port(), "direct"),
        ("no ticket".to_owned(), 1000, sshd.address.port(), "direct"),
    ] {
        clan.machine("m", &ticket);
        with_direct(&clan, priority, port);
        let args = Clan::args(&ALONE, &["-v", "ssh", "m", "-c", "echo", "hi"]);
        let started = Instant::now();
        let done = clan.home.run(&args).exits(0);
        println!("{winner} after {:?}", started.elapsed());
        assert_eq!(done.text(), "hi\n");
        assert!(started.elapsed() < Duration::from_secs(6), "{}", done.stderr);
        assert!(!done.stderr.contains(&ticket), "{}", done.stderr);
        done.says(&[&format!("trying {winner} (")]);
    }
}
