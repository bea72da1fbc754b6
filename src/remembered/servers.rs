//! What servers that were met before put first in the key exchange, so that its first
//! packet need not wait until they say so again. They are known by the hashes of their
//! host keys: no host, no machine and no secret is in it. It decides nothing, as a server
//! passes over what it does not want.

use super::kept::{self, Kept};
use crate::env::Env;
use crate::ssh::ServerMemory;

/// Bound on the servers.
const MAX_SERVERS: usize = 2000;
/// Longest name of an algorithm (RFC 4251, section 6).
const MAX_NAME: usize = 64;

/// What is remembered of servers.
#[derive(Debug)]
pub struct Servers(Kept);

impl Servers {
    /// The memory of this user; `None` without a home, and where others could write it.
    pub fn of_user(env: &Env) -> Option<Self> {
        Kept::of_user(env, "servers.json", MAX_SERVERS).map(Self)
    }

    /// The memory in this file.
    #[cfg(test)]
    pub(crate) fn at(file: &std::path::Path) -> Self {
        Self(Kept { file: file.to_owned(), most: MAX_SERVERS })
    }
}

impl ServerMemory for Servers {
    fn firsts(&self, host_key: &[u8]) -> Option<(String, String)> {
        let both = self.0.get(&kept::key(&[host_key]))?;
        both.split_once(' ').map(|(kex, key)| (kex.to_owned(), key.to_owned()))
    }

    fn note(&self, host_key: &[u8], kex: &str, host_key_algorithm: &str) {
        match is_name(kex) && is_name(host_key_algorithm) {
            true => self.0.note(kept::key(&[host_key]), &format!("{kex} {host_key_algorithm}")),
            false => self.forget(host_key),
        }
    }

    fn forget(&self, host_key: &[u8]) {
        self.0.forget(&kept::key(&[host_key]));
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn memory(dir: &std::path::Path) -> Servers {
        Servers(Kept { file: dir.join("a/servers.json"), most: 3 })
    }

    #[test]
    fn a_server_is_known_again_by_its_key_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let servers = memory(dir.path());
        assert_eq!(servers.firsts(b"key"), None);
        servers.note(b"key", "mlkem", "ssh-ed25519");
        let both = |kex: &str| Some((kex.to_owned(), "ssh-ed25519".to_owned()));
        assert_eq!(servers.firsts(b"key"), both("mlkem"));
        assert_eq!(servers.firsts(b"other"), None);
        servers.note(b"key", "curve", "ssh-ed25519");
        assert_eq!(servers.firsts(b"key"), both("curve"));
        assert!(!fs::read_to_string(&servers.0.file).unwrap().contains("key\":"));
        servers.forget(b"key");
        assert_eq!(servers.firsts(b"key"), None);
        for number in 0..9_u8 {
            servers.note(&[number], "mlkem", "ssh-ed25519");
        }
        assert_eq!(servers.0.read().len(), 3);
    }

    #[test]
    fn what_no_algorithm_is_called_is_not_kept_and_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let servers = memory(dir.path());
        for bad in ["", "a b", "a\n", "\u{1b}[2J", "\u{e9}", &"x".repeat(65)] {
            servers.note(b"key", "mlkem", "ssh-ed25519");
            servers.note(b"key", bad, "ssh-ed25519");
            assert_eq!(servers.firsts(b"key"), None, "{bad:?}");
            servers.note(b"key", "mlkem", bad);
            assert_eq!(servers.firsts(b"key"), None, "{bad:?}");
        }
    }

    #[test]
    fn a_file_that_somebody_has_filled_with_garbage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let servers = memory(dir.path());
        servers.note(b"key", "mlkem", "ssh-ed25519");
        let key = kept::key(&[b"key"]);
        let huge = format!("{{\"{key}\":\"a {}\"}}", "x".repeat(2 << 20));
        for text in ["", "[]", "{", "{\"a\":1}", &huge, &format!("{{\"{key}\":\"nospace\"}}")] {
            fs::write(&servers.0.file, text).unwrap();
            assert_eq!(servers.firsts(b"key"), None, "{:.40}", text);
        }
        // It is written anew.
        servers.note(b"key", "mlkem", "ssh-ed25519");
        assert!(servers.firsts(b"key").is_some());
        fs::remove_file(&servers.0.file).unwrap();
        fs::create_dir(&servers.0.file).unwrap();
        servers.note(b"key", "mlkem", "ssh-ed25519");
        assert_eq!(servers.firsts(b"key"), None);
    }
}
