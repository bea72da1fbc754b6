//! `clan select`: the cases of `clan_lib/flake`.

use serde_json::{Value, json};

use super::{in_clan, known};
use crate::clan_command::{clan, home};
use crate::harness::Home;

/// What a selector below `clan.exports` picks; `None` where it fails.
fn selected(home: &Home, selector: &str) -> Option<Value> {
    let done = in_clan(home, &["select", &format!("clan.exports.{selector}")]);
    match done.code {
        Some(0) => Some(serde_json::from_slice(&done.stdout).unwrap()),
        _ => {
            let done = done.exits(1).says(&["error: cannot select clan.exports."]);
            assert!(done.stdout.is_empty(), "{selector}");
            None
        }
    }
}

/// `clan_lib/flake/flake_test.py`, `test_select`; `clan_lib/flake/flake_cache_test.py`,
/// `test_get_nonexistent_after_maybe`.
#[test]
fn selectors_pick_what_they_do_in_clans_cache() {
    let home = home();
    let bla = json!({ "b": { "c": "bla" } });
    let exports = json!({
        "a": bla,
        "testdict": { "x": { "y": [123, 345, 456], "z": "bla" } },
        "testdict2": { "x": { "y": { "a": 1, "b": 2 }, "z": null }, "n": {} },
    });
    known(&home, &json!({}), &exports);
    for (selector, expected) in [
        ("a.b.c", json!("bla")),
        ("a.b", json!({ "c": "bla" })),
        ("a", bla.clone()),
        ("a.b.?c", json!({ "c": "bla" })),
        ("a.?b.?c", bla.clone()),
        ("a.?c", json!({})),
        ("a.?x.c", json!({})),
        ("a.*", bla.clone()),
        ("a.*.*", bla.clone()),
        ("a.*.c", json!({ "b": "bla" })),
        ("a.b.*", json!({ "c": "bla" })),
        ("a.{b}.c", json!({ "b": "bla" })),
        ("a.{b}.{c}", bla),
        ("a.b.{c}", json!({ "c": "bla" })),
        ("a.{?b}.c", json!({ "b": "bla" })),
        ("a.{?b,?x}.c", json!({ "b": "bla" })),
        ("testdict.x.z", json!("bla")),
        ("testdict.x.y.0", json!(123)),
        ("testdict2.n", json!({})),
        ("testdict2.?n", json!({ "n": {} })),
        ("testdict2.x.*.?a", json!({ "y": { "a": 1 } })),
        ("testdict2.x.{y,z}.?a", json!({ "y": { "a": 1 } })),
        ("testdict2.x.*", json!({ "y": { "a": 1, "b": 2 }, "z": null })),
        ("testdict2.x.z.?a", json!({})),
        ("testdict2.x.z.{?a}", json!({})),
        ("testdict2.x.z.{}", json!({})),
        ("?nonExist", json!({})),
    ] {
        assert_eq!(selected(&home, selector), Some(expected), "{selector}");
    }
    for selector in [
        "a.b.x",
        "a.b.c.x",
        "a.{b,x}.c",
        "testdict.x.z.z",
        "testdict.x.z.1",
        "testdict2.x.z.a",
        "testdict2.x.z.{a}",
        "testdict2.x.z.{a,?b}",
        "nonExist",
    ] {
        assert_eq!(selected(&home, selector), None, "{selector}");
    }
}

/// `clan_lib/flake/flake_test.py`, `test_conditional_all_selector`: its selector, below what
/// needs no nix.
#[test]
fn members_that_not_all_have_are_picked_where_they_are() {
    let home = home();
    let templates = json!({ "templates": { "disko": { "one": { "description": "d", "x": 1 } } } });
    let exports = json!({ "clan-core": { "clan": templates }, "nixpkgs": { "lib": {} } });
    known(&home, &json!({}), &exports);
    let selector = "*.{?clan,?missing}.templates.*.*.description";
    let expected = json!({
        "clan-core": { "clan": { "disko": { "one": "d" } } }, "nixpkgs": {},
    });
    for _ in 0..2 {
        assert_eq!(selected(&home, selector).as_ref(), Some(&expected));
    }
}

