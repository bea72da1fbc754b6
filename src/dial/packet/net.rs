//! The connections themselves. Owns smoltcp, whose state is only touched under a lock and
//! never waits for anybody; who waits is in `pump` and in `stream`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv6Address};

use super::super::DialFailure;
use super::Shape;
use super::arrival::{self, Arrival, Flow};
use super::queues::Queues;

/// What may be under way to us on one connection: 40 MB/s over 100 ms. The system gives
/// memory only for what is really used of it.
const RECEIVE_BUFFER: usize = 4 << 20;
/// And from us.
const SEND_BUFFER: usize = 4 << 20;
/// More than a session and all that it forwards need.
const MAX_CONNECTIONS: usize = 64;
/// smoltcp has no room for more.
const MAX_ADDRESSES: usize = 8;
/// Every network takes packets of this length (RFC 8200, section 5).
const MIN_MTU_SIX: usize = 1280;
/// And of this (RFC 791, section 3.1; RFC 1191, section 3, allows less, as nobody needs).
const MIN_MTU_FOUR: usize = 576;
/// How long the other side may be silent although we wait for its acknowledgement, as in
/// Linux (tcp(7), tcp_retries2).
const SILENCE: Duration = Duration::from_secs(924);
/// Keeps a connection that is idle from being taken for a silent one.
const KEEPALIVE: Duration = Duration::from_secs(120);
/// How long what was written before the end of writing may take after the stream is gone.
const LINGER: Duration = Duration::from_secs(10);
/// A reset directly behind data may be lost: a relay may have different ways for both, and
/// Mycelium's daemon joins segments. It is said again after this time.
const RESET_AGAIN: Duration = Duration::from_millis(5);
/// Where data is under way it comes directly behind data again, until that has arrived: it
/// is repeated after three times the last pause, and after this one not any more.
const LAST_PAUSE: Duration = Duration::from_millis(135);

/// More bytes than these are no last words of a session: data is under way.
const LAST_WORDS: usize = 16 << 10;

/// All connections of a stack.
pub(super) struct Net {
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: HashMap<SocketHandle, Connection>,
    pub(super) queues: Queues,
    /// Resets to be said again.
    again: Vec<Reset>,
    /// A connection was ended while data was under way.
    is_cut_off: bool,
    addresses: Vec<(IpAddr, u8)>,
    ours: Vec<IpAddr>,
    longest: usize,
    began: Instant,
    /// No stream is opened any more.
    pub(super) is_ending: bool,
}

/// A reset that was said.
struct Reset {
    due: Instant,
    pause: Duration,
    packet: Vec<u8>,
}

struct Connection {
    flow: Flow,
    /// What somebody on the way has said of it.
    failure: Option<DialFailure>,
    /// Since its stream is gone: until when it may go on.
    lingers: Option<Instant>,
}

impl Net {
    pub(super) fn new(shape: &Shape) -> Self {
        let mtu = shape.mtu.clamp(MIN_MTU_FOUR, usize::from(u16::MAX));
        let mut addresses = shape.addresses.clone();
        addresses.retain(|(ip, _)| !ip.is_unspecified() && !ip.is_multicast());
        addresses.truncate(MAX_ADDRESSES);
        let mut queues = Queues::new(mtu);
        Self {
            interface: interface(&mut queues, &addresses, 0),
            sockets: SocketSet::new(Vec::new()),
            connections: HashMap::new(),
            queues,
            again: Vec::new(),
            is_cut_off: false,
            ours: addresses.iter().map(|(ip, _)| *ip).collect(),
            addresses,
            longest: mtu,
            began: Instant::now(),
            is_ending: false,
        }
    }

