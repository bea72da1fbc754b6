//! A clan that may be used: where its files are, and how nix is told of it.

use std::path::{Path, PathBuf};

use super::reference::reference;
use super::snapshot;
use crate::env::Env;
use crate::file;

/// Where a clan's keys and vars are.
pub(super) const FOLDERS: [&str; 3] = ["vars", "sops", "secrets"];
/// Longest list of submodules, in bytes.
const MAX_MODULES: u64 = 1 << 20;

/// A clan that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flake {
    /// Its files: the directory, or where nix has put what a reference names.
    pub dir: PathBuf,
    /// Where its keys and vars are read: there, but for a reference to a directory here
    /// that directory, which may have what git leaves out.
    pub vars: PathBuf,
    /// How nix is told of it.
    pub reference: String,
    /// Whether it is a reference, and no directory.
    pub is_remote: bool,
    /// Whether the user named or allowed it: more than to stand in it.
    pub is_named: bool,
    /// Whether its evaluation may depend on what is outside of it (`--impure`).
    pub is_impure: bool,
    /// Options that the user has for nix (`clan --option`), names and values in turn.
    pub options: Vec<String>,
    /// Its files in nix's store, where they are fetched already.
    pub(super) fetched: Option<Fetched>,
    /// Where the cache is, and nix.
    pub(super) env: Env,
}

impl Flake {
    /// Whether its snapshot is all there is: nix has nothing to evaluate, and nothing that
    /// the snapshot was made of can have changed here.
    pub fn stands_alone(&self) -> bool {
        !self.is_remote && !self.dir.join("flake.nix").exists()
    }

    /// Where a snapshot may lie in it.
    pub fn snapshots(&self) -> Vec<PathBuf> {
        let mut files = vec![self.dir.join(snapshot::NAME), self.vars.join(snapshot::NAME)];
        files.dedup();
        files
    }

    /// The same, with or without `--impure`.
    pub fn impure(self, is_impure: bool) -> Self {
        Self { is_impure, ..self }
    }

    /// The same, with options for nix.
    pub fn with_options(self, options: Vec<String>) -> Self {
        Self { options, ..self }
    }

    /// Whether what nix says depends on its files alone, and holds until they change.
    pub(super) fn is_reproducible(&self) -> bool {
        !self.is_impure && self.options.is_empty()
    }

    /// The clan in a directory, which must have been admitted.
    pub(super) fn of_dir(dir: PathBuf, is_named: bool, env: Env) -> Self {
        Self {
            reference: reference(&dir),
            vars: dir.clone(),
            dir,
            is_remote: false,
            is_named,
            is_impure: false,
            options: Vec::new(),
            fetched: None,
            env,
        }
    }
}

/// A flake's files in nix's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where they are: the flake, which may be a folder of what was fetched.
    pub files: PathBuf,
    /// What was fetched, as a whole.
    pub(super) root: PathBuf,
    /// A reference to these very files, and to no others.
    pub(super) locked: String,
}

impl Fetched {
    /// A folder of the clan's keys and vars that is a submodule of git, and empty here.
    pub(super) fn unfetched(&self) -> Option<PathBuf> {
        let mut folders = FOLDERS.iter().map(|name| self.files.join(name));
        // git knows no empty folder but those.
        let empty = || Some(below(&self.root, &folders.find(|folder| is_empty(folder))?));
        unfetched_module(&self.root, &self.files).or_else(empty)
    }
}

/// A submodule in the repository `root` that a clan in `files` has keys or vars in, and
/// that is empty.
pub(super) fn unfetched_module(root: &Path, files: &Path) -> Option<PathBuf> {
    let modules = file::read(&root.join(".gitmodules"), MAX_MODULES).ok()?;
    let modules = String::from_utf8_lossy(&modules).into_owned();
    let path = |line: &str| {
        let (key, value) = line.trim().split_once('=')?;
        let value = value.trim().trim_matches('"').trim_end_matches('/');
        (key.trim() == "path").then(|| root.join(value))
    };
    let concerns = |path: &PathBuf| {
        let mut folders = FOLDERS.iter().map(|name| files.join(name));
        folders.any(|folder| path.starts_with(&folder) || folder.starts_with(path))
    };
    let mut modules = modules.lines().filter_map(path).filter(concerns);
    Some(below(root, &modules.find(|path| !path.exists() || is_empty(path))?))
}

fn below(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submodule_of_vars_that_is_empty_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let modules = |text: &str| std::fs::write(root.join(".gitmodules"), text).unwrap();
        let make = |path: &str| std::fs::create_dir_all(root.join(path)).unwrap();
        let of = |files: &str| {
            let fetched =
                Fetched { files: root.join(files), root: root.clone(), locked: String::new() };
            fetched.unfetched()
        };
        assert_eq!(of(""), None);
        modules("[submodule \"x\"]\n\tpath = docs\n\turl = /x\n");
        assert_eq!(of(""), None);
        modules("[submodule \"x\"]\n\tpath = vars/per-machine\n");
        assert_eq!(of(""), Some("vars/per-machine".into()));
        make("vars/per-machine");
        assert_eq!(of(""), Some("vars/per-machine".into()));
        make("vars/per-machine/m");
        assert_eq!(of(""), None);
        // A flake in a folder, and the folder itself.
        modules("path = \"sub/\"\n");
        assert_eq!((of(""), of("sub")), (None, Some("sub".into())));
        modules("");
        make("secrets");
        assert_eq!(of(""), Some("secrets".into()));
    }
}
