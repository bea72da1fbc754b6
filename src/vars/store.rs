//! The stores in which Clan keeps secrets, `age`, `sops` and `password-store`
//! (`clan_lib/vars`): secrets encrypted for machines, and the machines' keys
//! encrypted for people. Owns their layouts and the way from an identity to a
//! secret.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::age_file::{AgeFile, MAX_FILE};
use super::closed::Closed;
use super::effort::Effort;
use super::file;
use super::identity::{Asking, Family, Keyring, Round};
use super::key::{self, Key};
use super::placement::Placement;
use super::sealed::Sealed;
use super::sealed_hosts::PublicKey;
use super::sops::{DataKeys, Format, SopsFile};
use crate::error::{Error, Result};
use crate::model::VarRef;
use crate::secret::Secret;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Largest machine key file, in bytes.
const MAX_KEY_FILE: u64 = 1 << 20;

/// One store of one clan.
pub(super) struct Store {
    layout: Layout,
    /// The clan's directory or the password store; canonical.
    root: PathBuf,
    keyring: Arc<Keyring>,
    /// Machine keys that were looked for; opening one costs more than all else.
    machine_keys: Mutex<HashMap<String, MachineKeys>>,
    data_keys: Arc<DataKeys>,
}

/// A machine's keys, and how far the user was asked to get them.
type MachineKeys = (Asking, Arc<Vec<Key>>);

/// Where things lie and how they are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `secrets/clan-vars`, `secrets/age-keys`: age files.
    Age,
    /// `vars`, `sops/secrets`: files of sops' binary store.
    Sops,
    /// `clan-vars` in a password store: age files of passage(1), or GPG files of
    /// pass(1), which only have a name here.
    Passwords,
}

impl Layout {
    fn family(self) -> Family {
        match self {
            Self::Age => Family::Age,
            Self::Sops => Family::Sops,
            Self::Passwords => Family::Passage,
        }
    }

    /// What Clan calls it (`clan.core.vars.settings.secretStore`).
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Sops => "sops",
            Self::Passwords => "password-store",
        }
    }

    /// The folder that `dir` of a var is in.
    fn secrets(self) -> &'static str {
        match self {
            Self::Age => "secrets/clan-vars",
            Self::Sops => "vars",
            Self::Passwords => "clan-vars",
        }
    }

    fn secret(self, dir: &Path, file: &str) -> PathBuf {
        let dir = Path::new(self.secrets()).join(dir);
        match self {
            Self::Age => dir.join(format!("{file}.age")),
            Self::Sops => dir.join("secret"),
            Self::Passwords => dir.with_file_name(format!("{file}.age")),
        }
    }

    /// The var that the entry `name` in the folder of a generator belongs to,
    /// if it is a secret.
    fn file_of(self, generator: &Path, name: &str) -> Option<String> {
        match self {
            Self::Age => {
                generator.join(name).join(format!("{name}.age")).exists().then(|| name.to_owned())
            }
            Self::Sops => generator.join(name).join("secret").exists().then(|| name.to_owned()),
            Self::Passwords => {
                name.strip_suffix(".age").or_else(|| name.strip_suffix(".gpg")).map(str::to_owned)
            }
        }
    }

    /// The folder that has one entry for every machine's key.
    fn machines(self) -> Option<&'static str> {
        match self {
            Self::Age => Some("secrets/age-keys/machines"),
            Self::Sops => Some("sops/secrets"),
            // Everything is encrypted for people.
            Self::Passwords => None,
        }
    }

    fn machine_key(self, machine: &str) -> Option<PathBuf> {
        let machines = Path::new(self.machines()?);
        Some(match self {
            Self::Sops => machines.join(format!("{machine}-age.key/secret")),
            _ => machines.join(machine).join("key.age"),
        })
    }

    /// The file with the public key of a machine.
    fn public_key(self, machine: &str) -> Option<PathBuf> {
        match self {
            Self::Age => Some(Path::new("secrets/age-keys/machines").join(machine).join("pub")),
            Self::Sops => Some(Path::new("sops/machines").join(machine).join("key.json")),
            Self::Passwords => None,
        }
    }

    fn machine_of(self, entry: &str) -> Option<&str> {
        match self {
            Self::Sops => entry.strip_suffix("-age.key"),
            _ => Some(entry),
        }
    }
}

