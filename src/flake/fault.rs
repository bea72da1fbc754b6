//! What nix's messages mean: whose fault it is that a clan cannot be fetched or
//! evaluated, and what helps. Pure but for a look at whether a file is there.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::printable;

/// Why nix failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
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

impl Fault {
    /// From nix's words about a flake that it was to fetch.
    pub(super) fn of_fetching(text: &str) -> Self {
        const MISSING: [&str; 9] = [
            "No such file or directory",
            "does not exist",
            "does not appear to be a git repository",
            "not a git repository",
            "cannot find flake",
            "is unsupported",
            "is not a valid URL",
            "HTTP error 404",
            "relative path",
        ];
        // What nix only warns of is not why it failed.
        let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("warning:"));
        match lines.any(|line| has(line, &MISSING)) {
            true => Self::Missing,
            false => Self::Fetch,
        }
    }

    /// From nix's words about what it was to evaluate; `dir` is where the clan's
    /// files are.
    pub(super) fn of_evaluating(text: &str, dir: &Path) -> Self {
        const UNLOCKED: [&str; 4] = [
            "cannot update flake input",
            "cannot update unlocked flake input",
            "requires lock file changes",
            "will not fetch unlocked input",
        ];
        const IMPURE: [&str; 6] = [
            "pure eval",
            "--impure",
            "attribute 'currentSystem' missing",
            "attribute 'currentTime' missing",
            "attribute 'storePath' missing",
            "unlocked flake reference",
        ];
        if let Some(file) = untracked(text, dir) {
            return Self::Untracked(file);
        }
        if has(text, &UNLOCKED) {
            Self::Unlocked
        } else if text.contains("error: syntax error") {
            Self::Syntax
        } else if has(text, &IMPURE) {
            Self::Impure
        } else {
            Self::Evaluation
        }
    }

    /// The error for `reference`, with the end of nix's message.
    pub(super) fn error(&self, reference: &str, reason: &str) -> Error {
        let action = match self {
            Self::Missing | Self::Fetch => "fetch",
            _ => "evaluate",
        };
        let reason = printable::lines(reason);
        Error::Nix { action, reference: printable::line(reference), reason, hints: self.hints() }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing => "there is no such flake: look at how it is written".to_owned(),
            Self::Fetch => "it could not be downloaded: try again where its server can be \
                            reached, or name a directory with --flake DIR"
                .to_owned(),
            Self::NoFlake => "name the directory that holds flake.nix, or with a reference its \
                              ?dir=; without one, --exports FILE or a snapshot will do"
                .to_owned(),
            Self::Untracked(file) => {
                let file = file.to_string_lossy();
                let file = printable::argument(&file, "FILE");
                format!("nix sees only what git knows: git add {file}")
            }
            Self::Syntax => "correct the file at the line that nix names".to_owned(),
            Self::Unlocked => "its inputs are not locked: run nix flake lock in it".to_owned(),
            Self::Impure => "it depends on something outside of its own files, which is not \
                             looked at; if you trust it: --impure"
                .to_owned(),
            Self::Evaluation => {
                return vec![
                    "what was never generated may be missing: clan vars generate".to_owned(),
                    "a file with --exports FILE or a snapshot needs no nix".to_owned(),
                ];
            }
        };
        vec![hint]
    }
}

/// A file in nix's words that is in the clan but not in nix's copy of it.
fn untracked(text: &str, dir: &Path) -> Option<PathBuf> {
    text.split(['\'', '"', '«', '»']).find_map(|word| {
        let below = word.strip_prefix("/nix/store/")?.split_once('/')?.1;
        let is_plain = !below.is_empty() && Path::new(below).components().all(is_normal);
        let file = dir.join(below);
        (is_plain && !Path::new(word).exists() && file.exists()).then_some(file)
    })
}

fn is_normal(part: std::path::Component<'_>) -> bool {
    matches!(part, std::path::Component::Normal(_))
}

fn has(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nix_says_of_a_fetch_tells_a_wrong_name_from_a_dead_network() {
        let group = "warning: the group 'nixbld' specified does not exist\n";
        for (text, fault) in [
            ("error: getting status of '/x': No such file or directory", Fault::Missing),
            ("fatal: '/x' does not appear to be a git repository\nerror: git", Fault::Missing),
            ("error: cannot find flake 'flake:x' in the flake registries", Fault::Missing),
            ("error: input 'x:a/b' is unsupported", Fault::Missing),
            ("error: unable to download 'https://x': HTTP error 404", Fault::Missing),
            ("error: unable to download 'https://x': Couldn't resolve host name", Fault::Fetch),
            ("fatal: unable to access 'http://x/': Failed to connect\nerror: git", Fault::Fetch),
            ("ssh: connect to host x port 22: Connection refused", Fault::Fetch),
        ] {
            assert_eq!(Fault::of_fetching(&format!("{group}{text}")), fault, "{text}");
        }
    }

    #[test]
    fn what_nix_says_of_an_evaluation_tells_whose_fault_it_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("new.nix"), "").unwrap();
        let store = "/nix/store/00000000000000000000000000000000-source";
        let unseen = format!("error: getting status of '{store}/new.nix': No such file");
        let untracked = Fault::Untracked(dir.path().join("new.nix"));
        let elsewhere = format!("error: getting status of '{store}/../../new.nix': No such file");
        for (text, fault) in [
            (unseen.as_str(), untracked),
            (&elsewhere, Fault::Evaluation),
            ("error: syntax error, unexpected end of file", Fault::Syntax),
            ("error: cannot update flake input 'x' in pure mode", Fault::Unlocked),
            ("error: cannot update unlocked flake input 'x' in pure mode", Fault::Unlocked),
            ("error: access to absolute path '/x' is forbidden in pure eval mode", Fault::Impure),
            ("error: in pure evaluation mode, 'fetchurl' requires a 'sha256'", Fault::Impure),
            ("error: attribute 'currentSystem' missing", Fault::Impure),
            ("error: vars of x were not generated", Fault::Evaluation),
        ] {
            assert_eq!(Fault::of_evaluating(text, dir.path()), fault, "{text}");
        }
    }

    #[test]
    fn no_name_of_a_file_becomes_a_command_that_is_copied() {
        let hints = |file: &str| Fault::Untracked(file.into()).hints().concat();
        assert!(hints("/a/b.nix").ends_with("git add /a/b.nix"));
        assert!(hints("/a/$(touch x).nix").ends_with("git add FILE"));
    }
}
