//! Machines with a ticket: through peers of our own, in front of a real sshd, all on
//! loopback; what dumbpipe itself does is in `dumbpipe`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use iroh::endpoint::ConnectionError;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Home, PROGRAMS, Run, Server, Terminal, found_below, free_port, noise, run, signal, sshd, start,
    until, wait, wait_status,
};
use crate::iroh_peer::{Manner, Peer};

/// Nobody is asked for anything.
pub const ALONE: [&str; 4] = ["--iroh-relay", "none", "--iroh-discovery", "none"];

/// A clan in which machines have these tickets, and a user who may log in.
pub struct Clan {
    pub home: Home,
    pub key: String,
}

impl Clan {
    pub fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        home.write("clan/.clan-flake", "");
        Self { home, key }
    }

    pub fn sshd(&self) -> Server {
        sshd(&self.home, "127.0.0.1", &self.key, "MaxStartups 100\n")
    }

    /// Gives a machine its ticket; those before stay.
    pub fn machine(&self, name: &str, ticket: &str) {
        let var = format!("clan/vars/per-machine/{name}/p2p-ssh-iroh-p2p/ticket/value");
        self.home.write(&var, ticket);
        let peers = std::fs::read_dir(self.home.path("clan/vars/per-machine")).unwrap();
        let peers = peers.map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            (name, json!({}))
        });
        let peers: serde_json::Map<String, Value> = peers.collect();
        let network = json!({ "priority": 3000, "module": "clan_lib.network.p2p_ssh_iroh",
                              "peers": peers });
        self.home.write("clan/exports.json", json!({ "p2p": network }).to_string());
    }

    pub fn args<'a>(more: &[&'a str], args: &[&'a str]) -> Vec<&'a str> {
        let clan = ["--flake", "clan", "--exports", "clan/exports.json"];
        [&clan[..], more, args].concat()
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.home.run(&Self::args(&ALONE, args))
    }

    fn command(&self, args: &[&str]) -> Command {
        self.home.command(&Self::args(&ALONE, args))
    }
}

/// A machine `m` behind a peer of our own.
struct World {
    peer: Peer,
    clan: Clan,
    sshd: Server,
}

impl World {
    fn new() -> Self {
        let clan = Clan::new();
        let sshd = clan.sshd();
        let peer = Peer::new(Manner::Leads(sshd.address), None);
        clan.machine("m", &peer.ticket());
        Self { peer, clan, sshd }
    }
}

#[test]
fn a_command_runs_over_a_ticket_and_the_ticket_is_shown_nowhere() {
    let world = World::new();
    let relay = "https://relay.nobody.test/";
    let ticket = world.peer.ticket_with_relay(relay);
    world.clan.machine("m", &ticket);
    // With relays of one's own in use, that of the ticket is one more.
    let relays = ["--iroh-relay", "https://127.0.0.1:1", "--iroh-discovery", "none"];
    for more in [&ALONE, &relays] {
        let args = Clan::args(more, &["-vvv", "ssh", "m", "-c", "echo", "hi"]);
        let done = world.clan.home.run(&args).exits(0);
        assert!(done.stderr.contains("iroh"), "{}", done.stderr);
        let address = world.peer.address();
        for part in [&address.to_string(), &format!(":{}", address.port()), "nobody.test"] {
            assert!(!done.stderr.contains(part), "{part}: {}", done.stderr);
        }
    }
    let done = world.clan.run(&["-vvv", "ssh", "m", "-c", "echo", "hi"]).exits(0);
    assert_eq!(done.text(), "hi\n");
    let done = done.says(&[
        "trying p2p (<var: p2p-ssh-iroh-p2p/ticket>)",
        "p2p: trying to connect",
        "its ticket also identifies the machine",
    ]);
    // The libraries have their say.
    assert!(done.stderr.contains("iroh"), "{}", done.stderr);
    let shown = done.stderr.to_ascii_lowercase();
    assert!(!shown.contains(&ticket), "{shown}");
    for form in world.peer.key_forms() {
        assert!(!shown.contains(&form), "{form}: {shown}");
    }
    let list = world.clan.run(&["network", "list", "--json"]).exits(0);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let p2p = &list["networks"][0];
    assert_eq!((&p2p["running"], &p2p["on_demand"]), (&"in-process".into(), &true.into()));
    let ping = world.clan.run(&["network", "ping", "m", "--json"]).exits(0);
    assert!(ping.text().contains("<secret: p2p-ssh-iroh-p2p/ticket>"), "{}", ping.text());
    let ping: Value = serde_json::from_slice(&ping.stdout).unwrap();
    let route = &ping["routes"][0];
    assert_eq!((&route["ok"], &route["host_key"]), (&true.into(), &"known".into()), "{ping}");
    assert!(
        route["phases"].to_string().contains("trying to connect, directly and by relay"),
        "{ping}"
    );
    // Its var is the only file with it.
    let var = world.clan.home.path("clan/vars/per-machine/m/p2p-ssh-iroh-p2p/ticket/value");
    assert_eq!(found_below(world.clan.home.dir.path(), &ticket), [var]);
    // A user who wants to see it can.
    let shown = world.clan.run(&["--show-secrets", "-v", "ssh", "m", "-c", "true"]).exits(0);
    assert!(shown.stderr.contains(&ticket), "{}", shown.stderr);
}

