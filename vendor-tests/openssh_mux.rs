//! Shared connections: our masters and clients with OpenSSH's and with each other,
//! and by the programs that share.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Run, THEIRS, Terminal, free_port, noise, running, start, until, wait};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

pub(crate) struct Mux {
    pub(crate) place: Place,
    pub(crate) socket: String,
}

impl Mux {
    pub(crate) fn new() -> Self {
        let place = Place::shared("MaxSessions 50\nAllowTcpForwarding yes\n");
        let socket = place.home.path("m").to_str().unwrap().to_owned();
        Self { place, socket }
    }

    pub(crate) fn ours(&self) -> String {
        self.place.ours()
    }

    pub(crate) fn command(&self, ssh: &str, args: &[&str]) -> Command {
        self.place.client(ssh, &[&["-S", self.socket.as_str()], args].concat())
    }

    pub(crate) fn run(&self, ssh: &str, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(ssh, args), "openssh-client")))
    }

    /// A master that stays in the foreground.
    pub(crate) fn master(&self, ssh: &str, args: &[&str]) -> Master {
        let args = [&["-M", "-N"], args, &["box"]].concat();
        let child = start(&mut self.command(ssh, &args), "openssh-client");
        let master = Master { child };
        until("the master", || std::path::Path::new(&self.socket).exists());
        master
    }

    /// How often somebody has logged in.
    fn logins(&self) -> usize {
        self.place.server.log().matches("Accepted publickey").count()
    }
}

pub(crate) struct Master {
    pub(crate) child: Child,
}

