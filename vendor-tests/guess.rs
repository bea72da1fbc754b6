//! The guess at what a server prefers that was met before (RFC 4253, section 7): right,
//! it spares a flight; wrong, it costs none and nobody notices. Beside OpenSSH's sshd, old
//! and new, and what may be in its place one day.

use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Stdio};

use crate::early_answers::Early;
use crate::harness::{
    Account, BINARY, Home, Run, Server, THEIRS, dropbear_with_key, newer_sshd, noise, returns, run,
    sshd, start, wait,
};
use crate::round_trips::{COMMAND, FarLink, WAY};

const IP: &str = "127.0.0.1";
/// Where it is remembered.
const MEMORY: &str = "home/.cache/clan-connect/servers.json";
/// What OpenSSH 10 with one key puts first, and what is ours.
const NEW: &str = "mlkem768x25519-sha256 ssh-ed25519";
/// A method that every server here has.
const CURVE: &str = "KexAlgorithms=curve25519-sha256";
/// How sshd says whether a guess follows.
const FOLLOWS: &str = "first_kex_follows 1";

/// One machine, with one host key whatever runs on it, and our client.
struct Machine {
    home: Home,
    key: String,
    host_key: String,
}

impl Machine {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        let host_key = home.keygen("host/ed25519", "ed25519", "").display().to_string();
        std::fs::create_dir_all(home.path("bin")).unwrap();
        symlink(BINARY, home.path("bin/ssh")).unwrap();
        let path = |name: &str| home.path(name).display().to_string();
        let text = format!(
            "HostKeyAlias machine\nUser root\nHostName {IP}\nStrictHostKeyChecking accept-new\n\
             UpdateHostKeys no\nGlobalKnownHostsFile /dev/null\nUserKnownHostsFile {}\n\
             IdentityFile {}\nIdentitiesOnly yes\nBatchMode yes\n",
            path("home/.ssh/known_hosts"),
            path("home/.ssh/id_ed25519")
        );
        home.write("home/.ssh/config", text);
        Self { home, key, host_key }
    }

    fn config(&self, more: &str) -> String {
        format!("LogLevel DEBUG3\nHostKey {}\n{more}", self.host_key)
    }

    fn sshd(&self, more: &str) -> Server {
        sshd(&self.home, IP, &self.key, &self.config(more))
    }

    fn newer(&self, more: &str) -> Server {
        newer_sshd(&self.home, IP, &self.key, &self.config(more))
    }

    fn command(&self, ssh: &str, port: u16, args: &[&str]) -> Command {
        let mut command = Command::new(ssh);
        let config = self.home.path("home/.ssh/config");
        command.arg("-F").arg(config).args(["-p", &port.to_string()]).args(args).env_clear();
        command.env("HOME", self.home.path("home")).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn ours(&self) -> String {
        self.home.path("bin/ssh").display().to_string()
    }

    fn run(&self, server: &Server, args: &[&str]) -> Run {
        self.run_at(server.address.port(), args)
    }

    fn run_at(&self, port: u16, args: &[&str]) -> Run {
        let args = [args, &["machine", "echo hi"]].concat();
        Run::of(wait(start(&mut self.command(&self.ours(), port, &args), "")))
    }

    /// The flights until a command's output is there.
    fn flights(&self, server: &Server, args: &[&str]) -> u32 {
        let link = FarLink::to(server.address, WAY);
        let args = [args, &["machine", COMMAND]].concat();
        link.flights(self.command(&self.ours(), link.address.port(), &args)).0
    }

    /// What is remembered of the one server.
    fn met(&self) -> String {
        let text = self.home.read(MEMORY);
        let value = text.split('"').nth(3).unwrap_or_default().to_owned();
        assert!(text.matches(':').count() <= 1, "{text}");
        value
    }

    /// Has it remember something else of it.
    fn believe(&self, value: &str) {
        let text = self.home.read(MEMORY);
        let met = self.met();
        assert!(!met.is_empty(), "{text}");
        self.home.write(MEMORY, text.replace(&met, value));
    }
}

fn guesses(server: &Server) -> usize {
    server.log().matches(FOLLOWS).count()
}

