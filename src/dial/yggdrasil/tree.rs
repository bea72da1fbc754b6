//! The tree that gives everybody in Yggdrasil a place (ironwood, `network/router.go`). Owns
//! ours: a leaf's, below the peer; and of others only who is above it.

use std::collections::HashMap;
use std::time::Duration;

use super::address::Key;
use super::identity::{Identity, has_signed};
use super::wire::{Announce, SigRequest, SigResponse};
use crate::dial::leaf::reader::{Reader, put_uvarint};

/// How long what somebody has announced holds (ironwood, `routerTimeout`).
const EXPIRY: Duration = Duration::from_secs(5 * 60);
/// How often we announce ourselves again (`routerRefresh`).
const REFRESH: Duration = Duration::from_secs(4 * 60);
/// When the peer has not answered by then, it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// More than there are above anybody.
const MAX_NODES: usize = 512;
/// The only one that has a port of ours is the peer.
const PEER_PORT: u64 = 1;
/// So often somebody else may announce our key before we believe that he has it.
const MAX_DISPUTES: u32 = 3;
/// No longer way is kept.
pub(super) const MAX_PATH: usize = 4096;

/// Our place in it.
pub(super) struct Tree {
    peer: Key,
    /// The last number under which we have asked for a place.
    seq: u64,
    asked: Option<SigRequest>,
    next_request: Duration,
    /// Our own place, when the peer has given us one.
    place: Option<Announce>,
    is_announced: bool,
    disputes: u32,
    above: HashMap<Key, Node>,
    /// Where the peer was when it was met last: it says once a second where it is.
    guessed: Option<Vec<u8>>,
    coords: Option<Vec<u8>>,
}

struct Node {
    announce: Announce,
    until: Duration,
}

/// What an announcement has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Perhaps where we are.
    Ways,
    /// Somebody has announced us: we have to ask for a new place.
    Disputed,
    /// He does so again and again.
    Elsewhere,
    /// It is signed by others than it says.
    Forged,
    /// There are more above us than there can be.
    TooMany,
}

impl Tree {
    /// Below a new peer. Numbers go on from those before, and from the time, so that what is
    /// announced is newer than what earlier processes with this key have announced.
    pub(super) fn new(peer: Key, before: u64, now: Duration) -> Self {
        Self {
            peer,
            seq: before.max(now.as_secs()),
            asked: None,
            next_request: now,
            place: None,
            is_announced: false,
            disputes: 0,
            above: HashMap::new(),
            guessed: None,
            coords: None,
        }
    }

    /// Takes the peer for where it was, until it says where it is.
    pub(super) fn guess(&mut self, path: Vec<u8>) {
        self.guessed = is_path(&path).then_some(path);
    }

    /// Where the peer is, if it has said so.
    pub(super) fn peer_path(&self) -> Option<Vec<u8>> {
        path_of(self.ports(&self.peer)?)
    }

    /// The peer may be our child, for all that it matters.
    pub(super) fn answer(&self, request: SigRequest, me: &Identity) -> SigResponse {
        let bytes = request.signed_bytes(&self.peer, &me.public, PEER_PORT);
        SigResponse { request, port: PEER_PORT, signature: me.sign(&bytes) }
    }

    /// Asks for a place, if it is time.
    pub(super) fn request(&mut self, nonce: u64, now: Duration) -> Option<SigRequest> {
        if now < self.next_request {
            return None;
        }
        self.next_request = now + ASK_AGAIN;
        self.seq = self.seq.saturating_add(1);
        self.asked = Some(SigRequest { seq: self.seq, nonce });
        self.asked
    }

