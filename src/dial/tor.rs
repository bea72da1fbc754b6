//! Tor: onion services without a tor program (Arti in this process), or through
//! one that runs already. Owns which of the two connects and how long each may
//! take; the rest is in the modules below.

mod address;
mod embedded;
mod owner;
mod runtime;
mod settings;
mod state;
mod system;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::{DialError, DialFailure, Phase, Stream};
use crate::error::Stage;
use embedded::Embedded;

pub use crate::error::TorFailure;
pub use address::{ClientAuth, Onion};
pub use settings::{Mode, Settings, State};

/// How long a tor that runs already is ahead of our own: it has its circuits,
/// and only if it is stuck do we start a second client.
const SYSTEM_HEAD_START: Duration = Duration::from_secs(3);

/// The dialler for onion services.
pub(super) struct Tor {
    settings: Arc<Settings>,
    embedded: Embedded,
}

impl Tor {
    pub(super) fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self { embedded: Embedded::new(settings.clone()), settings }
    }

    /// Whether the user has said which client connects.
    pub(super) fn is_chosen(&self) -> bool {
        self.settings.mode != Mode::Auto
    }

    pub(super) async fn dial(
        &self,
        host: &str,
        port: u16,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Stream, DialError> {
        // Before anything is started or asked.
        let onion = Onion::parse(host)
            .map_err(|why| DialError::new(Stage::Resolve, DialFailure::BadAddress(why)))?;
        let socks = self.settings.socks();
        let by_system = async {
            enter(Phase::Onion);
            system::dial(socks, &onion, port).await
        };
        let by_embedded = async { self.embedded.dial(&onion, port, enter).await };
        match self.settings.mode {
            Mode::Embedded => by_embedded.await,
            Mode::System => by_system.await,
            // Restricted discovery: the keys that we were given are for us.
            Mode::Auto if !self.settings.client_auth.is_empty() => by_embedded.await,
            Mode::Auto if !Self::is_usable(socks, enter).await => by_embedded.await,
            Mode::Auto => {
                tokio::pin!(by_system);
                let head_start = tokio::time::timeout(SYSTEM_HEAD_START, &mut by_system).await;
                match head_start {
                    Ok(Ok(stream)) => Ok(stream),
                    // What the service itself says holds for every client.
                    Ok(Err(error)) if error.is_about_the_service() => Err(error),
                    Ok(Err(error)) => {
                        if let DialFailure::Tor(TorFailure::Stranger { owner, .. }) = error.failure
                        {
                            let why = format!("it belongs to {owner}");
                            enter(Phase::Distrusting { socks, why });
                        }
                        by_embedded.await
                    }
                    Err(_) => {
                        tokio::pin!(by_embedded);
                        match select(by_system, by_embedded).await {
                            Either::Left((Err(_), embedded)) => embedded.await,
                            Either::Right((Err(_), system)) => system.await,
                            Either::Left((stream, _)) | Either::Right((stream, _)) => stream,
                        }
                    }
                }
            }
        }
    }
}

impl Tor {
    /// Whether a tor listens there that may be told an onion's name.
    async fn is_usable(socks: SocketAddr, enter: &(dyn Fn(Phase) + Sync)) -> bool {
        if let Some(why) = system::objection(socks).await {
            enter(Phase::Distrusting { socks, why });
            return false;
        }
        system::is_tor(socks).await
    }
}

impl std::fmt::Debug for Tor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tor")
    }
}

impl DialError {
    /// Whether another client of the same network would hear the same.
    fn is_about_the_service(&self) -> bool {
        matches!(
            &self.failure,
            DialFailure::Refused
                | DialFailure::Tor(
                    TorFailure::NoDescriptor
                        | TorFailure::AuthMissing
                        | TorFailure::AuthWrong
                        | TorFailure::PortClosed
                )
        )
    }
}
