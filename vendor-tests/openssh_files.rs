//! Which files of ssh_config(5) are read, and what counts where several say something:
//! Include, the order of a command line, and tokens that are replaced in later versions
//! of OpenSSH. Beside OpenSSH's own client where it has the behaviour.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::harness::Run;
use crate::harness::THEIRS;
use crate::openssh_personality::Place;

/// What `-G` says to both clients, for the options of `keywords`, sorted.
fn shown(run: &Run, keywords: &[&str]) -> Vec<String> {
    let text = run.text();
    let is_meant = |line: &&str| keywords.contains(&line.split(' ').next().unwrap_or_default());
    let mut lines: Vec<String> = text.lines().filter(is_meant).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Runs both clients, which have to agree; returns what ours did.
#[track_caller]
fn same(place: &Place, args: &[&str], keywords: &[&str]) -> Run {
    let (ours, theirs) = (place.ssh(args), place.run(THEIRS, args, "openssh-client"));
    let plain = |run: &Run| run.stderr.replace('\r', "");
    assert_eq!(ours.code, theirs.code, "{args:?}: {ours:?} {theirs:?}");
    assert_eq!(shown(&ours, keywords), shown(&theirs, keywords), "{args:?}");
    if ours.code != Some(0) {
        assert_eq!(plain(&ours), plain(&theirs), "{args:?}");
    }
    ours
}

#[test]
fn included_files_are_those_that_openssh_includes() {
    let place = Place::new("");
    let folder = place.home.path("conf.d");
    place.home.write("conf.d/a", "Port 1\n");
    place.home.write("conf.d/.DS_Store", "\0\0\0\u{1}Bud1\0\n");
    place.home.write("conf.d/.hidden", "User hidden\n");
    place.home.write("conf.d/deep/.b/c", "User deep\n");
    let folder = folder.display();
    let ask = |text: &str| {
        let file = place.home.write("try", text);
        same(&place, &["-F", file.to_str().unwrap(), "-G", "box"], &["user", "port"])
    };
    let lines = |run: Run| shown(&run, &["user", "port"]).join(",");
    assert_eq!(lines(ask(&format!("Include {folder}/*\nUser late\n"))), "port 1,user late");
    assert_eq!(lines(ask(&format!("Include {folder}/.h*\n"))), "port 22,user hidden");
    assert_eq!(lines(ask(&format!("Include {folder}/?hidden\nUser x\n"))), "port 22,user x");
    assert_eq!(lines(ask(&format!("Include {folder}/deep/*/c\nUser x\n"))), "port 22,user x");
    // A folder is an empty file, and what is not there is no mistake.
    ask(&format!("Include {folder} {folder}/none {folder}/none*\n")).exits(0);
    for nothing in ["Include", "Include \"\"", "Include a \"\""] {
        ask(nothing).exits(255);
    }
}

#[test]
fn an_included_file_that_cannot_be_read_is_a_mistake() {
    let place = Place::new("");
    // Nobody can read it, not even root.
    symlink("loop", place.home.path("loop")).unwrap();
    let writable = place.home.write("writable", "User evil\n");
    std::fs::set_permissions(&writable, std::fs::Permissions::from_mode(0o666)).unwrap();
    place.home.write("within", format!("Include {}\n", place.home.path("loop").display()));
    for (name, why) in [
        ("loop", "Too many levels of symbolic links"),
        ("within", "Too many levels of symbolic links"),
        ("writable", "Bad owner or permissions"),
    ] {
        for text in ["", "Host other\n"] {
            let text = format!("{text}Include {}\n", place.home.path(name).display());
            let file = place.home.write("try", text);
            let args = ["-F", file.to_str().unwrap(), "-G", "box"];
            same(&place, &args, &["user"]).exits(255).says(&[why]);
        }
    }
}

#[test]
fn names_of_included_files_have_tokens_and_variables() {
    // OpenSSH has them since 10.0.
    let place = Place::new("");
    place.home.write("inc/box-root.conf", "User included\n");
    let dir = place.home.path("inc").display().to_string();
    let ask = |name: &str| {
        let file = place.home.write("try", format!("Include {name}\n"));
        let mut command =
            place.command(&place.ours(), &["-F", file.to_str().unwrap(), "-G", "box"]);
        command.env("CONFIGURATION", &dir);
        let child = crate::harness::start(&mut command, "");
        Run::of(crate::harness::wait(child))
    };
    for name in [
        format!("{dir}/%n-%u.conf"),
        "${CONFIGURATION}/box-root.conf".to_owned(),
        "${CONFIGURATION}/%h-*.conf".to_owned(),
    ] {
        assert_eq!(shown(&ask(&name), &["user"]), ["user included"], "{name}");
    }
    ask("${NOWHERE_AT_ALL}/x").exits(255).says(&["NOWHERE_AT_ALL"]);
    ask("%Z/x").exits(255).says(&["%Z"]);
}

#[test]
fn what_is_said_first_on_the_command_line_counts() {
    let place = Place::new("");
    let keywords = [
        "user",
        "port",
        "sessiontype",
        "requesttty",
        "clearallforwardings",
        "exitonforwardfailure",
        "localforward",
    ];
    let file = place.home.write(
        "stream",
        "ClearAllForwardings no\nExitOnForwardFailure no\nRequestTTY force\nLocalForward 1 h:2\n",
    );
    let file = file.to_str().unwrap();
    for args in [
        &["-l", "me", "you@h"][..],
        &["you@h", "-l", "me"],
        &["you@h", "-oUser=me"],
        &["-oUser=me", "you@h"],
        &["you@h", "-W", "a:1", "-l", "x"],
        &["ssh://h:2", "-p", "1"],
        &["-p", "1", "ssh://you@h:2"],
        &["-W", "a:1", "h"],
        &["-oSessionType=default", "-W", "a:1", "h"],
        &["-W", "a:1", "-oSessionType=default", "h"],
        &["-t", "-W", "a:1", "h"],
        &["-W", "a:1", "-t", "h"],
        &["-W", "a:1", "-oClearAllForwardings=no", "-L", "1:h:2", "h"],
        &["-oExitOnForwardFailure=no", "-W", "a:1", "h"],
        &["-N", "-oSessionType=default", "h"],
        &["-t", "-N", "h"],
        &["-N", "-t", "h"],
    ] {
        same(&place, &[&["-F", "none", "-G"], args].concat(), &keywords);
    }
    same(&place, &["-F", file, "-W", "a:1", "-G", "h"], &keywords).exits(0);
}

#[test]
fn users_and_variables_have_tokens_in_files() {
    // OpenSSH has them since 10.1; what is typed is what is meant.
    let place = Place::new("AcceptEnv _TEST_*\n");
    let config = place.home.read("home/.ssh/config").replace("  User root\n", "");
    place.home.write("home/.ssh/config", format!("{config}  User ${{WHO}}\n"));
    let run = |args: &[&str], who: &str| {
        let mut command = place.command(&place.ours(), args);
        command.env("WHO", who);
        Run::of(crate::harness::wait(crate::harness::start(&mut command, "")))
    };
    assert_eq!(run(&["box", "id", "-un"], "root").exits(0).text(), "root\n");
    assert_eq!(run(&["box", "id", "-un"], "%u").code, Some(255), "it is replaced once");
    run(&["box", "true"], "-oProxyCommand=x").exits(255).says(&["invalid characters"]);
    run(&["-G", "box"], "").exits(255);
    let user = |args: &[&str]| shown(&run(args, "root").exits(0), &["user"]).concat();
    assert_eq!(user(&["-G", "-l", "%u", "box"]), "user %u");
    assert_eq!(user(&["-G", "%u@box"]), "user %u");
    let file = place.home.write("try", "User %u-%n\n");
    assert_eq!(user(&["-F", file.to_str().unwrap(), "-G", "box"]), "user root-box");
    let file = place.home.write("try", "User %r\n");
    run(&["-F", file.to_str().unwrap(), "-G", "box"], "root").exits(255).says(&["%r"]);
    let set = ["-oSetEnv=_TEST_A=%n-%p-${WHO} _TEST_B=100%%", "box", "echo $_TEST_A $_TEST_B"];
    let port = place.server.port();
    assert_eq!(run(&set, "root").exits(0).text(), format!("box-{port}-root 100%\n"));
    run(&["-oSetEnv=_TEST_A=%Z", "box", "true"], "root").exits(255).says(&["%Z"]);
    // The list is looked for where the token says.
    let key = place.home.path(&format!("sshd-{port}/host_key.pub"));
    std::fs::copy(key, place.home.path("revoked-box")).unwrap();
    let revoked = format!("-oRevokedHostKeys={}", place.home.path("revoked-%n").display());
    run(&[&revoked, "box", "true"], "root").exits(255).says(&["revoked"]);
}

#[test]
fn a_command_of_match_exec_has_nothing_of_ours() {
    let place = Place::new("");
    let config = place.home.read("home/.ssh/config");
    let noisy = "Match exec \"echo noise; cat; echo more >&1\"\n  Compression no\n";
    place.home.write("home/.ssh/config", format!("{noisy}{config}"));
    for program in [place.ours(), THEIRS.to_owned()] {
        let config = place.home.path("home/.ssh/config");
        let identity = place.home.path("home/.ssh/id_ed25519");
        let identity = identity.to_str().unwrap();
        let args = ["-F", config.to_str().unwrap(), "-i", identity, "box", "cat"];
        let mut command = place.command(&program, &args);
        command.stdin(std::process::Stdio::piped());
        let mut child = crate::harness::start(&mut command, "openssh-client");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"all of it").unwrap();
        let done = Run::of(crate::harness::wait(child));
        assert_eq!(done.exits(0).text(), "all of it", "{program}");
        let shown = place.run(&program, &["-F", args[1], "-G", "box"], "openssh-client");
        assert!(!shown.exits(0).text().contains("noise"), "{program}");
    }
}

