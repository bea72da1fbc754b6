//! The host keys in the clan's own repository, as known hosts. Owns the names
//! under which they count; where they are written is `host_keys`' business.

use russh::keys::ssh_key::Certificate;

use crate::error::{Error, Result};
use crate::model::{HostKeys, Stated};
use crate::ssh::known_hosts::{DEFAULT_PORT, KnownHosts};

/// What the clan knows of one machine.
#[derive(Debug, Clone)]
pub struct ClanKeys {
    /// Its keys under its own name, its authorities under those in the domains.
    pub known: KnownHosts,
    /// Names that its certificate may be for: `MACHINE.DOMAIN`.
    pub names: Vec<String>,
    /// Whether its own key is among them: then nothing else counts.
    pub is_complete: bool,
    /// Whether an authority of the clan may vouch for one of its names.
    pub is_certified: bool,
    /// Whether the clan has an authority, and be it that no name of the machine is known.
    pub has_authority: bool,
}

impl ClanKeys {
    /// The keys of `machine`. The domains are the clan's own and those that the
    /// certificate in the repository names (`searchDomains` of the service).
    ///
    /// # Errors
    /// [`Error::VarBroken`] when the clan has keys of the machine, or authorities alone, and
    /// none can be understood: trusting any key then would be the opposite of what is meant.
    pub fn new(machine: &str, keys: &HostKeys) -> Result<Self> {
        let mut names: Vec<String> =
            keys.domain.iter().map(|domain| format!("{machine}.{domain}")).collect();
        let certificate = keys.certificate.as_ref();
        let certificate = certificate.and_then(|it| Certificate::from_openssh(&it.text).ok());
        let front = format!("{machine}.");
        for principal in certificate.iter().flat_map(Certificate::valid_principals) {
            let is_plain = !principal.contains(['*', '?', '!', ',', ' ', '\t']);
            if is_plain && principal.starts_with(&front) && !names.contains(principal) {
                names.push(principal.clone());
            }
        }
        let mut known = KnownHosts::default();
        for stated in &keys.keys {
            known.parse(&stated.place, format!("{machine} {}", stated.text).as_bytes());
        }
        let broken = |stated: &Stated, reason: &str| Error::VarBroken {
            path: stated.place.clone(),
            reason: reason.to_owned(),
        };
        if let (0, Some(stated)) = (known.keys(machine, DEFAULT_PORT).len(), keys.keys.first()) {
            return Err(broken(stated, "not the public key of a host"));
        }
        let is_complete = !known.known_algorithms(machine, DEFAULT_PORT).is_empty();
        let of_any_name = authorities(keys, machine);
        let has_authority = !of_any_name.authorities(machine, DEFAULT_PORT).is_empty();
        if let (false, false, Some(stated)) = (is_complete, has_authority, keys.authorities.first())
        {
            return Err(broken(stated, "not the public key of an authority"));
        }
        let is_certified = has_authority && !names.is_empty();
        if is_certified {
            known.extend(authorities(keys, &names.join(",")));
        }
        Ok(Self { known, names, is_complete, is_certified, has_authority })
    }
}

/// The authorities, for the hosts of these `names`.
fn authorities(keys: &HostKeys, names: &str) -> KnownHosts {
    let mut known = KnownHosts::default();
    for stated in &keys.authorities {
        known.parse(&stated.place, format!("@cert-authority {names} {}", stated.text).as_bytes());
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::known_hosts::Verdict;
    use crate::ssh::known_hosts::test_keys::*;

    fn stated(text: &str) -> Vec<Stated> {
        vec![Stated { text: text.to_owned(), place: "vars/key".into() }]
    }

    #[test]
    fn keys_count_for_the_machine_and_authorities_for_its_names() {
        let keys = HostKeys {
            keys: stated(&format!("{ED25519} comment")),
            authorities: stated(OTHER_ED25519),
            domain: Some("clan.test".into()),
            certificate: None,
        };
        let clan = ClanKeys::new("m", &keys).unwrap();
        assert!(clan.is_complete && clan.is_certified);
        assert_eq!(clan.names, ["m.clan.test"]);
        let look = |name: &str| clan.known.lookup(name, 22, &key(ED25519));
        assert!(matches!(look("m"), Verdict::Known { .. }));
        assert_eq!(look("m.clan.test"), Verdict::Unknown);
        assert_eq!(clan.known.authorities("m.clan.test", 22).len(), 1);
        assert!(clan.known.authorities("n.clan.test", 22).is_empty());
        // Without its own key and domain nothing is proved, and something is amiss.
        let none = HostKeys { authorities: stated(ED25519), ..HostKeys::default() };
        let clan = ClanKeys::new("m", &none).unwrap();
        assert!(!clan.is_complete && !clan.is_certified && clan.names.is_empty());
        assert!(clan.has_authority && clan.known.authorities("m", 22).is_empty());
        let signed = HostKeys { domain: Some("clan.test".into()), ..none };
        let clan = ClanKeys::new("m", &signed).unwrap();
        assert!(!clan.is_complete && clan.is_certified);
        let unsigned = HostKeys { authorities: Vec::new(), ..signed };
        let clan = ClanKeys::new("m", &unsigned).unwrap();
        assert!(!clan.is_certified && !clan.has_authority);
    }

    #[test]
    fn a_key_that_nobody_understands_is_an_error_and_not_no_key() {
        for text in ["", "ssh-ed25519 broken", "-----BEGIN PRIVATE KEY-----", "x y z"] {
            let of_host = HostKeys { keys: stated(text), ..HostKeys::default() };
            let of_authority = HostKeys { authorities: stated(text), ..HostKeys::default() };
            for keys in [of_host, of_authority.clone()] {
                let error = ClanKeys::new("m", &keys).unwrap_err().to_string();
                assert!(error.starts_with("vars/key: "), "{error}");
            }
            // Whoever has the key needs no authority.
            let known = HostKeys { keys: stated(ED25519), ..of_authority };
            assert!(ClanKeys::new("m", &known).unwrap().is_complete);
        }
    }
}
