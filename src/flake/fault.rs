//! What nix's messages mean: whose fault it is that a clan cannot be fetched or
//! evaluated, and what helps. Pure but for a look at whether a file is there.

use std::path::{Path, PathBuf};

use super::source::FOLDERS;
use crate::error::{Error, NixFault as Fault};
use crate::printable;

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
        if is_denied(text) {
            return Self::Denied;
        }
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
        const IMPURE: [&str; 7] = [
            "pure eval",
            "restricted mode",
            "--impure",
            "attribute 'currentSystem' missing",
            "attribute 'currentTime' missing",
            "attribute 'storePath' missing",
            "unlocked flake reference",
        ];
        const DOWNLOAD: [&str; 7] = [
            "unable to download",
            "unable to access",
            "Could not resolve host",
            "Could not read from remote repository",
            "Connection refused",
            "program 'git' failed",
            "Failed to connect",
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
        } else if is_denied(text) {
            Self::Denied
        } else if has(text, &DOWNLOAD) {
            Self::Download
        } else if is_absent(text) {
            Self::Absent
        } else {
            Self::Evaluation
        }
    }

    /// The error for `reference`, with the end of nix's message.
    pub(super) fn error(&self, reference: &str, reason: &str) -> Error {
        let action = match self {
            Self::Missing | Self::Fetch | Self::Submodule | Self::Repository => "fetch",
            _ => "evaluate",
        };
        let reason = printable::lines(reason);
        Error::Nix { action, reference: printable::line(reference), reason, fault: self.clone() }
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

/// Whether nix misses a file that is no var, which nobody could have generated.
fn is_absent(text: &str) -> bool {
    const ABSENT: [&str; 2] = ["No such file or directory", "does not exist"];
    let is_other = |word: &str| {
        let inside = word.strip_prefix("/nix/store/").and_then(|word| word.split_once('/'));
        inside
            .is_some_and(|(_, file)| !FOLDERS.iter().any(|name| Path::new(file).starts_with(name)))
    };
    let lines = text.lines().filter(|line| line.contains("error:") && has(line, &ABSENT));
    lines.flat_map(|line| line.split(['\'', '"', '«', '»'])).any(is_other)
}

/// Whether the system has refused nix a file, a directory or a socket, which it names; a
/// server that refuses a key is none.
fn is_denied(text: &str) -> bool {
    const DENIED: [&str; 4] = [
        ": Permission denied",
        ": Operation not permitted",
        ": Read-only file system",
        "attempt to write a readonly database",
    ];
    let of_nix = |line: &str| line.trim_start().starts_with("error:");
    text.lines().any(|line| of_nix(line) && has(line, &DENIED))
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
            ("git@x: Permission denied (publickey).\nerror: git failed", Fault::Fetch),
            (
                "error: could not set permissions on '/nix/var/nix/profiles/per-user' to 755: \
                 Operation not permitted",
                Fault::Denied,
            ),
            ("error: opening lock file '/nix/var/nix/db/x': Permission denied", Fault::Denied),
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
        let elsewhere =
            format!("error: getting status of '{store}/../../new.nix': No such file or directory");
        let missing = format!("error: getting status of '{store}/a/b': No such file or directory");
        let ungenerated = missing.replace("/a/b", "/vars/shared/g/f/value");
        for (text, fault) in [
            (unseen.as_str(), untracked),
            (&elsewhere, Fault::Absent),
            (&missing, Fault::Absent),
            (&ungenerated, Fault::Evaluation),
            ("error: unable to download 'http://x/y': Couldn't connect", Fault::Download),
            ("fatal: unable to access 'https://x/'\nerror: program 'git' failed", Fault::Download),
            ("error: access to absolute path '/x' is forbidden in restricted mode", Fault::Impure),
            ("error: syntax error, unexpected end of file", Fault::Syntax),
            ("error: cannot update flake input 'x' in pure mode", Fault::Unlocked),
            ("error: cannot update unlocked flake input 'x' in pure mode", Fault::Unlocked),
            ("error: access to absolute path '/x' is forbidden in pure eval mode", Fault::Impure),
            ("error: in pure evaluation mode, 'fetchurl' requires a 'sha256'", Fault::Impure),
            ("error: attribute 'currentSystem' missing", Fault::Impure),
            ("error:\n  … x\n\n  error: opening file '/x/y': Permission denied", Fault::Denied),
            ("error: vars of x were not generated", Fault::Evaluation),
        ] {
            assert_eq!(Fault::of_evaluating(text, dir.path()), fault, "{text}");
        }
    }
}
