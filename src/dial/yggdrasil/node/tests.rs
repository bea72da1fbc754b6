use proptest::prelude::*;

use super::super::tree::tests::{START, announce, identity};
use super::super::wire::{SigRequest, SigResponse};
use super::*;
use crate::dial::leaf::packet_between;

const SECOND: Duration = Duration::from_secs(1);

fn random(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}

/// The root of a small network, which knows its children and nobody else.
struct Root {
    me: Identity,
    password: Option<Secret<String>>,
    children: Vec<Child>,
    seq: u64,
    announced: Duration,
}

#[derive(Default)]
struct Child {
    key: Option<Key>,
    arrived: Vec<u8>,
    sent: Vec<u8>,
    is_known: bool,
    /// What it was sent, by kind.
    lookups: usize,
}

impl Root {
    fn new(children: usize) -> Self {
        let children = (0..children).map(|_| Child::default()).collect();
        Self { me: identity(200), password: None, children, seq: 1, announced: START }
    }

    fn address(&self) -> PeerAddress {
        PeerAddress { password: self.password.clone(), ..PeerAddress::example() }
    }

    fn greet(&mut self, child: usize) {
        let mut meta = Vec::new();
        meta::encode(&self.me, self.password.as_ref(), &mut meta);
        self.children[child] = Child { sent: meta, ..Child::default() };
        self.announce(child);
    }

    fn announce(&mut self, child: usize) {
        let ours = announce(&self.me, &self.me, self.seq, 0);
        Frame::Announce(ours).encode(&mut self.children[child].sent);
    }

    /// Announces itself as often as others need.
    fn tick(&mut self, now: Duration) {
        if now.saturating_sub(self.announced) >= 240 * SECOND {
            self.announced = now;
            self.seq += 1;
            (0..self.children.len()).for_each(|child| self.announce(child));
        }
    }

    fn receive(&mut self, child: usize, bytes: &[u8]) {
        let mut arrived = std::mem::take(&mut self.children[child].arrived);
        arrived.extend(bytes);
        if self.children[child].key.is_none() {
            let Some((key, length)) = meta::decode(&arrived, self.password.as_ref()).unwrap()
            else {
                return;
            };
            self.children[child].key = Some(key);
            arrived.drain(..length);
        }
        while let Some((frame, length)) = wire::decode(&arrived).unwrap() {
            self.take(child, &frame);
            arrived.drain(..length);
            Frame::Keepalive.encode(&mut self.children[child].sent);
        }
        self.children[child].arrived = arrived;
    }

    fn take(&mut self, child: usize, frame: &Frame<'_>) {
        let key = self.children[child].key.unwrap();
        match *frame {
            Frame::SigRequest(request) => {
                let port = child as u64 + 1;
                let bytes = request.signed_bytes(&key, &self.me.public, port);
                let response = SigResponse { request, port, signature: self.me.sign(&bytes) };
                Frame::SigResponse(response).encode(&mut self.children[child].sent);
            }
            Frame::Announce(announce) => {
                assert_eq!((announce.key, announce.parent), (key, self.me.public));
                self.children[child].is_known = true;
            }
            Frame::Lookup { .. } => {
                self.children[child].lookups += 1;
                for (number, other) in self.children.iter_mut().enumerate() {
                    if number != child && other.is_known {
                        frame.encode(&mut other.sent);
                    }
                }
            }
            Frame::Notify { path, .. }
            | Frame::Traffic { path, .. }
            | Frame::Broken { path, .. } => {
                let port = usize::from(path[0]);
                if let Some(other) = port.checked_sub(1).and_then(|at| self.children.get_mut(at)) {
                    frame.encode(&mut other.sent);
                }
            }
            _ => {}
        }
    }
}

fn sent(node: &mut Node) -> Vec<u8> {
    std::mem::take(&mut node.output().bytes)
}

