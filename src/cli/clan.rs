//! Which clan a command is about, and what is read of it: what it exports, its vars,
//! its machines' host keys. Owns that all of it comes from one and the same place.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Global, Ui};
use crate::connect;
use crate::error::{Error, Result};
use crate::file;
use crate::flake::nix::Whole;
use crate::flake::snapshot::{self, Snapshot};
use crate::flake::{self, Asker, Document, Flake, Step};
use crate::model::{Clan, HostKeys};
use crate::ssh::known_hosts::{DEFAULT_PORT, Name};
use crate::vars::{Environment, Vars};

/// The clan that our `ssh` is to use below another `clan`, which is told it.
pub(super) const NAMED: &str = "CLAN_CONNECT_FLAKE";
/// The same for a clan that nobody named to that `clan`: its caller merely stands in it.
pub(super) const STOOD_IN: &str = "CLAN_CONNECT_STOOD_IN";

impl Global {
    /// What the user named, by `--flake` or `$CLAN_DIR`; for an `ssh` that a `clan` starts
    /// what that one was told.
    pub(super) fn named(&self) -> Option<PathBuf> {
        let of_user = || self.env.path("CLAN_DIR").map(Path::to_owned);
        self.flake.clone().or_else(|| self.named_by_clan()).or_else(of_user)
    }

    /// What the `clan` was told that an `ssh` is below.
    fn named_by_clan(&self) -> Option<PathBuf> {
        let is_ssh = matches!(self.asker, Asker::Ssh | Asker::Files);
        self.env.path(NAMED).filter(|_| is_ssh).map(Path::to_owned)
    }

    /// The clan that the caller of the `clan` stands in that an `ssh` is below: the host is
    /// looked for in it as by our own commands.
    pub(super) fn stood_in(&self) -> Option<&Path> {
        let is_asked = self.asker == Asker::Ssh && self.named().is_none();
        self.env.path(STOOD_IN).filter(|_| is_asked)
    }

    /// What was named, if it is a reference that only nix can find.
    pub(super) fn remote(&self) -> Option<String> {
        let named = self.named().filter(|named| flake::is_remote(named))?;
        Some(named.to_string_lossy().into_owned())
    }

    /// The same, if it is a file: a snapshot without its clan.
    pub(super) fn lone(&self) -> Option<PathBuf> {
        self.named().filter(|named| !flake::is_remote(named) && named.is_file())
    }

    /// Takes a snapshot that was named in the place of a clan for the exports, unless
    /// others have a say about it: then whoever asks for the clan hears of that.
    pub(super) fn settle(&mut self) {
        if self.exports.is_none() {
            let is_his = |file: &PathBuf| flake::not_to_be_believed(file, &self.env).is_none();
            self.exports = self.lone().filter(is_his);
        }
    }

    /// The clan, which may be used. Blocks, for minutes if nix must download it.
    pub(super) fn site(&self) -> Result<Flake> {
        if self.asker == Asker::Nobody {
            return Err(Error::FlakeNotFound { start: PathBuf::new() });
        }
        if let Some(file) = self.exports.as_ref().filter(|_| self.stands_for_all()) {
            return Err(Error::FlakeNotFound { start: file.clone() });
        }
        // A snapshot that was named stands for a clan, and for no other.
        if let Some(file) = self.lone() {
            return Err(match flake::not_to_be_believed(&file, &self.env) {
                Some(reason) if self.exports.is_none() => Error::SnapshotRefused { file, reason },
                _ => Error::FlakeNotFound { start: file },
            });
        }
        if let Some(known) = self.found.get() {
            return Ok(known.clone());
        }
        let found = match self.remote() {
            Some(reference) => flake::fetched(&reference, &self.env)?,
            None if self.stood_in().is_some() => self.stood_in_site()?,
            None => {
                let named = self.named();
                // What was named does not depend on where we are, which may be gone.
                let start = named.as_deref().or(self.env.dir());
                let nowhere = || Error::FlakeNotFound { start: ".".into() };
                let start = start.ok_or_else(nowhere)?;
                let found = flake::admitted(named.as_deref(), start, self.asker, &self.env);
                found.map_err(|error| self.named_by_variable(error))?
            }
        };
        let found = found.impure(self.impure).with_options(self.nix_options.clone());
        let _ = self.found.set(found.clone());
        Ok(found)
    }

