//! The stream to a machine that a dial has opened, by whatever technology.

use std::any::Any;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream to the machine, whatever carries it.
pub struct Stream {
    inner: Pin<Box<dyn Io>>,
    /// Where it really leads, if that is an IP address. Not for secret hosts'
    /// output.
    pub peer: Option<IpAddr>,
    /// Our own end of it, if there is a peer.
    pub local: Option<SocketAddr>,
    /// The node of our own that leads there, by the name of its network.
    pub way: Option<&'static str>,
    /// What has to be there as long as it is.
    _carrier: Option<Arc<dyn Any + Send + Sync>>,
}

trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

impl Stream {
    /// Wraps what a technology opened.
    pub fn new(inner: impl AsyncRead + AsyncWrite + Send + 'static, peer: Option<IpAddr>) -> Self {
        Self { inner: Box::pin(inner), peer, local: None, way: None, _carrier: None }
    }

    /// The same with our own end of it.
    pub fn with_local(self, local: Option<SocketAddr>) -> Self {
        Self { local, ..self }
    }

    /// The same, by this node of our own.
    pub fn with_way(self, way: Option<&'static str>) -> Self {
        Self { way, ..self }
    }

    /// The same, and `carrier` is there until it is closed.
    pub(super) fn with_carrier(self, carrier: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _carrier: Some(carrier), ..self }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.inner.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.inner.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }
}
