//! What is wrong with a key that makes us somebody in a network, in words for people. Owns
//! no key.

use std::fmt;

/// A key that cannot be used. Texts are printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKey {
    /// Where it is, as the user has named it or would.
    pub origin: String,
    /// What is wrong with it.
    pub fault: KeyFault,
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// It cannot be read; why.
    Unread(String),
    /// It is in a var that cannot be opened; why.
    Closed(String),
    /// Other users can read its file.
    Exposed {
        /// The permissions of the file.
        mode: u32,
    },
    /// Its file belongs to another user, who can change it.
    Foreign {
        /// The number of that user.
        uid: u32,
    },
    /// What is there is no key; why.
    Wrong(&'static str),
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why) | Self::Closed(why) => f.write_str(why),
            Self::Exposed { mode } => {
                write!(f, "its file is open to other users, with the mode {:04o}", mode & 0o7777)
            }
            Self::Foreign { uid } => write!(f, "its file belongs to another user, uid {uid}"),
            Self::Wrong(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
impl BadKey {
    /// One of each kind.
    pub(crate) fn examples() -> impl Iterator<Item = Self> {
        [
            KeyFault::Unread("x".to_owned()),
            KeyFault::Closed("x".to_owned()),
            KeyFault::Exposed { mode: 0o100_644 },
            KeyFault::Foreign { uid: 1 },
            KeyFault::Wrong("x"),
        ]
        .into_iter()
        .map(|fault| Self { origin: "x".to_owned(), fault })
    }
}
