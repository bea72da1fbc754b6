//! The ways iroh fails, in words for people. Owns no text of iroh's own, which may hold
//! what a ticket says.

use std::fmt;

/// Why a machine was not reached by its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IrohFailure {
    /// What should be a ticket is none, or not one to be followed; why.
    NoTicket(&'static str),
    /// Nobody knows where the machine is.
    Unpublished,
    /// Whoever may know it did not answer before the deadline.
    Undiscovered,
    /// The machine did not answer anywhere before the deadline.
    Silent,
    /// Somebody answers who does not have the ticket's key.
    Impostor,
    /// The machine answers, and does not take dumbpipe's protocol.
    OtherProtocol,
    /// The connection broke off while it began.
    Lost,
    /// This computer has no socket for it.
    NoSocket,
    /// Our own endpoint has ended.
    Ended,
}

impl fmt::Display for IrohFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTicket(why) => write!(f, "its ticket cannot be used: {why}"),
            Self::Unpublished => f.write_str("no address is published for its ticket"),
            Self::Undiscovered => f.write_str(
                "the servers that may know the address of its ticket did not answer in time",
            ),
            Self::Silent => f.write_str("the machine did not answer in time, directly or by relay"),
            Self::Impostor => {
                f.write_str("the computer that answers does not have the key of its ticket")
            }
            Self::OtherProtocol => f.write_str("the machine does not speak dumbpipe's protocol"),
            Self::Lost => f.write_str("the connection broke off while it began"),
            Self::NoSocket => f.write_str("no socket for UDP can be opened"),
            Self::Ended => f.write_str("our own endpoint has ended"),
        }
    }
}

#[cfg(test)]
impl IrohFailure {
    /// One of each kind.
    pub(crate) fn examples() -> impl Iterator<Item = Self> {
        [
            Self::NoTicket("x"),
            Self::Unpublished,
            Self::Undiscovered,
            Self::Silent,
            Self::Impostor,
            Self::OtherProtocol,
            Self::Lost,
            Self::NoSocket,
            Self::Ended,
        ]
        .into_iter()
    }
}