#[test]
fn a_server_that_was_met_before_is_heard_of_a_flight_sooner() {
    let machine = Machine::new();
    let server = machine.newer("");
    assert_eq!(machine.flights(&server, &[]), 3);
    assert_eq!((machine.met().as_str(), guesses(&server)), (NEW, 0));
    for args in [&[][..], &["-oSetEnv=LC_A=b"], &["-oServerAliveInterval=9"]] {
        assert_eq!(machine.flights(&server, args), 2, "{args:?}");
    }
    assert_eq!(guesses(&server), 3);
    // Nothing is sent ahead, or what the server prefers is not wanted.
    assert!(machine.flights(&server, &["-oPipelining=no"]) > 3);
    assert_eq!(machine.flights(&server, &["-o", CURVE]), 3);
    assert_eq!(guesses(&server), 3);
    // Nor where its key is not known.
    let nowhere = "-oUserKnownHostsFile=/dev/null";
    assert_eq!(machine.flights(&server, &[nowhere]), 3);
    assert_eq!(guesses(&server), 3);
    // Only who is the user reads it, and it names nobody.
    let path = machine.home.path(MEMORY);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    let text = machine.home.read(MEMORY);
    let blob = machine.home.read("host/ed25519.pub");
    let blob = blob.split(' ').nth(1).unwrap();
    for name in ["machine", IP, blob, &server.port()] {
        assert!(!text.contains(name), "{text}");
    }
    // Who has no host remembered has nothing else remembered of it.
    let kept = machine.home.read(MEMORY);
    std::fs::remove_file(machine.home.path(MEMORY)).unwrap();
    machine.run(&server, &[nowhere]).exits(0);
    assert_eq!(machine.met(), "");
    machine.home.write(MEMORY, kept);
}

#[test]
fn a_right_guess_is_right_with_old_servers_and_other_methods() {
    let machine = Machine::new();
    for kex in ["curve25519-sha256", "ecdh-sha2-nistp384", "diffie-hellman-group14-sha256"] {
        let server = machine.sshd(&format!("KexAlgorithms {kex}\n"));
        let ours = format!("-oKexAlgorithms={kex}");
        assert_eq!(machine.flights(&server, &[&ours]), 3, "{kex}");
        assert_eq!(machine.flights(&server, &[&ours]), 2, "{kex}");
        assert_eq!(guesses(&server), 1);
    }
    // What a group exchange begins with says nothing yet.
    let kex = "diffie-hellman-group-exchange-sha256";
    let server = machine.sshd(&format!("KexAlgorithms {kex}\n"));
    let ours = format!("-oKexAlgorithms={kex}");
    for _ in 0..2 {
        assert_eq!(machine.flights(&server, &[&ours]), 4);
    }
    assert_eq!(guesses(&server), 0);
}

#[test]
fn a_wrong_guess_costs_no_flight_and_is_not_made_twice() {
    let machine = Machine::new();
    machine.home.keygen("host/rsa", "rsa", "");
    let rsa = format!("HostKey {}\n", machine.home.path("host/rsa").display());
    let newer = machine.newer("");
    machine.run(&newer, &[]).exits(0);
    assert_eq!(machine.met(), NEW);
    let order = "KexAlgorithms curve25519-sha256,mlkem768x25519-sha256\n";
    let curve = "KexAlgorithms curve25519-sha256\n";
    let old = "KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256\n";
    // The machine got an older sshd, another order of methods, or of keys.
    for (server, believed, args, met) in [
        (machine.sshd(old), NEW, &[][..], "sntrup761x25519-sha512@openssh.com ssh-ed25519"),
        (machine.newer(order), NEW, &[], "curve25519-sha256 ssh-ed25519"),
        (machine.newer(curve), NEW, &[], "curve25519-sha256 ssh-ed25519"),
        (
            sshd(&machine.home, IP, &machine.key, &(rsa.clone() + &machine.config(curve))),
            "curve25519-sha256 ssh-ed25519",
            &["-o", CURVE],
            "curve25519-sha256 rsa-sha2-512",
        ),
    ] {
        machine.believe(believed);
        assert_eq!(machine.flights(&server, args), 3, "{met}");
        assert_eq!((machine.met().as_str(), guesses(&server)), (met, 1));
        machine.run(&server, args).exits(0);
        assert_eq!(guesses(&server), 1, "{met}");
    }
}

