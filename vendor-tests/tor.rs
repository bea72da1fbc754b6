//! Our binary with Arti inside, C tor for everything else: relays, directory,
//! onion services and a client, all on loopback. No tor is in our path.

mod descriptors;
mod first_words;
#[cfg(all(feature = "iroh", feature = "wireguard"))]
mod four_networks;
mod machines;
mod network;
mod warm;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{
    Home, Run, Server, Terminal, free_port, noise, run, signal, sshd, start, until, wait,
};
use network::{Network, Tor, network};
use rustix::process::Signal;
use serde_json::json;

/// A machine behind an onion service of its own.
struct Machine {
    home: Home,
    server: Server,
    onion: String,
    _tor: Tor,
}

impl Machine {
    fn new(network: &Network, options: &str) -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, "127.0.0.1", &key, "");
        home.write("arti.toml", &network.arti);
        let (tor, onion) = network.onion(&home, "onion", server.address.port(), options);
        let machine = Self { home, server, onion, _tor: tor };
        machine.exports(json!([{ "plain": machine.onion }]), 22);
        machine
    }

    /// As `new`, and it can be reached.
    fn reachable(network: &Network) -> Self {
        let machine = Self::new(network, "");
        machine.until_reachable(&[]);
        machine
    }

    fn until_reachable(&self, args: &[&str]) {
        let started = Instant::now();
        loop {
            let done = self.ssh_in("first", &[args, &["--timeout", "10"]].concat(), &["true"]);
            if done.code == Some(0) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "not there: {}", done.stderr);
        }
    }

    fn exports(&self, hosts: serde_json::Value, port: u16) {
        let peers = json!({ "m": { "hosts": hosts, "port": port } });
        let exports = json!({ "tor": { "priority": 10, "peers": peers } });
        self.home.write("exports.json", exports.to_string());
    }

    fn args<'a>(&self, state: &'a str, args: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
        let global =
            ["--exports", "exports.json", "--tor-config", "arti.toml", "--tor-state", state];
        // Whatever listens on this computer's port 9050 is not ours.
        let client = if args.contains(&"--tor") { &[][..] } else { &["--tor", "embedded"] };
        let mut all = [&global[..], client, &["ssh", "m", "-l", "root"], args].concat();
        if !command.is_empty() {
            all.push("-c");
        }
        [&all[..], command].concat()
    }

    fn ssh_in(&self, state: &str, args: &[&str], command: &[&str]) -> Run {
        self.home.run(&self.args(state, args, command))
    }

    fn ssh(&self, args: &[&str], command: &[&str]) -> Run {
        self.ssh_in("state", args, command)
    }
}

/// Files below `dir` that hold `text`.
fn holding(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| {
            bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
        }) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn an_onion_is_reached_from_nothing_and_again_with_the_state() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    for run in ["cold", "warm"] {
        let started = Instant::now();
        let done = machine.ssh(&["-v"], &["hostname"]).exits(0).says(&["over network tor"]);
        println!("{run}: {:?}", started.elapsed());
        assert!(!done.text().is_empty());
    }
    let guards = holding(&machine.home.path("state"), "ed25519");
    assert!(guards.iter().any(|path| path.ends_with("guards.json")), "guards are kept: {guards:?}");
    let name = machine.onion.trim_end_matches(".onion");
    assert_eq!(holding(&machine.home.path("state"), name), Vec::<String>::new());
    // Ephemeral: nothing is kept anywhere.
    let before = temporary();
    machine.ssh_in("none", &[], &["true"]).exits(0);
    assert_eq!(temporary(), before);
}

/// Our temporary directories, if any are left.
fn temporary() -> Vec<String> {
    let names = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("clan-connect-tor-")).collect()
}

