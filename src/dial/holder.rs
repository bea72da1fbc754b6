//! One node for all processes of a user: the one that has the key of a network opens streams
//! for the others, which find it by the socket that is the key's lock. Owns who is served,
//! how many, and that a stream ends on both sides whatever becomes of either; the words are
//! in the modules below.

mod guest;
mod message;

use std::io;
use std::net::SocketAddrV6;
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::key_lock::Hold;
use super::{Dialling, Phase, Stream};
use crate::descriptors::{self, SocketPeer};
use crate::output::unread;
pub(super) use guest::{Patience, Visit};
pub(super) use message::Terms;
use message::{Reply, Request};

/// Guests at a time, those that wait among them: fewer than a node has connections.
const MAX_GUESTS: usize = 48;
/// How long one may take to say what it wants.
const REQUEST: Duration = Duration::from_secs(2);
/// How long what a guest has said last may take, once it is gone.
const LAST: Duration = Duration::from_secs(2);
/// Out of files, perhaps only for now.
const PAUSE: Duration = Duration::from_millis(100);
/// Phases that wait to be told.
const PHASES: usize = 16;
/// How much of a stream is copied at once.
const PART: usize = 64 << 10;

/// Those of this process.
static GUESTS: LazyLock<Guests> = LazyLock::new(Guests::new);

/// How many guests have a stream; none once no more are taken.
struct Guests(watch::Sender<Option<usize>>);

/// How long a process lasts that needs a key or has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lasting {
    /// As long as its own work.
    #[default]
    Work,
    /// Until no other process goes by its nodes: it waits for
    /// [`guests_are_gone`](super::guests_are_gone) in the end.
    Guests,
    /// As long as it takes to see whether somebody answers: a stream that may end at any time
    /// will do.
    Answer,
}

/// A node of a network of ours.
pub(super) trait Node: Send + Sync + 'static {
    /// Opens a stream, which keeps the node.
    fn open<'a>(
        self: Arc<Self>,
        to: SocketAddrV6,
        enter: &'a (dyn Fn(Phase) + Sync),
    ) -> Dialling<'a>;
}

/// What guests may know of a node.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    /// What its network is called.
    pub(super) network: &'static str,
    /// What a guest has to have in common with it.
    pub(super) terms: Terms,
    /// How long this process is there.
    pub(super) lasting: Lasting,
}

/// Waits until no guest has a stream in this process, and takes none from then on.
pub(super) async fn guests_are_gone() {
    GUESTS.are_gone().await;
}

impl Guests {
    fn new() -> Self {
        Self(watch::Sender::new(Some(0)))
    }

    async fn are_gone(&self) {
        let close = |count: &mut Option<usize>| {
            let is_empty = *count == Some(0);
            if is_empty {
                *count = None;
            }
            is_empty
        };
        loop {
            // The sender is here, so that this cannot fail.
            let _ = self.0.subscribe().wait_for(|count| count.unwrap_or_default() == 0).await;
            if self.0.send_if_modified(close) || self.0.borrow().is_none() {
                return;
            }
        }
    }

    /// Counts one; none where nobody is taken any more.
    fn enter(&self) -> Option<Counted> {
        let count = |count: &mut Option<usize>| {
            *count = count.map(|count| count + 1);
            count.is_some()
        };
        self.0.send_if_modified(count).then(|| Counted(self.0.clone()))
    }
}

/// A guest that counts.
struct Counted(watch::Sender<Option<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.map(|count| count.saturating_sub(1)));
    }
}

/// Serves guests of a node on the runtime of the caller, until the lock is released.
pub(super) fn serve<N: Node>(hold: &Hold, node: &Arc<N>, offer: Offer) {
    let node = Arc::downgrade(node);
    hold.serve_with(|socket| {
        let listener = UnixListener::from_std(socket).ok()?;
        Some(tokio::spawn(attend_all(listener, node, offer)).abort_handle())
    });
}

