//! Where the key lies that makes us somebody in a network: in a file or in a var of a
//! machine, which the user names, or in what is deployed on this computer. Owns how such a
//! place is written and shown, and that a file with a key is the user's alone.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::env::Env;
use crate::error::{BadKey, Error, KeyFault};
use crate::file::{self, Private};
use crate::model::VarRef;
use crate::printable::{self, Printable};
use crate::secret::Secret;
use crate::vars::Vars;

/// Where one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In this file, which the user named.
    File(PathBuf),
    /// In this file, which is looked for without being named.
    Kept(PathBuf),
    /// In the var of this machine.
    Var(String),
    /// In what is deployed here, of the machine that this computer is.
    Deployed(String),
}

/// How keys are read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// What opens vars.
    pub(super) vars: &'a Vars,
    /// Most bytes of a file.
    pub(super) limit: u64,
    /// The user who has become root by sudo(8).
    pub(super) sudo: Option<u32>,
}

impl Place {
    /// As the user writes it: a file, or `var:MACHINE`.
    pub(super) fn parse(text: &str, env: &Env) -> Self {
        match (text.strip_prefix(VarRef::PREFIX), text.strip_prefix("~/"), env.home()) {
            (Some(machine), ..) => Self::Var(machine.to_owned()),
            (None, Some(rest), Some(home)) => Self::File(home.join(rest)),
            _ => Self::File(PathBuf::from(text)),
        }
    }

    /// The text there, where a machine's key is in the var that `var` names; `None` where
    /// nobody has said that there is one, and there is none. Blocks.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(
        &self,
        var: impl Fn(&str) -> Option<VarRef>,
        reading: Reading<'_>,
    ) -> Result<Option<Zeroizing<String>>, BadKey> {
        let line = |error: &Error| printable::line(&error.to_string());
        let bad = |fault| self.bad(fault);
        let bytes = match self {
            Self::File(path) | Self::Kept(path) => {
                let read = match self {
                    Self::Kept(_) => file::read_kept,
                    _ => file::read_private,
                };
                let read = read(path, reading.limit, reading.sudo);
                Secret::new(read.map_err(|why| {
                    bad(match why {
                        Private::Unread(error) => KeyFault::Unread(line(&error)),
                        Private::Exposed(mode) => KeyFault::Exposed { mode },
                        Private::Foreign(uid) => KeyFault::Foreign { uid },
                    })
                })?)
            }
            Self::Var(machine) => {
                let none = || bad(KeyFault::Wrong("that is no name of a machine"));
                let var = var(machine).ok_or_else(none)?;
                let revealed = reading.vars.reveal(&var).map_err(|error| {
                    let is_closed =
                        matches!(error, Error::VarUndecryptable { .. } | Error::Identity { .. });
                    let text = line(&error);
                    bad(if is_closed { KeyFault::Closed(text) } else { KeyFault::Unread(text) })
                });
                revealed?.bytes
            }
            Self::Deployed(machine) => {
                let Some(var) = var(machine) else { return Ok(None) };
                let unread = |error: Error| bad(KeyFault::Unread(line(&error)));
                match reading.vars.deployed(&var).map_err(unread)? {
                    Some(bytes) => bytes,
                    None => return Ok(None),
                }
            }
        };
        let wrong = |_| bad(KeyFault::Wrong("it is no text"));
        let text = std::str::from_utf8(bytes.expose()).map_err(wrong)?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }

    /// What is wrong with the key there.
    pub(super) fn bad(&self, fault: KeyFault) -> BadKey {
        BadKey { origin: self.to_string(), fault }
    }
}

/// As the user has named it, or would.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Kept(path) => {
                f.write_str(&printable::line(&path.to_string_lossy()))
            }
            Self::Var(machine) => write!(f, "{}{}", VarRef::PREFIX, Printable(machine)),
            Self::Deployed(machine) => {
                write!(f, "that is deployed here for {}", Printable(machine))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_as_it_is_written() {
        let env = Env::of([("HOME", "/home/me")]);
        for (text, place, shown) in [
            ("~/key", Place::File("/home/me/key".into()), "/home/me/key"),
            ("key", Place::File("key".into()), "key"),
            ("var:admin", Place::Var("admin".to_owned()), "var:admin"),
        ] {
            let parsed = Place::parse(text, &env);
            assert_eq!((parsed.to_string().as_str(), parsed), (shown, place));
        }
        let bad = Place::Var("a\u{1b}".to_owned()).bad(KeyFault::Exposed { mode: 0o100_644 });
        assert!(!bad.origin.contains('\u{1b}'), "{bad:?}");
        assert!(bad.fault.to_string().ends_with("with the mode 0644"), "{}", bad.fault);
    }
}
