use super::session::EscapeChar;
use super::*;

fn options(lines: &[&str]) -> Options {
    let mut options = Options::default();
    for line in lines {
        options.line(line).unwrap();
    }
    options
}

/// What is wrong with a line, without where it is.
fn mistake(line: &str) -> String {
    let error = Options::default().line(line).unwrap_err().to_string();
    let why = error.strip_prefix("command-line").unwrap_or(&error);
    why.trim_start_matches(':').trim_start().trim_start_matches("line 0: ").to_owned()
}

/// The lines of `ssh -G` about what a line says.
fn shown(line: &str) -> Vec<String> {
    let row = find(line.split([' ', '=']).next().unwrap()).unwrap();
    options(&[line]).shown(row).iter().map(|words| words.join(" ")).collect()
}

#[test]
fn every_name_is_of_one_row_and_every_row_is_explained() {
    let mut names = std::collections::HashSet::new();
    for row in TABLE {
        for name in [&[row.name], row.facts.aliases].concat() {
            assert!(names.insert(name.to_ascii_lowercase()), "{name} is there twice");
            assert!(std::ptr::eq(find(&name.to_ascii_uppercase()).unwrap(), row), "{name}");
        }
        let about = row.about.trim();
        assert!(about.starts_with(|first: char| first.is_uppercase()), "{}: {about}", row.name);
        assert!(!about.ends_with('.') && about.len() > 10, "{}: {about}", row.name);
    }
    assert!(names.len() > 110, "{}", names.len());
    assert!(!table::OBSOLETE.iter().any(|name| names.contains(*name)));
}

#[test]
fn letters_are_known_to_the_command_line_with_and_without_arguments() {
    use crate::openssh::arguments::{ALONE, WITH_ARGUMENT};
    for row in TABLE {
        for (letter, says) in row.facts.letters {
            // What has an argument for one option may say a word to another.
            let is_argument = |row: &Row| matches!(row.letter(*letter), Some(Says::Argument(_)));
            let letters = if TABLE.iter().any(is_argument) { WITH_ARGUMENT } else { ALONE };
            assert!(letters.contains(*letter), "-{letter} of {}", row.name);
            if let Says::First(word) | Says::Now(word) = says {
                Options::default().line(&format!("{} {word}", row.name)).unwrap();
            }
            if let Says::Next(words) = says {
                words.iter().for_each(|word| {
                    Options::default().line(&format!("{} {word}", row.name)).unwrap();
                });
            }
        }
    }
}

#[test]
fn the_first_line_counts_or_every_one() {
    let said = options(&["Port=3", "port 4", "PORT=5", "IdentityFile a", "IdentityFile=b"]);
    assert_eq!(said.port, std::num::NonZeroU16::new(3));
    assert_eq!(said.identity_file, [Template::new("a"), Template::new("b")]);
    let said =
        options(&["SendEnv A B*", "SendEnv C", "SendEnv -A", "SetEnv A=1 A=2", "SetEnv B=3"]);
    assert!(!said.send_env.has("A") && said.send_env.has("Bx") && said.send_env.has("C"));
    assert_eq!(said.set_env.unwrap().0, [("A".to_owned(), "1".to_owned())]);
    // Of two ways to the host the first counts. `ProxyCommand none` is a way, but `ProxyJump
    // none` is none, except to a later ProxyJump (`ssh -G` of OpenSSH 9.2).
    for (lines, jumps, command) in [
        (&["ProxyJump a,b", "ProxyCommand c"][..], true, false),
        (&["ProxyCommand c", "ProxyJump a"], false, true),
        (&["ProxyJump none", "ProxyCommand c"], false, true),
        (&["ProxyCommand c", "ProxyJump none"], false, true),
        (&["ProxyCommand none", "ProxyJump a"], false, false),
        (&["ProxyJump a", "ProxyCommand none"], true, false),
        (&["ProxyJump none", "ProxyJump a"], false, false),
        (&["ProxyJump none", "ProxyCommand none", "ProxyJump a"], false, false),
        (&["ProxyJump none", "ProxyJump a", "ProxyCommand c"], false, true),
        (&["ProxyJump none", "ProxyCommand c", "ProxyJump a"], false, true),
    ] {
        let said = options(lines);
        assert_eq!(Maybe::of(&said.proxy_jump).is_some(), jumps, "{lines:?}");
        assert_eq!(Maybe::of(&said.proxy_command).is_some(), command, "{lines:?}");
    }
}

