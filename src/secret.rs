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

/// Keeps this process's memory to itself: no core dump holds it, and no other
/// process of the same user may look into it (prctl(2), PR_SET_DUMPABLE). Where
/// the system cannot, all goes on.
pub fn guard_process() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Secrets that must not appear in any text we write, whoever composed it: a
/// library's log line, the operating system's error.
static CONCEALED: RwLock<Vec<Secret<String>>> = RwLock::new(Vec::new());

/// Shorter ones would turn every text into placeholders.
const MIN_CONCEALED: usize = 4;

/// From now on [`redacted`] replaces `secret` wherever it occurs, in any case
/// of its letters, and if it is an IP address also as others would write it.
pub fn conceal(secret: &Secret<String>) {
    let mut forms = vec![Secret::new(secret.expose().to_ascii_lowercase())];
    if let Ok(ip) = secret.expose().parse::<std::net::IpAddr>() {
        forms.push(Secret::new(ip.to_string()));
    }
    let mut concealed = CONCEALED.write().unwrap_or_else(PoisonError::into_inner);
    for form in forms {
        let is_new = !concealed.iter().any(|known| known.expose() == form.expose());
        if is_new && form.expose().len() >= MIN_CONCEALED {
            concealed.push(form);
        }
    }
}

/// `text` with every concealed secret replaced. A last line of defence: types
/// should have kept it out before.
pub fn redacted(text: &str) -> String {
    let concealed = CONCEALED.read().unwrap_or_else(PoisonError::into_inner);
    concealed.iter().fold(text.to_owned(), |text, secret| replace(text, secret.expose()))
}

/// Replaces `secret`, which is in lower case, in whatever case it occurs.
fn replace(text: String, secret: &str) -> String {
    // Only ASCII letters change, so places are the same in both.
    let lower = text.to_ascii_lowercase();
    let mut out = String::new();
    let mut done = 0;
    for (at, found) in lower.match_indices(secret) {
        out.push_str(text.get(done..at).unwrap_or_default());
        out.push_str("<secret>");
        done = at + found.len();
    }
    if done == 0 {
        return text;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
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
    fn the_process_cannot_be_dumped() {
        guard_process();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
        assert_eq!(limit.current, Some(0));
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert!(dumpable == rustix::process::DumpableBehavior::NotDumpable);
    }

    #[test]
    fn a_concealed_secret_is_taken_out_of_foreign_text() {
        for secret in ["Concealed-host.example", "2001:DB8:0:0::77", "a"] {
            conceal(&Secret::new(secret.to_owned()));
        }
        for (text, shown) in [
            ("query CONCEALED-host.example. A", "query <secret>. A"),
            ("[2001:db8::77]:22, 2001:db8:0:0::77", "[<secret>]:22, <secret>"),
            ("größe: concealed-host.exampleconcealed-host.example", "größe: <secret><secret>"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
