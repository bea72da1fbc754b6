use super::*;

const MIXED: &str = include_str!("../../fixtures/exports/mixed.json");
const BROKEN: &str = include_str!("../../fixtures/exports/broken.json");

fn clan(text: &str) -> Clan {
    Clan::parse("test", text.as_bytes()).unwrap()
}

/// One line a route.
fn routes(clan: &Clan, machine: &str, overrides: &Overrides) -> Vec<String> {
    let show = |route: Route| {
        let Route { network, technology, host, port, user, priority } = route;
        format!("{network} {priority} {technology} {user}@{host} {port}")
    };
    plan(clan, machine, overrides).unwrap().into_iter().map(show).collect()
}

fn refusal(clan: &Clan, machine: &str, network: Option<&str>) -> String {
    let overrides = Overrides { network: network.map(str::to_owned), ..Overrides::default() };
    plan(clan, machine, &overrides).unwrap_err().to_string()
}

#[test]
fn routes_come_by_priority_and_no_route_twice() {
    assert_eq!(
        routes(&clan(MIXED), "web", &Overrides::default()),
        [
            "p2p 3000 iroh root@<var: p2p-ssh-iroh-p2p/ticket> 22",
            "mine/vpn:office 2000 direct admin@web.example 2222",
            "mine/vpn:office 2000 direct admin@2001:db8::7 2222",
            "zt 900 zerotier root@fd00::9993:1 22",
            "mine/tor:office 10 tor root@<var: tor_office/hostname> 22",
        ]
    );
}

#[test]
fn the_routes_to_all_machines_are_those_to_each() {
    for text in [MIXED, BROKEN] {
        let clan = clan(text);
        let said = |planned: Result<Vec<Route>>| planned.map_err(|error| error.to_string());
        let each = clan.machines().into_iter();
        let each: Vec<_> =
            each.map(|name| (name, said(plan(&clan, name, &Overrides::default())))).collect();
        let all: Vec<_> = plans(&clan).map(|(name, planned)| (name, said(planned))).collect();
        assert_eq!(all, each);
        assert!(!all.is_empty());
    }
}

#[test]
fn many_machines_are_planned_in_a_moment() {
    let peers = (0..20_000).map(|n| format!("\"m{n}\": {{\"host\": \"h\"}}"));
    let peers = peers.collect::<Vec<_>>().join(",");
    let clan = clan(&format!("{{\"net\": {{\"peers\": {{{peers}}}}}}}"));
    let began = std::time::Instant::now();
    assert_eq!(plans(&clan).filter(|(_, planned)| planned.is_ok()).count(), 20_000);
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn ties_keep_the_order_of_the_exports() {
    let text = r#"{"b": {"priority": 5, "peers": {"m": {"host": "b"}}},
                   "low": {"priority": -5, "peers": {"m": {"host": "low"}}},
                   "a": {"priority": 5, "peers": {"m": {"host": "a", "hosts": ["c", "a"]}}},
                   "c": {"priority": 6, "peers": {"m": {"host": "top"}}}}"#;
    let routes = routes(&clan(text), "m", &Overrides::default());
    let networks: Vec<&str> = routes.iter().map(|route| &route[..1]).collect();
    assert_eq!(networks, ["c", "b", "a", "a", "l"], "{routes:?}");
}

#[test]
#[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
fn the_real_exports_give_every_way_to_a_machine() {
    let Some(data) = crate::test_data::clan() else { return };
    let text = std::fs::read_to_string(data.join("exports/real-zerotier.json")).unwrap();
    let clan = clan(&text);
    assert_eq!(
        routes(&clan, "peer1", &Overrides::default()),
        [
            "p2p 3000 iroh root@<var: p2p-ssh-iroh-p2p/ticket> 22",
            "internet 2000 direct admin@peer1.example 45621",
            "yggdrasil 2000 direct root@202:80d:5952:e9f0:c92c:d726:5333:53c7 22",
            "wireguard 1000 direct root@peer1.wireguard 22",
            "zerotier 900 zerotier root@fd9c:ecf3:d17d:8a5:b299:939c:ecf3:d17d 22",
            "mycelium 800 direct root@42a:b024:1775:8724:78af:8b16:c99b:857b 22",
            "tor 10 tor root@<var: tor_tor/hostname> 22",
        ]
    );
    assert_eq!(routes(&clan, "outsider", &Overrides::default()).len(), 4);
    let tor = Overrides { network: Some("tor".into()), ..Overrides::default() };
    assert_eq!(routes(&clan, "peer1", &tor).len(), 1);
    assert_eq!(
        plan(&clan, "peer2", &tor).unwrap_err().to_string(),
        "machine \"peer2\" has no address: it is not in \"tor\" but in \
         internet, mycelium, p2p, wireguard, yggdrasil, zerotier"
    );
}

