//! Files made by the real sops, and what becomes of them when they change.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::vars::key;
use crate::vars::tests::nobody;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/vars/sops")
}

fn keys(names: &[&str]) -> Vec<Key> {
    let read = |name: &&str| fs::read_to_string(fixtures().join(format!("{name}.txt"))).unwrap();
    names.iter().flat_map(|name| key::native(&read(name), &nobody()).unwrap()).collect()
}

fn open(bytes: &[u8], format: Format, keys: &[Key]) -> Result<Option<Secret<Vec<u8>>>, Closed> {
    SopsFile::parse(bytes, format, &Arc::default())?.open(keys, &Effort::default())
}

fn json(bytes: &[u8]) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    // go-ini has this section always, we only when there is something in it.
    if let Some(map) = value.as_object_mut()
        && map.get("DEFAULT").is_some_and(|section| section == &serde_json::json!({}))
    {
        map.shift_remove("DEFAULT");
    }
    value
}

#[test]
fn every_file_of_the_real_sops_decrypts_to_what_the_real_sops_says() {
    let mut count = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.to_str().unwrap().strip_suffix(".expected") else { continue };
        let (expected, path) = (fs::read(&path).unwrap(), Path::new(name));
        let sealed = fs::read(path).unwrap();
        let plain = open(&sealed, Format::of(path), &keys(&["a", "b"]));
        let plain = plain.unwrap_or_else(|closed| panic!("{name}: {closed:?}")).unwrap();
        if Format::of(path) == Format::Binary {
            assert_eq!(plain.expose(), &expected);
        } else {
            assert_eq!(json(plain.expose()), json(&expected), "{name}");
            // Not only the same values, but in the same order.
            let text = String::from_utf8(plain.expose().clone()).unwrap();
            let compact = serde_json::to_string(&json(&expected)).unwrap();
            assert_eq!(text, compact, "{name}");
        }
        count += 1;
    }
    assert!(count >= 15, "{count}");
}

/// sops' own examples are for PGP keys only. Their data keys, which gpg opens
/// with the key that sops publishes, stand in for that; everything else is as
/// versions 3.3 to 3.13 wrote it.
#[test]
fn getsops_own_examples_decrypt_to_what_the_real_sops_says() {
    let dir = fixtures().join("getsops");
    let data_keys = fs::read_to_string(dir.join("data-keys")).unwrap();
    assert_eq!(data_keys.lines().count(), 14);
    for line in data_keys.lines() {
        let (name, data_key) = line.split_once(' ').unwrap();
        let path = dir.join(name);
        let known: Arc<DataKeys> = Arc::default();
        let sealed = fs::read(&path).unwrap();
        let format = Format::of(&path);
        if name == "no_mac.yaml" {
            let refused = SopsFile::parse(&sealed, format, &known).map(|_| None);
            assert!(reason(refused).contains("sops.mac is missing"));
            continue;
        }
        let mut file = SopsFile::parse(&sealed, format, &known)
            .unwrap_or_else(|closed| panic!("{name}: {closed:?}"));
        let data_key = data_encoding::HEXLOWER.decode(data_key.as_bytes()).unwrap();
        known.lock().unwrap().insert(file.metadata.fingerprint.clone(), Secret::new(data_key));
        let plain = file
            .open(&[], &Effort::default())
            .unwrap_or_else(|closed| panic!("{name}: {closed:?}"))
            .unwrap();
        let expected = fs::read(dir.join(format!("{name}.expected"))).unwrap();
        if format == Format::Binary {
            assert_eq!(plain.expose(), &expected, "{name}");
        } else {
            assert_eq!(json(plain.expose()), json(&expected), "{name}");
        }
    }
}

#[test]
fn shares_may_come_from_different_identities_one_after_the_other() {
    let path = fixtures().join("shamir.json");
    let sealed = fs::read(&path).unwrap();
    let expected = json(&fs::read(fixtures().join("shamir.json.expected")).unwrap());
    for pair in [["a", "b"], ["c", "a"], ["b", "c"]] {
        let mut file = SopsFile::parse(&sealed, Format::Json, &Arc::default()).unwrap();
        assert!(file.open(&keys(&pair[..1]), &Effort::default()).unwrap().is_none());
        assert_eq!(file.obstacle().unwrap(), "1 of 2 shares of its data key could be opened");
        let plain = file.open(&keys(&pair[1..]), &Effort::default()).unwrap().unwrap();
        assert_eq!(json(plain.expose()), expected, "{pair:?}");
    }
}