    /// Whether the exports are a snapshot and nothing but that was named: what it says of
    /// hosts and keys is not for a clan to say that one merely stands in.
    fn stands_for_all(&self) -> bool {
        // What is wrong with it is for whoever asks what it says.
        self.named().is_none() && self.has_snapshot()
    }

    /// Whether what `--exports` names is a snapshot.
    pub(super) fn has_snapshot(&self) -> bool {
        self.document().is_some_and(|read| read.is_ok_and(|it| it.is_snapshot()))
    }

    /// What `--exports` names, if anything, which is read but once. Where others have a say
    /// about it, it is not read: it says where machines are, and which keys they have.
    pub(super) fn document(&self) -> Option<Result<Arc<Document>>> {
        let file = self.exports.as_ref()?;
        if let Some(read) = self.document.get() {
            return Some(Ok(read.clone()));
        }
        let read = match flake::not_to_be_believed(file, &self.env) {
            Some(reason) => Err(match file.metadata() {
                // A directory such as /tmp says nothing of what is not in it.
                Err(source) => Error::File { action: "read", path: file.clone(), source },
                Ok(_) => Error::SnapshotRefused { file: file.clone(), reason },
            }),
            None => Document::read(file).map(Arc::new),
        };
        Some(read.map(|read| self.document.get_or_init(|| read).clone()))
    }

    /// The clan in [`Self::stood_in`], and none around it.
    fn stood_in_site(&self) -> Result<Flake> {
        let dir = self.stood_in().unwrap_or(Path::new("/"));
        let found = flake::admitted(None, dir, Asker::Command, &self.env)?;
        match found.dir == dir {
            true => Ok(found),
            false => Err(Error::FlakeNotFound { start: dir.to_owned() }),
        }
    }

    /// With the variable that names the directory, where nobody has said it just now.
    fn named_by_variable(&self, error: Error) -> Error {
        match error {
            Error::File { path, source, .. } if self.flake.is_none() && self.named().is_some() => {
                let action = match self.named_by_clan() {
                    Some(_) => "open $CLAN_CONNECT_FLAKE",
                    None => "open $CLAN_DIR",
                };
                Error::File { action, path, source }
            }
            error => error,
        }
    }

    /// The directory of the clan's files.
    pub(super) fn flake(&self) -> Result<PathBuf> {
        self.site().map(|flake| flake.dir)
    }

    /// Whether the user named or allowed the clan that host keys are read from, and
    /// does not just stand in it.
    pub(super) fn clan_is_named(&self) -> bool {
        self.site().map_or(self.exports.is_some(), |flake| flake.is_named)
    }

    /// Whether the user named or allowed what his machines' addresses are read from.
    pub(super) fn exports_are_named(&self) -> bool {
        self.exports.is_some() || self.clan_is_named()
    }

    /// Whether this is about a clan of somebody else that the user merely stands in,
    /// which is none where he has said what to use.
    fn stands_in(&self, error: &Error) -> bool {
        let is_strangers = matches!(error, Error::ClanRefused { is_strangers: true, .. });
        is_strangers && self.named().is_none()
    }

    /// This without the clan that it stands in, for an address that was named, if that
    /// clan is somebody else's.
    pub(super) fn beside_strangers(&self, ui: &Ui) -> Option<Self> {
        if self.exports.is_some() || self.named().is_some() {
            return None;
        }
        let error = self.site().err().filter(|error| self.stands_in(error))?;
        ui.verbose(&error.to_string());
        Some(self.without_clan())
    }

    /// This without a clan: for hosts that are none of its machines.
    pub(super) fn without_clan(&self) -> Self {
        Self {
            flake: None,
            exports: None,
            identity: self.identity.clone(),
            nix_options: self.nix_options.clone(),
            events: self.events.clone(),
            #[cfg(feature = "tor")]
            tor: self.tor.clone(),
            #[cfg(feature = "iroh")]
            iroh: self.iroh.clone(),
            wireguard: self.wireguard.clone(),
            #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
            overlays: self.overlays.clone(),
            asker: Asker::Nobody,
            found: Default::default(),
            document: Default::default(),
            env: self.env.clone(),
            ..*self
        }
    }

