//! The clans that the user has allowed (`clan-connect trust-clan`): for his `ssh`,
//! and where somebody else has a say about them. Owns the file. Each entry is bound
//! to a path, its owner, and the very directory: another one in its place is not
//! what was looked at.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::owner::Who;
use super::survey::foreign_file;
use crate::env::Env;
use crate::error::{Error, Result, strerror};
use crate::file;

const VERSION: u32 = 1;
/// Bound on the file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The list, as it is in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    version: u32,
    clans: Vec<Allowed>,
    /// Where it is kept.
    #[serde(skip)]
    path: Option<PathBuf>,
}

/// A directory that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// Where it is.
    pub path: PathBuf,
    /// The number of its owner.
    pub uid: u32,
    inode: u64,
    /// When it was made, in nanoseconds, where the file system knows: inode numbers
    /// are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<u64>,
    /// Somebody else had a say about it, and the user wanted it all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_shared: bool,
}

impl Allowed {
    fn new(path: &Path, meta: &Metadata, is_shared: bool) -> Self {
        let born = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            path: path.to_owned(),
            uid: meta.uid(),
            inode: meta.ino(),
            born: born.and_then(|age| u64::try_from(age.as_nanos()).ok()),
            is_shared,
        }
    }

    /// Whether it is still there, with the same owner.
    pub fn is_there(&self) -> bool {
        let now = std::fs::metadata(&self.path);
        now.is_ok_and(|meta| self.is_still(&Self::new(&self.path, &meta, self.is_shared)))
    }

    fn is_still(&self, now: &Self) -> bool {
        let is_reborn = self.born.zip(now.born).is_some_and(|(then, now)| then != now);
        (self.uid, self.inode) == (now.uid, now.inode) && !is_reborn
    }
}

/// What the list says of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It is allowed.
    Allowed,
    /// Another directory was, or it was another's, or nobody else's.
    Changed,
    /// Nothing.
    Unknown,
}

impl Trusted {
    /// The user's list; an empty one where there is none.
    ///
    /// # Errors
    /// [`Error::TrustedClans`] when it cannot be read, or others could have written it.
    pub fn load(env: &Env) -> Result<Self> {
        let path = env.config_dir().map(|dir| dir.join("clan-connect/trusted-clans.json"));
        let empty = Self { version: VERSION, clans: Vec::new(), path: path.clone() };
        let Some(path) = path else { return Ok(empty) };
        let wrong = |reason: String| Error::TrustedClans { path: path.clone(), reason };
        let meta = match std::fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(empty),
            Err(error) => return Err(wrong(format!("cannot be read: {}", strerror(&error)))),
        };
        if !meta.is_file() || meta.len() > MAX_FILE {
            return Err(wrong("is not a regular file of at most 1 MiB".to_owned()));
        }
        // Also a link of somebody else's that leads to it.
        if let Some(foreign) = foreign_file(&path, Who::asks(env)) {
            return Err(wrong(format!("is ignored, because {foreign}")));
        }
        let bytes = file::read(&path, MAX_FILE).map_err(|error| match error {
            // It names the file, which the error here does, too.
            Error::File { source, .. } => wrong(format!("cannot be read: {source}")),
            _ => wrong("is not a regular file of at most 1 MiB".to_owned()),
        })?;
        let mut list: Self = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(format!("is not a list of clans: {error}")))?;
        match list.version {
            VERSION => {
                list.path = Some(path);
                Ok(list)
            }
            version => {
                Err(wrong(format!("has version {version}; this program knows version {VERSION}")))
            }
        }
    }

    /// All that is allowed, by path.
    pub fn clans(&self) -> &[Allowed] {
        &self.clans
    }

    /// Whether the directory, whose path is canonical, is allowed. `is_shared` when
    /// somebody else has a say about it now.
    pub fn word(&self, dir: &Path, is_shared: bool) -> Word {
        let Some(clan) = self.clans.iter().find(|clan| clan.path == dir) else {
            return Word::Unknown;
        };
        match clan.is_there() && (clan.is_shared || !is_shared) {
            true => Word::Allowed,
            false => Word::Changed,
        }
    }

    /// Allows a directory, whose path is canonical, as it is now.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::TrustedClans`] when it cannot be kept.
    pub fn allow(&mut self, dir: &Path, is_shared: bool) -> Result<()> {
        let failed = |source| Error::File { action: "open", path: dir.to_owned(), source };
        let meta = std::fs::metadata(dir).map_err(failed)?;
        self.clans.retain(|clan| clan.path != dir);
        self.clans.push(Allowed::new(dir, &meta, is_shared));
        self.clans.sort_by(|one, other| one.path.cmp(&other.path));
        self.write()
    }

    /// Allows a directory no more; says whether it was allowed.
    ///
    /// # Errors
    /// [`Error::TrustedClans`] when that cannot be kept.
    pub fn revoke(&mut self, dir: &Path) -> Result<bool> {
        let before = self.clans.len();
        self.clans.retain(|clan| clan.path != dir);
        let was_there = self.clans.len() < before;
        if was_there {
            self.write()?;
        }
        Ok(was_there)
    }

    fn write(&self) -> Result<()> {
        let Some(path) = self.path.clone() else {
            return Err(Error::Usage("there is no home directory for a list of clans".to_owned()));
        };
        let wrong = |error: &dyn std::fmt::Display| Error::TrustedClans {
            path: path.clone(),
            reason: format!("cannot be written: {}", error),
        };
        // A path that is no text has no place in JSON.
        let json = serde_json::to_string_pretty(self).map_err(|error| wrong(&error))?;
        file::write_whole(&path, format!("{json}\n").as_bytes(), 0o600)
            .map_err(|error| wrong(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_the_same_as_long_as_its_owner_and_its_inode_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clan");
        std::fs::create_dir(&path).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        let list = |clan: Allowed| Trusted { version: VERSION, clans: vec![clan], path: None };
        let allowed = Allowed::new(&path, &meta, false);
        assert_eq!(list(allowed.clone()).word(&path, false), Word::Allowed);
        assert_eq!(list(allowed.clone()).word(&path, true), Word::Changed);
        assert_eq!(list(allowed.clone()).word(dir.path(), false), Word::Unknown);
        let shared = Allowed { is_shared: true, ..allowed.clone() };
        assert_eq!(list(shared).word(&path, true), Word::Allowed);
        for other in [
            Allowed { uid: meta.uid() + 1, ..allowed.clone() },
            Allowed { inode: meta.ino() + 1, ..allowed.clone() },
            Allowed { born: Some(1), ..allowed.clone() },
        ] {
            // A file system may not know when.
            let is_known = allowed.born.is_some() || other.born.is_none();
            let word = list(other).word(&path, false);
            assert_eq!(word, if is_known { Word::Changed } else { Word::Allowed });
        }
        std::fs::remove_dir(&path).unwrap();
        assert_eq!(list(allowed).word(&path, false), Word::Changed);
    }
}