impl Store {
    pub(super) fn new(layout: Layout, root: PathBuf, keyring: Arc<Keyring>) -> Self {
        let (machine_keys, data_keys) = Default::default();
        Self { layout, root, keyring, machine_keys, data_keys }
    }

    /// The value of `var` at its placement, `None` when the store has none.
    /// Whether the user may be asked goes up by `rounds`.
    ///
    /// # Errors
    /// As for [`super::Vars::reveal`].
    pub(super) fn reveal(
        &self,
        var: &VarRef,
        placement: Placement,
        rounds: &[Round],
        effort: &Effort,
    ) -> Result<Option<Secret<Vec<u8>>>> {
        let path = self.layout.secret(&placement.dir(var), var.file());
        let Some(mut sealed) = self.read(&path, MAX_FILE)? else {
            return match self.has_gpg(&path) {
                true => Err(self.encrypted_by_gpg(var)),
                false => Ok(None),
            };
        };
        let shared = placement.is_shared();
        let mut broken_key = None;
        let mut tried = HashSet::new();
        for &round in rounds {
            let opened = self.keyring.open(self.layout.family(), &mut *sealed, round, effort)?;
            if let Some(value) = opened.map_err(|closed| closed.at(&self.root.join(&path)))? {
                return Ok(Some(value));
            }
            let others = if shared { self.machines()? } else { Vec::new() };
            let own = std::iter::once(var.machine().to_owned());
            let others = others.into_iter().filter(|machine| machine != var.machine());
            for machine in own.chain(others) {
                match self.machine_keys(&machine, round.asking, effort) {
                    Ok(keys) if keys.is_empty() || !tried.insert(machine.clone()) => {}
                    Ok(keys) => {
                        let opened = sealed.open(&keys, effort);
                        let opened = opened.map_err(|closed| closed.at(&self.root.join(&path)))?;
                        if opened.is_some() {
                            return Ok(opened);
                        }
                    }
                    // Only the machine's own key is expected to be of use.
                    Err(error) if machine == var.machine() => broken_key = Some(error),
                    Err(_) => {}
                }
            }
        }
        Err(match broken_key {
            Some(error) => error,
            None => self.undecryptable(var, &*sealed, shared)?,
        })
    }