impl Master {
    pub(crate) fn ends(&mut self) -> Option<i32> {
        until("the end of the master", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that clients do, with any master and any client.
fn works(master: impl Fn(&Mux) -> String, client: impl Fn(&Mux) -> String) {
    let mux = Mux::new();
    let (master, client) = (master(&mux), client(&mux));
    let none = mux.run(&client, &["-O", "check", "box"]).exits(255);
    none.says(&["Control socket connect(", "No such file or directory"]);
    let mut running = mux.master(&master, &[]);
    let pid = format!("Master running (pid={})", running.child.id());
    mux.run(&client, &["-O", "check", "box"]).exits(0).says(&[&pid]);
    // Output, errors and statuses.
    let script = "echo out; echo err >&2; exit 7";
    let done = mux.run(&client, &["box", script]).exits(7);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("out\n", "err\n"));
    mux.run(&client, &["box", "true"]).exits(0);
    assert_eq!(mux.run(&client, &["-n", "box", "cat"]).exits(0).text(), "");
    // Data both ways, to the last byte.
    let data = noise(3 << 20);
    let mut command = mux.command(&client, &["box", "cat"]);
    let mut child = start(command.stdin(Stdio::piped()), "openssh-client");
    let mut input = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    assert!(wait(child).stdout == data);
    writer.join().unwrap().unwrap();
    // From and to files.
    let file = mux.place.home.write("data", &data);
    let copy = mux.place.home.path("copy");
    let mut command = mux.command(&client, &["box", "cat"]);
    command.stdin(std::fs::File::open(&file).unwrap());
    command.stdout(std::fs::File::create(&copy).unwrap());
    assert!(wait(start(&mut command, "")).status.success());
    assert!(std::fs::read(copy).unwrap() == data);
    let env = ["-oSendEnv=LC_*", "box", "echo $LC_MUX"];
    let mut command = mux.command(&client, &env);
    let done = Run::of(wait(start(command.env("LC_MUX", "sent"), "")));
    // A master of OpenSSH's passes on what it was told to send itself.
    let sent = if master == THEIRS { "\n" } else { "sent\n" };
    assert_eq!(done.exits(0).text(), sent);
    let to = format!("{IP}:{}", mux.place.server.port());
    assert!(mux.run(&client, &["-W", &to, "box"]).text().starts_with("SSH-2.0-"));
    // Forwards come and go.
    let (local, port) = (free_port(IP), mux.place.server.port());
    let forward = format!("{IP}:{local}:{IP}:{port}");
    mux.run(&client, &["-O", "forward", "-L", &forward, "box"]).exits(0);
    let mut banner = [0; 4];
    TcpStream::connect((IP, local)).unwrap().read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-");
    mux.run(&client, &["-O", "cancel", "-L", &forward, "box"]).exits(0);
    until("the end of the listener", || TcpStream::connect((IP, local)).is_err());
    let remote = format!("{IP}:0:{IP}:{port}");
    let given = mux.run(&client, &["-O", "forward", "-R", &remote, "box"]).exits(0).text();
    let given: u16 = given.trim().parse().unwrap();
    TcpStream::connect((IP, given)).unwrap().read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-");
    let socks = format!("{IP}:{}", free_port(IP));
    mux.run(&client, &["-O", "forward", "-D", &socks, "box"]).exits(0);
    assert!(TcpStream::connect(&socks).is_ok());
    // All of this was one login.
    assert_eq!(mux.logins(), 1);
    mux.run(&client, &["-O", "exit", "box"]).exits(0).says(&["Exit request sent."]);
    running.ends();
    assert!(!std::path::Path::new(&mux.socket).exists());
    mux.run(&client, &["-O", "check", "box"]).exits(255);
    // Without a master the connection is its own.
    assert_eq!(mux.run(&client, &["box", "echo", "own"]).exits(0).text(), "own\n");
    assert_eq!(mux.logins(), 2);
}

#[test]
fn our_clients_use_our_master() {
    works(Mux::ours, Mux::ours);
}

#[test]
fn opensshs_clients_use_our_master() {
    works(Mux::ours, |_| THEIRS.to_owned());
}

#[test]
fn our_clients_use_opensshs_master() {
    works(|_| THEIRS.to_owned(), Mux::ours);
}

#[test]
fn a_master_that_listens_no_more_ends_with_its_last_client() {
    let mux = Mux::new();
    let ours = mux.ours();
    let mut master = mux.master(&ours, &[]);
    let mut command = mux.command(&ours, &["box", "read line; echo $line"]);
    let mut client = start(command.stdin(Stdio::piped()), "");
    until("the session", || mux.place.server.log().contains("Starting session"));
    mux.run(&ours, &["-O", "stop", "box"]).exits(0).says(&["Stop listening request sent."]);
    assert!(!std::path::Path::new(&mux.socket).exists());
    client.stdin.take().unwrap().write_all(b"still here\n").unwrap();
    assert_eq!(wait(client).stdout, b"still here\n");
    assert_eq!(master.ends(), Some(0));
}

#[test]
fn a_master_that_persists_serves_and_goes() {
    let mux = Mux::new();
    let ours = mux.ours();
    let auto = ["-oControlMaster=auto", "-oControlPersist=2s", "box"];
    let run = |args: &[&str]| mux.run(&ours, &[&auto, args].concat());
    run(&["true"]).exits(0);
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    let started = Instant::now();
    // Both ends of the pipes are closed when the command is done: this returns.
    let first = run(&["echo one; echo two >&2; exit 3"]).exits(3);
    assert_eq!((first.text().as_str(), first.stderr.as_str()), ("one\n", "two\n"));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    run(&["true"]).exits(0);
    let theirs = mux.run(THEIRS, &["-O", "check", "box"]).exits(0);
    theirs.says(&["Master running"]);
    assert_eq!(mux.logins(), 2);
    until("the end of the master", || !std::path::Path::new(&mux.socket).exists());
    // What is left of a master that was killed is in nobody's way.
    run(&["true"]).exits(0);
    let check = mux.run(&ours, &["-O", "check", "box"]).exits(0).stderr;
    let pid: i32 = check.split_once("pid=").unwrap().1.trim_end_matches(")\r\n").parse().unwrap();
    crate::harness::signal(pid, rustix::process::Signal::KILL);
    until("the end of the master", || !std::path::Path::new(&format!("/proc/{pid}/fd/0")).exists());
    assert!(std::path::Path::new(&mux.socket).exists());
    run(&["true"]).exits(0);
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    // A failure to connect is the first command's.
    let refused = mux.run(&ours, &[&["-p", "1"], &auto[..], &["true"]].concat()).exits(255);
    refused.says(&["Connection refused"]);
    // Many at once: one is the master, or each its own, and none fails.
    let many: Vec<Child> = (0..8)
        .map(|at| {
            let say = format!("echo {at}");
            start(&mut mux.command(&ours, &[&auto[..], &[&say]].concat()), "")
        })
        .collect();
    for (at, child) in many.into_iter().enumerate() {
        assert_eq!(Run::of(wait(child)).exits(0).text(), format!("{at}\n"));
    }
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
}

#[test]
fn one_that_is_not_read_holds_up_nobody() {
    let mux = Mux::new();
    let ours = mux.ours();
    let (local, web) = (free_port(IP), std::net::TcpListener::bind((IP, 0)).unwrap());
    let to = web.local_addr().unwrap().port();
    let data = noise(40 << 20);
    let served = data.clone();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = web.accept().unwrap();
        let _ = stream.write_all(&served);
    });
    let forward = format!("{IP}:{local}:{IP}:{to}");
    // A dead connection would be noticed within two seconds.
    let alive = ["-oServerAliveInterval=1", "-oServerAliveCountMax=2", "-L", &forward];
    let mut master = mux.master(&ours, &alive);
    // A session and a forwarded connection, neither of which is read.
    let zero = mux.place.home.path("zero").display().to_string();
    std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
    let mut stalled = start(&mut mux.command(&ours, &["box", &format!("cat {zero}")]), "");
    let mut paused = TcpStream::connect((IP, local)).unwrap();
    let mut first = [0; 4096];
    paused.read_exact(&mut first).unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert_eq!(mux.run(&ours, &["box", "echo", "on"]).exits(0).text(), "on\n");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", master.child.id())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let memory: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
    println!("peak memory of a master with two stalled channels: {} MiB", memory >> 10);
    assert!(memory < 150 << 10, "{memory} kB");
    // It goes on where it was.
    let mut rest = Vec::new();
    paused.read_to_end(&mut rest).unwrap();
    assert!([&first[..], &rest].concat() == data);
    server.join().unwrap();
    // One that is gone ends its command, too.
    assert!(!running(&[&zero]).is_empty());
    stalled.kill().unwrap();
    stalled.wait().unwrap();
    until("the end of the command", || running(&[&zero]).is_empty());
    mux.run(&ours, &["box", "true"]).exits(0);
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    master.ends();
}

