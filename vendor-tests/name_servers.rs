//! Names and the servers that know them, in a root of our own with its own
//! resolv.conf. The server is this file: what matters is how it misbehaves.
//! Needs root for chroot and for port 53.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{BINARY, Home, Run, run, sshd, start, wait};

/// How the server answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// A is the sshd's address, AAAA never comes.
    SilentAboutSix,
    Failure,
    Silent,
    /// Bytes that are no DNS message.
    Garbage,
}

/// A name server on port 53 of `ip`, which nobody else uses.
struct NameServer {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NameServer {
    fn start(ip: &str, manner: Manner) -> Self {
        let socket = UdpSocket::bind((ip, 53)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut query = [0; 1500];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((count, from)) = socket.recv_from(&mut query) else { continue };
                if let Some(answer) = answer(&query[..count], manner) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// RFC 1035, section 4: the answer to a query of one question.
fn answer(query: &[u8], manner: Manner) -> Option<Vec<u8>> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0)? + 5;
    let question = &query[12..end];
    let six = question[question.len() - 4..][..2] == [0, 28];
    let code = match manner {
        Manner::Silent => return None,
        Manner::SilentAboutSix if six => return None,
        Manner::Garbage => return Some(b"\xff\xffgarbage".to_vec()),
        Manner::Failure => 2,
        Manner::SilentAboutSix => 0,
    };
    let found = code == 0 && !six;
    let mut message = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, u8::from(found)]].concat();
    message.extend([0, 0, 0, 0]);
    message.extend(question);
    if found {
        // A pointer to the name, A, IN, 60 s, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(message)
}

fn ssh_in_root(home: &Home, resolv_conf: &str, host: &str, port: &str) -> Run {
    in_root(&[], home, resolv_conf, &["ssh", "m", "-p", port, "--target-host", host, "-c", "true"])
}

/// Our binary, started through these programs in a root that knows only this
/// resolv.conf.
pub fn in_root(through: &[String], home: &Home, resolv_conf: &str, args: &[&str]) -> Run {
    assert!(rustix::process::geteuid().is_root(), "only root can chroot");
    home.write("root/etc/resolv.conf", resolv_conf);
    if home.path("home/.ssh/id_ed25519").exists() {
        home.copy("home/.ssh/id_ed25519", "root/home/.ssh/id_ed25519");
    }
    if !home.path("root/clan-connect").exists() {
        // By another process, lest a child of another test holds it open for
        // writing: then it cannot be executed.
        run("cp", &[BINARY, home.path("root/clan-connect").to_str().unwrap()], "coreutils");
    }
    let chroot = ["/usr/sbin/chroot".to_owned()];
    let words = [through, &chroot].concat();
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .arg(home.path("root"))
        .arg("/clan-connect")
        .args(args)
        .env_clear()
        .env("HOME", "/home")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Run::of(wait(start(&mut command, "coreutils")))
}

#[test]
fn a_name_server_that_misbehaves_is_survived_or_named() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, "127.0.0.1", &key, "");
    let port = server.port();
    let conf = |ip: &str| format!("nameserver {ip}\nsearch clan.test\n");
    for (ip, manner, said) in [
        ("127.83.53.2", Manner::SilentAboutSix, None),
        ("127.83.53.4", Manner::Failure, Some("name servers report a failure")),
    ] {
        let _answering = NameServer::start(ip, manner);
        let started = Instant::now();
        let done = ssh_in_root(&home, &conf(ip), "machine", &port);
        println!("{manner:?}: {:?}: {}", started.elapsed(), done.stderr);
        match said {
            None => {
                done.exits(0);
                let limit = Duration::from_secs(4);
                assert!(started.elapsed() < limit, "{manner:?}: {:?}", started.elapsed());
            }
            Some(said) => {
                done.exits(255).says(&[said]);
                assert!(started.elapsed() < Duration::from_secs(15), "{manner:?}");
            }
        }
    }
}

#[test]
fn a_name_server_that_never_answers_is_named_as_the_cause() {
    for (ip, manner) in [
        ("127.83.53.5", Some(Manner::Silent)),
        ("127.83.53.6", Some(Manner::Garbage)),
        // Nobody listens there.
        ("127.83.53.9", None),
    ] {
        let home = Home::new();
        let _answering = manner.map(|manner| NameServer::start(ip, manner));
        let started = Instant::now();
        let done = ssh_in_root(&home, &format!("nameserver {ip}\n"), "machine", "22");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
        done.exits(255).says(&["could not resolve hostname"]);
    }
}

#[test]
fn a_name_with_an_underscore_is_asked_for() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, "127.0.0.1", &key, "");
    let _answering = NameServer::start("127.83.53.7", Manner::SilentAboutSix);
    for name in ["my_host", "_x.y_z.test"] {
        let conf = "nameserver 127.83.53.7\nsearch clan.test\n";
        ssh_in_root(&home, conf, name, &server.port()).exits(0);
    }
}
