//! The master's side: what clients ask for is done on the session. Owns one
//! conversation a client; who connects the session and how long it is kept is
//! somebody else's.

mod sessions;

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::handed::Files;
pub use super::handed::First;
use super::message::{MasterRequest, Reply, VERSION};
use super::passing::{receive, receive_descriptor, send};
use super::socket::{self, ControlSocket, Name};
use super::stdio::Input;
use super::warm::{CARD, Card};
use crate::output::unread;
use crate::printable::Printable;
use crate::prompter::Prompter;
use crate::ssh::forward::{Duplex, Forward, ForwardTarget, Side, pipe};
use crate::ssh::info::ConnectionInfo;
use crate::ssh::open_forwards::OpenForwards;
use crate::ssh::{Lease, Session};

/// OpenSSH's words for a server that opens no more sessions.
const NO_SESSION: &str = "Session open refused by peer";
const DENIED: &str = "Permission denied";
/// Who is about to use the session; what for is listed beside it.
const CLIENT: &str = "client";
/// What a client is told that comes too late.
const ENDING: &str = "it is about to end";
/// How long the server of a warm connection may take to open a channel on it: else the
/// connection counts as dead, and nothing was asked of it.
const ALIVE: Duration = Duration::from_secs(4);
/// How long one more stream by the same way may take: else it is looked for anew.
const DIALLED: Duration = Duration::from_secs(10);

