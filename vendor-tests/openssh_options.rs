//! Options of ssh_config(5), with OpenSSH's server, agent and certificates.

use std::process::{Child, Command, Stdio};

use crate::harness::{Home, Run, Terminal, free_port, noise, run, sshd, start, until, wait};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

/// An agent that ends with us.
struct Agent {
    child: Child,
    socket: String,
}

impl Agent {
    fn start(home: &Home) -> Self {
        let socket = home.path("agent").to_str().unwrap().to_owned();
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a", &socket]).stdout(Stdio::null());
        let child = start(&mut command, "openssh-client");
        until("the agent", || std::path::Path::new(&socket).exists());
        Self { child, socket }
    }

    fn run(&self, place: &Place, program: &str, args: &[&str]) -> Run {
        let mut command = place.command(program, args);
        command.env("SSH_AUTH_SOCK", &self.socket);
        Run::of(wait(start(&mut command, "openssh-client")))
    }

    fn ssh(&self, place: &Place, args: &[&str]) -> Run {
        self.run(place, place.home.path("bin/ssh").to_str().unwrap(), args)
    }

    fn holds(&self, place: &Place) -> String {
        self.run(place, "/usr/bin/ssh-add", &["-l"]).text()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn certificates_and_public_halves_find_their_keys() {
    // A server that knows an authority and no key.
    let home = Home::new();
    let authority = home.keygen("ca", "ed25519", "");
    let trusted = home.path("ca.pub");
    let place = Place::new(&format!("TrustedUserCAKeys {}\n", trusted.display()));
    let path = |name: &str| place.home.path(name).to_str().unwrap().to_owned();
    for name in ["one", "two"] {
        place.home.keygen(name, "ed25519", "");
    }
    let sign = |name: &str| {
        let public = path(&format!("{name}.pub"));
        let ca = authority.to_str().unwrap();
        run("ssh-keygen", &["-q", "-s", ca, "-I", name, "-n", "root", &public], "openssh-client");
    };
    sign("one");
    // Beside its key it counts by itself; elsewhere it has to be named.
    let only = ["-oIdentitiesOnly=yes", "-oIdentityAgent=none", "-i"];
    let with = |args: &[&str]| place.ssh(&[&only[..], args, &["box", "true"]].concat());
    with(&[&path("one")]).exits(0);
    with(&[&path("two")]).exits(255).says(&["Permission denied"]);
    sign("two");
    std::fs::rename(path("two-cert.pub"), path("elsewhere")).unwrap();
    with(&[&path("two")]).exits(255);
    let certificate = format!("-oCertificateFile={}", path("elsewhere"));
    with(&[&path("two"), &certificate]).exits(0);
    let other = with(&[&path("one.pub"), &certificate]).exits(255);
    println!("{}", other.stderr);
    // The agent signs for a certificate that it has never seen.
    let agent = Agent::start(&place.home);
    agent.run(&place, "/usr/bin/ssh-add", &["-q", &path("two")]).exits(0);
    std::fs::rename(path("two"), path("gone")).unwrap();
    let named = ["-oIdentitiesOnly=yes", "-i", &path("two.pub"), &certificate, "box", "true"];
    agent.ssh(&place, &named).exits(0);
    // A public half alone names a key of the agent.
    let plain = Place::new("");
    plain.home.write("id.pub", plain.home.read("home/.ssh/id_ed25519.pub"));
    let agent = Agent::start(&plain.home);
    let key = plain.home.path("home/.ssh/id_ed25519");
    agent.run(&plain, "/usr/bin/ssh-add", &["-q", key.to_str().unwrap()]).exits(0);
    std::fs::remove_file(&key).unwrap();
    let public = plain.home.path("id.pub").to_str().unwrap().to_owned();
    let named = ["-oIdentitiesOnly=yes", "-i", &public, "box", "true"];
    agent.ssh(&plain, &named).exits(0);
    // `id` where there is only `id.pub`.
    let named = ["-oIdentitiesOnly=yes", "-i", public.trim_end_matches(".pub"), "box", "true"];
    agent.ssh(&plain, &named).exits(0);
}

#[test]
fn keys_are_given_to_the_agent_when_the_user_wants_it() {
    let place = Place::new("");
    let agent = Agent::start(&place.home);
    agent.ssh(&place, &["box", "true"]).exits(0);
    assert!(!agent.holds(&place).contains("ED25519"));
    agent.ssh(&place, &["-oAddKeysToAgent=2", "box", "true"]).exits(0);
    assert!(agent.holds(&place).contains("ED25519"));
    until("the end of the key's time", || !agent.holds(&place).contains("ED25519"));
    let askpass = |answer: &str| {
        use std::os::unix::fs::PermissionsExt;
        let script = place.home.write("askpass", format!("#!/bin/sh\necho {answer}\n"));
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ssh = place.home.path("bin/ssh");
        let mut command =
            place.command(ssh.to_str().unwrap(), &["-oAddKeysToAgent=ask", "box", "true"]);
        command.env("SSH_AUTH_SOCK", &agent.socket).env("SSH_ASKPASS", &script);
        command.env("SSH_ASKPASS_REQUIRE", "force");
        Run::of(wait(start(&mut command, ""))).exits(0);
    };
    askpass("no");
    assert!(!agent.holds(&place).contains("ED25519"));
    askpass("yes");
    assert!(agent.holds(&place).contains("ED25519"));
    agent
        .ssh(&place, &["-oAddKeysToAgent=whenever", "box", "true"])
        .exits(255)
        .says(&["not a time"]);
}

#[test]
fn keys_that_are_bound_to_a_destination_go_there_and_no_further() {
    let place = Place::new("AllowAgentForwarding yes\n");
    let key = place.home.read("home/.ssh/id_ed25519.pub");
    let other = sshd(&place.home, IP, &key, "");
    // The agent is told by names that known_hosts has.
    let known = |name: &str, port: &str| {
        let public = place.home.read(&format!("sshd-{port}/host_key.pub"));
        format!("{name} {}\n", public.trim())
    };
    let names = known("box", &place.server.port()) + &known("far", &other.port());
    let names = place.home.write("names", names).to_str().unwrap().to_owned();
    let agent = Agent::start(&place.home);
    let path = place.home.path("home/.ssh/id_ed25519").to_str().unwrap().to_owned();
    let add = |constraints: &[&str]| {
        agent.run(&place, "/usr/bin/ssh-add", &["-q", "-D"]);
        let bound: Vec<&str> = constraints.iter().flat_map(|to| ["-h", *to]).collect();
        let args = [&["-q", "-H", &names], &bound[..], &[&path]].concat();
        agent.run(&place, "/usr/bin/ssh-add", &args).exits(0);
    };
    let public = place.home.path("home/.ssh/id_ed25519.pub").to_str().unwrap().to_owned();
    std::fs::copy(&path, place.home.path("kept")).unwrap();
    let only = |args: &[&str]| {
        let by_agent = ["-oIdentitiesOnly=yes", "-i", &public, "-A"];
        agent.ssh(&place, &[&by_agent[..], args].concat())
    };
    // To the other one from there, by an ssh that has nothing but the agent.
    let onward = format!(
        "ssh -F none -oBatchMode=yes -oIdentityFile=none -oStrictHostKeyChecking=no \
         -oUserKnownHostsFile=/dev/null -p {} root@{IP} echo far",
        other.port()
    );
    add(&["box"]);
    std::fs::remove_file(&path).unwrap();
    only(&["box", "true"]).exits(0);
    only(&["-p", &other.port(), "-oHostKeyAlias=far", "box", "true"]).exits(255);
    only(&["box", &onward]).exits(255);
    std::fs::copy(place.home.path("kept"), &path).unwrap();
    add(&["box", "box>far"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(only(&["box", &onward]).exits(0).text(), "far\n");
    // Over a jump host it is bound to where it ends.
    let jump = ["-J", "box", "-p", &other.port(), "-oHostKeyAlias=far", "box", "true"];
    only(&jump).exits(255);
}

#[test]
fn keys_are_exchanged_again_as_often_as_is_asked_for() {
    let place = Place::new("LogLevel DEBUG1\n");
    let data = noise(4 << 20);
    for limit in ["-oRekeyLimit=256k", "-oRekeyLimit=default 1"] {
        let before = place.server.log().matches("SSH2_MSG_NEWKEYS received").count();
        let ssh = place.home.path("bin/ssh");
        let script = if limit.contains("256") { "cat" } else { "cat; sleep 3" };
        let mut command = place.command(ssh.to_str().unwrap(), &[limit, "box", script]);
        let mut child = start(command.stdin(Stdio::piped()), "");
        let mut input = child.stdin.take().unwrap();
        let sent = data.clone();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &sent));
        assert!(wait(child).stdout == data);
        writer.join().unwrap().unwrap();
        let times = place.server.log().matches("SSH2_MSG_NEWKEYS received").count() - before;
        println!("{limit}: {times} key exchanges");
        assert!(times > if limit.contains("256") { 8 } else { 2 }, "{limit}: {times}");
    }
    place.ssh(&["-oRekeyLimit=often", "box", "true"]).exits(255).says(&["not an amount of data"]);
}

#[test]
fn the_escape_character_is_the_users() {
    let place = Place::new("");
    let config = place.home.path("home/.ssh/config");
    let start = |options: &[&str]| {
        let fixed = ["openssh", "-F", config.to_str().unwrap(), "-tt"];
        let args = [&fixed[..], options, &["box", "cat"]].concat();
        Terminal::start(&place.home, &args, 80, 24, &[])
    };
    let mut percent = start(&["-e", "%"]);
    percent.send("~.\r");
    percent.expect("~.\r\n~.\r\n");
    percent.send("%?");
    percent.expect("%.   - terminate connection");
    percent.send("\r%.");
    assert_eq!(percent.exit_code(), Some(255));
    let mut control = start(&["-oEscapeChar=^]"]);
    control.send("on\r");
    control.expect("on\r\non\r\n");
    control.send("\x1d.");
    assert_eq!(control.exit_code(), Some(255));
    let mut none = start(&["-e", "none"]);
    none.send("~.\r");
    none.expect("~.\r\n~.\r\n");
    none.send("\x04");
    assert_eq!(none.exit_code(), Some(0));
    place.ssh(&["-e", "two", "-tt", "box", "true"]).exits(255).says(&["escapechar"]);
}

#[test]
fn connections_come_from_where_they_are_to_come_from() {
    let place = Place::new("");
    let from = ["box", "echo $SSH_CLIENT"];
    let client = |args: &[&str]| {
        let text = place.ssh(&[args, &from].concat()).exits(0).text();
        text.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(client(&["-b", "127.0.0.9"]), "127.0.0.9");
    assert_eq!(client(&["-oBindAddress=127.0.0.8", "-B", "lo"]), "127.0.0.8");
    place.ssh(&["-b", "nowhere", "box", "true"]).exits(255).says(&["not an address of here"]);
    place.ssh(&["-b", "::1", "box", "true"]).exits(255);
    place.ssh(&["-B", "no-such-if", "box", "true"]).exits(255);
    // A server that comes up late.
    let port = free_port(IP);
    let ssh = place.home.path("bin/ssh");
    let port_text = port.to_string();
    let args = ["-p", &port_text, "-oConnectionAttempts=20", "box", "echo", "late"];
    let waiting = start(&mut place.command(ssh.to_str().unwrap(), &args), "");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let server = std::net::TcpListener::bind((IP, port)).unwrap();
    let to = place.server.address;
    std::thread::spawn(move || {
        let (mut here, _) = server.accept().unwrap();
        let mut there = std::net::TcpStream::connect(to).unwrap();
        let (mut from, mut back) = (here.try_clone().unwrap(), there.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut there));
        std::io::copy(&mut back, &mut here)
    });
    assert_eq!(Run::of(wait(waiting)).exits(0).text(), "late\n");
    place.ssh(&["-oConnectionAttempts=0", "box", "true"]).exits(255).says(&["from 1"]);
}

#[test]
fn short_names_are_found_in_their_domains() {
    let place = Place::new("");
    let config = place.home.read("home/.ssh/config");
    place.home.write(
        "home/.ssh/config",
        format!(
            "HashKnownHosts no\nCanonicalizeHostname yes\nCanonicalDomains invalid localhost\n{config}\
             Host *.localhost\n  Port {}\n  User root\n  StrictHostKeyChecking accept-new\n\
             Match canonical host short.localhost\n  SetEnv LC_FOUND=canonical\n",
            place.server.port()
        ),
    );
    let shown = place.ssh(&["-G", "short"]).exits(0).text();
    assert!(shown.contains("\nhostname short.localhost\n"), "{shown}");
    assert_eq!(place.ssh(&["short", "echo $LC_FOUND"]).exits(0).text(), "canonical\n");
    assert!(place.home.read("home/.ssh/known_hosts").contains("[short.localhost]:"));
    let strict = ["-oCanonicalDomains=invalid", "-oCanonicalizeFallbackLocal=no", "short", "true"];
    place.ssh(&strict).exits(255).says(&["Could not resolve host \"short\""]);
}
