//! Why a key is not used, in the words of OpenSSH's ssh beside it: files that others may
//! read, that are no keys, that are missing; an agent that refuses; comments in any
//! encoding; a certificate in the place of the public key.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::harness::{Home, Run, THEIRS, run, start, until, wait};
use crate::openssh_personality::Place;

/// A place with known hosts, so that nothing is said of the host.
fn place(server: &str) -> Place {
    let place = Place::shared(server);
    place.ssh(&["box", "true"]).exits(0);
    place
}

fn both(place: &Place, args: &[&str], env: &[(&str, &str)]) -> (Run, Run) {
    let run = |ssh: &str| {
        let fixed = ["-F", "none", "-oIdentitiesOnly=yes", "-oBatchMode=yes"];
        let known =
            format!("-oUserKnownHostsFile={}", place.home.path("home/.ssh/known_hosts").display());
        let port = place.server.port();
        let more = [&known, "-p", &port];
        let args = [&fixed[..], &more, args, &["root@127.0.0.1", "echo", "in"]].concat();
        let mut command = place.client(ssh, &args);
        command.envs(env.iter().copied());
        Run::of(wait(start(&mut command, "openssh-client")))
    };
    let (ours, theirs) = (run(&place.ours()), run(THEIRS));
    assert_eq!(ours.code, theirs.code, "{args:?}\nours: {ours:?}\ntheirs: {theirs:?}");
    (ours, theirs)
}

/// Without what OpenSSH has from its library, which differs from version to version.
fn said(run: &Run) -> String {
    run.stderr.replace('\r', "").replace("error in libcrypto", "invalid format")
}

#[test]
fn a_file_that_is_of_no_use_is_named_when_its_turn_comes() {
    let place = place("PasswordAuthentication no\nKbdInteractiveAuthentication no\n");
    let file = |name: &str| place.home.path(name).display().to_string();
    let own = file("home/.ssh/id_ed25519");
    place.home.copy("home/.ssh/id_ed25519", "open");
    std::fs::set_permissions(file("open"), std::fs::Permissions::from_mode(0o644)).unwrap();
    place.home.copy("home/.ssh/id_ed25519", "group");
    std::fs::set_permissions(file("group"), std::fs::Permissions::from_mode(0o640)).unwrap();
    place.home.write("junk", "junk\n");
    std::fs::set_permissions(file("junk"), std::fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["open", "group", "junk", "missing"] {
        let option = format!("-oIdentityFile={}", file(name));
        let (ours, theirs) = both(&place, &[&option], &[]);
        assert_eq!(said(&ours), said(&theirs), "{name}");
        assert!(ours.stderr.contains(&file(name)), "{ours:?}");
        // What comes after it is used all the same, and what comes before is enough.
        let (ours, theirs) = both(&place, &[&option, "-i", &own], &[]);
        assert_eq!((said(&ours), ours.text().as_str()), (said(&theirs), "in\n"), "{name}");
        let (ours, theirs) = both(&place, &["-i", &own, &option], &[]);
        assert_eq!((said(&ours), ours.text().as_str()), (said(&theirs), "in\n"), "{name}");
    }
}

#[test]
fn an_agent_that_refuses_is_named() {
    let place = place("PasswordAuthentication no\nKbdInteractiveAuthentication no\n");
    let socket = place.home.path("agent").display().to_string();
    let mut command = Command::new("ssh-agent");
    // It asks before each use, and there is nobody whom it could ask.
    command.args(["-D", "-a", &socket]).env("SSH_ASKPASS", "/bin/false");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut agent = start(&mut command, "openssh-client");
    until("the agent", || std::path::Path::new(&socket).exists());
    let key = place.home.path("home/.ssh/id_ed25519").display().to_string();
    let mut add = Command::new("ssh-add");
    add.args(["-q", "-c", &key]).env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null());
    assert!(wait(start(&mut add, "openssh-client")).status.success());
    let public = format!("{key}.pub");
    let (ours, theirs) = both(&place, &["-i", &public], &[("SSH_AUTH_SOCK", &socket)]);
    let _ = agent.kill();
    agent.wait().unwrap();
    ours.exits(255).says(&["signing failed for ED25519", "agent refused operation"]);
    theirs.says(&["signing failed for ED25519", "agent refused operation"]);
}

#[test]
fn comments_are_in_any_encoding() {
    let home = Home::new();
    home.default_key();
    for kind in ["ed25519", "rsa"] {
        home.keygen(kind, kind, "");
        let public = std::fs::read(home.path(&format!("{kind}.pub"))).unwrap();
        let mut words: Vec<&[u8]> = public.split(|byte| *byte == b' ').collect();
        words[2] = b"von J\xfcrgen\n";
        home.write(&format!("{kind}.pub"), words.join(&b' '));
    }
    // A key whose own comment is in Latin-1.
    let path = home.path("latin").display().to_string();
    let script = format!("ssh-keygen -q -t ed25519 -N '' -C \"$(printf 'J\\374rgen')\" -f {path}");
    run("sh", &["-c", &script], "openssh-client");
    let authorized = ["ed25519", "rsa", "latin"].map(|name| {
        let bytes = std::fs::read(home.path(&format!("{name}.pub"))).unwrap();
        let words: Vec<String> = bytes
            .split(|byte| *byte == b' ')
            .take(2)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        words.join(" ") + "\n"
    });
    let key = home.read("home/.ssh/id_ed25519.pub");
    let place = Place::of(home, &(authorized.concat() + &key), "");
    place.ssh(&["box", "true"]).exits(0);
    for name in ["ed25519", "rsa", "latin"] {
        let file = place.home.path(name).display().to_string();
        let (ours, theirs) = both(&place, &["-i", &file], &[]);
        assert_eq!((ours.text(), said(&ours)), (theirs.text(), said(&theirs)), "{name}");
        assert_eq!(ours.text(), "in\n", "{name}");
    }
}

#[test]
fn a_certificate_in_the_place_of_the_public_key_is_used() {
    let home = Home::new();
    home.default_key();
    for name in ["ca", "user"] {
        home.keygen(name, "ed25519", "");
    }
    let path = |name: &str| home.path(name).display().to_string();
    let (ca, public) = (path("ca"), path("user.pub"));
    run("ssh-keygen", &["-q", "-s", &ca, "-I", "u", "-n", "root", &public], "openssh-client");
    std::fs::rename(home.path("user-cert.pub"), home.path("user.pub")).unwrap();
    let authorized = format!("cert-authority {}", home.read("ca.pub"));
    let place = Place::of(home, &authorized, "");
    let identity = place.home.path("user").display().to_string();
    let done = place.ssh(&["-i", &identity, "-oIdentitiesOnly=yes", "box", "echo", "in"]);
    assert_eq!(done.exits(0).text(), "in\n");
    // One that is of another key is of no use.
    place.home.copy("home/.ssh/id_ed25519", "other");
    place.home.copy("user.pub", "other.pub");
    let other = place.home.path("other").display().to_string();
    place.ssh(&["-i", &other, "-oIdentitiesOnly=yes", "-oBatchMode=yes", "box", "true"]).exits(255);
}
