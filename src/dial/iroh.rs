//! iroh: a ticket that the machine has published as a var, spoken to as dumbpipe does
//! (`listen-tcp` in front of its sshd). Owns what the rest of the program may know of it;
//! who dials is in the modules below, in a build that has them.

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
use std::time::Duration;

use super::Dial;
use super::carrier::{Carrier, Setup};
use crate::error::Result;
use crate::model::{Kind, Network, Running, VarRef};

#[cfg(feature = "iroh")]
pub use settings::Settings;

/// The row of `clan_lib.network.p2p_ssh_iroh`.
pub(super) struct Row;

impl Kind for Row {
    fn name(&self) -> &'static str {
        "iroh"
    }

    fn modules(&self) -> &'static [&'static str] {
        &["p2p_ssh_iroh"]
    }

    fn services(&self) -> &'static [&'static str] {
        &["p2p-ssh-iroh", "p2p_ssh_iroh", "iroh"]
    }

    fn is_address(&self, _: &str) -> bool {
        true
    }

    /// Clan keeps tickets in public vars, but whoever has one reaches the machine's sshd
    /// from anywhere.
    fn hides_hosts(&self) -> bool {
        true
    }

    /// dumbpipe passes all on to one address.
    fn has_ports(&self) -> bool {
        false
    }

    /// The p2p-ssh-iroh service exports no hosts; its ticket is a var of a known name.
    fn host_of(&self, machine: &str, instance: &str) -> Option<Result<VarRef>> {
        Some(VarRef::new(machine, &format!("p2p-ssh-iroh-{instance}"), "ticket"))
    }

    /// Its name servers and relays see it begin.
    fn head_start(&self) -> Duration {
        Duration::from_millis(500)
    }

    /// The way over a relay begins with names, TLS and a relay on each side.
    fn deadline(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn vouches(&self) -> Option<&'static str> {
        Some("its ticket")
    }

    fn running(&self, _: &Network) -> Running {
        if cfg!(feature = "iroh") { Running::InProcess } else { Running::No }
    }
}

#[cfg(feature = "iroh")]
impl Carrier for Row {
    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        let Setup { settings, socket_options, .. } = *setup;
        Arc::new(node::Iroh::new(settings.iroh.clone(), socket_options.clone()))
    }
}

#[cfg(not(feature = "iroh"))]
impl Carrier for Row {
    fn prepare(&self, _: &Setup<'_>) -> Arc<dyn Dial> {
        Arc::new(super::carrier::Missing)
    }
}