#[test]
fn what_nobody_says_has_its_default() {
    let none = Options::default();
    assert_eq!(none.strict_host_key_checking(), crate::ssh::hostkey::HostKeyCheck::Ask);
    assert!(none.tcp_keep_alive() && !none.batch_mode());
    assert_eq!(none.escape_char(), EscapeChar(Some(b'~')));
    assert_eq!(none.log_level(), LogLevel::Info);
    assert_eq!(none.algorithms(), crate::ssh::algorithms::Algorithms::default());
    assert_eq!(
        options(&["UserKnownHostsFile x"]).shown(find("UpdateHostKeys").unwrap()),
        [["false"]]
    );
    assert_eq!(none.shown(find("UpdateHostKeys").unwrap()), [["true"]]);
}

#[test]
fn mistakes_are_said_in_the_words_of_openssh() {
    for (line, why) in [
        ("Nonsense x", "Bad configuration option: nonsense"),
        ("Port x", "Bad port 'x'."),
        ("Port 0", "Bad port '0'."),
        ("Port +1", "Bad port '+1'."),
        ("Port 1 2", "keyword port extra arguments at end of line"),
        ("Compression", "no argument after keyword \"compression\""),
        ("ProxyCommand", "no argument after keyword \"proxycommand\""),
        ("Compression maybe", "unsupported option \"maybe\"."),
        ("AddressFamily inet5", "unsupported option \"inet5\"."),
        ("StrictHostKeyChecking tofu", "unsupported option \"tofu\"."),
        ("ConnectTimeout soon", "invalid time value."),
        ("ServerAliveCountMax x", "integer value invalid."),
        ("NumberOfPasswordPrompts -1", "integer value too small."),
        ("NumberOfPasswordPrompts 4294967296", "integer value too large."),
        ("RekeyLimit x", "Bad number 'x': Invalid argument"),
        ("RekeyLimit 15", "RekeyLimit too small"),
        ("RekeyLimit 1G x", "invalid time value."),
        ("StreamLocalBindMask 9", "Bad mask."),
        ("EscapeChar xx", "Bad escape character."),
        ("LogLevel loud", "unsupported log level 'loud'"),
        ("SyslogFacility foo", "unsupported log facility 'foo'"),
        ("ControlPersist x", "Bad ControlPersist argument."),
        ("AddKeysToAgent confirm x", "unsupported option"),
        ("CanonicalizePermittedCNAMEs x", "Invalid permitted CNAME \"x\""),
        ("CanonicalDomains a..b", "domain name \"a..b\" contains consecutive separators"),
        (
            "UserKnownHostsFile none x",
            "keyword userknownhostsfile \"none\" argument must appear alone.",
        ),
        ("PermitRemoteOpen x", "bad port number in permitremoteopen"),
        ("LocalForward 1", "Missing target argument."),
        ("RemoteForward x", "Bad forwarding specification."),
        ("DynamicForward x", "Bad forwarding specification."),
        ("SetEnv x", "Invalid SetEnv."),
        ("SendEnv a=b", "Invalid environment name."),
        ("FingerprintHash foo", "Invalid hash algorithm \"foo\"."),
        ("User \"x", "invalid quotes"),
        ("User \"\"", "Missing argument."),
        ("UserKnownHostsFile \"\"", "keyword userknownhostsfile empty argument"),
    ] {
        assert_eq!(mistake(line), why, "{line}");
    }
    assert!(mistake("Ciphers foo").starts_with("Bad SSH2 cipher spec 'foo'"));
    assert!(mistake("HostKeyAlgorithms +foo").starts_with("Bad key types '+foo'"));
    let structure = mistake("Host x");
    assert_eq!(structure, "Host directive not supported as a command-line option");
    let file = Origin::line(Path::new("/x/config"), 3);
    let error = |name, rest| Options::default().set(name, rest, &file).unwrap_err().to_string();
    assert_eq!(error("Port", "x"), "/x/config line 3: Bad port 'x'.");
    assert_eq!(error("Foo", "x"), "/x/config: line 3: Bad configuration option: foo");
    let pair = Options::default().pair("Port", "x", "--ssh-option").unwrap_err().to_string();
    assert_eq!(pair, "--ssh-option Port: Bad port 'x'.");
}

