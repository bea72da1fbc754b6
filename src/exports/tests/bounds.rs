//! Documents that are too large, not JSON, or anything at all.

use proptest::prelude::*;
use serde_json::{Map, Number};

use super::*;

#[test]
fn a_document_that_is_unusable_as_a_whole_is_one_clear_error() {
    for (bytes, expected) in [
        (b"".as_slice(), "x.json: empty"),
        (b" \n", "x.json: empty"),
        (b"{", "x.json: not valid JSON: EOF"),
        (b"{}{}", "x.json: not valid JSON: trailing"),
        (b"\xff", "x.json: not valid JSON"),
        (b"[]", "x.json: expected an object, found a list"),
        (b"null", "x.json: expected an object, found null"),
        (b"{\"exports\": 5}", "x.json: exports: expected an object, found a number"),
        (b"{\"exports\": {\"instances\": []}}", "x.json: instances: expected an object"),
    ] {
        let error = Clan::parse("x.json", bytes).unwrap_err();
        assert!(matches!(error, Error::Exports { .. }));
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let error = Clan::parse("a\x1b[2J", b"").unwrap_err().to_string();
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

#[test]
fn size_depth_and_count_are_bounded() {
    let spaces = vec![b' '; MAX_BYTES + 1];
    assert!(Clan::parse("x", &spaces).unwrap_err().to_string().contains("larger than"));
    let zeros = format!("{{\"a\": [{}0]}}", "0,".repeat(MAX_VALUES));
    assert!(Clan::parse("x", zeros.as_bytes()).unwrap_err().to_string().contains("values"));
    let deep = "[".repeat(1 << 19);
    assert!(Clan::parse("x", deep.as_bytes()).unwrap_err().to_string().contains("recursion"));
}

#[test]
fn so_many_networks_are_no_clans() {
    let of = |count: usize| {
        let networks: Vec<String> =
            (0..count).map(|at| format!(r#""n{at}": {{"peers": {{}}}}"#)).collect();
        Clan::parse("x", format!("{{{}}}", networks.join(",")).as_bytes())
    };
    assert_eq!(of(MAX_NETWORKS).unwrap().networks.len(), MAX_NETWORKS);
    let error = of(MAX_NETWORKS + 1).unwrap_err().to_string();
    assert!(error.contains("more than 500 networks"), "{error}");
}

#[test]
fn quoted_text_does_not_count_as_values() {
    assert_eq!(values(br#"{"a,[{\",": [1, 2], "b\\": {}}"#), 6);
    assert!(values(br#"{"a": [1, [2, 3], {}]}"#) >= 7);
}

#[test]
fn problems_are_bounded_too() {
    let peers: Vec<String> = (0..20_000).map(|i| format!("\"m{i}\": 1")).collect();
    let clan = clan(&format!(r#"{{"n": {{"peers": {{{}}}}}}}"#, peers.join(",")));
    assert_eq!(clan.problems.len(), 10_000);
    assert!(clan.knows("m19999"));
}

#[test]
fn ten_thousand_peers_are_no_burden() {
    let peers: Vec<String> = (0..10_000)
        .map(|i| format!("\"s:n:r:m{i}\": {{\"peer\": {{\"host\": \"h{i}\"}}}}"))
        .collect();
    let clan = clan(&format!("{{\"s:n::\": {{\"networking\": {{}}}},{}}}", peers.join(",")));
    assert_eq!(clan.networks[0].peers.len(), 10_000);
    assert_eq!(clan.machines().len(), 10_000);
}

/// Wording that mean something, so that arbitrary documents reach the code behind.
fn word() -> impl Strategy<Value = String> {
    let words = vec![
        "exports",
        "instances",
        "networking",
        "peer",
        "peers",
        "host",
        "hosts",
        "plain",
        "var",
        "machine",
        "generator",
        "file",
        "port",
        "user",
        "priority",
        "module",
        "SSHOptions",
        "s:n::",
        "s:n:r:m",
        "s:n::m",
        ":::",
        "::::",
        "m",
        "tor",
        "clan_lib.network.tor",
        "clan_lib.network.p2p_ssh_iroh",
        "-x",
        "",
        "a b",
        "192.0.2.1",
        "[::1]:22",
        "..",
    ];
    prop_oneof![4 => prop::sample::select(words).prop_map(str::to_owned), 1 => ".{0,12}"]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::Number)),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 96, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            4 => prop::collection::vec((word(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// What holds for every clan, however it came about.
fn check(clan: &Clan) {
    for network in &clan.networks {
        assert!(network.answers_to(&network.label));
        for peer in &network.peers {
            assert!(peer.port != 0 && !peer.machine.starts_with('-') && clan.knows(&peer.machine));
            for host in &peer.hosts {
                if let Host::Plain(host) = host {
                    assert!(!host.starts_with('-') && !host.is_empty());
                    assert!(!host.chars().any(|c| c.is_control() || c.is_whitespace()));
                }
            }
        }
    }
    for problem in &clan.problems {
        assert!(matches!(problem, Error::ExportEntry { .. }));
        let text = problem.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

/// Puts `value` in place of the `at`th value of the document, counted depth first.
fn replace(document: &mut Value, at: &mut usize, value: &Value) {
    if *at == 0 {
        *document = value.clone();
        *at = usize::MAX;
        return;
    }
    *at -= 1;
    match document {
        Value::Array(list) => list.iter_mut().for_each(|inner| replace(inner, at, value)),
        Value::Object(map) => map.values_mut().for_each(|inner| replace(inner, at, value)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn arbitrary_json_never_panics(document in json()) {
        if let Ok(clan) = Clan::parse("x", document.to_string().as_bytes()) {
            check(&clan);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Clan::parse("x", &bytes);
    }

    #[test]
    fn a_document_with_one_value_replaced_never_panics(
        which in 0_usize..4, at in 0_usize..250, value in json(),
    ) {
        let text = match which {
            0 => real_or("real-zerotier.json", MIXED),
            1 => real_or("python-test-old-2025.json", BY_HAND),
            2 => BLOG.to_owned(),
            _ => MIXED.to_owned(),
        };
        let mut document: Value = serde_json::from_str(&text).unwrap();
        replace(&mut document, &mut at.clone(), &value);
        if let Ok(clan) = Clan::parse("x", document.to_string().as_bytes()) {
            check(&clan);
        }
    }

    #[test]
    fn a_document_with_one_byte_changed_never_panics(at in 0_usize..4000, byte in any::<u8>()) {
        let mut bytes = real_or("real.json", MIXED).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(clan) = Clan::parse("x", &bytes) {
            check(&clan);
        }
    }
}
