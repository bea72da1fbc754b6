//! Yggdrasil 0.5: an overlay in which the address of a machine comes from its key. Owns what
//! the rest of the program may know of it.
//!
//! The overlay takes everybody, and the machines of Clan's service only the packets of
//! members: the key is one that they know.

mod address;
mod bloom;
mod budget;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod identity;
mod kept;
mod key;
mod meta;
mod node;
#[cfg(any(test, fuzzing))]
mod others;
mod seal;
mod session;
mod tree;
mod wanted;
mod wire;

#[cfg(test)]
mod vectors;

use std::fmt;
use std::sync::Arc;

use super::by_address::ByAddress;
use super::holder::Terms;
use super::key_lock::KeyLocks;
use super::leaf::{Client, Leaf, OverlayKind, Sockets, Started, peers, random};
use super::onions::Onions;
use crate::dial::leaf::{Carriage, PeerAddress};
use crate::env::Env;
use crate::error::LeafFault;
use crate::overlay::{self, Overlay};
use crate::parts::Parts;
use crate::vars::Vars;
pub(crate) use kept::place as kept_key;
pub use kept::{Kept, kept};
use key::Keys;
use node::Node;
pub use wanted::Memory;

/// Daemons have up to 65535, and TCP tells each end what the other takes. Three times as quick
/// as 1280, the least, and no slower than more; a packet of it takes 7 ms at 20 Mbit/s.
const MTU: usize = 16_384;
/// The ports that Clan's service has.
const PORT: u16 = 6443;
const TLS_PORT: u16 = 6446;
/// What the locks are of, and where their files lie.
const LOCKS: &str = "clan-connect/yggdrasil";

/// What the user says of Yggdrasil.
#[derive(Clone, Default)]
pub struct Settings {
    keys: Option<Keys>,
    peers: Vec<PeerAddress>,
    locks: KeyLocks,
    /// Where others were met last.
    pub memory: Option<Arc<dyn Memory>>,
}

impl Settings {
    /// `key` is a file or `var:MACHINE`; `peers` are URIs of whom to peer with before those
    /// that the clan tells. Reads nothing.
    ///
    /// # Errors
    /// Why a peer cannot be used.
    pub fn of(
        key: Option<&str>,
        peers: &[String],
        vars: Arc<Vars>,
        env: &Env,
    ) -> Result<Self, &'static str> {
        let peers = peers.iter().map(|peer| PeerAddress::parse(peer, PORT));
        let peers = peers.collect::<Result<_, _>>()?;
        let keys = Some(Keys::of(key, vars, env));
        Ok(Self { keys, peers, locks: KeyLocks::of(env, LOCKS), memory: None })
    }
}

impl Settings {
    /// Whether only Tor leads to one of the peers that the user has named.
    #[cfg(feature = "tor")]
    pub(super) fn needs_tor(&self) -> bool {
        self.peers.iter().any(PeerAddress::is_onion)
    }
}

/// Passwords may be among it.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

/// The way to its addresses.
pub(super) fn way(settings: &super::Settings, onions: &Onions) -> Option<Arc<dyn ByAddress>> {
    let ports = [(PORT, Carriage::Tcp), (TLS_PORT, Carriage::Tls)];
    let Settings { keys, peers: named, locks, memory } = settings.yggdrasil.clone();
    let peers = peers(&named, &settings.underlay.yggdrasil, &ports, Vec::new());
    let kind = Yggdrasil { keys, named, locks, onions: onions.clone(), memory };
    Leaf::way(kind, peers, settings.lasting)
}

struct Yggdrasil {
    keys: Option<Keys>,
    /// Peers that the user has named.
    named: Vec<PeerAddress>,
    locks: KeyLocks,
    onions: Onions,
    memory: Option<Arc<dyn Memory>>,
}

impl OverlayKind for Yggdrasil {
    const OVERLAY: Overlay = Overlay::Yggdrasil;
    const NAME: &'static str = "yggdrasil";
    const TITLE: &'static str = "Yggdrasil";

    fn reads_key(&self) -> bool {
        self.keys.is_some()
    }

    fn start(&self, peers: Vec<PeerAddress>) -> Result<Started, LeafFault> {
        let found = self.keys.as_ref().map(Keys::find).transpose();
        let (identity, alone) = match found.map_err(LeafFault::BadKey)?.flatten() {
            Some(identity) => {
                if overlay::device_with(identity.address).is_some() {
                    return Err(LeafFault::KeyElsewhere);
                }
                let terms = self.terms(&peers);
                match self.locks.take(&identity.public) {
                    Ok(hold) => (identity, Some((hold, terms))),
                    Err(holder) => return Ok(Started::Elsewhere(holder, terms)),
                }
            }
            // One that lives as long as the process.
            None => (node::fresh_identity(random).ok_or(LeafFault::NoRandom)?, None),
        };
        let node = Node::new(identity, random).remembering(self.memory.clone());
        let (us, sockets) = ((node.address(), MTU), Sockets::new(self.onions.clone()));
        let client = Client::start(Self::TITLE, us, node, peers, sockets)?;
        Ok(Started::Here(Arc::new(client.holding(alone))))
    }
}

impl Yggdrasil {
    /// Whoever has a peer in common is in the same overlay, and likes it as much if the user
    /// has named the same.
    fn terms(&self, peers: &[PeerAddress]) -> Terms {
        let put = |parts: &mut Parts, peer: &PeerAddress| {
            parts.put(format!("{} {} {:?}", peer.host, peer.port, peer.carriage).as_bytes());
            peer.keys.iter().for_each(|key| parts.put(key));
        };
        Terms::of(peers.iter().map(|peer| {
            let mut parts = Parts::default();
            put(&mut parts, peer);
            parts.put(b"named");
            self.named.iter().for_each(|named| put(&mut parts, named));
            parts
        }))
    }
}
