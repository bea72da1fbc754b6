use std::path::Path;

use super::known_hosts::test_keys::*;
use super::*;

const ALL: [HostKeyCheck; 5] = [
    HostKeyCheck::Strict,
    HostKeyCheck::Ask,
    HostKeyCheck::AcceptNew,
    HostKeyCheck::Tofu,
    HostKeyCheck::None,
];

fn policy(check: HostKeyCheck) -> HostKeyPolicy {
    HostKeyPolicy {
        check,
        name: ("host".into(), 22),
        files: KnownHostsFiles { user: vec!["/home/me/kh".into()], ..Default::default() },
        shown: "host".into(),
        titles: ("host".into(), "192.0.2.1".into()),
        peer: None,
        stakes: Stakes { all: vec![Stake::Password], gives_up: false },
        allow_first_use: true,
        ..HostKeyPolicy::default()
    }
}

fn known(text: &str) -> KnownHosts {
    let mut known = KnownHosts::default();
    known.parse(Path::new("/home/me/kh"), text.as_bytes());
    known
}

/// `ok`, `note`, `store`, `suspect`, `ask`, `unknown` or `changed`.
fn short(decision: &Decision) -> &'static str {
    match decision {
        Decision::Accept { worth: Worth::Nothing(_), note: Some(_), remember: false, .. } => {
            "suspect"
        }
        Decision::Accept { worth: Worth::Nothing(_), .. } => "BAD",
        Decision::Accept { remember: true, note: Some(_), .. } => "store",
        Decision::Accept { remember: true, note: None, .. } => "BAD",
        Decision::Accept { note: Some(_), .. } => "note",
        Decision::Accept { note: None, .. } => "ok",
        Decision::Ask { .. } => "ask",
        Decision::Reject { changed: false, .. } => "unknown",
        Decision::Reject { changed: true, .. } => "changed",
    }
}

#[test]
fn every_check_decides_as_documented() {
    let same = format!("host {ED25519}\n");
    let stale = format!("host {OTHER_ED25519}\n");
    let other_type = format!("host {RSA}\n");
    let revoked = format!("host {ED25519}\n@revoked * {ED25519}\n");
    // Columns: strict, ask, accept-new, tofu, none.
    for (text, first_use, expected) in [
        (same.as_str(), true, ["ok", "ok", "ok", "ok", "ok"]),
        (&same, false, ["ok", "ok", "ok", "ok", "ok"]),
        ("", true, ["unknown", "ask", "store", "store", "suspect"]),
        ("", false, ["unknown", "unknown", "unknown", "unknown", "suspect"]),
        (&stale, true, ["changed", "changed", "changed", "changed", "suspect"]),
        (&stale, false, ["changed", "changed", "changed", "changed", "suspect"]),
        (&other_type, true, ["changed", "changed", "changed", "changed", "suspect"]),
        (&revoked, true, ["changed"; 5]),
        (&revoked, false, ["changed"; 5]),
    ] {
        for (check, expected) in ALL.into_iter().zip(expected) {
            let policy = HostKeyPolicy { allow_first_use: first_use, ..policy(check) };
            let decision = decide(&policy, &known(text), &key(ED25519), None);
            assert_eq!(short(&decision), expected, "{check}, {first_use}, {text:?}");
        }
    }
}

#[test]
fn without_a_file_a_new_key_is_accepted_but_not_stored() {
    let policy = HostKeyPolicy { files: KnownHostsFiles::default(), ..policy(HostKeyCheck::Tofu) };
    assert_eq!(short(&decide(&policy, &known(""), &key(ED25519), None)), "note");
    remember(&policy, &key(ED25519)).unwrap();
}

#[test]
fn a_remembered_key_is_known_and_another_one_loses() {
    let dir = tempfile::tempdir().unwrap();
    let files = KnownHostsFiles {
        user: vec![dir.path().join("kh"), dir.path().join("kh2")],
        global: vec![dir.path().join("global")],
        hash_names: true,
        home: None,
    };
    let policy = HostKeyPolicy { files, name: ("host".into(), 2222), ..policy(HostKeyCheck::Tofu) };
    remember(&policy, &key(ED25519)).unwrap();
    let known = policy.load().unwrap();
    assert_eq!(short(&decide(&policy, &known, &key(ED25519), None)), "ok");
    assert_eq!(short(&decide(&policy, &known, &key(OTHER_ED25519), None)), "changed");
    let secret = HostKeyPolicy { shown: "<secret: v>".into(), ..policy };
    let error = remember(&secret, &key(OTHER_ED25519)).unwrap_err().to_string();
    assert!(error.starts_with("host key verification failed for <secret: v>:"), "{error}");
}

