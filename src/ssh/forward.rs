//! Forwarding (RFC 4254, section 7; OpenSSH's PROTOCOL, section 2.4): streams
//! through the machine, and listeners there and here. Owns what a forward leads
//! to; knows no command line.

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::Msg;
use russh::keys::agent::AgentSessionBinding;
use russh::keys::agent::client::AgentClient;
use russh::{Channel, ChannelStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tor_socksproto::{
    Buffer, Handshake, NextStep, SocksCmd, SocksProxyHandshake, SocksRequest, SocksStatus,
};

use super::{Session, lock, loss};
use crate::file;
use crate::output::heard;
use crate::printable;

/// After a connection could not be taken: out of files, perhaps only for now.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a forward leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardTarget {
    /// A host and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
    /// Wherever the client says, by SOCKS.
    Dynamic,
}

/// Where connections to be forwarded come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port; 0 lets the system choose. `*` is every address, and
    /// nothing what the side that listens takes for itself.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Which side of a forward listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This one.
    Local,
    /// The machine.
    Remote,
}

/// A forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Who listens.
    pub side: Side,
    /// Where.
    pub listen: Listen,
    /// Where it leads, seen from the other side.
    pub target: ForwardTarget,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, port) if address.is_empty() => write!(f, "port {port}"),
            Self::Tcp(address, port) => {
                write!(f, "{} port {port}", printable::line(address))
            }
            Self::Unix(path) => write!(f, "{}", printable::line(&path.to_string_lossy())),
        }
    }
}

impl fmt::Display for ForwardTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{}:{port}", printable::line(host)),
            Self::Unix(path) => f.write_str(&printable::line(&path.to_string_lossy())),
            Self::Dynamic => f.write_str("anywhere"),
        }
    }
}

/// Connects to a host and a port, seen from here; `None` when it cannot.
pub type Connector = Arc<
    dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = Option<Box<dyn Duplex>>> + Send>>
        + Send
        + Sync,
>;

/// What the server may open towards us, by what it says was connected to.
#[derive(Default)]
pub(super) struct Remotes {
    tcp: HashMap<(String, u32), ForwardTarget>,
    /// By the path as the library tells it.
    unix: HashMap<String, ForwardTarget>,
    /// The user's agent, and what it has to know of this session.
    agent: Option<(PathBuf, Option<AgentSessionBinding>)>,
    connector: Option<Connector>,
    /// For what the server's clients name by SOCKS.
    dynamic: Option<Connector>,
}

impl Session {
    /// What connects to the hosts that the server's forwards lead to.
    pub fn connect_with(&self, connector: Connector) {
        lock(&self.remotes).connector = Some(connector);
    }

    /// The same for what the server's own clients name by SOCKS; without it, they
    /// may name anything.
    pub fn connect_dynamic_with(&self, connector: Connector) {
        lock(&self.remotes).dynamic = Some(connector);
    }

    /// Lets the machine use the agent at `path`, which is told where it is used, so
    /// that it can enforce destination constraints (PROTOCOL.agent, section 1).
    /// A server that is not trusted gets none.
    pub fn lend_agent(&self, path: PathBuf) {
        if self.suspicion().is_some() {
            return;
        }
        let binding = self.handle.agent_session_binding().cloned();
        lock(&self.remotes).agent = Some((path, binding));
    }

    /// Opens a stream from the machine to a host and a port.
    ///
    /// # Errors
    /// The server's reason, printable.
    pub async fn open_tcp(&self, host: &str, port: u16) -> Result<ChannelStream<Msg>, String> {
        let opening = self.handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
        self.opened(opening).await
    }

    /// Opens a stream from the machine to a Unix socket there.
    ///
    /// # Errors
    /// The server's reason, printable.
    pub async fn open_unix(&self, path: &Path) -> Result<ChannelStream<Msg>, String> {
        self.opened(self.handle.channel_open_direct_streamlocal(bytes(path))).await
    }

    /// Opens a stream from the machine to a place.
    ///
    /// # Errors
    /// The server's reason, printable.
    pub async fn open(&self, target: &ForwardTarget) -> Result<ChannelStream<Msg>, String> {
        let begun = self.begun_stream(target).await;
        if let Some(channel) = begun.map_err(|error| loss::reason(&error))? {
            return Ok(channel.into_stream());
        }
        match target {
            ForwardTarget::Tcp(host, port) => self.open_tcp(host, *port).await,
            ForwardTarget::Unix(path) => self.open_unix(path).await,
            ForwardTarget::Dynamic => Err("it leads nowhere".to_owned()),
        }
    }

    async fn opened(
        &self,
        opening: impl Future<Output = Result<Channel<Msg>, russh::Error>>,
    ) -> Result<ChannelStream<Msg>, String> {
        self.may_forward()?;
        opening.await.map(Channel::into_stream).map_err(|error| loss::reason(&error))
    }

