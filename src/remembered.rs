//! Which network last led to a machine, so that it may start at once next time.
//! Owns a small file in the cache. It holds names of networks under hashes, no host, no
//! machine and no secret.

mod kept;
#[cfg(feature = "yggdrasil")]
mod places;
mod servers;

use std::net::IpAddr;

use crate::env::Env;
use crate::overlay;
use kept::Kept;
#[cfg(feature = "yggdrasil")]
pub use places::Places;
pub use servers::Servers;

/// Bound on the machines.
const MAX_MACHINES: usize = 5000;

/// What is remembered, for one place in the network.
#[derive(Debug)]
pub struct Remembered {
    kept: Kept,
    place: String,
}

impl Remembered {
    /// The memory of this user; `None` without a home, and where others could write it.
    pub fn of_user(env: &Env) -> Option<Self> {
        let kept = Kept::of_user(env, "networks.json", MAX_MACHINES)?;
        Some(Self { kept, place: place() })
    }

    /// The network that last led to `machine` of `clan` from here.
    pub fn network(&self, clan: &str, machine: &str) -> Option<String> {
        self.kept.get(&self.key(clan, machine))
    }

    /// Notes that `network` did. Says nothing when it cannot.
    pub fn note(&self, clan: &str, machine: &str, network: &str) {
        self.kept.note(self.key(clan, machine), network);
    }

    fn key(&self, clan: &str, machine: &str) -> String {
        kept::key(&[clan.as_bytes(), machine.as_bytes(), self.place.as_bytes()])
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
        let kept = Kept { file: dir.join("a/networks.json"), most: MAX_MACHINES };
        Remembered { kept, place: place.to_owned() }
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
        let text = fs::read_to_string(&here.kept.file).unwrap();
        assert!(!text.contains("clan") && !text.contains("here"), "{text}");
    }

    #[test]
    fn a_broken_memory_is_none_and_a_full_one_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let here = memory(dir.path(), "here");
        fs::create_dir_all(here.kept.file.parent().unwrap()).unwrap();
        fs::write(&here.kept.file, "{broken").unwrap();
        assert_eq!(here.network("clan", "m"), None);
        let many = (0..MAX_MACHINES).map(|at| (format!("{at:05}"), "x".to_owned())).collect();
        here.kept.write(&many).unwrap();
        here.note("clan", "m", "tor");
        assert_eq!(here.kept.read().len(), MAX_MACHINES);
        assert_eq!(here.network("clan", "m").as_deref(), Some("tor"));
    }
}
