//! Who begins a connection that is to stay, and is ended before it stands: nothing is done
//! for him any more.

use std::process::Stdio;
use std::sync::atomic::Ordering;

use rustix::process::Signal;

use super::{Relay, Warm, below, is_running};
use crate::harness::{Terminal, signal, start, until, wait};

#[test]
fn a_command_that_is_called_off_does_not_run() {
    let warm = Warm::new();
    let mark = warm.home.path("mark").display().to_string();
    for end in [Signal::TERM, Signal::HUP, Signal::INT, Signal::KILL] {
        // The server's greeting comes when the signal has been sent.
        let relay = Relay::to(warm.server.address);
        warm.exports(relay.port);
        relay.is_silent.store(true, Ordering::Relaxed);
        let mut command = warm.kept(&[], &format!("echo ran >> {mark}"));
        command.stdin(Stdio::null());
        let child = start(&mut command, "util-linux");
        let pid = child.id().cast_signed();
        until("somebody connects", || relay.is_used.load(Ordering::Relaxed));
        let all = below(pid);
        assert!(!all.is_empty(), "one more process is to stay");
        signal(pid, end);
        let done = wait(child);
        assert!(!done.status.success());
        relay.is_silent.store(false, Ordering::Relaxed);
        until("all of them end", || !all.iter().any(|pid| is_running(*pid)));
        assert_eq!(warm.logins(), 0, "{end:?}");
        assert_eq!(warm.sockets().len(), 0, "{end:?}");
    }
    assert!(!std::path::Path::new(&mark).exists());
    // Left alone, it runs and stays.
    warm.exports(warm.server.address.port());
    warm.ssh(&[], "true").exits(0);
    assert_eq!((warm.logins(), warm.sockets().len()), (1, 1));
}

#[test]
fn nobody_reads_the_terminal_for_who_is_gone() {
    let warm = Warm::new();
    let key = warm.home.path("home/.ssh/id_ed25519").display().to_string();
    let arguments = ["-q", "-p", "-P", "", "-N", "secret", "-f", &key];
    crate::harness::run("ssh-keygen", &arguments, "openssh-client");
    let exports = warm.home.path("exports.json").display().to_string();
    let run = warm.home.path("run").display().to_string();
    for end in [Signal::TERM, Signal::HUP, Signal::KILL] {
        let args = ["--exports", &exports, "ssh", "m", "-o", "IdentityAgent=none"];
        let mut terminal = Terminal::start(&warm.home, &args, 80, 24, &[("XDG_RUNTIME_DIR", &run)]);
        terminal.expect("passphrase");
        let pid = terminal.pid();
        let all = below(pid);
        signal(pid, end);
        let _ = terminal.exit_code();
        until("all of them end", || !all.iter().any(|pid| is_running(*pid)));
    }
    assert_eq!(warm.logins(), 0);
}
