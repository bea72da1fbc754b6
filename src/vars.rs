//! Generated values of a clan: from a name to the bytes. Owns where Clan keeps
//! them (`clan_lib/vars`); reads keys and ciphertext, never the network, never
//! writes. Decryption happens in memory only.

mod age_file;
mod environment;
mod file;
mod hybrid;
mod identity;
mod key;
mod plugin;
mod sealed;
mod sops;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::exports::VarRef;
use crate::secret::Secret;
use crate::user::User;

pub use environment::Environment;
use identity::{Asking, Family, Keyring};
pub use sops::Format as SopsFormat;
use store::{Layout, Store};

/// Largest value, in bytes. Clan's own are keys and names.
pub const MAX_VALUE: u64 = 16 << 20;

/// The vars of one clan. Making one reads nothing; identities are read when
/// the first secret is asked for, and kept.
pub struct Vars {
    /// None where there is no clan: on a machine, with an exports file.
    flake: Option<PathBuf>,
    stores: Vec<Store>,
    keyring: Arc<Keyring>,
    /// What a machine of the clan has deployed.
    deployed: PathBuf,
}

/// A var and what can be said of it without asking anyone.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name, as a var of the machine that was asked for.
    pub var: VarRef,
    /// Whether all machines share it.
    pub shared: bool,
    /// Where its value is.
    pub kept: Kept,
}

/// Where a value is kept.
#[derive(Debug, Clone)]
pub enum Kept {
    /// In the clear, for everyone to read.
    Public(Vec<u8>),
    /// Encrypted.
    Secret {
        /// `age`, `sops` or `password-store`.
        store: &'static str,
        /// Why no identity opens it without a passphrase or a token, if so.
        closed: Option<String>,
    },
}

/// A value.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its bytes, as they were generated.
    pub bytes: Secret<Vec<u8>>,
    /// Whether it was stored encrypted. A public one is in the repository for
    /// everyone to read.
    pub secret: bool,
}

impl Value {
    /// The value as text without surrounding white space: generators often end
    /// a host name with a newline.
    ///
    /// # Errors
    /// [`Error::VarName`] when it is not UTF-8.
    pub fn text(&self) -> Result<Secret<String>> {
        match std::str::from_utf8(self.bytes.expose()) {
            Ok(text) => Ok(Secret::new(text.trim().to_owned())),
            Err(_) => {
                Err(Error::VarName { name: "value".into(), reason: "its value is not UTF-8 text" })
            }
        }
    }
}

impl Vars {
    /// The vars of the clan in `flake`, to be opened with `identities`, which
    /// the user named, and with what the environment and the home directory
    /// offer. Without a clan only what is deployed on this machine is found.
    pub fn new(flake: Option<PathBuf>, identities: Vec<PathBuf>, user: Arc<dyn User>) -> Self {
        Self::with_environment(flake, identities, Environment::from_process(), user)
    }

    /// As [`Vars::new`], with the environment given.
    pub fn with_environment(
        flake: Option<PathBuf>,
        identities: Vec<PathBuf>,
        environment: Environment,
        user: Arc<dyn User>,
    ) -> Self {
        // Links may lead about inside the clan, but not out of it.
        let canonical = |path: PathBuf| path.canonicalize().unwrap_or(path);
        let flake = flake.map(canonical);
        let passage = environment.passage_dir.clone();
        let passage = passage.or_else(|| environment.in_home(".passage/store"));
        let pass = environment.password_store_dir.clone();
        let pass = pass.or_else(|| environment.in_home(".password-store"));
        let deployed = canonical(environment.in_root("run"));
        let keyring = Arc::new(Keyring::new(identities, environment, user));
        let of_clan = |layout| Some((layout, flake.clone()?));
        let passwords = |root: Option<PathBuf>| Some((Layout::Passwords, canonical(root?)));
        let roots =
            [of_clan(Layout::Age), of_clan(Layout::Sops), passwords(passage), passwords(pass)];
        let stores = roots
            .into_iter()
            .flatten()
            .map(|(layout, root)| Store::new(layout, root, keyring.clone()))
            .collect();
        Self { flake, stores, keyring, deployed }
    }

    /// The value of `var`, from the first place that has one: public values,
    /// what is deployed on this machine, then the stores; per machine before
    /// shared. Blocks.
    ///
    /// # Errors
    /// [`Error::VarMissing`], [`Error::NoVars`], [`Error::VarUndecryptable`],
    /// [`Error::VarBroken`], [`Error::TooLarge`], [`Error::Identity`] and
    /// [`Error::File`].
    pub fn reveal(&self, var: &VarRef) -> Result<Value> {
        let dirs = [per_machine(var), shared(var)];
        for dir in &dirs {
            if let Some(bytes) = self.public(dir)? {
                return Ok(Value { bytes: Secret::new(bytes), secret: false });
            }
        }
        if let Some(bytes) = self.deployed(var, &dirs)? {
            return Ok(Value { bytes: Secret::new(bytes), secret: true });
        }
        for store in &self.stores {
            for dir in &dirs {
                if let Some(bytes) = store.reveal(var, dir, &Asking::STEPS)? {
                    return Ok(Value { bytes, secret: true });
                }
            }
        }
        Err(match &self.flake {
            Some(_) => {
                Error::VarMissing { machine: var.machine().to_owned(), var: var.to_string() }
            }
            None => Error::NoVars { var: var.to_string() },
        })
    }

