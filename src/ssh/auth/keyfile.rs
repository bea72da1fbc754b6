//! A key file and what lies beside it: `FILE.pub` and `FILE-cert.pub`, as ssh(1)
//! expects them. The private half may be elsewhere. Owns reading and unlocking;
//! decides nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, PrivateKey, PublicKey, decode_secret_key};
use zeroize::Zeroizing;

use super::super::lock;
use crate::file;
use crate::printable;
use crate::prompter::Prompter;
use crate::secret::Secret;

/// No key file is larger, in bytes.
const MAX_KEY_FILE: u64 = 1 << 20;

/// A key file that could be read. It may still be locked by a passphrase.
pub(super) struct KeyFile {
    path: PathBuf,
    /// The private half as it stands in the file, if it does.
    text: Option<Arc<Zeroizing<String>>>,
    public: Option<PublicKey>,
    certificate: Option<Certificate>,
    /// Whether the file itself is the certificate.
    is_certificate: bool,
    locked: bool,
    /// Why it is of no use, which is said when its turn comes.
    trouble: Option<Unreadable>,
    /// Once it is; nobody types a passphrase twice.
    unlocked: Mutex<Option<Arc<PrivateKey>>>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({})", self.path.display())
    }
}

impl KeyFile {
    pub(super) async fn read(path: &Path) -> Result<Self, Unreadable> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let mut file = Self::empty(path);
        let public = async || public_line(&read_bounded(&beside(".pub")).await.ok()?);
        match read_bounded(path).await {
            Ok(text) => {
                file.hold(text)?;
                if file.text.is_some()
                    && let Some(mode) = exposed(path).await
                {
                    return Err(Unreadable::Exposed(mode));
                }
            }
            // The agent may have what is missing here.
            Err(Unreadable::Missing) => {
                file.show(public().await.ok_or(Unreadable::Missing)?);
            }
            Err(error) => return Err(error),
        }
        if file.public.is_none()
            && !file.is_certificate
            && let Some(Public::Key(key)) = public().await
        {
            file.public = Some(key);
        }
        if file.certificate.is_none() {
            file.certificate = read_certificate(&beside("-cert.pub")).await.ok();
        }
        // Where the certificate stands in the place of the key that it is of.
        if file.certificate.is_none()
            && let Some(Public::Certificate(certificate)) = public().await
            && file.public.as_ref().is_none_or(|key| key.key_data() == certificate.public_key())
        {
            file.certificate = Some(*certificate);
        }
        Ok(file)
    }

    /// A private key that was given by value, and what it is called in questions and
    /// messages.
    pub(super) fn given(name: &str, key: &Secret<String>) -> Result<Self, Unreadable> {
        let mut file = Self::empty(Path::new(name));
        // What stores values for others often cuts the last end of line off.
        file.hold(format!("{}\n", key.expose().trim()))?;
        match file.text {
            Some(_) => Ok(file),
            None => Err(Unreadable::NoKey),
        }
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            text: None,
            public: None,
            certificate: None,
            is_certificate: false,
            locked: false,
            trouble: None,
            unlocked: Mutex::default(),
        }
    }

    /// One that cannot be used, which is worth a word when its turn comes.
    pub(super) fn unreadable(path: &Path, trouble: Unreadable) -> Self {
        Self { trouble: Some(trouble), ..Self::empty(path) }
    }

    /// Why it cannot be used at all.
    pub(super) fn trouble(&self) -> Option<Unreadable> {
        self.trouble
    }

    /// What the file itself has.
    fn hold(&mut self, text: String) -> Result<(), Unreadable> {
        if let Some(public) = public_line(&text) {
            self.show(public);
            return Ok(());
        }
        let text = Arc::new(Zeroizing::new(text));
        let (parsed, locked) = match decode_secret_key(&text, None) {
            Ok(key) => (Some(key.public_key().clone()), false),
            Err(russh::keys::Error::KeyIsEncrypted) => (None, true),
            // PEM files tell that they are locked only by their headers.
            Err(_) if text.contains("ENCRYPTED") => (None, true),
            Err(russh::keys::Error::SshKey(error)) if is_locked(&error) => (None, true),
            Err(_) => return Err(Unreadable::NoKey),
        };
        // An OpenSSH file holds its public half in the clear.
        self.public = parsed.or_else(|| public_of(&text));
        (self.text, self.locked) = (Some(text), locked);
        Ok(())
    }

    fn show(&mut self, public: Public) {
        match public {
            Public::Key(key) => self.public = Some(key),
            Public::Certificate(certificate) => {
                (self.certificate, self.is_certificate) = (Some(*certificate), true);
            }
        }
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

    /// Whether the file itself is the certificate, and no key.
    pub(super) fn is_certificate(&self) -> bool {
        self.is_certificate
    }

    pub(super) fn has_private(&self) -> bool {
        self.text.is_some()
    }

    /// Whether the private half is here, and nobody has to be asked for it.
    pub(super) fn is_open(&self) -> bool {
        self.text.is_some() && (!self.locked || lock(&self.unlocked).is_some())
    }

    /// The private key, asking so often for the passphrase when it is locked; and
    /// whether this was the first time. None at all is no answer to be asked about again
    /// (sshconnect2.c, `load_identity_file`).
    pub(super) async fn unlock(
        &self,
        prompter: &Arc<dyn Prompter>,
        prompts: usize,
    ) -> Result<(Arc<PrivateKey>, bool), &'static str> {
        let known = lock(&self.unlocked).clone();
        if let Some(key) = known {
            return Ok((key, false));
        }
        let Some(text) = self.text.clone() else { return Err("not a private key") };
        let (user, locked) = (prompter.clone(), self.locked);
        let prompt = format!("Enter passphrase for key '{}': ", self.path.display());
        // bcrypt is slow on purpose, and asking blocks.
        let unlocking = tokio::task::spawn_blocking(move || {
            if !locked {
                return decode_secret_key(&text, None).map_err(|_| "not a private key");
            }
            for _ in 0..prompts {
                let passphrase = user
                    .ask(&prompt, false)
                    .ok_or("locked by a passphrase, no prompt is possible")?;
                if passphrase.expose().is_empty() {
                    return Err("locked by a passphrase, none was given");
                }
                if let Ok(key) = decode_secret_key(&text, Some(passphrase.expose())) {
                    return Ok(key);
                }
            }
            Err("wrong passphrase")
        });
        let key = unlocking.await.unwrap_or(Err("could not be unlocked"))?;
        let key = Arc::new(key);
        *lock(&self.unlocked) = Some(key.clone());
        Ok((key, true))
    }
}

