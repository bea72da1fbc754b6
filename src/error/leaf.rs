//! The ways in which a client of our own for an overlay fails, in words for people. Owns
//! no host, address or key.

use std::fmt;

use super::{BadKey, DialError, DialFailure, Stage};

/// Why an overlay's client of our own leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafFailure {
    /// The overlay's name, as people write it.
    pub overlay: &'static str,
    /// What went wrong.
    pub fault: LeafFault,
}

/// What went wrong, in the order in which things happen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeafFault {
    /// There is nobody to peer with.
    NoPeers,
    /// The key cannot be used.
    BadKey(BadKey),
    /// The key was not read in time.
    KeyUnread,
    /// The system has no random numbers for a key.
    NoRandom,
    /// Another process here uses the same key.
    KeyInUse,
    /// None of the peers takes a connection.
    Unconnected,
    /// The peer says nothing.
    SilentPeer,
    /// The peer speaks another version.
    Version {
        /// What we speak.
        ours: String,
        /// What the peer speaks.
        theirs: String,
    },
    /// The peer has another password, or none.
    Password,
    /// The peer is none of those whose keys were named.
    OtherPeer,
    /// The peer has our own key.
    Ourselves,
    /// The peer does not follow the protocol; what it does.
    Protocol(&'static str),
    /// The peer has closed the connection.
    Lost,
    /// The same key is in use somewhere else.
    KeyElsewhere,
    /// The overlay does not say where the machine is.
    NotFound,
    /// The machine is in the overlay, and does not answer.
    NoSession,
    /// It takes packets of the overlay, and none for that port.
    Unanswered,
    /// Others announce a way to the machine, which itself has said nothing.
    Unheard,
    /// The client has ended.
    Ended,
}

#[cfg_attr(
    not(any(feature = "mycelium", feature = "yggdrasil")),
    allow(dead_code, reason = "nobody is a leaf")
)]
impl LeafFault {
    /// Of two the one that tells more; this one if both tell the same.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    /// How much it tells.
    fn rank(&self) -> u8 {
        match self {
            Self::NoPeers | Self::Unconnected => 0,
            Self::SilentPeer | Self::Lost | Self::Ourselves => 1,
            Self::Protocol(_) => 2,
            Self::Version { .. } | Self::Password | Self::OtherPeer => 3,
            Self::NotFound => 4,
            Self::NoSession => 5,
            _ => 6,
        }
    }
}

impl From<LeafFailure> for DialError {
    fn from(failure: LeafFailure) -> Self {
        let stage = match failure.fault {
            LeafFault::NotFound => Stage::Resolve,
            LeafFault::NoSession | LeafFault::Unanswered | LeafFault::Unheard => Stage::Dial,
            _ => Stage::Bootstrap,
        };
        Self::new(stage, DialFailure::Leaf(failure))
    }
}

impl fmt::Display for LeafFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { overlay, fault } = self;
        match fault {
            LeafFault::NoPeers => write!(f, "{overlay}: peering: no peer is known"),
            LeafFault::BadKey(BadKey { origin, fault }) => {
                write!(f, "the {overlay} key {origin}: {fault}")
            }
            LeafFault::KeyUnread => write!(f, "the {overlay} key was not read in time"),
            LeafFault::NoRandom => write!(f, "{overlay}: the system has no random numbers"),
            LeafFault::KeyInUse => write!(f, "{overlay}: another process here uses its key"),
            LeafFault::Unconnected => write!(f, "{overlay}: peering: no peer can be connected to"),
            LeafFault::SilentPeer => write!(f, "{overlay}: peering: the peer sends nothing"),
            LeafFault::Version { ours, theirs } => {
                write!(f, "{overlay}: peering: the peer speaks version {theirs}, and we {ours}")
            }
            LeafFault::Password => write!(f, "{overlay}: peering: the peer has another password"),
            LeafFault::OtherPeer => {
                write!(f, "{overlay}: peering: the peer's key is not one of the named keys")
            }
            LeafFault::Ourselves => write!(f, "{overlay}: peering: the peer has our own key"),
            LeafFault::Protocol(what) => {
                write!(f, "{overlay}: peering: the peer breaks the protocol: {what}")
            }
            LeafFault::Lost => write!(f, "{overlay}: peering: the peer has closed the connection"),
            LeafFault::KeyElsewhere => write!(f, "{overlay}: the key is in use somewhere else"),
            LeafFault::NotFound => write!(f, "{overlay}: lookup: no node knows the machine"),
            LeafFault::NoSession => write!(f, "{overlay}: session: the machine does not answer"),
            LeafFault::Unanswered => {
                write!(f, "{overlay}: the machine is reachable, but does not answer on that port")
            }
            LeafFault::Unheard => {
                write!(f, "{overlay}: a way to the machine is announced, but nothing comes back")
            }
            LeafFault::Ended => write!(f, "{overlay}: our client has ended"),
        }
    }
}

#[cfg(test)]
impl LeafFailure {
    /// One of each kind.
    pub(crate) fn examples() -> impl Iterator<Item = Self> {
        let version = || "x".to_owned();
        let faults = [
            LeafFault::NoPeers,
            LeafFault::KeyUnread,
            LeafFault::NoRandom,
            LeafFault::KeyInUse,
            LeafFault::Unconnected,
            LeafFault::SilentPeer,
            LeafFault::Version { ours: version(), theirs: version() },
            LeafFault::Password,
            LeafFault::OtherPeer,
            LeafFault::Ourselves,
            LeafFault::Protocol("x"),
            LeafFault::Lost,
            LeafFault::KeyElsewhere,
            LeafFault::NotFound,
            LeafFault::NoSession,
            LeafFault::Unanswered,
            LeafFault::Unheard,
            LeafFault::Ended,
        ];
        let bad = BadKey::examples().map(LeafFault::BadKey);
        faults.into_iter().chain(bad).map(|fault| Self { overlay: "Yggdrasil", fault })
    }
}
