//! Ways of our own into networks that the operating system may have no route to. Owns when
//! one is taken beside an ordinary connection: by the address that is to be reached,
//! whatever the clan calls its network, and only while this computer is not in it.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::timeout;

use super::{DialError, DialFailure, Dialling, Phase, SocketOptions, Stream, Target};
use crate::error::{Daemon, Stage};
use crate::model::{Network, Running, Technology};
use crate::overlay::{self, Overlay};
use crate::secret::Secret;

/// What carries a tailnet.
pub(super) const TAILSCALED: Daemon =
    Daemon { name: "tailscaled", start: "systemctl start tailscaled, then tailscale up" };

/// How long a way goes on alone; RFC 8305, section 5, allows up to two seconds between
/// addresses.
const ALONE: Duration = Duration::from_secs(1);
/// How long the system's own connection is waited for once the way has failed.
const AFTER: Duration = Duration::from_secs(2);

/// What a way answers later.
pub(super) type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way into a network that is known by its addresses. Making one reads and starts
/// nothing.
pub(super) trait ByAddress: super::Dial {
    /// What it is called where networks are listed.
    fn name(&self) -> &'static str;

    /// Whether it would lead to the hosts of a network with what is at hand; `None` where
    /// the network is none of its. Blocks.
    fn running(&self, network: &Network) -> Option<Running>;

    /// Whether this way leads to an address.
    fn claims(&self, address: IpAddr) -> Answering<'_, bool>;

    /// The addresses of a name that nobody else can resolve; `None` where it is no name of
    /// the network.
    fn addresses<'a>(&'a self, _name: &'a str) -> Answering<'a, Option<Resolved>> {
        Box::pin(async { None })
    }

    /// Why a name of the network has no address, where nobody knows it.
    fn explains(&self, _name: &str) -> Option<DialError> {
        None
    }

    /// Whether it holds now what no other process can have at the same time.
    fn is_alone(&self) -> bool {
        false
    }

    /// Whether it is dialled by this name, whatever its addresses are, because this
    /// computer is not in the network that has it.
    fn takes(&self, _name: &str) -> bool {
        false
    }
}

/// The addresses of a name, or why they are not known.
pub(super) type Resolved = Result<Vec<IpAddr>, DialError>;

/// All ways.
#[derive(Clone)]
pub struct Ways(Arc<[Arc<dyn ByAddress>]>);

impl Ways {
    pub(super) fn new(ways: Vec<Arc<dyn ByAddress>>) -> Self {
        Self(ways.into())
    }

    /// None at all, for connections that come from a place that the user has named.
    pub(super) fn none() -> Self {
        Self(Arc::new([]))
    }

    /// See [`Ways::running`]; `of_kind` is what the network's technology says.
    pub(super) fn or_running(
        &self,
        network: &Network,
        of_kind: Running,
    ) -> (Running, Option<&'static str>) {
        if network.technology != Technology::DIRECT || of_kind == Running::Yes {
            return (of_kind, None);
        }
        let of_way = |way: &Arc<dyn ByAddress>| Some((way.running(network)?, way.name()));
        match self.0.iter().find_map(of_way) {
            Some((Running::InProcess, name)) => (Running::InProcess, Some(name)),
            Some((running, _)) => (running, None),
            None => (of_kind, None),
        }
    }

    /// As [`ByAddress::addresses`], by the first that knows the name.
    pub(super) async fn addresses(&self, name: &str) -> Option<Resolved> {
        for way in self.0.iter() {
            if let Some(resolved) = way.addresses(name).await {
                return Some(resolved);
            }
        }
        None
    }

    /// As [`ByAddress::explains`].
    pub(super) fn explain(&self, name: &str) -> Option<DialError> {
        self.0.iter().find_map(|way| way.explains(name))
    }

    /// As [`ByAddress::is_alone`], of any.
    pub(super) fn are_alone(&self) -> bool {
        self.0.iter().any(|way| way.is_alone())
    }

    /// The way that is dialled by this name.
    pub(super) fn taking(&self, name: &str) -> Option<&dyn ByAddress> {
        self.0.iter().map(AsRef::as_ref).find(|way| way.takes(name))
    }

    /// The way to an address of a network that this computer is not in.
    async fn claiming(&self, address: IpAddr) -> Option<&dyn ByAddress> {
        if !is_outside(address) {
            return None;
        }
        for way in self.0.iter() {
            if way.claims(address).await {
                return Some(way.as_ref());
            }
        }
        None
    }

