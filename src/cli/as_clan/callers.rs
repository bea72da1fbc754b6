//! What tells of a loop where nothing is left in the environment: a mark in the descriptors,
//! which go along with whatever process becomes another program, and how many processes are
//! above this one, where each starts another. Owns both; no /proc, none.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::parent_id;
use std::path::Path;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// So far up is looked.
pub(super) const MAX_DEPTH: usize = 100;
/// What a mark is called, and how the system shows it.
const MARK: &str = "clan-connect-call";
const SHOWN: &str = "/memfd:clan-connect-call (deleted)";
/// The numbers below are those that scripts use.
const FIRST: i32 = 200;
/// What is read of a process, in bytes.
const MAX_BYTES: u64 = 4 << 10;

/// Leaves one more mark for the program that this process becomes while it is held.
pub(super) fn mark() -> Option<OwnedFd> {
    let made = memfd_create(MARK, MemfdFlags::CLOEXEC).ok()?;
    // The limit of open files may be lower than that.
    let mark = fcntl_dupfd_cloexec(&made, FIRST).or_else(|_| fcntl_dupfd_cloexec(&made, 3)).ok()?;
    fcntl_setfd(&mark, FdFlags::empty()).ok()?;
    Some(mark)
}

/// How many were left for this one.
pub(super) fn marks() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    open.filter(|it| it.path().read_link().is_ok_and(|file| file == Path::new(SHOWN))).count()
}

/// How many processes are above this one, up to [`MAX_DEPTH`].
pub(super) fn depth() -> usize {
    let first = Some(parent_id());
    let pids = std::iter::successors(first, |pid| parent(&stat(*pid)?));
    pids.take_while(|pid| *pid > 0).take(MAX_DEPTH).count()
}

fn stat(pid: u32) -> Option<Vec<u8>> {
    let file = File::open(format!("/proc/{pid}/stat")).ok()?;
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
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_mark_is_counted_while_it_is_held_and_goes_along() {
        let before = marks();
        let (one, other) = (mark().unwrap(), mark().unwrap());
        assert_eq!(marks(), before + 2);
        for held in [&one, &other] {
            assert!(held.as_raw_fd() >= FIRST);
            assert_eq!(rustix::io::fcntl_getfd(held).unwrap(), FdFlags::empty());
        }
        drop((one, other));
        assert_eq!(marks(), before);
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