fn warning_of(policy: &HostKeyPolicy, text: &str) -> (String, String) {
    match decide(policy, &known(text), &key(ED25519), None) {
        Decision::Reject { warning, error, .. } => (warning.join("\n"), error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_warning_shows_both_fingerprints_the_lines_and_the_way_out() {
    let policy = HostKeyPolicy { name: ("host".into(), 2222), ..policy(HostKeyCheck::Tofu) };
    let text = format!("\n[host]:2222 {OTHER_ED25519}\n[host]:2222 {RSA}\n");
    let (warning, error) = warning_of(&policy, &text);
    for part in [
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @".to_owned(),
        format!("offered: {}", describe(&key(ED25519))),
        format!("known:   {} (/home/me/kh:2)", describe(&key(OTHER_ED25519))),
        format!("known:   {} (/home/me/kh:3)", describe(&key(RSA))),
        "ssh-keygen -f '/home/me/kh' -R '[host]:2222'".into(),
        "delete line 3, 2 of '/home/me/kh'".into(),
    ] {
        assert!(warning.contains(&part), "{part}\n{warning}");
    }
    assert!(warning.lines().take(3).all(|line| line.len() == 59), "{warning}");
    assert!(error.ends_with("is not the one known from /home/me/kh:2, /home/me/kh:3"), "{error}");
    // The vector is ssh-keygen -l's.
    assert_eq!(
        describe(&key(ED25519)),
        "ED25519 key SHA256:YVQns2pmLXBdNDEWW6mRA+B30rmtV46lJR1GSrg1e6A"
    );
}

#[test]
fn the_key_of_a_machine_is_forgotten_by_the_machines_name() {
    let text = format!("web01 {OTHER_ED25519}\n");
    let command = |identity: &str, policy: HostKeyPolicy| {
        let identity = vec![(identity.to_owned(), 22), ("host".to_owned(), 22)];
        let (warning, _) =
            warning_of(&HostKeyPolicy { identity, ..policy }, &text.replace("web01", "host"));
        assert!(warning.contains("ssh-keygen -f '/home/me/kh' -R 'host'"), "{warning}");
        let line = warning.lines().find(|line| line.contains("trust remove"));
        line.map(|line| line.trim().to_owned())
    };
    let own = || policy(HostKeyCheck::Tofu);
    let says = |machine| Some(format!("clan-connect network trust remove {machine}"));
    assert_eq!(command("web01", own()), says("web01"));
    assert_eq!(command("web01@clan-0123", own()), says("web01"));
    assert_eq!(command("-x", own()), says("MACHINE"));
    // Files that are not the user's own are not changed in this way.
    let files = KnownHostsFiles { global: vec!["/home/me/kh".into()], ..Default::default() };
    assert_eq!(command("web01", HostKeyPolicy { files, ..own() }), None);
    let (warning, _) = warning_of(&own(), &text.replace("web01", "host"));
    assert!(!warning.contains("trust remove"), "{warning}");
}

#[test]
fn a_list_of_stale_lines_does_not_flood_the_terminal() {
    let text = format!("host {OTHER_ED25519}\n").repeat(1000);
    let (warning, error) = warning_of(&policy(HostKeyCheck::Strict), &text);
    assert!(warning.contains("and 992 more"), "{warning}");
    assert!(warning.len() + error.len() < 3000);
}

#[test]
fn a_secret_name_is_in_no_message() {
    let secret = |check| HostKeyPolicy {
        name: ("abcdef.onion".into(), 22),
        shown: "<secret: tor_tor/hostname>".into(),
        titles: ("m".into(), "<secret: tor_tor/hostname>".into()),
        ..policy(check)
    };
    let stale = format!("abcdef.onion {OTHER_ED25519}\n");
    let revoked = format!("@revoked abcdef.onion {ED25519}\n");
    for check in ALL {
        for text in ["", &stale, &revoked] {
            let said = format!("{:?}", decide(&secret(check), &known(text), &key(ED25519), None));
            assert!(!said.contains("abcdef"), "{check}: {said}");
            assert!(said.contains("<secret: tor_tor/hostname>"), "{check}: {said}");
        }
    }
}

#[test]
fn names_and_paths_cannot_play_with_the_terminal() {
    let evil = "a\u{1b}[2J\u{202e}'$(x)";
    let mut known = KnownHosts::default();
    let text = format!("{0} {OTHER_ED25519}\nx\u{1b}]0;y {ED25519}\n", evil);
    known.parse(Path::new("/home/\u{1b}\r/kh"), text.as_bytes());
    for (check, name) in [(HostKeyCheck::Strict, evil), (HostKeyCheck::Ask, "unknown")] {
        let policy = HostKeyPolicy {
            name: (name.into(), 22),
            shown: evil.into(),
            titles: (evil.into(), evil.into()),
            ..policy(check)
        };
        let said = match decide(&policy, &known, &key(ED25519), None) {
            Decision::Reject { warning, error, .. } => format!("{}\n{error}", warning.join("\n")),
            Decision::Ask { question, .. } => question,
            other => panic!("{other:?}"),
        };
        assert!(said.contains("\\u{1b}"), "{said}");
        let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!said.contains(bad), "{said:?}");
        assert!(check == HostKeyCheck::Ask || said.contains(r"'\''$(x)'"), "{said}");
    }
}

#[test]
fn the_question_names_the_key_and_where_else_it_is_known() {
    let ask =
        |text: &str| match decide(&policy(HostKeyCheck::Ask), &known(text), &key(ED25519), None) {
            Decision::Ask { question, fingerprint } => (question, fingerprint),
            other => panic!("{other:?}"),
        };
    let (question, fingerprint) = ask("");
    assert!(question.contains(&fingerprint), "{question}");
    assert!(question.contains("not known by any other names."), "{question}");
    assert!(question.ends_with("(yes/no/[fingerprint])? "), "{question}");
    let (question, _) = ask(&format!("other,10.0.0.1 {ED25519}\n"));
    assert!(question.contains("    /home/me/kh:1: other,10.0.0.1"), "{question}");
}

#[test]
fn only_yes_and_the_very_fingerprint_are_consent() {
    let fingerprint = key(ED25519).fingerprint(HashAlg::Sha256).to_string();
    for (answer, expected) in [
        ("yes", Some(true)),
        ("YES\n", Some(true)),
        (fingerprint.as_str(), Some(true)),
        ("no", Some(false)),
        ("\n", Some(false)),
        ("y", None),
        ("SHA256:", None),
        (&fingerprint.to_lowercase(), None),
    ] {
        assert_eq!(consent(answer, &fingerprint), expected, "{answer:?}");
    }
}

#[test]
fn checks_have_the_words_of_the_command_line_and_of_openssh() {
    for check in ALL {
        assert_eq!(check.to_string().parse::<HostKeyCheck>().unwrap(), check);
    }
    for (word, check) in
        [("yes", HostKeyCheck::Strict), ("no", HostKeyCheck::No), ("OFF", HostKeyCheck::No)]
    {
        assert_eq!(word.parse::<HostKeyCheck>().unwrap(), check);
    }
    assert!(matches!("maybe".parse::<HostKeyCheck>(), Err(Error::Usage(_))));
    assert_eq!(HostKeyCheck::default(), HostKeyCheck::Tofu);
}

fn worth(policy: &HostKeyPolicy, known: &KnownHosts) -> Option<Worth> {
    match decide(policy, known, &key(ED25519), None) {
        Decision::Accept { worth, .. } => Some(worth),
        _ => None,
    }
}

#[test]
fn only_what_the_users_own_file_says_of_the_very_name_is_his_word() {
    let strict = HostKeyPolicy { name: ("host".into(), 2222), ..policy(HostKeyCheck::Strict) };
    let of = |file: &str, text: String| {
        let mut known = KnownHosts::default();
        known.parse(Path::new(file), text.as_bytes());
        worth(&strict, &known)
    };
    assert_eq!(of("/home/me/kh", format!("[host]:2222 {ED25519}\n")), Some(Worth::UsersWord));
    assert_eq!(of("/home/me/kh", format!("host {ED25519}\n")), Some(Worth::Enough));
    assert_eq!(of("/etc/kh", format!("[host]:2222 {ED25519}\n")), Some(Worth::Enough));
    let here = HostKeyPolicy { is_this_computer: true, ..policy(HostKeyCheck::Strict) };
    assert_eq!(worth(&here, &known("")), Some(Worth::Enough));
    assert_eq!(worth(&policy(HostKeyCheck::Tofu), &known("")), Some(Worth::Enough));
    assert_eq!(worth(&policy(HostKeyCheck::No), &known("")), Some(Worth::Enough));
    let stale = known(&format!("host {OTHER_ED25519}\n"));
    for check in [HostKeyCheck::No, HostKeyCheck::None] {
        assert!(matches!(worth(&policy(check), &stale), Some(Worth::Nothing(_))), "{check}");
    }
}

#[test]
fn where_all_that_is_wanted_is_at_stake_an_unchecked_key_ends_it() {
    let stale = known(&format!("host {OTHER_ED25519}\n"));
    for (check, known) in
        [(HostKeyCheck::No, &stale), (HostKeyCheck::None, &stale), (HostKeyCheck::None, &known(""))]
    {
        let stakes = Stakes { all: vec![Stake::Agent, Stake::Ports], gives_up: true };
        let policy = HostKeyPolicy { stakes, ..policy(check) };
        let Decision::Reject { warning, .. } = decide(&policy, known, &key(ED25519), None) else {
            panic!("{check}");
        };
        let last = &warning[warning.len() - 3..];
        assert!(last[0].starts_with("Agent forwarding is disabled"), "{warning:?}");
        assert!(last[1].starts_with("Port forwarding is disabled"), "{warning:?}");
        assert!(last[2].starts_with("Error: forwarding disabled"), "{warning:?}");
    }
}

#[test]
fn a_machines_first_key_is_stored_under_its_name_and_counts_at_all_its_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let files = KnownHostsFiles { user: vec![dir.path().join("kh")], ..Default::default() };
    let identity: Vec<Name> =
        vec![("m".into(), 22), ("10.0.0.1".into(), 22), ("10.0.0.2".into(), 2222)];
    let at = |name: &Name| HostKeyPolicy {
        name: name.clone(),
        identity: identity.clone(),
        files: files.clone(),
        ..policy(HostKeyCheck::Tofu)
    };
    remember(&at(&identity[1]), &key(ED25519)).unwrap();
    let text = std::fs::read_to_string(dir.path().join("kh")).unwrap();
    assert_eq!(text, format!("m {ED25519}\n10.0.0.1 {ED25519}\n"));
    let known = at(&identity[2]).load().unwrap();
    let elsewhere = at(&("10.0.0.9".into(), 22));
    for policy in [at(&identity[2]), elsewhere.clone()] {
        assert_eq!(short(&decide(&policy, &known, &key(ED25519), None)), "ok");
        assert_eq!(short(&decide(&policy, &known, &key(OTHER_ED25519), None)), "changed");
    }
    // Of two first uses at once the second loses, whatever address it is at.
    assert!(matches!(remember(&elsewhere, &key(OTHER_ED25519)), Err(Error::HostKey { .. })));
    let after = std::fs::read_to_string(dir.path().join("kh")).unwrap();
    assert_eq!(after, text);
}

#[test]
fn in_the_words_of_ssh_a_changed_key_is_told_line_by_line() {
    let ssh = HostKeyPolicy {
        wording: Wording::Ssh,
        name: ("host".into(), 2222),
        titles: ("[host]:2222".into(), "[192.0.2.1]:2222".into()),
        ..policy(HostKeyCheck::Strict)
    };
    let (warning, _) = warning_of(&ssh, &format!("[host]:2222 {OTHER_ED25519}\n"));
    let lines: Vec<&str> = warning.lines().skip(9).collect();
    assert_eq!(
        lines,
        [
            "Add correct host key in /home/me/kh to get rid of this message.",
            "Offending ED25519 key in /home/me/kh:1",
            "  remove with:",
            "  ssh-keygen -f \"/home/me/kh\" -R \"[host]:2222\"",
            "Host key for [host]:2222 has changed and you have requested strict checking.",
        ]
    );
}
