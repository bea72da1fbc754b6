//! Whether a clan has changed: a hash over its files. Owns what counts; knows
//! nothing of nix.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::snapshot;
use crate::file;

/// Most files of a clan; with more there is no fingerprint.
const MAX_FILES: usize = 100_000;
/// Larger files count by their size only, in bytes.
const MAX_HASHED: u64 = 1 << 20;
/// What no evaluation depends on.
const IGNORED: [&str; 4] = [".git", ".direnv", "node_modules", snapshot::NAME];

/// A hash over names and contents of all files below `dir`, the same on every
/// computer. Encrypted files count by their names: no evaluation can read them.
/// `None` when there are too many files or one cannot be read.
pub fn fingerprint(dir: &Path) -> Option<String> {
    let mut hash = Sha256::new();
    let mut left = MAX_FILES;
    walk(dir, Path::new(""), &mut hash, &mut left)?;
    Some(data_encoding::HEXLOWER.encode(&hash.finalize()))
}

fn walk(dir: &Path, below: &Path, hash: &mut Sha256, left: &mut usize) -> Option<()> {
    let mut entries = fs::read_dir(dir).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        *left = left.checked_sub(1)?;
        let name = entry.file_name();
        let (path, below) = (entry.path(), below.join(&name));
        let kind = entry.file_type().ok()?;
        let text = name.to_string_lossy();
        // `nix build` leaves links named `result`.
        let is_result = kind.is_symlink() && (text == "result" || text.starts_with("result-"));
        if IGNORED.iter().any(|ignored| *ignored == text) || is_result {
            continue;
        }
        if kind.is_dir() {
            walk(&path, &below, hash, left)?;
            continue;
        }
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(below.as_os_str().as_bytes());
        if kind.is_symlink() {
            field(fs::read_link(&path).ok()?.as_os_str().as_bytes());
        } else if kind.is_file() && !is_encrypted(&below) {
            let size = entry.metadata().ok()?.len();
            if size > MAX_HASHED {
                field(&size.to_le_bytes());
            } else {
                field(&file::read_unlinked(&path, MAX_HASHED).ok()?);
            }
        }
    }
    Some(())
}

fn is_encrypted(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "age")
        || path.file_name().is_some_and(|name| name == "secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_changes_with_what_an_evaluation_can_see_and_with_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("flake.nix", "{}");
        write("vars/per-machine/m/g/f/value", "1");
        write("vars/per-machine/m/g/s/secret", "1");
        let of = || fingerprint(dir.path()).unwrap();
        let before = of();
        for (path, text) in [
            (".git/HEAD", "x"),
            (snapshot::NAME, "{}"),
            ("vars/per-machine/m/g/s/secret", "encrypted again"),
        ] {
            write(path, text);
            assert_eq!(of(), before, "{path}");
        }
        for (path, text) in [
            ("flake.nix", "{ }"),
            ("vars/per-machine/m/g/f/value", "2"),
            ("vars/per-machine/m/g/new/secret", "x"),
            ("machines/m/configuration.nix", "{}"),
        ] {
            let before = of();
            write(path, text);
            assert_ne!(of(), before, "{path}");
        }
        assert_eq!(fingerprint(Path::new("/nonexistent")), None);
    }
}
