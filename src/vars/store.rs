//! The stores in which Clan keeps secrets, `age` and `sops` (`clan_lib/vars`):
//! secrets encrypted for machines, and the machines' keys encrypted for people.
//! Owns their layouts and the way from an identity to a secret.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::age_file::{AgeFile, MAX_FILE};
use super::file;
use super::identity::{Asking, Family, Keyring};
use super::key::{self, Key};
use super::sealed::{Closed, Sealed};
use super::sops::{DataKeys, Format, SopsFile};
use crate::error::{Error, Result};
use crate::exports::VarRef;
use crate::secret::Secret;

/// More machines than any clan has; bounds the search for a shared secret.
const MAX_MACHINES: usize = 10_000;
/// Largest machine key file, in bytes.
const MAX_KEY_FILE: u64 = 1 << 20;

/// One store of one clan.
pub(super) struct Store {
    layout: Layout,
    /// Canonical.
    flake: PathBuf,
    keyring: Arc<Keyring>,
    /// Machine keys that were looked for; opening one costs more than all else.
    machine_keys: Mutex<HashMap<String, Arc<Vec<Key>>>>,
    data_keys: Arc<DataKeys>,
}

/// Where things lie and how they are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `secrets/clan-vars`, `secrets/age-keys`: age files.
    Age,
    /// `vars`, `sops/secrets`: files of sops' binary store.
    Sops,
}

impl Layout {
    fn family(self) -> Family {
        match self {
            Self::Age => Family::Age,
            Self::Sops => Family::Sops,
        }
    }

    fn secret(self, dir: &Path, file: &str) -> PathBuf {
        match self {
            Self::Age => Path::new("secrets/clan-vars").join(dir).join(format!("{file}.age")),
            Self::Sops => Path::new("vars").join(dir).join("secret"),
        }
    }

    /// The folder that has one entry for every machine's key.
    fn machines(self) -> &'static str {
        match self {
            Self::Age => "secrets/age-keys/machines",
            Self::Sops => "sops/secrets",
        }
    }

    fn machine_key(self, machine: &str) -> PathBuf {
        match self {
            Self::Age => Path::new(self.machines()).join(machine).join("key.age"),
            Self::Sops => Path::new(self.machines()).join(format!("{machine}-age.key/secret")),
        }
    }

    fn machine_of(self, entry: &str) -> Option<&str> {
        match self {
            Self::Age => Some(entry),
            Self::Sops => entry.strip_suffix("-age.key"),
        }
    }
}

impl Store {
    pub(super) fn new(layout: Layout, flake: PathBuf, keyring: Arc<Keyring>) -> Self {
        let (machine_keys, data_keys) = Default::default();
        Self { layout, flake, keyring, machine_keys, data_keys }
    }

