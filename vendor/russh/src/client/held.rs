//! NEWKEYS and what is said next, in one piece: alone it is a segment, or a cell of Tor's,
//! that the next one waits behind where Nagle's algorithm is on. Owns how long it waits.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use crate::kex::SessionKexState;

/// What follows it is there at once, unless somebody has to be asked first.
const PATIENCE: Duration = Duration::from_millis(20);

/// Whether our NEWKEYS of the first key exchange has been sent.
#[derive(Debug, Default)]
pub(crate) enum NewKeys {
    /// It is not written yet.
    #[default]
    Ahead,
    /// It is written, and waits until then for more than this many bytes.
    Held(usize, Instant),
    /// It has been sent.
    Sent,
}

impl NewKeys {
    /// Until it is sent alone.
    pub(crate) fn patience(&self) -> impl Future<Output = ()> + use<> {
        let until = match self {
            Self::Held(_, until) => Some(*until),
            _ => None,
        };
        crate::future_or_pending(until, tokio::time::sleep_until)
    }
}

impl Session {
    /// Whether what is written stays here for now, because it ends with our NEWKEYS.
    pub(crate) fn holds_newkeys(&mut self) -> bool {
        let is_first = self.common.encrypted.is_none();
        let written = self.common.packet_writer.buffer().buffer.len();
        self.newkeys = match std::mem::take(&mut self.newkeys) {
            NewKeys::Ahead => match &self.kex {
                SessionKexState::InProgress(kex) if is_first && kex.waits_for_newkeys() => {
                    NewKeys::Held(written, Instant::now() + PATIENCE)
                }
                _ => NewKeys::Ahead,
            },
            NewKeys::Held(before, until) if written <= before && Instant::now() < until => {
                NewKeys::Held(before, until)
            }
            NewKeys::Held(..) | NewKeys::Sent => NewKeys::Sent,
        };
        matches!(self.newkeys, NewKeys::Held(..))
    }
}
