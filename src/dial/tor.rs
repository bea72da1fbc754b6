//! Tor: onion services without a tor program (Arti in this process), or through one that
//! runs already. Owns what the rest of the program may know of it; who dials is in the
//! modules below, in a build that has them.

#[cfg(feature = "tor")]
mod address;
#[cfg(feature = "tor")]
mod client;
#[cfg(feature = "tor")]
mod descriptors;
#[cfg(feature = "tor")]
mod embedded;
#[cfg(feature = "tor")]
mod failure;
#[cfg(feature = "tor")]
mod onions;
#[cfg(feature = "tor")]
mod owner;
#[cfg(feature = "tor")]
mod runtime;
#[cfg(feature = "tor")]
mod settings;
#[cfg(feature = "tor")]
mod state;
#[cfg(feature = "tor")]
mod stream;
#[cfg(feature = "tor")]
mod system;

use std::sync::Arc;

use super::Dial;
use super::carrier::{Carrier, Setup};
use crate::model::{Network, Running};

#[cfg(feature = "tor")]
pub use address::ClientAuth;
#[cfg(feature = "tor")]
pub use settings::{Mode, Settings, State};

/// The row of `clan_lib.network.tor`.
pub(super) struct Row;

impl Carrier for Row {
    fn name(&self) -> &'static str {
        "tor"
    }

    fn running(&self, _: &Network) -> Running {
        if cfg!(feature = "tor") { Running::InProcess } else { Running::No }
    }

    #[cfg(feature = "tor")]
    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        let Setup { settings, socket_options, .. } = *setup;
        Arc::new(client::Tor::new(settings.tor.clone(), socket_options.clone()))
    }

    #[cfg(not(feature = "tor"))]
    fn prepare(&self, _: &Setup<'_>) -> Arc<dyn Dial> {
        Arc::new(super::carrier::Missing)
    }
}
