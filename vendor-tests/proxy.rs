//! `clan-connect proxy MACHINE [PORT]` as the ProxyCommand of OpenSSH's own ssh, and
//! of the programs that call that; and on its own, before plain servers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clan::{SECRET_HOST, blog_exports, clan, seal_host};
use crate::harness::{BINARY, Home, Run, Server, free_port, noise, sshd, start, wait};
use crate::reach::Hole;

const IP: &str = "127.0.0.1";

/// A machine `m` in these networks, and OpenSSH's configuration for it.
struct Place {
    home: Home,
    server: Server,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, IP, &key, "Subsystem sftp internal-sftp\n");
        let place = Self { home, server };
        place.networks(&[("good", place.server.address.port())]);
        let exports = place.path("exports.json");
        place.config(&format!("{BINARY} --exports {exports} proxy %h %p"));
        place
    }

    fn path(&self, name: &str) -> String {
        self.home.path(name).display().to_string()
    }

    /// The best first.
    fn networks(&self, ports: &[(&str, u16)]) {
        let network = |(at, (name, port)): (usize, &(&str, u16))| {
            let peers = json!({ "m": { "host": { "plain": IP }, "port": port } });
            ((*name).to_owned(), json!({ "priority": 100 - at, "peers": peers }))
        };
        let exports: serde_json::Map<String, Value> =
            ports.iter().enumerate().map(network).collect();
        self.home.write("exports.json", Value::from(exports).to_string());
    }

    fn config(&self, proxy: &str) {
        let (known, key) = (self.path("home/.ssh/known_hosts"), self.path("home/.ssh/id_ed25519"));
        self.home.write(
            "config",
            format!(
                "Host m\n  ProxyCommand {proxy}\n  User root\n  IdentityFile {key}\n  \
                 UserKnownHostsFile {known}\n  StrictHostKeyChecking accept-new\n  \
                 HashKnownHosts no\n"
            ),
        );
    }

    /// A program that reads OpenSSH's configuration for the machine.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path("home"))
            .env("PATH", "/usr/bin:/bin:/usr/sbin")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.home.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, program: &str, args: &[&str], package: &str) -> Run {
        Run::of(wait(start(&mut self.command(program, args), package)))
    }

    fn theirs(&self, args: &[&str]) -> Run {
        let config = self.path("config");
        self.run("/usr/bin/ssh", &[&["-F", config.as_str()], args].concat(), "openssh-client")
    }

    fn proxy(&self, args: &[&str]) -> Run {
        self.home.run(&[&["--exports", "exports.json", "proxy", "m"], args].concat())
    }

    /// The proxy with all of its ends in our hands.
    fn piped(&self, args: &[&str]) -> std::process::Child {
        let args = [&["--exports", "exports.json", "proxy", "m"], args].concat();
        start(self.home.command(&args).stdin(Stdio::piped()), "util-linux")
    }
}

#[test]
fn the_programs_of_others_reach_a_machine_by_it() {
    let place = Place::new();
    let done = place.theirs(&["m", "echo in; echo err >&2; exit 7"]).exits(7);
    // Nothing is said but by the machine.
    assert_eq!(done.text(), "in\n");
    let own = |line: &&str| !line.contains("Permanently added");
    assert_eq!(done.stderr.lines().filter(own).collect::<Vec<_>>(), ["err"]);
    // 64 MiB there and back again, and the end of the input.
    let data = noise(64 << 20);
    let config = place.path("config");
    let mut command = place.command("/usr/bin/ssh", &["-F", &config, "m", "cat; echo end"]);
    let mut child = start(command.stdin(Stdio::piped()), "openssh-client");
    let (mut input, sent) = (child.stdin.take().unwrap(), data.clone());
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let done = wait(child);
    writer.join().unwrap().unwrap();
    assert!(done.stdout[..data.len()] == data && done.stdout[data.len()..] == *b"end\n");
    // rsync, scp, sftp and ansible.
    place.home.write("tree/file", &data[..8 << 20]);
    let (tree, there, back) = (place.path("tree"), place.path("there"), place.path("back"));
    let ssh = format!("ssh -F {config}");
    let rsync = |args: &[&str]| place.run("rsync", &[&["-e", &ssh, "-a"], args].concat(), "rsync");
    rsync(&[&format!("{tree}/"), &format!("m:{there}/")]).exits(0);
    rsync(&[&format!("m:{there}/"), &back]).exits(0);
    assert!(std::fs::read(place.home.path("back/file")).unwrap() == data[..8 << 20]);
    let copy = place.path("copy");
    let scp = ["-q", "-F", &config, &format!("m:{there}/file"), &copy];
    place.run("scp", &scp, "openssh-client").exits(0);
    assert!(std::fs::read(place.home.path("copy")).unwrap() == data[..8 << 20]);
    place.home.write(
        "play.yml",
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - shell: echo it >> done\n",
    );
    place.home.write("ansible.cfg", format!("[ssh_connection]\nssh_args = -F {config}\n"));
    let play = ["-i", "m,", "-e", "ansible_python_interpreter=/usr/bin/python3", "play.yml"];
    place.run("ansible-playbook", &play, "ansible-core").exits(0);
}

