//! What goes to the background, beside OpenSSH's own ssh: the configuration is read
//! once, the process is found by its name, and only we ourselves can hand one over.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Run, THEIRS, copy_program, free_port, signal, start, until, wait};
use crate::openssh_personality::Place;

/// A place where a command of the configuration leaves a line each time that it runs.
fn counted() -> Place {
    let place = Place::shared("AllowTcpForwarding yes\n");
    let (config, count) = (place.home.read("home/.ssh/config"), place.home.path("count"));
    let exec = format!("Match exec \"echo %n >> {}\"\n  SetEnv LC_A=matched\n", count.display());
    place.home.write("home/.ssh/config", format!("{exec}{config}"));
    place
}

fn run(place: &Place, ssh: &str, args: &[&str]) -> Run {
    let mut command = place.client(ssh, args);
    // Who stays keeps what it was given to write to.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Run::of(wait(start(&mut command, "openssh-client")))
}

#[test]
fn the_configuration_is_read_once() {
    let place = counted();
    let mark = place.home.path("mark").display().to_string();
    let socket = place.home.path("m").display().to_string();
    for ssh in [THEIRS.to_owned(), place.ours()] {
        let count = || {
            let lines = place.home.read("count").lines().count();
            let _ = std::fs::remove_file(place.home.path("count"));
            lines
        };
        let _ = std::fs::remove_file(&mark);
        let script = format!("echo $LC_A > {mark}");
        run(&place, &ssh, &["-f", "box", &script]).exits(0);
        until("the command", || place.home.read("mark") == "matched\n");
        assert_eq!(count(), 1, "{ssh} -f");
        let forward = format!("127.0.0.1:{}:127.0.0.1:1", free_port("127.0.0.1"));
        let share = ["-S", &*socket, "-oControlMaster=auto", "-oControlPersist=yes"];
        run(&place, &ssh, &[&share[..], &["-f", "-N", "-L", &forward, "box"]].concat()).exits(0);
        assert_eq!(count(), 1, "{ssh} -f -N with ControlPersist");
        // The master is there now.
        run(&place, &ssh, &[&share[..], &["box", "true"]].concat()).exits(0);
        assert_eq!(count(), 1, "{ssh} over the master");
        run(&place, THEIRS, &["-S", &socket, "-O", "exit", "box"]).exits(0);
        count();
        until("the end of the master", || !std::path::Path::new(&socket).exists());
        run(&place, &ssh, &[&share[..], &["box", "true"]].concat()).exits(0);
        assert_eq!(count(), 1, "{ssh} with ControlPersist");
        run(&place, THEIRS, &["-S", &socket, "-O", "exit", "box"]).exits(0);
        count();
        until("the end of the master", || !std::path::Path::new(&socket).exists());
    }
}

