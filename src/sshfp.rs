//! Fingerprints of host keys in the DNS (RFC 4255). Owns their numbers; who may
//! be believed is the resolver's business, what follows from it `ssh`'s.

use sha2::{Digest, Sha256};

/// SHA-256 (RFC 6594, section 3.2). SHA-1, number 1, proves nothing any more.
const SHA256: u8 = 2;

/// A record that DNSSEC has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sshfp {
    /// The type of the key.
    pub algorithm: u8,
    /// The hash.
    pub hash: u8,
    /// The digest.
    pub fingerprint: Vec<u8>,
}

impl Sshfp {
    /// Whether it is about keys of the type that SSH calls `name`, by a hash that
    /// is good enough.
    pub fn is_about(&self, name: &str) -> bool {
        self.hash == SHA256 && Some(self.algorithm) == number(name)
    }

    /// Whether it is that of this key, as it is on the wire.
    pub fn is_of(&self, key: &[u8]) -> bool {
        self.hash == SHA256 && self.fingerprint == Sha256::digest(key).as_slice()
    }
}

/// The registry of IANA, "SSHFP RR Types for public key algorithms".
fn number(name: &str) -> Option<u8> {
    match name {
        "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" => Some(1),
        _ if name.starts_with("ecdsa-sha2-nistp") => Some(3),
        "ssh-ed25519" => Some(4),
        _ => None,
    }
}
