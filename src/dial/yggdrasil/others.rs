//! Other machines in Yggdrasil, for tests and fuzzers: keys that are known, what they sign,
//! and the root of a small network. Owns that it forgets whom a daemon would forget.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "it is for tests, and a fuzzer's build is not one in name"
)]

use std::time::Duration;

use super::address::Key;
use super::identity::Identity;
use super::meta;
use super::node::Node;
use super::wire::{self, Announce, Frame, SigRequest, SigResponse};
use crate::dial::leaf::repeatable::random;
use crate::dial::leaf::{PeerAddress, Protocol};
use crate::error::LeafFault;
use crate::secret::Secret;

/// How long what somebody has announced holds (ironwood, `routerTimeout`).
const EXPIRY: Duration = Duration::from_secs(5 * 60);
/// How often a daemon announces itself (`routerRefresh`).
const REFRESH: Duration = Duration::from_secs(4 * 60);

/// When it all begins.
pub(super) const START: Duration = Duration::from_secs(1_790_000_000);

/// One of 256.
pub(super) fn identity(number: u8) -> Identity {
    Identity::new(&[number; 32])
}

/// That one is the other's child; a root is its own.
pub(super) fn announce(child: &Identity, parent: &Identity, seq: u64, port: u64) -> Announce {
    let request = SigRequest { seq, nonce: 1 };
    let bytes = request.signed_bytes(&child.public, &parent.public, port);
    let response = SigResponse { request, port, signature: parent.sign(&bytes) };
    let (key, parent) = (child.public, parent.public);
    Announce { key, parent, response, signature: child.sign(&bytes) }
}

/// The place that a parent gives.
pub(super) fn place(request: SigRequest, me: &Identity, peer: &Identity, port: u64) -> SigResponse {
    let bytes = request.signed_bytes(&me.public, &peer.public, port);
    SigResponse { request, port, signature: peer.sign(&bytes) }
}

/// The root of a small network, which knows its children and nobody else.
pub(super) struct Root {
    me: Identity,
    /// What its peers have to know.
    pub password: Option<Secret<String>>,
    /// It passes no lookups on.
    pub is_deaf: bool,
    children: Vec<Child>,
    seq: u64,
    announced: Duration,
    now: Duration,
}

/// One of them.
#[derive(Default)]
struct Child {
    key: Option<Key>,
    arrived: Vec<u8>,
    sent: Vec<u8>,
    /// Under which number it has last announced itself, and until when that holds.
    known: Option<(u64, Duration)>,
    lookups: usize,
}

impl Child {
    fn is_known(&self, now: Duration) -> bool {
        self.known.is_some_and(|(_, until)| now < until)
    }
}

impl Root {
    pub(super) fn new(children: usize) -> Self {
        let children = (0..children).map(|_| Child::default()).collect();
        Self {
            me: identity(200),
            password: None,
            is_deaf: false,
            children,
            seq: 1,
            announced: START,
            now: START,
        }
    }

    pub(super) fn address(&self) -> PeerAddress {
        PeerAddress { password: self.password.clone(), ..PeerAddress::example() }
    }

    pub(super) fn greet(&mut self, child: usize) {
        self.greet_only(child);
        self.announce(child);
    }

    /// Says who it is, and not yet where.
    pub(super) fn greet_only(&mut self, child: usize) {
        let mut meta = Vec::new();
        meta::encode(&self.me, self.password.as_ref(), &mut meta);
        self.children[child] = Child { sent: meta, ..Child::default() };
    }

    fn announce(&mut self, child: usize) {
        let ours = announce(&self.me, &self.me, self.seq, 0);
        Frame::Announce(ours).encode(&mut self.children[child].sent);
    }

    /// What goes to a child.
    pub(super) fn said(&mut self, child: usize) -> Vec<u8> {
        std::mem::take(&mut self.children[child].sent)
    }

    /// Announces itself as often as others need.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        if now.saturating_sub(self.announced) >= REFRESH {
            self.announced = now;
            self.seq += 1;
            (0..self.children.len()).for_each(|child| self.announce(child));
        }
    }

    /// How many lookups a child has sent.
    pub(super) fn lookups(&self, child: usize) -> usize {
        self.children[child].lookups
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
                let seq = announce.response.request.seq;
                let child = &mut self.children[child];
                if child.known.is_none_or(|(known, _)| seq > known) {
                    child.known = Some((seq, self.now + EXPIRY));
                }
            }
            Frame::Lookup { .. } if self.is_deaf => {}
            Frame::Lookup { .. } => {
                self.children[child].lookups += 1;
                for (number, other) in self.children.iter_mut().enumerate() {
                    if number != child && other.is_known(self.now) {
                        frame.encode(&mut other.sent);
                    }
                }
            }
            Frame::Notify { path, .. }
            | Frame::Traffic { path, .. }
            | Frame::Broken { path, .. } => {
                let port = usize::from(path[0]);
                let other = port.checked_sub(1).and_then(|at| self.children.get_mut(at));
                if let Some(other) = other.filter(|other| other.is_known(self.now)) {
                    frame.encode(&mut other.sent);
                }
            }
            _ => {}
        }
    }
}

/// What it has said.
pub(super) fn sent(node: &mut Node) -> Vec<u8> {
    std::mem::take(&mut node.output().bytes)
}

/// It hears whole frames.
pub(super) fn give(node: &mut Node, bytes: &[u8], now: Duration) -> Result<(), LeafFault> {
    let mut rest = bytes;
    while let Some(length) = node.receive(rest, now)? {
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    Ok(())
}

/// All that there is to say at this time.
pub(super) fn settle(root: &mut Root, nodes: &mut [Node], now: Duration) {
    root.tick(now);
    for _ in 0..20 {
        for (number, node) in nodes.iter_mut().enumerate() {
            node.tick(now).unwrap();
            let bytes = sent(node);
            root.receive(number, &bytes);
        }
        for (number, node) in nodes.iter_mut().enumerate() {
            let bytes = root.said(number);
            give(node, &bytes, now).unwrap();
        }
    }
}

/// Two leaves that look for each other, below one root.
pub(super) fn two() -> (Root, [Node; 2]) {
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
