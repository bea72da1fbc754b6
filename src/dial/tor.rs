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
use std::time::Duration;

use super::Dial;
use super::carrier::{Carrier, Setup};
use crate::model::{Kind, Network, Running};

#[cfg(feature = "tor")]
pub use address::ClientAuth;
#[cfg(feature = "tor")]
pub use settings::{Mode, Settings, State};

/// The row of `clan_lib.network.tor`.
pub(super) struct Row;

impl Kind for Row {
    fn name(&self) -> &'static str {
        "tor"
    }

    fn modules(&self) -> &'static [&'static str] {
        &["tor"]
    }

    fn services(&self) -> &'static [&'static str] {
        &["tor"]
    }

    /// Names of onions must not be asked of the DNS (RFC 7686, section 2).
    fn claims(&self, host: &str) -> bool {
        is_onion(host)
    }

    fn is_address(&self, host: &str) -> bool {
        is_onion(host)
    }

    /// Its start costs much and is seen by public relays.
    fn head_start(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// A first start downloads megabytes over Tor; its parts have deadlines of their own.
    fn deadline(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn vouches(&self) -> Option<&'static str> {
        Some("its onion address")
    }

    fn running(&self, _: &Network) -> Running {
        if cfg!(feature = "tor") { Running::InProcess } else { Running::No }
    }
}

#[cfg(feature = "tor")]
impl Carrier for Row {
    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        let Setup { settings, socket_options, .. } = *setup;
        Arc::new(client::Tor::new(settings.tor.clone(), socket_options.clone()))
    }
}

#[cfg(not(feature = "tor"))]
impl Carrier for Row {
    fn prepare(&self, _: &Setup<'_>) -> Arc<dyn Dial> {
        Arc::new(super::carrier::Missing)
    }
}

/// Whether this is a name of Tor's (RFC 7686).
fn is_onion(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rsplit_once('.').is_some_and(|(_, last)| last.eq_ignore_ascii_case("onion"))
}
