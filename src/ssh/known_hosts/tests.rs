use proptest::prelude::*;

use super::test_keys::*;
use super::*;

fn known(text: &str) -> KnownHosts {
    let mut known = KnownHosts::default();
    known.parse(Path::new("kh"), text.as_bytes());
    known
}

/// A short word for a verdict: `known:LINE`, `changed:N` and so on.
fn short(verdict: Verdict) -> String {
    match verdict {
        Verdict::Known { line, .. } => format!("known:{line}"),
        Verdict::Revoked { line, .. } => format!("revoked:{line}"),
        Verdict::Changed { entries } => format!("changed:{}", entries.len()),
        Verdict::OtherType { entries } => format!("other:{}", entries.len()),
        Verdict::Unknown => "unknown".into(),
    }
}

fn look(text: &str, name: &str, port: u16) -> String {
    short(known(text).lookup(name, port, &key(ED25519)))
}

/// `E`, `O`, `R` at the end of a line stand for the offered key, another one of
/// its type, and one of another type.
fn expand(text: &str) -> String {
    text.lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((start, "E")) => format!("{start} {ED25519}\n"),
            Some((start, "O")) => format!("{start} {OTHER_ED25519}\n"),
            Some((start, "R")) => format!("{start} {RSA}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn lookups_agree_with_openssh() {
    // vendor-tests/known_hosts.rs asks the real ssh(1) the same questions.
    for (text, port, expected) in [
        ("", 22, "unknown"),
        ("host E", 22, "known:1"),
        ("HOST E", 22, "known:1"),
        ("# host E\n\n  \t\nhost E", 22, "known:4"),
        ("  \thost E", 22, "known:1"),
        ("other,host,third E", 22, "known:1"),
        ("*,!host E", 22, "unknown"),
        ("host O", 22, "changed:1"),
        ("host R", 22, "other:1"),
        ("host R\nhost O", 22, "changed:2"),
        // A stale line never hides a matching one, in whatever order.
        ("host O\nhost E", 22, "known:2"),
        ("host E\nhost O", 22, "known:1"),
        ("host R\nhost O\nh* E", 22, "known:3"),
        // Ports.
        ("[host]:2222 E", 2222, "known:1"),
        ("[host]:2222 E", 22, "unknown"),
        ("[host]:2222 E", 2223, "unknown"),
        ("host E", 2222, "known:1"),
        ("host O", 2222, "unknown"),
        ("[host]:2222 O\nhost E", 2222, "changed:1"),
        ("[host]:2222 R\nhost E", 2222, "other:1"),
        ("[host]:2222 E\nhost O", 2222, "known:1"),
        ("* O", 2222, "changed:1"),
        // Port 22 is never written in brackets.
        ("[host]:22 E", 22, "unknown"),
        ("host E", 0, "known:1"),
        // Markers.
        ("@revoked host E", 22, "revoked:1"),
        ("host E\n@revoked host E", 22, "revoked:2"),
        ("@revoked * E\nhost E", 22, "revoked:1"),
        ("host E\n@revoked host O", 22, "known:1"),
        ("@revoked other E\nhost E", 22, "known:2"),
        ("@revoked [host]:2222 E\n[host]:2222 E", 2222, "revoked:1"),
        ("@cert-authority host E", 22, "unknown"),
        ("@cert-authority host O", 22, "unknown"),
        // ssh(1) lets this pass; a revoked key is revoked on every port.
        ("[host]:2222 E\n@revoked host E", 2222, "revoked:2"),
    ] {
        assert_eq!(look(&expand(text), "Host", port), expected, "{text:?} port {port}");
    }
}

#[test]
fn every_key_type_is_read_and_found() {
    for line in [ED25519, ECDSA256, ECDSA384, ECDSA521, RSA, DSA, SK_ED25519, SK_ECDSA] {
        let known = known(&format!("host {line} a comment\r\n"));
        assert_eq!(known.skipped(), 0, "{line}");
        assert_eq!(short(known.lookup("host", 22, &key(line))), "known:1", "{line}");
    }
}

#[test]
fn curves_are_types_of_their_own() {
    let known = known(&format!("host {ECDSA384}"));
    assert_eq!(short(known.lookup("host", 22, &key(ECDSA256))), "other:1");
}

#[test]
fn lines_nobody_understands_are_counted_and_skipped() {
    let bad = [
        "host".to_owned(),
        "host ssh-ed25519".into(),
        "host 1024 35 1234567890".into(),
        format!("@unknown host {ED25519}"),
        format!("@revoked @cert-authority host {ED25519}"),
        format!("@revoked{ED25519}"),
        format!("|1|x|y {ED25519}"),
        format!("host {}", ED25519.replace("ssh-ed25519", "ssh-rsa")),
        format!("host {}", &ED25519[..ED25519.len() - 4]),
        format!("host {ED25519}AAAA"),
        format!("host\0 {ED25519}"),
        "host ssh-mldsa AAAA".into(),
    ];
    for line in &bad {
        let known = known(line);
        assert_eq!((known.skipped(), known.lines.len()), (1, 0), "{line:?}");
    }
    let text = format!("{}\nhost {ED25519}", bad.join("\n"));
    assert_eq!(look(&text, "host", 22), format!("known:{}", bad.len() + 1));
    assert_eq!(known(&text).skipped(), bad.len());
}

#[test]
fn a_comment_in_any_encoding_is_no_reason_to_skip_a_line() {
    let mut known = KnownHosts::default();
    let mut text = format!("host {ED25519} ").into_bytes();
    text.extend([0xe9, 0xff, 0x80]);
    known.parse(Path::new("kh"), &text);
    assert_eq!(short(known.lookup("host", 22, &key(ED25519))), "known:1");
}

#[test]
fn changed_entries_say_where_and_which() {
    let known = known(&format!("\nhost,alias {OTHER_ED25519}\nhost {RSA}\n"));
    let Verdict::Changed { entries } = known.lookup("host", 22, &key(ED25519)) else {
        panic!("not changed");
    };
    let first = &entries[0];
    assert_eq!((first.path.as_path(), first.line), (Path::new("kh"), 2));
    assert_eq!(first.fingerprint, key(OTHER_ED25519).fingerprint(HashAlg::Sha256));
    assert_eq!((first.names.as_str(), &first.algorithm), ("host,alias", &Algorithm::Ed25519));
    assert_eq!(entries[1].line, 3);
}

#[test]
fn known_algorithms_come_in_the_order_of_the_lines_without_sha1() {
    let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
    let text = format!(
        "host {RSA}\n* {ED25519}\nhost {OTHER_ED25519}\nother {ECDSA256}\n\
         @cert-authority host {ECDSA384}\nhost {ECDSA521}\n@revoked * {ECDSA521}\n"
    );
    assert_eq!(
        known(&text).known_algorithms("HOST", 22),
        [rsa(HashAlg::Sha512), rsa(HashAlg::Sha256), Algorithm::Ed25519]
    );
    assert!(known("").known_algorithms("host", 22).is_empty());
    // The plain name's keys count on another port only if that has none.
    let text = format!("host {RSA}\n[host]:2222 {ED25519}\n");
    assert_eq!(known(&text).known_algorithms("host", 2222), [Algorithm::Ed25519]);
    assert_eq!(known(&text).known_algorithms("host", 2223).len(), 2);
}

#[test]
fn authorities_are_kept_apart_from_host_keys() {
    let text = format!(
        "@cert-authority *.example,[x.example]:2222 {ED25519}\n@cert-authority [x.*]:2222 {RSA}\n"
    );
    let known = known(&text);
    let lines = |port| {
        let found = known.authorities("x.Example", port);
        found.iter().map(|entry| entry.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(22), [1]);
    assert_eq!(lines(2222), [1, 2, 1]);
    assert!(known.authorities("other", 22).is_empty());
    assert!(known.revoked("x.example", 22, &key(ED25519)).is_none());
}

#[test]
fn other_names_of_a_key_are_found() {
    let text = format!("a,b {ED25519}\nc {OTHER_ED25519}\n@revoked d {ED25519}\n");
    let names: Vec<String> =
        known(&text).other_names(&key(ED25519)).into_iter().map(|entry| entry.names).collect();
    assert_eq!(names, ["a,b"]);
}

#[test]
fn several_files_are_one_list_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["one", "missing", "two"].map(|name| dir.path().join(name));
    std::fs::write(&paths[0], format!("host {OTHER_ED25519}\n")).unwrap();
    std::fs::write(&paths[2], format!("#\nhost {ED25519}")).unwrap();
    let verdict = KnownHosts::load(&paths).unwrap().lookup("host", 22, &key(ED25519));
    assert_eq!(verdict, Verdict::Known { path: paths[2].clone(), line: 2, is_exact: true });
}

#[test]
fn the_usual_files_are_those_of_ssh() {
    let user = user_files(Path::new("/home/me"));
    assert_eq!(user[0], Path::new("/home/me/.ssh/known_hosts"));
    assert_eq!((user.len(), global_files().len()), (2, 2));
}

proptest! {
    #[test]
    fn no_file_makes_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut known = KnownHosts::default();
        known.parse(Path::new("kh"), &text);
        known.lookup("host", 2222, &key(ED25519));
    }

    #[test]
    fn no_damaged_line_makes_the_parser_panic(
        which in 0usize..8, position in 0usize..400, byte: u8, cut in 0usize..400,
    ) {
        let keys = [ED25519, ECDSA256, ECDSA384, ECDSA521, RSA, DSA, SK_ED25519, SK_ECDSA];
        let mut text = format!("@revoked host,|1|,[a]:1 {} x", keys[which]).into_bytes();
        if let Some(there) = text.get_mut(position) {
            *there = byte;
        }
        text.truncate(text.len().saturating_sub(cut));
        let mut known = KnownHosts::default();
        known.parse(Path::new("kh"), &text);
        known.lookup("host", 22, &key(ED25519));
    }

    #[test]
    fn no_key_blob_makes_the_parser_panic(
        which in 0usize..8, blob in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let keys = [ED25519, ECDSA256, ECDSA384, ECDSA521, RSA, DSA, SK_ED25519, SK_ECDSA];
        let key_type = keys[which].split(' ').next().unwrap();
        let mut bytes = u32::try_from(key_type.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(key_type.bytes());
        bytes.extend(blob);
        known(&format!("host {key_type} {}", data_encoding::BASE64.encode(&bytes)));
    }
}
