//! What is encrypted when, and for whom.

use std::sync::Arc;

use age::secrecy::ExposeSecret;

use super::*;
use crate::prompter::Nobody;
use crate::vars::Environment;

const ONION: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx.onion";

/// A clan with two secret hosts, which `admin` opens.
struct Case {
    dir: tempfile::TempDir,
    admin: age::x25519::Identity,
    machine: age::x25519::Identity,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let new = age::x25519::Identity::generate;
        let case = Self { dir, admin: new(), machine: new() };
        case.host("db", ONION);
        case.host("mail", "10.1.2.3");
        case
    }

    fn host(&self, machine: &str, host: &str) {
        let sealed = age::encrypt(&self.admin.to_public(), host.as_bytes()).unwrap();
        let path = format!("secrets/clan-vars/per-machine/{machine}/tor/name/name.age");
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, sealed).unwrap();
    }

    fn vars(&self, key: Option<&age::x25519::Identity>) -> Vars {
        let key = key.map(|key| Secret::new(key.to_string().expose_secret().to_owned()));
        let environment = Environment { age_key: key, ..Environment::default() };
        Vars::new(Some(self.dir.path().to_owned()), Vec::new(), environment, Arc::new(Nobody))
    }

    fn access(&self, machines: &[&str], keys: &[&age::x25519::Identity]) -> Access {
        let key = |it: &&age::x25519::Identity| PublicKey::parse(&it.to_public().to_string());
        let host = |machine: &&str| VarRef::new(machine, "tor", "name").unwrap();
        Access {
            whose: "web".to_owned(),
            keys: keys.iter().map(|it| key(it).unwrap()).collect(),
            hosts: machines.iter().map(host).collect(),
        }
    }

    /// What is in a snapshot for `web`, made by whoever has this key.
    fn sealed(
        &self,
        access: Access,
        by: Option<&age::x25519::Identity>,
        before: Option<&Sealed>,
    ) -> Result<Sealed> {
        let mut snapshot = Snapshot::new(serde_json::json!({}));
        let before = before.map(|it| ("web".to_owned(), it.clone())).into_iter().collect();
        snapshot.seal(&[access], &self.vars(by), &before)?;
        Ok(snapshot.secret_hosts.remove("web").unwrap())
    }
}

#[test]
fn it_stays_as_it_is_until_a_file_of_the_clan_a_key_or_the_policy_changes() {
    let case = Case::new();
    let admin = Some(&case.admin);
    let both = |keys: &[&age::x25519::Identity]| case.access(&["db", "mail"], keys);
    let first = case.sealed(both(&[&case.machine]), admin, None).unwrap();
    assert_ne!(case.sealed(both(&[&case.machine]), admin, None).unwrap(), first, "age is random");
    // Nobody needs to open anything for that.
    for by in [admin, None] {
        let again = case.sealed(both(&[&case.machine]), by, Some(&first)).unwrap();
        assert_eq!(again, first);
    }
    let changed = |access: Access| {
        assert!(case.sealed(case.access(&["db"], &[&case.admin]), None, Some(&first)).is_err());
        let sealed = case.sealed(access, admin, Some(&first)).unwrap();
        assert_ne!(sealed.sealed, first.sealed);
        assert_ne!(sealed.sources, first.sources);
    };
    changed(case.access(&["db"], &[&case.machine]));
    changed(both(&[&case.admin]));
    changed(both(&[&case.machine, &case.admin]));
    // The same host in another file is a reason, too: nobody here can tell.
    case.host("db", ONION);
    changed(both(&[&case.machine]));
}

#[test]
fn nobody_is_told_a_host_who_has_not_the_key() {
    let case = Case::new();
    let access = case.access(&["db", "mail"], &[&case.machine]);
    let sealed = case.sealed(access, Some(&case.admin), None).unwrap();
    let mut snapshot = Snapshot::new(serde_json::json!({}));
    snapshot.secret_hosts.insert("web".to_owned(), sealed.clone());
    let text = snapshot.to_json();
    assert!(!text.contains("abcdefg") && !text.contains("10.1.2.3"), "{text}");
    // Two clans with the same hosts have nothing in common.
    let other = Case::new();
    let access = other.access(&["db", "mail"], &[&case.machine]);
    let theirs = other.sealed(access, Some(&other.admin), None).unwrap();
    assert_ne!(theirs.sources, sealed.sources);
    // The machine reads them from the snapshot alone, others hear what is missing.
    let reveal = |key: &age::x25519::Identity, here: &str| {
        let key = Secret::new(key.to_string().expose_secret().to_owned());
        let host_name = Some(here.to_owned());
        let environment = Environment { age_key: Some(key), host_name, ..Environment::default() };
        let vars = Vars::new(None, Vec::new(), environment, Arc::new(Nobody));
        let clan = Snapshot::parse("x", text.as_bytes()).unwrap().clan("x").unwrap();
        let vars = vars.with_known(clan.kept_hosts(std::iter::empty()));
        let host = vars.reveal(&VarRef::new("db", "tor", "name").unwrap())?;
        assert!(host.secret);
        Ok::<_, crate::Error>(host.text().unwrap().expose().clone())
    };
    assert_eq!(reveal(&case.machine, "web").unwrap(), ONION);
    assert_eq!(reveal(&case.machine, "any").unwrap(), ONION);
    let error = |here: &str| reveal(&case.admin, here).unwrap_err().to_string();
    assert_eq!(
        error("web"),
        "the snapshot has secret hosts for this machine, web, and no key here decrypts them"
    );
    assert_eq!(
        error("mail"),
        "the snapshot has secret hosts for web, but not for this computer (mail), and no key here \
         decrypts them"
    );
}

