use std::path::Path;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;
use crate::dial::key_lock::{InUse, KeyLocks};
use crate::dial::{DialError, DialFailure};
use crate::env::Env;
use crate::error::{LeafFailure, LeafFault, Stage};
use crate::parts::Parts;

const KEY: [u8; 32] = [9; 32];
const NETWORK: &str = "Net";
/// Longer than anything takes that is waited for.
const LONG: Duration = Duration::from_secs(60);

fn seeking() -> Phase {
    Phase::Seeking(LeafFailure { overlay: NETWORK, fault: LeafFault::NotFound })
}

/// Hands out the other ends of its streams.
struct Fake {
    others: mpsc::UnboundedSender<DuplexStream>,
    failure: Mutex<Option<DialFailure>>,
}

impl Node for Fake {
    fn open<'a>(
        self: Arc<Self>,
        _: SocketAddrV6,
        enter: &'a (dyn Fn(Phase) + Sync),
    ) -> Dialling<'a> {
        Box::pin(async move {
            enter(Phase::Key(NETWORK));
            enter(seeking());
            tokio::task::yield_now().await;
            if let Some(failure) = self.failure.lock().unwrap().clone() {
                return Err(DialError::new(Stage::Resolve, failure));
            }
            let (ours, theirs) = duplex(64);
            let _ = self.others.send(theirs);
            Ok(Stream::new(ours, None).with_carrier(self))
        })
    }
}

fn terms(name: &str) -> Terms {
    let mut parts = Parts::default();
    parts.put(name.as_bytes());
    Terms::of(std::iter::once(parts))
}

/// A node that has the key, and is served.
struct World {
    _dir: tempfile::TempDir,
    locks: KeyLocks,
    hold: Option<Hold>,
    node: Arc<Fake>,
    others: mpsc::UnboundedReceiver<DuplexStream>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let locks = KeyLocks::apart(&Env::default(), dir.path() as &Path);
        let hold = locks.take(&KEY).unwrap();
        let (sender, others) = mpsc::unbounded_channel();
        let node = Arc::new(Fake { others: sender, failure: Mutex::default() });
        // It does not stay, but its guests are in the same process.
        serve(&hold, &node, Offer { network: NETWORK, terms: terms("a"), lasting: Lasting::Work });
        Self { _dir: dir, locks, hold: Some(hold), node, others }
    }

    fn in_use(&self) -> InUse {
        self.locks.take(&KEY).unwrap_err()
    }

    fn raw(&self) -> UnixStream {
        UnixStream::from_std(self.in_use().0.unwrap()).unwrap()
    }

    async fn open(&self, name: &str) -> (Option<Result<Stream, DialError>>, Vec<Phase>) {
        let to = "[200::1]:22".parse().unwrap();
        let busy = Phase::InUse(NETWORK);
        let visit = Visit { network: NETWORK, to, terms: terms(name), busy };
        let phases: Mutex<Vec<Phase>> = Mutex::default();
        let enter = |phase| phases.lock().unwrap().push(phase);
        let mut patience = Patience::of(Lasting::Work);
        let opening = visit.open(self.in_use(), &mut patience, &enter);
        let opened = timeout(LONG, opening).await.unwrap();
        (opened, phases.into_inner().unwrap())
    }

    async fn stream(&mut self) -> (Stream, DuplexStream) {
        let stream = self.open("a").await.0.unwrap().unwrap();
        (stream, self.others.recv().await.unwrap())
    }
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    timeout(LONG, from.read_to_end(&mut all)).await.unwrap().unwrap();
    all
}

#[tokio::test]
async fn a_guest_has_a_stream_whose_ends_are_its_own() {
    let mut world = World::new();
    let (opened, phases) = world.open("a").await;
    assert_eq!(phases, [Phase::Connecting, seeking()]);
    let (mut here, mut there) = (opened.unwrap().unwrap(), world.others.recv().await.unwrap());
    assert_eq!(here.peer, "200::1".parse().ok());
    here.write_all(b"question").await.unwrap();
    here.shutdown().await.unwrap();
    assert_eq!(read(&mut there).await, b"question");
    // The other direction goes on, and more than any buffer holds goes through it.
    let long = vec![b'x'; 1 << 20];
    let sending = async {
        there.write_all(&long).await.unwrap();
        drop(there);
    };
    let (got, ()) = tokio::join!(read(&mut here), sending);
    assert!(got == long);
}

