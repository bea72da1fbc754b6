//! The keys that may open secrets: where they are looked for, and in which
//! order. Owns parsing identity files and unlocking them; opens no var.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use age::Identity;
use data_encoding::BASE64_NOPAD;
use russh::keys::ssh_key::LineEnding;
use zeroize::Zeroizing;

use super::age_file::{self, Closed};
use super::{Prompt, file};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Largest identity file, in bytes.
const MAX_IDENTITY_FILE: u64 = 1 << 20;
/// Passphrases asked for one file.
const PASSPHRASE_PROMPTS: usize = 3;

/// What the environment offers, so that tests can offer something else.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `$AGE_KEY`: identities themselves.
    pub age_key: Option<Secret<String>>,
    /// `$AGE_KEYFILE`: a file of identities.
    pub age_keyfile: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
}

impl Environment {
    /// Reads this process's environment.
    pub fn from_process() -> Self {
        let path =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            age_key: std::env::var_os("AGE_KEY")
                .and_then(|key: OsString| key.into_string().ok())
                .filter(|key| !key.is_empty())
                .map(Secret::new),
            age_keyfile: path("AGE_KEYFILE"),
            home: path("HOME"),
            config_home: path("XDG_CONFIG_HOME"),
        }
    }

    /// The files that Clan's age store, sops and ssh use by convention.
    fn well_known(&self) -> Vec<PathBuf> {
        let home = |path: &str| self.home.as_ref().map(|home| home.join(path));
        let config = self.config_home.clone().or_else(|| home(".config"));
        let in_config = |path: &str| config.as_ref().map(|config| config.join(path));
        [
            in_config("age/identities"),
            in_config("sops/age/keys.txt"),
            home(".age/key.txt"),
            home(".ssh/id_ed25519"),
            home(".ssh/id_rsa"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A key that decrypts.
pub(super) enum Key {
    X25519(age::x25519::Identity),
    Ssh(Box<age::ssh::Identity>),
}

impl Key {
    pub(super) fn identity(&self) -> &dyn Identity {
        match self {
            Self::X25519(key) => key,
            Self::Ssh(key) => key.as_ref(),
        }
    }
}

/// All keys there are, read once.
pub(super) struct Keyring {
    named: Vec<PathBuf>,
    environment: Environment,
    prompt: Arc<dyn Prompt>,
    loaded: OnceLock<Loaded>,
}

/// What the sources gave.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) keys: Vec<Key>,
    pub(super) locked: Vec<Locked>,
    /// Every source that was there, for messages, with what is wrong with it.
    pub(super) origins: Vec<String>,
}

/// A source that needs a passphrase. It is asked for at most once.
pub(super) struct Locked {
    origin: String,
    kind: LockedKind,
    unlocked: OnceLock<Vec<Key>>,
}

enum LockedKind {
    /// An encrypted OpenSSH key; `tag` names it in age headers.
    Ssh { text: Zeroizing<String>, tag: String },
    /// Identities in an age file with a passphrase.
    AgeFile(Vec<u8>),
}

impl Keyring {
    pub(super) fn new(
        named: Vec<PathBuf>,
        environment: Environment,
        prompt: Arc<dyn Prompt>,
    ) -> Self {
        Self { named, environment, prompt, loaded: OnceLock::new() }
    }

    /// The keys that need no passphrase, and the locked ones.
    ///
    /// # Errors
    /// [`Error::Identity`] when a file that the user named is unusable. What
    /// lies about by convention may be.
    pub(super) fn load(&self) -> Result<&Loaded> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let mut loaded = Loaded::default();
        for path in &self.named {
            let origin = path.display().to_string();
            let read = read_source(path).and_then(|source| loaded.add(&origin, source));
            read.map_err(|reason| Error::Identity { origin, reason })?;
        }
        if let Some(key) = &self.environment.age_key {
            let source = Zeroizing::new(key.expose().clone().into_bytes());
            loaded.add_if_usable("$AGE_KEY", Ok(source));
        }
        if let Some(path) = &self.environment.age_keyfile {
            let origin = format!("$AGE_KEYFILE ({})", path.display());
            loaded.add_if_usable(&origin, read_source(path));
        }
        for path in self.environment.well_known() {
            if path.exists() {
                loaded.add_if_usable(&path.display().to_string(), read_source(&path));
            }
        }
        Ok(self.loaded.get_or_init(|| loaded))
    }

    /// Asks for the passphrase of `locked` if it may open `binary`.
    pub(super) fn unlock<'a>(&self, locked: &'a Locked, binary: &[u8]) -> &'a [Key] {
        if let LockedKind::Ssh { tag, .. } = &locked.kind
            && !age_file::names_ssh_key(binary, tag)
        {
            return &[];
        }
        locked.unlocked.get_or_init(|| {
            for _ in 0..PASSPHRASE_PROMPTS {
                let Some(passphrase) = self.prompt.passphrase(&locked.origin) else { break };
                if let Some(keys) = locked.try_passphrase(&passphrase) {
                    return keys;
                }
            }
            Vec::new()
        })
    }
}

