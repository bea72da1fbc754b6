//! What goes between us and a machine, by way of the peer: sessions, and the packets in
//! them. Owns what is sent before there is a session, and that nobody is answered who is
//! not looked for.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::Node;
use crate::dial::leaf::ends_of;
use crate::dial::yggdrasil::address::{Key, has_address};
use crate::dial::yggdrasil::session::{ACK, INIT, Keys, Received, Session, TRAFFIC};
use crate::dial::yggdrasil::wanted::{NOTICE_AFTER, Wanted};
use crate::dial::yggdrasil::wire::Frame;

/// The question for keys is repeated.
pub(super) const INIT_AGAIN: Duration = Duration::from_secs(1);
/// The other side forgets a session that nobody used for 60 s (`sessionTimeout`).
const STALE: Duration = Duration::from_secs(50);
/// What waits for a session.
const MAX_WAITING: usize = 8;
/// What a hop may be worth: anything.
pub(super) const WATERMARK: u64 = u64::MAX;
/// What is in the payload of a session (yggdrasil-go, `typeSessionTraffic`).
const PACKET: [u8; 1] = [1];

impl Node {
    /// A message of a session.
    pub(super) fn take_traffic(&mut self, source: &Key, payload: &[u8], now: Duration) {
        let Some((kind, message)) = payload.split_first() else { return };
        let (random, me) = (self.random, &self.me);
        let Some((address, wanted)) = wanted_by(&mut self.targets, source) else { return };
        if wanted.session.is_none() {
            wanted.session = Session::new(random);
        }
        let Some(session) = &mut wanted.session else { return };
        match *kind {
            INIT | ACK => {
                // Two products of points and two signatures.
                if !self.budget.spend(4, now) {
                    return;
                }
                let Some(keys) = Keys::decode(message, me, source) else { return };
                wanted.key = Some(*source);
                let answer = session.take(*kind, &keys, me, source, now);
                if session.is_ready() && !session.awaits_ack() {
                    wanted.next_init = Duration::MAX;
                    wanted.next_notice = Duration::MAX;
                    wanted.is_guessed &= *kind == INIT;
                    wanted.remember(address, self.memory.as_deref());
                }
                wanted.last_used = now;
                if let Some(answer) = answer {
                    self.send_to(source, &answer, now);
                }
                self.send_waiting(source, now);
            }
            TRAFFIC => match session.open(message, now) {
                Received::Payload(payload) => {
                    wanted.last_used = now;
                    self.take_payload(source, payload);
                }
                Received::Lost if !session.awaits_ack() => {
                    wanted.next_init = wanted.next_init.min(now);
                    self.ask_for_keys(now);
                }
                Received::Lost | Received::Nothing => {}
            },
            _ => {}
        }
    }

    fn take_payload(&mut self, source: &Key, mut payload: Vec<u8>) {
        // Others ask what we are, and are not answered.
        if payload.first() != PACKET.first() {
            return;
        }
        payload.remove(0);
        let is_ours = ends_of(&payload)
            .is_some_and(|(from, to)| to == self.me.address && has_address(source, from));
        if is_ours {
            self.output.packets.push_back(payload);
        }
    }

    /// Sends to one whose place is known.
    fn send_to(&mut self, dest: &Key, payload: &[u8], now: Duration) {
        let Some(from) = self.coords() else { return };
        let Some((_, wanted)) = wanted_by(&mut self.targets, dest) else { return };
        let Some(path) = wanted.coords.clone() else { return };
        let frame = Frame::Traffic {
            path: &path,
            from: &from,
            source: self.me.public,
            dest: *dest,
            watermark: WATERMARK,
            payload,
        };
        self.push(&frame, now);
    }

    fn send_waiting(&mut self, dest: &Key, now: Duration) {
        while let Some((_, wanted)) = wanted_by(&mut self.targets, dest)
            && wanted.is_ready()
            && let Some(packet) = wanted.waiting.pop_front()
        {
            let sealed = wanted.session.as_mut().and_then(|it| it.seal([&PACKET, &packet]));
            if let Some(sealed) = sealed {
                self.send_to(dest, &sealed, now);
            }
        }
    }

    /// Sends a packet of ours, or keeps it until there is a session.
    pub(super) fn send_packet(&mut self, packet: &[u8], now: Duration) {
        let Some((source, target)) = ends_of(packet) else { return };
        if source != self.me.address {
            return;
        }
        let Some(wanted) = self.targets.get_mut(&target) else { return };
        let is_stale = now.saturating_sub(wanted.last_used) > STALE;
        let awaits = wanted.session.as_ref().is_some_and(Session::awaits_ack);
        let (Some(key), true, false) = (wanted.key, wanted.is_ready(), is_stale || awaits) else {
            // What is lost now is sent again after a second, which is long.
            if wanted.waiting.len() < MAX_WAITING {
                wanted.waiting.push_back(packet.to_vec());
            }
            if !awaits {
                wanted.next_init = wanted.next_init.min(now);
            }
            self.ask_for_keys(now);
            return;
        };
        wanted.last_used = now;
        let sealed = wanted.session.as_mut().and_then(|it| it.seal([&PACKET, packet]));
        if let Some(sealed) = sealed {
            self.send_to(&key, &sealed, now);
        }
    }

    /// Asks those for their keys with whom we have none in common, if it is time.
    pub(super) fn ask_for_keys(&mut self, now: Duration) {
        let mut inits = Vec::new();
        for wanted in self.targets.values_mut() {
            let (Some(key), Some(_)) = (wanted.key, &wanted.coords) else { continue };
            if wanted.next_init > now {
                continue;
            }
            wanted.next_init = now + INIT_AGAIN;
            wanted.next_notice = now + NOTICE_AFTER;
            wanted.notice_pause = NOTICE_AFTER;
            if wanted.session.is_none() {
                wanted.session = Session::new(self.random);
            }
            let session = wanted.session.as_mut();
            let init = session.and_then(|session| session.init(&self.me, &key, now));
            inits.extend(init.map(|init| (key, init)));
        }
        for (key, init) in inits {
            self.send_to(&key, &init, now);
        }
    }
}

/// Whoever is looked for and has this key.
pub(super) fn wanted_by<'a>(
    targets: &'a mut HashMap<Ipv6Addr, Wanted>,
    key: &Key,
) -> Option<(Ipv6Addr, &'a mut Wanted)> {
    let is_it = |address: &Ipv6Addr, wanted: &Wanted| match &wanted.key {
        Some(known) => known == key,
        None => has_address(key, *address),
    };
    let found = targets.iter_mut().find(|(address, wanted)| is_it(address, wanted));
    found.map(|(address, wanted)| (*address, wanted))
}
