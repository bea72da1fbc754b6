//! What the user wants of Tor, and Arti's configuration made from it. Owns the
//! defaults and the order of the files; starts nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use arti_client::TorClientConfig;
use arti_client::config::TorClientConfigBuilder;
use toml::{Table, Value};
use tor_hsclient::{HsClientSecretKeys, HsClientSecretKeysBuilder};
use tor_hscrypto::pk::{HsClientDescEncKey, HsClientDescEncKeypair};

use super::address::{ClientAuth, Onion};
use crate::error::{TorFailure, strerror};

/// No configuration is larger, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// Sections of arti.toml that are about the program of this name, and not about its client.
const OF_ARTI_ALONE: [&str; 8] =
    ["application", "dns", "logging", "metrics", "onion_services", "proxy", "rpc", "system"];
/// Where tor listens unless told otherwise (tor(1), `SocksPort`).
const DEFAULT_SOCKS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9050);

/// Which Tor client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// A tor that runs already, if there is one; else our own.
    #[default]
    Auto,
    /// Our own.
    Embedded,
    /// The one that runs already.
    System,
}

/// Where our own client keeps its guards and the list of relays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// In these directories: the guards in the first, the list in the second.
    Dirs(PathBuf, PathBuf),
    /// In a temporary one that is removed in the end.
    Ephemeral,
    /// There is no place that would stay: an error once it is needed, because guards
    /// that change with each connection hide nobody.
    #[default]
    Nowhere,
}

impl State {
    /// Below this directory.
    pub fn below(dir: &Path) -> Self {
        Self::Dirs(dir.join("state"), dir.join("cache"))
    }
}

/// All of it. The default is what users want, but for where it keeps its state.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which client connects.
    pub mode: Mode,
    /// Where the system's tor listens; its default when `None`.
    pub socks: Option<SocketAddr>,
    /// Files in the format of Arti, merged over our defaults in this order.
    pub config: Vec<PathBuf>,
    /// Who else has a say about one of them, and so about which programs are started.
    pub foreign: Option<String>,
    /// Where our own client keeps its state.
    pub state: State,
    /// Where temporary directories go.
    pub temporary: PathBuf,
    /// Keys for client authorization.
    pub client_auth: Vec<ClientAuth>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            socks: None,
            config: Vec::new(),
            foreign: None,
            state: State::default(),
            temporary: "/tmp".into(),
            client_auth: Vec::new(),
        }
    }
}

impl Settings {
    pub(super) fn socks(&self) -> SocketAddr {
        self.socks.unwrap_or(DEFAULT_SOCKS)
    }

    /// What we show to `onion`, if it admits only clients with a key.
    ///
    /// # Errors
    /// [`TorFailure::Config`].
    pub(super) fn keys_for(&self, onion: &Onion) -> Result<HsClientSecretKeys, TorFailure> {
        let Some(key) = self.client_auth.iter().find_map(|auth| auth.key_for(onion)) else {
            return Ok(HsClientSecretKeys::none());
        };
        let mut keys = HsClientSecretKeysBuilder::default();
        let public = HsClientDescEncKey::from(&key);
        keys.ks_hsc_desc_enc(HsClientDescEncKeypair::new(public, key));
        keys.build().map_err(|error| TorFailure::Config(error.to_string()))
    }

    /// The files, merged; later ones win.
    ///
    /// # Errors
    /// [`TorFailure::Config`] with the file and what is wrong in it.
    pub(super) fn merged(&self) -> Result<Table, TorFailure> {
        if let Some(why) = &self.foreign {
            return Err(TorFailure::Config(format!(
                "{why}, and it can start programs: only you may have a say about it"
            )));
        }
        let mut merged = Table::new();
        for path in &self.config {
            let wrong =
                |reason: String| TorFailure::Config(format!("{}: {reason}", path.display()));
            let table = read(path).map_err(wrong)?;
            // Alone, so that the message is about this file.
            build(&table).map_err(wrong)?;
            if let Some(key) = unknown(&table) {
                let key = crate::printable::line(&key);
                return Err(wrong(format!("\"{key}\" is no setting of Tor that is known here")));
            }
            merge(&mut merged, table);
        }
        Ok(merged)
    }
}

