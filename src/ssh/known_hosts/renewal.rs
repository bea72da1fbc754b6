//! `UpdateHostKeys` of ssh_config(5): a server that is known tells of its other
//! keys (OpenSSH's PROTOCOL, section 2.5). Owns which of them are to be proved,
//! and what becomes of the file; the proof itself is the session's.

use std::fmt;
use std::path::{Path, PathBuf};

use russh::keys::PublicKey;

use super::line::{Line, Marker};
use super::{KnownHosts, Name, Verdict, file, lookup_name, same_key};
use crate::error::Result;
use crate::printable;

/// More keys than any server has.
const MAX_KEYS: usize = 32;

/// What a server says of its keys.
#[derive(Debug, Clone)]
pub struct Announced {
    /// All that it has.
    pub all: Vec<PublicKey>,
    /// The one that the session rests on.
    pub own: PublicKey,
}

/// What a server's announcement changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    path: PathBuf,
    hash_names: bool,
    names: Vec<Name>,
    /// Keys that are new here, and have to be proved.
    pub new: Vec<PublicKey>,
    /// Whether keys that are known here are no longer the server's.
    has_old: bool,
    all: Vec<PublicKey>,
}

impl Renewal {
    /// What to do about the keys that the server of `names` announces; `None` when
    /// nothing. Only names that the user's file `path` knows by themselves, and not
    /// by a pattern or an authority, and with the very key that the session rests on
    /// are kept up to date. New keys count as far as `is_wanted` says.
    ///
    /// # Errors
    /// As [`KnownHosts::load`].
    pub fn plan(
        path: &Path,
        names: &[Name],
        hash_names: bool,
        announced: Announced,
        is_wanted: &dyn Fn(&PublicKey) -> bool,
    ) -> Result<Option<Self>> {
        let Announced { all, own } = announced;
        if all.len() > MAX_KEYS || !all.iter().any(|key| same_key(key, &own)) {
            return Ok(None);
        }
        let known = KnownHosts::load([path])?;
        let mut renewal = Self {
            path: path.to_owned(),
            hash_names,
            names: Vec::new(),
            new: Vec::new(),
            has_old: false,
            all,
        };
        for name in names {
            renewal.add(&known, name, &own, is_wanted);
        }
        Ok((renewal.has_old || !renewal.new.is_empty()).then_some(renewal))
    }

    /// What changes for one of the names.
    fn add(
        &mut self,
        known: &KnownHosts,
        name: &Name,
        own: &PublicKey,
        is_wanted: &dyn Fn(&PublicKey) -> bool,
    ) {
        let wanted = lookup_name(&name.0, name.1);
        let all_lines = known.lines.iter().map(|found| &found.line);
        let lines: Vec<&Line> =
            all_lines.filter(|line| line.hosts.matches(wanted.as_bytes())).collect();
        let is_simple = |line: &&Line| {
            line.marker != Marker::CertAuthority
                && (line.marker == Marker::Revoked || !line.hosts.is_complex())
        };
        let plain = || lines.iter().filter(|line| line.marker == Marker::Plain);
        if !lines.iter().all(is_simple) || !plain().any(|line| same_key(own, &line.key)) {
            return;
        }
        let is_new = |key: &&PublicKey| {
            is_wanted(key)
                && !matches!(
                    known.lookup(&wanted, super::DEFAULT_PORT, key),
                    Verdict::Known { .. } | Verdict::Revoked { .. }
                )
        };
        for key in self.all.iter().filter(is_new) {
            if !self.new.iter().any(|known| same_key(known, key)) {
                self.new.push(key.clone());
            }
        }
        self.has_old |= plain().any(|line| !self.all.iter().any(|key| same_key(key, &line.key)));
        self.names.push(name.clone());
    }

    /// Changes the file, once the server has proved the new keys. Blocks.
    ///
    /// # Errors
    /// As [`super::add`].
    pub fn apply(&self) -> Result<()> {
        for (name, port) in &self.names {
            for key in &self.new {
                super::add(&self.path, name, *port, key, self.hash_names)?;
            }
            if self.has_old {
                let is_old = |key: &PublicKey| !self.all.iter().any(|known| same_key(known, key));
                file::remove(&self.path, name, *port, &is_old)?;
            }
        }
        Ok(())
    }
}

/// For `-v`.
impl fmt::Display for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable::line(&self.path.to_string_lossy());
        let new = self.new.len();
        let gone = if self.has_old { ", and old ones removed" } else { "" };
        write!(f, "{new} more host keys of this server stored in {path}{gone}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::known_hosts::test_keys::*;

    /// What is planned for `names` when the file has `text` and the session rests on
    /// the first of the keys that are announced.
    fn plan(path: &Path, names: &[&str], text: &str, announced: &[&str]) -> Option<Renewal> {
        std::fs::write(path, text).unwrap();
        let all: Vec<PublicKey> = announced.iter().map(|line| key(line)).collect();
        let announced = Announced { own: all[0].clone(), all };
        let names: Vec<Name> = names.iter().map(|name| ((*name).to_owned(), 22)).collect();
        Renewal::plan(path, &names, false, announced, &|_| true).unwrap()
    }

    #[test]
    fn new_keys_are_added_and_those_of_the_past_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        let plan = |text: &str, announced: &[&str]| plan(&path, &["Host"], text, announced);
        let text = format!("host {ED25519}\nother,host {RSA}\n# x\nother {OTHER_ED25519}\n");
        let renewal = plan(&text, &[ED25519, ECDSA256]).unwrap();
        assert_eq!(renewal.new, [key(ECDSA256)]);
        renewal.apply().unwrap();
        let expected =
            format!("host {ED25519}\nother {RSA}\n# x\nother {OTHER_ED25519}\nhost {ECDSA256}\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(plan(&format!("host {ED25519}\n"), &[ED25519]), None, "nothing is new");
        for text in [
            "".to_owned(),
            format!("host {OTHER_ED25519}\n"),
            // Announced, but not what the session rests on.
            format!("host {ECDSA256}\n"),
            format!("h* {ED25519}\n"),
            format!("host {ED25519}\n@cert-authority host {RSA}\n"),
        ] {
            assert_eq!(plan(&text, &[ED25519, ECDSA256]), None, "{text}");
        }
        let revoked = format!("host {ED25519}\n@revoked * {ECDSA256}\n");
        assert_eq!(plan(&revoked, &[ED25519, ECDSA256]), None);
    }

    #[test]
    fn every_name_of_a_machine_that_has_the_key_follows_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        let text = format!("m {ED25519}\n10.0.0.1 {ED25519}\n10.0.0.2 {RSA}\n");
        let names = ["10.0.0.1", "m", "10.0.0.2", "10.0.0.3"];
        plan(&path, &names, &text, &[ED25519, ECDSA256]).unwrap().apply().unwrap();
        let expected = format!("{text}10.0.0.1 {ECDSA256}\nm {ECDSA256}\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn keys_that_are_not_wanted_are_neither_learned_nor_taken_for_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        std::fs::write(&path, format!("host {ED25519}\nhost {RSA}\n")).unwrap();
        let all = vec![key(ED25519), key(RSA), key(ECDSA256)];
        let announced = Announced { own: key(ED25519), all };
        let is_wanted = |wanted: &PublicKey| same_key(wanted, &key(ED25519));
        let names = [("host".to_owned(), 22)];
        let renewal = Renewal::plan(&path, &names, false, announced, &is_wanted).unwrap();
        assert_eq!(renewal, None);
    }
}
