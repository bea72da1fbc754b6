//! What git tracks in a work tree: the names in its index (gitformat-index(5), versions 2
//! to 4), and in those of the submodules that are checked out. Owns the format and its
//! bounds; looks at no file of the work tree.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::git;
use super::led::Led;
use crate::file;

/// Longest index, in bytes.
const MAX_INDEX: u64 = 64 << 20;
/// Longest name, in bytes, as for a path of the system.
const MAX_NAME: usize = 4096;
/// All names together, in bytes: version 4 writes down only where each differs from the last.
const MAX_NAMES: usize = 32 << 20;
/// Most submodules that are looked into, and how far they may be nested.
const MAX_MODULES: usize = 1000;
const MAX_DEPTH: usize = 8;
/// How long the name of an object is: SHA-1, or SHA-256.
const HASHES: [usize; 2] = [20, 32];

/// The files that git tracks in a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tracked {
    names: BTreeSet<PathBuf>,
    /// In bytes.
    size: usize,
    modules: usize,
}

impl Tracked {
    /// Those in `dir`; `None` where it is no work tree, or it is not certain which these are.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let mut tracked = Self::default();
        tracked.add(dir, Path::new(""), 0)?;
        Some(tracked)
    }

    /// Whether this is one of them, or a directory that one of them is in.
    pub(super) fn has(&self, name: &Path, is_dir: bool) -> bool {
        match is_dir {
            true => {
                self.names.range(name.to_owned()..).next().is_some_and(|it| it.starts_with(name))
            }
            false => self.names.contains(name),
        }
    }

    fn add(&mut self, dir: &Path, below: &Path, depth: usize) -> Option<()> {
        let bytes = file::read(&git_dir(dir)?.join("index"), MAX_INDEX).ok()?;
        let entries = entries(&bytes)?;
        for Entry { name, is_module } in entries {
            let path = below.join(&name);
            if !is_module {
                self.size += path.as_os_str().len();
                self.names.insert(path);
            } else if dir.join(&name).join(".git").exists() {
                self.modules += 1;
                let is_bounded = self.modules <= MAX_MODULES && depth < MAX_DEPTH;
                is_bounded.then(|| self.add(&dir.join(&name), &path, depth + 1))??;
            }
            (self.size <= MAX_NAMES).then_some(())?;
        }
        Some(())
    }
}

/// Where the repository of a work tree is, if nix has git read it.
fn git_dir(dir: &Path) -> Option<PathBuf> {
    let written = dir.join(".git");
    let git = match written.is_dir() {
        true => written,
        false => {
            let led = Led::by_git_file(&written);
            led.dirs.into_iter().next().filter(|_| led.is_clear)?
        }
    };
    git::is_read(&git).then_some(git)
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: PathBuf,
    is_module: bool,
}

/// All entries, with whatever kind of names the repository has for its objects.
fn entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    HASHES.into_iter().find_map(|hash| Reader { bytes, at: 0, hash }.entries())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    hash: usize,
}

