//! A TCP connection to a server that answers in small pieces. Owns when what
//! has arrived is acknowledged.
//!
//! sshd leaves Nagle's algorithm (RFC 896) on where there is no terminal: it
//! holds a piece back until the one before is acknowledged, which a system that
//! waits for something to answer with (RFC 1122, section 4.2.3.2) does 40 ms or
//! more later. That would be once in every login and once in every exit status.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection that acknowledges as soon as there is no more to read.
#[derive(Debug)]
pub(super) struct Prompt {
    stream: TcpStream,
    /// Whether something was read since it was last empty.
    has_read: bool,
}

impl Prompt {
    pub(super) fn new(stream: TcpStream) -> Result<Self> {
        // Keystrokes and window changes are small; Nagle would hold them back.
        stream.set_nodelay(true)?;
        Ok(Self { stream, has_read: false })
    }
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match polled {
            Poll::Ready(_) => self.has_read = true,
            Poll::Pending if self.has_read => {
                self.has_read = false;
                // The system goes back to waiting by itself, so that it is told
                // every time. Not being able to costs only time.
                let _ = rustix::net::sockopt::set_tcp_quickack(&self.stream, true);
            }
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server that answers in two writes, as sshd does without a terminal.
    fn server() -> std::net::SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(b"one").unwrap();
                stream.write_all(b"two").unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn the_second_of_two_small_pieces_is_not_held_back() {
        let mut stream = Prompt::new(TcpStream::connect(server()).await.unwrap()).unwrap();
        let mut fastest = Duration::MAX;
        for round in 0..40 {
            let started = Instant::now();
            stream.write_all(b"?").await.unwrap();
            stream.read_exact(&mut [0; 6]).await.unwrap();
            // A new connection is prompt for a while anyway.
            if round >= 20 {
                fastest = fastest.min(started.elapsed());
            }
        }
        assert!(fastest < Duration::from_millis(30), "{fastest:?}");
    }
}
