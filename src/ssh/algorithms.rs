//! Which algorithms are offered. Owns the defaults, which leave out all that is
//! weak by the standard of ssh-audit, and the options of ssh_config(5) that
//! change them; how they are negotiated is russh's business.

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{cipher, compression, kex, mac};

use super::Negotiated;
use crate::printable::Printable;

/// Smallest RSA keys, in bits; OpenSSH's default is 1024.
pub(crate) const RSA_BITS: u32 = 2048;

const KEX: [&str; 2] = ["mlkem768x25519-sha256", "curve25519-sha256"];
/// AES-GCM first: the fastest where the processor has AES.
const CIPHERS: [&str; 5] = [
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
];
const MACS: [&str; 2] = ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"];
const HOST_KEYS: [&str; 3] = ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"];
const CA_SIGNATURES: [&str; 8] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
];
/// Host keys that russh can check, and nobody should have.
const MORE_HOST_KEYS: [&str; 4] =
    ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/// What keys and certificates of users may be used with, in OpenSSH's order.
const USER_KEYS: [&str; 16] = [
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// What a session may use, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    kex: Vec<String>,
    ciphers: Vec<String>,
    macs: Vec<String>,
    host_keys: Vec<String>,
    /// Whether the user chose the host keys: then none is added or moved.
    chosen_host_keys: bool,
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

impl Default for Algorithms {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            kex: names(&KEX),
            ciphers: names(&CIPHERS),
            macs: names(&MACS),
            host_keys: names(&HOST_KEYS),
            chosen_host_keys: false,
            ca_signatures: names(&CA_SIGNATURES),
            user_keys: names(&USER_KEYS),
            rsa_bits: RSA_BITS,
            compression: false,
        }
    }
}

impl Algorithms {
    /// Reads a list: instead of the defaults, or with `+`, `-` or `^` before it a
    /// change to them. It may hold patterns.
    ///
    /// # Errors
    /// The reason, for names that nobody knows here.
    pub fn parse(list: List, text: &str) -> Result<Vec<String>, String> {
        let known: Vec<String> = Self::known(list).into_iter().map(str::to_owned).collect();
        modified(text, Self::default().list(list), &known)
    }

    /// Has these used, best first.
    pub fn choose(&mut self, list: List, names: Vec<String>) {
        self.chosen_host_keys |= list == List::HostKeys;
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
        let usable = |name: &&str| !["none", "clear"].contains(name);
        match list {
            List::Kex => {
                kex::ALL_KEX_ALGORITHMS.iter().map(|name| name.as_ref()).filter(usable).collect()
            }
            List::Ciphers => {
                cipher::ALL_CIPHERS.iter().map(|name| name.as_ref()).filter(usable).collect()
            }
            List::Macs => {
                mac::ALL_MAC_ALGORITHMS.iter().map(|name| name.as_ref()).filter(usable).collect()
            }
            List::HostKeys => [&HOST_KEYS[..], &MORE_HOST_KEYS].concat(),
            List::CaSignatures => [&CA_SIGNATURES[..], &["ssh-rsa"]].concat(),
            List::UserKeys => USER_KEYS.to_vec(),
        }
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
            host_key_certificates: if certificates { certificate_keys() } else { Vec::new() }
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

    /// The types of known keys first, as OpenSSH orders its HostKeyAlgorithms;
    /// also those that nobody else is asked for.
    fn host_keys(&self, known: &[Algorithm]) -> Vec<Algorithm> {
        let mut keys: Vec<Algorithm> =
            self.host_keys.iter().filter_map(|name| Algorithm::new(name).ok()).collect();
        if self.chosen_host_keys {
            return keys;
        }
        let is_known = |key: &Algorithm| {
            known.iter().any(|known| match (key, known) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (key, known) => key == known,
            })
        };
        let more = known.iter().filter(|known| matches!(known, Algorithm::Ecdsa { .. })).cloned();
        keys.splice(0..0, more);
        // Stable: what is known keeps its order before what is not.
        keys.sort_by_key(|key| !is_known(key));
        keys
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
        let is_chosen = !self.chosen_host_keys || self.host_keys.iter().any(is_listed);
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
    Algorithms::parse(list, name).is_ok()
}

fn certificate_keys() -> Vec<Algorithm> {
    vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ]
}

