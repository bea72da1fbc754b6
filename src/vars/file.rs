//! Reads a file of the clan. Owns the rule that it lies inside the clan; what kind of
//! file it may be is that of `crate::file`.

use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};
use crate::file;

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
    file::read_unlinked(&real, limit).map(Some).map_err(broken)
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
    file::read(path, limit).map_err(broken)
}

/// The bytes of a file that the user named, see [`file::read_named`].
pub(super) fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>> {
    file::read_named(path, limit).map_err(broken)
}

/// Something else in the place of a file is a mistake in the clan.
fn broken(error: Error) -> Error {
    match error {
        Error::File { path, source, .. } if file::is_not_regular(&source) => {
            Error::VarBroken { path, reason: source.to_string() }
        }
        other => other,
    }
}

/// A directory in the place of a file's parent is as absent as nothing at all.
fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}
