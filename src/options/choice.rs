//! The options that are one of a few words. The first word of a value is the one
//! that `ssh -G` prints, as the tables of OpenSSH's `readconf.c` have it.

use super::slot::{Value, first};
use super::value::{choose, chosen};
use crate::dial::Family;
use crate::printable::Printable;
use crate::ssh::hostkey::HostKeyCheck;

/// Makes a value of a type by its words.
macro_rules! words {
    ($type:ty: $($word:literal => $value:expr,)+) => {
        impl Value for $type {
            const CHOICES: &'static [&'static str] = &[$($word),+];

            fn parse(words: &[String]) -> Result<Self, String> {
                choose(words, &[$(($word, $value)),+])
            }

            fn words(&self) -> Vec<String> {
                chosen(self, &[$(($word, $value)),+])
            }
        }
    };
}

/// `CanonicalizeHostname`: whether names are completed by the domains they may be
/// in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonicalize {
    /// Never.
    No,
    /// Where nothing leads to the host but the network.
    Yes,
    /// Also where a proxy does.
    Always,
}

/// `ControlMaster`: whether a connection is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlMaster {
    /// Only with a master that is there.
    No,
    /// This one is the master.
    Yes,
    /// With a master that is there, or as one.
    Auto,
    /// As [`Self::Yes`], and every use is confirmed.
    Ask,
    /// As [`Self::Auto`], and every use is confirmed.
    AutoAsk,
}

/// `RequestTTY`: whether there is a terminal on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestTty {
    /// Never.
    No,
    /// If there is one here.
    Yes,
    /// In any case.
    Force,
    /// For a shell, if there is one here.
    Auto,
}

/// `SessionType`: what is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionType {
    /// Nothing but forwards.
    None,
    /// A subsystem.
    Subsystem,
    /// A shell or a command.
    Default,
}

/// `yes`, `no`, or the user decides each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum YesNoAsk {
    /// It is done.
    Yes,
    /// It is not done.
    No,
    /// It is done if the user agrees.
    Ask,
}

/// `PubkeyAuthentication`: whether keys are offered, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubkeyAuthentication {
    /// They are not.
    No,
    /// They are.
    Yes,
    /// Without naming the host key in what is signed.
    Unbound,
    /// With the host key in what is signed.
    HostBound,
}

/// `Tunnel`: a layer of the network to forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// None.
    No,
    /// Frames.
    Ethernet,
    /// Packets.
    PointToPoint,
}

/// `LogLevel`: how much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Quiet,
    /// What ends us.
    Fatal,
    /// What is wrong.
    Error,
    /// What the user should know.
    Info,
    /// What is done.
    Verbose,
    /// A log.
    Debug1,
    /// More of it.
    Debug2,
    /// All of it.
    Debug3,
}

words! { Family:
    "inet" => Self::Four,
    "inet6" => Self::Six,
    "any" => Self::Any,
}

words! { HostKeyCheck:
    "true" => Self::Strict,
    "false" => Self::No,
    "yes" => Self::Strict,
    "no" => Self::No,
    "ask" => Self::Ask,
    "off" => Self::No,
    "accept-new" => Self::AcceptNew,
}

words! { Canonicalize:
    "true" => Self::Yes,
    "false" => Self::No,
    "yes" => Self::Yes,
    "no" => Self::No,
    "always" => Self::Always,
}

words! { ControlMaster:
    "true" => Self::Yes,
    "yes" => Self::Yes,
    "false" => Self::No,
    "no" => Self::No,
    "auto" => Self::Auto,
    "ask" => Self::Ask,
    "autoask" => Self::AutoAsk,
}

words! { RequestTty:
    "true" => Self::Yes,
    "yes" => Self::Yes,
    "false" => Self::No,
    "no" => Self::No,
    "force" => Self::Force,
    "auto" => Self::Auto,
}

words! { SessionType:
    "none" => Self::None,
    "subsystem" => Self::Subsystem,
    "default" => Self::Default,
}

words! { YesNoAsk:
    "true" => Self::Yes,
    "false" => Self::No,
    "yes" => Self::Yes,
    "no" => Self::No,
    "ask" => Self::Ask,
}

words! { PubkeyAuthentication:
    "true" => Self::Yes,
    "false" => Self::No,
    "yes" => Self::Yes,
    "no" => Self::No,
    "unbound" => Self::Unbound,
    "host-bound" => Self::HostBound,
}

words! { Tunnel:
    "ethernet" => Self::Ethernet,
    "point-to-point" => Self::PointToPoint,
    "true" => Self::PointToPoint,
    "yes" => Self::PointToPoint,
    "false" => Self::No,
    "no" => Self::No,
}

impl LogLevel {
    /// Each of them, least first.
    pub const ALL: [Self; 8] = [
        Self::Quiet,
        Self::Fatal,
        Self::Error,
        Self::Info,
        Self::Verbose,
        Self::Debug1,
        Self::Debug2,
        Self::Debug3,
    ];
}

/// In OpenSSH's order; `log.c` prints the first name that a level has.
const LOG_LEVELS: [(&str, LogLevel); 10] = [
    ("SILENT", LogLevel::Quiet),
    ("QUIET", LogLevel::Quiet),
    ("FATAL", LogLevel::Fatal),
    ("ERROR", LogLevel::Error),
    ("INFO", LogLevel::Info),
    ("VERBOSE", LogLevel::Verbose),
    ("DEBUG", LogLevel::Debug1),
    ("DEBUG1", LogLevel::Debug1),
    ("DEBUG2", LogLevel::Debug2),
    ("DEBUG3", LogLevel::Debug3),
];

impl Value for LogLevel {
    fn parse(words: &[String]) -> Result<Self, String> {
        choose(words, &LOG_LEVELS)
            .map_err(|_| format!("unsupported log level '{}'", Printable(first(words))))
    }

    fn words(&self) -> Vec<String> {
        chosen(self, &LOG_LEVELS)
    }
}

/// `FingerprintHash`: how keys are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FingerprintHash {
    /// SHA-256.
    Sha256,
    /// MD5.
    Md5,
}

impl Value for FingerprintHash {
    fn parse(words: &[String]) -> Result<Self, String> {
        choose(words, &[("sha256", Self::Sha256), ("md5", Self::Md5)])
            .map_err(|_| format!("Invalid hash algorithm \"{}\".", Printable(first(words))))
    }

    fn words(&self) -> Vec<String> {
        chosen(self, &[("SHA256", Self::Sha256), ("MD5", Self::Md5)])
    }
}

/// `SyslogFacility`: whose log it would be; nothing is logged there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogFacility(pub &'static str);

/// Those of OpenSSH's `log.c`.
const FACILITIES: [&str; 12] = [
    "DAEMON", "USER", "AUTH", "AUTHPRIV", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4",
    "LOCAL5", "LOCAL6", "LOCAL7",
];

impl Value for SyslogFacility {
    fn parse(words: &[String]) -> Result<Self, String> {
        let word = first(words);
        let found = FACILITIES.iter().find(|known| known.eq_ignore_ascii_case(word));
        let found = found.ok_or_else(|| format!("unsupported log facility '{}'", Printable(word)));
        found.map(|name| Self(name))
    }

    fn words(&self) -> Vec<String> {
        vec![self.0.to_owned()]
    }
}
