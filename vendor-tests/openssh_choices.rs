//! Our client and every sshd that an administrator may have configured: each
//! algorithm alone, and each thing that it may refuse.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{Home, Run, Server, Terminal, noise, run, sshd, until};

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

/// A megabyte there and back.
#[track_caller]
fn carries_data(home: &Home, server: &Server, option: &str, what: &str) {
    let data = noise(1 << 20);
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "--ssh-option", option, what, "-c", "cat"];
    let done = home.run_with_input(&args, data.clone());
    assert_eq!(done.code, Some(0), "{what}: {}", done.stderr);
    assert!(done.stdout == data, "{what}: {} bytes came back", done.stdout.len());
}

/// Those of `wanted` that this OpenSSH knows.
fn known(query: &str, wanted: &[&'static str]) -> Vec<&'static str> {
    let all = run("ssh", &["-Q", query], "openssh-client");
    let (known, unknown): (Vec<_>, Vec<_>) =
        wanted.iter().copied().partition(|name| all.lines().any(|line| line == *name));
    println!("not in this OpenSSH: {unknown:?}");
    known
}

#[test]
fn every_key_exchange_works_alone_and_again_while_data_flows() {
    let wanted = [
        "mlkem768x25519-sha256",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group14-sha256",
    ];
    for kex in known("kex", &wanted) {
        let (home, server) = machine(&format!("KexAlgorithms {kex}\nRekeyLimit 512K"));
        carries_data(&home, &server, "KexAlgorithms", kex);
    }
}

#[test]
fn every_cipher_and_mac_works_alone() {
    let ciphers =
        ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr", "aes128-ctr"];
    for cipher in known("cipher", &ciphers) {
        let (home, server) = machine(&format!("Ciphers {cipher}"));
        carries_data(&home, &server, "Ciphers", cipher);
    }
    let macs = [
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
    ];
    for mac in known("mac", &macs) {
        let (home, server) = machine(&format!("Ciphers aes256-ctr\nMACs {mac}"));
        carries_data(&home, &server, "MACs", mac);
    }
}

#[test]
fn every_kind_of_host_key_is_taken_and_known_again() {
    for (kind, size) in
        [("rsa", "3072"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("ed25519", "256")]
    {
        let home = Home::new();
        let key = home.default_key();
        let host_key = home.path("other_host_key");
        let path = host_key.to_str().unwrap();
        let args = ["-q", "-t", kind, "-b", size, "-N", "", "-f", path];
        run("ssh-keygen", &args, "openssh-client");
        // The first HostKey of a type wins, and only this type is offered.
        let algorithms = match (kind, size) {
            ("rsa", _) => "rsa-sha2-512,rsa-sha2-256".to_owned(),
            ("ecdsa", _) => format!("ecdsa-sha2-nistp{size}"),
            _ => "ssh-ed25519".to_owned(),
        };
        let config = format!("HostKey {path}\nHostKeyAlgorithms {algorithms}");
        let server = sshd(&home, IP, &key, &config);
        let allowed = format!("+{}", algorithms.split(',').next().unwrap());
        ssh(&home, &server, &["--ssh-option", "HostKeyAlgorithms", &allowed, "-c", "true"])
            .exits(0);
        ssh(&home, &server, &["--host-key-check", "strict", "-c", "true"]).exits(0);
    }
}

#[test]
fn a_server_with_nothing_safe_is_refused_and_said_why() {
    let config = "HostKeyAlgorithms ssh-rsa";
    let home = Home::new();
    let key = home.default_key();
    let host_key = home.keygen("rsa_host_key", "rsa", "");
    let server = sshd(&home, IP, &key, &format!("HostKey {}\n{config}", host_key.display()));
    ssh(&home, &server, &["-c", "true"]).exits(255).says(&["offers only ssh-rsa"]);
    for (config, kind, offer) in [
        (
            "KexAlgorithms diffie-hellman-group14-sha1",
            "key exchange method",
            "diffie-hellman-group14-sha1",
        ),
        ("Ciphers aes256-cbc", "cipher", "aes256-cbc"),
        ("Ciphers aes256-ctr\nMACs hmac-md5", "MAC", "hmac-md5"),
    ] {
        let (home, server) = machine(config);
        let words = format!("found no {kind} in common: the server offers only {offer}");
        ssh(&home, &server, &["-c", "true"]).exits(255).says(&[&words]);
    }
}

#[test]
fn a_server_that_is_too_busy_is_not_taken_for_another_service() {
    let (home, server) = machine("MaxStartups 1:100:1\nLoginGraceTime 60");
    // One connection that never logs in, once the one that looked for the
    // banner is forgotten.
    let mut waiting = None;
    until("a place at the server", || {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let mut start = [0; 4];
        let is_in = stream.read_exact(&mut start).is_ok() && &start == b"SSH-";
        waiting = is_in.then_some(stream);
        is_in
    });
    let done = ssh(&home, &server, &["-c", "true"]).exits(255);
    drop(waiting);
    assert!(!done.stderr.contains("does not speak SSH"), "{}", done.stderr);
    assert!(done.stderr.contains("MaxStartups"), "{}", done.stderr);
}

#[test]
fn a_refused_terminal_or_session_is_explained() {
    let (home, server) = machine("PermitTTY no");
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-t", "-c", "echo", "hello"];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    let before = terminal.settings();
    let code = terminal.exit_code();
    println!("PermitTTY no: {code:?} {}", terminal.text());
    // As ssh(1): it says so, and runs the command all the same.
    assert!(terminal.text().contains("PTY allocation request failed"), "{}", terminal.text());
    assert!(code == Some(0) && terminal.text().contains("hello"), "{}", terminal.text());
    assert_eq!(terminal.settings(), before);

    let (home, server) = machine("MaxSessions 0");
    let done = ssh(&home, &server, &["-c", "true"]).exits(255);
    println!("MaxSessions 0: {}", done.stderr);
    assert!(!done.stderr.is_empty());
}

#[test]
fn a_forced_command_and_an_account_without_a_shell_are_as_with_ssh() {
    let home = Home::new();
    let key = home.default_key();
    let forced = format!("command=\"echo forced $SSH_ORIGINAL_COMMAND; exit 5\" {key}");
    let server = sshd(&home, IP, &forced, "");
    let done = ssh(&home, &server, &["-c", "echo", "a  b"]).exits(5);
    assert!(done.text().starts_with("forced echo"), "{}", done.text());
    let theirs = Command::new("ssh")
        .args(["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o"])
        .arg(format!("UserKnownHostsFile={}", home.path("other_known").display()))
        .args(["-i", home.path("home/.ssh/id_ed25519").to_str().unwrap(), "-p", &server.port()])
        .args(["root@127.0.0.1", "echo 'a  b'"])
        .output()
        .unwrap();
    assert_eq!(theirs.status.code(), Some(5));
    assert_eq!(String::from_utf8_lossy(&theirs.stdout), done.text());
}
