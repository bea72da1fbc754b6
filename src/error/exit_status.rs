//! The exit status for each error: this is the whole table.

use super::{Attempt, Cause, Error};

/// The exit status of a session that failed on our side (ssh(1), EXIT STATUS).
const SESSION_FAILED: u8 = 255;
/// The same where different failures are to have different statuses: no network leads to
/// the machine.
const UNREACHABLE: u8 = 251;
/// Likewise: the server does not have the right host key.
const WRONG_HOST_KEY: u8 = 252;
/// Likewise: the server lets nobody in with what we have.
const LOGIN_REFUSED: u8 = 253;
/// Likewise: the connection was lost.
const CONNECTION_LOST: u8 = 254;
/// The exit status for a command line that asks for something impossible.
const MISUSED: u8 = 2;
/// The exit status of every other failure.
pub(crate) const FAILED: u8 = 1;

impl Error {
    /// The exit status, after ssh(1) for a command that opens a session. This is
    /// the whole table.
    pub fn exit_code(&self, opens_session: bool) -> u8 {
        match (opens_session, self) {
            (true, _) => SESSION_FAILED,
            (false, Self::Usage(_)) => MISUSED,
            (false, _) => FAILED,
        }
    }

    /// The exit status of a session that failed, by what it failed at.
    pub fn detailed_exit_code(&self) -> u8 {
        let is_host_key = |attempt: &Attempt| matches!(attempt.cause, Cause::HostKey(_));
        match self {
            Self::HostKey { .. } => WRONG_HOST_KEY,
            // The others may have been down, but this one is not to be tried again.
            Self::Unreachable { attempts, .. } if attempts.iter().any(is_host_key) => {
                WRONG_HOST_KEY
            }
            Self::Unreachable { .. } | Self::NoRoute { .. } => UNREACHABLE,
            Self::Auth { .. } => LOGIN_REFUSED,
            Self::ConnectionLost { .. } => CONNECTION_LOST,
            _ => SESSION_FAILED,
        }
    }
}
