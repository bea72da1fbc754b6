//! Our client and OpenSSH's sshd where one side behaves awkwardly: streams
//! that end early or never, agents and servers that fall silent, first
//! connections at the same time, a terminal that is left in mid-question.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{
    Account, Home, Run, Server, THEIRS, Terminal, free_port, noise, run, signal, sshd, start,
    until, wait, wait_status,
};
use crate::openssh_personality::Place;
use rustix::process::Signal;
use serde_json::json;

const IP: &str = "127.0.0.1";

fn machine(config: &str) -> (Home, Server) {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, config);
    (home, server)
}

fn ssh(home: &Home, server: &Server, args: &[&str]) -> Run {
    let target = server.target();
    home.run(&[&["ssh", "m", "--target-host", &target], args].concat())
}

/// Our binary with a command, all of its streams pipes.
fn spawn(home: &Home, server: &Server, args: &[&str]) -> Child {
    let target = server.target();
    let args = [&["ssh", "m", "--target-host", &target], args].concat();
    start(home.command(&args).stdin(Stdio::piped()), "util-linux")
}

#[track_caller]
fn within(limit: Duration, started: Instant) {
    assert!(started.elapsed() < limit, "took {:?}", started.elapsed());
}

#[test]
fn a_command_that_ends_is_not_held_up_by_open_input() {
    let (home, server) = machine("");
    let started = Instant::now();
    let mut child = spawn(&home, &server, &["-c", "sh", "-c", "exit 7"]);
    let input = child.stdin.take();
    assert_eq!(wait(child).status.code(), Some(7));
    within(Duration::from_secs(10), started);
    drop(input);
}

#[test]
fn a_command_that_reads_only_some_of_its_input_succeeds() {
    let (home, server) = machine("");
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-c", "head", "-c", "5"];
    let mut child = start(home.command(&args).stdin(Stdio::piped()), "util-linux");
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&vec![b'x'; 64 << 20]));
    let done = wait(child);
    assert_eq!((done.status.code(), &done.stdout[..]), (Some(0), &b"xxxxx"[..]), "{done:?}");
    // The pipe broke, which is the end of it for whoever wrote.
    assert!(writer.join().unwrap().is_err());
}

#[test]
fn a_reader_that_has_had_enough_ends_the_session() {
    let (home, server) = machine("");
    let mut child = spawn(&home, &server, &["-c", "yes"]);
    let mut some = [0; 1000];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let started = Instant::now();
    let status = wait_status(&mut child);
    within(Duration::from_secs(10), started);
    assert!(!status.success(), "{status:?}");
}

#[test]
fn both_outputs_and_the_input_flow_at_the_same_time() {
    let (home, server) = machine("");
    let script = "head -c 33554432 /dev/zero >&2 & cat; wait";
    let data = noise(32 << 20);
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-q", "-c", "sh", "-c", script];
    let done = home.run_with_input(&args, data.clone()).exits(0);
    assert!(done.stdout == data, "{} bytes came back", done.stdout.len());
    assert_eq!(done.stderr.bytes().filter(|byte| *byte == 0).count(), 32 << 20);
}

#[test]
fn what_runs_goes_on_when_nobody_reads_its_errors() {
    let place = Place::ready();
    let ours = place.ours();
    for ssh in [THEIRS, &ours] {
        let script = "echo one >&2; sleep 0.5; echo two >&2; sleep 0.5; echo three >&2; echo end";
        let mut command = place.client(ssh, &["box", script]);
        let mut child = start(&mut command, "openssh-client");
        let mut errors = child.stderr.take().unwrap();
        let mut line = [0; 4];
        errors.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"one\n");
        drop(errors);
        assert_eq!(Run::of(wait(child)).exits(0).text(), "end\n", "{ssh}");
    }
}

