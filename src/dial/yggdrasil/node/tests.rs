use std::sync::Mutex;

use super::super::others::{Root, START, give, identity, sent, settle, two};
use super::super::vectors;
use super::*;
use crate::dial::leaf::packet_between;
use crate::dial::leaf::repeatable::random;
use crate::dial::leaf::transcript;

const SECOND: Duration = Duration::from_secs(1);

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
    let lookups = root.lookups(0);
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
    let bytes = root.said(0);
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
    let bytes = root.said(0);
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

#[test]
fn a_session_with_the_real_daemon_is_repeated_to_the_byte() {
    transcript::check("yggdrasil/session.txt", || {
        let node = Node::new(vectors::identity(0), random);
        let address = node.address();
        (node, address)
    });
}

/// Places as they are kept.
#[derive(Default)]
struct Notes(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

impl Memory for Notes {
    fn recall(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn keep(&self, name: &[u8], place: Vec<u8>) {
        self.0.lock().unwrap().insert(name.to_vec(), place);
    }
}

/// A network in which a leaf has reached another, which it will do again with another
/// process and what it remembers.
fn again(notes: &Arc<Notes>) -> (Root, [Node; 2], Duration) {
    let (mut root, [first, second]) = two();
    let mut nodes = [first.remembering(Some(notes.clone())), second];
    for seconds in 0..4 {
        settle(&mut root, &mut nodes, START + seconds * SECOND);
    }
    assert_eq!(nodes[0].step(nodes[1].address()), Step::Ready);
    let now = START + 10 * SECOND;
    nodes[0] = Node::new(identity(1), random).remembering(Some(notes.clone()));
    nodes[0].seek(nodes[1].address(), now);
    nodes[0].begin(&root.address(), now);
    (root, nodes, now)
}

#[test]
fn who_was_met_before_is_reached_before_the_peer_says_where_it_is() {
    let notes = Arc::new(Notes::default());
    let (mut root, mut nodes, now) = again(&notes);
    root.is_deaf = true;
    root.greet_only(0);
    settle(&mut root, &mut nodes, now);
    let ends = (nodes[0].address(), nodes[1].address());
    assert_eq!(nodes[0].step(ends.1), Step::Ready);
    let there = packet_between(ends.0, ends.1, b"there");
    nodes[0].send(&there, now);
    settle(&mut root, &mut nodes, now);
    assert_eq!(nodes[1].output().packets.pop_front(), Some(there));
    // Without that it waits.
    notes.0.lock().unwrap().clear();
    nodes[0] = Node::new(identity(1), random);
    nodes[0].seek(ends.1, now + SECOND);
    nodes[0].begin(&root.address(), now + SECOND);
    root.greet_only(0);
    settle(&mut root, &mut nodes, now + SECOND);
    assert_eq!(nodes[0].step(ends.1), Step::Peering);
}

#[test]
fn what_is_remembered_wrongly_does_no_harm() {
    let target = identity(2);
    for (peer, place) in [
        (vec![9, 0], [&target.public[..], &[9, 9, 0]].concat()),
        (vec![], vec![]),
        (vec![0x80], [&identity(3).public[..], &[2, 0]].concat()),
        (vec![0, 0], [&target.public[..], &[2, 0, 2]].concat()),
    ] {
        let notes = Arc::new(Notes::default());
        let (mut root, mut nodes, now) = again(&notes);
        let names: Vec<_> = notes.0.lock().unwrap().keys().cloned().collect();
        for name in names {
            let is_peer = name.len() == 32;
            notes.keep(&name, if is_peer { peer.clone() } else { place.clone() });
        }
        nodes[0].begin(&root.address(), now);
        root.greet_only(0);
        settle(&mut root, &mut nodes, now);
        root.greet(0);
        nodes[0].begin(&root.address(), now + SECOND);
        for seconds in 1..5 {
            settle(&mut root, &mut nodes, now + seconds * SECOND);
        }
        assert_eq!(nodes[0].step(target.address), Step::Ready, "{peer:?} {place:?}");
        let right = [&target.public[..], &[2, 0]].concat();
        assert_eq!(notes.recall(&target.address.octets()), Some(right));
    }
}
