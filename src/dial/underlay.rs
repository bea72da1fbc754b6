//! Where the machines of a clan are without its overlays: what a node of an overlay may
//! connect to first. Pure; owns the order, and that no secret is among it.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{DIRECT, of_host};
use crate::address;
use crate::model::{Clan, Host, Network, TargetHost};
use crate::overlay::Overlay;

/// Most hosts: more are no use to anybody who waits.
const MAX_HOSTS: usize = 24;
/// Services whose hosts lie in an overlay, whatever they look like.
const OVERLAYS: [&str; 4] = ["wireguard", "mycelium", "yggdrasil", "zerotier"];

/// The hosts that the inventory and other networks than overlays have for `machine`, then
/// those for the other machines, each once and at most two dozen. A host that is kept in a var is left
/// out, because it may be secret.
pub fn underlay_hosts(clan: &Clan, machine: Option<&str>) -> Vec<Host> {
    let mut networks: Vec<&Network> = clan.networks.iter().filter(|it| is_underlay(it)).collect();
    networks.sort_by_key(|network| std::cmp::Reverse(network.priority));
    let peers = networks.iter().flat_map(|network| &network.peers);
    let plain = peers.flat_map(|peer| {
        let hosts = peer.hosts.iter().filter_map(|host| match host {
            Host::Plain(text) => Some(text.as_str()),
            Host::Var(_) => None,
        });
        hosts.map(|text| (peer.machine.as_str(), text))
    });
    let machines = clan.machines();
    let targets =
        machines.iter().filter_map(|name| Some((*name, clan.target_host(name)?.host.as_str())));
    let (of_target, of_others): (Vec<_>, Vec<_>) =
        targets.chain(plain).partition(|(name, _)| machine == Some(*name));
    let mut seen = HashSet::new();
    let hosts = of_target.into_iter().chain(of_others).filter_map(|(_, text)| place(text));
    let each_once = hosts.filter(|host| seen.insert(host.clone()));
    each_once.take(MAX_HOSTS).map(Host::Plain).collect()
}

fn is_underlay(network: &Network) -> bool {
    let service = network.service.as_deref().and_then(|service| service.rsplit('/').next());
    let name = service.unwrap_or(&network.name);
    network.technology == DIRECT && !OVERLAYS.contains(&name)
}

/// The host of an address without user and port, if it lies in no overlay.
fn place(text: &str) -> Option<String> {
    let host = TargetHost::read(text, |_| false).ok()?.host;
    let host = address::canonical(&host);
    let is_address = host.parse::<IpAddr>().ok();
    let is_inside = is_address.is_some_and(|address| {
        Overlay::of(address).is_some() || address.is_loopback() || address.is_unspecified()
    });
    (!is_inside && of_host(&host) == DIRECT).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORTS: &str = r#"{
        "clan-core/internet:net::": {"networking": {"module": "clan_lib.network.direct", "priority": 2000}},
        "clan-core/internet:net:default:web": {"peer": {"hosts": [{"plain": "web.example"}], "port": 2222}},
        "clan-core/internet:net:default:db": {"peer": {"hosts": [
            {"plain": "root@192.0.2.2:7"}, {"plain": "x.onion"}, {"plain": "fd12::1"},
            {"var": {"generator": "net", "file": "ip"}}]}},
        "clan-core/mycelium:my::": {"networking": {"module": "clan_lib.network.direct"}},
        "clan-core/mycelium:my:peer:web": {"peer": {"hosts": [{"plain": "400::1"}]}},
        "clan-core/wireguard:vpn::": {"networking": {"module": "clan_lib.network.direct"}},
        "clan-core/wireguard:vpn:peer:web": {"peer": {"hosts": [{"plain": "web.vpn"}]}}
    }"#;

    fn texts(clan: &Clan, machine: Option<&str>) -> Vec<String> {
        underlay_hosts(clan, machine).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_target_comes_first_and_nothing_of_an_overlay_counts() {
        let mut clan = Clan::parse("x", EXPORTS.as_bytes()).unwrap();
        assert_eq!(texts(&clan, Some("web")), ["web.example", "192.0.2.2"]);
        assert_eq!(texts(&clan, Some("db")), ["192.0.2.2", "web.example"]);
        let target = TargetHost::parse("root@db.example:1", |_| false).unwrap();
        clan.set_target_host("db", target);
        assert_eq!(texts(&clan, Some("db")), ["db.example", "192.0.2.2", "web.example"]);
        assert_eq!(texts(&clan, Some("nobody")).len(), 3);
    }

    #[test]
    fn there_are_never_too_many() {
        let peers: Vec<String> = (0..500)
            .map(|at| format!(r#""m{at}": {{"host": {{"plain": "m{at}.example"}}}}"#))
            .collect();
        let text = format!(r#"{{"net": {{"priority": 1, "peers": {{{}}}}}}}"#, peers.join(","));
        let clan = Clan::parse("x", text.as_bytes()).unwrap();
        let all = texts(&clan, Some("m499"));
        assert_eq!((all.len(), all[0].as_str()), (MAX_HOSTS, "m499.example"));
    }
}