#[test]
fn values_are_shown_as_openssh_shows_them() {
    for (line, lines) in [
        ("RekeyLimit 1G 1h", &["1073741824 3600"][..]),
        ("RekeyLimit default none", &["0 0"]),
        ("ConnectTimeout 1h", &["3600"]),
        ("ConnectTimeout none", &["none"]),
        ("ControlPersist 0", &["yes"]),
        ("ControlPersist 1h", &["3600"]),
        ("AddKeysToAgent confirm 1m", &["confirm 60"]),
        ("AddKeysToAgent 1m", &["60"]),
        ("AddKeysToAgent yes", &["true"]),
        ("StrictHostKeyChecking off", &["false"]),
        ("VerifyHostKeyDNS ask", &["ask"]),
        ("UpdateHostKeys ask", &["ask"]),
        ("RequestTTY YES", &["true"]),
        ("Compression TRUE", &["yes"]),
        ("RevokedHostKeys none", &[]),
        ("RevokedHostKeys a b", &["a b"]),
        ("ControlPath none", &[]),
        ("SetEnv A=b C=d", &["A=b", "C=d"]),
        ("RemoteForward 8080", &["8080 [socks]:0"]),
        ("LocalForward 8080 h:80", &["8080 [h]:80"]),
        ("DynamicForward [::1]:1080", &["[::1]:1080"]),
        ("EscapeChar ^]", &["\\^]"]),
        ("EscapeChar none", &["none"]),
        ("LogLevel debug1", &["DEBUG"]),
        ("StreamLocalBindMask 117", &["0117"]),
        ("CanonicalDomains none", &["none"]),
        ("ProxyCommand nc \"%h\" # %p", &["nc \"%h\" # %p"]),
    ] {
        assert_eq!(shown(line), lines, "{line}");
    }
}

#[test]
fn what_nobody_knows_is_a_mistake_unless_it_is_of_the_past_or_named() {
    let mut said = options(&["IgnoreUnknown Fancy*,other"]);
    for line in ["FancyOption 1", "OTHER 2", "Protocol 2", "UseRoaming no"] {
        said.line(line).unwrap();
    }
    assert!(said.line("Else 1").is_err());
    let origin = Origin::command_line();
    assert!(said.check("FancyOption", "1", &origin).is_ok());
    assert!(said.check("Port", "x", &origin).is_err());
    assert!(said.check("Port", "5", &origin).is_ok() && said.port.is_none());
}

#[test]
fn an_address_starts_no_program_and_opens_nothing() {
    for name in [
        "ProxyCommand",
        "proxycommand",
        "LocalCommand",
        "PermitLocalCommand",
        "KnownHostsCommand",
        "PKCS11Provider",
        "SmartcardDevice",
        "SecurityKeyProvider",
        "XAuthLocation",
        "ControlPath",
        "IdentityAgent",
        "ForwardAgent",
        "ForwardX11",
        "RemoteForward",
        "LocalForward",
        "DynamicForward",
        "SendEnv",
        "StreamLocalBindMask",
        "StreamLocalBindUnlink",
        "PermitRemoteOpen",
        "SessionType",
        "LogLevel",
        "Include",
        "Match",
    ] {
        assert!(!is_for_addresses(name), "{name}");
    }
    for name in ["ProxyJump", "Port", "StrictHostKeyChecking", "Ciphers", "Nonsense"] {
        assert!(is_for_addresses(name), "{name}");
    }
}

