//! Directories of our own Tor client: its guards and the list of relays. Owns
//! who may write them when several processes run, and their removal.
//!
//! Arti's lock makes a second process wait for the first in steps of five
//! seconds until the list of relays is there. So the first process that comes
//! holds a lock of ours too; a later one shares the directories only if the list
//! is there, or comes within a moment, and else takes directories of its own, with
//! the same guards.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use toml::Table;

use super::settings::State;
use crate::error::{TorFailure, strerror};

/// How long a process that shares the directories waits for the list of relays,
/// which only has to be read, before it goes its own way.
pub(super) const SHARED_PATIENCE: Duration = Duration::from_secs(2);
/// How long the first process is waited for to have the list of relays. In a quick
/// network that is sooner than if each one had it sent, at the same time.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// Where Arti keeps its guards, below its state.
const GUARDS: &str = "state/guards.json";
/// Says that a list of relays was there once.
const READY: &str = "ready";

/// Where one client reads and writes.
#[derive(Debug)]
pub(super) struct Dirs {
    state: PathBuf,
    cache: PathBuf,
    own: Own,
}

/// By what right.
#[derive(Debug)]
enum Own {
    /// The first to come; the lock ends with the process, however that ends.
    Locked {
        _lock: File,
    },
    /// Another process writes.
    Shared,
    Temporary {
        _dir: TempDir,
        _lock: Option<File>,
    },
}

/// What temporary directories are called.
const TEMPORARY: &str = "clan-connect-tor-";

/// Removed in the end.
#[derive(Debug)]
struct TempDir(PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Dirs {
    /// The directories for `state`, of the network that `config` describes, or ones
    /// below `temporary`.
    ///
    /// # Errors
    /// [`TorFailure::State`].
    pub(super) async fn open(
        state: &State,
        config: &Table,
        temporary: &Path,
    ) -> Result<Self, TorFailure> {
        let (state, cache) = match state {
            State::Ephemeral => return Self::ephemeral(temporary),
            State::Dirs(state, cache) => (state.clone(), cache.clone()),
            State::Nowhere => {
                let (path, reason) = ("~/.local/state".into(), "there is no home".to_owned());
                return Err(TorFailure::State { path, reason });
            }
        };
        // Guards and relays of one network are of no use in another.
        let (state, cache) = match config.get("tor_network") {
            Some(network) => {
                let name = network_name(&network.to_string());
                (state.join(&name), cache.join(&name))
            }
            None => (state, cache),
        };
        for dir in [&state, &cache] {
            make(dir)?;
        }
        let (begun, ready) = (Instant::now(), cache.join(READY));
        loop {
            let lock = lock(&state.join("lock")).map_err(|error| failure(&state, &error))?;
            return Ok(match lock {
                Some(lock) => Self { state, cache, own: Own::Locked { _lock: lock } },
                None if ready.exists() => Self { state, cache, own: Own::Shared },
                None if begun.elapsed() < FIRST_PATIENCE => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                None => Self::temporary(temporary, Some(&state))?,
            });
        }
    }

    /// Directories that are removed in the end.
    ///
    /// # Errors
    /// [`TorFailure::State`].
    pub(super) fn ephemeral(temporary: &Path) -> Result<Self, TorFailure> {
        Self::temporary(temporary, None)
    }

    /// A way out when the process that writes these is stuck.
    ///
    /// # Errors
    /// [`TorFailure::State`].
    pub(super) fn apart(&self, temporary: &Path) -> Result<Self, TorFailure> {
        Self::temporary(temporary, Some(&self.state))
    }

    fn temporary(top: &Path, guards_of: Option<&Path>) -> Result<Self, TorFailure> {
        sweep(top);
        let mut name = [0; 8];
        getrandom::fill(&mut name)
            .map_err(|error| failure(top, &io::Error::other(error.to_string())))?;
        let name = data_encoding::HEXLOWER.encode(&name);
        let dir = TempDir(top.join(format!("{TEMPORARY}{name}")));
        // Not `recursive`: it must not be there yet.
        DirBuilder::new().mode(0o700).create(&dir.0).map_err(|error| failure(&dir.0, &error))?;
        let held = lock(&dir.0.join("lock")).map_err(|error| failure(&dir.0, &error))?;
        let (state, cache) = (dir.0.join("state"), dir.0.join("cache"));
        for dir in [&state, &cache] {
            make(dir)?;
        }
        if let Some(other) = guards_of
            && let Ok(guards) = fs::read(other.join(GUARDS))
        {
            make(&state.join("state"))?;
            // Without them it only chooses others.
            let _ = write_private(&state.join(GUARDS), &guards);
        }
        Ok(Self { state, cache, own: Own::Temporary { _dir: dir, _lock: held } })
    }

    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    pub(super) fn cache(&self) -> &Path {
        &self.cache
    }

    /// The cache, where it is there for the processes to come.
    pub(super) fn kept(&self) -> Option<&Path> {
        (!matches!(self.own, Own::Temporary { .. })).then_some(self.cache.as_path())
    }

    /// Whether another process may hold this one up.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.own, Own::Shared)
    }

    /// Notes that the list of relays is there, for processes to come.
    pub(super) fn ready(&self) {
        if matches!(self.own, Own::Locked { .. }) {
            let _ = write_private(&self.cache.join(READY), b"");
        }
    }
}

