//! The runtime that Arti runs on: tokio's, but what is sent to a relay goes out
//! at once, and what comes is acknowledged at once. Arti and C tor leave Nagle's
//! algorithm on, which makes a cell wait for the acknowledgement of the one
//! before, up to 40 ms; to Tor's congestion control that looks like a queue.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::stream::Pending;
use tokio::net::TcpSocket;
use tor_rtcompat::tokio::TokioRustlsRuntime as Tokio;
use tor_rtcompat::{CompoundRuntime, NetStreamListener, NetStreamProvider, StreamOps};

/// Tokio with sockets of our own.
pub(super) type Runtime = CompoundRuntime<Tokio, Tokio, Tokio, Sockets, Tokio, Tokio, Tokio>;

/// On the tokio runtime that this is called in.
///
/// # Errors
/// When it is called in none.
pub(super) fn current() -> io::Result<Runtime> {
    let tokio = Tokio::current()?;
    let [spawn, sleep, coarse, unix, tls, udp] = std::array::from_fn(|_| tokio.clone());
    Ok(CompoundRuntime::new(spawn, sleep, coarse, Sockets, unix, tls, udp))
}

/// Connections that wait for nothing.
#[derive(Clone)]
pub(super) struct Sockets;

#[async_trait]
impl NetStreamProvider<SocketAddr> for Sockets {
    type Stream = Socket;
    type Listener = NoListener;
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
        let stream = socket.connect(*address).await?;
        let acknowledging = stream.as_fd().try_clone_to_owned()?;
        Ok(Socket { stream: stream.into(), acknowledging })
    }

    async fn listen(&self, _: &SocketAddr, _: &Self::ListenOptions) -> io::Result<NoListener> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "nobody connects to a client"))
    }
}

/// A connection to a relay.
pub(super) struct Socket {
    stream: <Tokio as NetStreamProvider<SocketAddr>>::Stream,
    /// The same socket.
    acknowledging: OwnedFd,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // The kernel forgets it by and by (tcp(7), TCP_QUICKACK).
        if let Poll::Ready(Ok(1..)) = read {
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.acknowledging, true);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

impl StreamOps for Socket {
    fn set_tcp_notsent_lowat(&self, bytes: u32) -> io::Result<()> {
        self.stream.set_tcp_notsent_lowat(bytes)
    }

    fn new_handle(&self) -> Box<dyn StreamOps + Send + Unpin> {
        self.stream.new_handle()
    }
}

/// There is none.
pub(super) enum NoListener {}

impl NetStreamListener for NoListener {
    type Stream = Socket;
    type Incoming = Pending<io::Result<(Socket, SocketAddr)>>;

    fn incoming(self) -> Self::Incoming {
        match self {}
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match *self {}
    }
}
