//! The way from a path to what it names, link after link (path_resolution(7)). Owns the
//! following of it; who may turn it elsewhere is for others to judge.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Most links that are followed (`MAXSYMLINKS` of Linux).
const MAX_LINKS: usize = 40;

/// A way.
pub(super) struct Way {
    /// Every directory that a name is looked up in, without links.
    pub(super) dirs: Vec<PathBuf>,
    pub(super) links: Vec<PathBuf>,
    /// What it leads to, without links, be it there or not.
    pub(super) end: PathBuf,
}

impl Way {
    /// From an absolute path; none where there is no end.
    pub(super) fn from(path: &Path) -> Option<Self> {
        let mut way = Self { dirs: Vec::new(), links: Vec::new(), end: PathBuf::from("/") };
        let mut left = parts(path);
        while let Some(part) = left.pop() {
            if part == "/" {
                way.end = PathBuf::from("/");
            } else if part == ".." {
                // What is above it depends on which directory it is.
                way.dirs.push(way.end.clone());
                way.end.pop();
            } else {
                let next = way.end.join(part);
                way.dirs.push(way.end.clone());
                match next.read_link() {
                    Ok(_) if way.links.len() == MAX_LINKS => return None,
                    Ok(target) => {
                        way.links.push(next);
                        left.extend(parts(&target));
                    }
                    Err(_) => way.end = next,
                }
            }
        }
        Some(way)
    }
}

/// The last first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter(|part| *part != Component::CurDir);
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_directory_that_a_link_leads_through_is_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for name in ["a/b", "c", "d"] {
            std::fs::create_dir_all(top.join(name)).unwrap();
        }
        std::fs::write(top.join("d/file"), "").unwrap();
        symlink("../../c/./dir/file", top.join("a/b/link")).unwrap();
        symlink(top.join("d"), top.join("c/dir")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let way = Way::from(&top.join("a/b/link")).unwrap();
        assert_eq!(way.end, top.join("d/file"));
        assert_eq!(way.links, [top.join("a/b/link"), top.join("c/dir")]);
        for name in ["", "a", "a/b", "c", "d"] {
            assert!(way.dirs.contains(&top.join(name)), "{name}");
        }
        assert!(way.dirs.contains(&"/".into()) && !way.dirs.contains(&top.join("c/dir")));
        assert_eq!(Way::from(&top.join("c/nothing")).unwrap().end, top.join("c/nothing"));
        assert!(Way::from(&top.join("loop")).is_none());
        let way = Way::from(&top.join("d/../c/dir/../d/file")).unwrap();
        assert_eq!((way.end, way.links.len()), (top.join("d/file"), 1));
        assert_eq!(way.dirs.iter().filter(|dir| **dir == top.join("d")).count(), 3);
    }
}
