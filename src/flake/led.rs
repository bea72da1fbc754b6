//! Where git goes from a repository: by a `.git` that is a file, by `commondir`, by
//! `objects/info/alternates`, and by links (gitrepository-layout(5)). Owns the reading
//! of these; whoever reads them otherwise than git would look elsewhere than git, and so
//! what is not exactly understood is said to be unclear.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::file;

/// Longest of these files, in bytes: of a `.git` git reads as much (setup.c,
/// `read_gitfile_gently`).
const MAX_FILE: u64 = 1 << 20;

/// Where it goes.
pub(super) struct Led {
    /// The directories, as they are written.
    pub(super) dirs: Vec<PathBuf>,
    /// Whether that is all, and certain.
    pub(super) is_clear: bool,
}

impl Led {
    /// By a `.git` that is no directory.
    pub(super) fn by_git_file(path: &Path) -> Self {
        match read(path) {
            Some(bytes) => match bytes.strip_prefix(b"gitdir: ") {
                Some(written) => Self::to(path.parent(), trimmed(written)),
                None => Self::unclear(),
            },
            None => Self::unclear(),
        }
    }

    /// By what a repository shares with others.
    pub(super) fn by_common_dir(path: &Path) -> Self {
        read(path).map_or_else(Self::unclear, |bytes| Self::to(path.parent(), trimmed(&bytes)))
    }

    /// By the objects that it borrows, a line for each.
    pub(super) fn by_alternates(path: &Path) -> Self {
        let Some(bytes) = read(path) else { return Self::unclear() };
        let objects = path.parent().and_then(Path::parent);
        let mut led = Self { dirs: Vec::new(), is_clear: true };
        let lines = bytes.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
            let one = Self::to(objects, line);
            // Others are quoted, or no two programs agree on what they mean.
            let is_plain = line.starts_with(b"/") || line.starts_with(b".");
            led.is_clear &= is_plain && one.is_clear;
            led.dirs.extend(one.dirs);
        }
        led
    }

    /// By a link to a directory.
    pub(super) fn by_link(path: &Path) -> Self {
        Self { dirs: vec![path.to_owned()], is_clear: true }
    }

    fn unclear() -> Self {
        Self { dirs: Vec::new(), is_clear: false }
    }

    /// What is written, seen from `dir`. Git takes it up to a NUL; libgit2 leaves out
    /// spaces at its ends.
    fn to(dir: Option<&Path>, written: &[u8]) -> Self {
        let end = written.iter().position(|byte| *byte == 0).unwrap_or(written.len());
        let (written, rest) = written.split_at(end);
        let to = dir.unwrap_or(Path::new("/")).join(OsStr::from_bytes(written));
        let is_clear = rest.is_empty() && !written.is_empty() && written == written.trim_ascii();
        let is_there = !written.is_empty() && to.is_dir();
        Self { dirs: is_there.then_some(to).into_iter().collect(), is_clear: is_clear && is_there }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    file::read(path, MAX_FILE).ok()
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
    bytes.get(..end.map_or(0, |end| end + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_files_are_read_as_git_reads_them_or_are_unclear() {
        let dir = tempfile::tempdir().unwrap();
        let foul = OsStr::from_bytes(b"repo\xff");
        for name in [OsStr::new("repo"), foul, OsStr::new("clan")] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let git = dir.path().join("clan/.git");
        let repo = |name: &OsStr| Some(dir.path().join("clan/..").join(name));
        let long = [b"gitdir: ../repo".to_vec(), vec![b'\n'; 17_000]].concat();
        let longest = [long.clone(), vec![b'\n'; 1 << 20]].concat();
        for (text, to, is_clear) in [
            (&b"gitdir: ../repo\r\n\n"[..], repo(OsStr::new("repo")), true),
            (b"gitdir: ../repo\xff\n", repo(foul), true),
            (&long, repo(OsStr::new("repo")), true),
            (b"gitdir: ../repo\0x\n", repo(OsStr::new("repo")), false),
            (b"gitdir:  ../repo\n", None, false),
            (b"gitdir: ../nowhere\n", None, false),
            (b"gitdir:../repo\n", None, false),
            (b"gitdir: \n", None, false),
            (b"gitdir: \0\n", None, false),
            (b"", None, false),
            (&longest, None, false),
        ] {
            std::fs::write(&git, text).unwrap();
            let led = Led::by_git_file(&git);
            let shown = String::from_utf8_lossy(text.get(..30).unwrap_or(text)).into_owned();
            assert_eq!((led.dirs.first(), led.is_clear), (to.as_ref(), is_clear), "{shown:?}");
        }
    }

    #[test]
    fn every_line_of_borrowed_objects_counts() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["objects/info", "other", "\"quoted\""] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let file = dir.path().join("objects/info/alternates");
        let here = dir.path().display();
        for (text, count, is_clear) in [
            (format!("# x\n\n{here}/other\n../other"), 2, true),
            (String::new(), 0, true),
            ("../nowhere\n../other\n".to_owned(), 1, false),
            (format!("\"{here}/other\"\n"), 0, false),
            (format!("{here}/other\r\n"), 0, false),
        ] {
            std::fs::write(&file, &text).unwrap();
            let led = Led::by_alternates(&file);
            assert_eq!((led.dirs.len(), led.is_clear), (count, is_clear), "{text:?}");
        }
    }
}
