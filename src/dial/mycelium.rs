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
use super::leaf::{Client, Kind, Leaf, Sockets, peers, random};
use crate::dial::leaf::{Carriage, PeerAddress};
use crate::error::LeafFault;
use crate::overlay::Overlay;
use identity::Identity;
use router::Router;

/// The least that IPv6 has (RFC 8200, section 5); the daemons' devices have 1400.
const MTU: usize = 1280;
/// The port that Clan's service has.
const PORT: u16 = 9651;

/// What the user says of Mycelium.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    peers: Vec<PeerAddress>,
}

impl Settings {
    /// `peers` are URIs of whom to peer with before those that the clan tells.
    ///
    /// # Errors
    /// Why one of them cannot be used.
    pub fn of(peers: &[String]) -> Result<Self, &'static str> {
        let peers = peers.iter().map(|peer| PeerAddress::parse(peer, PORT));
        let peers: Vec<PeerAddress> = peers.collect::<Result<_, _>>()?;
        // It has no other way to encrypt a link than one that we do not speak.
        match peers.iter().all(|peer| peer.carriage == Carriage::Tcp) {
            true => Ok(Self { peers }),
            false => Err("of Mycelium only tcp:// is spoken"),
        }
    }
}

/// The way to its addresses.
pub(super) fn way(settings: &super::Settings) -> Option<Arc<dyn ByAddress>> {
    let ports = [(PORT, Carriage::Tcp)];
    Leaf::way(Mycelium, peers(&settings.mycelium.peers, &settings.underlay, &ports))
}

struct Mycelium;

impl Kind for Mycelium {
    const OVERLAY: Overlay = Overlay::Mycelium;
    const NAME: &'static str = "mycelium";
    const TITLE: &'static str = "Mycelium";

    fn has_key(&self) -> bool {
        false
    }

    fn start(&self, peers: Vec<PeerAddress>) -> Result<Client, LeafFault> {
        let mut secret = Zeroizing::new([0; 32]);
        if !random(secret.as_mut_slice()) {
            return Err(LeafFault::BadKey("the system has no random numbers"));
        }
        let router = Router::new(Identity::new(secret), random);
        Client::start(Self::TITLE, (router.address(), MTU), router, peers, Sockets::new())
    }
}