    /// A digest of the file that `var` is in, if it is in this store.
    ///
    /// # Errors
    /// As for [`file::read`].
    pub(super) fn digest(&self, var: &VarRef, placement: Placement) -> Result<Option<String>> {
        let path = self.layout.secret(&placement.dir(var), var.file());
        let bytes = file::read(&self.root, &path, MAX_FILE)?;
        Ok(bytes.map(|bytes| data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))))
    }

    /// The public keys of a machine that are age's (Clan's `sops/machines/M/key.json`, and
    /// `secrets/age-keys/machines/M/pub`).
    ///
    /// # Errors
    /// [`Error::VarBroken`] for what is none, and those of [`file::read`].
    pub(super) fn public_keys(&self, machine: &str) -> Result<Vec<PublicKey>> {
        let Some(path) = self.layout.public_key(machine) else { return Ok(Vec::new()) };
        let Some(bytes) = file::read(&self.root, &path, MAX_KEY_FILE)? else {
            return Ok(Vec::new());
        };
        let broken = |reason: &str| Error::VarBroken {
            path: self.root.join(&path),
            reason: reason.to_owned(),
        };
        let keys = match self.layout {
            Layout::Sops => sops_keys(&bytes).ok_or_else(|| broken("it holds no public keys"))?,
            _ => String::from_utf8_lossy(&bytes).split_whitespace().map(str::to_owned).collect(),
        };
        let keys: Option<Vec<PublicKey>> = keys.iter().map(|key| PublicKey::parse(key)).collect();
        keys.ok_or_else(|| broken("it holds something else than public keys of age (age1…)"))
    }

    /// Whether there is a secret of this name, whoever may open it.
    pub(super) fn has(&self, var: &VarRef, placement: Placement) -> bool {
        let path = self.layout.secret(&placement.dir(var), var.file());
        self.root.join(&path).exists() || self.has_gpg(&path)
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Box<dyn Sealed>>> {
        let Some(bytes) = file::read(&self.root, path, limit)? else { return Ok(None) };
        let parsed: Result<Box<dyn Sealed>, Closed> = match self.layout {
            Layout::Age | Layout::Passwords => {
                AgeFile::parse(&bytes).map(|file| Box::new(file) as _)
            }
            Layout::Sops => SopsFile::parse(&bytes, Format::Binary, &self.data_keys)
                .map(|file| Box::new(file) as _),
        };
        parsed.map(Some).map_err(|closed| closed.at(&self.root.join(path)))
    }

    /// The private keys of a machine; none when no identity opens them.
    fn machine_keys(
        &self,
        machine: &str,
        asking: Asking,
        effort: &Effort,
    ) -> Result<Arc<Vec<Key>>> {
        let lock = || self.machine_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, keys)) = lock().get(machine)
            && (*asked >= asking || !keys.is_empty())
        {
            return Ok(keys.clone());
        }
        let keys = Arc::new(self.read_machine_keys(machine, asking, effort)?);
        lock().insert(machine.to_owned(), (asking, keys.clone()));
        Ok(keys)
    }

    fn read_machine_keys(
        &self,
        machine: &str,
        asking: Asking,
        effort: &Effort,
    ) -> Result<Vec<Key>> {
        // Read anew, the file remembers nothing of an earlier round.
        let round = Round { asking, before: None };
        let Some(path) = self.layout.machine_key(machine) else { return Ok(Vec::new()) };
        let Some(mut sealed) = self.read(&path, MAX_KEY_FILE)? else { return Ok(Vec::new()) };
        let closed = |closed: Closed| closed.at(&self.root.join(&path));
        let opened = self.keyring.open(self.layout.family(), &mut *sealed, round, effort)?;
        let Some(opened) = opened.map_err(closed)? else { return Ok(Vec::new()) };
        match std::str::from_utf8(opened.expose()) {
            Ok(text) => key::of_machine(text).map_err(|reason| closed(Closed::Broken(reason))),
            Err(_) => Err(closed(Closed::broken("it holds no age identity"))),
        }
    }

    /// Every machine that this store has anything of.
    ///
    /// # Errors
    /// As for [`file::names`].
    pub(super) fn known_machines(&self) -> Result<Vec<String>> {
        let vars = Path::new(self.layout.secrets()).join("per-machine");
        let mut machines = file::names(&self.root, &vars)?;
        machines.extend(self.machines()?);
        Ok(machines)
    }

    /// Every machine with a key, in the order of their names.
    fn machines(&self) -> Result<Vec<String>> {
        let Some(machines) = self.layout.machines() else { return Ok(Vec::new()) };
        let names = file::names(&self.root, Path::new(machines))?;
        let machine = |name: &String| self.layout.machine_of(name).map(str::to_owned);
        Ok(names.iter().filter_map(machine).collect())
    }

    /// Generator and file of every secret of `place`, which is `per-machine/M`
    /// or `shared`.
    ///
    /// # Errors
    /// As for [`file::names`].
    pub(super) fn list(&self, place: &Path) -> Result<Vec<(String, String)>> {
        let place = Path::new(self.layout.secrets()).join(place);
        let mut found = Vec::new();
        for generator in file::names(&self.root, &place)? {
            let dir = place.join(&generator);
            let files = file::names(&self.root, &dir)?;
            let dir = self.root.join(dir);
            let files = files.iter().filter_map(|name| self.layout.file_of(&dir, name));
            found.extend(files.map(|file| (generator.clone(), file)));
        }
        Ok(found)
    }

    /// Whether it lies in no clan, so that several may keep their secrets in it.
    pub(super) fn is_shared_by_clans(&self) -> bool {
        self.layout == Layout::Passwords
    }

    pub(super) fn name(&self) -> &'static str {
        self.layout.name()
    }

    /// Whether pass(1), which knows only GPG, has the entry at `path`.
    fn has_gpg(&self, path: &Path) -> bool {
        self.layout == Layout::Passwords && self.root.join(path).with_extension("gpg").exists()
    }

    fn encrypted_by_gpg(&self, var: &VarRef) -> Error {
        Error::VarUndecryptable {
            machine: var.machine().to_owned(),
            var: var.to_string(),
            reason: format!(
                "it is encrypted by GPG in the password store {}, and GPG is not supported; \
                 move the clan to passage (`passCommand = \"passage\"`), or keep this value in \
                 the age or sops store",
                self.root.display()
            ),
            tried: Vec::new(),
        }
    }

    fn undecryptable(&self, var: &VarRef, sealed: &dyn Sealed, shared: bool) -> Result<Error> {
        let entries = self.keyring.entries(self.layout.family())?;
        let machine = var.machine();
        let machine_key = self.layout.machine_key(machine);
        let has_key = machine_key.as_ref().is_some_and(|path| self.root.join(path).exists());
        let effort = self.keyring.effort();
        let keys = self.machine_keys(machine, Asking::Never, &effort);
        let has_keys = keys.is_ok_and(|keys| !keys.is_empty());
        let reason = if let Some(obstacle) = sealed.obstacle() {
            obstacle
        } else if entries.is_empty() {
            "there is no identity to open it with".to_owned()
        } else if has_keys {
            format!("neither the key of machine {machine:?} nor an identity opens it")
        } else if has_key {
            let others = if shared { " or of another machine" } else { "" };
            format!("no identity opens the key of machine {machine:?}{others}, or the var itself")
        } else if machine_key.is_some() {
            format!("none of your keys opens it, and the clan has no key of {machine:?} that could")
        } else {
            "no identity opens it".to_owned()
        };
        let tried = entries.iter().map(|entry| entry.describe()).collect();
        let machine = machine.to_owned();
        Ok(Error::VarUndecryptable { machine, var: var.to_string(), reason, tried })
    }
}

