//! `network ping` and `network overview` against OpenSSH's sshd and what stands
//! in its place: closed ports, black holes, other services.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::{Home, Terminal, run, sshd, start};
use serde_json::{Value, json};

const IP: &str = "127.0.0.1";

/// A port of which the queue is full, so that nothing answers.
pub struct Hole {
    pub port: u16,
    _held: Vec<std::net::TcpStream>,
    _listener: TcpListener,
}

impl Hole {
    pub fn new() -> Self {
        use rustix::net;
        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
        net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(stream) =
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))
        {
            held.push(stream);
        }
        Self { port: address.port(), _held: held, _listener: listener }
    }
}

/// Something that says its banner to everybody, as many as there are.
fn banner() -> u16 {
    let listener = TcpListener::bind((IP, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"SSH-2.0-test\r\n");
        }
    });
    port
}

#[test]
fn ping_tells_of_every_network_what_answers_and_with_which_key() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, "");
    let hole = Hole::new();
    let port = server.address.port();
    let network = |priority, port| json!({ "priority": priority, "peers": { "m": { "host": { "plain": IP }, "port": port } } });
    let exports = json!({
        "dead": network(30, hole.port), "closed": network(20, 1), "good": network(10, port),
    });
    home.write("exports.json", exports.to_string());
    let ping = |more: &[&str]| {
        home.run(
            &[&["--exports", "exports.json", "network", "ping", "m", "--timeout", "1"], more]
                .concat(),
        )
    };
    let started = Instant::now();
    let done = ping(&[]).exits(0);
    assert!(started.elapsed() < Duration::from_secs(3), "one after the other");
    let lines: Vec<String> = done.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    let line = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap();
    for failed in ["dead via", "closed via"] {
        assert!(lines[line(failed) + 1].starts_with("  hint:"), "{lines:#?}");
    }
    let good = &lines[line("good via")];
    assert!(good.contains("host key unknown, SSH-2.0-OpenSSH"), "{good}");
    // As they come: what has no answer is the last.
    assert_eq!(line("dead via"), 3, "{lines:#?}");
    // Nothing was logged in to, nothing trusted.
    assert!(!server.log().contains("Accepted"), "{}", server.log());
    assert_eq!(home.read("home/.ssh/known_hosts"), "");
    let state = |status| {
        let done = ping(&["--json", "--network", "good"]).exits(status);
        let value: Value = serde_json::from_slice(&done.stdout).unwrap();
        value["routes"][0]["host_key"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(0), "unknown");
    home.run(&["--exports", "exports.json", "ssh", "m", "-c", "true"]).exits(0);
    assert_eq!(state(0), "known");
    home.keygen("other", "ed25519", "");
    let other = home.read("other.pub");
    let other: Vec<&str> = other.split_whitespace().take(2).collect();
    home.write("home/.ssh/known_hosts", format!("[{IP}]:{port} {}\n", other.join(" ")));
    assert_eq!(state(1), "changed");
    let done = ping(&["--network", "good"]).exits(1).text();
    assert!(
        done.contains("host key changed") && done.contains("  hint: a session would"),
        "{done}"
    );
    let done = ping(&["--json", "--network", "closed"]).exits(1);
    let value: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(value["reachable"], false);
    assert_eq!(value["routes"][0]["reason"], "connection refused");
}

#[test]
fn ping_prints_every_answer_as_it_comes() {
    let home = Home::new();
    let (hole, banner) = (Hole::new(), banner());
    let network = |priority, port| json!({ "priority": priority, "peers": { "m": { "host": { "plain": IP }, "port": port } } });
    let exports = json!({
        "dead": network(30, hole.port), "closed": network(20, 1), "up": network(10, banner),
    });
    home.write("exports.json", exports.to_string());
    let args = ["--exports", "exports.json", "network", "ping", "m", "--timeout", "600"];
    // In a pipe, where a program reads it.
    let mut child = start(&mut home.command(&args), "util-linux");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut begun = Vec::new();
    while begun.len() < 3 {
        begun.push(lines.next().unwrap().unwrap());
    }
    begun.sort();
    let starts = ["  hint:", "closed via", "up via"];
    assert!(begun.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{begun:?}");
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    // On a terminal, beside what is told of what is waited for.
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    terminal.expect("up via 127.0.0.1: ");
    terminal.expect("closed via 127.0.0.1 port 1: ");
    assert!(!terminal.text().contains("dead via"), "{}", terminal.text());
    assert!(terminal.is_running());
    // In JSON they are one document, and in the order of the networks.
    let args = [&args[..6], &["1", "--json"]].concat();
    let done = home.run(&args).exits(0);
    let value: Value = serde_json::from_slice(&done.stdout).unwrap();
    let networks = value["routes"].as_array().unwrap().iter().map(|route| &route["network"]);
    assert_eq!(networks.collect::<Vec<_>>(), ["dead", "closed", "up"]);
}

#[test]
fn an_overview_of_a_thousand_peers_waits_for_the_black_holes_once() {
    println!("{}", run("ssh", &["-V"], "openssh-client"));
    let home = Home::new();
    let (hole, banner) = (Hole::new(), banner());
    let peers: serde_json::Map<String, Value> = (0..1000)
        .map(|at| {
            let port = if at % 10 < 3 { hole.port } else { banner };
            (format!("m{at:04}"), json!({ "host": { "plain": IP }, "port": port }))
        })
        .collect();
    home.write("exports.json", json!({ "net": { "priority": 1, "peers": peers } }).to_string());
    let args = ["--exports", "exports.json", "network", "overview", "--json", "--timeout", "3"];
    let mut command = std::process::Command::new("/usr/bin/time");
    command.args(["-f", "%M"]).arg(crate::harness::BINARY).args(args);
    command.env_clear().env("HOME", home.path("home")).current_dir(home.dir.path());
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let started = Instant::now();
    let done = crate::harness::wait(crate::harness::start(&mut command, "time"));
    let elapsed = started.elapsed();
    let kib: u64 = String::from_utf8_lossy(&done.stderr).trim().parse().unwrap();
    println!("1,000 peers, 300 black holes: {elapsed:?}, {kib} KiB");
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    assert!(kib < 100 << 10, "{kib} KiB");
    let value: Value = serde_json::from_slice(&done.stdout).unwrap();
    let rows = value["networks"][0]["peers"].as_array().unwrap();
    assert_eq!(rows.len(), 1000);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row["machine"], format!("m{at:04}"));
        assert_eq!(row["ok"], at % 10 >= 3, "{row}");
    }
    let text = home.run(&["--exports", "exports.json", "network", "overview", "--timeout", "1"]);
    let text = text.exits(0).text();
    // Where nobody could be asked there is no table.
    home.write("broken.json", "{");
    home.run(&["--exports", "broken.json", "network", "overview"]).exits(1).says(&["broken.json"]);
    assert!(text.starts_with("net\n  m0000  failed   connection timed out\n"), "{text}");
}

