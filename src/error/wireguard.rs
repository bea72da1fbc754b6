//! The ways the tunnel to a WireGuard controller fails, in words for people. WireGuard
//! answers nobody whom it does not know, so that silence has many causes. Owns no address
//! and no key.

use std::fmt;

use super::DialFailure;

/// Why a machine was not reached by its WireGuard controller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireGuardFailure {
    /// The address is in the network of no controller.
    NoController,
    /// The name of the controller has no address; why.
    Unresolved(Box<DialFailure>),
    /// This computer has no way to the controller's address.
    Unroutable,
    /// The controller's computer says that nobody listens there.
    Closed,
    /// Nothing came back before the deadline.
    Silent,
    /// Something came back, and it was no handshake.
    Strange,
    /// The controller has answered, and the machine behind it did not.
    NoAnswer,
    /// The controller has answered, and says that it does not reach the machine.
    NoWay,
    /// This computer has no socket for it.
    NoSocket,
    /// Our own end has gone.
    Ended,
}

impl fmt::Display for WireGuardFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoController => {
                f.write_str("no WireGuard controller has its address in its network")
            }
            Self::Unresolved(why) => write!(f, "the WireGuard controller's endpoint: {why}"),
            Self::Unroutable => {
                f.write_str("this computer has no route to the WireGuard controller")
            }
            Self::Closed => f.write_str("nothing listens at the WireGuard controller's endpoint"),
            Self::Silent => f.write_str("nothing came back from the WireGuard controller"),
            Self::Strange => {
                f.write_str("the answer of the WireGuard controller is not a handshake")
            }
            Self::NoAnswer => {
                f.write_str("the WireGuard controller answers, but not the machine behind it")
            }
            Self::NoWay => {
                f.write_str("the WireGuard controller answers, but has no route to the machine")
            }
            Self::NoSocket => f.write_str("no socket for UDP can be opened"),
            Self::Ended => f.write_str("our own end of the tunnel has ended"),
        }
    }
}

#[cfg(test)]
impl WireGuardFailure {
    /// One of each kind.
    pub(crate) fn examples() -> impl Iterator<Item = Self> {
        [
            Self::NoController,
            Self::Unresolved(Box::new(DialFailure::NoSuchName)),
            Self::Unroutable,
            Self::Closed,
            Self::Silent,
            Self::Strange,
            Self::NoAnswer,
            Self::NoWay,
            Self::NoSocket,
            Self::Ended,
        ]
        .into_iter()
    }
}
