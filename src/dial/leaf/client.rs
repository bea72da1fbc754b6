//! A leaf that runs: the protocol's driver, the TCP stack on top of it and their threads.
//! Owns that it ends with its last use, and that the other side hears of it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::driver::{Command, Driver, Progress};
use super::{PeerAddress, Protocol, Step, Underlay};
use crate::dial::holder::{self, Lasting, Offer, Terms};
use crate::dial::key_lock::Hold;
use crate::dial::own_runtime::OwnRuntime;
use crate::dial::packet::{Shape, Stack};
use crate::dial::{DialError, DialFailure, Dialling, Phase, Stream};
use crate::error::{LeafFailure, LeafFault, Stage};

/// How long a way may be looked for, with all peers.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where one is an onion service, for which Tor may have to start.
const ONION_PATIENCE: Duration = Duration::from_secs(150);
/// How long a machine may take to accept a connection.
const ENTER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a machine is still sent to after its stream has ended.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long what the stack has said last may take to the peer's socket.
const FLUSH: Duration = Duration::from_millis(600);

/// The leaf.
pub(in crate::dial) struct Client {
    overlay: &'static str,
    /// Ours.
    address: Ipv6Addr,
    runtime: OwnRuntime,
    stack: Stack,
    commands: mpsc::UnboundedSender<Command>,
    /// How long a way may be looked for.
    patience: Duration,
    /// What it is when a machine does not accept a connection.
    silence: LeafFault,
    /// Whether a public node leads on.
    is_public: Arc<AtomicBool>,
    driver: Option<JoinHandle<()>>,
    /// What no other process can have as long as this one runs.
    alone: Option<(Hold, Terms)>,
}

impl Client {
    /// Starts its threads; peers are looked for with the first dial.
    pub(in crate::dial) fn start<P: Protocol>(
        overlay: &'static str,
        (address, mtu): (Ipv6Addr, usize),
        protocol: P,
        peers: Vec<PeerAddress>,
        underlay: impl Underlay,
    ) -> Result<Self, LeafFault> {
        let runtime = OwnRuntime::new(overlay).map_err(|_| LeafFault::Ended)?;
        let handle = runtime.handle().ok_or(LeafFault::Ended)?;
        let _here = handle.enter();
        let addresses = vec![(IpAddr::V6(address), 128)];
        let (stack, link) = Stack::start(Shape { addresses, mtu });
        let (commands, orders) = mpsc::unbounded_channel();
        let patience = patience(&peers);
        let silence = if P::IS_MET { LeafFault::Unanswered } else { LeafFault::Unheard };
        let driver = Driver::new(protocol, peers, underlay, orders, link);
        let is_public = driver.is_public();
        let driver = Some(handle.spawn(driver.run()));
        let alone = None;
        Ok(Self {
            overlay,
            address,
            runtime,
            stack,
            commands,
            patience,
            silence,
            is_public,
            driver,
            alone,
        })
    }

    /// The same, and a lock is held until it has ended: others on these terms use it too.
    pub(in crate::dial) fn holding(self, alone: Option<(Hold, Terms)>) -> Self {
        let mut client = self;
        client.alone = alone;
        client
    }

    /// Whether it has what no other process can have at the same time.
    pub(in crate::dial) fn is_alone(&self) -> bool {
        self.alone.as_ref().is_some_and(|(hold, _)| hold.is_held())
    }

    /// Opens streams for other processes of ours, where they would need the same key.
    pub(in crate::dial) fn serve(self: &Arc<Self>, lasting: Lasting) {
        if let Some((hold, terms)) = &self.alone {
            let offer = Offer { network: self.overlay, terms: terms.clone(), lasting };
            holder::serve(hold, self, offer);
        }
    }

