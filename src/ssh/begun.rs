//! What is begun along with the login: the one channel that a connection is for. It
//! leaves right behind the signature, so that nothing waits for a round trip in which
//! there is nothing to decide. Owns what may leave so early, and that it is used once.

use std::path::PathBuf;

use russh::client::{EarlyChannel, EarlyOpen};
use russh::{Channel, client};

use super::forward::{ForwardTarget, bytes};
use super::remote::{self, Remote};
use super::{Session, lock};

/// What a connection is for.
#[derive(Debug, Clone)]
pub enum Opening {
    /// A shell, a command or a subsystem, and the agent that it may use.
    Remote(Remote, Option<PathBuf>),
    /// A stream to a place.
    Stream(ForwardTarget),
}

/// What has been asked for, and may have been taken.
pub(super) struct Begun {
    opening: Opening,
    channel: EarlyChannel,
}

/// A shell, a command or a subsystem that has been asked for along with the login.
pub struct BegunRemote {
    remote: Remote,
    pub(super) channel: EarlyChannel,
}

impl BegunRemote {
    /// What was asked for.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }
}

impl Session {
    /// Has `opening` begun along with the login, if the server takes that.
    pub fn begin_with_login(&mut self, opening: Opening) {
        // Whoever nobody vouches for gets no more than it asks for.
        self.opening = Some(opening).filter(|_| self.suspicion().is_none());
    }

    /// Has what is to be begun follow the signature of the next request.
    pub(super) async fn follow_signature(&self) -> Option<EarlyChannel> {
        let open = match self.opening.clone()? {
            Opening::Remote(remote, agent) => {
                let lends_agent = remote.with_agent && agent.is_some();
                if let Some(agent) = agent {
                    // Known before what may ask for it.
                    self.lend_agent(agent);
                }
                EarlyOpen::Session(remote::requests(&remote, lends_agent))
            }
            Opening::Stream(ForwardTarget::Tcp(host, port)) => {
                EarlyOpen::DirectTcpIp(host, port.into())
            }
            Opening::Stream(ForwardTarget::Unix(path)) => {
                EarlyOpen::DirectStreamLocal(bytes(&path))
            }
            Opening::Stream(ForwardTarget::Dynamic) => return None,
        };
        self.handle.channel_open_early(open).await.ok()
    }

    /// The signature that it has followed was the last that the server wanted.
    pub(super) fn has_begun(&mut self, channel: Option<EarlyChannel>) {
        let opening = self.opening.take();
        *lock(&self.begun) =
            opening.zip(channel).map(|(opening, channel)| Begun { opening, channel });
    }

    /// The shell, command or subsystem that has been begun along with the login, if one
    /// has. Whoever has it must go on with it.
    pub fn begun(&self) -> Option<BegunRemote> {
        let mut begun = lock(&self.begun);
        match begun.take()? {
            Begun { opening: Opening::Remote(remote, _), channel } => {
                Some(BegunRemote { remote, channel })
            }
            other => {
                *begun = Some(other);
                None
            }
        }
    }

    /// The stream to `target` that has been begun along with the login, if one has and
    /// the server has heard of it.
    pub(super) async fn begun_stream(
        &self,
        target: &ForwardTarget,
    ) -> Result<Option<Channel<client::Msg>>, russh::Error> {
        let begun = lock(&self.begun)
            .take_if(|begun| matches!(&begun.opening, Opening::Stream(begun) if begun == target));
        match begun {
            Some(begun) => self.handle.channel_opened_early(begun.channel).await,
            None => Ok(None),
        }
    }
}
