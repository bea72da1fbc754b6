//! The master's side: what clients ask for is done on the session. Owns one
//! conversation a client; who connects the session and how long it is kept is
//! somebody else's.

use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use super::message::{MasterRequest, NewSession, Reply, VERSION};
use super::passing::{receive, receive_descriptor, send};
use super::socket::{self, ControlSocket, Name};
use super::stdio::Input;
use crate::printable::Printable;
use crate::prompter::Prompter;
use crate::ssh::Session;
use crate::ssh::escape::{Action, help};
use crate::ssh::forward::{Forward, ForwardTarget, Side, pipe};
use crate::ssh::info::ConnectionInfo;
use crate::ssh::open_forwards::OpenForwards;
use crate::ssh::remote::{OnEscape, Process, Remote, Streams};
use crate::term;

/// OpenSSH's words for a server that opens no more sessions.
const NO_SESSION: &str = "Session open refused by peer";
const DENIED: &str = "Permission denied";

/// A session that others may use.
pub struct Master {
    listener: UnixListener,
    /// While clients are taken.
    name: Mutex<Option<Name>>,
    session: Arc<Session>,
    /// What there is to tell of it.
    info: Arc<ConnectionInfo>,
    forwards: Arc<OpenForwards>,
    /// For questions and messages.
    host: String,
    /// Whether the user's agent is lent to the machine.
    lends_agent: bool,
    /// Who has to allow every request, if somebody has to.
    confirm: Option<Arc<dyn Prompter>>,
    state: watch::Sender<MasterState>,
    resized: watch::Sender<()>,
    /// Numbers of the sessions.
    next: AtomicU32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MasterState {
    Listening,
    /// Serves the clients that it has.
    Stopped,
    Terminated,
}

impl Master {
    /// A master of `session`.
    pub fn new(
        socket: ControlSocket,
        session: Arc<Session>,
        info: Arc<ConnectionInfo>,
        forwards: Arc<OpenForwards>,
        host: String,
        lends_agent: bool,
        confirm: Option<Arc<dyn Prompter>>,
    ) -> Arc<Self> {
        let ControlSocket { listener, name } = socket;
        Arc::new(Self {
            listener,
            name: Mutex::new(Some(name)),
            session,
            info,
            forwards,
            host,
            lends_agent,
            confirm,
            state: watch::Sender::new(MasterState::Listening),
            resized: watch::Sender::new(()),
            next: AtomicU32::new(0),
        })
    }

    /// Serves clients until one of them says that it is enough.
    ///
    /// # Errors
    /// The system's.
    pub async fn serve(self: Arc<Self>) -> Result<()> {
        // Clients pass on that their terminal has another size.
        let mut resized = signal(SignalKind::window_change())?;
        loop {
            tokio::select! {
                client = socket::accept(&self.listener) => match client {
                    Ok(client) => {
                        let master = self.clone();
                        tokio::spawn(async move {
                            if let Err(error) = master.client(client).await {
                                tracing::debug!(%error, "a client of the master is gone");
                            }
                        });
                    }
                    // Out of files, perhaps only for now.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                },
                _ = resized.recv() => {
                    self.resized.send_replace(());
                }
                () = self.reached(MasterState::Stopped) => return Ok(()),
            }
        }
    }

    /// Removes the socket's name: there are no new clients from now on.
    pub fn hide(&self) {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn stop(&self, state: MasterState) {
        self.hide();
        self.state.send_modify(|known| *known = (*known).max(state));
    }

    /// Waits until there may be no more clients, and there are none.
    pub async fn left(&self) {
        self.reached(MasterState::Stopped).await;
        self.session.leases().none().await;
    }

    /// Waits until a client ends the connection.
    pub async fn terminated(&self) {
        self.reached(MasterState::Terminated).await;
    }

    async fn reached(&self, least: MasterState) {
        // The sender is here, so that this cannot fail.
        let _ = self.state.subscribe().wait_for(|state| *state >= least).await;
    }

    async fn client(&self, mut client: UnixStream) -> Result<()> {
        send(&mut client, &Reply::Hello { version: VERSION, has_info: true }.encode(0)).await?;
        let mut is_greeted = false;
        loop {
            let message = match receive(&mut client).await {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                message => message?,
            };
            let (id, request) = MasterRequest::decode(&message)
                .map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))?;
            let reply = match request {
                MasterRequest::Hello { version: VERSION } if !is_greeted => {
                    is_greeted = true;
                    continue;
                }
                // As in OpenSSH: nothing is said to those that do not say hello.
                _ if !is_greeted => return Err(ErrorKind::InvalidData.into()),
                MasterRequest::Hello { .. } => return Err(ErrorKind::InvalidData.into()),
                MasterRequest::AliveCheck => Reply::Alive(std::process::id()),
                MasterRequest::Terminate => match self.allows("Terminate").await {
                    true => {
                        self.hide();
                        send(&mut client, &Reply::Ok.encode(id)).await?;
                        self.stop(MasterState::Terminated);
                        return Ok(());
                    }
                    false => Reply::PermissionDenied(DENIED.to_owned()),
                },
                MasterRequest::StopListening => match self.allows("Disable further use of").await {
                    true => {
                        self.hide();
                        // It may be the end of all, and is told before.
                        send(&mut client, &Reply::Ok.encode(id)).await?;
                        self.stop(MasterState::Stopped);
                        continue;
                    }
                    false => Reply::PermissionDenied(DENIED.to_owned()),
                },
                MasterRequest::OpenForward(forward) => self.open_forward(&forward).await,
                MasterRequest::CloseForward(forward) => match self.forwards.close(&forward).await {
                    Ok(()) => Reply::Ok,
                    Err(reason) => Reply::Failure(reason),
                },
                MasterRequest::NewSession(wanted) => return self.session(client, id, wanted).await,
                MasterRequest::NewStdioForward(target) => {
                    return self.stdio(client, id, &target).await;
                }
                MasterRequest::Info(name) => self.told(&name),
                MasterRequest::Unknown => Reply::Failure("unsupported request".to_owned()),
            };
            send(&mut client, &reply.encode(id)).await?;
        }
    }

