//! Drives an overlay's protocol. Owns the link to one peer at a time, the queues on both
//! sides of it, and when the next peer's turn comes.

mod peer_stream;
mod turns;

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connect::{self, PeerConnection, Underlay};
use super::{PeerAddress, Protocol, Step};
use crate::dial::packet::NetworkEnd;
use crate::error::LeafFault;
use peer_stream::{MAX_OUT, MAX_PACKETS, PeerStream};
use turns::{Turn, Turns};

/// How long keys in common may take.
const SESSION_DEADLINE: Duration = Duration::from_secs(6);
/// How long nobody has to want anything before the link is closed.
const LINGER: Duration = Duration::from_secs(10);
/// Between two rounds through all peers, at first and later.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// Nothing is due later.
const FAR: Duration = Duration::from_secs(3600);
/// What is asked of a driver.
#[derive(Debug)]
pub(in crate::dial) enum Command {
    /// To find a machine, and to keep the way to it.
    Seek(Ipv6Addr, watch::Sender<Progress>),
    /// To do so for one fewer.
    Forget(Ipv6Addr),
}

/// How far a machine is from being reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dial) enum Progress {
    /// This is waited for; what it is when it takes too long.
    At(Step, LeafFault),
    /// Every peer was tried.
    Failed(LeafFault),
}

/// The time since the Unix epoch, on a clock that never goes back.
struct Clock {
    started: Instant,
    epoch: Duration,
}

impl Clock {
    fn new() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch }
    }

    fn now(&self) -> Duration {
        self.epoch + self.started.elapsed()
    }

    fn instant(&self, time: Duration) -> Instant {
        let latest = self.now() + FAR;
        self.started + time.min(latest).saturating_sub(self.epoch)
    }
}

/// The protocol and what it works for.
pub(in crate::dial) struct Driver<P, U> {
    protocol: P,
    peers: Vec<PeerAddress>,
    underlay: U,
    commands: mpsc::UnboundedReceiver<Command>,
    packets: NetworkEnd,
    clock: Clock,
    sought: HashMap<Ipv6Addr, Sought>,
    /// Of what failed since all peers were tried, what tells most.
    worst: LeafFault,
    /// Since when nobody has wanted anything.
    idle_since: Option<Duration>,
    /// The peer that fell silent last.
    silent: Option<usize>,
    /// Whether the link now is, or was last, to a public node.
    is_public: Arc<AtomicBool>,
}

/// A machine that is looked for.
struct Sought {
    watchers: Vec<watch::Sender<Progress>>,
    users: usize,
    step: Step,
    since: Duration,
}

impl Sought {
    fn tell(&mut self, progress: &Progress) {
        self.watchers.retain(|watcher| watcher.send(progress.clone()).is_ok());
    }

    fn deadline(&self, turn: &Turn, is_useful: bool) -> Option<Duration> {
        Some(match self.step {
            Step::Peering => self.since + turn.peering,
            Step::Lookup => self.since + turn.lookup(is_useful),
            Step::Session => self.since + SESSION_DEADLINE,
            Step::Ready => return None,
        })
    }
}

/// Why a link has ended.
enum Ended {
    /// The peer, or what it does not know.
    Fault(LeafFault),
    /// Nobody wants anything any more.
    Unused,
    /// Nobody can want anything any more.
    Closed,
}

impl<P: Protocol, U: Underlay> Driver<P, U> {
    pub(in crate::dial) fn new(
        protocol: P,
        peers: Vec<PeerAddress>,
        underlay: U,
        commands: mpsc::UnboundedReceiver<Command>,
        packets: NetworkEnd,
    ) -> Self {
        let (clock, sought) = (Clock::new(), HashMap::new());
        let (worst, idle_since, silent) = (LeafFault::NoPeers, None, None);
        let is_public = Arc::default();
        Self {
            protocol,
            peers,
            underlay,
            commands,
            packets,
            clock,
            sought,
            worst,
            idle_since,
            silent,
            is_public,
        }
    }

    /// Whether the link is to a public node, as it is at each time.
    pub(in crate::dial) fn is_public(&self) -> Arc<AtomicBool> {
        self.is_public.clone()
    }

    /// Until whoever commands is gone.
    pub(in crate::dial) async fn run(mut self) {
        while let Some(command) = self.next().await {
            self.obey(command);
            if self.serve().await.is_none() {
                return;
            }
        }
    }

    /// Nothing is sent while nobody wants anything; none when nobody can any more.
    async fn next(&mut self) -> Option<Command> {
        loop {
            tokio::select! {
                command = self.commands.recv() => return command,
                packet = self.packets.outgoing.recv() => drop(packet?),
            }
        }
    }

