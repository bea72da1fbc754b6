//! One leaf against another through a small relay, over loopback.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::identity::{Identity, SUBNET, address_of};
use super::router::Router;
use super::wire::{self, Frame, Prefix, Update};
use crate::dial::leaf::{
    Carriage, Client, Command, Driver, PeerAddress, Progress, Sockets, Step, random,
};
use crate::dial::onions::Onions;
use crate::dial::packet::{Shape, Stack};
use crate::dial::{DialFailure, Phase};
use crate::error::{LeafFailure, LeafFault};

const PORT: u16 = 22;

/// Who is behind which link.
#[derive(Default)]
struct Links {
    known: HashMap<Prefix, (Update, mpsc::UnboundedSender<Vec<u8>>)>,
}

/// A router that has the leaves as neighbours and nobody else.
async fn relay() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let links = Arc::new(Mutex::new(Links::default()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(neighbour(stream, links.clone()));
        }
    });
    address
}

async fn neighbour(stream: TcpStream, links: Arc<Mutex<Links>>) {
    stream.set_nodelay(true).unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let (sender, mut sending) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(bytes) = sending.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut arrived = Vec::new();
    while reader.read_buf(&mut arrived).await.is_ok_and(|length| length > 0) {
        let mut taken = 0;
        while let Some((frame, length)) = wire::decode(&arrived[taken..]).unwrap() {
            let mut links = links.lock().unwrap();
            let mut answer = Vec::new();
            match frame {
                Frame::Hello { .. } => Frame::Ihu { cost: 1, interval: 6000 }.encode(&mut answer),
                Frame::Update(update) => {
                    assert!(update.prefix.has(address_of(&update.router.public)));
                    links.known.insert(update.prefix, (update, sender.clone()));
                }
                Frame::RouteRequest(Some(prefix)) => {
                    if let Some((update, _)) = links.known.get(&prefix) {
                        Frame::Update(Update { metric: 1, ..*update }).encode(&mut answer);
                    }
                }
                Frame::Data { destination, .. } => {
                    if let Some((_, to)) = links.known.get(&Prefix::of(destination, SUBNET)) {
                        let _ = to.send(arrived[taken..taken + length].to_vec());
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
    let (watcher, mut progress) = watch::channel(Progress::At(Step::Peering));
    commands.send(Command::Seek(client, watcher)).unwrap();
    tokio::spawn(
        Driver::new(router, peers(relay), Sockets::new(Onions::default()), orders, link).run(),
    );
    while *progress.borrow_and_update() == Progress::At(Step::Peering) {
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
    let relay = relay().await;
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
    let relay = relay().await;
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
    let relay = relay().await;
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
    let (overlay, fault) = ("Mycelium", LeafFault::NotFound);
    assert_eq!(failed.unwrap_err().failure, DialFailure::Leaf(LeafFailure { overlay, fault }));
    let phases = phases.into_inner().unwrap();
    assert_eq!(phases.last(), Some(&Phase::Seeking("Mycelium")));
}