#[test]
fn a_machine_that_has_lost_the_key_it_is_expected_by_is_met_anew() {
    let machine = Machine::new();
    machine.home.keygen("host/rsa", "rsa", "");
    let rsa = format!("HostKey {}\n", machine.home.path("host/rsa").display());
    let newer = machine.newer(&rsa);
    machine.run(&newer, &["-oUpdateHostKeys=no"]).exits(0);
    assert_eq!(machine.met(), NEW);
    // The user knows both keys, and now there is one, in front of which nothing is.
    let line = machine.home.read("host/rsa.pub");
    let known = machine.home.read("home/.ssh/known_hosts");
    machine.home.write("home/.ssh/known_hosts", format!("{known}machine {line}"));
    let only = newer_sshd(&machine.home, IP, &machine.key, &format!("LogLevel DEBUG3\n{rsa}"));
    machine.run(&only, &[]).exits(0);
    assert_eq!(guesses(&only), 1);
    assert_eq!(machine.met(), "mlkem768x25519-sha256 rsa-sha2-512");
    machine.run(&only, &[]).exits(0);
    assert_eq!(guesses(&only), 1);
}

#[test]
fn sequence_numbers_hold_after_a_guess_and_keys_are_exchanged_again_without() {
    let machine = Machine::new();
    let data = noise(5 << 20);
    let (newer, older) = (machine.newer(""), machine.sshd(""));
    machine.run(&newer, &[]).exits(0);
    for server in [&newer, &older] {
        machine.believe(NEW);
        let args = ["-oRekeyLimit=1M", "machine", "cat"];
        let mut command = machine.command(&machine.ours(), server.address.port(), &args);
        returns(&mut command, &data);
        let log = server.log();
        assert_eq!(guesses(server), 1);
        assert!(log.contains("will use strict KEX ordering"), "{log}");
        assert!(
            log.matches("rekeying in progress").count() > 0
                || log.matches("NEWKEYS sent").count() > 2
        );
    }
}

#[test]
fn who_is_there_instead_is_spoken_to_in_its_own_way() {
    let account = Account::new("ccguess");
    let machine = Machine::new();
    account.authorize(&machine.key);
    let newer = machine.newer("");
    let meet = || {
        machine.run(&newer, &[]).exits(0);
        assert_eq!(machine.met(), NEW);
    };
    // Dropbear, which passes over a wrong guess and takes a right one.
    let dropbear = dropbear_with_key(&machine.home, &machine.host_key);
    let curve = ["-l", &account.name, "-oKexAlgorithms=^curve25519-sha256"];
    for (believed, args) in [(NEW, &curve[..2]), ("curve25519-sha256 ssh-ed25519", &curve)] {
        meet();
        machine.believe(believed);
        assert_eq!(machine.run(&dropbear, args).exits(0).text(), "hi\n");
        // It is remembered of OpenSSH alone.
        assert_eq!(machine.met(), "");
        assert_eq!(machine.run(&dropbear, args).exits(0).text(), "hi\n");
        assert_eq!(machine.met(), "");
    }
    // One that knows nothing of guesses, and breaks on a wrong one.
    meet();
    let home = Home::new();
    let host_key = home.write("host_key", std::fs::read(&machine.host_key).unwrap());
    run("chmod", &["600", host_key.to_str().unwrap()], "coreutils");
    let other = Early::at(home, "honest", host_key.to_str().unwrap());
    let port = other.server.port.parse().unwrap();
    let second = machine.home.keygen("second", "ed25519", "").display().to_string();
    let args = ["-v", "-i", &second, "-oKexAlgorithms=mlkem768x25519-sha256,ecdh-sha2-nistp256"];
    let done = machine.run_at(port, &args).exits(0).says(&["failed: "]);
    assert_eq!((done.text().as_str(), machine.met().as_str()), ("hi\n", ""));
}

