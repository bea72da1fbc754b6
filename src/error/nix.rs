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
    /// Something that it asks for could not be downloaded.
    Download,
    /// The system does not let nix use a file or a directory, such as nix's own store.
    Denied,
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

impl NixFault {
    /// What would help.
    pub fn hint(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing => "there is no such flake: check the spelling".to_owned(),
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
            Self::Download => "something that it asks for could not be downloaded: try again \
                               where the server can be reached; a snapshot or a file of the \
                               exports needs none"
                .to_owned(),
            Self::Denied => "nix may not use what it names: run this as the user whose nix it is, \
                             or have nix's daemon run; a snapshot or a file of the exports needs \
                             no nix"
                .to_owned(),
            Self::Absent => "the file that nix names is not in the clan: add it, or correct the \
                             line that names it"
                .to_owned(),
            Self::NotRegular => "make it a file, or remove it".to_owned(),
            Self::Submodule => "with submodules=1 in its query nix fetches them; or name a \
                                directory that has them"
                .to_owned(),
            Self::Repository => "name the directory itself, or use path: in the place of \
                                 git+file:"
                .to_owned(),
            Self::Evaluation => {
                return vec![
                    "a var that was never generated may be missing: clan vars generate".to_owned(),
                    "a file of the exports or a snapshot needs no nix".to_owned(),
                ];
            }
        };
        vec![hint]
    }

    /// One of each.
    #[cfg(test)]
    pub(crate) fn examples() -> [Self; 14] {
        [
            Self::Missing,
            Self::Fetch,
            Self::NoFlake,
            Self::Untracked("/x".into()),
            Self::Syntax,
            Self::Unlocked,
            Self::Impure,
            Self::Download,
            Self::Denied,
            Self::Absent,
            Self::NotRegular,
            Self::Submodule,
            Self::Repository,
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
