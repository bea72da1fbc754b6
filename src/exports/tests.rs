use std::path::Path;

use super::*;
use crate::model::{Host, Network, Peer, Technology, VarRef};
use crate::test_data;

mod bounds;
mod malformed;

const MIXED: &str = include_str!("../../fixtures/exports/mixed.json");
const BLOG: &str = include_str!("../../fixtures/exports/blog-select.json");
const BY_HAND: &str = include_str!("../../fixtures/exports/by-hand.json");

pub(super) fn clan(text: &str) -> Clan {
    Clan::parse("test", text.as_bytes()).unwrap()
}

/// A file of Clan's data; `None` where that is to be done without.
fn real(name: &str) -> Option<String> {
    test_data::clan().map(|data| read(&data, name))
}

/// The same, or `instead` where nothing is said of Clan's data.
pub(super) fn real_or(name: &str, instead: &str) -> String {
    test_data::named().map_or_else(|| instead.to_owned(), |data| read(&data, name))
}

fn read(data: &Path, name: &str) -> String {
    let file = data.join("exports").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// One line a network: label, priority, technology, peers with all they say.
fn summary(clan: &Clan) -> Vec<String> {
    let peer = |peer: &Peer| {
        let hosts: Vec<String> = peer.hosts.iter().map(ToString::to_string).collect();
        let user = peer.user.as_deref().unwrap_or("-");
        format!("{}={}:{}@{user}", peer.machine, hosts.join(","), peer.port)
    };
    let network = |network: &Network| {
        let peers: Vec<String> = network.peers.iter().map(peer).collect();
        let Network { label, priority, technology, .. } = network;
        format!("{label} {priority} {technology} {}", peers.join(" ")).trim_end().to_owned()
    };
    clan.networks.iter().map(network).collect()
}

fn problems(clan: &Clan) -> Vec<String> {
    clan.problems.iter().map(ToString::to_string).collect()
}

const REAL: [&str; 6] = [
    "internet 2000 direct peer1=peer1.example:45621@admin peer2=198.51.100.7:22@-",
    "mycelium 800 direct outsider=4b9:7d9:b67a:c00f:b8e5:3f0e:bd96:1e9e:22@- \
     peer1=42a:b024:1775:8724:78af:8b16:c99b:857b:22@- \
     peer2=587:935b:856d:89d4:db32:6bf2:31ca:a0dd:22@-",
    "p2p 3000 iroh outsider=<var: p2p-ssh-iroh-p2p/ticket>:22@- \
     peer1=<var: p2p-ssh-iroh-p2p/ticket>:22@- peer2=<var: p2p-ssh-iroh-p2p/ticket>:22@-",
    "tor 10 tor peer1=<var: tor_tor/hostname>:22@-",
    "wireguard 1000 direct peer1=peer1.wireguard:22@- peer2=peer2.wireguard:22@-",
    "yggdrasil 2000 direct outsider=200:b247:5c89:e18f:9386:ecb1:cd73:10fe:22@- \
     peer1=202:80d:5952:e9f0:c92c:d726:5333:53c7:22@- \
     peer2=202:85fc:5413:32b3:abe7:b0e0:5752:b6a5:22@-",
];

#[test]
#[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
fn the_exports_of_the_real_modules_are_understood() {
    let Some(text) = real("real.json") else { return };
    let clan = clan(&text);
    assert_eq!(summary(&clan), REAL);
    assert_eq!(problems(&clan), [""; 0]);
    assert_eq!(clan.machines(), ["peer1", "peer2", "outsider"]);
    let ignored = "test: exports entry \"clan-core/internet:internet:default:peer1\": \
                   SSHOptions are never used, ignored \"-J x\", \"-J x\"";
    assert_eq!(clan.warnings, [ignored]);
    let tor = clan.network("tor").unwrap();
    assert_eq!(tor.service.as_deref(), Some("clan-core/tor"));
    assert_eq!(tor.module.as_deref(), Some("clan_lib.network.tor"));
    let var = VarRef::new("peer1", "tor_tor", "hostname").unwrap();
    assert_eq!(tor.peers[0].hosts, [Host::Var(var)]);
}

#[test]
#[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
fn the_real_zerotier_peers_have_no_role_in_their_key() {
    let Some(text) = real("real-zerotier.json") else { return };
    let clan = clan(&text);
    let (zerotier, others) =
        summary(&clan).split_last().map(|(z, o)| (z.clone(), o.to_vec())).unwrap();
    assert_eq!(others, REAL);
    assert_eq!(
        zerotier,
        "zerotier 900 zerotier outsider=fd9c:ecf3:d17d:8a5:b299:936c:2a75:d0e9:22@- \
         peer1=fd9c:ecf3:d17d:8a5:b299:939c:ecf3:d17d:22@- \
         peer2=fd9c:ecf3:d17d:8a5:b299:9385:b845:7521:22@-"
    );
    assert_eq!(problems(&clan), [""; 0]);
}

#[test]
#[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
fn the_documents_of_clans_own_tests_are_understood() {
    if let Some(text) = real("python-test-current.json") {
        let clan = clan(&text);
        assert_eq!(
            summary(&clan),
            [
                "vpn-network 1000 tor machine1=<var: wireguard/address>:45621@admin \
                 machine2=<var: wireguard/address>:22@-",
                "local-network 500 direct machine1=<var: wireguard/address>:22@- \
                 machine3=10.0.0.10:22@-",
            ]
        );
        assert_eq!(problems(&clan), [""; 0]);
        assert_eq!(clan.machines(), ["machine1", "machine2", "machine3", "machine"]);
    }
    if let Some(text) = real("python-test-old-2025.json") {
        let clan = clan(&text);
        assert_eq!(
            summary(&clan),
            [
                "vpn-network 1000 tor machine1=<var: wireguard/address>:22@- \
                 machine2=<var: wireguard/address>:22@-",
                "local-network 500 direct machine1=10.0.0.10:22@- machine3=10.0.0.12:22@-",
            ]
        );
        assert_eq!(problems(&clan), [""; 0]);
    }
}

#[test]
fn the_blogs_document_needs_no_module_and_no_full_instances() {
    let clan = clan(BLOG);
    assert_eq!(summary(&clan), ["tor 10 tor web=<var: tor_tor/hostname>:22@-"]);
    assert_eq!(clan.networks[0].module, None);
    assert!(clan.problems.is_empty() && clan.warnings.is_empty());
}

#[test]
fn what_people_write_by_hand_is_understood() {
    assert_eq!(
        summary(&clan(BY_HAND)),
        [
            "internet 100 direct web=web.example:2222@admin db=192.0.2.5,db.example:22@-",
            "home 1000 direct web=192.168.1.5:22@-",
        ]
    );
}

#[test]
fn services_with_instances_of_one_name_stay_apart() {
    let clan = clan(MIXED);
    assert_eq!(
        summary(&clan),
        [
            "mine/vpn:office 2000 direct web=web.example,2001:db8::7:2222@admin \
             web=web.example:2222@admin db=backup@db.example:2200:22@- build=192.0.2.9:22@- \
             mail=192.0.2.10:22@- empty=:22@-",
            "mine/tor:office 10 tor web=<var: tor_office/hostname>:22@-",
            "zt 900 zerotier web=fd00::9993:1:22@-",
            "p2p 3000 iroh web=<var: p2p-ssh-iroh-p2p/ticket>:22@- \
             db=<var: p2p-ssh-iroh-p2p/ticket>:22@-",
            "lab 800 mine.network.pigeons",
        ]
    );
    assert_eq!(
        clan.machines(),
        ["web", "db", "build", "mail", "empty", "printer"],
        "a machine of a foreign export exists too"
    );
    let lab = clan.network("lab").unwrap();
    assert_eq!(lab.technology, Technology::of_module("mine.network.pigeons"));
    assert!(lab.technology.known().is_none());
}

#[test]
fn a_network_answers_to_its_instance_with_or_without_its_service() {
    let clan = clan(MIXED);
    for name in ["mine/tor:office", "mine/tor/office", "tor:office", "tor/office"] {
        assert_eq!(clan.network(name).unwrap().label, "mine/tor:office", "{name}");
    }
    assert_eq!(clan.network("office").unwrap().label, "mine/vpn:office");
    assert_eq!(clan.network("mine/zerotier:zt").unwrap().label, "zt");
    for name in ["", ":office", "/office", "mine:office", "toroffice", "tor:", "tor", "OFFICE"] {
        assert!(clan.network(name).is_none(), "{name}");
    }
}

#[test]
fn the_same_entries_are_found_at_every_depth() {
    for document in [MIXED, BLOG, BY_HAND] {
        let expected = summary(&clan(document));
        for wrapped in [
            format!(r#"{{"exports": {document}}}"#),
            format!(r#"{{"instances": {document}}}"#),
            format!(r#"{{"exports": {{"instances": {document}}}}}"#),
            format!(r#"{{"other": {{"priority": 1}}, "exports": {document}, "peers": {{}}}}"#),
            format!(r#"{{"exports": {{"machines": {{"web": {{}}}}, "instances": {document}}}}}"#),
            format!("\n {document} \n"),
        ] {
            assert_eq!(summary(&clan(&wrapped)), expected, "{wrapped}");
        }
    }
    let nested = r#"{"exports": {"instances": {"a": {"networking": null}, "tor":
        {"networking": {"peers": {"m": {"host": {"plain": "x.onion"}}}}}}}}"#;
    assert_eq!(summary(&clan(nested)), ["tor 1000 tor m=x.onion:22@-"]);
}

#[test]
fn an_instance_may_be_called_like_a_wrapper() {
    let text = r#"{"exports": {"priority": 7, "peers": {"m": {"host": "a"}}},
                   "instances": {"networking": {"module": "x", "peers": {"m": {"host": "b"}}}}}"#;
    assert_eq!(summary(&clan(text)), ["exports 7 direct m=a:22@-", "instances 1000 x m=b:22@-"]);
}

#[test]
fn null_counts_as_absent_everywhere() {
    let text = r#"{
        "a": null,
        "s:n::": {"networking": {"priority": null, "module": null, "peers": null}, "peer": null},
        "s:n:r:m": {"networking": null, "peer": {"name": null, "port": null, "user": null,
            "SSHOptions": null, "host": null,
            "hosts": [{"plain": null, "var": {"machine": null, "generator": "g", "file": "f"}}]}},
        "s:n:r:o": {"peer": null},
        "s:x:r:q": null
    }"#;
    let clan = clan(text);
    assert_eq!(summary(&clan), ["n 1000 direct m=<var: g/f>:22@-"]);
    assert_eq!(
        clan.networks[0].peers[0].hosts,
        [Host::Var(VarRef::new("m", "g", "f").unwrap())],
        "without a machine the var is the peer's"
    );
    assert!(clan.problems.is_empty() && clan.warnings.is_empty(), "{clan:?}");
}

#[test]
fn exports_without_a_network_are_an_empty_clan_with_a_warning() {
    for text in ["{}", r#"{"exports": {}}"#, r#"{"exports": null}"#, r#"{"a": {"b": 1}, "c": 3}"#] {
        let clan = clan(text);
        assert_eq!(clan.networks, []);
        assert_eq!(clan.warnings, ["the exports declare no network"], "{text}");
    }
}

#[test]
#[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
fn what_installers_show_declares_no_network() {
    let Some(text) = real("qr-examples.json") else { return };
    assert_eq!(clan(&text).networks, []);
}

#[test]
fn a_machine_of_the_inventory_can_be_made_known() {
    let mut clan = clan(MIXED);
    assert!(!clan.knows("new"));
    clan.add_machine("new");
    clan.add_machine("web");
    assert!(clan.knows("new"));
    assert_eq!(clan.machines().iter().filter(|name| **name == "web").count(), 1);
}
