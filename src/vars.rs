//! Generated values of a clan: from a name to the bytes. Owns where Clan keeps
//! them (`clan_lib/vars`); reads keys and ciphertext, never the network, never
//! writes. Decryption happens in memory only.

mod age_file;
mod closed;
mod deployed;
mod effort;
mod environment;
mod file;
mod hybrid;
mod identity;
mod key;
mod listing;
mod placement;
mod plugin;
mod sealed;
mod sealed_hosts;
mod sops;
mod store;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::file::is_there;
use crate::model::{KeptHosts, VarRef};
use crate::printable::Printable;
use crate::prompter::Prompter;
use crate::secret::Secret;

use deployed::Deployed;
use effort::Effort;
pub use environment::Environment;
use identity::{Keyring, Round};
use placement::Placement;
use sealed_hosts::Handed;
pub use sealed_hosts::{PublicKey, is_opened_file, is_sealed_for, seal};
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
    deployed: Deployed,
    /// Public values that somebody else has read.
    known: HashMap<VarRef, String>,
    /// Secret hosts that a snapshot has for this machine.
    handed: Handed,
}

/// A var and what can be said of it without asking anyone.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name, as a var of the machine that was asked for.
    pub var: VarRef,
    /// Whether all machines share it.
    pub shared: bool,
    /// Whether it is the one that counts: a machine's own does before a shared
    /// one of the same name.
    pub counts: bool,
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
    /// a host name with a newline; `None` when it is no UTF-8.
    pub fn text(&self) -> Option<Secret<String>> {
        let text = std::str::from_utf8(self.bytes.expose()).ok()?;
        Some(Secret::new(text.trim().to_owned()))
    }
}

impl Vars {
    /// The vars of the clan in `flake`, to be opened with `identities`, which
    /// the user named, and with what the environment and the home directory
    /// offer. Without a clan only what is deployed on this machine is found.
    pub fn new(
        flake: Option<PathBuf>,
        identities: Vec<PathBuf>,
        environment: Environment,
        prompter: Arc<dyn Prompter>,
    ) -> Self {
        // Links may lead about inside the clan, but not out of it.
        let canonical = |path: PathBuf| path.canonicalize().unwrap_or(path);
        let flake = flake.map(canonical);
        let passage = environment.passage_dir.clone();
        let passage = passage.or_else(|| environment.in_home(".passage/store"));
        let pass = environment.password_store_dir.clone();
        let pass = pass.or_else(|| environment.in_home(".password-store"));
        let (deployed, handed) = (Deployed::new(&environment), Handed::new(&environment));
        let keyring = Arc::new(Keyring::new(identities, environment, prompter));
        let of_clan = |layout| Some((layout, flake.clone()?));
        let passwords = |root: Option<PathBuf>| Some((Layout::Passwords, canonical(root?)));
        let roots =
            [of_clan(Layout::Age), of_clan(Layout::Sops), passwords(passage), passwords(pass)];
        let stores = roots
            .into_iter()
            .flatten()
            .map(|(layout, root)| Store::new(layout, root, keyring.clone()))
            .collect();
        Self { flake, stores, keyring, deployed, known: HashMap::new(), handed }
    }

