//! The translation of russh's errors, and of what a server says as it disconnects,
//! into a [`Loss`]. Everything from the other side becomes printable here.

use std::io;

use super::algorithms;
use crate::error::TOO_MANY_FAILURES;
pub use crate::error::{Loss, Negotiated, NoCommon};
use crate::printable;

impl Loss {
    /// What a server meant that disconnected with this message.
    pub(super) fn disconnected(message: &str) -> Self {
        let message = printable::lines(message);
        match message.trim_end() {
            TOO_MANY_FAILURES => Self::TooManyFailures,
            message => Self::Disconnected(message.to_owned()),
        }
    }
}

impl NoCommon {
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
