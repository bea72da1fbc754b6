//! iroh: a ticket that the machine has published as a var, spoken to as dumbpipe does
//! (`listen-tcp` in front of its sshd). Who dials is in the modules below, in a build that
//! has them.

#[cfg(feature = "iroh")]
mod addresses;
#[cfg(feature = "iroh")]
mod discovery;
#[cfg(feature = "iroh")]
mod node;
#[cfg(feature = "iroh")]
mod pipe;
#[cfg(feature = "iroh")]
mod pkarr;
#[cfg(feature = "iroh")]
mod settings;

use std::sync::Arc;

use super::Dial;
use super::carrier::{Carrier, Setup};
use crate::model::{Network, Running};

#[cfg(feature = "iroh")]
pub use settings::Settings;

/// The row of `clan_lib.network.p2p_ssh_iroh`.
pub(super) struct Row;

impl Carrier for Row {
    fn name(&self) -> &'static str {
        "iroh"
    }

    fn running(&self, _: &Network) -> Running {
        if cfg!(feature = "iroh") { Running::InProcess } else { Running::No }
    }

    #[cfg(feature = "iroh")]
    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        let Setup { settings, socket_options, .. } = *setup;
        Arc::new(node::Iroh::new(settings.iroh.clone(), socket_options.clone()))
    }

    #[cfg(not(feature = "iroh"))]
    fn prepare(&self, _: &Setup<'_>) -> Arc<dyn Dial> {
        Arc::new(super::carrier::Missing)
    }
}
