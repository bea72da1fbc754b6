//! Wherever a clan has the host keys of a machine, they count for whatever address is
//! dialled: every kind of clan, in every way of naming it, before a real sshd that is
//! another machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{BINARY, Home, Run, Server, Terminal, run, sshd, start, until, wait};

const IP: &str = "127.0.0.1";
const CHANGED: &str = "REMOTE HOST IDENTIFICATION HAS CHANGED";
const VALUE: &str = "vars/per-machine/m/openssh/ssh.id_ed25519.pub/value";

/// The machine `m`, and another one that somebody dials for it.
struct Place {
    home: Home,
    right: Server,
    wrong: Server,
}

/// A way to name a clan: options, `$CLAN_DIR`, and where one stands.
struct Kind {
    name: &'static str,
    options: Vec<String>,
    clan_dir: Option<String>,
    stands_in: String,
    with_nix: bool,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let public = home.default_key();
        let (right, wrong) = (sshd(&home, IP, &public, ""), sshd(&home, IP, &public, ""));
        fs::create_dir(home.path("bin")).unwrap();
        for name in ["clan", "ssh"] {
            symlink(BINARY, home.path("bin").join(name)).unwrap();
        }
        Self { home, right, wrong }
    }

    fn path(&self, name: &str) -> String {
        self.home.path(name).display().to_string()
    }

    fn key(&self, server: &Server) -> String {
        self.home.read(&format!("sshd-{}/host_key.pub", server.port())).trim().to_owned()
    }

    /// Where the clan says that the machine is: at the wrong one.
    fn exports(&self) -> Value {
        json!({ "net": { "priority": 10, "module": "clan_lib.network.direct", "peers": {
            "m": { "host": { "plain": IP }, "port": self.wrong.address.port() } } } })
    }

    fn snapshot(&self, keys: &[String]) -> String {
        json!({ "clan_connect_snapshot": 1, "machines": { "m": { "host_keys": keys } },
            "exports": self.exports() })
        .to_string()
    }

    /// Every place that a clan's word on a key can be in.
    fn kinds(&self) -> Vec<Kind> {
        let key = self.key(&self.right);
        let with_key = self.snapshot(std::slice::from_ref(&key));
        let exports = self.exports().to_string();
        let flake = "{ outputs = _: { clan.exports = builtins.fromJSON \
                     (builtins.readFile ./exports.json); }; }";
        let write = |path: &str, text: &str| drop(self.home.write(path, text));
        for checkout in ["vars", "both", "beside", "authority", "repo"] {
            write(&format!("{checkout}/flake.nix"), flake);
            write(&format!("{checkout}/exports.json"), &exports);
        }
        for checkout in ["vars", "both"] {
            write(&format!("{checkout}/{VALUE}"), &key);
        }
        // In the snapshot is another one, or one alone, or none.
        let stale = self.snapshot(&[self.key(&self.wrong)]);
        write("both/clan-connect.json", &stale);
        for dir in ["beside", "authority", "lone", "repo"] {
            write(&format!("{dir}/clan-connect.json"), &with_key);
        }
        let authority = self.home.keygen("authority_key", "ed25519", "").with_extension("pub");
        fs::create_dir_all(self.home.path("authority/vars/shared/openssh-ca/id_ed25519.pub"))
            .unwrap();
        let value = self.home.path("authority/vars/shared/openssh-ca/id_ed25519.pub/value");
        fs::copy(authority, value).unwrap();
        write("exports.json", &exports);
        write("keyless/clan-connect.json", &self.snapshot(&[]));
        let git = |args: &[&str]| {
            let author = ["-c", "user.name=a", "-c", "user.email=a@b"];
            run("git", &[&["-C", &self.path("repo")], &author[..], args].concat(), "git");
        };
        git(&["init", "-q"]);
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "x"]);
        // Nix is not there for whoever needs none.
        let kind = |name, options: &[String], clan_dir: Option<&str>, stands_in: &str| Kind {
            name,
            options: options.to_vec(),
            clan_dir: clan_dir.map(|place| self.path(place)),
            stands_in: stands_in.to_owned(),
            with_nix: false,
        };
        let flake = |place: &str| ["--flake".to_owned(), self.path(place)];
        let exports = |place: &str| ["--exports".to_owned(), self.path(place)];
        let with_nix = |kind: Kind| Kind { with_nix: true, ..kind };
        let reference = ["--flake".to_owned(), format!("git+file://{}", self.path("repo"))];
        vec![
            kind("vars", &flake("vars"), None, "."),
            kind("vars in which one stands", &[], None, "vars"),
            kind("vars beside an older snapshot", &flake("both"), None, "."),
            kind("a snapshot in a checkout without vars", &flake("beside"), None, "."),
            with_nix(kind("the same with nix", &flake("beside"), None, ".")),
            kind("the same in which one stands", &[], None, "beside"),
            kind("a snapshot beside vars of an authority", &flake("authority"), None, "."),
            kind("a lone directory", &flake("lone"), None, "."),
            kind("a lone directory by a variable", &[], Some("lone"), "."),
            kind("a lone directory in which one stands", &[], None, "lone"),
            kind("a lone file", &flake("lone/clan-connect.json"), None, "."),
            kind("a lone file by a variable", &[], Some("lone/clan-connect.json"), "."),
            kind("a snapshot as exports", &exports("lone/clan-connect.json"), None, "."),
            kind(
                "a snapshot as exports, beside a clan without keys",
                &[exports("lone/clan-connect.json"), flake("keyless")].concat(),
                None,
                ".",
            ),
            kind(
                "exports beside vars",
                &[exports("exports.json"), flake("vars")].concat(),
                None,
                ".",
            ),
            kind(
                "exports beside a lone directory",
                &[exports("exports.json"), flake("lone")].concat(),
                None,
                ".",
            ),
            kind(
                "exports beside a lone file by a variable",
                &exports("exports.json"),
                Some("lone/clan-connect.json"),
                ".",
            ),
            kind("exports where a lone directory is", &exports("exports.json"), None, "lone"),
            with_nix(kind("a reference", &reference, None, ".")),
        ]
    }

    fn command(&self, kind: &Kind, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/setsid");
        command.arg(program).args(&kind.options).args(args);
        command.env_clear().env("HOME", self.path("home"));
        let nix = if kind.with_nix { ":/usr/bin:/bin" } else { "" };
        command.env("PATH", format!("{}{nix}", self.path("bin")));
        command.envs(kind.clan_dir.iter().map(|dir| ("CLAN_DIR", dir)));
        command.current_dir(self.home.path(&kind.stands_in));
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    fn run(&self, kind: &Kind, program: &str, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(kind, program, args), "util-linux")))
    }

    /// Refused, with nothing trusted and nobody let in.
    fn is_refused(&self, kind: &Kind, program: &str, args: &[&str]) {
        let name = kind.name;
        let before = self.home.read("home/.ssh/known_hosts");
        let done = self.run(kind, program, args);
        let said = &done.stderr;
        let failed = if program.ends_with("/clan") { 1 } else { 255 };
        assert_eq!(done.code, Some(failed), "{name} {args:?}: {}{said}", done.text());
        assert!(said.contains(CHANGED), "{name} {args:?}: {said}");
        assert_eq!(self.wrong.log().matches("Accepted").count(), 0, "{name} {args:?}");
        assert_eq!(self.home.read("home/.ssh/known_hosts"), before, "{name} {args:?}");
    }
}

