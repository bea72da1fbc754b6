//! Arti in this process. Owns its start, which happens at most once and in a
//! runtime of its own that can be taken away from it, and its deadlines.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arti_client::{BootstrapBehavior, ErrorKind, HasKind, TorClient};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::address::Onion;
use super::descriptors::Descriptors;
use super::failure;
use super::onions::{Onions, RENEWAL};
use super::settings::{Settings, config};
use super::state::{Dirs, SHARED_PATIENCE};
use crate::dial::own_runtime::OwnRuntime;
use crate::dial::{Begun, DialError, DialFailure, Phase};
use crate::error::Stage;
use crate::error::TorFailure;
use crate::log::watch as watch_log;
use crate::printable;

/// Bound on bootstrapping: `bootstrap()` returns never when relays are frozen.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(60);
/// Bound on descriptor, introduction and rendezvous together: a service that
/// was just killed is looked for during five minutes.
const ONION_DEADLINE: Duration = Duration::from_secs(45);
/// What whoever still waits for the client is told in the end.
fn shut_down() -> TorFailure {
    failure::of_kind(ErrorKind::ArtiShuttingDown)
}
/// Where Arti says that the network no longer supports it, five seconds before
/// it ends the process. Nothing but its log tells in time (0.47): what it does then
/// is a closure inside of `TorClient::create_inner`; the bootstrap status has no such
/// state; and who would judge the recommendations of `TorClient::dirmgr` himself
/// lacks `arti_client::supported_protocols` and `software_release_date`, which are
/// private. A list that is known at the start is an error of that start
/// ([`ErrorKind::SoftwareDeprecated`]), by type.
const OBSOLETE_TARGET: &str = "arti_client::protostatus";

/// Our own client, started when it is first needed.
pub(super) struct Embedded {
    settings: Arc<Settings>,
    running: Mutex<Option<Running>>,
}

struct Running {
    boot: Arc<watch::Sender<Boot>>,
    _runtime: Arc<OwnRuntime>,
    /// After the runtime, so that nobody writes there while they are removed.
    _dirs: Slot,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Arti writes its guards down when the last reference is gone.
        self.boot.send_replace(Boot::Failed(shut_down()));
    }
}

/// Keeps the directories, and the lock on them, as long as the client.
type Slot = Arc<Mutex<Option<Arc<Dirs>>>>;

/// How far it is.
#[derive(Clone)]
enum Boot {
    Starting { percent: u8, stage: String },
    Ready(Arc<Onions>),
    Failed(TorFailure),
}