#[test]
fn data_flows_both_ways_and_a_shell_has_its_terminal() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let data = noise(16 << 20);
    let done = machine.home.run_with_input(&machine.args("state", &[], &["cat"]), data.clone());
    assert!(done.stdout == data, "{} bytes came back; {}", done.stdout.len(), done.stderr);
    assert_eq!(machine.ssh(&[], &["sh", "-c", "exit 7"]).code, Some(7));
    let args = machine.args("state", &[], &[]);
    let mut terminal = Terminal::start(&machine.home, &args, 90, 30, &[]);
    terminal.expect("#");
    terminal.send("stty size; tty | cut -c 1-9\r");
    terminal.expect("30 90");
    terminal.expect("/dev/pts/");
    terminal.send("exit 5\r");
    assert_eq!(terminal.exit_code(), Some(5));
}

#[test]
fn a_secret_onion_is_dialled_and_appears_nowhere() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let home = &machine.home;
    // From when it was no secret.
    fs::remove_file(home.path("home/.ssh/known_hosts")).unwrap();
    home.write("clan/.clan-flake", "");
    let identity = home.path("home/.config/age/identities");
    fs::create_dir_all(identity.parent().unwrap()).unwrap();
    run("age-keygen", &["-o", identity.to_str().unwrap()], "age");
    let public = run("age-keygen", &["-y", identity.to_str().unwrap()], "age");
    let plain = home.write("plain", format!("{}\n", machine.onion));
    let var = "clan/secrets/clan-vars/per-machine/m/tor_tor/hostname/hostname.age";
    home.write(var, "");
    let (to, from) = (home.path(var), plain.to_str().unwrap().to_owned());
    run("age", &["-r", public.trim(), "-o", to.to_str().unwrap(), &from], "age");
    let host = json!([{ "var": { "machine": "m", "generator": "tor_tor", "file": "hostname" } }]);
    machine.exports(host.clone(), 22);
    let (socks, port) = network.client(home);
    let port = port.to_string();
    for (client, state) in [("embedded", "secret-state"), ("system", "none")] {
        let args =
            machine.args(state, &["--flake", "clan", "--tor", client, "-vvv"], &["echo", "hi"]);
        let done = home.run_with_env(&args, &[("TOR_SOCKS", &port)]);
        let done = Run { stderr: String::new(), ..done.says(&["<secret: tor_tor/hostname>"]) };
        assert_eq!(done.exits(0).text(), "hi\n", "{client}");
    }
    drop(socks);
    let name = machine.onion.trim_end_matches(".onion");
    let args = machine.args("secret-state", &["--flake", "clan", "-vvv"], &["true"]);
    let done = home.run(&args).exits(0);
    assert!(!done.stderr.contains(name), "{}", done.stderr);
    for place in ["secret-state", "home"] {
        assert_eq!(holding(&home.path(place), name), Vec::<String>::new());
    }
    // Not in an error either.
    machine.exports(host, 24);
    let done = home.run(&args).exits(255).says(&["<secret: tor_tor/hostname>"]);
    assert!(!done.stderr.contains(name), "{}", done.stderr);
}

#[test]
fn a_dead_direct_route_gives_way_to_the_onion() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    // Nobody takes from this queue, which is full.
    let hole = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&hole, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&hole, 0).unwrap();
    let hole = TcpListener::from(hole);
    let address = hole.local_addr().unwrap();
    let soon = Duration::from_millis(100);
    let mut held = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, soon) {
        held.push(stream);
    }
    let exports = json!({
        "internet": { "priority": 1000, "peers": { "m": {
            "host": { "plain": "127.0.0.1" }, "port": address.port(),
        } } },
        "tor": { "priority": 10, "peers": { "m": { "host": { "plain": machine.onion } } } },
    });
    machine.home.write("exports.json", exports.to_string());
    let done = machine.ssh(&["-v"], &["true"]).exits(0);
    done.says(&["vouched for by", "its onion address also identifies the machine"]);
    // The fastest of some: a circuit of the onion's may fail and be tried again.
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        machine.ssh(&["-v"], &["true"]).exits(0).says(&["over network tor"]);
        println!("with a dead route above: {:?}", started.elapsed());
        fastest = fastest.min(started.elapsed());
    }
    assert!(fastest < Duration::from_secs(6), "{fastest:?}");
}