#[test]
fn whatever_the_file_says_the_connection_comes_about() {
    let machine = Machine::new();
    let server = machine.newer("");
    machine.run(&server, &[]).exits(0);
    let good = machine.home.read(MEMORY);
    for text in [
        String::new(),
        "{".to_owned(),
        "[1]".to_owned(),
        "x".repeat(3 << 20),
        good.replace(NEW, "none ssh-ed25519"),
        good.replace(NEW, "none none"),
        good.replace(NEW, "diffie-hellman-group1-sha1 ssh-dss"),
        good.replace(NEW, "mlkem768x25519-sha256 ssh-rsa"),
        good.replace(NEW, " "),
        good.replace(NEW, "\\u0000 \\u001b[2J"),
        good.replace(NEW, &"y ".repeat(9000)),
    ] {
        machine.home.write(MEMORY, &text);
        assert_eq!(machine.run(&server, &[]).exits(0).text(), "hi\n", "{text:.60}");
        assert_eq!((machine.met().as_str(), guesses(&server)), (NEW, 0), "{text:.60}");
    }
    // A file that somebody else could write is none.
    let path = machine.home.path(MEMORY);
    run("chmod", &["666", path.to_str().unwrap()], "coreutils");
    machine.run(&server, &[]).exits(0);
    assert_eq!(guesses(&server), 0);
    run("chmod", &["600", path.to_str().unwrap()], "coreutils");
    machine.run(&server, &[]).exits(0);
    assert_eq!(guesses(&server), 1);
}

#[test]
fn hosts_on_the_way_are_met_again_as_well() {
    let machine = Machine::new();
    let server = machine.newer("AllowTcpForwarding yes\n");
    let link = FarLink::to(server.address, WAY);
    let port = link.address.port().to_string();
    let text = format!(
        "Host far\n  Port {port}\nHost near\n  Port {}\nHost *\n{}",
        server.port(),
        machine.home.read("home/.ssh/config")
    );
    machine.home.write("home/.ssh/config", text);
    let command = || {
        let mut command = Command::new(machine.ours());
        command.arg("-F").arg(machine.home.path("home/.ssh/config"));
        command.args(["-J", "far", "near", COMMAND]).env_clear();
        command.env("HOME", machine.home.path("home")).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let first = link.flights(command()).0;
    let second = link.flights(command()).0;
    println!("-J: {first} flights, then {second}");
    // They have one key: the second of them was met in the first run already.
    assert_eq!((first, second), (5, 4));
}

#[test]
#[ignore = "a measurement: prints the medians at round trips of 100 and 300 ms"]
fn the_time_of_a_command_beside_openssh() {
    let machine = Machine::new();
    let path = |name: &str| machine.home.path(name).display().to_string();
    let (never, empty) = (path("never"), path("nobody"));
    std::fs::create_dir_all(&empty).unwrap();
    for way in [50, 150] {
        for (what, server) in [("9.2", machine.sshd("")), ("10.0", machine.newer(""))] {
            let link = FarLink::to(server.address, std::time::Duration::from_millis(way));
            let port = link.address.port();
            let time = |ssh: &str, args: &[&str], is_new: bool| {
                let mut times = Vec::new();
                for _ in 0..5 {
                    let mut command =
                        machine.command(ssh, port, &[args, &["machine", COMMAND]].concat());
                    if is_new {
                        let _ = std::fs::remove_file(&never);
                        command.env("HOME", &empty);
                    }
                    times.push(link.flights(command));
                }
                times.sort_by_key(|(_, elapsed)| *elapsed);
                times[2]
            };
            let known = format!("-oUserKnownHostsFile={never}");
            let _ = time(&machine.ours(), &[], false);
            let ours = time(&machine.ours(), &[&known], true);
            let theirs = time(THEIRS, &[&known], true);
            let again = time(&machine.ours(), &[], false);
            let theirs_again = time(THEIRS, &[], false);
            let ratio = |ours: std::time::Duration, theirs: std::time::Duration| {
                ours.as_secs_f64() / theirs.as_secs_f64()
            };
            println!(
                "sshd {what}, {} ms: never met {ours:?} beside {theirs:?}, {:.2}; met \
                 {again:?} beside {theirs_again:?}, {:.2}",
                way * 2,
                ratio(ours.1, theirs.1),
                ratio(again.1, theirs_again.1)
            );
        }
    }
}