    /// The value of `var`: the machine's own before the shared one, public ones
    /// before the stores', and what a snapshot has or what is deployed on this machine
    /// where the clan has none or none that opens. Blocks.
    ///
    /// # Errors
    /// [`Error::VarMissing`], [`Error::NoVars`], [`Error::VarUndecryptable`],
    /// [`Error::SealedHosts`], [`Error::VarBroken`], [`Error::TooLarge`],
    /// [`Error::Identity`] and [`Error::File`].
    pub fn reveal(&self, var: &VarRef) -> Result<Value> {
        let effort = self.keyring.effort();
        let deployed = |placements: &[Placement]| {
            let bytes = self.deployed.read(var, placements)?;
            Ok::<_, Error>(bytes.map(|bytes| Value { bytes: Secret::new(bytes), secret: true }))
        };
        for placement in Placement::ALL {
            match self.kept(var, placement, &effort) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    self.tell_of_double(var, placement);
                    return Ok(value);
                }
                // Only what is deployed of this very value, or was handed to us, may stand
                // in for it.
                Err(error @ Error::VarUndecryptable { .. }) => {
                    let handed = || self.handed(var).ok().flatten();
                    return deployed(&[placement])?.or_else(handed).ok_or(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(known) = self.known.get(var) {
            let bytes = Secret::new(known.clone().into_bytes());
            return Ok(Value { bytes, secret: false });
        }
        if let Some(value) = deployed(&Placement::ALL)? {
            return Ok(value);
        }
        if let Some(value) = self.handed(var)? {
            return Ok(value);
        }
        Err(match &self.flake {
            Some(_) => {
                Error::VarMissing { machine: var.machine().to_owned(), var: var.to_string() }
            }
            None => Error::NoVars { var: var.to_string() },
        })
    }

    /// The value that a snapshot has for this machine.
    fn handed(&self, var: &VarRef) -> Result<Option<Value>> {
        let host = self.handed.reveal(var, &self.keyring)?;
        let value = |host: Secret<String>| {
            let bytes = Secret::new(host.expose().clone().into_bytes());
            Value { bytes, secret: true }
        };
        Ok(host.map(value))
    }

    /// The secret hosts that a snapshot has for this machine as one text, and the name of
    /// the file that users of this machine look for it in; `None` where a snapshot has none
    /// for anybody. Blocks.
    ///
    /// # Errors
    /// [`Error::SealedHosts`] and [`Error::Identity`].
    pub fn opened_hosts(&self) -> Result<Option<(String, Secret<Vec<u8>>)>> {
        let opened = self.handed.text(&self.keyring)?;
        Ok(opened.map(|(name, mut text)| (name, Secret::new(std::mem::take(&mut *text)))))
    }

    /// The value that the clan keeps at one placement.
    fn kept(&self, var: &VarRef, placement: Placement, effort: &Effort) -> Result<Option<Value>> {
        if let Some(bytes) = self.public(var, placement)? {
            return Ok(Some(Value { bytes: Secret::new(bytes), secret: false }));
        }
        for store in &self.stores {
            if let Some(bytes) = store.reveal(var, placement, &Round::ALL, effort)? {
                return Ok(Some(Value { bytes, secret: true }));
            }
        }
        Ok(None)
    }

    /// Two vars of one name are a surprise, whichever counts.
    fn tell_of_double(&self, var: &VarRef, placement: Placement) {
        let shared = Placement::Shared;
        if placement.is_shared() || !self.has(var, shared) {
            return;
        }
        let (machine, var) = (var.machine(), Printable(&var.to_string()).to_string());
        self.keyring.prompter().detail(&format!(
            "var {var} exists both for machine {} and as a shared var: the machine's own is used",
            Printable(machine)
        ));
    }

    /// Whether the clan has a value of `var`, public or secret. Opens none. Blocks.
    pub fn is_kept(&self, var: &VarRef) -> bool {
        Placement::ALL.into_iter().any(|placement| self.has(var, placement))
    }

    /// The same, with what a snapshot has of hosts, which counts where the clan's own files
    /// have none: public ones, and secret ones for this machine.
    pub fn with_known(mut self, kept: KeptHosts) -> Self {
        self.known.extend(kept.public);
        self.handed.take(kept.sealed);
        self
    }

    fn has(&self, var: &VarRef, placement: Placement) -> bool {
        let public = self.public_file(var, placement).is_some_and(|file| file.exists());
        public || self.stores.iter().any(|store| store.has(var, placement))
    }

    /// The value of a public `var` and the file it is in; `None` where it is
    /// secret or nowhere. Blocks.
    ///
    /// # Errors
    /// [`Error::VarBroken`], [`Error::TooLarge`] and [`Error::File`].
    pub fn public_value(&self, var: &VarRef) -> Result<Option<(Vec<u8>, PathBuf)>> {
        for placement in Placement::ALL {
            if let Some(bytes) = self.public(var, placement)? {
                let file = self.public_file(var, placement).unwrap_or_default();
                return Ok(Some((bytes, file)));
            }
        }
        Ok(None)
    }

    /// The value of `var` that is deployed on this very machine, if it is this machine's.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::VarBroken`] and [`Error::TooLarge`].
    pub(crate) fn deployed(&self, var: &VarRef) -> Result<Option<Secret<Vec<u8>>>> {
        let bytes = self.deployed.read(var, &[Placement::PerMachine])?;
        Ok(bytes.map(Secret::new))
    }

    /// The folder of a public `var` that has lost its value, if there is one. Blocks.
    pub fn emptied(&self, var: &VarRef) -> Option<PathBuf> {
        Placement::ALL.into_iter().find_map(|placement| {
            let file = self.public_file(var, placement)?;
            let folder = file.parent()?;
            (folder.is_dir() && !is_there(&file)).then(|| folder.to_owned())
        })
    }

    /// Where the value of `public` would be if it were not missing, where the clan has the
    /// `secret` that it was generated with. Opens nothing. Blocks.
    pub fn place_beside_secret(&self, secret: &VarRef, public: &VarRef) -> Option<PathBuf> {
        Placement::ALL.into_iter().find_map(|placement| {
            let file = self.public_file(public, placement)?;
            (self.has_of_clan(secret, placement) && !is_there(&file)).then_some(file)
        })
    }

    /// Whether the clan has this secret, in a place of its own: a password store may be that of
    /// several clans.
    fn has_of_clan(&self, secret: &VarRef, placement: Placement) -> bool {
        let mut own = self.stores.iter().filter(|store| !store.is_shared_by_clans());
        self.flake.is_some() && own.any(|store| store.has(secret, placement))
    }

    fn public_file(&self, var: &VarRef, placement: Placement) -> Option<PathBuf> {
        Some(self.flake.as_ref()?.join("vars").join(placement.dir(var)).join("value"))
    }

    fn public(&self, var: &VarRef, placement: Placement) -> Result<Option<Vec<u8>>> {
        let Some(flake) = &self.flake else { return Ok(None) };
        let path = Path::new("vars").join(placement.dir(var)).join("value");
        file::read(flake, &path, MAX_VALUE)
    }

    /// What tells the encrypted value of `var` from every other that was encrypted: a digest of
    /// its file, which is of no use to guess what is in it. `None` where there is none. Opens
    /// nothing. Blocks.
    ///
    /// # Errors
    /// [`Error::VarBroken`], [`Error::TooLarge`] and [`Error::File`].
    pub fn sealed_digest(&self, var: &VarRef) -> Result<Option<String>> {
        for placement in Placement::ALL {
            for store in &self.stores {
                if let Some(digest) = store.digest(var, placement)? {
                    return Ok(Some(digest));
                }
            }
        }
        Ok(None)
    }

    /// The public keys of a machine, to encrypt for it, from every store that has one, in
    /// the order of their texts; none where none has. Blocks.
    ///
    /// # Errors
    /// [`Error::VarBroken`], [`Error::TooLarge`] and [`Error::File`].
    pub fn machine_keys(&self, machine: &str) -> Result<Vec<PublicKey>> {
        VarRef::new(machine, "-", "-")?;
        let mut keys = Vec::new();
        for store in &self.stores {
            keys.extend(store.public_keys(machine)?);
        }
        keys.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        keys.dedup_by(|one, other| one.as_str() == other.as_str());
        Ok(keys)
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

#[cfg(test)]
mod tests;
