//! Files of known hosts that were made by chance from every feature there is,
//! and from what no one would write: OpenSSH's ssh and our binary have to take
//! the same decision about the same server.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use clan_connect::internals::known_hosts::{KnownHosts, add};

use crate::harness::{Home, Server, run, sshd, start, wait};

const IP: &str = "127.0.0.1";
const FILES: usize = 240;

/// The same numbers in every run.
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// What the lines are made of.
struct Parts {
    hosts: Vec<String>,
    /// Those of which a revoked key counts for OpenSSH as for us.
    revoking: Vec<String>,
    keys: Vec<String>,
    junk: Vec<Vec<u8>>,
}

fn parts(home: &Home, server: &Server) -> Parts {
    let port = server.address.port();
    let name = format!("[{IP}]:{port}");
    let public = |name: &str| {
        let words = home.read(&format!("{name}.pub"));
        words.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    let hashed = |port| {
        let path = home.path("hashed");
        let _ = std::fs::remove_file(&path);
        let key = public("offered").parse().unwrap();
        add(&path, IP, port, &key, true).unwrap();
        home.read("hashed").split_whitespace().next().unwrap().to_owned()
    };
    let revoking = vec![
        name.clone(),
        "*".to_owned(),
        format!("[127.*]:{port}"),
        format!("other,{name}"),
        hashed(port),
        "other".to_owned(),
    ];
    let own = [
        name.clone(),
        name.clone(),
        name.clone(),
        IP.to_owned(),
        "127.?.0.1".to_owned(),
        format!("!{IP},*"),
        format!("*,!{name}"),
        format!("!{name},*"),
        format!("[{IP}]:22"),
        format!("[{IP}]:1"),
        format!("{name},"),
        format!(",{name}"),
        format!("!{name}"),
        format!("[{IP}]"),
        hashed(22),
        "|1|x|y".to_owned(),
        "|2|AAAA|AAAA".to_owned(),
        name.replace('[', "[[").replace(']', "]]"),
        format!("{},{name}", "a".repeat(1100)),
        format!("{},{name}", "a*".repeat(300)),
    ];
    let mut keys: Vec<String> =
        ["offered", "offered", "offered", "stale", "stale", "rsa", "ca", "ca", "other_ca"]
            .map(&public)
            .to_vec();
    let blob = public("offered").split_whitespace().nth(1).unwrap().to_owned();
    keys.extend([
        format!("ssh-rsa {blob}"),
        format!("ssh-ed25519 {}", &blob[..blob.len() - 4]),
        "ssh-ed25519 AAAA".to_owned(),
        "ssh-new AAAAB3NzaC1uZXc=".to_owned(),
        "ssh-ed25519".to_owned(),
        String::new(),
    ]);
    let offered = public("offered");
    let junk = vec![
        b"# a comment".to_vec(),
        Vec::new(),
        b"   \t ".to_vec(),
        format!("# {name} {offered}").into_bytes(),
        format!("  {name}\t\t{offered}  a comment \u{1b}[2J").into_bytes(),
        format!("{name} {offered}\r").into_bytes(),
        format!("{name} 1024 35 1234567890").into_bytes(),
        format!("{name} {} {offered}", "x".repeat(70_000)).into_bytes(),
        b"\xff\xfe\x01 \x80 \x7f".to_vec(),
        b"@".to_vec(),
        b"@revoked".to_vec(),
        b"@cert-authority @revoked * ssh-ed25519 AAAA".to_vec(),
    ];
    Parts { hosts: [&revoking[..], &own].concat(), revoking, keys, junk }
}

fn file(parts: &Parts, chance: &mut Chance) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..=chance.below(5) {
        let line = match chance.below(20) {
            0..=11 => {
                format!("{} {}", chance.of(&parts.hosts), chance.of(&parts.keys)).into_bytes()
            }
            12..=15 => {
                format!("@cert-authority {} {}", chance.of(&parts.hosts), chance.of(&parts.keys))
                    .into_bytes()
            }
            16 | 17 => {
                format!("@revoked {} {}", chance.of(&parts.revoking), chance.of(&parts.keys))
                    .into_bytes()
            }
            18 => format!("@unknown {} {}", chance.of(&parts.hosts), chance.of(&parts.keys))
                .into_bytes(),
            _ => chance.of(&parts.junk).clone(),
        };
        text.extend(line);
        text.extend(match chance.below(12) {
            0 => &b"\r\n"[..],
            1 => b"\n\n",
            _ => b"\n",
        });
    }
    if chance.below(8) == 0 {
        text.pop();
    }
    text
}

