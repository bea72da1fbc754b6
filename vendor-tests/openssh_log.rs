//! Where words go and which are said: `-E`, `-q` and LogLevel beside OpenSSH's ssh. The
//! machine's errors, a banner and escape sequences are no words of the client's own.

use std::process::{Command, Stdio};

use crate::harness::{Home, Run, THEIRS, Terminal, start, until, wait};
use crate::hostile_server::Hostile;
use crate::openssh_personality::Place;

struct Pair {
    place: Place,
    log: String,
}

impl Pair {
    fn new() -> Self {
        let home = Home::new();
        let banner = home.write("issue", "the banner\n").display().to_string();
        let key = home.default_key();
        let config = format!("Banner {banner}\nKbdInteractiveAuthentication no\n");
        let place = Place::of(home, &key, &config).with_files("  IdentitiesOnly yes\n");
        let log = place.home.path("log").display().to_string();
        place.ssh(&["box", "true"]).exits(0);
        Self { place, log }
    }

    /// What goes to standard error, and what into the log.
    fn run(&self, ssh: &str, args: &[&str]) -> (Run, String) {
        let _ = std::fs::remove_file(&self.log);
        let mut command = self.place.client(ssh, args);
        // A password that is wrong, for whoever asks.
        let askpass = self.place.home.path("askpass");
        command.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force");
        let done = Run::of(wait(start(&mut command, "openssh-client")));
        (done, self.place.home.read("log").replace('\r', ""))
    }

    /// Runs both, without and with a log; they have to agree about every byte.
    #[track_caller]
    fn same(&self, args: &[&str]) -> (Run, String) {
        let logged = [&["-E", &self.log], args].concat();
        for args in [args, &logged] {
            let (ours, our_log) = self.run(&self.place.ours(), args);
            let (theirs, their_log) = self.run(THEIRS, args);
            let plain = |run: &Run| (run.code, run.text(), run.stderr.replace('\r', ""));
            assert_eq!(plain(&ours), plain(&theirs), "{args:?}");
            assert_eq!(our_log, their_log, "{args:?}");
        }
        self.run(&self.place.ours(), &logged)
    }
}

const LEVELS: [&[&str]; 4] = [&[], &["-q"], &["-oLogLevel=ERROR"], &["-oLogLevel=FATAL"]];

#[test]
fn a_log_has_what_the_client_says_and_nothing_else() {
    let pair = Pair::new();
    pair.place.home.script("askpass", "#!/bin/sh\necho wrong\n");
    let socket = pair.place.home.path("m").display().to_string();
    let no_key = "-oPubkeyAuthentication=no";
    for level in LEVELS {
        let same = |args: &[&str]| pair.same(&[level, args].concat());
        let (done, log) = same(&["box", "echo err >&2; echo out; exit 3"]);
        assert_eq!((done.exits(3).stderr.contains("err\n"), log.as_str()), (true, ""));
        same(&["-tt", "box", "echo on a terminal"]);
        same(&["-t", "box", "true"]);
        same(&["-oStrictHostKeyChecking=yes", "-oUserKnownHostsFile=/dev/null", "box", "true"]);
        same(&["-s", "box", "nosuch"]);
        same(&[no_key, "-oBatchMode=yes", "box", "true"]);
        // It is asked three times.
        let asked = ["-oNumberOfPasswordPrompts=2", "-oPreferredAuthentications=password"];
        let (done, log) = same(&[no_key, asked[0], asked[1], "box", "true"]);
        let again = log.contains("Permission denied, please try again.");
        assert_eq!(again, level.is_empty() || level == ["-oLogLevel=ERROR"], "{done:?}");
        if level != ["-oLogLevel=FATAL"] {
            same(&["-oProxyCommand=none", "-oPort=1", "-oHostName=nowhere.invalid", "box", "true"]);
        }
        same(&["-S", &socket, "-O", "check", "box"]);
    }
}

