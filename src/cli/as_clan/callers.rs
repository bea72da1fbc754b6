//! The processes that wait for this one, as far as they are a `clan`: what tells of a loop
//! where nothing is left in the environment. Owns how far up is looked; no /proc, none.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::path::Path;

/// So far up is looked.
const MAX_PROCESSES: usize = 64;
/// The words in which a program has its name: an interpreter and its option may be before it.
const WORDS: usize = 3;
/// What is read of a process, in bytes.
const MAX_BYTES: u64 = 16 << 10;

/// How many they are.
pub(super) fn count() -> usize {
    let first = Some(parent_id());
    let pids = std::iter::successors(first, |pid| parent(&read(*pid, "stat")?));
    pids.take(MAX_PROCESSES)
        .take_while(|pid| *pid > 1)
        .filter(|pid| read(*pid, "cmdline").is_some_and(|words| is_clan(&words)))
        .count()
}

fn read(pid: u32, name: &str) -> Option<Vec<u8>> {
    let file = File::open(format!("/proc/{pid}/{name}")).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// proc_pid_stat(5): the second field, in parentheses, may hold anything.
fn parent(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Whether these words started a program of the name, or a script.
fn is_clan(words: &[u8]) -> bool {
    let words = words.split(|byte| *byte == 0).take(WORDS).map(OsStr::from_bytes);
    words.into_iter().any(|word| Path::new(word).file_name().is_some_and(|name| name == "clan"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_words() {
        for words in ["clan\0ssh\0m\0", "/bin/sh\0/x/clan\0a\0", "/usr/bin/python3\0-P\0/x/clan\0"]
        {
            assert!(is_clan(words.as_bytes()), "{words}");
        }
        for words in ["", "clan-connect\0ssh\0", "sh\0-c\0true\0clan\0", "/x/clan/tool\0"] {
            assert!(!is_clan(words.as_bytes()), "{words}");
        }
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent(b"7 (a) R 1 (b)) S 42 7 7 0\n"), Some(42));
        for stat in [&b""[..], b"7 (a", b"7 (a) S", b"7 (a) S x", b"7 (a) S \xff"] {
            assert_eq!(parent(stat), None);
        }
        let own = read(std::process::id(), "stat").unwrap();
        assert_eq!(parent(&own), Some(parent_id()));
    }
}
