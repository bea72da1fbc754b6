//! Where masters are that stay for the commands to come: a directory of this user's alone
//! below `$XDG_RUNTIME_DIR`. Owns what makes it safe, the names in it, and what a master
//! there tells of itself. A name is a hash: no machine and no host can be read from it.

use std::fs::{DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::client::{Client, MasterFailure};
use crate::env::Env;
use crate::error::strerror;
use crate::file;
use crate::flake::not_his_alone;
use crate::printable;

/// What such a master is asked by our own programs, among the requests for information of
/// PROTOCOL.mux.
pub const CARD: &str = "clan-connect";
/// Bytes of a hash in a name.
const NAME: usize = 16;
/// Bytes of the longest path of a socket (unix(7)), without the end of the text.
const MAX_PATH: usize = 107;
/// Bytes that stand behind a path until its socket listens.
const UNTIL_IT_LISTENS: usize = 9;
/// Masters that are asked at most.
const MAX_MASTERS: usize = 1000;
/// How long a master may take to say who it is; it needs nobody for that.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long one may take to end: it says goodbye to its server.
const CLOSING: Duration = Duration::from_secs(5);

/// What a master tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The machine, as it is called in its clan.
    pub machine: String,
    /// Tells the clan from others.
    pub clan: String,
    /// The network that leads there.
    pub network: String,
    /// Whom it has logged in as.
    pub user: String,
    /// What runs there now: shells, commands and streams.
    pub sessions: usize,
    /// Its process.
    pub pid: u32,
}

/// A master of this user's that answers.
#[derive(Debug)]
pub struct Found {
    /// Its socket.
    pub socket: PathBuf,
    /// What it says.
    pub card: Card,
}

/// The socket for what has this hash, in a directory that is there by then.
///
/// # Errors
/// Why no master can be kept, in half a sentence.
pub fn socket(digest: &[u8], env: &Env) -> Result<PathBuf, String> {
    let digest = digest.get(..NAME).unwrap_or(digest);
    let path = dir(env)?.join(data_encoding::HEXLOWER.encode(digest));
    match path.as_os_str().len() + UNTIL_IT_LISTENS {
        ..=MAX_PATH => Ok(path),
        _ => Err(format!("{} is too long for a socket", shown(&path))),
    }
}

/// The directory, made if it is not there.
fn dir(env: &Env) -> Result<PathBuf, String> {
    private_dir("clan-connect", env)
}

/// A directory of this name below `$XDG_RUNTIME_DIR` that is this user's alone, made if it
/// is not there.
///
/// # Errors
/// Why there can be none, in half a sentence.
pub fn private_dir(name: &str, env: &Env) -> Result<PathBuf, String> {
    let base = env.path("XDG_RUNTIME_DIR").ok_or("XDG_RUNTIME_DIR is not set")?;
    if !base.is_absolute() {
        return Err("XDG_RUNTIME_DIR is not an absolute path".to_owned());
    }
    let base = base.canonicalize().map_err(|error| failed(base, &error))?;
    fits(&base)?;
    let dir = base.join(name);
    make_private(&dir)?;
    // Who may write above it could put another one into its place.
    match not_his_alone(&dir, env) {
        Some(why) => Err(why),
        None => Ok(dir),
    }
}

/// Makes a directory that is this user's alone, or finds that it is there and is so.
///
/// # Errors
/// Why there can be none, in half a sentence.
pub fn make_private(dir: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(dir, &error)),
        _ => fits(dir),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {}", shown(path), strerror(error))
}

/// Whether this is a directory that nobody else may look into. A link in its place is not
/// followed: somebody else may have made it.
fn fits(dir: &Path) -> Result<(), String> {
    let meta = dir.symlink_metadata().map_err(|error| failed(dir, &error))?;
    why_unfit(&meta).map_or(Ok(()), |why| Err(format!("{} {why}", shown(dir))))
}

fn why_unfit(meta: &Metadata) -> Option<&'static str> {
    match () {
        () if !meta.is_dir() => Some("is not a directory"),
        () if !file::is_ours(meta) => Some("is another user's"),
        () if file::is_open(meta) => Some("is open to others: its mode has to be 0700"),
        () => None,
    }
}

fn shown(path: &Path) -> String {
    printable::line(&path.to_string_lossy())
}

/// All masters that answer. What is left of those that were killed is removed.
pub async fn all(env: &Env) -> Vec<Found> {
    let Ok(dir) = dir(env) else { return Vec::new() };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        name.len() == 2 * NAME && name.iter().all(u8::is_ascii_hexdigit)
    };
    let paths = entries.map(|entry| entry.path()).filter(is_ours).take(MAX_MASTERS);
    let mut found: Vec<Found> = join_all(paths.map(asked)).await.into_iter().flatten().collect();
    found.sort_by(|a, b| {
        let key = |found: &Found| (found.card.machine.clone(), found.card.pid);
        key(a).cmp(&key(b))
    });
    found
}