#[test]
fn what_is_no_host_is_left_out_and_named_and_what_does_not_open_is_an_error() {
    let case = Case::new();
    let access = |machines: &[&str]| [case.access(machines, &[&case.machine])];
    let seal = |snapshot: &mut Snapshot, machines: &[&str], by| {
        snapshot.seal(&access(machines), &case.vars(Some(by)), &BTreeMap::new())
    };
    let mut snapshot = Snapshot::new(serde_json::json!({}));
    let db = VarRef::new("db", "tor", "name").unwrap();
    for unfit in ["-oProxyCommand=x", "a\u{1b}[2Jb", "a b", "", "\n", &"x".repeat(4097)] {
        case.host("db", unfit);
        let left_out = seal(&mut snapshot, &["db", "mail"], &case.admin).unwrap();
        assert_eq!(left_out, BTreeSet::from([db.clone()]), "{unfit:?}");
        let sealed = &snapshot.secret_hosts["web"].sealed;
        let plain = age::decrypt(&case.machine, sealed.as_bytes()).unwrap();
        assert_eq!(plain, br#"{"mail":{"tor/name":"10.1.2.3"}}"#);
        // What holds nothing is not there.
        assert_eq!(seal(&mut snapshot, &["db"], &case.admin).unwrap().len(), 1);
        assert!(snapshot.secret_hosts.is_empty());
    }
    case.host("db", &"x".repeat(4096));
    assert!(seal(&mut snapshot, &["db", "mail"], &case.admin).unwrap().is_empty());
    let error = seal(&mut snapshot, &["db"], &case.machine).unwrap_err().to_string();
    assert!(error.contains("cannot decrypt var tor/name of machine \"db\""), "{error}");
}

#[test]
fn what_is_damaged_or_for_others_is_made_anew() {
    let case = Case::new();
    let admin = Some(&case.admin);
    let access = || case.access(&["db", "mail"], &[&case.machine]);
    let first = case.sealed(access(), admin, None).unwrap();
    let binary = |keys: &[&age::x25519::Identity]| {
        let keys: Vec<_> = keys.iter().map(|it| it.to_public()).collect();
        let keys = keys.iter().map(|key| key as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(keys).unwrap();
        let armor = age::armor::Format::AsciiArmor;
        let armor = age::armor::ArmoredWriter::wrap_output(Vec::new(), armor).unwrap();
        let writer = encryptor.wrap_output(armor).unwrap();
        String::from_utf8(writer.finish().unwrap().finish().unwrap()).unwrap()
    };
    let cut = first.sealed.get(..first.sealed.len() / 2).unwrap();
    let whole = "\n-----END AGE ENCRYPTED FILE-----\n";
    for sealed in [
        String::new(),
        cut.to_owned(),
        format!("{}{whole}", cut.trim_end()),
        binary(&[&case.admin]),
        binary(&[&case.machine, &case.admin]),
    ] {
        // As it is, and by somebody who has made the digest anew.
        let inner = sources(&first.recipients, &access().hosts, &case.vars(None)).unwrap();
        let forged = made(&inner.unwrap(), &sealed);
        let is_right = vars::is_sealed_for(&sealed, 1);
        for sources in [Some(first.sources.clone()), Some(forged).filter(|_| !is_right)] {
            let Some(sources) = sources else { continue };
            let before = Sealed { sealed: sealed.clone(), sources, ..first.clone() };
            let again = case.sealed(access(), admin, Some(&before)).unwrap();
            let plain = age::decrypt(&case.machine, again.sealed.as_bytes()).unwrap();
            assert!(String::from_utf8(plain).unwrap().contains("10.1.2.3"));
        }
    }
    assert!(vars::is_sealed_for(&first.sealed, 1) && !vars::is_sealed_for(&first.sealed, 2));
}
