//! ProxyUseFdpass: a program passes a connection on and is gone, as systemd-ssh-proxy
//! does. Beside OpenSSH's client.

use std::io::Write;
use std::process::Stdio;

use crate::harness::{Run, THEIRS, noise, start, wait};
use crate::openssh_personality::Place;

/// Connects to a port and passes that on by its standard output: the connection itself,
/// or by the second word a socket of Unix behind which it is, nothing, or a pipe.
const PROXY: &str = r#"#!/usr/bin/python3
import array, os, socket, sys, threading
host, port, how, log = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
with open(log, "a") as file:
    print(host, port, os.getpid(), file=file)
if how == "nothing":
    sys.exit(3)
out = socket.socket(fileno=os.dup(1))
def give(fd):
    out.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
if how == "byte":
    out.send(b"\0")
    sys.exit(0)
if how == "pipe":
    give(os.pipe()[0])
    sys.exit(0)
there = socket.create_connection(("127.0.0.1", port))
if how == "tcp":
    give(there.fileno())
    sys.exit(0)
ours, theirs = socket.socketpair()
give(theirs.fileno())
out.close(); theirs.close()
if os.fork():
    os._exit(0)
for fd in (0, 1, 2):
    os.close(fd)
def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
threading.Thread(target=copy, args=(there, ours)).start()
copy(ours, there)
"#;

struct Pair(Place);

impl Pair {
    fn new() -> Self {
        let place = Place::shared("");
        place.ssh(&["box", "true"]).exits(0);
        place.home.script("proxy", PROXY);
        Self(place)
    }

    fn option(&self, how: &str) -> String {
        let path = |name: &str| self.0.home.path(name).display().to_string();
        format!("-oProxyCommand={} %h %p {how} {}", path("proxy"), path("started"))
    }

    fn run(&self, ssh: &str, args: &[&str], input: &[u8]) -> Run {
        let mut command = self.0.client(ssh, args);
        let mut child = start(command.stdin(Stdio::piped()), "openssh-client");
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let done = Run::of(wait(child));
        writer.join().unwrap();
        done
    }
}

#[test]
fn what_is_passed_carries_the_connection_and_the_program_is_gone() {
    let pair = Pair::new();
    let data = noise(1 << 20);
    for ssh in [THEIRS.to_owned(), pair.0.ours()] {
        for how in ["tcp", "unix"] {
            let _ = std::fs::remove_file(pair.0.home.path("started"));
            let option = pair.option(how);
            let args = [&option, "-oProxyUseFdpass=yes", "-q", "box", "cat"];
            let done = pair.run(&ssh, &args, &data).exits(0);
            assert!(done.stdout == data, "{ssh} {how}: {} bytes", done.stdout.len());
            let started = pair.0.home.read("started");
            let words: Vec<&str> = started.split_whitespace().collect();
            assert_eq!(words[..2], ["127.0.0.1", &pair.0.server.port()], "{ssh} {how}: {started}");
            assert_eq!(started.lines().count(), 1, "{ssh} {how}: {started}");
            // It was waited for.
            let gone = format!("test ! -e /proc/{}", words[2]);
            pair.run("/bin/sh", &["-c", &gone], b"");
            let args = [&option, "-oProxyUseFdpass=yes", "box", "exit 7"];
            pair.run(&ssh, &args, b"").exits(7);
        }
    }
}

#[test]
fn names_of_systemd_are_hosts() {
    let pair = Pair::new();
    let port = pair.0.server.port();
    let (proxy, started) = (pair.0.home.path("proxy"), pair.0.home.path("started"));
    let config = format!(
        "{}Host unix/* vsock/* machine/*\n  ProxyCommand {} %h {port} tcp {}\n  \
         ProxyUseFdpass yes\n  CheckHostIP no\n  User root\n  StrictHostKeyChecking no\n  \
         UserKnownHostsFile /dev/null\n  IdentityFile {}\n",
        pair.0.home.read("home/.ssh/config"),
        proxy.display(),
        started.display(),
        pair.0.home.path("home/.ssh/id_ed25519").display()
    );
    pair.0.home.write("home/.ssh/config", config);
    for ssh in [THEIRS.to_owned(), pair.0.ours()] {
        for host in ["vsock/3", "machine/web", "unix/run/sock"] {
            let _ = std::fs::remove_file(&started);
            assert_eq!(pair.run(&ssh, &[host, "echo in"], b"").exits(0).text(), "in\n", "{ssh}");
            assert!(pair.0.home.read("started").starts_with(&format!("{host} ")), "{ssh}");
        }
    }
}

#[test]
fn a_program_that_passes_nothing_is_no_way() {
    let pair = Pair::new();
    for ssh in [THEIRS.to_owned(), pair.0.ours()] {
        for how in ["nothing", "byte"] {
            let option = pair.option(how);
            let args = [&option, "-oProxyUseFdpass=yes", "-oConnectionAttempts=3", "box", "true"];
            let _ = std::fs::remove_file(pair.0.home.path("started"));
            let done = pair.run(&ssh, &args, b"").exits(255);
            done.says(&["proxy dialer did not pass back a connection"]);
            // Once, however often one may try to connect.
            assert_eq!(pair.0.home.read("started").lines().count(), 1, "{ssh}");
        }
    }
    // What is no socket speaks no SSH.
    let args = [&pair.option("pipe"), "-oProxyUseFdpass=yes", "box", "true"];
    pair.run(&pair.0.ours(), &args, b"").exits(255);
    // Without it, what a program writes is the other side's word.
    let args = [&pair.option("nothing"), "-oProxyUseFdpass=no", "box", "true"];
    pair.run(&pair.0.ours(), &args, b"").exits(255).says(&["kex_exchange_identification"]);
}

#[test]
fn a_machine_of_the_clan_is_reached_so_too() {
    let pair = Pair::new();
    let option = pair.option("unix");
    let target = format!("root@{}", pair.0.server.target());
    let args = ["ssh", "m", "--target-host", &target, &option, "-oProxyUseFdpass=yes"];
    let args = [&args[..], &["--host-key-check", "none", "--", "echo", "in"]].concat();
    let mut command = pair.0.home.command(&args);
    command.env("PATH", "/usr/bin:/bin");
    assert_eq!(Run::of(wait(start(&mut command, "util-linux"))).exits(0).text(), "in\n");
}
