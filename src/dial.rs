//! Opens one byte stream to a host over one technology. Owns what technologies share
//! between dials and the word for every way a dial can fail; never names SSH, and never
//! puts a host into an error: the caller knows whether it may be shown.

mod begun;
mod by_address;
mod carrier;
mod direct;
#[cfg(all(any(test, fuzzing), any(feature = "mycelium", feature = "yggdrasil")))]
pub(crate) mod fuzz;
mod holder;
mod host_daemon;
pub mod iroh;
mod key_lock;
mod key_place;
#[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
mod leaf;
#[cfg(feature = "mycelium")]
pub mod mycelium;
mod of_clan;
#[cfg_attr(
    not(any(feature = "mycelium", feature = "yggdrasil")),
    allow(dead_code, reason = "nobody is a leaf")
)]
mod onions;
mod own_runtime;
#[cfg(feature = "packet")]
mod packet;
mod registry;
mod sshfp;
mod tailscale;
mod tcp;
pub mod tor;
#[cfg_attr(
    not(any(feature = "mycelium", feature = "yggdrasil")),
    allow(dead_code, reason = "nobody is a leaf")
)]
mod underlay;
pub mod wireguard;
#[cfg(feature = "yggdrasil")]
pub mod yggdrasil;
mod zerotier;

use std::any::Any;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::env::Env;
pub use crate::error::{Daemon, DialError, DialFailure, MemberFailure, ProxyFailure};
use crate::error::{IrohFailure, LeafFailure, LeafFault, Stage, TorFailure, WireGuardFailure};
use crate::model::Technology;
use crate::preload::Preload;
use crate::secret::Secret;
use crate::sshfp::Sshfp;
pub(crate) use begun::Asked;
pub use begun::Begun;
pub use by_address::Ways;
use carrier::{Carrier, Setup};
use direct::Direct;
pub use holder::Lasting;
pub use of_clan::OfClan;
use onions::{Onions, Prepared};
#[cfg(feature = "iroh")]
pub use registry::IROH;
#[cfg(test)]
pub use registry::of_module;
pub use registry::{DIRECT, TOR, of_host, of_network};
pub use underlay::Underlay;
pub(crate) use wireguard::public_vars;

/// Where to dial. The host is treated as a secret whatever it came from, so
/// that only `label` can ever be printed.
#[derive(Debug, Clone)]
pub struct Target {
    /// The network's kind.
    pub technology: Technology,
    /// A DNS name, an IP literal (IPv6 with an optional zone), or whatever the
    /// technology uses for an address.
    pub host: Secret<String>,
    /// The host as it may be shown.
    pub label: String,
    /// Whether the host came from a secret var: then it may be written nowhere.
    pub secret: bool,
    /// The TCP port.
    pub port: u16,
}

impl Target {
    /// The port, if the host itself is shown: that of a secret one is told to nobody.
    pub fn shown_port(&self) -> Option<u16> {
        (self.label == *self.host.expose()).then_some(self.port)
    }
}

/// Which addresses are dialled directly (`AddressFamily`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// All.
    #[default]
    Any,
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

impl Family {
    fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Four => ip.is_ipv4(),
            Self::Six => ip.is_ipv6(),
        }
    }
}

/// Where direct connections come from and go to.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Which addresses are dialled.
    pub family: Family,
    /// The address here that they come from (`BindAddress`).
    pub address: Option<IpAddr>,
    /// The interface here that they leave by (`BindInterface`).
    pub interface: Option<String>,
    /// Whether the system notices by itself that the other side is gone
    /// (`TCPKeepAlive`).
    pub keepalive: bool,
    /// What they go through in the place of the network (`ProxyJump`,
    /// `ProxyCommand`).
    pub proxy: Option<Arc<dyn Proxy>>,
    /// What the user relies on to lead connections, and does not lead ours.
    pub preload: Option<Preload>,
}

/// Something of the user's own that leads to hosts.
pub trait Proxy: fmt::Debug + Send + Sync {
    /// Opens a stream to `target`. The failure holds no host.
    fn open<'a>(&'a self, target: &'a Target) -> Opening<'a>;
}

