//! How far an attempt got, in one word.

use std::fmt;

/// How far an attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Reading the machine's own configuration.
    Evaluate,
    /// Reading or decrypting the var that holds the host.
    Decrypt,
    /// Asking for addresses.
    Resolve,
    /// Starting the network's own client.
    Bootstrap,
    /// Opening the stream.
    Dial,
    /// Waiting for the SSH banner.
    Banner,
    /// Key exchange and host key.
    Kex,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evaluate => "evaluate",
            Self::Decrypt => "decrypt",
            Self::Resolve => "resolve",
            Self::Bootstrap => "bootstrap",
            Self::Dial => "dial",
            Self::Banner => "banner",
            Self::Kex => "kex",
        })
    }
}
