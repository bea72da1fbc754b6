//! Vars of Clan's own test data, and of clans made here.

use std::fs;
use std::io::Write;

use age::secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::*;
use crate::model::SealedHosts;
use crate::test_data;

/// Answers with one passphrase, or nobody.
struct Answer(Option<&'static str>);

impl Prompter for Answer {
    fn ask(&self, _: &str, _: bool) -> Option<Secret<String>> {
        self.0.map(|text| Secret::new(text.to_owned()))
    }
    fn tell(&self, _: &str) {}
    fn warn(&self, _: &str) {}
}

fn vars(flake: &Path, identities: &[PathBuf]) -> Vars {
    let nobody = nobody();
    let flake = Some(flake.to_owned());
    Vars::new(flake, identities.to_vec(), nowhere(), nobody)
}

pub(super) fn nobody() -> Arc<dyn Prompter> {
    Arc::new(Answer(None))
}

/// An environment with nothing in it.
fn nowhere() -> Environment {
    Environment { root: Some("/nonexistent".into()), ..Environment::default() }
}

#[test]
#[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
fn every_secret_and_public_value_of_clans_own_data_is_right() {
    let Some(data) = test_data::clan() else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(data.join("manifest.json")).unwrap()).unwrap();
    let entries = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
    let mut counts = std::collections::BTreeMap::new();
    for entry in entries("secrets").iter().chain(&entries("public_values")) {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let identities = entry["identity_files"].as_array().into_iter().flatten();
        let identities: Vec<PathBuf> =
            identities.map(|name| data.join("keys").join(name.as_str().unwrap())).collect();
        let flake = data.join("flakes").join(text("flake"));
        let backend = entry["backend"].as_str().unwrap_or("public");
        // Whichever of the identities is named, it has to do alone.
        let alone: Vec<&[PathBuf]> =
            if identities.is_empty() { vec![&[]] } else { identities.chunks(1).collect() };
        for identities in alone {
            let value = if text("kind") == "machine-key" {
                machine_key(&flake, backend, text("path"), identities)
            } else {
                // A shared value belongs to every machine.
                let machine = entry["machine"].as_str().unwrap_or("any");
                let var = VarRef::new(machine, text("generator"), text("file")).unwrap();
                let value = vars(&flake, identities).reveal(&var);
                let value = value.unwrap_or_else(|error| panic!("{}: {error}", text("path")));
                assert_eq!(value.secret, backend != "public", "{}", text("path"));
                value.bytes
            };
            let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(value.expose()));
            assert_eq!(digest, text("sha256"), "{}", text("path"));
            assert_eq!(value.expose().len() as u64, entry["length"].as_u64().unwrap());
        }
        *counts.entry(backend.to_owned()).or_insert(0) += 1;
    }
    assert!(counts["age"] >= 17 && counts["sops"] >= 33 && counts["public"] >= 32, "{counts:?}");
}

fn machine_key(flake: &Path, backend: &str, path: &str, identities: &[PathBuf]) -> Secret<Vec<u8>> {
    let bytes = fs::read(flake.join(path)).unwrap();
    let nobody = nobody();
    let keyring = Keyring::new(identities.to_vec(), nowhere(), nobody);
    let (family, mut sealed): (_, Box<dyn sealed::Sealed>) = match backend {
        "age" => (identity::Family::Age, Box::new(age_file::AgeFile::parse(&bytes).unwrap())),
        _ => {
            let file =
                sops::SopsFile::parse(&bytes, sops::Format::Binary, &Arc::default()).unwrap();
            (identity::Family::Sops, Box::new(file))
        }
    };
    let opened = keyring.open(family, &mut *sealed, Round::ALL[0], &Effort::default()).unwrap();
    opened.unwrap().unwrap_or_else(|| panic!("{path} by {identities:?}"))
}

