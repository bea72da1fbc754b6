//! A machine of Yggdrasil that somebody wants to reach. Owns what is known of its place, now
//! and from another time, and when it is looked for again.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::address::{Key, has_address};
use super::session::Session;
use super::tree::is_path;

/// A lookup is repeated: the peer listens to us once it has noticed that we are there.
pub(super) const LOOKUP_AGAIN: Duration = Duration::from_millis(250);
/// Behind the question for keys we say where we are, which the machine takes as soon as it wants to answer
/// (ironwood, `pathfinder._handleNotify`): it does not have to look for us.
pub(super) const NOTICE_AFTER: Duration = Duration::from_millis(4);

/// Where others were when they were met last. What is wrong of it costs a moment: keys are
/// proven, and whoever is elsewhere is looked for meanwhile.
pub trait Memory: Send + Sync {
    /// What is known of a name.
    fn recall(&self, name: &[u8]) -> Option<Vec<u8>>;

    /// To be known of it from now on.
    fn keep(&self, name: &[u8], place: Vec<u8>);
}

/// A machine that somebody wants to reach.
pub(super) struct Wanted {
    pub(super) users: usize,
    pub(super) key: Option<Key>,
    pub(super) coords: Option<Vec<u8>>,
    /// Of what it has last said of its place.
    pub(super) notice_seq: u64,
    pub(super) is_broken: bool,
    /// Its place is where it was at another time, and nothing has come from there.
    pub(super) is_guessed: bool,
    pub(super) next_lookup: Duration,
    pub(super) pause: Duration,
    pub(super) session: Option<Session>,
    pub(super) next_init: Duration,
    pub(super) next_notice: Duration,
    pub(super) notice_pause: Duration,
    pub(super) last_used: Duration,
    pub(super) waiting: VecDeque<Vec<u8>>,
}

impl Wanted {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            users: 0,
            key: None,
            coords: None,
            notice_seq: 0,
            is_broken: false,
            is_guessed: false,
            next_lookup: now,
            pause: LOOKUP_AGAIN,
            session: None,
            next_init: Duration::MAX,
            next_notice: Duration::MAX,
            notice_pause: NOTICE_AFTER,
            last_used: now,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_ready)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.coords.is_none() || self.is_broken || self.is_guessed
    }

    /// Whether it has been asked for its keys and has not answered.
    pub(super) fn awaits(&self) -> bool {
        !self.is_ready() || self.session.as_ref().is_some_and(Session::awaits_ack)
    }

    /// Takes the machine for where it was.
    pub(super) fn guess(&mut self, address: Ipv6Addr, memory: &dyn Memory, now: Duration) {
        let Some(place) = memory.recall(&address.octets()) else { return };
        let Some((key, coords)) = place.split_first_chunk() else { return };
        let is_it = self.key.map_or(has_address(key, address), |known| known == *key);
        if self.coords.is_none() && is_it && is_path(coords) {
            self.key = Some(*key);
            self.coords = Some(coords.to_vec());
            self.is_guessed = true;
            self.next_init = now;
        }
    }

    /// Keeps where it is for another time.
    pub(super) fn remember(&self, address: Ipv6Addr, memory: Option<&dyn Memory>) {
        if let (Some(memory), Some(key), Some(coords), false) =
            (memory, self.key, &self.coords, self.is_lost())
        {
            memory.keep(&address.octets(), [&key[..], coords].concat());
        }
    }

    pub(super) fn look_again(&mut self, now: Duration) {
        self.is_broken = true;
        self.pause = LOOKUP_AGAIN;
        // Whoever says that a way is broken does not make us ask more often.
        self.next_lookup = self.next_lookup.max(now);
    }
}