#[test]
fn a_wrong_host_key_is_a_wrong_host_key_whatever_the_ticket_says() {
    let world = World::new();
    world.clan.run(&["ssh", "m", "-c", "true"]).exits(0);
    let other = world.clan.sshd();
    let impostor = Peer::new(Manner::Leads(other.address), None);
    world.clan.machine("m", &impostor.ticket());
    world.clan.run(&["ssh", "m", "-c", "true"]).exits(255).says(&["host key"]);
    assert!(!world.sshd.log().is_empty());
}

#[test]
fn what_is_written_arrives_before_the_half_of_a_stream_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer::new(Manner::Leads(listener.local_addr().unwrap()), None);
    let clan = Clan::new();
    clan.machine("m", &peer.ticket());
    let counting = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-counting\r\n").unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        write!(stream, "{}", all.len()).unwrap();
        all
    });
    let sent = noise(3 << 20);
    let done = clan.home.run_with_input(&Clan::args(&ALONE, &["proxy", "m"]), sent.clone());
    let done = done.exits(0);
    assert_eq!(done.text(), format!("SSH-2.0-counting\r\n{}", sent.len()));
    assert!(counting.join().unwrap() == sent, "other bytes arrived");
    // Whoever asks for another port does not get sshd's.
    clan.run(&["proxy", "m", "8080"]).exits(255).says(&["carry only SSH"]);
}

#[test]
fn whoever_breaks_off_breaks_off_on_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer::new(Manner::Leads(listener.local_addr().unwrap()), None);
    let clan = Clan::new();
    clan.machine("m", &peer.ticket());
    let mut child = start(clan.command(&["proxy", "m"]).stdin(Stdio::piped()), "util-linux");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"SSH-2.0-x\r\n").unwrap();
    let mut seen = [0; 11];
    child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    signal(pid, Signal::TERM);
    let ended = Instant::now();
    // The machine's end hears at once.
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    println!("heard after {:?}", ended.elapsed());
    assert!(ended.elapsed() < Duration::from_secs(3), "{:?}", ended.elapsed());
    wait_status(&mut child);
    drop(stream);
}

#[test]
fn a_peer_hears_that_we_have_ended_and_nobody_waits_long_for_that() {
    let world = World::new();
    world.clan.run(&["ssh", "m", "-c", "true"]).exits(0);
    until("the end", || world.peer.ends().len() == 1);
    let (end, _) = world.peer.ends().remove(0);
    assert!(matches!(end, ConnectionError::ApplicationClosed(_)), "{end:?}");
    for by in [Signal::TERM, Signal::INT] {
        let before = world.peer.ends().len();
        let child =
            start(&mut world.clan.command(&["ssh", "m", "-c", "sleep", "60"]), "util-linux");
        let logins = || world.sshd.log().matches("Starting session").count();
        until("the session", || logins() > before);
        let asked = Instant::now();
        signal(i32::try_from(child.id()).unwrap(), by);
        wait(child);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        until("the end", || world.peer.ends().len() == before + 1);
        let (end, heard) = world.peer.ends().pop().unwrap();
        assert!(matches!(end, ConnectionError::ApplicationClosed(_)), "{end:?}");
        assert!(heard - asked < Duration::from_secs(2), "{:?}", heard - asked);
    }
}

