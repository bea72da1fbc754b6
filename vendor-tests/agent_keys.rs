//! Keys that only an agent can use, beside OpenSSH's ssh: a FIDO key, which signs in a
//! format of its own (OpenSSH's PROTOCOL.u2f).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::{Home, Run, THEIRS, start, wait};
use crate::openssh_personality::Place;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-tests/sk-agent");

/// An agent with a key that ends with us.
struct Agent {
    child: Child,
    socket: String,
    /// Its key's line.
    public: String,
}

impl Agent {
    fn start(home: &Home) -> Self {
        let socket = home.path("agent").to_str().unwrap().to_owned();
        let mut command = Command::new(crate::scripted::python());
        command.args([SCRIPT, &socket]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = start(&mut command, "python3-cryptography");
        let mut public = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut public).unwrap();
        Self { child, socket, public }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_fido_key_of_the_agent_logs_in() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let key = home.default_key();
    // Only the agent's key is let in.
    let place = Place::of(home, &agent.public, "");
    let own = place.home.path("home/.ssh/id_ed25519").display().to_string();
    let known = format!("-oUserKnownHostsFile={}", place.home.path("kh").display());
    let run = |ssh: &str, args: &[&str]| {
        let fixed = [&known, "-oBatchMode=yes"];
        let mut command = place.client(ssh, &[&fixed, args, &["box", "echo", "in"]].concat());
        command.env("SSH_AUTH_SOCK", &agent.socket);
        Run::of(wait(start(&mut command, "openssh-client")))
    };
    let public = place.home.write("sk.pub", &agent.public).display().to_string();
    for ssh in [THEIRS, &place.ours()] {
        assert_eq!(run(ssh, &[]).exits(0).text(), "in\n", "{ssh}");
        // By its public half alone, and not where it is not wanted.
        let named = ["-oIdentitiesOnly=yes", "-i", &public];
        assert_eq!(run(ssh, &named).exits(0).text(), "in\n", "{ssh}");
        run(ssh, &["-oPubkeyAcceptedAlgorithms=ssh-ed25519"]).exits(255);
        run(ssh, &["-oPubkeyAcceptedAlgorithms=-sk-*"]).exits(255);
        run(ssh, &["-oIdentitiesOnly=yes", "-i", &own]).exits(255);
        run(ssh, &["-oIdentityAgent=none"]).exits(255);
    }
    assert!(!key.is_empty());
}
