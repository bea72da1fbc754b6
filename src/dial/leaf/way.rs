//! The way into an overlay by a leaf. Owns that there is one leaf at a time in this process,
//! for as long as a stream needs it.

use std::net::{IpAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::client::{Client, failed};
use super::{Carriage, PeerAddress};
use crate::dial::by_address::{Answering, ByAddress};
use crate::dial::holder::{Lasting, Patience, Terms, Visit};
use crate::dial::key_lock::InUse;
use crate::dial::underlay::{Peers, Place};
use crate::dial::{Dial, DialError, DialFailure, Dialling, Phase, Target};
use crate::error::{LeafFault, Stage};
use crate::model::{Host, Network, Running};
use crate::overlay::{self, Overlay};

/// An overlay, and how a leaf of it is made.
pub(in crate::dial) trait OverlayKind: Send + Sync + 'static {
    /// Which it is.
    const OVERLAY: Overlay;
    /// What it is called where networks are listed.
    const NAME: &'static str;
    /// The same as people write it.
    const TITLE: &'static str;

    /// Whether it looks for a key that is kept somewhere.
    fn reads_key(&self) -> bool;

    /// A leaf with these peers. Blocks.
    ///
    /// # Errors
    /// What is wrong with the key, or here.
    fn start(&self, peers: Vec<PeerAddress>) -> Result<Started, LeafFault>;
}

/// What a start comes to.
pub(in crate::dial) enum Started {
    /// A leaf of ours.
    Here(Arc<Client>),
    /// Another process has the key; it may be used on these terms.
    Elsewhere(InUse, Terms),
}

/// What leads into the overlay.
enum Entry {
    Here(Arc<Client>),
    Elsewhere(InUse, Terms),
}

/// The way.
pub(in crate::dial) struct Leaf<K> {
    kind: Arc<K>,
    peers: Vec<PeerAddress>,
    client: Mutex<Weak<Client>>,
    /// Held while one starts.
    starting: tokio::sync::Mutex<()>,
    lasting: Lasting,
    /// Held by streams that go by another process.
    visits: Arc<()>,
}

impl<K: OverlayKind> Leaf<K> {
    /// None where nobody is known to peer with.
    pub(in crate::dial) fn way(
        kind: K,
        peers: Vec<PeerAddress>,
        lasting: Lasting,
    ) -> Option<Arc<dyn ByAddress>> {
        let (client, starting, visits) = (Mutex::default(), Default::default(), Arc::default());
        let kind = Arc::new(kind);
        let is_any = !peers.is_empty();
        let way = || Self { kind, peers, client, starting, lasting, visits };
        is_any.then(|| Arc::new(way()) as Arc<dyn ByAddress>)
    }

    fn running_client(&self) -> Option<Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// The leaf, which begins where there is none and this process may have one.
    async fn entry(&self) -> Result<Entry, DialError> {
        let _starting = self.starting.lock().await;
        if let Some(client) = self.running_client() {
            return Ok(Entry::Here(client));
        }
        let (kind, peers) = (self.kind.clone(), self.peers.clone());
        let starting = tokio::task::spawn_blocking(move || kind.start(peers));
        let started = starting.await.unwrap_or(Err(LeafFault::Ended));
        match started.map_err(|fault| failed(K::TITLE, fault))? {
            Started::Here(client) => {
                client.serve(self.lasting);
                let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Arc::downgrade(&client);
                Ok(Entry::Here(client))
            }
            Started::Elsewhere(holder, terms) => Ok(Entry::Elsewhere(holder, terms)),
        }
    }
}

impl<K: OverlayKind> Dial for Leaf<K> {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async move {
            let Ok(IpAddr::V6(address)) = target.host.expose().parse() else {
                let failure = DialFailure::BadAddress("it is no address of the network");
                return Err(DialError::new(Stage::Resolve, failure));
            };
            let to = SocketAddrV6::new(address, target.port, 0, 0);
            let mut patience = Patience::of(self.lasting);
            if self.kind.reads_key() && self.running_client().is_none() {
                enter(Phase::Key(K::TITLE));
            }
            loop {
                match self.entry().await? {
                    Entry::Here(client) => return client.dial(address, target.port, enter).await,
                    Entry::Elsewhere(holder, terms) => {
                        let busy = Phase::InUse(K::TITLE);
                        let visit = Visit { network: K::TITLE, to, terms, busy };
                        if let Some(opened) = visit.open(holder, &mut patience, enter).await {
                            return Ok(opened?.with_carrier(self.visits.clone()));
                        }
                    }
                }
            }
        })
    }
}

