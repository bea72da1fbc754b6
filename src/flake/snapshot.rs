//! What is known of a clan in one file: its exports, the machines of its
//! inventory with their `targetHost`, its domain. Owns the format, which is
//! deterministic, so that it can be committed for hosts without nix, and which
//! the cache uses too. Knows nothing of how it came about.

mod sealed;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::services::{self, Kept};
use crate::dial;
use crate::error::{Error, Result};
use crate::exports::{check_bounds, check_machine};
use crate::file;
use crate::host_keys;
use crate::model::{Clan, HostKeys, SealedHosts, TargetHost, VarRef};
use crate::options::is_for_addresses;
use crate::printable::Printable;
use crate::vars::Vars;
pub use sealed::{Access, Sealed};

/// The name of a snapshot in the clan's directory.
pub const NAME: &str = "clan-connect.json";
/// What tells a snapshot from the exports themselves.
const MARK: &str = "clan_connect_snapshot";
const VERSION: u32 = 1;
/// Longest public var that is kept, in bytes.
const MAX_VAR: usize = 1024;
/// Most machines.
const MAX_MACHINES: usize = 20_000;
/// Most host keys of a machine, and most authorities: each is compared with each.
const MAX_KEYS: usize = 64;
/// Longest of these, in bytes.
const MAX_KEY: usize = 16 << 10;
/// Most vars of all machines.
const MAX_VARS: usize = 100_000;

/// All that connecting to a clan's machines takes, secrets aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The format, 1.
    #[serde(rename = "clan_connect_snapshot")]
    pub version: u32,
    /// Of the clan's files when it was made, see [`super::fingerprint`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// `meta.domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The machines of the inventory.
    #[serde(default)]
    pub machines: BTreeMap<String, Machine>,
    /// The public keys that sign host certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// `clan.core.networking.targetHost` of the machines for which nix was asked
    /// for it, which takes long; `null` where there is none. Those of all machines in
    /// what `exports snapshot` writes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configured: BTreeMap<String, Option<String>>,
    /// What the inventory says of the services that technologies need the settings of, by
    /// instance; none in the snapshots of older versions, and in exports alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<BTreeMap<String, Kept>>,
    /// The public vars that connecting needs, hosts and what technologies ask for, by
    /// machine and `generator/file`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, BTreeMap<String, String>>,
    /// Secret hosts, for each machine or public key that somebody has asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_hosts: BTreeMap<String, Sealed>,
    /// Whether the flake has no output with the exports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacks_exports: bool,
    /// Entries that could not be evaluated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// `clan.exports`, as Clan writes it.
    pub exports: Value,
}

/// What the inventory says of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `deploy.targetHost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_host: Option<String>,
    /// Its tags, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its public host keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// Its host certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// Why a snapshot does not have the value of a var.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absent {
    /// It is secret.
    Secret,
    /// Nobody has generated it yet.
    Ungenerated,
    /// It is no short text.
    Unfit,
}

impl Snapshot {
    /// A snapshot of the current version.
    pub fn new(exports: Value) -> Self {
        Self {
            version: VERSION,
            fingerprint: None,
            domain: None,
            machines: BTreeMap::new(),
            authorities: Vec::new(),
            configured: BTreeMap::new(),
            services: None,
            vars: BTreeMap::new(),
            secret_hosts: BTreeMap::new(),
            lacks_exports: false,
            failed: Vec::new(),
            exports,
        }
    }

