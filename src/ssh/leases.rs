//! How many shells, commands and forwarded connections use a session. Owns the
//! count; a master that nobody uses may end.

use tokio::sync::watch;

/// The count of one session.
#[derive(Debug, Clone, Default)]
pub struct Leases(watch::Sender<usize>);

/// One of them, until dropped.
#[derive(Debug)]
pub struct Lease(watch::Sender<usize>);

impl Leases {
    /// Counts one more.
    pub fn begin(&self) -> Lease {
        self.0.send_modify(|count| *count += 1);
        Lease(self.0.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until there are none.
    pub async fn none(&self) {
        // The sender is here, so that this cannot fail.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Waits until there is one.
    pub async fn any(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count > 0).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