#[test]
fn a_slow_reader_loses_nothing() {
    let (home, server) = machine("");
    let mut child =
        spawn(&home, &server, &["-c", "sh", "-c", "head -c 20000000 /dev/zero; exit 3"]);
    let mut stdout = child.stdout.take().unwrap();
    let (mut total, mut chunk) = (0, vec![0; 1 << 20]);
    // The pipe of pipe(7) is full: all behind it waits for us.
    until("a full pipe", || rustix::io::ioctl_fionread(&stdout).unwrap() >= 64 << 10);
    loop {
        match stdout.read(&mut chunk).unwrap() {
            0 => break,
            count => total += count,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((total, wait_status(&mut child).code()), (20_000_000, Some(3)));
}

#[test]
fn our_own_options_after_the_command_belong_to_the_command() {
    let (home, server) = machine("");
    let words = ["-v", "-q", "--help", "--version", "--flake", "x", "-t", "-l", "you", "--json"];
    for before in ["-c", "--"] {
        let args = [&[before, "printf", "[%s]", "x"], &words[..]].concat();
        let expected: String =
            std::iter::once(&"x").chain(&words).map(|w| format!("[{w}]")).collect();
        assert_eq!(ssh(&home, &server, &args).exits(0).text(), expected);
    }
}

#[test]
fn accept_new_takes_new_keys_and_refuses_changed_ones() {
    let (home, server) = machine("");
    let accept = ["--host-key-check", "accept-new", "-c", "true"];
    ssh(&home, &server, &accept).exits(0);
    let known = home.read("home/.ssh/known_hosts");
    assert!(known.starts_with(&format!("[127.0.0.1]:{} ssh-ed25519 ", server.port())), "{known}");
    ssh(&home, &server, &["--host-key-check", "strict", "-c", "true"]).exits(0);
    let other = home.keygen("other", "ed25519", "");
    let other = home.read(other.with_extension("pub").file_name().unwrap().to_str().unwrap());
    let other: Vec<&str> = other.split_whitespace().take(2).collect();
    let changed = format!("[127.0.0.1]:{} {}\n", server.port(), other.join(" "));
    home.write("home/.ssh/known_hosts", &changed);
    ssh(&home, &server, &accept).exits(255).says(&["HAS CHANGED"]);
    assert_eq!(home.read("home/.ssh/known_hosts"), changed);
    // `none` asks nothing and remembers nothing.
    fs::remove_file(home.path("home/.ssh/known_hosts")).unwrap();
    ssh(&home, &server, &["--host-key-check", "none", "-c", "true"]).exits(0);
    assert_eq!(home.read("home/.ssh/known_hosts"), "");
}

#[test]
fn first_connections_at_the_same_time_leave_whole_lines() {
    let (home, server) = machine("MaxStartups 100");
    home.write("home/.ssh/known_hosts", "# no newline at the end");
    let children: Vec<Child> = (0..8).map(|_| spawn(&home, &server, &["-c", "true"])).collect();
    for child in children {
        let done = wait(child);
        assert!(done.status.success(), "{done:?}");
    }
    let known = home.read("home/.ssh/known_hosts");
    let lines: Vec<&str> = known.lines().collect();
    assert_eq!(lines[0], "# no newline at the end");
    assert!(lines[1..].iter().all(|line| *line == lines[1]), "{known}");
    assert_eq!(lines[1].split(' ').count(), 3, "{known}");
    println!("{} lines for 8 first connections", lines.len() - 1);
    ssh(&home, &server, &["--host-key-check", "strict", "-c", "true"]).exits(0);
}

#[test]
fn a_home_that_is_not_there_is_no_obstacle() {
    let (home, server) = machine("");
    let key = home.path("home/.ssh/id_ed25519");
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-i", key.to_str().unwrap(), "-c", "true"];
    let missing = home.path("missing");
    home.run_with_env(&args, &[("HOME", missing.to_str().unwrap())]).exits(0);
    home.run_with_env(&args, &[("HOME", "")]).exits(0);
    home.run_with_env(&args, &[("HOME", "/proc/self")]).exits(0);
    let child = start(home.command(&args).env_remove("HOME"), "util-linux");
    let done = wait(child);
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn after_a_wrong_host_key_only_a_known_one_will_do() {
    let home = Home::new();
    let key = home.default_key();
    let (wrong, right) = (sshd(&home, IP, &key, ""), sshd(&home, IP, &key, ""));
    let host_key = |server: &Server| {
        let key = home.read(&format!("sshd-{}/host_key.pub", server.port()));
        key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    let peer = |server: &Server| json!({ "m": { "host": { "plain": IP }, "port": server.address.port() } });
    let exports = json!({
        "high": { "priority": 2, "peers": peer(&wrong) },
        "low": { "priority": 1, "peers": peer(&right) },
    });
    home.write("exports.json", exports.to_string());
    let old = sshd(&home, IP, &key, "");
    let changed = format!("[{IP}]:{} {}\n", wrong.port(), host_key(&old));
    let run = || home.run(&["--exports", "exports.json", "-v", "ssh", "m", "-c", "echo", "hi"]);
    home.write("home/.ssh/known_hosts", &changed);
    run().exits(255).says(&["HAS CHANGED", "failed: low"]);
    assert_eq!(home.read("home/.ssh/known_hosts"), changed);
    for server in [&wrong, &right] {
        assert!(!server.log().contains("Accepted"), "{}", server.log());
    }
    let known = format!("{changed}[{IP}]:{} {}\n", right.port(), host_key(&right));
    home.write("home/.ssh/known_hosts", &known);
    run().exits(0).says(&["HAS CHANGED", "over network low"]);
    assert!(!wrong.log().contains("Accepted"), "{}", wrong.log());
}

#[test]
fn an_agent_that_is_gone_or_silent_does_not_stop_the_key_file() {
    let (home, server) = machine("");
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-c", "true"];
    home.run_with_env(&args, &[("SSH_AUTH_SOCK", "/nonexistent/agent")]).exits(0);
    let socket = home.path("silent");
    let listener = UnixListener::bind(&socket).unwrap();
    let started = Instant::now();
    home.run_with_env(&args, &[("SSH_AUTH_SOCK", socket.to_str().unwrap())]).exits(0);
    within(Duration::from_secs(30), started);
    drop(listener);
}

#[test]
fn a_server_that_falls_silent_after_its_banner_is_given_up() {
    let home = Home::new();
    let listener = TcpListener::bind((IP, 0)).unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-silent\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let started = Instant::now();
    let args = ["ssh", "m", "--target-host", &target, "--timeout", "1", "-c", "true"];
    home.run(&args).exits(255).says(&["key exchange"]);
    // However short the timeout: a far machine needs time for several trips.
    within(Duration::from_secs(20), started);
    peer.join().unwrap();
}

#[test]
fn a_server_that_falls_silent_during_authentication_is_given_up() {
    let account = Account::new("ccsil");
    let home = Home::new();
    let server = sshd(&home, IP, "", "UsePAM no\nPasswordAuthentication yes");
    let target = server.target();
    let args = [
        "ssh",
        "m",
        "--target-host",
        &target,
        "-l",
        &account.name,
        "--ssh-option",
        "ServerAliveInterval",
        "1",
        "--ssh-option",
        "ServerAliveCountMax",
        "2",
        "--timeout",
        "3",
        "-c",
        "true",
    ];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    terminal.expect("'s password:");
    let pids = descendants(server.pid());
    assert!(!pids.is_empty());
    for pid in &pids {
        signal(*pid, Signal::STOP);
    }
    terminal.send(&format!("{}\r", account.password));
    let started = Instant::now();
    let code = terminal.exit_code();
    for pid in &pids {
        signal(*pid, Signal::KILL);
    }
    assert_eq!(code, Some(255));
    within(Duration::from_secs(45), started);
}

#[test]
fn a_server_that_falls_silent_when_offered_a_key_of_the_agent_is_given_up() {
    falls_silent_at_the_offer("agent");
}

#[test]
fn a_server_that_falls_silent_when_offered_a_locked_key_is_given_up() {
    falls_silent_at_the_offer("locked");
}

fn falls_silent_at_the_offer(kind: &str) {
    let home = Home::new();
    let passphrase = if kind == "agent" { "" } else { "open sesame" };
    let key = home.keygen("home/.ssh/id_ed25519", "ed25519", passphrase);
    let server = sshd(&home, IP, &home.read("home/.ssh/id_ed25519.pub"), "");
    // Asked for its keys after key exchange and before the first offer: the
    // moment at which it stops the server, then answers as the real one.
    let (socket, real) = (home.path("watched"), home.path("real"));
    let mut agent = Command::new("ssh-agent");
    let agent = agent.args(["-D", "-a"]).arg(&real).stdout(Stdio::null());
    let mut agent = start(agent, "openssh-client");
    until("the agent's socket", || real.exists());
    if kind == "agent" {
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &real);
        assert!(add.status().unwrap().success());
    }
    let listener = UnixListener::bind(&socket).unwrap();
    let (pid, upstream) = (server.pid(), real.clone());
    let proxy = std::thread::spawn(move || {
        let (mut ours, _) = listener.accept().unwrap();
        let stopped = descendants(pid);
        for pid in &stopped {
            signal(*pid, Signal::STOP);
        }
        let mut theirs = UnixStream::connect(upstream).unwrap();
        let (mut back, mut forth) = (theirs.try_clone().unwrap(), ours.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back, &mut forth));
        let _ = std::io::copy(&mut ours, &mut theirs);
        let _ = theirs.shutdown(std::net::Shutdown::Both);
        stopped
    });
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-c", "true"];
    let mut command = home.command(&args);
    let mut child = start(command.env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null()), "util-linux");
    let started = Instant::now();
    let mut ended = None;
    while ended.is_none() && started.elapsed() < Duration::from_secs(45) {
        std::thread::sleep(Duration::from_millis(50));
        ended = child.try_wait().unwrap();
    }
    let _ = child.kill();
    let done = wait(child);
    let stopped = proxy.join().unwrap();
    for pid in &stopped {
        signal(*pid, Signal::KILL);
    }
    let _ = agent.kill();
    let _ = agent.wait();
    assert!(!stopped.is_empty(), "{kind}: no session was there to be stopped");
    let code = ended.and_then(|status| status.code());
    assert_eq!(code, Some(255), "{kind}: after {:?}: {done:?}", started.elapsed());
}

/// The processes that came from `pid`, by their parents in /proc.
fn descendants(pid: u32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut todo = vec![pid];
    while let Some(parent) = todo.pop() {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            todo.push(child.parse().unwrap());
            found.push(child.parse().unwrap());
        }
    }
    found
}

