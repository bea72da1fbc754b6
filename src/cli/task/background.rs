//! Going to the background (`ssh -f`, ControlPersist): another process of this
//! program connects, and asks on the terminal if it must; when it is ready, this
//! one goes on. Nothing is forked once threads run. It is handed what was understood
//! here, and is called as we were, so that it is found by its name; what it is called
//! with, it does not read.

mod kin;

use std::ffi::OsString;
use std::future::pending;
use std::io::{ErrorKind, PipeWriter, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use tokio::sync::oneshot;

use crate::children::Awaited;
use crate::cli::Global;
use crate::cli::invocation::{Front, Invocation, Task, passed};
use crate::cli::role::Role;
use crate::descriptors;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::mux::client::{Ahead, Client, MasterFailure, Running};
use crate::mux::master::First;
use crate::mux::message::NewSession;
use crate::ssh::Loss;

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
    let failed =
        |source| Error::System { what: "the process that waited for this has ended", source };
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

/// Watches whether who has started this process is still there, until it is [`ready`]. It
/// holds the socket to him, whose end he waits for later, and must let go of it before.
struct Watch {
    stop: PipeWriter,
    thread: JoinHandle<()>,
}

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

impl Watch {
    fn start(gone: oneshot::Sender<()>) -> std::io::Result<Self> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let (stopped, stop) = std::io::pipe()?;
        let watch = move || {
            let mut polled =
                [PollFd::new(&socket, PollFlags::RDHUP), PollFd::new(&stopped, PollFlags::empty())];
            let polls = retry_on_intr(|| poll(&mut polled, None)).is_ok();
            // A writer that is gone is said so whatever was asked for (poll(2)).
            let is_stopped = polled.last().is_some_and(|stopped| !stopped.revents().is_empty());
            if polls && !is_stopped {
                let _ = gone.send(());
            }
        };
        let thread = std::thread::Builder::new().name("waited-for".into()).spawn(watch)?;
        Ok(Self { stop, thread })
    }

    fn end(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// Waits until who has started this process is gone, however it was ended; for ever where
/// nobody has, and from [`ready`] on. What nobody waits for any more is not to be done, nor
/// asked for on a terminal.
pub(super) async fn called_off() {
    let (gone, told) = oneshot::channel();
    if Role::of_this().is_some() {
        *WATCH.lock().unwrap_or_else(PoisonError::into_inner) = Watch::start(gone).ok();
        if told.await.is_ok() {
            return;
        }
    }
    pending().await
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
    let started = tokio::task::spawn_blocking(move || wait(spawn(head, &bytes, front)?)).await;
    let failed = |source| Error::System { what: "cannot go to the background", source };
    started.unwrap_or(Err(ErrorKind::Other.into())).map_err(failed)
}

/// What has become of a command that began a warm master.
pub(super) enum Began {
    /// It is over with this status, and whatever there was to say was said.
    Over(u8),
    /// It runs in the master, which is this process.
    Running(Running, u32),
}

/// Starts the process that stays as a warm master, which begins `wanted` along with its
/// login: the command costs no more round trips than one that has a connection of its own.
///
/// # Errors
/// [`Error::System`] when it cannot be started, and nothing has happened;
/// [`Error::ConnectionLost`] and [`Error::Ssh`] when it was, and the command may have run.
pub(super) async fn begin(
    invocation: &Invocation,
    global: &Global,
    wanted: NewSession,
    files: [std::os::fd::BorrowedFd<'_>; 3],
) -> Result<Began> {
    let failed = |source| Error::System { what: "cannot go to the background", source };
    let invocation = Invocation { task: Task::Share, ..invocation.clone() };
    let bytes = passed::write(&invocation, global)?;
    let spawned = tokio::task::spawn_blocking(move || spawn_warm(&bytes)).await;
    let spawned = spawned.unwrap_or(Err(ErrorKind::Other.into())).map_err(failed)?;
    let Spawned { child, ours, awaited } = spawned;
    // A signal that ends us ends it, too, also where it has us stop waiting here.
    let awaited = ManuallyDrop::new(awaited);
    let pid = child.id();
    if let Ok(mut ahead) = ahead(ours, wanted, files).await
        && ahead.is_ready().await
    {
        drop(ManuallyDrop::into_inner(awaited));
        return match ahead.opened().await {
            Ok(running) => Ok(Began::Running(running, pid)),
            Err(MasterFailure::Refused(reason)) => Err(Error::Ssh(reason)),
            Err(_) => {
                let machine = invocation.name().to_owned();
                Err(Error::ConnectionLost { machine, reason: Loss::Closed, login_at: None })
            }
        };
    }
    // It has said what was wrong. Whatever becomes of the waiting, nothing may be begun
    // once more.
    let status = tokio::task::spawn_blocking(move || status(child)).await;
    drop(ManuallyDrop::into_inner(awaited));
    Ok(Began::Over(status.ok().and_then(std::io::Result::ok).unwrap_or(255)))
}

async fn ahead(
    ours: UnixStream,
    wanted: NewSession,
    files: [std::os::fd::BorrowedFd<'_>; 3],
) -> std::io::Result<Ahead> {
    ours.set_nonblocking(true)?;
    Client::ahead(tokio::net::UnixStream::from_std(ours)?, wanted, files).await
}

/// Who is handed over to this process along with what it is for.
pub(super) async fn first() -> Result<First> {
    let failed =
        |source| Error::System { what: "the process that waited for this has ended", source };
    let waiting = || -> std::io::Result<tokio::net::UnixStream> {
        let socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
        socket.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(socket)
    };
    First::receive(waiting().map_err(failed)?).await.map_err(failed)
}

/// The process that stays.
struct Spawned {
    child: Child,
    /// Our end of the socket to it.
    ours: UnixStream,
    /// Until it is ready; then it stays whatever becomes of us.
    awaited: Awaited,
}

fn spawn_warm(bytes: &[u8]) -> std::io::Result<Spawned> {
    // Its command line is seen by everybody for as long as it stays: nothing of ours,
    // such as a command with a password in it, is in it.
    spawn_as(MASTER, bytes, "clan-connect".into(), &["[warm]".into()])
}

fn spawn(head: &[u8], bytes: &[u8], front: Front) -> std::io::Result<Spawned> {
    let (name, arguments) = called(front);
    spawn_as(head, bytes, name, &arguments)
}

fn spawn_as(
    head: &[u8],
    bytes: &[u8],
    name: OsString,
    arguments: &[OsString],
) -> std::io::Result<Spawned> {
    let (mut ours, theirs) = UnixStream::pair()?;
    kin::send(&ours, head)?;
    #[allow(clippy::disallowed_methods, reason = "it is this program")]
    let child = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let awaited = Awaited::child(&child);
    // Where it is gone by now, its status says so.
    let _ = ours.write_all(&(bytes.len() as u64).to_le_bytes());
    let _ = ours.write_all(bytes);
    Ok(Spawned { child, ours, awaited })
}

/// Waits until it is ready, and returns what this process ends with.
fn wait(Spawned { child, mut ours, awaited: _awaited }: Spawned) -> std::io::Result<u8> {
    let mut byte = [0];
    if ours.read(&mut byte).is_ok_and(|count| count == 1) {
        return Ok(0);
    }
    status(child)
}

fn status(mut child: Child) -> std::io::Result<u8> {
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// What we were called with, as `ssh` if we stand for it.
fn called(front: Front) -> (OsString, Vec<OsString>) {
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
    if let Some(watch) = WATCH.lock().unwrap_or_else(PoisonError::into_inner).take() {
        watch.end();
    }
    let failed =
        |source| Error::System { what: "the process that waited for this has ended", source };
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
