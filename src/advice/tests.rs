//! What is advised against all errors there are, and to whom.

use std::time::Duration;

use super::*;
use crate::error::{
    BannerError, Daemon, DialError, DialFailure, IrohFailure, LeafFailure, LeafFault, Loss,
    NoCommon, Stage, TorFailure, tests::all,
};
use crate::ssh::Negotiated;

fn to_user(cause: &Cause) -> Option<String> {
    of_cause(cause, Caller::CommandLine)
}

fn dial(failure: DialFailure) -> Cause {
    DialError { stage: Stage::Dial, failure }.into()
}

#[test]
fn no_error_of_the_library_names_a_flag() {
    for error in all() {
        for text in error.hint().into_iter().chain([error.to_string()]) {
            let flag = text.split_whitespace().find(|word| word.starts_with("--"));
            assert_eq!(flag, None, "{text}");
        }
    }
}

#[test]
fn whoever_types_gets_advice_where_a_program_does() {
    for error in all() {
        let (typed, called) = (of(&error, Caller::CommandLine), error.hint());
        assert!(typed.len() >= called.len(), "{typed:?} {called:?}");
    }
}

#[test]
fn a_hint_says_which_network_it_is_about_where_several_have_failed() {
    let attempt = |network: &str, failure| Attempt {
        network: network.into(),
        host: "h".into(),
        port: None,
        cause: dial(failure),
        elapsed: Duration::ZERO,
    };
    let hints = |attempts| Error::Unreachable { machine: "m".into(), attempts }.hint();
    let refused = "is sshd running there, on that port?";
    let twice = vec![attempt("a", DialFailure::Refused), attempt("a", DialFailure::Refused)];
    assert_eq!(hints(twice), [refused]);
    let several = vec![
        attempt("a", DialFailure::Refused),
        attempt("b\u{1b}", DialFailure::Refused),
        attempt("c", DialFailure::TimedOut),
        attempt("d", DialFailure::NoRoute),
    ];
    let late = "the machine may be off, or a firewall drops packets";
    assert_eq!(hints(several), [format!("a, b\\u{{1b}}: {refused}"), format!("c: {late}")]);
}

#[test]
fn each_caller_is_named_options_as_it_takes_them() {
    let weak = |kind, name: &str, also| NoCommon {
        kind,
        theirs: vec![name.to_owned()],
        usable: Some(name.to_owned()),
        also,
    };
    let one = Cause::KeyExchange(Loss::NoCommon(weak(Negotiated::HostKey, "ssh-rsa", Vec::new())));
    for (caller, advice) in [
        (Caller::Library, "to allow this algorithm: HostKeyAlgorithms +ssh-rsa"),
        (Caller::CommandLine, "to allow this algorithm: --ssh-option HostKeyAlgorithms +ssh-rsa"),
        (Caller::Ssh, "to allow this algorithm: -o HostKeyAlgorithms=+ssh-rsa"),
    ] {
        assert_eq!(of_cause(&one, caller).as_deref(), Some(advice));
    }
    let also = vec![weak(Negotiated::Cipher, "3des-cbc", Vec::new())];
    let two = Cause::KeyExchange(Loss::NoCommon(weak(Negotiated::HostKey, "ssh-rsa", also)));
    assert_eq!(
        of_cause(&two, Caller::Ssh).as_deref(),
        Some("to allow these algorithms: -o HostKeyAlgorithms=+ssh-rsa -o Ciphers=+3des-cbc")
    );
}

#[test]
fn after_the_words_of_ssh_come_only_ours_on_the_users_own_settings() {
    assert_eq!(of_cause(&dial(DialFailure::Refused), Caller::Ssh), None);
    assert_eq!(of_cause(&Cause::Banner(BannerError::NotSsh), Caller::Ssh), None);
    let hopeless = Loss::NoCommon(NoCommon {
        kind: Negotiated::Cipher,
        theirs: vec!["arcfour".to_owned()],
        usable: None,
        also: Vec::new(),
    });
    assert_eq!(of_cause(&Cause::KeyExchange(hopeless), Caller::Ssh), None);
    let led = of_cause(&dial(DialFailure::Preload("libtorsocks.so".to_owned())), Caller::Ssh);
    assert!(led.unwrap().contains("-o ProxyCommand='nc %h %p'"));
}

