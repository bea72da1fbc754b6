//! What a server answers that is no OpenSSH, whatever it calls itself, to what is sent
//! ahead of its answers: nothing is run twice, a refusal is one whatever its form, and the
//! words are OpenSSH's where it has some.

use std::process::{Command, Stdio};

use crate::harness::{Home, Run, THEIRS, start, wait};
use crate::scripted::Scripted;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-tests/early-server");

/// A server with a script, and two keys of which it knows none.
pub(crate) struct Early {
    pub(crate) home: Home,
    pub(crate) server: Scripted,
}

impl Early {
    fn new(scenario: &str) -> Self {
        let home = Home::new();
        let host_key = home.keygen("host_key", "ed25519", "").display().to_string();
        home.keygen("one", "ed25519", "");
        home.keygen("two", "ed25519", "");
        Self::at(home, scenario, &host_key)
    }

    /// The same with this host key.
    pub(crate) fn at(home: Home, scenario: &str, host_key: &str) -> Self {
        let server = Scripted::start(&[SCRIPT, scenario, host_key]);
        Self { home, server }
    }

    fn times(&self) -> usize {
        self.server.seen().iter().filter(|line| *line == "ran").count()
    }

    fn options(&self) -> Vec<String> {
        let path = |name: &str| self.home.path(name).display().to_string();
        let files =
            ["-i", &path("one"), "-i", &path("two"), "-p", &self.server.port].map(str::to_owned);
        let fixed = [
            "-Fnone",
            "-oIdentitiesOnly=yes",
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=accept-new",
            "-oGlobalKnownHostsFile=/dev/null",
            // Old versions of paramiko know none of the others.
            "-oKexAlgorithms=ecdh-sha2-nistp256",
        ];
        let known = format!("-oUserKnownHostsFile={}", path("known"));
        fixed.map(str::to_owned).into_iter().chain(files).chain([known]).collect()
    }

    fn ours(&self, more: &[&str]) -> Run {
        let options = self.options();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.home.run(&[&["openssh"], &options[..], more, &["u@127.0.0.1", "true"]].concat())
    }

    fn theirs(&self) -> Run {
        let mut command = Command::new(THEIRS);
        command.args(self.options()).args(["u@127.0.0.1", "true"]).env_clear();
        command.env("HOME", self.home.path("home"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "openssh-client")))
    }
}

#[test]
fn a_channel_that_is_refused_as_a_channel_is_asked_for_again_after_the_login() {
    for scenario in ["refuses", "refuses-all"] {
        let early = Early::new(scenario);
        for times in 1..=2 {
            assert_eq!(early.ours(&[]).exits(0).text(), "hi\n", "{scenario}");
            assert_eq!(early.times(), times, "{scenario}");
        }
    }
}

#[test]
fn what_is_passed_over_in_silence_ends_the_login_and_names_the_option() {
    for scenario in ["is-silent", "refuses-another"] {
        let early = Early::new(scenario);
        let words = ["answers to pipelined messages are inconsistent", "-o Pipelining=no"];
        early.ours(&[]).exits(255).says(&words);
        assert_eq!(early.times(), 0, "{scenario}");
        // The advice is good.
        assert_eq!(early.ours(&["-oPipelining=no"]).exits(0).text(), "hi\n");
        assert_eq!(early.times(), 1, "{scenario}");
        let target = format!("127.0.0.1:{}", early.server.port);
        let path = |name: &str| early.home.path(name).display().to_string();
        let (one, two) = (path("one"), path("two"));
        let to = ["ssh", "m", "--target-host", &target, "-i", &one, "-i", &two];
        let kex = ["--ssh-option", "KexAlgorithms", "ecdh-sha2-nistp256", "-c", "true"];
        let native = early.home.run(&[&to[..], &kex].concat()).exits(255);
        native.says(&["turn pipelining off: --ssh-option Pipelining no"]);
        assert_eq!(early.times(), 1, "{scenario}");
    }
}

#[test]
fn a_server_that_leaves_before_the_login_has_succeeded_is_told_of_as_by_openssh() {
    for (scenario, words) in [
        ("closes", &["Connection closed by 127.0.0.1 port "][..]),
        (
            "disconnects",
            &[
                "Received disconnect from 127.0.0.1 port ",
                ":2: go ",
                "Disconnected from 127.0.0.1 port ",
            ],
        ),
    ] {
        let early = Early::new(scenario);
        early.ours(&[]).exits(255);
        let said = |run: Run| {
            let lines = run.stderr.lines().map(|line| line.trim_end().to_owned());
            lines.filter(|line| !line.starts_with("Warning: ")).collect::<Vec<_>>()
        };
        let theirs = early.theirs().exits(255).says(words);
        let ours = early.ours(&[]).exits(255).says(words);
        assert!(!ours.stderr.contains('\x1b'), "{}", ours.stderr);
        let without_codes = |lines: Vec<String>| {
            lines.iter().map(|line| line.replace("\\033[2J", "[2J")).collect::<Vec<_>>()
        };
        println!("{theirs:?}\n{ours:?}");
        let (theirs, ours) = (without_codes(said(theirs)), without_codes(said(ours)));
        assert_eq!(ours.len(), theirs.len(), "{ours:?} {theirs:?}");
        if scenario == "closes" {
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn a_command_that_was_taken_is_run_once() {
    let early = Early::new("takes");
    assert_eq!(early.ours(&[]).exits(0).text(), "hi\n");
    assert_eq!(early.times(), 1);
}