    /// Connects to an address by the system, and by a way of ours at the same time where
    /// one leads there; whichever is first.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        enter: &(dyn Fn(Phase) + Sync),
        plainly: impl Future<Output = Result<Stream, DialError>> + Send,
    ) -> Result<Stream, DialError> {
        let ip = address.ip();
        match self.claiming(ip).await {
            Some(way) => {
                let target = to(address);
                let mut stream = first(plainly, by(way, &target, enter)).await?;
                stream.peer = Some(ip);
                Ok(stream)
            }
            None => {
                let missing = missing(ip);
                enter(missing.map_or(Phase::Connecting, Phase::Outside));
                let daemon = |error: DialError| match missing {
                    Some(daemon) if !is_there(&error.failure) => {
                        DialError::new(error.stage, DialFailure::Outside(daemon))
                    }
                    _ => error,
                };
                plainly.await.map_err(daemon)
            }
        }
    }
}

impl SocketOptions {
    /// Whether connections leave as the system has it, so that one that does not touch the
    /// system's routes means the same.
    pub(super) fn are_open(&self) -> bool {
        self.proxy.is_none() && self.address.is_none() && self.interface.is_none()
    }
}

/// Dials by a way, and notes that it is this one.
pub(super) fn by<'a>(
    way: &'a dyn ByAddress,
    target: &'a Target,
    enter: &'a (dyn Fn(Phase) + Sync),
) -> Dialling<'a> {
    Box::pin(async move { Ok(way.dial(target, enter).await?.with_way(Some(way.name()))) })
}

/// The target that an address is.
fn to(address: SocketAddr) -> Target {
    let host = Secret::new(address.ip().to_string());
    let technology: Technology = Technology::DIRECT;
    // Whoever shows it has the label of the target that it is an address of.
    Target { technology, host, label: String::new(), secret: true, port: address.port() }
}

/// The first of two that succeeds. The way has the field to itself for a while: where only
/// the default route leads to such an address, whoever answers there is somebody else. Where
/// neither succeeds, what the way says explains more, unless the host itself has answered.
pub(super) async fn first(
    plainly: impl Future<Output = Result<Stream, DialError>> + Send,
    mut way: Dialling<'_>,
) -> Result<Stream, DialError> {
    let failed = match timeout(ALONE, &mut way).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    tokio::pin!(plainly);
    let (plain, error) = match failed {
        Some(error) => (a_while(plainly).await, error),
        None => match select(plainly, way).await {
            Either::Left((Err(plain), way)) => match way.await {
                Ok(stream) => return Ok(stream),
                Err(error) => (Err(plain), error),
            },
            Either::Right((Err(error), plainly)) => (a_while(plainly).await, error),
            Either::Left((Ok(stream), _)) | Either::Right((Ok(stream), _)) => return Ok(stream),
        },
    };
    plain.map_err(|plain| if is_there(&plain.failure) { plain } else { error })
}

/// Waits no longer than what the way has said is worth: it would be lost with the route's
/// own deadline, where packets vanish.
async fn a_while(
    plainly: impl Future<Output = Result<Stream, DialError>>,
) -> Result<Stream, DialError> {
    let silence = || Err(DialError::new(Stage::Dial, DialFailure::TimedOut));
    timeout(AFTER, plainly).await.unwrap_or_else(|_| silence())
}

/// Whether a host has answered that it does not answer.
fn is_there(failure: &DialFailure) -> bool {
    *failure == DialFailure::Refused
}

/// Whether an address is of an overlay that this computer is not in, and that nothing in
/// its network leads to either, as a router may.
fn is_outside(address: IpAddr) -> bool {
    overlay::is_running(address) == Some(false) && !overlay::is_routed(address)
}

