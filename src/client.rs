//! What a program that uses this crate sees: a clan, its machines, connections to
//! them, and commands there. Owns no mechanism; each call is one of the rooms below.

mod command;
mod connection;
mod machine;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::flake::{self, Asker};
use crate::model;
use crate::plan;
use crate::prompter::{Nobody, Prompter};
use crate::secret::Secret;
use crate::vars::{Environment, SopsFormat, Vars};

pub use command::{Child, Command, ExitStatus, Output};
pub use connection::{Connection, Stream};
pub use machine::{Event, Machine};

/// A clan: what its machines' addresses and host keys are, as of when it was opened.
#[derive(Clone)]
pub struct Clan {
    known: Arc<model::Clan>,
    /// Its files, in which vars are looked up.
    dir: Option<PathBuf>,
    age_identities: Vec<PathBuf>,
    prompter: Arc<dyn Prompter>,
    env: Env,
}

impl Clan {
    /// Opens the clan that `dir` is, or lies in. What is known of it from a snapshot or
    /// an earlier evaluation is used while none of its files has changed; else nix
    /// evaluates it, which takes seconds.
    ///
    /// # Errors
    /// [`Error::FlakeNotFound`]; [`Error::ClanRefused`] for a clan that another user
    /// owns or can write; [`Error::NoExports`] where there is neither nix nor a
    /// snapshot; [`Error::Nix`]; [`Error::Exports`].
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        blocking(move || {
            let env = Env::read();
            let flake = flake::admitted(Some(&dir), &dir, Asker::Command, &env)?;
            let snapshot = flake::load(&flake, &mut |_| ())?;
            let known = snapshot.clan(&flake.dir.display().to_string())?;
            Ok(Self::of(known, Some(flake.dir), env))
        })
        .await
    }

    /// Reads a clan from a file: a snapshot, or exports as
    /// `nix eval --json path:.#clan.exports` prints them.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::TooLarge`], [`Error::Exports`].
    pub async fn read(file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref().to_owned();
        blocking(move || Ok(Self::of(flake::Document::read(&file)?.clan()?, None, Env::read())))
            .await
    }

    fn of(known: model::Clan, dir: Option<PathBuf>, env: Env) -> Self {
        let age_identities = Vec::new();
        Self { known: Arc::new(known), dir, age_identities, prompter: Arc::new(Nobody), env }
    }

    /// The directory that vars are looked up in; by default the one that was opened.
    pub fn vars_in(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// A file with age identities that may open vars, beside those that the
    /// environment and the home directory offer.
    pub fn age_identity(mut self, file: impl Into<PathBuf>) -> Self {
        self.age_identities.push(file.into());
        self
    }

    /// Who answers questions and is told what must not be missed; by default nobody.
    pub fn prompter(mut self, user: impl Prompter + 'static) -> Self {
        self.prompter = Arc::new(user);
        self
    }

    /// The names of all machines that the clan exports something for.
    pub fn machines(&self) -> Vec<&str> {
        self.known.machines()
    }

    /// The names of the clan's networks, the best first.
    pub fn networks(&self) -> Vec<&str> {
        let mut all: Vec<_> = self.known.networks.iter().collect();
        all.sort_by_key(|network| std::cmp::Reverse(network.priority));
        all.into_iter().map(|network| network.label.as_str()).collect()
    }

    /// What in the exports cannot be used, each with the entry and the field.
    pub fn problems(&self) -> &[Error] {
        &self.known.problems
    }

    /// What is in a file that sops has encrypted, opened with the identities that open
    /// vars: a document (`.json`, `.yaml`, `.env` or `.ini`) as JSON, any other file as
    /// it was.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::TooLarge`], [`Error::VarBroken`] for a damaged file and
    /// [`Error::Undecryptable`] with the identities that were tried.
    pub async fn open_sops(&self, file: impl AsRef<Path>) -> Result<Secret<Vec<u8>>> {
        let (vars, file) = (self.vars(), file.as_ref().to_owned());
        blocking(move || vars.open_sops(&file, SopsFormat::of(&file))).await
    }

    /// Its vars, as far as they can be opened.
    fn vars(&self) -> Vars {
        let environment = Environment::of(&self.env);
        Vars::new(self.dir.clone(), self.age_identities.clone(), environment, self.prompter.clone())
    }

    /// A machine of the clan, to be connected to.
    ///
    /// # Errors
    /// [`Error::UnknownMachine`], which names the nearest one.
    pub fn machine(&self, name: &str) -> Result<Machine> {
        if self.known.knows(name) {
            return Ok(Machine::new(self.clone(), name));
        }
        Err(plan::unknown_machine(&self.known, name))
    }
}

/// Does what blocks beside the runtime's own work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Internal))
}