    /// Takes the place that the peer gives us: whether it is one.
    pub(super) fn take_place(
        &mut self,
        response: SigResponse,
        me: &Identity,
        now: Duration,
    ) -> bool {
        if self.asked != Some(response.request) {
            // It answers an older question.
            return true;
        }
        let bytes = response.request.signed_bytes(&me.public, &self.peer, response.port);
        if response.port == 0 || !has_signed(&self.peer, &bytes, &response.signature) {
            return false;
        }
        self.asked = None;
        self.next_request = now + REFRESH;
        let (key, parent) = (me.public, self.peer);
        self.place = Some(Announce { key, parent, response, signature: me.sign(&bytes) });
        self.is_announced = false;
        self.find();
        true
    }

    /// Whether an announcement says more than is known, and is worth being checked.
    pub(super) fn is_news(&self, announce: &Announce, me: &Identity) -> bool {
        if announce.key == me.public {
            return announce.response.request.seq > self.seq
                || self.place.is_some_and(|place| is_better(announce, &place));
        }
        self.above.get(&announce.key).is_none_or(|known| is_better(announce, &known.announce))
    }

    /// Takes what somebody has announced, which is news.
    pub(super) fn take(&mut self, announce: &Announce, me: &Identity, now: Duration) -> Change {
        let Announce { key, parent, response, signature } = announce;
        // Only the root is its own parent, and behind no port.
        if response.port == 0 && key != parent {
            return Change::Forged;
        }
        let bytes = announce.signed_bytes();
        if !has_signed(key, &bytes, signature) || !has_signed(parent, &bytes, &response.signature) {
            return Change::Forged;
        }
        if *key == me.public {
            self.disputes += 1;
            self.seq = self.seq.max(response.request.seq);
            self.next_request = now;
            return if self.disputes > MAX_DISPUTES { Change::Elsewhere } else { Change::Disputed };
        }
        if self.above.len() >= MAX_NODES && !self.above.contains_key(key) {
            self.prune();
            if self.above.len() >= MAX_NODES {
                return Change::TooMany;
            }
        }
        self.above.insert(*key, Node { announce: *announce, until: now + EXPIRY });
        self.find();
        Change::Ways
    }

    /// Our announcement, when it has not been sent. Who is above the peer may still be
    /// unknown: the sooner the peer knows that we are below it, the sooner it listens to us,
    /// which it notices once a second.
    pub(super) fn announcement(&mut self) -> Option<Announce> {
        let place = self.place.filter(|_| !self.is_announced)?;
        self.is_announced = true;
        Some(place)
    }

    /// Where we are, once others know.
    pub(super) fn coords(&self) -> Option<&[u8]> {
        self.coords.as_deref().filter(|_| self.place.is_some())
    }

    /// Forgets what holds no longer.
    pub(super) fn expire(&mut self, now: Duration) {
        let before = self.above.len();
        self.above.retain(|_, node| node.until > now);
        if self.above.len() != before {
            self.find();
        }
    }

    pub(super) fn due(&self) -> Duration {
        let ends = self.above.values().map(|node| node.until);
        ends.chain([self.next_request]).min().unwrap_or(Duration::MAX)
    }

    fn find(&mut self) {
        self.coords = self.place.and_then(|place| {
            let mut path = self.peer_path().or_else(|| self.guessed.clone())?;
            path.pop();
            put_uvarint(place.response.port, &mut path);
            path.push(0);
            (path.len() <= MAX_PATH).then_some(path)
        });
    }

    /// The ports from the root down to somebody; none while an ancestor is not known.
    fn ports(&self, key: &Key) -> Option<Vec<u64>> {
        let mut ports = Vec::new();
        let mut key = key;
        loop {
            let Announce { parent, response, .. } = &self.above.get(key)?.announce;
            if parent == key {
                ports.reverse();
                return Some(ports);
            }
            ports.push(response.port);
            // It goes round.
            if ports.len() > MAX_NODES {
                return None;
            }
            key = parent;
        }
    }

    /// Keeps only those above the peer.
    fn prune(&mut self) {
        let mut kept = HashMap::new();
        let mut key = self.peer;
        while let Some(node) = self.above.remove(&key) {
            let parent = node.announce.parent;
            kept.insert(key, node);
            key = parent;
        }
        self.above = kept;
    }
}