/// What [`Proxy::open`] returns.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Stream, ProxyFailure>> + Send + 'a>>;

impl SocketOptions {
    /// What holds where nothing is said, for a process that was started with `env`.
    pub fn of(env: &Env) -> Self {
        Self {
            family: Family::Any,
            address: None,
            interface: None,
            keepalive: true,
            proxy: None,
            preload: Preload::of(env),
        }
    }
}

/// As in an empty environment.
#[cfg(test)]
impl Default for SocketOptions {
    fn default() -> Self {
        Self::of(&Env::default())
    }
}

/// What opens streams: [`Dialer`], or whoever plays it in a test.
pub trait Dial: Send + Sync {
    /// Opens a stream to `target` and says by `enter` what it waits for.
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a>;

    /// The same, but for waiting until the other side has confirmed the stream, where
    /// something can be said on it before.
    fn begin<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Beginning<'a> {
        Box::pin(async move { self.dial(target, enter).await.map(Begun::open) })
    }
}

/// What [`Dial::dial`] returns.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send + 'a>>;
/// What [`Dial::begin`] returns.
pub type Beginning<'a> = Pin<Box<dyn Future<Output = Result<Begun, DialError>> + Send + 'a>>;

impl Dial for Dialer {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(Self::dial(self, target, enter))
    }

    fn begin<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Beginning<'a> {
        Box::pin(async move { self.dialler_of(target)?.begin(target, enter).await })
    }
}

/// Waits until all networks of our own have said goodbye to whom they know, but no longer
/// than that. They do it once nothing uses them any more.
pub fn wait_for_goodbyes(limit: std::time::Duration) {
    own_runtime::wait_for_all(limit);
}

/// Waits until no other process goes by a node of this one any more, and lets none from then
/// on. For those that stay.
pub async fn guests_are_gone() {
    holder::guests_are_gone().await;
}

/// The ways of our own into networks that are known by their addresses. Starts and reads
/// nothing.
pub fn ways(settings: &Settings) -> Ways {
    Ways::new(registry::by_address(settings, &Onions::default()))
}

/// What the user says of technologies.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Of Tor.
    #[cfg(feature = "tor")]
    pub tor: tor::Settings,
    /// Of iroh.
    #[cfg(feature = "iroh")]
    pub iroh: iroh::Settings,
    /// Of WireGuard.
    pub wireguard: wireguard::Settings,
    /// Of Mycelium.
    #[cfg(feature = "mycelium")]
    pub mycelium: mycelium::Settings,
    /// Of Yggdrasil.
    #[cfg(feature = "yggdrasil")]
    pub yggdrasil: yggdrasil::Settings,
    /// Whom nodes of other overlays may peer with.
    pub underlay: Underlay,
    /// How long this process lasts, for others that go by its nodes, or by whose it goes.
    pub lasting: Lasting,
}

#[cfg(feature = "tor")]
impl Settings {
    /// Whether only Tor leads to somebody who may be met on the way.
    pub fn needs_tor(&self) -> bool {
        let of_clan = [&self.underlay.yggdrasil, &self.underlay.mycelium];
        #[cfg(feature = "mycelium")]
        let mycelium = self.mycelium.needs_tor();
        #[cfg(not(feature = "mycelium"))]
        let mycelium = false;
        #[cfg(feature = "yggdrasil")]
        let yggdrasil = self.yggdrasil.needs_tor();
        #[cfg(not(feature = "yggdrasil"))]
        let yggdrasil = false;
        mycelium || yggdrasil || of_clan.iter().any(|peers| peers.need_tor())
    }
}

/// Dials every technology; keeps what they share between dials.
pub struct Dialer {
    settings: Settings,
    socket_options: SocketOptions,
    direct: Arc<Direct>,
    ways: Ways,
    /// What was prepared, by its technology. Sockets have no part in it, so that all
    /// diallers that come from one have it in common.
    prepared: Prepared,
}

impl Dialer {
    /// Nothing is read or opened before the first dial.
    pub fn new(settings: Settings, socket_options: SocketOptions) -> Self {
        let prepared = Prepared::default();
        let onions = Onions::of(&settings, &socket_options, &prepared);
        let ways = Ways::new(registry::by_address(&settings, &onions));
        Self::with(settings, socket_options, ways, prepared)
    }