impl Embedded {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, running: Mutex::new(None) }
    }

    /// Begins to bootstrap, once.
    fn start(&self) -> watch::Receiver<Boot> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get_or_insert_with(|| start(self.settings.clone())).boot.subscribe()
    }

    /// Asks for a stream; the service may not have confirmed it yet.
    pub(super) async fn begin(
        &self,
        onion: &Onion,
        port: u16,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Begun, DialError> {
        let failed = |stage| move |failure| DialError::new(stage, DialFailure::Tor(failure));
        let onions = self.bootstrapped(enter).await.map_err(failed(Stage::Bootstrap))?;
        enter(Phase::Onion);
        let keys = self.settings.keys_for(onion).map_err(failed(Stage::Dial))?;
        let asked = onions.ask(onion, keys, port, Instant::now() + ONION_DEADLINE).await;
        asked.map(Begun::asked).map_err(failed(Stage::Dial))
    }

    async fn bootstrapped(
        &self,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Arc<Onions>, TorFailure> {
        let mut boot = self.start();
        loop {
            match boot.borrow_and_update().clone() {
                Boot::Ready(onions) => return Ok(onions),
                Boot::Failed(failure) => return Err(failure),
                Boot::Starting { percent, stage } => enter(Phase::Bootstrapping { percent, stage }),
            }
            if boot.changed().await.is_err() {
                return Err(shut_down());
            }
        }
    }
}

fn start(settings: Arc<Settings>) -> Running {
    let starting = Boot::Starting { percent: 0, stage: "starting".into() };
    let sender = Arc::new(watch::Sender::new(starting));
    // Its own, because Arti ends the whole process when it is obsolete: without
    // threads it cannot, and a session on another network goes on.
    let runtime = match OwnRuntime::new("tor") {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            let reason = format!("no threads: {error}");
            sender.send_replace(Boot::Failed(TorFailure::Config(reason)));
            let runtime = Arc::new(OwnRuntime::ended());
            return Running { boot: sender, _runtime: runtime, _dirs: Slot::default() };
        }
    };
    let (watched, told) = (Arc::downgrade(&runtime), Arc::downgrade(&sender));
    watch_log(OBSOLETE_TARGET, move || {
        if let (Some(runtime), Some(told)) = (watched.upgrade(), told.upgrade()) {
            told.send_replace(Boot::Failed(TorFailure::Obsolete));
            // Not by the thread that logs, which is one of the runtime's.
            std::thread::spawn(move || runtime.end());
        }
    });
    let slot = Slot::default();
    let (dirs, boot) = (slot.clone(), sender.clone());
    let task = async move {
        let booting = boot_up(&settings, &dirs, &sender);
        let outcome = match tokio::time::timeout(BOOTSTRAP_DEADLINE, booting).await {
            Ok(Ok(onions)) => Boot::Ready(Arc::new(onions)),
            Ok(Err(failure)) => Boot::Failed(failure),
            Err(_) => Boot::Failed(match sender.borrow().clone() {
                Boot::Starting { percent, stage } => TorFailure::Slow { percent, stage },
                _ => TorFailure::NoNetwork,
            }),
        };
        sender.send_if_modified(|boot| {
            // Obsolete is the last word.
            let open = matches!(boot, Boot::Starting { .. });
            if open {
                *boot = outcome;
            }
            open
        });
    };
    if let Some(runtime) = runtime.handle() {
        runtime.spawn(task);
    }
    Running { boot, _runtime: runtime, _dirs: slot }
}

async fn boot_up(
    settings: &Settings,
    slot: &Slot,
    sender: &watch::Sender<Boot>,
) -> Result<Onions, TorFailure> {
    // Arti wants a provider for TLS and does not choose one (another module
    // may have).
    let _ = rustls::crypto::ring::default_provider().install_default();
    let table = settings.merged()?;
    let keep = |dirs: Dirs| {
        let dirs = Arc::new(dirs);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(dirs.clone());
        dirs
    };
    let dirs = keep(Dirs::open(&settings.state, &table, &settings.temporary).await?);
    if dirs.is_shared() {
        let shared = tokio::time::timeout(SHARED_PATIENCE, bootstrap(&table, &dirs, sender)).await;
        if let Ok(Ok(onions)) = shared {
            return Ok(onions);
        }
        // The process that writes there may be stuck or gone.
        return bootstrap(&table, &keep(dirs.apart(&settings.temporary)?), sender).await;
    }
    bootstrap(&table, &dirs, sender).await
}

async fn bootstrap(
    table: &toml::Table,
    dirs: &Dirs,
    sender: &watch::Sender<Boot>,
) -> Result<Onions, TorFailure> {
    let config = config(table, dirs.cache(), dirs.state())?;
    let runtime = super::runtime::current()
        .map_err(|error| TorFailure::Config(format!("no runtime: {error}")))?;
    let client = TorClient::with_runtime(runtime)
        .config(config.clone())
        .bootstrap_behavior(BootstrapBehavior::OnDemand)
        .create_unbootstrapped_async()
        .await
        .map_err(|error| start_failure(&error, dirs))?;
    let mut events = client.bootstrap_events();
    let starting = client.clone();
    let mut bootstrapping = Box::pin(async move { starting.bootstrap().await });
    let mut blocked = None;
    loop {
        tokio::select! {
            done = &mut bootstrapping => {
                if let Err(error) = done {
                    return Err(blocked.unwrap_or_else(|| start_failure(&error, dirs)));
                }
                break;
            }
            Some(status) = events.next() => {
                blocked = status.blocked().and_then(|why| failure::of_blockage(&why.kind()));
                let text = status.to_string();
                let stage = text.split_once(": ").map_or(text.as_str(), |(_, stage)| stage);
                let percent = (status.as_frac() * 100.0) as u8;
                let stage = printable::line(stage);
                sender.send_if_modified(|boot| match boot {
                    Boot::Starting { percent: before, stage: doing } => {
                        // Arti's own figure goes back and forth.
                        *before = percent.max(*before);
                        *doing = stage;
                        true
                    }
                    _ => false,
                });
            }
        }
    }
    dirs.ready();
    if table.contains_key("bridges") {
        first_circuit(&client).await;
    }
    Onions::new(client, &config, dirs.kept().map(Descriptors::below))
}

