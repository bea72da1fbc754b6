//! Which network last led to a machine, so that it may start at once next time.
//! Owns a small file in the cache; a lost or broken one costs nothing. It holds
//! names of networks under hashes, no host, no machine and no secret.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::env::Env;
use crate::flake::not_his_alone;
use crate::{file, overlay};

/// Bound on the file, in bytes, and on its entries.
const MAX_FILE: u64 = 1 << 20;
const MAX_ENTRIES: usize = 5000;

/// What is remembered, for one place in the network.
#[derive(Debug)]
pub struct Remembered {
    file: PathBuf,
    place: String,
}

impl Remembered {
    /// The memory of this user; `None` without a home, and where others could write it.
    pub fn of_user(env: &Env) -> Option<Self> {
        let file = env.cache_dir()?.join("clan-connect/networks.json");
        not_his_alone(&file, env).is_none().then(|| Self { file, place: place() })
    }

    /// The network that last led to `machine` of `clan` from here.
    pub fn network(&self, clan: &str, machine: &str) -> Option<String> {
        self.read().remove(&self.key(clan, machine))
    }

    /// Notes that `network` did. Says nothing when it cannot.
    pub fn note(&self, clan: &str, machine: &str, network: &str) {
        let mut all = self.read();
        let key = self.key(clan, machine);
        if all.get(&key).is_some_and(|known| known == network) {
            return;
        }
        // Whichever goes: it is only a start of half a second.
        while all.len() >= MAX_ENTRIES && all.pop_first().is_some() {}
        all.insert(key, network.to_owned());
        let _ = self.write(&all);
    }

    fn key(&self, clan: &str, machine: &str) -> String {
        let mut hash = Sha256::new();
        for part in [clan, machine, &self.place] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default())
    }

    fn read(&self) -> BTreeMap<String, String> {
        let bytes = file::read(&self.file, MAX_FILE).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn write(&self, all: &BTreeMap<String, String>) -> std::io::Result<()> {
        // Of two at once the last wins; neither is torn.
        file::write_whole(&self.file, &serde_json::to_vec(all)?, 0o600)
    }
}

/// Where this computer is: the addresses that it would use to the outside. No
/// packet is sent to these, which belong to documentation (RFC 5737, RFC 3849).
fn place() -> String {
    let outside: [IpAddr; 2] =
        [IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])];
    let text = |address| overlay::source(address).map(|ip| ip.to_string()).unwrap_or_default();
    outside.map(text).join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn memory(dir: &Path, place: &str) -> Remembered {
        Remembered { file: dir.join("a/networks.json"), place: place.to_owned() }
    }

    #[test]
    fn it_is_known_again_for_the_same_clan_machine_and_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let here = memory(dir.path(), "here");
        assert_eq!(here.network("clan", "m"), None);
        here.note("clan", "m", "tor");
        assert_eq!(here.network("clan", "m").as_deref(), Some("tor"));
        for (clan, machine) in [("clan2", "m"), ("clan", "m2"), ("cla", "nm")] {
            assert_eq!(here.network(clan, machine), None);
        }
        assert_eq!(memory(dir.path(), "there").network("clan", "m"), None);
        here.note("clan", "m", "internet");
        assert_eq!(here.network("clan", "m").as_deref(), Some("internet"));
        let text = fs::read_to_string(&here.file).unwrap();
        assert!(!text.contains("clan") && !text.contains("here"), "{text}");
    }

    #[test]
    fn a_broken_memory_is_none_and_a_full_one_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let here = memory(dir.path(), "here");
        fs::create_dir_all(here.file.parent().unwrap()).unwrap();
        fs::write(&here.file, "{broken").unwrap();
        assert_eq!(here.network("clan", "m"), None);
        let many = (0..MAX_ENTRIES).map(|at| (format!("{at:05}"), "x".to_owned())).collect();
        here.write(&many).unwrap();
        here.note("clan", "m", "tor");
        assert_eq!(here.read().len(), MAX_ENTRIES);
        assert_eq!(here.network("clan", "m").as_deref(), Some("tor"));
    }
}
