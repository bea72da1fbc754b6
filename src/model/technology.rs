//! `Technology`: what carries streams to the peers of a network, and what the program may
//! ask of it without dialling. Owns no socket: who dials a technology is in `dial`.

mod known;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::VarRef;
use crate::error::Result;
use crate::printable::Printable;

/// How long an ordinary technology leaves the field to the better networks; RFC 8305,
/// section 5, allows 100 ms to 2 s between addresses.
pub(crate) const HEAD_START: Duration = Duration::from_millis(120);

/// What is known of a technology, apart from how it is dialled.
#[derive(Debug)]
pub struct Kind {
    /// A short name, which is printed and never changes.
    pub name: &'static str,
    /// Clan's modules that mean it, without `clan_lib.network.`.
    modules: &'static [&'static str],
    /// Services and instances that mean it where the module was left out.
    services: &'static [&'static str],
    /// Whether a host can belong to no other technology, whatever the network's is.
    claims: fn(&str) -> bool,
    /// Whether nobody is asked for the address of this host: it is an address itself, or
    /// one of the technology's own names, which nothing else is told.
    pub is_address: fn(&str) -> bool,
    /// Whether its hosts are shown to nobody, even where they lie open in the clan: who has
    /// one can reach the machine from anywhere.
    hides_hosts: bool,
    /// The var with the host of a peer whose export has none, by the names of the machine
    /// and of the instance. `None` where the export has to have a host.
    pub host_of: Option<fn(&str, &str) -> Result<VarRef>>,
    /// Whether its hosts have other ports than that of the SSH server.
    has_ports: bool,
    /// How long a route leaves the field to the better ones: more where strangers see it
    /// begin.
    head_start: Duration,
    /// How long a route may take from its start to the server's banner.
    deadline: Duration,
    /// Whether it takes seconds and much work to begin.
    is_costly: bool,
    /// What of the network stands for the machine, because nobody else can have its
    /// address.
    pub vouches: Option<&'static str>,
    /// Whether its streams are TCP of this computer, and so follow `ProxyJump`,
    /// `BindAddress` and the like.
    is_direct: bool,
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
    Known(&'static Kind),
    /// By its full name, which is foreign text.
    Unsupported(String),
}

impl Technology {
    /// TCP to the host; wireguard, mycelium and yggdrasil are of this kind too.
    pub const DIRECT: Self = Self(Which::Known(&known::DIRECT));
    /// Onion services.
    pub const TOR: Self = Self(Which::Known(&known::TOR));
    /// Tickets.
    #[cfg(feature = "iroh")]
    pub const IROH: Self = Self(Which::Known(&known::IROH));

    /// All that we know, in the order in which a host is offered to them.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = Self> {
        known::ALL.into_iter().map(|kind| Self(Which::Known(kind)))
    }

    /// One that we do not know, by its module.
    pub fn unsupported(module: &str) -> Self {
        Self(Which::Unsupported(module.to_owned()))
    }

    /// What is known of it, if anything is.
    pub fn known(&self) -> Option<&'static Kind> {
        match self.0 {
            Which::Known(kind) => Some(kind),
            Which::Unsupported(_) => None,
        }
    }

    /// A short name, or the unknown module's full name, which is foreign text.
    pub fn name(&self) -> &str {
        match &self.0 {
            Which::Known(kind) => kind.name,
            Which::Unsupported(module) => module,
        }
    }

    /// How long a route leaves the field to the better ones.
    pub fn head_start(&self) -> Duration {
        self.known().map_or(HEAD_START, |kind| kind.head_start)
    }

    /// How long a route may take from its start to the server's banner; what we do not know
    /// ends by itself.
    pub fn deadline(&self) -> Duration {
        self.known().map_or(HEAD_START, |kind| kind.deadline)
    }

    /// Whether it takes seconds and much work to begin; what we do not know costs nothing.
    pub fn is_costly(&self) -> bool {
        self.known().is_some_and(|kind| kind.is_costly)
    }

    /// Whether its hosts have other ports than that of the SSH server.
    pub fn has_ports(&self) -> bool {
        self.known().is_none_or(|kind| kind.has_ports)
    }

    /// Whether its hosts are shown to nobody, even where they lie open in the clan.
    pub fn hides_hosts(&self) -> bool {
        self.known().is_some_and(|kind| kind.hides_hosts)
    }

    /// Whether its streams are TCP of this computer.
    pub fn is_direct(&self) -> bool {
        self.known().is_some_and(|kind| kind.is_direct)
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