/// Waits until a circuit can be built. With bridges that is later than Arti
/// says: their own descriptors come last, and a service asked for meanwhile
/// counts as failed for long.
async fn first_circuit(client: &TorClient<super::runtime::Runtime>) {
    loop {
        if let (Ok(directory), Ok(circuits)) = (client.dirmgr(), client.hs_circ_pool())
            && let Ok(relays) = directory.timely_netdir()
            && circuits.get_or_launch_client_rend(&relays).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

fn start_failure(error: &arti_client::Error, dirs: &Dirs) -> TorFailure {
    use arti_client::ErrorKind as Kind;
    let state = |reason: &str| TorFailure::State {
        path: dirs.state().to_owned(),
        reason: reason.to_owned(),
    };
    match error.kind() {
        Kind::FsPermissions => {
            state("other users may write there or above it, or it belongs to another user")
        }
        Kind::PersistentStateAccessFailed | Kind::CacheAccessFailed => {
            state("it cannot be read or written; the disk may be full or read-only")
        }
        Kind::PersistentStateCorrupted | Kind::CacheCorrupted => {
            state("it is damaged; remove it to start afresh")
        }
        kind => failure::of_kind(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    /// A network that is not there.
    fn nowhere() -> (tempfile::TempDir, Arc<Settings>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tor.toml");
        let config = "[tor_network]\nauthorities.v3idents = [\"0000000000000000000000000000000000000001\"]\n\
                      fallback_caches = [{ rsa_identity = \"0000000000000000000000000000000000000001\", \
                      ed_identity = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\", \
                      orports = [\"127.0.0.1:1\"] }]\n";
        std::fs::write(&path, config).unwrap();
        let settings =
            Settings { config: vec![path], state: State::Ephemeral, ..Settings::default() };
        (dir, Arc::new(settings))
    }

    /// Where its state is, once it has begun.
    fn dirs(tor: &Embedded) -> Option<std::path::PathBuf> {
        let slot = tor.running.lock().unwrap().as_ref()?._dirs.clone();
        let dirs = slot.lock().unwrap();
        dirs.as_ref().map(|dirs| dirs.state().to_owned())
    }

    fn until(seconds: u64, mut condition: impl FnMut() -> bool) {
        let started = std::time::Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(seconds));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn when_the_network_calls_it_obsolete_its_threads_are_gone_before_it_ends_the_process() {
        crate::log::start(0);
        let (_dir, settings) = nowhere();
        let tor = Embedded::new(settings);
        let mut boot = tor.start();
        until(20, || dirs(&tor).is_some());
        assert!(matches!(&*boot.borrow_and_update(), Boot::Starting { .. }));
        // As `evaluate_protocol_status` says it, five seconds before the end.
        tracing::error!(target: OBSOLETE_TARGET, "at least one protocol is not implemented");
        until(2, || {
            let running = tor.running.lock().unwrap();
            running.as_ref().is_some_and(|running| running._runtime.handle().is_none())
        });
        assert!(matches!(&*boot.borrow(), Boot::Failed(TorFailure::Obsolete)));
        // Whoever dials now hears why.
        let onion = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
        let onion = Onion::parse(onion).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(tor.begin(&onion, 22, &|_| ())).err().unwrap();
        assert_eq!(error.failure, DialFailure::Tor(TorFailure::Obsolete));
    }

    #[test]
    fn every_start_ends_with_its_temporary_directories() {
        let (_dir, settings) = nowhere();
        let tor = Embedded::new(settings);
        let boot = tor.start();
        until(20, || dirs(&tor).is_some());
        let path = dirs(&tor).unwrap();
        assert!(path.exists());
        drop(tor);
        assert!(!path.exists());
        assert!(matches!(&*boot.borrow(), Boot::Failed(_)));
    }
}
