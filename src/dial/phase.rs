//! What a dial waits for, how that is said, and which failure it is when it takes too long.

use std::fmt;
use std::net::SocketAddr;

use crate::error::{
    Daemon, DialError, DialFailure, IrohFailure, LeafFailure, LeafFault, MemberFailure, Stage,
    TorFailure, WireGuardFailure,
};

/// What a dial is waiting for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Phase {
    /// The addresses of a name.
    Resolving,
    /// The peer.
    #[default]
    Connecting,
    /// Our own Tor client.
    Bootstrapping {
        /// How far it is.
        percent: u8,
        /// What it does, printable.
        stage: String,
    },
    /// The onion service.
    Onion,
    /// Whoever knows where a ticket leads.
    Discovering,
    /// The machine, wherever its ticket leads.
    Meeting,
    /// A host of a network that this computer is not in, by itself or by what is left of
    /// this daemon.
    Outside(Daemon),
    /// A host that this daemon leads to.
    Through(Daemon),
    /// Somebody to peer with in an overlay. This, and what follows to that, has the failure
    /// that it is when it takes too long.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Peering(LeafFailure),
    /// Where the machine is in the overlay.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Seeking(LeafFailure),
    /// Keys in common with the machine.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Session(LeafFailure),
    /// The machine, by way of the overlay.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Entering(LeafFailure),
    /// The key for this network, which may be in a var or a pipe.
    Key(&'static str),
    /// Another process of ours, which uses the key that we need; its member, printable.
    Busy(String),
    /// Another process of ours, which uses our key of this overlay.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    InUse(&'static str),
    /// A remark: the key of a machine is used that runs elsewhere, too; its name,
    /// printable.
    Borrowing(String),
    /// A remark: another user has the name by which processes of ours would know that one
    /// of them uses the key for this network.
    Contested(&'static str),
    /// A remark: the node of another process of ours leads on, which does not wait for us.
    Lodging {
        /// Its network.
        network: &'static str,
        /// The process.
        pid: u32,
    },
    /// A remark: a public node of this overlay leads on.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Public(&'static str),
    /// A WireGuard controller.
    Handshaking,
    /// A machine behind a WireGuard controller that has answered.
    Behind,
    /// A remark: what listens at a tor's address is left alone.
    Distrusting {
        /// The address.
        socks: SocketAddr,
        /// Why, printable.
        why: String,
    },
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolving => f.write_str("resolving"),
            Self::Connecting => f.write_str("connecting"),
            Self::Bootstrapping { percent, stage } => {
                write!(f, "starting Tor, {percent} %: {stage}")
            }
            Self::Onion => f.write_str("waiting for the onion service"),
            Self::Discovering => f.write_str("looking up the address of its ticket"),
            Self::Meeting => f.write_str("trying to connect, directly and by relay"),
            Self::Outside(Daemon { name, .. }) => {
                write!(f, "connecting, though {name} is down here")
            }
            Self::Through(Daemon { name, .. }) => write!(f, "connecting by {name}"),
            Self::Peering(LeafFailure { overlay, .. }) => write!(f, "{overlay}: peering"),
            Self::Seeking(LeafFailure { overlay, .. }) => {
                write!(f, "{overlay}: looking for the machine")
            }
            Self::Session(LeafFailure { overlay, .. }) => write!(f, "{overlay}: agreeing on keys"),
            Self::Entering(LeafFailure { overlay, .. }) => write!(f, "connecting by {overlay}"),
            Self::Key(network) => write!(f, "reading the {network} key"),
            Self::Busy(member) => {
                write!(f, "waiting for another clan-connect that uses the key of {member}")
            }
            Self::InUse(overlay) => {
                write!(f, "waiting for another clan-connect that uses the key of {overlay}")
            }
            Self::Borrowing(machine) => write!(
                f,
                "the WireGuard key of {machine} is used here: while {machine} itself is up, its \
                 controllers send its packets to the one of the two that they heard last"
            ),
            Self::Contested(network) => write!(
                f,
                "another user has taken the socket name that marks the {network} key as in use: \
                 make sure that no other process uses the key"
            ),
            Self::Lodging { network, pid } => write!(
                f,
                "the connection goes by the {network} node of another clan-connect (process \
                 {pid}), which has the key, and ends with it"
            ),
            Self::Public(overlay) => write!(
                f,
                "a public node of {overlay} carries the connection: it sees which addresses \
                 communicate, but not what they send"
            ),
            Self::Handshaking => f.write_str("waiting for WireGuard's handshake"),
            Self::Behind => f.write_str("connecting by its WireGuard controller"),
            Self::Distrusting { socks, why } => {
                write!(f, "the program that listens on {socks} is not used: {why}")
            }
        }
    }
}

impl Phase {
    /// Whether it is only said by the way, and something else is waited for.
    pub fn is_remark(&self) -> bool {
        matches!(self, Self::Distrusting { .. }) || self.is_warning()
    }

    /// Whether the user has to know of it.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::Borrowing(_) | Self::Contested(_) | Self::Lodging { .. } | Self::Public(_)
        )
    }

    /// Whether it ends by itself in time, and may take longer than other networks do: each
    /// step of our own way into an overlay has a deadline.
    pub fn keeps_time(&self) -> bool {
        matches!(self, Self::Peering(_) | Self::Seeking(_) | Self::Session(_) | Self::Entering(_))
    }

    /// The error when it takes too long.
    pub fn timed_out(self) -> DialError {
        let tor = |stage, failure| DialError::new(stage, DialFailure::Tor(failure));
        let iroh = |stage, failure| DialError::new(stage, DialFailure::Iroh(failure));
        let leaf = |overlay, fault| LeafFailure { overlay, fault }.into();
        let wireguard = |stage, failure| DialError::new(stage, DialFailure::WireGuard(failure));
        match self {
            Self::Bootstrapping { percent, stage } => {
                tor(Stage::Bootstrap, TorFailure::Slow { percent, stage })
            }
            Self::Onion | Self::Distrusting { .. } => tor(Stage::Dial, TorFailure::Silent),
            Self::Discovering => iroh(Stage::Resolve, IrohFailure::Undiscovered),
            Self::Meeting => iroh(Stage::Dial, IrohFailure::Silent),
            Self::Peering(failure)
            | Self::Seeking(failure)
            | Self::Session(failure)
            | Self::Entering(failure) => failure.into(),
            Self::Key(overlay) => leaf(overlay, LeafFault::KeyUnread),
            Self::InUse(overlay) => leaf(overlay, LeafFault::KeyInUse),
            Self::Outside(daemon) => DialError::new(Stage::Dial, DialFailure::Outside(daemon)),
            Self::Busy(machine) => {
                let failure = Box::new(MemberFailure::Busy { machine });
                DialError::new(Stage::Bootstrap, DialFailure::Member(failure))
            }
            Self::Handshaking => wireguard(Stage::Bootstrap, WireGuardFailure::Silent),
            Self::Behind => wireguard(Stage::Dial, WireGuardFailure::NoAnswer),
            Self::Resolving => DialError::new(Stage::Resolve, DialFailure::ResolverTimeout),
            Self::Connecting
            | Self::Through(_)
            | Self::Borrowing(_)
            | Self::Contested(_)
            | Self::Lodging { .. }
            | Self::Public(_) => DialError::new(Stage::Dial, DialFailure::TimedOut),
        }
    }
}