    /// Goes through the peers for as long as somebody wants something; none when nobody ever
    /// will.
    async fn serve(&mut self) -> Option<()> {
        let mut pause = FIRST_PAUSE;
        while !self.sought.is_empty() {
            let is_alone = self.peers.is_empty();
            self.worst = if is_alone { LeafFault::NoPeers } else { LeafFault::Unconnected };
            let mut has_worked = false;
            let mut turns = Turns::new(&self.peers, self.silent.take());
            while let Some(left) = turns.left()
                && !self.sought.is_empty()
            {
                self.restart();
                let Some((peer, stream)) = self.connect(&left).await? else {
                    turns.skip();
                    continue;
                };
                let turn = turns.take(peer, self.peers.get(peer));
                match self.link(peer, stream, &turn).await {
                    Ended::Closed => return None,
                    Ended::Unused => return Some(()),
                    Ended::Fault(fault) => {
                        turns.note(&turn, &fault, &self.peers);
                        // It worked, and will again.
                        if self.sought.values().any(|sought| sought.step == Step::Ready) {
                            self.silent = (fault == LeafFault::SilentPeer).then_some(peer);
                            pause = FIRST_PAUSE;
                            has_worked = true;
                        }
                        self.worst = self.worst.clone().or_worse(fault);
                    }
                }
                if has_worked {
                    break;
                }
                if self.worst == LeafFault::KeyElsewhere {
                    break;
                }
            }
            let is_over = self.worst == LeafFault::KeyElsewhere;
            if !has_worked || is_over {
                let progress = Progress::Failed(self.worst.clone());
                self.sought.values_mut().for_each(|sought| sought.tell(&progress));
            }
            if is_over {
                return None;
            }
            self.pause(pause).await?;
            pause = (pause * 2).min(LAST_PAUSE);
        }
        Some(())
    }

    /// Everybody waits for a peer again.
    fn restart(&mut self) {
        let now = self.clock.now();
        for sought in self.sought.values_mut() {
            (sought.step, sought.since) = (Step::Peering, now);
            sought.tell(&Progress::At(Step::Peering, self.worst.clone()));
        }
    }