/// The daemon without which an address leads nowhere, if it is one of a network that this
/// computer is not in.
fn missing(address: IpAddr) -> Option<Daemon> {
    let daemon = |name, start| Some(Daemon { name, start });
    if !is_outside(address) {
        return None;
    }
    match Overlay::of(address)? {
        Overlay::Yggdrasil => daemon("yggdrasil", "systemctl start yggdrasil"),
        Overlay::Mycelium => daemon("mycelium", "systemctl start mycelium"),
        Overlay::Zerotier => daemon("zerotier-one", "systemctl start zerotierone"),
        Overlay::Tailscale => Some(TAILSCALED),
        Overlay::Local => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Dial;
    use crate::error::Cause;

    /// Opens after a while, or fails.
    struct Way(Duration, Result<(), DialFailure>);

    impl Dial for Way {
        fn dial<'a>(&'a self, _: &'a Target, _: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
            Box::pin(async {
                tokio::time::sleep(self.0).await;
                let failed = |failure| DialError::new(Stage::Dial, failure);
                self.1.clone().map(|()| Stream::new(tokio::io::empty(), None)).map_err(failed)
            })
        }
    }

    impl ByAddress for Way {
        fn name(&self) -> &'static str {
            "way"
        }

        fn running(&self, _: &Network) -> Option<Running> {
            None
        }

        fn claims(&self, address: IpAddr) -> Answering<'_, bool> {
            Box::pin(async move { address.to_string().starts_with("4") })
        }
    }

    fn ways(millis: u64, opens: Result<(), DialFailure>) -> Ways {
        Ways(Arc::new([Arc::new(Way(Duration::from_millis(millis), opens))]))
    }

    async fn plainly(millis: u64, failure: Option<DialFailure>) -> Result<Stream, DialError> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let local = "127.0.0.1:1".parse().ok();
        let open = || Stream::new(tokio::io::empty(), None).with_local(local);
        failure.map_or_else(|| Ok(open()), |it| Err(DialError::new(Stage::Dial, it)))
    }

    /// Whether the system's own connection won, or the failure.
    async fn outcome(
        host: &str,
        way: (u64, Result<(), DialFailure>),
        plain: (u64, Option<DialFailure>),
    ) -> Result<bool, DialFailure> {
        let address = SocketAddr::new(host.parse().unwrap(), 22);
        let ways = ways(way.0, way.1);
        let connected = ways.connect(address, &|_| (), plainly(plain.0, plain.1)).await;
        connected.map(|stream| stream.local.is_some()).map_err(|error| error.failure)
    }

    #[tokio::test(start_paused = true)]
    async fn whichever_is_first_is_taken_and_what_fails_is_no_end() {
        let gone = || Some(DialFailure::NoNetwork);
        let mycelium = "400::1";
        assert_eq!(outcome(mycelium, (10, Ok(())), (5000, None)).await, Ok(false));
        assert_eq!(outcome(mycelium, (900, Ok(())), (0, None)).await, Ok(false));
        assert_eq!(outcome(mycelium, (5000, Ok(())), (10, None)).await, Ok(true));
        assert_eq!(outcome(mycelium, (5000, Ok(())), (0, gone())).await, Ok(false));
        assert_eq!(outcome(mycelium, (50, Ok(())), (0, gone())).await, Ok(false));
        let failed = Err(DialFailure::Io(std::io::ErrorKind::Other));
        assert_eq!(outcome(mycelium, (0, failed.clone()), (10, None)).await, Ok(true));
        // Where packets vanish, what the way has said is not lost.
        let vanished = outcome(mycelium, (0, failed.clone()), (60_000, None)).await;
        assert_eq!(vanished, failed.clone().map(|()| true));
        // Of two failures the one that tells more.
        let both = outcome(mycelium, (0, failed.clone()), (10, gone())).await;
        assert_eq!(both, failed.clone().map(|()| true));
        let refused = outcome(mycelium, (10, failed), (0, Some(DialFailure::Refused))).await;
        assert_eq!(refused, Err(DialFailure::Refused));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_no_way_leads_to_names_its_daemon() {
        let gone = || Some(DialFailure::NoNetwork);
        let outside = outcome("200::1", (0, Ok(())), (0, gone())).await.unwrap_err();
        let error = DialError::new(Stage::Dial, outside);
        let text = error.failure.to_string();
        assert_eq!(text, "this computer is not in that network: its yggdrasil is down");
        assert_eq!(Cause::from(error).hint().unwrap(), "start it here: systemctl start yggdrasil");
        let refused = outcome("200::1", (0, Ok(())), (0, Some(DialFailure::Refused))).await;
        assert_eq!(refused, Err(DialFailure::Refused));
        // An ordinary address is no business of any way.
        assert_eq!(
            outcome("45.0.0.1", (0, Ok(())), (10, gone())).await,
            Err(DialFailure::NoNetwork)
        );
    }
}
