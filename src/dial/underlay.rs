//! Whom a node of an overlay may peer with, as a clan tells it: the machines of the overlay
//! where they are without it, and whom the overlay's own settings name. Pure; owns the
//! order, and that no secret host is among them.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::address;
use crate::model::{Clan, Host, Member, Network, Setting, TargetHost, Technology};
use crate::overlay::Overlay;
use crate::secret::Secret;

/// Most hosts: more are no use to anybody who waits.
const MAX_HOSTS: usize = 24;
/// Most peers that settings name, likewise.
const MAX_NAMED: usize = 24;
/// Services whose hosts lie in an overlay, whatever they look like.
const OVERLAYS: [&str; 4] = ["wireguard", "mycelium", "yggdrasil", "zerotier"];

/// What a clan says of the peers in each overlay.
#[derive(Debug, Clone, Default)]
pub struct Underlay {
    /// In Yggdrasil.
    pub yggdrasil: Peers,
    /// In Mycelium.
    pub mycelium: Peers,
}

/// What a clan says of the peers in one overlay.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// Where machines of the overlay are without it, those of the target first, each once.
    pub places: Vec<Place>,
    /// The peers that the service's settings name, as URIs, which may have a password.
    pub named: Vec<Secret<String>>,
    /// Whether the service's settings let the machines peer with the overlay's public
    /// nodes.
    pub has_public: bool,
}

/// Where a machine is without overlays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name or an IP address.
    pub host: String,
    /// Whether it is an onion service, to which only Tor leads.
    pub is_onion: bool,
    /// Whether it is one of the machine that is to be reached.
    pub is_targets: bool,
    /// The ports of the overlay there, where its settings name them.
    pub tcp: Option<u16>,
    /// The same for TLS.
    pub tls: Option<u16>,
}

impl Underlay {
    /// What `clan` says, for connections to `machine` or to any.
    pub fn of(clan: &Clan, machine: Option<&str>) -> Self {
        let hosts = hosts(clan);
        let peers = |service| Peers::of(service, &hosts, clan, machine);
        Self { yggdrasil: peers("yggdrasil"), mycelium: peers("mycelium") }
    }
}

impl Peers {
    fn of(service: &str, hosts: &[(String, String)], clan: &Clan, machine: Option<&str>) -> Self {
        let networks = clan.networks.iter().filter(|it| it.service_name() == service);
        let peers = networks.flat_map(|network| &network.peers);
        let mut known: HashSet<&str> = peers.map(|peer| peer.machine.as_str()).collect();
        let instances = clan.services().unwrap_or_default().iter().filter(|it| it.name == service);
        let members: Vec<&Member> = instances.flat_map(|instance| &instance.members).collect();
        known.extend(members.iter().map(|member| member.machine.as_str()));
        let said = |name: &str| members.iter().find(|member| member.machine == name).copied();
        let mut places: Vec<(bool, Place)> = hosts
            .iter()
            .map(|(name, host)| {
                let place = Place {
                    host: host.clone(),
                    is_onion: Technology::of_host(host) == Technology::TOR,
                    is_targets: machine == Some(name.as_str()),
                    tcp: said(name).and_then(|member| port(member, "ports.tcp")),
                    tls: said(name).and_then(|member| port(member, "ports.tls")),
                };
                (known.contains(name.as_str()), place)
            })
            .collect();
        // As Clan's module has it, any machine may be in the overlay.
        places.sort_by_key(|(is_member, it)| (it.is_onion, !it.is_targets, !is_member));
        let mut seen = HashSet::new();
        let places = places.into_iter().map(|(_, place)| place);
        let places = places.filter(|place| seen.insert(place.host.clone()));
        let places = places.take(MAX_HOSTS).collect();
        let of_target: Vec<&Member> =
            machine.and_then(said).map_or(members.clone(), |member| vec![member]);
        Self {
            places,
            named: named(of_target.iter().chain(&members).copied()),
            // Clan's module lets them where its settings do not say otherwise.
            has_public: of_target.iter().any(|it| it.flag("addHostedPublicNodes") != Some(false)),
        }
    }
}

#[cfg(feature = "tor")]
impl Peers {
    /// Whether only Tor leads to one of them.
    pub(super) fn need_tor(&self) -> bool {
        let is_onion = |uri: &Secret<String>| uri.expose().contains(".onion");
        self.places.iter().any(|place| place.is_onion) || self.named.iter().any(is_onion)
    }
}

