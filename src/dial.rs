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
mod phase;
mod registry;
mod sshfp;
mod stream;
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

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use crate::env::Env;
use crate::error::Stage;
pub use crate::error::{DialError, DialFailure, ProxyFailure};
use crate::model::{Network, Running, Technology};
use crate::preload::Preload;
use crate::secret::Secret;
use crate::sshfp::Sshfp;
pub use begun::Begun;
pub(crate) use begun::Pending;
pub use by_address::Ways;
use carrier::{Carrier, Setup};
use direct::Direct;
pub use holder::Lasting;
pub use of_clan::OfClan;
use onions::{Onions, Prepared};
pub use phase::Phase;
pub use stream::Stream;
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

impl Ways {
    /// Whether a network can carry anything from here, and the way of ours that leads there
    /// where this computer is not in it. Blocks.
    pub fn running(&self, network: &Network) -> (Running, Option<&'static str>) {
        let carrier = registry::carrier(&network.technology);
        let of_kind = carrier.map_or(Running::Unknown, |carrier| carrier.running(network));
        self.or_running(network, of_kind)
    }
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
        let is_direct = target.technology.is_direct();
        carrier.map(|carrier| self.prepared(carrier, is_direct)).ok_or_else(|| unsupported(target))
    }

    fn prepared(&self, carrier: &dyn Carrier, is_direct: bool) -> Arc<dyn Dial> {
        let direct: Arc<dyn Dial> = self.direct.clone();
        let Self { settings, socket_options, .. } = self;
        let setup = Setup { settings, socket_options, direct: &direct };
        match is_direct {
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
    let is_name = direct::is_name(host) && target.technology == Technology::DIRECT;
    match is_name && !target.secret {
        true => sshfp::lookup(host, anchor).await,
        false => Vec::new(),
    }
}
