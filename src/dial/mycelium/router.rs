//! Our place in Mycelium: a router (RFC 8966) that has one neighbour, announces its own
//! subnet and nothing else, and asks for the ways to the machines that we want. Owns that
//! a way counts only if the key behind it has the whole address, and not just its subnet,
//! of which 57 bits tell the key.
//!
//! When our address changes, the neighbour holds the dead link for alive for up to a minute
//! and a new one for the dearer of the two, so that what is for us is lost. Therefore what
//! we announce is not free from the start, but becomes cheaper with each link.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::identity::{Identity, SUBNET, Shared, address_of};
use super::wire::{self, Frame, INFINITY, Prefix, RouterId, Update};
use crate::dial::leaf::{Output, PeerAddress, Protocol, Step, ends_of};
use crate::error::LeafFault;

/// How often we say that we are there, in hundredths of a second as well.
const HELLO_EVERY: Duration = Duration::from_secs(20);
const HELLO_INTERVAL: u16 = 2000;
/// What we say of how often we answer.
const IHU_INTERVAL: u16 = 6000;
/// Neighbours add the time to us themselves.
const COST: u16 = 1;
/// How long our own update holds, and how often it is sent.
const UPDATE_INTERVAL: u16 = 30_000;
const UPDATE_EVERY: Duration = Duration::from_secs(150);
/// What our subnet costs on the first link, and how much less on each that follows within a
/// short time. A router prefers a new link if that is more than links cost: they begin with
/// 1000, and end at their round trip in milliseconds.
const FIRST_METRIC: u16 = 30_000;
const CHEAPER: u16 = 3000;
/// When everybody has forgotten the links before this one, so that it may cost the same as
/// the first: routers take a minute (43 s without an answer, looked at each 10 s, and 6 s).
const ALONE_AFTER: Duration = Duration::from_secs(90);
/// RFC 8966, section 3.8.1.2: a new sequence number is not made for each who asks.
const SEQNO_EVERY: Duration = Duration::from_secs(4);
/// A neighbour that has said nothing for so long is gone; it says hello each 20 s.
const SILENCE: Duration = Duration::from_secs(65);
/// How long nothing may come while we send, until we say hello, which is answered at once;
/// and how long the answer may take.
const PROBE_AFTER: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(9);
/// How long until a request that nobody answered is repeated, at first and later.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const ASK_AT_MOST: Duration = Duration::from_secs(8);
/// How long before its end a way is asked for again.
const BEFORE_END: Duration = Duration::from_secs(15);
/// A way lives at least, and at most.
const LEAST_LIFE: Duration = Duration::from_secs(20);
const MOST_LIFE: Duration = Duration::from_secs(3600);
/// As IPv6 does by default.
const HOPS: u8 = 64;
/// So many machines are looked for at the same time.
const MAX_TARGETS: usize = 64;

/// What begins a packet for the other end: its version, its kind (IPv6), and nothing.
const PLAIN_IPV6: [u8; 4] = [1, 0, 0, 0];

/// The router. It takes its random numbers from `random`.
pub(super) struct Router {
    me: Identity,
    id: RouterId,
    random: fn(&mut [u8]) -> bool,
    seqno: u16,
    seqno_made: Duration,
    metric: u16,
    /// When the metric may rise again.
    alone_at: Duration,
    hello_seqno: u16,
    next_hello: Duration,
    next_update: Duration,
    last_heard: Duration,
    probe: Probe,
    is_peered: bool,
    targets: HashMap<Ipv6Addr, Wanted>,
    output: Output,
}

/// Whether the neighbour is still there while we send.
#[derive(Clone, Copy)]
enum Probe {
    /// Nothing was sent since it was heard.
    Quiet,
    /// It is greeted then.
    At(Duration),
    /// It was greeted, and has to have answered by then.
    Until(Duration),
}

/// A machine that somebody wants to reach.
struct Wanted {
    /// By how many.
    users: usize,
    next_request: Duration,
    pause: Duration,
    /// It is kept when the way has ended: the key stays the same.
    shared: Option<(RouterId, Shared)>,
    /// Until when there is a way.
    until: Option<Duration>,
}

impl Router {
    pub(super) fn new(me: Identity, random: fn(&mut [u8]) -> bool) -> Self {
        let mut start = [0; 6];
        random(&mut start);
        let id = RouterId { public: me.public, zone: 0, random: start };
        Self {
            me,
            id,
            random,
            seqno: 0,
            seqno_made: Duration::ZERO,
            metric: FIRST_METRIC,
            alone_at: Duration::MAX,
            hello_seqno: 0,
            next_hello: Duration::MAX,
            next_update: Duration::MAX,
            last_heard: Duration::ZERO,
            probe: Probe::Quiet,
            is_peered: false,
            targets: HashMap::new(),
            output: Output::default(),
        }
    }