/// A session that others may use.
pub struct Master {
    /// Where there is a place for one.
    listener: Option<UnixListener>,
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
    /// Whether it stays for our own programs without being asked for by name. Then nobody
    /// minds losing it, and what a client has opened ends with it.
    warm: Option<Warmth>,
    /// Whether a warm one is about to end.
    is_ending: AtomicBool,
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

/// What a master is of.
pub struct Shares {
    /// What is shared.
    pub session: Arc<Session>,
    /// What there is to tell of it.
    pub info: Arc<ConnectionInfo>,
    /// What it forwards.
    pub forwards: Arc<OpenForwards>,
    /// The host, for questions and messages.
    pub host: String,
    /// Whether the user's agent is lent to the machine.
    pub lends_agent: bool,
    /// Who has to allow every request, if somebody has to.
    pub confirm: Option<Arc<dyn Prompter>>,
    /// If it is a warm one.
    pub warm: Option<Warmth>,
}

/// What our own programs have of a warm master.
pub struct Warmth {
    /// What it tells of itself.
    pub card: Card,
    /// What opens more streams to the machine.
    pub streams: Streams,
}

/// Opens a stream to a port of the machine, or to its SSH server, by the way that led
/// there.
pub type Streams =
    Arc<dyn Fn(Option<u16>) -> BoxFuture<'static, Option<Box<dyn Duplex>>> + Send + Sync>;

impl Master {
    /// A master of `shares`; without a socket only for who is handed to it.
    pub fn new(socket: Option<ControlSocket>, shares: Shares) -> Arc<Self> {
        let Shares { session, info, forwards, host, lends_agent, confirm, warm } = shares;
        let (listener, name) = match socket {
            Some(ControlSocket { listener, name }) => (Some(listener), Some(name)),
            None => (None, None),
        };
        Arc::new(Self {
            listener,
            name: Mutex::new(name),
            session,
            info,
            forwards,
            host,
            lends_agent,
            confirm,
            warm,
            is_ending: AtomicBool::new(false),
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
                client = self.accept() => match client {
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

    async fn accept(&self) -> Result<UnixStream> {
        match &self.listener {
            Some(listener) => socket::accept(listener).await,
            None => std::future::pending().await,
        }
    }

    /// Whether new clients may come.
    pub fn is_listening(&self) -> bool {
        self.listener.is_some() && *self.state.borrow() == MasterState::Listening
    }

    /// Takes no more clients, if none has a use for the session now; says whether it has
    /// come to that. One that comes at this moment is told, and nothing is begun for it.
    pub fn ends_unused(&self) -> bool {
        self.is_ending.store(true, Ordering::SeqCst);
        let is_unused = self.session.leases().all().is_empty();
        match is_unused {
            true => self.stop(MasterState::Stopped),
            false => self.is_ending.store(false, Ordering::SeqCst),
        }
        is_unused
    }

    /// Whether it can be found by its name.
    pub fn is_named(&self) -> bool {
        let name = self.name.lock().unwrap_or_else(PoisonError::into_inner);
        name.as_ref().is_some_and(Name::is_there)
    }

    /// Takes no more clients.
    pub fn no_more(&self) {
        self.stop(MasterState::Stopped);
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

    async fn client(&self, client: UnixStream) -> Result<()> {
        let mut opened = Vec::new();
        let done = self.requests(client, &mut opened).await;
        // Nobody asked for a connection that outlives him, less so for a listener.
        for forward in &opened {
            let _ = self.forwards.close(forward).await;
        }
        done
    }

    /// Does what a client asks for; notes in `opened` which forwards end with it.
    async fn requests(&self, mut client: UnixStream, opened: &mut Vec<Forward>) -> Result<()> {
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
                MasterRequest::OpenForward(forward) if self.warm.is_some() => {
                    self.open_own_forward(forward, opened).await
                }
                MasterRequest::OpenForward(forward) => self.open_forward(&forward).await,
                MasterRequest::CloseForward(forward)
                    if self.warm.is_some() && !opened.contains(&forward) =>
                {
                    Reply::Failure("port not forwarded".to_owned())
                }
                MasterRequest::CloseForward(forward) => match self.forwards.close(&forward).await {
                    Ok(()) => {
                        opened.retain(|known| *known != forward);
                        Reply::Ok
                    }
                    Err(reason) => Reply::Failure(reason),
                },
                MasterRequest::NewSession(wanted) => {
                    let files = Files::receive(&client).await?;
                    return self.session(client, id, wanted, files).await;
                }
                MasterRequest::NewStdioForward(target) => {
                    return self.stdio(client, id, &target).await;
                }
                MasterRequest::NewRoute(port) => return self.route(client, id, port).await,
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
            CARD => self.card(),
            _ => None,
        };
        let is_told = text.is_some();
        let text = text.unwrap_or_else(|| "info request type not supported".to_owned());
        Reply::Info { is_told, text }
    }

    fn card(&self) -> Option<String> {
        let card = &self.warm.as_ref()?.card;
        let leases = self.session.leases().all();
        let sessions = leases.iter().filter(|(_, what)| what != CLIENT).count();
        serde_json::to_string(&Card { sessions, ..card.clone() }).ok()
    }

    /// A forward that ends with the client that asks for it. What another one has opened
    /// is not lent: it would end with that one.
    async fn open_own_forward(&self, forward: Forward, opened: &mut Vec<Forward>) -> Reply {
        if self.forwards.has(&forward) {
            return Reply::Failure("Port forwarding failed: address in use".to_owned());
        }
        let reply = self.open_forward(&forward).await;
        if matches!(reply, Reply::Ok | Reply::RemotePort(_)) {
            opened.push(forward);
        }
        reply
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

    /// Counts a use of a warm session from before it is begun, unless the master ends
    /// just now.
    fn lease(&self) -> Option<Option<Lease>> {
        if self.warm.is_none() {
            return Some(None);
        }
        let lease = self.session.leases().begin(CLIENT);
        let is_ending = self.is_ending.load(Ordering::SeqCst);
        let takes_more = !is_ending && *self.state.borrow() == MasterState::Listening;
        takes_more.then_some(Some(lease))
    }

    /// A stream from the machine to a place, joined to two descriptors.
    async fn stdio(&self, mut client: UnixStream, id: u32, target: &ForwardTarget) -> Result<()> {
        let input = Input::new(receive_descriptor(&client).await?)?;
        let output = File::from(receive_descriptor(&client).await?);
        if !self.allows("Open a forwarding on").await {
            let denied = Reply::PermissionDenied(DENIED.to_owned());
            return send(&mut client, &denied.encode(id)).await;
        }
        let Some(_first_use) = self.lease() else {
            return send(&mut client, &Reply::Failure(ENDING.to_owned()).encode(id)).await;
        };
        let _use = self.session.leases().begin(format!("stdio-forward (to {target})"));
        let opening = self.session.open(target);
        let opened = match &self.warm {
            None => opening.await,
            Some(_) => match tokio::time::timeout(ALIVE, opening).await {
                Ok(opened) => opened,
                Err(_) => {
                    self.stop(MasterState::Stopped);
                    Err(NO_SESSION.to_owned())
                }
            },
        };
        let stream = match opened {
            Ok(stream) => stream,
            Err(reason) => return send(&mut client, &Reply::Failure(reason).encode(id)).await,
        };
        self.join(client, id, stream, input, output).await
    }

    /// A new stream by the way that led to the machine, joined to two descriptors.
    async fn route(&self, mut client: UnixStream, id: u32, port: Option<u16>) -> Result<()> {
        let input = Input::new(receive_descriptor(&client).await?)?;
        let output = File::from(receive_descriptor(&client).await?);
        let lease = self.lease().flatten();
        let opened = match (&self.warm, &lease) {
            (Some(warm), Some(_)) => tokio::time::timeout(DIALLED, (warm.streams)(port)).await,
            _ => Ok(None),
        };
        if let Some(lease) = &lease {
            lease.is("stream by the same way");
        }
        let Ok(Some(stream)) = opened else {
            return send(&mut client, &Reply::Failure(NO_SESSION.to_owned()).encode(id)).await;
        };
        self.join(client, id, stream, input, output).await
    }

    /// Joins a stream to what a client has passed, until either ends or the client does.
    async fn join(
        &self,
        mut client: UnixStream,
        id: u32,
        stream: impl Duplex,
        input: Input,
        output: File,
    ) -> Result<()> {
        self.opened(&mut client, id).await?;
        let unread = unread(output.as_fd());
        tokio::select! {
            () = pipe(stream, input, tokio::fs::File::from_std(output), unread) => {}
            () = gone(&client) => {}
        }
        Ok(())
    }

    /// Tells a client the number of what was opened for it.
    async fn opened(&self, client: &mut UnixStream, id: u32) -> Result<u32> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        send(client, &Reply::SessionOpened(number).encode(id)).await?;
        Ok(number)
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