    /// Asks the server to listen at `listen` and to pass what connects there on to
    /// `place`, seen from here. Returns the port that it listens on.
    ///
    /// # Errors
    /// The server's reason, printable.
    pub async fn listen_there(
        &self,
        listen: &Listen,
        target: ForwardTarget,
    ) -> Result<u16, String> {
        self.may_forward()?;
        let words = |error: russh::Error| loss::reason(&error);
        match listen {
            Listen::Tcp(address, port) => {
                let (address, asked) = (on_the_wire(address), u32::from(*port));
                // Known before the answer, which connections may overtake.
                let key = (address.to_owned(), asked);
                lock(&self.remotes).tcp.insert(key.clone(), target.clone());
                let given = self.handle.tcpip_forward(address, asked).await;
                if given.is_err() || asked == 0 {
                    lock(&self.remotes).tcp.remove(&key);
                }
                let given = given.map_err(words)?;
                let port = if asked == 0 { given } else { asked };
                lock(&self.remotes).tcp.insert((address.to_owned(), port), target);
                Ok(u16::try_from(port).unwrap_or(*port_of(listen)))
            }
            Listen::Unix(path) => {
                lock(&self.remotes).unix.insert(as_told(path), target);
                let asked = self.handle.streamlocal_forward(bytes(path)).await;
                if asked.is_err() {
                    lock(&self.remotes).unix.remove(&as_told(path));
                }
                asked.map(|()| 0).map_err(words)
            }
        }
    }

    /// Asks the server to listen no more; `port` is what [`Session::listen_there`]
    /// returned.
    ///
    /// # Errors
    /// The server's reason, printable.
    pub async fn stop_listening_there(&self, listen: &Listen, port: u16) -> Result<(), String> {
        let done = match listen {
            Listen::Tcp(address, _) => {
                let (address, port) = (on_the_wire(address), u32::from(port));
                lock(&self.remotes).tcp.remove(&(address.to_owned(), port));
                self.handle.cancel_tcpip_forward(address, port).await
            }
            Listen::Unix(path) => {
                lock(&self.remotes).unix.remove(&as_told(path));
                self.handle.cancel_streamlocal_forward(bytes(path)).await
            }
        };
        done.map_err(|error| loss::reason(&error))
    }
}

/// What a server is told to listen at (RFC 4254, section 7.1; channels.c,
/// `channel_rfwd_bind_host`): nobody but the machine itself comes in where no address
/// was named, whatever the server would allow.
fn on_the_wire(address: &str) -> &str {
    match address {
        "" => "localhost",
        "*" => "",
        address => address,
    }
}

/// A path for the machine.
pub(super) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// A path as the library passes on what a server says of it: a byte that is no part of
/// UTF-8 is a backslash and three octal digits.
fn as_told(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\{byte:03o}")));
    }
    text
}

fn port_of(listen: &Listen) -> &u16 {
    match listen {
        Listen::Tcp(_, port) => port,
        Listen::Unix(_) => &0,
    }
}

/// A socket here of which every connection goes through the machine.
pub enum Listener {
    /// On a port.
    Tcp(TcpListener),
    /// On a path, which goes with it.
    Unix(UnixListener, PathBuf),
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// Listens on an address that is known already.
    ///
    /// # Errors
    /// The system's.
    pub async fn tcp(address: SocketAddr) -> std::io::Result<Self> {
        TcpListener::bind(address).await.map(Self::Tcp)
    }

    /// Listens at a path, with the permissions that `mask` leaves; an old socket
    /// goes first if `unlink` says so.
    ///
    /// # Errors
    /// The system's.
    pub fn unix(path: PathBuf, unlink: bool, mask: u32) -> std::io::Result<Self> {
        if unlink {
            let _ = std::fs::remove_file(&path);
        }
        let listener = file::masked(mask, || UnixListener::bind(&path))?;
        Ok(Self::Unix(listener, path))
    }