#[test]
fn an_onion_that_is_offline_is_said_to_be_and_found_when_it_is_back() {
    let (network, _turn) = network();
    let mut machine = Machine::reachable(network);
    // Never published: a service whose tor never ran for long.
    let never = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
    machine.exports(json!([{ "plain": never }]), 22);
    machine.ssh(&[], &["true"]).exits(255).says(&["is offline: it has no descriptor", "hint:"]);
    // Two addresses: the second will do.
    machine.exports(json!([{ "plain": never }, { "plain": machine.onion }]), 22);
    machine.ssh(&[], &["true"]).exits(0);
    machine.exports(json!([{ "plain": machine.onion }]), 22);
    let port = machine.server.address.port();
    // Killed: its descriptor is still there, and nobody behind it.
    drop(std::mem::replace(&mut machine._tor, network.tor(&machine.home, "idle", "SocksPort 0\n")));
    let started = Instant::now();
    let done = machine.ssh(&["--timeout", "15"], &["true"]).exits(255);
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    assert!(
        ["no rendezvous", "did not answer in time"].iter().any(|text| done.stderr.contains(text)),
        "{}",
        done.stderr
    );
    let (tor, onion) = network.onion(&machine.home, "onion", port, "");
    machine._tor = tor;
    assert_eq!(onion, machine.onion);
    machine.until_reachable(&[]);
}

#[test]
fn a_session_over_frozen_relays_ends_within_the_keepalive_time() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let options =
        ["--ssh-option", "ServerAliveInterval", "1", "--ssh-option", "ServerAliveCountMax", "3"];
    let args = machine.args("state", &options, &["sh", "-c", "echo up; sleep 100"]);
    let mut child = start(&mut machine.home.command(&args), "util-linux");
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let frozen = network.freeze();
    let started = Instant::now();
    let done = wait(child);
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    assert_eq!(done.status.code(), Some(255));
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(stderr.contains("timed out: the peer no longer answers"), "{stderr}");
    // Nothing starts in such a network, and that ends too.
    for state in ["state", "fresh"] {
        let started = Instant::now();
        machine.ssh_in(state, &["--timeout", "4"], &["true"]).exits(255);
        assert!(started.elapsed() < Duration::from_secs(8), "{state}: {:?}", started.elapsed());
    }
    drop(frozen);
    machine.until_reachable(&[]);
}

#[test]
fn processes_at_the_same_time_do_not_wait_for_each_other() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let alone = Instant::now();
    machine.ssh_in("alone", &[], &["true"]).exits(0);
    let alone = alone.elapsed();
    for run in ["cold", "warm"] {
        let started = Instant::now();
        let command = || machine.home.command(&machine.args("shared", &[], &["true"]));
        let children: Vec<_> = (0..4).map(|_| start(&mut command(), "util-linux")).collect();
        for child in children {
            let done = wait(child);
            assert!(done.status.success(), "{run}: {done:?}");
        }
        println!("{run}: four at once {:?}, one alone {alone:?}", started.elapsed());
        // Arti's own lock would cost five seconds.
        assert!(started.elapsed() < alone + Duration::from_secs(4), "{:?}", started.elapsed());
    }
    // One that holds the directories and is stuck.
    let args = machine.args("shared", &[], &["sh", "-c", "echo up; sleep 100"]);
    let mut holder = machine.home.command(&args).spawn().unwrap();
    let mut up = [0; 3];
    holder.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    signal(i32::try_from(holder.id()).unwrap(), Signal::STOP);
    let started = Instant::now();
    machine.ssh_in("shared", &[], &["true"]).exits(0);
    println!("beside a stuck one: {:?}", started.elapsed());
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_kill_at_any_moment_leaves_a_state_that_works() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    for after in [5, 20, 50, 100, 200, 400] {
        let mut command = machine.home.command(&machine.args("killed", &[], &["true"]));
        let mut child = start(&mut command, "util-linux");
        std::thread::sleep(Duration::from_millis(after));
        child.kill().unwrap();
        child.wait().unwrap();
        let started = Instant::now();
        machine.ssh_in("killed", &[], &["true"]).exits(0);
        println!("killed after {after} ms, then {:?}", started.elapsed());
        if after == 100 {
            fs::remove_dir_all(machine.home.path("killed")).unwrap();
        }
    }
}