#[test]
fn flags_are_added_to_what_the_library_advises() {
    let late = dial(DialFailure::TimedOut);
    let advice = to_user(&late).unwrap();
    assert!(advice.starts_with(&late.hint().unwrap()), "{advice}");
    assert!(advice.ends_with("allow more time with --timeout SECONDS"), "{advice}");
    for failure in LeafFailure::examples() {
        let advice = to_user(&dial(DialFailure::Leaf(failure.clone())));
        let bare =
            [LeafFault::NoRandom, LeafFault::Protocol("x"), LeafFault::Lost, LeafFault::Ended];
        assert_eq!(advice.is_none(), bare.contains(&failure.fault), "{failure}");
    }
    let unknown = |overlay| {
        let failure = LeafFailure { overlay, fault: LeafFault::NotFound };
        to_user(&dial(DialFailure::Leaf(failure))).unwrap()
    };
    // Where others know us by a key that is kept, somebody else may use it.
    assert!(unknown("Yggdrasil").contains("our own key may be in use elsewhere"));
    assert!(!unknown("Mycelium").contains("key"));
    let unheard = LeafFailure { overlay: "Mycelium", fault: LeafFault::Unheard };
    assert!(!unheard.to_string().contains("reachable"));
    let advice = to_user(&dial(DialFailure::Leaf(unheard))).unwrap();
    assert!(advice.starts_with("is the machine on?"), "{advice}");
    let down =
        |name| to_user(&dial(DialFailure::Outside(Daemon { name, start: "start it" }))).unwrap();
    // A flag is named where the build has the network that it is for.
    for (name, flag, is_built_in) in [
        ("yggdrasil", "--yggdrasil-peer", cfg!(feature = "yggdrasil")),
        ("mycelium", "--mycelium-peer", cfg!(feature = "mycelium")),
    ] {
        assert_eq!(down(name).contains(flag), is_built_in, "{name}");
    }
    assert_eq!(down("zerotier-one"), "start it here: start it");
    let wrong = to_user(&Cause::Banner(BannerError::NotSsh)).unwrap();
    assert_eq!(wrong, "is that port really sshd's? set the right one with -p PORT");
    for failure in TorFailure::examples() {
        assert!(to_user(&dial(DialFailure::Tor(failure.clone()))).is_some(), "{failure}");
    }
    for failure in IrohFailure::examples().filter(|it| *it != IrohFailure::Ended) {
        assert!(to_user(&dial(DialFailure::Iroh(failure))).is_some(), "{failure}");
    }
}

#[test]
fn what_nix_lacks_is_said_with_the_flag_that_helps() {
    let typed = |fault| of_nix(&fault, Caller::CommandLine).concat();
    assert!(typed(NixFault::Impure).ends_with("if you trust it: --impure"));
    assert!(typed(NixFault::Fetch).ends_with("--flake DIR"));
    assert!(typed(NixFault::Evaluation).contains("--exports FILE"));
}

#[test]
fn no_name_of_a_file_becomes_a_command_that_is_copied() {
    let hints = |file: &str| of_nix(&NixFault::Untracked(file.into()), Caller::Library).concat();
    assert!(hints("/a/b.nix").ends_with("git add /a/b.nix"));
    assert!(hints("/a/$(touch x).nix").ends_with("git add FILE"));
}

#[test]
fn what_needs_no_flag_is_the_same_for_all() {
    let select =
        Error::Select { selector: "x".into(), place: Vec::new(), reason: "is not there".into() };
    assert_eq!(of(&select, Caller::CommandLine), select.hint());
    assert!(!select.hint().is_empty());
}
