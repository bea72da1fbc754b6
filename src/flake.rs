//! Finds the clan and reads its exports. Owns the search for the directory and
//! the bounds on what is read; what the exports mean is `exports`' business.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::exports::Clan;

/// No clan's exports are larger, in bytes.
const MAX_EXPORTS: u64 = 64 << 20;

/// The clan's directory: `named` (from `--flake` or `$CLAN_DIR`), or the
/// nearest parent of `start` that holds `flake.nix` or `.clan-flake`.
///
/// # Errors
/// [`Error::NotAFlake`] and [`Error::FlakeNotFound`].
pub fn find(named: Option<&Path>, start: &Path) -> Result<PathBuf> {
    if let Some(named) = named {
        let is_clan = ["flake.nix", ".clan-flake", "vars", "secrets"]
            .iter()
            .any(|name| named.join(name).exists());
        return match named.canonicalize() {
            Ok(path) if is_clan => Ok(path),
            Ok(_) => Err(Error::NotAFlake { path: named.to_owned() }),
            Err(source) => Err(Error::File { action: "open", path: named.to_owned(), source }),
        };
    }
    start
        .ancestors()
        .find(|dir| dir.join("flake.nix").exists() || dir.join(".clan-flake").exists())
        .map(Path::to_owned)
        .ok_or_else(|| Error::FlakeNotFound { start: start.to_owned() })
}

/// Reads exports from a file, or from standard input when it is `-`.
///
/// # Errors
/// [`Error::File`], [`Error::TooLarge`], [`Error::Exports`].
pub fn read_exports(file: &Path) -> Result<Clan> {
    let stdin = file == Path::new("-");
    let origin = if stdin { "standard input".to_owned() } else { file.display().to_string() };
    let failed = |source| Error::File { action: "read", path: PathBuf::from(&origin), source };
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is more.
    let read = if stdin {
        std::io::stdin().lock().take(MAX_EXPORTS + 1).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(file).map_err(failed)?;
        file.take(MAX_EXPORTS + 1).read_to_end(&mut bytes)
    };
    let count = read.map_err(failed)?;
    if count as u64 > MAX_EXPORTS {
        return Err(Error::TooLarge { path: PathBuf::from(&origin), limit: MAX_EXPORTS });
    }
    Clan::parse(&origin, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_parent_is_the_clan() {
        let top = tempfile::tempdir().unwrap();
        let inner = top.path().join("clan/sub/dir");
        std::fs::create_dir_all(&inner).unwrap();
        assert!(matches!(find(None, &inner), Err(Error::FlakeNotFound { .. })));
        std::fs::write(top.path().join("clan/flake.nix"), "{}").unwrap();
        assert_eq!(find(None, &inner).unwrap(), top.path().join("clan"));
        std::fs::write(top.path().join("clan/sub/.clan-flake"), "").unwrap();
        assert_eq!(find(None, &inner).unwrap(), top.path().join("clan/sub"));
    }

    #[test]
    fn a_named_directory_must_be_a_clan() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(find(Some(dir.path()), dir.path()), Err(Error::NotAFlake { .. })));
        let missing = dir.path().join("missing");
        assert!(matches!(find(Some(&missing), dir.path()), Err(Error::File { .. })));
    }

    #[test]
    fn a_missing_exports_file_is_named() {
        let error = read_exports(Path::new("/nonexistent/exports.json")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/exports.json"), "{error}");
    }
}