/// `accepted`, or why not. A key may be both another one and revoked.
fn verdict(said: &str) -> &'static str {
    match () {
        () if said.contains("ermission denied") => "accepted",
        () if said.contains("REVOKED HOST KEY") => "revoked",
        () if said.contains("HAS CHANGED")
            || said.contains("is known for")
            || said.contains("not known")
            || said.contains("host certificate") =>
        {
            "refused"
        }
        () => panic!("{said}"),
    }
}

fn openssh(server: &Server, known: &Path) -> &'static str {
    let mut command = Command::new("ssh");
    command
        .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "UpdateHostKeys=no"])
        .args(["-o", "PreferredAuthentications=none", "-o", "GlobalKnownHostsFile=/dev/null"])
        .args(["-o", &format!("UserKnownHostsFile={}", known.display())])
        .args(["-o", "StrictHostKeyChecking=yes", "-p", &server.port()])
        .args([&format!("nobody@{IP}"), "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let done = wait(start(&mut command, "openssh-client"));
    verdict(&String::from_utf8_lossy(&done.stderr))
}

fn ours(home: &Home, server: &Server, known: &Path) -> &'static str {
    let target = format!("nobody@{}", server.target());
    let known = known.to_str().unwrap();
    let done = home.run(&[
        "ssh",
        "m",
        "--target-host",
        &target,
        "--host-key-check",
        "strict",
        "--ssh-option",
        "UserKnownHostsFile",
        known,
        "--ssh-option",
        "GlobalKnownHostsFile",
        "none",
        "-c",
        "true",
    ]);
    verdict(&done.exits(255).stderr)
}

#[test]
fn openssh_and_we_decide_alike_whatever_is_in_the_file() {
    println!("{}", run("ssh", &["-V"], "openssh-client"));
    let home = Home::new();
    for (name, kind) in [
        ("offered", "ed25519"),
        ("stale", "ed25519"),
        ("rsa", "rsa"),
        ("ca", "ed25519"),
        ("other_ca", "ed25519"),
    ] {
        home.keygen(name, kind, "");
    }
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let (ca, key) = (path("ca"), path("offered.pub"));
    run("ssh-keygen", &["-q", "-s", &ca, "-I", "x", "-h", "-n", IP, &key], "openssh-client");
    let plain = format!("HostKey {}\nMaxStartups 100\n", path("offered"));
    let certified = format!("{plain}HostCertificate {}\n", path("offered-cert.pub"));
    let servers = [certified, plain].map(|config| sshd(&home, IP, "", &config));
    let [certified, plain] = servers.each_ref().map(|server| parts(&home, server));
    let mut chance = Chance(7);
    let make = |at| {
        let text = file(&certified, &mut chance.clone());
        let mut known = KnownHosts::default();
        known.parse(Path::new(""), &text);
        // We ask for a certificate if an authority is known, OpenSSH always: only
        // where there is one, or none to be had, do both see the same.
        let has_authority = !known.authorities(IP, servers[0].address.port()).is_empty();
        let (server, parts) =
            if has_authority { (&servers[0], &certified) } else { (&servers[1], &plain) };
        (at, server, file(parts, &mut chance))
    };
    let files: Vec<(usize, &Server, Vec<u8>)> = (0..FILES).map(make).collect();
    let with_authority = files.iter().filter(|(_, server, _)| server.address == servers[0].address);
    println!("{} of {FILES} with an authority", with_authority.count());
    let (left, seen) = (Mutex::new(files), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((at, server, text)) = left.lock().unwrap().pop() else { break };
                    let known = home.write(&format!("known/{at}"), &text);
                    let (theirs, ours) = (openssh(server, &known), ours(&home, server, &known));
                    let said = format!("{ours} and not {theirs}, file {at}");
                    let file = String::from_utf8_lossy(&text);
                    assert_eq!(ours == "accepted", theirs == "accepted", "{said}:\n{file}");
                    seen.lock().unwrap().push(theirs);
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    for kind in ["accepted", "refused", "revoked"] {
        let count = seen.iter().filter(|seen| **seen == kind).count();
        println!("{kind}: {count} of {}", seen.len());
        assert!(count > 10, "{kind}");
    }
}
