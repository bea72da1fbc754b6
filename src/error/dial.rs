//! The ways a dial fails, in words for people. Owns no host: who shows a failure knows
//! whether it may be shown.

use std::fmt;

use super::{
    IrohFailure, LeafFailure, MemberFailure, Stage, TailscaleFailure, TorFailure, WireGuardFailure,
};

/// Why no stream could be opened. Holds no host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialError {
    /// How far it got.
    pub stage: Stage,
    /// What went wrong.
    pub failure: DialFailure,
}

impl DialError {
    pub(crate) fn new(stage: Stage, failure: DialFailure) -> Self {
        Self { stage, failure }
    }
}

/// A program of this computer that carries a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Daemon {
    /// What it is called.
    pub name: &'static str,
    /// The command that starts it.
    pub start: &'static str,
}

/// The ways a dial fails.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialFailure {
    /// The host is not a name and not an address.
    BadAddress(&'static str),
    /// No server knows the name.
    NoSuchName,
    /// No name server is configured.
    NoNameServer,
    /// The name servers did not answer in time.
    ResolverTimeout,
    /// The name servers answered with a failure.
    ResolverFailed,
    /// The port is closed.
    Refused,
    /// The operating system has no way to that address.
    NoRoute,
    /// It has no way to that network.
    NoNetwork,
    /// It has no address of that kind to connect from, or not the one that was named.
    NoAddress,
    /// The peer never answered.
    TimedOut,
    /// Anything else the operating system says.
    Io(std::io::ErrorKind),
    /// Tor has words of its own.
    Tor(TorFailure),
    /// And so has iroh.
    Iroh(IrohFailure),
    /// And our own clients for overlays.
    Leaf(LeafFailure),
    /// Nor can we be a member of a WireGuard network without being one.
    Member(Box<MemberFailure>),
    /// Once we are one, its controllers have to lead us on.
    WireGuard(WireGuardFailure),
    /// Nor does tailscaled reach everybody.
    Tailscale(TailscaleFailure),
    /// This computer is not in the host's network, which only this daemon carries.
    Outside(Daemon),
    /// What the user has put in the way does, too.
    Proxy(ProxyFailure),
    /// The user relies on this library, which cannot lead us; its file, printable.
    Preload(String),
    /// Another process of ours has tried; what it says, printable.
    Told(String),
    /// This technology is not built in; its name, printable.
    Unsupported(String),
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAddress(why) => write!(f, "bad address: {why}"),
            Self::NoSuchName => f.write_str("could not resolve hostname: no such name"),
            Self::NoNameServer => {
                f.write_str("could not resolve hostname: no name server is configured")
            }
            Self::ResolverTimeout => {
                f.write_str("could not resolve hostname: the name servers do not answer")
            }
            Self::ResolverFailed => {
                f.write_str("could not resolve hostname: the name servers report a failure")
            }
            Self::Refused => f.write_str("connection refused"),
            Self::NoRoute => f.write_str("no route to host"),
            Self::NoNetwork => f.write_str("network is unreachable"),
            Self::NoAddress => f.write_str("cannot assign requested address"),
            Self::TimedOut => f.write_str("connection timed out"),
            Self::Io(kind) => write!(f, "{kind}"),
            Self::Tor(failure) => write!(f, "{failure}"),
            Self::Iroh(failure) => write!(f, "{failure}"),
            Self::Leaf(failure) => write!(f, "{failure}"),
            Self::Member(failure) => write!(f, "{failure}"),
            Self::WireGuard(failure) => write!(f, "{failure}"),
            Self::Tailscale(failure) => write!(f, "{failure}"),
            Self::Outside(Daemon { name, .. }) => {
                write!(f, "this computer is not in that network: its {name} is down")
            }
            Self::Proxy(failure) => write!(f, "{failure}"),
            Self::Preload(name) => write!(
                f,
                "not connected directly: LD_PRELOAD names {name}, which has no effect on a static \
                 program"
            ),
            Self::Told(text) => f.write_str(text),
            Self::Unsupported(technology) => write!(f, "{technology} is not supported"),
        }
    }
}

impl From<&std::io::Error> for DialFailure {
    fn from(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::HostUnreachable => Self::NoRoute,
            Kind::NetworkUnreachable => Self::NoNetwork,
            Kind::AddrNotAvailable => Self::NoAddress,
            Kind::TimedOut => Self::TimedOut,
            kind => Self::Io(kind),
        }
    }
}

/// Why `ProxyJump` or `ProxyCommand` did not lead to the host. Texts are printable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyFailure {
    /// The jump host opens no stream; its reason.
    NotForwarded(String),
    /// The command would show a secret host to everybody on this computer.
    ShowsSecret,
    /// The jump host cannot be reached or logged into; why, in one line.
    Jump(String),
    /// The jump host would hear of a secret host, and nobody has named it for this.
    TellsSecret,
    /// The host would mean something to the command's shell; what.
    Unfit(String),
    /// The command holds what cannot be expanded.
    Command(String),
    /// The command could not be started.
    NotStarted(std::io::ErrorKind),
    /// The command was to pass on a connection, and has not.
    NotPassed,
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForwarded(why) => {
                write!(f, "stdio forwarding failed on the jump host: {why}")
            }
            Self::ShowsSecret => {
                f.write_str("the ProxyCommand would show the secret host: leave out its %h")
            }
            Self::Jump(why) => write!(f, "jump host: {why}"),
            Self::TellsSecret => {
                f.write_str("the secret host is not sent to a jump host that only ssh_config names")
            }
            Self::Unfit(why) => write!(f, "not told to the ProxyCommand: the host {why}"),
            Self::Command(why) => f.write_str(why),
            Self::NotPassed => f.write_str("the ProxyCommand did not pass on a connection"),
            Self::NotStarted(kind) => write!(f, "cannot start the ProxyCommand: {kind}"),
        }
    }
}
