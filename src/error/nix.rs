//! Why nix could not fetch or evaluate a clan, and what helps.

use std::path::PathBuf;

use crate::printable;

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
    /// Whatever else the evaluation found.
    Evaluation,
}

impl NixFault {
    /// What would help.
    pub fn hint(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing => "there is no such flake: look at how it is written".to_owned(),
            Self::Fetch => "it could not be downloaded: try again where its server can be \
                            reached, or name a directory"
                .to_owned(),
            Self::NoFlake => "name the directory that holds flake.nix, or with a reference its \
                              ?dir=; without one, a file of the exports or a snapshot will do"
                .to_owned(),
            Self::Untracked(file) => {
                let file = file.to_string_lossy();
                let file = printable::argument(&file, "FILE");
                format!("nix sees only what git knows: git add {file}")
            }
            Self::Syntax => "correct the file at the line that nix names".to_owned(),
            Self::Unlocked => "its inputs are not locked: run nix flake lock in it".to_owned(),
            Self::Impure => "it depends on something outside of its own files, which is not \
                             looked at unless you trust it"
                .to_owned(),
            Self::Evaluation => {
                return vec![
                    "what was never generated may be missing: clan vars generate".to_owned(),
                    "a file of the exports or a snapshot needs no nix".to_owned(),
                ];
            }
        };
        vec![hint]
    }

    /// One of each.
    #[cfg(test)]
    pub(crate) fn examples() -> [Self; 8] {
        [
            Self::Missing,
            Self::Fetch,
            Self::NoFlake,
            Self::Untracked("/x".into()),
            Self::Syntax,
            Self::Unlocked,
            Self::Impure,
            Self::Evaluation,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_file_becomes_a_command_that_is_copied() {
        let hints = |file: &str| NixFault::Untracked(file.into()).hint().concat();
        assert!(hints("/a/b.nix").ends_with("git add /a/b.nix"));
        assert!(hints("/a/$(touch x).nix").ends_with("git add FILE"));
    }
}
