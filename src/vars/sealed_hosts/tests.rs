//! What opens them, and what is said where nothing does.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use age::secrecy::ExposeSecret;

use super::*;
use crate::model::KeptHosts;
use crate::prompter::Nobody;
use crate::vars::Vars;

fn var(machine: &str) -> VarRef {
    VarRef::new(machine, "tor", "name").unwrap()
}

/// Hosts of these machines, for the holder of a key.
fn sealed(whose: &str, key: &age::x25519::Identity, machines: &[&str]) -> SealedHosts {
    let hosts: Vec<_> = machines
        .iter()
        .map(|machine| (var(machine), Secret::new(format!("{machine}.onion"))))
        .collect();
    let key = PublicKey::parse(&key.to_public().to_string()).unwrap();
    let recipients = vec![key.as_str().to_owned()];
    let text = seal(hosts.iter().map(|(var, host)| (var, host)), &[key]).unwrap();
    SealedHosts { whose: whose.to_owned(), recipients, text }
}

/// A computer that is called `web`, with files of its own.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn vars(&self, sealed: &[SealedHosts]) -> Vars {
        let root = Some(self.0.path().to_owned());
        let host_name = Some("web".to_owned());
        let environment = Environment { root, host_name, ..Environment::default() };
        let kept = KeptHosts { sealed: sealed.to_vec(), ..KeptHosts::default() };
        Vars::new(None, Vec::new(), environment, Arc::new(Nobody)).with_known(kept)
    }

    fn reveal(&self, sealed: &[SealedHosts], machine: &str) -> Result<String> {
        let value = self.vars(sealed).reveal(&var(machine))?;
        Ok(value.text().unwrap().expose().clone())
    }
}

#[test]
fn the_machines_own_key_opens_them_wherever_clan_puts_it() {
    let (key, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let all = [sealed("db", &other, &["web"]), sealed("web", &key, &["db", "mail"])];
    for place in ["var/lib/sops-nix/key.txt", "etc/secret-vars/key.txt"] {
        let host = Host::new();
        assert!(host.reveal(&all, "db").is_err());
        host.write(place, key.to_string().expose_secret().as_bytes());
        assert_eq!(host.reveal(&all, "db").unwrap(), "db.onion");
        assert_eq!(host.reveal(&all, "mail").unwrap(), "mail.onion");
        let error = host.reveal(&all, "old").unwrap_err().to_string();
        assert_eq!(error, "it is not one of the secret hosts that the snapshot has for web");
    }
}

#[test]
fn damaged_ones_are_named_if_they_are_ours_and_passed_over_if_not() {
    let key = age::x25519::Identity::generate();
    let host = Host::new();
    host.write("etc/secret-vars/key.txt", key.to_string().expose_secret().as_bytes());
    let good = sealed("web", &key, &["db"]);
    let broken = |whose: &str, text: &str| SealedHosts {
        whose: whose.into(),
        recipients: Vec::new(),
        text: text.into(),
    };
    let cut = good.text.get(..good.text.len() / 2).unwrap();
    for text in ["", "hunter2", cut] {
        let all = [broken("db", text), good.clone()];
        assert_eq!(host.reveal(&all, "db").unwrap(), "db.onion");
        let error = host.reveal(&[broken("web", text)], "db").unwrap_err().to_string();
        assert!(error.starts_with("the secret hosts that the snapshot has for web are damaged: "));
        assert!(!error.contains("hunter2"), "{error}");
    }
    // What opens and holds no hosts is no better.
    let text = age::encrypt_and_armor(&key.to_public(), b"[1]").unwrap();
    let error = host.reveal(&[broken("web", &text)], "db").unwrap_err().to_string();
    assert!(error.ends_with("it holds no hosts"), "{error}");
    // What our key is to open is ours, whatever it is called.
    let recipients = good.recipients.clone();
    for (text, reason) in [(&*text, "it holds no hosts"), (cut, "damaged or truncated")] {
        let broken = SealedHosts { recipients: recipients.clone(), ..broken("job", text) };
        let error = host.reveal(std::slice::from_ref(&broken), "db").unwrap_err().to_string();
        assert!(error.contains("has for job are damaged") && error.ends_with(reason), "{error}");
        assert_eq!(host.reveal(&[broken, good.clone()], "db").unwrap(), "db.onion");
    }
}

#[test]
fn ours_open_however_many_there_are_of_others() {
    let (key, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let host = Host::new();
    host.write("etc/secret-vars/key.txt", key.to_string().expose_secret().as_bytes());
    let all = |ours: SealedHosts| {
        let theirs = sealed("other", &other, &["db"]);
        let mut all = vec![theirs; 8300];
        all.push(ours);
        all
    };
    assert_eq!(host.reveal(&all(sealed("job", &key, &["db"])), "db").unwrap(), "db.onion");
    // Where none says that it is ours, or all do, that not all were tried is said.
    let ours = sealed("job", &key, &["db"]);
    let unnamed = all(SealedHosts { recipients: Vec::new(), ..ours.clone() });
    let liar = |it: SealedHosts| SealedHosts { recipients: ours.recipients.clone(), ..it };
    let liars = all(ours.clone()).into_iter().map(liar).collect();
    for all in [unnamed, liars] {
        let Err(Error::SealedHosts { fault, .. }) = host.reveal(&all, "db") else { panic!() };
        assert!(format!("{fault:?}").contains("not on all of them"), "{fault:?}");
    }
}

#[test]
fn users_find_what_root_has_opened_of_this_very_snapshot() {
    let key = age::x25519::Identity::generate();
    let all = [sealed("web", &key, &["db"])];
    let root = Host::new();
    root.write("var/lib/sops-nix/key.txt", key.to_string().expose_secret().as_bytes());
    let (name, text) = root.vars(&all).opened_hosts().unwrap().unwrap();
    assert!(is_opened_file(&name) && !is_opened_file("x.json") && !is_opened_file(".json"));
    let host = Host::new();
    host.write("run/clan-connect/other/notes", b"");
    assert!(host.reveal(&all, "db").is_err());
    host.write(&format!("run/clan-connect/home/{name}"), text.expose());
    assert_eq!(host.reveal(&all, "db").unwrap(), "db.onion");
    // It is not for another one, though it has the same hosts.
    assert!(host.reveal(&[sealed("web", &key, &["db"])], "db").is_err());
    assert!(root.vars(&[]).opened_hosts().unwrap().is_none());
    // That it is there, and not for us, is said.
    if !rustix::process::geteuid().is_root() {
        let dir = host.0.path().join("run/clan-connect/home");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o000)).unwrap();
        let Err(Error::SealedHosts { fault, .. }) = host.reveal(&all, "db") else { panic!() };
        assert!(format!("{fault:?}").contains("run/clan-connect/home (Permission denied)"));
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}