    /// Another one with the same Tor and the like, whose direct connections come from
    /// elsewhere.
    pub fn from(&self, socket_options: SocketOptions) -> Self {
        let (ways, prepared) = (self.ways.clone(), self.prepared.clone());
        Self::with(self.settings.clone(), socket_options, ways, prepared)
    }

    fn with(
        settings: Settings,
        socket_options: SocketOptions,
        ways: Ways,
        prepared: Prepared,
    ) -> Self {
        let direct = Arc::new(Direct::new(socket_options.clone(), ways.clone()));
        Self { settings, socket_options, direct, ways, prepared }
    }

    /// Opens a stream to `target` and says what it waits for. The caller sets
    /// the deadline: this waits as long as the network does. Streams live no
    /// longer than the dialler that opened them.
    ///
    /// # Errors
    /// A [`DialError`] without the host in it.
    pub async fn dial(
        &self,
        target: &Target,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Stream, DialError> {
        self.dialler_of(target)?.dial(target, enter).await
    }

    fn dialler_of(&self, target: &Target) -> Result<Arc<dyn Dial>, DialError> {
        let carrier = registry::carrier(&target.technology);
        carrier.map(|carrier| self.prepared(carrier)).ok_or_else(|| unsupported(target))
    }

    fn prepared(&self, carrier: &dyn Carrier) -> Arc<dyn Dial> {
        let direct: Arc<dyn Dial> = self.direct.clone();
        let Self { settings, socket_options, .. } = self;
        let setup = Setup { settings, socket_options, direct: &direct };
        match carrier.is_direct() {
            true => carrier.prepare(&setup),
            false => onions::prepared(&self.prepared, carrier, &setup),
        }
    }

    /// Whether streams go by something that no other process can have at the same time.
    pub fn is_alone(&self) -> bool {
        self.ways.are_alone()
    }

    /// Whether a name has an address, and the name that it is an alias of, if any.
    pub async fn canonical(&self, name: &str) -> Option<String> {
        self.socket_options.unless(|_| true).ok()?;
        self.direct.canonical(name).await
    }
}

fn unsupported(target: &Target) -> DialError {
    DialError::new(Stage::Dial, DialFailure::Unsupported(target.technology.to_string()))
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl SocketOptions {
    /// An error where the user relies on a library that is `in_the_way` of this.
    fn unless(&self, in_the_way: impl Fn(&Preload) -> bool) -> Result<(), DialError> {
        let preload = self.preload.as_ref().filter(|preload| in_the_way(preload));
        let failure = |preload: &Preload| DialFailure::Preload(preload.name.clone());
        preload.map_or(Ok(()), |preload| Err(DialError::new(Stage::Dial, failure(preload))))
    }
}

/// The fingerprints that the DNS has for the keys of `target` (RFC 4255), as far
/// as DNSSEC proves them, from the keys in `anchor` on or those of the internet's
/// root. Only names in the DNS are asked for, and never a secret one.
pub async fn sshfp(target: &Target, anchor: Option<&Path>) -> Vec<Sshfp> {
    let host = target.host.expose();
    let is_name = direct::is_name(host) && target.technology == DIRECT;
    match is_name && !target.secret {
        true => sshfp::lookup(host, anchor).await,
        false => Vec::new(),
    }
}

/// What a dial is waiting for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Phase {
    /// The addresses of a name.
    Resolving,
    /// The peer.
    #[default]
    Connecting,
    /// Our own Tor client.
    Bootstrapping {
        /// How far it is.
        percent: u8,
        /// What it does, printable.
        stage: String,
    },
    /// The onion service.
    Onion,
    /// Whoever knows where a ticket leads.
    Discovering,
    /// The machine, wherever its ticket leads.
    Meeting,
    /// A host of a network that this computer is not in, by itself or by what is left of
    /// this daemon.
    Outside(Daemon),
    /// A host that this daemon leads to.
    Through(Daemon),
    /// Somebody to peer with in this overlay.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Peering(&'static str),
    /// Where the machine is in it.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Seeking(&'static str),
    /// Keys in common with the machine.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Session(&'static str),
    /// The machine, by way of that overlay.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Entering(&'static str),
    /// The key for this network, which may be in a var or a pipe.
    Key(&'static str),
    /// Another process of ours, which uses the key that we need; its member, printable.
    Busy(String),
    /// Another process of ours, which uses our key of this overlay.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    InUse(&'static str),
    /// A remark: the key of a machine is used that runs elsewhere, too; its name,
    /// printable.
    Borrowing(String),
    /// A remark: another user has the name by which processes of ours would know that one
    /// of them uses the key for this network.
    Contested(&'static str),
    /// A remark: the node of another process of ours leads on, which does not wait for us.
    Lodging {
        /// Its network.
        network: &'static str,
        /// The process.
        pid: u32,
    },
    /// A remark: a public node of this overlay leads on.
    #[cfg_attr(
        not(any(feature = "mycelium", feature = "yggdrasil")),
        allow(dead_code, reason = "nobody is a leaf")
    )]
    Public(&'static str),
    /// A WireGuard controller.
    Handshaking,
    /// A machine behind a WireGuard controller that has answered.
    Behind,
    /// A remark: what listens at a tor's address is left alone.
    Distrusting {
        /// The address.
        socks: SocketAddr,
        /// Why, printable.
        why: String,
    },
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolving => f.write_str("resolving"),
            Self::Connecting => f.write_str("connecting"),
            Self::Bootstrapping { percent, stage } => {
                write!(f, "starting Tor, {percent} %: {stage}")
            }
            Self::Onion => f.write_str("waiting for the onion service"),
            Self::Discovering => f.write_str("looking up the address of its ticket"),
            Self::Meeting => f.write_str("trying to connect, directly and by relay"),
            Self::Outside(Daemon { name, .. }) => {
                write!(f, "connecting, though {name} is down here")
            }
            Self::Through(Daemon { name, .. }) => write!(f, "connecting by {name}"),
            Self::Peering(overlay) => write!(f, "{overlay}: peering"),
            Self::Seeking(overlay) => write!(f, "{overlay}: looking for the machine"),
            Self::Session(overlay) => write!(f, "{overlay}: agreeing on keys"),
            Self::Entering(overlay) => write!(f, "connecting by {overlay}"),
            Self::Key(network) => write!(f, "reading the {network} key"),
            Self::Busy(member) => {
                write!(f, "waiting for another clan-connect that uses the key of {member}")
            }
            Self::InUse(overlay) => {
                write!(f, "waiting for another clan-connect that uses the key of {overlay}")
            }
            Self::Borrowing(machine) => write!(
                f,
                "the WireGuard key of {machine} is used here: while {machine} itself is up, its \
                 controllers send its packets to the one of the two that they heard last"
            ),
            Self::Contested(network) => write!(
                f,
                "another user has taken the socket name that marks the {network} key as in use: \
                 make sure that no other process uses the key"
            ),
            Self::Lodging { network, pid } => write!(
                f,
                "the connection goes by the {network} node of another clan-connect (process \
                 {pid}), which has the key, and ends with it"
            ),
            Self::Public(overlay) => write!(
                f,
                "a public node of {overlay} carries the connection: it sees which addresses \
                 communicate, but not what they send"
            ),
            Self::Handshaking => f.write_str("waiting for WireGuard's handshake"),
            Self::Behind => f.write_str("connecting by its WireGuard controller"),
            Self::Distrusting { socks, why } => {
                write!(f, "the program that listens on {socks} is not used: {why}")
            }
        }
    }
}