/// The keys of age's in a `key.json` of Clan's: one, or a list (`clan_cli/secrets/folders.py`).
fn sops_keys(bytes: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct PublicKey {
        publickey: String,
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Keys {
        One(PublicKey),
        Several(Vec<PublicKey>),
    }
    let keys = match serde_json::from_slice(bytes).ok()? {
        Keys::One(key) => vec![key],
        Keys::Several(keys) => keys,
    };
    // Others are of PGP, which machines do not have.
    let of_age = keys.into_iter().filter(|key| key.kind == "age");
    Some(of_age.map(|key| key.publickey).collect())
}

/// The plaintext of the sops file at `path`, which need not be the clan's.
///
/// # Errors
/// As for [`super::Vars::open_sops`].
pub(super) fn open_sops(path: &Path, format: Format, keyring: &Keyring) -> Result<Secret<Vec<u8>>> {
    let bytes = file::read_any(path, MAX_FILE)?;
    let parsed = SopsFile::parse(&bytes, format, &Arc::default());
    let mut file = parsed.map_err(|closed| closed.at(path))?;
    let effort = keyring.effort();
    for round in Round::ALL {
        let opened = keyring.open(Family::Sops, &mut file, round, &effort)?;
        if let Some(plain) = opened.map_err(|closed| closed.at(path))? {
            return Ok(plain);
        }
    }
    let entries = keyring.entries(Family::Sops)?;
    let reason = file.obstacle().unwrap_or_else(|| match entries.is_empty() {
        true => "there is no identity to open it with".to_owned(),
        false => "no identity opens it".to_owned(),
    });
    let tried = entries.iter().map(|entry| entry.describe()).collect();
    Err(Error::Undecryptable { path: path.to_owned(), reason, tried })
}