#[test]
fn a_question_that_is_interrupted_gives_the_echo_back() {
    for (ender, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let (mut terminal, before, _server) = at_a_question();
        signal(terminal.pid(), ender);
        let started = Instant::now();
        assert_eq!(terminal.exit_code(), Some(code), "{}", terminal.text());
        within(Duration::from_secs(5), started);
        assert_eq!(terminal.settings(), before, "after {ender:?}");
    }
}

#[test]
fn control_c_at_a_question_ends_it_all() {
    let (mut terminal, before, _server) = at_a_question();
    terminal.send("\x03");
    let started = Instant::now();
    while terminal.is_running() && started.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!terminal.is_running(), "it goes on asking: {}", terminal.text());
    assert_eq!(terminal.exit_code(), Some(130), "{}", terminal.text());
    assert_eq!(terminal.settings(), before);
}

#[test]
fn control_z_at_a_question_stops_it_and_it_asks_again() {
    let jobs = "\"$@\"; echo left with $?; /usr/bin/stty -a; fg; echo ended with $?";
    let through = ["/usr/bin/setsid", "--ctty", "/bin/bash", "-m", "-c", jobs, "bash"];
    let (mut terminal, before, _server) = at_a_question_of(&through);
    // What was begun does not count.
    terminal.send("wrong\x1a");
    terminal.expect("left with 148");
    terminal.expect("isig icanon iexten echo ");
    terminal.expect_times("Enter passphrase for key", 2);
    until("the echo is off", || terminal.settings() != before);
    terminal.send("open sesame\r");
    terminal.expect("ended with 0");
    assert_eq!(terminal.exit_code(), Some(0), "{}", terminal.text());
    assert_eq!(terminal.text().matches("Enter passphrase for key").count(), 2);
}