#[test]
fn one_endpoint_carries_all_machines_of_an_invocation() {
    let world = World::new();
    let second = Peer::new(Manner::Leads(world.sshd.address), None);
    world.clan.machine("second", &second.ticket());
    let mut command = world.clan.home.command_with(
        &["/usr/bin/strace", "-f", "-e", "trace=bind", "-o", "calls"],
        &Clan::args(&ALONE, &["network", "overview", "--json"]),
    );
    let done = Run::of(wait(start(&mut command, "strace"))).exits(0);
    let overview: Value = serde_json::from_slice(&done.stdout).unwrap();
    let peers = overview["networks"][0]["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 2);
    assert!(peers.iter().all(|peer| peer["ok"] == true), "{overview}");
    let calls = world.clan.home.read("calls");
    assert_eq!(endpoints(&calls), 1, "{calls}");
}

/// How many endpoints a trace of bind(2) shows: each has a socket that hears of changes of
/// the network.
pub fn endpoints(calls: &str) -> usize {
    let is_monitor =
        |call: &&str| call.contains("AF_NETLINK") && !call.contains("nl_groups=00000000");
    calls.lines().filter(is_monitor).count()
}

/// The calls that tell somebody something.
const TELLING: &str = "trace=connect,sendto,sendmsg,sendmmsg";

/// The addresses that a trace of network calls names.
fn addressed(calls: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for begins in ["inet_addr(\"", "inet_pton(AF_INET6, \""] {
        found.extend(calls.split(begins).skip(1).filter_map(|rest| rest.split('"').next()));
    }
    found
}

#[test]
fn nobody_else_is_told_anything_where_relays_and_discovery_are_off() {
    let world = World::new();
    let mut command = world.clan.home.command_with(
        &["/usr/bin/strace", "-f", "-yy", "-e", TELLING, "-o", "calls"],
        &Clan::args(&ALONE, &["ssh", "m", "-c", "true"]),
    );
    Run::of(wait(start(&mut command, "strace"))).exits(0);
    let calls = world.clan.home.read("calls");
    // Where a packet would leave from is asked of the system by connecting UDP, which
    // sends none.
    let is_question = |call: &&str| call.contains("connect(") && call.contains("<UDP");
    let calls: String = calls.lines().filter(|call| !is_question(call)).collect();
    let (addressed, own) = (addressed(&calls), run("hostname", &["-I"], "hostname"));
    assert!(addressed.iter().any(|address| address.ends_with("127.0.0.1")), "{calls}");
    for address in addressed {
        let bare = address.trim_start_matches("::ffff:");
        let is_here = bare.starts_with("127.") || bare == "::1" || bare == "0.0.0.0";
        // Holes are punched to where the peer may be, which is this computer.
        assert!(is_here || own.split_whitespace().any(|ip| ip == bare), "{address}: {calls}");
    }
}

#[test]
fn a_ticket_that_cannot_be_used_is_named_and_not_shown() {
    let clan = Clan::new();
    let good = Peer::new(Manner::Silent, None).ticket();
    let many = {
        use iroh::{EndpointAddr, SecretKey, TransportAddr};
        let ports = (1..=65).map(|port| TransportAddr::Ip(([127, 0, 0, 1], port).into()));
        let address = EndpointAddr::from_parts(SecretKey::generate().public(), ports);
        iroh_tickets::endpoint::EndpointTicket::new(address).to_string()
    };
    let plain = {
        use iroh::{EndpointAddr, SecretKey};
        let relay = "http://169.254.169.254/latest".parse().unwrap();
        let address = EndpointAddr::new(SecretKey::generate().public()).with_relay_url(relay);
        iroh_tickets::endpoint::EndpointTicket::new(address).to_string()
    };
    let cut = &good[..good.len() / 2];
    let huge = format!("endpoint{}", "a".repeat(1 << 20));
    for (ticket, why) in [
        ("two words", "p2p-ssh-iroh-p2p/ticket"),
        ("web01.example", "a ticket begins with"),
        (cut, "a ticket begins with"),
        (many.as_str(), "more than 64 addresses"),
        (plain.as_str(), "not at an https:// address"),
        (huge.as_str(), "p2p-ssh-iroh-p2p/ticket"),
        ("endpoint\x1b]0;x\x07", "p2p-ssh-iroh-p2p/ticket"),
    ] {
        clan.machine("m", ticket);
        let started = Instant::now();
        let done = clan.run(&["ssh", "m", "-c", "true"]).exits(255);
        let done = done.says(&["p2p via <", "p2p-ssh-iroh-p2p/ticket", "m", why, "hint: "]);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert!(!done.stderr.contains(ticket) && !done.stderr.contains('\x1b'), "{}", done.stderr);
    }
    let done = clan.home.run(&Clan::args(&["--iroh-relay", "relay"], &["ssh", "m", "-c", "true"]));
    done.exits(255).says(&["for iroh, \"relay\": it is no URL"]);
}

#[test]
fn peers_that_do_not_do_as_they_should_are_told_apart() {
    let clan = Clan::new();
    let gone = {
        let peer = Peer::new(Manner::Silent, None);
        peer.ticket()
    };
    let silent = Peer::new(Manner::Silent, None);
    let garbage = Peer::new(Manner::Says(b"\x1b[2J\r\n\x00garbage"), None);
    let wordy = Peer::new(Manner::Says(&[b'x'; 100_000]), None);
    let closing = Peer::new(Manner::Closes, None);
    let other = Peer::speaking(b"OTHER", Manner::Silent, None);
    // The port leads to somebody else by now.
    let impostor = {
        use iroh::{EndpointAddr, SecretKey, TransportAddr};
        let at = silent.record().1.trim_start_matches("addr=").parse().unwrap();
        let at = [TransportAddr::Ip(at)];
        let address = EndpointAddr::from_parts(SecretKey::generate().public(), at);
        iroh_tickets::endpoint::EndpointTicket::new(address).to_string()
    };
    for (ticket, why) in [
        (gone, "did not answer in time, directly or by relay (dial"),
        (silent.ticket(), "(banner"),
        (garbage.ticket(), "(banner"),
        (wordy.ticket(), "(banner"),
        (closing.ticket(), "("),
        (other.ticket(), "does not speak dumbpipe's protocol (dial"),
        (impostor, "does not have the key of its ticket (dial"),
        (silent.bare_ticket(), "no address is published for its ticket (resolve"),
    ] {
        clan.machine("m", &ticket);
        let started = Instant::now();
        let done = clan.run(&["ssh", "m", "--timeout", "4", "-c", "true"]).exits(255);
        println!("{:?} {}", started.elapsed(), done.stderr);
        let done = done.says(&["p2p via <secret: p2p-ssh-iroh-p2p/ticket>: ", why]);
        assert!(started.elapsed() < Duration::from_secs(10), "{why}: {:?}", started.elapsed());
        assert!(!done.stderr.contains('\x1b') && !done.stderr.contains("go away"));
    }
}

/// A program that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// BIND with one zone, `d.test`.
fn named(home: &Home, records: &str) -> (Ends, SocketAddr) {
    println!("{}", run("/usr/sbin/named", &["-v"], "bind9"));
    let port = free_port("127.0.0.1");
    let dir = home.path("dns").to_str().unwrap().to_owned();
    home.write("dns/zone", format!("$TTL 60\n@ IN SOA a. b. 1 60 60 60 60\n@ IN NS a.\n{records}"));
    let config = format!(
        "options {{ directory \"{dir}\"; listen-on port {port} {{ 127.0.0.1; }};\n\
         listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; pid-file none;\n\
         session-keyfile none; }};\ncontrols {{ }};\n\
         zone \"d.test\" {{ type primary; file \"zone\"; }};\n"
    );
    let config = home.write("dns/named.conf", config);
    let log = std::fs::File::create(home.path("dns/log")).unwrap();
    let mut command = Command::new("/usr/sbin/named");
    command.args(["-g", "-n", "1", "-c", config.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let named = Ends(start(&mut command, "bind9"));
    until("named", || home.read("dns/log").contains(" running\n"));
    (named, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[test]
fn a_ticket_as_clan_makes_them_is_looked_up_in_the_dns() {
    let world = World::new();
    let (name, text) = world.peer.record();
    let stale = Peer::new(Manner::Silent, None);
    let poisoned = stale.record().0;
    // What a name server says is foreign text.
    let many: String = (1..99).map(|at| format!(" \"addr=10.0.0.1:{at}\"\n")).collect();
    let records = format!(
        "{name} IN TXT \"{text}\"\n{name} IN TXT \"relay=http://10.0.0.1/\"\n{}",
        many.lines().fold(String::new(), |all, line| all + &format!("{poisoned} IN TXT{line}\n"))
    );
    let (_named, server) = named(&world.clan.home, &records);
    let place = format!("d.test@{server}");
    let with = ["--iroh-relay", "none", "--iroh-discovery", &place];
    world.clan.machine("m", &world.peer.bare_ticket());
    let ssh = |more: &[&str]| {
        let args = [&["-v", "ssh", "m"], more, &["-c", "echo", "hi"]].concat();
        world.clan.home.run(&Clan::args(&with, &args))
    };
    let done = ssh(&[])
        .exits(0)
        .says(&["p2p: looking up the address of its ticket", "p2p: trying to connect"]);
    assert_eq!(done.text(), "hi\n");
    // By the files of ssh_config(5), too.
    world
        .clan
        .home
        .write("home/.ssh/config", format!("Host m\n IrohRelay none\n IrohDiscovery {place}\n"));
    let plain = Clan::args(&[], &["ssh", "m", "-c", "echo", "hi"]);
    assert_eq!(world.clan.home.run(&plain).exits(0).text(), "hi\n");
    world.clan.machine("m", &Peer::new(Manner::Silent, None).bare_ticket());
    ssh(&[]).exits(255).says(&["no address is published for its ticket (resolve", "hint: "]);
    world.clan.machine("m", &stale.bare_ticket());
    ssh(&["--timeout", "4"]).exits(255).says(&["p2p via <secret: p2p-ssh-iroh-p2p/ticket>"]);
}

/// iroh's own relay, in the clear.
fn relay(home: &Home) -> (Ends, String) {
    let program = format!("{PROGRAMS}/bin/iroh-relay");
    println!("{}", run(&program, &["--version"], "iroh-relay: vendor-tests/run"));
    let port = free_port("127.0.0.1");
    let config = format!("http_bind_addr = \"127.0.0.1:{port}\"\nenable_metrics = false\n");
    let config = home.write("relay.toml", config);
    let log = std::fs::File::create(home.path("relay.log")).unwrap();
    let mut command = Command::new(program);
    command.args(["--dev", "--config-path", config.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let relay = Ends(start(&mut command, "iroh-relay"));
    until("the relay", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    (relay, format!("http://127.0.0.1:{port}"))
}

#[test]
fn a_machine_that_only_a_relay_leads_to_is_reached_over_it() {
    let clan = Clan::new();
    let sshd = clan.sshd();
    let (mut running, url) = relay(&clan.home);
    let peer = Peer::new(Manner::Leads(sshd.address), Some(&url));
    clan.machine("m", &peer.ticket());
    let with = ["--iroh-relay", &*url, "--iroh-discovery", "none"];
    let args = |words: &[&'static str]| Clan::args(&with, &[&["ssh", "m", "-c"], words].concat());
    assert_eq!(clan.home.run(&args(&["echo", "hi"])).exits(0).text(), "hi\n");
    let sent = noise(4 << 20);
    let echoed = clan.home.run_with_input(&args(&["cat"]), sent.clone()).exits(0);
    assert!(echoed.stdout == sent, "other bytes came back");
    // One in the clear that the user has not named is not told anything.
    clan.run(&["ssh", "m", "-c", "true"]).exits(255).says(&["not at an https:// address"]);
    let _ = running.0.kill();
    let _ = running.0.wait();
    let mut late = args(&["true"]);
    late.insert(late.len() - 2, "--timeout");
    late.insert(late.len() - 2, "4");
    clan.home.run(&late).exits(255).says(&["did not answer in time, directly or by relay"]);
}

/// As between two homes: a ticket of Clan's, a name server, and a relay.
#[test]
fn a_bare_ticket_leads_over_discovery_to_a_relay_that_leads_to_the_machine() {
    let clan = Clan::new();
    let sshd = clan.sshd();
    let (_running, url) = relay(&clan.home);
    let peer = Peer::new(Manner::Leads(sshd.address), Some(&url));
    let name = format!("_iroh.{}", peer.key_forms()[1]);
    let (_named, server) = named(&clan.home, &format!("{name} IN TXT \"relay={url}\"\n"));
    clan.machine("m", &peer.bare_ticket());
    let place = format!("d.test@{server}");
    let with = ["--iroh-relay", &*url, "--iroh-discovery", &place];
    let cat = Clan::args(&with, &["ssh", "m", "-c", "cat"]);
    let sent = noise(4 << 20);
    let echoed = clan.home.run_with_input(&cat, sent.clone()).exits(0);
    assert!(echoed.stdout == sent, "other bytes came back");
    // A relay in the clear that the user has not named is not followed.
    let with = ["--iroh-relay", "none", "--iroh-discovery", &place];
    let args = Clan::args(&with, &["ssh", "m", "-c", "true"]);
    clan.home.run(&args).exits(255).says(&["no address is published for its ticket"]);
}

#[test]
fn a_terminal_works_over_a_ticket_and_a_line_says_what_is_waited_for() {
    let world = World::new();
    let args = Clan::args(&ALONE, &["ssh", "m"]);
    let mut terminal = Terminal::start(&world.clan.home, &args, 90, 30, &[]);
    terminal.send("stty size; echo do''ne\r");
    terminal.expect("30 90");
    terminal.expect("done");
    terminal.resize(101, 33);
    terminal.send("exit 7\r");
    assert_eq!(terminal.exit_code(), Some(7));
    world.clan.machine("gone", &Peer::new(Manner::Silent, None).ticket());
    let args = Clan::args(&ALONE, &["ssh", "gone", "--timeout", "6", "-c", "true"]);
    let terminal = Terminal::start(&world.clan.home, &args, 120, 30, &[]);
    terminal.expect("connecting to gone over p2p: trying to connect, directly and by relay");
}

#[test]
fn a_master_keeps_its_endpoint_for_all_its_sessions() {
    let world = World::new();
    let socket = world.clan.home.path("mux").to_str().unwrap().to_owned();
    let shared = [
        &["-o", "ControlMaster=auto", "-o", "ControlPersist=30", "-S", &*socket][..],
        &["-o", "StrictHostKeyChecking=accept-new"],
    ]
    .concat();
    let ssh = |more: &[&str]| {
        let clan = Clan::args(&ALONE, &["openssh"]);
        world.clan.home.run(&[&clan[..], &*shared, more].concat())
    };
    for _ in 0..3 {
        assert_eq!(ssh(&["m", "echo", "hi"]).exits(0).text(), "hi\n");
    }
    assert_eq!(world.sshd.log().matches("Accepted publickey").count(), 1);
    assert_eq!(world.peer.ends().len(), 0);
    // Nor does anybody else see the ticket who looks at processes.
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains(&world.peer.ticket()));
        }
    }
    ssh(&["-O", "exit", "m"]).exits(0);
    until("the end", || world.peer.ends().len() == 1);
    let (end, _) = world.peer.ends().remove(0);
    assert!(matches!(end, ConnectionError::ApplicationClosed(_)), "{end:?}");
}
