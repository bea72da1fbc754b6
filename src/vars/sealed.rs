//! `Sealed`: anything that keys may open.

use super::closed::Closed;
use super::effort::Effort;
use super::key::Key;
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
