//! What a technology has to offer to be dialled.

use std::sync::Arc;

use super::{Dial, Settings, SocketOptions};
use crate::model::Kind;

/// A technology that can be dialled.
pub trait Carrier: Kind {
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
