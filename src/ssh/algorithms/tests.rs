use russh::keys::EcdsaCurve;

use super::*;

fn names<T: AsRef<str>>(list: &[T]) -> Vec<&str> {
    list.iter().map(AsRef::as_ref).collect()
}

#[test]
fn nothing_weak_is_offered_and_strict_kex_is() {
    let preferred = Algorithms::default().preferred(&[], false);
    assert_eq!(
        names(&preferred.kex),
        [&List::Kex.defaults()[..], &["ext-info-c", "kex-strict-c-v00@openssh.com"]].concat()
    );
    assert_eq!(names(&preferred.cipher), List::Ciphers.defaults());
    assert_eq!(names(&preferred.mac), List::Macs.defaults());
    let keys: Vec<&str> = preferred.key.iter().map(Algorithm::as_str).collect();
    assert_eq!(keys, ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]);
    assert!(preferred.host_key_certificates.is_empty());
    let with = Algorithms::default().preferred(&[], true);
    assert!(!with.host_key_certificates.contains(&Algorithm::Rsa { hash: None }));
    assert_eq!(with.host_key_certificates.len(), 6);
}

fn chosen(list: List, text: &str) -> Algorithms {
    let mut algorithms = Algorithms::default();
    algorithms.choose(list, &Algorithms::parse(list, text).unwrap());
    algorithms
}

#[test]
fn known_key_types_are_asked_for_first_whatever_they_are() {
    let ask = |algorithms: &Algorithms, known: &Algorithm| {
        algorithms.preferred(std::slice::from_ref(known), false).key.into_owned()
    };
    let default = Algorithms::default();
    let rsa = Algorithm::Rsa { hash: None };
    assert_eq!(ask(&default, &rsa)[0], Algorithm::Rsa { hash: Some(HashAlg::Sha512) });
    let ecdsa = Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 };
    assert_eq!(ask(&default, &ecdsa)[0], ecdsa);
    let added = ask(&chosen(List::HostKeys, "+ecdsa-sha2-nistp384,ssh-rsa"), &ecdsa);
    assert_eq!((added.len(), &added[0]), (5, &ecdsa));
    // Not where the user has put them into an order, or taken them away.
    assert_eq!(ask(&chosen(List::HostKeys, "rsa-sha2-256"), &ecdsa).len(), 1);
    assert!(!ask(&chosen(List::HostKeys, "-ecdsa-*"), &ecdsa).contains(&ecdsa));
    let first = ask(&chosen(List::HostKeys, "^rsa-sha2-256"), &Algorithm::Ed25519);
    assert_eq!(first[0], Algorithm::Rsa { hash: Some(HashAlg::Sha256) });
    assert_eq!(
        ask(&chosen(List::HostKeys, "-ecdsa-*"), &rsa)[0],
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) }
    );
}

#[test]
fn certificates_are_asked_for_as_the_list_has_them() {
    let certificates = |text: &str| {
        chosen(List::HostKeys, text).preferred(&[], true).host_key_certificates.into_owned()
    };
    assert_eq!(certificates("ssh-ed25519"), []);
    assert_eq!(
        certificates("ssh-ed25519,rsa-sha2-256-cert-v01@openssh.com,ssh-ed25519-cert*"),
        [Algorithm::Rsa { hash: Some(HashAlg::Sha256) }, Algorithm::Ed25519]
    );
    assert_eq!(certificates("-*rsa*").len(), 4);
}

#[test]
fn lists_are_replaced_and_changed_as_in_ssh_config() {
    let host_keys = |value: &str| {
        let chosen = Algorithms::parse(List::HostKeys, value)?;
        let mut algorithms = Algorithms::default();
        algorithms.choose(List::HostKeys, &chosen);
        Ok::<_, Mistake>(algorithms.host_keys.join(" "))
    };
    let all = List::HostKeys.defaults().join(" ");
    assert_eq!(host_keys("+ssh-rsa").unwrap(), format!("{all} ssh-rsa"));
    assert_eq!(host_keys("^ssh-rsa").unwrap(), format!("ssh-rsa {all}"));
    assert_eq!(host_keys("-rsa-*,*-cert-*").unwrap(), "ssh-ed25519");
    assert_eq!(host_keys("ssh-rsa,ssh-ed25519").unwrap(), "ssh-rsa ssh-ed25519");
    assert_eq!(
        host_keys("ecdsa-*256,ssh-ed25519,ecdsa-sha2-nistp256").unwrap(),
        "ecdsa-sha2-nistp256 ssh-ed25519"
    );
    for bad in ["", "nonsense", "+", "-*", "ssh-dss", "ssh-rsa,"] {
        assert!(host_keys(bad).is_err(), "{bad:?}");
    }
    for bad in ["none", "clear", "+none", "aes*", "+aes*"] {
        assert!(Algorithms::parse(List::Ciphers, bad).is_err(), "{bad}");
    }
    let algorithms = Algorithms { compression: true, ..Algorithms::default() };
    let compression = algorithms.preferred(&[], false).compression;
    assert_eq!(names(&compression), ["zlib@openssh.com", "none"]);
}

