//! What the clan says of a machine's key, which no option of the user's passes over.

use crate::error::{Loss, Negotiated, NoCommon};
use crate::model::{HostKeys, Stated};
use crate::ssh::known_hosts::test_keys::{ED25519, OTHER_ED25519, RSA};

use super::*;

fn stated(text: &str) -> Vec<Stated> {
    vec![Stated { text: text.to_owned(), place: "vars/key".into() }]
}

/// That the clan knows the key; that it knows an authority alone; that it knows neither.
fn words() -> [HostKeys; 3] {
    let authority = HostKeys {
        authorities: stated(OTHER_ED25519),
        domain: Some("clan.test".into()),
        ..HostKeys::default()
    };
    let key = HostKeys { keys: stated(ED25519), ..HostKeys::default() };
    [key, authority, HostKeys::default()]
}

async fn policy(of_clan: HostKeys, check: HostKeyCheck) -> ssh::hostkey::HostKeyPolicy {
    let address = ([127, 0, 0, 1], 22).into();
    let machine =
        Machine { address, key: key().public_key().clone(), authenticated: Arc::default() };
    let mut case = case(vec![machine.route("only")], check, "right");
    case.request.host_keys.trusts_loopback = true;
    case.request.host_keys.of_clan = Some(of_clan);
    let trust = Trust::load(&case.request).await.unwrap();
    let target =
        reveal(case.request.routes[0].clone(), Revealing::of(&case.request)).await.unwrap();
    trust.options(&case.request, &target, Some(address.ip()), true).policy
}

#[tokio::test]
async fn a_loopback_address_is_not_a_machine_whose_key_the_clan_knows() {
    let [key, authority, nothing] = words();
    assert!(!policy(key, HostKeyCheck::Tofu).await.is_this_computer);
    assert!(!policy(authority, HostKeyCheck::Tofu).await.is_this_computer);
    assert!(policy(nothing, HostKeyCheck::Tofu).await.is_this_computer);
}

#[tokio::test]
async fn a_key_that_the_clans_authority_has_not_signed_is_asked_about() {
    for (said, key, authority, nothing) in [
        (HostKeyCheck::Tofu, HostKeyCheck::Strict, HostKeyCheck::Ask, HostKeyCheck::Tofu),
        (HostKeyCheck::AcceptNew, HostKeyCheck::Strict, HostKeyCheck::Ask, HostKeyCheck::AcceptNew),
        (HostKeyCheck::No, HostKeyCheck::Strict, HostKeyCheck::Ask, HostKeyCheck::No),
        (HostKeyCheck::Strict, HostKeyCheck::Strict, HostKeyCheck::Strict, HostKeyCheck::Strict),
    ] {
        for (word, expected) in words().into_iter().zip([key, authority, nothing]) {
            assert_eq!(policy(word, said).await.check, expected, "{said}");
        }
        // Nor does it vouch for anything where nobody knows a name of the machine.
        let [_, nameless, _] = words().map(|word| HostKeys { domain: None, ..word });
        let policy = policy(nameless, said).await;
        assert_eq!((policy.check, policy.is_this_computer), (authority, false), "{said}");
        let refused = policy.unverified(super::key().public_key(), "x").to_string();
        assert!(refused.contains("meta.domain) is not known here"), "{refused}");
    }
}

#[tokio::test]
async fn no_type_of_keys_is_advised_that_the_clan_has_none_of() {
    let [known, authority, _] = words();
    let both = HostKeys { keys: known.keys.clone(), ..authority };
    let ecdsa = "ecdsa-sha2-nistp256";
    for (of_clan, theirs, usable) in [
        (known.clone(), &[ecdsa][..], None),
        (known, &[ecdsa, "ssh-ed25519"], Some("ssh-ed25519")),
        (
            HostKeys { keys: stated(RSA), ..HostKeys::default() },
            &[ecdsa, "ssh-rsa"],
            Some("ssh-rsa"),
        ),
        // An authority may have signed it.
        (both, &[ecdsa], Some(ecdsa)),
        (HostKeys::default(), &[ecdsa], Some(ecdsa)),
    ] {
        let mut case = case(Vec::new(), HostKeyCheck::Tofu, "right");
        case.request.host_keys.of_clan = Some(of_clan);
        let trust = Trust::load(&case.request).await.unwrap();
        let missing = |usable: Option<&str>| {
            let theirs = theirs.iter().map(|it| (*it).to_owned()).collect();
            let usable = usable.map(str::to_owned);
            Loss::NoCommon(NoCommon { kind: Negotiated::HostKey, theirs, usable, also: Vec::new() })
        };
        let advised = trust.advised(missing(Some(ecdsa)), &case.request);
        assert_eq!(advised, missing(usable), "{theirs:?}");
    }
}
