//! Host certificates: whether one vouches for the host that was asked for
//! (OpenSSH's PROTOCOL.certkeys). Owns every rule but the signature of the key
//! exchange, which russh has checked against the key inside.

use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::Certificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{HashAlg, PublicKey};

use super::{HostKeyPolicy, type_name};
use crate::printable;
use crate::ssh::known_hosts::{Entry, KnownHosts};

/// What a good certificate says.
pub(super) struct Vouched {
    /// The line with the key that signed it.
    pub(super) authority: Entry,
    /// The name it was checked for.
    pub(super) name: String,
}

/// Checks everything, and says what is wrong first.
pub(super) fn check(
    policy: &HostKeyPolicy,
    known: &KnownHosts,
    certificate: &Certificate,
    now: SystemTime,
) -> Result<Vouched, String> {
    let signer = PublicKey::new(certificate.signature_key().clone(), "");
    let of_signer = |entry: &Entry| entry.key.key_data() == signer.key_data();
    // Every name that an authority which signed it may vouch for.
    let names: Vec<(&String, Entry)> = policy
        .certificate_names()
        .iter()
        .filter_map(|name| {
            let mut authorities = known.authorities(name, policy.name.1).into_iter();
            Some((name, authorities.find(of_signer)?))
        })
        .collect();
    if names.is_empty() {
        return Err(format!(
            "it is signed by {} key {}, which is no authority for this host",
            type_name(&signer.algorithm()),
            signer.fingerprint(HashAlg::Sha256)
        ));
    }
    if certificate.cert_type() != CertType::Host {
        return Err("it is a user's certificate and no host's".to_owned());
    }
    // Patterns are none: OpenSSH's client has never taken them but in some releases
    // (sshkey.c, `sshkey_cert_check_authority`, which is told so by sshconnect.c).
    let for_name = |name: &str| {
        certificate.valid_principals().iter().any(|principal| principal.eq_ignore_ascii_case(name))
    };
    // One without principals would be good for every host of the authority;
    // OpenSSH, too, has come to refuse it.
    let Some((name, authority)) = names.iter().find(|(name, _)| for_name(name)) else {
        let principals: Vec<String> = certificate
            .valid_principals()
            .iter()
            .take(8)
            .map(|name| printable::line(name))
            .collect();
        let wanted: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        return Err(match principals.is_empty() {
            true => "it names no host at all".to_owned(),
            false => format!(
                "it is for {} and not for {}",
                principals.join(", "),
                printable::line(&wanted.join(" or "))
            ),
        });
    };
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < certificate.valid_after() {
        let ahead = certificate.valid_after() - now;
        return Err(format!("it is not valid before {}", duration(ahead, "from now")));
    }
    if now >= certificate.valid_before() {
        let ago = now - certificate.valid_before();
        return Err(format!("it has expired {}", duration(ago, "ago")));
    }
    if let Some(why) = policy.algorithms.weakness(&signer) {
        return Err(format!("of its authority: {why}"));
    }
    if let Some((option, _)) = certificate.critical_options().iter().next() {
        return Err(format!("it has the critical option {}", printable::line(option)));
    }
    let algorithm = certificate.signature().algorithm();
    if !policy.algorithms.signs_certificates(&algorithm) {
        return Err(format!(
            "it is signed with {}, which only CASignatureAlgorithms +{0} would allow",
            printable::line(algorithm.as_str())
        ));
    }
    certificate.verify_signature().map_err(|_| "its signature is wrong".to_owned())?;
    Ok(Vouched { authority: authority.clone(), name: (*name).clone() })
}

fn duration(seconds: u64, end: &str) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7200 => (seconds / 60, "min"),
        7200..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit} {end}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use russh::keys::key::safe_rng;
    use russh::keys::ssh_key::certificate::Builder;
    use russh::keys::{Algorithm, PrivateKey};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn new_key(algorithm: Algorithm) -> PrivateKey {
        PrivateKey::random(&mut safe_rng(), algorithm).unwrap()
    }

    /// What is wrong with the certificate that `with` makes, for host `m.test`.
    fn judged(with: impl FnOnce(&mut Builder)) -> Result<(), String> {
        judged_as(CertType::Host, with)
    }

    fn judged_as(kind: CertType, with: impl FnOnce(&mut Builder)) -> Result<(), String> {
        let authority = new_key(Algorithm::Ed25519);
        let host = new_key(Algorithm::Ed25519);
        let key = host.public_key().key_data().clone();
        let mut builder =
            Builder::new_with_random_nonce(&mut safe_rng(), key, NOW - 60, NOW + 60).unwrap();
        builder.cert_type(kind).unwrap();
        builder.key_id("id\u{1b}[2J").unwrap();
        with(&mut builder);
        let certificate = builder.sign(&authority).unwrap();
        let mut known = KnownHosts::default();
        let line = authority.public_key().to_openssh().unwrap();
        known.parse(Path::new("kh"), format!("@cert-authority *.test {line}").as_bytes());
        let policy = HostKeyPolicy { name: ("M.test".into(), 22), ..HostKeyPolicy::default() };
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        check(&policy, &known, &certificate, now).map(|_| ())
    }

    #[test]
    fn every_rule_has_a_reason_of_its_own() {
        let named = |name: &str| {
            let name = name.to_owned();
            move |builder: &mut Builder| {
                builder.valid_principal(name).unwrap();
            }
        };
        assert_eq!(judged(named("m.test")), Ok(()));
        assert_eq!(judged(named("M.TEST")), Ok(()));
        for pattern in ["*", "*.test", "?.test", "m.tes?"] {
            let wrong = judged(named(pattern)).unwrap_err();
            assert_eq!(wrong, format!("it is for {pattern} and not for M.test"));
        }
        let wrong = judged(named("evil\u{1b}]0;x")).unwrap_err();
        assert_eq!(wrong, "it is for evil\\u{1b}]0;x and not for M.test");
        let nobody = judged(|builder| {
            builder.all_principals_valid().unwrap();
        });
        assert_eq!(nobody.unwrap_err(), "it names no host at all");
        let users = judged_as(CertType::User, named("m.test"));
        assert_eq!(users.unwrap_err(), "it is a user's certificate and no host's");
        let option = judged(|builder| {
            builder.valid_principal("m.test").unwrap();
            builder.critical_option("x@y", "").unwrap();
        });
        assert_eq!(option.unwrap_err(), "it has the critical option x@y");
    }

    #[test]
    fn a_duration_is_said_in_its_own_unit() {
        for (seconds, text) in
            [(1, "1 s ago"), (600, "10 min ago"), (10_000, "2 h ago"), (1 << 20, "12 days ago")]
        {
            assert_eq!(duration(seconds, "ago"), text);
        }
    }
}