#[test]
fn a_data_key_is_opened_once() {
    let sealed = fs::read(fixtures().join("binary")).unwrap();
    let known = Arc::default();
    let open = |keys: &[Key]| {
        SopsFile::parse(&sealed, Format::Binary, &known)
            .unwrap()
            .open(keys, &Effort::default())
            .unwrap()
    };
    assert!(open(&keys(&["c"])).is_none());
    assert!(open(&keys(&["a"])).is_some());
    assert!(open(&[]).is_some());
}

#[test]
fn a_flipped_bit_gives_an_error_or_the_same_plaintext_but_never_another() {
    let keys = keys(&["a"]);
    for name in ["binary", "mac-only.json", "plain.env"] {
        let path = fixtures().join(name);
        let sealed = fs::read(&path).unwrap();
        let plain = open(&sealed, Format::of(&path), &keys).unwrap().unwrap();
        let (mut refused, mut same) = (0, 0);
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << (at % 8);
            match open(&flipped, Format::of(&path), &keys) {
                Ok(Some(opened)) => {
                    same += 1;
                    // The format leaves names of empty values and, where it is
                    // told to, values in the clear open to change.
                    let is_open = name != "binary";
                    assert!(is_open || opened.expose() == plain.expose(), "{name}, byte {at}");
                }
                Ok(None) | Err(_) => refused += 1,
            }
        }
        assert!(refused > same, "{name}: {refused} refused, {same} the same");
    }
}

