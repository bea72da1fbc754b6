//! The task between connections and network. Owns when there is something to do: packets,
//! work of the streams, and the connections' own timers.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Shape;
use super::net::Net;

/// How many packets are looked at under one lock.
const BATCH: usize = 64;
/// A stack that wants to go on at once without having sent anything would never rest.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
/// Without timers of any connection.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long what was written may take in the end.
const DELIVERY: Duration = Duration::from_millis(25);
/// And then the resets, which are repeated, behind what already waits for the network.
/// Meanwhile the other side of a stream that was cut off may ask whether that was us: where
/// it has missed something that came before, the reset does not fit (RFC 5961, section 3.2),
/// and only the answer to what it asks does.
const RESETS: Duration = Duration::from_millis(300);

/// What the task and the streams have in common.
pub(super) struct Shared {
    net: Mutex<Net>,
    /// There is something to do.
    pub(super) work: Notify,
    ended: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(shape: &Shape) -> Self {
        let net = Mutex::new(Net::new(shape));
        Self { net, work: Notify::new(), ended: watch::Sender::new(false) }
    }

    /// The connections, for a moment.
    pub(super) fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the task is over.
    pub(super) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// Runs until there is no handle or no network any more.
pub(super) async fn run(
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Vec<u8>>,
    incoming: mpsc::Receiver<Vec<u8>>,
) {
    let _ended = Ended(shared.clone());
    let mut pump = Pump { shared, outgoing, incoming, batch: Vec::with_capacity(BATCH) };
    if pump.work().await == End::Wanted {
        pump.finish().await;
    }
}

/// However the task ends, nobody waits for it any more.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.net().abort(ErrorKind::NotConnected);
        self.0.ended.send_replace(true);
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Wanted,
    NoNetwork,
}

struct Pump {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Vec<u8>>,
    incoming: mpsc::Receiver<Vec<u8>>,
    batch: Vec<Vec<u8>>,
}

impl Pump {
    async fn work(&mut self) -> End {
        let sleep = sleep_until(Instant::now());
        tokio::pin!(sleep);
        loop {
            let (pause, is_full) = self.turn();
            if self.shared.net().is_ending {
                return End::Wanted;
            }
            let due = Instant::now() + pause.unwrap_or(LONGEST_PAUSE).max(LEAST_PAUSE);
            sleep.as_mut().reset(due);
            tokio::select! {
                count = self.incoming.recv_many(&mut self.batch, BATCH) => if count == 0 {
                    return End::NoNetwork;
                },
                () = self.shared.work.notified() => {}
                () = &mut sleep, if !is_full => {}
                room = self.outgoing.reserve(), if is_full => if room.is_err() {
                    return End::NoNetwork;
                },
                () = self.outgoing.closed() => return End::NoNetwork,
            }
        }
    }

    /// One turn of the connections: when the next is due, and whether the network has to
    /// take something before.
    fn turn(&mut self) -> (Option<Duration>, bool) {
        // What came meanwhile is looked at, too.
        while self.batch.len() < BATCH {
            let Ok(packet) = self.incoming.try_recv() else { break };
            self.batch.push(packet);
        }
        let room = self.outgoing.capacity();
        let mut net = self.shared.net();
        let pause = net.turn(self.batch.drain(..), room);
        for _ in 0..room {
            let Some(packet) = net.queues.leaving.pop_front() else { break };
            let _ = self.outgoing.try_send(packet);
        }
        (pause, !net.queues.leaving.is_empty() || self.outgoing.capacity() == 0)
    }

    /// Says to all other sides that we are gone.
    async fn finish(&mut self) {
        if self.shared.net().is_unused() && self.shared.net().is_quiet() {
            return;
        }
        self.shared.net().finish();
        self.until(DELIVERY, Net::is_delivered).await;
        self.shared.net().abort(ErrorKind::NotConnected);
        self.until(RESETS, Net::has_parted).await;
        let taken = async {
            while self.outgoing.capacity() < self.outgoing.max_capacity() {
                tokio::time::sleep(LEAST_PAUSE).await;
            }
        };
        let _ = timeout_at(Instant::now() + RESETS, taken).await;
    }

    /// Turns until it is so, but no longer than that.
    async fn until(&mut self, limit: Duration, is_so: impl Fn(&Net) -> bool) {
        let end = Instant::now() + limit;
        loop {
            let (pause, is_full) = self.turn();
            if is_so(&self.shared.net()) || Instant::now() >= end {
                return;
            }
            let pause = if is_full { LEAST_PAUSE } else { pause.unwrap_or(limit) };
            let next = end.min(Instant::now() + pause.max(LEAST_PAUSE));
            // A network that is gone takes nothing more.
            if let Ok(0) = timeout_at(next, self.incoming.recv_many(&mut self.batch, BATCH)).await {
                return;
            }
        }
    }
}
