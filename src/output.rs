//! An output that somebody reads. Owns noticing that its reader is gone while nothing is
//! written to it, and that then nothing is left to do.

use std::future::{Future, pending};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf, Ready};

/// How long an input has to be silent for nothing more to be expected of it.
const SILENCE: Duration = Duration::from_secs(1);
/// The turn of an input that is at its end; odd, as for one that is waited for.
const ENDED: u64 = u64::MAX;

/// A pipe without a reader has an error; a socket can be written to no more, which is told only
/// to those that want to.
const END: Interest = Interest::ERROR.add(Interest::WRITABLE);

/// Waits until the reader of a pipe or a socket is gone; for ever where the system does not
/// tell, as of a file. As long as it waits, the output is not closed.
pub(crate) fn unread(output: BorrowedFd<'_>) -> impl Future<Output = ()> + Send + use<> {
    let output = rustix::io::fcntl_dupfd_cloexec(output, 3);
    async move {
        #[allow(deprecated, reason = "it owns its descriptor; what is to replace it is unsafe")]
        let watched = output.map(|output| AsyncFd::with_interest(output, END));
        if let Ok(Ok(output)) = watched {
            while let Ok(mut seen) = output.ready(END).await {
                if seen.ready().is_error() || seen.ready().is_write_closed() {
                    return;
                }
                seen.clear_ready_matching(Ready::WRITABLE);
            }
        }
        pending().await
    }
}

/// An input of which is known whether it is waited for.
pub(crate) struct Heard<R> {
    input: R,
    turn: Arc<AtomicU64>,
}

/// Of an input: nothing comes from it.
pub(crate) struct Silence {
    /// Odd while it is waited for.
    turn: Arc<AtomicU64>,
}

/// The same input, and what tells whether anything comes from it.
pub(crate) fn heard<R>(input: R) -> (Heard<R>, Silence) {
    let turn = Arc::default();
    (Heard { input, turn: Arc::clone(&turn) }, Silence { turn })
}

impl Silence {
    /// Waits until the reader of an output is gone, as `unread` tells, and the input says
    /// nothing either: what it still has to say reaches the other side.
    pub(crate) async fn after(self, unread: impl Future<Output = ()>) {
        unread.await;
        loop {
            let turn = self.turn.load(Ordering::Relaxed);
            tokio::time::sleep(SILENCE).await;
            if turn % 2 == 1 && turn == self.turn.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Heard<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let turn = self.turn.load(Ordering::Relaxed);
        let before = buffer.filled().len();
        // Only here it is changed.
        self.turn.store(turn | 1, Ordering::Relaxed);
        let read = ready!(Pin::new(&mut self.input).poll_read(context, buffer));
        let is_end = read.is_err() || buffer.filled().len() == before;
        let next = if is_end { ENDED } else { (turn | 1).wrapping_add(1) };
        self.turn.store(next, Ordering::Relaxed);
        Poll::Ready(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_reader_is_noticed_and_of_a_file_nothing_is_told() {
        let soon = Duration::from_millis(50);
        let pipe = std::io::pipe().map(|(reader, writer)| (reader.into(), writer.into()));
        let pair = UnixStream::pair().map(|(one, other)| (one.into(), other.into()));
        for ends in [pipe, pair] {
            let (reader, writer): (OwnedFd, OwnedFd) = ends.unwrap();
            let gone = unread(writer.as_fd());
            tokio::pin!(gone);
            assert!(tokio::time::timeout(soon, &mut gone).await.is_err());
            drop(reader);
            tokio::time::timeout(20 * soon, gone).await.unwrap();
        }
        let file = tempfile::tempfile().unwrap();
        assert!(tokio::time::timeout(soon, unread(file.as_fd())).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_without_a_reader_is_of_use_while_the_input_speaks() {
        let (mut speaker, listener) = tokio::io::duplex(16);
        let (mut input, silence) = heard(listener);
        let over = silence.after(std::future::ready(()));
        tokio::pin!(over);
        let mut byte = [0];
        for _ in 0..5 {
            // Between two reads something is on its way, however long that takes.
            assert!(tokio::time::timeout(9 * SILENCE, &mut over).await.is_err());
            let reading = async {
                tokio::time::sleep(SILENCE / 2).await;
                speaker.write_all(b"x").await.unwrap();
            };
            let (read, ()) = tokio::join!(input.read_exact(&mut byte), reading);
            read.unwrap();
        }
        tokio::select! {
            _ = input.read(&mut byte) => panic!("nobody has said anything"),
            () = &mut over => {}
        }
        // Of one that is at its end nothing is expected.
        let (mut input, silence) = heard(tokio::io::empty());
        assert_eq!(input.read(&mut byte).await.unwrap(), 0);
        silence.after(std::future::ready(())).await;
    }
}