#[test]
fn every_flip_in_data_mac_or_time_is_an_error() {
    let sealed = fs::read_to_string(fixtures().join("binary")).unwrap();
    for (field, len) in [("\"data\": ", 110), ("\"mac\": ", 250), ("\"lastmodified\": ", 22)] {
        let start = sealed.find(field).unwrap() + field.len();
        for at in start..start + len {
            let mut flipped = sealed.clone().into_bytes();
            flipped[at] ^= 1;
            let opened = open(&flipped, Format::Binary, &keys(&["a"]));
            assert!(opened.is_err(), "{field} at {at}");
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for name in ["binary", "plain.yaml", "plain.json"] {
        let path = fixtures().join(name);
        let sealed = fs::read(&path).unwrap();
        let whole = sealed.trim_ascii_end().len();
        for len in (0..whole).step_by(7) {
            let opened = open(&sealed[..len], Format::of(&path), &keys(&["a"]));
            // In YAML the version, which comes last, can be missed.
            let tail = name.ends_with(".yaml") && sealed.len() - len < 60;
            assert!(!matches!(opened, Ok(Some(_))) || tail, "{name}, {len}");
        }
    }
}

/// `binary`, with its text changed.
fn changed(from: &str, to: &str) -> Result<Option<Secret<Vec<u8>>>, Closed> {
    let sealed = fs::read_to_string(fixtures().join("binary")).unwrap();
    let changed = sealed.replacen(from, to, 1);
    assert_ne!(sealed, changed, "{from}");
    open(changed.as_bytes(), Format::Binary, &keys(&["a"]))
}

fn reason(opened: Result<Option<Secret<Vec<u8>>>, Closed>) -> String {
    match opened {
        Err(Closed::Broken(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_cannot_be_smuggled_in_beside_or_instead_of_encrypted_ones() {
    // In the clear, with rules that call it so.
    let sealed = fs::read_to_string(fixtures().join("binary")).unwrap();
    let data = sealed.lines().find(|line| line.contains("\"data\"")).unwrap();
    assert!(reason(changed(data, "\"data\": \"evil\",")).contains("not in the form ENC"));
    let evil = "\"data\": \"evil\", \"x\": \"";
    assert!(changed("\"data\": \"", evil).is_err());
    let rule = "\"unencrypted_suffix\": \"data\", \"version\"";
    let both = sealed.replacen(data, "\"data\": \"evil\",", 1).replacen("\"version\"", rule, 1);
    assert_ne!(both, sealed);
    let opened = open(both.as_bytes(), Format::Binary, &keys(&["a"]));
    assert!(reason(opened).contains("MAC does not match"));
    // Emptied, moved, doubled, and without a MAC.
    assert!(reason(changed(data, "\"data\": \"\",")).contains("MAC does not match"));
    assert!(reason(changed("\"data\": \"", "\"date\": \"")).contains("tampered with, or moved"));
    assert!(reason(changed("{", "{\"data\": \"x\", ")).contains("twice"));
    assert!(reason(changed("\"mac\":", "\"max\":")).contains("sops.mac is missing"));
    let weaker = changed("\"version\"", "\"mac_only_encrypted\": true, \"version\"");
    assert!(reason(weaker).contains("MAC does not match"));
}

#[test]
fn broken_metadata_names_its_field() {
    for (from, to, field) in [
        ("\"sops\":", "\"sobs\":", "no sops metadata"),
        ("\"age\": [", "\"age\": 1, \"x\": [", "sops.age is no list"),
        ("\"lastmodified\":", "\"last\":", "sops.lastmodified is missing"),
        ("\"version\"", "\"encrypted_regex\": \"(\", \"v\"", "sops.encrypted_regex"),
        (
            "\"version\"",
            "\"encrypted_suffix\": \"x\", \"unencrypted_suffix\": \"y\", \"v\"",
            "more than one rule",
        ),
    ] {
        assert!(reason(changed(from, to)).contains(field), "{field}");
    }
    // What is damaged may be another's: it is named where nothing opens.
    for (from, to, field) in [
        ("\"enc\": \"", "\"enc\": \"x", "sops.age[0].enc is no age file"),
        ("\"enc\":", "\"end\":", "sops.age[0].enc is missing"),
    ] {
        let sealed = fs::read_to_string(fixtures().join("binary")).unwrap();
        let damaged = sealed.replacen(from, to, 1);
        assert_ne!(sealed, damaged, "{from}");
        let parsed = SopsFile::parse(damaged.as_bytes(), Format::Binary, &Arc::default());
        let mut file = parsed.unwrap();
        assert!(file.open(&keys(&["a"]), &Effort::default()).unwrap().is_none(), "{field}");
        assert!(file.obstacle().unwrap().contains(field), "{field}");
    }
}

#[test]
fn a_file_for_other_kinds_of_keys_says_so() {
    let pgp = "{\"data\": \"x\", \"sops\": {\"pgp\": [{\"enc\": \"x\"}], \"age\": null, \
               \"lastmodified\": \"2026-01-01T00:00:00Z\", \"mac\": \"x\"}}";
    let mut file = SopsFile::parse(pgp.as_bytes(), Format::Binary, &Arc::default()).unwrap();
    assert!(file.open(&keys(&["a"]), &Effort::default()).unwrap().is_none());
    assert!(file.obstacle().unwrap().contains("encrypted for PGP"));
}

#[test]
fn deep_nesting_and_aliases_are_refused() {
    let bomb = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Node::json(bomb.as_bytes()).is_err());
    assert!(yaml::parse(&bomb).is_err());
    assert!(yaml::parse("a: &x [1]\nb: *x").unwrap_err().contains("aliases"));
    assert!(yaml::parse("a: 1\n---\nb: 2").unwrap_err().contains("several"));
    assert!(yaml::parse("a: 1\na: 2").unwrap_err().contains("twice"));
    let deep = format!("sops_a{}=1", "__map_a".repeat(100_000));
    assert!(flat::dotenv(&deep).is_err());
}

#[test]
fn plain_yaml_scalars_have_the_types_of_gos_yaml() {
    let text = |text: &str| Node::Text(text.to_owned());
    for (source, node) in [
        ("yes", text("yes")),
        ("0x1F", Node::Int(31)),
        ("0o17", Node::Int(15)),
        ("017", Node::Int(15)),
        ("-12_000", Node::Int(-12000)),
        ("1e3", Node::Float(1000.0)),
        ("-.5", Node::Float(-0.5)),
        ("1.2.3", text("1.2.3")),
        ("2026-11-23", text("2026-11-23")),
        ("-", Node::List(vec![Node::Null])),
        ("'1'", text("1")),
        ("!!str 1", text("1")),
        ("~", Node::Null),
        ("TRUE", Node::Bool(true)),
    ] {
        assert_eq!(yaml::parse(source).unwrap(), node, "{source}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for format in [Format::Binary, Format::Yaml, Format::Dotenv, Format::Ini] {
            let _ = SopsFile::parse(&bytes, format, &Arc::default());
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "[-\\[\\]{}:,=\"'`\n #;a0_&*!|>%~.ENCsopd]{0,120}") {
        for format in [Format::Binary, Format::Yaml, Format::Dotenv, Format::Ini] {
            let _ = SopsFile::parse(text.as_bytes(), format, &Arc::default());
        }
    }

    #[test]
    fn no_value_makes_decryption_panic(text in "(ENC\\[AES256_GCM,)?[data:iv,tgype=A/+B]{0,80}\\]?") {
        let key = DataKey::new(&[0; 32]).unwrap();
        prop_assert!(text.is_empty() || key.decrypt(&text, "a:").is_err());
    }

    #[test]
    fn a_changed_file_never_gives_another_plaintext(at in 0usize..1500, byte in any::<u8>()) {
        let mut sealed = fs::read(fixtures().join("binary")).unwrap();
        let at = at % sealed.len();
        sealed[at] = byte;
        if let Ok(Some(plain)) = open(&sealed, Format::Binary, &keys(&["b"])) {
            prop_assert_eq!(plain.expose().as_slice(), fs::read(fixtures().join("binary.expected")).unwrap());
        }
    }
}
