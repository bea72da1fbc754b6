//! All that lies below a directory, and whatever else git reads for the repositories in
//! it (`led`). Owns the walk and its bound; what is seen is for others to judge.

use std::collections::HashSet;
use std::fs::{DirEntry, FileType};
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::{Path, PathBuf};

use super::led::Led;
use crate::file;

/// What is met.
pub(super) enum Seen<'a> {
    /// An entry of a directory.
    Entry(&'a DirEntry),
    /// The same in a repository of git.
    OfGit(&'a DirEntry),
    /// A directory that git reads as well, as it is written.
    Elsewhere(&'a Path),
    /// What cannot be looked at.
    Unreadable(&'a Path),
    /// By this git goes elsewhere, and where to is not clear.
    Astray(&'a Path),
    /// There is more than was to be looked at.
    TooMany,
}

/// Shows all below `top` to `see`, at most so many entries. Returns what that has
/// broken off with.
pub(super) fn walk<B>(
    top: &Path,
    most: usize,
    see: impl FnMut(Seen<'_>) -> ControlFlow<B>,
) -> Option<B> {
    let repositories = HashSet::new();
    let mut walk = Walk { left: most, dirs: vec![(top.to_owned(), false)], repositories, see };
    while let Some((dir, is_git)) = walk.dirs.pop() {
        if let Break(found) = walk.list(&dir, is_git || is_repository(&dir)) {
            return Some(found);
        }
    }
    None
}

struct Walk<S> {
    left: usize,
    /// With whether each is part of a repository.
    dirs: Vec<(PathBuf, bool)>,
    /// Those that have been listed as part of one.
    repositories: HashSet<PathBuf>,
    see: S,
}

impl<B, S: FnMut(Seen<'_>) -> ControlFlow<B>> Walk<S> {
    fn list(&mut self, dir: &Path, is_git: bool) -> ControlFlow<B> {
        if is_git && !self.repositories.insert(dir.to_owned()) {
            return Continue(());
        }
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            // It is gone meanwhile, or `top` is a file.
            Err(error) if file::is_absent(error.kind()) => return Continue(()),
            Err(_) => return (self.see)(Seen::Unreadable(dir)),
        };
        for entry in entries {
            let Ok(entry) = entry else { return (self.see)(Seen::Unreadable(dir)) };
            let Some(left) = self.left.checked_sub(1) else { return (self.see)(Seen::TooMany) };
            self.left = left;
            (self.see)(if is_git { Seen::OfGit(&entry) } else { Seen::Entry(&entry) })?;
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    self.dirs.push((path, is_git || entry.file_name() == ".git"));
                }
                Ok(kind) => self.follow(&path, kind, is_git)?,
                Err(_) => (self.see)(Seen::Unreadable(&path))?,
            }
        }
        Continue(())
    }

    /// Goes where git goes by what is no directory.
    fn follow(&mut self, path: &Path, kind: FileType, is_git: bool) -> ControlFlow<B> {
        let is_linked = kind.is_symlink() && path.is_dir();
        let name = path.file_name().unwrap_or_default();
        let led = if is_linked && (is_git || name == ".git") {
            Led::by_link(path)
        } else if name == ".git" {
            Led::by_git_file(path)
        } else if is_git && name == "commondir" && has(path, "HEAD") {
            Led::by_common_dir(path)
        } else if is_git && path.ends_with("info/alternates") {
            Led::by_alternates(path)
        } else {
            return Continue(());
        };
        for dir in &led.dirs {
            (self.see)(Seen::Elsewhere(dir))?;
            if let Ok(dir) = dir.canonicalize() {
                self.dirs.push((dir, true));
            }
        }
        if led.is_clear { Continue(()) } else { (self.see)(Seen::Astray(path)) }
    }
}

/// A bare repository, or what a `.git` leads to, wherever it lies.
fn is_repository(dir: &Path) -> bool {
    let has = |name: &str| has(&dir.join(name), name);
    dir.ends_with(".git") || (has("HEAD") && (has("objects") || has("commondir")))
}

/// Whether there is anything of this name beside `path`, a link that leads nowhere
/// included.
fn has(path: &Path, name: &str) -> bool {
    path.with_file_name(name).symlink_metadata().is_ok()
}
