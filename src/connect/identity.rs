//! One machine, one host key, whatever address is dialled. Owns which names and
//! addresses are a machine's; what they say together is `known_hosts`' business.

use crate::address;
use crate::error::Result;
use crate::host_keys;
use crate::model::{Clan, Host, HostKeys};
use crate::plan::{DEFAULT_PORT, Overrides, plan};
use crate::ssh::known_hosts::Name;
use crate::vars::Vars;

/// The machine's own name, then every address in the clear that `clan` has for it, as
/// host keys are looked up. Secret addresses are in no file: the machine's name stands
/// for them. Blocks.
pub fn identity(clan: &Clan, machine: &str, vars: &Vars) -> Vec<Name> {
    let mut names = vec![(machine.to_owned(), DEFAULT_PORT)];
    // Whatever this command line says of addresses, the machine is the same.
    let routes = plan(clan, machine, &Overrides::default()).unwrap_or_default();
    // Nor are those that are as good as a credential.
    for route in routes.into_iter().filter(|route| !route.technology.hides_hosts()) {
        let host = match &route.host {
            Host::Plain(host) => Some(host.clone()),
            Host::Var(var) => {
                // One that is broken is said when it is dialled.
                let value = vars.public_value(var).ok().flatten();
                let text = value.and_then(|(bytes, _)| String::from_utf8(bytes).ok());
                text.map(|text| address::canonical(text.trim())).filter(|host| !host.is_empty())
            }
        };
        let name = host.map(|host| (host, route.port));
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// What the clan itself says of a machine's host keys: in its vars, else in the
/// snapshot that `clan` was read from, if it was read at all, else in one that is `kept`
/// elsewhere. Blocks.
///
/// # Errors
/// As for [`host_keys::read`] and [`host_keys::none_is_lost`], and those of `kept`.
pub fn stated_keys(
    clan: Option<&Clan>,
    machine: &str,
    vars: &Vars,
    kept: impl FnOnce() -> Result<Option<HostKeys>>,
) -> Result<HostKeys> {
    let of_vars = host_keys::read(vars, machine)?;
    let of_clan = || Ok(clan.and_then(|clan| clan.host_keys(machine)));
    let mut keys = of_vars.or_else(of_clan)?.or_else(kept)?;
    host_keys::none_is_lost(vars, machine, &keys)?;
    if let Some(domain) = clan.and_then(Clan::domain) {
        keys.domain = Some(domain.to_owned());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompter::Nobody;

    #[test]
    fn all_addresses_in_the_clear_count_and_what_cannot_be_read_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let ticket = dir.path().join("vars/per-machine/m/p2p-ssh-iroh-d/ticket/value");
        std::fs::create_dir_all(ticket.parent().unwrap()).unwrap();
        std::fs::write(ticket, "endpointabc").unwrap();
        let value = dir.path().join("vars/per-machine/m/net/ip/value");
        std::fs::create_dir_all(value.parent().unwrap()).unwrap();
        std::fs::write(value, "10.0.0.3\n").unwrap();
        let vars = Vars::new(
            Some(dir.path().to_owned()),
            Vec::new(),
            crate::vars::Environment::default(),
            Arc::new(Nobody),
        );
        let json = r#"{
            "a": {"priority": 9000, "module": "clan_lib.network.direct", "peers": {
                "m": {"host": {"plain": "10.0.0.1"}, "port": 2222},
                "other": {"host": {"plain": "10.0.0.9"}}}},
            "b": {"module": "clan_lib.network.direct", "peers": {
                "m": {"host": {"var": {"machine": "m", "generator": "net", "file": "ip"}}}}},
            "c": {"module": "clan_lib.network.tor", "peers": {
                "m": {"host": {"var": {"machine": "m", "generator": "tor", "file": "name"}}}}},
            "d": {"module": "clan_lib.network.p2p_ssh_iroh", "peers": {"m": {}}},
            "e": {"module": "clan_lib.network.p2p_ssh_iroh", "peers": {
                "m": {"host": {"plain": "endpointabd"}}}}
        }"#;
        let clan = Clan::parse("test", json.as_bytes()).unwrap();
        let names: Vec<String> = identity(&clan, "m", &vars)
            .iter()
            .map(|(name, port)| format!("{name} {port}"))
            .collect();
        assert_eq!(names, ["m 22", "10.0.0.1 2222", "10.0.0.3 22"]);
        assert_eq!(identity(&clan, "unknown", &vars), [("unknown".to_owned(), 22)]);
    }

    #[test]
    fn a_lost_key_is_an_error_unless_a_snapshot_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("vars/per-machine/m/openssh/ssh.id_ed25519/secret");
        std::fs::create_dir_all(secret.parent().unwrap()).unwrap();
        std::fs::write(secret, "").unwrap();
        let vars = |flake: Option<&std::path::Path>| {
            let environment = crate::vars::Environment::default();
            Vars::new(flake.map(Into::into), Vec::new(), environment, Arc::new(Nobody))
        };
        let mut clan = Clan::parse("test", b"{}").unwrap();
        let stated = |clan: &Clan, machine: &str, flake| {
            stated_keys(Some(clan), machine, &vars(flake), || Ok(None))
        };
        let here = Some(dir.path());
        let error = stated(&clan, "m", here).unwrap_err().to_string();
        assert!(error.contains("ssh.id_ed25519.pub/value: it is missing"), "{error}");
        assert!(stated(&clan, "n", here).unwrap().is_empty());
        clan.set_host_keys("m", vec!["ssh-ed25519 AAAA".into()], None);
        assert_eq!(stated(&clan, "m", here).unwrap().keys.len(), 1);
        // In a snapshot that stands alone, a certificate is what is left of a key.
        clan.set_authorities("lone.json".into(), Vec::new());
        clan.set_host_keys("m", Vec::new(), Some("cert".into()));
        let error = stated(&clan, "m", None).unwrap_err().to_string();
        assert!(error.starts_with("lone.json: it has a certificate"), "{error}");
        clan.set_authorities("lone.json".into(), vec!["ssh-ed25519 AAAA".into()]);
        assert_eq!(stated(&clan, "m", None).unwrap().authorities.len(), 1);
    }
}
