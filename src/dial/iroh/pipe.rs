//! One connection of dumbpipe as a stream. Owns its two ends: what was written arrives
//! before the sending half ends, and whoever lets go of it breaks it off.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use iroh::endpoint::{Connection, ConnectionError, ReadError, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long the last of what was written may take to arrive. A session that ends because
/// the other side is silent waits for it, too.
const LAST: Duration = Duration::from_secs(1);

/// The only stream of a connection.
pub(super) struct Pipe {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    /// What is waited for once nothing is written any more.
    ending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Pipe {
    pub(super) fn new(connection: Connection, send: SendStream, receive: RecvStream) -> Self {
        Self { connection, send, receive, ending: None }
    }
}

impl Drop for Pipe {
    /// Nobody else uses the connection.
    fn drop(&mut self) {
        self.connection.close(0_u32.into(), b"");
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.receive), cx, buf).map_err(as_of_tcp)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    /// Closing a connection throws away what has not arrived (RFC 9000, section 10.2),
    /// unlike close(2) of a socket.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let ending = this.ending.get_or_insert_with(|| {
            // One that has ended already has ended as well.
            let _ = this.send.finish();
            let arrived = this.send.stopped();
            Box::pin(async move {
                let _ = tokio::time::timeout(LAST, arrived).await;
            })
        });
        ending.as_mut().poll(cx).map(Ok)
    }
}

/// How a lost connection would show on a socket.
fn as_of_tcp(error: Error) -> Error {
    let read = error.get_ref().and_then(|error| error.downcast_ref::<ReadError>());
    let kind = match read {
        Some(ReadError::ConnectionLost(ConnectionError::TimedOut)) => ErrorKind::TimedOut,
        Some(ReadError::ConnectionLost(_)) => ErrorKind::ConnectionReset,
        _ => error.kind(),
    };
    Error::from(kind)
}