#[test]
fn a_service_with_client_authorization_wants_the_right_key() {
    let (network, _turn) = network();
    // A key pair of X25519, of which the service knows the public half.
    let secret = noise(32);
    let secret: [u8; 32] = secret.try_into().unwrap();
    let public = x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES);
    let base32 = |bytes: &[u8]| data_encoding::BASE32_NOPAD.encode(bytes);
    let machine = {
        let machine = Machine::new(network, "");
        let dir = machine._tor.dir().join("service/authorized_clients");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("c.auth"), format!("descriptor:x25519:{}\n", base32(&public))).unwrap();
        // It reads its clients when it starts.
        let port = machine.server.address.port();
        let Machine { home, server, onion, _tor } = machine;
        drop(_tor);
        let (tor, _) = network.onion(&home, "onion", port, "");
        Machine { home, server, onion, _tor: tor }
    };
    let name = machine.onion.trim_end_matches(".onion").to_owned();
    let line = |key: &[u8]| format!("{name}:descriptor:x25519:{}\n", base32(key));
    machine.home.write("right", line(&secret));
    machine.home.write("wrong", line(&[7; 32]));
    machine.until_reachable(&["--tor-auth", "right"]);
    machine.ssh(&["--ssh-option", "TorAuth", "right"], &["true"]).exits(0);
    machine.ssh(&[], &["true"]).exits(255).says(&["demands client authorization", "--tor-auth"]);
    machine.ssh(&["--tor-auth", "wrong"], &["true"]).exits(255).says(&["does not know our key"]);
    machine.home.write("broken", "hello");
    let done = machine.ssh(&["--tor-auth", "broken"], &["true"]).exits(255);
    assert!(done.says(&["key for client authorization broken"]).stderr.len() < 500);
    // From a var of the clan.
    machine.home.write("clan/.clan-flake", "");
    machine.home.write("clan/vars/per-machine/m/tor/client-key/value", base32(&secret));
    let args = ["--flake", "clan", "--tor-auth", "var:tor/client-key"];
    machine.ssh(&args, &["true"]).exits(0);
    // Never on disk.
    for key in [base32(&secret), hex(&secret)] {
        assert_eq!(holding(&machine.home.path("state"), &key), Vec::<String>::new());
    }
    assert!(!holds(&machine.home.path("state"), &secret));
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Whether any file below `dir` holds these bytes.
fn holds(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        path.is_dir() && holds(&path, bytes)
            || fs::read(&path)
                .is_ok_and(|file| file.windows(bytes.len()).any(|window| window == bytes))
    })
}

