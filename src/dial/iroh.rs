//! iroh, spoken as dumbpipe does, to a ticket that the machine has published as a var.
//! Owns where the ticket is; nothing here carries it yet.

use std::sync::Arc;
use std::time::Duration;

use super::carrier::{Carrier, Setup};
use super::{Dial, Dialling, Phase, Target, unsupported};
use crate::error::Result;
use crate::model::{Kind, Network, Running, VarRef};

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

    /// The p2p-ssh-iroh service exports no hosts; its ticket is a var of a known name.
    fn host_of(&self, machine: &str, instance: &str) -> Option<Result<VarRef>> {
        Some(VarRef::new(machine, &format!("p2p-ssh-iroh-{instance}"), "ticket"))
    }

    /// Its name servers and relays see it begin.
    fn head_start(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn vouches(&self) -> Option<&'static str> {
        Some("its ticket")
    }

    fn running(&self, _: &Network) -> Running {
        Running::No
    }
}

impl Carrier for Row {
    fn prepare(&self, _: &Setup<'_>) -> Arc<dyn Dial> {
        Arc::new(Missing)
    }
}

struct Missing;

impl Dial for Missing {
    fn dial<'a>(&'a self, target: &'a Target, _: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async { Err(unsupported(target)) })
    }
}
