//! Which keys and certificates are offered, each beside OpenSSH's own ssh.

use std::process::Command;

use crate::harness::{Home, Run, run, start, wait};
use crate::openssh::Agent;
use crate::openssh_personality::Place;

/// What we do with `args`, and what OpenSSH does, with the same configuration.
fn both(place: &Place, args: &[&str], env: &[(&str, &str)]) -> (Run, Run) {
    let config = place.home.path("home/.ssh/config");
    let known = format!("-oUserKnownHostsFile={}", place.home.path("known").display());
    let args = [&["-F", config.to_str().unwrap(), &known], args].concat();
    let ours = place.home.path("bin/ssh");
    let run = |program: &str| {
        let mut command = place.command(program, &args);
        Run::of(wait(start(command.envs(env.iter().copied()), "openssh-client")))
    };
    (run(ours.to_str().unwrap()), run("/usr/bin/ssh"))
}

/// Both exit with `code`.
#[track_caller]
fn both_exit(place: &Place, args: &[&str], env: &[(&str, &str)], code: i32) {
    let (ours, theirs) = both(place, args, env);
    assert_eq!(theirs.code, Some(code), "OpenSSH, {args:?}: {}", theirs.stderr);
    assert_eq!(ours.code, Some(code), "{args:?}: {}", ours.stderr);
}

/// A certificate for root in `NAME-cert.pub`, or where it is wanted.
fn certify(home: &Home, key: &str, to: Option<&str>) {
    let ca = home.path("ca");
    if !ca.exists() {
        home.keygen("ca", "ed25519", "");
    }
    let public = home.path(&format!("{key}.pub"));
    let (ca, public) = (ca.to_str().unwrap(), public.to_str().unwrap());
    run("ssh-keygen", &["-q", "-s", ca, "-I", "id", "-n", "root", public], "openssh-client");
    if let Some(to) = to {
        std::fs::rename(home.path(&format!("{key}-cert.pub")), home.path(to)).unwrap();
    }
}

#[test]
fn certificates_are_used_with_the_keys_that_they_are_for() {
    let home = Home::new();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        home.keygen(kind, kind, "");
        certify(&home, kind, Some(&format!("{kind}.certificate")));
    }
    home.keygen("beside", "rsa", "");
    certify(&home, "beside", None);
    home.keygen("locked", "ed25519", "secret");
    certify(&home, "locked", Some("locked.certificate"));
    let ca = format!("TrustedUserCAKeys {}\n", home.path("ca.pub").display());
    let agent = Agent::start(&home, &["ed25519"]);
    let place = Place::of(home, "", &ca);
    let path = |name: &str| place.home.path(name).to_str().unwrap().to_owned();
    let identity = |name: &str| format!("-oIdentityFile={}", path(name));
    let certificate = |name: &str| format!("-oCertificateFile={}", path(name));
    let with = |options: &[String], env: &[(&str, &str)], code| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        both_exit(
            &place,
            &[&["-oBatchMode=yes"], &options[..], &["box", "true"]].concat(),
            env,
            code,
        );
    };
    let lent = [("SSH_AUTH_SOCK", agent.1.as_str())];
    for kind in ["ed25519", "rsa", "ecdsa"] {
        with(&[identity(kind)], &[], 255);
        with(&[identity(kind), certificate(&format!("{kind}.certificate"))], &[], 0);
        // The right one of several.
        let others =
            ["ed25519", "rsa", "ecdsa"].map(|kind| certificate(&format!("{kind}.certificate")));
        with(&[&others[..], &[identity(kind)]].concat(), &[], 0);
        let wrong = if kind == "rsa" { "ecdsa" } else { "rsa" };
        with(&[identity(kind), certificate(&format!("{wrong}.certificate"))], &[], 255);
    }
    // Beside the key; but not where others are named.
    with(&[identity("beside")], &[], 0);
    with(&[identity("beside"), certificate("rsa.certificate")], &[], 255);
    with(&[identity("beside"), certificate("beside-cert")], &[], 0);
    with(&[identity("beside"), certificate("beside-cert.pub")], &[], 0);
    with(&[identity("beside-cert.pub"), identity("beside")], &[], 0);
    with(&[identity("beside-cert.pub")], &[], 255);
    // With the private half in the agent, and in no file that is used.
    let none = identity("none");
    with(&[none.clone(), certificate("ed25519.certificate")], &lent, 0);
    with(&[none.clone(), certificate("rsa.certificate")], &lent, 255);
    let only = "-oIdentitiesOnly=yes".to_owned();
    with(&[none, certificate("ed25519.certificate"), only.clone()], &lent, 255);
    with(&[identity("ed25519.pub"), certificate("ed25519.certificate"), only], &lent, 0);
    // Nobody is asked for a passphrase of a key that is not wanted.
    with(&[identity("locked"), certificate("locked.certificate")], &[], 255);
}

