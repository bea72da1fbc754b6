use super::*;

const FLAKE: &str = include_str!("../../fixtures/select/flake.json");
const CASES: &str = include_str!("../../fixtures/select/cases.json");

fn select(text: &str, value: &Value) -> Option<String> {
    Some(to_json(&Selector::parse(text).ok()?.apply(value).ok()?))
}

#[test]
fn it_picks_and_prints_what_clans_own_code_does() {
    let flake: Value = serde_json::from_str(FLAKE).unwrap();
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    assert!(cases.len() > 30);
    for case in &cases {
        let selector = case["selector"].as_str().unwrap();
        let printed = case["printed"].as_str().map(str::to_owned);
        assert_eq!(select(selector, &flake), printed, "{selector}");
    }
}

/// `clan_lib/flake/flake_test.py`, `test_parse_selector`.
#[test]
fn the_grammar_is_that_of_clan() {
    let key = |text: &str| Step::Key(text.into());
    let member = |key: &str, maybe| Member { key: key.into(), maybe };
    for (text, steps) in [
        ("", vec![]),
        ("x", vec![key("x")]),
        ("?x", vec![Step::Maybe("x".into())]),
        ("\"x\"", vec![key("x")]),
        ("*", vec![Step::All]),
        ("{x}", vec![Step::Set(vec![member("x", false)])]),
        ("{x}.y", vec![Step::Set(vec![member("x", false)]), key("y")]),
        ("x.y.z", vec![key("x"), key("y"), key("z")]),
        ("x.*", vec![key("x"), Step::All]),
        ("*.x", vec![Step::All, key("x")]),
        ("x.*.z", vec![key("x"), Step::All, key("z")]),
        ("x.{y,z}", vec![key("x"), Step::Set(vec![member("y", false), member("z", false)])]),
        (
            "x.?zzz.{y,?z,x,*}",
            vec![
                key("x"),
                Step::Maybe("zzz".into()),
                Step::Set(vec![
                    member("y", false),
                    member("z", true),
                    member("x", false),
                    member("*", false),
                ]),
            ],
        ),
        (
            r#"x."?zzz".?zzz\.asd..{y,\?z,"x,",*}"#,
            vec![
                key("x"),
                key("?zzz"),
                Step::Maybe("zzz.asd".into()),
                key(""),
                Step::Set(["y", "?z", "x,", "*"].map(|key| member(key, false)).to_vec()),
            ],
        ),
        ("{?a,b}", vec![Step::Set(vec![member("a", true), member("b", false)])]),
        ("{,}", vec![Step::Set(vec![member("", false)])]),
        ("{\"\"}", vec![Step::Set(vec![member("", false)])]),
        ("{}", vec![Step::Set(vec![])]),
        ("x.", vec![key("x")]),
    ] {
        assert_eq!(Selector::parse(text).unwrap().steps, steps, "{text}");
    }
    for text in ["{", "\"", "\\", "x\\", "*x", "{a}b", "{outPath}", "x.{y,?outPath}", "{\"a}"] {
        let error = Selector::parse(text).unwrap_err().to_string();
        assert!(error.starts_with("invalid selector \""), "{error}");
    }
}

/// What the blog selects has an instance that exports nothing.
#[test]
fn the_blogs_selector_shows_an_empty_instance_as_the_blog_does() {
    let flake: Value = serde_json::from_str(FLAKE).unwrap();
    let text = "clan.exports.instances.*.networking.{priority,peers}";
    let printed: Value = serde_json::from_str(&select(text, &flake).unwrap()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&printed), ["blabla", "net", "tor"]);
    assert_eq!(printed["blabla"], serde_json::json!({}));
    assert_eq!(keys(&printed["tor"]), ["priority", "peers"]);
}

#[test]
fn an_error_names_the_place_and_what_is_missing() {
    let flake: Value = serde_json::from_str(FLAKE).unwrap();
    let error = Selector::parse("clan.exports.instances.tor.nothing").unwrap().apply(&flake);
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot select clan.exports.instances.tor.nothing: \
         in clan.exports.instances.tor there is no \"nothing\""
    );
    assert_eq!(error.exit_code(false), 1);
    assert!(error.hint()[0].contains('?'));
}