    /// What is told to who may use the connection anyway.
    fn told(&self, name: &str) -> Reply {
        let text = match name {
            "connection" => Some(self.info.text(&self.session)),
            "channels" => Some(self.session.channels_text()),
            _ => None,
        };
        let is_told = text.is_some();
        let text = text.unwrap_or_else(|| "info request type not supported".to_owned());
        Reply::Info { is_told, text }
    }

    async fn open_forward(&self, forward: &Forward) -> Reply {
        if !self.allows("Open a forwarding on").await {
            return Reply::PermissionDenied(DENIED.to_owned());
        }
        match (self.forwards.open(forward).await, &forward.listen) {
            (Ok(port), crate::ssh::forward::Listen::Tcp(_, 0)) if forward.side == Side::Remote => {
                Reply::RemotePort(port.into())
            }
            (Ok(_), _) => Reply::Ok,
            (Err(reason), _) => Reply::Failure(format!("Port forwarding failed: {reason}")),
        }
    }

    /// A shell or command with the client's standard input, output and error.
    async fn session(&self, mut client: UnixStream, id: u32, wanted: NewSession) -> Result<()> {
        let input = receive_descriptor(&client).await?;
        let output = File::from(receive_descriptor(&client).await?);
        let errors = File::from(receive_descriptor(&client).await?);
        if !self.allows("Allow use of").await {
            let denied = Reply::PermissionDenied(DENIED.to_owned());
            return send(&mut client, &denied.encode(id)).await;
        }
        let tty = wanted.tty.then(|| input.try_clone()).transpose()?;
        let remote = self.remote(&wanted, tty.as_ref());
        let mut process = match self.session.start(&self.host, &remote).await {
            Ok(process) => process,
            Err(error) => {
                tracing::debug!(%error, "a session for a client was refused");
                return send(&mut client, &Reply::Failure(NO_SESSION.to_owned()).encode(id)).await;
            }
        };
        let files = Files { input, output, errors, tty };
        let done = self.attend(&mut client, id, &wanted, &mut process, files).await;
        if done.is_err() {
            process.close().await;
        }
        done
    }