fn network_name(network: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(network.as_bytes());
    let short = data_encoding::HEXLOWER.encode(digest.get(..8).unwrap_or_default());
    format!("network-{short}")
}

/// With all above it, for nobody else's eyes.
fn make(dir: &Path) -> Result<(), TorFailure> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| failure(dir, &error))
}

fn failure(path: &Path, error: &io::Error) -> TorFailure {
    TorFailure::State { path: path.to_owned(), reason: strerror(error) }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, bytes)
}

/// Removes what killed processes have left: directories of which nobody holds
/// the lock. Those of other users cannot be opened.
fn sweep(top: &Path) {
    let entries = fs::read_dir(top).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY))
    {
        let file = entry.path().join("lock");
        if file.exists() && matches!(lock(&file), Ok(Some(_))) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// `None` when another process holds it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(dir: &Path) -> Dirs {
        Dirs::open(&State::below(dir), &Table::new(), Path::new("/tmp")).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_process_writes_and_others_do_not_wait_long() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).await;
        assert!(matches!(first.own, Own::Locked { .. }));
        fs::create_dir(first.state().join("state")).unwrap();
        fs::write(first.state().join(GUARDS), "guards").unwrap();
        // Cold: nothing to share but the guards.
        let begun = Instant::now();
        let second = open(dir.path()).await;
        assert!(begun.elapsed() < FIRST_PATIENCE + 2 * LOOK, "{:?}", begun.elapsed());
        assert!(matches!(second.own, Own::Temporary { .. }));
        assert_eq!(fs::read(second.state().join(GUARDS)).unwrap(), b"guards");
        let temporary = second.cache().to_owned();
        drop(second);
        assert!(!temporary.exists());
        first.ready();
        let third = open(dir.path()).await;
        assert!(third.is_shared() && third.cache() == first.cache());
        assert!(!third.apart(Path::new("/tmp")).unwrap().is_shared());
        drop(first);
        assert!(matches!(open(dir.path()).await.own, Own::Locked { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_of_the_first_process_is_waited_for_a_moment() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).await;
        let begun = Instant::now();
        let soon = async {
            tokio::time::sleep(FIRST_PATIENCE / 2).await;
            first.ready();
        };
        let (second, ()) = tokio::join!(open(dir.path()), soon);
        assert!(second.is_shared() && second.cache() == first.cache());
        assert!(begun.elapsed() < FIRST_PATIENCE, "{:?}", begun.elapsed());
        // Or it has gone meanwhile.
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).await;
        let gone = async {
            tokio::time::sleep(LOOK).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(open(dir.path()), gone);
        assert!(matches!(second.own, Own::Locked { .. }));
    }

    #[tokio::test]
    async fn networks_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let config = |text: &str| text.parse::<Table>().unwrap();
        let of = async |text: &str| {
            let state = State::below(dir.path());
            Dirs::open(&state, &config(text), Path::new("/tmp")).await.unwrap()
        };
        let one = of("[tor_network]\nauthorities.v3idents = [\"A\"]").await;
        let two = of("[tor_network]\nauthorities.v3idents = [\"B\"]").await;
        assert_ne!(one.state(), two.state());
        assert!(matches!(two.own, Own::Locked { .. }));
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_made_is_named() {
        let open = async |state: State| {
            Dirs::open(&state, &Table::new(), Path::new("/tmp")).await.unwrap_err()
        };
        let error = open(State::below(Path::new("/proc/none"))).await;
        assert!(error.to_string().contains("/proc/none"), "{error}");
        let error = open(State::Nowhere).await;
        assert!(error.to_string().contains("there is no home"), "{error}");
    }
}