fn pgrep(args: &[&str]) -> Vec<i32> {
    let mut command = Command::new("pgrep");
    let done = wait(start(command.args(args).stdout(Stdio::piped()), "procps"));
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn it_is_found_by_its_name_and_its_arguments() {
    let place = Place::shared("AllowTcpForwarding yes\n");
    for (ssh, more) in [
        (THEIRS.to_owned(), &[][..]),
        (place.ours(), &[]),
        // By another name it is called what it stands for.
        (crate::harness::BINARY.to_owned(), &["openssh"]),
    ] {
        let forward = format!("127.0.0.1:{}:127.0.0.1:1", free_port("127.0.0.1"));
        let config = place.home.path("home/.ssh/config").display().to_string();
        let args = ["-f", "-N", "-L", &forward, "-F", &config, "box"];
        run(&place, &ssh, &[more, &args].concat()).exits(0);
        let found = pgrep(&["-f", &format!("ssh -f -N -L {forward} -F {config} box$")]);
        assert_eq!(found.len(), 1, "{ssh}");
        assert!(pgrep(&["-x", "ssh"]).contains(&found[0]), "{ssh}");
        signal(found[0], Signal::TERM);
        until("the end", || pgrep(&["-f", &format!("ssh -f -N -L {forward}")]).is_empty());
    }
}

#[test]
fn a_machine_of_the_clan_goes_there_by_the_same_option() {
    let place = Place::new("");
    let peer = json!({ "host": { "plain": "127.0.0.1" }, "port": place.server.address.port() });
    let exports = json!({ "net": { "priority": 10, "peers": { "m": peer } } });
    place.home.write("exports.json", exports.to_string());
    let mark = place.home.path("mark").display().to_string();
    let script = format!("sleep 0.5; echo done > {mark}");
    let args = ["--exports", "exports.json", "ssh", "m", "-o", "ForkAfterAuthentication=yes"];
    let args = [&args[..], &["-c", "sh", "-c", &script]].concat();
    let mut command = place.home.command(&args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Run::of(wait(start(&mut command, "util-linux"))).exits(0);
    until("the end of the command", || place.home.read("mark") == "done\n");
    // What is wrong is said by the one that was called.
    let wrong = [&args[..6], &["-p", "1", "-c", "true"]].concat();
    place.home.run(&wrong).exits(255).says(&["connection refused", "hint: "]);
    let nothing = place.home.run(&args[..6]).exits(255);
    nothing.says(&["Cannot fork into background without a command"]);
    let piped = ["--exports", "-", "ssh", "m", "-o", "ForkAfterAuthentication=yes", "-c", "true"];
    place.home.run(&piped).exits(255).says(&["cannot read the exports from standard input"]);
}

#[test]
fn nobody_else_hands_anything_over() {
    let place = Place::new("");
    let mark = place.home.path("INJECTED");
    // What we hand over ourselves, but for whom it is from.
    let message = json!({ "is_ssh": true, "name": "x", "options": [
        ["ProxyCommand", [format!("touch {}", mark.display())]]
    ]});
    let message = message.to_string().into_bytes();
    for head in [&b"clan-connect: session 1\n"[..], b"clan-connect: master  1\n"] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(head).unwrap();
        ours.write_all(&(message.len() as u64).to_le_bytes()).unwrap();
        ours.write_all(&message).unwrap();
        let mut command = place.command(&place.ours(), &["box", "cat"]);
        let child: Child = start(command.stdin(Stdio::from(OwnedFd::from(theirs))), "");
        Run::of(wait(child)).exits(255).says(&["the process that waited for this has ended"]);
    }
    assert!(!mark.exists());
    // Any other socket is read as what it is.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"clan-connect: something else").unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let mut command = place.command(&place.ours(), &["box", "cat"]);
    let child = start(command.stdin(Stdio::from(OwnedFd::from(theirs))), "");
    assert_eq!(Run::of(wait(child)).exits(0).text(), "clan-connect: something else");
}

#[test]
fn who_is_not_root_goes_there_as_well() {
    let place = Place::shared("");
    let run = |program: &str, args: &[&str]| crate::harness::run(program, args, "coreutils");
    let dir = place.home.dir.path().to_str().unwrap().to_owned();
    run("chmod", &["711", &dir]);
    run("chown", &["-R", "12345:12345", place.home.path("home").to_str().unwrap()]);
    // Where everybody may run it.
    let binary = place.home.path("bin/own");
    copy_program(crate::harness::BINARY, &binary);
    let config = place.home.path("home/.ssh/config").display().to_string();
    let key = place.home.path("home/.ssh/id_ed25519").display().to_string();
    run("chmod", &["600", &key]);
    let socket = place.home.path("home/master").display().to_string();
    let as_user = |args: &[&str]| {
        let user = ["--reuid", "12345", "--regid", "12345", "--clear-groups"];
        let mut command = place.command("setpriv", &user);
        command.arg(&binary).args(["openssh", "-F", &config, "-S", &socket]).args(args);
        command.stdout(Stdio::null());
        Run::of(wait(start(&mut command, "util-linux")))
    };
    let share = ["-oControlMaster=auto", "-oControlPersist=20"];
    as_user(&[&share[..], &["box", "exit 3"]].concat()).exits(3);
    as_user(&["-O", "exit", "box"]).exits(0);
    let mut command = place.command("setpriv", &["--reuid", "12345", "--regid", "12345"]);
    command
        .arg("--clear-groups")
        .arg(&binary)
        .args(["openssh", "-F", &config, "-f", "box", "true"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Run::of(wait(start(&mut command, "util-linux"))).exits(0);
}

/// Some daemons wait for none of their children, and what they start inherits that.
#[test]
fn who_was_started_with_sigchld_ignored_waits_for_its_own_all_the_same() {
    let place = Place::shared("");
    let config = place.home.path("home/.ssh/config").display().to_string();
    let ignoring = |program: &str, args: &[&str]| {
        let ignore = "import os, signal, sys\n\
                      signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n\
                      os.execv(sys.argv[1], sys.argv[1:])";
        let through = ["-c", ignore, program, "-F", &config];
        let mut command = place.command("/usr/bin/python3", &[&through, args].concat());
        Run::of(wait(start(&mut command, "python3-paramiko")))
    };
    for program in [place.ours(), THEIRS.to_owned()] {
        let exec = ["-oPermitLocalCommand=yes", "-oLocalCommand=echo here", "box", "echo there"];
        let done = ignoring(&program, &exec).exits(0);
        assert_eq!(done.text(), "here\nthere\n", "{program}");
        let refused = ignoring(&program, &["-f", "-p1", "box", "true"]).exits(255);
        let lines = refused.stderr.lines().count();
        assert!(lines == 1 && refused.stderr.contains("refused"), "{program}: {}", refused.stderr);
    }
    // OpenSSH asks such commands before it minds SIGCHLD, and ends here.
    place.home.write("exec", "Match exec false\n Port 8\nMatch exec true\n User met\n");
    let done = ignoring(&place.ours(), &["-F", "exec", "-G", "-oPort=7", "box"]).exits(0);
    assert!(done.text().contains("user met\nhostname box\nport 7\n"), "{}", done.text());
}
