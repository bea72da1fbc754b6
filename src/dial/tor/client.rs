//! The dialler for onion services. Owns which of the two clients connects, our own or the
//! system's, and how long each may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::address::Onion;
use super::embedded::Embedded;
use super::settings::{Mode, Settings};
use super::system;
use crate::dial::{
    Beginning, Begun, Dial, DialError, DialFailure, Dialling, Phase, SocketOptions, Target,
};
use crate::error::{Stage, TorFailure};

/// How long a tor that runs already is ahead of our own: it has its circuits,
/// and only if it is stuck do we start a second client.
const SYSTEM_HEAD_START: Duration = Duration::from_secs(3);

/// The dialler for onion services.
pub(super) struct Tor {
    settings: Arc<Settings>,
    embedded: Embedded,
    socket_options: SocketOptions,
}

impl Dial for Tor {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async move { self.begin(target, enter).await?.confirmed().await })
    }

    fn begin<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Beginning<'a> {
        Box::pin(self.reach(target.host.expose(), target.port, enter))
    }
}

impl Tor {
    pub(super) fn new(settings: Settings, socket_options: SocketOptions) -> Self {
        let settings = Arc::new(settings);
        Self { embedded: Embedded::new(settings.clone()), settings, socket_options }
    }

    async fn reach(
        &self,
        host: &str,
        port: u16,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Begun, DialError> {
        // Whoever has said which client connects knows better than the environment.
        let is_chosen = self.settings.mode != Mode::Auto;
        self.socket_options.unless(|preload| !preload.is_tor && !is_chosen)?;
        // Before anything is started or asked.
        let onion = Onion::parse(host)
            .map_err(|why| DialError::new(Stage::Resolve, DialFailure::BadAddress(why)))?;
        let socks = self.settings.socks();
        let by_system = async {
            enter(Phase::Onion);
            system::dial(socks, &onion, port).await.map(Begun::open)
        };
        let by_embedded = async { self.embedded.begin(&onion, port, enter).await };
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
