//! What a clan says that our own ways into networks need. Owns nothing but that all of it
//! is taken from a clan at once, while there is one.

use super::underlay::Underlay;
use super::wireguard;
use crate::model::Clan;

/// What is kept of a clan for ways into its networks.
#[derive(Clone, Default)]
pub struct OfClan {
    /// Its WireGuard networks.
    pub wireguard: wireguard::Networks,
    /// Whom nodes of other overlays may peer with.
    pub underlay: Underlay,
}

impl OfClan {
    /// What `clan` says, for connections to `machine` or to any.
    pub fn of(clan: &Clan, machine: Option<&str>) -> Self {
        Self { wireguard: wireguard::Networks::of(clan), underlay: Underlay::of(clan, machine) }
    }
}