    /// Serves connections until it is dropped.
    pub async fn serve(self, session: Arc<Session>, target: ForwardTarget) {
        loop {
            let stream: Box<dyn Duplex> = match &self {
                Self::Tcp(listener) => match listener.accept().await {
                    Ok((stream, _)) => {
                        let _ = stream.set_nodelay(true);
                        Box::new(stream)
                    }
                    Err(_) => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
                Self::Unix(listener, _) => match listener.accept().await {
                    Ok((stream, _)) => Box::new(stream),
                    Err(_) => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            let (session, target) = (session.clone(), target.clone());
            tokio::spawn(async move { carry(stream, &session, target).await });
        }
    }
}

/// Something to read and to write.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// One connection from here through the machine.
async fn carry(mut here: Box<dyn Duplex>, session: &Session, target: ForwardTarget) {
    let using = session.leases.begin(format!("direct (to {target})"));
    let (there, proxy) = match target {
        ForwardTarget::Tcp(host, port) => (session.open_tcp(&host, port).await, None),
        ForwardTarget::Unix(path) => (session.open_unix(&path).await, None),
        ForwardTarget::Dynamic => {
            let Some((host, port, proxy)) = socks(&mut here).await else { return };
            using.is(format!("direct (to {})", ForwardTarget::Tcp(host.clone(), port)));
            (session.open_tcp(&host, port).await, Some(proxy))
        }
    };
    if let Some(proxy) = proxy
        && !answer(&mut here, &proxy, there.is_ok()).await
    {
        return;
    }
    match there {
        Ok(mut there) => join(&mut here, &mut there).await,
        Err(reason) => tracing::debug!(reason, "a forwarded connection was refused"),
    }
}

/// Bytes both ways, each end on its own.
async fn join(
    one: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
    other: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
) {
    let _ = tokio::io::copy_bidirectional(one, other).await;
}

/// Joins a stream to an input and an output, until the other side has ended it; or until
/// nobody reads the output and nothing comes from the input.
pub async fn pipe(
    stream: impl AsyncRead + AsyncWrite,
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    unread: impl Future<Output = ()>,
) {
    let (mut from, mut to) = tokio::io::split(stream);
    let (mut input, silence) = heard(input);
    let sending = async {
        let _ = tokio::io::copy(&mut input, &mut to).await;
        let _ = to.shutdown().await;
        // The other side may have more to say.
        pending().await
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from, &mut output) => {}
        () = silence.after(unread) => {}
        () = sending => {}
    }
    let _ = output.flush().await;
}

/// What a SOCKS client (4, 4a or 5) wants; names are resolved by the machine.
async fn socks(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Option<(String, u16, SocksRequest)> {
    let mut handshake = SocksProxyHandshake::new();
    let mut buffer = Buffer::new_precise();
    let request = loop {
        match handshake.step(&mut buffer).ok()? {
            NextStep::Send(bytes) => stream.write_all(&bytes).await.ok()?,
            NextStep::Recv(mut step) => {
                let count = stream.read(step.buf()).await.ok()?;
                step.note_received(count).ok()?;
            }
            NextStep::Finished(done) => break done.into_output_forbid_pipelining().ok()?,
        }
    };
    if request.command() != SocksCmd::CONNECT {
        let reply = request.reply(SocksStatus::COMMAND_NOT_SUPPORTED, None).ok()?;
        let _ = stream.write_all(&reply).await;
        return None;
    }
    Some((request.addr().to_string(), request.port(), request))
}

/// A connection that the server has accepted for us.
pub(super) async fn accept(
    channel: Channel<Msg>,
    target: ForwardTarget,
    connector: Option<Connector>,
) {
    let mut there = channel.into_stream();
    let connect = async |host: String, port| match &connector {
        Some(connector) => connector(host, port).await,
        None => None,
    };
    match target {
        ForwardTarget::Tcp(host, port) => {
            if let Some(mut here) = connect(host, port).await {
                join(&mut here, &mut there).await;
            }
        }
        ForwardTarget::Unix(path) => {
            if let Ok(mut here) = UnixStream::connect(path).await {
                join(&mut here, &mut there).await;
            }
        }
        ForwardTarget::Dynamic => {
            let Some((host, port, proxy)) = socks(&mut there).await else { return };
            let here = connect(host, port).await;
            if answer(&mut there, &proxy, here.is_some()).await
                && let Some(mut here) = here
            {
                join(&mut here, &mut there).await;
            }
        }
    }
}

/// Says to a SOCKS client whether it has what it wants; false when it is gone.
async fn answer(stream: &mut (impl AsyncWrite + Unpin), proxy: &SocksRequest, ok: bool) -> bool {
    let status = if ok { SocksStatus::SUCCEEDED } else { SocksStatus::GENERAL_FAILURE };
    match proxy.reply(status, None) {
        Ok(bytes) => stream.write_all(&bytes).await.is_ok(),
        Err(_) => false,
    }
}

/// A connection that the server has accepted for the user's agent.
pub(super) async fn accept_agent(
    channel: Channel<Msg>,
    agent: tokio::net::UnixStream,
    binding: Option<AgentSessionBinding>,
) {
    let mut agent = AgentClient::connect(agent);
    if let Some(binding) = &binding {
        // Old agents refuse what they do not know, and lose nothing.
        let _ = agent.bind_session(binding, true).await;
    }
    join(&mut agent.into_inner(), &mut channel.into_stream()).await;
}

impl Remotes {
    pub(super) fn connector(&self, target: &ForwardTarget) -> Option<Connector> {
        let dynamic = self.dynamic.as_ref().filter(|_| *target == ForwardTarget::Dynamic);
        dynamic.or(self.connector.as_ref()).cloned()
    }

    pub(super) fn agent(&self) -> Option<(PathBuf, Option<AgentSessionBinding>)> {
        self.agent.clone()
    }

    /// Where a connection to this address on the server leads.
    pub(super) fn of_tcp(&self, address: &str, port: u32) -> Option<ForwardTarget> {
        let exact = self.tcp.get(&(address.to_owned(), port));
        // Servers name the address in words of their own.
        let by_port =
            || self.tcp.iter().find(|((_, known), _)| *known == port).map(|(_, target)| target);
        exact.or_else(by_port).cloned()
    }

    pub(super) fn of_unix(&self, path: &str) -> Option<ForwardTarget> {
        self.unix.get(path).cloned()
    }
}

pub(super) type SharedRemotes = Arc<Mutex<Remotes>>;
