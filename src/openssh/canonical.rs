//! `CanonicalizeHostname`: short names by the domains they may be in. Owns the
//! rules; who looks names up is somebody else.

use crate::error::{Error, Result};
use crate::pattern::matches_host;
use crate::printable::Printable;
use crate::ssh_config::{Config, Setting, is_listed};

/// The full name of a host, if one is to be found. `find` says whether a name has
/// an address, and the name that it is an alias of.
pub(super) fn find(
    config: &Config,
    host: &str,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>> {
    let mode = config.get("canonicalizehostname").map_or("no", Setting::value);
    let is_proxied = ["proxycommand", "proxyjump"].iter().any(|keyword| {
        config.get(keyword).is_some_and(|setting| !setting.value().eq_ignore_ascii_case("none"))
    });
    match mode.to_ascii_lowercase().as_str() {
        "always" => {}
        "yes" | "true" if !is_proxied => {}
        _ => return Ok(None),
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(None);
    }
    let most = match config.get("canonicalizemaxdots") {
        None => 1,
        Some(setting) => setting.value().parse().map_err(|_| setting.wrong("not a number"))?,
    };
    let (names, is_full): (Vec<String>, _) = match host.strip_suffix('.') {
        Some(full) => (vec![full.to_owned()], true),
        None if host.matches('.').count() > most => return Ok(None),
        None => {
            let domains = config.get("canonicaldomains").map_or(&[][..], |setting| &setting.args);
            let domains = domains.iter().filter(|domain| *domain != "none");
            (domains.map(|domain| format!("{host}.{domain}")).collect(), false)
        }
    };
    for name in names {
        let name = name.to_ascii_lowercase();
        if let Some(alias) = find(&name) {
            let is_allowed = alias != name && is_permitted(config, &name, &alias)?;
            return Ok(Some(if is_allowed { alias } else { name }));
        }
    }
    if !is_full && !config.flag("canonicalizefallbacklocal", true)? {
        return Err(Error::Usage(format!("Could not resolve host \"{}\"", Printable(host))));
    }
    Ok(None)
}

/// Whether `CanonicalizePermittedCNAMEs` lets one name stand for another.
fn is_permitted(config: &Config, name: &str, alias: &str) -> Result<bool> {
    let Some(setting) = config.get("canonicalizepermittedcnames") else { return Ok(false) };
    for rule in setting.args.iter().filter(|rule| *rule != "none") {
        let (from, to) = rule.split_once(':').ok_or_else(|| setting.wrong("not two lists"))?;
        let has = |list: &str, name: &str| {
            let patterns: Vec<String> = list.split(',').map(str::to_owned).collect();
            is_listed(&patterns, name, matches_host)
        };
        if has(from, name) && has(to, alias) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str, options: &[&str]) -> Result<Option<String>> {
        let mut config = Config::default();
        for option in options {
            config.line(option).unwrap();
        }
        find(&config, host, &|name| match name {
            "web.a.example" | "db.b.example" => Some(name.to_owned()),
            "www.a.example" => Some("web.b.example".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn names_are_looked_for_in_the_domains_in_their_order() {
        let domains = "CanonicalDomains a.example b.example";
        let yes = ["CanonicalizeHostname yes", domains];
        let name = |host, options: &[&str]| of(host, options).unwrap();
        assert_eq!(name("web", &yes).as_deref(), Some("web.a.example"));
        assert_eq!(name("DB", &yes).as_deref(), Some("db.b.example"));
        assert_eq!(name("db.b.example.", &yes).as_deref(), Some("db.b.example"));
        assert_eq!(name("other", &yes), None);
        assert_eq!(name("127.0.0.1", &yes), None);
        assert_eq!(name("web.a.b", &yes), None);
        assert_eq!(name("web", &[domains]), None);
        let jump = [&yes[..], &["ProxyJump j"]].concat();
        assert_eq!(name("web", &jump), None);
        let always = [&["CanonicalizeHostname always"], &jump[..]].concat();
        assert_eq!(name("web", &always).as_deref(), Some("web.a.example"));
        let only = [&yes[..], &["CanonicalizeFallbackLocal no"]].concat();
        assert!(of("other", &only).is_err());
        // An alias counts where a rule says so.
        assert_eq!(name("www", &yes).as_deref(), Some("www.a.example"));
        let rule = ["CanonicalizePermittedCNAMEs *.a.example:*.b.example"];
        let rule = [&yes[..], &rule].concat();
        assert_eq!(name("www", &rule).as_deref(), Some("web.b.example"));
    }
}
