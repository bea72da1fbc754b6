//! `Sealed`: anything that keys may open. Owns the words for why it stays shut.

use std::path::Path;

use super::effort::Effort;
use super::key::Key;
use crate::error::Error;
use crate::secret::Secret;

/// An encrypted value of some format. It may remember what earlier keys opened:
/// sops files can need several.
pub(super) trait Sealed {
    /// The plaintext, or `None` when these keys are not (all) it takes.
    ///
    /// # Errors
    /// [`Closed`] when no other key can help, or too much was tried.
    fn open(&mut self, keys: &[Key], effort: &Effort) -> Result<Option<Secret<Vec<u8>>>, Closed>;

    /// Whether the ssh key with this tag is a recipient, so that nobody is
    /// asked for the passphrase of a key that cannot help.
    fn names_ssh_key(&self, tag: &str) -> bool;

    /// Whether anything but an ssh key is a recipient.
    fn names_native_key(&self) -> bool;

    /// The public keys it is encrypted for, where the format lists them.
    fn recipients(&self) -> Vec<String> {
        Vec::new()
    }

    /// Why no identity of ours can ever open it, if that is known.
    fn obstacle(&self) -> Option<String> {
        None
    }
}

/// Why a file stays closed whatever the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is damaged, or was tampered with.
    Broken(String),
    /// Its plaintext is larger than [`super::MAX_VALUE`].
    TooLarge,
    /// Finding a key for it takes more than any honest file does.
    TooMuch,
}

impl Closed {
    pub(super) fn broken(reason: &str) -> Self {
        Self::Broken(reason.to_owned())
    }

    /// As the error about the file at `path`.
    pub(super) fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Broken(reason) => Error::VarBroken { path, reason },
            Self::TooMuch => {
                let reason = "too much has to be tried to open it: it names more recipients, or \
                              machines with more keys, than any clan has";
                Error::VarBroken { path, reason: reason.to_owned() }
            }
            Self::TooLarge => Error::TooLarge { path, limit: super::MAX_VALUE },
        }
    }
}