#[test]
fn a_name_that_need_not_be_there_is_not_there_in_what_has_no_names() {
    let value = serde_json::json!({"a": null, "b": 1, "c": "x", "d": {"y": null}});
    let apply = |text: &str| Selector::parse(text).unwrap().apply(&value);
    for text in ["a.?x", "b.?x", "c.{?x,?y}", "a.?x.y", "a.{}"] {
        assert_eq!(apply(text).unwrap(), serde_json::json!({}), "{text}");
    }
    assert_eq!(apply("d.?y").unwrap(), serde_json::json!({"y": null}));
    for text in ["a.x", "a.*", "c.{?x,y}", "b.0"] {
        assert!(apply(text).is_err(), "{text}");
    }
}

#[test]
fn an_error_names_the_way_to_where_it_failed_and_nothing_beside_it() {
    let flake = serde_json::json!({"clan": {"exports": {
        "net:net::": {"networking": {"priority": 1}, "none": {}},
        "net:net:default:web": {"networking": null},
    }}});
    let missing = serde_json::json!({"a": {"x": {"y": 1}}, "b": {"x": {}}});
    for (value, text, said) in [
        (
            &flake,
            "clan.exports.*.networking.priority",
            "clan.exports.net:net:default:web.networking: there is a single value, and nothing \
             below it",
        ),
        (&missing, "{a,b}.x.y", "b.x: there is no \"y\""),
        (&missing, "?a.x.z", "a.x: there is no \"z\""),
        (&missing, "c", "there is no \"c\""),
    ] {
        let error = Selector::parse(text).unwrap().apply(value).unwrap_err();
        let Error::Select { place, reason, .. } = &error else { panic!("{error}") };
        let place = if place.is_empty() { String::new() } else { place.join(".") + ": " };
        assert_eq!(format!("{place}{reason}"), said, "{error}");
    }
}

#[test]
fn a_path_of_the_store_is_told_from_others() {
    for (text, expected) in [
        ("/nix/store/abc-bla", true),
        ("/nix/store/0abc-a+b-c._?=9", true),
        ("/nix/store/abc-bla/file", false),
        ("/nix/store/abc-file.nix:42", false),
        ("/nix/store/abc", false),
        ("/nix/store/-bla", false),
        ("/nix/store/ABC-bla", false),
        ("a /nix/store/abc-bla", false),
        ("", false),
    ] {
        assert_eq!(is_store_path(text), expected, "{text}");
    }
}

#[test]
fn what_is_below_a_path_is_told_from_what_may_not_be() {
    let below = |text: &str| Selector::parse(text).unwrap().is_below(&["clan", "exports"]);
    for text in ["clan.exports", "clan.?exports", "clan.{exports}.*", "clan.{?exports}"] {
        assert!(below(text), "{text}");
    }
    for text in ["", "clan", "clan.*", "*.exports", "clan.{exports,meta}", "clanInternals.exports"]
    {
        assert!(!below(text), "{text}");
    }
}

#[test]
fn what_nix_has_sorted_comes_back_in_the_order_of_the_selector() {
    let value = serde_json::json!({"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}});
    let arranged = Selector::parse("c.*.{y,?z,x}").unwrap().arrange(value);
    assert_eq!(arranged.to_string(), r#"{"a":{"y":2,"x":1},"b":{"y":4,"x":3}}"#);
}

proptest::proptest! {
    #[test]
    fn no_selector_panics(text in r#"[a-c.*?{},"\\0-9]{0,20}|\PC*"#) {
        let flake: Value = serde_json::from_str(FLAKE).unwrap();
        if let Ok(selector) = Selector::parse(&text) {
            let _ = selector.apply(&flake);
            let shown = selector.apply(&serde_json::json!({"a": [1, {"b": {}}], "": "\u{1b}é"}));
            let is_ascii = shown.is_ok_and(|value| !to_json(&value).is_ascii());
            proptest::prop_assert!(!is_ascii);
        }
    }
}
