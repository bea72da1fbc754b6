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
///
/// # Errors
/// [`Error::File`] and [`Error::VarBroken`]: what cannot be seen is not none.
pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::File { action: "read", path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absent(error.kind()) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name());
        if names.len() > MAX_NAMES {
            let reason = format!("it has more than {MAX_NAMES} entries");
            return Err(Error::VarBroken { path: dir.to_owned(), reason });
        }
    }
    // No machine and no var can have another name.
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_not_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("many")).unwrap();
        for at in 0..=MAX_NAMES {
            std::fs::write(path(&format!("many/{at}")), "").unwrap();
        }
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        for name in ["none", "many/0"] {
            assert_eq!(names(&path(name)).unwrap(), Vec::<String>::new(), "{name}");
        }
        for name in ["loop", "many"] {
            let error = names(&path(name)).unwrap_err().to_string();
            assert!(error.contains(path(name).to_str().unwrap()), "{error}");
        }
    }
}
