//! Who dials each technology, and the ways that are chosen by address. What a technology is
//! called and how it behaves is in `model::technology`.

use std::sync::Arc;

use super::by_address::ByAddress;
use super::carrier::Carrier;
use super::onions::Onions;
use super::{Settings, direct, host_daemon, iroh, tailscale, tor, wireguard, zerotier};
use crate::model::Technology;

/// One row each.
static TECHNOLOGIES: [&dyn Carrier; 11] = [
    &direct::Row,
    &tor::Row,
    &zerotier::Row,
    &iroh::Row,
    &tailscale::Row,
    &host_daemon::NETBIRD,
    &host_daemon::NEBULA,
    &host_daemon::EASYTIER,
    &host_daemon::HYPRSPACE,
    &host_daemon::VPNCLOUD,
    &host_daemon::TINC,
];

/// One way each into a network that is known by its addresses, whatever it is called.
const BY_ADDRESS: &[MakeWay] = &[
    |settings, _| wireguard::way(settings),
    |settings, _| tailscale::way(settings),
    #[cfg(feature = "mycelium")]
    super::mycelium::way,
    #[cfg(feature = "yggdrasil")]
    super::yggdrasil::way,
];

/// Makes a way, where the settings have what it needs.
type MakeWay = fn(&Settings, &Onions) -> Option<Arc<dyn ByAddress>>;

/// The ways that there are with these settings; `onions` leads to whoever is met on the way
/// and is an onion service.
pub(super) fn by_address(settings: &Settings, onions: &Onions) -> Vec<Arc<dyn ByAddress>> {
    BY_ADDRESS.iter().filter_map(|way| way(settings, onions)).collect()
}

/// What dials a technology, if we know it.
pub(super) fn carrier(technology: &Technology) -> Option<&'static dyn Carrier> {
    let kind = technology.known()?;
    TECHNOLOGIES.iter().copied().find(|row| row.name() == kind.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_technology_that_we_know_is_dialled_by_one_row() {
        let mut dialled: Vec<&str> = TECHNOLOGIES.iter().map(|row| row.name()).collect();
        let known: Vec<Technology> = Technology::all().collect();
        let mut known: Vec<&str> = known.iter().map(Technology::name).collect();
        dialled.sort_unstable();
        known.sort_unstable();
        assert_eq!(dialled, known);
    }
}
