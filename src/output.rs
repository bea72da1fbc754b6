//! An output that somebody reads. Owns noticing that nobody does any more while nothing is
//! written to it.

use std::future::{Future, pending};
use std::os::fd::BorrowedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until nobody reads a pipe any more; for ever where the system does not tell, as of
/// a file. As long as it waits, the output is not closed.
pub(crate) fn unread(output: BorrowedFd<'_>) -> impl Future<Output = ()> + Send + use<> {
    let output = rustix::io::fcntl_dupfd_cloexec(output, 3);
    async move {
        #[allow(deprecated, reason = "it owns its descriptor; what is to replace it is unsafe")]
        let watched = output.map(|output| AsyncFd::with_interest(output, Interest::ERROR));
        if let Ok(Ok(output)) = watched
            && output.ready(Interest::ERROR).await.is_ok()
        {
            return;
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_closes_a_pipe_is_noticed_and_of_a_file_nothing_is_told() {
        let soon = Duration::from_millis(50);
        let (reader, writer) = std::io::pipe().unwrap();
        let gone = unread(writer.as_fd());
        tokio::pin!(gone);
        assert!(tokio::time::timeout(soon, &mut gone).await.is_err());
        drop(reader);
        gone.await;
        let file = tempfile::tempfile().unwrap();
        assert!(tokio::time::timeout(soon, unread(file.as_fd())).await.is_err());
    }
}