impl Phase {
    /// Whether it is only said by the way, and something else is waited for.
    pub fn is_remark(&self) -> bool {
        matches!(
            self,
            Self::Distrusting { .. }
                | Self::Borrowing(_)
                | Self::Contested(_)
                | Self::Lodging { .. }
                | Self::Public(_)
        )
    }

    /// Whether the user has to know of it.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::Borrowing(_) | Self::Contested(_) | Self::Lodging { .. } | Self::Public(_)
        )
    }

    /// The error when it takes too long.
    pub fn timed_out(self) -> DialError {
        let tor = |stage, failure| DialError::new(stage, DialFailure::Tor(failure));
        let iroh = |stage, failure| DialError::new(stage, DialFailure::Iroh(failure));
        let leaf = |stage, overlay, fault| {
            DialError::new(stage, DialFailure::Leaf(LeafFailure { overlay, fault }))
        };
        let wireguard = |stage, failure| DialError::new(stage, DialFailure::WireGuard(failure));
        match self {
            Self::Bootstrapping { percent, stage } => {
                tor(Stage::Bootstrap, TorFailure::Slow { percent, stage })
            }
            Self::Onion | Self::Distrusting { .. } => tor(Stage::Dial, TorFailure::Silent),
            Self::Discovering => iroh(Stage::Resolve, IrohFailure::Undiscovered),
            Self::Meeting => iroh(Stage::Dial, IrohFailure::Silent),
            Self::Peering(overlay) => leaf(Stage::Bootstrap, overlay, LeafFault::SilentPeer),
            Self::Seeking(overlay) => leaf(Stage::Resolve, overlay, LeafFault::NotFound),
            Self::Session(overlay) => leaf(Stage::Dial, overlay, LeafFault::NoSession),
            Self::Entering(overlay) => leaf(Stage::Dial, overlay, LeafFault::Unanswered),
            Self::Key(network) => leaf(Stage::Bootstrap, network, LeafFault::KeyUnread),
            Self::InUse(overlay) => leaf(Stage::Bootstrap, overlay, LeafFault::KeyInUse),
            Self::Outside(daemon) => DialError::new(Stage::Dial, DialFailure::Outside(daemon)),
            Self::Busy(machine) => {
                let failure = Box::new(MemberFailure::Busy { machine });
                DialError::new(Stage::Bootstrap, DialFailure::Member(failure))
            }
            Self::Handshaking => wireguard(Stage::Bootstrap, WireGuardFailure::Silent),
            Self::Behind => wireguard(Stage::Dial, WireGuardFailure::NoAnswer),
            Self::Resolving => DialError::new(Stage::Resolve, DialFailure::ResolverTimeout),
            Self::Connecting
            | Self::Through(_)
            | Self::Borrowing(_)
            | Self::Contested(_)
            | Self::Lodging { .. }
            | Self::Public(_) => DialError::new(Stage::Dial, DialFailure::TimedOut),
        }
    }
}

