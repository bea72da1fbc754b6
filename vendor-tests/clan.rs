//! The whole way of `ssh MACHINE` in clans as Clan writes them, the real data
//! of Clan itself, and every bad input with its message.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Home, Run, Server, found_below, free_port, run, sshd, start, until, wait};
use serde_json::json;
use sha2::{Digest, Sha256};

/// A loopback address that occurs nowhere by itself.
pub const SECRET_HOST: &str = "127.83.19.7";

/// A clan in `home/clan`: an age identity as the user's, and machine
/// `my_cool_machine` with a key of its own, made by Go's age.
pub fn clan(home: &Home) -> PathBuf {
    let clan = home.path("clan");
    home.write("clan/.clan-flake", "");
    let identity = home.path("home/.config/age/identities");
    fs::create_dir_all(identity.parent().unwrap()).unwrap();
    run("age-keygen", &["-o", identity.to_str().unwrap()], "age");
    let machine = home.path("machine.txt");
    run("age-keygen", &["-o", machine.to_str().unwrap()], "age");
    let key = "clan/secrets/age-keys/machines/my_cool_machine/key.age";
    seal(home, &public(&identity), &fs::read(&machine).unwrap(), key);
    clan
}

fn public(identity: &Path) -> String {
    let key = run("age-keygen", &["-y", identity.to_str().unwrap()], "age");
    key.trim().to_owned()
}

/// Encrypts with the real age program.
pub fn seal(home: &Home, recipient: &str, plain: &[u8], to: &str) -> PathBuf {
    let path = home.write(to, "");
    let mut command = Command::new("age");
    command.args(["-r", recipient, "-o"]).arg(&path).stdin(std::process::Stdio::piped());
    let mut child = start(&mut command, "age");
    child.stdin.take().unwrap().write_all(plain).unwrap();
    assert!(wait(child).status.success());
    path
}

/// Encrypts for the identity of the user that [`clan`] has made.
pub fn seal_for_user(home: &Home, plain: &[u8], to: &str) -> PathBuf {
    seal(home, &public(&home.path("home/.config/age/identities")), plain, to)
}

/// The var of the walkthrough: the machine's onion name, as the blog has it.
pub fn seal_host(home: &Home, host: &str) -> PathBuf {
    let var = "clan/secrets/clan-vars/per-machine/my_cool_machine/tor_tor/hostname/hostname.age";
    seal(home, &public(&home.path("machine.txt")), format!("{host}\n").as_bytes(), var)
}

/// Exports in the blog's shape, with a higher network that refuses. The blog
/// has no module; its name alone would make the second one tor.
pub fn blog_exports(home: &Home, port: u16) -> String {
    let var = json!({ "machine": "my_cool_machine", "generator": "tor_tor", "file": "hostname" });
    let exports = json!({
        "blabla": {},
        "internet": { "priority": 1000, "peers": { "my_cool_machine": {
            "SSHOptions": [], "name": "my_cool_machine",
            "host": { "plain": "127.0.0.1" }, "port": free_port("127.0.0.1"),
        } } },
        "hidden": { "priority": 10, "peers": { "my_cool_machine": {
            "SSHOptions": [], "name": "my_cool_machine", "host": { "var": var }, "port": port,
        } } },
    });
    home.write("clan/exports.json", exports.to_string()).to_str().unwrap().to_owned()
}

/// The blog's clan, with its machine at a secret host: the server there, and the exports.
pub fn secret_machine(home: &Home) -> (Server, String) {
    let key = home.default_key();
    clan(home);
    seal_host(home, SECRET_HOST);
    let server = sshd(home, SECRET_HOST, &key, "");
    let exports = blog_exports(home, server.address.port());
    (server, exports)
}

fn in_clan(home: &Home, args: &[&str]) -> Run {
    let clan = home.path("clan");
    home.run(&[&["--flake", clan.to_str().unwrap()], args].concat())
}

