//! A private key file and what lies beside it: `FILE.pub` and `FILE-cert.pub`,
//! as ssh(1) expects them. Owns reading and unlocking; decides nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::{Certificate, HashAlg, PrivateKey, PublicKey, decode_secret_key};
use zeroize::Zeroizing;

use crate::user::User;

/// No key file is larger, in bytes.
const MAX_KEY_FILE: u64 = 1 << 20;
/// Passphrases asked for one key, as in ssh(1).
const PASSPHRASE_PROMPTS: usize = 3;

/// A key file that could be read. It may still be locked by a passphrase.
#[derive(Clone)]
pub(super) struct KeyFile {
    path: PathBuf,
    text: Arc<Zeroizing<String>>,
    public: Option<PublicKey>,
    certificate: Option<Certificate>,
    locked: bool,
}

impl KeyFile {
    pub(super) async fn read(path: &Path) -> Result<Self, Unreadable> {
        let text = Arc::new(Zeroizing::new(read_bounded(path).await?));
        let (parsed, locked) = match decode_secret_key(&text, None) {
            Ok(key) => (Some(key.public_key().clone()), false),
            Err(russh::keys::Error::KeyIsEncrypted) => (None, true),
            // PEM files tell that they are locked only by their headers.
            Err(_) if text.contains("ENCRYPTED") => (None, true),
            Err(russh::keys::Error::SshKey(error)) if is_locked(&error) => (None, true),
            Err(_) => return Err(Unreadable::NoKey),
        };
        // An OpenSSH file holds its public half in the clear.
        let public = match parsed.or_else(|| public_of(&text)) {
            Some(public) => Some(public),
            None => read_bounded(&beside(path, ".pub"))
                .await
                .ok()
                .and_then(|text| PublicKey::from_openssh(text.trim()).ok()),
        };
        let certificate = certificate(&beside(path, "-cert.pub")).await.ok();
        Ok(Self { path: path.to_owned(), text, public, certificate, locked })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    pub(super) fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    pub(super) fn is_locked(&self) -> bool {
        self.locked
    }

    pub(super) fn is(&self, key: &PublicKey) -> bool {
        self.public.as_ref().is_some_and(|public| public.key_data() == key.key_data())
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        other.path == self.path || other.public.as_ref().is_some_and(|public| self.is(public))
    }

    /// The private key, asking for the passphrase when it is locked.
    pub(super) async fn unlock(&self, user: &Arc<dyn User>) -> Result<PrivateKey, &'static str> {
        let (text, user, locked) = (self.text.clone(), user.clone(), self.locked);
        let prompt = format!("enter passphrase for key '{}': ", self.path.display());
        // bcrypt is slow on purpose, and asking blocks.
        let unlocking = tokio::task::spawn_blocking(move || {
            if !locked {
                return decode_secret_key(&text, None).map_err(|_| "not a private key");
            }
            for _ in 0..PASSPHRASE_PROMPTS {
                let passphrase =
                    user.ask(&prompt, false).ok_or("locked by a passphrase, nobody to ask")?;
                if let Ok(key) = decode_secret_key(&text, Some(passphrase.expose())) {
                    return Ok(key);
                }
            }
            Err("wrong passphrase")
        });
        unlocking.await.unwrap_or(Err("could not be unlocked"))
    }
}

/// The public key in a file, or in the one beside it.
pub(super) async fn public_half(path: &Path) -> Option<PublicKey> {
    for path in [path.to_owned(), beside(path, ".pub")] {
        let text = read_bounded(&path).await.unwrap_or_default();
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            return Some(public);
        }
    }
    None
}

/// The certificate in a file.
pub(super) async fn certificate(path: &Path) -> Result<Certificate, Unreadable> {
    let text = read_bounded(path).await?;
    Certificate::from_openssh(text.trim()).map_err(|_| Unreadable::NoCertificate)
}

/// The file of that name and more.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Learns whether the server would take a key, and never signs.
#[derive(Default)]
pub(super) struct Probe {
    pub(super) wanted: bool,
}

impl russh::Signer for Probe {
    type Error = russh::SendError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        _: Option<HashAlg>,
        _: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        self.wanted = true;
        Err(russh::SendError {})
    }
}

/// Why a key file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Missing,
    TooLarge,
    NotAFile,
    NoKey,
    NoCertificate,
    Io(std::io::ErrorKind),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no such file"),
            Self::TooLarge => f.write_str("too large for a key"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::NoKey => f.write_str("not a private key"),
            Self::NoCertificate => f.write_str("not a certificate"),
            Self::Io(kind) => write!(f, "{kind}"),
        }
    }
}

async fn read_bounded(path: &Path) -> Result<String, Unreadable> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Unreadable::Missing,
        kind => Unreadable::Io(kind),
    };
    let meta = tokio::fs::metadata(path).await.map_err(io)?;
    if !meta.is_file() {
        return Err(Unreadable::NotAFile);
    }
    if meta.len() > MAX_KEY_FILE {
        return Err(Unreadable::TooLarge);
    }
    tokio::fs::read_to_string(path).await.map_err(io)
}

fn is_locked(error: &russh::keys::ssh_key::Error) -> bool {
    matches!(error, russh::keys::ssh_key::Error::Encrypted)
}

fn public_of(text: &str) -> Option<PublicKey> {
    PrivateKey::from_openssh(text).ok().map(|key| key.public_key().clone())
}
