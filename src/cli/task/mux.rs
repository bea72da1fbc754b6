//! ControlMaster, ControlPath, ControlPersist and `-O`: when a connection is shared,
//! and what is said about it.

mod orders;
mod serving;

pub(in crate::cli) use orders::command;
pub(super) use serving::Shared;

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::background::{self, Began};
use super::forwards::allocated;
use crate::cli::invocation::{Front, Invocation, Warm};
use crate::cli::request::routes::{self, Scope};
use crate::cli::role::Role;
use crate::cli::{Global, Ui};
use crate::error::{Error, Result, strerror};
use crate::mux::ControlSocket;
use crate::mux::client::{Client, MasterFailure, Running, SessionEvent};
use crate::mux::message::NewSession;
use crate::mux::warm;
use crate::openssh::Forwards;
use crate::options::{ControlMaster, Maybe, Persist};
use crate::printable::{self, Printable};
use crate::ssh::Loss;
use crate::ssh::forward::{Forward, ForwardTarget};
use crate::ssh::remote::{Ending, Remote};
use crate::{signals, term};

/// What ControlMaster, ControlPath and ControlPersist say together.
pub(in crate::cli) struct Control {
    path: PathBuf,
    /// The name as it was said, where that of a machine's socket is longer.
    said: Option<PathBuf>,
    /// Whether a master is looked for, and not only made.
    tries_client: bool,
    /// Whether we become one where there is none.
    is_master: bool,
    /// Whether every use of it has to be confirmed.
    confirms: bool,
    persist: Persist,
    /// Where it is no more than a way to be quicker: a connection of one's own will do.
    warm: Option<Warm>,
}

/// What is to be done over a shared connection.
pub(super) enum Wanted<'a> {
    /// Run something.
    Session(&'a Remote),
    /// `-W`.
    Stdio(&'a ForwardTarget),
    /// `-N`.
    Forwards,
}

impl Control {
    /// `None` without a ControlPath: nothing is shared then.
    pub(super) fn of(invocation: &Invocation, global: &Global) -> Result<Option<Self>> {
        let resolved = &invocation.resolved;
        let options = &resolved.options;
        if let Some(warm) = &invocation.warm {
            return Ok(Some(Self::of_warm(warm.clone(), true)));
        }
        let Some(path) = Maybe::of(&options.control_path) else { return Ok(None) };
        let said = resolved.file(path)?;
        let (path, said) = match routes::scope(invocation, global)? {
            Scope::Host => (said, None),
            // OpenSSH's own programs never compute that name.
            Scope::Machine(suffix) => {
                let mut path = said.clone().into_os_string();
                path.push(format!("-{suffix}"));
                (PathBuf::from(path), Some(said))
            }
            Scope::Nobody => return Ok(None),
        };
        let (is_master, tries_client, confirms) = match options.control_master() {
            ControlMaster::No => (false, true, false),
            ControlMaster::Yes => (true, false, false),
            ControlMaster::Auto => (true, true, false),
            ControlMaster::Ask => (true, false, true),
            ControlMaster::AutoAsk => (true, true, true),
        };
        let persist = options.control_persist();
        Ok(Some(Self { path, said, tries_client, is_master, confirms, persist, warm: None }))
    }

    /// That of a warm master, which one is begun for only where it `may_begin`.
    pub(super) fn of_warm(warm: Warm, may_begin: bool) -> Self {
        Self {
            path: warm.socket.clone(),
            said: None,
            tries_client: true,
            is_master: may_begin,
            confirms: false,
            persist: warm.persist,
            warm: Some(warm),
        }
    }

    /// Whether it is a warm one.
    pub(super) fn is_warm(&self) -> bool {
        self.warm.is_some()
    }

    /// Says why there is no master that will: where one was asked for to everybody, and
    /// else to who wants to know.
    fn say(&self, ui: &Ui, text: &str) {
        match self.warm {
            None => ui.say(text),
            Some(_) => ui.verbose(&format!("not over a warm connection: {text}")),
        }
    }

    /// Whether this connection may become one that others share.
    pub(super) fn is_master(&self) -> bool {
        self.is_master
    }

    /// Whether the master is to be a process of its own.
    pub(super) fn persists(&self) -> bool {
        self.is_master && self.persist != Persist::No
    }

    fn shown(&self) -> String {
        printable::line(&self.path.to_string_lossy())
    }

    /// Listens, if we are to be the master and nobody else is.
    fn listen(&self, ui: &Ui) -> Result<Option<ControlSocket>> {
        match ControlSocket::listen(&self.path) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if self.is_warm() => {
                ui.verbose(&format!("the connection is not kept warm: {}", strerror(&error)));
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let path = self.shown();
                if Role::of_this() != Some(Role::Master) {
                    ui.say(&format!("ControlSocket {path} already exists, disabling multiplexing"));
                }
                Ok(None)
            }
            Err(error) => {
                let path = self.shown();
                let why = strerror(&error);
                Err(Error::Control(format!("unix_listener: cannot bind to path {path}: {why}")))
            }
        }
    }
}

