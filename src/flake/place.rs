//! Where the clan is, and whether it may be used: one that the user named or
//! allowed, or one that he stands in and that is his alone. Reads nothing of it.

use std::path::{Path, PathBuf};

use super::nix;
use super::owner::{Foreign, Who};
use super::reference::{inside, is_pinned, local, resolved};
use super::snapshot;
use super::source::{self, FOLDERS, Fetched, Flake};
use super::survey::{above, foreign, is_strangers};
use super::trusted::{Trusted, Word};
use crate::env::Env;
use crate::error::{Error, NixFault as Fault, Result, strerror};
use crate::file;
use crate::printable;

/// What makes a directory a clan for whoever searches upward.
const MARKS: [&str; 3] = ["flake.nix", ".clan-flake", snapshot::NAME];

/// Who asks for a clan, and so what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asker {
    /// Our own commands use the clan that they stand in, as nix and Clan do.
    #[default]
    Command,
    /// In the place of ssh(1), only one that was named or allowed.
    Ssh,
    /// The same for a host that the user's files name.
    Files,
    /// A host that is no machine of a clan has none.
    Nobody,
}

/// The clan that is `named` (by `--flake` or `$CLAN_DIR`), or else the one that
/// `start` lies in.
///
/// # Errors
/// As for [`find`], and [`Error::ClanRefused`] for one that must not be used.
pub fn admitted(named: Option<&Path>, start: &Path, asker: Asker, env: &Env) -> Result<Flake> {
    let dir = find(named, start)?;
    let is_named = admit(&dir, named, asker, env)?;
    Ok(Flake::of_dir(dir, is_named, env.clone()))
}

/// A clan that only nix can find, with its files in nix's store. Blocks, for
/// minutes if nix must download them.
///
/// # Errors
/// [`Error::NoExports`] without nix, [`Error::Nix`], and [`Error::ClanRefused`] for a
/// reference to a directory here that must not be used.
pub fn fetched(reference: &str, env: &Env) -> Result<Flake> {
    let here = local(reference).map(|written| {
        // git would take what is not there for a host's name.
        let path = written.canonicalize().map_err(|error| {
            Fault::Missing.error(reference, &format!("{}: {}", written.display(), strerror(&error)))
        })?;
        admit(&path, Some(&written), Asker::Command, env)?;
        Ok::<_, Error>(path)
    });
    let here = here.transpose()?;
    // What was looked at, whatever links lead to meanwhile.
    let written = here.as_ref().and_then(|path| resolved(reference, path));
    let reference = written.as_deref().unwrap_or(reference);
    let nix = nix::program(env).ok_or_else(|| Error::NoExports {
        flake: reference.into(),
        reason: "only nix can fetch it, and nix was not found".to_owned(),
    })?;
    let fetched = nix::fetch(&nix, reference, &nix::settings(reference)?, env)?;
    if !fetched.files.is_dir() {
        // Its keys and vars would be overlooked.
        return Err(Error::NoExports {
            flake: reference.into(),
            reason: format!("what nix has fetched is not in {}", fetched.files.display()),
        });
    }
    let vars = vars_of(&fetched, here.as_deref(), reference);
    let unfetched = match &here {
        Some(here) if vars != fetched.files => source::unfetched_module(here, &vars),
        _ => fetched.unfetched(),
    };
    if let Some(path) = unfetched {
        let why = format!("{} is in a submodule, and was not fetched", path.display());
        return Err(Fault::Submodule.error(reference, &why));
    }
    Ok(Flake {
        dir: fetched.files.clone(),
        vars,
        reference: reference.to_owned(),
        is_remote: true,
        is_named: true,
        is_impure: false,
        options: Vec::new(),
        fetched: Some(fetched),
        env: env.clone(),
    })
}

/// Where the keys and vars of what was fetched are: never less than the directory
/// `here` has, where that is what the reference names.
fn vars_of(fetched: &Fetched, here: Option<&Path>, reference: &str) -> PathBuf {
    let copy = fetched.files.clone();
    let Some(dir) = here.and_then(|here| inside(here, reference)) else { return copy };
    let has = |dir: &Path, name: &str| {
        std::fs::read_dir(dir.join(name)).is_ok_and(|mut entries| entries.next().is_some())
    };
    let lacks =
        |one: &Path, other: &Path| FOLDERS.iter().any(|name| has(other, name) && !has(one, name));
    let is_worktree = dir.join("flake.nix").is_file() && !lacks(&dir, &copy);
    let is_more = !is_pinned(reference) || lacks(&copy, &dir) || fetched.unfetched().is_some();
    if is_worktree && is_more { dir } else { copy }
}

