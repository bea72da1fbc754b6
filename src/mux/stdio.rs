//! A client's standard input, read by the master. Owns reading without taking
//! what the client, or who comes after it, is to read: no read is ever begun
//! before there is something to read.

use std::fs::File;
use std::io::{ErrorKind, Read, Result};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};

/// Standard input that was passed to us.
pub(super) enum Input {
    /// A pipe, a terminal, a socket.
    Pollable(AsyncFd<File>),
    /// A file, which always has something to read or is at its end.
    File(tokio::fs::File),
}

impl Input {
    pub(super) fn new(file: OwnedFd) -> Result<Self> {
        #[allow(deprecated, reason = "a File owns its descriptor; what is to replace it is unsafe")]
        let pollable = AsyncFd::try_with_interest(File::from(file), Interest::READABLE);
        match pollable {
            Ok(file) => Ok(Self::Pollable(file)),
            Err(error) => {
                let (file, error) = error.into_parts();
                match error.kind() {
                    // Nothing can be waited for on regular files and /dev/null.
                    ErrorKind::PermissionDenied => Ok(Self::File(tokio::fs::File::from_std(file))),
                    _ => Err(error),
                }
            }
        }
    }
}

/// What is there to be read. Others use the same open file, so that it cannot
/// be made non-blocking.
fn read_now(mut file: &File, space: &mut [u8]) -> Result<usize> {
    let mut polled = [PollFd::new(file, PollFlags::IN)];
    match poll(&mut polled, Some(&Timespec::default()))? {
        0 => Err(ErrorKind::WouldBlock.into()),
        _ => file.read(space),
    }
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let file = match &mut *self {
            Self::File(file) => return Pin::new(file).poll_read(cx, buf),
            Self::Pollable(file) => file,
        };
        loop {
            let mut ready = ready!(file.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled();
            match ready.try_io(|file| read_now(file.get_ref(), space)) {
                Ok(Ok(count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn pipes_and_files_are_read_to_their_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut input = Input::new(reader.into()).unwrap();
        assert!(matches!(input, Input::Pollable(_)));
        writer.write_all(b"one").unwrap();
        let mut text = [0; 8];
        assert_eq!(input.read(&mut text).await.unwrap(), 3);
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), async {
            input.read(&mut [0; 8]).await
        });
        assert!(waiting.await.is_err());
        drop(writer);
        assert_eq!(input.read(&mut text).await.unwrap(), 0);
        let mut null = Input::new(File::open("/dev/null").unwrap().into()).unwrap();
        assert_eq!(null.read(&mut text).await.unwrap(), 0);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"two").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut file = Input::new(file.into()).unwrap();
        assert_eq!(file.read(&mut text).await.unwrap(), 3);
    }
}