#[tokio::test]
async fn what_has_failed_is_told_as_it_was() {
    let world = World::new();
    *world.node.failure.lock().unwrap() = Some(DialFailure::Refused);
    let failed = world.open("a").await.0.unwrap().unwrap_err();
    assert_eq!((failed.stage, failed.failure), (Stage::Resolve, DialFailure::Refused));
}

#[tokio::test]
async fn a_guest_that_is_gone_ends_its_stream_behind_its_last_words() {
    let mut world = World::new();
    let (mut here, mut there) = world.stream().await;
    here.write_all(b"last words").await.unwrap();
    drop(here);
    assert_eq!(read(&mut there).await, b"last words");
    // Nobody reads on for it.
    let writing = async { while there.write_all(&[0; 64]).await.is_ok() {} };
    timeout(LONG, writing).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_leaves_before_the_stream_is_there_leaves_none() {
    let mut world = World::new();
    let mut guest = world.raw();
    let to = "[200::1]:22".parse().unwrap();
    let request = Request { is_urgent: false, to, terms: terms("a") };
    guest.write_all(&request.encode()).await.unwrap();
    drop(guest);
    if let Ok(Some(mut there)) = timeout(Duration::from_secs(1), world.others.recv()).await {
        assert_eq!(read(&mut there).await, b"");
    }
}

#[tokio::test]
async fn the_end_of_the_node_ends_its_guests_and_frees_the_key() {
    let mut world = World::new();
    let (mut here, there) = world.stream().await;
    world.hold = None;
    assert_eq!(read(&mut here).await, b"");
    drop(there);
    let freed = async {
        while world.locks.take(&KEY).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, freed).await.unwrap();
}

#[tokio::test]
async fn on_other_terms_the_end_is_waited_for() {
    let mut world = World::new();
    let hold = world.hold.take();
    let ending = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(hold);
    };
    let ((opened, phases), ()) = tokio::join!(world.open("b"), ending);
    assert!(opened.is_none());
    assert_eq!(phases, [Phase::InUse(NETWORK)]);
}

#[tokio::test]
async fn who_says_nothing_or_nonsense_is_left_and_others_are_served() {
    let mut world = World::new();
    let mut nonsense = world.raw();
    nonsense.write_all(&[0xff; 4096]).await.unwrap();
    let mut rest = Vec::new();
    // It may be told by a reset: not all was read.
    let _ = timeout(LONG, nonsense.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    let mut silent = world.raw();
    drop(world.stream().await);
    assert_eq!(read(&mut silent).await, b"");
}

#[tokio::test]
async fn no_more_guests_are_served_than_there_are_places() {
    let mut world = World::new();
    let mut guests = Vec::new();
    for _ in 0..MAX_GUESTS {
        guests.push(world.stream().await);
    }
    // One more is told to come again.
    let (opened, phases) = world.open("a").await;
    assert!(opened.is_none());
    assert_eq!(phases, [Phase::InUse(NETWORK)]);
    guests.clear();
    let again = async { while world.open("a").await.0.is_none() {} };
    timeout(LONG, again).await.unwrap();
}

#[tokio::test]
async fn whoever_waits_for_guests_lets_none_in_afterwards() {
    let guests = Guests::new();
    let first = guests.enter().unwrap();
    let gone = guests.are_gone();
    tokio::pin!(gone);
    assert!(timeout(Duration::from_millis(20), &mut gone).await.is_err());
    // Meanwhile others may come.
    let second = guests.enter().unwrap();
    drop(first);
    assert!(timeout(Duration::from_millis(20), &mut gone).await.is_err());
    drop(second);
    timeout(LONG, gone).await.unwrap();
    assert!(guests.enter().is_none());
}
