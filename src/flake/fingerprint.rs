//! Whether a clan has changed: a hash over its files, or over when they were written.
//! Owns what counts; knows nothing of nix.

use std::fs::{self, FileType};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::index::Tracked;
use super::snapshot::{self, Snapshot};
use crate::file;
use crate::parts::Parts;

/// Most files of a clan; with more there is no fingerprint.
const MAX_FILES: usize = 100_000;
/// The same for a stamp, which every command waits for.
const MAX_STAMPED: usize = 20_000;
/// Larger files count by their size only, in bytes.
const MAX_HASHED: u64 = 1 << 20;
/// How much of those is read, to see whether one is a snapshot.
const MAX_BEGINNING: u64 = 4096;
/// What no evaluation depends on.
const IGNORED: [&str; 4] = [".git", ".direnv", "node_modules", snapshot::NAME];

/// A hash over names and contents of the files below `dir` that an evaluation can see, the
/// same on every computer: in a work tree those that git tracks, else all but this program.
/// Snapshots do not count, lest one be out of date by its being written; and encrypted files
/// count by their names, for no evaluation can read them. `None` when there are too many files
/// or one cannot be read.
pub fn fingerprint(dir: &Path) -> Option<String> {
    let tracked = Tracked::of(dir);
    let program = fs::metadata("/proc/self/exe").ok().filter(|_| tracked.is_none());
    let is_program = |path: &Path| {
        let same = |program: &fs::Metadata, it: &fs::Metadata| {
            (program.dev(), program.ino()) == (it.dev(), it.ino())
        };
        program
            .as_ref()
            .is_some_and(|program| fs::metadata(path).is_ok_and(|it| same(program, &it)))
    };
    let is_left_out = |file: &Found<'_>| match &tracked {
        Some(tracked) => !tracked.has(file.below, file.kind.is_dir()),
        None => is_program(file.path),
    };
    let mut hash = Parts::default();
    let mut left = MAX_FILES;
    walk(dir, Path::new(""), &mut left, &is_left_out, &mut |file| content(file, &mut hash))?;
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
    let is_others = |file: &Found<'_>| match whose {
        Whose::All => false,
        Whose::Machine(machine) => {
            let (below, own) = (file.below, Path::new("vars/per-machine").join(machine));
            let is_machines = file.kind.is_dir() && below.starts_with("vars/per-machine");
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

/// What is found below a clan's directory.
struct Found<'a> {
    path: &'a Path,
    /// The name from there on.
    below: &'a Path,
    kind: FileType,
}

/// Has all files seen, in the order of their names, but what is left out, with all in it.
fn walk(
    dir: &Path,
    below: &Path,
    left: &mut usize,
    is_left_out: &dyn Fn(&Found<'_>) -> bool,
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
        let found = Found { path: &path, below: &below, kind };
        match kind.is_dir() {
            _ if is_left_out(&found) => {}
            true => walk(&path, &below, left, is_left_out, see)?,
            false => see(&found)?,
        }
    }
    Some(())
}

fn content(found: &Found<'_>, hash: &mut Parts) -> Option<()> {
    let &Found { path, below, kind } = found;
    let name = below.as_os_str().as_bytes();
    if kind.is_symlink() {
        hash.put(name);
        hash.put(fs::read_link(path).ok()?.as_os_str().as_bytes());
    } else if kind.is_file() && !is_encrypted(below) {
        let size = fs::symlink_metadata(path).ok()?.len();
        let is_large = size > MAX_HASHED;
        let bytes =
            if is_large { beginning(path) } else { file::read_unlinked(path, MAX_HASHED).ok() };
        let bytes = bytes?;
        if !Snapshot::is_one(&bytes) {
            hash.put(name);
            let size = size.to_le_bytes();
            hash.put(if is_large { &size } else { &bytes });
        }
    } else {
        hash.put(name);
    }
    Some(())
}

fn beginning(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_BEGINNING).read_to_end(&mut bytes).ok()?;
    Some(bytes)
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

    /// An index of version 2 with these names.
    fn track(dir: &Path, names: &[&str]) {
        let mut index = b"DIRC\0\0\0\x02".to_vec();
        index.extend(u32::try_from(names.len()).unwrap().to_be_bytes());
        for name in names {
            index.extend([0; 24]);
            index.extend(0o100_644_u32.to_be_bytes());
            index.extend([0; 34]);
            index.extend(name.as_bytes());
            index.extend(vec![0; 8 - (62 + name.len()) % 8]);
        }
        index.extend([0; 20]);
        fs::create_dir_all(dir.join(".git")).unwrap();
        fs::write(dir.join(".git/index"), index).unwrap();
    }

    #[test]
    fn in_a_work_tree_what_git_tracks_counts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        for (path, text) in [("flake.nix", "{}"), ("a.b", "1"), ("a/b", "2"), ("a/c/d", "3")] {
            write_below(dir.path(), path, text);
            write_below(copy.path(), path, text);
        }
        track(dir.path(), &["a.b", "a/b", "a/c/d", "flake.nix", "gone"]);
        let of = || fingerprint(dir.path()).unwrap();
        let before = of();
        // As it is in nix's store.
        assert_eq!(fingerprint(copy.path()).unwrap(), before);
        for path in ["scratch", ".flake.nix.swp", "a/.b.swp", "target/debug/x", "a/c/e"] {
            write_below(dir.path(), path, "x");
            assert_eq!(of(), before, "{path}");
        }
        // With what it has there, be it committed or not.
        write_below(dir.path(), "a/c/d", "4");
        let changed = of();
        assert_ne!(changed, before);
        track(dir.path(), &["a.b", "a/b", "a/c/d", "flake.nix", "scratch"]);
        assert_ne!(of(), changed);
        // What nobody can read leaves nothing out.
        fs::write(dir.path().join(".git/index"), "DIRC").unwrap();
        let all = of();
        write_below(dir.path(), "more", "x");
        assert_ne!(of(), all);
    }

    #[test]
    fn neither_a_snapshot_nor_this_program_counts() {
        let dir = tempfile::tempdir().unwrap();
        write_below(dir.path(), "flake.nix", "{}");
        let of = || fingerprint(dir.path()).unwrap();
        let before = of();
        let snapshot = Snapshot::new(serde_json::json!({ "net": { "priority": 1 } }));
        write_below(dir.path(), "prod.json", &snapshot.to_json());
        write_below(dir.path(), "ci/no-suffix", &snapshot.to_json());
        let mut large = Snapshot::new("x".repeat(2 << 20).into());
        large.domain = Some("d".to_owned());
        write_below(dir.path(), "large.json", &large.to_json());
        let program = std::env::current_exe().unwrap();
        std::os::unix::fs::symlink(&program, dir.path().join("clan-connect")).unwrap();
        assert_eq!(of(), before);
        // Git shows it to nix.
        track(dir.path(), &["flake.nix"]);
        assert_eq!(of(), before);
        track(dir.path(), &["clan-connect", "flake.nix"]);
        assert_ne!(of(), before);
        fs::remove_dir_all(dir.path().join(".git")).unwrap();
        for (path, text) in
            [("exports.json", "{\"net\": {}}"), ("x.nix", "\"clan_connect_snapshot\"")]
        {
            let before = of();
            write_below(dir.path(), path, text);
            assert_ne!(of(), before, "{path}");
        }
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
