//! Reads a file of the clan. Owns the rules that it lies inside the clan, is a
//! regular file, and has a bounded size.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Bound on the entries of a folder: more than any clan has machines or vars.
const MAX_NAMES: usize = 10_000;

/// The bytes of `path` below `root`, which must be canonical; `None` when there
/// is no such file, a link that leads nowhere included.
pub(super) fn read(root: &Path, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let path = root.join(path);
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if is_absent(error.kind()) => return Ok(None),
        Err(source) => return Err(Error::File { action: "read", path, source }),
    };
    if !real.starts_with(root) {
        return Err(Error::VarBroken { path, reason: "it is a link that leaves the clan".into() });
    }
    // The canonical path has no links; one put in its place since is refused.
    let file = open(&real, OFlags::NONBLOCK | OFlags::NOFOLLOW)?;
    read_regular(file, &real, limit).map(Some)
}

/// The names in a folder, in their order; none when there is no such folder.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().take(MAX_NAMES);
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The bytes of a file that lies where a convention says.
pub(super) fn read_any(path: &Path, limit: u64) -> Result<Vec<u8>> {
    // A fifo in the place of a file must not hold us up.
    read_regular(open(path, OFlags::NONBLOCK)?, path, limit)
}

/// The bytes of a file that the user named, who may well name a pipe:
/// `--identity <(pass show key)`.
pub(super) fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = open(path, OFlags::empty())?;
    if file.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
        return read_bounded(file, path, 0, limit);
    }
    read_regular(file, path, limit)
}

fn open(path: &Path, flags: OFlags) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((flags | OFlags::NOCTTY).bits().cast_signed())
        .open(path)
        .map_err(|source| match Errno::from_io_error(&source) {
            // What open(2) says of a socket.
            Some(Errno::NXIO) => not_regular(path),
            _ => Error::File { action: "read", path: path.to_owned(), source },
        })
}

fn read_regular(file: File, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let meta = file.metadata().map_err(|source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    if !meta.is_file() {
        return Err(not_regular(path));
    }
    read_bounded(file, path, meta.len(), limit)
}

fn not_regular(path: &Path) -> Error {
    Error::VarBroken { path: path.to_owned(), reason: "not a regular file".into() }
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

/// A directory in the place of a file's parent is as absent as nothing at all.
fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}
