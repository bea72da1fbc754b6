//! Which host keys are known: files in the format of sshd(8), SSH_KNOWN_HOSTS
//! FILE FORMAT, looked up as ssh(1) does. Owns reading, looking up and adding;
//! refuses policy (see [`super::hostkey`]), asking, and removing lines.

mod file;
mod hosts;
mod line;
mod names;
mod program;
mod renewal;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::error::Result;
use hosts::Hosts;
use line::{Line, Marker};

pub use file::{add, add_first, remove};
pub use names::Name;
pub use program::{Program, Purpose};
pub use renewal::{Announced, Renewal};

/// The port whose lines carry the plain host name.
pub const DEFAULT_PORT: u16 = 22;

/// How many lines that were not understood are logged, so that a file of
/// garbage does not flood the log.
const LOGGED_LINES: usize = 16;

/// The lines of one or several files, in order.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    lines: Vec<Located>,
    skipped: usize,
}

#[derive(Debug, Clone)]
struct Located {
    path: Arc<Path>,
    number: usize,
    line: Line,
}

/// A line of a file, for messages and decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file.
    pub path: PathBuf,
    /// The line's number, from 1.
    pub line: usize,
    /// SHA-256 of the key on it.
    pub fingerprint: Fingerprint,
    /// The type of the key on it.
    pub algorithm: Algorithm,
    /// The key itself.
    pub key: PublicKey,
    /// Its host field, as in the file and not escaped; hashed names are
    /// `[hashed name]`.
    pub names: String,
    hosts: Hosts,
}

impl Entry {
    /// Whether the line is for this name and port.
    pub fn is_for(&self, name: &str, port: u16) -> bool {
        self.hosts.matches(lookup_name(name, port).as_bytes())
    }
}

/// What the files say about one host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A line has this name and this key.
    Known {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// Whether the line is for this very name and port, and not for the name
        /// without the port.
        is_exact: bool,
    },
    /// Lines have this name with other keys, at least one of the same type.
    Changed {
        /// All plain lines for the name.
        entries: Vec<Entry>,
    },
    /// Lines have this name, but only with keys of other types. ssh(1) treats
    /// it as a changed key, or an attacker could simply offer another type.
    OtherType {
        /// All plain lines for the name.
        entries: Vec<Entry>,
    },
    /// A line says that this key must never be accepted.
    Revoked {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// No line has this name.
    Unknown,
}

impl KnownHosts {
    /// Reads the files in this order. A missing file is an empty one, and so is
    /// `/dev/null`.
    ///
    /// # Errors
    /// `Error::KnownHosts` for a file that exists and cannot be read, is no
    /// regular file, or is larger than 64 MiB.
    pub fn load<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self> {
        let mut known = Self::default();
        for path in paths {
            if let Some(text) = file::read(path.as_ref())? {
                known.parse(path.as_ref(), &text);
            }
        }
        Ok(known)
    }

    /// Adds the lines of `text`, which was read from `path`. Never fails: lines
    /// that are not understood are counted in [`KnownHosts::skipped`].
    pub fn parse(&mut self, path: &Path, text: &[u8]) {
        let shared: Arc<Path> = path.into();
        for (index, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            match Line::parse(bytes) {
                Ok(None) => {}
                Ok(Some(line)) => {
                    self.lines.push(Located { path: Arc::clone(&shared), number, line });
                }
                Err(reason) => {
                    self.skipped += 1;
                    if self.skipped <= LOGGED_LINES {
                        tracing::debug!(?path, number, reason, "known_hosts line skipped");
                    }
                }
            }
        }
    }

    /// Forgets all but the `@revoked` lines.
    pub fn retain_revoked(&mut self) {
        self.lines.retain(|found| found.line.marker == Marker::Revoked);
    }

    /// Adds the lines of `other` after these.
    pub fn extend(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.skipped += other.skipped;
    }

    /// How many lines were not understood.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// What is known about `key` as the key of `name` at `port`, as ssh(1)
    /// decides it: on a port other than 22 the lines for `[name]:port` count,
    /// and if there are none, a line for the plain name that has this very key.
    /// A line with another key never hides one with this key. More careful than
    /// ssh(1) is only this: `@revoked` for the plain name counts on every port.
    pub fn lookup(&self, name: &str, port: u16, key: &PublicKey) -> Verdict {
        if let Some(found) = self.revoked(name, port, key) {
            return Verdict::Revoked { path: found.path, line: found.line };
        }
        let same = |found: &&Located| same_key(&found.line.key, key);
        let known = |found: &Located, is_exact| Verdict::Known {
            path: found.path.to_path_buf(),
            line: found.number,
            is_exact,
        };
        let wanted = lookup_name(name, port);
        if let Some(found) = self.find(&wanted, Marker::Plain).find(same) {
            return known(found, true);
        }
        let entries: Vec<Entry> = self.find(&wanted, Marker::Plain).map(Located::entry).collect();
        if entries.is_empty() {
            return match plain_name(name, port) {
                Some(plain) => {
                    let found = self.find(&plain, Marker::Plain).find(same);
                    found.map(|found| known(found, false))
                }
                None => None,
            }
            .unwrap_or(Verdict::Unknown);
        }
        Verdict::other_key(entries, key)
    }