impl<K: OverlayKind> ByAddress for Leaf<K> {
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
        Arc::strong_count(&self.visits) > 1
            || self.running_client().is_some_and(|client| client.is_alone())
    }
}

/// Those that the user has named, then the target where other networks have it, those that
/// the clan's settings name, the other machines, all of them by what carries the link, and
/// last the public nodes. Whoever is himself in such an overlay is no peer.
pub(in crate::dial) fn peers(
    named: &[PeerAddress],
    of_clan: &Peers,
    ports: &[(u16, Carriage)],
    public: Vec<PeerAddress>,
) -> Vec<PeerAddress> {
    let default = ports.first().map_or(0, |&(port, _)| port);
    let is_spoken = |peer: &PeerAddress| ports.iter().any(|&(_, it)| it == peer.carriage);
    // What else the daemons speak is not for us.
    let of_settings = of_clan.named.iter();
    let of_settings = of_settings.filter_map(|uri| PeerAddress::parse(uri.expose(), default).ok());
    let at = |is_wanted: fn(&Place) -> bool, &(port, carriage): &(u16, Carriage)| {
        let places = of_clan.places.iter().filter(move |place| is_wanted(place));
        places.map(move |place| {
            let said = match carriage {
                Carriage::Tcp => place.tcp,
                Carriage::Tls => place.tls,
            };
            PeerAddress::new(&place.host, said.unwrap_or(port), carriage)
        })
    };
    let all = |is_wanted: fn(&Place) -> bool| ports.iter().flat_map(move |it| at(is_wanted, it));
    let first =
        ports.iter().take(1).flat_map(|it| at(|place| place.is_targets && !place.is_onion, it));
    let mut found: Vec<PeerAddress> = Vec::new();
    let inside = |host: &str| {
        let address = host.parse().ok();
        matches!(address.and_then(Overlay::of), Some(Overlay::Yggdrasil | Overlay::Mycelium))
    };
    let every = named
        .iter()
        .cloned()
        .chain(first)
        .chain(of_settings.filter(is_spoken))
        .chain(all(|place| !place.is_onion))
        .chain(ports.iter().take(1).flat_map(|it| at(|place| place.is_onion, it)))
        .chain(public);
    for peer in every {
        let is_known = |it: &PeerAddress| {
            (it.host.as_str(), it.port, it.carriage) == (&peer.host, peer.port, peer.carriage)
        };
        if !inside(&peer.host) && !found.iter().any(is_known) {
            found.push(peer);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn place(host: &str, is_targets: bool) -> Place {
        let is_onion = host.ends_with(".onion");
        Place { host: host.to_owned(), is_onion, is_targets, tcp: None, tls: None }
    }

    #[test]
    fn peers_that_are_named_come_first_and_none_is_in_an_overlay() {
        let named = [PeerAddress::new("peer.example", 1, Carriage::Tls)];
        let mut places = vec![place("2001:db8::1", true), place("200::1", false)];
        places.extend([place("b.example", false), place("x.onion", true)]);
        places[2].tls = Some(7);
        let settings = ["quic://c.example:1", "tls://d.example:2", "tls://peer.example:1"];
        let settings = settings.map(|it| Secret::new(it.to_owned()));
        let of_clan = Peers { places, named: settings.into(), has_public: true };
        let ports = [(6443, Carriage::Tcp), (6446, Carriage::Tls)];
        let public = vec![PeerAddress::new("public.example", 3, Carriage::Tcp)];
        let found = peers(&named, &of_clan, &ports, public);
        let found: Vec<_> = found.iter().map(|it| (it.host.as_str(), it.port)).collect();
        let expected = [
            ("peer.example", 1),
            ("2001:db8::1", 6443),
            ("d.example", 2),
            ("b.example", 6443),
            ("2001:db8::1", 6446),
            ("b.example", 7),
            ("x.onion", 6443),
            ("public.example", 3),
        ];
        assert_eq!(found, expected);
        // What is not spoken is no peer.
        let found = peers(&[], &of_clan, &ports[..1], Vec::new());
        assert!(found.iter().all(|peer| peer.carriage == Carriage::Tcp), "{found:?}");
    }
}
