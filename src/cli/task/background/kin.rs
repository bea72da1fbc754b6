//! That whoever hands something over to this process is this program as well, and not
//! one that merely passes on what it got from somewhere. Owns the proof: a descriptor of
//! the program's own file, which no stream of bytes can hold. What /proc shows of the
//! other process is none: its file is shown to root alone once it hides its memory
//! (proc(5), prctl(2) PR_SET_DUMPABLE).

use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags, Stat, fstat, open, stat};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::getppid;

use crate::descriptors;

/// This program's file.
const PROGRAM: &str = "/proc/self/exe";

/// Sends the first bytes, with the proof.
pub(super) fn send(socket: &UnixStream, head: &[u8]) -> Result<()> {
    // It need not be readable to be run.
    let program = open(PROGRAM, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let files = [program.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    match sendmsg(socket, &[IoSlice::new(head)], &mut ancillary, SendFlags::NOSIGNAL)? {
        sent if sent == head.len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// Takes so many first bytes.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] where there is no proof with them.
pub(super) fn received(socket: &UnixStream, length: usize) -> Result<()> {
    let mut head = vec![0; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut head)], &mut ancillary, flags)?;
    let file = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    match file.is_some_and(|file| is_program(&file)) && got.bytes == length {
        true => Ok(()),
        false => Err(Error::from(ErrorKind::PermissionDenied)),
    }
}

fn is_program(file: &OwnedFd) -> bool {
    let key = |stat: Stat| (stat.st_dev, stat.st_ino);
    match (fstat(file), stat(PROGRAM)) {
        (Ok(theirs), Ok(ours)) => key(theirs) == key(ours),
        _ => false,
    }
}

/// Whether the other end of a socket was made by the process that started us.
pub(super) fn is_parent(socket: impl AsFd) -> bool {
    let peer = descriptors::peer(&socket);
    peer.zip(getppid())
        .is_some_and(|(peer, parent)| peer.pid.cast_signed() == parent.as_raw_nonzero().get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn bytes_alone_prove_nothing() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&ours, b"head").unwrap();
        received(&theirs, 4).unwrap();
        (&ours).write_all(b"head").unwrap();
        assert_eq!(received(&theirs, 4).unwrap_err().kind(), ErrorKind::PermissionDenied);
        // The file of another program.
        let other = std::fs::File::open("/bin/sh").unwrap();
        assert!(!is_program(&other.into()));
    }
}
