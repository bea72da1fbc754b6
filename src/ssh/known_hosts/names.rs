//! One host under several names: a machine that is reached at many addresses has
//! one identity. Owns what its names say together; each alone is looked up as
//! ssh(1) does.

use russh::keys::{Algorithm, PublicKey};

use super::{Entry, KnownHosts, Verdict};

/// A name or an address, and the port.
pub type Name = (String, u16);

impl KnownHosts {
    /// What is known about `key` as the key of the host that has all of `names`: one
    /// of them that knows it speaks for all, else one that knows another key does. A
    /// line for an address without its port counts, as in ssh(1), only where there is
    /// no other: another host may be behind that port.
    pub fn lookup_all<'a>(
        &self,
        names: impl IntoIterator<Item = &'a Name>,
        key: &PublicKey,
    ) -> Verdict {
        let (mut exact, mut portless, mut others) = (None, None, Vec::<Entry>::new());
        for (name, port) in names {
            match self.lookup(name, *port, key) {
                revoked @ Verdict::Revoked { .. } => return revoked,
                known @ Verdict::Known { is_exact: true, .. } => exact = exact.or(Some(known)),
                known @ Verdict::Known { .. } => portless = portless.or(Some(known)),
                Verdict::Changed { entries } | Verdict::OtherType { entries } => {
                    for entry in entries {
                        if !others.contains(&entry) {
                            others.push(entry);
                        }
                    }
                }
                Verdict::Unknown => {}
            }
        }
        match (exact, portless) {
            (Some(known), _) => known,
            (None, Some(known)) if others.is_empty() => known,
            (None, None) if others.is_empty() => Verdict::Unknown,
            (None, _) => Verdict::other_key(others, key),
        }
    }

    /// As [`KnownHosts::known_algorithms`], for all names.
    pub fn algorithms_of_all<'a>(
        &self,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> Vec<Algorithm> {
        let mut all = Vec::new();
        for (name, port) in names {
            for algorithm in self.known_algorithms(name, *port) {
                if !all.contains(&algorithm) {
                    all.push(algorithm);
                }
            }
        }
        all
    }

    /// As [`KnownHosts::revoked`], for all names.
    pub fn revoked_for_any<'a>(
        &self,
        names: impl IntoIterator<Item = &'a Name>,
        key: &PublicKey,
    ) -> Option<Entry> {
        names.into_iter().find_map(|(name, port)| self.revoked(name, *port, key))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ssh::known_hosts::test_keys::*;

    #[test]
    fn one_name_that_knows_the_key_speaks_for_all_and_another_key_is_a_changed_one() {
        let names: Vec<Name> =
            [("m", 22), ("10.0.0.1", 2222), ("10.0.0.2", 22)].map(|(n, p)| (n.into(), p)).into();
        let verdict = |text: &str| {
            let mut known = KnownHosts::default();
            known.parse(Path::new("kh"), text.as_bytes());
            match known.lookup_all(&names, &key(ED25519)) {
                Verdict::Known { line, is_exact, .. } => format!("known {line} {is_exact}"),
                Verdict::Changed { entries } => format!("changed {}", entries.len()),
                Verdict::OtherType { entries } => format!("other type {}", entries.len()),
                Verdict::Revoked { line, .. } => format!("revoked {line}"),
                Verdict::Unknown => "unknown".to_owned(),
            }
        };
        for (text, expected) in [
            (String::new(), "unknown"),
            (format!("10.0.0.9 {OTHER_ED25519}\n"), "unknown"),
            // The same address behind another port is another host.
            (format!("[10.0.0.1]:22 {OTHER_ED25519}\n10.0.0.1 {RSA}\n"), "unknown"),
            (format!("m {ED25519}\n"), "known 1 true"),
            (format!("10.0.0.2 {OTHER_ED25519}\nm {ED25519}\n"), "known 2 true"),
            (format!("10.0.0.1 {ED25519}\n"), "known 1 false"),
            (format!("10.0.0.1 {ED25519}\n10.0.0.2 {ED25519}\n"), "known 2 true"),
            (format!("[10.0.0.1]:2222 {OTHER_ED25519}\n"), "changed 1"),
            (format!("10.0.0.1 {ED25519}\nm {OTHER_ED25519}\n"), "changed 1"),
            (format!("m,10.0.0.2 {OTHER_ED25519}\n[10.0.0.1]:2222 {RSA}\n"), "changed 2"),
            (format!("10.0.0.2 {RSA}\n"), "other type 1"),
            (format!("m {ED25519}\n@revoked 10.0.0.2 {ED25519}\n"), "revoked 2"),
        ] {
            assert_eq!(verdict(&text), expected, "{text}");
        }
    }

    #[test]
    fn the_types_of_keys_under_all_names_are_preferred() {
        let mut known = KnownHosts::default();
        known.parse(Path::new("kh"), format!("m {ED25519}\n10.0.0.1 {RSA}\n").as_bytes());
        let names: [Name; 2] = [("10.0.0.1".into(), 22), ("m".into(), 22)];
        let names: Vec<String> =
            known.algorithms_of_all(&names).iter().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names, ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
    }
}
