//! Reading known_hosts and adding a line to it. Owns the file's bounds, its
//! lock and its atomic replacement; the words in it belong to the parent.

use std::cell::Cell;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use russh::keys::PublicKey;
use rustix::fs::OFlags;

use super::{KnownHosts, Verdict, hosts, lookup_name};
use crate::error::{Error, Result, strerror};
use crate::file::{is_absent, write_settled};
use crate::printable;

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 64 << 20;

/// How long another process may hold the lock. It needs milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How often the update starts over because somebody else wrote to the file.
const TRIES: usize = 100;

/// What Linux allows for a chain of symbolic links.
const MAX_LINKS: usize = 40;

/// The whole file; `None` if there is none, or if it is `/dev/null`.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    // Without NONBLOCK, opening a FIFO would wait for a writer for ever.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(mut file) => read_open(path, &mut file).map(|(text, _)| text),
        Err(error) if is_absent(error.kind()) => Ok(None),
        Err(error) => Err(broken(path, "cannot read the file", &error)),
    }
}

/// Adds a line for `key` as a key of `name` at `port` to the file, with the name
/// hashed (as ssh(1)'s `HashKnownHosts`) or plain. Creates the file (mode 0600)
/// and its directory (0700). The file is replaced as a whole under an advisory
/// lock, and keeps its mode and, where we may, its owner; a symbolic link stays
/// one. A key the file already has for that name is not added twice, and
/// `/dev/null` swallows everything.
///
/// Blocks: for the disk, and up to 10 s for the lock.
///
/// # Errors
/// `Error::KnownHosts` if the name cannot stand in the file or the file cannot
/// be written; the old file is then as it was.
pub fn add(path: &Path, name: &str, port: u16, key: &PublicKey, hashed: bool) -> Result<()> {
    update(path, name, port, key, hashed, false)
}

/// As [`add`], for a key trusted on first use: fails if the file has got another
/// key for that name since it was read, so that of two connections at once the
/// second cannot bring a key of its own.
///
/// # Errors
/// As [`add`], and `Error::HostKey` for such another key.
pub fn add_first(path: &Path, name: &str, port: u16, key: &PublicKey, hashed: bool) -> Result<()> {
    update(path, name, port, key, hashed, true)
}

fn update(
    path: &Path,
    name: &str,
    port: u16,
    key: &PublicKey,
    hashed: bool,
    first: bool,
) -> Result<()> {
    let line = new_line(path, name, port, key, hashed)?;
    rewrite(path, &mut |text| {
        let mut known = KnownHosts::default();
        known.parse(path, text);
        match lookup_exactly(&known, name, port, key) {
            Verdict::Known { .. } => return Ok(None),
            Verdict::Changed { .. } | Verdict::OtherType { .. } if first => {
                return Err(Error::HostKey {
                    name: printable::line(&lookup_name(name, port)),
                    reason: "another key was stored while this connection was set up".into(),
                });
            }
            _ => {}
        }
        Ok(Some(with_line(text, &line)))
    })
}

/// Removes the plain lines for `name` at `port` whose keys `is_meant` says are
/// meant; returns their numbers. A line for several names loses only this one.
/// Replaces the file as [`add`] does.
///
/// # Errors
/// As [`add`].
pub fn remove(
    path: &Path,
    name: &str,
    port: u16,
    is_meant: &dyn Fn(&PublicKey) -> bool,
) -> Result<Vec<usize>> {
    let name = lookup_name(name, port);
    let mut removed = Vec::new();
    if !path.exists() {
        return Ok(removed);
    }
    rewrite(path, &mut |text| {
        removed.clear();
        let mut kept = Vec::with_capacity(text.len());
        for (at, bytes) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            match super::line::without(bytes, &name, is_meant) {
                None => kept.extend_from_slice(bytes),
                Some(rest) => {
                    removed.push(at + 1);
                    kept.extend(rest);
                }
            }
        }
        Ok((!removed.is_empty()).then_some(kept))
    })?;
    Ok(removed)
}

/// Puts `line` after `text`, which may lack its last newline.
fn with_line(text: &[u8], line: &str) -> Vec<u8> {
    let mut text = text.to_vec();
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(line.as_bytes());
    text
}

/// From a file's text to another one, if it is to change.
type Change<'a> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>> + 'a;

/// Replaces the file by what `change` makes of its text, unless that is `None`,
/// under the lock and without ever leaving half of it.
fn rewrite(path: &Path, change: &mut Change<'_>) -> Result<()> {
    let target = follow_links(path).map_err(|error| broken(path, "cannot follow it", &error))?;
    // Before the lock, which everybody's /dev/null would share.
    if std::fs::metadata(&target).is_ok_and(|meta| is_null(&meta)) {
        return Ok(());
    }
    for _ in 0..TRIES {
        let (mut file, before) = open_locked(path, &target)?;
        let (Some(text), _) = read_open(path, &mut file)? else { return Ok(()) };
        let Some(text) = change(&text)? else { return Ok(()) };
        if replace(&target, &text, &file, &before)
            .map_err(|error| broken(path, "cannot put a new file in its place", &error))?
        {
            return Ok(());
        }
    }
    Err(Error::KnownHosts {
        path: path.into(),
        reason: "another process keeps writing to it".into(),
    })
}

