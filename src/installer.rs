//! What an installer shows of itself, as JSON or as a QR code of it: addresses,
//! an onion, a password. Owns that format (`clan_lib/network/qr_code.py`); knows
//! no terminal and dials nothing.

mod picture;
mod qr;

use std::path::Path;

use serde::Deserialize;
use zeroize::Zeroize;

use crate::error::{Error, Result};
use crate::model::{TargetHost, Technology};
use crate::plan::{Overrides, Route};
use crate::secret::Secret;

pub use qr::read as read_image;

/// The machine that an installer is called, in messages and in known_hosts.
pub const MACHINE: &str = "installer";
/// The network names of its routes.
const DIRECT: &str = "installer";
const ONION: &str = "installer-tor";
/// Larger ones fit no QR code, in bytes.
const MAX_JSON: u64 = 64 << 10;
/// More addresses than any computer has.
const MAX_ADDRESSES: usize = 64;

/// An installer that can be reached.
#[derive(Debug)]
pub struct Installer {
    /// The routes to it: all addresses, then the onion.
    pub routes: Vec<Route>,
    /// Its password, if it has one.
    pub password: Option<Secret<String>>,
    /// What was ignored.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    pass: Option<String>,
    #[serde(default)]
    tor: Option<String>,
    #[serde(default)]
    addrs: Vec<String>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.pass.zeroize();
    }
}

impl Installer {
    /// Reads the JSON; `origin` names it in errors, which never quote it.
    ///
    /// # Errors
    /// [`Error::Installer`].
    pub fn parse(origin: &str, json: &str, overrides: &Overrides) -> Result<Self> {
        let wrong = |reason: String| Error::Installer { origin: origin.to_owned(), reason };
        // serde's words may quote a value, which may be the password.
        let mut shown: Shown = serde_json::from_str(json).map_err(|error| {
            wrong(format!("not the JSON of an installer (column {})", error.column()))
        })?;
        if shown.addrs.len() > MAX_ADDRESSES {
            return Err(wrong(format!("more than {MAX_ADDRESSES} addresses")));
        }
        let (mut routes, mut warnings) = (Vec::new(), Vec::new());
        let onion = shown.tor.iter().map(|text| (text, ONION));
        for (text, network) in shown.addrs.iter().map(|text| (text, DIRECT)).chain(onion) {
            // Options could start programs: they are never honoured.
            let (address, options) = text
                .split_once('?')
                .map_or((text.as_str(), None), |(text, more)| (text, Some(more)));
            if options.is_some() {
                warnings.push(format!("{origin}: options of an address are ignored"));
            }
            let target =
                TargetHost::parse(address, |_| false).map_err(|error| wrong(error.to_string()))?;
            let mut route = Route::to(&target, network, overrides);
            if network == ONION {
                route.technology = Technology::TOR;
            }
            routes.push(route);
        }
        if routes.is_empty() {
            return Err(wrong("it has no address".to_owned()));
        }
        let password = shown.pass.take().filter(|text| !text.is_empty()).map(Secret::new);
        Ok(Self { routes, password, warnings })
    }
}

/// The JSON that `source` is: itself, or in a file of this name.
///
/// # Errors
/// [`Error::File`] and [`Error::TooLarge`].
pub fn read_json(source: &str) -> Result<Secret<String>> {
    use std::io::Read;
    if source.trim_start().starts_with('{') {
        return Ok(Secret::new(source.to_owned()));
    }
    let path = Path::new(source);
    let failed = |error| Error::File { action: "read", path: path.to_owned(), source: error };
    let mut text = zeroize::Zeroizing::new(String::with_capacity(MAX_JSON as usize + 1));
    let file = std::fs::File::open(path).map_err(failed)?;
    let count = file.take(MAX_JSON + 1).read_to_string(&mut text).map_err(failed)?;
    if count as u64 > MAX_JSON {
        return Err(Error::TooLarge { path: path.to_owned(), limit: MAX_JSON });
    }
    Ok(Secret::new(std::mem::take(&mut *text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION_NAME: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    fn parse(json: &str) -> Result<Installer> {
        Installer::parse("code.png", json, &Overrides::default())
    }

    #[test]
    fn all_addresses_come_before_the_onion_and_bare_ipv6_is_understood() {
        let json = format!(
            r#"{{"pass": "s3cret", "tor": "{ONION_NAME}",
                "addrs": ["192.0.2.1", "2001:db8::1", "ssh://me@example.com"]}}"#
        );
        let installer = parse(&json).unwrap();
        let shown: Vec<String> = installer
            .routes
            .iter()
            .map(|route| {
                format!("{} {}@{} {}", route.network, route.user, route.host, route.technology)
            })
            .collect();
        let onion = format!("installer-tor root@{ONION_NAME} tor");
        assert_eq!(
            shown,
            [
                "installer root@192.0.2.1 direct",
                "installer root@2001:db8::1 direct",
                "installer me@example.com direct",
                &onion,
            ]
        );
        assert_eq!(installer.password.unwrap().expose(), "s3cret");
        assert!(installer.warnings.is_empty());
        let bare = parse(r#"{"pass": null, "tor": null, "addrs": ["127.0.0.1"]}"#).unwrap();
        assert!(bare.password.is_none() && bare.routes.len() == 1);
    }

    #[test]
    fn options_are_ignored_with_a_warning_and_never_become_any() {
        let json = r#"{"addrs": ["ssh://root@192.0.2.1?ProxyCommand=touch%20x"]}"#;
        let installer = parse(json).unwrap();
        assert_eq!(installer.routes.len(), 1);
        assert!(installer.warnings[0].contains("options of an address are ignored"));
    }

    #[test]
    fn broken_ones_are_named_and_nothing_of_them_is_quoted() {
        for json in [
            r#"{"pass": "s3cret""#,
            r#"{"pass": ["s3cret"], "addrs": ["x"]}"#,
            r#"{"pass": "s3cret", "addrs": []}"#,
            r#"{"pass": "s3cret", "addrs": ["-oProxyCommand=x"]}"#,
            "[]",
        ] {
            let error = parse(json).unwrap_err().to_string();
            assert!(error.starts_with("code.png: ") && !error.contains("s3cret"), "{error}");
        }
    }
}