/// The clan's directory: `named` (from `--flake` or `$CLAN_DIR`), or the
/// nearest parent of `start` that holds `flake.nix`, `.clan-flake` or a snapshot. Whether
/// it may be used is another question.
///
/// # Errors
/// [`Error::NotAFlake`] and [`Error::FlakeNotFound`]; [`Error::Usage`] for what nix
/// takes for a reference.
pub fn find(named: Option<&Path>, start: &Path) -> Result<PathBuf> {
    let has = |dir: &Path, names: &[&str]| names.iter().any(|name| file::is_there(&dir.join(name)));
    if let Some(named) = named {
        // A checkout may have a directory of that name.
        if is_remote(named) {
            let named = printable::line(&named.to_string_lossy());
            let why = format!("{named} is a reference for nix; as a directory here: ./{named}");
            return Err(Error::Usage(why));
        }
        let is_clan = has(named, &MARKS) || has(named, &["vars", "secrets"]);
        return match named.canonicalize() {
            Ok(path) if is_clan => Ok(path),
            Ok(_) => Err(Error::NotAFlake { path: named.to_owned() }),
            Err(source) => Err(Error::File { action: "open", path: named.to_owned(), source }),
        };
    }
    start
        .ancestors()
        .find(|dir| has(dir, &MARKS))
        .map(Path::to_owned)
        .ok_or_else(|| Error::FlakeNotFound { start: start.to_owned() })
}

/// Whether the clan in `dir` counts as one that was named, as the path is written; an
/// error if it must not be used at all.
fn admit(dir: &Path, named: Option<&Path>, asker: Asker, env: &Env) -> Result<bool> {
    let (who, is_named) = (Who::asks(env), named.is_some());
    // Also who could lead the name to another directory.
    let foreign = |dir: &Path| {
        let named = named.and_then(|named| std::path::absolute(named).ok());
        foreign(dir, who).or_else(|| named.and_then(|named| above(&named, who)))
    };
    let refused = |reason: String| {
        let is_strangers = is_strangers(dir, &MARKS, who);
        Err(Error::ClanRefused { dir: dir.to_owned(), reason, is_strangers })
    };
    let is_ssh = matches!(asker, Asker::Ssh | Asker::Files);
    let standing = "ssh uses only a clan that is named or allowed";
    // Where the user has named it, and it is his alone, nothing else matters.
    let found = is_named.then(|| foreign(dir));
    if found == Some(None) {
        return Ok(true);
    }
    let trusted = Trusted::load(env)?;
    // Without a look at what does not matter then.
    if is_ssh && !is_named && trusted.word(dir, false) == Word::Unknown {
        return refused(standing.to_owned());
    }
    let found = found.unwrap_or_else(|| foreign(dir));
    match (trusted.word(dir, found.is_some()), found) {
        (Word::Allowed, _) => Ok(true),
        (Word::Unknown, Some(found)) => refused(found.to_string()),
        (Word::Changed, Some(found)) => {
            refused(format!("{found}; this was not so when the clan was allowed"))
        }
        (Word::Unknown, None) if is_ssh => refused(standing.to_owned()),
        (Word::Changed, None) if is_ssh => {
            refused("it is not the directory that was allowed, or not of the same owner".to_owned())
        }
        (Word::Unknown | Word::Changed, None) => Ok(false),
    }
}

/// The clan in `named`, or the nearest around `start`, and who else has a say about
/// it: what is shown before it is allowed.
///
/// # Errors
/// As for [`find`].
pub fn inspect(named: Option<&Path>, start: &Path, env: &Env) -> Result<(PathBuf, Option<String>)> {
    let dir = find(named, start)?;
    let found = foreign(&dir, Who::asks(env)).as_ref().map(Foreign::to_string);
    Ok((dir, found))
}

/// Whether this names a flake for nix and no directory here: `github:a/b`. It does so
/// too where there is a directory of that name, which is written `./github:a/b`.
pub fn is_remote(name: &Path) -> bool {
    let text = name.to_string_lossy();
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    // RFC 3986, section 3.1.
    let is_word = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    scheme.is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_parent_is_the_clan() {
        let top = tempfile::tempdir().unwrap();
        let inner = top.path().join("clan/sub/dir");
        std::fs::create_dir_all(&inner).unwrap();
        assert!(matches!(find(None, &inner), Err(Error::FlakeNotFound { .. })));
        std::fs::write(top.path().join("clan/flake.nix"), "{}").unwrap();
        assert_eq!(find(None, &inner).unwrap(), top.path().join("clan"));
        std::fs::write(top.path().join("clan/sub/.clan-flake"), "").unwrap();
        assert_eq!(find(None, &inner).unwrap(), top.path().join("clan/sub"));
        std::fs::write(inner.join(snapshot::NAME), "{}").unwrap();
        assert_eq!(find(None, &inner).unwrap(), inner);
        assert_eq!(find(Some(&inner), top.path()).unwrap(), inner);
        // It is none to pass over because its snapshot has gone.
        std::fs::remove_file(inner.join(snapshot::NAME)).unwrap();
        std::os::unix::fs::symlink("gone", inner.join(snapshot::NAME)).unwrap();
        assert_eq!(find(None, &inner).unwrap(), inner);
    }

    #[test]
    fn a_named_directory_must_be_a_clan() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(find(Some(dir.path()), dir.path()), Err(Error::NotAFlake { .. })));
        let missing = dir.path().join("missing");
        assert!(matches!(find(Some(&missing), dir.path()), Err(Error::File { .. })));
    }

    #[test]
    fn a_reference_for_nix_is_told_from_a_directory() {
        for remote in ["github:a/b", "git+https://example.com/x", "path:/nonexistent"] {
            assert!(is_remote(Path::new(remote)), "{remote}");
        }
        for here in [".", "/tmp", "clan", ":x", "a b:c", "--option:x", "./github:a/b", "/x:y"] {
            assert!(!is_remote(Path::new(here)), "{here}");
        }
    }
}
