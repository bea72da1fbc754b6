//! What a clan says of its machines' host keys, as it is written there. What it is
//! worth is `ssh`'s business.

use std::path::PathBuf;

/// The host keys of one machine, as text that nobody has checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostKeys {
    /// Its public keys.
    pub keys: Vec<Stated>,
    /// Its certificate, which names the domains it is known in.
    pub certificate: Option<Stated>,
    /// Keys that sign certificates of machines.
    pub authorities: Vec<Stated>,
    /// `meta.domain` of the clan.
    pub domain: Option<String>,
}

/// A public key or certificate, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// One line: type, base64, and perhaps a comment.
    pub text: String,
    /// The file, for messages.
    pub place: PathBuf,
}

impl HostKeys {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.authorities.is_empty() && self.certificate.is_none()
    }

    /// These where a key of the machine is among them, else with what they lack from
    /// `others`.
    ///
    /// # Errors
    /// Those of `others`.
    pub fn or_else<E>(self, others: impl FnOnce() -> Result<Option<Self>, E>) -> Result<Self, E> {
        if !self.keys.is_empty() {
            return Ok(self);
        }
        let Some(others) = others()? else { return Ok(self) };
        let is_without = self.authorities.is_empty();
        Ok(Self {
            keys: others.keys,
            certificate: others.certificate.or(self.certificate),
            authorities: if is_without { others.authorities } else { self.authorities },
            domain: self.domain.or(others.domain),
        })
    }
}