#[test]
fn a_network_that_is_dead_or_silent_is_passed_by() {
    let place = Place::new();
    let hole = Hole::new();
    let silent = TcpListener::bind((IP, 0)).unwrap();
    let silent = silent.local_addr().unwrap().port();
    let port = place.server.address.port();
    for above in [hole.port, 1, silent] {
        place.networks(&[("above", above), ("good", port)]);
        let started = Instant::now();
        let banner = place.proxy(&[]).exits(0);
        // Whoever speaks SSH sees all of what the server says.
        assert!(banner.text().starts_with("SSH-2.0-OpenSSH"), "{above}: {}", banner.text());
        assert_eq!(banner.stderr, "", "{above}");
        assert!(started.elapsed() < Duration::from_secs(6), "{above}: {:?}", started.elapsed());
        assert_eq!(place.theirs(&["m", "echo in"]).exits(0).text(), "in\n", "{above}");
    }
    // 22 is what ssh passes on where nobody says anything.
    assert!(place.proxy(&["22"]).exits(0).text().starts_with("SSH-2.0-"));
    // Nothing leads there.
    place.networks(&[("above", hole.port), ("below", 1)]);
    let done = place.proxy(&["--timeout", "1"]).exits(255);
    assert_eq!(done.text(), "");
    done.says(&[
        &format!(
            "error: cannot reach machine \"m\"\n  above via 127.0.0.1 port {}: connection timed out",
            hole.port
        ),
        "below via 127.0.0.1 port 1: connection refused",
        "hint: ",
    ]);
    let unknown = place.home.run(&["--exports", "exports.json", "proxy", "n"]).exits(255);
    unknown.says(&["unknown machine \"n\""]);
    place.theirs(&["-oConnectTimeout=20", "m", "true"]).exits(255).says(&["cannot reach machine"]);
}

/// Serves one connection with this.
fn serve<T: Send + 'static>(
    work: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, std::thread::JoinHandle<T>) {
    let listener = TcpListener::bind((IP, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (port, std::thread::spawn(move || work(listener.accept().unwrap().0)))
}

#[test]
fn each_direction_ends_by_itself() {
    let place = Place::new();
    // A server that speaks only when its input has ended.
    let (port, server) = serve(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(format!("got {}", all.len()).as_bytes()).unwrap();
    });
    let mut child = place.piped(&[&port]);
    child.stdin.take().unwrap().write_all(&noise(1 << 20)).unwrap();
    assert_eq!(Run::of(wait(child)).exits(0).text(), "got 1048576");
    server.join().unwrap();
    // One that says all it has to say, and then listens.
    let (port, server) = serve(|mut stream| {
        stream.write_all(b"all of it").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    });
    let mut child = place.piped(&[&port]);
    let mut text = String::new();
    // This returns, because the end has reached us.
    child.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "all of it");
    assert!(child.try_wait().unwrap().is_none());
    child.stdin.take().unwrap().write_all(b"and back").unwrap();
    Run::of(wait(child)).exits(0);
    assert_eq!(server.join().unwrap(), "and back");
    // An echo, to the last byte.
    let (port, server) = serve(|mut stream| {
        let mut other = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut other).unwrap();
        other.shutdown(Shutdown::Write).unwrap();
    });
    let data = noise(5 << 20);
    let mut child = place.piped(&[&port]);
    let (mut input, sent) = (child.stdin.take().unwrap(), data.clone());
    let writer = std::thread::spawn(move || input.write_all(&sent));
    assert!(wait(child).stdout == data);
    writer.join().unwrap().unwrap();
    server.join().unwrap();
    // A connection is all that is waited for: nobody speaks first here.
    let (port, server) = serve(|mut stream| {
        let mut one = [0; 3];
        stream.read_exact(&mut one).unwrap();
        one
    });
    let mut child = place.piped(&[&port]);
    child.stdin.as_mut().unwrap().write_all(b"hey").unwrap();
    assert_eq!(&server.join().unwrap(), b"hey");
    drop(child.stdin.take());
    Run::of(wait(child)).exits(0);
    // A connection that breaks is no clean end.
    let (port, server) = serve(|mut stream| {
        stream.read_exact(&mut [0; 3]).unwrap();
        let linger = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        linger.unwrap();
    });
    let mut child = place.piped(&[&port]);
    child.stdin.as_mut().unwrap().write_all(b"hey").unwrap();
    server.join().unwrap();
    Run::of(wait(child)).exits(255).says(&["error: connection to m "]);
}

