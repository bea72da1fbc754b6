//! A forwarded agent that is not there, or ends meanwhile: who asks it on the machine is
//! told so at once, beside OpenSSH.

use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::harness::{Run, THEIRS, start, until, wait};
use crate::openssh_personality::Place;

/// Asks the agent on the machine, and tells what came of it.
const ASK: &str = "test -z \"$SSH_AUTH_SOCK\" && echo none && exit; \
                   timeout 10 ssh-add -l >/dev/null 2>&1; echo ended with $?";

#[test]
fn who_asks_an_agent_that_is_not_there_is_not_kept_waiting() {
    let place = Place::shared("");
    let unserved = place.home.path("unserved");
    drop(UnixListener::bind(&unserved).unwrap());
    for agent in [place.home.path("nonexistent"), unserved] {
        for program in [THEIRS.to_owned(), place.ours()] {
            let mut command = place.client(&program, &["-A", "box", ASK]);
            command.env("SSH_AUTH_SOCK", &agent);
            let done = Run::of(wait(start(&mut command, "openssh-client"))).exits(0);
            assert_eq!(done.text(), "none\n", "{program} {agent:?}");
        }
    }
}

#[test]
fn who_asks_an_agent_that_has_ended_is_told_so() {
    let place = Place::shared("");
    for (name, program) in [("theirs", THEIRS.to_owned()), ("ours", place.ours())] {
        let socket = place.home.path(name).display().to_string();
        let mut agent = Command::new("ssh-agent");
        agent.args(["-D", "-a", &socket]).stdout(Stdio::null());
        let mut agent = start(&mut agent, "openssh-client");
        until("the agent listens", || place.home.path(name).exists());
        // The machine is this computer.
        let pid = agent.id();
        let script = format!("kill {pid}; while test -e {socket}; do sleep 0.1; done; {ASK}");
        let mut command = place.client(&program, &["-A", "box", &script]);
        command.env("SSH_AUTH_SOCK", &socket);
        let done = Run::of(wait(start(&mut command, "openssh-client"))).exits(0);
        let _ = agent.wait();
        // Whatever it makes of that; with 124 timeout(1) has ended it.
        let text = done.text();
        assert!(text.starts_with("ended with ") && text != "ended with 124\n", "{program}: {text}");
    }
}
