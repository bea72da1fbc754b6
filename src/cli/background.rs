//! Going to the background (`ssh -f`): another process of this program connects,
//! and asks on the terminal if it must; when it is ready, this one ends. Nothing
//! is forked once threads run.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Set for the process that stays; its standard input then is a socket to the one
/// that waits for it.
const MARK: &str = "CLAN_CONNECT_BACKGROUND";

/// Whether this is the process that stays.
pub(super) fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the process that stays, waits until it is ready, and returns what this
/// one ends with: 0, or the other's status if it was never ready.
pub(super) fn start() -> Result<u8> {
    let failed = |source| Error::System { what: "cannot go to the background", source };
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    #[allow(clippy::disallowed_methods, reason = "it is this program")]
    let mut child = Command::new("/proc/self/exe")
        .arg("openssh")
        .args(arguments())
        .env(MARK, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(failed)?;
    let mut byte = [0];
    if ours.read(&mut byte).is_ok_and(|count| count == 1) {
        return Ok(0);
    }
    let status = child.wait().map_err(failed)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Keeps what only this process has to know from a program that it starts.
pub(super) fn hide_from(command: &mut Command) {
    if is_child() {
        command.env_remove(MARK).stdin(Stdio::null());
    }
}

/// Our own arguments, without what made us `ssh`.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut all = std::env::args_os();
    let program = all.next().unwrap_or_default();
    let is_ssh = std::path::Path::new(&program).file_name().is_some_and(|name| name == "ssh");
    all.skip(usize::from(!is_ssh)).collect()
}

/// Says that everything stands, and leaves the terminal; nothing happens in a
/// process that was not started for the background.
pub(super) fn ready() {
    if !is_child() {
        return;
    }
    let Ok(waiting) = rustix::io::dup(rustix::stdio::stdin()) else { return };
    let _ = rustix::process::setsid();
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    let _ = UnixStream::from(waiting).write_all(&[1]);
}