    /// Begins a connection, which the next turn asks for.
    pub(super) fn connect(&mut self, to: SocketAddr) -> Result<SocketHandle, DialFailure> {
        if self.is_ending {
            return Err(DialFailure::Io(ErrorKind::NotConnected));
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            return Err(DialFailure::Io(ErrorKind::QuotaExceeded));
        }
        let local = SocketAddr::new(self.source(to.ip())?, self.free_port()?);
        // The first sequence number comes from its seed, and may not follow from others.
        let seed = random(getrandom::u64())?;
        self.interface = interface(&mut self.queues, &self.addresses, seed);
        let mut socket = Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::Cubic);
        socket.set_timeout(Some(SILENCE.into()));
        socket.set_keep_alive(Some(KEEPALIVE.into()));
        let begun = socket.connect(self.interface.context(), to, local);
        begun.map_err(|_| DialFailure::NoAddress)?;
        let handle = self.sockets.add(socket);
        let flow = Flow { local, remote: to };
        self.connections.insert(handle, Connection { flow, failure: None, lingers: None });
        Ok(handle)
    }

    /// The address of ours that has most in common with another.
    fn source(&self, to: IpAddr) -> Result<IpAddr, DialFailure> {
        let same = self.ours.iter().filter(|ip| ip.is_ipv4() == to.is_ipv4());
        same.max_by_key(|ip| common(**ip, to)).copied().ok_or(DialFailure::NoNetwork)
    }

    /// One of the dynamic ports (RFC 6335, section 6) that nobody can guess.
    fn free_port(&self) -> Result<u16, DialFailure> {
        loop {
            let [low, high, ..] = random(getrandom::u32())?.to_le_bytes();
            let port = u16::from_le_bytes([low, high]) | 0xc000;
            if !self.connections.values().any(|other| other.flow.local.port() == port) {
                return Ok(port);
            }
        }
    }

    pub(super) fn poll_connected(
        &mut self,
        handle: SocketHandle,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DialFailure>> {
        let failure = self.connections.get(&handle).and_then(|it| it.failure.clone());
        let is_ending = self.is_ending;
        let socket = self.socket(handle);
        match (socket.state(), failure) {
            (State::SynSent | State::SynReceived, None) if !is_ending => {
                socket.register_recv_waker(cx.waker());
                Poll::Pending
            }
            (State::Closed | State::SynSent | State::SynReceived, Some(failure)) => {
                Poll::Ready(Err(failure))
            }
            (State::Closed, None) if !is_ending => Poll::Ready(Err(DialFailure::Refused)),
            (State::Closed | State::SynSent | State::SynReceived, None) => {
                Poll::Ready(Err(DialFailure::Io(ErrorKind::NotConnected)))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// What broke a connection.
    pub(super) fn failure(&self, handle: SocketHandle) -> ErrorKind {
        match self.connections.get(&handle).and_then(|it| it.failure.as_ref()) {
            Some(DialFailure::Io(kind)) => *kind,
            Some(DialFailure::TimedOut) => ErrorKind::TimedOut,
            _ => ErrorKind::ConnectionReset,
        }
    }

    /// Nobody holds the stream any more. What was written is still sent, with the end
    /// behind it; where nothing is left to be sent, and the end of writing was not said,
    /// the other side learns that it was cut off.
    pub(super) fn release(&mut self, handle: SocketHandle) {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        let has_ended =
            matches!(socket.state(), State::FinWait1 | State::FinWait2 | State::Closing)
                || matches!(socket.state(), State::LastAck | State::TimeWait);
        if socket.can_recv() || (!has_ended && socket.send_queue() == 0) {
            cut_off(socket, &mut self.is_cut_off);
        } else {
            socket.close();
        }
        if let Some(connection) = self.connections.get_mut(&handle) {
            connection.lingers = Some(Instant::now() + LINGER);
        }
    }

    /// Takes in what has come and puts out up to `room` packets. Says when the next turn
    /// is due without another cause.
    pub(super) fn turn(
        &mut self,
        arrived: impl Iterator<Item = Vec<u8>>,
        room: usize,
    ) -> Option<Duration> {
        for packet in arrived {
            self.admit(packet);
        }
        let now = Instant::now();
        self.say_again(now);
        let time = self.time(now);
        self.interface.poll_maintenance(time);
        while !self.queues.arrived.is_empty() {
            let Self { interface, queues, sockets, .. } = self;
            interface.poll_ingress_single(time, queues, sockets);
        }
        self.part(now);
        self.queues.resets = Some(Vec::new());
        // At most one packet for each connection at a time.
        while self.queues.leaving.len() < room {
            let Self { interface, queues, sockets, .. } = self;
            if interface.poll_egress(time, queues, sockets) == PollResult::None {
                break;
            }
        }
        let resets = self.queues.resets.take().unwrap_or_default();
        let again = |packet| Reset { due: now + RESET_AGAIN, pause: RESET_AGAIN, packet };
        self.again.extend(resets.into_iter().map(again));
        self.reap();
        let delay = self.interface.poll_delay(time, &self.sockets).map(Duration::from);
        let again = self.again.iter().map(|reset| reset.due).min();
        let again = again.map(|at| at.saturating_duration_since(now));
        let lingers = self.connections.values().filter_map(|it| it.lingers).min();
        let lingers = lingers.map(|at| at.saturating_duration_since(now));
        [delay, again, lingers].into_iter().flatten().min()
    }

    fn say_again(&mut self, now: Instant) {
        let Self { again, queues, is_cut_off, .. } = self;
        again.retain_mut(|reset| {
            if reset.due > now {
                return true;
            }
            queues.leaving.push_back(reset.packet.clone());
            reset.pause *= 3;
            reset.due = now + reset.pause;
            *is_cut_off && reset.pause <= LAST_PAUSE
        });
    }

    fn admit(&mut self, packet: Vec<u8>) {
        if packet.len() > self.longest {
            return;
        }
        match arrival::look(&packet, &self.ours) {
            Arrival::Segment => self.queues.arrived.push_back(packet),
            Arrival::TooBig(flow, mtu) => self.lower(flow, mtu),
            Arrival::Unreachable(flow, why) => self.fail(flow, why),
            Arrival::Foreign => {}
        }
    }

    /// Path MTU discovery (RFC 8201; RFC 1191). It holds for all connections, whose next
    /// segments are shorter.
    fn lower(&mut self, flow: Flow, mtu: usize) {
        let is_ours = self.connections.values().any(|it| it.flow == flow);
        let least = if flow.local.is_ipv4() { MIN_MTU_FOUR } else { MIN_MTU_SIX };
        let mtu = mtu.max(least);
        if is_ours && mtu < self.queues.mtu {
            self.queues.mtu = mtu;
            // It knows the length since it was made.
            let seed = getrandom::u64().unwrap_or_default();
            self.interface = interface(&mut self.queues, &self.addresses, seed);
        }
    }

    /// Only for a connection that is being opened: an open one may have another way soon
    /// (RFC 5927, section 5.2).
    fn fail(&mut self, flow: Flow, why: DialFailure) {
        let Some((handle, connection)) =
            self.connections.iter_mut().find(|(_, connection)| connection.flow == flow)
        else {
            return;
        };
        let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
        if socket.state() == State::SynSent {
            connection.failure = Some(why);
            // Which wakes whoever waits.
            socket.abort();
        }
    }

    /// Connections without a stream do not outlive what they have to say.
    fn part(&mut self, now: Instant) {
        for (handle, connection) in &self.connections {
            let Some(until) = connection.lingers else { continue };
            let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
            if socket.state() != State::TimeWait && (socket.can_recv() || until <= now) {
                cut_off(socket, &mut self.is_cut_off);
            }
        }
    }

    fn reap(&mut self) {
        let Self { connections, sockets, .. } = self;
        connections.retain(|handle, connection| {
            let socket = sockets.get::<Socket<'_>>(*handle);
            // A closed one that still has an end has not said its reset.
            let is_over = match socket.state() {
                State::TimeWait => true,
                State::Closed => socket.remote_endpoint().is_none(),
                _ => false,
            };
            let goes = is_over && connection.lingers.is_some();
            if goes {
                sockets.remove(*handle);
            }
            !goes
        });
    }

    /// The end of every connection in order, before which what was written is sent.
    pub(super) fn finish(&mut self) {
        for handle in self.connections.keys() {
            self.sockets.get_mut::<Socket<'_>>(*handle).close();
        }
    }

    /// Whether the other sides have all that was written.
    pub(super) fn is_delivered(&self) -> bool {
        self.connections
            .keys()
            .all(|handle| self.sockets.get::<Socket<'_>>(*handle).send_queue() == 0)
    }

    /// The end of every connection at once.
    pub(super) fn abort(&mut self, why: ErrorKind) {
        self.is_ending = true;
        for (handle, connection) in &mut self.connections {
            connection.failure.get_or_insert(DialFailure::Io(why));
            cut_off(self.sockets.get_mut::<Socket<'_>>(*handle), &mut self.is_cut_off);
        }
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_quiet(&self) -> bool {
        self.again.is_empty() && self.queues.leaving.is_empty()
    }

    /// Whether every end has been said, and said again.
    pub(super) fn has_parted(&self) -> bool {
        let is_said = |handle: &SocketHandle| {
            let socket = self.sockets.get::<Socket<'_>>(*handle);
            socket.state() != State::Closed || socket.remote_endpoint().is_none()
        };
        self.is_quiet() && self.connections.keys().all(is_said)
    }

    /// Whether there is any connection.
    pub(super) fn is_unused(&self) -> bool {
        self.connections.is_empty()
    }

    fn time(&self, now: Instant) -> smoltcp::time::Instant {
        let since = now.saturating_duration_since(self.began).as_micros();
        // It keeps zero for "at once".
        smoltcp::time::Instant::from_micros(i64::try_from(since).unwrap_or(i64::MAX).max(1))
    }
}

/// Ends a connection at once, and notes it where data was under way.
fn cut_off(socket: &mut Socket<'_>, is_under_way: &mut bool) {
    *is_under_way |= socket.send_queue() > LAST_WORDS;
    socket.abort();
}

/// The other side, which only tests have.
#[cfg(test)]
impl Net {
    pub(super) fn listen(&mut self, on: SocketAddr) -> SocketHandle {
        let mut socket = Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::Cubic);
        socket.listen(on).unwrap();
        let handle = self.sockets.add(socket);
        let flow = Flow { local: on, remote: on };
        self.connections.insert(handle, Connection { flow, failure: None, lingers: None });
        handle
    }

    pub(super) fn poll_accepted(&mut self, handle: SocketHandle, cx: &mut Context<'_>) -> Poll<()> {
        let socket = self.socket(handle);
        if matches!(socket.state(), State::Listen | State::SynReceived) {
            socket.register_recv_waker(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn mtu(&self) -> usize {
        self.queues.mtu
    }
}

fn interface(queues: &mut Queues, addresses: &[(IpAddr, u8)], seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, queues, smoltcp::time::Instant::ZERO);
    interface.update_ip_addrs(|all| {
        for (ip, prefix) in addresses {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            let _ = all.push(IpCidr::new(IpAddress::from(*ip), (*prefix).min(longest)));
        }
    });
    // Everything goes to the network; the gateways' addresses are looked at by nobody.
    let _ = interface.routes_mut().add_default_ipv4_route(Ipv4Address::LOCALHOST);
    let _ = interface.routes_mut().add_default_ipv6_route(Ipv6Address::LOCALHOST);
    interface
}

fn buffer(size: usize) -> SocketBuffer<'static> {
    SocketBuffer::new(vec![0; size])
}

fn random<T>(value: Result<T, getrandom::Error>) -> Result<T, DialFailure> {
    value.map_err(|_| DialFailure::Io(ErrorKind::Other))
}

/// How many bits two addresses have in common from the left.
fn common(one: IpAddr, other: IpAddr) -> u32 {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}