#[test]
fn the_blogs_walkthrough_works_and_the_secret_host_is_nowhere() {
    let home = Home::new();
    let (server, exports) = secret_machine(&home);
    let listed = in_clan(&home, &["--exports", &exports, "network", "list"]).exits(0).text();
    assert!(listed.lines().next().unwrap().starts_with("Network"), "{listed}");
    assert!(listed.contains("hidden") && listed.contains("my_cool_machine"), "{listed}");

    let name = run("hostname", &[], "hostname");
    // What the server and the test themselves wrote may hold the host.
    let watched = [home.path("home"), home.path("clan")];
    for verbosity in ["-q", "-v", "-vv", "-vvv"] {
        let args = ["--exports", &exports, verbosity, "ssh", "my_cool_machine", "-c", "hostname"];
        let done = in_clan(&home, &args).exits(0);
        assert_eq!(done.text(), name);
        assert!(!done.stderr.contains(SECRET_HOST), "{}", done.stderr);
        if verbosity != "-q" {
            let done = done.says(&["over network hidden", "<secret: tor_tor/hostname>"]);
            assert!(done.stderr.contains("failed: internet"), "{}", done.stderr);
        }
        for dir in &watched {
            assert_eq!(found_below(dir, SECRET_HOST), Vec::<PathBuf>::new(), "{verbosity}");
        }
    }
    let known = home.read("home/.ssh/known_hosts");
    assert!(known.starts_with("my_cool_machine ssh-ed25519 "), "{known}");

    // Neither is it in the process while it runs, nor in an error.
    let mut child = home
        .command(&[
            "--flake",
            home.path("clan").to_str().unwrap(),
            "--exports",
            &exports,
            "ssh",
            "my_cool_machine",
            "-c",
            "sh",
            "-c",
            "echo up; sleep 2",
        ])
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{file}", child.id())).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(SECRET_HOST), "{file}");
    }
    assert!(wait(child).status.success());
    drop(server);
    let args = ["--exports", &exports, "-vvv", "ssh", "my_cool_machine", "-c", "hostname"];
    let done = in_clan(&home, &args).exits(255).says(&["hidden via <secret: tor_tor/hostname>"]);
    assert!(!done.stderr.contains(SECRET_HOST), "{}", done.stderr);
    // Only who asks for it sees it.
    let args =
        ["--exports", &exports, "--show-secrets", "ssh", "my_cool_machine", "-c", "hostname"];
    in_clan(&home, &args).exits(255).says(&[SECRET_HOST]);
}

/// A machine that this clan has, for what all of them share.
fn some_machine(flake: &Path) -> String {
    let folders = [
        "vars/per-machine",
        "machines",
        "sops/machines",
        "secrets/age-keys/machines",
        "secrets/clan-vars/per-machine",
    ];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(flake.join(folder)).ok());
    let names = entries.flatten().flatten().map(|entry| entry.file_name());
    names.min().map_or("any".to_owned(), |name| name.into_string().unwrap())
}

#[test]
fn every_value_of_clans_own_data_comes_out_byte_for_byte() {
    let Some(data) = crate::test_data::clan() else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(data.join("manifest.json")).unwrap()).unwrap();
    let all = |name: &str| manifest[name].as_array().unwrap().clone();
    let home = Home::new();
    let mut seen = 0;
    for entry in all("secrets").iter().chain(&all("public_values")) {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let of_age_store = text("backend") == "age" && text("kind") == "var";
        if !(of_age_store || text("backend").is_empty()) {
            continue;
        }
        let flake = data.join("flakes").join(text("flake"));
        let var = format!("{}/{}", text("generator"), text("file"));
        let some = some_machine(&flake);
        let machine = entry["machine"].as_str().unwrap_or(&some);
        let mut args = vec!["--flake", flake.to_str().unwrap()];
        let files: Vec<String> = entry["identity_files"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|file| data.join("keys").join(file.as_str().unwrap()).display().to_string())
            .collect();
        for file in &files {
            args.extend(["--identity", file]);
        }
        args.extend(["vars", "get", machine, &var]);
        let done = home.run(&args).exits(0);
        let digest: String =
            Sha256::digest(&done.stdout).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, text("sha256"), "{}", text("path"));
        seen += 1;
    }
    assert!(seen >= 12 + 32, "{seen} values");
}