#[test]
fn the_network_option_takes_the_instance_with_or_without_its_service() {
    let clan = clan(MIXED);
    for (name, expected) in [
        ("zt", 1),
        ("office", 3),
        ("mine/vpn:office", 2),
        ("mine/tor:office", 1),
        ("mine/tor/office", 1),
        ("tor:office", 1),
    ] {
        let overrides = Overrides { network: Some(name.into()), ..Overrides::default() };
        assert_eq!(routes(&clan, "web", &overrides).len(), expected, "{name}");
    }
}

#[test]
fn user_and_port_of_the_command_line_win_over_all() {
    let overrides = Overrides { user: Some("me".into()), port: Some(1), ..Overrides::default() };
    for route in plan(&clan(MIXED), "web", &overrides).unwrap() {
        assert_eq!((route.user.as_str(), route.port), ("me", 1));
    }
    let zero = Overrides { port: Some(0), ..Overrides::default() };
    assert!(matches!(plan(&clan(MIXED), "web", &zero), Err(Error::Usage(_))));
}

#[test]
fn user_and_port_inside_a_host_win_over_the_peers() {
    assert_eq!(
        routes(&clan(MIXED), "db", &Overrides::default()),
        [
            "p2p 3000 iroh root@<var: p2p-ssh-iroh-p2p/ticket> 22",
            "mine/vpn:office 2000 direct backup@db.example 2200",
        ]
    );
    let overrides =
        Overrides { port: Some(7), network: Some("vpn:office".into()), ..Overrides::default() };
    assert_eq!(
        routes(&clan(MIXED), "db", &overrides),
        ["mine/vpn:office 2000 direct backup@db.example 7"]
    );
}

#[test]
fn a_target_host_is_the_only_route_and_needs_no_clan() {
    for (text, expected) in [
        ("198.51.100.7", "target-host 9223372036854775807 direct root@198.51.100.7 22"),
        ("me@[::1]:2200", "target-host 9223372036854775807 direct me@::1 2200"),
        ("abc.onion", "target-host 9223372036854775807 tor root@abc.onion 22"),
        ("ABC.Onion.:9", "target-host 9223372036854775807 tor root@ABC.Onion. 9"),
        ("onion", "target-host 9223372036854775807 direct root@onion 22"),
    ] {
        let target_host = Some(TargetHost::parse(text, |_| true).unwrap());
        let overrides = Overrides { target_host, ..Overrides::default() };
        assert_eq!(routes(&Clan::default(), "nobody", &overrides), [expected]);
        assert_eq!(routes(&clan(MIXED), "web", &overrides), [expected]);
    }
    let overrides = Overrides {
        target_host: Some(TargetHost::parse("you@host:1", |_| true).unwrap()),
        user: Some("me".into()),
        port: Some(2),
        ..Overrides::default()
    };
    assert!(routes(&Clan::default(), "m", &overrides)[0].ends_with("me@host 2"));
    let both = Overrides { network: Some("zt".into()), ..overrides };
    assert!(matches!(plan(&clan(MIXED), "web", &both), Err(Error::Usage(_))));
}

#[test]
fn an_onion_name_is_never_asked_of_dns() {
    let text = r#"{"internet": {"peers": {"m": {"hosts": ["x.onion", "x.example"]}}}}"#;
    let routes = routes(&clan(text), "m", &Overrides::default());
    assert!(routes[0].contains(" tor ") && routes[1].contains(" direct "), "{routes:?}");
}

#[test]
fn an_unknown_machine_gets_the_nearest_name() {
    let clan = clan(MIXED);
    assert_eq!(refusal(&clan, "wbe", None), "unknown machine \"wbe\", did you mean \"web\"?");
    assert_eq!(refusal(&clan, "elsewhere", None), "unknown machine \"elsewhere\"");
    assert_eq!(refusal(&Clan::default(), "web", None), "unknown machine \"web\"");
    let empty = Clan::parse("/home/joe\u{1b}/clan", b"{}").unwrap();
    assert_eq!(
        refusal(&empty, "web", None),
        "unknown machine \"web\": the clan has no machines (/home/joe\\u{1b}/clan)"
    );
    let Err(Error::UnknownMachine { known, .. }) = plan(&clan, "x", &Overrides::default()) else {
        panic!("x is unknown");
    };
    assert_eq!(known, ["web", "db", "build", "mail", "empty", "printer"]);
}