    /// This for hosts that the user's files name: a clan that he merely stands in has no
    /// say about them.
    pub(super) fn for_files(&self) -> Self {
        let asker = match self.asker {
            Asker::Nobody => Asker::Nobody,
            Asker::Command | Asker::Ssh | Asker::Files => Asker::Files,
        };
        let (flake, exports) = (self.flake.clone(), self.exports.clone());
        Self { flake, exports, asker, document: self.document.clone(), ..self.without_clan() }
    }

    /// What the clan is read from, to tell it from all others; `None` for exports that
    /// can be read but once, such as those of a pipe.
    pub(super) fn source(&self) -> Option<String> {
        // Beside exports the clan has a say as well: it knows the keys of the machines.
        let lone = self.lone().filter(|file| self.exports.as_ref() != Some(file));
        let mut source = self.directory();
        for file in self.exports.iter().chain(&lone) {
            let path = file.canonicalize().ok()?;
            let meta = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
            // Another clan's may be written to the same place.
            let version = file::version(&meta);
            source.push_str(&format!("\0{path:?}\0{version:?}"));
        }
        Some(source)
    }

    /// The very directory that the clan is in: another one may be in its place later.
    /// Empty where there is none because an address was named.
    fn directory(&self) -> String {
        let Ok(dir) = self.flake() else { return String::new() };
        let meta = dir.metadata().ok();
        let born = meta.as_ref().and_then(|meta| meta.created().ok());
        let inode = meta.map(|meta| (meta.dev(), meta.ino()));
        format!("{dir:?}\0{inode:?}\0{born:?}")
    }

    /// Where the clan is, to remember something of it.
    pub(super) fn place(&self) -> String {
        let absolute = |file: &PathBuf| std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let file = self.exports.as_ref().map(|file| absolute(file).display().to_string());
        let flake = || self.flake().map(|dir| dir.display().to_string()).unwrap_or_default();
        file.or_else(|| self.remote()).unwrap_or_else(flake)
    }

    /// The clan's networks and peers.
    pub(super) fn clan(&self, ui: &Ui) -> Result<Clan> {
        match self.document() {
            Some(document) => document?.clan(),
            None => {
                let (origin, snapshot) = self.snapshot(ui)?;
                snapshot.clan(&origin)
            }
        }
    }

    /// What is known of the clan, from wherever that is read.
    pub(super) fn known(&self, ui: &Ui) -> Result<Snapshot> {
        match self.document() {
            Some(document) => document?.snapshot(),
            None => self.snapshot(ui).map(|(_, snapshot)| snapshot),
        }
    }

    /// What the flake exports, and where it is.
    pub(super) fn snapshot(&self, ui: &Ui) -> Result<(String, Snapshot)> {
        self.loaded(ui, flake::load)
    }

    /// The same with all that can be known, see [`flake::load_whole`].
    pub(super) fn whole(&self, ui: &Ui) -> Result<(String, Whole)> {
        self.loaded(ui, flake::load_whole)
    }

    fn loaded<T>(
        &self,
        ui: &Ui,
        load: impl FnOnce(&Flake, &mut dyn FnMut(Step)) -> Result<T>,
    ) -> Result<(String, T)> {
        let mut step = |step| match step {
            Step::Evaluating => ui.evaluating(),
            Step::EvaluatingAll => {
                ui.progress.doing("evaluating the clan and all its machines with nix".to_owned());
            }
            Step::Machine { number, of } => {
                ui.progress.doing(format!("evaluating machine {number} of {of} with nix"));
            }
            Step::Stale => ui.warning(&format!(
                "the clan has changed since {} was made; where there is nix, renew it with: \
                 clan-connect exports snapshot",
                snapshot::NAME
            )),
        };
        if self.remote().is_some() {
            ui.evaluating();
        }
        let loaded = self.site().and_then(|flake| {
            let origin = self.remote().unwrap_or_else(|| flake.dir.display().to_string());
            Ok((origin, load(&flake, &mut step)?))
        });
        ui.progress.done();
        loaded
    }

