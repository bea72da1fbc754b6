//! Entries that cannot be used: each is named, none takes another down.

use super::*;

const BROKEN: &str = include_str!("../../../fixtures/exports/broken.json");

#[test]
fn every_mistake_is_named_and_the_good_peers_stay() {
    let clan = clan(BROKEN);
    assert_eq!(
        summary(&clan),
        ["good 5 direct ok=192.0.2.1:22@- bad-host=:22@- \
         half=192.0.2.4:22@- bad-var=:22@-"]
    );
    assert_eq!(
        problems(&clan),
        [
            "test: exports entry \"s:bad::\", field networking.priority: \
             expected an integer, found a string",
            "test: exports entry \"s:scalar::\", field value: expected an object, found a number",
            "test: exports entry \"s:good:r:bad-port\", field peer.port: 0 is not within 1 to 65535",
            "test: exports entry \"s:good:r:bad-user\", field peer.user: the user starts with -",
            "test: exports entry \"s:good:r:bad-host\", field peer.hosts.0.plain: \
             the host starts with -",
            "test: exports entry \"s:good:r:half\", field peer.hosts.0.plain: \
             the host holds a space or a control character",
            "test: exports entry \"s:good:r:bad-var\", field peer.hosts.0.var.generator: \
             invalid var name \"..\": a component is . or ..",
            "test: exports entry \"s:good:r:bad-type\", field peer: \
             expected an object, found a string",
            "test: exports entry \"s:good:r:-dash\", field peer.machine: \
             the name starts with -",
            "test: exports entry \"s:nowhere:r:orphan\", field networking: \
             the network is declared nowhere, expected an entry \"s:nowhere::\"",
        ]
    );
    for machine in ["bad-port", "half", "victim", "orphan"] {
        assert!(clan.knows(machine), "{machine}");
        assert_eq!(clan.problems_of(machine).count(), 1, "{machine}");
    }
    assert_eq!(clan.problems_of("ok").count(), 0);
    assert!(!clan.knows("-dash"));
    assert!(clan.problem_of_network("s:bad").is_some());
    assert!(clan.problem_of_network("good").is_none());
}

/// One wrong field of a peer of the old shape, and what the problem says.
#[test]
fn every_field_of_a_peer_is_checked() {
    let long = format!("\"{}\"", "x".repeat(1025));
    let name = format!("\"{}\"", "x".repeat(256));
    let hosts = format!("[{}]", vec!["\"a\""; 65].join(","));
    for (field, value, expected) in [
        ("port", "65536", "peers.m.port: 65536 is not within"),
        ("port", "-1", "peers.m.port: -1 is not within"),
        ("port", "22.5", "peers.m.port: 22.5 is not within"),
        ("port", "1e99", "peers.m.port"),
        ("port", "\"22\"", "peers.m.port: expected a number, found a string"),
        ("user", "[]", "peers.m.user: expected a string, found a list"),
        ("user", "\"\"", "peers.m.user: the user is empty"),
        ("user", "\"a\\nb\"", "peers.m.user: the user holds"),
        ("user", &name, "peers.m.user: the user is longer than 255 bytes"),
        ("hosts", "{}", "peers.m.hosts: expected a list, found an object"),
        ("hosts", &hosts, "peers.m.hosts: 65 hosts"),
        ("hosts", "[1]", "peers.m.hosts.0: expected an object"),
        ("hosts", "[{}]", "peers.m.hosts.0: has neither plain nor var"),
        ("hosts", "[{\"plain\": \"a\"}, {\"plain\": 1}]", "peers.m.hosts.1.plain: expected"),
        ("host", "true", "peers.m.host: expected an object"),
        ("host", "\" \\n\"", "peers.m.host: the host is empty"),
        ("host", "\"a\\u001b[2J\"", "peers.m.host: the host holds"),
        ("host", "\"a\\u0000\"", "peers.m.host: the host holds"),
        ("host", "\"a\\u009b\"", "peers.m.host: the host holds"),
        ("host", "\"a\\u00a0b\"", "peers.m.host: the host holds"),
        ("host", "\"a/b\"", "peers.m.host: the host holds '/'"),
        ("host", "\"$(touch${IFS}x)\"", "peers.m.host: the host holds '$'"),
        ("host", "\"127.0.0.1;x\"", "peers.m.host: the host holds ';'"),
        ("host", "\"a|b\"", "peers.m.host: the host holds '|'"),
        ("host", "\"a,b\"", "peers.m.host: the host holds ','"),
        ("host", "\"$AGE_KEY@a\"", "peers.m.host: the user holds '$'"),
        ("user", "\"`x`\"", "peers.m.user: the user holds '`'"),
        ("user", "\"$AGE_KEY\"", "peers.m.user: the user holds '$'"),
        ("user", "\"a b\"", "peers.m.user: the user holds ' '"),
        ("host", "\"a?ProxyCommand=x\"", "peers.m.host: option ProxyCommand is not taken"),
        ("host", &long, "peers.m.host: the host is longer than 1024 bytes"),
        ("host", "{\"var\": \"a/b\"}", "peers.m.host.var: expected an object"),
        ("host", "{\"var\": {\"file\": \"f\"}}", "peers.m.host.var.generator: missing"),
        ("host", "{\"var\": {\"generator\": \"g\"}}", "peers.m.host.var.file: missing"),
        ("host", "{\"var\": {\"generator\": 1}}", "peers.m.host.var.generator: expected"),
        ("host", "{\"var\": {\"generator\": \"g\", \"file\": \"../f\"}}", "peers.m.host.var.file"),
        (
            "host",
            "{\"var\": {\"machine\": \"a/b\", \"generator\": \"g\", \"file\": \"f\"}}",
            "peers.m.host.var.machine",
        ),
    ] {
        let text = format!(
            r#"{{"bad": {{"peers": {{"m": {{"{field}": {value}}}, "n": {{"host": "n"}}}}}},
                 "good": {{"peers": {{"m": {{"host": "m"}}}}}}}}"#
        );
        let clan = clan(&text);
        let problems = problems(&clan);
        assert_eq!(problems.len(), 1, "{field} {value}: {problems:?}");
        assert!(
            problems[0].starts_with(&format!("test: exports entry \"bad\", field {expected}")),
            "{field} {value}: {problems:?}"
        );
        assert!(!problems[0].chars().any(char::is_control), "{problems:?}");
        assert_eq!(clan.networks.len(), 2);
        assert!(summary(&clan)[0].ends_with("n=n:22@-"), "{:?}", summary(&clan));
        assert_eq!(summary(&clan)[1], "good 1000 direct m=m:22@-");
    }
}