/// Runs what is wanted by a master that is there; `None` when there is none that
/// will, and nothing has happened yet.
async fn run(
    control: &Control,
    wanted: &Wanted<'_>,
    forwards: &Forwards,
    invocation: &Invocation,
    ui: &Ui,
) -> Result<Option<u8>> {
    let Some(mut client) = connected(control, ui).await else { return Ok(None) };
    let pid = match opened(&mut client, forwards, control, ui).await {
        Ok(pid) => pid,
        Err(failure) => {
            let path = control.shown();
            control.say(ui, &format!("the master at {path} is of no use: {failure}"));
            return Ok(None);
        }
    };
    let files = Files::of(invocation)?;
    let [input, stdout, stderr] = files.all();
    // mux.c, `control_client_sighandler`.
    let end_as = |ending| {
        if invocation.front == Front::Ssh {
            signals::end_as(ending);
        }
    };
    let running = match wanted {
        Wanted::Session(remote) => {
            client.session(new_session(remote), [input, stdout, stderr]).await
        }
        Wanted::Stdio(target) => client.stdio(target, [input, stdout]).await,
        Wanted::Forwards => {
            end_as(signals::Ending::Ssh);
            background::ready(false, false)?;
            // As with OpenSSH the forwards stay as long as the master does.
            client.gone().await;
            return match control.is_warm() {
                true => Err(gone(invocation)),
                false => Ok(Some(255)),
            };
        }
    };
    let running = match running {
        Ok(running) => running,
        // It may have begun: it must not be begun once more.
        Err(MasterFailure::Io(_) | MasterFailure::Protocol)
            if control.is_warm() && matches!(wanted, Wanted::Session(_)) =>
        {
            return Err(gone(invocation));
        }
        Err(failure) => {
            control.say(ui, &format!("the master at {} refuses: {failure}", control.shown()));
            return Ok(None);
        }
    };
    end_as(match wanted {
        Wanted::Stdio(_) => signals::Ending::SshStream,
        _ => signals::Ending::Ssh,
    });
    background::ready(false, true)?;
    attend(running, pid, wanted, control, invocation, ui).await.map(Some)
}

/// Joins standard input and output to a port of the machine by the way that a warm
/// connection has, if there is one; whether that was done.
pub(in crate::cli) async fn routed(control: &Control, port: Option<u16>, ui: &Ui) -> Result<bool> {
    let Some(client) = connected(control, ui).await else { return Ok(false) };
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    match client.route(port, [stdin.as_fd(), stdout.as_fd()]).await {
        Ok(running) => {
            ui.verbose("over a warm connection");
            // It is read raw, and by a process of ours: there is no terminal to change.
            wait(running, false, 0).await.map(|_| true)
        }
        Err(failure) => {
            control.say(ui, &failure.to_string());
            Ok(false)
        }
    }
}

