//! Which algorithms are offered. Owns the defaults, which leave out all that is
//! weak by the standard of ssh-audit, and the options of ssh_config(5) that
//! change them; how they are negotiated is russh's business.

mod names;

use std::borrow::Cow;
use std::collections::HashSet;

use russh::keys::{Algorithm, HashAlg};
use russh::{cipher, compression, kex, mac};

use super::Negotiated;
pub use names::{key_types, signatures};

/// Smallest RSA keys, in bits; OpenSSH's default is 1024.
pub(crate) const RSA_BITS: u32 = 2048;

/// How types of certificates end.
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// What a session may use, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    kex: Vec<String>,
    ciphers: Vec<String>,
    macs: Vec<String>,
    host_keys: Vec<String>,
    /// What the user did to the host keys, if anything: unless he put them into an
    /// order, those that are known go first.
    host_keys_change: Option<Change>,
    ca_signatures: Vec<String>,
    user_keys: Vec<String>,
    /// Bits of the smallest RSA keys.
    pub rsa_bits: u32,
    /// Whether data is compressed.
    pub compression: bool,
}

/// The options of ssh_config(5) that are lists of algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `KexAlgorithms`.
    Kex,
    /// `Ciphers`.
    Ciphers,
    /// `MACs`.
    Macs,
    /// `HostKeyAlgorithms`.
    HostKeys,
    /// `CASignatureAlgorithms`.
    CaSignatures,
    /// `PubkeyAcceptedAlgorithms`.
    UserKeys,
}

/// What a list of ssh_config(5) does to the defaults, by the sign before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// No sign: it stands instead of them.
    Replaced,
    /// `+`: after them.
    Added,
    /// `-`: these are gone.
    Removed,
    /// `^`: before them.
    First,
}

/// A list that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// What it does.
    change: Change,
    /// What it names and can be used, best first; for [`Change::Removed`] patterns.
    names: Vec<String>,
}

/// Why a list is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// It has a name that nobody knows.
    Unknown,
    /// Nothing in it can be used here.
    NothingLeft,
}

impl Chosen {
    /// As it is written, without what cannot be used here.
    pub fn written(&self) -> String {
        let sign = match self.change {
            Change::Replaced => "",
            Change::Added => "+",
            Change::Removed => "-",
            Change::First => "^",
        };
        format!("{sign}{}", self.names.join(","))
    }