#[test]
fn an_unknown_network_gets_the_nearest_name() {
    let clan = clan(MIXED);
    assert_eq!(refusal(&clan, "web", Some("p2")), "unknown network \"p2\", did you mean \"p2p\"?");
    assert_eq!(refusal(&clan, "web", Some("wireguard")), "unknown network \"wireguard\"");
}

#[test]
fn entries_that_could_not_be_evaluated_are_named_as_the_reason() {
    let mut mixed = clan(MIXED);
    for key in ["vpn:a:peer:printer", "vpn:b::", "vpn:a:peer:other", "vpn:a:peer:new", "old"] {
        mixed.add_unevaluated(key);
    }
    mixed.add_unevaluated("tor:t:peer:new");
    mixed.refuse_target_host("other", "it is none".to_owned());
    let why = "could not be evaluated (its vars may not be generated yet)";
    for (machine, entries) in [
        ("printer", "exports entry \"vpn:a:peer:printer\""),
        ("new", "exports entries vpn:a:peer:new, tor:t:peer:new"),
        // It may have an address in a network that is not known.
        ("other", "exports entries vpn:b::, vpn:a:peer:other"),
    ] {
        let error = plan(&mixed, machine, &Overrides::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("machine {machine:?} has no address: {entries} {why}")
        );
        assert_eq!(error.hint(), [format!("generate its vars: clan vars generate {machine}")]);
    }
    let hints = plan(&mixed, "empty", &Overrides::default()).unwrap_err().hint();
    assert_eq!(hints, ["add the machine to a network of the clan, or name an address"]);
}

#[test]
fn a_machine_without_a_route_is_told_why() {
    let mixed = clan(MIXED);
    for (machine, network, reason) in [
        ("printer", None, "it is in no network of the clan"),
        ("printer", Some("zt"), "it is in no network of the clan"),
        ("empty", None, "no host for it in mine/vpn:office"),
        ("empty", Some("vpn:office"), "no host for it in mine/vpn:office"),
        ("db", Some("zt"), "it is not in \"zt\" but in mine/vpn:office, p2p"),
    ] {
        let text = refusal(&mixed, machine, network);
        assert_eq!(text, format!("machine {machine:?} has no address: {reason}"));
    }
}

#[test]
fn a_machine_that_is_only_in_malformed_entries_is_told_which() {
    let broken = clan(BROKEN);
    for (machine, entry) in [
        ("bad-port", "test: exports entry \"s:good:r:bad-port\", field peer.port"),
        ("bad-host", "no host for it in good; test: exports entry \"s:good:r:bad-host\""),
        ("bad-type", "test: exports entry \"s:good:r:bad-type\", field peer"),
        ("victim", "test: exports entry \"s:bad::\", field networking.priority"),
        ("orphan", "test: exports entry \"s:nowhere:r:orphan\", field networking"),
    ] {
        let text = refusal(&broken, machine, None);
        let start = format!("machine {machine:?} has no address: {entry}");
        assert!(text.starts_with(&start), "{text}");
    }
    assert!(refusal(&broken, "ok", Some("bad")).contains("test: exports entry \"s:bad::\""));
    assert_eq!(routes(&broken, "half", &Overrides::default()).len(), 1);
}

proptest::proptest! {
    #[test]
    fn every_plan_is_sorted_and_not_empty(at in 0_usize..4000, byte in proptest::num::u8::ANY) {
        let mut bytes = MIXED.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let clan = Clan::parse("x", &bytes).unwrap_or_default();
        for machine in clan.machines() {
            match plan(&clan, machine, &Overrides::default()) {
                Ok(routes) => {
                    assert!(!routes.is_empty());
                    assert!(routes.is_sorted_by_key(|route| Reverse(route.priority)));
                }
                Err(error) => assert!(matches!(error, Error::NoRoute { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn what_is_said_of_hosts_in_general_counts_where_the_clan_says_nothing() {
    let json = r#"{"net": {"module": "clan_lib.network.direct", "peers": {
        "said": {"host": {"plain": "a"}, "port": 2222, "user": "me"},
        "open": {"host": {"plain": "a"}}}}}"#;
    let clan = clan(json);
    let general = Overrides {
        default_user: Some("you".into()),
        default_port: Some(7),
        ..Overrides::default()
    };
    assert!(routes(&clan, "said", &general)[0].ends_with("me@a 2222"));
    // The port of a peer is always the clan's: 22 where nothing else is written.
    assert!(routes(&clan, "open", &general)[0].ends_with("you@a 22"));
    let target_host = Some(TargetHost::parse("host", |_| false).unwrap());
    let address = Overrides { target_host, ..general };
    assert!(routes(&clan, "open", &address)[0].ends_with("you@host 7"));
}
