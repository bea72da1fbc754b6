//! One static executable that needs nothing around it. Needs root for chroot.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Home, sshd, start, wait};

#[test]
fn the_executable_is_static_and_asks_no_name_service() {
    let output = Command::new("ldd").arg(BINARY).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // The words for a static executable without and with ASLR.
    let is_static = ["not a dynamic executable", "statically linked"];
    assert!(is_static.iter().any(|words| said.contains(words)), "{said}");

    let bytes = fs::read(BINARY).unwrap();
    // glibc's getaddrinfo and NSS open these; without them they are not there.
    for file in ["/etc/gai.conf", "/etc/nsswitch.conf", "libnss_"] {
        let found = bytes.windows(file.len()).any(|window| window == file.as_bytes());
        assert!(!found, "{file} is in the executable");
    }
}

#[test]
fn it_works_in_an_empty_root() {
    assert!(rustix::process::geteuid().is_root(), "only root can chroot");
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, "127.0.0.1", &key, "");
    home.write("root/etc/resolv.conf", "nameserver 127.0.0.1\n");
    home.write("root/home/.ssh/id_ed25519", home.read("home/.ssh/id_ed25519"));
    let peer =
        serde_json::json!({ "host": { "plain": "localhost" }, "port": server.address.port() });
    home.write(
        "root/exports.json",
        serde_json::json!({ "internet": { "peers": { "m": peer } } }).to_string(),
    );
    fs::copy(BINARY, home.path("root/clan-connect")).unwrap();
    let mut command = Command::new("/usr/sbin/chroot");
    command
        .arg(home.path("root"))
        .args(["/clan-connect", "--exports", "/exports.json", "ssh", "m", "-c", "echo", "hello"])
        .env_clear()
        .env("HOME", "/home")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = wait(start(&mut command, "coreutils"));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"hello\n");
    assert!(home.read("root/home/.ssh/known_hosts").contains("localhost"));
}