    /// What becomes of a list by it.
    fn applied(&self, defaults: &[String]) -> Vec<String> {
        let (named, defaults) = (self.names.iter(), defaults.iter());
        let mut names: Vec<String> = match self.change {
            Change::Replaced => named.cloned().collect(),
            Change::Removed => {
                let patterns = self.names.join(",");
                defaults.filter(|name| !is_named(&patterns, name)).cloned().collect()
            }
            Change::Added => defaults.chain(named).cloned().collect(),
            Change::First => named.chain(defaults).cloned().collect(),
        };
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

impl Default for Algorithms {
    fn default() -> Self {
        Self::of(List::defaults)
    }
}

impl Algorithms {
    /// What is used where nothing is said by those who call us `ssh`.
    pub fn as_ssh() -> Self {
        Self::of(|list| list.defaults_as_ssh().to_vec())
    }

    fn of(defaults: impl Fn(List) -> Vec<&'static str>) -> Self {
        let names = |list: List| defaults(list).iter().map(|name| (*name).to_owned()).collect();
        Self {
            kex: names(List::Kex),
            ciphers: names(List::Ciphers),
            macs: names(List::Macs),
            host_keys: names(List::HostKeys),
            host_keys_change: None,
            ca_signatures: names(List::CaSignatures),
            user_keys: names(List::UserKeys),
            rsa_bits: RSA_BITS,
            compression: false,
        }
    }

    /// Reads a list as OpenSSH does: instead of the defaults, or with `+`, `-` or `^`
    /// before it a change to them. What OpenSSH has and we do not is left out; types of
    /// keys, and whatever is taken away, may be named by patterns.
    ///
    /// # Errors
    /// See [`Mistake`]. Without a MAC there are ciphers that need none.
    pub fn parse(list: List, text: &str) -> Result<Chosen, Mistake> {
        let (change, text) = match text.split_at_checked(1) {
            Some(("+", rest)) => (Change::Added, rest),
            Some(("-", rest)) => (Change::Removed, rest),
            Some(("^", rest)) => (Change::First, rest),
            _ => (Change::Replaced, text),
        };
        let names = match change {
            Change::Removed => text.split(',').collect(),
            _ => named(list, text)?,
        };
        let names = names.into_iter().map(str::to_owned).collect();
        let chosen = Chosen { change, names };
        match chosen.applied(Self::default().list(list)).is_empty() && list != List::Macs {
            true => Err(Mistake::NothingLeft),
            false => Ok(chosen),
        }
    }

    /// Has a list changed.
    pub fn choose(&mut self, list: List, chosen: &Chosen) {
        if list == List::HostKeys {
            self.host_keys_change = Some(chosen.change);
        }
        let names = chosen.applied(self.list(list));
        let field = match list {
            List::Kex => &mut self.kex,
            List::Ciphers => &mut self.ciphers,
            List::Macs => &mut self.macs,
            List::HostKeys => &mut self.host_keys,
            List::CaSignatures => &mut self.ca_signatures,
            List::UserKeys => &mut self.user_keys,
        };
        *field = names;
    }

    /// What may be in a list at all.
    pub fn known(list: List) -> Vec<&'static str> {
        list.usable()
    }

    /// What is in a list now.
    pub fn list(&self, list: List) -> &[String] {
        match list {
            List::Kex => &self.kex,
            List::Ciphers => &self.ciphers,
            List::Macs => &self.macs,
            List::HostKeys => &self.host_keys,
            List::CaSignatures => &self.ca_signatures,
            List::UserKeys => &self.user_keys,
        }
    }

    /// For russh; `known` are the types of keys that this host is known by, and
    /// `certificates` whether one of its authorities is.
    pub(super) fn preferred(&self, known: &[Algorithm], certificates: bool) -> russh::Preferred {
        let kex = self.kex.iter().filter_map(|name| kex::Name::try_from(name.as_str()).ok());
        let extensions =
            [kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];
        let ciphers = self.ciphers.iter();
        let macs = self.macs.iter();
        russh::Preferred {
            kex: kex.chain(extensions).collect(),
            key: self.host_keys(known).into(),
            host_key_certificates: if certificates { self.certificates() } else { Vec::new() }
                .into(),
            cipher: ciphers.filter_map(|name| cipher::Name::try_from(name.as_str()).ok()).collect(),
            mac: macs.filter_map(|name| mac::Name::try_from(name.as_str()).ok()).collect(),
            // Before authentication there is nothing worth it, and much to attack.
            compression: Cow::Borrowed(match self.compression {
                true => &[compression::ZLIB_LEGACY, compression::NONE],
                false => &[compression::NONE],
            }),
        }
    }

    /// The types of known keys first, as OpenSSH orders its HostKeyAlgorithms unless
    /// the user has; also those that nobody else is asked for.
    fn host_keys(&self, known: &[Algorithm]) -> Vec<Algorithm> {
        let plain = self.host_keys.iter().filter(|name| !name.ends_with(CERTIFICATE));
        let mut keys: Vec<Algorithm> = plain.filter_map(|name| Algorithm::new(name).ok()).collect();
        if !self.puts_known_first() {
            return keys;
        }
        let is_known = |key: &Algorithm| {
            known.iter().any(|known| match (key, known) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (key, known) => key == known,
            })
        };
        if self.host_keys_change != Some(Change::Removed) {
            let is_no_default = |key: &Algorithm| {
                use Algorithm::{Ecdsa, SkEcdsaSha2NistP256, SkEd25519};
                matches!(key, Ecdsa { .. } | SkEcdsaSha2NistP256 | SkEd25519)
            };
            let more = known.iter().filter(|key| is_no_default(key)).cloned();
            keys.retain(|key| !is_no_default(key) || !is_known(key));
            keys.splice(0..0, more);
        }
        // Stable: what is known keeps its order before what is not.
        keys.sort_by_key(|key| !is_known(key));
        keys
    }

