//! Our reading of known_hosts against OpenSSH's: ssh(1) meets a real sshd(8)
//! with each file, and our decision must be the same; ssh-keygen(1) reads what
//! we write. Needs Debian's `openssh-client` and `openssh-server`; no login.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use clan_connect::internals::hostkey::{
    Decision, HostKeyCheck, HostKeyPolicy, KnownHostsFiles, decide, remember,
};
use clan_connect::internals::known_hosts::{KnownHosts, Verdict, add};
use russh::keys::PublicKey;
use tempfile::TempDir;

/// One sshd on a loopback port with one Ed25519 host key, and spare keys.
struct Server {
    dir: TempDir,
    port: u16,
    sshd: Child,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (name, kind) in [("offered", "ed25519"), ("stale", "ed25519"), ("other", "ecdsa")] {
            let made = run("ssh-keygen", "openssh-client", |command| {
                command.args(["-q", "-t", kind, "-N", "", "-C", "", "-f"]).arg(path(name))
            });
            assert!(made.status.success(), "{}", text(&made.stderr));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nUsePAM no\n",
            path("offered").display()
        );
        fs::write(path("sshd_config"), config).unwrap();
        // Root's sshd wants it, and only its service file creates it.
        let _ = fs::create_dir_all("/run/sshd");
        // Since 9.8, sshd turns away who connects often without a login.
        let mut options = vec!["-o", "PerSourcePenalties=no"];
        let knows = run(&sshd_path().to_string_lossy(), "openssh-server", |command| {
            command.args(["-t", "-f"]).arg(path("sshd_config")).args(&options)
        });
        if !knows.status.success() {
            options.clear();
        }
        let sshd = Command::new(sshd_path())
            .args(["-D", "-e", "-f"])
            .arg(path("sshd_config"))
            .args(options)
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .expect("sshd does not start: apt install openssh-server");
        let mut server = Self { dir, port, sshd };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.sshd.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "sshd: {}",
                fs::read_to_string(server.path("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn key_line(&self, name: &str) -> String {
        let line = fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        line.trim().to_owned()
    }

    fn key(&self, name: &str) -> PublicKey {
        self.key_line(name).parse().unwrap()
    }

    /// `NAME` and `PORT` become the server's, and `E`, `O`, `R` at the end of a
    /// line the offered key, a stale one, one of another type.
    fn write(&self, name: &str, lines: &str) -> PathBuf {
        let mut out = String::new();
        for line in lines.lines() {
            let line = line.replace("NAME", "127.0.0.1").replace("PORT", &self.port.to_string());
            match line.rsplit_once(' ') {
                Some((start, "E")) => out += &format!("{start} {}\n", self.key_line("offered")),
                Some((start, "O")) => out += &format!("{start} {}\n", self.key_line("stale")),
                Some((start, "R")) => out += &format!("{start} {}\n", self.key_line("other")),
                _ => out += &format!("{line}\n"),
            }
        }
        let path = self.path(name);
        fs::write(&path, out).unwrap();
        path
    }

    /// What ssh(1) thinks of the server's key, seen from how it ends: without
    /// any login, an accepted key leads to "Permission denied".
    fn openssh(&self, file: &Path, check: &str) -> &'static str {
        let ended = run("ssh", "openssh-client", |command| {
            command
                .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "UpdateHostKeys=no"])
                .args(["-o", "PreferredAuthentications=none"])
                .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o"])
                .arg(format!("UserKnownHostsFile={}", file.display()))
                .args(["-o", &format!("StrictHostKeyChecking={check}")])
                .args(["-p", &self.port.to_string(), "nobody@127.0.0.1", "true"])
        });
        let said = text(&ended.stderr);
        match () {
            () if said.contains("Permission denied") && said.contains("Permanently added") => "new",
            () if said.contains("Permission denied") => "known",
            () if said.contains("REVOKED HOST KEY") => "revoked",
            () if said.contains("HAS CHANGED") => "changed",
            () if said.contains("No ED25519 host key is known") => "unknown",
            () => panic!("ssh said: {said}"),
        }
    }

    /// The same in our words.
    fn ours(&self, file: &Path, check: HostKeyCheck) -> &'static str {
        let policy = self.policy(file, check);
        let known = policy.load().unwrap();
        let key = self.key("offered");
        match decide(&policy, &known, &key, None) {
            Decision::Accept { remember: true, .. } => "new",
            Decision::Accept { .. } => "known",
            Decision::Reject { changed: false, .. } => "unknown",
            Decision::Reject { .. } => match known.lookup("127.0.0.1", self.port, &key) {
                Verdict::Revoked { .. } => "revoked",
                _ => "changed",
            },
            other => panic!("{other:?}"),
        }
    }

    fn policy(&self, file: &Path, check: HostKeyCheck) -> HostKeyPolicy {
        HostKeyPolicy {
            check,
            name: ("127.0.0.1".into(), self.port),
            files: KnownHostsFiles { user: vec![file.into()], ..Default::default() },
            shown: "127.0.0.1".into(),
            allow_first_use: true,
            ..HostKeyPolicy::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

const FILES: &[&str] = &[
    "",
    "[NAME]:PORT E",
    "[NAME]:PORT O",
    "[NAME]:PORT R",
    "[NAME]:PORT O\n[NAME]:PORT E",
    "[NAME]:PORT E\n[NAME]:PORT O",
    "[NAME]:PORT R\n[NAME]:PORT O\n[NAME]:PORT E",
    "NAME E",
    "NAME O",
    "NAME R",
    "[NAME]:PORT O\nNAME E",
    "[NAME]:PORT R\nNAME E",
    "[NAME]:PORT E\nNAME O",
    "[NAME]:22 E",
    "[NAME]:1 E",
    "* E",
    "* O",
    "127.?.0.1 E",
    "[127.*]:PORT E",
    "*,!NAME E",
    "*,![NAME]:PORT E",
    "!other E",
    "other,[NAME]:PORT,third E",
    "other,,[NAME]:PORT E",
    "  \t[NAME]:PORT\t E",
    "# [NAME]:PORT E",
    "#\n\n[NAME]:PORT E",
    "[NAME]:PORT 1024 35 123456789\n[NAME]:PORT E",
    "[NAME]:PORT ssh-new AAAA",
    "@unknown [NAME]:PORT O\n[NAME]:PORT E",
    "@revoked @cert-authority [NAME]:PORT E\n[NAME]:PORT E",
    "@revoked [NAME]:PORT E",
    "[NAME]:PORT E\n@revoked [NAME]:PORT E",
    "[NAME]:PORT E\n@revoked * E",
    "[NAME]:PORT O\n@revoked * E",
    "[NAME]:PORT E\n@revoked * O",
    "@revoked other E\n[NAME]:PORT E",
    "@cert-authority [NAME]:PORT E",
    "@cert-authority [NAME]:PORT O",
    "@cert-authority * O\n[NAME]:PORT R",
];

#[test]
fn every_file_means_to_us_what_it_means_to_openssh() {
    print_version();
    let server = Server::start();
    for lines in FILES {
        for (word, check) in [("yes", HostKeyCheck::Strict), ("accept-new", HostKeyCheck::Tofu)] {
            let file = server.write("kh", lines);
            let ours = server.ours(&file, check);
            assert_eq!(ours, server.openssh(&file, word), "{word} with\n{lines}");
        }
    }
}

#[test]
fn a_revoked_key_is_revoked_on_every_port_unlike_in_openssh() {
    let server = Server::start();
    let file = server.write("kh", "[NAME]:PORT E\n@revoked NAME E");
    assert_eq!(server.openssh(&file, "yes"), "known");
    assert_eq!(server.ours(&file, HostKeyCheck::Strict), "revoked");
}

#[test]
fn openssh_knows_what_we_remember_and_we_what_it_does() {
    let server = Server::start();
    for hash_names in [false, true] {
        let file = server.write("kh", "# no newline at the end\nother O");
        fs::write(&file, fs::read_to_string(&file).unwrap().trim_end()).unwrap();
        let mut policy = server.policy(&file, HostKeyCheck::Tofu);
        policy.files.hash_names = hash_names;
        remember(&policy, &server.key("offered")).unwrap();
        assert_eq!(server.openssh(&file, "yes"), "known");
    }
    let file = server.path("by-ssh");
    assert_eq!(server.openssh(&file, "accept-new"), "new");
    assert_eq!(server.ours(&file, HostKeyCheck::Strict), "known");
    let hashed = keygen(&["-H"], &file);
    assert!(hashed.status.success(), "{}", text(&hashed.stderr));
    assert!(fs::read_to_string(&file).unwrap().starts_with("|1|"));
    assert_eq!(server.ours(&file, HostKeyCheck::Strict), "known");
}

#[test]
fn ssh_keygen_finds_and_removes_what_we_write() {
    let server = Server::start();
    let file = server.path("kh");
    for (hashed, name) in [(false, "plain.example"), (true, "hashed.example")] {
        for port in [22, 2222] {
            add(&file, name, port, &server.key("offered"), hashed).unwrap();
        }
    }
    for name in ["plain.example", "[plain.example]:2222", "hashed.example", "[hashed.example]:2222"]
    {
        assert!(keygen(&["-F", name], &file).status.success(), "{name}");
        assert!(keygen(&["-R", name], &file).status.success(), "{name}");
        assert!(!keygen(&["-F", name], &file).status.success(), "{name}");
    }
    let known = KnownHosts::load([&file]).unwrap();
    assert_eq!(known.lookup("plain.example", 22, &server.key("offered")), Verdict::Unknown);
}

fn keygen(args: &[&str], file: &Path) -> Output {
    run("ssh-keygen", "openssh-client", |command| command.args(args).arg("-f").arg(file))
}

fn run(program: &str, package: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Output {
    let mut command = Command::new(program);
    with(&mut command);
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; apt install {package}"))
}

/// sshd(8) wants its absolute path, and is often not in a user's PATH.
fn sshd_path() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join("sshd"))
        .find(|file| file.is_absolute() && file.exists())
        .expect("no sshd: apt install openssh-server")
}

fn print_version() {
    println!("{}", text(&run("ssh", "openssh-client", |command| command.arg("-V")).stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
