//! Tor: onion services without a tor program (Arti in this process), or through
//! one that runs already. Owns which of the two connects and how long each may
//! take; the rest is in the modules below.

mod address;
mod descriptors;
mod embedded;
mod onions;
mod owner;
mod runtime;
mod settings;
mod state;
mod system;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::carrier::{Carrier, Setup};
use super::{
    Beginning, Begun, Dial, DialError, DialFailure, Dialling, Phase, SocketOptions, Target,
};
use crate::error::Stage;
use crate::model::{Kind, Network, Running};
use embedded::Embedded;

pub use crate::error::TorFailure;
pub use address::{ClientAuth, Onion};
pub use settings::{Mode, Settings, State};

/// How long a tor that runs already is ahead of our own: it has its circuits,
/// and only if it is stuck do we start a second client.
const SYSTEM_HEAD_START: Duration = Duration::from_secs(3);

/// The row of `clan_lib.network.tor`.
pub(super) struct Row;

impl Kind for Row {
    fn name(&self) -> &'static str {
        "tor"
    }

    fn modules(&self) -> &'static [&'static str] {
        &["tor"]
    }

    fn services(&self) -> &'static [&'static str] {
        &["tor"]
    }

    /// Names of onions must not be asked of the DNS (RFC 7686, section 2).
    fn claims(&self, host: &str) -> bool {
        address::is_onion(host)
    }

    fn is_address(&self, host: &str) -> bool {
        address::is_onion(host)
    }

    /// Its start costs much and is seen by public relays.
    fn head_start(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// A first start downloads megabytes over Tor; its parts have deadlines of their own.
    fn deadline(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn vouches(&self) -> Option<&'static str> {
        Some("its onion address")
    }

    fn running(&self, _: &Network) -> Running {
        Running::InProcess
    }
}

impl Carrier for Row {
    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        let Setup { settings, socket_options, .. } = *setup;
        Arc::new(Tor::new(settings.tor.clone(), socket_options.clone()))
    }
}

/// The dialler for onion services.
struct Tor {
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
    fn new(settings: Settings, socket_options: SocketOptions) -> Self {
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