#[test]
fn the_keys_of_a_clan_of_any_kind_count_for_any_address() {
    let place = Place::new();
    let (right, wrong) = (place.right.target(), place.wrong.target());
    let (host, port) = wrong.split_once(':').unwrap();
    let jump = format!("root@{right}");
    let strict = |address| {
        ["ssh", "m", "--target-host", address, "--host-key-check", "strict", "-c", "true"]
    };
    let first = ["ssh", "m", "--target-host", &wrong, "-c", "true"];
    let options = ["--ssh-option", "HostName", host, "--ssh-option", "Port", port];
    // By way of another machine, whose key is known to the user.
    let known = format!("[{IP}]:{} {}\n", place.right.port(), place.key(&place.right));
    let over = [&first[..4], &["-J", &jump, "-c", "true"]].concat();
    for kind in place.kinds() {
        place.home.write("home/.ssh/known_hosts", &known);
        place.is_refused(&kind, BINARY, &over);
        place.home.write("home/.ssh/known_hosts", "");
        let done = place.run(&kind, BINARY, &strict(&right));
        assert_eq!(done.code, Some(0), "{}: {}", kind.name, done.stderr);
        place.is_refused(&kind, BINARY, &first);
        place.is_refused(&kind, BINARY, &[&["ssh", "m"], &options[..], &["-c", "true"]].concat());
        place.is_refused(&kind, BINARY, &["ssh", "m", "-A", "--target-host", &wrong, "-c", "true"]);
        // Where the clan itself leads, which is as wrong.
        if kind.with_nix || !kind.name.starts_with("vars") {
            place.is_refused(&kind, BINARY, &["ssh", "m", "-c", "true"]);
        }
    }
}