#[test]
fn every_failure_has_its_own_words() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    for (host, port, said) in [
        (machine.onion.clone(), 23, "has that port closed"),
        (machine.onion.clone(), 24, "has that port closed"),
        (
            machine.onion.replacen(
                &machine.onion[..1],
                if machine.onion.starts_with('a') { "b" } else { "a" },
                1,
            ),
            22,
            "checksum",
        ),
        ("expyuzz4wqqyqhjn.onion".to_owned(), 22, "version 2"),
        ("example.com".to_owned(), 22, "56 characters"),
    ] {
        machine.exports(json!([{ "plain": host }]), port);
        machine.ssh(&[], &["true"]).exits(255).says(&[said]);
    }
    machine.exports(json!([{ "plain": machine.onion }]), 22);
    // A network that is not there.
    let dead: String = network
        .arti
        .split("127.0.0.1:")
        .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join("127.0.0.1:1");
    machine.home.write("dead.toml", dead);
    let started = Instant::now();
    let dead = ["--tor-config", "dead.toml", "--timeout", "5"];
    let done = machine.ssh_in("dead", &dead, &["true"]).exits(255);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let words = ["no Tor relay can be reached", "Tor did not start in time"];
    assert!(words.iter().any(|text| done.stderr.contains(text)), "{}", done.stderr);
    // On a terminal it says meanwhile what it does, and takes that away again.
    let args = machine.args("dead", &dead, &["true"]);
    let mut terminal = Terminal::start(&machine.home, &args, 120, 30, &[]);
    terminal.expect("starting Tor");
    assert_eq!(terminal.exit_code(), Some(255));
    // Configuration and state that cannot be used.
    machine.home.write("broken.toml", "[path_rules");
    machine
        .ssh(&["--tor-config", "broken.toml"], &["true"])
        .exits(255)
        .says(&["broken.toml: line 1"]);
    machine.home.write("file", "");
    for state in ["file", "/proc/none"] {
        let done = machine.ssh_in(state, &[], &["true"]).exits(255);
        done.says(&["Tor's state directory", state, "--tor-state"]);
    }
    // A full disk.
    let small = machine.home.path("small");
    fs::create_dir(&small).unwrap();
    let mount = format!("mount -t tmpfs -o size=16k none {} && exec \"$@\"", small.display());
    let args = machine.args("small", &["--timeout", "20"], &["true"]);
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", &mount, "sh", crate::harness::BINARY]).args(args);
    command.env("HOME", machine.home.path("home")).current_dir(machine.home.dir.path());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let started = Instant::now();
    let done = wait(start(&mut command, "util-linux"));
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    println!("full disk: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(255), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("disk may be full"), "{done:?}");
}

#[test]
fn a_tor_that_runs_already_is_used_and_no_other_proxy_is_told_the_name() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let (tor, port) = network.client(&machine.home);
    let port = port.to_string();
    let with = |client, socks: &str, state| {
        let args = machine.args(state, &["--tor", client], &["echo", "hi"]);
        machine.home.run_with_env(&args, &[("TOR_SOCKS", socks)])
    };
    for client in ["system", "auto"] {
        assert_eq!(with(client, &port, "unused").exits(0).text(), "hi\n", "{client}");
        assert!(!machine.home.path("unused").exists(), "{client}: ours was not started");
    }
    // Its errors are told apart like ours.
    machine.exports(json!([{ "plain": machine.onion }]), 23);
    with("system", &port, "unused").exits(255);
    let never = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
    machine.exports(json!([{ "plain": never }]), 22);
    with("system", &port, "unused").exits(255).says(&["is offline: it has no descriptor"]);
    machine.exports(json!([{ "plain": machine.onion }]), 22);
    drop(tor);
    with("system", &port, "unused").exits(255).says(&["no tor listens on 127.0.0.1"]);
    assert_eq!(with("auto", &port, "own").exits(0).text(), "hi\n");
    // Something else listens there: it gets to see a question about itself.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.local_addr().unwrap().port().to_string();
    let heard = std::thread::spawn(move || {
        let mut all = Vec::new();
        listener.set_nonblocking(false).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
        let mut buffer = [0; 1000];
        if let Ok(count) = stream.read(&mut buffer) {
            all.extend_from_slice(&buffer[..count]);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        String::from_utf8_lossy(&all).into_owned()
    });
    assert_eq!(with("auto", &other, "own").exits(0).text(), "hi\n");
    let heard = heard.join().unwrap();
    assert!(!heard.contains(".onion"), "{heard}");
}

