//! How much a session has sent and received. Owns the count; what is counted passes
//! through as it is, encrypted.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic(Arc<[AtomicU64; 2]>);

impl Traffic {
    /// What has come in, and what has gone out.
    pub(super) fn counts(&self) -> [u64; 2] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    fn add(&self, [received, sent]: [usize; 2]) {
        for (count, more) in self.0.iter().zip([received, sent]) {
            count.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// A stream of which every byte is counted.
pub(super) struct Counted<S> {
    stream: S,
    traffic: Traffic,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, traffic: Traffic) -> Self {
        Self { stream, traffic }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.traffic.add([buf.filled().len().saturating_sub(before), 0]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.traffic.add([0, count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?;
        self.traffic.add([0, count]);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn both_directions_are_counted() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let traffic = Traffic::default();
        let mut counted = Counted::new(ours, traffic.clone());
        counted.write_all(b"hello").await.unwrap();
        theirs.write_all(b"hi").await.unwrap();
        let mut two = [0; 2];
        counted.read_exact(&mut two).await.unwrap();
        assert_eq!(traffic.counts(), [2, 5]);
    }
}