/// A stream to the machine, whatever carries it.
pub struct Stream {
    inner: Pin<Box<dyn Io>>,
    /// Where it really leads, if that is an IP address. Not for secret hosts'
    /// output.
    pub peer: Option<IpAddr>,
    /// Our own end of it, if there is a peer.
    pub local: Option<SocketAddr>,
    /// The node of our own that leads there, by the name of its network.
    pub way: Option<&'static str>,
    /// What has to be there as long as it is.
    _carrier: Option<Arc<dyn Any + Send + Sync>>,
}

trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

impl Stream {
    /// Wraps what a technology opened.
    pub fn new(inner: impl AsyncRead + AsyncWrite + Send + 'static, peer: Option<IpAddr>) -> Self {
        Self { inner: Box::pin(inner), peer, local: None, way: None, _carrier: None }
    }

    /// The same with our own end of it.
    pub fn with_local(self, local: Option<SocketAddr>) -> Self {
        Self { local, ..self }
    }

    /// The same, by this node of our own.
    pub fn with_way(self, way: Option<&'static str>) -> Self {
        Self { way, ..self }
    }

    /// The same, and `carrier` is there until it is closed.
    fn with_carrier(self, carrier: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _carrier: Some(carrier), ..self }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.inner.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.inner.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }
}

/// A listener whose queue is full answers nothing.
#[cfg(test)]
pub(crate) fn black_hole() -> (std::net::SocketAddr, Vec<std::net::TcpStream>, std::net::TcpListener)
{
    use rustix::net;
    let socket =
        net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).expect("a socket");
    net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
    net::listen(&socket, 0).expect("a socket");
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().expect("a socket");
    let mut held = Vec::new();
    let soon = std::time::Duration::from_millis(100);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, soon) {
        held.push(stream);
    }
    (address, held, listener)
}
