//! Streams to onion services, over the circuits of our own Tor client. Owns how many
//! circuits are made ahead, and that the first words go along with the asking for a
//! stream.
//!
//! `TorClient::connect` does neither (arti-client 0.47). It has four circuits made
//! ahead, and more for each that is taken (`tor_circmgr::hspool::pool`); a connection
//! takes two of them, and the cells of the others hold up its own at every relay that
//! they share. And it waits for the service's word before anything is said
//! (`connect_with_prefs`, "disable optimistic data"): a round trip through all relays.
//! Everything else is Arti's: which relays, guards and vanguards, the descriptor, the
//! handshakes, the retries, and which streams share a circuit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arti_client::{DataStream, ErrorKind, HasKind, TorClient, TorClientConfig};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};
use tor_circmgr::hspool::HsCircPool;
use tor_circmgr::isolation::StreamIsolation;
use tor_hsclient::{DescriptorStore, HsClientConnector, HsClientSecretKeys};
use tor_hscrypto::pk::HsBlindId;
use tor_netdir::params::NetParameters;
use tor_netdir::{DirEvent, NetDir, NetDirProvider, Timeliness};
use tor_netdoc::doc::netstatus::ProtoStatuses;
use tor_proto::client::stream::StreamParameters;

use super::address::Onion;
use super::descriptors::Descriptors;
use super::failure;
use super::runtime::Runtime;
use super::stream::Whole;
use crate::dial::{DialError, DialFailure, Pending, Stream};
use crate::error::{Stage, TorFailure};

/// What a connection takes: one circuit to the rendezvous, and one to the
/// introduction. The one to the directory is made at once.
const CIRCUITS: usize = 2;
/// After this time something has failed, and is tried again.
const SPARES_AFTER: Duration = Duration::from_secs(4);
/// How often, and how long each time, a list of relays is waited for that is
/// being replaced.
const RENEWALS: usize = 20;
pub(super) const RENEWAL: Duration = Duration::from_millis(50);

/// What leads to onion services.
pub(super) struct Onions {
    client: Arc<TorClient<Runtime>>,
    connector: HsClientConnector<Runtime>,
    directory: Arc<dyn NetDirProvider>,
    ahead: Arc<Ahead>,
}

impl Onions {
    /// Over the circuits of `client`, which has been bootstrapped with `config`, with the
    /// descriptors that are kept.
    ///
    /// # Errors
    /// A [`TorFailure`].
    pub(super) fn new(
        client: Arc<TorClient<Runtime>>,
        config: &TorClientConfig,
        kept: Option<Descriptors>,
    ) -> Result<Self, TorFailure> {
        let failed = |error: &dyn HasKind| failure::of_kind(error.kind());
        let circuits = client.circmgr().map_err(|error| failed(&error))?;
        let directory = client.dirmgr().map_err(|error| failed(&error))?.upcast_arc();
        let ahead = Arc::new(Ahead { directory: directory.clone(), wanted: AtomicUsize::new(0) });
        let runtime = client.runtime();
        let pool = Arc::new(HsCircPool::new(&circuits));
        let provider: Arc<dyn NetDirProvider> = ahead.clone();
        pool.launch_background_tasks(runtime, &provider).map_err(|error| failed(&error))?;
        let is_new = |event| async move { (event == DirEvent::NewConsensus).then_some(()) };
        let housekeeping = directory.events().filter_map(is_new).boxed();
        let connector = HsClientConnector::new(runtime.clone(), pool, config, housekeeping)
            .map_err(|error| failed(&error))?;
        let kept = kept.map(|descriptors| Kept { descriptors, ahead: ahead.clone() });
        let connector = match kept {
            Some(kept) => connector.with_descriptor_store(Arc::new(kept)),
            None => connector,
        };
        Ok(Self { client, connector, directory, ahead })
    }

    /// Asks `onion` for a stream to one of its ports, within the deadline.
    ///
    /// # Errors
    /// A [`TorFailure`].
    pub(super) async fn ask(
        &self,
        onion: &Onion,
        keys: HsClientSecretKeys,
        port: u16,
        deadline: Instant,
    ) -> Result<Unconfirmed, TorFailure> {
        match timeout_at(deadline, self.begin(onion, keys, port)).await {
            Ok(Ok(stream)) => Ok(Unconfirmed { stream, deadline }),
            Ok(Err(kind)) => Err(failure::of_kind(kind)),
            Err(_) => Err(TorFailure::Silent),
        }
    }

    async fn begin(
        &self,
        onion: &Onion,
        keys: HsClientSecretKeys,
        port: u16,
    ) -> Result<DataStream, ErrorKind> {
        for _ in 0..RENEWALS {
            match self.try_to_begin(onion, keys.clone(), port).await {
                // The list of relays that was there is just being replaced.
                Err(ErrorKind::BootstrapRequired) => {
                    tokio::time::sleep(RENEWAL).await;
                    self.client.bootstrap().await.map_err(|error| error.kind())?;
                }
                done => return done,
            }
        }
        self.try_to_begin(onion, keys, port).await
    }