    /// The algorithms whose keys we know for the host, in the order of the
    /// lines, to be preferred in the key exchange: else the server offers a key
    /// of a type we do not know, and that looks like a changed key. An RSA key
    /// stands for both its SHA-2 signatures (RFC 8332), never for SHA-1.
    pub fn known_algorithms(&self, name: &str, port: u16) -> Vec<Algorithm> {
        let mut lines: Vec<&Located> = self.find(&lookup_name(name, port), Marker::Plain).collect();
        if let Some(plain) = plain_name(name, port)
            && lines.is_empty()
        {
            lines = self.find(&plain, Marker::Plain).collect();
        }
        let mut algorithms = Vec::new();
        for found in lines {
            let names = match found.line.key.algorithm() {
                Algorithm::Rsa { .. } => vec![
                    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
                    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
                ],
                other => vec![other],
            };
            if self.revoked(name, port, &found.line.key).is_none() {
                for algorithm in names {
                    if !algorithms.contains(&algorithm) {
                        algorithms.push(algorithm);
                    }
                }
            }
        }
        algorithms
    }

    /// The `@cert-authority` lines for the host, those for `[name]:port` first.
    /// Whether such a key is revoked is for [`KnownHosts::revoked`] to say.
    pub fn authorities(&self, name: &str, port: u16) -> Vec<Entry> {
        self.entries(name, port, Marker::CertAuthority)
    }

    /// The `@revoked` line for this host and key, if there is one. A
    /// certificate must be checked for both its own key and its authority's.
    pub fn revoked(&self, name: &str, port: u16, key: &PublicKey) -> Option<Entry> {
        std::iter::once(lookup_name(name, port)).chain(plain_name(name, port)).find_map(|wanted| {
            self.find(&wanted, Marker::Revoked)
                .find(|found| same_key(&found.line.key, key))
                .map(Located::entry)
        })
    }

    /// All plain lines for the host, those for `[name]:port` first.
    pub fn keys(&self, name: &str, port: u16) -> Vec<Entry> {
        self.entries(name, port, Marker::Plain)
    }

    /// The `@revoked` lines for the host.
    pub fn all_revoked(&self, name: &str, port: u16) -> Vec<Entry> {
        self.entries(name, port, Marker::Revoked)
    }

    /// The ports that plain lines have `[name]:PORT` for; hashed names do not tell.
    pub fn ports_of(&self, name: &str) -> Vec<u16> {
        let plain = self.lines.iter().filter(|found| found.line.marker == Marker::Plain);
        plain.flat_map(|found| found.line.hosts.ports_of(name)).collect()
    }

    /// The lines that know `key` under whatever name.
    pub fn other_names(&self, key: &PublicKey) -> Vec<Entry> {
        self.lines
            .iter()
            .filter(|found| found.line.marker == Marker::Plain && same_key(&found.line.key, key))
            .map(Located::entry)
            .collect()
    }

    fn entries(&self, name: &str, port: u16, marker: Marker) -> Vec<Entry> {
        let names = std::iter::once(lookup_name(name, port)).chain(plain_name(name, port));
        let of_name =
            |name: String| self.find(&name, marker).map(Located::entry).collect::<Vec<_>>();
        names.flat_map(of_name).collect()
    }

    /// The lines with this marker for a name in the form of [`lookup_name`].
    fn find<'a>(&'a self, name: &str, marker: Marker) -> impl Iterator<Item = &'a Located> {
        let name = name.to_owned();
        self.lines.iter().filter(move |found| {
            found.line.marker == marker && found.line.hosts.matches(name.as_bytes())
        })
    }
}

impl Verdict {
    /// For lines that have the name and another key than `key`.
    fn other_key(entries: Vec<Entry>, key: &PublicKey) -> Self {
        if entries.iter().any(|entry| entry.algorithm == key.algorithm()) {
            Self::Changed { entries }
        } else {
            Self::OtherType { entries }
        }
    }
}

impl Located {
    fn entry(&self) -> Entry {
        Entry {
            path: self.path.to_path_buf(),
            line: self.number,
            fingerprint: self.line.key.fingerprint(HashAlg::Sha256),
            algorithm: self.line.key.algorithm(),
            key: self.line.key.clone(),
            names: self.line.hosts.shown(),
            hosts: self.line.hosts.clone(),
        }
    }
}

/// The name as it is looked up and written: `host` on port 22 (or 0), and
/// `[host]:port` on others, in lower case.
pub fn lookup_name(name: &str, port: u16) -> String {
    let name = name.to_ascii_lowercase();
    if is_default(port) { name } else { format!("[{name}]:{port}") }
}

/// The files of a user with this home directory, as ssh(1) reads them.
pub fn user_files(home: &Path) -> Vec<PathBuf> {
    vec![home.join(".ssh/known_hosts"), home.join(".ssh/known_hosts2")]
}

/// The files of the whole machine, as ssh(1) reads them.
pub fn global_files() -> Vec<PathBuf> {
    vec!["/etc/ssh/ssh_known_hosts".into(), "/etc/ssh/ssh_known_hosts2".into()]
}

/// The name ssh(1) falls back to on a port other than 22.
fn plain_name(name: &str, port: u16) -> Option<String> {
    (!is_default(port)).then(|| name.to_ascii_lowercase())
}

fn is_default(port: u16) -> bool {
    port == DEFAULT_PORT || port == 0
}

/// Keys without their comments.
fn same_key(a: &PublicKey, b: &PublicKey) -> bool {
    a.key_data() == b.key_data()
}

#[cfg(test)]
pub(crate) mod test_keys;
#[cfg(test)]
mod tests;
