//! What `--exports` names: a snapshot, or exports alone. Owns that it is read once, for all
//! that is asked of it: a pipe has nothing to say again, and a file may be another one later.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::MAX_EXPORTS;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::exports::check_bounds;
use crate::model::Clan;

/// The file, as it has been read.
#[derive(Debug)]
pub struct Document {
    origin: String,
    bytes: Vec<u8>,
    is_snapshot: bool,
}

impl Document {
    /// Reads it from a file, or from standard input when that is `-`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::TooLarge`].
    pub fn read(file: &Path) -> Result<Self> {
        let stdin = file == Path::new("-");
        let path = if stdin { PathBuf::from("standard input") } else { file.to_owned() };
        let failed = |source| Error::File { action: "read", path: path.clone(), source };
        let mut bytes = Vec::new();
        // One byte more than allowed shows that there is more.
        let read = if stdin {
            std::io::stdin().lock().take(MAX_EXPORTS + 1).read_to_end(&mut bytes)
        } else {
            let file = std::fs::File::open(file).map_err(failed)?;
            file.take(MAX_EXPORTS + 1).read_to_end(&mut bytes)
        };
        let count = read.map_err(failed)?;
        if count as u64 > MAX_EXPORTS {
            return Err(Error::TooLarge { path, limit: MAX_EXPORTS });
        }
        let is_snapshot = Snapshot::is_one(&bytes);
        Ok(Self { origin: path.display().to_string(), bytes, is_snapshot })
    }

    /// What it is called in errors.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it is a snapshot, and not exports alone.
    pub const fn is_snapshot(&self) -> bool {
        self.is_snapshot
    }

    /// The clan that it describes.
    ///
    /// # Errors
    /// [`Error::Exports`].
    pub fn clan(&self) -> Result<Clan> {
        match self.is_snapshot {
            true => self.snapshot()?.clan(&self.origin),
            false => Clan::parse(&self.origin, &self.bytes),
        }
    }

    /// The same as a snapshot; of exports alone it knows nothing else.
    ///
    /// # Errors
    /// As for [`Self::clan`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        if self.is_snapshot {
            return Snapshot::parse(&self.origin, &self.bytes);
        }
        let wrong = |reason| Error::Exports { origin: self.origin.clone(), reason };
        check_bounds(&self.bytes).map_err(wrong)?;
        let mut exports: serde_json::Value = serde_json::from_slice(&self.bytes)
            .map_err(|error| wrong(format!("not valid JSON: {error}")))?;
        // `clan select 'clan.?exports'` prints them so.
        if let Some(inner) = exports.get_mut("exports") {
            exports = inner.take();
        }
        Ok(Snapshot::new(exports))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_exports_file_is_named() {
        let error = Document::read(Path::new("/nonexistent/exports.json")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/exports.json"), "{error}");
    }

    #[test]
    fn what_has_been_read_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file.json");
        std::fs::write(&file, r#"{"clan_connect_snapshot": 1, "domain": "d", "exports": {}}"#)
            .unwrap();
        let document = Document::read(&file).unwrap();
        std::fs::write(&file, r#"{"net": {"peers": {"m": {"host": {"plain": "h"}}}}}"#).unwrap();
        assert!(document.is_snapshot());
        assert_eq!(document.clan().unwrap().domain(), Some("d"));
        let exports = Document::read(&file).unwrap();
        assert!(!exports.is_snapshot() && exports.clan().unwrap().knows("m"));
        assert!(exports.snapshot().unwrap().machines.is_empty());
    }
}