    /// What the clan says of a machine's host keys: its vars, or a snapshot. They count
    /// whatever of the clan was asked for the machine's address, which may be nothing.
    pub(super) fn host_keys(
        &self,
        machine: &str,
        clan: Option<&Clan>,
        ui: &Arc<Ui>,
    ) -> Result<Option<HostKeys>> {
        let kept = || self.kept_keys(machine);
        let mut keys = match connect::stated_keys(clan, machine, &self.vars(ui)?, kept) {
            // A name that no var can have is no machine's of the clan.
            Err(Error::VarName { .. }) => return Ok(None),
            keys => keys?,
        };
        let known = || flake::last_known(&self.flake().ok()?, &self.env)?.domain;
        keys.domain = keys.domain.or_else(known);
        // An authority vouches for names in a domain: without it, everybody would be asked.
        if keys.keys.is_empty() && keys.domain.is_none() && !keys.authorities.is_empty() {
            keys.domain = self.snapshot(ui).ok().and_then(|(_, snapshot)| snapshot.domain);
        }
        Ok((!keys.is_empty()).then_some(keys))
    }

    /// What snapshots have of them: those in the clan's directory, or the one that was
    /// named in the place of a clan, where others were named for the exports.
    fn kept_keys(&self, machine: &str) -> Result<Option<HostKeys>> {
        let files = match self.lone() {
            Some(file) if self.exports.as_ref() == Some(&file) => Vec::new(),
            Some(file) => match flake::not_to_be_believed(&file, &self.env) {
                Some(reason) => return Err(Error::SnapshotRefused { file, reason }),
                None => vec![file],
            },
            // Why there is none has been said to whoever asked for vars.
            None => self.site().map(|flake| flake.snapshots()).unwrap_or_default(),
        };
        flake::kept_keys(files, machine)
    }

    /// The name that the key of a machine is remembered under whose clan the user has
    /// not named: no host has it, and no machine of another clan.
    pub(super) fn kept_as(&self, machine: &str) -> Option<Name> {
        let clan = || match (&self.exports, self.remote()) {
            (None, None) => self.directory(),
            _ => self.place(),
        };
        let of_clan = || format!("{machine}@clan-{}", short_hash(&clan()));
        (!self.clan_is_named()).then(|| (of_clan(), DEFAULT_PORT))
    }

    /// All names of a machine of the clan, its own first; none where the clan does not
    /// know it.
    pub(super) fn identity(&self, machine: &str, clan: &Clan, ui: &Arc<Ui>) -> Result<Vec<Name>> {
        let mut names = self.known_names(machine, clan, ui)?;
        if !names.is_empty() {
            names.extend(self.kept_as(machine));
        }
        Ok(names)
    }

    fn known_names(&self, machine: &str, clan: &Clan, ui: &Arc<Ui>) -> Result<Vec<Name>> {
        if clan.knows(machine) {
            return Ok(connect::identity(clan, machine, &self.vars(ui)?));
        }
        // With an address on the command line the clan was not asked.
        match self.kept().filter(|clan| clan.knows(machine)) {
            Some(clan) => Ok(connect::identity(&clan, machine, &self.vars(ui)?)),
            // Its name is known all the same.
            None if self.flake().is_ok() => Ok(vec![(machine.to_owned(), DEFAULT_PORT)]),
            None => Ok(Vec::new()),
        }
    }

    /// What is known of the clan without asking nix, however old it is.
    pub(super) fn last_known(&self) -> Option<Clan> {
        match self.document() {
            Some(document) => document.ok()?.clan().ok(),
            None => self.kept(),
        }
    }

    /// What was kept of the clan in the directory.
    fn kept(&self) -> Option<Clan> {
        let dir = self.flake().ok()?;
        flake::last_known(&dir, &self.env)?.clan(&dir.display().to_string()).ok()
    }

    /// The vars of the clan, if there is one, and of this machine, with the
    /// identities that may open them.
    pub(super) fn vars(&self, ui: &Arc<Ui>) -> Result<Vars> {
        let flake = match self.site() {
            Ok(flake) => Some(flake.vars),
            // Machines of a clan have none, nor need one beside their exports.
            Err(Error::FlakeNotFound { .. }) => None,
            Err(error) if self.exports.is_some() && self.stands_in(&error) => {
                ui.verbose(&error.to_string());
                None
            }
            Err(error) => return Err(error),
        };
        let environment = Environment::of(&self.env);
        Ok(Vars::new(flake, self.identity.clone(), environment, ui.clone()))
    }
}

/// A few digits, for the name of a socket, of which there are 107 bytes.
pub(super) fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    data_encoding::HEXLOWER.encode(digest.get(..6).unwrap_or(&digest))
}
