//! Why nix could not fetch or evaluate a clan.

use std::path::PathBuf;

/// Why nix failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NixFault {
    /// The reference leads nowhere.
    Missing,
    /// What it leads to cannot be had at the moment.
    Fetch,
    /// There is no `flake.nix`.
    NoFlake,
    /// This file of the clan is not known to git, so nix does not see it.
    Untracked(PathBuf),
    /// A file is not of nix's language.
    Syntax,
    /// An input has no hash in `flake.lock`.
    Unlocked,
    /// It depends on something outside of the flake.
    Impure,
    /// Something that it asks for could not be downloaded.
    Download,
    /// A file that it names is not there.
    Absent,
    /// A file that nix must read is none.
    NotRegular,
    /// A part of it is a submodule that was not fetched.
    Submodule,
    /// The settings of its repository could make git start programs.
    Repository,
    /// Whatever else the evaluation found.
    Evaluation,
}

#[cfg(test)]
impl NixFault {
    /// One of each.
    pub(crate) fn examples() -> [Self; 13] {
        [
            Self::Missing,
            Self::Fetch,
            Self::NoFlake,
            Self::Untracked("/x".into()),
            Self::Syntax,
            Self::Unlocked,
            Self::Impure,
            Self::Download,
            Self::Absent,
            Self::NotRegular,
            Self::Submodule,
            Self::Repository,
            Self::Evaluation,
        ]
    }
}
