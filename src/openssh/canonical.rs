//! `CanonicalizeHostname`: short names by the domains they may be in. Owns the
//! rules; who looks names up is somebody else.

use crate::dial::Dialer;
use crate::error::{Error, Result};
use crate::options::{Canonicalize, Maybe, Options};
use crate::pattern::matches_host;
use crate::printable::Printable;
use crate::ssh_config::is_listed;

/// What says whether a name has an address, and the name that it is an alias of.
pub(super) trait Lookup {
    /// The name that `name` is an alias of, or itself; `None` without an address.
    async fn canonical(&self, name: &str) -> Option<String>;
}

impl Lookup for Dialer {
    async fn canonical(&self, name: &str) -> Option<String> {
        Self::canonical(self, name).await
    }
}

/// The full name of a host, if one is to be found.
pub(super) async fn find(
    options: &Options,
    host: &str,
    lookup: &impl Lookup,
) -> Result<Option<String>> {
    let is_proxied =
        Maybe::of(&options.proxy_command).is_some() || Maybe::of(&options.proxy_jump).is_some();
    match options.canonicalize_hostname() {
        Canonicalize::Always => {}
        Canonicalize::Yes if !is_proxied => {}
        Canonicalize::Yes | Canonicalize::No => return Ok(None),
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(None);
    }
    let most = usize::try_from(options.canonicalize_max_dots()).unwrap_or(usize::MAX);
    let (names, is_full): (Vec<String>, _) = match host.strip_suffix('.') {
        Some(full) => (vec![full.to_owned()], true),
        None if host.matches('.').count() > most => return Ok(None),
        None => {
            let domains = options.canonical_domains.iter().flat_map(|domains| &domains.0);
            (domains.map(|domain| format!("{host}.{domain}")).collect(), false)
        }
    };
    for name in names {
        let name = name.to_ascii_lowercase();
        if let Some(alias) = lookup.canonical(&name).await {
            let is_allowed = alias != name && is_permitted(options, &name, &alias);
            return Ok(Some(if is_allowed { alias } else { name }));
        }
    }
    if !is_full && !options.canonicalize_fallback_local() {
        return Err(Error::Usage(format!("Could not resolve host \"{}\"", Printable(host))));
    }
    Ok(None)
}

/// Whether `CanonicalizePermittedCNAMEs` lets one name stand for another.
fn is_permitted(options: &Options, name: &str, alias: &str) -> bool {
    let mut rules = options.canonicalize_permitted_cnames.iter().flat_map(|rules| &rules.0);
    rules
        .any(|(from, to)| is_listed(from, name, matches_host) && is_listed(to, alias, matches_host))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names;

    impl Lookup for Names {
        async fn canonical(&self, name: &str) -> Option<String> {
            match name {
                "web.a.example" | "db.b.example" => Some(name.to_owned()),
                "www.a.example" => Some("web.b.example".to_owned()),
                _ => None,
            }
        }
    }

    async fn of(host: &str, options: &[&str]) -> Result<Option<String>> {
        let mut said = Options::default();
        for option in options {
            said.line(option).unwrap();
        }
        find(&said, host, &Names).await
    }

    #[tokio::test]
    async fn names_are_looked_for_in_the_domains_in_their_order() {
        let domains = "CanonicalDomains a.example b.example";
        let yes = ["CanonicalizeHostname yes", domains];
        let name = async |host, options: &[&str]| of(host, options).await.unwrap();
        assert_eq!(name("web", &yes).await.as_deref(), Some("web.a.example"));
        assert_eq!(name("DB", &yes).await.as_deref(), Some("db.b.example"));
        assert_eq!(name("db.b.example.", &yes).await.as_deref(), Some("db.b.example"));
        assert_eq!(name("other", &yes).await, None);
        assert_eq!(name("127.0.0.1", &yes).await, None);
        assert_eq!(name("web.a.b", &yes).await, None);
        assert_eq!(name("web", &[domains]).await, None);
        let jump = [&yes[..], &["ProxyJump j"]].concat();
        assert_eq!(name("web", &jump).await, None);
        let always = [&["CanonicalizeHostname always"], &jump[..]].concat();
        assert_eq!(name("web", &always).await.as_deref(), Some("web.a.example"));
        let only = [&yes[..], &["CanonicalizeFallbackLocal no"]].concat();
        assert!(of("other", &only).await.is_err());
        // An alias counts where a rule says so.
        assert_eq!(name("www", &yes).await.as_deref(), Some("www.a.example"));
        let rule = ["CanonicalizePermittedCNAMEs *.a.example:*.b.example"];
        let rule = [&yes[..], &rule].concat();
        assert_eq!(name("www", &rule).await.as_deref(), Some("web.b.example"));
    }
}
