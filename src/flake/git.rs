//! What git may do while nix has it read a repository here: nothing that a file of
//! that repository asks for. Owns the settings that go before its own (git-config(1),
//! ENVIRONMENT). Starts nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{DirEntry, FileType};
use std::ops::ControlFlow::{Break, Continue};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::led::Led;
use super::walk::{Seen, walk};
use crate::file;
use crate::printable;

/// Those that are the same for all: `git diff` and `git status` start the first two,
/// and the others where something has been left out of a clone.
const ALWAYS: [(&str, &str); 4] = [
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("diff.trustExitCode", "false"),
    ("protocol.ext.allow", "never"),
];
/// Those of every filter and every driver of gitattributes(5): `git diff` and `git
/// archive` start what the first three name; without them nothing can be required.
const OF_FILTER: [(&str, &str); 4] =
    [("clean", ""), ("smudge", ""), ("process", ""), ("required", "false")];
const OF_DIFF: [(&str, &str); 1] = [("trustExitCode", "false")];
/// What the files of settings are called.
const CONFIGS: [&str; 2] = ["config", "config.worktree"];
/// Longest file of settings that is looked at, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// Most entries that are looked through for such files.
const MAX_ENTRIES: usize = 300_000;
/// Most names of filters and drivers; git's own limit is that of an environment.
const MAX_NAMES: usize = 500;
/// Longest name, in bytes.
const MAX_NAME: usize = 200;

/// Why a repository must not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unsafe {
    /// The settings in this file include others, which are not looked at.
    Includes(PathBuf),
    /// There are more than can be switched off.
    TooMany(PathBuf),
    /// It cannot be seen what this holds or where it leads.
    Unclear(PathBuf),
    /// Git would wait at this for ever, or read it without an end.
    Special(PathBuf),
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| printable::line(&path.to_string_lossy());
        match self {
            Self::Includes(path) => {
                let path = shown(path);
                write!(f, "{path} includes other files, whose settings could start programs")
            }
            Self::TooMany(path) => {
                write!(f, "{} has too many settings that could start programs", shown(path))
            }
            Self::Unclear(path) => {
                let path = shown(path);
                write!(f, "{path} cannot be followed to the settings, which could start programs")
            }
            Self::Special(path) => write!(f, "{} is not a regular file", shown(path)),
        }
    }
}

/// The value of `GIT_CONFIG_PARAMETERS` under which the repositories in these
/// directories, and those of their submodules, start no program. Of the two ways to
/// hand on settings this is the one that git hands on to submodules.
pub(super) fn parameters<'a>(dirs: impl IntoIterator<Item = &'a Path>) -> Result<String, Unsafe> {
    let mut names = Names::default();
    for dir in dirs {
        names.look_below(dir)?;
    }
    let mut all: Vec<String> = ALWAYS.iter().map(|(key, value)| parameter(key, value)).collect();
    for (section, name) in &names.0 {
        let keys: &[(&str, &str)] = if section == "diff" { &OF_DIFF } else { &OF_FILTER };
        all.extend(
            keys.iter().map(|(key, value)| parameter(&format!("{section}.{name}.{key}"), value)),
        );
    }
    Ok(all.join(" "))
}

/// Whether git may read the repository in this directory as far as its own settings go;
/// where it may not, nix does without git.
pub(super) fn is_read(repository: &Path) -> bool {
    let mut names = Names::default();
    let shared = Led::by_common_dir(&repository.join("commondir")).dirs;
    let mut dirs = std::iter::once(repository).chain(shared.iter().map(PathBuf::as_path));
    dirs.all(|dir| CONFIGS.iter().all(|name| names.look_into(&dir.join(name), true).is_ok()))
}

/// As `git -c` writes it: the older form, which every git knows, where it is clear.
fn parameter(key: &str, value: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''").replace('!', "'\\!'"));
    match key.contains('=') {
        true => format!("{}={}", quoted(key), quoted(value)),
        false => quoted(&format!("{key}={value}")),
    }
}

/// Section and subsection of all that is set.
#[derive(Default)]
struct Names(BTreeSet<(String, String)>);

impl Names {
    fn look_below(&mut self, top: &Path) -> Result<(), Unsafe> {
        // Git goes by what a link leads to.
        let top = &top.canonicalize().unwrap_or_else(|_| top.to_owned());
        let found = walk(top, MAX_ENTRIES, |seen| {
            let looked = match seen {
                Seen::Entry(entry) => self.look_at(entry, false),
                Seen::OfGit(entry) => self.look_at(entry, true),
                Seen::Elsewhere(_) => Ok(()),
                Seen::Unreadable(path) | Seen::Astray(path) => {
                    Err(Unsafe::Unclear(path.to_owned()))
                }
                Seen::TooMany => Err(Unsafe::TooMany(top.clone())),
            };
            looked.map_or_else(Break, Continue)
        });
        found.map_or(Ok(()), Err)
    }

    fn look_at(&mut self, entry: &DirEntry, is_git: bool) -> Result<(), Unsafe> {
        let (name, path) = (entry.file_name(), entry.path());
        if is_special(entry, &path) {
            return Err(Unsafe::Special(path));
        }
        let is_config = CONFIGS.iter().any(|config| name == *config);
        if is_config && !path.is_dir() { self.look_into(&path, is_git) } else { Ok(()) }
    }