/// Connects to a master, if there is one.
async fn connected(control: &Control, ui: &Ui) -> Option<Client> {
    let connecting = match control.warm {
        Some(_) => warm::connect(&control.path).await,
        None => Client::connect(&control.path).await,
    };
    let failure = match connecting {
        Ok(client) => return Some(client),
        Err(failure) => failure,
    };
    let is_absent =
        matches!(&failure, MasterFailure::Io(error) if error.kind() == ErrorKind::NotFound);
    let is_gone = match control.warm {
        Some(_) => warm::is_left_behind(&failure),
        None => {
            let kind = ErrorKind::ConnectionRefused;
            let is_refused = matches!(&failure, MasterFailure::Io(error) if error.kind() == kind);
            is_refused && control.is_master
        }
    };
    if is_gone {
        // Its master is gone, and its place is ours.
        let _ = std::fs::remove_file(&control.path);
    }
    if !is_absent && (control.is_warm() || !is_gone) {
        control.say(ui, &format!("Control socket connect({}): {failure}", control.shown()));
    }
    None
}

/// Opens the forwards, and learns which process the master is.
async fn opened(
    client: &mut Client,
    forwards: &Forwards,
    control: &Control,
    ui: &Ui,
) -> Result<u32, MasterFailure> {
    let opening = async {
        for forward in &forwards.all {
            open_forward(client, forward, ui).await?;
        }
        client.pid().await
    };
    if !control.is_warm() {
        return opening.await;
    }
    // What a forward waits for is the server.
    let patience = if forwards.all.is_empty() { ALIVE } else { FORWARDED };
    let opened = tokio::time::timeout(patience, opening).await;
    let opened = opened.unwrap_or_else(|_| Err(MasterFailure::Io(ErrorKind::TimedOut.into())));
    if opened.is_err() {
        // A connection of our own may want to listen there.
        for forward in &forwards.all {
            let _ = tokio::time::timeout(ALIVE, client.close_forward(forward)).await;
        }
    }
    opened
}

/// Whoever served us is gone.
fn gone(invocation: &Invocation) -> Error {
    Error::ConnectionLost {
        machine: invocation.name().to_owned(),
        reason: Loss::Closed,
        login_at: None,
    }
}

/// What a master reads and writes for us.
struct Files {
    input: OwnedFd,
    stdout: std::io::Stdout,
    stderr: std::io::Stderr,
}

impl Files {
    fn of(invocation: &Invocation) -> Result<Self> {
        let failed = |source| Error::System { what: "cannot open /dev/null", source };
        let reads = !invocation.resolved.options.stdin_null() && Role::of_this().is_none();
        let input = match reads {
            true => std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?,
            false => std::fs::File::open("/dev/null").map_err(failed)?.into(),
        };
        Ok(Self { input, stdout: std::io::stdout(), stderr: std::io::stderr() })
    }

    fn all(&self) -> [BorrowedFd<'_>; 3] {
        [self.input.as_fd(), self.stdout.as_fd(), self.stderr.as_fd()]
    }
}

/// Waits for the end of what a master does for us, and returns the exit status.
async fn attend(
    running: Running,
    pid: u32,
    wanted: &Wanted<'_>,
    control: &Control,
    invocation: &Invocation,
    ui: &Ui,
) -> Result<u8> {
    let tty = matches!(wanted, Wanted::Session(remote) if remote.pty.is_some());
    let status = wait(running, tty, pid).await?;
    let resolved = &invocation.resolved;
    if tty && !control.is_warm() && !resolved.is_quiet() {
        ui.show(&format!("Shared connection to {} closed.\r\n", Printable(&resolved.host_name)));
    }
    match (status, wanted) {
        (Some(status), _) => Ok(Ending::exit_code_of(status, invocation.front.tells_signals())),
        // Of a stream there is no status.
        (None, Wanted::Stdio(_)) => Ok(0),
        (None, _) if control.is_warm() => Err(gone(invocation)),
        (None, _) => Ok(255),
    }
}