/// ironwood, `router.update`: the newer, and of two with one number one for all.
fn is_better(new: &Announce, known: &Announce) -> bool {
    let rank = |it: &Announce| {
        let SigRequest { seq, nonce } = it.response.request;
        (seq, std::cmp::Reverse((it.parent, nonce)))
    };
    rank(new) > rank(known)
}

fn path_of(ports: Vec<u64>) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(ports.len() + 1);
    for port in ports.into_iter().chain([0]) {
        put_uvarint(port, &mut path);
    }
    (path.len() <= MAX_PATH).then_some(path)
}

/// Whether these are numbers of ports, and a zero in the end.
pub(super) fn is_path(path: &[u8]) -> bool {
    let (mut reader, mut again) = (Reader::new(path), Vec::new());
    while let Some(port) = reader.uvarint() {
        put_uvarint(port, &mut again);
        if port == 0 {
            break;
        }
    }
    path.len() <= MAX_PATH && again == path && path.last() == Some(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::yggdrasil::others::{START, announce, identity, place};

    #[test]
    fn a_place_below_the_peer_is_announced_and_known_once_the_root_is() {
        let (me, peer, middle, root) = (identity(1), identity(2), identity(3), identity(4));
        let mut tree = Tree::new(peer.public, 0, START);
        let request = tree.request(7, START).unwrap();
        assert_eq!(request, SigRequest { seq: START.as_secs() + 1, nonce: 7 });
        assert_eq!(tree.request(7, START), None);
        assert!(tree.take_place(place(request, &me, &peer, 300), &me, START));
        for (node, expected) in [
            (announce(&root, &root, 1, 0), Change::Ways),
            (announce(&peer, &middle, 1, 5), Change::Ways),
        ] {
            assert_eq!(tree.take(&node, &me, START), expected);
            assert_eq!(tree.coords(), None);
        }
        assert_eq!(tree.take(&announce(&middle, &root, 1, 9), &me, START), Change::Ways);
        assert_eq!(tree.coords(), Some(&[9, 5, 0xac, 2, 0][..]));
        let ours = tree.announcement().unwrap();
        assert!(has_signed(&me.public, &ours.signed_bytes(), &ours.signature));
        assert!(tree.announcement().is_none());
        // When somebody above is elsewhere, so are we.
        assert_eq!(tree.take(&announce(&middle, &root, 2, 8), &me, START), Change::Ways);
        assert_eq!(tree.coords(), Some(&[8, 5, 0xac, 2, 0][..]));
    }

    #[test]
    fn a_peer_is_where_it_was_until_it_says_where_it_is() {
        let (me, peer, root) = (identity(1), identity(2), identity(4));
        let mut tree = Tree::new(peer.public, 0, START);
        for bad in [&[][..], &[5], &[5, 0, 1, 0], &[0x80, 0]] {
            tree.guess(bad.to_vec());
            assert_eq!(tree.guessed, None, "{bad:?}");
        }
        tree.guess(vec![7, 0]);
        assert_eq!(tree.coords(), None);
        let request = tree.request(7, START).unwrap();
        assert!(tree.take_place(place(request, &me, &peer, 300), &me, START));
        assert_eq!(tree.coords(), Some(&[7, 0xac, 2, 0][..]));
        assert_eq!(tree.peer_path(), None);
        tree.take(&announce(&root, &root, 1, 0), &me, START);
        tree.take(&announce(&peer, &root, 1, 9), &me, START);
        assert_eq!(tree.coords(), Some(&[9, 0xac, 2, 0][..]));
        assert_eq!(tree.peer_path(), Some(vec![9, 0]));
    }

    #[test]
    fn every_signature_is_checked() {
        let (me, peer, root) = (identity(1), identity(2), identity(4));
        let mut tree = Tree::new(peer.public, 0, START);
        let good = announce(&peer, &root, 1, 5);
        for break_it in [
            (|it: &mut Announce| it.signature[0] ^= 1) as fn(&mut Announce),
            |it| it.response.signature[0] ^= 1,
            |it| it.response.port = 0,
            |it| it.response.port = 6,
            |it| it.parent = [9; 32],
        ] {
            let mut bad = good;
            break_it(&mut bad);
            assert_eq!(tree.take(&bad, &me, START), Change::Forged);
        }
        let request = tree.request(7, START).unwrap();
        let mut bad = place(request, &me, &peer, 300);
        bad.port = 301;
        assert!(!tree.take_place(bad, &me, START));
        assert!(!tree.take_place(place(request, &me, &peer, 0), &me, START));
        // Of another question: nothing changes.
        let other = SigRequest { seq: 1, nonce: 1 };
        assert!(tree.take_place(place(other, &me, &peer, 2), &me, START));
        assert!(tree.place.is_none());
    }

    #[test]
    fn only_the_newer_counts() {
        let (me, peer, root) = (identity(1), identity(2), identity(4));
        let mut tree = Tree::new(peer.public, 0, START);
        let first = announce(&peer, &root, 2, 5);
        assert!(tree.is_news(&first, &me));
        tree.take(&first, &me, START);
        assert!(!tree.is_news(&first, &me));
        assert!(!tree.is_news(&announce(&peer, &root, 1, 5), &me));
        assert!(tree.is_news(&announce(&peer, &root, 3, 5), &me));
    }

    #[test]
    fn it_is_renewed_before_others_forget_it_and_others_are_forgotten() {
        let (me, peer) = (identity(1), identity(2));
        let mut tree = Tree::new(peer.public, 0, START);
        let request = tree.request(7, START).unwrap();
        tree.take_place(place(request, &me, &peer, 1), &me, START);
        tree.take(&announce(&peer, &peer, 1, 0), &me, START);
        assert!(tree.announcement().is_some());
        let later = START + REFRESH;
        assert_eq!(tree.due(), later);
        let again = tree.request(8, later).unwrap();
        assert_eq!(again.seq, request.seq + 1);
        assert!(tree.announcement().is_none());
        tree.take_place(place(again, &me, &peer, 1), &me, later);
        assert_eq!(tree.announcement().unwrap().response.request, again);
        tree.expire(START + EXPIRY);
        assert_eq!(tree.coords(), None);
    }

    #[test]
    fn who_uses_our_key_elsewhere_is_noticed() {
        let (me, peer) = (identity(1), identity(2));
        let mut tree = Tree::new(peer.public, 0, START);
        let mut now = START;
        for round in 0..=MAX_DISPUTES {
            tree.request(7, now);
            let theirs = announce(&me, &peer, tree.seq + 5, 1);
            assert!(tree.is_news(&theirs, &me));
            let expected = if round < MAX_DISPUTES { Change::Disputed } else { Change::Elsewhere };
            assert_eq!(tree.take(&theirs, &me, now), expected);
            now += Duration::from_secs(1);
        }
        // An older one of ours is none.
        assert!(!tree.is_news(&announce(&me, &peer, 1, 1), &me));
    }

    #[test]
    fn there_is_an_end_to_who_can_be_above_us() {
        let (me, peer) = (identity(1), identity(2));
        let mut tree = Tree::new(peer.public, 0, START);
        tree.take(&announce(&peer, &peer, 1, 0), &me, START);
        for number in 0..2 * MAX_NODES {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let other = Identity::new(&seed);
            // Of those that have nothing to do with us only the last are kept.
            assert_eq!(tree.take(&announce(&other, &other, 1, 0), &me, START), Change::Ways);
            assert!(tree.above.len() <= MAX_NODES);
        }
        assert!(tree.ports(&peer.public).is_some());
        // Two that are each other's parents.
        let (one, two) = (identity(7), identity(8));
        tree.take(&announce(&one, &two, 2, 1), &me, START);
        tree.take(&announce(&two, &one, 2, 1), &me, START);
        assert!(tree.ports(&one.public).is_none());
    }
}
