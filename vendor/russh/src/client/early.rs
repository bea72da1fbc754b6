//! A channel that is opened, and asked for something, before the server has said that
//! authentication succeeded: right behind the signature that it depends on. A server
//! that reads one message after the other takes all of it, or answers each message with
//! `SSH_MSG_UNIMPLEMENTED` because nobody is authenticated (RFC 4253, section 11.4).
//! Owns knowing which of the two it was: nothing is asked for twice.

use ssh_encoding::Decode;

use super::{Handle, Handler, Msg, Session};
use crate::channels::inbox::{ClientChannelRef, InboxReader};
use crate::channels::{Channel, ChannelMsg, WindowSizeRef};
use crate::session::EncryptedState;
use crate::{ChannelId, Error};

/// What a channel is for, that follows a signature at once.
#[derive(Debug)]
pub enum EarlyOpen {
    /// A session, and the requests on it, in their order.
    Session(Vec<ChannelMsg>),
    /// A connection to a host and a port, seen from the server.
    DirectTcpIp(String, u32),
    /// A connection to a socket there.
    DirectStreamLocal(Vec<u8>),
}

/// A channel that follows the next signature, if it may.
#[derive(Debug)]
pub struct EarlyChannel {
    receiver: InboxReader,
    window_size: WindowSizeRef,
}

/// What has become of it, for the session.
#[derive(Debug, Default)]
pub(crate) enum Early {
    /// There is none.
    #[default]
    Nothing,
    /// It waits for the signature.
    Waiting(EarlyOpen, ClientChannelRef),
    /// It is being written.
    GoingOut,
    /// It followed the signature.
    Sent(Flight),
    /// The server did not take the signature, and refuses what followed.
    Forgotten(Flight),
}

/// The messages behind a signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    id: ChannelId,
    /// The sequence number of the first one.
    first: u32,
    count: u32,
    /// How many of them the server has refused, in their order.
    refused: u32,
}

impl Early {
    /// Whether the next answer is one to a signature with something behind it.
    pub(crate) fn is_sent(&self) -> bool {
        matches!(self, Self::Sent(_))
    }
}

impl<H: Handler> Handle<H> {
    /// Opens a channel right behind the signature of the authentication that is asked
    /// for next, if there is one, and the server is known to read one message after the
    /// other. Only one channel is ever sent this way.
    pub async fn channel_open_early(&self, open: EarlyOpen) -> Result<EarlyChannel, Error> {
        let (channel_ref, receiver, window_size) = self.new_channel();
        let early = Msg::OpenEarly { open, channel_ref };
        self.sender.send(early).await.map_err(|_| Error::SendError)?;
        Ok(EarlyChannel { receiver, window_size })
    }

    /// Waits for the server's word on it, once authentication has succeeded; `None` if
    /// the server has not heard of it, or has said that it takes nothing of it.
    pub async fn channel_opened_early(
        &self,
        early: EarlyChannel,
    ) -> Result<Option<Channel<Msg>>, Error> {
        let opened = self.wait_channel_confirmation(early.receiver, early.window_size).await;
        match opened {
            Err(Error::Disconnect) if !self.is_closed() => Ok(None),
            opened => opened.map(Some),
        }
    }
}

impl Session {
    /// Keeps a channel for the next signature.
    pub(crate) fn keep_early(&mut self, open: EarlyOpen, channel_ref: ClientChannelRef) {
        if matches!(self.early, Early::Nothing | Early::Waiting(..)) {
            self.early = Early::Waiting(open, channel_ref);
        }
    }

    /// A signature was written: sends what is to follow it.
    pub(crate) fn send_early(&mut self) -> Result<(), Error> {
        if !matches!(self.early, Early::Waiting(..)) {
            return Ok(());
        }
        let Early::Waiting(open, channel_ref) = std::mem::take(&mut self.early) else {
            return Ok(());
        };
        if !self.takes_early() {
            return Ok(());
        }
        self.early = Early::GoingOut;
        self.flush()?;
        let first = self.common.packet_writer.buffer().seqn;
        let (id, requests) = match open {
            EarlyOpen::Session(requests) => (self.channel_open_session()?, requests),
            EarlyOpen::DirectTcpIp(host, port) => {
                (self.channel_open_direct_tcpip(&host, port, "127.0.0.1", 0)?, Vec::new())
            }
            EarlyOpen::DirectStreamLocal(path) => {
                (self.channel_open_direct_streamlocal(&path)?, Vec::new())
            }
        };
        self.keep_channel(id, channel_ref);
        // The server's number of the channel is the first that it gives, 0.
        for request in requests {
            self.handle_msg(Msg::Channel(id, request))?;
        }
        self.flush()?;
        let end = self.common.packet_writer.buffer().seqn;
        self.early = Early::Sent(Flight { id, first: first.0, count: (end - first).0, refused: 0 });
        Ok(())
    }