    /// The value of a public `var` and the file it is in; `None` where it is
    /// secret or nowhere. Blocks.
    ///
    /// # Errors
    /// [`Error::VarBroken`], [`Error::TooLarge`] and [`Error::File`].
    pub fn public_value(&self, var: &VarRef) -> Result<Option<(Vec<u8>, PathBuf)>> {
        let Some(flake) = &self.flake else { return Ok(None) };
        for dir in [per_machine(var), shared(var)] {
            if let Some(bytes) = self.public(&dir)? {
                return Ok(Some((bytes, flake.join("vars").join(dir).join("value"))));
            }
        }
        Ok(None)
    }

    /// Every var of `machine` and every shared one, by name. Blocks, and asks
    /// nobody for anything.
    ///
    /// # Errors
    /// [`Error::VarName`] when no machine can have that name, [`Error::Identity`].
    pub fn list(&self, machine: &str) -> Result<Vec<Listed>> {
        // Any var of it, to have its name checked.
        VarRef::new(machine, "-", "-")?;
        // The user's own mistake in naming an identity is one for all vars.
        self.keyring.entries(Family::Age)?;
        let own: PathBuf = ["per-machine", machine].iter().collect();
        let mut found = std::collections::BTreeMap::new();
        for (place, shared) in [(own, false), (PathBuf::from("shared"), true)] {
            let public = self.public_names(&place).into_iter().map(|name| (name, None));
            let secret = self.stores.iter().flat_map(|store| {
                store.list(&place).into_iter().map(move |name| (name, Some(store)))
            });
            for ((generator, file), store) in public.chain(secret) {
                // Names that no var can have are not vars.
                let Ok(var) = VarRef::new(machine, &generator, &file) else { continue };
                let dir = place.join(&generator).join(&file);
                // A folder without a value is a secret's, or nobody's.
                if store.is_none() && self.public(&dir)?.is_none() {
                    continue;
                }
                found.entry((generator, file)).or_insert((var, shared, dir, store));
            }
        }
        let found: Vec<_> = found.into_values().collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let look = |(var, shared, dir, store): &(VarRef, bool, PathBuf, Option<&Store>)| {
            let kept = match store {
                None => Kept::Public(self.public(dir)?.unwrap_or_default()),
                Some(store) => Kept::Secret {
                    store: store.name(),
                    closed: match store.reveal(var, dir, &[Asking::Never]) {
                        Ok(_) => None,
                        Err(Error::VarUndecryptable { reason, .. }) => Some(reason),
                        Err(error) => Some(error.to_string()),
                    },
                },
            };
            Ok(Listed { var: var.clone(), shared: *shared, kept })
        };
        // Opening one costs two multiplications on a curve.
        std::thread::scope(|scope| {
            let parts = found.chunks(found.len().div_ceil(threads).max(1));
            let workers: Vec<_> = parts
                .map(|part| scope.spawn(|| part.iter().map(look).collect::<Result<Vec<_>>>()))
                .collect();
            let mut all = Vec::with_capacity(found.len());
            for worker in workers {
                let part = worker.join().map_err(|_| Error::System {
                    what: "a thread failed",
                    source: std::io::ErrorKind::Other.into(),
                })?;
                all.extend(part?);
            }
            Ok(all)
        })
    }

    fn public(&self, dir: &Path) -> Result<Option<Vec<u8>>> {
        let Some(flake) = &self.flake else { return Ok(None) };
        file::read(flake, &Path::new("vars").join(dir).join("value"), MAX_VALUE)
    }

    fn public_names(&self, place: &Path) -> Vec<(String, String)> {
        let Some(flake) = &self.flake else { return Vec::new() };
        let place = flake.join("vars").join(place);
        let files = |generator: String| {
            let files = file::names(&place.join(&generator));
            files.into_iter().map(move |file| (generator.clone(), file))
        };
        file::names(&place).into_iter().flat_map(files).collect()
    }

    /// A secret that this very machine was given (`clan.core.vars.generators.*.
    /// files.*.path`): by sops-nix below `secrets/vars`, by the others below
    /// `secrets`, before 2026 without the placement.
    fn deployed(&self, var: &VarRef, dirs: &[PathBuf]) -> Result<Option<Vec<u8>>> {
        let bare: PathBuf = [var.generator(), var.file()].iter().collect();
        for top in ["secrets/vars", "secrets", "user-secrets", "secrets-for-users/vars"] {
            for dir in dirs.iter().chain([&bare]) {
                match file::read(&self.deployed, &Path::new(top).join(dir), MAX_VALUE) {
                    Ok(None) => {}
                    // For root's eyes only, most of them; an identity may do.
                    Err(Error::File { .. }) => {}
                    done => return done,
                }
            }
        }
        Ok(None)
    }

    /// The plaintext of any sops file, opened with the identities of this
    /// clan's user: its bytes if it is of the binary store, else JSON. Blocks.
    ///
    /// # Errors
    /// [`Error::Undecryptable`], and those of [`Vars::reveal`].
    pub fn open_sops(&self, path: &Path, format: SopsFormat) -> Result<Secret<Vec<u8>>> {
        store::open_sops(path, format, &self.keyring)
    }
}

/// The folder of a var below the roots of every store.
fn per_machine(var: &VarRef) -> PathBuf {
    ["per-machine", var.machine(), var.generator(), var.file()].iter().collect()
}

fn shared(var: &VarRef) -> PathBuf {
    ["shared", var.generator(), var.file()].iter().collect()
}

#[cfg(test)]
mod tests;
