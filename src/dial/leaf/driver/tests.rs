use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::DuplexStream;

use super::super::Output;
use super::super::connect::Connecting;
use super::peer_stream::{BUSY_END, END, MUCH};
use super::turns::{LOOKUP_DEADLINE, LOOKUP_PATIENCE, PEERING_DEADLINE, PEERING_PATIENCE};
use super::*;

const TARGET: Ipv6Addr = Ipv6Addr::LOCALHOST;
const BEGUN: Progress = Progress::At(Step::Peering, LeafFault::NoPeers);
const READY: Progress = Progress::At(Step::Ready, LeafFault::NoSession);

/// Each byte from the peer is one step; each packet goes out and in as it is.
#[derive(Default)]
struct Steps {
    heard: usize,
    sought: usize,
    begun: Duration,
    output: Output,
}

impl Protocol for Steps {
    const IS_MET: bool = true;

    fn begin(&mut self, _: &PeerAddress, now: Duration) {
        self.begun = now;
        self.heard = 0;
        self.output = Output::default();
    }

    fn receive(&mut self, arrived: &[u8], _: Duration) -> Result<Option<usize>, LeafFault> {
        match arrived.first() {
            None => Ok(None),
            Some(b'!') => Err(LeafFault::Password),
            Some(b'.') => Err(LeafFault::SilentPeer),
            Some(b'p') => {
                self.output.packets.push_back(vec![0; 1000]);
                Ok(Some(1))
            }
            Some(_) => {
                self.heard += 1;
                Ok(Some(1))
            }
        }
    }

    fn tick(&mut self, _: Duration) -> Result<(), LeafFault> {
        Ok(())
    }

    fn due(&self) -> Duration {
        Duration::MAX
    }

    fn seek(&mut self, _: Ipv6Addr, _: Duration) {
        self.sought += 1;
    }

    fn forget(&mut self, _: Ipv6Addr) {
        self.sought -= 1;
    }

    fn step(&self, target: Ipv6Addr) -> Step {
        match self.heard {
            0 => Step::Peering,
            1 => Step::Lookup,
            // Nobody knows another.
            _ if target != TARGET => Step::Lookup,
            2 => Step::Session,
            _ => Step::Ready,
        }
    }

