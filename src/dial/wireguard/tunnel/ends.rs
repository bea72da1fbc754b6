//! Both ends of a tunnel's device: packets of the stack, and datagrams of the system. Owns
//! what is counted there, and that no error of a moment ends the device.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use gotatun::udp::socket::{UdpSocket, UdpSocketFactory};
use gotatun::udp::{UdpRecv, UdpSend, UdpTransportFactory, UdpTransportFactoryParams};
use tokio::sync::mpsc;

/// How many packets are taken at once.
const BATCH: usize = 64;
/// The system gives as much of it as it allows.
const BUFFER: usize = 4 << 20;
/// After an error that may go on for a while, such as a network that is down.
const PAUSE: Duration = Duration::from_millis(50);
/// More senders than controllers have addresses are nobody's whom we asked.
const MAX_SENDERS: usize = 64;

/// What went through.
#[derive(Default)]
pub(super) struct Seen {
    /// Packets of the stack.
    taken: AtomicU64,
    /// Datagrams to the system.
    sent: AtomicU64,
    /// Datagrams from the system, by who sent them.
    from: Mutex<HashMap<(IpAddr, u16), u64>>,
}

impl Seen {
    /// How many datagrams have come from there.
    pub(super) fn from(&self, address: SocketAddr) -> u64 {
        let from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        from.get(&(address.ip().to_canonical(), address.port())).copied().unwrap_or_default()
    }

    /// Whether the system has all that the stack has sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.sent.load(Ordering::Relaxed) >= self.taken.load(Ordering::Relaxed)
    }

    fn count(&self, datagrams: &[(Packet, SocketAddr)]) {
        let mut from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, address) in datagrams {
            let sender = (address.ip().to_canonical(), address.port());
            if from.len() < MAX_SENDERS || from.contains_key(&sender) {
                *from.entry(sender).or_default() += 1;
            }
        }
    }
}

/// The stack's packets.
pub(super) struct FromStack {
    packets: mpsc::Receiver<Vec<u8>>,
    batch: Vec<Vec<u8>>,
    mtu: u16,
    seen: Arc<Seen>,
}

impl FromStack {
    pub(super) fn new(packets: mpsc::Receiver<Vec<u8>>, mtu: u16, seen: Arc<Seen>) -> Self {
        Self { packets, batch: Vec::with_capacity(BATCH), mtu, seen }
    }
}

impl IpRecv for FromStack {
    async fn recv<'a>(
        &'a mut self,
        _: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        if self.packets.recv_many(&mut self.batch, BATCH).await == 0 {
            // The stack has ended; the device goes on until it is told.
            pending::<()>().await;
        }
        let count = u64::try_from(self.batch.len()).unwrap_or_default();
        self.seen.taken.fetch_add(count, Ordering::Relaxed);
        let packet = |bytes: Vec<u8>| Packet::copy_from(bytes.as_slice()).try_into_ip().ok();
        Ok(self.batch.drain(..).filter_map(packet))
    }

    fn mtu(&self) -> MtuWatcher {
        MtuWatcher::new(self.mtu)
    }
}

/// Packets for the stack.
pub(super) struct ToStack(pub(super) mpsc::Sender<Vec<u8>>);

impl IpSend for ToStack {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        // A stack that has ended wants nothing.
        let _ = self.0.send(packet.into_bytes().to_vec()).await;
        Ok(())
    }
}

/// Opens the socket.
pub(super) struct Sockets(UdpSocketFactory, Arc<Seen>);

impl Sockets {
    pub(super) fn new(seen: Arc<Seen>) -> Self {
        let size = Some(BUFFER);
        Self(UdpSocketFactory { recv_buffer_size: size, send_buffer_size: size }, seen)
    }
}

impl UdpTransportFactory for Sockets {
    type Send = Socket;
    type Recv = Socket;

    async fn bind(&mut self, params: &UdpTransportFactoryParams) -> io::Result<(Socket, Socket)> {
        let (one, other) = self.0.bind(params).await?;
        Ok((Socket(one, self.1.clone()), Socket(other, self.1.clone())))
    }
}

/// One direction of it.
#[derive(Clone)]
pub(super) struct Socket(UdpSocket, Arc<Seen>);

impl UdpSend for Socket {
    type SendManyBuf = <UdpSocket as UdpSend>::SendManyBuf;

    async fn send_to(&self, packet: Packet, destination: SocketAddr) -> io::Result<()> {
        let sent = self.0.send_to(packet, destination).await;
        self.1.sent.fetch_add(1, Ordering::Relaxed);
        sent
    }

    fn max_number_of_packets_to_send(&self) -> usize {
        self.0.max_number_of_packets_to_send()
    }

    async fn send_many_to(
        &self,
        buffer: &mut Self::SendManyBuf,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        let count = u64::try_from(packets.len()).unwrap_or_default();
        let sent = self.0.send_many_to(buffer, packets).await;
        self.1.sent.fetch_add(count, Ordering::Relaxed);
        sent
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        self.0.local_addr().map(Some)
    }
}

impl UdpRecv for Socket {
    type RecvManyBuf = <UdpSocket as UdpRecv>::RecvManyBuf;

    async fn recv_from(&mut self, pool: &mut PacketBufPool) -> io::Result<(Packet, SocketAddr)> {
        loop {
            if let Ok(datagram) = self.0.recv_from(pool).await {
                self.1.count(std::slice::from_ref(&datagram));
                return Ok(datagram);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn recv_many_from(
        &mut self,
        buffer: &mut Self::RecvManyBuf,
        pool: &mut PacketBufPool,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        let before = packets.len();
        if self.0.recv_many_from(buffer, pool, packets).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        self.1.count(packets.get(before..).unwrap_or_default());
        Ok(())
    }
}
