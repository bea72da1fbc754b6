//! Libraries that `$LD_PRELOAD` puts before libc so that connections go through a
//! proxy: torsocks, proxychains and the like. A static program loads nothing, so that
//! it would connect directly where somebody relies on not being seen. Owns which
//! libraries these are, and how a user says that he knows; refuses nothing itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::env::Env;
use crate::printable;

/// Parts of the names of their files.
const LIBRARIES: [&str; 4] = ["torsocks", "proxychains", "tsocks", "proxybound"];

/// Says that the user knows: with `ignore` connections are direct all the same.
const OVERRIDE: &str = "CLAN_CONNECT_PRELOAD";

/// A library that cannot lead our connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preload {
    /// The name of its file, printable.
    pub name: String,
    /// Whether it would lead them through Tor, which we speak ourselves.
    pub is_tor: bool,
}

impl Preload {
    /// The first one of `$LD_PRELOAD`, in which colons and spaces separate (ld.so(8)).
    pub fn of(env: &Env) -> Option<Self> {
        if env.text(OVERRIDE) == Some("ignore") {
            return None;
        }
        let all = env.var("LD_PRELOAD")?.as_bytes();
        let mut files = all.split(|byte| b": \t\n".contains(byte));
        files.find_map(|file| {
            let name = file.rsplit(|byte| *byte == b'/').next()?;
            let name = OsStr::from_bytes(name).to_string_lossy();
            let known = LIBRARIES.iter().find(|known| name.to_ascii_lowercase().contains(**known));
            let is_tor = known.map(|known| *known == "torsocks")?;
            Some(Self { name: printable::line(&name), is_tor })
        })
    }

    /// Whether a variable belongs to such a library, for programs that it can lead.
    pub fn is_variable(name: &OsStr) -> bool {
        const BEGINNINGS: [&[u8]; 5] =
            [b"TORSOCKS_", b"PROXYCHAINS_", b"PROXYRESOLV_", b"TSOCKS_", b"PROXYBOUND_"];
        let name = name.as_bytes();
        name == b"LD_PRELOAD" || BEGINNINGS.iter().any(|start| name.starts_with(start))
    }

    /// The way out; `flag` has a program of the user's connect.
    pub fn advice(flag: &str) -> String {
        format!(
            "use {flag}, which the library does redirect, or set {OVERRIDE}=ignore to connect \
             directly"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &str) -> Option<String> {
        Preload::of(&Env::of([("LD_PRELOAD", value)])).map(|preload| preload.name)
    }

    #[test]
    fn libraries_that_lead_connections_are_known_by_their_files() {
        for (value, name) in [
            ("/usr/lib/x86_64-linux-gnu/torsocks/libtorsocks.so", "libtorsocks.so"),
            ("/usr/lib/x86_64-linux-gnu/libproxychains.so.4", "libproxychains.so.4"),
            ("libtsocks.so", "libtsocks.so"),
            ("/a/libfaketime.so.1:/b/libproxychains4.so", "libproxychains4.so"),
            ("/a/libeatmydata.so libproxybound.so", "libproxybound.so"),
        ] {
            assert_eq!(found(value).as_deref(), Some(name), "{value}");
        }
        for other in ["", "/usr/lib/libeatmydata.so", "/opt/torsocks/libjemalloc.so", ":: "] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn who_knows_is_not_stopped() {
        let named = |value| {
            let variables = [("LD_PRELOAD", "libtorsocks.so"), (OVERRIDE, value)];
            Preload::of(&Env::of(variables)).is_some()
        };
        assert!(!named("ignore") && named("") && named("no"));
    }
}
