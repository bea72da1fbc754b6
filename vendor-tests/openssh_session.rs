//! What is asked of a session and how it ends, called as `ssh` beside OpenSSH's own: no
//! command that looks like one, what the terminal is called, key files that are not
//! there, and commands that a signal ends.

use std::io::Write;
use std::process::Stdio;

use crate::harness::{Run, THEIRS, start, until, wait};
use crate::openssh_personality::Place;

struct Pair(Place);

impl Pair {
    fn new() -> Self {
        Self(Place::ready())
    }

    fn run(&self, ssh: &str, args: &[&str], input: &str) -> Run {
        let mut command = self.0.client(ssh, args);
        command.env("TERM", "xterm-ghostty").stdin(Stdio::piped());
        let mut child = start(&mut command, "openssh-client");
        // Not everybody reads it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Run::of(wait(child))
    }

    /// Runs both; they have to agree about the status and every byte.
    #[track_caller]
    fn same(&self, args: &[&str], input: &str) -> Run {
        let (ours, theirs) = (self.run(&self.0.ours(), args, input), self.run(THEIRS, args, input));
        assert_eq!(ours.code, theirs.code, "{args:?}\nours: {ours:?}\ntheirs: {theirs:?}");
        assert_eq!(ours.text(), theirs.text(), "{args:?}\nours: {ours:?}\ntheirs: {theirs:?}");
        let plain = |run: &Run| run.stderr.replace("\r\n", "\n");
        assert_eq!(plain(&ours), plain(&theirs), "{args:?}");
        ours
    }
}

#[test]
fn a_command_that_comes_to_nothing_is_a_shell() {
    let pair = Pair::new();
    for args in [&["-T", "box", ""][..], &["-T", "box", "--", ""], &["-T", "box"]] {
        assert_eq!(pair.same(args, "echo from stdin\nexit 3\n").exits(3).text(), "from stdin\n");
    }
    // A space is one, and so are two words of nothing.
    assert_eq!(pair.same(&["box", " "], "echo from stdin\n").exits(0).text(), "");
    assert_eq!(pair.same(&["box", "", ""], "echo from stdin\n").exits(0).text(), "");
    // What the files say counts where nothing is said.
    let remote = "-oRemoteCommand=echo remote";
    assert_eq!(pair.same(&[remote, "box", ""], "").exits(0).text(), "remote\n");
    assert_eq!(pair.same(&["box", ""], "echo no terminal\n").exits(0).text(), "no terminal\n");
    pair.same(&["-f", "box", ""], "").exits(255);
}

#[test]
fn setenv_names_the_terminal() {
    let pair = Pair::new();
    let set = |options: &[&str], expected: &str| {
        let args = [&["-tt"], options, &["box", "echo T=$TERM L=$LC_ONE"]].concat();
        let done = pair.same(&args, "").exits(0);
        assert!(done.text().starts_with(expected), "{options:?}: {done:?}");
    };
    set(&[], "T=xterm-ghostty L=");
    set(&["-oSetEnv=TERM=vt220"], "T=vt220 L=");
    set(&["-oSetEnv=LC_ONE=1 TERM=vt100"], "T=vt100 L=1");
    set(&["-oSetEnv=TERM="], "T=xterm-ghostty L=");
    // Of two lines, and of one name twice, the first counts.
    set(&["-oSetEnv=TERM=vt220", "-oSetEnv=TERM=vt100 LC_ONE=2"], "T=vt220 L=");
    set(&["-oSetEnv=LC_ONE=1 LC_ONE=2 TERM=a TERM=b"], "T=a L=1");
    set(&["-oSetEnv=LC_ONE=set", "-oSendEnv=LC_ONE"], "T=xterm-ghostty L=set");
    // No terminal, no name for it.
    let args = ["-T", "-oSetEnv=TERM=vt220", "box", "echo T=$TERM"];
    pair.same(&args, "").exits(0);
}

#[test]
fn a_key_file_that_is_not_there_is_said_and_left_out() {
    let pair = Pair::new();
    let none = pair.0.home.path("none").display().to_string();
    let done = pair.same(&["-i", &none, "box", "echo", "in"], "").exits(0);
    assert_eq!(done.text(), "in\n");
    done.says(&["Warning: Identity file ", "/none not accessible: No such file or directory."]);
    pair.same(&["-q", "-i", &none, "-i", "box", "box", "true"], "").exits(0).says(&["Warning: "]);
    pair.same(&["-i", "%d/none", "-i", "", "box", "true"], "").exits(0);
    let below_a_file = format!("{}/x", pair.0.home.path("home/.ssh/config").display());
    pair.same(&["-i", &below_a_file, "box", "true"], "").exits(0).says(&["Not a directory"]);
    // Into no log, and where nothing is done.
    let log = pair.0.home.path("log").display().to_string();
    pair.same(&["-E", &log, "-i", &none, "box", "true"], "").exits(0).says(&["Warning: "]);
    let shown = |ssh: &str| {
        let done = pair.run(ssh, &["-G", "-F", "none", "-i", &none, "box"], "").exits(0);
        assert!(!done.text().contains(&none), "{ssh}: {done:?}");
        done.says(&["Warning: Identity file"]);
    };
    [THEIRS, &pair.0.ours()].into_iter().for_each(shown);
    // What is said by name, and not by the letter, is no warning here.
    let option = format!("-oIdentityFile={none}");
    assert!(!pair.run(&pair.0.ours(), &[&option, "box", "true"], "").stderr.contains("Warning"));
    pair.run(&pair.0.ours(), &["-i", "~nobody-here/x", "box", "true"], "")
        .exits(255)
        .says(&["No such user nobody-here"]);
}

#[test]
fn a_command_that_a_signal_ends_has_no_status() {
    let pair = Pair::new();
    for name in ["TERM", "KILL", "HUP", "SEGV"] {
        let kill = format!("kill -{name} $$");
        pair.same(&["box", &kill], "").exits(255);
        pair.same(&["-tt", "box", &kill], "").exits(255);
    }
    // A shell that tells of a signal has a status.
    pair.same(&["box", "sh -c 'kill -TERM $$'; exit $?"], "").exits(143);
    // Over a master, whoever is one.
    let socket = pair.0.home.path("m").display().to_string();
    for program in [THEIRS.to_owned(), pair.0.ours()] {
        let mut command = pair.0.client(&program, &["-M", "-N", "-S", &socket, "box"]);
        let mut master = start(&mut command, "openssh-client");
        until("the master", || std::path::Path::new(&socket).exists());
        for ssh in [THEIRS.to_owned(), pair.0.ours()] {
            let code = pair.run(&ssh, &["-S", &socket, "box", "kill -TERM $$"], "").code;
            assert_eq!(code, Some(255), "{ssh} at {program}");
            let code = pair.run(&ssh, &["-S", &socket, "box", "exit 9"], "").code;
            assert_eq!(code, Some(9), "{ssh} at {program}");
        }
        pair.run(&pair.0.ours(), &["-S", &socket, "-O", "exit", "box"], "").exits(0);
        until("the master's end", || master.try_wait().unwrap().is_some());
        until("the socket's end", || !std::path::Path::new(&socket).exists());
    }
}
