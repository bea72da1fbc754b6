//! Why an encrypted value stays shut whatever the key. Owns the words for it.

use std::path::Path;

use crate::error::Error;

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
            Self::TooLarge => Error::TooLarge { path, limit: super::MAX_VALUE },
            other => Error::VarBroken { path, reason: other.reason() },
        }
    }

    /// The same in words, of what has no file of its own.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Broken(reason) => reason,
            Self::TooMuch => "too much has to be tried to open it: it names more recipients, or \
                              machines with more keys, than any clan has"
                .to_owned(),
            Self::TooLarge => "it is too large".to_owned(),
        }
    }
}
