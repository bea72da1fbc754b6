//! Why what answered is no SSH server that we can use.

use std::fmt;
use std::io;

/// Why the peer is no SSH server we can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BannerError {
    /// It said nothing before the deadline.
    TimedOut,
    /// It closed the stream without a word.
    Closed,
    /// Too many others are logging in (sshd_config(5), `MaxStartups`).
    Busy,
    /// It refuses this address for a while (sshd_config(5),
    /// `PerSourcePenalties`).
    Penalized,
    /// It sent something that is no SSH identification.
    NotSsh,
    /// It speaks only SSH 1.
    OldProtocol,
    /// The stream broke.
    Io(io::ErrorKind),
}

impl fmt::Display for BannerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("connected, but no SSH banner came in time"),
            Self::Closed => f.write_str("connection closed before the SSH banner"),
            Self::Busy => f.write_str("the server is too busy: it exceeded MaxStartups"),
            Self::Penalized => f.write_str("the server refuses this address for now"),
            Self::NotSsh => f.write_str("the server does not speak SSH"),
            Self::OldProtocol => f.write_str("the server speaks only SSH 1, which is not safe"),
            Self::Io(kind) => write!(f, "{kind} before the SSH banner"),
        }
    }
}