#[test]
#[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
fn a_machine_key_given_as_identity_opens_the_machines_sops_secrets() {
    let Some(data) = test_data::clan() else { return };
    let flake = data.join("flakes/sops-flake");
    let key = flake.join("sops/secrets/alpha-age.key/secret");
    let key = machine_key(
        &flake,
        "sops",
        key.strip_prefix(&flake).unwrap().to_str().unwrap(),
        &[data.join("keys/admin-0.txt")],
    );
    let dir = tempfile::tempdir().unwrap();
    let identity = dir.path().join("alpha.txt");
    fs::write(&identity, key.expose()).unwrap();
    let var = VarRef::new("alpha", "openssh", "ssh.id_ed25519").unwrap();
    let value = vars(&flake, &[identity]).reveal(&var).unwrap();
    assert!(value.secret && value.text().unwrap().expose().starts_with("-----BEGIN OPENSSH"));
}

#[test]
#[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
fn what_is_sealed_for_a_machine_of_clans_own_data_its_own_key_opens() {
    let Some(data) = test_data::clan() else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(data.join("manifest.json")).unwrap()).unwrap();
    let mut seen = 0;
    for entry in manifest["secrets"].as_array().unwrap() {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        if text("kind") != "machine-key" {
            continue;
        }
        let (flake, machine) = (data.join("flakes").join(text("flake")), text("machine"));
        let admin = data.join("keys").join(entry["identity_files"][0].as_str().unwrap());
        let key = machine_key(&flake, text("backend"), text("path"), &[admin]);
        let public = vars(&flake, &[]).machine_keys(machine).unwrap();
        let var = VarRef::new("other", "g", "f").unwrap();
        let host = Secret::new("host.onion".to_owned());
        let sealed = seal(std::iter::once((&var, &host)), &public).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let identity = dir.path().join("key.txt");
        fs::write(&identity, key.expose()).unwrap();
        let sealed =
            vec![SealedHosts { whose: machine.to_owned(), recipients: Vec::new(), text: sealed }];
        let kept = KeptHosts { sealed, ..KeptHosts::default() };
        let opened = Vars::new(None, vec![identity], nowhere(), nobody()).with_known(kept);
        assert_eq!(opened.reveal(&var).unwrap().bytes.expose(), b"host.onion", "{machine}");
        seen += 1;
    }
    assert_eq!(seen, 9);
}

/// A clan with machine `m` and a key for it, readable by `admin`.
struct Sample {
    dir: tempfile::TempDir,
    admin: age::x25519::Identity,
    machine: age::x25519::Identity,
}

impl Sample {
    fn new() -> Self {
        let sample = Self {
            dir: tempfile::tempdir().unwrap(),
            admin: age::x25519::Identity::generate(),
            machine: age::x25519::Identity::generate(),
        };
        let key = sample.machine.to_string();
        let sealed =
            age::encrypt(&sample.admin.to_public(), key.expose_secret().as_bytes()).unwrap();
        sample.write("secrets/age-keys/machines/m/key.age", &sealed);
        sample.write("admin.txt", sample.admin.to_string().expose_secret().as_bytes());
        sample
    }