#[test]
fn every_field_of_a_network_is_checked() {
    for (field, value, expected) in [
        ("priority", "\"1\"", "priority: expected an integer, found a string"),
        ("priority", "1.5", "priority: expected an integer of 64 bits, found 1.5"),
        ("priority", "9223372036854775808", "priority: expected an integer of 64 bits"),
        ("module", "1", "module: expected a string, found a number"),
        ("module", "\"\"", "module: the name is empty"),
        ("module", "\"a\\u001b\"", "module: the name holds a control character"),
        ("peers", "[]", "peers: expected an object, found a list"),
    ] {
        for (key, prefix, text) in [
            ("bad", "", format!(r#"{{"bad": {{"priority": 1, "{field}": {value}}}}}"#)),
            (
                "s:bad::",
                "networking.",
                format!(r#"{{"s:bad::": {{"networking": {{"{field}": {value}}}}}}}"#),
            ),
        ] {
            let clan = clan(&text);
            let problems = problems(&clan);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            let start = format!("test: exports entry {key:?}, field {prefix}{expected}");
            assert!(problems[0].starts_with(&start), "{problems:?}");
        }
    }
    let extremes =
        r#"{"a": {"priority": 9223372036854775807}, "b": {"priority": -9223372036854775808}}"#;
    let priorities: Vec<i64> = clan(extremes).networks.iter().map(|n| n.priority).collect();
    assert_eq!(priorities, [i64::MAX, i64::MIN]);
}

#[test]
fn names_that_could_harm_a_terminal_or_a_command_are_refused_and_escaped() {
    let long = "x".repeat(256);
    let foul = ["$(x)", "a;b", "a b", "a|b", "`x`", "a&b", "a\\\\b", "a\\u202eb", "a\\u200bb"];
    let names = ["", "-x", "a\\u0000b", "a\\u001b[2J", "a\\nb", "a/b", "..", &long];
    for name in names.into_iter().chain(foul) {
        let clan = clan(&format!(r#"{{"net": {{"peers": {{"{name}": {{"host": "h"}}}}}}}}"#));
        assert_eq!(clan.problems.len(), 1, "{name:?}");
        assert_eq!(clan.networks[0].peers, []);
        let text = clan.problems[0].to_string();
        assert!(!text.chars().any(char::is_control) && text.len() < 600, "{text:?}");
    }
    for key in ["a\\u001b[2J", &long, &"y".repeat(1 << 16)] {
        let clan = clan(&format!(r#"{{"{key}": {{"peers": {{"m": {{"host": "h"}}}}}}}}"#));
        assert_eq!(clan.networks, []);
        assert_eq!(clan.problems_of("m").count(), 1);
        let text = clan.problems[0].to_string();
        assert!(!text.chars().any(char::is_control) && text.len() < 600, "{text:?}");
    }
}

#[test]
fn a_network_declared_twice_keeps_the_first() {
    let text = r#"{"s:n::": {"networking": {"priority": 1}},
                   "s:n:r:": {"networking": {"priority": 2}},
                   "s:n:r:m": {"peer": {"host": "h"}}}"#;
    let clan = clan(text);
    assert_eq!(summary(&clan), ["n 1 direct m=h:22@-"]);
    assert!(problems(&clan)[0].ends_with("the network is already declared"));
}

#[test]
fn options_for_ssh_are_ignored_with_a_warning() {
    for options in ["[\"-J x\"]", "[\"a\\u001bb\"]", "\"-J x\"", "{\"ProxyCommand\": \"x\"}"] {
        for spelling in ["SSHOptions", "sshoptions"] {
            let clan = clan(&format!(
                r#"{{"n": {{"peers": {{"m": {{"host": "h", "{spelling}": {options}}}}}}}}}"#
            ));
            assert_eq!(summary(&clan), ["n 1000 direct m=h:22@-"]);
            assert_eq!(clan.warnings.len(), 1, "{options}");
            assert!(!clan.warnings[0].chars().any(char::is_control));
        }
    }
}

#[test]
fn an_iroh_instance_whose_ticket_cannot_be_named_is_a_problem() {
    let text = r#"{"a/b": {"module": "clan_lib.network.p2p_ssh_iroh", "peers": {"m": {}}}}"#;
    let clan = clan(text);
    assert_eq!(clan.problems_of("m").count(), 1);
    assert!(problems(&clan)[0].contains("field peers.m.hosts: invalid var name"));
}
