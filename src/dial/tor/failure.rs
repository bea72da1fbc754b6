//! What Arti calls a failure, as one of ours. Owns the translation of its kinds; its texts
//! are never shown, because they may hold the onion's name.

use arti_client::ErrorKind as Kind;
use arti_client::status::BlockageKind;

use crate::error::TorFailure;

/// The failure of this kind.
pub(super) fn of_kind(kind: Kind) -> TorFailure {
    match kind {
        Kind::OnionServiceNotFound => TorFailure::NoDescriptor,
        Kind::OnionServiceMissingClientAuth => TorFailure::AuthMissing,
        Kind::OnionServiceWrongClientAuth => TorFailure::AuthWrong,
        Kind::OnionServiceNotRunning
        | Kind::OnionServiceConnectionFailed
        | Kind::OnionServiceProtocolViolation
        | Kind::CircuitCollapse => TorFailure::NotConnected,
        Kind::RemoteStreamClosed
        | Kind::RemoteStreamError
        | Kind::RemoteStreamReset
        | Kind::RemoteConnectionRefused => TorFailure::PortClosed,
        Kind::RemoteNetworkTimeout | Kind::TorNetworkTimeout => TorFailure::Silent,
        Kind::TorAccessFailed | Kind::LocalNetworkError => TorFailure::NoNetwork,
        Kind::DirectoryExpired => TorFailure::ConsensusTooOld,
        Kind::SoftwareDeprecated => TorFailure::Obsolete,
        kind => TorFailure::Other(kind.to_string()),
    }
}

/// The failure that keeps our client from starting, if it says which.
pub(super) fn of_blockage(kind: &BlockageKind) -> Option<TorFailure> {
    match kind {
        BlockageKind::Offline | BlockageKind::CantReachTor => Some(TorFailure::NoNetwork),
        BlockageKind::Filtering => Some(TorFailure::Censored),
        BlockageKind::ClockSkewed => Some(TorFailure::ClockSkew),
        _ => None,
    }
}
