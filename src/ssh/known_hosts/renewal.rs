//! `UpdateHostKeys` of ssh_config(5): a server that is known tells of its other
//! keys (OpenSSH's PROTOCOL, section 2.5). Owns which of them are to be proved,
//! and what becomes of the file; the proof itself is the session's.

use std::fmt;
use std::path::{Path, PathBuf};

use russh::keys::PublicKey;

use super::line::{Line, Marker};
use super::{KnownHosts, Verdict, file, lookup_name, same_key};
use crate::error::Result;
use crate::printable;

/// More keys than any server has.
const MAX_KEYS: usize = 32;

/// What a server's announcement changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    path: PathBuf,
    name: String,
    port: u16,
    hash_names: bool,
    /// Keys that are new here, and have to be proved.
    pub new: Vec<PublicKey>,
    /// Whether keys that are known here are no longer the server's.
    has_old: bool,
    all: Vec<PublicKey>,
}

impl Renewal {
    /// What to do about `announced`, the keys that the server of `name` at `port`
    /// says it has; `None` when nothing. Only a name that the user's file `path`
    /// knows by itself, and not by a pattern or an authority, is kept up to date.
    ///
    /// # Errors
    /// As [`KnownHosts::load`].
    pub fn plan(
        path: &Path,
        name: &str,
        port: u16,
        hash_names: bool,
        announced: Vec<PublicKey>,
    ) -> Result<Option<Self>> {
        let known = KnownHosts::load([path])?;
        let wanted = lookup_name(name, port);
        let lines: Vec<&Line> = known
            .lines
            .iter()
            .map(|found| &found.line)
            .filter(|line| line.hosts.matches(wanted.as_bytes()))
            .collect();
        let is_simple = |line: &&Line| {
            line.marker != Marker::CertAuthority
                && (line.marker == Marker::Revoked || !line.hosts.is_complex())
        };
        if announced.is_empty() || announced.len() > MAX_KEYS || !lines.iter().all(is_simple) {
            return Ok(None);
        }
        let plain = || lines.iter().filter(|line| line.marker == Marker::Plain);
        // The key that the session rests on has to be one of them.
        if !plain().any(|line| announced.iter().any(|key| same_key(key, &line.key))) {
            return Ok(None);
        }
        let is_new = |key: &&PublicKey| {
            !matches!(
                known.lookup(&wanted, super::DEFAULT_PORT, key),
                Verdict::Known { .. } | Verdict::Revoked { .. }
            )
        };
        let new: Vec<PublicKey> = announced.iter().filter(is_new).cloned().collect();
        let has_old = plain().any(|line| !announced.iter().any(|key| same_key(key, &line.key)));
        Ok((has_old || !new.is_empty()).then(|| Self {
            path: path.to_owned(),
            name: name.to_owned(),
            port,
            hash_names,
            new,
            has_old,
            all: announced,
        }))
    }

    /// Changes the file, once the server has proved the new keys. Blocks.
    ///
    /// # Errors
    /// As [`super::add`].
    pub fn apply(&self) -> Result<()> {
        for key in &self.new {
            super::add(&self.path, &self.name, self.port, key, self.hash_names)?;
        }
        if self.has_old {
            let is_old = |key: &PublicKey| !self.all.iter().any(|known| same_key(known, key));
            file::remove(&self.path, &self.name, self.port, &is_old)?;
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

    #[test]
    fn new_keys_are_added_and_those_of_the_past_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        let plan = |text: &str, announced: &[&str]| {
            std::fs::write(&path, text).unwrap();
            let announced = announced.iter().map(|line| key(line)).collect();
            Renewal::plan(&path, "Host", 22, false, announced).unwrap()
        };
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
            format!("h* {ED25519}\n"),
            format!("host {ED25519}\n@cert-authority host {RSA}\n"),
        ] {
            assert_eq!(plan(&text, &[ED25519, ECDSA256]), None, "{text}");
        }
        let revoked = format!("host {ED25519}\n@revoked * {ECDSA256}\n");
        assert_eq!(plan(&revoked, &[ED25519, ECDSA256]), None);
    }
}
