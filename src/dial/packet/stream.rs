//! One connection as a stream. Owns back-pressure, the end of each direction, and that a
//! stream that is dropped leaves no connection behind.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, State};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::net::Net;
use super::pump::Shared;

/// A stream. Reading and writing are independent of each other.
pub(super) struct StackStream {
    shared: Arc<Shared>,
    handle: SocketHandle,
}

impl StackStream {
    pub(super) fn new(shared: Arc<Shared>, handle: SocketHandle) -> Self {
        Self { shared, handle }
    }

    pub(super) fn handle(&self) -> SocketHandle {
        self.handle
    }

    pub(super) fn net(&self) -> MutexGuard<'_, Net> {
        self.shared.net()
    }
}

impl AsyncRead for StackStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let mut net = self.net();
        let socket = net.socket(self.handle);
        let waiting = socket.recv_queue();
        let before = buf.remaining();
        // Its buffer is a ring: the second part begins at its start.
        for _ in 0..2 {
            let read = socket.recv(|data| {
                let part = data.get(..buf.remaining()).unwrap_or(data);
                buf.put_slice(part);
                (part.len(), ())
            });
            match read {
                Ok(()) => {}
                Err(_) if buf.remaining() < before => break,
                Err(RecvError::Finished) => return Poll::Ready(Ok(())),
                // Before or after its life.
                Err(RecvError::InvalidState) if socket.state() == State::Closed => {
                    return Poll::Ready(Err(net.failure(self.handle).into()));
                }
                Err(RecvError::InvalidState) => break,
            }
        }
        if buf.remaining() == before && before > 0 {
            socket.register_recv_waker(cx.waker());
            return Poll::Pending;
        }
        // The other side may wait for room.
        let is_news = waiting >= socket.recv_capacity() / 4;
        drop(net);
        if is_news {
            self.shared.work.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StackStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize>> {
        let mut net = self.net();
        let socket = net.socket(self.handle);
        let Ok(written) = socket.send_slice(data) else {
            let kind = match socket.state() {
                State::Closed => net.failure(self.handle),
                _ => ErrorKind::BrokenPipe,
            };
            return Poll::Ready(Err(Error::from(kind)));
        };
        if written == 0 && !data.is_empty() {
            socket.register_send_waker(cx.waker());
            return Poll::Pending;
        }
        drop(net);
        self.shared.work.notify_one();
        Poll::Ready(Ok(written))
    }

    /// The stack sends as soon as it may.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The other side reads what was written, and then the end; reading goes on.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.net().socket(self.handle).close();
        self.shared.work.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl Drop for StackStream {
    fn drop(&mut self) {
        self.net().release(self.handle);
        self.shared.work.notify_one();
    }
}
