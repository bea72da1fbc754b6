//! Connects to a peer. Owns whose turn it is: the next one's, when the one before is slow.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};

use super::PeerAddress;

/// How long a peer may take to accept a connection.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// The same for an onion service, for which Tor may have to start.
pub(super) const ONION_DEADLINE: Duration = Duration::from_secs(120);
/// How long the next one waits for it (RFC 8305, section 5).
const DELAY: Duration = Duration::from_millis(250);
/// More are not tried at once.
const MAX_AT_ONCE: usize = 16;

/// What carries the bytes.
pub(in crate::dial) trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// A connection to a peer.
pub(in crate::dial) type PeerConnection = Pin<Box<dyn Io>>;
/// What [`Underlay::connect`] returns.
pub(in crate::dial) type Connecting = Pin<Box<dyn Future<Output = Option<PeerConnection>> + Send>>;

/// What connects to peers.
pub(in crate::dial) trait Underlay: Send + Sync + 'static {
    /// Connects to one, if it can.
    fn connect(&self, peer: PeerAddress) -> Connecting;
}

/// The first of the peers that accepts a connection.
pub(super) async fn first(
    underlay: &impl Underlay,
    peers: Vec<(usize, PeerAddress)>,
) -> Option<(usize, PeerConnection)> {
    let mut peers = peers.into_iter();
    let mut running = FuturesUnordered::new();
    loop {
        if running.len() < MAX_AT_ONCE
            && let Some((number, peer)) = peers.next()
        {
            let deadline = if peer.is_onion() { ONION_DEADLINE } else { DEADLINE };
            let connecting = tokio::time::timeout(deadline, underlay.connect(peer));
            running.push(async move { Some((number, connecting.await.ok()??)) });
        }
        let is_full = running.len() >= MAX_AT_ONCE || peers.len() == 0;
        tokio::select! {
            connected = running.next() => match connected {
                Some(Some(connected)) => return Some(connected),
                // The next one's turn.
                Some(None) => {}
                None if peers.len() == 0 => return None,
                None => {}
            },
            () = tokio::time::sleep(DELAY), if !is_full => {}
        }
    }
}