    /// Opens a stream to a machine.
    pub(in crate::dial) async fn dial(
        self: Arc<Self>,
        target: Ipv6Addr,
        port: u16,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Stream, DialError> {
        let overlay = self.overlay;
        if self.alone.as_ref().is_some_and(|(hold, _)| hold.is_contested) {
            enter(Phase::Contested(overlay));
        }
        if target == self.address {
            return Err(failed(overlay, LeafFault::KeyElsewhere));
        }
        let (watcher, progress) = watch::channel(Progress::At(Step::Peering, LeafFault::NoPeers));
        let sought = Sought { client: self.clone(), target };
        let _ = self.commands.send(Command::Seek(target, watcher));
        self.until_ready(progress, enter).await?;
        if self.is_public.load(Ordering::Relaxed) {
            enter(Phase::Public(overlay));
        }
        let silent = LeafFailure { overlay, fault: self.silence.clone() };
        enter(Phase::Entering(silent.clone()));
        let address = SocketAddr::new(target.into(), port);
        let entering = tokio::time::timeout(ENTER_DEADLINE, self.stack.connect(address));
        let entered = entering.await.unwrap_or(Err(DialFailure::TimedOut));
        let opened = entered.map_err(|failure| match failure {
            DialFailure::TimedOut => silent.into(),
            failure => DialError::new(Stage::Dial, failure),
        })?;
        Ok(Stream::new(opened, Some(target.into())).with_carrier(Arc::new(sought)))
    }

    /// Waits until there is a way, for as long as several peers may take.
    async fn until_ready(
        &self,
        mut progress: watch::Receiver<Progress>,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<(), DialError> {
        let overlay = self.overlay;
        let until = Instant::now() + self.patience;
        loop {
            let now = progress.borrow_and_update().clone();
            let (step, fault) = match now {
                Progress::At(Step::Ready, _) => return Ok(()),
                Progress::At(step, fault) => (step, fault),
                Progress::Failed(fault) => return Err(failed(overlay, fault)),
            };
            let failure = LeafFailure { overlay, fault };
            enter(match step {
                Step::Peering => Phase::Peering(failure.clone()),
                Step::Lookup => Phase::Seeking(failure.clone()),
                Step::Session | Step::Ready => Phase::Session(failure.clone()),
            });
            let changed = timeout_at(until, progress.changed()).await.map_err(|_| failure)?;
            changed.map_err(|_| failed(overlay, LeafFault::Ended))?;
        }
    }
}

impl holder::Node for Client {
    fn open<'a>(
        self: Arc<Self>,
        to: SocketAddrV6,
        enter: &'a (dyn Fn(Phase) + Sync),
    ) -> Dialling<'a> {
        Box::pin(self.dial(*to.ip(), to.port(), enter))
    }
}

impl Drop for Client {
    /// Whoever is not told that a stream has ended keeps it for hours.
    fn drop(&mut self) {
        let (stack, driver) = (self.stack.clone(), self.driver.take());
        self.runtime.end_after(async move {
            stack.close().await;
            // It ends with the stack.
            if let Some(driver) = driver {
                let _ = tokio::time::timeout(FLUSH, driver).await;
            }
        });
    }
}

/// Keeps the way to a machine.
struct Sought {
    client: Arc<Client>,
    target: Ipv6Addr,
}

impl Drop for Sought {
    /// Not at once: the end of the stream has to get there.
    fn drop(&mut self) {
        let (commands, target) = (self.client.commands.clone(), self.target);
        if let Some(handle) = self.client.runtime.handle() {
            handle.spawn(async move {
                tokio::time::sleep(FAREWELL).await;
                let _ = commands.send(Command::Forget(target));
            });
        }
    }
}

/// How long a way by one of these may be looked for.
fn patience(peers: &[PeerAddress]) -> Duration {
    match peers.iter().any(PeerAddress::is_onion) {
        true => ONION_PATIENCE,
        false => PATIENCE,
    }
}

/// The error that a fault is.
pub(in crate::dial) fn failed(overlay: &'static str, fault: LeafFault) -> DialError {
    LeafFailure { overlay, fault }.into()
}

#[cfg(test)]
mod tests {
    use super::super::{Carriage, connect, driver};
    use super::*;

    #[test]
    fn each_step_with_one_peer_may_take_its_time() {
        for (host, connecting) in
            [("peer.example", connect::DEADLINE), ("peer.onion", connect::ONION_DEADLINE)]
        {
            let peer = PeerAddress::new(host, 1, Carriage::Tcp);
            let needed = connecting + driver::longest_turn();
            assert!(patience(&[peer]) >= needed, "{host} needs {needed:?}");
        }
    }
}