#[test]
fn every_name_of_ours_and_every_program_beside_us_hears_of_the_keys() {
    let place = Place::new();
    let (key, wrong) = (place.key(&place.right), place.wrong.target());
    place.home.write("lone/clan-connect.json", place.snapshot(std::slice::from_ref(&key)));
    let kind = Kind {
        name: "a lone directory",
        options: Vec::new(),
        clan_dir: Some(place.path("lone")),
        stands_in: ".".to_owned(),
        with_nix: false,
    };
    let bin = |name: &str| place.path(&format!("bin/{name}"));
    let target = ["ssh", "m", "--target-host", &wrong, "-c", "true"];
    place.is_refused(&kind, BINARY, &target);
    place.is_refused(&kind, &bin("clan"), &["ssh", "m", "-c", "true"]);
    let port = place.wrong.port();
    place.is_refused(&kind, &bin("ssh"), &["-oStrictHostKeyChecking=accept-new", "m", "true"]);
    let other = ["-oStrictHostKeyChecking=no", "-p", &port, "m", "true"];
    place.is_refused(&kind, &bin("ssh"), &other);
    // Known without having been asked where it is, as for KnownHostsCommand.
    let list = ["network", "trust", "list", "m"];
    let listed = place.run(&kind, BINARY, &list).exits(0).text();
    assert!(listed.contains("clan-connect.json:1"), "{listed}");
    let lines = [&list[..], &["--known-hosts", "name"]].concat();
    let listed = place.run(&kind, BINARY, &lines).exits(0).text();
    let words: Vec<&str> = key.split_whitespace().take(2).collect();
    assert!(listed.starts_with(&format!("name {}", words.join(" "))), "{listed}");
    // Exports of another make do not hide them.
    place.home.write("exports.json", place.exports().to_string());
    let beside = Kind { options: vec!["--exports".into(), place.path("exports.json")], ..kind };
    let listed = place.run(&beside, BINARY, &lines).exits(0).text();
    assert!(listed.contains(words[1]), "{listed}");
    // What cannot be read is not taken for nothing.
    place.home.write("lone/clan-connect.json", "{\"clan_connect_snapshot\": 1");
    let done = place.run(&beside, BINARY, &target).exits(255);
    done.says(&["clan-connect.json: not a snapshot"]);
    assert_eq!(place.wrong.log().matches("Accepted").count(), 0);
}

#[test]
fn an_authority_in_a_lone_snapshot_vouches_for_any_address() {
    let place = Place::new();
    let path = |name: &str| place.path(name);
    place.home.keygen("ca", "ed25519", "");
    for key in ["certified", "stranger"] {
        place.home.keygen(key, "ed25519", "");
    }
    place.home.keygen("other_ca", "ed25519", "");
    let server = |key: &str, ca: &str| {
        let names = ["-n", "m.clan.test"];
        let (ca, public) = (path(ca), path(&format!("{key}.pub")));
        let args = [&["-q", "-s", &ca, "-I", "i", "-h"], &names[..], &[&public]].concat();
        run("ssh-keygen", &args, "openssh-client");
        let config = format!(
            "HostKey {}\nHostCertificate {}\n",
            path(key),
            path(&format!("{key}-cert.pub"))
        );
        sshd(&place.home, IP, &place.home.read("home/.ssh/id_ed25519.pub"), &config)
    };
    let (certified, stranger) = (server("certified", "ca"), server("stranger", "other_ca"));
    // The machine is named by nothing but the exports.
    let snapshot = json!({ "clan_connect_snapshot": 1, "domain": "clan.test",
        "authorities": [place.home.read("ca.pub").trim()], "exports": place.exports() });
    place.home.write("lone/clan-connect.json", snapshot.to_string());
    place.home.write("exports.json", place.exports().to_string());
    let (lone, exports) = (path("lone"), path("exports.json"));
    for options in [&["--flake", &lone][..], &["--exports", &exports, "--flake", &lone]] {
        let ssh = |server: &Server| {
            let strict = ["--host-key-check", "strict", "-c", "true"];
            let target = server.target();
            place.home.run(&[options, &["ssh", "m", "--target-host", &target], &strict].concat())
        };
        ssh(&certified).exits(0);
        ssh(&stranger).exits(255);
    }
}