#[test]
fn a_clan_that_is_not_there_is_explained() {
    let home = Home::new();
    home.run(&["ssh", "m"]).exits(255).says(&["no clan found", "--flake DIR"]);
    home.run(&["network", "list"]).exits(1).says(&["no clan found"]);
    home.run(&["--flake", "missing", "ssh", "m"]).exits(255).says(&["missing"]);
    home.run(&["--flake", "home", "ssh", "m"]).exits(255).says(&["is not a clan"]);
    home.write("clan/.clan-flake", "");
    in_clan(&home, &["ssh", "m"]).exits(255).says(&["no exports", "exports snapshot"]);
    home.run(&["--exports", "missing.json", "ssh", "m"]).exits(255).says(&["missing.json"]);
    home.write("bad.json", "{\"internet\": ");
    home.run(&["--exports", "bad.json", "network", "list"]).exits(1).says(&["bad.json"]);
    home.run(&["network", "frobnicate"]).exits(2);
    home.run(&["ssh"]).exits(255);
}

#[test]
fn machines_and_networks_that_are_not_there_are_explained() {
    let home = Home::new();
    let host = json!({ "plain": "127.0.0.1" });
    let exports = json!({
        "office": { "priority": 5, "peers": { "web01": { "host": host }, "lonely": { "hosts": [] } } },
        "odd": { "peers": { "web01": { "host": host, "port": 70000 }, "db01": { "host": 7 } } },
    });
    home.write("exports.json", exports.to_string());
    let ssh = |args: &[&str]| home.run(&[&["--exports", "exports.json", "ssh"], args].concat());
    ssh(&["wbe01"]).exits(255).says(&["unknown machine \"wbe01\"", "did you mean \"web01\""]);
    ssh(&["lonely"]).exits(255).says(&["lonely", "--target-host"]);
    ssh(&["db01"]).exits(255).says(&["db01", "odd", "host"]);
    ssh(&["web01", "--network", "offcie"]).exits(255).says(&["did you mean \"office\""]);
    // A malformed entry is named and takes nothing else down.
    let listed = home.run(&["--exports", "exports.json", "network", "list"]).exits(0);
    assert!(listed.text().contains("office"), "{}", listed.text());
    listed.says(&["web01", "port", "70000"]);
}

#[test]
fn a_clan_with_many_problems_is_told_of_some() {
    let home = Home::new();
    let peers: Vec<String> = (0..300).map(|at| format!("\"m{at}\": 1")).collect();
    let exports = format!("{{\"n\": {{\"peers\": {{{}}}}}}}", peers.join(","));
    home.write("e.json", exports);
    let done = home.run(&["--exports", "e.json", "network", "list"]).exits(0);
    assert_eq!(done.stderr.matches("warning: ").count(), 21, "{}", done.stderr);
    done.says(&["280 further problems"]);
}

#[test]
fn vars_that_cannot_be_had_are_explained() {
    let home = Home::new();
    clan(&home);
    let exports = blog_exports(&home, 1);
    let ssh = || {
        in_clan(&home, &["--exports", &exports, "ssh", "my_cool_machine", "--network", "hidden"])
    };
    ssh().exits(255).says(&[
        "tor_tor/hostname",
        "has not been generated",
        "clan machines update my_cool_machine",
        "--target-host",
    ]);
    let sealed = seal_host(&home, SECRET_HOST);
    fs::rename(home.path("home/.config/age/identities"), home.path("hidden-identity")).unwrap();
    ssh().exits(255).says(&["cannot decrypt", "no identity", "--identity FILE"]);
    run("age-keygen", &["-o", home.path("other.txt").to_str().unwrap()], "age");
    let other = home.path("other.txt");
    let args = [
        "--identity",
        other.to_str().unwrap(),
        "vars",
        "get",
        "my_cool_machine",
        "tor_tor/hostname",
    ];
    in_clan(&home, &args).exits(1).says(&["cannot decrypt", "tried", "other.txt"]);
    fs::rename(home.path("hidden-identity"), home.path("home/.config/age/identities")).unwrap();
    let bytes = fs::read(&sealed).unwrap();
    fs::write(&sealed, &bytes[..bytes.len() / 2]).unwrap();
    ssh().exits(255).says(&["hostname.age", "truncated"]);
    let args = ["vars", "get", "my_cool_machine", "../../secrets"];
    in_clan(&home, &args).exits(1).says(&["invalid var name"]);
}

