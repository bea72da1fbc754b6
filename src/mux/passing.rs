//! Messages and descriptors over the control socket, and from whoever else passes some.
//! Owns their framing: a length before each message, one byte that carries each
//! descriptor.

use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use super::message::MAX_LENGTH;

/// Sends one message.
pub(super) async fn send(stream: &mut UnixStream, message: &[u8]) -> Result<()> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= MAX_LENGTH);
    let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "message too long"))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

/// Receives one message; reads no byte of what follows, which may carry a
/// descriptor.
pub(super) async fn receive(stream: &mut UnixStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_LENGTH {
        return Err(Error::new(ErrorKind::InvalidData, "message too long"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Passes a descriptor.
pub(super) async fn send_descriptor(stream: &UnixStream, file: BorrowedFd<'_>) -> Result<()> {
    let files = [file];
    loop {
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&files));
            sendmsg(stream.as_fd(), &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)
                .map_err(Error::from)
        });
        match sent {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            sent => return sent.map(|_| ()),
        }
    }
}

/// Takes a descriptor that was passed.
pub(crate) async fn receive_descriptor(stream: &UnixStream) -> Result<OwnedFd> {
    loop {
        stream.readable().await?;
        let received = stream.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            recvmsg(
                stream.as_fd(),
                &mut [IoSliceMut::new(&mut byte)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            let file = ancillary.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut files) => files.next(),
                _ => None,
            });
            file.ok_or_else(|| Error::new(ErrorKind::InvalidData, "no descriptor was passed"))
        });
        match received {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn descriptors_and_messages_arrive_in_their_order() {
        use std::io::{Read, Write};
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(&mut one, b"first").await.unwrap();
        send_descriptor(&one, writer.as_fd()).await.unwrap();
        send(&mut one, b"second").await.unwrap();
        drop(writer);
        assert_eq!(receive(&mut other).await.unwrap(), b"first");
        let passed = receive_descriptor(&other).await.unwrap();
        assert_eq!(receive(&mut other).await.unwrap(), b"second");
        std::fs::File::from(passed).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        // A byte without one, and a length that nobody has memory for.
        one.write_all(&[0]).await.unwrap();
        assert!(receive_descriptor(&other).await.is_err());
        one.write_all(&[0xff; 4]).await.unwrap();
        assert!(receive(&mut other).await.is_err());
    }
}
