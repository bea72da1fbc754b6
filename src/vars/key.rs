//! One identity file as text: age identities and ssh private keys. Owns their
//! parsing; says what is wrong without ever quoting a line of it.

use std::sync::Arc;

use age::Identity;
use data_encoding::BASE64_NOPAD;
use russh::keys::ssh_key::LineEnding;
use zeroize::Zeroizing;

use super::hybrid::{self, HybridIdentity};
use super::plugin::{self, Plugin};
use crate::secret::Secret;
use crate::user::User;

/// Largest ssh private key, in bytes: RSA with 16384 bits has about 12 KiB.
const MAX_SSH_KEY: usize = 64 << 10;

/// A key that decrypts.
pub(super) enum Key {
    X25519(age::x25519::Identity),
    Hybrid(Box<HybridIdentity>),
    Ssh(Box<age::ssh::Identity>),
    /// May ask the user for a PIN or a touch.
    Plugin(Box<Plugin>),
}

impl Key {
    pub(super) fn identity(&self) -> &dyn Identity {
        match self {
            Self::X25519(key) => key,
            Self::Hybrid(key) => key.as_ref(),
            Self::Ssh(key) => key.as_ref(),
            Self::Plugin(key) => key.as_ref(),
        }
    }
}

/// The identities of an age identity file: one a line, `#` begins a comment
/// (age(1), "Identity files").
///
/// # Errors
/// What is wrong, when it holds no usable identity.
pub(super) fn native(text: &str, user: &Arc<dyn User>) -> Result<Vec<Key>, String> {
    let (mut keys, mut for_plugins) = (Vec::new(), Vec::new());
    let mut unusable = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(plugin::PREFIX)
            && let Ok(identity) = line.parse()
        {
            for_plugins.push(identity);
        } else if line.starts_with(hybrid::PREFIX)
            && let Some(key) = HybridIdentity::parse(line)
        {
            keys.push(Key::Hybrid(Box::new(key)));
        } else if let Ok(key) = line.parse() {
            keys.push(Key::X25519(key));
        } else {
            // Never the line itself: it may be a key with a typo.
            unusable = Some(format!("line {} is no age identity", at + 1));
        }
    }
    match plugin::plugins(&for_plugins, user) {
        // Last: they may want something of the user.
        Ok(plugins) => keys.extend(plugins.into_iter().map(|plugin| Key::Plugin(Box::new(plugin)))),
        Err(missing) => unusable = Some(missing),
    }
    match unusable {
        // One key that works is enough; others may be for other programs.
        Some(reason) if keys.is_empty() => Err(reason),
        None if keys.is_empty() => Err("it holds no identity".to_owned()),
        _ => Ok(keys),
    }
}

/// An ssh private key, open or locked.
pub(super) enum SshKey {
    Open(Key),
    /// Encrypted; `tag` is how age headers name it.
    Locked {
        tag: String,
    },
}

/// Parses the text of an OpenSSH or PEM private key.
///
/// # Errors
/// What is wrong with it.
pub(super) fn ssh(text: &str) -> Result<SshKey, String> {
    let text = text.trim_start();
    if text.len() > MAX_SSH_KEY {
        return Err("it is larger than any ssh key".to_owned());
    }
    if text.starts_with("-----BEGIN OPENSSH ") {
        // Also because the age crate panics on integers of nothing but zeros.
        let key = russh::keys::PrivateKey::from_openssh(text);
        let key = key.map_err(|_| "it is no ssh key".to_owned())?;
        if key.is_encrypted() {
            return Ok(SshKey::Locked { tag: tag(key.public_key()) });
        }
    }
    match age::ssh::Identity::from_buffer(text.as_bytes(), None) {
        Ok(key @ age::ssh::Identity::Unencrypted(_)) => Ok(SshKey::Open(Key::Ssh(Box::new(key)))),
        Ok(age::ssh::Identity::Encrypted(_)) => Err("it is locked by a passphrase".to_owned()),
        Ok(age::ssh::Identity::Unsupported(age::ssh::UnsupportedKey::EncryptedPem)) => {
            Err("it is an encrypted PEM file; ssh-keygen -p -o -f FILE brings it up to date".into())
        }
        Ok(age::ssh::Identity::Unsupported(_)) => {
            Err("only ssh-ed25519 and ssh-rsa keys can decrypt".to_owned())
        }
        Err(_) => Err("it is no ssh key that can decrypt".to_owned()),
    }
}

/// Unlocks an encrypted ssh private key; `None` when the passphrase is wrong.
pub(super) fn unlock_ssh(text: &str, passphrase: &Secret<String>) -> Option<Key> {
    let key = russh::keys::decode_secret_key(text, Some(passphrase.expose())).ok()?;
    let text: Zeroizing<String> = key.to_openssh(LineEnding::LF).ok()?;
    match ssh(&text) {
        Ok(SshKey::Open(key)) => Some(key),
        _ => None,
    }
}

/// How age headers name an ssh key: the first four bytes of the SHA-256 of its
/// public half (age's README, "SSH keys").
fn tag(key: &russh::keys::PublicKey) -> String {
    let fingerprint = key.fingerprint(russh::keys::HashAlg::Sha256);
    BASE64_NOPAD.encode(fingerprint.as_bytes().get(..4).unwrap_or_default())
}
