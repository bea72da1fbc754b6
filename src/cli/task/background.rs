//! Going to the background (`ssh -f`, ControlPersist): another process of this
//! program connects, and asks on the terminal if it must; when it is ready, this
//! one goes on. Nothing is forked once threads run. It is handed what was understood
//! here, and is called as we were, so that it is found by its name; what it is called
//! with, it does not read.

mod kin;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::children::Awaited;
use crate::cli::Global;
use crate::cli::invocation::{Front, Invocation, Task, passed};
use crate::cli::role::Role;
use crate::descriptors;
use crate::env::Env;
use crate::error::{Error, Result};

/// What stands before an invocation on the socket to who waits, which is standard
/// input until [`ready`]. Not in the environment, which programs that we start would
/// have too.
const SESSION: &[u8; HEAD] = b"clan-connect: session 1\n";
const MASTER: &[u8; HEAD] = b"clan-connect: master  1\n";
/// Its bytes.
const HEAD: usize = 24;
/// Bound on an invocation, in bytes: more than the files that its options are from.
const MAX_MESSAGE: u64 = 64 << 20;

/// What this process was started for by another one of this program, if it was. Only
/// that one is listened to: whoever else writes to our standard input would have us
/// run programs.
pub(in crate::cli) fn taken_over(env: &Env) -> Option<Result<(Invocation, Global)>> {
    let head = head()?;
    let role = match &head {
        SESSION => Role::Session,
        MASTER => Role::Master,
        _ => return None,
    };
    let strange = || std::io::Error::from(ErrorKind::PermissionDenied);
    let failed = |source| Error::System { what: "nobody waits for this any more", source };
    if !kin::is_parent(rustix::stdio::stdin()) || !role.take() {
        return Some(Err(failed(strange())));
    }
    Some(message().map_err(failed).and_then(|bytes| passed::read(&bytes, env)).inspect(
        |(it, _)| {
            if it.front == Front::Ssh {
                // What ps(1) and killall(1) call it.
                let _ = std::fs::write("/proc/self/comm", "ssh");
            }
        },
    ))
}

/// What lies ready on standard input, if that is a socket. It was there before we were
/// started, so that nothing is waited for; and it stays there.
fn head() -> Option<[u8; HEAD]> {
    use rustix::net::{RecvFlags, recv};
    let is_socket = std::fs::metadata("/proc/self/fd/0").ok()?.file_type().is_socket();
    let mut head = [0; HEAD];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let count = is_socket.then(|| recv(rustix::stdio::stdin(), &mut head, flags).ok())??.0;
    (count == head.len()).then_some(head)
}

/// What the process that started us hands over, which has shown that it is one of this
/// program.
fn message() -> std::io::Result<Vec<u8>> {
    let socket = rustix::io::dup(rustix::stdio::stdin())?;
    let mut socket = UnixStream::from(socket);
    kin::received(&socket, HEAD)?;
    let mut size = [0; 8];
    socket.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    let mut bytes = Vec::new();
    if size > MAX_MESSAGE || socket.take(size).read_to_end(&mut bytes)? as u64 != size {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Starts the process that stays, waits until it is ready, and returns what this
/// one ends with: 0, or the other's status if it was never ready.
pub(super) async fn start(role: Role, invocation: &Invocation, global: &Global) -> Result<u8> {
    let mut invocation = invocation.clone();
    let head = match role {
        Role::Session => SESSION,
        Role::Master => {
            invocation.task = Task::Share;
            MASTER
        }
    };
    let bytes = passed::write(&invocation, global)?;
    let front = invocation.front;
    // It may take long, and a signal must end us meanwhile.
    let started = tokio::task::spawn_blocking(move || spawn(head, &bytes, front)).await;
    let failed = |source| Error::System { what: "cannot go to the background", source };
    started.unwrap_or(Err(ErrorKind::Other.into())).map_err(failed)
}

fn spawn(head: &[u8], bytes: &[u8], front: Front) -> std::io::Result<u8> {
    let (mut ours, theirs) = UnixStream::pair()?;
    kin::send(&ours, head)?;
    let (name, arguments) = called(front);
    #[allow(clippy::disallowed_methods, reason = "it is this program")]
    let mut child = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    // Until it is ready; then it stays whatever becomes of us.
    let _awaited = Awaited::child(&child);
    // Where it is gone by now, its status says so.
    let _ = ours.write_all(&(bytes.len() as u64).to_le_bytes());
    let _ = ours.write_all(bytes);
    let mut byte = [0];
    if ours.read(&mut byte).is_ok_and(|count| count == 1) {
        return Ok(0);
    }
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// What we were called with, as `ssh` if we stand for it.
fn called(front: Front) -> (std::ffi::OsString, Vec<std::ffi::OsString>) {
    let mut all = std::env::args_os();
    let program = all.next().unwrap_or_default();
    let is_ssh = Path::new(&program).file_name().is_some_and(|name| name == "ssh");
    if is_ssh || front == Front::Clan {
        return (program, all.collect());
    }
    let _ = all.find(|word| word == "openssh");
    ("ssh".into(), all.collect())
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
    let Some(role) = Role::of_this() else { return Ok(()) };
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
