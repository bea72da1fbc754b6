//! Reads a file of the clan. Owns the rules that it lies inside the clan, is a
//! regular file, and has a bounded size.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

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
    read_any(&real, limit).map(Some)
}

/// The bytes of any file that the user or a convention names.
pub(super) fn read_any(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    // A fifo in the place of a file must not hold us up.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
        .map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::VarBroken {
            path: path.to_owned(),
            reason: "not a regular file".into(),
        });
    }
    read_bounded(file, path, meta.len(), limit)
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
