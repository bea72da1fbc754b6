//! One static executable that needs nothing around it. Needs root for chroot.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};

use crate::harness::{BINARY, Home, Server, run, sshd, start, wait};

#[test]
fn the_executable_is_static_and_asks_no_name_service() {
    let output = Command::new("ldd").arg(BINARY).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // The words for a static executable without and with ASLR.
    let is_static = ["not a dynamic executable", "statically linked"];
    assert!(is_static.iter().any(|words| said.contains(words)), "{said}");

    if cfg!(debug_assertions) {
        println!("skipped: unoptimized, the linker keeps code that nothing calls");
        return;
    }
    if cfg!(feature = "iroh") {
        println!("skipped: reqwest, which iroh has, links what iroh_silence::… sees unused");
        return;
    }
    let bytes = fs::read(BINARY).unwrap();
    // glibc's getaddrinfo opens this; without it it is not there. That of the
    // user database, which Arti links, nothing opens: tor::… watches.
    let file = "/etc/gai.conf";
    let found = bytes.windows(file.len()).any(|window| window == file.as_bytes());
    assert!(!found, "{file} is in the executable");
}

/// A folder with nothing in it but our binary, a key, and what `command` reads.
struct Root {
    home: Home,
    server: Server,
}

impl Root {
    fn new(resolv_conf: &str, host: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "only root can chroot");
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, "127.0.0.1", &key, "");
        home.write("root/etc/resolv.conf", resolv_conf);
        home.copy("home/.ssh/id_ed25519", "root/home/.ssh/id_ed25519");
        let peer = serde_json::json!({ "host": { "plain": host }, "port": server.address.port() });
        let exports = serde_json::json!({ "internet": { "peers": { "m": peer } } });
        home.write("root/exports.json", exports.to_string());
        // By another process: a file that this one holds open for writing may be
        // inherited by a child of another test, and then cannot be executed.
        let copy = home.path("root/clan-connect");
        run("cp", &[BINARY, copy.to_str().unwrap()], "coreutils");
        Self { home, server }
    }

    fn run(&self) -> Output {
        let mut command = Command::new("/usr/sbin/chroot");
        command
            .arg(self.home.path("root"))
            .args([
                "/clan-connect",
                "--exports",
                "/exports.json",
                "ssh",
                "m",
                "-c",
                "echo",
                "hello",
            ])
            .env_clear()
            .env("HOME", "/home")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        wait(start(&mut command, "coreutils"))
    }
}

#[test]
fn it_works_in_an_empty_root() {
    let root = Root::new("nameserver 127.0.0.1\n", "localhost");
    let output = root.run();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"hello\n");
    assert!(root.home.read("root/home/.ssh/known_hosts").contains("localhost"));
    assert!(root.server.log().contains("Accepted publickey"));
}

/// A name server that knows `web.example.test`, by IPv4 only.
fn name_server(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 53)).expect("only root can have port 53");
    let answering = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, from)) = answering.recv_from(&mut query) {
            if len == 0 {
                return;
            }
            let Some(reply) = answer(&query[..len]) else { continue };
            answering.send_to(&reply, from).unwrap();
        }
    });
    socket
}

/// RFC 1035: the query again, with an answer or an error.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name_len = query.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let name = query.get(12..12 + name_len)?.to_ascii_lowercase();
    let question = query.get(12..12 + name_len + 4)?;
    let known = name == b"\x03web\x07example\x04test\x00";
    let is_a = question.get(name_len..name_len + 2)? == [0, 1];
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, if known { 0x80 } else { 0x83 }]);
    reply.extend([0, 1, 0, u8::from(known && is_a), 0, 0, 0, 0]);
    reply.extend(question);
    if known && is_a {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}

#[test]
fn names_are_resolved_with_the_search_list_and_without_libc() {
    let ip = "127.77.53.53";
    let server = name_server(ip);
    let found = Root::new(&format!("search nowhere.test example.test\nnameserver {ip}\n"), "web");
    let output = found.run();
    assert!(output.status.success(), "{output:?}");
    let missing = Root::new(&format!("nameserver {ip}\n"), "web").run();
    assert_eq!(missing.status.code(), Some(255));
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("could not resolve hostname: no such name"), "{said}");
    let nobody = Root::new("# no name server\n", "web").run();
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.contains("no name server is configured"), "{said}");
    // An empty packet ends the server.
    server.send_to(&[], (ip, 53)).unwrap();
}
