//! Whether a clan has changed: a hash over its files, or over when they were written.
//! Owns what counts; knows nothing of nix.

use std::fs::{self, FileType};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::snapshot;
use crate::file;
use crate::parts::Parts;

/// Most files of a clan; with more there is no fingerprint.
const MAX_FILES: usize = 100_000;
/// The same for a stamp, which every command waits for.
const MAX_STAMPED: usize = 20_000;
/// Larger files count by their size only, in bytes.
const MAX_HASHED: u64 = 1 << 20;
/// What no evaluation depends on.
const IGNORED: [&str; 4] = [".git", ".direnv", "node_modules", snapshot::NAME];

/// A hash over names and contents of all files below `dir`, the same on every
/// computer. Encrypted files count by their names: no evaluation can read them.
/// `None` when there are too many files or one cannot be read.
pub fn fingerprint(dir: &Path) -> Option<String> {
    let mut hash = Parts::default();
    let mut left = MAX_FILES;
    walk(dir, Path::new(""), &mut left, &|_| false, &mut |file| content(file, &mut hash))?;
    Some(data_encoding::HEXLOWER.encode(&hash.digest()))
}

/// Whose vars count for a [`stamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// This machine's and those that are shared.
    Machine(&'a str),
    /// Everybody's: other machines lead there.
    All,
}

/// A hash over names and times of the files below `dir` that count, which costs next to
/// nothing and means something on this computer alone. `None` when there are too many
/// files or one cannot be seen.
pub fn stamp(dir: &Path, whose: Whose<'_>) -> Option<String> {
    let mut hash = Parts::default();
    let mut left = MAX_STAMPED;
    let is_others = |below: &Path| match whose {
        Whose::All => false,
        Whose::Machine(machine) => {
            let own = Path::new("vars/per-machine").join(machine);
            let is_machines = below.starts_with("vars/per-machine");
            is_machines && !own.starts_with(below) && !below.starts_with(own)
        }
    };
    let mut linked = Vec::new();
    // No evaluation depends on it, but it says where machines are and which keys they have.
    times(&dir.join(snapshot::NAME), Path::new(snapshot::NAME), &mut hash);
    walk(dir, Path::new(""), &mut left, &is_others, &mut |file| {
        times(file.path, file.below, &mut hash);
        linked.extend((file.kind.is_symlink() && file.path.is_dir()).then(|| file.path.to_owned()));
        Some(())
    })?;
    // What a link to a directory leads to may lie outside, or among another machine's vars.
    for link in linked {
        walk(&link, &link, &mut left, &|_| false, &mut |file| {
            times(file.path, file.below, &mut hash);
            Some(())
        })?;
    }
    Some(data_encoding::HEXLOWER.encode(&hash.digest()))
}

/// What is found below a clan's directory, but directories.
struct Found<'a> {
    path: &'a Path,
    /// The name from there on.
    below: &'a Path,
    kind: FileType,
}

/// Has all of them seen, in the order of their names; what `is_left_out` is not entered.
fn walk(
    dir: &Path,
    below: &Path,
    left: &mut usize,
    is_left_out: &dyn Fn(&Path) -> bool,
    see: &mut dyn FnMut(&Found<'_>) -> Option<()>,
) -> Option<()> {
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
        match kind.is_dir() {
            true if is_left_out(&below) => {}
            true => walk(&path, &below, left, is_left_out, see)?,
            false => see(&Found { path: &path, below: &below, kind })?,
        }
    }
    Some(())
}

fn content(found: &Found<'_>, hash: &mut Parts) -> Option<()> {
    let &Found { path, below, kind } = found;
    hash.put(below.as_os_str().as_bytes());
    if kind.is_symlink() {
        hash.put(fs::read_link(path).ok()?.as_os_str().as_bytes());
    } else if kind.is_file() && !is_encrypted(below) {
        let size = fs::symlink_metadata(path).ok()?.len();
        if size > MAX_HASHED {
            hash.put(&size.to_le_bytes());
        } else {
            hash.put(&file::read_unlinked(path, MAX_HASHED).ok()?);
        }
    }
    Some(())
}

fn times(path: &Path, below: &Path, hash: &mut Parts) {
    hash.put(below.as_os_str().as_bytes());
    // A link leads to something that may change, too, or to nothing.
    for meta in [fs::symlink_metadata(path), fs::metadata(path)] {
        hash.put(format!("{:?}", meta.ok().as_ref().map(file::version)).as_bytes());
    }
}

fn is_encrypted(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "age")
        || path.file_name().is_some_and(|name| name == "secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_below(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn it_changes_with_what_an_evaluation_can_see_and_with_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| write_below(dir.path(), path, text);
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

    #[test]
    fn a_stamp_changes_with_every_file_that_says_something_of_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| write_below(dir.path(), path, text);
        write("flake.nix", "{}");
        write("vars/per-machine/m/g/host/value", "127.0.0.1");
        write("vars/per-machine/other/g/host/value", "127.0.0.1");
        write("vars/shared/g/host/value", "127.0.0.1");
        let of = || stamp(dir.path(), Whose::Machine("m")).unwrap();
        let before = of();
        write("vars/per-machine/other/g/host/value", "127.0.0.2");
        write("vars/per-machine/other/g/more/value", "127.0.0.2");
        write(".git/HEAD", "x");
        assert_eq!(of(), before);
        for path in [
            "vars/per-machine/m/g/host/value",
            "vars/per-machine/m/g/secret/secret",
            "vars/shared/g/host/value",
            "machines/m/configuration.nix",
            snapshot::NAME,
        ] {
            let before = of();
            // Of the same length, and at the same time as before.
            let path_is = dir.path().join(path);
            let written = fs::metadata(&path_is).and_then(|meta| meta.modified());
            write(path, "127.0.0.2");
            if let Ok(written) = written {
                fs::File::options()
                    .write(true)
                    .open(&path_is)
                    .unwrap()
                    .set_modified(written)
                    .unwrap();
            }
            assert_ne!(of(), before, "{path}");
        }
        // Another machine's file counts where everybody's do, and where a link leads to it.
        let all = || stamp(dir.path(), Whose::All).unwrap();
        let (before, before_all) = (of(), all());
        write("vars/per-machine/other/g/host/value", "127.0.0.3, later");
        assert_eq!(of(), before);
        assert_ne!(all(), before_all);
        let link = dir.path().join("vars/per-machine/m/linked");
        std::os::unix::fs::symlink("../other/g", link).unwrap();
        let before = of();
        write("vars/per-machine/other/g/host/value", "127.0.0.4, later still");
        assert_ne!(of(), before);
        assert_eq!(stamp(Path::new("/nonexistent"), Whose::Machine("m")), None);
    }
}
