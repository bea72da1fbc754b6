//! One leaf against another through a small relay, over loopback.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

use super::identity::{Identity, SUBNET, address_of};
use super::router::Router;
use super::wire::{self, Frame, Prefix, RouterId, Update};
use crate::dial::leaf::{
    Carriage, Client, Command, Driver, PeerAddress, Progress, Sockets, Step, random,
};
use crate::dial::onions::Onions;
use crate::dial::packet::{Shape, Stack};
use crate::dial::{DialFailure, Phase};
use crate::error::{LeafFailure, LeafFault};

const PORT: u16 = 22;

/// What links cost at first, how much better a new way has to be, and what a link costs that
/// has lasted. As the daemon has them.
const NEW_LINK: u32 = 1000;
const MUCH_BETTER: u32 = 10;
const OLD_LINK: u32 = 1;

/// A way by one of the links.
struct Way {
    link: usize,
    update: Update,
    to: mpsc::UnboundedSender<Vec<u8>>,
}

/// The ways to one subnet, and the link of the one that is used.
#[derive(Default)]
struct Ways {
    all: Vec<Way>,
    used: usize,
    /// What was last told to others: only what is newer or nearer than that makes no loop.
    told: Option<(u16, u32)>,
}

/// Who is behind which link. A link that has broken is held for alive, with its ways, as
/// the daemon does for most of a minute.
#[derive(Default)]
struct Links {
    known: HashMap<Prefix, Ways>,
    costs: Vec<u32>,
    /// The links that we do not hear any more.
    broken: Vec<usize>,
    cuts: Vec<Arc<Notify>>,
}

impl Links {
    fn learn(&mut self, link: usize, update: Update, to: &mpsc::UnboundedSender<Vec<u8>>) {
        let ways = self.known.entry(update.prefix).or_default();
        if !ways.is_feasible(&update) {
            return;
        }
        ways.all.retain(|way| way.link != link);
        ways.all.push(Way { link, update, to: to.clone() });
        let costs = &self.costs;
        let cost = |way: &&Way| u32::from(way.update.metric) + costs[way.link];
        let feasible = ways.all.iter().filter(|way| ways.is_feasible(&way.update));
        let best = feasible.min_by_key(cost).unwrap();
        let used = ways.all.iter().find(|way| way.link == ways.used);
        let is_worth_it =
            |used: &Way| cost(&best) + MUCH_BETTER < cost(&used) || best.update.metric == 0;
        if used.is_none_or(is_worth_it) {
            ways.used = best.link;
        }
    }

    /// The way to a subnet, with what it costs.
    fn way(&self, prefix: &Prefix) -> Option<(&Way, u32)> {
        let ways = self.known.get(prefix)?;
        let way = ways.all.iter().find(|way| way.link == ways.used)?;
        Some((way, u32::from(way.update.metric) + self.costs[way.link]))
    }

    fn tell(&mut self, prefix: &Prefix) -> Option<Update> {
        let (way, cost) = self.way(prefix)?;
        let update = Update { metric: u16::try_from(cost).unwrap(), ..way.update };
        self.known.get_mut(prefix)?.told = Some((update.seqno, cost));
        Some(update)
    }

    /// Ends a link at its other end alone; all that there were have lasted.
    fn cut(&mut self, link: usize) {
        self.costs.fill(OLD_LINK);
        self.broken.push(link);
        self.cuts[link].notify_one();
    }
}

impl Ways {
    /// RFC 8966, section 3.5.1.
    fn is_feasible(&self, update: &Update) -> bool {
        self.told.is_none_or(|(seqno, metric)| {
            let newer = update.seqno.wrapping_sub(seqno);
            (newer > 0 && newer < 0x8000) || (newer == 0 && u32::from(update.metric) < metric)
        })
    }
}

/// A router that has the leaves as neighbours and nobody else.
async fn relay() -> (SocketAddr, Arc<Mutex<Links>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let links = Arc::new(Mutex::new(Links::default()));
    let all = links.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(neighbour(stream, all.clone()));
        }
    });
    (address, links)
}

