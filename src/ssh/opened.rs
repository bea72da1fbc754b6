//! Channels that the server opens by itself. Owns how many may be open at once and
//! the count of those that were refused; what they lead to is `forward`'s.

use std::sync::Arc;

use russh::ChannelOpenFailure;
use russh::client::ChannelOpenHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections through listeners on the machine and to the agent, at once. Each has
/// a window, a task and a descriptor here, of which a process has 1024 as a rule.
const MOST_OPEN: usize = 1000;

/// The channels of one session that the server has opened.
pub(super) struct Opened {
    open: Arc<Semaphore>,
    refused: u64,
}

/// One that is open, until dropped.
pub(super) type Open = OwnedSemaphorePermit;

impl Default for Opened {
    fn default() -> Self {
        Self { open: Arc::new(Semaphore::new(MOST_OPEN)), refused: 0 }
    }
}

impl Opened {
    /// Accepts what somebody here has asked for, unless too many are open.
    pub(super) async fn accept(&mut self, kind: &str, reply: ChannelOpenHandle) -> Option<Open> {
        let Ok(open) = self.open.clone().try_acquire_owned() else {
            self.refuse(kind, ChannelOpenFailure::ResourceShortage, reply).await;
            return None;
        };
        reply.accept().await;
        Some(open)
    }

    /// Refuses what nobody has asked for (RFC 4254, sections 6.1, 6.3.2 and 7.2).
    pub(super) async fn prohibit(&mut self, kind: &str, reply: ChannelOpenHandle) {
        self.refuse(kind, ChannelOpenFailure::AdministrativelyProhibited, reply).await;
    }

    /// Refuses what nobody can serve.
    pub(super) async fn refuse(
        &mut self,
        kind: &str,
        reason: ChannelOpenFailure,
        reply: ChannelOpenHandle,
    ) {
        self.refused += 1;
        // A server that goes on and on must not fill the log as well.
        if self.refused.is_power_of_two() {
            let (reason, refused) = (reason.description(), self.refused);
            tracing::warn!(kind, reason, refused, "refused a channel that the server opened");
        }
        reply.reject(reason).await;
    }
}