#[test]
fn numbers_of_other_forms_are_addresses_and_services_are_ports() {
    let place = Place::new("");
    let port = place.server.port();
    for host in ["127.1", "2130706433", "0x7f000001", "0177.1"] {
        let args = ["-F", "none", "-p", &port, "-o", "StrictHostKeyChecking=no", "-o"];
        let file = format!("UserKnownHostsFile={}", place.home.path("other").display());
        let identity = place.home.path("home/.ssh/id_ed25519");
        let more = ["-i", identity.to_str().unwrap(), "-l", "root", host, "echo in"];
        let args = [&args[..], &[&file], &more].concat();
        for program in [place.ours(), THEIRS.to_owned()] {
            let done = place.run(&program, &args, "openssh-client");
            assert_eq!(done.exits(0).text(), "in\n", "{program} {host}");
        }
    }
    for args in [
        &["-F", "none", "-G", "-p", "http", "box"][..],
        &["-F", "none", "-G", "-o", "Port=nfs", "box"],
        &["-F", "none", "-G", "-L", "imap:h:ssh", "box"],
        &["-F", "none", "-G", "-p", "nothing-of-the-kind", "box"],
        &["-F", "none", "-G", "-p", "HTTP", "box"],
    ] {
        same(&place, args, &["port", "localforward"]);
    }
    for host in ["127.1", "0177.0.0.1", "0:0:0:0:0:0:0:1", "0::1", "2001:db8:0::1", "256.1", "Box."]
    {
        same(&place, &["-F", "none", "-G", host], &["hostname"]);
        let option = format!("HostName={host}");
        same(&place, &["-F", "none", "-G", "-o", &option, "box"], &["hostname"]);
    }
}
