//! Reading a file that somebody else may have put there. Owns that it is a regular file
//! where the user did not name it, and that its size is bounded: a FIFO or a device in its
//! place can neither hold us up nor fill our memory. Who else may have access to one is
//! `access`'s, and writing one is `whole`'s.

mod access;
mod whole;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use access::may_hold_key;
pub(crate) use access::{Private, exposed_to_ssh, is_bad_to_ssh, is_open, is_ours, is_writable};
#[cfg(any(test, feature = "yggdrasil"))]
pub(crate) use whole::write_new;
pub(crate) use whole::{Directory, is_temporary, write_over, write_settled, write_whole};

/// What is said of anything else than a file.
const NOT_REGULAR: &str = "not a regular file";

/// Whether an error says so.
pub(crate) fn is_not_regular(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidInput && error.to_string() == NOT_REGULAR
}

/// Whether an error means that nothing is there: a file in the place of a directory has
/// nothing in it.
pub(crate) fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether anything is there, and be it a link that leads nowhere.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Says so of a link that is there while nothing is where it leads to: whoever has put it
/// there meant that there is a file.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn leads_somewhere(path: &Path) -> Result<()> {
    match path.metadata() {
        Err(error) if is_absent(error.kind()) && path.is_symlink() => {
            let reason = "it is a link that leads nowhere; put back what it led to, or remove it";
            let source = io::Error::new(error.kind(), reason);
            Err(Error::File { action: "read", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Does `make`, and what it makes has the permissions that `mask` leaves from the start.
/// With a change afterwards, another file could have come into its place.
pub(crate) fn masked<T>(mask: u32, make: impl FnOnce() -> T) -> T {
    use rustix::fs::Mode;
    static CHANGED: Mutex<()> = Mutex::new(());
    let _changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::process::umask(Mode::from_raw_mode(mask));
    let made = make();
    rustix::process::umask(before);
    made
}

/// Which file it is, as it is now: its device, number, size, and when it was changed, which
/// nobody sets at will.
pub(crate) fn version(meta: &Metadata) -> (u64, u64, u64, i64, i64) {
    (meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec())
}

/// The bytes of a regular file, wherever a link leads.
///
/// # Errors
/// [`Error::File`] and [`Error::TooLarge`].
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_opened(open(path, OFlags::empty()), path, limit)
}

/// The same, where the last part of the path must be no link.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_unlinked(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_opened(open(path, OFlags::NOFOLLOW), path, limit)
}

/// The bytes of a file that the user named, who may well name a pipe:
/// `--identity <(pass show key)`.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_opened(open_named(path), path, limit)
}

/// The bytes of a file, or pipe, that the user named and that holds a private key; whose it
/// may be is `access`'s.
pub(crate) fn read_private(path: &Path, limit: u64, sudo: Option<u32>) -> Result<Vec<u8>, Private> {
    private(open_named(path), path, limit, sudo)
}

/// The same for a file that the user has not named, so that it is no pipe.
pub(crate) fn read_kept(path: &Path, limit: u64, sudo: Option<u32>) -> Result<Vec<u8>, Private> {
    private(open(path, OFlags::empty()), path, limit, sudo)
}

fn private(
    file: io::Result<File>,
    path: &Path,
    limit: u64,
    sudo: Option<u32>,
) -> Result<Vec<u8>, Private> {
    let failed =
        |source| Private::Unread(Error::File { action: "read", path: path.to_owned(), source });
    let file = file.map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    // A pipe is its writer's word.
    if meta.is_file() {
        may_hold_key(&meta, sudo)?;
    }
    read_opened(Ok(file), path, limit).map_err(Private::Unread)
}

/// Opens a regular file or a pipe for reading, and nothing else. Waits until somebody
/// writes to the pipe.
fn open_named(path: &Path) -> io::Result<File> {
    match path.metadata()?.file_type().is_fifo() {
        true => OpenOptions::new().read(true).custom_flags(flags(OFlags::empty())).open(path),
        false => open(path, OFlags::empty()),
    }
}

/// Opens what the user named and what is written into as it is, such as a terminal or
/// `/dev/null`, or a pipe, where it waits until somebody reads. `None` for a file, and for
/// whatever is none of these.
pub(crate) fn open_stream(path: &Path) -> Option<io::Result<File>> {
    let kind = path.metadata().ok()?.file_type();
    let open = || OpenOptions::new().write(true).custom_flags(flags(OFlags::empty())).open(path);
    (kind.is_char_device() || kind.is_fifo()).then(open)
}

/// Opens a regular file for reading, and nothing else.
///
/// # Errors
/// Those of open(2); [`NOT_REGULAR`] for anything else.
fn open(path: &Path, more: OFlags) -> io::Result<File> {
    // Some devices do something when they are opened.
    if !std::fs::metadata(path)?.is_file() {
        return Err(not_regular());
    }
    // Without NONBLOCK a FIFO that is there now would wait for a writer.
    let file =
        OpenOptions::new().read(true).custom_flags(flags(more | OFlags::NONBLOCK)).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// The error that says so.
pub(crate) fn not_regular() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, NOT_REGULAR)
}

fn flags(flags: OFlags) -> i32 {
    // A terminal must not become ours by being read.
    (flags | OFlags::NOCTTY).bits().cast_signed()
}

fn read_opened(file: io::Result<File>, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    let file = file.map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    read_bounded(file, path, len, limit)
}

fn read_bounded(file: File, path: &Path, len: u64, limit: u64) -> Result<Vec<u8>> {
    let too_large = || Error::TooLarge { path: PathBuf::from(path), limit };
    if len > limit {
        return Err(too_large());
    }
    // With room for all from the start, no copy of a key is left behind.
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    // It may have grown meanwhile.
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn nothing_but_a_regular_file_is_read_unless_the_user_named_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "x").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink("/dev/tty", path("terminal")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), 0o600.into()).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        assert_eq!(read(&path("file"), 1).unwrap(), b"x");
        assert_eq!(read(&path("link"), 1).unwrap(), b"x");
        assert!(read_unlinked(&path("link"), 1).is_err());
        assert!(matches!(read(&path("file"), 0), Err(Error::TooLarge { .. })));
        for name in ["zero", "fifo", "socket", "terminal", "."] {
            let error = read(&path(name), 9).unwrap_err().to_string();
            assert!(error.contains(NOT_REGULAR), "{name}: {error}");
        }
        let fifo = path("fifo");
        let writer = std::thread::spawn(move || std::fs::write(fifo, "piped").unwrap());
        assert_eq!(read_named(&path("fifo"), 9).unwrap(), b"piped");
        writer.join().unwrap();
        assert!(read_named(&path("zero"), 9).is_err());
    }

    #[test]
    fn a_private_key_is_the_users_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "key").unwrap();
        for (mode, is_read) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match read_private(&path, 9, None) {
                Ok(bytes) => assert!(is_read && bytes == b"key", "{mode:o}"),
                Err(Private::Exposed(told)) => assert!(!is_read && told & 0o777 == mode),
                Err(other) => panic!("{other:?}"),
            }
        }
        let absent = read_private(&dir.path().join("absent"), 9, None);
        assert!(matches!(absent, Err(Private::Unread(Error::File { .. }))));
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let belongs_to = |uid| std::os::unix::fs::chown(&path, Some(uid), None).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        belongs_to(65_534);
        assert!(matches!(read_private(&path, 9, None), Err(Private::Foreign(65_534))));
        assert!(matches!(read_private(&path, 9, Some(1)), Err(Private::Foreign(65_534))));
        assert_eq!(read_private(&path, 9, Some(65_534)).unwrap(), b"key");
    }
}