    /// Whether the server is one that reads one message after the other, and reads what
    /// follows as it was written: compression that begins with the success of
    /// authentication would begin in the middle of it (OpenSSH's PROTOCOL, section 1.2).
    fn takes_early(&self) -> bool {
        let Some(ref enc) = self.common.encrypted else {
            return false;
        };
        let server = &self.common.remote_sshid;
        server.starts_with(b"SSH-2.0-OpenSSH_")
            && !server.starts_with(b"SSH-2.0-OpenSSH_for_Windows")
            && matches!(enc.state, EncryptedState::WaitingAuthRequest(_))
            && !enc.client_compression.is_deferred()
            && !self.kex.active()
    }

    /// The server has not understood a message.
    pub(crate) fn early_unimplemented(&mut self, message: &[u8]) -> Result<(), Error> {
        let (Early::Sent(flight) | Early::Forgotten(flight)) = &mut self.early else {
            return Ok(());
        };
        let mut reader = message.get(1..).unwrap_or_default();
        let is_next = u32::decode(&mut reader)? == flight.first.wrapping_add(flight.refused);
        if is_next && flight.refused < flight.count {
            flight.refused += 1;
        }
        let is_authenticated = self
            .common
            .encrypted
            .as_ref()
            .is_some_and(|enc| matches!(enc.state, EncryptedState::Authenticated));
        match is_authenticated {
            true => self.settle_early(),
            false => Ok(()),
        }
    }

    /// The server has refused to open a channel although nobody is authenticated. If it is
    /// the early one, no request behind it has reached anything.
    pub(crate) fn early_refused(&mut self, message: &[u8]) -> Result<bool, Error> {
        let (Early::Sent(flight) | Early::Forgotten(flight)) = &mut self.early else {
            return Ok(false);
        };
        let mut reader = message.get(1..).unwrap_or_default();
        let is_early = ChannelId::decode(&mut reader)? == flight.id;
        if is_early {
            flight.refused = flight.count;
        }
        Ok(is_early)
    }

    /// Authentication has failed, or has not come to its end.
    pub(crate) fn forget_early(&mut self) {
        match std::mem::take(&mut self.early) {
            Early::Sent(flight) | Early::Forgotten(flight) => {
                self.drop_early(flight.id);
                self.early = Early::Forgotten(flight);
            }
            // It would have followed this, and follows nothing else.
            Early::Nothing | Early::Waiting(..) | Early::GoingOut => {}
        }
    }

    /// Authentication has succeeded. What the server has refused may be asked for again;
    /// what it has neither refused nor may have taken must not be.
    pub(crate) fn settle_early(&mut self) -> Result<(), Error> {
        match self.early {
            Early::Sent(flight) if flight.refused == flight.count => {
                self.drop_early(flight.id);
                self.early = Early::Nothing;
            }
            Early::Forgotten(flight) if flight.refused < flight.count => {
                return Err(Error::EarlyChannel);
            }
            Early::Sent(_) => {}
            _ => self.early = Early::Nothing,
        }
        Ok(())
    }

    /// The server has opened a channel of ours, which it calls by this number.
    pub(crate) fn check_early(&mut self, id: ChannelId, number: u32) -> Result<(), Error> {
        if let Early::Sent(flight) = self.early
            && flight.id == id
        {
            self.early = Early::Nothing;
            // Our requests went elsewhere.
            if flight.count > 1 && number != 0 {
                return Err(Error::EarlyChannel);
            }
        }
        Ok(())
    }

    /// Whoever waits for it comes to an end.
    fn drop_early(&mut self, id: ChannelId) {
        if let Some(ref mut enc) = self.common.encrypted {
            enc.channels.remove(&id);
        }
        self.channels.remove(&id);
    }
}