    /// Our own address.
    pub(super) fn address(&self) -> Ipv6Addr {
        self.me.address
    }

    fn own_prefix(&self) -> Prefix {
        Prefix::of(self.me.address, SUBNET)
    }

    fn announce(&mut self, now: Duration) {
        self.next_update = now + UPDATE_EVERY;
        let update = Update {
            interval: UPDATE_INTERVAL,
            seqno: self.seqno,
            metric: self.metric,
            prefix: self.own_prefix(),
            router: self.id,
        };
        Frame::Update(update).encode(&mut self.output.bytes);
    }

    fn greet(&mut self, now: Duration) {
        self.next_hello = now + HELLO_EVERY;
        self.hello_seqno = self.hello_seqno.wrapping_add(1);
        Frame::Hello { seqno: self.hello_seqno, interval: HELLO_INTERVAL }
            .encode(&mut self.output.bytes);
    }

    fn take(&mut self, frame: Frame<'_>, now: Duration) {
        match frame {
            Frame::Hello { .. } => {
                let ihu = Frame::Ihu { cost: COST, interval: IHU_INTERVAL };
                ihu.encode(&mut self.output.bytes);
            }
            Frame::Update(update) => self.learn(&update, now),
            Frame::RouteRequest(prefix) if prefix.is_none_or(|it| it == self.own_prefix()) => {
                self.announce(now);
            }
            Frame::SeqnoRequest { prefix, seqno, router, .. }
                if prefix == self.own_prefix() && router == self.id =>
            {
                self.renew(seqno, now);
            }
            Frame::Data { hops, source, destination, body } => {
                self.open(hops, source, destination, body);
            }
            _ => {}
        }
    }

    /// RFC 8966, section 3.8.1.2.
    fn renew(&mut self, wanted: u16, now: Duration) {
        let is_newer = wanted != self.seqno && wanted.wrapping_sub(self.seqno) < 0x8000;
        if is_newer && now.saturating_sub(self.seqno_made) >= SEQNO_EVERY {
            self.renumber(now);
            self.announce(now);
        }
    }

    fn renumber(&mut self, now: Duration) {
        self.seqno = self.seqno.wrapping_add(1);
        self.seqno_made = now;
    }

    /// Makes what is announced on a new link better than it was on those before.
    fn outbid(&mut self, now: Duration) {
        let is_first = self.next_update == Duration::MAX;
        if !is_first {
            self.metric = self.metric.saturating_sub(CHEAPER);
            // What is newer is taken wherever it comes from (RFC 8966, section 3.5.1).
            self.renumber(now);
            self.alone_at = now + ALONE_AFTER;
        }
    }

    /// Makes room for links that follow. With a new number a dearer way is taken, too.
    fn rise(&mut self, now: Duration) {
        self.alone_at = Duration::MAX;
        self.metric = FIRST_METRIC;
        self.renumber(now);
        self.announce(now);
    }

    /// What the neighbour says of a way. That the address comes from the key is all that
    /// tells who is there.
    fn learn(&mut self, update: &Update, now: Duration) {
        let Update { interval, metric, prefix, router, .. } = *update;
        let address = address_of(&router.public);
        let Some(wanted) = self.targets.get_mut(&address) else { return };
        if !prefix.has(address) {
            return;
        }
        if metric == INFINITY {
            if wanted.until.take().is_some() {
                wanted.pause = ASK_AGAIN;
                wanted.next_request = now + ASK_AGAIN;
            }
            return;
        }
        let is_known = wanted.shared.as_ref().is_some_and(|(id, _)| id.public == router.public);
        if !is_known {
            let Some(shared) = self.me.shared_with(router.public) else { return };
            wanted.shared = Some((router, shared));
        }
        // Three and a half intervals, as the neighbour's other neighbours have it.
        let life = Duration::from_millis(u64::from(interval) * 35).clamp(LEAST_LIFE, MOST_LIFE);
        wanted.until = Some(now + life);
        wanted.pause = ASK_AGAIN;
        wanted.next_request = now + life.saturating_sub(BEFORE_END);
    }

    /// A packet for us from a machine that we want.
    fn open(&mut self, hops: u8, source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) {
        let Some(wanted) = self.targets.get(&source) else { return };
        let Some((_, shared)) = &wanted.shared else { return };
        if hops == 0 || destination != self.me.address {
            return;
        }
        let Some(plain) = shared.open(body) else { return };
        // Others are messages and errors of routers between us, which say nothing certain.
        let Some(packet) = plain.strip_prefix(&PLAIN_IPV6) else { return };
        if ends_of(packet) != Some((source, destination)) {
            return;
        }
        let mut packet = packet.to_vec();
        if let Some(limit) = packet.get_mut(7) {
            *limit = hops;
        }
        self.output.packets.push_back(packet);
    }

