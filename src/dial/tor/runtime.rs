//! The runtime that Arti runs on: tokio's, but what is sent to a relay goes out
//! at once. Arti leaves Nagle's algorithm on, which makes every second small
//! cell wait for the acknowledgement of the first, up to 40 ms.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::net::TcpSocket;
use tor_rtcompat::tokio::TokioRustlsRuntime as Tokio;
use tor_rtcompat::{CompoundRuntime, NetStreamProvider};

/// Tokio with sockets of our own.
pub(super) type Runtime = CompoundRuntime<Tokio, Tokio, Tokio, Sockets, Tokio, Tokio, Tokio>;

/// On the tokio runtime that this is called in.
///
/// # Errors
/// When it is called in none.
pub(super) fn current() -> io::Result<Runtime> {
    let tokio = Tokio::current()?;
    let sockets = Sockets(tokio.clone());
    let [spawn, sleep, coarse, unix, tls, udp] = std::array::from_fn(|_| tokio.clone());
    Ok(CompoundRuntime::new(spawn, sleep, coarse, sockets, unix, tls, udp))
}

/// Connections without Nagle's algorithm.
#[derive(Clone)]
pub(super) struct Sockets(Tokio);

#[async_trait]
impl NetStreamProvider<SocketAddr> for Sockets {
    type Stream = <Tokio as NetStreamProvider<SocketAddr>>::Stream;
    type Listener = <Tokio as NetStreamProvider<SocketAddr>>::Listener;
    type ConnectOptions = <Tokio as NetStreamProvider<SocketAddr>>::ConnectOptions;
    type ListenOptions = <Tokio as NetStreamProvider<SocketAddr>>::ListenOptions;

    async fn connect(
        &self,
        address: &SocketAddr,
        options: &Self::ConnectOptions,
    ) -> io::Result<Self::Stream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Some(bytes) = options.common().send_buffer_size() {
            socket.set_send_buffer_size(size(*bytes))?;
        }
        if let Some(bytes) = options.common().recv_buffer_size() {
            socket.set_recv_buffer_size(size(*bytes))?;
        }
        socket.set_nodelay(true)?;
        Ok(socket.connect(*address).await?.into())
    }

    async fn listen(
        &self,
        address: &SocketAddr,
        options: &Self::ListenOptions,
    ) -> io::Result<Self::Listener> {
        self.0.listen(address, options).await
    }
}