    fn write(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn secret(&self, bytes: &[u8]) -> PathBuf {
        self.write("secrets/clan-vars/per-machine/m/g/f/f.age", bytes)
    }

    fn admin_file(&self) -> PathBuf {
        self.dir.path().join("admin.txt")
    }

    fn reveal(&self, identities: &[PathBuf]) -> Result<Value> {
        vars(self.dir.path(), identities).reveal(&VarRef::new("m", "g", "f").unwrap())
    }
}

#[test]
fn a_secret_opens_by_the_machines_key_in_every_way_there_is() {
    let sample = Sample::new();
    let plain = b"plain".as_slice();
    sample.secret(&age::encrypt(&sample.machine.to_public(), plain).unwrap());
    let by_admin = sample.reveal(&[sample.admin_file()]).unwrap();
    assert_eq!((by_admin.bytes.expose().as_slice(), by_admin.secret), (plain, true));

    let machine = sample.write("m.txt", sample.machine.to_string().expose_secret().as_bytes());
    assert_eq!(sample.reveal(&[machine]).unwrap().bytes.expose(), plain);

    // Not deployed: encrypted for people, and armored.
    let armored = age::encrypt_and_armor(&sample.admin.to_public(), plain).unwrap();
    sample.secret(armored.as_bytes());
    assert_eq!(sample.reveal(&[sample.admin_file()]).unwrap().bytes.expose(), plain);
}

#[test]
fn identities_come_from_the_environment_and_the_home_directory_too() {
    let sample = Sample::new();
    sample.secret(&age::encrypt(&sample.admin.to_public(), b"plain").unwrap());
    let text = fs::read_to_string(sample.admin_file()).unwrap();
    sample.write("home/.config/sops/age/keys.txt", format!("# admin\n\n{text}\n").as_bytes());
    let environments = [
        Environment { age_key: Some(Secret::new(text)), ..nowhere() },
        Environment { age_keyfile: Some(sample.admin_file()), ..nowhere() },
        Environment { home: Some(sample.dir.path().join("home")), ..nowhere() },
    ];
    for environment in environments {
        let nobody = nobody();
        let dir = Some(sample.dir.path().to_owned());
        let vars = Vars::new(dir, Vec::new(), environment.clone(), nobody);
        let value = vars.reveal(&VarRef::new("m", "g", "f").unwrap());
        assert_eq!(value.unwrap().bytes.expose(), b"plain", "{environment:?}");
    }
}

#[test]
fn a_locked_identity_asks_and_only_when_it_can_help() {
    let sample = Sample::new();
    sample.secret(&age::encrypt(&sample.admin.to_public(), b"plain").unwrap());
    let mut recipient = age::scrypt::Recipient::new("pass".to_owned().into());
    recipient.set_work_factor(2);
    let text = fs::read(sample.admin_file()).unwrap();
    let sealed = age::encrypt(&recipient, &text).unwrap();
    let locked = sample.write("locked.age", &sealed);
    let reveal = |answer| {
        let dir = Some(sample.dir.path().to_owned());
        let environment = nowhere();
        let prompt = Arc::new(Answer(answer));
        Vars::new(dir, vec![locked.clone()], environment, prompt)
            .reveal(&VarRef::new("m", "g", "f").unwrap())
    };
    assert_eq!(reveal(Some("pass")).unwrap().bytes.expose(), b"plain");
    for answer in [Some("wrong"), None] {
        let Err(Error::VarUndecryptable { tried, .. }) = reveal(answer) else { panic!() };
        assert!(tried.iter().any(|origin| origin.contains("locked")), "{tried:?}");
    }
}

#[test]
fn failures_name_what_was_tried_and_never_a_key() {
    let sample = Sample::new();
    let other = age::x25519::Identity::generate();
    sample.secret(&age::encrypt(&other.to_public(), b"plain").unwrap());
    let error = sample.reveal(&[sample.admin_file()]).unwrap_err();
    let Error::VarUndecryptable { tried, .. } = &error else { panic!("{error}") };
    assert!(tried.iter().any(|origin| origin.ends_with("admin.txt")), "{tried:?}");

    let bad = sample.write("bad.txt", b"AGE-SECRET-KEY-1OOPS\n");
    let error = sample.reveal(&[bad]).unwrap_err();
    assert!(matches!(error, Error::Identity { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("OOPS"), "{error:?}");
    let missing = sample.dir.path().join("missing.txt");
    assert!(matches!(sample.reveal(&[missing]), Err(Error::Identity { .. })));
}

#[test]
fn every_truncation_of_an_age_file_is_an_error() {
    let sample = Sample::new();
    let sealed = age::encrypt(&sample.admin.to_public(), b"plain").unwrap();
    for len in 0..sealed.len() {
        sample.secret(sealed.get(..len).unwrap());
        let error = sample.reveal(&[sample.admin_file()]).unwrap_err();
        assert!(matches!(error, Error::VarBroken { .. }), "{len}: {error}");
    }
}

#[test]
fn a_flipped_byte_never_gives_a_value() {
    let sample = Sample::new();
    let sealed = age::encrypt(&sample.admin.to_public(), b"plain").unwrap();
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        sample.secret(&flipped);
        assert!(sample.reveal(&[sample.admin_file()]).is_err(), "byte {at}");
    }
}

#[test]
fn a_var_cannot_lead_out_of_the_clan() {
    let sample = Sample::new();
    let outside = tempfile::NamedTempFile::new().unwrap();
    outside.as_file().write_all(b"outside").unwrap();
    let value = sample.dir.path().join("vars/per-machine/m/g/f/value");
    fs::create_dir_all(value.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(outside.path(), &value).unwrap();
    assert!(matches!(sample.reveal(&[]), Err(Error::VarBroken { .. })));

    // Inside it links are fine, and one that leads nowhere is not the same as none.
    fs::remove_file(&value).unwrap();
    let inside = sample.write("inside", b"inside\n");
    std::os::unix::fs::symlink(inside, &value).unwrap();
    assert_eq!(sample.reveal(&[]).unwrap().text().unwrap().expose(), "inside");
    fs::remove_file(&value).unwrap();
    std::os::unix::fs::symlink("nowhere", &value).unwrap();
    let error = sample.reveal(&[]).unwrap_err().to_string();
    assert!(error.contains("g/f/value: it is a link that leads nowhere"), "{error}");
}

#[test]
fn only_regular_files_of_a_sane_size_are_read() {
    let sample = Sample::new();
    let value = sample.dir.path().join("vars/per-machine/m/g/f/value");
    fs::create_dir_all(value.parent().unwrap()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &value, 0o600.into()).unwrap();
    assert!(matches!(sample.reveal(&[]), Err(Error::VarBroken { .. })));
    fs::remove_file(&value).unwrap();
    fs::File::create(&value).unwrap().set_len(MAX_VALUE + 1).unwrap();
    assert!(matches!(sample.reveal(&[]), Err(Error::TooLarge { .. })));
}

#[test]
fn a_shared_secret_opens_by_any_machines_key() {
    let sample = Sample::new();
    let sealed = age::encrypt(&sample.machine.to_public(), b"plain").unwrap();
    sample.write("secrets/clan-vars/shared/g/f/f.age", &sealed);
    let var = VarRef::new("other", "g", "f").unwrap();
    let value = vars(sample.dir.path(), &[sample.admin_file()]).reveal(&var).unwrap();
    assert_eq!(value.bytes.expose(), b"plain");
}

#[test]
fn a_snapshots_public_value_counts_where_the_clan_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "the clan's").unwrap();
    };
    write("vars/per-machine/m/g/here/value");
    write("secrets/clan-vars/per-machine/m/g/secret/secret.age");
    let var = |file: &str| VarRef::new("m", "g", file).unwrap();
    let known = ["here", "gone", "secret"].map(|file| (var(file), "the snapshot's".to_owned()));
    let vars = Vars::new(
        Some(dir.path().to_owned()),
        Vec::new(),
        Environment::default(),
        std::sync::Arc::new(crate::prompter::Nobody),
    );
    let vars = vars.with_known(KeptHosts { public: known.into(), ..KeptHosts::default() });
    let reveal =
        |file: &str| vars.reveal(&var(file)).map(|value| value.text().unwrap().expose().clone());
    assert_eq!(reveal("here").unwrap(), "the clan's");
    assert_eq!(reveal("gone").unwrap(), "the snapshot's");
    assert!(!vars.reveal(&var("gone")).unwrap().secret);
    // A secret of the clan is never replaced by what somebody says in the clear.
    assert!(reveal("secret").is_err());
    assert!(vars.is_kept(&var("secret")) && !vars.is_kept(&var("gone")));
}
