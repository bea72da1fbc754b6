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
        Ok::<_, Error>(host.text().unwrap().expose().clone())
    };
    assert_eq!(reveal(&case.machine, "web").unwrap(), ONION);
    assert_eq!(reveal(&case.machine, "any").unwrap(), ONION);
    let error = |here: &str| reveal(&case.admin, here).unwrap_err().to_string();
    assert_eq!(
        error("web"),
        "the snapshot has secret hosts for this machine, web, and nothing here opens them"
    );
    assert_eq!(
        error("mail"),
        "the snapshot has secret hosts for web and not for mail, and nothing here opens them"
    );
}

#[test]
fn what_is_no_host_or_does_not_open_is_an_error() {
    let case = Case::new();
    case.host("db", &"x".repeat(MAX_VAR + 1));
    let access = || case.access(&["db", "mail"], &[&case.machine]);
    let error = case.sealed(access(), Some(&case.admin), None).unwrap_err().to_string();
    assert!(error.contains("tor/name") && error.contains("not the address of a host"), "{error}");
    let error = case.sealed(access(), Some(&case.machine), None).unwrap_err().to_string();
    assert!(error.contains("cannot decrypt var tor/name of machine \"db\""), "{error}");
}
