//! An output that somebody reads. Owns noticing that its reader is gone while nothing is
//! written to it.

use std::future::{Future, pending};
use std::os::fd::BorrowedFd;

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

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

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

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
}
