//! IP packets in and out, TCP streams on top: the one userspace stack of all networks
//! whose peers exchange packets. Owns connections, their ends and their limits; knows
//! neither who carries the packets nor what the streams are for. It listens to nobody.

mod arrival;
mod net;
mod pump;
mod queues;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::DialFailure;
use pump::Shared;
use stream::StackStream;

/// How many packets may wait for the network in each direction, and how long all of them
/// may be together: an end is said behind what waits.
const QUEUE: usize = 256;
const MAX_WAITING: usize = 512 << 10;
/// How long an answer is waited for: as many SYNs as other systems send in that time.
const CONNECT_DEADLINE: Duration = Duration::from_secs(60);
/// How long [`Stack::close`] may take; much less where little is under way.
const CLOSE_DEADLINE: Duration = Duration::from_millis(600);

/// A handle of the stack. Connections live as long as one of them.
#[derive(Clone)]
pub(in crate::dial) struct Stack(Arc<Owner>);

/// What the network gives us.
pub(in crate::dial) struct Shape {
    /// Our addresses, each with the length of its network's prefix.
    pub(in crate::dial) addresses: Vec<(IpAddr, u8)>,
    /// The longest packet.
    pub(in crate::dial) mtu: usize,
}

/// The network's end. It takes packets from `outgoing` and puts them into `incoming`
/// independently of each other: one that waits for the other stands still.
pub(in crate::dial) struct NetworkEnd {
    /// Packets to be sent. It ends when the stack has.
    pub(in crate::dial) outgoing: mpsc::Receiver<Vec<u8>>,
    /// Packets that have come. All streams break when it is dropped.
    pub(in crate::dial) incoming: mpsc::Sender<Vec<u8>>,
}

impl Stack {
    /// Begins with a task on the runtime of the caller.
    pub(in crate::dial) fn start(shape: Shape) -> (Self, NetworkEnd) {
        let queue = (MAX_WAITING / shape.mtu.max(1)).clamp(16, QUEUE);
        let (to_network, outgoing) = mpsc::channel(queue);
        let (incoming, from_network) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::new(&shape));
        tokio::spawn(pump::run(shared.clone(), to_network, from_network));
        (Self(Arc::new(Owner(shared))), NetworkEnd { outgoing, incoming })
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// Refusal, what routers say, and silence are told apart.
    pub(in crate::dial) async fn connect(
        &self,
        to: SocketAddr,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + use<>, DialFailure> {
        let shared = &self.0.0;
        // Whoever gives up waiting drops it, which takes the connection back.
        let stream = StackStream::new(shared.clone(), shared.net().connect(to)?);
        shared.work.notify_one();
        let answer = std::future::poll_fn(|cx| stream.poll_connected(cx));
        match tokio::time::timeout(CONNECT_DEADLINE, answer).await {
            Ok(answer) => answer.map(|()| stream),
            Err(_) => Err(DialFailure::TimedOut),
        }
    }

    /// Ends every stream: what was written is sent, if that does not take long. Nobody
    /// does that for us when the process is gone.
    pub(in crate::dial) async fn close(&self) {
        self.0.end();
        let _ = tokio::time::timeout(CLOSE_DEADLINE, self.0.0.ended()).await;
    }
}

/// The other side, which only tests have.
#[cfg(test)]
impl Stack {
    fn listen(&self, on: SocketAddr) -> StackStream {
        let shared = &self.0.0;
        StackStream::new(shared.clone(), shared.net().listen(on))
    }

    /// For the tests of who carries packets.
    #[cfg(feature = "mycelium")]
    pub(in crate::dial) async fn accepted(
        &self,
        on: SocketAddr,
    ) -> impl AsyncRead + AsyncWrite + Send + use<> {
        self.accept(on).await
    }

    async fn accept(&self, on: SocketAddr) -> StackStream {
        let stream = self.listen(on);
        stream.accepted().await;
        stream
    }
}

#[cfg(test)]
impl StackStream {
    async fn accepted(&self) {
        std::future::poll_fn(|cx| self.net().poll_accepted(self.handle(), cx)).await;
    }
}

/// Ends the stack with the last handle.
struct Owner(Arc<Shared>);

impl Owner {
    fn end(&self) {
        self.0.net().is_ending = true;
        self.0.work.notify_one();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.end();
    }
}

impl StackStream {
    fn poll_connected(&self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), DialFailure>> {
        self.net().poll_connected(self.handle(), cx)
    }
}

#[cfg(test)]
mod tests;
