//! A small file in the cache, of words under keys. Owns that it is its user's alone and
//! that it stays small; a lost or broken one costs nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::env::Env;
use crate::file;
use crate::flake::not_his_alone;
use crate::parts::Parts;

/// Bound on a file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What is kept in one file.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) file: PathBuf,
    /// Bound on its entries.
    pub(super) most: usize,
}

impl Kept {
    /// The file of this user's; `None` without a home, and where others could write it.
    pub(super) fn of_user(env: &Env, name: &str, most: usize) -> Option<Self> {
        let file = env.cache_dir()?.join("clan-connect").join(name);
        not_his_alone(&file, env).is_none().then_some(Self { file, most })
    }

    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.read().remove(key)
    }

    /// Keeps `value`. Says nothing when it cannot.
    pub(super) fn note(&self, key: String, value: &str) {
        let mut all = self.read();
        if all.get(&key).is_some_and(|known| known == value) {
            return;
        }
        // Whichever goes: it only saves time.
        while all.len() >= self.most && all.pop_first().is_some() {}
        all.insert(key, value.to_owned());
        let _ = self.write(&all);
    }

    pub(super) fn forget(&self, key: &str) {
        let mut all = self.read();
        if all.remove(key).is_some() {
            let _ = self.write(&all);
        }
    }

    pub(super) fn read(&self) -> BTreeMap<String, String> {
        let bytes = file::read(&self.file, MAX_FILE).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub(super) fn write(&self, all: &BTreeMap<String, String>) -> std::io::Result<()> {
        // Of two at once the last wins; neither is torn.
        file::write_whole(&self.file, &serde_json::to_vec(all)?, 0o600)
    }
}

/// A key that does not tell what it is made of.
pub(super) fn key(parts: &[&[u8]]) -> String {
    let mut all = Parts::default();
    parts.iter().for_each(|part| all.put(part));
    let digest = all.digest();
    data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default())
}
