//! One identity file as text: age identities and ssh private keys. Owns their
//! parsing; says what is wrong without ever quoting a line of it.

use std::sync::Arc;

use age::Identity;
use data_encoding::BASE64_NOPAD;
use russh::keys::ssh_key::LineEnding;
use zeroize::Zeroizing;

use super::hybrid::{self, HybridIdentity};
use super::plugin::{self, Plugin};
use crate::prompter::Prompter;
use crate::secret::Secret;

/// Largest ssh private key, in bytes: RSA with 16384 bits has about 12 KiB.
const MAX_SSH_KEY: usize = 64 << 10;
/// Most identities in the key of a machine; Clan writes one.
const MAX_MACHINE_KEYS: usize = 16;

const CANNOT_DECRYPT: &str = "it is no ssh key that can decrypt";
const OLD_FORMAT: &str =
    "it is an encrypted PEM file; ssh-keygen -p -o -f FILE brings it up to date";

/// What trying an ssh key costs at most, and what for one of unknown size.
const MAX_COST: usize = 512;
const UNKNOWN_COST: usize = 64;

/// A key that decrypts.
pub(super) enum Key {
    X25519(age::x25519::Identity),
    Hybrid(Box<HybridIdentity>),
    Ssh(Box<SshIdentity>),
    /// May ask the user for a PIN or a touch.
    Plugin(Box<Plugin>),
}

/// An ssh key, and what it costs to try it.
pub(super) struct SshIdentity {
    key: age::ssh::Identity,
    /// How age headers name it; `None` for one that is too large to tell.
    tag: Option<String>,
    cost: usize,
}

impl Key {
    /// What it costs to try this key on a stanza of type `kind` whose first
    /// argument is `word`: 1 for a key agreement, 0 for a stanza that is
    /// recognized as another's.
    pub(super) fn cost_of(&self, kind: &[u8], word: &[u8]) -> usize {
        match self {
            Self::X25519(_) => usize::from(kind == b"X25519"),
            Self::Hybrid(_) => usize::from(kind == hybrid::STANZA.as_bytes()),
            Self::Ssh(ssh) if kind.starts_with(b"ssh-") => match &ssh.tag {
                Some(tag) if tag.as_bytes() != word => 0,
                _ => ssh.cost,
            },
            // The program gets all stanzas at once.
            Self::Ssh(_) | Self::Plugin(_) => 0,
        }
    }

    /// The public half, `age1…`, of a native key.
    pub(super) fn public(&self) -> Option<String> {
        match self {
            Self::X25519(key) => Some(key.to_public().to_string()),
            _ => None,
        }
    }

    pub(super) fn identity(&self) -> &dyn Identity {
        match self {
            Self::X25519(key) => key,
            Self::Hybrid(key) => key.as_ref(),
            Self::Ssh(ssh) => &ssh.key,
            Self::Plugin(key) => key.as_ref(),
        }
    }
}

