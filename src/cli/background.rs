//! Going to the background (`ssh -f`, ControlPersist): another process of this
//! program connects, and asks on the terminal if it must; when it is ready, this
//! one goes on. Nothing is forked once threads run.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::children::Awaited;
use crate::descriptors;
use crate::error::{Error, Result};

/// What the process that stays is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `-f`: what was asked for on the command line.
    Session,
    /// ControlPersist: a connection for others to use.
    Master,
}

impl Role {
    /// In the place of `openssh` on the command line. Not in the environment, which
    /// programs that we start would have too; until [`ready`], standard input is a
    /// socket to who waits.
    fn word(self) -> &'static str {
        match self {
            Self::Session => "openssh-session",
            Self::Master => "openssh-master",
        }
    }
}

static ROLE: OnceLock<Role> = OnceLock::new();
/// The clan that was named before `openssh`, for the process that stays.
static FLAKE: OnceLock<PathBuf> = OnceLock::new();

/// Notes the clan that was named by `--flake`.
pub(super) fn names(flake: PathBuf) {
    let _ = FLAKE.set(flake);
}

/// Whether the first word of the command line makes this a process that stays.
pub(super) fn is_called_by(word: &OsStr) -> bool {
    let role = [Role::Session, Role::Master].into_iter().find(|role| word == role.word());
    role.is_some_and(|role| ROLE.set(role).is_ok())
}

/// What this process is for, if it is one that stays.
pub(super) fn role() -> Option<Role> {
    ROLE.get().copied()
}

/// Starts the process that stays, waits until it is ready, and returns what this
/// one ends with: 0, or the other's status if it was never ready.
pub(super) fn start(role: Role) -> Result<u8> {
    let failed = |source| Error::System { what: "cannot go to the background", source };
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    #[allow(clippy::disallowed_methods, reason = "it is this program")]
    let mut child = Command::new("/proc/self/exe")
        .arg(role.word())
        .args(arguments())
        .envs(FLAKE.get().map(|flake| ("CLAN_DIR", flake)))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(failed)?;
    // Until it is ready; then it stays whatever becomes of us.
    let _awaited = Awaited::child(&child);
    let mut byte = [0];
    if ours.read(&mut byte).is_ok_and(|count| count == 1) {
        return Ok(0);
    }
    let status = child.wait().map_err(failed)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Keeps the socket to who waits from a program that is started.
pub(super) fn hide_from(command: &mut Command) {
    if role().is_some() {
        command.stdin(Stdio::null());
    }
}

/// Our own arguments, without what made us `ssh`.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut all = std::env::args_os();
    let program = all.next().unwrap_or_default();
    let is_ssh = Path::new(&program).file_name().is_some_and(|name| name == "ssh");
    if !is_ssh {
        all.find(|word| word == "openssh" || word == ROLE.get().map_or("", |role| role.word()));
    }
    all.collect()
}

/// Says that everything stands, and leaves the terminal; nothing happens in a
/// process that was not started for the background. Unless something that runs on
/// the machine `writes`, the output goes, too, for whose end somebody may wait, as in
/// `$(ssh -fN host)`; so do the errors unless they are the log (`stdfd_devnull` in
/// `fork_postauth` of OpenSSH's ssh.c).
///
/// # Errors
/// When nobody waits any more: who called us is gone.
pub(super) fn ready(logs: bool, writes: bool) -> Result<()> {
    let Some(role) = role() else { return Ok(()) };
    let failed = |source| Error::System { what: "nobody waits for this any more", source };
    let waiting = rustix::io::dup(rustix::stdio::stdin()).map_err(|error| failed(error.into()))?;
    let _ = rustix::process::setsid();
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        if role == Role::Master || !writes {
            let _ = rustix::stdio::dup2_stdout(&null);
            if !logs {
                let _ = rustix::stdio::dup2_stderr(&null);
            }
        }
    }
    descriptors::close_named();
    UnixStream::from(waiting).write_all(&[1]).map_err(failed)
}
