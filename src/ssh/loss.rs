//! How an SSH connection was lost, or why it never came about. Owns the
//! translation of russh's errors and of what a server says as it disconnects;
//! everything from the other side is printable here.

use std::fmt;
use std::io;

use super::algorithms;
use crate::printable;

/// What sshd says when `MaxAuthTries` is used up (auth.c, `auth_maxtries_exceeded`).
/// Its code is that of any protocol error, so that the words are all there is.
const TOO_MANY_FAILURES: &str = "Too many authentication failures";

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
    /// The server disconnected, with these words.
    Disconnected(String),
    /// The server sent more than it was allowed to.
    WindowExceeded,
    /// The server sent more messages than anybody has use for.
    TooManyMessages,
    /// The stream broke.
    Broken(io::ErrorKind),
    /// The two sides have no algorithm of one kind in common.
    NoCommon(NoCommon),
    /// The protocol was broken; the library's words.
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

impl Loss {
    /// What a server meant that disconnected with this message.
    pub(super) fn disconnected(message: &str) -> Self {
        let message = printable::lines(message);
        match message.trim_end() {
            TOO_MANY_FAILURES => Self::TooManyFailures,
            message => Self::Disconnected(message.to_owned()),
        }
    }

    /// What would help, if that is known; flags are for the front end to name.
    pub fn hint(&self) -> Option<String> {
        let Self::NoCommon(NoCommon { kind, usable, .. }) = self else { return None };
        Some(match usable {
            Some(usable) => format!("if it has to be: {} +{usable}", kind.option()),
            None => NoCommon::HOPELESS.to_owned(),
        })
    }
}

impl NoCommon {
    /// What is left to say when none of the server's offers can be used.
    pub const HOPELESS: &'static str =
        "none of these can be used here, the server has to offer a better one";

    pub(super) fn new(kind: Negotiated, theirs: &[String]) -> Self {
        let printable = |name: &String| printable::line(name);
        let usable = theirs.iter().find(|name| algorithms::is_usable(kind, name));
        let (usable, theirs) = (usable.map(printable), theirs.iter().map(printable).collect());
        Self { kind, theirs, usable }
    }
}

impl From<&russh::Error> for Loss {
    fn from(error: &russh::Error) -> Self {
        match error {
            russh::Error::NoCommonAlgo { kind, theirs, .. } => {
                let kind = match kind {
                    russh::AlgorithmKind::Kex => Negotiated::Kex,
                    russh::AlgorithmKind::Key => Negotiated::HostKey,
                    russh::AlgorithmKind::Cipher => Negotiated::Cipher,
                    russh::AlgorithmKind::Mac => Negotiated::Mac,
                    russh::AlgorithmKind::Compression => Negotiated::Compression,
                };
                Self::NoCommon(NoCommon::new(kind, theirs))
            }
            russh::Error::KeepaliveTimeout => Self::Silent,
            russh::Error::InactivityTimeout => Self::TimedOut,
            russh::Error::WindowExceeded => Self::WindowExceeded,
            russh::Error::TooManyMessages => Self::TooManyMessages,
            russh::Error::HUP | russh::Error::Disconnect => Self::Closed,
            russh::Error::IO(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof => Self::Closed,
                kind => Self::Broken(kind),
            },
            other => Self::Failed(printable::lines(&other.to_string())),
        }
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
            Self::Disconnected(message) => write!(f, "closed by the server: {message}"),
            Self::WindowExceeded => {
                f.write_str("ended: the server sent more than it was allowed to")
            }
            Self::TooManyMessages => {
                f.write_str("ended: the server sent more messages than anybody has use for")
            }
            Self::Broken(kind) => write!(f, "lost: {kind}"),
            Self::NoCommon(NoCommon { kind, theirs, .. }) => {
                let theirs = theirs.join(", ");
                write!(f, "found no {kind} in common: the server offers only {theirs}")
            }
            Self::Failed(text) => write!(f, "failed: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_common(kind: Negotiated, names: &[&str]) -> NoCommon {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        NoCommon::new(kind, &names)
    }

    #[test]
    fn a_server_that_offers_only_weak_ones_is_named_the_option() {
        let hint = |kind, names: &[&str]| Loss::NoCommon(no_common(kind, names)).hint().unwrap();
        assert_eq!(
            hint(Negotiated::HostKey, &["ssh-dss", "ssh-rsa"]),
            "if it has to be: HostKeyAlgorithms +ssh-rsa"
        );
        assert_eq!(
            hint(Negotiated::Kex, &["diffie-hellman-group14-sha1"]),
            "if it has to be: KexAlgorithms +diffie-hellman-group14-sha1"
        );
        assert_eq!(hint(Negotiated::Cipher, &["arcfour"]), NoCommon::HOPELESS);
    }

    #[test]
    fn an_offer_cannot_reach_the_terminal() {
        let offer = no_common(Negotiated::Mac, &["\x1b]0;x\x07"]);
        assert!(!Loss::NoCommon(offer).to_string().chars().any(char::is_control));
    }

    #[test]
    fn what_a_server_says_at_the_end_is_understood_once() {
        assert_eq!(
            Loss::disconnected("Too many authentication failures\r\n"),
            Loss::TooManyFailures
        );
        for (said, shown) in [
            ("bye\x1b[2J", "closed by the server: bye"),
            ("no: Too many authentication failures", "closed by the server: no: Too many"),
        ] {
            let loss = Loss::disconnected(said);
            assert!(matches!(loss, Loss::Disconnected(_)), "{loss:?}");
            assert!(loss.to_string().starts_with(shown), "{loss}");
            assert!(!loss.to_string().contains('\x1b'), "{loss}");
        }
    }
}