#[test]
fn the_overview_fills_up_on_a_terminal_and_ends_as_one_table() {
    let home = Home::new();
    let (hole, banner) = (Hole::new(), banner());
    let peer = |port| json!({ "host": { "plain": IP }, "port": port });
    let peers = json!({ "up": peer(banner), "dead": peer(hole.port), "shut": peer(1) });
    home.write("exports.json", json!({ "net": { "priority": 1, "peers": peers } }).to_string());
    let args = ["--exports", "exports.json", "network", "overview", "--timeout", "2"];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    // What is known is shown while the dead one is waited for.
    terminal.expect("up    ok");
    terminal.expect("dead  …");
    assert!(terminal.is_running());
    assert_eq!(terminal.exit_code(), Some(0));
    let text = terminal.text();
    // Up to the first line, which is empty by then, and the table once more.
    let (_, last) = text.rsplit_once("\x1b[").unwrap();
    let (_, last) = last.split_once('A').unwrap();
    assert!(last.starts_with("net") && !last.contains('…'), "{last:?}");
    assert_eq!(last.lines().count(), 4, "{last:?}");
    // Where it does not fit, the table comes at the end.
    let mut terminal = Terminal::start(&home, &args, 80, 3, &[]);
    assert_eq!(terminal.exit_code(), Some(0));
    assert!(!terminal.text().contains("dead  …"), "{}", terminal.text());
}

#[test]
fn a_list_of_a_thousand_machines_in_seven_networks_takes_no_time() {
    let home = Home::new();
    let mut exports = serde_json::Map::new();
    for network in 0..7 {
        let service = format!("mine/net{network}");
        let networking = json!({ "networking": { "priority": network, "module": "clan_lib.network.direct" }, "peer": null });
        exports.insert(format!("{service}:net{network}::"), networking);
        for machine in 0..1000 {
            let peer = json!({ "name": "peer", "port": 22, "user": null, "SSHOptions": [],
                "hosts": [{ "plain": format!("m{machine}.net{network}.example") }] });
            let entry = json!({ "networking": null, "peer": peer });
            exports.insert(format!("{service}:net{network}:default:m{machine}"), entry);
        }
    }
    let machines: serde_json::Map<String, Value> =
        (0..1000).map(|machine| (format!("m{machine}"), json!({}))).collect();
    let snapshot = json!({ "clan_connect_snapshot": 1, "machines": machines, "exports": exports });
    home.write("snapshot.json", snapshot.to_string());
    let list = [crate::harness::BINARY, "--exports", "snapshot.json", "network", "list"];
    let text = home.run(&list[1..]).exits(0).text();
    assert!(text.contains("m0, m1, m2 ...(997 more)"), "{text}");
    // What Python, and so Clan, needs to read the file and do no more, beside the other
    // tests of this moment.
    let load = "import json; json.load(open('snapshot.json'))";
    let (ours, theirs) = fastest(&home, &list, &["/usr/bin/python3", "-S", "-c", load]);
    println!("1,000 machines in 7 networks: listed in {ours} s, read by Python in {theirs} s");
    // Compiled for tests it is an order of magnitude slower. Else it is about twice as long:
    // what we read becomes a tree, and that becomes machines and networks.
    let limit = if cfg!(debug_assertions) { 0.5 } else { 0.05 };
    assert!(ours <= limit || ours <= 4.0 * theirs, "{ours} s, {theirs} s");
}

/// The time of a processor that each of two programs takes at best when they run in turn,
/// in seconds. wait4(2) gives it in microseconds, time(1) in hundredths of a second.
fn fastest(home: &Home, one: &[&str], other: &[&str]) -> (f64, f64) {
    let script = "\
import json, os, subprocess, sys
programs = json.loads(sys.argv[1])
times = [[], []]
for _ in range(10):
    for program, taken in zip(programs, times):
        child = subprocess.Popen(program, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        assert status == 0
        taken.append(usage.ru_utime + usage.ru_stime)
print(json.dumps([min(taken) for taken in times]))
";
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.args(["-c", script, &json!([one, other]).to_string()]);
    command.env_clear().env("HOME", home.path("home")).current_dir(home.dir.path());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let done = crate::harness::wait(crate::harness::start(&mut command, "python3"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}