#[test]
fn what_a_master_is_told_is_answered() {
    let pair = Pair::new();
    let socket = pair.place.home.path("m").display().to_string();
    for level in LEVELS {
        for request in ["check", "stop", "exit"] {
            let said = |ssh: &str| {
                let mut command = pair.place.client(ssh, &["-M", "-N", "-S", &socket, "box"]);
                let mut master = start(command.stderr(Stdio::null()), "openssh-client");
                until("the master", || std::path::Path::new(&socket).exists());
                let args = [level, &["-E", &pair.log, "-S", &socket]].concat();
                let shared = pair.run(ssh, &[&args[..], &["-tt", "box", "echo in >&2"]].concat());
                let done = pair.run(ssh, &[&args[..], &["-O", request, "box"]].concat());
                let _ = master.kill();
                let pid = master.id().to_string();
                let _ = master.wait();
                let _ = std::fs::remove_file(&socket);
                let plain = |run: (Run, String)| {
                    let said = run.0.stderr.replace(&pid, "PID").replace('\r', "");
                    (run.0.code, run.0.text().replace('\r', ""), said, run.1)
                };
                (plain(shared), plain(done))
            };
            assert_eq!(said(&pair.place.ours()), said(THEIRS), "{level:?} {request}");
        }
    }
}

#[test]
fn files_that_are_wrong_are_as_silent_as_the_rest() {
    let pair = Pair::new();
    let bad = pair.place.home.write("bad", "Nonsense 1\n").display().to_string();
    for level in [&[][..], &["-q"]] {
        let args = [level, &["-F", &bad, "box", "true"]].concat();
        pair.same(&args).0.exits(255);
        // What stands on the command line is told.
        pair.same(&[level, &["-oNonsense=1", "box"]].concat()).0.says(&["Bad configuration"]);
    }
}

#[test]
fn questions_of_a_server_are_hints_that_silence_leaves_out() {
    let hostile = Hostile::new("latin-questions");
    let mut options = hostile.options();
    options.retain(|option| option != "-oBatchMode=yes" && !option.starts_with("-oLogLevel"));
    options.push("-oPreferredAuthentications=keyboard-interactive".to_owned());
    options.extend(["-oNumberOfPasswordPrompts=1".to_owned(), "root@127.0.0.1".to_owned()]);
    let askpass = hostile.home.script("askpass", "#!/bin/sh\necho answer\n");
    for level in [&[][..], &["-q"], &["-oLogLevel=ERROR"]] {
        let said = |program: &[&str]| {
            let mut command = Command::new(program[0]);
            command.args(&program[1..]).args(level).args(&options);
            command.env_clear().env("HOME", hostile.home.path("home")).env("LC_ALL", "C.UTF-8");
            command.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let done = Run::of(wait(start(&mut command, "openssh-client"))).exits(255);
            // Whether the server is known by now is another matter.
            let lines = done.stderr.lines().filter(|line| !line.contains("Permanently added"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (theirs, ours) = (said(&[THEIRS]), said(&[crate::harness::BINARY, "openssh"]));
        assert_eq!(ours, theirs, "{level:?}");
        assert_eq!(ours.iter().any(|line| line.starts_with("Gr\\374")), level.is_empty());
    }
}

#[test]
fn escape_sequences_are_answered_on_the_terminal() {
    let pair = Pair::new();
    let config = pair.place.home.path("home/.ssh/config");
    for ssh in [THEIRS.to_owned(), pair.place.ours()] {
        let _ = std::fs::remove_file(&pair.log);
        let mut command = Command::new("setsid");
        command.args(["--ctty", &ssh, "-F", config.to_str().unwrap(), "-E", &pair.log, "box"]);
        command.env("HOME", pair.place.home.path("home")).env("TERM", "xterm");
        let mut terminal = Terminal::of(command, 100, 40);
        terminal.send("echo re''ady\r");
        terminal.expect("ready\r\n");
        terminal.send("\r~?");
        terminal.expect("upported escape sequences");
        terminal.send("\r~.");
        assert_eq!(terminal.exit_code(), Some(255));
        assert!(!pair.place.home.read("log").contains("escape"), "{ssh}");
    }
}

#[test]
fn in_the_background_the_machine_still_writes_and_the_log_is_kept() {
    let pair = Pair::new();
    for ssh in [THEIRS.to_owned(), pair.place.ours()] {
        let _ = std::fs::remove_file(&pair.log);
        let new = "-oUserKnownHostsFile=/dev/null";
        let args = ["-f", "-E", &pair.log, new, "box", "sleep 1; echo late >&2"];
        let (done, log) = pair.run(&ssh, &args);
        assert_eq!(done.code, Some(0), "{ssh}: {done:?}");
        assert!(done.stderr.ends_with("late\n"), "{ssh}: {done:?}");
        assert!(log.contains("Permanently added"), "{ssh}: {log}");
        assert!(!log.contains("late"), "{ssh}: {log}");
    }
}