    /// The value of `var` in the folder `dir` of the store, `None` when it has
    /// none.
    ///
    /// # Errors
    /// As for [`super::Vars::reveal`].
    pub(super) fn reveal(&self, var: &VarRef, dir: &Path) -> Result<Option<Secret<Vec<u8>>>> {
        let path = self.layout.secret(dir, var.file());
        let Some(mut sealed) = self.read(&path, MAX_FILE)? else { return Ok(None) };
        let shared = dir.starts_with("shared");
        let mut broken_key = None;
        // Nobody is asked for a passphrase while another key may do.
        for asking in [Asking::Named, Asking::All] {
            let opened = self.keyring.open(self.layout.family(), &mut *sealed, asking)?;
            if let Some(value) = opened.map_err(|closed| closed.at(&self.flake.join(&path)))? {
                return Ok(Some(value));
            }
            let others = if shared { self.machines() } else { Vec::new() };
            let own = std::iter::once(var.machine().to_owned());
            let others = others.into_iter().filter(|machine| machine != var.machine());
            for machine in own.chain(others) {
                match self.machine_keys(&machine, asking) {
                    Ok(keys) => {
                        let opened = sealed.open(&keys);
                        let opened = opened.map_err(|closed| closed.at(&self.flake.join(&path)))?;
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

    /// The plaintext of the sops file at `path`, which need not be the clan's.
    ///
    /// # Errors
    /// As for [`super::Vars::open_sops`].
    pub(super) fn open_file(&self, path: &Path, format: Format) -> Result<Secret<Vec<u8>>> {
        let bytes = file::read_any(path, MAX_FILE)?;
        let mut file =
            SopsFile::parse(&bytes, format, &self.data_keys).map_err(|closed| closed.at(path))?;
        for asking in [Asking::Named, Asking::All] {
            let opened = self.keyring.open(self.layout.family(), &mut file, asking)?;
            if let Some(plain) = opened.map_err(|closed| closed.at(path))? {
                return Ok(plain);
            }
        }
        let entries = self.keyring.entries(self.layout.family())?;
        let reason = file.obstacle().unwrap_or_else(|| match entries.is_empty() {
            true => "there is no identity to open it with".to_owned(),
            false => "no identity opens it".to_owned(),
        });
        let tried = entries.iter().map(|entry| entry.describe()).collect();
        Err(Error::Undecryptable { path: path.to_owned(), reason, tried })
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Box<dyn Sealed>>> {
        let Some(bytes) = file::read(&self.flake, path, limit)? else { return Ok(None) };
        let parsed: Result<Box<dyn Sealed>, Closed> = match self.layout {
            Layout::Age => AgeFile::parse(&bytes).map(|file| Box::new(file) as _),
            Layout::Sops => SopsFile::parse(&bytes, Format::Binary, &self.data_keys)
                .map(|file| Box::new(file) as _),
        };
        parsed.map(Some).map_err(|closed| closed.at(&self.flake.join(path)))
    }

    /// The private keys of a machine; none when no identity opens them.
    fn machine_keys(&self, machine: &str, asking: Asking) -> Result<Arc<Vec<Key>>> {
        let lock = || self.machine_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = lock().get(machine)
            && (asking == Asking::Named || !keys.is_empty())
        {
            return Ok(keys.clone());
        }
        let keys = Arc::new(self.read_machine_keys(machine, asking)?);
        lock().insert(machine.to_owned(), keys.clone());
        Ok(keys)
    }

    fn read_machine_keys(&self, machine: &str, asking: Asking) -> Result<Vec<Key>> {
        let path = self.layout.machine_key(machine);
        let Some(mut sealed) = self.read(&path, MAX_KEY_FILE)? else { return Ok(Vec::new()) };
        let closed = |closed: Closed| closed.at(&self.flake.join(&path));
        let opened = self.keyring.open(self.layout.family(), &mut *sealed, asking)?;
        let Some(opened) = opened.map_err(closed)? else { return Ok(Vec::new()) };
        match std::str::from_utf8(opened.expose()) {
            Ok(text) => key::native(text).map_err(|reason| closed(Closed::Broken(reason))),
            Err(_) => Err(closed(Closed::broken("it holds no age identity"))),
        }
    }

    /// Every machine with a key, in the order of their names.
    fn machines(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.flake.join(self.layout.machines()))
            .into_iter()
            .flatten()
            .take(MAX_MACHINES)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| self.layout.machine_of(&name).map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    fn undecryptable(&self, var: &VarRef, sealed: &dyn Sealed, shared: bool) -> Result<Error> {
        let entries = self.keyring.entries(self.layout.family())?;
        let machine = var.machine();
        let has_key = self.flake.join(self.layout.machine_key(machine)).exists();
        let has_keys = self.machine_keys(machine, Asking::Named).is_ok_and(|keys| !keys.is_empty());
        let reason = if let Some(obstacle) = sealed.obstacle() {
            obstacle
        } else if entries.is_empty() {
            "there is no identity to open it with".to_owned()
        } else if has_keys {
            format!("neither the key of machine {machine:?} nor an identity opens it")
        } else if has_key {
            let others = if shared { " or of another machine" } else { "" };
            format!("no identity opens the key of machine {machine:?}{others}, or the var itself")
        } else {
            format!("machine {machine:?} has no key, and no identity opens it")
        };
        let tried = entries.iter().map(|entry| entry.describe()).collect();
        let machine = machine.to_owned();
        Ok(Error::VarUndecryptable { machine, var: var.to_string(), reason, tried })
    }
}
