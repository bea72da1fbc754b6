//! Clan's age store (`clan_lib/vars/_types.py`, backend `age`): secrets in
//! `secrets/clan-vars`, encrypted for machines; the machines' keys in
//! `secrets/age-keys`, encrypted for people.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use age::Identity;

use super::age_file::{self, Closed, MAX_FILE};
use super::file;
use super::identity::{Key, Keyring, native_keys};
use crate::error::{Error, Result};
use crate::exports::VarRef;
use crate::secret::Secret;

/// More machines than any clan has; bounds the search for a shared secret.
const MAX_MACHINES: usize = 10_000;
/// Largest machine key file, in bytes.
const MAX_KEY_FILE: u64 = 1 << 20;

/// The store of one clan.
pub(super) struct AgeStore {
    flake: PathBuf,
    keyring: Keyring,
    /// Machine keys that were looked for; opening one costs more than all else.
    machine_keys: Mutex<HashMap<String, Arc<Vec<Key>>>>,
}

/// Whether locked identities may be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    No,
    Yes,
}

impl AgeStore {
    pub(super) fn new(flake: PathBuf, keyring: Keyring) -> Self {
        Self { flake, keyring, machine_keys: Mutex::default() }
    }

    /// The value of `var` in the folder `dir` of the store, `None` when it has
    /// none.
    pub(super) fn reveal(&self, var: &VarRef, dir: &Path) -> Result<Option<Secret<Vec<u8>>>> {
        let path = Path::new("secrets/clan-vars").join(dir).join(format!("{}.age", var.file()));
        let Some(sealed) = file::read(&self.flake, &path, MAX_FILE)? else { return Ok(None) };
        let broken = |reason: &str| Error::VarBroken {
            path: self.flake.join(&path),
            reason: reason.to_owned(),
        };
        let sealed = match age_file::dearmor(&sealed) {
            Ok(sealed) => sealed,
            Err(Closed::Broken(reason)) => return Err(broken(reason)),
            Err(Closed::NoMatchingKey) => return Err(broken("it is no age file")),
        };
        let shared = dir.starts_with("shared");
        // Nobody is asked for a passphrase while another key may do.
        for asking in [Asking::No, Asking::Yes] {
            match self.open(var, &sealed, shared, asking) {
                Ok(Some(value)) => return Ok(Some(value)),
                Ok(None) => {}
                Err(Failure::Broken(reason)) => return Err(broken(reason)),
                Err(Failure::Error(error)) => return Err(*error),
            }
        }
        Err(self.undecryptable(var, shared)?)
    }

    /// Tries, in this order: our identities themselves (a secret that is not
    /// deployed, or a machine's key as identity), the machine's key, and for
    /// a shared secret the keys of all other machines.
    fn open(
        &self,
        var: &VarRef,
        sealed: &[u8],
        shared: bool,
        asking: Asking,
    ) -> Result<Option<Secret<Vec<u8>>>, Failure> {
        if let Some(value) = self.open_with_identities(sealed, asking)? {
            return Ok(Some(value));
        }
        let others = if shared { self.machines() } else { Vec::new() };
        let own = std::iter::once(var.machine().to_owned());
        let others = others.into_iter().filter(|machine| machine != var.machine());
        for machine in own.chain(others) {
            let keys = self.machine_keys(&machine, asking)?;
            match age_file::decrypt(sealed, keys.iter().map(Key::identity)) {
                Ok(value) => return Ok(Some(value)),
                Err(Closed::NoMatchingKey) => {}
                Err(Closed::Broken(reason)) => return Err(Failure::Broken(reason)),
            }
        }
        Ok(None)
    }

    fn open_with_identities(
        &self,
        sealed: &[u8],
        asking: Asking,
    ) -> Result<Option<Secret<Vec<u8>>>, Failure> {
        let loaded = self.keyring.load()?;
        let attempt = |keys: &[Key]| match age_file::decrypt(
            sealed,
            keys.iter().map(|key| key.identity() as &dyn Identity),
        ) {
            Ok(value) => Ok(Some(value)),
            Err(Closed::NoMatchingKey) => Ok(None),
            Err(Closed::Broken(reason)) => Err(Failure::Broken(reason)),
        };
        if let Some(value) = attempt(&loaded.keys)? {
            return Ok(Some(value));
        }
        if asking == Asking::Yes {
            for locked in &loaded.locked {
                if let Some(value) = attempt(self.keyring.unlock(locked, sealed))? {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    /// The private keys of a machine; none when no identity opens them.
    fn machine_keys(&self, machine: &str, asking: Asking) -> Result<Arc<Vec<Key>>, Failure> {
        let lock = || self.machine_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = lock().get(machine)
            && (asking == Asking::No || !keys.is_empty())
        {
            return Ok(keys.clone());
        }
        let keys = Arc::new(self.read_machine_keys(machine, asking)?);
        lock().insert(machine.to_owned(), keys.clone());
        Ok(keys)
    }

    fn read_machine_keys(&self, machine: &str, asking: Asking) -> Result<Vec<Key>, Failure> {
        let path = Path::new("secrets/age-keys/machines").join(machine).join("key.age");
        let Some(sealed) = file::read(&self.flake, &path, MAX_KEY_FILE)? else {
            return Ok(Vec::new());
        };
        let broken = |reason: String| {
            Failure::from(Error::VarBroken { path: self.flake.join(&path), reason })
        };
        let reason = |closed| match closed {
            Closed::Broken(reason) => reason.to_owned(),
            Closed::NoMatchingKey => "it is no age file".to_owned(),
        };
        let sealed = age_file::dearmor(&sealed).map_err(|closed| broken(reason(closed)))?;
        let opened = match self.open_with_identities(&sealed, asking) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(Vec::new()),
            Err(Failure::Broken(reason)) => return Err(broken(reason.to_owned())),
            Err(failure) => return Err(failure),
        };
        std::str::from_utf8(opened.expose())
            .map_err(|_| broken("it holds no age identity".to_owned()))
            .and_then(|text| native_keys(text).map_err(broken))
    }

    /// Every machine with a key, in the order of their names.
    fn machines(&self) -> Vec<String> {
        let dir = self.flake.join("secrets/age-keys/machines");
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .take(MAX_MACHINES)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    fn undecryptable(&self, var: &VarRef, shared: bool) -> Result<Error> {
        let loaded = self.keyring.load()?;
        let machine = var.machine();
        let has_key =
            self.flake.join("secrets/age-keys/machines").join(machine).join("key.age").exists();
        let reason = match (loaded.origins.is_empty(), has_key) {
            (true, _) => "there is no identity to open it with".to_owned(),
            (false, true) => format!(
                "no identity opens the key of machine {machine:?}{}, or the var itself",
                if shared { " or of another machine" } else { "" }
            ),
            (false, false) => format!("machine {machine:?} has no key, and no identity opens it"),
        };
        let locked = loaded.locked.iter().map(|locked| locked.origin());
        let tried = loaded
            .origins
            .iter()
            .map(|origin| {
                if locked.clone().any(|locked| locked == origin) {
                    format!("{origin} (locked by a passphrase)")
                } else {
                    origin.clone()
                }
            })
            .collect();
        Ok(Error::VarUndecryptable {
            machine: machine.to_owned(),
            var: var.to_string(),
            reason,
            tried,
        })
    }
}

/// Why a file could not be opened, before its path is known.
enum Failure {
    Broken(&'static str),
    Error(Box<Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}
