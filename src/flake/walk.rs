//! All that lies below a directory, and the repository that it is a worktree or has
//! submodules of. Owns the walk and its bound; what is seen is for others to judge.

use std::collections::HashSet;
use std::fs::DirEntry;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::file;

/// Longest file that leads elsewhere, in bytes.
const MAX_LINK: u64 = 16 << 10;

/// There is more than was to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// Shows every entry below `top` to `see`, at most so many, and before that to `enter`
/// each directory elsewhere that a `.git` leads to. What cannot be read is passed by.
/// Returns what either of them has broken off with.
pub(super) fn walk<B>(
    top: &Path,
    most: usize,
    mut enter: impl FnMut(&Path) -> ControlFlow<B>,
    mut see: impl FnMut(&DirEntry) -> ControlFlow<B>,
) -> Result<Option<B>, TooMany> {
    let mut left = most;
    let mut dirs = vec![top.to_owned()];
    let mut elsewhere = HashSet::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            left = left.checked_sub(1).ok_or(TooMany)?;
            if let ControlFlow::Break(found) = see(&entry) {
                return Ok(Some(found));
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            } else if entry.file_name() == ".git" {
                for dir in led_to(&entry.path()) {
                    if dir.starts_with(top) || !elsewhere.insert(dir.clone()) {
                        continue;
                    }
                    if let ControlFlow::Break(found) = enter(&dir) {
                        return Ok(Some(found));
                    }
                    dirs.push(dir);
                }
            }
        }
    }
    Ok(None)
}

/// Where a `.git` that is no directory leads: to the repository of a worktree or a
/// submodule, and to what that shares with others (gitrepository-layout(5)).
fn led_to(git: &Path) -> Vec<PathBuf> {
    let beside = |file: &Path, text: &str| {
        let dir = file.parent().unwrap_or(Path::new("/"));
        dir.join(text.trim_end_matches(['\n', '\r'])).canonicalize().ok()
    };
    let read = |path: &Path| {
        let bytes = file::read(path, MAX_LINK).ok()?;
        String::from_utf8(bytes).ok()
    };
    let dir = match read(git) {
        Some(text) => text.strip_prefix("gitdir: ").and_then(|text| beside(git, text)),
        None => git.canonicalize().ok().filter(|path| path.is_dir()),
    };
    let Some(dir) = dir else { return Vec::new() };
    let common = dir.join("commondir");
    let common = read(&common).and_then(|text| beside(&common, &text));
    common.into_iter().chain([dir]).collect()
}
