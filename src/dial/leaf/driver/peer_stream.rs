//! The stream to a peer, between the socket and the protocol. Owns what has arrived and is
//! not understood yet, what is still to be written, and how a link ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;

use crate::dial::leaf::Protocol;
use crate::dial::leaf::connect::PeerConnection;
use crate::error::LeafFault;

/// How much may wait for the peer before nobody is asked for more.
pub(super) const MAX_OUT: usize = 128 << 10;
/// How many packets may wait for us.
pub(super) const MAX_PACKETS: usize = 256;
/// How much is read at once. The longest frame of any overlay is below two of these.
const READ: usize = 128 << 10;
/// How long what is said last may take to the peer.
pub(super) const END: Duration = Duration::from_millis(250);
/// The same where much arrives: until the peer has heard the end. A socket that is closed
/// with data unread is reset, and what has not arrived of our last words is lost with it.
pub(super) const BUSY_END: Duration = Duration::from_millis(500);
/// Much is more bytes than these in one of these times.
pub(super) const MUCH: usize = 64 << 10;
const RECENTLY: Duration = Duration::from_millis(250);

/// A link's two directions and what is between them and the protocol.
pub(super) struct PeerStream {
    pub(super) reader: ReadHalf<PeerConnection>,
    pub(super) writer: WriteHalf<PeerConnection>,
    pub(super) arrived: Vec<u8>,
    pub(super) recent: Recent,
    pub(super) writing: Vec<u8>,
    pub(super) written: usize,
}

impl PeerStream {
    pub(super) fn new(reader: ReadHalf<PeerConnection>, writer: WriteHalf<PeerConnection>) -> Self {
        let arrived = Vec::with_capacity(READ);
        let recent = Recent::new();
        Self { reader, writer, arrived, recent, writing: Vec::new(), written: 0 }
    }

    /// Gives the protocol what has arrived, unless it has much to say already.
    pub(super) fn take_frames(
        &mut self,
        protocol: &mut impl Protocol,
        now: Duration,
    ) -> Result<(), LeafFault> {
        let mut taken = 0;
        loop {
            let output = protocol.output();
            if output.bytes.len() >= MAX_OUT || output.packets.len() >= MAX_PACKETS {
                break;
            }
            let rest = self.arrived.get(taken..).unwrap_or_default();
            match protocol.receive(rest, now)? {
                Some(length) if !rest.is_empty() => taken += length,
                _ => break,
            }
        }
        self.arrived.drain(..taken);
        // Room for the rest of a long frame, and for no more than that.
        if self.arrived.capacity() - self.arrived.len() < READ / 2 {
            self.arrived.reserve(READ);
        }
        Ok(())
    }

    pub(super) fn take_output(&mut self, protocol: &mut impl Protocol) {
        if self.written == self.writing.len() {
            self.writing.clear();
            self.written = 0;
            std::mem::swap(&mut self.writing, &mut protocol.output().bytes);
        }
    }

    /// Writes all that there is to be said, for as long as that may take.
    pub(super) async fn end(&mut self, protocol: &mut impl Protocol) {
        let is_busy = self.recent.is_much();
        let limit = if is_busy { BUSY_END } else { END };
        let _ = tokio::time::timeout(limit, self.say_last(protocol, is_busy)).await;
    }

    async fn say_last(
        &mut self,
        protocol: &mut impl Protocol,
        is_busy: bool,
    ) -> std::io::Result<()> {
        let rest = self.writing.get(self.written..).unwrap_or_default();
        self.writer.write_all(rest).await?;
        self.writer.write_all(&protocol.output().bytes).await?;
        self.writer.shutdown().await?;
        if is_busy {
            // The peer closes the other direction when it has heard that.
            let mut unread = vec![0; READ];
            while self.reader.read(&mut unread).await? > 0 {}
        }
        Ok(())
    }

    pub(super) fn waiting(&self) -> usize {
        self.writing.len() - self.written
    }

    pub(super) fn has_written(&mut self, length: usize) -> Option<()> {
        self.written += length;
        (length > 0).then_some(())
    }
}

/// How much has arrived lately.
pub(super) struct Recent {
    since: Instant,
    bytes: usize,
    before: usize,
}

impl Recent {
    fn new() -> Self {
        Self { since: Instant::now(), bytes: 0, before: 0 }
    }

    pub(super) fn note(&mut self, length: usize) {
        let age = self.since.elapsed();
        if age >= RECENTLY {
            self.before = if age < 2 * RECENTLY { self.bytes } else { 0 };
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        self.bytes += length;
    }

    fn is_much(&self) -> bool {
        self.since.elapsed() < 2 * RECENTLY && self.bytes.max(self.before) > MUCH
    }
}
