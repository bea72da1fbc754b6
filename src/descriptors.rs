//! The descriptors that a caller leaves open for us: a lock, the pipe of a shell.
//! Owns closing them, as ssh(1) does with closefrom(3): who waits for their end
//! would wait for us, and for what we leave in the background. Says as well who is at the
//! other end of a socket.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::env::Env;

/// Those that a file is named by, as a shell does in `--exports <(…)`, and that
/// were open when we started.
static NAMED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Where the system shows a process its own.
const PLACES: [&[u8]; 2] = [b"/dev/fd/", b"/proc/self/fd/"];
/// Without /proc only so many are looked for.
const MAX_TRIED: RawFd = 1024;

/// Closes all above standard error, but for those that the command line or the
/// environment names as a file. Only before anything else is opened: nothing of
/// ours may be among them.
pub fn close_inherited(env: &Env) {
    let arguments = std::env::args_os().skip(1);
    let wanted: Vec<RawFd> = arguments
        .flat_map(|text| named(&text))
        .chain(env.variables().flat_map(|(_, value)| named(value)))
        .collect();
    let (kept, others): (Vec<RawFd>, Vec<RawFd>) =
        open().into_iter().filter(|fd| *fd > 2).partition(|fd| wanted.contains(fd));
    close(&others);
    *named_ones() = still_open(kept);
}

/// Those that a caller has really opened: where they were listed the list itself had a
/// number, which something of ours gets next.
fn still_open(mut listed: Vec<RawFd>) -> Vec<RawFd> {
    if listed.is_empty() {
        return listed;
    }
    let own = pidfd_open(getpid(), PidfdFlags::empty()).ok();
    listed.retain(|fd| match &own {
        Some(own) if own.as_raw_fd() == *fd => false,
        Some(own) if pidfd_getfd(own, *fd, PidfdGetfdFlags::empty()).is_ok() => true,
        // Not every system lets a process have its own by number.
        _ => Path::new(&format!("/proc/self/fd/{fd}")).symlink_metadata().is_ok(),
    });
    listed
}

/// Closes those that were kept for their names: by now they have been read.
pub(crate) fn close_named() {
    close(&std::mem::take(&mut *named_ones()));
}

/// A descriptor to write to in the place of one that is named as `/dev/fd/3` or
/// `/dev/stderr`. It is closed, unless it is a standard one: what we start has no use for it. To open the name anew takes rights that whoever
/// was handed a pipe may not have. `None` for a name of anything else.
pub(crate) fn taken(name: &Path) -> Option<std::io::Result<OwnedFd>> {
    let number = match name.as_os_str().as_bytes() {
        b"/dev/stdout" => 1,
        b"/dev/stderr" => 2,
        _ => number(name)?,
    };
    Some(take(number, name))
}

/// The number of the descriptor that is named as `/dev/fd/3`; `None` for a name of anything
/// else.
pub(crate) fn number(name: &Path) -> Option<RawFd> {
    let bytes = name.as_os_str().as_bytes();
    let number = PLACES.iter().find_map(|place| bytes.strip_prefix(*place))?;
    let number = std::str::from_utf8(number).ok();
    number.filter(|it| it.bytes().all(|it| it.is_ascii_digit()))?.parse().ok()
}

fn take(number: RawFd, name: &Path) -> std::io::Result<OwnedFd> {
    let mut named = named_ones();
    let taken = match number {
        1 => std::io::stdout().as_fd().try_clone_to_owned()?,
        2 => std::io::stderr().as_fd().try_clone_to_owned()?,
        _ if named.contains(&number) => {
            // Not every system lets a process have its own by number.
            let taken = match of_this_process(number) {
                Ok(taken) => taken,
                Err(_) => OpenOptions::new().append(true).open(name)?.into(),
            };
            named.retain(|it| *it != number);
            close(&[number]);
            taken
        }
        // All others are standard input or ours.
        _ => return Err(rustix::io::Errno::BADF.into()),
    };
    match fcntl_getfl(&taken)?.intersects(OFlags::WRONLY | OFlags::RDWR) {
        true => Ok(taken),
        false => Err(rustix::io::Errno::BADF.into()),
    }
}

fn named_ones() -> MutexGuard<'static, Vec<RawFd>> {
    NAMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By its number alone, which is otherwise unsafe.
fn of_this_process(number: RawFd) -> std::io::Result<OwnedFd> {
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?)
}

/// Who is at the other end of a Unix socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketPeer {
    /// The process; 0 where it is in a namespace that this one does not see, which rustix
    /// cannot say.
    pub(crate) pid: u32,
    /// The user.
    pub(crate) uid: u32,
}

impl SocketPeer {
    /// Whether it is of this user.
    pub(crate) fn is_ours(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Who is at the other end, as it was when they met.
pub(crate) fn peer(socket: &impl AsFd) -> Option<SocketPeer> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    let peer = getsockopt(socket, PeerCredentials).ok()?;
    Some(SocketPeer { pid: peer.pid().cast_unsigned(), uid: peer.uid() })
}

fn close(descriptors: &[RawFd]) {
    for fd in descriptors {
        // Closing one that is closed already, such as that of the list, does no harm.
        let _ = nix::unistd::close(*fd);
    }
}

fn open() -> Vec<RawFd> {
    match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => {
            let names = entries.flatten().map(|entry| entry.file_name());
            names.filter_map(|name| name.to_str()?.parse().ok()).collect()
        }
        Err(_) => (3..MAX_TRIED).collect(),
    }
}

/// The numbers of descriptors in a text such as `-F/dev/fd/63`.
fn named(text: &OsStr) -> Vec<RawFd> {
    let text = text.as_bytes();
    let mut found = Vec::new();
    for place in PLACES {
        for (at, _) in text.windows(place.len()).enumerate().filter(|(_, part)| *part == place) {
            let rest = text.get(at + place.len()..).unwrap_or_default();
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = rest.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
            found.extend(number.and_then(|digits| digits.parse::<RawFd>().ok()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_kept_where_a_file_is_named_by_it() {
        for (text, numbers) in [
            ("/dev/fd/63", &[63][..]),
            ("-F/dev/fd/5", &[5]),
            ("IdentityFile=/proc/self/fd/12 ", &[12]),
            ("cat /dev/fd/3 /dev/fd/4", &[3, 4]),
            ("/dev/fd/", &[]),
            ("/dev/fd/x9", &[]),
            ("/dev/fd/99999999999999999999", &[]),
            ("63", &[]),
        ] {
            assert_eq!(named(OsStr::new(text)), numbers, "{text}");
        }
    }
}