#[test]
fn a_proxy_whose_input_has_ended_hands_on_the_whole_answer() {
    let (network, _turn) = network();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let machine = Machine::new(network, &format!("HiddenServicePort 80 127.0.0.1:{port}\n"));
    machine.until_reachable(&[]);
    let answer = noise(300_000);
    let sent = answer.clone();
    // Answers once the end of the question would have come.
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 8];
            stream.read_exact(&mut question).unwrap();
            std::thread::sleep(Duration::from_secs(1));
            stream.write_all(&sent).unwrap();
        }
    });
    let (_tor, socks) = network.client(&machine.home);
    let socks = socks.to_string();
    for client in ["embedded", "system"] {
        let args = ["--exports", "exports.json", "--tor-config", "arti.toml", "--tor", client];
        let args = [&args[..], &["--tor-state", "first", "proxy", "m", "80"]].concat();
        let mut command = machine.home.command(&args);
        let command = command.env("TOR_SOCKS", &socks).stdin(Stdio::piped());
        let mut child = start(command, "util-linux");
        child.stdin.take().unwrap().write_all(b"question").unwrap();
        let done = Run::of(wait(child)).exits(0);
        assert!(done.stdout == answer, "{client}: {} bytes", done.stdout.len());
    }
    server.join().unwrap();
    // What waits for more, and is no longer listened to, ends.
    let args = ["--exports", "exports.json", "--tor-config", "arti.toml", "--tor", "embedded"];
    let args = [&args[..], &["--tor-state", "first", "proxy", "m"]].concat();
    let mut child = start(machine.home.command(&args).stdin(Stdio::piped()), "util-linux");
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 8]).unwrap();
    drop(output);
    drop(child.stdin.take());
    assert_ne!(wait(child).status.code(), None);
}

#[test]
fn a_bridge_carries_everything() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let bridge = network.relays.last().unwrap();
    let config = format!("[bridges]\nenabled = true\nbridges = [\"Bridge {bridge}\"]\n");
    machine.home.write("bridge.toml", config);
    // In one place: given after the subcommand, an option stands alone.
    let args = ["--tor-config", "arti.toml", "--tor-config", "bridge.toml"];
    machine.ssh_in("bridged", &args, &["echo", "hi"]).exits(0);
    // None but the bridge is connected to.
    let (address, _) = bridge.split_once(' ').unwrap();
    let done = machine.ssh_in("bridged", &[&args[..], &["-vvv"]].concat(), &["true"]).exits(0);
    let connected: Vec<&str> = done
        .stderr
        .lines()
        .filter_map(|line| line.split("tor_chanmgr::transport::default: Connecting to ").nth(1))
        .collect();
    assert!(!connected.is_empty(), "{}", done.stderr);
    assert!(connected.iter().all(|to| to.trim() == address), "{connected:?}, not only {address}");
    machine.home.write("bridge.toml", "[bridges]\nbridges = [\"Bridge nonsense\"]\n");
    machine.ssh(&args, &["true"]).exits(255).says(&["Tor's configuration", "bridge.toml"]);
}

#[test]
fn a_pluggable_transport_is_the_program_that_the_user_names() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let (port, transport) = (free_port("127.0.0.1"), free_port("127.0.0.1"));
    let options = format!(
        "SocksPort 0\nBridgeRelay 1\nORPort 127.0.0.1:{port} IPv4Only\nExtORPort auto\n\
         PublishServerDescriptor 0\nContactInfo test@test.invalid\nExitRelay 0\n\
         ServerTransportPlugin obfs4 exec /usr/bin/obfs4proxy\n\
         ServerTransportListenAddr obfs4 127.0.0.1:{transport}\n"
    );
    assert!(Path::new("/usr/bin/obfs4proxy").exists(), "apt-get install obfs4proxy");
    let bridge = network.tor(&machine.home, "bridge", &options);
    let line = bridge.dir().join("pt_state/obfs4_bridgeline.txt");
    until("the bridge's line", || line.exists() && bridge.dir().join("fingerprint").exists());
    until("the transport", || std::net::TcpStream::connect(("127.0.0.1", transport)).is_ok());
    let fingerprint = fs::read_to_string(bridge.dir().join("fingerprint")).unwrap();
    let fingerprint = fingerprint.split_whitespace().nth(1).unwrap();
    let text = fs::read_to_string(line).unwrap();
    let line = text.lines().find(|line| line.starts_with("Bridge obfs4")).unwrap();
    let line = line
        .replace("<IP ADDRESS>:<PORT>", &format!("127.0.0.1:{transport}"))
        .replace("<FINGERPRINT>", fingerprint);
    let config = format!(
        "[bridges]\nenabled = true\nbridges = [\"{line}\"]\n\
         [[bridges.transports]]\nprotocols = [\"obfs4\"]\npath = \"/usr/bin/obfs4proxy\"\n"
    );
    machine.home.write("bridge.toml", config);
    let args = ["--tor-config", "arti.toml", "--tor-config", "bridge.toml"];
    assert_eq!(machine.ssh_in("bridged", &args, &["echo", "hi"]).exits(0).text(), "hi\n");
    let text = fs::read_to_string(machine.home.path("bridge.toml")).unwrap();
    machine.home.write("bridge.toml", text.replace("/usr/bin/obfs4proxy", "/nonexistent/proxy"));
    let args = [&args[..], &["--timeout", "10"]].concat();
    machine.ssh_in("bridged", &args, &["true"]).exits(255);
}