#[test]
fn a_terminal_is_the_clients_own() {
    let mux = Mux::new();
    let ours = mux.ours();
    let mut master = mux.master(&ours, &[]);
    let config = mux.place.home.path("home/.ssh/config");
    let args = ["openssh", "-F", config.to_str().unwrap(), "-S", &mux.socket, "box"];
    let mut terminal = Terminal::start(&mux.place.home, &args, 81, 25, &[]);
    let before = terminal.settings();
    terminal.send("stty size; echo $TERM; tty | cut -c1-8\r");
    terminal.expect("25 81\r\nxterm-test\r\n/dev/pts");
    assert!(terminal.is_raw());
    terminal.resize(100, 30);
    terminal.send("\r~?");
    terminal.expect("Supported escape sequences");
    terminal.send("exit 5\r");
    assert_eq!(terminal.exit_code(), Some(5));
    terminal.expect("Shared connection to 127.0.0.1 closed.");
    assert_eq!(terminal.settings(), before);
    // What is typed after the end is for whoever comes next.
    let mut terminal = Terminal::start(&mux.place.home, &args, 80, 24, &[]);
    terminal.send("echo r''eady\r");
    terminal.expect("ready");
    terminal.send("\r~.");
    assert_eq!(terminal.exit_code(), Some(255));
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    master.ends();
}