    /// Whether these bytes claim to be a snapshot, and not exports: in whatever order its
    /// entries are, for what is taken for exports has no host keys.
    pub fn is_one(bytes: &[u8]) -> bool {
        let is_there = bytes.trim_ascii_start().starts_with(b"{")
            && bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes());
        let mut keys = Keys::default();
        // What is broken behind the mark is told by whoever reads all of it.
        let _ = is_there
            .then(|| serde_json::Deserializer::from_slice(bytes).deserialize_map(&mut keys));
        keys.has_mark
    }

    /// Reads a snapshot; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Exports`].
    pub fn parse(origin: &str, bytes: &[u8]) -> Result<Self> {
        let wrong = |reason| Error::Exports { origin: origin.to_owned(), reason };
        check_bounds(bytes).map_err(wrong)?;
        let snapshot: Self = serde_json::from_slice(bytes)
            .map_err(|error| wrong(format!("not a snapshot: {error}")))?;
        if snapshot.version > VERSION {
            return Err(wrong(format!(
                "a snapshot of version {}; this program knows version {VERSION}",
                snapshot.version
            )));
        }
        snapshot.check_bounds().map_err(wrong)?;
        Ok(snapshot)
    }

    /// Refuses what no clan has, and what would cost far more than it takes to write.
    fn check_bounds(&self) -> std::result::Result<(), String> {
        let most = |count: usize, most: usize, of: &str| match count > most {
            true => Err(format!("more than {most} {of}")),
            false => Ok(()),
        };
        most(self.machines.len(), MAX_MACHINES, "machines")?;
        most(self.configured.len(), MAX_MACHINES, "machines in \"configured\"")?;
        most(self.vars.values().map(BTreeMap::len).sum(), MAX_VARS, "vars")?;
        most(self.authorities.len(), MAX_KEYS, "authorities")?;
        let mut keys = self.authorities.iter().map(|key| ("authorities", key)).collect::<Vec<_>>();
        for (name, machine) in &self.machines {
            let of = format!("host keys of machine \"{}\"", Printable(name));
            most(machine.host_keys.len(), MAX_KEYS, &of)?;
            keys.extend(
                machine.host_keys.iter().chain(&machine.certificate).map(|key| (&**name, key)),
            );
        }
        match keys.iter().find(|(_, key)| key.len() > MAX_KEY) {
            Some((of, _)) => Err(format!("{}: too large for a public key", Printable(of))),
            None => Ok(()),
        }
    }

    /// The same as JSON with a newline at its end.
    pub fn to_json(&self) -> String {
        // Maps with text for keys always become JSON.
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// The clan that it describes.
    ///
    /// # Errors
    /// As for [`Clan::parse`].
    pub fn clan(&self, origin: &str) -> Result<Clan> {
        let mut clan = Clan::from_value(origin, &self.exports)?;
        for name in &self.failed {
            clan.warnings.push(format!(
                "{}: exports entry {name:?} could not be evaluated; its vars may not be generated yet",
                Printable(origin)
            ));
            clan.add_unevaluated(name);
        }
        clan.lacks_exports = self.lacks_exports;
        clan.set_authorities(place(origin), self.authorities.clone());
        for (name, machine) in &self.machines {
            if let Err(reason) = check_machine(name) {
                clan.warnings
                    .push(format!("machine \"{}\" is left out: {reason}", Printable(name)));
                continue;
            }
            clan.add_machine(name);
            if let Some(target) = address(&mut clan, name, machine.target_host.as_deref()) {
                clan.set_target_host(name, target);
            }
            clan.set_host_keys(name, machine.host_keys.clone(), machine.certificate.clone());
        }
        clan.set_domain(self.domain.clone());
        if let Some(kept) = &self.services {
            clan.set_services(services::services(kept));
        }
        for (machine, vars) in &self.vars {
            for (id, value) in vars.iter().filter(|(_, value)| value.len() <= MAX_VAR) {
                if let Ok(var) = VarRef::parse(machine, id) {
                    clan.set_public_var(var, value.clone());
                }
            }
        }
        for (whose, Sealed { sealed, recipients, .. }) in &self.secret_hosts {
            clan.add_sealed_hosts(SealedHosts {
                whose: whose.clone(),
                recipients: recipients.clone(),
                text: sealed.clone(),
            });
        }
        for (name, text) in &self.configured {
            if check_machine(name).is_err() {
                continue;
            }
            let target = address(&mut clan, name, text.as_deref());
            clan.set_configured_host(name, target);
        }
        Ok(clan)
    }

    /// Adds the host keys of all machines, as the vars have them.
    ///
    /// # Errors
    /// As for [`host_keys::read`] and [`host_keys::none_is_lost`].
    pub fn add_host_keys(&mut self, vars: &Vars) -> Result<()> {
        let of_exports = Clan::from_value("the exports", &self.exports)?;
        for name in of_exports.machines() {
            self.machines.entry(name.to_owned()).or_default();
        }
        for (name, machine) in &mut self.machines {
            let stated = host_keys::read(vars, name)?;
            host_keys::none_is_lost(vars, name, &stated)?;
            let HostKeys { keys, certificate, authorities, .. } = stated;
            machine.host_keys = keys.into_iter().map(|stated| stated.text).collect();
            machine.certificate = certificate.map(|stated| stated.text);
            self.authorities = authorities.into_iter().map(|stated| stated.text).collect();
        }
        Ok(())
    }

    /// Adds the public vars that connecting needs, as far as there are any: hosts, and
    /// what technologies ask for. Hosts that it does not have are returned, each once, with
    /// the reason. What is secret is not even opened.
    ///
    /// # Errors
    /// As for [`Vars::public_value`], and [`Error::Exports`].
    pub fn add_vars(&mut self, vars: &Vars) -> Result<Vec<(VarRef, Absent)>> {
        let clan = self.clan("the exports")?;
        self.vars.clear();
        let hosts = clan.host_vars().map(|var| (var.clone(), true));
        let asked = clan.networks.iter().flat_map(|network| dial::public_vars(&clan, network));
        let (mut seen, mut absent) = (HashSet::new(), Vec::new());
        for (var, is_host) in hosts.chain(asked.map(|var| (var, false))) {
            if !seen.insert(var.clone()) {
                continue;
            }
            let why = match vars.public_value(&var)? {
                Some((bytes, _)) => match String::from_utf8(bytes) {
                    Ok(text) if text.len() <= MAX_VAR => {
                        let of_machine = self.vars.entry(var.machine().to_owned()).or_default();
                        of_machine.insert(var.to_string(), text.trim().to_owned());
                        continue;
                    }
                    _ => Absent::Unfit,
                },
                None if vars.is_kept(&var) => Absent::Secret,
                None => Absent::Ungenerated,
            };
            if is_host {
                absent.push((var, why));
            }
        }
        Ok(absent)
    }

    /// Forgets where nix had the clan's files when it evaluated the exports, which is `source`
    /// if that is known: nobody reads that, and it is another place once this file lies among
    /// them.
    pub fn forget_source(&mut self, source: Option<&Path>) {
        let source = source.and_then(Path::to_str).and_then(|path| Some((path, nowhere(path)?)));
        let source = source.as_ref().map(|(path, nowhere)| (*path, nowhere.as_str()));
        forget_source(&mut self.exports, source);
    }

    /// Writes it so that a reader sees the old file or the new one, whole.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |source| Error::File { action: "write", path: path.to_owned(), source };
        // As umask allows: it is made to be shared.
        file::write_whole(path, self.to_json().as_bytes(), 0o644).map_err(failed)
    }
}

