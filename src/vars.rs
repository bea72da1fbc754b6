//! Generated values of a clan: from a name to the bytes. Owns where Clan keeps
//! them (`clan_lib/vars`); reads keys and ciphertext, never the network, never
//! writes. Decryption happens in memory only.

mod age_file;
mod command;
mod environment;
mod file;
mod identity;
mod key;
mod sealed;
mod sops;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::exports::VarRef;
use crate::secret::Secret;

pub use environment::Environment;
use identity::Keyring;
pub use sops::Format as SopsFormat;
use store::{Layout, Store};

/// Largest value, in bytes. Clan's own are keys and names.
pub const MAX_VALUE: u64 = 16 << 20;

/// Asks for the passphrase of an identity. Blocks.
pub trait Prompt: Send + Sync {
    /// `what` names the file. `None` when nobody can be asked.
    fn passphrase(&self, what: &str) -> Option<Secret<String>>;
}

/// The vars of one clan. Making one reads nothing; identities are read when
/// the first secret is asked for, and kept.
pub struct Vars {
    flake: PathBuf,
    age: Store,
    sops: Store,
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
    /// offer.
    pub fn new(flake: PathBuf, identities: Vec<PathBuf>, prompt: Arc<dyn Prompt>) -> Self {
        Self::with_environment(flake, identities, Environment::from_process(), prompt)
    }

    /// As [`Vars::new`], with the environment given.
    pub fn with_environment(
        flake: PathBuf,
        identities: Vec<PathBuf>,
        environment: Environment,
        prompt: Arc<dyn Prompt>,
    ) -> Self {
        // Links may lead about inside the clan, but not out of it.
        let flake = flake.canonicalize().unwrap_or(flake);
        let keyring = Arc::new(Keyring::new(identities, environment, prompt));
        let age = Store::new(Layout::Age, flake.clone(), keyring.clone());
        let sops = Store::new(Layout::Sops, flake.clone(), keyring);
        Self { flake, age, sops }
    }

    /// The value of `var`, from the first place that has one: public values,
    /// then the stores; per machine before shared. Blocks.
    ///
    /// # Errors
    /// [`Error::VarMissing`], [`Error::VarUndecryptable`], [`Error::VarBroken`],
    /// [`Error::TooLarge`], [`Error::Identity`] and [`Error::File`].
    pub fn reveal(&self, var: &VarRef) -> Result<Value> {
        let dirs = [per_machine(var), shared(var)];
        for dir in &dirs {
            let path = Path::new("vars").join(dir).join("value");
            if let Some(bytes) = file::read(&self.flake, &path, MAX_VALUE)? {
                return Ok(Value { bytes: Secret::new(bytes), secret: false });
            }
        }
        for store in [&self.age, &self.sops] {
            for dir in &dirs {
                if let Some(bytes) = store.reveal(var, dir)? {
                    return Ok(Value { bytes, secret: true });
                }
            }
        }
        Err(Error::VarMissing { machine: var.machine().to_owned(), var: var.to_string() })
    }

    /// The plaintext of any sops file, opened with the identities of this
    /// clan's user: its bytes if it is of the binary store, else JSON. Blocks.
    ///
    /// # Errors
    /// [`Error::Undecryptable`], and those of [`Vars::reveal`].
    pub fn open_sops(&self, path: &Path, format: SopsFormat) -> Result<Secret<Vec<u8>>> {
        self.sops.open_file(path, format)
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