#[test]
fn ways_that_lead_nowhere_are_explained() {
    let home = Home::new();
    let ssh = |target: &str, more: &[&str]| {
        home.run(&[&["ssh", "m", "--target-host", target], more, &["-c", "true"]].concat())
    };
    let refused = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    ssh(&refused, &[]).exits(255).says(&["connection refused", "is sshd running"]);
    ssh("no.such.name.invalid", &[]).exits(255).says(&["could not resolve hostname"]);
    ssh("-oProxyCommand=x", &[]).exits(255);
    ssh("host?ProxyCommand=x", &[]).exits(255).says(&["ProxyCommand"]);

    for (answer, reason) in [
        (b"".as_slice(), "no SSH banner came in time"),
        (b"\x00\xff\x1b[31m garbage\n".repeat(9000).as_slice(), "does not speak SSH"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), "no SSH banner came in time"),
        (b"SSH-1.5-old\r\n".as_slice(), "only SSH 1"),
        (b"SSH-2.0-liar\r\n\x00\x00\x00\x00garbage".as_slice(), "key exchange"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let answer = answer.to_vec();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(&answer);
            let mut rest = Vec::new();
            // A closed stream and a reset one are both the end.
            let _ = stream.read_to_end(&mut rest);
        });
        let started = Instant::now();
        let done = ssh(&target, &["--timeout", "1"]).exits(255).says(&[reason]);
        assert!(!done.stderr.contains('\x1b'), "{}", done.stderr);
        assert!(started.elapsed() < Duration::from_secs(15), "{reason}: {:?}", started.elapsed());
        peer.join().unwrap();
    }
}

#[test]
fn a_black_hole_does_not_hold_up_the_network_below_it() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, "127.0.0.1", &key, "");
    // A listener that accepts nobody: once its queue is full, nothing answers.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hole.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))
    {
        queued.push(stream);
        assert!(queued.len() < 10_000);
    }
    let peer = |port: u16| json!({ "m": { "host": { "plain": "127.0.0.1" }, "port": port } });
    let exports = json!({
        "hole": { "priority": 2, "peers": peer(address.port()) },
        "good": { "priority": 1, "peers": peer(server.address.port()) },
    });
    home.write("exports.json", exports.to_string());
    let args = ["--exports", "exports.json", "-v", "ssh", "m", "-c", "true"];
    let alone = Instant::now();
    home.run(&["--exports", "exports.json", "ssh", "m", "--network", "good", "-c", "true"])
        .exits(0);
    let alone = alone.elapsed();
    let started = Instant::now();
    let done = home.run(&args).exits(0).says(&["trying hole", "over network good"]);
    let elapsed = started.elapsed();
    assert!(elapsed < alone + Duration::from_millis(600), "{elapsed:?}: {}", done.stderr);
    // The black hole alone costs the timeout and no more.
    let args = [
        "--exports",
        "exports.json",
        "ssh",
        "m",
        "--network",
        "hole",
        "--timeout",
        "1",
        "-c",
        "true",
    ];
    let started = Instant::now();
    home.run(&args).exits(255).says(&["hole via 127.0.0.1 port ", ": connection timed out"]);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    until("the log", || server.log().contains("Accepted publickey"));
}