#[test]
fn a_public_half_names_a_key_of_the_agent() {
    let home = Home::new();
    for name in ["one", "two", "three", "four", "five", "six", "seven"] {
        home.keygen(name, "ed25519", "");
    }
    let agent = Agent::start(&home, &["one", "two", "three", "four", "five", "six", "seven"]);
    std::fs::remove_file(home.path("seven")).unwrap();
    let seven = home.read("seven.pub");
    let place = Place::of(home, &seven, "MaxAuthTries 3\n");
    let path = |name: &str| format!("-oIdentityFile={}", place.home.path(name).display());
    let env = [("SSH_AUTH_SOCK", agent.1.as_str())];
    let with = |options: &[&str], code| {
        both_exit(&place, &[&["-oBatchMode=yes"], options, &["box", "true"]].concat(), &env, code);
    };
    // The agent alone uses up the server's patience.
    with(&["-oIdentityFile=none"], 255);
    for only in ["-oIdentitiesOnly=yes", "-oIdentitiesOnly=no"] {
        with(&[only, &path("seven.pub")], 0);
        with(&[only, &path("seven")], 0);
        // All that are named come before all that are not.
        with(&[only, &path("one"), &path("six.pub"), &path("seven")], 0);
    }
    with(&["-oIdentitiesOnly=yes", &path("one")], 255);
}

#[test]
fn keys_that_may_be_used_for_some_hosts_only_are_used_for_those() {
    let place = Place::new("AllowAgentForwarding yes\nAllowTcpForwarding yes\n");
    place.home.keygen("bound", "ed25519", "");
    let bound = place.home.read("bound.pub");
    let far = crate::harness::sshd(&place.home, "127.0.0.1", &bound, "");
    let near = crate::harness::sshd(&place.home, "127.0.0.1", &bound, "AllowAgentForwarding yes\n");
    let host_key = |port: &str| place.home.read(&format!("sshd-{port}/host_key.pub"));
    let known = format!(
        "[127.0.0.1]:{0} {1}near {1}[127.0.0.1]:{2} {3}far {3}",
        near.port(),
        host_key(&near.port()),
        far.port(),
        host_key(&far.port())
    );
    let known = place.home.write("known", known);
    let mut config = place.home.read("home/.ssh/config");
    for (name, port) in [("near", near.port()), ("far", far.port())] {
        config += &format!(
            "Host {name}\n HostName 127.0.0.1\n Port {port}\n User root\n HostKeyAlias {name}\n"
        );
    }
    config += &format!(
        "Host *\n IdentityFile none\n BatchMode yes\n UserKnownHostsFile {}\n",
        known.display()
    );
    let file = place.home.write("home/.ssh/config", &config);
    let bare = |constraints: &[&str]| {
        let agent = Agent::start(&place.home, &[]);
        let mut args = vec!["-q", "-H", known.to_str().unwrap()];
        for constraint in constraints {
            args.extend(["-h", constraint]);
        }
        let key = place.home.path("bound");
        args.push(key.to_str().unwrap());
        let mut add = Command::new("ssh-add");
        let status = add.args(&args).env("SSH_AUTH_SOCK", &agent.1).status().unwrap();
        assert!(status.success(), "{args:?}");
        agent
    };
    let on = format!("/usr/bin/ssh -F {} far echo there", file.display());
    let inner =
        format!("{} -F {} far echo there", place.home.path("bin/ssh").display(), file.display());
    for (constraints, direct, lent) in
        [(&["near"][..], 255, 255), (&["near", "near>far"], 255, 0), (&["near", "far"], 0, 255)]
    {
        let agent = bare(constraints);
        let env = [("SSH_AUTH_SOCK", agent.1.as_str())];
        both_exit(&place, &["near", "true"], &env, 0);
        both_exit(&place, &["far", "true"], &env, direct);
        both_exit(&place, &["-J", "near", "far", "true"], &env, direct);
        both_exit(&place, &["-A", "near", &on], &env, lent);
        both_exit(&place, &["-A", "near", &inner], &env, lent);
    }
}