async fn asked(socket: PathBuf) -> Option<Found> {
    let mut client = match connect(&socket).await {
        Ok(client) => client,
        Err(failure) => {
            if matches!(&failure, MasterFailure::Io(error) if is_refused(error)) {
                let _ = std::fs::remove_file(&socket);
            }
            return None;
        }
    };
    let told = tokio::time::timeout(PATIENCE, client.info(CARD)).await.ok()?.ok()??;
    let card = serde_json::from_str(&told).ok()?;
    Some(Found { socket, card })
}

/// Connects to a master, which has to answer at once: one that was stopped, or hangs,
/// holds nobody up.
///
/// # Errors
/// See [`MasterFailure`]; nothing was asked of it.
pub async fn connect(socket: &Path) -> Result<Client, MasterFailure> {
    let connecting = tokio::time::timeout(PATIENCE, Client::connect(socket));
    let late = |_| Err(MasterFailure::Io(ErrorKind::TimedOut.into()));
    connecting.await.unwrap_or_else(late)
}

/// Whether nobody listens there any more, or nobody who answers: its place is free.
pub fn is_left_behind(failure: &MasterFailure) -> bool {
    let is_late = |error: &std::io::Error| error.kind() == ErrorKind::TimedOut;
    matches!(failure, MasterFailure::Io(error) if is_refused(error) || is_late(error))
}

fn is_refused(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
}

impl Found {
    /// Ends it, and waits for a moment until it is gone; whether it is.
    pub async fn close(&self) -> bool {
        let ended = async {
            let mut client = connect(&self.socket).await.ok()?;
            client.terminate().await.ok()?;
            client.gone().await;
            Some(())
        };
        tokio::time::timeout(CLOSING, ended).await.ok().flatten().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn env(dir: &Path) -> Env {
        Env::of([("XDG_RUNTIME_DIR", dir.as_os_str())])
    }

    /// A directory as the system makes it.
    fn runtime() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    #[test]
    fn the_directory_is_made_for_this_user_alone() {
        let runtime = runtime();
        let path = socket(&[0xab; 32], &env(runtime.path())).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "ab".repeat(16));
        let meta = path.parent().unwrap().metadata().unwrap();
        assert_eq!(meta.mode() & 0o777, 0o700);
        // It is there the next time.
        assert_eq!(socket(&[0xab; 32], &env(runtime.path())).unwrap(), path);
    }

    #[test]
    fn a_place_that_others_have_a_say_about_is_none() {
        let digest = [0; 32];
        assert!(socket(&digest, &Env::default()).unwrap_err().contains("is not set"));
        let relative = socket(&digest, &env(Path::new("run"))).unwrap_err();
        assert!(relative.contains("absolute"), "{relative}");
        let missing = socket(&digest, &env(Path::new("/nonexistent/x"))).unwrap_err();
        assert!(missing.contains("/nonexistent/x"), "{missing}");
        for mode in [0o755, 0o770, 0o701] {
            let runtime = runtime();
            fs::set_permissions(runtime.path(), Permissions::from_mode(mode)).unwrap();
            assert!(socket(&digest, &env(runtime.path())).unwrap_err().contains("0700"));
        }
        // Made before us: too open, a link to elsewhere, a file.
        let open = runtime();
        fs::create_dir(open.path().join("clan-connect")).unwrap();
        fs::set_permissions(open.path().join("clan-connect"), Permissions::from_mode(0o777))
            .unwrap();
        assert!(socket(&digest, &env(open.path())).unwrap_err().contains("0700"));
        let (linked, elsewhere) = (runtime(), runtime());
        symlink(elsewhere.path(), linked.path().join("clan-connect")).unwrap();
        let link = socket(&digest, &env(linked.path())).unwrap_err();
        assert!(link.contains("not a directory"), "{link}");
        let file = runtime();
        fs::write(file.path().join("clan-connect"), "").unwrap();
        assert!(socket(&digest, &env(file.path())).is_err());
        // Its parent may be swapped by everybody.
        let above = runtime();
        let below = above.path().join("open/run");
        fs::create_dir_all(&below).unwrap();
        fs::set_permissions(&below, Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(above.path().join("open"), Permissions::from_mode(0o777)).unwrap();
        let swapped = socket(&digest, &env(&below)).unwrap_err();
        assert!(swapped.contains("open"), "{swapped}");
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_none() {
        let runtime = runtime();
        let deep = runtime.path().join("x".repeat(80));
        fs::create_dir(&deep).unwrap();
        fs::set_permissions(&deep, Permissions::from_mode(0o700)).unwrap();
        assert!(socket(&[0; 32], &env(&deep)).unwrap_err().contains("too long"));
    }

    #[tokio::test]
    async fn what_does_not_answer_is_no_master_and_what_is_left_of_one_goes() {
        let runtime = runtime();
        let env = env(runtime.path());
        let [dead, deaf] = [1, 2].map(|byte| socket(&[byte; 32], &env).unwrap());
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let _deaf = std::os::unix::net::UnixListener::bind(&deaf).unwrap();
        let started = std::time::Instant::now();
        assert!(all(&env).await.is_empty());
        assert!(started.elapsed() < PATIENCE * 3);
        // Who is but slow may come back.
        assert!(!dead.exists() && deaf.exists());
        assert!(is_left_behind(&connect(&deaf).await.unwrap_err()));
    }
}
