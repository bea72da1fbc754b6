//! One controller: where it is, and the handshake with it. Owns names that are asked for
//! again when nobody answers any more, and what silence can mean.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gotatun::device::{Device, Peer};
use gotatun::x25519::PublicKey;
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::ends::{FromStack, Seen, Sockets, ToStack};
use crate::dial::direct::Direct;
use crate::dial::wireguard::membership::Controller;
use crate::dial::{DialError, DialFailure, Phase};
use crate::error::{Stage, WireGuardFailure};
use crate::printable::Printable;

/// What carries packets between a stack and sockets.
pub(super) type Carrying = Device<(Sockets, ToStack, FromStack)>;

/// How long each initiation waits for its response. The next one goes to the next address.
const PATIENCE: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(2),
    Duration::from_secs(3),
];
/// How long a computer may take to say that nobody listens.
const REFUSAL: Duration = Duration::from_millis(300);
/// Addresses of a controller that are tried.
const MAX_ADDRESSES: usize = 8;
/// Keeps the way open through firewalls (wireguard(4)).
const KEEPALIVE: u16 = 25;
/// Nothing has come for so long, WireGuard has tried again by itself, and more was sent
/// than keepalives: the controller may be elsewhere by now.
const SILENCE: Duration = Duration::from_secs(12);
/// Two initiations of a handshake, in bytes.
const UNANSWERED: usize = 2 * 148;

/// A controller and what is known of it.
pub(super) struct Route {
    name: String,
    key: PublicKey,
    network: (Ipv6Addr, u8),
    host: String,
    port: u16,
    /// Streams by it.
    open: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where it has answered.
    is_up: bool,
    /// Where it may be.
    addresses: Vec<SocketAddr>,
    /// Which of them it is spoken to at.
    current: usize,
    is_kept: bool,
    /// What had come and gone when something came last, and when.
    heard: Option<(usize, usize, Instant)>,
}

