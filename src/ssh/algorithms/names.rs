//! The names of algorithms: what is offered, what may be allowed besides, and what
//! only OpenSSH has. Owns no rule about them.

use russh::{cipher, kex, mac};

use super::{CERTIFICATE, List};

/// What is offered where nothing is said by those who call us `ssh`, as OpenSSH has it
/// in its order: what FIPS 140 allows is hardly more than the curves of NIST. Who calls
/// us by our own name is offered these without what [`is_failure`] names.
const KEX: [&str; 10] = [
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
];
/// AES-GCM first: the fastest where the processor has AES.
const CIPHERS: [&str; 6] = [
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
];
const MACS: [&str; 4] = [
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512",
    "hmac-sha2-256",
];
/// The same as for the key exchange. Certificates are asked for only where an authority
/// is known.
const HOST_KEYS: [&str; 16] = USER_KEYS;
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
/// Host keys that can be checked here, and are no defaults.
const MORE_HOST_KEYS: [&str; 8] = [
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// What OpenSSH's lists may name, and ours too then, but nothing comes of it here.
const ONLY_THEIR_KEX: [&str; 3] = [
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "sntrup4591761x25519-sha512@tinyssh.org",
];
/// How the names of key exchanges by GSSAPI begin, of which there is no end.
const ONLY_THEIR_KEX_BEGINS: &str = "gss-";
const ONLY_THEIR_CIPHERS: [&str; 2] = ["3des-cbc", "rijndael-cbc@lysator.liu.se"];
const ONLY_THEIR_MACS: [&str; 10] = [
    "hmac-sha1-96",
    "hmac-sha1-96-etm@openssh.com",
    "hmac-md5",
    "hmac-md5-96",
    "hmac-md5-etm@openssh.com",
    "hmac-md5-96-etm@openssh.com",
    "umac-64@openssh.com",
    "umac-128@openssh.com",
    "umac-64-etm@openssh.com",
    "umac-128-etm@openssh.com",
];

/// Types of keys and what they sign with, as OpenSSH's sshkey.c has them in its order.
const KEY_TYPES: [&str; 14] = [
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ssh-rsa",
    "ssh-rsa-cert-v01@openssh.com",
];
const SIGNATURES: [&str; 4] = [
    "rsa-sha2-256",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-512-cert-v01@openssh.com",
];
const ONLY_THEIR_KEYS: [&str; 3] =
    ["webauthn-sk-ecdsa-sha2-nistp256@openssh.com", "ssh-dss", "ssh-dss-cert-v01@openssh.com"];

impl List {
    /// What it has where nothing is said. By the standard of ssh-audit nothing of it is
    /// a failure.
    pub(super) fn defaults(self) -> Vec<&'static str> {
        let all = self.defaults_as_ssh().iter().copied();
        match self {
            Self::Kex => all.filter(|name| !is_failure(name)).collect(),
            // Hardly any server has a security key: whoever knows one is asked for it.
            Self::HostKeys => {
                all.filter(|name| !is_failure(name) && !name.starts_with("sk-")).collect()
            }
            _ => all.collect(),
        }
    }

    /// The same for those who call us `ssh`, and are used to what OpenSSH reaches.
    pub(super) fn defaults_as_ssh(self) -> &'static [&'static str] {
        match self {
            Self::Kex => &KEX,
            Self::Ciphers => &CIPHERS,
            Self::Macs => &MACS,
            Self::HostKeys => &HOST_KEYS,
            Self::CaSignatures => &CA_SIGNATURES,
            Self::UserKeys => &USER_KEYS,
        }
    }

    /// What it may have at all.
    pub(super) fn usable(self) -> Vec<&'static str> {
        let usable = |name: &&str| !["none", "clear"].contains(name);
        match self {
            Self::Kex => {
                kex::ALL_KEX_ALGORITHMS.iter().map(|name| name.as_ref()).filter(usable).collect()
            }
            Self::Ciphers => {
                cipher::ALL_CIPHERS.iter().map(|name| name.as_ref()).filter(usable).collect()
            }
            Self::Macs => {
                mac::ALL_MAC_ALGORITHMS.iter().map(|name| name.as_ref()).filter(usable).collect()
            }
            Self::HostKeys => [self.defaults(), MORE_HOST_KEYS.to_vec()].concat(),
            Self::CaSignatures => [&CA_SIGNATURES[..], &["ssh-rsa"]].concat(),
            Self::UserKeys => USER_KEYS.to_vec(),
        }
    }

    /// Whether it is of types of keys, which may be named by patterns.
    pub(super) fn is_of_keys(self) -> bool {
        matches!(self, Self::HostKeys | Self::CaSignatures | Self::UserKeys)
    }

    /// What else OpenSSH takes in it.
    pub(super) fn only_theirs(self) -> Vec<&'static str> {
        match self {
            Self::Kex => ONLY_THEIR_KEX.to_vec(),
            Self::Ciphers => ONLY_THEIR_CIPHERS.to_vec(),
            Self::Macs => ONLY_THEIR_MACS.to_vec(),
            _ => [&KEY_TYPES[..], &SIGNATURES, &ONLY_THEIR_KEYS].concat(),
        }
    }

    /// Whether a name is one that OpenSSH would take of many.
    pub(super) fn is_theirs(self, name: &str) -> bool {
        self == Self::Kex && name.starts_with(ONLY_THEIR_KEX_BEGINS)
    }
}

/// Whether ssh-audit calls it a failure: the curves of NIST are one. A certificate has
/// been asked for by whoever knows its authority.
fn is_failure(name: &str) -> bool {
    name.contains("-nistp") && !name.ends_with(CERTIFICATE)
}

/// Types of keys that may be used here somewhere, as `ssh -Q key` lists them.
pub fn key_types() -> &'static [&'static str] {
    &KEY_TYPES
}

/// The names of signatures that are no types of keys.
pub fn signatures() -> &'static [&'static str] {
    &SIGNATURES
}
