//! ControlMaster, ControlPath, ControlPersist and `-O`: when a connection is shared,
//! and what is said about it.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::background;
use super::forwards::allocated;
use crate::cli::invocation::{Front, Invocation};
use crate::cli::link::Link;
use crate::cli::request::routes::{self, Scope};
use crate::cli::role::Role;
use crate::cli::{Global, Ui, print};
use crate::error::{Error, Result};
use crate::mux::ControlSocket;
use crate::mux::client::{Client, MasterFailure, Running, SessionEvent};
use crate::mux::master::Master;
use crate::mux::message::NewSession;
use crate::openssh::Forwards;
use crate::options::{ControlMaster, Maybe, Persist};
use crate::printable::{self, Printable};
use crate::ssh::Session;
use crate::ssh::forward::{Forward, ForwardTarget};
use crate::ssh::open_forwards::OpenForwards;
use crate::ssh::remote::{Ending, Remote};
use crate::{signals, term};

/// What ControlMaster, ControlPath and ControlPersist say together.
pub(in crate::cli) struct Control {
    path: PathBuf,
    /// Whether a master is looked for, and not only made.
    tries_client: bool,
    /// Whether we become one where there is none.
    is_master: bool,
    /// Whether every use of it has to be confirmed.
    confirms: bool,
    persist: Persist,
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
        let Some(path) = Maybe::of(&options.control_path) else { return Ok(None) };
        let mut path = resolved.file(path)?.into_os_string();
        match routes::scope(invocation, global)? {
            Scope::Host => {}
            // OpenSSH's own programs never compute that name.
            Scope::Machine(suffix) => path.push(format!("-{suffix}")),
            Scope::Nobody => return Ok(None),
        }
        let path = PathBuf::from(path);
        let (is_master, tries_client, confirms) = match options.control_master() {
            ControlMaster::No => (false, true, false),
            ControlMaster::Yes => (true, false, false),
            ControlMaster::Auto => (true, true, false),
            ControlMaster::Ask => (true, false, true),
            ControlMaster::AutoAsk => (true, true, true),
        };
        let persist = options.control_persist();
        Ok(Some(Self { path, tries_client, is_master, confirms, persist }))
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
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let path = self.shown();
                if Role::of_this() != Some(Role::Master) {
                    ui.say(&format!("ControlSocket {path} already exists, disabling multiplexing"));
                }
                Ok(None)
            }
            Err(error) => {
                let path = self.shown();
                Err(Error::Control(format!("unix_listener: cannot bind to path {path}: {error}")))
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
    let resolved = &invocation.resolved;
    let mut client = match Client::connect(&control.path).await {
        Ok(client) => client,
        Err(failure) => {
            let kind = match &failure {
                MasterFailure::Io(error) => Some(error.kind()),
                _ => None,
            };
            match kind {
                Some(ErrorKind::NotFound) => {}
                // Its master is gone, and its place is ours.
                Some(ErrorKind::ConnectionRefused) if control.is_master => {
                    let _ = std::fs::remove_file(&control.path);
                }
                _ => ui.say(&format!("Control socket connect({}): {failure}", control.shown())),
            }
            return Ok(None);
        }
    };
    let opened = async {
        for forward in &forwards.all {
            open_forward(&mut client, forward, ui).await?;
        }
        client.pid().await
    };
    let pid = match opened.await {
        Ok(pid) => pid,
        Err(failure) => {
            ui.say(&format!("the master at {} is of no use: {failure}", control.shown()));
            return Ok(None);
        }
    };
    let null = std::fs::File::open("/dev/null")
        .map_err(|source| Error::System { what: "cannot open /dev/null", source })?;
    let stdin = std::io::stdin();
    let reads = !resolved.options.stdin_null() && Role::of_this().is_none();
    let input = if reads { stdin.as_fd() } else { null.as_fd() };
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    // mux.c, `control_client_sighandler`.
    let end_as = |ending| {
        if invocation.front == Front::Ssh {
            signals::end_as(ending);
        }
    };
    let (running, tty) = match wanted {
        Wanted::Session(remote) => {
            let files = [input, stdout.as_fd(), stderr.as_fd()];
            (client.session(new_session(remote), files).await, remote.pty.is_some())
        }
        Wanted::Stdio(target) => (client.stdio(target, [input, stdout.as_fd()]).await, false),
        Wanted::Forwards => {
            end_as(signals::Ending::Ssh);
            background::ready(false, false)?;
            // As with OpenSSH the forwards stay as long as the master does.
            client.gone().await;
            return Ok(Some(255));
        }
    };
    let running = match running {
        Ok(running) => running,
        Err(failure) => {
            ui.say(&format!("the master at {} refuses: {failure}", control.shown()));
            return Ok(None);
        }
    };
    end_as(match wanted {
        Wanted::Stdio(_) => signals::Ending::SshStream,
        _ => signals::Ending::Ssh,
    });
    background::ready(false, true)?;
    let status = wait(running, tty, pid).await?;
    if tty {
        let host = Printable(&resolved.host_name);
        if !resolved.is_quiet() {
            ui.show(&format!("Shared connection to {host} closed.\r\n"));
        }
    }
    // Of a stream there is no status.
    let none = if matches!(wanted, Wanted::Stdio(_)) { 0 } else { 255 };
    let tells_signals = invocation.front.tells_signals();
    Ok(Some(status.map_or(none, |status| Ending::exit_code_of(status, tells_signals))))
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

/// What `-O` takes.
const COMMANDS: [&str; 7] = ["check", "conninfo", "channels", "exit", "stop", "forward", "cancel"];

/// `-O`: speaks to a master and returns the exit status.
pub(in crate::cli) async fn command(
    name: &str,
    invocation: &Invocation,
    global: &Global,
) -> Result<u8> {
    let resolved = &invocation.resolved;
    let ui = &Ui::as_ssh(resolved, global.color);
    let Some(control) = Control::of(invocation, global)? else {
        let name = Printable(name);
        return Err(Error::Usage(format!("No ControlPath specified for \"-O\" command {name}")));
    };
    let path = control.shown();
    let failed = |failure: MasterFailure| match failure {
        MasterFailure::Io(error) => Error::Control(format!(
            "Control socket connect({path}): {}",
            match error.kind() {
                ErrorKind::NotFound => "No such file or directory".to_owned(),
                ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
                _ => error.to_string(),
            }
        )),
        failure => Error::Control(format!("{}: master returned error: {failure}", Printable(name))),
    };
    if !COMMANDS.contains(&name) {
        return Err(Error::Usage("Invalid multiplex command.".to_owned()));
    }
    let mut client = Client::connect(&control.path).await.map_err(failed)?;
    let done = match name {
        "conninfo" => return told(client.info("connection").await.map_err(failed)?),
        "channels" => return told(client.info("channels").await.map_err(failed)?),
        "check" => format!("Master running (pid={})\r", client.pid().await.map_err(failed)?),
        "exit" => {
            client.terminate().await.map_err(failed)?;
            "Exit request sent.\r".to_owned()
        }
        "stop" => {
            client.stop_listening().await.map_err(failed)?;
            "Stop listening request sent.\r".to_owned()
        }
        _ => {
            return forward(&mut client, name == "cancel", &Forwards::of(resolved)?, ui).await;
        }
    };
    // As mux.c has it: an answer is shown whatever else is not.
    if name == "check" || !resolved.is_silent() {
        ui.show(&format!("{done}\n"));
    }
    Ok(0)
}

/// `-O conninfo` and `-O channels`: shows what a master has told, lines as it ends them.
fn told(text: Option<String>) -> Result<u8> {
    let Some(text) = text else {
        // As OpenSSH's own before 10.3.
        return Err(Error::Control("mux server does not support info request".to_owned()));
    };
    print(printable::shown(&text).as_bytes())?;
    Ok(0)
}

/// `-O forward` and `-O cancel`. One that cannot be had is an error; one that is not
/// there to be given up is none (`muxclient` of OpenSSH's mux.c).
async fn forward(
    client: &mut Client,
    is_cancelled: bool,
    forwards: &Forwards,
    ui: &Ui,
) -> Result<u8> {
    let mut all_done = true;
    for forward in &forwards.all {
        let done = match is_cancelled {
            true => client.close_forward(forward).await.map(|()| None),
            false => client.open_forward(forward).await,
        };
        match done {
            Ok(Some(port)) => print(format!("{port}\n").as_bytes())?,
            Ok(None) => {}
            Err(failure) => {
                all_done = false;
                let failure = format!("forwarding request failed: {failure}");
                ui.say(&format!("mux_client_forward: {failure}"));
            }
        }
    }
    match (all_done, is_cancelled) {
        (true, _) => Ok(0),
        (false, true) => {
            ui.say("muxclient: master cancel forward request failed");
            Ok(0)
        }
        (false, false) => {
            Err(Error::Control("muxclient: master forward request failed".to_owned()))
        }
    }
}

/// A session that others use, if it is shared.
pub(super) struct Shared {
    master: Arc<Master>,
    persist: Persist,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.master.hide();
    }
}