fn port(member: &Member, name: &str) -> Option<u16> {
    member.number(name).filter(|&port| port != 0)
}

/// The peers that the settings of members name, each once.
fn named<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<Secret<String>> {
    let mut seen = HashSet::new();
    let lists = members.filter_map(|member| match member.settings.get("extraPeers") {
        Some(Setting::Texts(texts)) => Some(texts),
        _ => None,
    });
    let new = lists.flatten().filter(|text| seen.insert(text.as_str())).take(MAX_NAMED);
    new.map(|text| Secret::new(text.clone())).collect()
}

/// The machines and hosts that the inventory and other networks than overlays have. A host
/// that is kept in a var counts where the document has it, so that it is no secret.
fn hosts(clan: &Clan) -> Vec<(String, String)> {
    let mut networks: Vec<&Network> = clan.networks.iter().filter(|it| is_underlay(it)).collect();
    networks.sort_by_key(|network| std::cmp::Reverse(network.priority));
    let peers = networks.iter().flat_map(|network| &network.peers);
    let plain = peers.flat_map(|peer| {
        let hosts = peer.hosts.iter().filter_map(|host| match host {
            Host::Plain(text) => Some(text.as_str()),
            Host::Var(var) => clan.public_var(var).map(str::trim),
        });
        hosts.map(|text| (peer.machine.as_str(), text))
    });
    let machines = clan.machines();
    let targets =
        machines.iter().filter_map(|name| Some((*name, clan.target_host(name)?.host.as_str())));
    let all = targets.chain(plain);
    all.filter_map(|(machine, text)| Some((machine.to_owned(), place(text)?))).collect()
}

fn is_underlay(network: &Network) -> bool {
    let is_ours = network.technology == Technology::DIRECT || network.technology == Technology::TOR;
    is_ours && !OVERLAYS.contains(&network.service_name())
}