/// The identities of an age identity file: one a line, `#` begins a comment
/// (age(1), "Identity files").
///
/// # Errors
/// What is wrong, when it holds no usable identity.
pub(super) fn native(text: &str, prompter: &Arc<dyn Prompter>) -> Result<Vec<Key>, String> {
    let Lines { mut keys, for_plugins, mut unusable } = lines(text);
    match plugin::plugins(&for_plugins, prompter) {
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

/// The identities in the key of a machine, which came out of the repository:
/// keys only. A plugin is a program of this computer, and starting one is the
/// user's decision, not that of whoever writes into the clan.
///
/// # Errors
/// What is wrong, when it holds no usable identity or too many.
pub(super) fn of_machine(text: &str) -> Result<Vec<Key>, String> {
    let Lines { keys, for_plugins, unusable } = lines(text);
    if keys.len() > MAX_MACHINE_KEYS {
        return Err(format!("it holds more than {MAX_MACHINE_KEYS} identities"));
    }
    match (keys.is_empty(), for_plugins.is_empty()) {
        (false, _) => Ok(keys),
        (true, false) => Err("it holds an identity for a plugin of age, and plugins are started \
                              only for identities that the user named"
            .to_owned()),
        (true, true) => Err(unusable.unwrap_or_else(|| "it holds no identity".to_owned())),
    }
}

/// What the lines of an identity file are.
#[derive(Default)]
struct Lines {
    keys: Vec<Key>,
    for_plugins: Vec<age::plugin::Identity>,
    /// What is wrong with the last one that is nothing.
    unusable: Option<String>,
}

fn lines(text: &str) -> Lines {
    let Lines { mut keys, mut for_plugins, mut unusable } = Lines::default();
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
    Lines { keys, for_plugins, unusable }
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
    if text.starts_with("-----BEGIN PRIVATE KEY-----") {
        // PKCS #8 (RFC 5958), of which the age crate knows nothing.
        let key = russh::keys::decode_secret_key(text, None).map_err(|_| CANNOT_DECRYPT)?;
        let text: Zeroizing<String> = key.to_openssh(LineEnding::LF).map_err(|_| CANNOT_DECRYPT)?;
        return ssh(&text);
    }
    if text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        // It does not tell whose it is, so that its passphrase would be asked for nothing.
        return Err(OLD_FORMAT.to_owned());
    }
    let mut public = None;
    if text.starts_with("-----BEGIN OPENSSH ") {
        // Also because the age crate panics on integers of nothing but zeros.
        let key = russh::keys::PrivateKey::from_openssh(text);
        let key = key.map_err(|_| "it is no ssh key".to_owned())?;
        if key.is_encrypted() {
            return Ok(SshKey::Locked { tag: tag(key.public_key()) });
        }
        public = Some(key.public_key().clone());
    }
    match age::ssh::Identity::from_buffer(text.as_bytes(), None) {
        Ok(key @ age::ssh::Identity::Unencrypted(_)) => {
            Ok(SshKey::Open(Key::Ssh(Box::new(SshIdentity::new(key, public)))))
        }
        Ok(age::ssh::Identity::Encrypted(_)) => Err("it is locked by a passphrase".to_owned()),
        Ok(age::ssh::Identity::Unsupported(age::ssh::UnsupportedKey::EncryptedPem)) => {
            Err(OLD_FORMAT.to_owned())
        }
        Ok(age::ssh::Identity::Unsupported(_)) => {
            Err("only ssh-ed25519 and ssh-rsa keys can decrypt".to_owned())
        }
        Err(_) => Err(CANNOT_DECRYPT.to_owned()),
    }
}

impl SshIdentity {
    fn new(key: age::ssh::Identity, public: Option<russh::keys::PublicKey>) -> Self {
        let of_pem = || {
            let public = age::ssh::Recipient::try_from(key.clone()).ok()?;
            russh::keys::PublicKey::from_openssh(&public.to_string()).ok()
        };
        let public = public.or_else(of_pem);
        // Work with RSA grows with the cube of its length: 2048 bits, 279 bytes
        // here, take as long as 8 key agreements, 4096 bits as long as 64.
        let size = public.as_ref().and_then(|public| public.to_bytes().ok()).map(|it| it.len());
        let cost = size.map_or(UNKNOWN_COST, |size| (size / 128).pow(3).clamp(1, MAX_COST));
        Self { tag: public.as_ref().map(tag), key, cost }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars::tests::nobody;

    const PLUGIN: &str = "AGE-PLUGIN-X-1";

    /// An identity for `age-plugin-true`, which nobody has.
    fn for_plugin() -> String {
        age::plugin::Identity::default_for_plugin("true").to_string()
    }

    fn x25519() -> String {
        use age::secrecy::ExposeSecret;
        age::x25519::Identity::generate().to_string().expose_secret().to_owned()
    }

    #[test]
    fn the_key_of_a_machine_is_a_key_and_no_program() {
        assert_eq!(of_machine(&format!("# m\n{}\n", x25519())).unwrap().len(), 1);
        let both = of_machine(&format!("{}\n{}\n", for_plugin(), x25519())).unwrap();
        assert!(matches!(both.as_slice(), [Key::X25519(_)]));
        for (text, expected) in [
            (for_plugin(), "plugin"),
            (for_plugin().to_lowercase(), "no age identity"),
            (PLUGIN.to_owned(), "no age identity"),
            (String::new(), "no identity"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA".to_owned(), "no age identity"),
            (format!("{}\n", x25519()).repeat(17), "more than 16"),
        ] {
            let reason = of_machine(&text).map(|_| ()).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
        // The user's own may name programs, and is told which is missing.
        let reason = native(&for_plugin(), &nobody()).map(|_| ()).unwrap_err();
        assert!(reason.contains("age-plugin-true is not in the path"), "{reason}");
    }

    #[test]
    fn an_ssh_key_costs_what_its_size_says_and_only_where_it_is_named() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vars/ssh");
        let text = std::fs::read_to_string(path.join("open_rsa")).unwrap();
        let public = std::fs::read_to_string(path.join("open_rsa.pub")).unwrap();
        let Ok(SshKey::Open(key)) = ssh(&text) else { panic!("it is locked") };
        let name = tag(&russh::keys::PublicKey::from_openssh(&public).unwrap());
        // 2048 bits.
        assert_eq!(key.cost_of(b"ssh-rsa", name.as_bytes()), 8);
        assert_eq!(key.cost_of(b"ssh-rsa", b"another"), 0);
        assert_eq!(key.cost_of(b"X25519", name.as_bytes()), 0);
        let [key]: [Key; 1] = native(&x25519(), &nobody()).unwrap().try_into().ok().unwrap();
        assert_eq!((key.cost_of(b"X25519", b"any"), key.cost_of(b"ssh-rsa", b"any")), (1, 0));
    }
}