    fn ask(&mut self, now: Duration) {
        for (address, wanted) in &mut self.targets {
            if wanted.next_request > now {
                continue;
            }
            wanted.next_request = now + wanted.pause;
            wanted.pause = (wanted.pause * 2).min(ASK_AT_MOST);
            Frame::RouteRequest(Some(Prefix::of(*address, SUBNET))).encode(&mut self.output.bytes);
        }
    }
}

impl Protocol for Router {
    /// A way is held by routers between us, whether or not the machine is on.
    const IS_MET: bool = false;

    fn begin(&mut self, _: &PeerAddress, now: Duration) {
        self.output = Output::default();
        self.is_peered = false;
        self.last_heard = now;
        self.probe = Probe::Quiet;
        for wanted in self.targets.values_mut() {
            wanted.until = None;
            wanted.pause = ASK_AGAIN;
            wanted.next_request = now;
        }
        self.outbid(now);
        self.announce(now);
        self.greet(now);
        self.ask(now);
    }

    fn receive(&mut self, arrived: &[u8], now: Duration) -> Result<Option<usize>, LeafFault> {
        let Some((frame, length)) = wire::decode(arrived)? else { return Ok(None) };
        self.last_heard = now;
        self.probe = Probe::Quiet;
        self.is_peered = true;
        self.take(frame, now);
        Ok(Some(length))
    }

    fn tick(&mut self, now: Duration) -> Result<(), LeafFault> {
        if now >= self.last_heard + SILENCE {
            return Err(LeafFault::SilentPeer);
        }
        match self.probe {
            Probe::At(due) if now >= due => {
                self.greet(now);
                self.probe = Probe::Until(now + ANSWER);
            }
            Probe::Until(due) if now >= due => return Err(LeafFault::SilentPeer),
            _ => {}
        }
        if now >= self.next_hello {
            self.greet(now);
        }
        if now >= self.alone_at {
            self.rise(now);
        }
        if now >= self.next_update {
            self.announce(now);
        }
        for wanted in self.targets.values_mut() {
            if wanted.until.is_some_and(|until| until <= now) {
                wanted.until = None;
            }
        }
        self.ask(now);
        Ok(())
    }

    fn due(&self) -> Duration {
        let requests = self.targets.values().map(|wanted| wanted.next_request);
        let ends = self.targets.values().filter_map(|wanted| wanted.until);
        let probe = match self.probe {
            Probe::Quiet => Duration::MAX,
            Probe::At(due) | Probe::Until(due) => due,
        };
        let own = [self.next_hello, self.next_update, self.alone_at, probe];
        let silence = self.last_heard + SILENCE;
        own.into_iter().chain([silence]).chain(requests).chain(ends).min().unwrap_or(Duration::MAX)
    }

    fn seek(&mut self, target: Ipv6Addr, now: Duration) {
        if self.targets.len() >= MAX_TARGETS && !self.targets.contains_key(&target) {
            return;
        }
        let wanted = self.targets.entry(target).or_insert_with(|| Wanted {
            users: 0,
            next_request: now,
            pause: ASK_AGAIN,
            shared: None,
            until: None,
        });
        wanted.users += 1;
        if self.next_hello != Duration::MAX {
            self.ask(now);
        }
    }

    fn forget(&mut self, target: Ipv6Addr) {
        let Some(wanted) = self.targets.get_mut(&target) else { return };
        wanted.users = wanted.users.saturating_sub(1);
        if wanted.users == 0 {
            self.targets.remove(&target);
        }
    }

    fn step(&self, target: Ipv6Addr) -> Step {
        let wanted = self.targets.get(&target);
        match wanted.is_some_and(|wanted| wanted.until.is_some()) {
            _ if !self.is_peered => Step::Peering,
            true => Step::Ready,
            false => Step::Lookup,
        }
    }

    fn send(&mut self, packet: &[u8], now: Duration) {
        let Some((source, destination)) = ends_of(packet) else { return };
        let Some(wanted) = self.targets.get(&destination) else { return };
        let Some((_, shared)) = &wanted.shared else { return };
        let mut nonce = [0; 12];
        // Nothing is encrypted with a number that is not random.
        if source != self.me.address || !(self.random)(&mut nonce) {
            return;
        }
        let out = &mut self.output.bytes;
        let begun = out.len();
        let length = PLAIN_IPV6.len() + packet.len() + super::identity::OVERHEAD;
        wire::data_header(HOPS, source, destination, length, out);
        let start = out.len();
        out.extend(PLAIN_IPV6);
        out.extend_from_slice(packet);
        if shared.seal(nonce, out, start).is_none() {
            out.truncate(begun);
        } else if let Probe::Quiet = self.probe {
            self.probe = Probe::At(now + PROBE_AFTER);
        }
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}

#[cfg(test)]
mod tests;