#[test]
fn what_was_said_can_be_said_again() {
    for line in [
        "ProxyCommand none",
        "ProxyCommand nc \"%h\" # %p",
        "ProxyJump none",
        "ProxyJump a@b:1,[::1]:2",
        "ControlPath none",
        "RevokedHostKeys none",
        "RevokedHostKeys a \"b c\"",
        "UserKnownHostsFile none",
        "EscapeChar ^]",
        "EscapeChar none",
        "EscapeChar ~",
        "SetEnv A=b \"C=d e\" F=",
        "SendEnv A B* C",
        "RemoteForward 8080",
        "RemoteForward [::1]:0 /run/x",
        "RemoteForward \"/a b\" h:1",
        "LocalForward *:1 [fe80::1%lo]:2",
        "LocalForward :1 h:2",
        "LocalForward %d/x ${HOME}/y",
        "DynamicForward 1080",
        "AddKeysToAgent confirm 1m",
        "RekeyLimit default none",
        "RekeyLimit 1G 1h",
        "ControlPersist 1h",
        "StreamLocalBindMask 0117",
        "IdentityAgent $SOCK",
        "IdentityAgent SSH_AUTH_SOCK",
        "ForwardAgent /run/%r",
        "PermitRemoteOpen [::1]:* *:2",
        "PermitRemoteOpen none",
        "CanonicalDomains none",
        "CanonicalizePermittedCNAMEs a,b:c",
        "LogLevel DEBUG",
        "StrictHostKeyChecking off",
        "Ciphers -chacha20*",
        "HostKeyAlgorithms ^ssh-ed25519",
        "TorAuth var:a/b",
        "IrohRelay none",
        "WireguardKey var:admin",
        "YggdrasilKey var:admin",
        "YggdrasilPeer tcp://peer.test:6443",
        "MyceliumPeer tcp://peer.test:9651",
        "MyceliumPublicNodes yes",
        "IrohDiscovery d.test@127.0.0.1:53",
        "ConnectTimeout none",
        "IPQoS lowdelay throughput",
        "SyslogFacility local3",
        "FingerprintHash md5",
        "KnownHostsCommand /bin/x \"%H\"",
    ] {
        let options = options(&[line]);
        let said = options.said();
        assert_eq!(Options::of_said(&said).unwrap(), options, "{line}: {said:?}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_a_row_takes_can_be_said_again(
        at in 0..TABLE.len(),
        more in 0..TABLE.len(),
        rest in proptest::collection::vec(
            r#"[a-z0-9,:/@%~*+^=.\[\]-]{1,12}|yes|no|ask|none|auto|any|[0-9]{1,5}|"a b"|a:1"#,
            1..4,
        ),
    ) {
        let mut options = Options::default();
        for row in [&TABLE[at], &TABLE[more]] {
            let _ = options.set(row.name, &rest.join(" "), &Origin::command_line());
            let _ = options.set(row.name, &rest[0], &Origin::command_line());
        }
        let said = options.said();
        proptest::prop_assert_eq!(Options::of_said(&said).unwrap(), options, "{:?}", said);
    }

    #[test]
    fn no_line_panics_or_becomes_two(
        at in 0..TABLE.len(),
        rest in r#"[a-z0-9,:/@%~ "'=.\[\]+^-]{0,24}|\PC*"#,
    ) {
        let row = &TABLE[at];
        let mut said = Options::default();
        if said.set(row.name, &rest, &Origin::command_line()).is_ok() {
            for words in said.shown(row) {
                proptest::prop_assert!(words.iter().all(|word| !word.contains('\n')), "{words:?}");
            }
        }
    }
}