/// Arti's configuration: ours, under the user's `table`, with these directories.
///
/// # Errors
/// [`TorFailure::Config`].
pub(super) fn config(
    table: &Table,
    cache: &Path,
    state: &Path,
) -> Result<TorClientConfig, TorFailure> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut all = toml::toml! {
        [storage]
        // Keys for client authorization stay in memory.
        keystore.primary.kind = "ephemeral"
        [address_filter]
        allow_onion_addrs = true
        [preemptive_circuits]
        // We leave the network nowhere, and circuits to exits would only delay
        // those that we need.
        initial_predicted_ports = []
        min_exit_circs_for_port = 0
    };
    if let Some(Value::Table(storage)) = all.get_mut("storage") {
        for (name, dir) in [("cache_dir", cache), ("state_dir", state)] {
            let literal = Table::from_iter([("literal".to_owned(), path(dir).into())]);
            storage.insert(name.to_owned(), Value::Table(literal));
        }
    }
    merge(&mut all, table.clone());
    let builder = build(&all).map_err(TorFailure::Config)?;
    builder.build().map_err(|error| TorFailure::Config(crate::printable::line(&error.to_string())))
}

fn build(table: &Table) -> Result<TorClientConfigBuilder, String> {
    table
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| crate::printable::line(error.message()))
}

/// The first setting that would count for nothing, such as a misspelt one of bridges.
fn unknown(table: &Table) -> Option<String> {
    let mut first = None;
    let mut ignored = |path: serde_ignored::Path<'_>| {
        first.get_or_insert_with(|| path.to_string());
    };
    let ours: Table = table
        .iter()
        .filter(|(section, _)| !OF_ARTI_ALONE.contains(&section.as_str()))
        .map(|(section, value)| (section.clone(), value.clone()))
        .collect();
    let _: Result<TorClientConfigBuilder, _> =
        serde_ignored::deserialize(Value::Table(ours), &mut ignored);
    first
}

fn read(path: &Path) -> Result<Table, String> {
    let meta = fs::metadata(path).map_err(|error| strerror(&error))?;
    if !meta.is_file() || meta.len() > MAX_CONFIG {
        return Err("not a file of at most 1 MiB".to_owned());
    }
    let text = fs::read_to_string(path).map_err(|error| strerror(&error))?;
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| {
            text.get(..span.start).map_or(0, |before| before.matches('\n').count() + 1)
        });
        format!("line {line}: {}", crate::printable::line(error.message()))
    })
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(files: &[&str]) -> Result<Table, TorFailure> {
        let dir = tempfile::tempdir().unwrap();
        let write = |(at, text): (usize, &&str)| {
            let path = dir.path().join(format!("{at}.toml"));
            fs::write(&path, text).unwrap();
            path
        };
        let config = files.iter().enumerate().map(write).collect();
        Settings { config, ..Settings::default() }.merged()
    }

    #[test]
    fn later_files_win_over_earlier_ones_and_all_over_the_defaults() {
        let table = merged(&[
            "[path_rules]\nipv4_subnet_family_prefix = 33\nipv6_subnet_family_prefix = 129",
            "[path_rules]\nipv4_subnet_family_prefix = 16\n[logging]\nconsole = \"x\"",
        ])
        .unwrap();
        let rules = table.get("path_rules").unwrap();
        assert_eq!(rules.get("ipv4_subnet_family_prefix").unwrap().as_integer(), Some(16));
        assert_eq!(rules.get("ipv6_subnet_family_prefix").unwrap().as_integer(), Some(129));
        let (cache, state) = (Path::new("/nonexistent/cache"), Path::new("/nonexistent/state"));
        config(&table, cache, state).unwrap();
        config(&Table::new(), cache, state).unwrap();
    }

    #[test]
    fn a_broken_file_is_named_with_its_line_or_field() {
        let error = merged(&["[path_rules\n"]).unwrap_err().to_string();
        assert!(error.contains("0.toml: line 1"), "{error}");
        let error = merged(&["", "[path_rules]\nipv4_subnet_family_prefix = \"x\""])
            .unwrap_err()
            .to_string();
        assert!(error.contains("1.toml: invalid type: string"), "{error}");
        for misspelt in ["[bridges]\nenabld = true", "[bridge]\nenabled = true", "x = 1"] {
            let error = merged(&[misspelt]).unwrap_err().to_string();
            assert!(error.contains("is no setting of Tor"), "{error}");
        }
        let missing =
            Settings { config: vec!["/nonexistent/tor.toml".into()], ..Settings::default() };
        let said = missing.merged().unwrap_err().to_string();
        assert!(said.ends_with("/nonexistent/tor.toml: No such file or directory"), "{said}");
    }
}
