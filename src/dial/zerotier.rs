//! ZeroTier through a daemon of this computer: an address of such a network is an
//! ordinary one here. Owns only what that is called.

use std::sync::Arc;

use super::carrier::{Carrier, Setup};
use super::{Dial, direct};
use crate::model::{Network, Running};
use crate::overlay::{self, Overlay};

/// The row of `clan_lib.network.zerotier`.
pub(super) struct Row;

impl Carrier for Row {
    fn name(&self) -> &'static str {
        "zerotier"
    }

    fn running(&self, network: &Network) -> Running {
        overlay::running(network, Some(Overlay::Zerotier))
    }

    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        direct::Row.prepare(setup)
    }
}
