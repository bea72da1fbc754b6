use super::*;
use crate::options::is_for_addresses;

fn parse(text: &str) -> Result<TargetHost> {
    TargetHost::parse(text, is_for_addresses)
}

fn target(user: Option<&str>, host: &str, port: Option<u16>) -> TargetHost {
    TargetHost { user: user.map(str::to_owned), host: host.to_owned(), port, options: Vec::new() }
}

/// What `clan_lib/ssh/remote_test.py` expects of its ten addresses.
#[test]
fn the_ten_addresses_of_clans_own_test_are_parsed_as_clan_does() {
    for (name, text, expected) in [
        ("host_only", "example.com", Some(target(None, "example.com", None))),
        (
            "host_user_port",
            "user@example.com:22",
            Some(target(Some("user"), "example.com", Some(22))),
        ),
        ("cannot_parse_user_host_port", "foo@bar@wat", None),
        ("missing_hostname", "foo@:2222", None),
        ("invalid_ipv6", "user@fe80::1%eth0", None),
        ("valid_ipv6_without_port", "[fe80::1%eth0]", Some(target(None, "fe80::1%eth0", None))),
        (
            "valid_ipv6_with_port",
            "[fe80::1%eth0]:222",
            Some(target(None, "fe80::1%eth0", Some(222))),
        ),
        ("empty_options", "example.com?", Some(target(None, "example.com", None))),
        ("option_with_missing_value", "example.com?foo", None),
        (
            "options_with_@",
            "user@example.com?ProxyJump=root@foo&IdentityFile=/key",
            Some(TargetHost {
                options: [("ProxyJump", "root@foo"), ("IdentityFile", "/key")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec(),
                ..target(Some("user"), "example.com", None)
            }),
        ),
    ] {
        assert_eq!(parse(text).ok(), expected, "{name}");
    }
}

#[test]
fn every_written_form_of_an_address_is_understood() {
    for (text, expected) in [
        ("example.org", target(None, "example.org", None)),
        ("root@peer2.example:2222", target(Some("root"), "peer2.example", Some(2222))),
        ("198.51.100.7:22", target(None, "198.51.100.7", Some(22))),
        ("2001:db8::5", target(None, "2001:db8::5", None)),
        ("admin@[2001:db8::5]", target(Some("admin"), "2001:db8::5", None)),
        ("admin@[2001:db8::5]:65535", target(Some("admin"), "2001:db8::5", Some(65535))),
        ("[::1]", target(None, "::1", None)),
        ("fe80::1%eth0", target(None, "fe80::1%eth0", None)),
        ("[fe80::1%eth0]:1", target(None, "fe80::1%eth0", Some(1))),
        ("ssh://root@host:2200", target(Some("root"), "host", Some(2200))),
        ("ssh://host/", target(None, "host", None)),
        ("host?&", target(None, "host", None)),
    ] {
        let parsed = parse(text).unwrap();
        assert_eq!(parsed, expected, "{text}");
        assert_eq!(parse(&parsed.to_string()).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_could_be_an_option_or_a_mistake_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "the host is empty"),
        ("@host", "the user is empty"),
        ("root@", "the host is empty"),
        (":22", "the host is empty"),
        ("host:", "port"),
        ("host:0", "port"),
        ("host:65536", "port"),
        ("host:+22", "port"),
        ("host:ssh", "port"),
        ("[::1]:", "port"),
        ("[::1]22", "after the bracket"),
        ("[::1", "not closed"),
        ("[host]:22", "only an IPv6 address"),
        ("[fe80::1%]:1", "only an IPv6 address"),
        ("fe80::1%eth0:22", "brackets"),
        ("2001:db8::5:99999", "brackets"),
        ("-oProxyCommand=x", "starts with -"),
        ("root@-host", "starts with -"),
        ("-l@host", "the user starts with -"),
        ("a b", "space"),
        (" host", "space"),
        ("host\n", "control"),
        ("ho\0st", "control"),
        ("host/path", "'/'"),
        ("ssh://", "empty"),
        ("ssh://-x", "starts with -"),
        ("user@corp@host", "more than one @"),
        ("admin@2001:db8::5", "brackets"),
        ("host?a b=c", "not a word"),
        ("host?a=", "no usable value"),
        ("host?a=b\n", "no usable value"),
        ("host?=b", "not a word"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    assert!(parse(&"x".repeat(1024)).is_ok());
    assert!(parse(&"x".repeat(1025)).is_err());
    assert!(parse(&format!("{}@h", "x".repeat(256))).is_err());
}

#[test]
fn options_of_an_address_are_refused_by_name_and_not_by_value() {
    for (text, name) in [
        ("ssh://root@host:22?ProxyCommand=rm%20x&User=y", "ProxyCommand"),
        ("host?User=y&proxycommand=rm", "proxycommand"),
        ("host?LocalCommand=rm", "LocalCommand"),
        ("host?pkcs11provider=/rm.so", "pkcs11provider"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(matches!(error, Error::Usage(_)));
        let text = error.to_string();
        assert!(text.ends_with(&format!("option {name} is not taken from an address")), "{text}");
        assert!(!text.contains("rm"), "{text}");
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_shown() {
    for text in ["root:hunter2@host", "ssh://root:hunter2@host:22", "root:hunter2@host?x=y"] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with("invalid target host \"host"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for text in ["root:?hunter2@host", "host?hunter2", "root@host?x=y&hunter2"] {
        let error = parse(text).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_what_is_accepted_reads_back(text in "\\PC*|[a-z0-9@:\\[\\]%?./-]{0,30}") {
        if let Ok(target) = parse(&text) {
            proptest::prop_assert!(!target.host.is_empty() && !target.host.starts_with('-'));
            proptest::prop_assert!(target.port != Some(0));
            if text.len() < 200 && text.is_ascii() {
                proptest::prop_assert_eq!(parse(&target.to_string()).unwrap(), target);
            }
        }
    }
}