    /// Whether it matters which keys of a host are known (sshconnect2.c, `ssh_kex2`).
    pub(super) fn puts_known_first(&self) -> bool {
        !matches!(self.host_keys_change, Some(Change::Replaced | Change::First))
    }

    /// The certificates that hosts may have, by the signature of the key exchange.
    fn certificates(&self) -> Vec<Algorithm> {
        let algorithm = |name: &String| match name.strip_suffix(CERTIFICATE)? {
            "rsa-sha2-512" => Some(Algorithm::Rsa { hash: Some(HashAlg::Sha512) }),
            "rsa-sha2-256" => Some(Algorithm::Rsa { hash: Some(HashAlg::Sha256) }),
            _ => Algorithm::new_certificate(name).ok(),
        };
        self.host_keys.iter().filter_map(algorithm).collect()
    }

    /// Whether a signature of this kind under a certificate counts.
    pub(super) fn signs_certificates(&self, algorithm: &Algorithm) -> bool {
        self.ca_signatures.iter().any(|name| name == algorithm.as_str())
    }

    /// Whether a host may have this key, by `HostKeyAlgorithms` and its size.
    pub(super) fn takes_host_key(&self, key: &russh::keys::PublicKey) -> bool {
        let algorithm = key.algorithm();
        let is_listed = |name: &String| match &algorithm {
            // One key, three ways to sign (RFC 8332).
            Algorithm::Rsa { .. } => name == "ssh-rsa" || name.starts_with("rsa-sha2-"),
            other => name == other.as_str(),
        };
        let is_chosen = match self.host_keys_change {
            // There are more that a host may have than those that are asked for.
            None | Some(Change::Added | Change::First) => true,
            Some(Change::Replaced | Change::Removed) => self.host_keys.iter().any(is_listed),
        };
        is_chosen && self.weakness(key).is_none()
    }

    /// Why this key is too weak, if it is.
    pub(super) fn weakness(&self, key: &russh::keys::PublicKey) -> Option<String> {
        let bits = key.key_data().rsa()?.key_size();
        (bits < self.rsa_bits).then(|| {
            format!(
                "an RSA key of {bits} bits is too small, and only RequiredRSASize {bits} would \
                 allow it"
            )
        })
    }
}

/// Whether we could use what a server calls `name`, were it allowed.
pub(super) fn is_usable(kind: Negotiated, name: &str) -> bool {
    let list = match kind {
        Negotiated::Kex => List::Kex,
        Negotiated::HostKey => List::HostKeys,
        Negotiated::Cipher => List::Ciphers,
        Negotiated::Mac => List::Macs,
        Negotiated::Compression => return false,
    };
    list.usable().contains(&name)
}

/// Whether a name is in a list of patterns, of which those with `!` take it out.
fn is_named(patterns: &str, name: &str) -> bool {
    let matches =
        |pattern: &str| crate::pattern::matches_pattern(pattern.as_bytes(), name.as_bytes());
    let mut is_named = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if matches(not) => return false,
            Some(_) => {}
            None => is_named |= matches(pattern),
        }
    }
    is_named
}

/// What can be used of what a list names, in its order.
fn named(list: List, text: &str) -> Result<Vec<&'static str>, Mistake> {
    let (usable, only_theirs) = (list.usable(), list.only_theirs());
    let mut named = Vec::new();
    for pattern in text.split(',') {
        let matches = |name: &&&str| match list.is_of_keys() {
            true => crate::pattern::matches_pattern(pattern.as_bytes(), name.as_bytes()),
            false => **name == pattern,
        };
        let before = named.len();
        named.extend(usable.iter().filter(matches));
        let is_known = named.len() > before
            || only_theirs.iter().any(|name| matches(&name))
            || list.is_theirs(pattern);
        if !is_known {
            return Err(Mistake::Unknown);
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests;