impl Reader<'_> {
    fn entries(mut self) -> Option<Vec<Entry>> {
        (self.take(4)? == b"DIRC").then_some(())?;
        let version = self.number()?;
        matches!(version, 2..=4).then_some(())?;
        let count = self.number()?;
        let (mut entries, mut name, mut size) = (Vec::new(), Vec::new(), 0);
        for _ in 0..count {
            let is_module = self.entry(version, &mut name)?;
            size += name.len();
            (size <= MAX_NAMES).then_some(())?;
            entries.push(Entry { name: path(&name)?, is_module });
        }
        self.extensions()?;
        Some(entries)
    }

    /// Reads the next one's name into that of the last; whether it is a submodule.
    fn entry(&mut self, version: u32, name: &mut Vec<u8>) -> Option<bool> {
        let start = self.at;
        // When it was written, where, and its owner, as stat(2) says.
        self.take(24)?;
        let mode = self.number()?;
        self.take(12 + self.hash)?;
        let flags = self.take(2)?;
        let is_extended = flags.first()? & 0x40 != 0;
        (!is_extended || version > 2).then_some(())?;
        self.take(if is_extended { 2 } else { 0 })?;
        let kept = if version == 4 { name.len().checked_sub(self.offset()?)? } else { 0 };
        name.truncate(kept);
        let end = self.bytes.get(self.at..)?.iter().position(|byte| *byte == 0)?;
        name.extend(self.take(end)?);
        (name.len() <= MAX_NAME).then_some(())?;
        // At least one NUL is behind it, and without compression up to eight.
        let padding = if version == 4 { 1 } else { 8 - (self.at - start) % 8 };
        self.take(padding)?;
        match mode & 0o170_000 {
            0o100_000 | 0o120_000 => Some(false),
            0o160_000 => Some(true),
            // A directory stands for files that are not listed.
            _ => None,
        }
    }

    /// What follows must not change which entries there are: the names of such extensions
    /// begin with a small letter.
    fn extensions(&mut self) -> Option<()> {
        while self.bytes.len().checked_sub(self.at)? > self.hash {
            let name = self.take(4)?;
            name.first()?.is_ascii_uppercase().then_some(())?;
            let size = self.number()?;
            self.take(size.try_into().ok()?)?;
        }
        (self.bytes.len() - self.at == self.hash).then_some(())
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// As git writes offsets in packs: seven bits in each byte, one added for each that follows.
    fn offset(&mut self) -> Option<usize> {
        let mut value = 0;
        loop {
            let byte = *self.take(1)?.first()?;
            value = value * 128 + usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Some(value);
            }
            value += 1;
            (value <= MAX_NAME).then_some(())?;
        }
    }
}

