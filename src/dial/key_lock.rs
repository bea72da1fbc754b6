//! Keys that one process can use at a time: whoever uses them is a member of a network, and
//! two of them would take each other's packets. Owns the locks: a name among the sockets of
//! the system, which is the same for a terminal and a job without any variables, and files,
//! which hold where that name cannot be had and between namespaces of the network.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::task::AbortHandle;

use crate::descriptors::peer;
use crate::env::Env;
use crate::file;
use crate::parts::Parts;

/// What the names of the sockets begin with, which everybody on this computer can see. What
/// follows is a hash: no key can be read from it.
const SOCKETS: &str = "clan-connect/";
/// How often whoever has the name is asked who he is: he may be about to listen.
const ASKED: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// Where locks of one kind lie.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyLocks {
    /// Among others of this program.
    kind: String,
    /// For files: in the directory of what runs, and in that of what is kept.
    dirs: Vec<PathBuf>,
}

/// A lock that is held until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// None where the system has no such names, or somebody else has taken this one.
    socket: Option<UnixListener>,
    files: Vec<File>,
    /// Whether it is another user's.
    pub(super) is_contested: bool,
    /// Serves who comes to the socket.
    serving: OnceLock<AbortHandle>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.get() {
            serving.abort();
        }
    }
}

impl Hold {
    /// Whether nobody else can have it.
    pub(super) fn is_held(&self) -> bool {
        self.socket.is_some() || !self.files.is_empty()
    }

    /// Has a task serve who comes to the socket, for as long as the lock is held.
    pub(super) fn serve_with(&self, serve: impl FnOnce(UnixListener) -> Option<AbortHandle>) {
        let socket = self.socket.as_ref().and_then(|socket| socket.try_clone().ok());
        let socket = socket.filter(|socket| socket.set_nonblocking(true).is_ok());
        if let Some(task) = socket.and_then(serve) {
            let _ = self.serving.set(task);
        }
    }
}

/// Another process has the lock, to which this leads if it can be spoken to.
#[derive(Debug)]
pub(super) struct InUse(pub(super) Option<UnixStream>);

/// Whether a directory is this user's, and nobody else can put anything into it.
fn is_ours(dir: &Path) -> bool {
    dir.metadata()
        .is_ok_and(|meta| meta.is_dir() && file::is_ours(&meta) && !file::is_writable(&meta))
}

impl KeyLocks {
    /// Those of keys of this kind.
    pub(super) fn of(env: &Env, kind: &str) -> Self {
        let runtime = env.path("XDG_RUNTIME_DIR").filter(|dir| dir.is_absolute() && is_ours(dir));
        let places = runtime.map(Path::to_owned).into_iter().chain(env.state_dir());
        Self { kind: kind.to_owned(), dirs: places.map(|dir| dir.join(kind)).collect() }
    }

    /// Others than those of the user, for tests, which have the same keys.
    #[cfg(test)]
    pub(super) fn apart(env: &Env, dir: &Path) -> Self {
        let kind = dir.display().to_string();
        Self { kind, ..Self::of(env, "locks") }
    }

    /// Takes the lock of a key.
    pub(super) fn take(&self, public: &[u8; 32]) -> Result<Hold, InUse> {
        let (socket, is_contested) = match Name::of(&self.kind, public).take() {
            Taken::Now(socket) => (Some(socket), false),
            Taken::ByUs(stream) => return Err(InUse(Some(stream))),
            Taken::ByOthers => (None, true),
            Taken::Never => (None, false),
        };
        let name = data_encoding::HEXLOWER.encode(&digest(&[public]));
        let files = self.dirs.iter().filter_map(|dir| file(dir, &name).transpose());
        let files = files.collect::<Result<_, _>>()?;
        Ok(Hold { socket, files, is_contested, serving: OnceLock::new() })
    }
}

fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Parts::default();
    parts.iter().for_each(|part| all.put(part));
    all.digest()
}