/// Looks for the mark among the keys of an object, and no further than that.
#[derive(Default)]
struct Keys {
    has_mark: bool,
}

impl<'de> Visitor<'de> for &mut Keys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == MARK {
                self.has_mark = true;
                break;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Takes the `flake` from whatever is a var, wherever it is, and has the place of the source
/// be another one in what else names it.
fn forget_source(value: &mut Value, source: Option<(&str, &str)>) {
    match value {
        Value::Object(map) => {
            if map.contains_key("generator") && map.contains_key("file") {
                map.shift_remove("flake");
            }
            map.values_mut().for_each(|inner| forget_source(inner, source));
        }
        Value::Array(all) => all.iter_mut().for_each(|inner| forget_source(inner, source)),
        Value::String(text) => {
            if let Some((path, nowhere)) = source.filter(|(path, _)| text.contains(path)) {
                *text = text.replace(path, nowhere);
            }
        }
        _ => {}
    }
}

/// A path of the store like this one that nothing has, with a hash as nix itself writes one
/// that is no more.
fn nowhere(path: &str) -> Option<String> {
    let (store, name) = path.rsplit_once('/')?;
    let (hash, name) = name.split_once('-')?;
    Some(format!("{store}/{}-{name}", "e".repeat(hash.len())))
}

/// The file that host keys of a snapshot are in, which was read from `origin`: itself, or in
/// its directory.
fn place(origin: &str) -> PathBuf {
    let origin = PathBuf::from(origin);
    if origin.is_dir() { origin.join(NAME) } else { origin }
}

/// A machine's address as it is written in the clan. What it says beside user,
/// host and port is for Clan's own ssh.
fn address(clan: &mut Clan, machine: &str, text: Option<&str>) -> Option<TargetHost> {
    match TargetHost::without_options(text?, is_for_addresses) {
        Ok((target, ignored)) => {
            let ignored =
                ignored.into_iter().map(|why| format!("targetHost of {machine:?}: {why}"));
            clan.warnings.extend(ignored);
            Some(target)
        }
        Err(reason) => {
            clan.refuse_target_host(machine, reason);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Snapshot {
        let mut snapshot = Snapshot::new(serde_json::json!({
            "tor": { "priority": 10, "peers": { "a": { "host": { "plain": "127.0.0.1" } } } },
        }));
        let machine =
            |text: &str| Machine { target_host: Some(text.to_owned()), ..Machine::default() };
        snapshot.machines.insert("b".into(), machine("root@b.example:2222"));
        snapshot.machines.insert("c".into(), machine("c -oProxyCommand=x"));
        snapshot.machines.insert("d".into(), Machine::default());
        snapshot.machines.insert("e".into(), machine("me@e.example:2200?proxycommand=rm&User=x"));
        snapshot.machines.insert("f".into(), machine("f.example?hunter2"));
        snapshot.machines.insert("$(touch x)".into(), machine("b.example"));
        snapshot.configured.insert("`x`".into(), Some("b.example".into()));
        snapshot.configured.insert("a".into(), Some("a.example?User=x".into()));
        snapshot.configured.insert("b".into(), None);
        snapshot.failed.push("x:y::z".into());
        snapshot.services = Some(BTreeMap::from([("vpn".to_owned(), Kept::default())]));
        let vars = [("g/f", "v"), ("../f", "v"), ("g/../../f", "v")];
        let vars = vars.map(|(id, value)| (id.to_owned(), value.to_owned()));
        snapshot.vars.insert("a".into(), BTreeMap::from(vars));
        snapshot
    }

    #[test]
    fn it_is_read_as_it_was_written_and_always_written_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep").join(NAME);
        sample().write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(Snapshot::is_one(&bytes));
        assert_eq!(Snapshot::parse("x", &bytes).unwrap(), sample());
        sample().write(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let left = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "no temporary file is left");
    }

    #[test]
    fn where_nix_had_the_clan_is_forgotten_of_vars_alone() {
        let var = serde_json::json!({ "machine": "m", "generator": "g", "file": "f" });
        let mut with = var.clone();
        with["flake"] = "/nix/store/x-source".into();
        let exports = |var: &Value| {
            serde_json::json!({ "x/n:n:r:m": { "peer": { "hosts": [{ "var": var }] } },
                "o:o:o:m": { "flake": "its own", "file": "f", "deep": { "var": var } } })
        };
        let mut snapshot = Snapshot::new(exports(&with));
        snapshot.forget_source(None);
        assert_eq!(snapshot.exports, exports(&var));
    }

    #[test]
    fn where_nix_had_the_clan_is_another_place_in_what_names_it() {
        let exports = |hash: &str| {
            let own = format!("/nix/store/{hash}-source");
            serde_json::json!({ "x": { "a": own, "b": [format!("{own}/b {own}")],
                "c": "/nix/store/aaaabbbb-source/of-another" } })
        };
        let forgotten = |source: Option<&str>| {
            let mut snapshot = Snapshot::new(exports("abcdefgh"));
            snapshot.forget_source(source.map(Path::new));
            snapshot.exports
        };
        assert_eq!(forgotten(Some("/nix/store/abcdefgh-source")), exports("eeeeeeee"));
        for other in [None, Some("/nix/store/zzzzzzzz-source"), Some("/"), Some("")] {
            assert_eq!(forgotten(other), exports("abcdefgh"), "{other:?}");
        }
    }

    #[test]
    fn machines_and_their_target_hosts_belong_to_the_clan() {
        let clan = sample().clan("x").unwrap();
        for machine in ["a", "b", "c", "d", "e", "f"] {
            assert!(clan.knows(machine), "{machine}");
        }
        // They would become words of a shell.
        assert!(!clan.knows("$(touch x)") && !clan.knows("`x`"));
        assert!(clan.warnings.iter().any(|text| text.contains("$(touch x)")));
        assert_eq!(clan.public_var(&VarRef::new("a", "g", "f").unwrap()), Some("v"));
        // It is of no service that we know.
        assert_eq!(clan.services(), Some(&[][..]));
        let target = clan.target_host("b").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("b.example", Some(2222)));
        assert!(clan.target_host("c").is_none() && clan.target_host("d").is_none());
        assert_eq!(clan.configured_host("a").unwrap().unwrap().host, "a.example");
        assert_eq!((clan.configured_host("b"), clan.configured_host("c")), (Some(None), None));
        assert!(clan.warnings.iter().any(|text| text.contains("option User is ignored")));
        let problems: Vec<String> = clan.problems_of("c").map(ToString::to_string).collect();
        assert_eq!(
            problems,
            ["targetHost of \"c\": invalid target host \"c -oProxyCommand=x\": \
              the host holds a space or a control character"]
        );
        assert!(clan.warnings.iter().any(|text| text.contains("x:y::z")), "{:?}", clan.warnings);
    }

    #[test]
    fn public_hosts_are_in_it_and_what_is_not_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("vars/per-machine/m/g/open/value", b" 192.0.2.1\n");
        write("vars/shared/g/all/value", b"192.0.2.2");
        write("vars/per-machine/m/g/bytes/value", &[0xff]);
        write("vars/per-machine/m/g/other/value", b"hunter2");
        write("secrets/clan-vars/per-machine/m/g/closed/closed.age", b"hunter2");
        let hosts: Vec<Value> = ["open", "all", "bytes", "closed", "none", "open"]
            .map(|file| serde_json::json!({ "var": { "machine": "m", "generator": "g", "file": file } }))
            .into();
        let mut snapshot = Snapshot::new(serde_json::json!({
            "x/net:net::": { "networking": { "module": "clan_lib.network.direct" } },
            "x/net:net:r:m": { "peer": { "hosts": hosts } },
        }));
        let vars = Vars::new(
            Some(dir.path().to_owned()),
            Vec::new(),
            crate::vars::Environment::default(),
            std::sync::Arc::new(crate::prompter::Nobody),
        );
        let absent = snapshot.add_vars(&vars).unwrap();
        let absent: Vec<_> = absent.iter().map(|(var, why)| (var.file(), *why)).collect();
        assert_eq!(
            absent,
            [("bytes", Absent::Unfit), ("closed", Absent::Secret), ("none", Absent::Ungenerated)]
        );
        let kept = [("g/all", "192.0.2.2"), ("g/open", "192.0.2.1")];
        let kept = kept.map(|(id, value)| (id.to_owned(), value.to_owned()));
        assert_eq!(snapshot.vars["m"], BTreeMap::from(kept));
        // Where the snapshot stands alone, the host is read from it.
        let clan = snapshot.clan("x").unwrap();
        let routes = crate::plan::plan(&clan, "m", &Default::default()).unwrap();
        assert_eq!(clan.kept_hosts(routes.iter().map(|route| &route.host)).public.len(), 2);
    }