/// A name that leads to a file of the work tree, and nowhere else.
fn path(name: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(name));
    let is_plain = |part: Component<'_>| match part {
        Component::Normal(name) => !name.eq_ignore_ascii_case(".git"),
        _ => false,
    };
    let is_one = !name.is_empty() && path.components().all(is_plain);
    is_one.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index as git writes it, with a checksum of zeros.
    fn index(version: u32, hash: usize, entries: &[(&str, u32)], more: &[u8]) -> Vec<u8> {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
        let mut last = "";
        for (name, mode) in entries {
            let start = bytes.len();
            bytes.extend([0; 24]);
            bytes.extend(mode.to_be_bytes());
            bytes.extend(vec![1; 12 + hash]);
            // Of the flags of version 3, that it is only intended to be added.
            let extended = if version > 2 { &[0x40, 5, 0x20, 0][..] } else { &[0, 5] };
            bytes.extend(extended);
            let common = match version {
                4 => name.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count(),
                _ => 0,
            };
            if version == 4 {
                let strip = last.len() - common;
                match strip {
                    0..128 => bytes.push(u8::try_from(strip).unwrap()),
                    _ => bytes.extend([
                        0x80 | u8::try_from((strip >> 7) - 1).unwrap(),
                        u8::try_from(strip & 127).unwrap(),
                    ]),
                }
            }
            bytes.extend(&name.as_bytes()[common..]);
            bytes.push(0);
            while version < 4 && !(bytes.len() - start).is_multiple_of(8) {
                bytes.push(0);
            }
            last = name;
        }
        bytes.extend(more);
        bytes.extend(vec![0; hash]);
        bytes
    }

    fn names(bytes: &[u8]) -> Option<Vec<String>> {
        let name = |entry: Entry| entry.name.to_str().unwrap().to_owned();
        entries(bytes).map(|all| all.into_iter().map(name).collect())
    }

    #[test]
    fn every_version_of_the_index_is_read_with_either_kind_of_hash() {
        let long = "d/".repeat(150) + "f";
        let files = [
            ("a", 0o100_644),
            (&*long, 0o100_755),
            ("d/é", 0o120_000),
            ("flake.nix", 0o100_644),
            ("sub", 0o160_000),
        ];
        let expected = files.map(|(name, _)| name.to_owned()).to_vec();
        for version in 2..=4 {
            for hash in HASHES {
                let tree = b"TREE\0\0\0\x02ab";
                let read = names(&index(version, hash, &files, tree));
                assert_eq!(read.as_ref(), Some(&expected), "{version} {hash}");
            }
        }
        let all = entries(&index(2, 20, &files, b"")).unwrap();
        assert_eq!(all.iter().filter(|entry| entry.is_module).count(), 1);
        assert_eq!(names(&index(2, 20, &[], b"")), Some(vec![]));
    }

    #[test]
    fn an_index_that_may_lead_elsewhere_or_leaves_something_open_is_not_used() {
        let file = 0o100_644;
        for (why, bytes) in [
            ("another version", index(5, 20, &[], b"")),
            ("a file outside", index(2, 20, &[("../x", file)], b"")),
            ("an absolute name", index(2, 20, &[("/x", file)], b"")),
            ("no name", index(2, 20, &[("", file)], b"")),
            ("a repository", index(2, 20, &[("a/.GIT/config", file)], b"")),
            ("a directory that stands for files", index(3, 20, &[("a", 0o040_000)], b"")),
            ("a shared index", index(2, 20, &[("a", file)], b"link\0\0\0\0")),
            ("an extension that is cut off", index(2, 20, &[("a", file)], b"TREE\0\x7f\0\0")),
            ("a long name", index(2, 20, &[(&"x".repeat(MAX_NAME + 1), file)], b"")),
            ("nothing", Vec::new()),
        ] {
            assert_eq!(names(&bytes), None, "{why}");
        }
        // Few bytes that say the same long name again and again.
        let long = "x".repeat(MAX_NAME);
        let again = vec![(&*long, file); MAX_NAMES / MAX_NAME + 1];
        assert_eq!(names(&index(4, 20, &again, b"")), None);
    }

    #[test]
    fn a_directory_counts_by_what_is_tracked_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let file = 0o100_644;
        assert_eq!(Tracked::of(dir.path()), None);
        let of_clan = [("a.b", file), ("a/b", file), ("vars", 0o160_000), ("vars.nix", file)];
        write(".git/index", &index(2, 20, &of_clan, b""));
        let tracked = Tracked::of(dir.path()).unwrap();
        let has = |tracked: &Tracked, name: &str, is_dir| tracked.has(Path::new(name), is_dir);
        for (name, is_dir, expected) in [
            ("a", true, true),
            ("a/b", false, true),
            ("a.b", false, true),
            ("a", false, false),
            ("a.", true, false),
            ("vars", true, false),
            ("b", true, false),
            ("flake.nix", false, false),
        ] {
            assert_eq!(has(&tracked, name, is_dir), expected, "{name} {is_dir}");
        }
        // A submodule that is checked out, as git does it.
        write("vars/.git", b"gitdir: ../.git/modules/vars\n");
        write(".git/modules/vars/index", &index(4, 20, &[("m/f", file)], b""));
        let tracked = Tracked::of(dir.path()).unwrap();
        assert!(has(&tracked, "vars", true) && has(&tracked, "vars/m/f", false));
        // What is not certain is no less than all.
        write(".git/modules/vars/index", b"");
        assert_eq!(Tracked::of(dir.path()), None);
        std::fs::remove_dir_all(dir.path().join("vars")).unwrap();
        assert!(Tracked::of(dir.path()).is_some());
        // Nix reads such a clan without git.
        write(".git/config", b"[include]\n\tpath = x\n");
        assert_eq!(Tracked::of(dir.path()), None);
    }

    proptest::proptest! {
        #[test]
        fn no_index_panics(at in 0..400_usize, byte: u8, cut in 0..400_usize, version in 2..5_u32) {
            let files = [("a/b", 0o100_644), ("a/c", 0o120_000), ("s", 0o160_000)];
            let mut bytes = index(version, 20, &files, b"TREE\0\0\0\x02ab");
            if let Some(there) = bytes.get_mut(at) {
                *there = byte;
            }
            let _ = entries(&bytes);
            let _ = entries(bytes.get(..cut).unwrap_or(&bytes));
        }
    }
}