    async fn try_to_begin(
        &self,
        onion: &Onion,
        keys: HsClientSecretKeys,
        port: u16,
    ) -> Result<DataStream, ErrorKind> {
        let relays = self.directory.timely_netdir().map_err(|error| error.kind())?;
        // All streams of this process to one service share its circuit.
        let isolation = StreamIsolation::no_isolation();
        let connecting = self.connector.get_or_launch_tunnel(&relays, onion.id, keys, isolation);
        tokio::pin!(connecting);
        let tunnel = loop {
            self.ahead.want(CIRCUITS);
            match timeout(SPARES_AFTER, &mut connecting).await {
                Ok(tunnel) => break tunnel.map_err(|error| error.kind())?,
                Err(_) => continue,
            }
        };
        // As Arti has it: the service is told nothing but the port.
        let mut parameters = StreamParameters::new();
        parameters.suppress_hostname().suppress_begin_flags().optimistic(true);
        tunnel.begin_stream("", port, Some(parameters)).await.map_err(|error| error.kind())
    }
}

/// A stream that the service has not confirmed yet.
pub(super) struct Unconfirmed {
    stream: DataStream,
    deadline: Instant,
}

#[async_trait]
impl Pending for Unconfirmed {
    async fn say(&mut self, words: &[u8]) {
        if self.stream.write_all(words).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    async fn confirmed(mut self: Box<Self>) -> Result<Stream, DialError> {
        let failure = match timeout_at(self.deadline, self.stream.wait_for_connection()).await {
            Ok(Ok(())) => return Ok(Stream::new(Whole(self.stream), None)),
            Ok(Err(error)) => failure::of_kind(error.kind()),
            Err(_) => TorFailure::Silent,
        };
        Err(DialError::new(Stage::Dial, DialFailure::Tor(failure)))
    }
}

/// The list of relays, for who makes circuits ahead. He asks for it before each one, and
/// has it as often as circuits are wanted.
struct Ahead {
    directory: Arc<dyn NetDirProvider>,
    wanted: AtomicUsize,
}

impl Ahead {
    /// Allows `more` circuits. Whoever finds none wakes the one who makes them.
    fn want(&self, more: usize) {
        self.wanted.fetch_add(more, Ordering::Relaxed);
    }

    /// None at all: who needs one makes it.
    fn want_none(&self) {
        self.wanted.store(0, Ordering::Relaxed);
    }
}

/// Descriptors for who connects. With one that is there, nothing has to be waited for while
/// circuits are made ahead: both that a connection takes are wanted at once, and are made
/// for it.
struct Kept {
    descriptors: Descriptors,
    ahead: Arc<Ahead>,
}

impl DescriptorStore for Kept {
    fn load(&self, id: &HsBlindId) -> Option<String> {
        self.descriptors.load(id).inspect(|_| self.ahead.want_none())
    }

    fn keep(&self, id: &HsBlindId, text: &str) {
        self.descriptors.keep(id, text);
    }

    fn forget(&self, id: &HsBlindId) {
        self.descriptors.forget(id);
    }
}

#[async_trait]
impl NetDirProvider for Ahead {
    fn netdir(&self, timeliness: Timeliness) -> Result<Arc<NetDir>, tor_netdir::Error> {
        let one_less = |wanted: usize| wanted.checked_sub(1);
        let order = Ordering::Relaxed;
        match self.wanted.fetch_update(order, order, one_less) {
            Ok(_) => self.directory.netdir(timeliness),
            Err(_) => Err(tor_netdir::Error::NotEnoughInfo),
        }
    }

    /// None: they would only have circuits dropped whose relays are not listed any more,
    /// and each circuit is looked at again before it is used.
    fn events(&self) -> BoxStream<'static, DirEvent> {
        stream::pending().boxed()
    }

    fn params(&self) -> Arc<dyn AsRef<NetParameters>> {
        self.directory.params()
    }

    fn protocol_statuses(&self) -> Option<(SystemTime, Arc<ProtoStatuses>)> {
        self.directory.protocol_statuses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has no list, and knows how often it was asked.
    struct Empty(AtomicUsize);

    #[async_trait]
    impl NetDirProvider for Empty {
        fn netdir(&self, _: Timeliness) -> Result<Arc<NetDir>, tor_netdir::Error> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(tor_netdir::Error::NoInfo)
        }

        fn events(&self) -> BoxStream<'static, DirEvent> {
            stream::empty().boxed()
        }

        fn params(&self) -> Arc<dyn AsRef<NetParameters>> {
            Arc::new(NetParameters::default())
        }

        fn protocol_statuses(&self) -> Option<(SystemTime, Arc<ProtoStatuses>)> {
            None
        }
    }

    #[test]
    fn no_more_circuits_are_made_ahead_than_a_connection_takes() {
        let empty = Arc::new(Empty(AtomicUsize::new(0)));
        let ahead = Ahead { directory: empty.clone(), wanted: AtomicUsize::new(0) };
        let asks = |often: usize| {
            for _ in 0..often {
                assert!(ahead.netdir(Timeliness::Timely).is_err());
            }
            empty.0.load(Ordering::Relaxed)
        };
        assert_eq!(asks(3), 0, "nobody connects");
        ahead.want(CIRCUITS);
        assert_eq!(asks(5), CIRCUITS);
        // Two at the same time.
        ahead.want(CIRCUITS);
        ahead.want(CIRCUITS);
        assert_eq!(asks(9), 3 * CIRCUITS);
        // What is known already leaves no time for them.
        ahead.want(CIRCUITS);
        ahead.want_none();
        assert_eq!(asks(1), 3 * CIRCUITS);
    }
}
