//! A stream over Tor. Owns that it ends as a whole: the cell that ends a stream ends both of
//! its directions (tor-spec, "Closing streams"), and with it what the other side has still to
//! say, so that none is sent as long as somebody listens.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Ends when it is dropped, and no direction before.
pub(super) struct Whole<S>(pub(super) S);

impl<S: AsyncRead + Unpin> AsyncRead for Whole<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Whole<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    /// All that was written is on its way. As with nc(1), which lets a proxy know of no end of
    /// its input, the other side ends the stream.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_end_of_what_is_said_does_not_end_the_answer() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut stream = Whole(tokio::io::BufStream::new(ours));
        stream.write_all(b"question").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut question = [0; 8];
        theirs.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"question");
        let more = theirs.read(&mut question);
        let ended = tokio::time::timeout(Duration::from_millis(50), more).await;
        assert!(ended.is_err(), "{ended:?}");
        theirs.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        drop(stream);
        assert_eq!(theirs.read(&mut question).await.unwrap(), 0);
    }
}