impl Locked {
    /// Where it came from.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    fn try_passphrase(&self, passphrase: &Secret<String>) -> Option<Vec<Key>> {
        match &self.kind {
            LockedKind::Ssh { text, .. } => {
                let key = russh::keys::decode_secret_key(text, Some(passphrase.expose())).ok()?;
                let text = key.to_openssh(LineEnding::LF).ok()?;
                ssh_key(&text).ok().map(|key| vec![key])
            }
            LockedKind::AgeFile(binary) => {
                let plain = age_file::decrypt_with_passphrase(binary, passphrase).ok()?;
                native_keys(std::str::from_utf8(plain.expose()).ok()?).ok()
            }
        }
    }
}

impl Loaded {
    fn add_if_usable(&mut self, origin: &str, source: Result<Zeroizing<Vec<u8>>, String>) {
        if let Err(reason) = source.and_then(|source| self.add(origin, source)) {
            self.origins.push(format!("{origin} ({reason})"));
        }
    }

    fn add(&mut self, origin: &str, source: Zeroizing<Vec<u8>>) -> Result<(), String> {
        if age_file::is_age_file(&source) {
            let binary = age_file::dearmor(&source).map_err(describe)?;
            if !age_file::is_locked_by_passphrase(&binary) {
                return Err("it is encrypted, but not with a passphrase".to_owned());
            }
            self.lock(origin, LockedKind::AgeFile(binary));
            self.origins.push(origin.to_owned());
            return Ok(());
        }
        let text = std::str::from_utf8(&source).map_err(|_| "it is no identity file".to_owned())?;
        let text = Zeroizing::new(text.to_owned());
        if text.contains("-----BEGIN ") {
            match ssh_key(&text) {
                Ok(key) => self.keys.push(key),
                Err(reason) => {
                    let tag = ssh_tag(&text).ok_or(reason)?;
                    self.lock(origin, LockedKind::Ssh { text, tag });
                }
            }
        } else {
            self.keys.extend(native_keys(&text)?);
        }
        self.origins.push(origin.to_owned());
        Ok(())
    }

    fn lock(&mut self, origin: &str, kind: LockedKind) {
        self.locked.push(Locked { origin: origin.to_owned(), kind, unlocked: OnceLock::new() });
    }
}

/// The identities of an age identity file: one a line, `#` begins a comment.
pub(super) fn native_keys(text: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    let mut unusable = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.parse::<age::x25519::Identity>() {
            Ok(key) => keys.push(Key::X25519(key)),
            // Never the line itself: it may be a key with a typo.
            Err(_) if line.starts_with("AGE-PLUGIN-") => {
                unusable = Some(format!("line {}: age plugins are not supported yet", at + 1));
            }
            Err(_) => unusable = Some(format!("line {} is no age identity", at + 1)),
        }
    }
    match unusable {
        // One key that works is enough; others may be for other programs.
        Some(reason) if keys.is_empty() => Err(reason),
        None if keys.is_empty() => Err("it holds no identity".to_owned()),
        _ => Ok(keys),
    }
}

fn ssh_key(text: &str) -> Result<Key, String> {
    match age::ssh::Identity::from_buffer(text.trim_start().as_bytes(), None) {
        Ok(key @ age::ssh::Identity::Unencrypted(_)) => Ok(Key::Ssh(Box::new(key))),
        Ok(age::ssh::Identity::Encrypted(_)) => Err("it is locked by a passphrase".to_owned()),
        Ok(age::ssh::Identity::Unsupported(_)) => {
            Err("only ssh-ed25519 and ssh-rsa keys can decrypt".to_owned())
        }
        Err(_) => Err("it is no ssh key".to_owned()),
    }
}

/// How age headers name an ssh key: the first four bytes of the SHA-256 of its
/// public half (age's README, "SSH keys"). `None` unless the key is encrypted.
fn ssh_tag(text: &str) -> Option<String> {
    let key = russh::keys::PrivateKey::from_openssh(text).ok()?;
    if !key.is_encrypted() {
        return None;
    }
    let fingerprint = key.public_key().fingerprint(russh::keys::HashAlg::Sha256);
    let tag = fingerprint.as_bytes().get(..4)?;
    Some(BASE64_NOPAD.encode(tag))
}

fn read_source(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    file::read_any(path, MAX_IDENTITY_FILE).map(Zeroizing::new).map_err(|error| match error {
        Error::File { source, .. } => source.to_string(),
        Error::TooLarge { .. } => "it is larger than 1 MiB".to_owned(),
        _ => "it is not a regular file".to_owned(),
    })
}

fn describe(closed: Closed) -> String {
    match closed {
        Closed::NoMatchingKey => "it is encrypted".to_owned(),
        Closed::Broken(reason) => reason.to_owned(),
    }
}