async fn attend_all<N: Node>(listener: UnixListener, node: Weak<N>, offer: Offer) {
    let places = Arc::new(Semaphore::new(MAX_GUESTS));
    // They end with this one, and their streams with them.
    let mut guests = tokio::task::JoinSet::new();
    loop {
        while guests.try_join_next().is_some() {}
        let Ok((guest, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // It asks again later.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (node, offer) = (node.clone(), offer.clone());
        guests.spawn(async move {
            let _ = attend(guest, node, offer).await;
            drop(place);
        });
    }
}

/// Does what a guest asks for; none where there is nothing to be done.
async fn attend<N: Node>(mut guest: UnixStream, node: Weak<N>, offer: Offer) -> Option<()> {
    let peer = descriptors::peer(&guest).filter(SocketPeer::is_ours)?;
    let request = timeout(REQUEST, Request::receive(&mut guest)).await.ok()?.ok()?;
    let Offer { network, terms, lasting } = offer;
    let stays = lasting == Lasting::Guests || peer.pid == std::process::id();
    let refusal = match () {
        () if !terms.agree(&request.terms) => Some(Reply::Differs),
        () if !stays && !request.is_urgent => Some(Reply::Wait),
        () => None,
    };
    if let Some(refusal) = refusal {
        guest.write_all(&refusal.encode(network)).await.ok()?;
        gone(&guest).await;
        return None;
    }
    let _counted = GUESTS.enter()?;
    let node = node.upgrade()?;
    let there = opened(&mut guest, node, request.to, network).await?;
    relay(guest, there).await;
    Some(())
}

/// Opens a stream for a guest and tells it how far that is; none where it cannot be opened,
/// or the guest is gone.
async fn opened<N: Node>(
    guest: &mut UnixStream,
    node: Arc<N>,
    to: SocketAddrV6,
    network: &'static str,
) -> Option<Stream> {
    let (phases, mut told) = mpsc::channel(PHASES);
    let enter = move |phase| {
        let _ = phases.try_send(phase);
    };
    // At once: the node may have to wait for somebody else before it has more to say.
    guest.write_all(&Reply::Phase(Phase::Connecting).encode(network)).await.ok()?;
    let opening = node.open(to, &enter);
    tokio::pin!(opening);
    let opened = loop {
        let phase = tokio::select! {
            biased;
            phase = told.recv() => phase?,
            opened = &mut opening => break opened,
            () = gone(guest) => return None,
        };
        guest.write_all(&Reply::Phase(phase).encode(network)).await.ok()?;
    };
    let (reply, there) = match opened {
        Ok(there) => (Reply::Open, Some(there)),
        Err(error) => (Reply::Failed(error), None),
    };
    guest.write_all(&reply.encode(network)).await.ok()?;
    there
}

/// Waits until a guest that has nothing to say is gone, or says something.
async fn gone(guest: &UnixStream) {
    loop {
        let _ = guest.readable().await;
        match guest.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// Bytes both ways, until both directions have ended or one is broken. What a guest has
/// said is still sent once it is gone, and nothing is fetched for it any more.
async fn relay(guest: UnixStream, there: Stream) {
    let unread = unread(guest.as_fd());
    let (from_guest, to_guest) = guest.into_split();
    let (from_there, to_there) = tokio::io::split(there);
    let sending = copy(from_guest, to_there);
    let fetching = copy(from_there, to_guest);
    tokio::pin!(sending);
    let is_gone = {
        let both = async { tokio::try_join!(&mut sending, fetching).is_err() };
        tokio::select! {
            _ = both => false,
            () = unread => true,
        }
    };
    if is_gone {
        let _ = timeout(LAST, sending).await;
    }
}

/// One direction to its end, which is passed on.
async fn copy(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy_buf(&mut BufReader::with_capacity(PART, from), &mut to).await?;
    to.shutdown().await
}

#[cfg(test)]
mod tests;