/// Our binary as it asks for a passphrase, and the terminal's settings before.
fn at_a_question() -> (Terminal, String, (Home, Server)) {
    at_a_question_of(&["/usr/bin/setsid", "--ctty"])
}

/// The same, started by what takes the terminal for its own.
fn at_a_question_of(through: &[&str]) -> (Terminal, String, (Home, Server)) {
    let home = Home::new();
    home.keygen("home/.ssh/id_ed25519", "ed25519", "open sesame");
    let server = sshd(&home, IP, &home.read("home/.ssh/id_ed25519.pub"), "");
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-c", "true"];
    let mut command = home.command_with(through, &args);
    command.env("TERM", "xterm-test");
    let terminal = Terminal::of(command, 80, 24);
    let before = terminal.settings();
    terminal.expect("Enter passphrase for key");
    until("the echo is off", || terminal.settings() != before);
    (terminal, before, (home, server))
}

#[test]
fn the_terminal_is_exactly_as_before() {
    for end in ["exit\r", "kill -9 $PPID\r", "\r~."] {
        let (home, server) = machine("");
        let target = server.target();
        let mut terminal =
            Terminal::start(&home, &["ssh", "m", "--target-host", &target], 80, 24, &[]);
        let before = terminal.settings();
        terminal.expect("#");
        until("raw mode", || terminal.is_raw());
        terminal.send(end);
        terminal.exit_code();
        assert_eq!(terminal.settings(), before, "after {end:?}");
    }
}

#[test]
fn every_format_of_private_key_is_read() {
    for (kind, format) in
        [("rsa", "PEM"), ("ecdsa", "PEM"), ("rsa", "PKCS8"), ("ecdsa", "PKCS8"), ("rsa", "RFC4716")]
    {
        let home = Home::new();
        let path = home.path("key");
        let text = path.to_str().unwrap();
        let args = ["-q", "-t", kind, "-m", format, "-N", "", "-f", text];
        run("ssh-keygen", &args, "openssh-client");
        let server = sshd(&home, IP, &home.read("key.pub"), "");
        println!("{kind} {format}");
        ssh(&home, &server, &["-i", text, "-c", "true"]).exits(0);
    }
}

#[test]
fn ipv6_and_names_of_this_computer_are_dialled() {
    let home = Home::new();
    let key = home.default_key();
    let six = free_port("::1");
    let server = sshd(&home, IP, &key, &format!("ListenAddress [::1]:{six}"));
    for target in [format!("localhost:{six}"), format!("[::1]:{six}"), format!("root@[::1]:{six}")]
    {
        home.run(&["ssh", "m", "--target-host", &target, "-c", "true"]).exits(0);
    }
    let target = format!("localhost:{}", server.port());
    home.run(&["ssh", "m", "--target-host", &target, "-c", "true"]).exits(0);
}
