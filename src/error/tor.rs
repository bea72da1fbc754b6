//! The ways Tor fails, in words for people. Arti's own texts are never shown, because they
//! may hold the onion's name.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why an onion service was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TorFailure {
    /// Its descriptor is not published.
    NoDescriptor,
    /// It admits only clients with a key, and none is known here.
    AuthMissing,
    /// It admits only clients with a key, and ours is not one of them.
    AuthWrong,
    /// It has a descriptor, but no circuit to it could be made.
    NotConnected,
    /// It does not offer this port, or nothing listens behind it.
    PortClosed,
    /// It did not answer before the deadline.
    Silent,
    /// Bootstrapping did not end before the deadline.
    Slow {
        /// How far it got, in percent.
        percent: u8,
        /// What it was doing, printable.
        stage: String,
    },
    /// No relay can be reached.
    NoNetwork,
    /// Connections are made, but not to relays: something in between filters.
    Censored,
    /// The clock of this computer is wrong.
    ClockSkew,
    /// The list of relays is too old and no new one could be had.
    ConsensusTooOld,
    /// The network no longer supports this version.
    Obsolete,
    /// The state directory cannot be used.
    State {
        /// Which.
        path: PathBuf,
        /// The reason, printable.
        reason: String,
    },
    /// The configuration cannot be used.
    Config(String),
    /// Nothing listens at the address of the system's tor.
    NoSystemTor(SocketAddr),
    /// The SOCKS proxy speaks, but not as Tor does.
    NotTor(SocketAddr),
    /// What listens there may be no tor at all: it is somebody else's.
    Stranger {
        /// The address.
        address: SocketAddr,
        /// Whose it is, printable.
        owner: String,
    },
    /// The system's tor answered with a general failure.
    SystemTorFailed,
    /// Anything else.
    Other(String),
}

impl fmt::Display for TorFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDescriptor => f.write_str("the onion service is offline: it has no descriptor"),
            Self::AuthMissing => f.write_str("the onion service demands client authorization"),
            Self::AuthWrong => f.write_str("the onion service does not know our key"),
            Self::NotConnected => f.write_str("no rendezvous with the onion service"),
            Self::PortClosed => f.write_str("the onion service has that port closed"),
            Self::Silent => f.write_str("the onion service did not answer in time"),
            Self::Slow { percent, stage } => {
                write!(f, "Tor did not start in time: {percent} %, {stage}")
            }
            Self::NoNetwork => f.write_str("no Tor relay can be reached"),
            Self::Censored => f.write_str("connections to Tor relays seem to be filtered"),
            Self::ClockSkew => f.write_str("Tor refuses to start: the clock is wrong"),
            Self::ConsensusTooOld => f.write_str("Tor's list of relays is too old"),
            Self::Obsolete => f.write_str("the Tor network no longer supports this version"),
            Self::State { path, reason } => {
                write!(f, "Tor's state directory {}: {reason}", path.display())
            }
            Self::Config(reason) => write!(f, "Tor's configuration: {reason}"),
            Self::NoSystemTor(address) => write!(f, "no tor listens on {address}"),
            Self::NotTor(address) => write!(f, "the program that listens on {address} is not tor"),
            Self::Stranger { address, owner } => write!(
                f,
                "the program that listens on {address} belongs to {owner}, so the onion address \
                 is not sent to it"
            ),
            Self::SystemTorFailed => f.write_str("the system's tor could not connect"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

#[cfg(test)]
impl TorFailure {
    /// One of each kind that says what would help.
    pub(crate) fn examples() -> impl Iterator<Item = Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], 9050));
        [
            Self::NoDescriptor,
            Self::AuthMissing,
            Self::AuthWrong,
            Self::NotConnected,
            Self::PortClosed,
            Self::Silent,
            Self::Slow { percent: 1, stage: "x".to_owned() },
            Self::NoNetwork,
            Self::Censored,
            Self::ClockSkew,
            Self::ConsensusTooOld,
            Self::Obsolete,
            Self::State { path: PathBuf::new(), reason: "x".to_owned() },
            Self::NoSystemTor(address),
            Self::NotTor(address),
            Self::Stranger { address, owner: "x".to_owned() },
            Self::SystemTorFailed,
        ]
        .into_iter()
    }
}