async fn neighbour(stream: TcpStream, links: Arc<Mutex<Links>>) {
    stream.set_nodelay(true).unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let (sender, mut sending) = mpsc::unbounded_channel::<Vec<u8>>();
    let cut = Arc::new(Notify::new());
    let link = {
        let mut links = links.lock().unwrap();
        links.costs.push(NEW_LINK);
        links.cuts.push(cut.clone());
        links.costs.len() - 1
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = cut.notified() => break,
                bytes = sending.recv() => match bytes {
                    Some(bytes) if writer.write_all(&bytes).await.is_ok() => {}
                    _ => return,
                }
            }
        }
        writer.shutdown().await.unwrap();
        // What is sent to it is lost without anybody noticing.
        while sending.recv().await.is_some() {}
    });
    let mut arrived = Vec::new();
    while reader.read_buf(&mut arrived).await.is_ok_and(|length| length > 0) {
        let mut taken = 0;
        while let Some((frame, length)) = wire::decode(&arrived[taken..]).unwrap() {
            let mut links = links.lock().unwrap();
            if links.broken.contains(&link) {
                return;
            }
            let mut answer = Vec::new();
            match frame {
                Frame::Hello { .. } => Frame::Ihu { cost: 1, interval: 6000 }.encode(&mut answer),
                Frame::Update(update) => {
                    assert!(update.prefix.has(address_of(&update.router.public)));
                    links.learn(link, update, &sender);
                }
                Frame::RouteRequest(Some(prefix)) => {
                    if let Some(update) = links.tell(&prefix) {
                        Frame::Update(update).encode(&mut answer);
                    }
                }
                Frame::Data { destination, .. } => {
                    if let Some((way, _)) = links.way(&Prefix::of(destination, SUBNET)) {
                        let _ = way.to.send(arrived[taken..taken + length].to_vec());
                    }
                }
                _ => {}
            }
            let _ = sender.send(answer);
            taken += length;
        }
        arrived.drain(..taken);
    }
}

fn router(number: u8) -> Router {
    Router::new(Identity::new([number; 32].into()), random)
}

fn peers(relay: SocketAddr) -> Vec<PeerAddress> {
    vec![PeerAddress::new(&relay.ip().to_string(), relay.port(), Carriage::Tcp)]
}