#[test]
fn a_warm_connection_is_not_shared_once_a_lone_snapshot_has_another_key() {
    let place = Place::new();
    let write = |server: &Server| {
        place.home.write("lone/clan-connect.json", place.snapshot(&[place.key(server)]));
    };
    fs::create_dir(place.home.path("run")).unwrap();
    fs::set_permissions(place.home.path("run"), fs::Permissions::from_mode(0o700)).unwrap();
    let env = [("XDG_RUNTIME_DIR", place.path("run"))];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (lone, target) = (place.path("lone"), place.right.target());
    let ssh = ["--flake", &lone, "ssh", "m", "--target-host", &target, "--persist", "1m"];
    let ssh = || place.home.run_with_env(&[&ssh[..], &["-c", "true"]].concat(), &env);
    let logins = || place.right.log().matches("Accepted publickey").count();
    write(&place.right);
    ssh().exits(0);
    ssh().exits(0);
    assert_eq!(logins(), 1);
    write(&place.wrong);
    let done = ssh();
    place.home.run_with_env(&["close", "--all"], &env).exits(0);
    done.exits(255).says(&[CHANGED]);
}

#[test]
fn only_the_words_for_it_pass_over_the_key_of_a_clan() {
    let place = Place::new();
    place.home.write("lone/clan-connect.json", place.snapshot(&[place.key(&place.right)]));
    let lone = place.path("lone");
    let env = [("CLAN_DIR", lone.as_str())];
    let ssh = |files: &str| {
        let files = format!("UserKnownHostsFile={files}");
        let options = ["-o", "StrictHostKeyChecking=no", "-o", &files];
        place.home.run_with_env(&[&["openssh"], &options[..], &["m", "true"]].concat(), &env)
    };
    for files in ["none", "/dev/null /dev/null", "/dev/null /nonexistent", "/dev/./null"] {
        ssh(files).exits(255).says(&[CHANGED]);
    }
    assert_eq!(place.wrong.log().matches("Accepted").count(), 0);
    ssh("/dev/null").exits(0).says(&[CHANGED]);
    let logins = || place.wrong.log().matches("Accepted").count();
    let before = logins();
    let native = |check: &str, said: &str| {
        let words = ["ssh", "m", "--host-key-check", check];
        let option = ["--ssh-option", "StrictHostKeyChecking", said, "-c", "true"];
        place.home.run_with_env(&[&words[..], &option].concat(), &env)
    };
    // Of two that contradict each other the option counts.
    for (check, said) in [("none", "yes"), ("none", "ask"), ("tofu", "no"), ("strict", "no")] {
        native(check, said).exits(255).says(&[CHANGED]);
    }
    assert_eq!(logins(), before);
    native("none", "no").exits(0).says(&[CHANGED, "--host-key-check none"]);
}

#[test]
fn the_key_that_quits_ends_every_question() {
    let place = Place::new();
    let (home, target) = (&place.home, place.right.target());
    run("ssh-keygen", &["-q", "-p", "-N", "locked", "-f", &place.path("home/.ssh/id_ed25519")], "");
    let ssh = ["ssh", "m", "--target-host", &target, "--no-persist"];
    let nobody = ["-i", "/nonexistent", "-o", "IdentitiesOnly=yes", "-l", "root"];
    let password = ["-o", "PreferredAuthentications=password"];
    for (question, options) in [
        ("continue connecting", &["--host-key-check", "ask"][..]),
        ("assphrase", &[]),
        ("assword", &[&nobody[2..], &password].concat()),
    ] {
        let args = [&ssh[..], options, &["-c", "true"]].concat();
        let mut terminal = Terminal::start(home, &args, 80, 24, &[]);
        let before = terminal.settings();
        terminal.expect(question);
        until("the echo is off", || terminal.settings() != before);
        // ^\ (termios(3), VQUIT).
        terminal.send("\x1c");
        assert_eq!(terminal.exit_code(), Some(131), "{question}: {}", terminal.text());
        assert_eq!(terminal.settings(), before, "{question}");
    }
    assert_eq!(place.right.log().matches("Accepted publickey").count(), 0);
}