    /// Files called `config` are many, and not all are git's.
    fn look_into(&mut self, path: &Path, is_git: bool) -> Result<(), Unsafe> {
        let too_many = || Unsafe::TooMany(path.to_owned());
        let text = match file::read(path, MAX_CONFIG).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            // No name of it could be written as it is.
            Ok(Err(_)) | Err(crate::error::Error::TooLarge { .. }) if is_git => {
                return Err(too_many());
            }
            // It is there, whatever it is.
            Err(_) if is_git && path.symlink_metadata().is_ok() => {
                return Err(Unsafe::Unclear(path.to_owned()));
            }
            _ => return Ok(()),
        };
        for (section, name) in headers(&text) {
            match section.as_str() {
                "include" | "includeif" if is_git => {
                    return Err(Unsafe::Includes(path.to_owned()));
                }
                "filter" | "diff" if name.len() > MAX_NAME && is_git => return Err(too_many()),
                "filter" | "diff" if name.len() <= MAX_NAME => {
                    self.0.insert((section, name));
                }
                _ => {}
            }
            if self.0.len() > MAX_NAMES {
                return Err(too_many());
            }
        }
        Ok(())
    }
}

/// Whether whoever opens it may never come back: a FIFO or a device, or a link to one.
/// A socket cannot be opened at all (open(2), ENXIO), and nothing is in `/dev/null`.
fn is_special(entry: &DirEntry, path: &Path) -> bool {
    let kind = match entry.file_type() {
        Ok(kind) if kind.is_symlink() => path.metadata().ok().map(|meta| meta.file_type()),
        kind => kind.ok(),
    };
    let is_special =
        |kind: FileType| kind.is_fifo() || kind.is_char_device() || kind.is_block_device();
    let is_null = || path.canonicalize().is_ok_and(|real| real == Path::new("/dev/null"));
    kind.is_some_and(is_special) && !is_null()
}

/// All that looks like the head of a section (git's config.c, `get_base_var`), be it
/// in a value or a comment: one too many does no harm.
fn headers(text: &str) -> Vec<(String, String)> {
    text.match_indices('[').filter_map(|(at, _)| header(text.get(at + 1..)?)).collect()
}

/// Its section is what is before the first dot, and all else its name, quoted or not:
/// so git takes a key apart again (`parse_config_key`).
fn header(text: &str) -> Option<(String, String)> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let plain = text.split(|c| !is_plain(c)).next()?;
    let rest = text.get(plain.len()..)?;
    // In what is not quoted, capitals do not count.
    let mut head = plain.to_ascii_lowercase();
    if !rest.starts_with(']') {
        head.push('.');
        head.push_str(&quoted(rest)?);
    }
    let (section, name) = head.split_once('.').unwrap_or((&head, ""));
    Some((section.to_owned(), name.to_owned()))
}

fn quoted(rest: &str) -> Option<String> {
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\x0b', '\x0c']);
    let mut rest = rest.strip_prefix('"')?.chars();
    let mut name = String::new();
    loop {
        match rest.next()? {
            '"' => break,
            '\n' => return None,
            '\\' => name.push(rest.next().filter(|c| *c != '\n')?),
            c => name.push(c),
        }
    }
    (rest.next() == Some(']')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_that_a_repository_has_is_switched_off() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("clan/.git", "gitdir: ../repo/worktrees/w\n");
        write("repo/worktrees/w/HEAD", "ref: refs/heads/w\n");
        write("repo/worktrees/w/commondir", "../..\n");
        write("repo/HEAD", "");
        write(
            "repo/config",
            "[core]\n\tbare = false\n[filter \"a b\"] clean = x\n[FILTER.Old]\n[Filter.C \"D\"]\n",
        );
        write("repo/worktrees/w/config.worktree", "[filter\t\"q\\\"'s\"]\n");
        write("repo/modules/vars/config", "[diff \"d=e\"]\r\n[filter \"broken\n\"]\n");
        write("clan/home/git/config", "[include]\n\tpath = x\n");
        let of = || parameters([dir.path().join("clan").as_path()]);
        let found = of().unwrap();
        for expected in [
            "'core.fsmonitor=false'",
            "'core.hooksPath=/dev/null'",
            "'filter.a b.clean='",
            "'filter.a b.required=false'",
            "'filter.old.smudge='",
            "'filter.c.D.clean='",
            "'filter.q\"'\\''s.process='",
            "'diff.d=e.trustExitCode'='false'",
        ] {
            assert!(found.contains(expected), "{expected}: {found}");
        }
        assert!(!found.contains("broken"), "{found}");
        write("repo/config", "[includeIf \"gitdir:x\"]\n\tpath = ../evil\n");
        let config = dir.path().canonicalize().unwrap().join("repo/config");
        assert_eq!(of(), Err(Unsafe::Includes(config.clone())));
        let many: String = (0..=MAX_NAMES).map(|at| format!("[filter \"{at}\"]\n")).collect();
        write("repo/config", &many);
        assert_eq!(of(), Err(Unsafe::TooMany(config)));
    }
}
