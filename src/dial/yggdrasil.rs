//! Yggdrasil 0.5: an overlay in which the address of a machine comes from its key. Owns what
//! the rest of the program may know of it.
//!
//! The overlay takes everybody, and the machines of Clan's service only the packets of
//! members: the key is one that they know.

mod address;
mod bloom;
mod budget;
mod identity;
mod meta;
mod node;
mod seal;
mod session;
mod tree;
mod wire;

#[cfg(test)]
mod vectors;

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::by_address::ByAddress;
use super::key_lock::KeyLocks;
use super::leaf::{Client, Kind, Leaf, Sockets, peers, random};
use crate::dial::leaf::{Carriage, PeerAddress};
use crate::env::Env;
use crate::error::LeafFault;
use crate::overlay::{self, Overlay};
use crate::secret::Secret;
use identity::Identity;
use node::Node;

/// The ports that Clan's service has.
pub const PORT: u16 = 6443;
const TLS_PORT: u16 = 6446;
/// Where locks of keys lie.
const LOCKS: &str = "clan-connect/yggdrasil";

/// What the user says of Yggdrasil.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Who we are: a key as Clan keeps it (PKCS#8 in PEM), or as the daemon's configuration
    /// has it. When there is none, one that lives as long as the process.
    pub key: Option<Secret<String>>,
    /// Whom to peer with before those that the clan tells.
    pub peers: Vec<PeerAddress>,
    locks: KeyLocks,
}

impl Settings {
    /// With this key and these peers, for a process that was started with `env`.
    pub fn of(key: Option<Secret<String>>, peers: Vec<PeerAddress>, env: &Env) -> Self {
        Self { key, peers, locks: KeyLocks::of(env, LOCKS) }
    }
}

/// The address that a key has, and which a machine has to let in.
///
/// # Errors
/// What is wrong with the key.
pub fn address_of(key: &Secret<String>) -> Result<Ipv6Addr, &'static str> {
    Identity::parse(key.expose()).map(|identity| identity.address)
}

/// The way to its addresses.
pub(super) fn way(settings: &super::Settings) -> Option<Arc<dyn ByAddress>> {
    let ports = [(PORT, Carriage::Tcp), (TLS_PORT, Carriage::Tls)];
    let Settings { key, peers: named, locks } = settings.yggdrasil.clone();
    Leaf::new(Yggdrasil { key, locks }, peers(&named, &settings.underlay, &ports))
}

struct Yggdrasil {
    key: Option<Secret<String>>,
    locks: KeyLocks,
}

impl Kind for Yggdrasil {
    const OVERLAY: Overlay = Overlay::Yggdrasil;
    const NAME: &'static str = "yggdrasil";
    const TITLE: &'static str = "Yggdrasil";

    fn has_key(&self) -> bool {
        self.key.is_some()
    }

    fn start(&self, peers: Vec<PeerAddress>) -> Result<Client, LeafFault> {
        let (identity, alone) = match &self.key {
            Some(key) => {
                let identity = Identity::parse(key.expose()).map_err(LeafFault::BadKey)?;
                if overlay::device_with(identity.address).is_some() {
                    return Err(LeafFault::KeyElsewhere);
                }
                let alone =
                    self.locks.take(&identity.public).map_err(|_| LeafFault::KeyInUse)?;
                (identity, alone)
            }
            None => {
                let none = LeafFault::BadKey("the system has no random numbers");
                (node::fresh_identity(random).ok_or(none)?, None)
            }
        };
        let node = Node::new(identity, random);
        let client = Client::start(Self::TITLE, node.address(), node, peers, Sockets::new())?;
        Ok(client.holding(alone))
    }
}
