//! How an SSH connection was lost, or why it never came about, in words for people.
//! Everything from the other side is printable here.

use std::fmt;
use std::io;

/// What sshd says when `MaxAuthTries` is used up (auth.c, `auth_maxtries_exceeded`).
/// Its code is that of any protocol error, so that the words are all there is.
pub(crate) const TOO_MANY_FAILURES: &str = "Too many authentication failures";

/// How a connection was lost. Continues the sentence "the connection …".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// A step took too long.
    TimedOut,
    /// Keepalives were not answered.
    Silent,
    /// The server does not say whether it opens a session.
    NoSession,
    /// The peer closed the stream.
    Closed,
    /// The server has had enough failed logins.
    TooManyFailures,
    /// The server disconnected, with a code of RFC 4253 (section 11.1) and these words.
    Disconnected {
        /// The code.
        code: u32,
        /// The words.
        message: String,
    },
    /// The server sent more than it was allowed to.
    WindowExceeded,
    /// The server sent more messages than anybody has use for.
    TooManyMessages,
    /// What became of that which was sent ahead of the server's answers cannot be told.
    Ahead,
    /// A message of the server's is not what it has sent.
    Damaged,
    /// The stream broke.
    Broken(io::ErrorKind),
    /// The two sides have no algorithm of one kind in common.
    NoCommon(NoCommon),
    /// The protocol was broken.
    Failed(String),
}

/// An algorithm that the two sides do not have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCommon {
    /// What for.
    pub kind: Negotiated,
    /// What the server offers.
    pub theirs: Vec<String>,
    /// What of it we could use, were it allowed.
    pub usable: Option<String>,
    /// The same of what else is missing.
    pub also: Vec<NoCommon>,
}

/// What is negotiated (RFC 4253, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiated {
    /// The key exchange method.
    Kex,
    /// The type of the host key.
    HostKey,
    /// The cipher.
    Cipher,
    /// The message authentication code.
    Mac,
    /// The compression.
    Compression,
}

impl Negotiated {
    /// The option of ssh_config(5) that allows more of them.
    pub fn option(self) -> &'static str {
        match self {
            Self::Kex => "KexAlgorithms",
            Self::HostKey => "HostKeyAlgorithms",
            Self::Cipher => "Ciphers",
            Self::Mac => "MACs",
            Self::Compression => "Compression",
        }
    }
}

impl NoCommon {
    /// The options that would allow all of it, with their values; `None` if there is
    /// something that cannot be had.
    pub fn options(&self) -> Option<Vec<(&'static str, String)>> {
        let all = std::iter::once(self).chain(&self.also);
        all.map(|one| Some((one.kind.option(), format!("+{}", one.usable.as_ref()?)))).collect()
    }
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kex => "key exchange method",
            Self::HostKey => "host key type",
            Self::Cipher => "cipher",
            Self::Mac => "MAC",
            Self::Compression => "compression",
        })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::Silent => f.write_str("timed out: the peer no longer answers"),
            Self::NoSession => f.write_str("timed out: the server does not open a session"),
            Self::Closed => f.write_str("closed by the peer"),
            Self::TooManyFailures => write!(f, "closed by the server: {TOO_MANY_FAILURES}"),
            Self::Disconnected { message, .. } => write!(f, "closed by the server: {message}"),
            Self::WindowExceeded => {
                f.write_str("ended: the server sent more than it was allowed to")
            }
            Self::TooManyMessages => {
                f.write_str("ended: the server sent too many unexpected messages")
            }
            Self::Ahead => {
                f.write_str("ended: the server's answers to pipelined messages are inconsistent")
            }
            Self::Damaged => f.write_str("failed: a message was damaged on its way"),
            Self::Broken(kind) => write!(f, "lost: {kind}"),
            Self::NoCommon(NoCommon { kind, theirs, also, .. }) => {
                let theirs = theirs.join(", ");
                write!(f, "found no {kind} in common: the server offers only {theirs}")?;
                also.iter().try_for_each(|NoCommon { kind, theirs, .. }| {
                    write!(f, "; and no {kind}, of {}", theirs.join(", "))
                })
            }
            Self::Failed(text) => write!(f, "failed: {text}"),
        }
    }
}