/// A machine that gives back what it is sent, to the end.
async fn machine(relay: SocketAddr, client: Ipv6Addr) -> Ipv6Addr {
    let router = router(2);
    let address = router.address();
    let addresses = vec![(IpAddr::V6(address), 128)];
    let (stack, link) = Stack::start(Shape { addresses, mtu: super::MTU });
    let (commands, orders) = mpsc::unbounded_channel();
    let begun = Progress::At(Step::Peering, LeafFault::NoPeers);
    let (watcher, mut progress) = watch::channel(begun);
    commands.send(Command::Seek(client, watcher)).unwrap();
    tokio::spawn(
        Driver::new(router, peers(relay), Sockets::new(Onions::default()), orders, link).run(),
    );
    while matches!(*progress.borrow_and_update(), Progress::At(Step::Peering, _)) {
        progress.changed().await.unwrap();
    }
    // Each takes one connection after the other.
    for _ in 0..4 {
        let (stack, commands) = (stack.clone(), commands.clone());
        tokio::spawn(async move {
            let _commands = commands;
            loop {
                let stream = stack.accepted(SocketAddr::new(address.into(), PORT)).await;
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            }
        });
    }
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaf_reaches_another_through_a_relay() {
    let (relay, _) = relay().await;
    let us = router(1);
    let machine = machine(relay, us.address()).await;
    let client = Client::start(
        "Mycelium",
        (us.address(), super::MTU),
        us,
        peers(relay),
        Sockets::new(Onions::default()),
    )
    .unwrap();
    let client = Arc::new(client);
    let data: Vec<u8> =
        (0..4_u32 << 20).map(|number| number.wrapping_mul(31).to_le_bytes()[1]).collect();
    let echo = |client: Arc<Client>, data: Vec<u8>| async move {
        let stream = client.dial(machine, PORT, &|_| ()).await.unwrap();
        assert_eq!(stream.peer, Some(machine.into()));
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent = data.clone();
        let sending = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut back = Vec::new();
        reader.read_to_end(&mut back).await.unwrap();
        sending.await.unwrap();
        assert!(back == data);
    };
    // Two sessions at once share one leaf.
    let both =
        async { tokio::join!(echo(client.clone(), data.clone()), echo(client.clone(), data)) };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    // A port that nobody listens at.
    let refused = client.dial(machine, 23, &|_| ()).await.unwrap_err();
    assert_eq!(refused.failure, DialFailure::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_through_a_public_node_is_told() {
    let (relay, _) = relay().await;
    let us = router(1);
    let machine = machine(relay, us.address()).await;
    let address = (us.address(), super::MTU);
    let mut peers = peers(relay);
    peers.iter_mut().for_each(|peer| peer.is_public = true);
    let sockets = Sockets::new(Onions::default());
    let client = Arc::new(Client::start("Mycelium", address, us, peers, sockets).unwrap());
    let phases = Mutex::new(Vec::new());
    let enter = |phase| phases.lock().unwrap().push(phase);
    let dialling = client.dial(machine, PORT, &enter);
    tokio::time::timeout(Duration::from_secs(60), dialling).await.unwrap().unwrap();
    let phases = phases.into_inner().unwrap();
    assert!(phases.contains(&Phase::Public("Mycelium")), "{phases:?}");
    assert!(phases.iter().any(|phase| phase.is_warning() && phase.is_remark()));
}

/// A connection survives that our address changes, though the relay still holds the dead
/// link for the best.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_by_a_new_link_while_the_old_one_is_held_for_alive() {
    let (relay, links) = relay().await;
    let us = router(1);
    let machine = machine(relay, us.address()).await;
    let (address, sockets) = ((us.address(), super::MTU), Sockets::new(Onions::default()));
    let client = Client::start("Mycelium", address, us, peers(relay), sockets).unwrap();
    let stream = Arc::new(client).dial(machine, PORT, &|_| ()).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    for number in 0..4 {
        let echo = async {
            writer.write_u8(number).await.unwrap();
            assert_eq!(reader.read_u8().await.unwrap(), number);
        };
        tokio::time::timeout(Duration::from_secs(15), echo).await.unwrap();
        let mut links = links.lock().unwrap();
        // The machine has the first, and then we have one after the other.
        assert_eq!(links.costs.len(), usize::from(number) + 2);
        let last = links.costs.len() - 1;
        links.cut(last);
    }
}

#[tokio::test]
async fn a_machine_that_is_announced_and_off_is_not_said_to_be_reachable() {
    let (relay, _) = relay().await;
    let us = router(1);
    let off = Identity::new([2; 32].into());
    let router = RouterId { public: off.public, zone: 0, random: [0; 6] };
    let prefix = Prefix::of(off.address, SUBNET);
    let update = Update { interval: 30_000, seqno: 0, metric: 0, prefix, router };
    let mut announced = Vec::new();
    Frame::Update(update).encode(&mut announced);
    let mut link = TcpStream::connect(relay).await.unwrap();
    link.write_all(&announced).await.unwrap();
    let (address, sockets) = ((us.address(), super::MTU), Sockets::new(Onions::default()));
    let client = Client::start("Mycelium", address, us, peers(relay), sockets).unwrap();
    let failed = Arc::new(client).dial(off.address, PORT, &|_| ()).await.unwrap_err();
    let unheard = LeafFailure { overlay: "Mycelium", fault: LeafFault::Unheard };
    assert_eq!(failed.failure, DialFailure::Leaf(unheard));
}

#[test]
fn public_nodes_are_met_where_the_user_or_else_the_clan_says_so() {
    let has_way = |of_clan: bool, said: Option<bool>| {
        let mut settings = crate::dial::Settings::default();
        settings.underlay.mycelium.has_public = of_clan;
        settings.mycelium = super::Settings::of(&[], said).unwrap();
        super::way(&settings, &Onions::default()).is_some()
    };
    for (of_clan, said, is_met) in [
        (false, None, false),
        (true, None, true),
        (true, Some(false), false),
        (false, Some(true), true),
    ] {
        assert_eq!(has_way(of_clan, said), is_met, "{of_clan} {said:?}");
    }
}

#[tokio::test]
async fn a_machine_that_nobody_knows_is_said_to_be_unknown() {
    let (relay, _) = relay().await;
    let us = router(1);
    let client = Client::start(
        "Mycelium",
        (us.address(), super::MTU),
        us,
        peers(relay),
        Sockets::new(Onions::default()),
    );
    let phases = Mutex::new(Vec::new());
    let note = |phase| phases.lock().unwrap().push(phase);
    let failed = Arc::new(client.unwrap()).dial("400::1".parse().unwrap(), PORT, &note).await;
    let unknown = LeafFailure { overlay: "Mycelium", fault: LeafFault::NotFound };
    assert_eq!(failed.unwrap_err().failure, DialFailure::Leaf(unknown.clone()));
    let phases = phases.into_inner().unwrap();
    assert_eq!(phases.last(), Some(&Phase::Seeking(unknown)));
}
