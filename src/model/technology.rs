//! `Technology`: what carries streams to the peers of a network, and what the program may
//! ask of it. Owns neither the list of technologies nor anything that dials.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use super::{Network, VarRef};
use crate::error::Result;
use crate::printable::Printable;

/// How long an ordinary technology leaves the field to the better networks; RFC 8305,
/// section 5, allows 100 ms to 2 s between addresses.
pub(crate) const HEAD_START: Duration = Duration::from_millis(120);

/// What the program asks of a technology, apart from dialling. It is written in the file
/// that dials.
pub trait Kind: Sync {
    /// A short name, which is printed and never changes.
    fn name(&self) -> &'static str;

    /// Clan's modules that mean it, without `clan_lib.network.`.
    fn modules(&self) -> &'static [&'static str];

    /// Services and instances that mean it where the module was left out.
    fn services(&self) -> &'static [&'static str];

    /// Whether a host can belong to no other technology, whatever the network's is.
    fn claims(&self, _host: &str) -> bool {
        false
    }

    /// Whether nobody is asked for the address of this host: it is an address itself, or
    /// one of the technology's own names, which nothing else is told.
    fn is_address(&self, host: &str) -> bool {
        let bare = host.split_once('%').map_or(host, |(address, _)| address);
        bare.parse::<IpAddr>().is_ok()
    }

    /// Whether its hosts are shown to nobody, even where they lie open in the clan: who has
    /// one can reach the machine from anywhere.
    fn hides_hosts(&self) -> bool {
        false
    }

    /// The var with the host of a peer whose export has none. `None` where it has to
    /// have one.
    fn host_of(&self, _machine: &str, _instance: &str) -> Option<Result<VarRef>> {
        None
    }

    /// Whether its hosts have other ports than that of the SSH server.
    fn has_ports(&self) -> bool {
        true
    }

    /// How long a route leaves the field to the better ones: more where strangers see it
    /// begin.
    fn head_start(&self) -> Duration {
        HEAD_START
    }

    /// How long a route may take from its start to the server's banner.
    fn deadline(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Whether it takes seconds and much work to begin.
    fn is_costly(&self) -> bool {
        false
    }

    /// What of the network stands for the machine, because nobody else can have its
    /// address.
    fn vouches(&self) -> Option<&'static str> {
        None
    }

    /// Whether its streams are TCP of this computer, and so follow `ProxyJump`,
    /// `BindAddress` and the like.
    fn is_direct(&self) -> bool {
        false
    }

    /// Whether the network can carry anything from here, as far as that can be told
    /// without a packet.
    fn running(&self, network: &Network) -> Running;
}

/// Whether a network can carry anything from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// We are a node of it ourselves while it is needed.
    InProcess,
    /// This computer is part of it.
    Yes,
    /// It is not.
    No,
    /// That cannot be told.
    Unknown,
    /// There is nothing that would have to run.
    Irrelevant,
}

impl Running {
    /// The word for it in tables and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Irrelevant => "n/a",
        }
    }
}

/// The technology of a network: one that we know, or the module of another.
#[derive(Clone)]
pub struct Technology(Which);

#[derive(Clone)]
enum Which {
    Known(&'static dyn Kind),
    /// By its full name, which is foreign text.
    Unsupported(String),
}

impl Technology {
    /// One that we know.
    pub const fn of(kind: &'static dyn Kind) -> Self {
        Self(Which::Known(kind))
    }

    /// Another, by its module.
    pub fn unsupported(module: &str) -> Self {
        Self(Which::Unsupported(module.to_owned()))
    }

    /// What it can do, if we know it.
    pub fn known(&self) -> Option<&'static dyn Kind> {
        match self.0 {
            Which::Known(kind) => Some(kind),
            Which::Unsupported(_) => None,
        }
    }

    /// A short name, or the unknown module's full name, which is foreign text.
    pub fn name(&self) -> &str {
        match &self.0 {
            Which::Known(kind) => kind.name(),
            Which::Unsupported(module) => module,
        }
    }

    /// As [`Kind::head_start`].
    pub fn head_start(&self) -> Duration {
        self.known().map_or(HEAD_START, Kind::head_start)
    }

    /// As [`Kind::deadline`]; what we do not know ends by itself.
    pub fn deadline(&self) -> Duration {
        self.known().map_or(HEAD_START, Kind::deadline)
    }

    /// Whether it is costly; what we do not know costs nothing.
    pub fn is_costly(&self) -> bool {
        self.known().is_some_and(Kind::is_costly)
    }

    /// As [`Kind::has_ports`].
    pub fn has_ports(&self) -> bool {
        self.known().is_none_or(Kind::has_ports)
    }

    /// As [`Kind::hides_hosts`].
    pub fn hides_hosts(&self) -> bool {
        self.known().is_some_and(Kind::hides_hosts)
    }

    /// As [`Kind::is_direct`].
    pub fn is_direct(&self) -> bool {
        self.known().is_some_and(Kind::is_direct)
    }
}

impl PartialEq for Technology {
    fn eq(&self, other: &Self) -> bool {
        self.known().is_some() == other.known().is_some() && self.name() == other.name()
    }
}

impl Eq for Technology {}

impl Hash for Technology {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Technology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Technology({:?})", self.name())
    }
}

/// The short name, fit for a terminal.
impl fmt::Display for Technology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(self.name()).fmt(f)
    }
}
