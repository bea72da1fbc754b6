//! What a technology has to offer to be dialled.

use std::sync::Arc;

use super::{Dial, Settings, SocketOptions};
#[cfg(not(all(feature = "iroh", feature = "tor")))]
use super::{Dialling, Phase, Target, unsupported};
use crate::model::{Network, Running};

/// A technology that can be dialled.
pub trait Carrier: Sync {
    /// The technology's name in `model::technology`.
    fn name(&self) -> &'static str;

    /// Whether the network can carry anything from here, as far as that can be told
    /// without a packet.
    fn running(&self, network: &Network) -> Running;

    /// What dials. Starts and reads nothing.
    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial>;
}

/// What a technology is given to dial with.
pub struct Setup<'a> {
    /// What the user says of technologies.
    pub(super) settings: &'a Settings,
    /// What the user says of sockets.
    pub(super) socket_options: &'a SocketOptions,
    /// The dialler by sockets.
    pub(super) direct: &'a Arc<dyn Dial>,
}

/// What dials a technology that is not in this build.
#[cfg(not(all(feature = "iroh", feature = "tor")))]
pub(super) struct Missing;

#[cfg(not(all(feature = "iroh", feature = "tor")))]
impl Dial for Missing {
    fn dial<'a>(&'a self, target: &'a Target, _: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async { Err(unsupported(target)) })
    }
}
