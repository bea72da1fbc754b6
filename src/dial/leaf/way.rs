//! The way into an overlay by a leaf. Owns that there is one leaf at a time in this process,
//! for as long as a stream needs it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::client::{Client, failed};
use super::{Carriage, PeerAddress};
use crate::dial::by_address::{Answering, ByAddress};
use crate::dial::{Dial, DialError, DialFailure, Dialling, Phase, Target};
use crate::error::{LeafFault, Stage};
use crate::model::{Host, Network, Running};
use crate::overlay::{self, Overlay};

/// How often a key that is in use is looked at again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// An overlay, and how a leaf of it is made.
pub(in crate::dial) trait Kind: Send + Sync + 'static {
    /// Which it is.
    const OVERLAY: Overlay;
    /// What it is called where networks are listed.
    const NAME: &'static str;
    /// The same as people write it.
    const TITLE: &'static str;

    /// Whether its key may be in use by one process at a time.
    fn has_key(&self) -> bool;

    /// A leaf with these peers. Blocks.
    ///
    /// # Errors
    /// [`LeafFault::KeyInUse`] is worth another try.
    fn start(&self, peers: Vec<PeerAddress>) -> Result<Client, LeafFault>;
}

/// The way.
pub(in crate::dial) struct Leaf<K> {
    kind: Arc<K>,
    peers: Vec<PeerAddress>,
    client: Mutex<Weak<Client>>,
    /// Held while one starts.
    starting: tokio::sync::Mutex<()>,
}

impl<K: Kind> Leaf<K> {
    /// None where nobody is known to peer with.
    pub(in crate::dial) fn way(kind: K, peers: Vec<PeerAddress>) -> Option<Arc<dyn ByAddress>> {
        let (client, starting) = (Mutex::default(), Default::default());
        let kind = Arc::new(kind);
        let is_any = !peers.is_empty();
        is_any.then(|| Arc::new(Self { kind, peers, client, starting }) as Arc<dyn ByAddress>)
    }

    fn running_client(&self) -> Option<Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// The leaf, which begins where there is none.
    async fn client(&self, enter: &(dyn Fn(Phase) + Sync)) -> Result<Arc<Client>, DialError> {
        let _starting = self.starting.lock().await;
        loop {
            if let Some(client) = self.running_client() {
                return Ok(client);
            }
            let (kind, peers) = (self.kind.clone(), self.peers.clone());
            let starting = tokio::task::spawn_blocking(move || kind.start(peers));
            match starting.await.unwrap_or(Err(LeafFault::Ended)) {
                Ok(client) => {
                    let client = Arc::new(client);
                    let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
                    *known = Arc::downgrade(&client);
                    return Ok(client);
                }
                Err(LeafFault::KeyInUse) => enter(Phase::Busy(K::TITLE.to_owned())),
                Err(fault) => return Err(failed(K::TITLE, fault)),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

impl<K: Kind> Dial for Leaf<K> {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async move {
            let Ok(IpAddr::V6(address)) = target.host.expose().parse() else {
                let failure = DialFailure::BadAddress("it is no address of the network");
                return Err(DialError::new(Stage::Resolve, failure));
            };
            self.client(enter).await?.dial(address, target.port, enter).await
        })
    }
}

impl<K: Kind> ByAddress for Leaf<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn running(&self, network: &Network) -> Option<Running> {
        let address = |host: &Host| match host {
            Host::Plain(text) => text.trim_matches(['[', ']']).parse().ok(),
            Host::Var(_) => None,
        };
        let hosts = network.peers.iter().flat_map(|peer| &peer.hosts);
        let ours =
            hosts.filter_map(address).find(|address| Overlay::of(*address) == Some(K::OVERLAY))?;
        Some(match overlay::is_running(ours) {
            Some(true) => Running::Yes,
            _ => Running::InProcess,
        })
    }

    fn claims(&self, address: IpAddr) -> Answering<'_, bool> {
        Box::pin(async move { Overlay::of(address) == Some(K::OVERLAY) })
    }

    fn is_alone(&self) -> bool {
        self.kind.has_key() && self.running_client().is_some()
    }
}

/// Those that the user has named, and then the hosts where other networks have machines,
/// at the ports that the overlay has there. Whoever is himself in such an overlay is no
/// peer.
pub(in crate::dial) fn peers(
    named: &[PeerAddress],
    hosts: &[Host],
    ports: &[(u16, Carriage)],
) -> Vec<PeerAddress> {
    let is_outside = |host: &str| {
        let address = host.parse().ok();
        !matches!(address.and_then(Overlay::of), Some(Overlay::Yggdrasil | Overlay::Mycelium))
    };
    let plain = |host: &Host| match host {
        Host::Plain(text) => Some(text.trim_matches(['[', ']']).to_owned()),
        Host::Var(_) => None,
    };
    let hosts: Vec<String> = hosts.iter().filter_map(plain).collect();
    let at = |&(port, carriage): &(u16, Carriage)| {
        hosts.iter().map(move |host| PeerAddress::new(host, port, carriage)).collect::<Vec<_>>()
    };
    let of_hosts = ports.iter().flat_map(at);
    named.iter().cloned().chain(of_hosts).filter(|peer| is_outside(&peer.host)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_are_named_come_first_and_none_is_in_an_overlay() {
        let named = [PeerAddress::new("peer.example", 1, Carriage::Tls)];
        let hosts = ["[2001:db8::1]", "200::1", "b.example"].map(|it| Host::Plain(it.to_owned()));
        let ports = [(6443, Carriage::Tcp), (6446, Carriage::Tls)];
        let found = peers(&named, &hosts, &ports);
        let found: Vec<_> = found.iter().map(|it| (it.host.as_str(), it.port)).collect();
        let expected = [
            ("peer.example", 1),
            ("2001:db8::1", 6443),
            ("b.example", 6443),
            ("2001:db8::1", 6446),
            ("b.example", 6446),
        ];
        assert_eq!(found, expected);
    }
}
