//! Whose turn it is. Owns how long each peer has: no longer than a moment while others are
//! left, and longer once each has had a first one.

use std::time::Duration;

use crate::dial::leaf::PeerAddress;
use crate::error::LeafFault;

/// How long each step may take with the only peer.
pub(super) const PEERING_DEADLINE: Duration = Duration::from_secs(8);
pub(super) const LOOKUP_DEADLINE: Duration = Duration::from_secs(8);
/// The same while others have not been tried; Tor takes longer.
pub(super) const PEERING_PATIENCE: Duration = Duration::from_millis(2500);
pub(super) const LOOKUP_PATIENCE: Duration = Duration::from_millis(2500);

impl Turn {
    /// How long the peer may take to find a machine, which others do not end if it is of use.
    pub(super) fn lookup(&self, is_useful: bool) -> Duration {
        if is_useful { LOOKUP_DEADLINE } else { self.lookup }
    }
}

/// How long each of them may take the second time, so that whoever waits for a machine that
/// is off does not wait for all of the above with each peer.
const SECOND: Duration = Duration::from_secs(6);

/// The turns that are left, of peers by their numbers.
pub(super) struct Turns {
    left: Vec<usize>,
    /// Those that had too little time.
    again: Vec<usize>,
    is_second: bool,
}

/// One peer's turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    peer: usize,
    is_short: bool,
    /// Whether nobody's is left after it.
    pub(super) is_last: bool,
    /// How long the peer may say nothing.
    pub(super) peering: Duration,
    lookup: Duration,
}

impl Turns {
    /// Everybody's, in their order. Who fell silent comes after the others, but before
    /// strangers.
    pub(super) fn new(peers: &[PeerAddress], silent: Option<usize>) -> Self {
        let mut left: Vec<usize> = (0..peers.len()).collect();
        let is_public = |at: usize| peers.get(at).is_some_and(|peer| peer.is_public);
        left.sort_by_key(|&at| (is_public(at), Some(at) == silent));
        Self { left, again: Vec::new(), is_second: false }
    }

    /// Who may be next.
    pub(super) fn left(&mut self) -> Option<Vec<usize>> {
        if self.left.is_empty() && !self.is_second {
            self.left = std::mem::take(&mut self.again);
            self.is_second = true;
        }
        (!self.left.is_empty()).then(|| self.left.clone())
    }

    /// None of those can be connected to.
    pub(super) fn skip(&mut self) {
        self.left.clear();
    }

    /// The turn of this one begins.
    pub(super) fn take(&mut self, peer: usize, address: Option<&PeerAddress>) -> Turn {
        self.left.retain(|&other| other != peer);
        let is_slow = address.is_some_and(PeerAddress::is_onion);
        let is_last = self.left.is_empty() && self.again.is_empty();
        let is_short = !is_last && !self.is_second && !is_slow;
        let (peering, lookup) = match (is_short, self.is_second && !is_slow) {
            (true, _) => (PEERING_PATIENCE, LOOKUP_PATIENCE),
            (false, true) => (SECOND, SECOND),
            (false, false) => (PEERING_DEADLINE, LOOKUP_DEADLINE),
        };
        Turn { peer, is_short, is_last, peering, lookup }
    }

    /// A turn has ended with this.
    pub(super) fn note(&mut self, turn: &Turn, fault: &LeafFault, peers: &[PeerAddress]) {
        let is_late = matches!(fault, LeafFault::SilentPeer | LeafFault::NotFound);
        let is_same = |other: &usize| match (peers.get(*other), peers.get(turn.peer)) {
            (Some(one), Some(other)) => one.is_same_node(other),
            _ => false,
        };
        if turn.is_short && is_late && !self.again.iter().any(is_same) {
            self.again.push(turn.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::leaf::Carriage;

    fn peers(publics: &[bool]) -> Vec<PeerAddress> {
        let peer = |&is_public: &bool| PeerAddress {
            is_public,
            ..PeerAddress::new("peer.example", 1, Carriage::Tcp)
        };
        publics.iter().map(peer).collect()
    }

    #[test]
    fn who_fell_silent_is_tried_after_the_others_and_before_strangers() {
        let peers = peers(&[false, false, true]);
        assert_eq!(Turns::new(&peers, None).left().unwrap(), [0, 1, 2]);
        assert_eq!(Turns::new(&peers, Some(0)).left().unwrap(), [1, 0, 2]);
        assert_eq!(Turns::new(&peers, Some(2)).left().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn who_had_too_little_time_has_a_second_turn_and_no_third() {
        let peers = peers(&[false, false]);
        let mut turns = Turns::new(&peers, None);
        for (peer, lookup, is_last) in [
            (0, LOOKUP_PATIENCE, false),
            (1, LOOKUP_PATIENCE, false),
            (0, SECOND, false),
            (1, SECOND, true),
        ] {
            assert_eq!(turns.left().unwrap()[0], peer);
            let turn = turns.take(peer, None);
            assert_eq!((turn.lookup, turn.is_last), (lookup, is_last));
            turns.note(&turn, &LeafFault::NotFound, &peers);
        }
        assert_eq!(turns.left(), None);
        let mut alone = Turns::new(&peers[..1], None);
        assert_eq!(alone.take(0, None).lookup, LOOKUP_DEADLINE);
    }

    #[test]
    fn who_was_wrong_and_not_slow_has_no_second_turn() {
        let peers = peers(&[false, false]);
        let mut turns = Turns::new(&peers, None);
        let first = turns.take(0, None);
        turns.note(&first, &LeafFault::Password, &peers);
        assert!(turns.take(1, None).is_last);
        assert_eq!(turns.left(), None);
    }

    #[test]
    fn a_node_has_no_second_turn_by_each_of_its_ports() {
        let tcp = PeerAddress::new("peer.example", 1, Carriage::Tcp);
        let tls = PeerAddress::new("peer.example", 2, Carriage::Tls);
        let other = PeerAddress::new("peer.example", 3, Carriage::Tcp);
        let peers = [tcp, tls, other];
        let mut turns = Turns::new(&peers, None);
        for peer in 0..3 {
            let turn = turns.take(peer, None);
            turns.note(&turn, &LeafFault::NotFound, &peers);
        }
        // Two that are reached alike are two nodes.
        assert_eq!(turns.left().unwrap(), [0, 2]);
    }
}
