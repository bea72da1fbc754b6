//! When the known hosts follow what a server says of its keys (`UpdateHostKeys`),
//! beside OpenSSH's ssh: only on the word of a server that the user knew already, or
//! has just accepted himself, and only keys that HostKeyAlgorithms admits.

use std::collections::BTreeSet;

use crate::harness::{Home, THEIRS, Terminal, until};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

/// A server with three keys.
fn place() -> Place {
    let home = Home::new();
    let mut config = String::new();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        config += &format!("HostKey {}\n", home.keygen(kind, kind, "").display());
    }
    let key = home.default_key();
    Place::of(home, &key, &config)
}

/// The types of the keys that are known after a run of either client, which began
/// with those of `before`.
#[track_caller]
fn learned(place: &Place, ssh: &str, before: &[&str], options: &[&str]) -> BTreeSet<String> {
    let name = format!("[{IP}]:{}", place.server.port());
    let line = |kind: &&str| {
        let public = place.home.read(&format!("{kind}.pub"));
        let words: Vec<&str> = public.split_whitespace().take(2).collect();
        format!("{name} {}\n", words.join(" "))
    };
    let file = place.home.write("kh", before.iter().map(line).collect::<String>());
    let known = format!("-oUserKnownHostsFile={}", file.display());
    let identity = format!("-i{}", place.home.path("home/.ssh/id_ed25519").display());
    let port = place.server.port();
    let fixed = [
        "-F",
        "none",
        "-oGlobalKnownHostsFile=none",
        &known,
        &identity,
        "-oBatchMode=yes",
        "-p",
        &port,
    ];
    // The keys are announced after the login, and proved in another round trip.
    let args = [&fixed, options, &["root@127.0.0.1", "sleep 1"]].concat();
    place.run(ssh, &args, "openssh-client").exits(0);
    kinds(place)
}

fn kinds(place: &Place) -> BTreeSet<String> {
    let text = place.home.read("kh");
    text.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

#[test]
fn a_server_that_is_met_for_the_first_time_has_no_say() {
    let place = place();
    let ours = place.ours();
    let both = |before: &[&str], options: &[&str]| {
        let options = [&["-oUpdateHostKeys=yes"], options].concat();
        let theirs = learned(&place, THEIRS, before, &options);
        assert_eq!(learned(&place, &ours, before, &options), theirs, "{before:?} {options:?}");
        theirs.len()
    };
    for check in ["no", "accept-new"] {
        assert_eq!(both(&[], &[&format!("-oStrictHostKeyChecking={check}")]), 1, "{check}");
    }
    for check in ["no", "accept-new", "yes"] {
        let option = format!("-oStrictHostKeyChecking={check}");
        assert_eq!(both(&["ed25519"], &[&option]), 3, "{check}");
    }
}

#[test]
fn only_keys_that_are_wanted_are_learned() {
    let place = place();
    let ours = place.ours();
    for (algorithms, count) in [
        ("ssh-ed25519", 1),
        ("ssh-ed25519,rsa-sha2-512", 2),
        ("ssh-ed25519,ecdsa-sha2-nistp256", 2),
        ("-ecdsa-*", 2),
        ("^rsa-sha2-256", 3),
    ] {
        // What is asked for first has to be what is known.
        let before = if algorithms.starts_with('^') { "rsa" } else { "ed25519" };
        let option = format!("-oHostKeyAlgorithms={algorithms}");
        let options = ["-oUpdateHostKeys=yes", "-oStrictHostKeyChecking=yes", &option];
        let theirs = learned(&place, THEIRS, &[before], &options);
        assert_eq!(learned(&place, &ours, &[before], &options), theirs, "{algorithms}");
        assert_eq!(theirs.len(), count, "{algorithms}: {theirs:?}");
    }
}

#[test]
fn the_users_own_yes_is_as_good_as_a_known_key() {
    let place = place();
    let file = place.home.path("kh");
    let known = format!("-oUserKnownHostsFile={}", file.display());
    let identity = format!("-i{}", place.home.path("home/.ssh/id_ed25519").display());
    let port = place.server.port();
    for ssh in [THEIRS, &place.ours()] {
        let _ = std::fs::remove_file(&file);
        let args = [
            "--ctty",
            ssh,
            "-F",
            "none",
            "-oGlobalKnownHostsFile=none",
            "-oUpdateHostKeys=yes",
            &known,
            &identity,
            "-p",
            &port,
            &format!("root@{IP}"),
            "sleep 1",
        ];
        let mut terminal = Terminal::of(place.command("setsid", &args), 100, 30);
        terminal.expect("(yes/no/[fingerprint])? ");
        terminal.send("yes\r");
        assert_eq!(terminal.exit_code(), Some(0), "{}", terminal.text());
        until("all keys", || kinds(&place).len() == 3);
    }
}