/// Locks the file in a directory; none where there is no place for it.
fn file(dir: &Path, name: &str) -> Result<Option<File>, InUse> {
    // Where none can be made, none is held.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(dir.join(name));
    let is_file = |file: &File| file.metadata().is_ok_and(|meta| meta.is_file());
    let Some(file) = opened.ok().filter(is_file) else { return Ok(None) };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(InUse(None)),
        // Some network file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// A name among the sockets of this namespace of the network (unix(7), "abstract").
struct Name(String);

/// Whose a name is.
enum Taken {
    /// Ours, from now on.
    Now(UnixListener),
    /// Another process of this user's.
    ByUs(UnixStream),
    /// Another user's, who may have taken it on purpose: it must not keep us from anything.
    ByOthers,
    /// Nobody's: there are no such names here.
    Never,
}

impl Name {
    /// Of the key's use by this user.
    fn of(kind: &str, public: &[u8; 32]) -> Self {
        let user = rustix::process::geteuid().as_raw().to_be_bytes();
        let digest = digest(&[kind.as_bytes(), &user, public]);
        Self(format!("{SOCKETS}{}", data_encoding::HEXLOWER.encode(&digest)))
    }

    fn take(&self) -> Taken {
        let Ok(address) = SocketAddr::from_abstract_name(&self.0) else { return Taken::Never };
        for _ in 0..ASKED {
            match UnixListener::bind_addr(&address) {
                Ok(socket) => return Taken::Now(socket),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(_) => return Taken::Never,
            }
            match self.connect().map(|stream| (peer(&stream), stream)) {
                Some((Some(peer), stream)) if peer.is_ours() => return Taken::ByUs(stream),
                Some(_) => return Taken::ByOthers,
                None => std::thread::sleep(PAUSE),
            }
        }
        // He has the name and does not listen, or has let others fill his queue.
        Taken::ByOthers
    }

    /// Connects to whoever listens, if anybody does, and does not wait for him.
    fn connect(&self) -> Option<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        let address = SocketAddrUnix::new_abstract_name(self.0.as_bytes()).ok()?;
        rustix::net::connect(&socket, &address).ok()?;
        Some(socket.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn env(dir: &Path, names: &[&str]) -> Env {
        Env::of(names.iter().map(|name| (*name, dir.to_str().unwrap())))
    }

    #[test]
    fn a_terminal_and_a_job_without_variables_do_not_hold_one_key_both() {
        let dir = tempfile::tempdir().unwrap();
        let all = [["XDG_RUNTIME_DIR"].as_slice(), &["HOME"], &[]];
        for held in all {
            for other in all {
                let [first, second] =
                    [held, other].map(|names| KeyLocks::apart(&env(dir.path(), names), dir.path()));
                let hold = first.take(&KEY).unwrap();
                assert!(hold.is_held() && !hold.is_contested, "{held:?}");
                assert!(second.take(&KEY).is_err(), "{held:?} {other:?}");
                assert!(second.take(&[8; 32]).is_ok());
                drop(hold);
                assert!(second.take(&KEY).is_ok(), "{held:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_key_that_is_used_in_another_namespace_is_seen_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let env = env(dir.path(), &["HOME"]);
        // There the name of a socket is another one's.
        let locks = KeyLocks::apart(&env, dir.path());
        let elsewhere = KeyLocks { kind: format!("{}/2", dir.path().display()), ..locks.clone() };
        let hold = elsewhere.take(&KEY).unwrap();
        assert!(locks.take(&KEY).is_err());
        drop(hold);
        assert!(locks.take(&KEY).is_ok());
    }

    #[test]
    fn who_has_the_name_and_does_not_say_who_he_is_keeps_us_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let locks = KeyLocks::apart(&env(dir.path(), &["HOME"]), dir.path());
        let name = Name::of(&locks.kind, &KEY);
        let flags = SocketFlags::CLOEXEC;
        let squatter =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let address = SocketAddrUnix::new_abstract_name(name.0.as_bytes()).unwrap();
        rustix::net::bind(&squatter, &address).unwrap();
        let hold = locks.take(&KEY).unwrap();
        assert!(hold.is_contested && hold.socket.is_none());
        // The file still tells ours apart.
        assert!(locks.take(&KEY).is_err());
        drop(hold);
        // A queue that is full is no better.
        rustix::net::listen(&squatter, 0).unwrap();
        let mut waiting = Vec::new();
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
            let socket = socket.unwrap();
            if rustix::net::connect(&socket, &address).is_err() {
                break;
            }
            waiting.push(socket);
        }
        assert!(locks.take(&KEY).unwrap().is_contested);
    }

    #[test]
    fn a_name_tells_users_kinds_and_keys_apart_and_nothing_of_them() {
        let name = Name::of("wireguard", &KEY).0;
        assert_ne!(name, Name::of("yggdrasil", &KEY).0);
        assert_ne!(name, Name::of("wireguard", &[8; 32]).0);
        assert!(!name.contains("0707") && name.len() == SOCKETS.len() + 64, "{name}");
    }
}