/// The host of an address without user and port, if it lies in no overlay.
fn place(text: &str) -> Option<String> {
    let host = TargetHost::read(text, |_| false).ok()?.host;
    let host = address::canonical(&host);
    let is_address = host.parse::<IpAddr>().ok();
    let is_inside = is_address.is_some_and(|address| {
        Overlay::of(address).is_some() || address.is_loopback() || !address::is_a_hosts(address)
    });
    let technology = Technology::of_host(&host);
    let is_dialled =
        technology == Technology::DIRECT || technology == Technology::TOR && cfg!(feature = "tor");
    (!is_inside && is_dialled).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Service, VarRef};

    const EXPORTS: &str = r#"{
        "clan-core/internet:net::": {"networking": {"module": "clan_lib.network.direct", "priority": 2000}},
        "clan-core/internet:net:default:web": {"peer": {"hosts": [{"plain": "web.example"}], "port": 2222}},
        "clan-core/internet:net:default:db": {"peer": {"hosts": [
            {"plain": "root@192.0.2.2:7"}, {"plain": "fd12::1"},
            {"var": {"generator": "net", "file": "ip"}}]}},
        "clan-core/internet:net:default:printer": {"peer": {"hosts": [{"plain": "192.0.2.9"}]}},
        "clan-core/tor:tor::": {"networking": {"module": "clan_lib.network.tor"}},
        "clan-core/tor:tor:server:web": {"peer": {"hosts": [
            {"var": {"machine": "web", "generator": "tor_tor", "file": "hostname"}}]}},
        "clan-core/mycelium:my::": {"networking": {"module": "clan_lib.network.direct"}},
        "clan-core/mycelium:my:peer:web": {"peer": {"hosts": [{"plain": "400::1\n"}]}},
        "clan-core/mycelium:my:peer:db": {"peer": {"hosts": [{"plain": "400::2"}]}},
        "clan-core/wireguard:vpn::": {"networking": {"module": "clan_lib.network.direct"}},
        "clan-core/wireguard:vpn:peer:web": {"peer": {"hosts": [{"plain": "web.vpn"}]}}
    }"#;

    fn texts(peers: &Peers) -> Vec<&str> {
        peers.places.iter().map(|place| place.host.as_str()).collect()
    }

    fn clan() -> Clan {
        Clan::parse("x", EXPORTS.as_bytes()).unwrap()
    }

    #[test]
    fn the_target_comes_first_and_then_members_of_the_overlay() {
        let mut clan = clan();
        let mycelium = |clan: &Clan, machine| Underlay::of(clan, machine).mycelium;
        assert_eq!(texts(&mycelium(&clan, Some("web"))), ["web.example", "192.0.2.2", "192.0.2.9"]);
        let of_db = mycelium(&clan, Some("db"));
        assert_eq!(texts(&of_db), ["192.0.2.2", "web.example", "192.0.2.9"]);
        assert_eq!((of_db.places[0].is_targets, of_db.places[1].is_targets), (true, false));
        let target = TargetHost::parse("root@db.example:1", |_| false).unwrap();
        clan.set_target_host("db", target);
        let of_db = mycelium(&clan, Some("db"));
        let expected = ["db.example", "192.0.2.2", "web.example", "192.0.2.9"];
        assert_eq!(texts(&of_db), expected);
        assert_eq!(Underlay::of(&clan, Some("nobody")).yggdrasil.places.len(), 4);
        assert!(!of_db.has_public && of_db.named.is_empty());
    }

    #[cfg(feature = "tor")]
    #[test]
    fn an_onion_service_counts_where_its_name_is_no_secret() {
        let mut clan = clan();
        let var = VarRef::new("web", "tor_tor", "hostname").unwrap();
        clan.set_public_var(var, "abc.onion\n".to_owned());
        let peers = Underlay::of(&clan, Some("web")).mycelium;
        assert_eq!(texts(&peers), ["web.example", "192.0.2.2", "192.0.2.9", "abc.onion"]);
        let onions: Vec<bool> = peers.places.iter().map(|place| place.is_onion).collect();
        assert_eq!(onions, [false, false, false, true]);
    }

    fn member(machine: &str, settings: &[(&str, Setting)]) -> Member {
        let settings = settings.iter().map(|(name, it)| ((*name).to_owned(), it.clone()));
        let (machine, role) = (machine.to_owned(), "default".to_owned());
        Member { machine, role, settings: settings.collect() }
    }

    #[test]
    fn the_settings_say_ports_and_peers_and_whether_strangers_may_help() {
        let mut clan = clan();
        let texts_of = |all: &[&str]| Setting::Texts(all.iter().map(|&it| it.to_owned()).collect());
        let service = |name: &str, members| Service {
            instance: "x".to_owned(),
            name: name.to_owned(),
            members,
        };
        let ports = [("ports.tcp", Setting::Number(7)), ("ports.tls", Setting::Number(0))];
        let peers = ("extraPeers", texts_of(&["tcp://a", "tls://b"]));
        let others = ("extraPeers", texts_of(&["tls://c", "tls://b"]));
        let public = |flag| [("addHostedPublicNodes", Setting::Flag(flag))];
        clan.set_services(vec![
            service(
                "yggdrasil",
                vec![
                    member("db", &[others]),
                    member("web", &[ports[0].clone(), ports[1].clone(), peers]),
                ],
            ),
            service("mycelium", vec![member("web", &public(false)), member("db", &[])]),
        ]);
        let of_web = Underlay::of(&clan, Some("web"));
        let place = &of_web.yggdrasil.places[0];
        assert_eq!((place.host.as_str(), place.tcp, place.tls), ("web.example", Some(7), None));
        let named = of_web.yggdrasil.named.iter().map(|it| it.expose().as_str());
        assert_eq!(named.collect::<Vec<_>>(), ["tcp://a", "tls://b", "tls://c"]);
        assert!(!format!("{of_web:?}").contains("tcp://a"));
        assert!(!of_web.mycelium.has_public);
        assert!(Underlay::of(&clan, Some("db")).mycelium.has_public);
        // Of no machine in particular: as for the one that may.
        assert!(Underlay::of(&clan, None).mycelium.has_public);
    }

    #[test]
    fn there_are_never_too_many() {
        let peers: Vec<String> = (0..500)
            .map(|at| format!(r#""m{at}": {{"host": {{"plain": "m{at}.example"}}}}"#))
            .collect();
        let text = format!(r#"{{"net": {{"priority": 1, "peers": {{{}}}}}}}"#, peers.join(","));
        let clan = Clan::parse("x", text.as_bytes()).unwrap();
        let all = Underlay::of(&clan, Some("m499")).yggdrasil;
        assert_eq!((all.places.len(), all.places[0].host.as_str()), (MAX_HOSTS, "m499.example"));
    }
}