fn give(node: &mut Node, bytes: &[u8], now: Duration) -> Result<(), LeafFault> {
    let mut rest = bytes;
    while let Some(length) = node.receive(rest, now)? {
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    Ok(())
}

/// All that there is to say at this time.
fn settle(root: &mut Root, nodes: &mut [Node], now: Duration) {
    for _ in 0..20 {
        for (number, node) in nodes.iter_mut().enumerate() {
            node.tick(now).unwrap();
            let bytes = sent(node);
            root.receive(number, &bytes);
        }
        for (number, node) in nodes.iter_mut().enumerate() {
            let bytes = std::mem::take(&mut root.children[number].sent);
            give(node, &bytes, now).unwrap();
        }
    }
}

/// Two leaves that look for each other, below one root.
fn two() -> (Root, [Node; 2]) {
    let mut root = Root::new(2);
    let mut nodes = [identity(1), identity(2)].map(|me| Node::new(me, random));
    let addresses = [nodes[1].address(), nodes[0].address()];
    for (number, node) in nodes.iter_mut().enumerate() {
        node.seek(addresses[number], START);
        node.begin(&root.address(), START);
        root.greet(number);
    }
    (root, nodes)
}

#[test]
fn packets_go_both_ways_through_a_third() {
    let (mut root, mut nodes) = two();
    assert_eq!(nodes[0].step(nodes[1].address()), Step::Peering);
    settle(&mut root, &mut nodes, START);
    for seconds in 1..4 {
        settle(&mut root, &mut nodes, START + seconds * SECOND);
    }
    let ends = (nodes[0].address(), nodes[1].address());
    assert_eq!(nodes[0].step(ends.1), Step::Ready);
    let there = packet_between(ends.0, ends.1, b"there");
    let back = packet_between(ends.1, ends.0, b"back");
    let now = START + 4 * SECOND;
    nodes[0].send(&there, now);
    settle(&mut root, &mut nodes, now);
    assert_eq!(nodes[1].output().packets.pop_front(), Some(there));
    nodes[1].send(&back, now);
    settle(&mut root, &mut nodes, now);
    assert_eq!(nodes[0].output().packets.pop_front(), Some(back));
    // Nothing is sent in another's name, nor to whom nobody looks for.
    nodes[0].send(&packet_between(ends.1, ends.1, b"x"), now);
    nodes[0].send(&packet_between(ends.0, "201::1".parse().unwrap(), b"x"), now);
    assert!(sent(&mut nodes[0]).is_empty());
}

#[test]
fn twelve_idle_minutes_are_survived_and_nothing_is_lost() {
    let (mut root, mut nodes) = two();
    let ends = (nodes[0].address(), nodes[1].address());
    let mut now = START;
    let mut steps = 0;
    while now < START + 720 * SECOND {
        settle(&mut root, &mut nodes, now);
        root.tick(now);
        let due = nodes.iter().map(Node::due).min().unwrap();
        assert!(due > now, "{due:?} {now:?}");
        now = due.min(now + 60 * SECOND);
        steps += 1;
        if now > START + 5 * SECOND {
            assert_eq!(nodes[0].step(ends.1), Step::Ready);
        }
    }
    // It sleeps.
    assert!(steps < 120, "{steps}");
    let there = packet_between(ends.0, ends.1, b"there");
    nodes[0].send(&there, now);
    settle(&mut root, &mut nodes, now);
    settle(&mut root, &mut nodes, now + SECOND);
    assert_eq!(nodes[1].output().packets.pop_front(), Some(there));
}

#[test]
fn a_new_peering_is_survived() {
    let (mut root, mut nodes) = two();
    for seconds in 0..4 {
        settle(&mut root, &mut nodes, START + seconds * SECOND);
    }
    let ends = (nodes[0].address(), nodes[1].address());
    let now = START + 30 * SECOND;
    nodes[0].begin(&root.address(), now);
    root.greet(0);
    assert_eq!(nodes[0].step(ends.1), Step::Peering);
    settle(&mut root, &mut nodes, now);
    settle(&mut root, &mut nodes, now + SECOND);
    assert_eq!(nodes[0].step(ends.1), Step::Ready);
    let there = packet_between(ends.0, ends.1, b"there");
    nodes[0].send(&there, now + SECOND);
    settle(&mut root, &mut nodes, now + SECOND);
    assert_eq!(nodes[1].output().packets.pop_front(), Some(there));
}

#[test]
fn a_machine_that_has_forgotten_us_is_met_again() {
    let (mut root, mut nodes) = two();
    for seconds in 0..4 {
        settle(&mut root, &mut nodes, START + seconds * SECOND);
    }
    let ends = (nodes[0].address(), nodes[1].address());
    let now = START + 10 * SECOND;
    nodes[1] = Node::new(identity(2), random);
    nodes[1].seek(ends.0, now);
    nodes[1].begin(&root.address(), now);
    root.greet(1);
    settle(&mut root, &mut nodes, now);
    let lost = packet_between(ends.0, ends.1, b"lost");
    nodes[0].send(&lost, now + SECOND);
    for seconds in 1..4 {
        settle(&mut root, &mut nodes, now + seconds * SECOND);
    }
    let there = packet_between(ends.0, ends.1, b"there");
    nodes[0].send(&there, now + 4 * SECOND);
    settle(&mut root, &mut nodes, now + 4 * SECOND);
    assert_eq!(nodes[1].output().packets.pop_back(), Some(there));
}

#[test]
fn a_lookup_is_repeated_until_somebody_answers() {
    let mut root = Root::new(1);
    let mut nodes = [Node::new(identity(1), random)];
    let wanted = identity(2).address;
    nodes[0].seek(wanted, START);
    nodes[0].begin(&root.address(), START);
    root.greet(0);
    let mut now = START;
    while now < START + 10 * SECOND {
        settle(&mut root, &mut nodes, now);
        now = nodes[0].due();
    }
    assert_eq!(nodes[0].step(wanted), Step::Lookup);
    let lookups = root.children[0].lookups;
    assert!((6..=15).contains(&lookups), "{lookups}");
}

fn peered(password: Option<&str>, keys: Vec<Key>, root_password: Option<&str>) -> LeafFault {
    let secret = |text: &str| Secret::new(text.to_owned());
    let mut root = Root::new(1);
    root.password = root_password.map(secret);
    let mut node = Node::new(identity(1), random);
    let address = PeerAddress { keys, password: password.map(secret), ..PeerAddress::example() };
    node.begin(&address, START);
    root.greet(0);
    let bytes = std::mem::take(&mut root.children[0].sent);
    give(&mut node, &bytes, START).unwrap_err()
}

#[test]
fn the_wrong_peer_is_refused() {
    assert_eq!(peered(Some("one"), vec![], Some("other")), LeafFault::Password);
    assert_eq!(peered(None, vec![], Some("other")), LeafFault::Password);
    assert_eq!(peered(None, vec![[1; 32]], None), LeafFault::OtherPeer);
    let mut node = Node::new(identity(200), random);
    node.begin(&PeerAddress::example(), START);
    let ourselves = sent(&mut node);
    assert_eq!(give(&mut node, &ourselves, START), Err(LeafFault::Ourselves));
}

#[test]
fn a_peer_that_says_nothing_is_left() {
    let mut node = Node::new(identity(1), random);
    node.begin(&PeerAddress::example(), START);
    assert_eq!(node.due(), START + META_DEADLINE);
    assert_eq!(node.tick(START + META_DEADLINE), Err(LeafFault::SilentPeer));
    // Or nothing more.
    let mut root = Root::new(1);
    node.begin(&root.address(), START);
    root.greet(0);
    let bytes = std::mem::take(&mut root.children[0].sent);
    give(&mut node, &bytes, START).unwrap();
    let gone = loop {
        let now = node.due();
        if let Err(fault) = node.tick(now) {
            break (fault, now);
        }
    };
    assert_eq!(gone.0, LeafFault::SilentPeer);
    assert!(gone.1 <= START + 30 * SECOND, "{:?}", gone.1);
}

#[test]
fn the_peer_hears_something_within_a_second_of_what_it_sends() {
    let (mut root, mut nodes) = two();
    settle(&mut root, &mut nodes, START);
    let now = START + 100 * SECOND;
    let mut frame = Vec::new();
    Frame::Bloom(&[0; 32]).encode(&mut frame);
    give(&mut nodes[0], &frame, now).unwrap();
    nodes[0].tick(now).unwrap();
    sent(&mut nodes[0]);
    give(&mut nodes[0], &frame, now).unwrap();
    assert!(nodes[0].due() <= now + KEEPALIVE);
    nodes[0].tick(now + KEEPALIVE).unwrap();
    assert!(!sent(&mut nodes[0]).is_empty());
    // A keepalive is not answered.
    give(&mut nodes[0], &[1, 1], now + KEEPALIVE).unwrap();
    assert!(nodes[0].link.as_ref().unwrap().owes.is_none());
}

#[test]
fn nobody_can_say_where_another_is() {
    let (mut root, mut nodes) = two();
    settle(&mut root, &mut nodes, START);
    let wanted = identity(2);
    let mut node = Node::new(identity(1), random);
    node.seek(wanted.address, START);
    node.begin(&root.address(), START);
    root.greet(0);
    let mut alone = [node];
    settle(&mut root, &mut alone, START);
    let [mut node] = alone;
    node.targets.get_mut(&wanted.address).unwrap().coords = None;
    node.targets.get_mut(&wanted.address).unwrap().notice_seq = 0;
    let notify = |signer: &Identity, source: &Identity, seq: u64| {
        let coords = &[9, 0][..];
        let signature = signer.sign(&Notice::signed_bytes(seq, coords));
        let notice =
            Notice { source: source.public, dest: identity(1).public, seq, coords, signature };
        let mut bytes = Vec::new();
        Frame::Notify { path: &[1, 0], watermark: 0, notice }.encode(&mut bytes);
        bytes
    };
    give(&mut node, &notify(&identity(3), &wanted, 5), START).unwrap();
    give(&mut node, &notify(&identity(3), &identity(3), 5), START).unwrap();
    assert_eq!(node.step(wanted.address), Step::Lookup);
    give(&mut node, &notify(&wanted, &wanted, 5), START).unwrap();
    assert_eq!(node.step(wanted.address), Step::Session);
    // What is older is not taken.
    give(&mut node, &notify(&wanted, &wanted, 4), START).unwrap();
    assert_eq!(node.targets[&wanted.address].notice_seq, 5);
}

/// Frames that are almost what they should be.
fn hostile_frame() -> impl Strategy<Value = Vec<u8>> {
    let numbers = any::<[u64; 3]>();
    let people = (1..6_u8, 1..6_u8);
    (0..11_u8, people, numbers, any::<[u8; 3]>(), any::<Vec<u8>>()).prop_map(
        |(kind, (one, other), [first, second, third], path, payload)| {
            let (source, dest) = (identity(one), identity(other));
            let [path, from] = [[path[0], 0], [path[1], 0]];
            let skip = |path: &'static [u8]| path;
            let path: &[u8] = if path[0] % 128 == 0 { skip(&[0]) } else { &[path[0] % 128, 0] };
            let from: &[u8] = if from[0] % 128 == 0 { skip(&[0]) } else { &[from[0] % 128, 0] };
            let request = SigRequest { seq: first, nonce: second };
            let signature = source.sign(&Notice::signed_bytes(first, from));
            let (me, you) = (source.public, dest.public);
            let notice = Notice { source: me, dest: you, seq: first, coords: from, signature };
            let keys = Keys { current: [3; 32], next: [4; 32], key_seq: second, seq: third };
            let message = keys.encode(1 + kind % 2, &source, &you, &[5; 32]).unwrap();
            let traffic = |payload: &[u8]| {
                let mut bytes = Vec::new();
                let (source, dest, watermark) = (me, you, second);
                Frame::Traffic { path, from, source, dest, watermark, payload }.encode(&mut bytes);
                bytes
            };
            let mut bytes = Vec::new();
            let frame = match kind {
                0 => Frame::SigRequest(request),
                1 => Frame::SigResponse(SigResponse { request, port: third, signature }),
                2 | 3 => Frame::Announce(announce(&source, &dest, first, third % 4)),
                4 => Frame::Bloom(&payload),
                5 => Frame::Lookup { source: me, dest: you, from },
                6 => Frame::Notify { path, watermark: second, notice },
                7 => Frame::Broken { path, watermark: second, source: me, dest: you },
                8 => return traffic(&[&[3][..], &payload].concat()),
                9 => return traffic(&message),
                _ => Frame::Keepalive,
            };
            frame.encode(&mut bytes);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_peer_says_is_survived(
        frames in proptest::collection::vec((hostile_frame(), 0..3000_u64), 0..40)
    ) {
        let (mut root, mut nodes) = two();
        settle(&mut root, &mut nodes, START);
        let node = &mut nodes[0];
        let mut now = START;
        for (frame, pause) in frames {
            now += Duration::from_millis(pause);
            sent(node);
            let received = node.tick(now).and_then(|()| {
                assert!(node.due() > now);
                let before = node.output().bytes.len();
                let received = node.receive(&frame, now);
                assert!(node.output().bytes.len() <= before + 4096);
                assert!(node.output().packets.len() <= 1);
                received
            });
            prop_assert!(node.targets.len() == 1);
            if received.is_err() {
                node.begin(&root.address(), now);
                root.greet(0);
                let bytes = std::mem::take(&mut root.children[0].sent);
                sent(node);
                give(node, &bytes, now).unwrap();
            }
        }
    }
}
