//! What tells of a loop where nothing is left in the environment: a count in the timer slack,
//! which goes along with whatever a process becomes or starts, and where the system has none to
//! set, how many processes are above this one. Owns both; no /proc, none.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::parent_id;

/// Most calls: Clan may call `clan` itself, and others may stand before it, but not for ever.
pub(super) const MAX_CALLS: usize = 32;
/// So far up is looked.
pub(super) const MAX_DEPTH: usize = 100;
/// By how many nanoseconds the system may delay what this process waits for (prctl(2),
/// `PR_SET_TIMERSLACK`): a few more do nothing, and nobody sets it back.
const SLACK: &str = "/proc/self/timerslack_ns";
/// The count is what is above a whole microsecond.
const UNIT: u64 = 1000;
/// What is read of a process, in bytes.
const MAX_BYTES: u64 = 4 << 10;

/// Counts one more for the program that this process becomes, and all that it starts.
pub(super) fn mark() {
    if let Some(slack) = slack() {
        // Where it cannot be set, it is not counted.
        let _ = std::fs::write(SLACK, marked(slack).to_string());
    }
}

/// How many were counted on the way here; none where the system cannot tell.
pub(super) fn marks() -> Option<usize> {
    slack().map(count)
}

fn slack() -> Option<u64> {
    std::str::from_utf8(&read(SLACK)?).ok()?.trim().parse().ok()
}

fn count(slack: u64) -> usize {
    let count = usize::try_from(slack % UNIT).unwrap_or_default();
    // More than is ever counted is somebody else's number.
    if count > MAX_CALLS { 0 } else { count }
}

fn marked(slack: u64) -> u64 {
    let is_count = slack.is_multiple_of(UNIT) || count(slack) > 0;
    let from = if is_count { slack } else { slack - slack % UNIT };
    from.saturating_add(1)
}

/// How many processes are above this one, up to [`MAX_DEPTH`].
pub(super) fn depth() -> usize {
    let first = Some(parent_id());
    let pids = std::iter::successors(first, |pid| parent(&stat(*pid)?));
    pids.take_while(|pid| *pid > 0).take(MAX_DEPTH).count()
}

fn stat(pid: u32) -> Option<Vec<u8>> {
    read(&format!("/proc/{pid}/stat"))
}

fn read(path: &str) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_goes_along_and_other_numbers_are_no_count() {
        for (slack, counted, next) in [
            (50_000, 0, 50_001),
            (50_001, 1, 50_002),
            (50_031, 31, 50_032),
            (50_032, 32, 50_033),
            (50_033, 0, 50_001),
            (1_234_567, 0, 1_234_001),
            (1, 1, 2),
            (0, 0, 1),
        ] {
            assert_eq!((count(slack), marked(slack)), (counted, next), "{slack}");
        }
        assert!(marked(u64::MAX) > 0);
        assert!(slack().is_some_and(|slack| marks() == Some(count(slack))));
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent(b"7 (a) R 1 (b)) S 42 7 7 0\n"), Some(42));
        for text in [&b""[..], b"7 (a", b"7 (a) S", b"7 (a) S x", b"7 (a) S \xff"] {
            assert_eq!(parent(text), None);
        }
        assert_eq!(parent(&stat(std::process::id()).unwrap()), Some(parent_id()));
        assert!((1..MAX_DEPTH).contains(&depth()));
    }
}
