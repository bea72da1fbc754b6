//! The technologies that we know, and which of them a module, a service or a host means.
//! Owns the list and nothing that dials: `dial::registry` has who does.

use std::net::IpAddr;
use std::time::Duration;

use super::{HEAD_START, Kind, Technology, VarRef, Which};

/// What holds where a row does not say otherwise.
const ORDINARY: Kind = Kind {
    name: "",
    modules: &[],
    services: &[],
    claims: |_| false,
    is_address: is_ip,
    hides_hosts: false,
    host_of: None,
    has_ports: true,
    head_start: HEAD_START,
    deadline: Duration::from_secs(10),
    is_costly: false,
    vouches: None,
    is_direct: false,
};

pub(super) static DIRECT: Kind = Kind {
    name: "direct",
    modules: &["direct"],
    // Of overlays, too, whose daemon makes ordinary addresses of theirs.
    services: &["internet", "mycelium", "wireguard", "yggdrasil"],
    is_direct: true,
    ..ORDINARY
};

pub(super) static TOR: Kind = Kind {
    name: "tor",
    modules: &["tor"],
    services: &["tor"],
    // Names of onions must not be asked of the DNS (RFC 7686, section 2).
    claims: is_onion,
    is_address: is_onion,
    // Its start costs much and is seen by public relays.
    head_start: Duration::from_secs(1),
    // A first start downloads megabytes over Tor; its parts have deadlines of their own.
    deadline: Duration::from_secs(120),
    is_costly: true,
    vouches: Some("its onion address"),
    ..ORDINARY
};

static ZEROTIER: Kind = of_daemon("zerotier", &["zerotier"], &["zerotier"]);

pub(super) static IROH: Kind = Kind {
    name: "iroh",
    modules: &["p2p_ssh_iroh"],
    services: &["p2p-ssh-iroh", "p2p_ssh_iroh", "iroh"],
    is_address: |_| true,
    // Clan keeps tickets in public vars, but whoever has one reaches the machine's sshd
    // from anywhere.
    hides_hosts: true,
    // The service exports no hosts; its ticket is a var of a known name.
    host_of: Some(|machine, instance| {
        VarRef::new(machine, &format!("p2p-ssh-iroh-{instance}"), "ticket")
    }),
    // dumbpipe passes all on to one address.
    has_ports: false,
    // Its name servers and relays see it begin.
    head_start: Duration::from_millis(500),
    // The way over a relay begins with names, TLS and a relay on each side.
    deadline: Duration::from_secs(20),
    is_costly: true,
    vouches: Some("its ticket"),
    ..ORDINARY
};

// A headscale is the control server of ordinary tailscaleds.
static TAILSCALE: Kind = of_daemon("tailscale", &["tailscale"], &["tailscale", "headscale"]);
static NETBIRD: Kind = of_daemon("netbird", &["netbird"], &["netbird"]);
static NEBULA: Kind = of_daemon("nebula", &["nebula"], &["nebula"]);
static EASYTIER: Kind = of_daemon("easytier", &["easytier"], &["easytier"]);
static HYPRSPACE: Kind = of_daemon("hyprspace", &["hyprspace"], &["hyprspace"]);
static VPNCLOUD: Kind = of_daemon("vpncloud", &["vpncloud"], &["vpncloud"]);
static TINC: Kind = of_daemon("tinc", &["tinc"], &["tinc"]);

/// A network that a daemon of this computer carries, so that its hosts are ordinary ones.
const fn of_daemon(
    name: &'static str,
    modules: &'static [&'static str],
    services: &'static [&'static str],
) -> Kind {
    Kind { name, modules, services, is_direct: true, ..ORDINARY }
}

/// One row each.
pub(super) static ALL: [&Kind; 11] = [
    &DIRECT, &TOR, &ZEROTIER, &IROH, &TAILSCALE, &NETBIRD, &NEBULA, &EASYTIER, &HYPRSPACE,
    &VPNCLOUD, &TINC,
];

/// Where Clan's own modules live in its Python library.
const LIBRARY: &str = "clan_lib.network.";

impl Technology {
    /// The technology of a module's full Python name, such as `clan_lib.network.tor`.
    pub fn of_module(module: &str) -> Self {
        let name = module.strip_prefix(LIBRARY);
        let known = name.and_then(|name| find(|kind| kind.modules.contains(&name)));
        known.unwrap_or_else(|| Self::unsupported(module))
    }

    /// The technology of a network: its module's, but where that is direct the one of a
    /// service whose hosts only a daemon of this computer leads to.
    pub fn of_network(module: Option<&str>, service: Option<&str>, instance: &str) -> Self {
        match module.map(Self::of_module) {
            Some(module) if module == Self::DIRECT => {
                let named = Self::of_service(service, "");
                if service.is_some() && named.is_direct() { named } else { module }
            }
            Some(module) => module,
            None => Self::of_service(service, instance),
        }
    }

    /// The technology of a network whose module was left out, as a narrow `clan select`
    /// does: the service's last component decides, else the instance's name, else it is
    /// direct.
    fn of_service(service: Option<&str>, instance: &str) -> Self {
        let known = |name: &str| find(|kind| kind.services.contains(&name));
        let service = service.and_then(|service| service.rsplit('/').next());
        service.and_then(known).or_else(|| known(instance)).unwrap_or(Self::DIRECT)
    }

    /// The technology of a host that is named without any network.
    pub fn of_host(host: &str) -> Self {
        find(|kind| (kind.claims)(host)).unwrap_or(Self::DIRECT)
    }
}

fn find(is_it: impl Fn(&Kind) -> bool) -> Option<Technology> {
    let kind = ALL.into_iter().find(|kind| is_it(kind))?;
    Some(Technology(Which::Known(kind)))
}

/// Whether this is an IP literal, with a zone or without.
fn is_ip(host: &str) -> bool {
    let bare = host.split_once('%').map_or(host, |(address, _)| address);
    bare.parse::<IpAddr>().is_ok()
}

/// Whether this is a name of Tor's (RFC 7686).
fn is_onion(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rsplit_once('.').is_some_and(|(_, last)| last.eq_ignore_ascii_case("onion"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_have_a_name_a_module_or_a_service_in_common() {
        let mut names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
        let mut modules: Vec<&str> = ALL.iter().flat_map(|kind| kind.modules).copied().collect();
        let mut services: Vec<&str> = ALL.iter().flat_map(|kind| kind.services).copied().collect();
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
            let technology = Technology::of_module(module);
            assert!(technology.known().is_some(), "{module}");
            assert_eq!(technology.name(), name);
        }
        for module in ["", "tor", "clan_lib.network.", "clan_lib.network.tor.lib", "my.net.tor"] {
            let technology = Technology::of_module(module);
            assert!(technology.known().is_none(), "{module}");
            assert_eq!(technology.name(), module);
            assert_ne!(technology, Technology::TOR);
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
            assert_eq!(
                Technology::of_network(module, service, "x").name(),
                name,
                "{module:?} {service:?}"
            );
        }
        // Who says direct means it, whatever else the service may be.
        assert_eq!(
            Technology::of_network(direct, Some("clan-core/tor"), "tor"),
            Technology::DIRECT
        );
        assert_eq!(Technology::of_network(direct, Some("mine/x"), "tor"), Technology::DIRECT);
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
            assert_eq!(
                Technology::of_service(service, instance).name(),
                name,
                "{service:?} {instance}"
            );
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
            assert_eq!(Technology::of_host(host).name(), name, "{host}");
        }
    }
}
