use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::WindowSizeRef;
use crate::{ChannelMsg, Error};

/// Pieces of data up to this size are put together while they wait.
const PIECE: usize = 32 << 10;
/// Messages that may wait for a reader. Their data is bounded by the window;
/// this bounds everything else that a peer can send.
const MAX_BACKLOG: usize = 16 << 10;

/// A handle to the [`super::Channel`]'s to be able to transmit messages
/// to it and update it's `window_size`.
#[derive(Debug)]
pub struct ChannelRef {
    pub(super) sender: Sender<ChannelMsg>,
    pub(super) window_size: WindowSizeRef,
    /// Messages that the channel has no room for yet.
    backlog: VecDeque<ChannelMsg>,
}

impl ChannelRef {
    pub fn new(sender: Sender<ChannelMsg>) -> Self {
        Self::with_window(sender, WindowSizeRef::new(0))
    }

    pub(super) fn with_window(sender: Sender<ChannelMsg>, window_size: WindowSizeRef) -> Self {
        Self {
            sender,
            window_size,
            backlog: VecDeque::new(),
        }
    }

    pub(crate) fn window_size(&self) -> &WindowSizeRef {
        &self.window_size
    }

    /// Hands a message over, now or when there is room; never waits.
    ///
    /// Fails if far more is waiting than a peer has any reason to send.
    pub(crate) fn deliver(&mut self, msg: ChannelMsg) -> Result<(), Error> {
        if self.backlog.is_empty() {
            match self.sender.try_send(msg) {
                // Without a reader there is nobody to read it.
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(msg)) => self.backlog.push_back(msg),
            }
            return Ok(());
        }
        match (self.backlog.back_mut(), msg) {
            (Some(ChannelMsg::Data { data: last }), ChannelMsg::Data { data })
                if last.len() + data.len() <= PIECE =>
            {
                append(last, &data);
            }
            (_, msg) => self.backlog.push_back(msg),
        }
        if self.backlog.len() > MAX_BACKLOG {
            return Err(Error::Inconsistent);
        }
        Ok(())
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Hands over what there is room for.
    pub(crate) fn deliver_backlog(&mut self) {
        while let Some(msg) = self.backlog.pop_front() {
            match self.sender.try_send(msg) {
                Ok(()) => {}
                Err(TrySendError::Full(msg)) => return self.backlog.push_front(msg),
                Err(TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
    }

    /// Hands over everything, however long that takes.
    pub(crate) async fn deliver_rest(mut self) {
        while let Some(msg) = self.backlog.pop_front() {
            if self.sender.send(msg).await.is_err() {
                return;
            }
        }
    }

    /// Waits until one of those with a backlog has room for some of it.
    pub(crate) async fn any_has_room<'a>(channels: impl Iterator<Item = &'a Self>) {
        let waiting: Vec<_> = channels
            .filter(|channel| channel.has_backlog())
            .map(|channel| Box::pin(channel.sender.reserve()))
            .collect();
        if waiting.is_empty() {
            std::future::pending().await
        }
        let _ = futures::future::select_all(waiting).await;
    }
}

fn append(last: &mut Bytes, data: &[u8]) {
    *last = match std::mem::take(last).try_into_mut() {
        Ok(mut last) => {
            last.extend_from_slice(data);
            last.freeze()
        }
        Err(last) => [&last, data].concat().into(),
    };
}

impl std::ops::Deref for ChannelRef {
    type Target = Sender<ChannelMsg>;

    fn deref(&self) -> &Self::Target {
        &self.sender
    }
}