/// A certificate in a file of its own (`CertificateFile`), which may be named
/// without its `.pub`.
pub(super) async fn read_certificate(path: &Path) -> Result<Certificate, Unreadable> {
    let text = match read_bounded(path).await {
        Err(Unreadable::Missing) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".pub");
            read_bounded(Path::new(&name)).await?
        }
        text => text?,
    };
    match public_line(&text) {
        Some(Public::Certificate(certificate)) => Ok(*certificate),
        _ => Err(Unreadable::NoCertificate),
    }
}

/// What a line of a `.pub` file has.
enum Public {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

/// A certificate of a host is none of ours.
fn public_line(text: &str) -> Option<Public> {
    let text = text.trim();
    if let Ok(certificate) = Certificate::from_openssh(text) {
        let is_user = certificate.cert_type() == CertType::User;
        return is_user.then(|| Public::Certificate(Box::new(certificate)));
    }
    PublicKey::from_openssh(text).ok().map(Public::Key)
}

/// Why a key file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Missing,
    TooLarge,
    NotAFile,
    NoKey,
    NoCertificate,
    /// Its permissions.
    Exposed(u32),
    Io(std::io::ErrorKind),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no such file"),
            Self::TooLarge => f.write_str("too large for a key"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::NoKey => f.write_str("not a private key"),
            Self::NoCertificate => f.write_str("not a certificate for a user"),
            Self::Exposed(_) => f.write_str("others may read it; it needs chmod 600"),
            Self::Io(kind) => write!(f, "{kind}"),
        }
    }
}

impl Unreadable {
    /// What ssh(1) says of such a file (authfile.c, `sshkey_perm_ok`; sshconnect2.c,
    /// `load_identity_file`).
    pub(super) fn as_ssh(self, path: &Path) -> String {
        let path = printable::line(&path.to_string_lossy());
        let load = |why: &str| format!("Load key \"{path}\": {why}");
        match self {
            Self::Missing => format!("no such identity: {path}: No such file or directory"),
            Self::Exposed(mode) => {
                let frame = "@".repeat(59);
                format!(
                    "{frame}\n@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\n{frame}\n\
                     Permissions 0{:03o} for '{path}' are too open.\n\
                     It is required that your private key files are NOT accessible by others.\n\
                     This private key will be ignored.\n{}",
                    mode & 0o777,
                    load("bad permissions")
                )
            }
            Self::Io(std::io::ErrorKind::PermissionDenied) => load("Permission denied"),
            Self::Io(kind) => load(&kind.to_string()),
            Self::TooLarge | Self::NotAFile | Self::NoKey | Self::NoCertificate => {
                load("invalid format")
            }
        }
    }
}

/// Comments may be in any encoding.
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
    let bytes = tokio::fs::read(path).await.map_err(io)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = Zeroizing::new(error.into_bytes());
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

/// The permissions of the user's own file if others may read it: ssh(1) does not use it
/// then.
async fn exposed(path: &Path) -> Option<u32> {
    file::exposed_to_ssh(&tokio::fs::metadata(path).await.ok()?)
}

fn is_locked(error: &russh::keys::ssh_key::Error) -> bool {
    matches!(error, russh::keys::ssh_key::Error::Encrypted)
}

fn public_of(text: &str) -> Option<PublicKey> {
    PrivateKey::from_openssh(text).ok().map(|key| key.public_key().clone())
}
