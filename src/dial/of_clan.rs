//! What a clan says that our own ways into networks need. Owns nothing but that all of it
//! is taken from a clan at once, while there is one.

use super::underlay::underlay_hosts;
use super::wireguard;
use crate::model::{Clan, Host};

/// What is kept of a clan for ways into its networks.
#[derive(Clone, Default)]
pub struct OfClan {
    /// Its WireGuard networks.
    pub wireguard: wireguard::Networks,
    /// Where its machines are without overlays, see [`underlay_hosts`].
    pub underlay: Vec<Host>,
}

impl OfClan {
    /// What `clan` says, for connections to `machine` or to any.
    pub fn of(clan: &Clan, machine: Option<&str>) -> Self {
        Self { wireguard: wireguard::Networks::of(clan), underlay: underlay_hosts(clan, machine) }
    }
}
