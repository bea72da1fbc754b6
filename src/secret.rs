//! `Secret<T>`: a value that must never be seen. Owns redaction and zeroizing;
//! knows nothing of where secrets come from or what they are for.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use zeroize::{Zeroize, Zeroizing};

/// A value that is wiped when dropped and never printed: `Debug` and `Display`
/// show a placeholder. The only way to the value is [`Secret::expose`], so that
/// every use can be found by searching for that word.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes ownership of `value`.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself. Call it as late as possible, and never in a message.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Secrets that must not appear in any text we write, whoever composed it: a
/// library's log line, the operating system's error.
static CONCEALED: RwLock<Vec<Secret<String>>> = RwLock::new(Vec::new());

/// Shorter ones would turn every text into placeholders.
const MIN_CONCEALED: usize = 4;

/// From now on [`redacted`] replaces `secret` wherever it occurs.
pub fn conceal(secret: &Secret<String>) {
    if secret.expose().len() >= MIN_CONCEALED {
        CONCEALED.write().unwrap_or_else(PoisonError::into_inner).push(secret.clone());
    }
}

/// `text` with every concealed secret replaced. A last line of defence: types
/// should have kept it out before.
pub fn redacted(text: &str) -> String {
    let concealed = CONCEALED.read().unwrap_or_else(PoisonError::into_inner);
    concealed.iter().fold(text.to_owned(), |text, secret| {
        if text.contains(secret.expose()) {
            text.replace(secret.expose(), "<secret>")
        } else {
            text
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_redacted_in_every_format() {
        let secret = Secret::new("abcdef.onion".to_owned());
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "<secret> <secret> <secret>");
        assert_eq!(secret.expose(), "abcdef.onion");
    }

    #[test]
    fn a_concealed_secret_is_taken_out_of_foreign_text() {
        conceal(&Secret::new("concealed-host.example".to_owned()));
        conceal(&Secret::new("a".to_owned()));
        assert_eq!(redacted("query concealed-host.example. A"), "query <secret>. A");
    }
}