#[test]
fn a_master_may_ask_first() {
    let mux = Mux::new();
    let ours = mux.ours();
    let script = mux.place.home.script(
        "askpass",
        "#!/bin/sh\necho \"$1\" >> asked\ntest -e allowed && echo yes || exit 1\n",
    );
    let mut command = mux.command(&ours, &["-M", "-M", "-N", "box"]);
    command.env("SSH_ASKPASS", &script).env("SSH_ASKPASS_REQUIRE", "force");
    let mut master = Master { child: start(&mut command, "") };
    until("the master", || std::path::Path::new(&mux.socket).exists());
    mux.run(&ours, &["-O", "exit", "box"]).exits(255).says(&["Permission denied"]);
    // Refused, so on its own.
    mux.run(&ours, &["box", "true"]).exits(0).says(&["refuses: Permission denied"]);
    assert_eq!(mux.logins(), 2);
    mux.place.home.write("allowed", "");
    mux.run(&ours, &["box", "true"]).exits(0);
    assert_eq!(mux.logins(), 2);
    let asked = mux.place.home.read("asked");
    assert!(asked.contains("Allow use of the shared connection to box?"), "{asked}");
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    master.ends();
}

#[test]
fn nix_and_ansible_share_connections() {
    let mux = Mux::new();
    let ours = mux.ours();
    let place = &mux.place;
    let thing = place.home.write("thing", noise(1 << 16));
    let add =
        place.run("nix-store", &["--add", thing.to_str().unwrap()], "nix-bin").exits(0).text();
    // As nix starts one, which waits for the first line. (The nix of Debian 12
    // waits for itself for ever before it comes to that: its issue, not ssh's.)
    let local = ["-oLocalCommand=echo started", "-oPermitLocalCommand=yes"];
    let mut command = mux.command(&ours, &[&["box", "-M", "-N"], &local[..]].concat());
    let mut master = Master { child: start(&mut command, "") };
    let mut line = [0; 8];
    master.child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"started\n");
    mux.run(&ours, &["-O", "check", "box"]).exits(0);
    // With nix's own way to say which options it is to pass.
    let options = format!("-S {}", mux.socket);
    for args in [
        &["nix-copy-closure", "--to", "box", add.trim()][..],
        &[
            "nix",
            "--extra-experimental-features",
            "nix-command",
            "copy",
            "--to",
            "ssh://box",
            add.trim(),
        ],
    ] {
        let mut command = place.command(args[0], &args[1..]);
        command.env("NIX_SSHOPTS", &options);
        Run::of(wait(start(&mut command, "nix-bin"))).exits(0);
    }
    assert_eq!(mux.logins(), 1);
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    master.ends();
    let tasks: String = (0..20).map(|at| format!("    - shell: echo {at} >> log\n")).collect();
    let play = format!("- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}");
    place.home.write("play.yml", play);
    place.home.write(
        "ansible.cfg",
        format!(
            "[ssh_connection]\npipelining = true\ncontrol_path_dir = {}\n\
             ssh_args = -C -o ControlMaster=auto -o ControlPersist=60s\n",
            place.home.path("cp").display()
        ),
    );
    let args = ["-i", "box,", "-e", "ansible_python_interpreter=/usr/bin/python3", "play.yml"];
    let mut command = place.command("ansible-playbook", &args);
    let done = Run::of(wait(start(command.env("LC_ALL", "C.UTF-8"), "ansible-core"))).exits(0);
    assert!(done.text().contains("ok=20"), "{}", done.text());
    assert_eq!(mux.logins(), 2, "{}", place.server.log());
    let socket = std::fs::read_dir(place.home.path("cp")).unwrap().next().unwrap().unwrap().path();
    place.ssh(&["-S", socket.to_str().unwrap(), "-O", "exit", "box"]).exits(0);
}