    fn send(&mut self, packet: &[u8], now: Duration) {
        self.output.bytes.extend_from_slice(packet);
        if packet == b"time" {
            self.output.bytes.push(u8::try_from((now - self.begun).as_secs()).unwrap());
        }
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}

/// Peers by what they say at once; `x` takes no connection.
struct Script {
    says: HashMap<String, VecDeque<&'static str>>,
    /// The other ends of the links that were made.
    links: Arc<Mutex<Vec<(String, DuplexStream)>>>,
}

struct Peers(Arc<Mutex<Script>>);

impl Underlay for Peers {
    fn connect(&self, peer: PeerAddress) -> Connecting {
        let script = self.0.clone();
        Box::pin(async move {
            let (said, links) = {
                let mut script = script.lock().unwrap();
                let all = script.says.get_mut(&peer.host)?;
                let said = if all.len() > 1 { all.pop_front()? } else { *all.front()? };
                (said, script.links.clone())
            };
            if said == "x" {
                return None;
            }
            let (ours, mut theirs) = tokio::io::duplex(64 << 10);
            theirs.write_all(said.as_bytes()).await.ok()?;
            links.lock().unwrap().push((peer.host, theirs));
            let connection: PeerConnection = Box::pin(ours);
            Some(connection)
        })
    }
}

struct World {
    commands: mpsc::UnboundedSender<Command>,
    links: Arc<Mutex<Vec<(String, DuplexStream)>>>,
    outgoing: mpsc::Sender<Vec<u8>>,
    incoming: mpsc::Receiver<Vec<u8>>,
}

/// A driver with these peers, each with what it says on its links.
fn world(peers: &[(&str, &[&'static str])]) -> World {
    let links = Arc::new(Mutex::new(Vec::new()));
    let says =
        peers.iter().map(|(name, says)| ((*name).to_owned(), says.iter().copied().collect()));
    let script = Script { says: says.collect(), links: links.clone() };
    let address = |name: &str| PeerAddress::new(name, 1, super::super::Carriage::Tcp);
    let addresses = peers.iter().map(|(name, _)| address(name)).collect();
    let (commands, orders) = mpsc::unbounded_channel();
    let (outgoing, from) = mpsc::channel(4);
    let (to, incoming) = mpsc::channel(4);
    let link = NetworkEnd { outgoing: from, incoming: to };
    let underlay = Peers(Arc::new(Mutex::new(script)));
    tokio::spawn(Driver::new(Steps::default(), addresses, underlay, orders, link).run());
    World { commands, links, outgoing, incoming }
}

impl World {
    /// How it ends, and when.
    async fn reach(&self) -> (Progress, Duration) {
        let began = Instant::now();
        let (watcher, mut progress) = watch::channel(BEGUN);
        self.commands.send(Command::Seek(TARGET, watcher)).unwrap();
        loop {
            let now = progress.borrow_and_update().clone();
            match now {
                Progress::At(Step::Ready, _) | Progress::Failed(_) => {
                    return (now, began.elapsed());
                }
                Progress::At(..) => progress.changed().await.unwrap(),
            }
        }
    }

    fn peers(&self) -> Vec<String> {
        self.links.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn peers_have_their_turn_until_one_leads_there() {
    let world = world(&[("gone", &["x"]), ("silent", &[""]), ("lost", &["1"]), ("good", &["123"])]);
    let (progress, time) = world.reach().await;
    assert_eq!(progress, READY);
    assert_eq!(world.peers(), ["silent", "lost", "good"]);
    let expected = PEERING_PATIENCE + LOOKUP_PATIENCE;
    assert!(time >= expected && time < expected + Duration::from_secs(1), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn silent_peers_do_not_hide_a_good_one_and_the_last_has_all_the_time() {
    let of = world(&[("silent", &[""]), ("mute", &[""]), ("good", &["123"])]);
    let (progress, time) = of.reach().await;
    assert_eq!(progress, READY);
    assert!(time >= 2 * PEERING_PATIENCE && time < Duration::from_secs(6), "{time:?}");
    let (progress, time) = world(&[("silent", &[""])]).reach().await;
    assert_eq!(progress, Progress::Failed(LeafFault::SilentPeer));
    assert!(time >= PEERING_DEADLINE, "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn peers_that_do_not_know_the_machine_do_not_hide_one_that_does() {
    let of = world(&[("alone", &["1"]), ("apart", &["1"]), ("good", &["123"])]);
    let (progress, time) = of.reach().await;
    assert_eq!(progress, READY);
    assert!(time >= 2 * LOOKUP_PATIENCE && time < Duration::from_secs(6), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_only_slow_has_another_turn() {
    let world = world(&[("slow", &["1"]), ("alone", &["1"])]);
    let links = world.links.clone();
    // It needs longer than others wait while there are any, both times.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let is_slow = |link: &mut (String, _)| link.0 == "slow";
            let slow: Vec<_> = links.lock().unwrap().extract_if(.., is_slow).collect();
            for (_, mut link) in slow {
                tokio::spawn(async move {
                    tokio::time::sleep(LOOKUP_PATIENCE * 2).await;
                    let _ = link.write_all(b"23").await;
                    std::future::pending::<()>().await;
                });
            }
        }
    });
    let (progress, time) = world.reach().await;
    assert_eq!(progress, READY);
    let expected = LOOKUP_PATIENCE * 4;
    assert!(time >= expected && time < expected + Duration::from_secs(1), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_of_use_has_all_the_time_for_another_machine() {
    let world = world(&[("good", &["123"]), ("other", &[""])]);
    assert_eq!(world.reach().await.0, READY);
    let (watcher, mut progress) = watch::channel(BEGUN);
    world.commands.send(Command::Seek(Ipv6Addr::UNSPECIFIED, watcher)).unwrap();
    let began = Instant::now();
    progress.wait_for(|it| matches!(it, Progress::Failed(_))).await.unwrap();
    assert!(began.elapsed() >= LOOKUP_DEADLINE, "{:?}", began.elapsed());
    assert_eq!(world.peers(), ["good"]);
}

#[tokio::test(start_paused = true)]
async fn who_fell_silent_is_not_the_first_to_be_asked_again() {
    let world = world(&[("good", &["123"]), ("other", &["123"])]);
    assert_eq!(world.reach().await.0, READY);
    let (_, mut link) = world.links.lock().unwrap().pop().unwrap();
    link.write_all(b".").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.peers(), ["other"]);
    assert_eq!(world.reach().await.0, READY);
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_is_told_with_what_is_waited_for() {
    let world = world(&[("lost", &["1"]), ("silent", &[""])]);
    let (watcher, mut progress) = watch::channel(BEGUN);
    world.commands.send(Command::Seek(TARGET, watcher)).unwrap();
    let mut told = Vec::new();
    while !matches!(*progress.borrow_and_update(), Progress::Failed(_)) {
        told.push(progress.borrow().clone());
        progress.changed().await.unwrap();
    }
    assert!(told.contains(&Progress::At(Step::Peering, LeafFault::NotFound)), "{told:?}");
    assert_eq!(*progress.borrow(), Progress::Failed(LeafFault::NotFound));
}

#[tokio::test(start_paused = true)]
async fn where_much_arrives_the_end_waits_until_the_peer_has_heard_it() {
    for (bytes, waits) in [(100, false), (2 * MUCH, true)] {
        let mut world = world(&[("good", &["123"])]);
        assert_eq!(world.reach().await.0, READY);
        let (_, mut peer) = world.links.lock().unwrap().pop().unwrap();
        // What is no packet.
        peer.write_all(&vec![b'4'; bytes]).await.unwrap();
        world.incoming.close();
        drop(world.commands);
        let began = Instant::now();
        let heard = async {
            let mut unread = Vec::new();
            while peer.read_buf(&mut unread).await.unwrap() > 0 {}
        };
        heard.await;
        assert!(began.elapsed() < END, "{:?}", began.elapsed());
        // It takes what comes, or is gone.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(peer.write_all(&[b'4'; 100]).await.is_ok(), waits, "{bytes}");
        tokio::time::sleep(BUSY_END).await;
        assert!(peer.write_all(&[b'4'; 100]).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_last_is_said() {
    for (peers, fault) in [
        (&[][..], LeafFault::NoPeers),
        (&[("gone", &["x"][..])], LeafFault::Unconnected),
        (&[("silent", &[""]), ("gone", &["x"])], LeafFault::SilentPeer),
        (&[("secret", &["!"]), ("silent", &[""])], LeafFault::Password),
        (&[("lost", &["1"]), ("secret", &["!"])], LeafFault::NotFound),
        (&[("mute", &["12"]), ("lost", &["1"])], LeafFault::NoSession),
    ] {
        let (progress, time) = world(peers).reach().await;
        assert_eq!(progress, Progress::Failed(fault));
        assert!(time < Duration::from_secs(20), "{time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_is_made_again() {
    let world = world(&[("good", &["123"])]);
    assert_eq!(world.reach().await.0, READY);
    world.links.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.peers(), ["good"]);
    assert_eq!(world.reach().await.0, READY);
    // It is closed when nobody wants anything any more.
    world.commands.send(Command::Forget(TARGET)).unwrap();
    world.commands.send(Command::Forget(TARGET)).unwrap();
    tokio::time::sleep(LINGER + Duration::from_secs(1)).await;
    let (_, mut link) = world.links.lock().unwrap().pop().unwrap();
    assert_eq!(link.read(&mut [0]).await.unwrap(), 0);
    // And begins anew.
    assert_eq!(world.reach().await.0, READY);
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_is_sent_no_more_than_there_is_room_for() {
    let world = world(&[("good", &["123"])]);
    assert_eq!(world.reach().await.0, READY);
    let mut taken = 0;
    while tokio::time::timeout(Duration::from_secs(1), world.outgoing.send(vec![0; 1000]))
        .await
        .is_ok()
    {
        taken += 1000;
    }
    assert!(taken < 3 * MAX_OUT, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn packets_that_nobody_takes_are_not_piled_up() {
    let mut world = world(&[("good", &["123"])]);
    assert_eq!(world.reach().await.0, READY);
    let (_, mut link) = world.links.lock().unwrap().pop().unwrap();
    let mut given = 0;
    while tokio::time::timeout(Duration::from_secs(1), link.write_all(&[b'p'; 1000])).await.is_ok()
    {
        given += 1000;
    }
    // A packet each would be hundreds of megabytes.
    assert!(given < 400_000, "{given}");
    for _ in 0..5000 {
        assert_eq!(world.incoming.recv().await.unwrap().len(), 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_last_goes_out() {
    // Which of several things is done first is left to chance.
    for _ in 0..20 {
        let world = world(&[("good", &["123"])]);
        assert_eq!(world.reach().await.0, READY);
        let (_, mut link) = world.links.lock().unwrap().pop().unwrap();
        for _ in 0..4 {
            world.outgoing.send(vec![7; 1000]).await.unwrap();
        }
        let World { commands, outgoing, incoming, .. } = world;
        drop(outgoing);
        let mut said = Vec::new();
        link.read_to_end(&mut said).await.unwrap();
        assert_eq!(said.len(), 4000);
        drop((commands, incoming));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_after_a_long_silence_is_sent_at_that_time() {
    let world = world(&[("good", &["123"])]);
    assert_eq!(world.reach().await.0, READY);
    let (_, mut link) = world.links.lock().unwrap().pop().unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    world.outgoing.send(b"time".to_vec()).await.unwrap();
    let mut said = [0; 5];
    link.read_exact(&mut said).await.unwrap();
    assert_eq!(said, *b"timed");
}