#[test]
fn those_who_call_us_ssh_reach_what_openssh_reaches() {
    let ssh = Algorithms::as_ssh();
    let ecdsa = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
    let preferred = ssh.preferred(&[], false);
    assert_eq!(preferred.key[..2], [Algorithm::Ed25519, ecdsa]);
    assert!(names(&preferred.kex).contains(&"ecdh-sha2-nistp256"));
    for list in [List::Kex, List::HostKeys] {
        let (strict, all) = (list.defaults(), names(ssh.list(list)));
        assert!(strict.iter().all(|name| all.contains(name)) && all.len() > strict.len());
        assert!(all.iter().all(|name| list.usable().contains(name)));
    }
    let mut changed = ssh.clone();
    changed.choose(List::Kex, &Algorithms::parse(List::Kex, "-ecdh-*").unwrap());
    assert_eq!(changed.kex, Algorithms::default().kex);
}

#[test]
fn what_only_openssh_has_is_left_out_and_what_nobody_has_is_a_mistake() {
    let left = |list, text: &str| {
        let chosen = Algorithms::parse(list, text)?;
        let mut algorithms = Algorithms::default();
        algorithms.choose(list, &chosen);
        Ok::<_, Mistake>(algorithms.list(list).join(" "))
    };
    for (list, text, expected) in [
        (List::Kex, "sntrup761x25519-sha512,curve25519-sha256", "curve25519-sha256"),
        (List::Kex, "gss-group14-sha256-,curve25519-sha256", "curve25519-sha256"),
        (List::Ciphers, "3des-cbc,aes128-ctr", "aes128-ctr"),
        (List::Macs, "umac-128-etm@openssh.com", ""),
        (List::Macs, "hmac-md5,hmac-sha2-256", "hmac-sha2-256"),
        (List::HostKeys, "ssh-dss,ssh-ed25519", "ssh-ed25519"),
        (List::UserKeys, "ssh-rsa,ssh-dss,ssh-ed25519", "ssh-ed25519"),
        (List::UserKeys, "webauthn-*,ssh-ed25519", "ssh-ed25519"),
    ] {
        assert_eq!(left(list, text).unwrap(), expected, "{text}");
        for sign in ["+", "^"] {
            assert!(left(list, &format!("{sign}{text}")).is_ok(), "{sign}{text}");
        }
    }
    // Whatever is taken away may be unknown.
    assert_eq!(left(List::Kex, "-nonsense").unwrap(), List::Kex.defaults().join(" "));
    assert_eq!(left(List::Kex, "-*,!curve25519-sha256").unwrap(), "curve25519-sha256");
    for text in ["nonsense", "+nonsense", "^curve25519-sha256,nonsense"] {
        assert_eq!(left(List::Kex, text), Err(Mistake::Unknown), "{text}");
    }
    for text in ["sntrup761x25519-sha512", "-*"] {
        assert_eq!(left(List::Kex, text), Err(Mistake::NothingLeft), "{text}");
    }
}

#[test]
fn small_rsa_keys_are_too_weak_unless_allowed() {
    use crate::ssh::known_hosts::test_keys::{ED25519, RSA, key};
    let mut algorithms = Algorithms::default();
    let why = algorithms.weakness(&key(RSA)).unwrap();
    assert!(why.contains("1024 bits") && why.contains("RequiredRSASize 1024"), "{why}");
    assert_eq!(algorithms.weakness(&key(ED25519)), None);
    algorithms.rsa_bits = 1024;
    assert_eq!(algorithms.weakness(&key(RSA)), None);
}