/// `clan_lib/flake/flake_test.py`, `test_out_path` and
/// `test_out_path_in_multiselect_raises_exception`.
#[test]
fn a_store_path_is_its_own_out_path_which_no_braces_may_hold() {
    let home = home();
    let path = "/nix/store/abc-bla";
    let x = json!({ "y": [123, 345, 456], "z": path, "s": "bla", "f": format!("{path}/file") });
    known(&home, &json!({}), &json!({ "x": x }));
    assert_eq!(selected(&home, "x.z"), Some(json!(path)));
    assert_eq!(selected(&home, "x.z.outPath"), Some(json!(path)));
    assert_eq!(selected(&home, "x.z.?outPath"), Some(json!({ "outPath": path })));
    for selector in ["x.s.outPath", "x.f.outPath", "x.z.outPath.outPath", "x.y.outPath"] {
        assert_eq!(selected(&home, selector), None, "{selector}");
    }
    for selector in ["{outPath}", "x.{y,outPath}", "a.b.{c,d,outPath,e}", "{?outPath}"] {
        in_clan(&home, &["select", selector]).exits(1).says(&["outPath cannot be in braces"]);
    }
}

/// `clan_lib/flake/flake_test.py`, `test_clan_select_error_*`: what nix says is told, its whole
/// message and nothing of the trace before it. Where Clan finds no message in nix's words it
/// tells none; here the end of them is shown.
#[test]
fn what_nix_says_of_a_selector_is_told_without_its_trace() {
    let home = home();
    home.write("clan/flake.nix", "{ outputs = _: { }; }");
    let nix = format!(
        "#!/bin/sh\ncase \" $* \" in\n*' prefetch '*) echo '{{\"hash\": \"sha256-x\", \
         \"storePath\": \"{}\"}}';;\n*) /bin/cat '{}' >&2; exit 1;;\nesac\n",
        home.path("clan").display(),
        home.path("message").display()
    );
    home.script("nix/nix", nix);
    let select = |message: &str| {
        home.write("message", message);
        let path = home.path("nix").display().to_string();
        clan(&home, &path, &["select", "foo.bar", "--flake", "clan"], &[]).exits(1)
    };
    let trace = "error:\n       … while calling the 'derivationStrict' builtin\n       \
                 … while evaluating the file 'foo.nix':\n\n       \
                 (stack trace truncated; use '--show-trace' to show the full trace)\n\n";
    let one = format!("{trace}       error: attribute 'foo' missing\n");
    let service = format!(
        "{trace}       error: Instance: 'instances.monitoring' uses the following roles:\n       \
         [\"telegraf\"]\n\n       But the clan-service module 'monitoring' only defines roles:\n       \
         [\"client\",\"server\"]\n\n       Error context: <clan-core>-monitoring\n\n"
    );
    let service_says = [
        "Instance: 'instances.monitoring' uses the following roles:",
        "[\"telegraf\"]",
        "But the clan-service module 'monitoring' only defines roles:",
        "[\"client\",\"server\"]",
        "Error context: <clan-core>-monitoring",
    ];
    let lines = "error: evaluation aborted with the following error message:\n\n       \
                 This is line 1.\n       This is line 2.\n       This is line 3.\n\n";
    let moved = "error:\n       The `coredns` clan service has been moved out of clan-core and now \
                 lives in\n       the `clan-community` flake.\n";
    let thrown = format!("{trace}       error:\n       The actual message lives here.\n");
    for (message, says) in [
        (one.as_str(), &["attribute 'foo' missing"][..]),
        (&service, &service_says),
        (lines, &["This is line 1.", "This is line 2.", "This is line 3."]),
        (moved, &["coredns", "clan-community"]),
        (&thrown, &["The actual message lives here."]),
        ("some other output without a pattern\n", &["some other output without a pattern"]),
    ] {
        let done = select(message).says(says);
        assert!(!done.stderr.contains("derivationStrict"), "{}", done.stderr);
        assert!(!done.stderr.contains("stack trace truncated"), "{}", done.stderr);
    }
}