/// A list of ssh_config(5): instead of the defaults, or with a sign before it
/// (`+` after, `^` before, `-` out of) a change to them.
fn modified(value: &str, defaults: &[String], known: &[String]) -> Result<Vec<String>, String> {
    let (sign, names) = match value.chars().next() {
        Some(sign @ ('+' | '-' | '^')) => (sign, value.get(1..).unwrap_or_default()),
        _ => ('=', value),
    };
    let mut named = Vec::new();
    for pattern in names.split(',').map(str::trim) {
        let matches =
            |name: &&String| crate::pattern::matches_pattern(pattern.as_bytes(), name.as_bytes());
        let before = named.len();
        named.extend(known.iter().filter(matches).cloned());
        if named.len() == before {
            return Err(format!("nothing here is called {}", Printable(pattern)));
        }
    }
    let without: Vec<String> =
        defaults.iter().filter(|name| !named.contains(name)).cloned().collect();
    let mut list = match sign {
        '=' => named,
        '-' => without,
        '^' => [named, without].concat(),
        _ => [defaults.to_vec(), named].concat(),
    };
    let mut seen = std::collections::HashSet::new();
    list.retain(|name| seen.insert(name.clone()));
    if list.is_empty() {
        return Err("nothing is left".to_owned());
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: AsRef<str>>(list: &[T]) -> Vec<&str> {
        list.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn nothing_weak_is_offered_and_strict_kex_is() {
        let preferred = Algorithms::default().preferred(&[], false);
        assert_eq!(
            names(&preferred.kex),
            [&KEX[..], &["ext-info-c", "kex-strict-c-v00@openssh.com"]].concat()
        );
        assert_eq!(names(&preferred.cipher), CIPHERS);
        assert_eq!(names(&preferred.mac), MACS);
        assert_eq!(preferred.key.iter().map(Algorithm::as_str).collect::<Vec<_>>(), HOST_KEYS);
        assert!(preferred.host_key_certificates.is_empty());
        let with = Algorithms::default().preferred(&[], true);
        assert!(!with.host_key_certificates.contains(&Algorithm::Rsa { hash: None }));
        assert_eq!(with.host_key_certificates.len(), 6);
    }

    #[test]
    fn known_key_types_are_asked_for_first_whatever_they_are() {
        let first = |known| Algorithms::default().preferred(&[known], false).key[0].clone();
        let rsa = Algorithm::Rsa { hash: None };
        assert_eq!(first(rsa), Algorithm::Rsa { hash: Some(HashAlg::Sha512) });
        let ecdsa = Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 };
        assert_eq!(first(ecdsa.clone()), ecdsa);
        let mut chosen = Algorithms::default();
        chosen.choose(List::HostKeys, vec!["rsa-sha2-256".to_owned()]);
        assert_eq!(chosen.preferred(&[ecdsa], false).key.len(), 1);
    }

    #[test]
    fn lists_are_replaced_and_changed_as_in_ssh_config() {
        let host_keys =
            |value: &str| Algorithms::parse(List::HostKeys, value).map(|list| list.join(" "));
        let all = HOST_KEYS.join(" ");
        assert_eq!(host_keys("+ssh-rsa").unwrap(), format!("{all} ssh-rsa"));
        assert_eq!(host_keys("^ssh-rsa").unwrap(), format!("ssh-rsa {all}"));
        assert_eq!(host_keys("-rsa-*").unwrap(), "ssh-ed25519");
        assert_eq!(host_keys("ssh-rsa,ssh-ed25519").unwrap(), "ssh-rsa ssh-ed25519");
        assert_eq!(
            host_keys("ecdsa-*,ssh-ed25519,ecdsa-sha2-nistp256").unwrap(),
            "ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 ssh-ed25519"
        );
        for bad in ["", "nonsense", "+", "-*", "ssh-dss", "ssh-rsa,"] {
            assert!(host_keys(bad).is_err(), "{bad:?}");
        }
        for bad in ["none", "clear", "+none"] {
            assert!(Algorithms::parse(List::Ciphers, bad).is_err(), "{bad}");
        }
        let algorithms = Algorithms { compression: true, ..Algorithms::default() };
        let compression = algorithms.preferred(&[], false).compression;
        assert_eq!(names(&compression), ["zlib@openssh.com", "none"]);
    }

    #[test]
    fn small_rsa_keys_are_too_weak_unless_allowed() {
        use crate::ssh::known_hosts::test_keys::{ED25519, RSA, key};
        let mut algorithms = Algorithms::default();
        let why = algorithms.weakness(&key(RSA)).unwrap();
        assert!(why.contains("1024 bits") && why.contains("RequiredRSASize 1024"), "{why}");
        assert_eq!(algorithms.weakness(&key(ED25519)), None);
        algorithms.rsa_bits = 1024;
        assert_eq!(algorithms.weakness(&key(RSA)), None);
    }
}
