//! All technologies. Owns the list, and which of them a module, a service or a host means;
//! each is described and dialled in a file of its own, and named nowhere else.

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

/// Where Clan's own modules live in its Python library.
const LIBRARY: &str = "clan_lib.network.";

/// TCP to the host; wireguard, mycelium and yggdrasil are of this kind too.
pub const DIRECT: Technology = Technology::of(&direct::Row);
/// Onion services.
pub const TOR: Technology = Technology::of(&tor::Row);
/// Tickets.
#[cfg(feature = "iroh")]
pub const IROH: Technology = Technology::of(&iroh::Row);

/// The technology of a module's full Python name, such as `clan_lib.network.tor`.
pub fn of_module(module: &str) -> Technology {
    let name = module.strip_prefix(LIBRARY);
    let known = name.and_then(|name| find(|row| row.modules().contains(&name)));
    known.unwrap_or_else(|| Technology::unsupported(module))
}

/// The technology of a network: its module's, but where that is direct the one of a service
/// whose hosts only a daemon of this computer leads to.
pub fn of_network(module: Option<&str>, service: Option<&str>, instance: &str) -> Technology {
    match module.map(of_module) {
        Some(module) if module == DIRECT => {
            let named = of_service(service, "");
            if service.is_some() && named.is_direct() { named } else { module }
        }
        Some(module) => module,
        None => of_service(service, instance),
    }
}

/// The technology of a network whose module was left out, as a narrow `clan select` does:
/// the service's last component decides, else the instance's name, else it is direct.
pub fn of_service(service: Option<&str>, instance: &str) -> Technology {
    let known = |name: &str| find(|row| row.services().contains(&name));
    let service = service.and_then(|service| service.rsplit('/').next());
    service.and_then(known).or_else(|| known(instance)).unwrap_or(DIRECT)
}

/// The technology of a host that is named without any network.
pub fn of_host(host: &str) -> Technology {
    find(|row| row.claims(host)).unwrap_or(DIRECT)
}

/// The ways that there are with these settings; `onions` leads to whoever is met on the way
/// and is an onion service.
pub(super) fn by_address(settings: &Settings, onions: &Onions) -> Vec<Arc<dyn ByAddress>> {
    BY_ADDRESS.iter().filter_map(|way| way(settings, onions)).collect()
}

/// What dials a technology, if we know it.
pub(super) fn carrier(technology: &Technology) -> Option<&'static dyn Carrier> {
    let kind = technology.known()?;
    TECHNOLOGIES.iter().copied().find(|row| row.name() == kind.name())
}

fn find(is_it: impl Fn(&dyn Carrier) -> bool) -> Option<Technology> {
    let row = TECHNOLOGIES.iter().copied().find(|&row| is_it(row))?;
    Some(Technology::of(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_have_a_name_a_module_or_a_service_in_common() {
        let mut names: Vec<&str> = TECHNOLOGIES.iter().map(|row| row.name()).collect();
        let mut modules: Vec<&str> =
            TECHNOLOGIES.iter().flat_map(|row| row.modules()).copied().collect();
        let mut services: Vec<&str> =
            TECHNOLOGIES.iter().flat_map(|row| row.services()).copied().collect();
        for list in [&mut names, &mut modules, &mut services] {
            let before = list.len();
            list.sort_unstable();
            list.dedup();
            assert_eq!(list.len(), before, "{list:?}");
        }
    }

    #[test]
    fn clans_modules_are_known_and_others_are_kept() {
        for (module, name) in [
            ("clan_lib.network.direct", "direct"),
            ("clan_lib.network.tor", "tor"),
            ("clan_lib.network.zerotier", "zerotier"),
            ("clan_lib.network.p2p_ssh_iroh", "iroh"),
        ] {
            let technology = of_module(module);
            assert!(technology.known().is_some(), "{module}");
            assert_eq!(technology.name(), name);
        }
        for module in ["", "tor", "clan_lib.network.", "clan_lib.network.tor.lib", "my.net.tor"] {
            let technology = of_module(module);
            assert!(technology.known().is_none(), "{module}");
            assert_eq!(technology.name(), module);
            assert_ne!(technology, TOR);
        }
    }

    #[test]
    fn a_service_of_a_daemon_is_known_by_its_name_though_its_module_is_direct() {
        let direct = Some("clan_lib.network.direct");
        for (module, service, name) in [
            (direct, Some("mine/tailscale"), "tailscale"),
            (direct, Some("headscale"), "tailscale"),
            (direct, Some("mine/netbird"), "netbird"),
            (direct, Some("vpn/tinc"), "tinc"),
            (direct, Some("clan-core/wireguard"), "direct"),
            (direct, None, "direct"),
            (Some("clan_lib.network.tor"), Some("mine/netbird"), "tor"),
            (None, Some("mine/netbird"), "netbird"),
        ] {
            assert_eq!(of_network(module, service, "x").name(), name, "{module:?} {service:?}");
        }
        // Who says direct means it, whatever else the service may be.
        assert_eq!(of_network(direct, Some("clan-core/tor"), "tor"), DIRECT);
        assert_eq!(of_network(direct, Some("mine/x"), "tor"), DIRECT);
    }

    #[test]
    fn a_missing_module_is_inferred_from_service_then_instance() {
        for (service, instance, name) in [
            (None, "tor", "tor"),
            (None, "zerotier", "zerotier"),
            (None, "p2p-ssh-iroh", "iroh"),
            (None, "office", "direct"),
            (Some("clan-core/tor"), "hidden", "tor"),
            (Some("clan-core/internet"), "tor", "direct"),
            (Some("mine/special"), "tor", "tor"),
        ] {
            assert_eq!(of_service(service, instance).name(), name, "{service:?} {instance}");
        }
    }

    #[test]
    fn a_host_that_nobody_else_can_have_tells_its_technology() {
        for (host, name) in [
            ("web01.example", "direct"),
            ("192.0.2.1", "direct"),
            ("onion", "direct"),
            ("whatever.onion", "tor"),
            ("whatever.ONION.", "tor"),
        ] {
            assert_eq!(of_host(host).name(), name, "{host}");
        }
    }
}
