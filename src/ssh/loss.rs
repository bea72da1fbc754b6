//! The translation of russh's errors, and of what a server says as it disconnects,
//! into a [`Loss`]. Everything from the other side becomes printable here.

use std::io;

use russh::ChannelOpenFailure;

use super::algorithms;
use crate::error::TOO_MANY_FAILURES;
pub use crate::error::{Loss, Negotiated, NoCommon};
use crate::printable;

impl Loss {
    /// What a server meant that disconnected with this code and message.
    pub(super) fn disconnected(code: u32, message: &str) -> Self {
        let message = printable::lines(message);
        match message.trim_end() {
            TOO_MANY_FAILURES => Self::TooManyFailures,
            message => Self::Disconnected { code, message: message.to_owned() },
        }
    }
}

impl NoCommon {
    pub(super) fn new(kind: Negotiated, theirs: &[String]) -> Self {
        let printable = |name: &String| printable::line(name);
        let usable = theirs.iter().find(|name| algorithms::is_usable(kind, name));
        let (usable, theirs) = (usable.map(printable), theirs.iter().map(printable).collect());
        Self { kind, theirs, usable, also: Vec::new() }
    }

    /// Advises no type of host keys but these.
    pub(crate) fn among_host_keys(&mut self, will_do: &dyn Fn(&str) -> bool) {
        if self.kind == Negotiated::HostKey {
            let is_usable = |name: &&String| algorithms::is_usable(self.kind, name);
            self.usable = self.theirs.iter().filter(is_usable).find(|it| will_do(it)).cloned();
        }
        self.also.iter_mut().for_each(|one| one.among_host_keys(will_do));
    }

    /// What the library says is missing.
    fn of(error: &russh::Error) -> Option<Self> {
        match error {
            russh::Error::NoCommonAlgo { kind, theirs, .. } => {
                let kind = match kind {
                    russh::AlgorithmKind::Kex => Negotiated::Kex,
                    russh::AlgorithmKind::Key => Negotiated::HostKey,
                    russh::AlgorithmKind::Cipher => Negotiated::Cipher,
                    russh::AlgorithmKind::Mac => Negotiated::Mac,
                    russh::AlgorithmKind::Compression => Negotiated::Compression,
                };
                Some(Self::new(kind, theirs))
            }
            russh::Error::NoCommonAlgos(all) => {
                let mut all = all.iter().filter_map(Self::of);
                let first = all.next()?;
                Some(Self { also: all.collect(), ..first })
            }
            _ => None,
        }
    }
}

impl From<&russh::Error> for Loss {
    fn from(error: &russh::Error) -> Self {
        if let Some(missing) = NoCommon::of(error) {
            return Self::NoCommon(missing);
        }
        match error {
            russh::Error::KeepaliveTimeout => Self::Silent,
            russh::Error::InactivityTimeout => Self::TimedOut,
            russh::Error::WindowExceeded => Self::WindowExceeded,
            russh::Error::TooManyMessages => Self::TooManyMessages,
            russh::Error::EarlyChannel => Self::Ahead,
            russh::Error::PacketAuth | russh::Error::DecryptionError => Self::Damaged,
            russh::Error::HUP | russh::Error::Disconnect => Self::Closed,
            russh::Error::IO(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof => Self::Closed,
                kind => Self::Broken(kind),
            },
            other => {
                tracing::debug!(error = %printable::lines(&other.to_string()), "protocol");
                Self::Failed(in_our_words(other).to_owned())
            }
        }
    }
}

/// Why something failed that is no end of the connection, or may be; printable.
pub(super) fn reason(error: &russh::Error) -> String {
    match Loss::from(error) {
        Loss::Failed(words) => words,
        loss => loss.to_string(),
    }
}

/// Why a channel was not opened, in OpenSSH's words (channels.c, `reason2txt`).
pub(super) fn refusal(reason: &ChannelOpenFailure) -> &'static str {
    match reason {
        ChannelOpenFailure::AdministrativelyProhibited => "administratively prohibited",
        ChannelOpenFailure::ConnectFailed => "connect failed",
        ChannelOpenFailure::UnknownChannelType => "unknown channel type",
        ChannelOpenFailure::ResourceShortage => "resource shortage",
        ChannelOpenFailure::Other { .. } => "unknown reason",
    }
}

/// What an error of the library means to somebody who has never heard of it.
fn in_our_words(error: &russh::Error) -> &'static str {
    use russh::Error;
    match error {
        Error::Version => "the other side does not speak SSH 2",
        Error::WrongServerSig => "the server's signature is wrong",
        Error::UnknownKey => "the server has changed its key in the middle of the session",
        Error::RequestDenied => "the server refused",
        // What waited for the session is told of its end by these.
        Error::RecvError | Error::SendError | Error::Join(_) => "the connection has ended",
        Error::StrictKeyExchangeViolation { .. } => {
            "unexpected messages in the key exchange (strict key exchange)"
        }
        Error::ChannelOpenFailure(reason) => refusal(reason),
        Error::Elapsed(_) | Error::ConnectionTimeout => "it takes too long",
        _ => "the server broke the protocol",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    fn no_common(kind: Negotiated, names: &[&str]) -> NoCommon {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        NoCommon::new(kind, &names)
    }

    #[test]
    fn a_server_that_offers_only_weak_ones_is_named_the_option() {
        let hint = |kind, names: &[&str]| {
            Cause::KeyExchange(Loss::NoCommon(no_common(kind, names))).hint().unwrap()
        };
        assert_eq!(
            hint(Negotiated::HostKey, &["ssh-dss", "ssh-rsa"]),
            "to allow this algorithm: HostKeyAlgorithms +ssh-rsa"
        );
        assert_eq!(
            hint(Negotiated::Kex, &["diffie-hellman-group14-sha1"]),
            "to allow this algorithm: KexAlgorithms +diffie-hellman-group14-sha1"
        );
        assert_eq!(
            hint(Negotiated::Cipher, &["arcfour"]),
            "none of these can be used here, the server has to offer a better one"
        );
    }

    #[test]
    fn the_librarys_own_words_reach_nobody() {
        for error in [
            russh::Error::RecvError,
            russh::Error::Inconsistent,
            russh::Error::KexInit,
            russh::Error::SshEncoding(russh::keys::ssh_encoding::Error::CharacterEncoding),
            russh::Error::PacketSize(7),
        ] {
            let (theirs, ours) = (error.to_string(), Loss::from(&error).to_string());
            assert!(!ours.contains(&theirs) && !ours.contains("SshEncoding"), "{ours}");
            assert!(!reason(&error).contains(&theirs), "{theirs}");
        }
    }

    #[test]
    fn an_offer_cannot_reach_the_terminal() {
        let offer = no_common(Negotiated::Mac, &["\x1b]0;x\x07"]);
        assert!(!Loss::NoCommon(offer).to_string().chars().any(char::is_control));
    }

    #[test]
    fn what_a_server_says_at_the_end_is_understood_once() {
        assert_eq!(
            Loss::disconnected(2, "Too many authentication failures\r\n"),
            Loss::TooManyFailures
        );
        for (said, shown) in [
            ("bye\x1b[2J", "closed by the server: bye"),
            ("no: Too many authentication failures", "closed by the server: no: Too many"),
        ] {
            let loss = Loss::disconnected(11, said);
            assert!(matches!(loss, Loss::Disconnected { code: 11, .. }), "{loss:?}");
            assert!(loss.to_string().starts_with(shown), "{loss}");
            assert!(!loss.to_string().contains('\x1b'), "{loss}");
        }
    }
}
