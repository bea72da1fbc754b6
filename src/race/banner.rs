//! The SSH identification string (RFC 4253, section 4.2). Owns saying first what we
//! have to say, and waiting for theirs, which whoever speaks SSH afterwards sees again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::dial::Stream;
use crate::error::BannerError;
use crate::printable;

/// RFC 4253 allows 255 bytes a line; servers may send other lines first, which
/// OpenSSH bounds at 1024 of 8192 bytes. Nobody honest needs more than this.
const MAX_BEFORE_BANNER: usize = 64 << 10;
/// Longest identification line, in bytes, CR and LF included.
const MAX_LINE: usize = 255;

/// Says `hello`, reads until the identification has arrived, and returns the
/// stream as if it had not been read, and the identification in printable form.
///
/// Both sides may speak first (RFC 4253, section 4.2). A server goes on to key
/// exchange once it has our identification, so waiting for its own before
/// sending ours would cost a round trip.
pub(super) async fn receive(
    mut stream: Stream,
    hello: &[u8],
) -> Result<(Stream, String), BannerError> {
    // A peer that takes nothing may still have said why; reading shows it.
    if stream.write_all(hello).await.is_ok() {
        let _ = stream.flush().await;
    }
    let mut seen = Vec::with_capacity(256);
    let mut chunk = [0; 512];
    loop {
        let count = match stream.read(&mut chunk).await {
            Ok(0) => return Err(refusal(&seen)),
            // Our words were not read before the stream was closed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(refusal(&seen));
            }
            Err(error) => return Err(BannerError::Io(error.kind())),
            Ok(count) => count,
        };
        seen.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some((start, banner)) = identification(&seen)? {
            let (peer, local, way) = (stream.peer, stream.local, stream.way);
            let replay = Replay { seen, given: start, stream };
            return Ok((Stream::new(replay, peer).with_local(local).with_way(way), banner));
        }
    }
}

/// What a server meant that closed the stream after `seen`. OpenSSH says in
/// words why it takes no connection (sshd.c, `drop_connection`).
fn refusal(seen: &[u8]) -> BannerError {
    let says = |words: &[u8]| seen.windows(words.len()).any(|window| window == words);
    match seen {
        [] => BannerError::Closed,
        _ if says(b"Exceeded MaxStartups") => BannerError::Busy,
        _ if says(b"Not allowed at this time") => BannerError::Penalized,
        _ => BannerError::NotSsh,
    }
}

/// Where the identification begins among the lines so far, and its text;
/// `None` when more is needed.
fn identification(seen: &[u8]) -> Result<Option<(usize, String)>, BannerError> {
    let mut rest = seen;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, tail) = rest.split_at(end + 1);
        if line.starts_with(b"SSH-") {
            if line.len() > MAX_LINE {
                return Err(BannerError::NotSsh);
            }
            // 1.99 is a 2.0 server that also speaks 1.x (section 5.1).
            if !line.starts_with(b"SSH-2.0-") && !line.starts_with(b"SSH-1.99-") {
                return Err(BannerError::OldProtocol);
            }
            let text = String::from_utf8_lossy(line);
            let start = seen.len() - rest.len();
            return Ok(Some((start, printable::line(text.trim_end()))));
        }
        rest = tail;
    }
    if seen.len() > MAX_BEFORE_BANNER || (rest.starts_with(b"SSH-") && rest.len() > MAX_LINE) {
        return Err(BannerError::NotSsh);
    }
    Ok(None)
}

/// Gives `seen` again before going on with `stream`.
struct Replay {
    seen: Vec<u8>,
    given: usize,
    stream: Stream,
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.seen.get(this.given..) {
            Some(left) if !left.is_empty() => {
                let count = left.len().min(buf.remaining());
                buf.put_slice(left.get(..count).unwrap_or_default());
                this.given += count;
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(&mut this.stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Replay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"SSH-2.0-me\r\nkex";

    #[test]
    fn only_ssh_2_identifications_count() {
        assert_eq!(identification(b"SSH-2.0-x").unwrap(), None);
        assert_eq!(
            identification(b"hello\r\nSSH-2.0-OpenSSH_9.2 c\r\n").unwrap(),
            Some((7, "SSH-2.0-OpenSSH_9.2 c".to_owned()))
        );
        assert_eq!(identification(b"SSH-1.99-x\n"), Ok(Some((0, "SSH-1.99-x".to_owned()))));
        assert_eq!(identification(b"SSH-1.5-x\n"), Err(BannerError::OldProtocol));
        let long = format!("SSH-2.0-{}\n", "x".repeat(300));
        assert_eq!(identification(long.as_bytes()), Err(BannerError::NotSsh));
        assert_eq!(identification(&[b'x'; MAX_BEFORE_BANNER + 1]), Err(BannerError::NotSsh));
    }

    #[test]
    fn a_hostile_banner_cannot_reach_the_terminal() {
        let (_, banner) = identification(b"SSH-2.0-\x1b]0;x\x07\n").unwrap().unwrap();
        assert!(!banner.chars().any(char::is_control), "{banner:?}");
    }

    #[tokio::test]
    async fn every_byte_from_the_identification_on_is_given_back() {
        let (mut server, client) = tokio::io::duplex(64);
        server.write_all(b"hello\nSSH-2.0-x\r\nkex").await.unwrap();
        let (mut stream, banner) = receive(Stream::new(client, None), HELLO).await.unwrap();
        assert_eq!(banner, "SSH-2.0-x");
        stream.write_all(b"more").await.unwrap();
        let mut heard = [0; 19];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"SSH-2.0-me\r\nkexmore", "everything is said once");
        server.write_all(b"init").await.unwrap();
        drop(server);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"SSH-2.0-x\r\nkexinit");
    }

    #[tokio::test]
    async fn silence_and_garbage_are_told_apart() {
        let (server, client) = tokio::io::duplex(64);
        drop(server);
        assert_eq!(
            receive(Stream::new(client, None), HELLO).await.map(|_| ()),
            Err(BannerError::Closed)
        );
        for (said, error) in [
            ("HTTP/1.1 400 no\r\n\r\n", BannerError::NotSsh),
            ("Exceeded MaxStartups\r\n", BannerError::Busy),
            ("Not allowed at this time\r\n", BannerError::Penalized),
        ] {
            let (mut server, client) = tokio::io::duplex(64);
            server.write_all(said.as_bytes()).await.unwrap();
            drop(server);
            assert_eq!(receive(Stream::new(client, None), HELLO).await.map(|_| ()), Err(error));
        }
    }
}