/// The lines for the very name, without the fallback of [`KnownHosts::lookup`].
fn lookup_exactly(known: &KnownHosts, name: &str, port: u16, key: &PublicKey) -> Verdict {
    known.lookup(&lookup_name(name, port), super::DEFAULT_PORT, key)
}

fn new_line(path: &Path, name: &str, port: u16, key: &PublicKey, hashed: bool) -> Result<String> {
    let fail = |reason: String| Error::KnownHosts { path: path.into(), reason };
    if !writable_name(name) {
        // The name may be secret, so it is not in the message.
        return Err(fail(
            "the host's name cannot be written into the file; it would be read as a pattern or as \
             several words"
                .into(),
        ));
    }
    let name = lookup_name(name, port);
    let hosts = if hashed {
        let salt = hosts::new_salt().map_err(|error| fail(format!("no random salt: {error}")))?;
        hosts::hashed_field(&salt, name.as_bytes()).unwrap_or(name)
    } else {
        name
    };
    let key = PublicKey::from(key.key_data().clone())
        .to_openssh()
        .map_err(|error| fail(format!("the key cannot be written: {error}")))?;
    Ok(format!("{hosts} {}\n", key.trim_end()))
}

/// Whether the name means itself, and only itself, as a host field.
fn writable_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 1000
        && !name.starts_with(['!', '#', '@', '|'])
        && !name.contains([',', '*', '?', '[', ']'])
        && !name.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The file a chain of symbolic links ends at, which need not exist.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match std::fs::symlink_metadata(&target) {
            Ok(meta) if meta.is_symlink() => {
                let next = std::fs::read_link(&target)?;
                target = target.parent().unwrap_or(Path::new("")).join(next);
            }
            Ok(_) => return Ok(target),
            Err(error) if is_absent(error.kind()) => return Ok(target),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The file at `target`, created if missing, locked. The lock is on the file
/// itself; since it is replaced by renaming, whoever waited for the lock may
/// hold a file that is no longer there, and opens it again.
fn open_locked(path: &Path, target: &Path) -> Result<(File, Metadata)> {
    if let Some(directory) = target.parent()
        && !directory.as_os_str().is_empty()
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| broken(path, "cannot create its directory", &error))?;
    }
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(target)
            .map_err(|error| broken(path, "cannot write the file", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::KnownHosts {
                    path: path.into(),
                    reason: "another process has had it locked for 10 s".into(),
                });
            }
            // Some network file systems have no locks; better to go on than to
            // forget the key.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(broken(path, "cannot lock the file", &error));
            }
        }
        let held = file.metadata().map_err(|error| broken(path, "cannot read it", &error))?;
        if still_there(&held, target).map_err(|error| broken(path, "cannot read it", &error))? {
            return Ok((file, held));
        }
    }
}

/// Whether the open file is the one at `target`, and was not replaced.
fn still_there(held: &Metadata, target: &Path) -> io::Result<bool> {
    match std::fs::metadata(target) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if is_absent(error.kind()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file's content if it is one; `None` for `/dev/null`.
fn read_open(path: &Path, file: &mut File) -> Result<(Option<Vec<u8>>, Metadata)> {
    let fail = |reason: &str| Error::KnownHosts { path: path.into(), reason: reason.into() };
    let meta = file.metadata().map_err(|error| broken(path, "cannot read it", &error))?;
    if !meta.is_file() {
        return if is_null(&meta) { Ok((None, meta)) } else { Err(fail("not a regular file")) };
    }
    let mut text = Vec::new();
    file.take(MAX_SIZE + 1)
        .read_to_end(&mut text)
        .map_err(|error| broken(path, "cannot read the file", &error))?;
    if u64::try_from(text.len()).is_ok_and(|size| size <= MAX_SIZE) {
        Ok((Some(text), meta))
    } else {
        Err(fail("larger than 64 MiB, which is no list of host keys"))
    }
}

/// Puts `text` in the place of `target`, which is open as `old`. `false` if
/// somebody without our lock, such as ssh(1), wrote to it since `before`.
fn replace(target: &Path, text: &[u8], old: &File, before: &Metadata) -> io::Result<bool> {
    let is_changed = Cell::new(false);
    let settle = |file: &File| {
        // The owner first: changing it clears mode bits. Only root may give files
        // away, so a failure is no failure.
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            let _ = std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid()));
        }
        file.set_permissions(std::fs::Permissions::from_mode(before.mode() & 0o7777))?;
        // It takes time, and what is written meanwhile would be lost.
        file.sync_all()?;
        let of = |meta: &Metadata| (meta.size(), meta.mtime(), meta.mtime_nsec());
        is_changed.set(of(&old.metadata()?) != of(before));
        if is_changed.get() { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
    };
    match write_settled(target, text, 0o600, settle) {
        Err(_) if is_changed.get() => Ok(false),
        written => written.map(|()| true),
    }
}

/// Whether it is `/dev/null`, the usual way to have no known_hosts.
fn is_null(meta: &Metadata) -> bool {
    meta.file_type().is_char_device()
        && std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == meta.rdev())
}

fn broken(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::KnownHosts { path: path.into(), reason: format!("{what}: {}", strerror(error)) }
}

#[cfg(test)]
mod tests;