#[test]
fn no_program_is_started_and_no_database_of_the_c_library_is_asked() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let log = machine.home.path("strace.log");
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-e", "trace=execve,open,openat,connect", "-o"]).arg(&log);
    command.arg(crate::harness::BINARY).args(machine.args("traced", &[], &["true"]));
    command.env_clear().env("HOME", machine.home.path("home")).env("PATH", "/usr/bin:/bin");
    command.current_dir(machine.home.dir.path()).stdin(std::process::Stdio::null());
    let done = wait(start(&mut command, "strace"));
    assert!(done.status.success(), "{done:?}");
    let calls = fs::read_to_string(&log).unwrap();
    assert_eq!(calls.lines().filter(|line| line.contains("execve(")).count(), 1);
    for file in ["nsswitch.conf", "libnss_", "nscd", "resolv.conf", "gai.conf"] {
        assert!(!calls.contains(file), "{file} was opened");
    }
}

#[test]
fn git_and_rsync_work_over_an_onion_with_ours_as_their_ssh() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let home = &machine.home;
    let clan = home.path("clan");
    home.write("clan/.clan-flake", "");
    let exports: serde_json::Value = serde_json::from_str(&home.read("exports.json")).unwrap();
    let snapshot = json!({
        "clan_connect_snapshot": 1,
        "fingerprint": clan_connect::internals::fingerprint(&clan),
        "exports": exports,
    });
    home.write("clan/clan-connect.json", snapshot.to_string());
    home.write("home/.config/clan-connect/tor.toml", home.read("arti.toml"));
    home.write("home/.ssh/config", "StrictHostKeyChecking accept-new\n");
    fs::create_dir_all(home.path("bin")).unwrap();
    std::os::unix::fs::symlink(crate::harness::BINARY, home.path("bin/ssh")).unwrap();
    home.write("tree/file", noise(1 << 20));
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let tool = |program: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("HOME", home.path("home"))
            .env("CLAN_DIR", &clan)
            // Whatever listens on this computer's port 9050 is not ours.
            .env("TOR_SOCKS", "127.0.0.1:1")
            .env("PATH", format!("{}:/usr/bin:/bin", path("bin")))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        Run::of(crate::harness::wait(crate::harness::start(&mut command, program))).exits(0)
    };
    let tree = path("tree");
    tool("git", &["init", "-q", "-b", "main", &tree]);
    tool("git", &["-C", &tree, "add", "."]);
    let name = ["-c", "user.name=a", "-c", "user.email=a@b"];
    tool("git", &[&["-C", &tree][..], &name, &["commit", "-qm", "x"]].concat());
    tool("git", &["clone", "-q", &format!("m:{tree}"), &path("clone")]);
    tool("rsync", &["-a", &format!("m:{tree}/file"), &path("synced")]);
    for copy in ["clone/file", "synced"] {
        assert!(fs::read(home.path(copy)).unwrap() == noise(1 << 20), "{copy}");
    }
}