    /// Waits for the end of a session, or of its client.
    async fn attend(
        &self,
        client: &mut UnixStream,
        id: u32,
        wanted: &NewSession,
        process: &mut Process<'_>,
        files: Files,
    ) -> Result<()> {
        let Files { input, output, mut errors, tty } = files;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        send(client, &Reply::SessionOpened(number).encode(id)).await?;

        let (size_changed, sizes) = mpsc::unbounded_channel();
        let (told_no_terminal, mut no_terminal) = oneshot::channel();
        let streams = Streams {
            input: Input::new(input)?,
            output: tokio::fs::File::from_std(output),
            errors: tokio::fs::File::from_std(errors.try_clone()?),
            sizes,
            escapes: match wanted.escape.filter(|_| wanted.tty) {
                Some(escape) => Some((escape, self.on_escape(escape, errors.try_clone()?))),
                None => None,
            },
            no_terminal: Some(told_no_terminal),
        };
        let mut resized = self.resized.subscribe();
        let ended = {
            let conversing = process.converse(streams);
            tokio::pin!(conversing);
            let mut may_fail = wanted.tty;
            loop {
                tokio::select! {
                    ended = &mut conversing => break Some(ended),
                    () = gone(client) => break None,
                    failed = &mut no_terminal, if may_fail => {
                        may_fail = false;
                        if failed.is_ok() {
                            send(client, &Reply::TtyAllocFail(number).encode(id)).await?;
                        }
                    }
                    _ = resized.changed() => {
                        if let Some(size) = tty.as_ref().and_then(term::size_of) {
                            let _ = size_changed.send(size);
                        }
                    }
                }
            }
        };
        let status = match ended {
            // Nobody is left to be told.
            None => return Err(ErrorKind::BrokenPipe.into()),
            Some(Ok(ending)) => ending.shared_status(),
            Some(Err(error)) => {
                let _ = write!(errors, "{}\r\n", Printable(&error.to_string()));
                255
            }
        };
        let exit = Reply::Exit { session: number, status };
        send(client, &exit.encode(id)).await
    }

    fn remote(&self, wanted: &NewSession, tty: Option<&OwnedFd>) -> Remote {
        Remote {
            command: (!wanted.command.is_empty()).then(|| wanted.command.clone()),
            is_subsystem: wanted.subsystem,
            with_agent: wanted.agent && self.lends_agent,
            // Before the client changes its terminal, which it does when told
            // that the session is open.
            pty: tty.map(|tty| term::pty_like(tty, term::size_of(tty), wanted.term.clone())),
            env: wanted.env.clone(),
            escape: wanted.escape,
        }
    }

    /// A stream from the machine to a place, joined to two descriptors.
    async fn stdio(&self, mut client: UnixStream, id: u32, target: &ForwardTarget) -> Result<()> {
        let input = Input::new(receive_descriptor(&client).await?)?;
        let output = File::from(receive_descriptor(&client).await?);
        if !self.allows("Open a forwarding on").await {
            let denied = Reply::PermissionDenied(DENIED.to_owned());
            return send(&mut client, &denied.encode(id)).await;
        }
        let _use = self.session.leases().begin(format!("stdio-forward (to {target})"));
        let stream = match self.session.open(target).await {
            Ok(stream) => stream,
            Err(reason) => return send(&mut client, &Reply::Failure(reason).encode(id)).await,
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        send(&mut client, &Reply::SessionOpened(number).encode(id)).await?;
        tokio::select! {
            () = pipe(stream, input, tokio::fs::File::from_std(output)) => {}
            () = gone(&client) => {}
        }
        Ok(())
    }

    /// What is left of escape sequences where the terminal is another process's.
    fn on_escape(&self, escape: u8, mut errors: File) -> OnEscape {
        let (session, info) = (self.session.clone(), self.info.clone());
        let shown = std::ascii::escape_default(escape).to_string();
        Box::new(move |action| {
            // What is asked of the whole connection is its master's own (clientloop.c).
            let own = |letter: char| {
                format!("{shown}{letter} escape not available to multiplexed sessions\r\n")
            };
            let text = match action {
                Action::Help => help(escape),
                Action::CommandLine => own('C'),
                Action::Quieter => own('V'),
                Action::Louder => own('v'),
                Action::List => format!("{shown}#\r\n{}", session.channels_text()),
                Action::Info => format!("{shown}I\r\n{}", info.text(&session)),
                Action::Background => own('&'),
                Action::Break => format!("{shown}B\r\n"),
                Action::Suspend | Action::Disconnect | Action::Rekey => return,
            };
            let _ = errors.write_all(text.as_bytes());
        })
    }

    /// Whether the user allows it, where that is to be asked.
    async fn allows(&self, what: &str) -> bool {
        let Some(user) = self.confirm.clone() else { return true };
        let question = format!("{what} the shared connection to {}? ", Printable(&self.host));
        let answer = tokio::task::spawn_blocking(move || user.ask(&question, true)).await;
        answer.ok().flatten().is_some_and(|answer| {
            let answer = answer.expose();
            answer.is_empty() || answer.eq_ignore_ascii_case("yes")
        })
    }
}

/// What a client has passed.
struct Files {
    input: OwnedFd,
    output: File,
    errors: File,
    /// Its standard input once more, if it wants a terminal.
    tty: Option<OwnedFd>,
}

/// Waits until the client has closed its end; it has nothing more to say.
async fn gone(client: &UnixStream) {
    let mut ignored = [0; 256];
    while client.readable().await.is_ok() {
        match client.try_read(&mut ignored) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}