fn new_session(remote: &Remote) -> NewSession {
    NewSession {
        tty: remote.pty.is_some(),
        agent: remote.with_agent,
        subsystem: remote.is_subsystem,
        escape: remote.escape.filter(|_| remote.pty.is_some()),
        term: remote.pty.as_ref().map(|pty| pty.term.clone()).unwrap_or_default(),
        command: remote.command.clone().unwrap_or_default(),
        env: remote.env.clone(),
        ..NewSession::default()
    }
}

/// Waits for the end; the terminal is raw meanwhile, if there is one.
async fn wait(mut running: Running, tty: bool, master: u32) -> Result<Option<u32>> {
    let mut raw = match tty && term::is_interactive() {
        true => Some(term::Raw::enter().map_err(Error::Terminal)?),
        false => None,
    };
    let mut resized = signal(SignalKind::window_change())
        .map_err(|source| Error::System { what: "cannot listen for signals", source })?;
    loop {
        // An event that has begun is not to be dropped.
        let event = running.event();
        tokio::pin!(event);
        let event = loop {
            tokio::select! {
                event = &mut event => break event,
                _ = resized.recv() => relay(master),
            }
        };
        match event {
            SessionEvent::NoTerminal => raw = None,
            SessionEvent::Ended(status) => {
                drop(raw);
                return Ok(status);
            }
        }
    }
}

/// The master asks the terminal for its size.
fn relay(master: u32) {
    let pid = i32::try_from(master).ok().filter(|pid| *pid > 1);
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::WINCH);
    }
}

async fn open_forward(
    client: &mut Client,
    forward: &Forward,
    ui: &Ui,
) -> Result<(), MasterFailure> {
    if let Some(port) = client.open_forward(forward).await? {
        ui.notice(&allocated(port, &forward.target));
    }
    Ok(())
}

/// How long a warm master may take to answer.
const ALIVE: Duration = Duration::from_millis(1500);
/// The same to open forwards.
const FORWARDED: Duration = Duration::from_secs(10);

/// Tries a master, and starts one that stays if that is what ControlPersist asks
/// for; `None` when this process has to connect itself.
pub(super) async fn shared(
    control: &Control,
    wanted: &Wanted<'_>,
    forwards: &Forwards,
    invocation: &Invocation,
    global: &Global,
    ui: &Ui,
) -> Result<Option<u8>> {
    if control.tries_client
        && let Some(code) = run(control, wanted, forwards, invocation, ui).await?
    {
        return Ok(Some(code));
    }
    if let Some(warm) = &control.warm {
        return begin(control, warm, wanted, invocation, global, ui).await;
    }
    if !control.persists() {
        return Ok(None);
    }
    match background::start(Role::Master, invocation, global).await? {
        0 => {}
        code => return Ok(Some(code)),
    }
    if matches!(wanted, Wanted::Forwards) {
        // Nothing is left to be done here.
        return Ok(Some(0));
    }
    // It has them already.
    let forwards = Forwards::default();
    match run(control, wanted, &forwards, invocation, ui).await? {
        Some(code) => Ok(Some(code)),
        None => Err(Error::Control("Failed to connect to new control master".to_owned())),
    }
}

/// Starts a warm master for what is wanted and what comes after it; `None` when this
/// process has to connect itself, and nothing has happened yet.
async fn begin(
    control: &Control,
    warm: &Warm,
    wanted: &Wanted<'_>,
    invocation: &Invocation,
    global: &Global,
    ui: &Ui,
) -> Result<Option<u8>> {
    let Wanted::Session(remote) = wanted else { return Ok(None) };
    if !control.is_master {
        return Ok(None);
    }
    let files = Files::of(invocation)?;
    let kept = Invocation { warm: Some(warm.clone()), ..invocation.clone() };
    let began = background::begin(&kept, global, new_session(remote), files.all()).await;
    match began {
        Ok(Began::Over(code)) => Ok(Some(code)),
        Ok(Began::Running(running, pid)) => {
            attend(running, pid, wanted, control, invocation, ui).await.map(Some)
        }
        Err(error @ Error::System { .. }) => {
            control.say(ui, &error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
