//! ZeroTier through a daemon of this computer: an address of such a network is an
//! ordinary one here. Owns only what that is called.

use std::sync::Arc;

use super::carrier::{Carrier, Setup};
use super::{Dial, direct};
use crate::model::{Kind, Network, Running};
use crate::overlay::{self, Overlay};

/// The row of `clan_lib.network.zerotier`.
pub(super) struct Row;

impl Kind for Row {
    fn name(&self) -> &'static str {
        "zerotier"
    }

    fn modules(&self) -> &'static [&'static str] {
        &["zerotier"]
    }

    fn services(&self) -> &'static [&'static str] {
        &["zerotier"]
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn running(&self, network: &Network) -> Running {
        overlay::running(network, Some(Overlay::Zerotier))
    }
}

impl Carrier for Row {
    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        direct::Row.prepare(setup)
    }
}