    #[test]
    fn a_snapshot_is_not_made_without_a_key_that_was_lost() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("vars/per-machine/m/openssh/ssh.id_ed25519/secret");
        std::fs::create_dir_all(secret.parent().unwrap()).unwrap();
        std::fs::write(secret, "").unwrap();
        let vars = Vars::new(
            Some(dir.path().to_owned()),
            Vec::new(),
            crate::vars::Environment::default(),
            std::sync::Arc::new(crate::prompter::Nobody),
        );
        let mut snapshot = Snapshot::new(serde_json::json!({}));
        snapshot.machines.insert("n".into(), Machine::default());
        snapshot.add_host_keys(&vars).unwrap();
        snapshot.machines.insert("m".into(), Machine::default());
        let error = snapshot.add_host_keys(&vars).unwrap_err().to_string();
        assert!(error.contains("m/openssh/ssh.id_ed25519.pub/value: it is missing"), "{error}");
    }

    #[test]
    fn options_cost_a_machine_no_address() {
        let clan = sample().clan("x").unwrap();
        assert_eq!(clan.target_host("e").unwrap().to_string(), "me@e.example:2200");
        assert_eq!(clan.target_host("f").unwrap().to_string(), "f.example");
        for said in [
            "targetHost of \"e\": option proxycommand is not taken from an address",
            "targetHost of \"f\": an option has no value",
        ] {
            assert!(clan.warnings.iter().any(|text| text.starts_with(said)), "{:?}", clan.warnings);
        }
        assert!(!format!("{clan:?}").contains("hunter2"), "it may be a password");
    }

    #[test]
    fn a_later_version_and_broken_files_are_refused_by_name() {
        let later = r#"{"clan_connect_snapshot": 2, "exports": {}}"#;
        for text in [later, r#"{"clan_connect_snapshot": 1}"#, "{"] {
            let error = Snapshot::parse("file.json", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("file.json: "), "{error}");
        }
        assert!(!Snapshot::is_one(b"{\"tor\": {}}"));
    }

    #[test]
    fn a_snapshot_is_one_in_whatever_order_its_entries_are() {
        let keys = "ssh-ed25519 AAAA ".repeat(40);
        let last = format!(
            r#"{{"authorities": ["{keys}"], "exports": {{}}, "clan_connect_snapshot": 1}}"#
        );
        assert!(Snapshot::is_one(last.as_bytes()));
        assert!(Snapshot::is_one(
            br#"{"clan\u005fconnect_snapshot": 1, "clan_connect_snapshot": 1}"#
        ));
        // The same word elsewhere is none.
        for other in [
            r#"{"exports": {"clan_connect_snapshot": 1}}"#,
            r#"{"n": "clan_connect_snapshot"}"#,
            r#"["clan_connect_snapshot"]"#,
            "clan_connect_snapshot",
        ] {
            assert!(!Snapshot::is_one(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_no_clan_has_is_refused() {
        let refused = |change: &dyn Fn(&mut Snapshot)| {
            let mut snapshot = sample();
            change(&mut snapshot);
            Snapshot::parse("x", snapshot.to_json().as_bytes()).unwrap_err().to_string()
        };
        let with_keys = |keys: Vec<String>| Machine { host_keys: keys, ..Machine::default() };
        for (change, why) in [
            (
                &(|it: &mut Snapshot| it.authorities = vec![String::new(); MAX_KEYS + 1])
                    as &dyn Fn(&mut Snapshot),
                "more than 64 authorities",
            ),
            (
                &|it| {
                    it.machines.insert("b".into(), with_keys(vec![String::new(); MAX_KEYS + 1]));
                },
                "more than 64 host keys of machine \"b\"",
            ),
            (
                &|it| {
                    it.machines.insert("b".into(), with_keys(vec!["x".repeat(MAX_KEY + 1)]));
                },
                "b: too large for a public key",
            ),
            (
                &|it| {
                    let all = (0..=MAX_MACHINES).map(|at| (format!("m{at}"), Machine::default()));
                    it.machines = all.collect();
                },
                "more than 20000 machines",
            ),
            (
                &|it| {
                    let all = (0..=MAX_VARS).map(|at| (format!("g/f{at}"), String::new()));
                    it.vars.insert("a".into(), all.collect());
                },
                "more than 100000 vars",
            ),
        ] {
            let error = refused(change);
            assert!(error.contains(why), "{error}");
        }
    }
}