    /// Obeys for a while. Packets of ours that have no way are dropped.
    async fn pause(&mut self, pause: Duration) -> Option<()> {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(until) => return Some(()),
                command = self.commands.recv() => self.obey(command?),
                packet = self.packets.outgoing.recv() => drop(packet?),
            }
        }
    }

    async fn connect(&mut self, left: &[usize]) -> Option<Option<(usize, PeerConnection)>> {
        let peers = left.iter().filter_map(|&at| Some((at, self.peers.get(at)?.clone())));
        let connecting = connect::first(&self.underlay, peers.collect());
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                connected = &mut connecting => return Some(connected),
                command = self.commands.recv() => {
                    let (protocol, now) = (&mut self.protocol, self.clock.now());
                    obey(command?, protocol, &mut self.sought, Step::Peering, now);
                }
                packet = self.packets.outgoing.recv() => drop(packet?),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        obey(command, &mut self.protocol, &mut self.sought, Step::Peering, now);
    }

    /// One link, from its beginning to its end.
    async fn link(&mut self, peer: usize, stream: PeerConnection, turn: &Turn) -> Ended {
        let Some(address) = self.peers.get(peer) else { return Ended::Unused };
        let now = self.clock.now();
        self.is_public.store(address.is_public, Ordering::Relaxed);
        self.protocol.begin(address, now);
        let progress = at(Step::Peering, &self.worst);
        for sought in self.sought.values_mut() {
            sought.since = now;
            sought.tell(&progress);
        }
        let (reader, writer) = tokio::io::split(stream);
        let mut stream = PeerStream::new(reader, writer);
        let timer = sleep_until(self.clock.instant(now));
        tokio::pin!(timer);
        loop {
            match self.advance(&mut stream, timer.as_mut(), turn).await {
                Ok(()) => {}
                Err(ended) => {
                    // What was last said still goes out, such as the end of a connection.
                    if !matches!(ended, Ended::Fault(_)) {
                        stream.end(&mut self.protocol).await;
                    }
                    return ended;
                }
            }
        }
    }

    /// Does what can be done, and waits until there is more.
    async fn advance(
        &mut self,
        stream: &mut PeerStream,
        mut timer: Pin<&mut Sleep>,
        turn: &Turn,
    ) -> Result<(), Ended> {
        let now = self.clock.now();
        stream.take_frames(&mut self.protocol, now).map_err(Ended::Fault)?;
        let due = self.note_progress(now, turn)?.min(self.protocol.due());
        let due = self.clock.instant(due);
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        stream.take_output(&mut self.protocol);
        let output = self.protocol.output();
        let may_send = stream.waiting() + output.bytes.len() < MAX_OUT;
        let may_read = may_send && output.packets.len() < MAX_PACKETS;
        let has_packets = !output.packets.is_empty();
        tokio::select! {
            () = timer => {
                self.protocol.tick(self.clock.now()).map_err(Ended::Fault)?;
            }
            written = stream.writer.write(stream.writing.get(stream.written..).unwrap_or_default()),
                if stream.written < stream.writing.len() =>
            {
                stream.has_written(written.unwrap_or(0)).ok_or(Ended::Fault(LeafFault::Lost))?;
            }
            permit = self.packets.incoming.reserve(), if has_packets => {
                let packets = &mut self.protocol.output().packets;
                if let Some(packet) = packets.pop_front() {
                    permit.map_err(|_| Ended::Closed)?.send(packet);
                }
                while let Ok(permit) = self.packets.incoming.try_reserve() {
                    let Some(packet) = packets.pop_front() else { break };
                    permit.send(packet);
                }
            }
            packet = self.packets.outgoing.recv(), if may_send => {
                // It may have been waited for long.
                let now = self.clock.now();
                self.protocol.send(&packet.ok_or(Ended::Closed)?, now);
                while self.protocol.output().bytes.len() < MAX_OUT
                    && let Ok(packet) = self.packets.outgoing.try_recv()
                {
                    self.protocol.send(&packet, now);
                }
            }
            read = stream.reader.read_buf(&mut stream.arrived), if may_read => {
                match read.unwrap_or(0) {
                    0 => return Err(Ended::Fault(LeafFault::Lost)),
                    length => stream.recent.note(length),
                }
            }
            command = self.commands.recv() => {
                let (command, now) = (command.ok_or(Ended::Closed)?, self.clock.now());
                obey(command, &mut self.protocol, &mut self.sought, Step::Ready, now);
            }
        }
        Ok(())
    }

    /// Tells how far everything is, and until when it has to be further.
    fn note_progress(&mut self, now: Duration, turn: &Turn) -> Result<Duration, Ended> {
        if self.sought.is_empty() {
            let since = *self.idle_since.get_or_insert(now);
            return if now >= since + LINGER { Err(Ended::Unused) } else { Ok(since + LINGER) };
        }
        self.idle_since = None;
        let mut due = Duration::MAX;
        let mut late = None;
        let is_useful = self.sought.keys().any(|&it| self.protocol.step(it) == Step::Ready);
        for (address, sought) in &mut self.sought {
            let step = self.protocol.step(*address);
            if step != sought.step {
                (sought.step, sought.since) = (step, now);
                sought.tell(&at(step, &self.worst));
            }
            match sought.deadline(turn, is_useful) {
                Some(deadline) if deadline <= now => late = Some((*address, step)),
                Some(deadline) => due = due.min(deadline),
                None => {}
            }
        }
        let Some((address, step)) = late else { return Ok(due) };
        let fault = step.late();
        // Another peer may know more, unless this one is of use to others.
        if !is_useful && (!turn.is_last || step == Step::Peering) {
            return Err(Ended::Fault(fault));
        }
        if let Some(sought) = self.sought.get_mut(&address) {
            sought.since = now;
            sought.tell(&Progress::Failed(self.worst.clone().or_worse(fault)));
        }
        Ok(now)
    }
}

/// What is waited for, where this is the worst that has happened.
fn at(step: Step, worst: &LeafFault) -> Progress {
    Progress::At(step, step.late().or_worse(worst.clone()))
}

/// `most` is how far anything can be now.
fn obey<P: Protocol>(
    command: Command,
    protocol: &mut P,
    sought: &mut HashMap<Ipv6Addr, Sought>,
    most: Step,
    now: Duration,
) {
    match command {
        Command::Seek(address, watcher) => {
            let step = protocol.step(address).min(most);
            let new = || Sought { watchers: Vec::new(), users: 0, step, since: now };
            let sought = sought.entry(address).or_insert_with(new);
            sought.users += 1;
            // A failure is known to those who asked before.
            sought.since = now;
            let _ = watcher.send(Progress::At(sought.step, sought.step.late()));
            sought.watchers.push(watcher);
            protocol.seek(address, now);
        }
        Command::Forget(address) => {
            protocol.forget(address);
            if let Some(found) = sought.get_mut(&address) {
                found.users = found.users.saturating_sub(1);
                if found.users == 0 {
                    sought.remove(&address);
                }
            }
        }
    }
}

/// How long all steps with one peer may take.
#[cfg(test)]
pub(super) fn longest_turn() -> Duration {
    turns::PEERING_DEADLINE + turns::LOOKUP_DEADLINE + SESSION_DEADLINE
}

#[cfg(test)]
mod tests;
