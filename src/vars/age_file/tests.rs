//! The test vectors of the age project (C2SP CCTV, age), all of them.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::vars::key;
use crate::vars::tests::nobody;

struct Vector {
    name: String,
    expect: String,
    payload: Option<String>,
    identities: Vec<Key>,
    passphrase: Option<Secret<String>>,
    file: Vec<u8>,
}

/// Those that are not compressed: the others only try large payloads.
fn vectors() -> Vec<Vector> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/vars/age/testkit");
    let mut vectors = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let end = bytes.windows(2).position(|window| window == b"\n\n").unwrap();
        let header = std::str::from_utf8(&bytes[..end]).unwrap();
        let fields = |name: &str| -> Vec<String> {
            let prefix = format!("{name}: ");
            header.lines().filter_map(|line| Some(line.strip_prefix(&prefix)?.to_owned())).collect()
        };
        if fields("compressed").is_empty() {
            let identities = fields("identity").join("\n");
            vectors.push(Vector {
                name: path.file_name().unwrap().to_str().unwrap().to_owned(),
                expect: fields("expect").remove(0),
                payload: fields("payload").pop(),
                identities: match identities.is_empty() {
                    true => Vec::new(),
                    false => key::native(&identities, &nobody()).unwrap(),
                },
                passphrase: fields("passphrase").pop().map(Secret::new),
                file: bytes[end + 2..].to_vec(),
            });
        }
    }
    vectors
}

fn open(vector: &Vector) -> Result<Option<Secret<Vec<u8>>>, Closed> {
    let mut file = AgeFile::parse(&vector.file)?;
    match &vector.passphrase {
        Some(passphrase) => file.decrypt_with_passphrase(passphrase),
        None => file.open(&vector.identities, &Effort::default()),
    }
}

#[test]
fn every_vector_of_the_age_project_ends_as_it_says() {
    let vectors = vectors();
    assert!(vectors.len() > 120, "{}", vectors.len());
    assert!(vectors.iter().filter(|vector| vector.name.starts_with("hybrid")).count() > 10);
    for vector in vectors {
        let opened = open(&vector);
        match (vector.expect.as_str(), opened) {
            ("success", Ok(Some(plain))) => {
                let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(plain.expose()));
                assert_eq!(Some(digest), vector.payload, "{}", vector.name);
            }
            ("success", other) => panic!("{}: {other:?}", vector.name),
            // The age crate still takes stanzas as they ended before age 1.0;
            // the MAC covers them all the same.
            (_, Ok(Some(_)))
                if ["stanza_missing_body", "stanza_missing_final_line"]
                    .contains(&vector.name.as_str()) => {}
            (_, Ok(Some(_))) => panic!("{}: opened, but {}", vector.name, vector.expect),
            _ => {}
        }
    }
}

#[test]
fn a_post_quantum_identity_is_known_by_its_form() {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| vector.name == "hybrid_identity").unwrap();
    assert!(matches!(vector.identities.as_slice(), [Key::Hybrid(_)]), "{}", vector.name);
    for bad in ["AGE-SECRET-KEY-PQ-1", "AGE-SECRET-KEY-PQ-1QQQQ", "age-secret-key-pq-1qqqq"] {
        assert!(key::native(bad, &nobody()).is_err(), "{bad}");
    }
}

/// An age file for `recipients` strangers and then for `mine`.
fn for_many(recipients: usize, mine: Option<&age::x25519::Identity>) -> Vec<u8> {
    // One stranger many times over is as good as many.
    let stranger = age::x25519::Identity::generate().to_public();
    let mine = mine.map(age::x25519::Identity::to_public);
    let strangers = std::iter::repeat_n(&stranger, recipients);
    let all = strangers.chain(&mine).map(|recipient| recipient as &dyn age::Recipient);
    let mut sealed = Vec::new();
    let mut writer =
        age::Encryptor::with_recipients(all).unwrap().wrap_output(&mut sealed).unwrap();
    std::io::Write::write_all(&mut writer, b"plain").unwrap();
    writer.finish().unwrap();
    sealed
}

#[test]
fn ten_thousand_recipients_are_refused_before_any_key_is_tried() {
    let stanza = format!("-> X25519 {}\n{}\n", "A".repeat(43), "A".repeat(43));
    for count in [10_000, 1001] {
        let stanzas = stanza.repeat(count);
        let file = format!("age-encryption.org/v1\n{stanzas}--- {}\n", "A".repeat(43));
        let closed = AgeFile::parse(file.as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!(closed, Closed::Broken("it has more than 1000 recipients".to_owned()));
    }
}

#[test]
fn a_hundred_recipients_and_twenty_identities_open() {
    let mine = age::x25519::Identity::generate();
    let sealed = for_many(99, Some(&mine));
    let strangers = || age::x25519::Identity::generate();
    let keys = std::iter::repeat_with(strangers).take(19).chain([mine]).map(Key::X25519);
    let keys: Vec<Key> = keys.collect();
    let mut file = AgeFile::parse(&sealed).unwrap();
    let plain = file.open(&keys, &Effort::default()).unwrap().unwrap();
    assert_eq!(plain.expose(), b"plain");
}

#[test]
fn the_tries_for_one_value_end_with_one_error() {
    // age adds a stanza of no meaning, to keep readers honest.
    let sealed = for_many(990, None);
    let keys: Vec<Key> = (0..9).map(|_| Key::X25519(age::x25519::Identity::generate())).collect();
    let effort = Effort::default();
    let mut file = AgeFile::parse(&sealed).unwrap();
    assert_eq!(file.open(&keys[..1], &effort).unwrap().map(|_| ()), None);
    // The rest is spent elsewhere, to save the test's time.
    effort.spend(6600).unwrap();
    assert_eq!(file.open(&keys[1..], &effort).map(|_| ()), Err(Closed::TooMuch));
}

proptest! {
    #[test]
    fn no_bytes_make_the_container_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = AgeFile::parse(&bytes).map(|mut file| file.open(&[], &Effort::default()));
        let framed = [b"age-encryption.org/v1\n-> ".as_slice(), &bytes, b"\n--- x\n"].concat();
        let _ = AgeFile::parse(&framed).map(|mut file| file.open(&[], &Effort::default()));
    }

    #[test]
    fn no_text_makes_the_identity_parsers_panic(text in "(AGE-(SECRET-KEY-(PQ-)?|PLUGIN-)?)?[A-Z0-9#\n -]{0,80}") {
        let _ = key::native(&text, &nobody());
        let _ = key::ssh(&text);
    }
}