#[test]
fn the_end_of_whoever_reads_is_the_end() {
    let place = Place::new();
    let (port, server) = serve(|mut stream| {
        let chunk = noise(1 << 16);
        while stream.write_all(&chunk).is_ok() {}
    });
    let mut child = place.piped(&[&port]);
    let mut some = [0; 1024];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    drop(child.stdout.take());
    Run::of(wait(child)).exits(255);
    server.join().unwrap();
    // Also where neither side says anything more: what was said has arrived.
    let (port, server) = serve(|mut stream| {
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    });
    let mut child = place.piped(&[&port]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hey").unwrap();
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdout.take());
    Run::of(wait(child)).exits(255);
    assert_eq!(server.join().unwrap(), "hey");
    drop(input);
}

#[test]
fn a_secret_host_is_not_told() {
    let home = Home::new();
    let key = home.default_key();
    let dir = clan(&home).display().to_string();
    seal_host(&home, SECRET_HOST);
    let server = sshd(&home, SECRET_HOST, &key, "");
    let exports = blog_exports(&home, server.address.port());
    let place = Place { home, server };
    place.config(&format!("{BINARY} -vvv --flake {dir} --exports {exports} proxy %h %p"));
    let config = place.home.read("config").replace("Host m", "Host my_cool_machine");
    place.home.write("config", config);
    let done = place.theirs(&["-vvv", "my_cool_machine", "echo in"]).exits(0);
    assert_eq!(done.text(), "in\n");
    let done = done.says(&["over network hidden at <secret: tor_tor/hostname> port"]);
    // sshd tells a session where it came to, which is its own affair.
    assert!(!done.stderr.contains(SECRET_HOST), "{}", done.stderr);
    assert!(place.home.read("home/.ssh/known_hosts").starts_with("my_cool_machine ssh-ed25519 "));
    // Its process shows nothing, either.
    let proxy = ["--flake", &dir, "--exports", &exports, "proxy", "my_cool_machine"];
    let mut child = start(place.home.command(&proxy).stdin(Stdio::piped()), "util-linux");
    let mut banner = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut banner).unwrap();
    for file in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("/proc/{}/{file}", child.id())).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(SECRET_HOST), "{file}");
    }
    drop(child.stdin.take());
    wait(child);
}

#[test]
fn a_configuration_that_names_it_leads_to_no_second_one() {
    let place = Place::new();
    std::fs::create_dir_all(place.home.path("bin")).unwrap();
    for name in ["clan-connect", "ssh"] {
        std::os::unix::fs::symlink(BINARY, place.home.path(&format!("bin/{name}"))).unwrap();
    }
    // As people write it for VS Code; what it would start leaves a trace.
    let (ours, exports) = (place.path("bin/clan-connect"), place.path("exports.json"));
    place.config(&format!("{ours} --exports {exports} proxy %n %p"));
    place.home.write("home/.ssh/config", place.home.read("config"));
    assert_eq!(place.theirs(&["m", "echo in"]).exits(0).text(), "in\n");
    assert!(place.proxy(&[]).exits(0).text().starts_with("SSH-2.0-"));
    let native = ["--exports", "exports.json", "-v", "ssh", "m", "-c", "echo", "in"];
    let done = place.home.run(&native).exits(0);
    assert_eq!(done.text(), "in\n");
    done.says(&["connected to m over network good as root@127.0.0.1"]);
    // Another program in the way counts, and is not told to `proxy` by a file.
    let trace = place.path("trace");
    let script = place.home.script(
        "other",
        "#!/usr/bin/python3
import os, socket, sys, threading
open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')
there = socket.create_connection((sys.argv[2], int(sys.argv[3])))
def send():
    while data := os.read(0, 65536):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := there.recv(65536):
    os.write(1, data)
",
    );
    let other = format!("{} {trace} %h %p", script.display());
    place.config(&other);
    place.home.write("home/.ssh/config", place.home.read("config"));
    assert!(place.proxy(&[]).exits(0).text().starts_with("SSH-2.0-"));
    assert_eq!(place.home.read("trace"), "");
    let said = format!("ProxyCommand={other}");
    assert!(place.proxy(&["-o", &said]).exits(0).text().starts_with("SSH-2.0-"));
    assert_eq!(place.home.read("trace"), format!("{IP}\n"));
}

#[test]
fn a_jump_host_leads_it_further() {
    let place = Place::new();
    let config = format!(
        "Host gate\n  HostName {IP}\n  Port {}\n  User root\n  StrictHostKeyChecking accept-new\n",
        place.server.port()
    );
    place.home.write("home/.ssh/config", config);
    assert!(place.proxy(&["-J", "gate"]).exits(0).text().starts_with("SSH-2.0-"));
    assert_eq!(place.server.log().matches("Accepted publickey").count(), 1);
    let closed = free_port(IP).to_string();
    let refused = place.proxy(&["-J", "gate", &closed]).exits(255);
    refused.says(&["stdio forwarding failed on the jump host: connect failed"]);
}