impl Shared {
    /// Begins to serve; `None` when this connection is not shared.
    pub(super) fn start(
        control: Option<&Control>,
        link: &Link,
        forwards: &Arc<OpenForwards>,
        host: &str,
        lends_agent: bool,
        ui: &Arc<Ui>,
    ) -> Result<Option<Self>> {
        let Some(control) = control.filter(|control| control.is_master) else { return Ok(None) };
        let Some(socket) = control.listen(ui)? else { return Ok(None) };
        let confirm = control.confirms.then(|| ui.clone() as Arc<dyn crate::prompter::Prompter>);
        let (session, info) = (link.session.clone(), link.info.clone());
        let (forwards, host) = (forwards.clone(), host.to_owned());
        let master = Master::new(socket, session, info, forwards, host, lends_agent, confirm);
        tokio::spawn(master.clone().serve());
        Ok(Some(Self { master, persist: control.persist }))
    }

    /// Waits until a client ends the connection.
    pub(super) async fn terminated(&self) {
        self.master.terminated().await;
    }

    /// Waits until it is no longer of use: as ControlPersist says, or when it
    /// takes no more clients.
    pub(super) async fn unused(&self, session: &Session) {
        let lasting = async {
            loop {
                session.leases().none().await;
                match self.persist {
                    Persist::Seconds(seconds) => tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(seconds)) => return,
                        () = session.leases().any() => {}
                    },
                    _ => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = lasting => {}
            () = self.master.left() => {}
        }
    }
}

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