/// A stream by a route.
pub(super) struct Open(Arc<Route>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Route {
    pub(super) fn new(controller: &Controller) -> Self {
        let (host, port) = controller.endpoint.clone();
        Self {
            name: Printable(&controller.name).to_string(),
            key: PublicKey::from(controller.key),
            network: controller.network,
            host,
            port,
            open: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// What the device knows of it before it is needed.
    pub(super) fn peer(&self) -> Peer {
        let (network, length) = self.network;
        // As text, since gotatun does not pass the type on.
        Peer::new(self.key).with_allowed_ips(format!("{network}/{length}").parse().ok())
    }

    /// How many bits of an address it leads to.
    pub(super) fn leads_to(&self, address: Ipv6Addr) -> Option<u8> {
        let (network, length) = self.network;
        let differ = (network.to_bits() ^ address.to_bits()).leading_zeros();
        (differ >= u32::from(length)).then_some(length)
    }

    /// Counts a stream.
    pub(super) fn opened(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Has a handshake made, unless it has been.
    pub(super) async fn reach(
        &self,
        device: &Carrying,
        direct: &Direct,
        seen: &Seen,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<(), DialError> {
        let mut state = self.state.lock().await;
        let [patience, ..] = PATIENCE;
        if state.is_up {
            enter(Phase::Handshaking);
            let known = timeout(patience, device.force_handshake(&self.key)).await;
            if matches!(known, Ok(Ok(()))) {
                return self.keep(device, &mut state).await;
            }
            state.is_up = false;
        }
        enter(Phase::Resolving);
        state.addresses = self.resolve(direct).await?;
        enter(Phase::Handshaking);
        self.shake(device, seen, &mut state).await.map_err(failed)?;
        state.is_up = true;
        self.keep(device, &mut state).await
    }

    async fn keep(&self, device: &Carrying, state: &mut State) -> Result<(), DialError> {
        state.is_kept = true;
        state.heard = None;
        let kept = device.write(async |device| {
            device.modify_peer(&self.key, |peer| peer.set_keepalive(Some(KEEPALIVE))).await
        });
        kept.await.map(|_| ()).map_err(|_| failed(WireGuardFailure::Ended))
    }

    async fn resolve(&self, direct: &Direct) -> Result<Vec<SocketAddr>, DialError> {
        let resolved = direct.addresses(&self.host, self.port).await;
        let mut addresses = resolved.map_err(|error| {
            let failure = WireGuardFailure::Unresolved(Box::new(error.failure));
            DialError::new(Stage::Resolve, DialFailure::WireGuard(failure))
        })?;
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }

    /// Sends an initiation to one address after the other until there is a response.
    async fn shake(
        &self,
        device: &Carrying,
        seen: &Seen,
        state: &mut State,
    ) -> Result<(), WireGuardFailure> {
        let before: Vec<u64> = state.addresses.iter().map(|it| seen.from(*it)).collect();
        let mut given_up: Vec<Option<WireGuardFailure>> = vec![None; state.addresses.len()];
        for (round, patience) in PATIENCE.into_iter().enumerate() {
            let left = (0..state.addresses.len()).map(|at| (at + round) % state.addresses.len());
            let open = |at: &usize| matches!(given_up.get(*at), Some(None));
            let Some(at) = left.clone().find(open) else { break };
            let Some(address) = state.addresses.get(at).copied() else { break };
            state.current = at;
            let peer = self.peer().with_endpoint(address);
            // A new one, as the old one would wait five seconds before it tries again.
            let renewed = device.write(async |device| {
                device.remove_peer(&self.key).await;
                device.add_peer(peer)
            });
            renewed.await.map_err(|_| WireGuardFailure::Ended)?;
            let failure = match timeout(patience, device.force_handshake(&self.key)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(gotatun::device::Error::IoError(error))) => Some(of_sending(&error)),
                Ok(Err(_)) => return Err(WireGuardFailure::Ended),
                Err(_) if seen.from(address) > before.get(at).copied().unwrap_or_default() => None,
                Err(_) => refusal(address).await,
            };
            if let Some(slot) = given_up.get_mut(at) {
                *slot = failure;
            }
        }
        let has_come = |(address, before): (&SocketAddr, &u64)| seen.from(*address) > *before;
        if state.addresses.iter().zip(&before).any(has_come) {
            return Err(WireGuardFailure::Strange);
        }
        // Silence says less than what a computer on the way has said, but only of its address.
        match given_up.iter().all(Option::is_some) {
            true => Err(given_up.into_iter().flatten().next().unwrap_or(WireGuardFailure::Silent)),
            false => Err(WireGuardFailure::Silent),
        }
    }

    /// What is to be done now and then: the way is kept open only as long as there are
    /// streams, and a controller that has moved is found again.
    pub(super) async fn tend(&self, device: &Carrying, direct: &Direct) {
        let Ok(mut state) = self.state.try_lock() else { return };
        if !state.is_up {
            return;
        }
        if self.open.load(Ordering::Relaxed) == 0 {
            if std::mem::take(&mut state.is_kept) {
                let _ = device
                    .write(async |device| {
                        device.modify_peer(&self.key, |peer| peer.set_keepalive(None)).await
                    })
                    .await;
            }
            return;
        }
        // What is no name leads nowhere else.
        if self.host.parse::<IpAddr>().is_ok() || !self.is_silent(device, &mut state).await {
            return;
        }
        state.heard = None;
        let Ok(addresses) = self.resolve(direct).await else { return };
        let current = state.addresses.get(state.current).copied();
        let at = addresses.iter().position(|it| Some(*it) == current);
        state.current = at.map_or(0, |at| (at + 1) % addresses.len());
        state.addresses = addresses;
        let next = state.addresses.get(state.current).copied();
        tracing::debug!(controller = %self.name, "it does not answer; its name is looked up again");
        let _ = device
            .write(async |device| {
                device.modify_peer(&self.key, |peer| peer.set_endpoint(next)).await
            })
            .await;
    }

    async fn is_silent(&self, device: &Carrying, state: &mut State) -> bool {
        let peers = device.peers().await;
        let Some(peer) = peers.iter().find(|it| it.peer.public_key == self.key) else {
            return false;
        };
        let (come, gone) = (peer.stats.rx_bytes, peer.stats.tx_bytes);
        match state.heard {
            Some((before, sent, since)) if before == come => {
                since.elapsed() >= SILENCE && gone.saturating_sub(sent) >= UNANSWERED
            }
            _ => {
                state.heard = Some((come, gone, Instant::now()));
                false
            }
        }
    }
}

/// Whether the computer at an address says that nobody listens there: only a socket that
/// is connected learns it. What is sent is nothing, which WireGuard passes over.
async fn refusal(address: SocketAddr) -> Option<WireGuardFailure> {
    let any: IpAddr = if address.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let asking = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(address).await?;
        socket.send(&[]).await?;
        socket.recv(&mut [0; 1]).await
    };
    match timeout(REFUSAL, asking).await {
        Ok(Err(error)) => Some(of_sending(&error)),
        _ => None,
    }
}

fn of_sending(error: &std::io::Error) -> WireGuardFailure {
    match error.kind() {
        ErrorKind::ConnectionRefused => WireGuardFailure::Closed,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => WireGuardFailure::Unroutable,
        ErrorKind::AddrNotAvailable => WireGuardFailure::Unroutable,
        _ => WireGuardFailure::NoSocket,
    }
}

fn failed(failure: WireGuardFailure) -> DialError {
    DialError::new(Stage::Bootstrap, DialFailure::WireGuard(failure))
}
