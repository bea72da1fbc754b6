//! Mycelium 0.7: an overlay that takes everybody, so that a machine in it is reached with a
//! key that lives as long as the process. Owns what the rest of the program may know of it.
//!
//! Between the ends it encrypts with AES-256-GCM and a key that never changes, so that it
//! has no forward secrecy and does not notice what is repeated: all that is left to SSH.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod identity;
mod router;
mod wire;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::by_address::ByAddress;
use super::leaf::{Client, Leaf, OverlayKind, Sockets, Started, peers, random};
use super::onions::Onions;
use crate::dial::leaf::{Carriage, PeerAddress};
use crate::error::LeafFault;
use crate::overlay::Overlay;
use identity::Identity;
use router::Router;

/// The least that IPv6 has (RFC 8200, section 5); the daemons' devices have 1400.
const MTU: usize = 1280;
/// The port that Clan's service has.
const PORT: u16 = 9651;
/// The public nodes of NixOS's module (nixpkgs, `services.mycelium.addHostedPublicNodes`),
/// which Clan's service has in turn.
const PUBLIC: [&str; 12] = [
    "188.40.132.242",
    "2a01:4f8:221:1e0b::2",
    "136.243.47.186",
    "2a01:4f8:212:fa6::2",
    "185.69.166.7",
    "2a02:1802:5e:0:8478:51ff:fee2:3331",
    "185.69.166.8",
    "2a02:1802:5e:0:8c9e:7dff:fec9:f0d2",
    "65.21.231.58",
    "2a01:4f9:6a:1dc5::2",
    "65.109.18.113",
    "2a01:4f9:5a:1042::2",
];

/// What the user says of Mycelium.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    peers: Vec<PeerAddress>,
    /// Whether public nodes will do; where nobody says, the clan's settings count.
    public: Option<bool>,
}

impl Settings {
    /// `peers` are URIs of whom to peer with before those that the clan tells, and `public`
    /// is whether the overlay's public nodes will do, where neither leads on.
    ///
    /// # Errors
    /// Why one of them cannot be used.
    pub fn of(peers: &[String], public: Option<bool>) -> Result<Self, &'static str> {
        let peers = peers.iter().map(|peer| PeerAddress::parse(peer, PORT));
        let peers: Vec<PeerAddress> = peers.collect::<Result<_, _>>()?;
        // It has no other way to encrypt a link than one that we do not speak.
        match peers.iter().all(|peer| peer.carriage == Carriage::Tcp) {
            true => Ok(Self { peers, public }),
            false => Err("of Mycelium only tcp:// is spoken"),
        }
    }

    /// Whether only Tor leads to one of the peers that the user has named.
    #[cfg(feature = "tor")]
    pub(super) fn needs_tor(&self) -> bool {
        self.peers.iter().any(PeerAddress::is_onion)
    }
}

/// The way to its addresses.
pub(super) fn way(settings: &super::Settings, onions: &Onions) -> Option<Arc<dyn ByAddress>> {
    let ports = [(PORT, Carriage::Tcp)];
    let Settings { peers: named, public } = &settings.mycelium;
    let of_clan = &settings.underlay.mycelium;
    let public = match public.unwrap_or(of_clan.has_public) {
        true => public_nodes(),
        false => Vec::new(),
    };
    Leaf::way(Mycelium(onions.clone()), peers(named, of_clan, &ports, public), settings.lasting)
}

/// The nodes that anybody may peer with.
fn public_nodes() -> Vec<PeerAddress> {
    let node = |&host: &&str| PeerAddress {
        is_public: true,
        ..PeerAddress::new(host, PORT, Carriage::Tcp)
    };
    PUBLIC.iter().map(node).collect()
}

struct Mycelium(Onions);

impl OverlayKind for Mycelium {
    const OVERLAY: Overlay = Overlay::Mycelium;
    const NAME: &'static str = "mycelium";
    const TITLE: &'static str = "Mycelium";

    fn reads_key(&self) -> bool {
        false
    }

    fn start(&self, peers: Vec<PeerAddress>) -> Result<Started, LeafFault> {
        let mut secret = Zeroizing::new([0; 32]);
        if !random(secret.as_mut_slice()) {
            return Err(LeafFault::NoRandom);
        }
        let router = Router::new(Identity::new(secret), random);
        let (us, sockets) = ((router.address(), MTU), Sockets::new(self.0.clone()));
        let client = Client::start(Self::TITLE, us, router, peers, sockets)?;
        Ok(Started::Here(Arc::new(client)))
    }
}
