//! A clan that may be used: where its files are, and how nix is told of it.

use std::path::PathBuf;

use super::reference::reference;
use crate::env::Env;

/// A clan that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flake {
    /// Its files: the directory, or where nix has put what a reference names.
    pub dir: PathBuf,
    /// How nix is told of it.
    pub reference: String,
    /// Whether it is a reference, and no directory.
    pub is_remote: bool,
    /// Whether the user named or allowed it: more than to stand in it.
    pub is_named: bool,
    /// Whether its evaluation may depend on what is outside of it (`--impure`).
    pub is_impure: bool,
    /// Its files in nix's store, where they are fetched already.
    pub(super) fetched: Option<Fetched>,
    /// Where the cache is, and nix.
    pub(super) env: Env,
}

impl Flake {
    /// The same, with or without `--impure`.
    pub fn impure(self, is_impure: bool) -> Self {
        Self { is_impure, ..self }
    }

    /// The clan in a directory, which must have been admitted.
    pub(super) fn of_dir(dir: PathBuf, is_named: bool, env: Env) -> Self {
        Self {
            reference: reference(&dir),
            dir,
            is_remote: false,
            is_named,
            is_impure: false,
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
    /// A reference to these very files, and to no others.
    pub(super) locked: String,
}
