//! A leaf in the network of Yggdrasil (ironwood, `network` and `encrypted`): below one peer,
//! on the way to nobody. Owns what is answered to whom, and that only the machines that we
//! look for are listened to.

mod traffic;

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::address::{Key, filter_key, key_from};
use super::bloom::Filter;
use super::budget::Budget;
use super::identity::{Identity, has_signed};
use super::meta;
use super::session::Random;
use super::tree::{Change, MAX_PATH, Tree};
use super::wanted::{LOOKUP_AGAIN, Memory, Wanted};
use super::wire::{self, Frame, Notice};
use crate::dial::leaf::{Output, PeerAddress, Protocol, Step};
use crate::error::LeafFault;
use crate::secret::Secret;
use traffic::{INIT_AGAIN, WATERMARK, wanted_by};

/// How long the peer may take to say who it is (yggdrasil-go, `link.handler`).
const META_DEADLINE: Duration = Duration::from_secs(6);
/// How soon something has to follow on what the peer has sent (ironwood, `peerKeepAliveDelay`).
const KEEPALIVE: Duration = Duration::from_secs(1);
/// How long we wait for the same. The peer waits for 3 s (`peerTimeout`); we may be slow to
/// read, where somebody does not take what we have for him.
const SILENCE: Duration = Duration::from_secs(12);
/// How soon a lookup follows on news of the tree, and how far apart repeated ones become.
const LOOKUP_SOON: Duration = Duration::from_millis(30);
const LOOKUP_AT_MOST: Duration = Duration::from_secs(2);
/// So many machines are looked for at the same time.
const MAX_TARGETS: usize = 64;
/// The leaf.
pub(super) struct Node {
    me: Identity,
    random: Random,
    own_filter_key: Key,
    link: Option<Link>,
    /// The last number under which we have announced ourselves.
    seq: u64,
    targets: HashMap<Ipv6Addr, Wanted>,
    /// What checking signatures and making them may cost.
    budget: Budget,
    memory: Option<Arc<dyn Memory>>,
    output: Output,
}

/// One peering.
struct Link {
    password: Option<Secret<String>>,
    /// Whom the user expects; everybody, when there is none.
    expected: Vec<Key>,
    deadline: Duration,
    up: Option<Up>,
    /// When the peer has to hear something.
    owes: Option<Duration>,
    /// When we have to have heard something.
    awaits: Option<Duration>,
}

/// The peer has said who it is.
struct Up {
    peer: Key,
    tree: Tree,
    is_announced: bool,
}

impl Node {
    pub(super) fn new(me: Identity, random: Random) -> Self {
        let own_filter_key = filter_key(&me.public);
        Self {
            me,
            random,
            own_filter_key,
            link: None,
            seq: 0,
            targets: HashMap::new(),
            budget: Budget::new(),
            memory: None,
            output: Output::default(),
        }
    }

    /// The same, which begins where it has ended at another time.
    pub(super) fn remembering(self, memory: Option<Arc<dyn Memory>>) -> Self {
        Self { memory, ..self }
    }

    /// Our own address.
    pub(super) fn address(&self) -> Ipv6Addr {
        self.me.address
    }

    fn up(&mut self) -> Option<&mut Up> {
        self.link.as_mut()?.up.as_mut()
    }

    fn push(&mut self, frame: &Frame<'_>, now: Duration) {
        frame.encode(&mut self.output.bytes);
        if let Some(link) = &mut self.link {
            link.owes = None;
            if !matches!(frame, Frame::Dummy | Frame::Keepalive) {
                link.awaits.get_or_insert(now + SILENCE);
            }
        }
    }

    /// The peer has said who it is.
    fn meet(&mut self, peer: Key, now: Duration) -> Result<(), LeafFault> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if peer == self.me.public {
            return Err(LeafFault::Ourselves);
        }
        if !link.expected.is_empty() && !link.expected.contains(&peer) {
            return Err(LeafFault::OtherPeer);
        }
        let mut tree = Tree::new(peer, self.seq, now);
        let known = self.memory.as_ref().and_then(|memory| memory.recall(&peer));
        known.into_iter().for_each(|path| tree.guess(path));
        link.up = Some(Up { peer, tree, is_announced: false });
        self.send_filter(&Filter::EMPTY, now);
        self.ask_for_place(now);
        Ok(())
    }

    fn send_filter(&mut self, filter: &Filter, now: Duration) {
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        self.push(&Frame::Bloom(&bytes), now);
    }

    fn ask_for_place(&mut self, now: Duration) {
        let mut nonce = [0; 8];
        (self.random)(&mut nonce);
        let Some(up) = self.up() else { return };
        let Some(request) = up.tree.request(u64::from_be_bytes(nonce), now) else { return };
        self.seq = request.seq;
        self.push(&Frame::SigRequest(request), now);
    }

    /// Announces us when there is something new to announce.
    fn announce(&mut self, now: Duration) {
        let Some(up) = self.up() else { return };
        let Some(announcement) = up.tree.announcement() else { return };
        let is_first = !std::mem::replace(&mut up.is_announced, true);
        self.push(&Frame::Announce(announcement), now);
        self.send_filter(&Filter::of(&self.own_filter_key), now);
        if is_first {
            for wanted in self.targets.values_mut() {
                wanted.next_lookup = now;
                wanted.pause = LOOKUP_AGAIN;
            }
            self.look(now);
        }
    }

    fn coords(&self) -> Option<Vec<u8>> {
        let up = self.link.as_ref()?.up.as_ref()?;
        up.tree.coords().filter(|_| up.is_announced).map(<[u8]>::to_vec)
    }

    fn take(&mut self, frame: Frame<'_>, now: Duration) -> Result<(), LeafFault> {
        match frame {
            Frame::SigRequest(request) => {
                self.spend(1, now)?;
                let Some(up) = self.link.as_ref().and_then(|link| link.up.as_ref()) else {
                    return Ok(());
                };
                let response = up.tree.answer(request, &self.me);
                self.push(&Frame::SigResponse(response), now);
            }
            Frame::SigResponse(response) => {
                self.spend(1, now)?;
                let me = &self.me;
                let Some(up) = self.link.as_mut().and_then(|link| link.up.as_mut()) else {
                    return Ok(());
                };
                if !up.tree.take_place(response, me, now) {
                    return Err(LeafFault::Protocol("a signature that is not the peer's"));
                }
                self.announce(now);
            }
            Frame::Announce(announce) => self.take_announce(&announce, now)?,
            // It is sent when the peer has noticed that we are below it, and listens to us
            // (ironwood, `blooms._doMaintenance`), and seldom after that.
            Frame::Bloom(_) => {
                for wanted in self.targets.values_mut() {
                    wanted.next_lookup = wanted.next_lookup.min(now + LOOKUP_SOON);
                }
            }
            Frame::Lookup { source, dest, from } => self.answer_lookup(source, dest, from, now),
            Frame::Notify { notice, .. } => self.take_notice(&notice, now),
            Frame::Broken { source, dest, .. } if source == self.me.public => {
                let known = self.targets.values_mut().find(|wanted| wanted.key == Some(dest));
                if let Some(wanted) = known {
                    wanted.look_again(now);
                    self.look(now);
                }
            }
            Frame::Traffic { source, dest, payload, .. } if dest == self.me.public => {
                self.take_traffic(&source, payload, now);
            }
            _ => {}
        }
        Ok(())
    }

    fn spend(&mut self, cost: u32, now: Duration) -> Result<(), LeafFault> {
        let enough = self.budget.spend(cost, now);
        enough.then_some(()).ok_or(LeafFault::Protocol("more signatures than there can be"))
    }

    fn take_announce(&mut self, announce: &wire::Announce, now: Duration) -> Result<(), LeafFault> {
        let me = &self.me;
        let Some(up) = self.link.as_mut().and_then(|link| link.up.as_mut()) else { return Ok(()) };
        if !up.tree.is_news(announce, me) {
            return Ok(());
        }
        if !self.budget.spend(2, now) {
            return Err(LeafFault::Protocol("more announcements than there can be"));
        }
        match up.tree.take(announce, me, now) {
            Change::Ways => {
                if let (Some(memory), Some(path)) = (&self.memory, up.tree.peer_path()) {
                    memory.keep(&up.peer, path);
                }
                self.announce(now);
                self.look(now);
            }
            Change::Disputed => self.ask_for_place(now),
            Change::Elsewhere => return Err(LeafFault::KeyElsewhere),
            Change::Forged => {
                return Err(LeafFault::Protocol("an announcement with a wrong signature"));
            }
            Change::TooMany => {
                return Err(LeafFault::Protocol("more announcements than there can be"));
            }
        }
        Ok(())
    }

    /// Somebody looks for who may be us.
    fn answer_lookup(&mut self, source: Key, dest: Key, from: &[u8], now: Duration) {
        if filter_key(&dest) != self.own_filter_key || from.len() > MAX_PATH {
            return;
        }
        self.tell_place(source, from, now);
    }

    /// Tells somebody where we are.
    fn tell_place(&mut self, dest: Key, path: &[u8], now: Duration) {
        let Some(coords) = self.coords() else { return };
        if !self.budget.spend(1, now) {
            return;
        }
        let seq = now.as_secs();
        let signature = self.me.sign(&Notice::signed_bytes(seq, &coords));
        let notice = Notice { source: self.me.public, dest, seq, coords: &coords, signature };
        self.push(&Frame::Notify { path, watermark: WATERMARK, notice }, now);
    }

    /// Tells those where we are who have been asked for their keys, if it is time.
    fn tell_places(&mut self, now: Duration) {
        let mut told = Vec::new();
        for wanted in self.targets.values_mut() {
            let (Some(key), Some(coords)) = (wanted.key, &wanted.coords) else { continue };
            if wanted.next_notice > now {
                continue;
            }
            told.push((key, coords.clone()));
            wanted.next_notice = now + wanted.notice_pause;
            wanted.notice_pause *= 2;
            if !wanted.awaits() || wanted.notice_pause > INIT_AGAIN {
                wanted.next_notice = Duration::MAX;
            }
        }
        for (key, coords) in told {
            self.tell_place(key, &coords, now);
        }
    }

    /// Somebody says where he is. That the address comes from the key is all that tells who.
    fn take_notice(&mut self, notice: &Notice<'_>, now: Duration) {
        let Notice { source, dest, seq, coords, signature } = notice;
        if *dest != self.me.public || coords.len() > MAX_PATH {
            return;
        }
        let Some((address, wanted)) = wanted_by(&mut self.targets, source) else { return };
        let is_newer = *seq > wanted.notice_seq || wanted.is_lost() && *seq == wanted.notice_seq;
        if !is_newer
            || !self.budget.spend(1, now)
            || !has_signed(source, &Notice::signed_bytes(*seq, coords), signature)
        {
            return;
        }
        wanted.key = Some(*source);
        wanted.coords = Some(coords.to_vec());
        wanted.notice_seq = *seq;
        wanted.is_broken = false;
        wanted.is_guessed = false;
        wanted.pause = LOOKUP_AGAIN;
        if wanted.awaits() {
            wanted.next_init = now;
        } else {
            wanted.remember(address, self.memory.as_deref());
        }
        self.ask_for_keys(now);
    }

    /// Looks for those whose place is not known, if it is time.
    fn look(&mut self, now: Duration) {
        let Some(from) = self.coords() else { return };
        // Also for the peer itself: when it answers, it knows the way back.
        let mut lookups = Vec::new();
        for (address, wanted) in &mut self.targets {
            if !wanted.is_lost() || wanted.next_lookup > now {
                continue;
            }
            wanted.next_lookup = now + wanted.pause;
            wanted.pause = wanted.pause.mul_f32(1.5).min(LOOKUP_AT_MOST);
            lookups.push(key_from(*address));
        }
        for dest in lookups {
            self.push(&Frame::Lookup { source: self.me.public, dest, from: &from }, now);
        }
        self.ask_for_keys(now);
    }
}

impl Protocol for Node {
    /// There are keys in common with it.
    const IS_MET: bool = true;

    fn begin(&mut self, peer: &PeerAddress, now: Duration) {
        self.output = Output::default();
        self.link = Some(Link {
            password: peer.password.clone(),
            expected: peer.keys.clone(),
            deadline: now + META_DEADLINE,
            up: None,
            owes: None,
            awaits: None,
        });
        for (address, wanted) in &mut self.targets {
            wanted.coords = None;
            wanted.next_notice = Duration::MAX;
            wanted.pause = LOOKUP_AGAIN;
            if let Some(memory) = &self.memory {
                wanted.guess(*address, &**memory, now);
            }
        }
        meta::encode(&self.me, peer.password.as_ref(), &mut self.output.bytes);
    }

    fn receive(&mut self, arrived: &[u8], now: Duration) -> Result<Option<usize>, LeafFault> {
        let Some(link) = &mut self.link else { return Ok(None) };
        if link.up.is_none() {
            let Some((peer, length)) = meta::decode(arrived, link.password.as_ref())? else {
                return Ok(None);
            };
            self.meet(peer, now)?;
            return Ok(Some(length));
        }
        let Some((frame, length)) = wire::decode(arrived)? else { return Ok(None) };
        link.awaits = None;
        if !matches!(frame, Frame::Dummy | Frame::Keepalive) {
            link.owes.get_or_insert(now + KEEPALIVE);
        }
        self.take(frame, now)?;
        Ok(Some(length))
    }

    fn tick(&mut self, now: Duration) -> Result<(), LeafFault> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let Some(up) = &mut link.up else {
            return if now >= link.deadline { Err(LeafFault::SilentPeer) } else { Ok(()) };
        };
        if link.awaits.is_some_and(|until| now >= until) {
            return Err(LeafFault::SilentPeer);
        }
        up.tree.expire(now);
        let owes = link.owes.is_some_and(|until| now >= until);
        self.ask_for_place(now);
        self.announce(now);
        self.look(now);
        self.tell_places(now);
        // Unless something was sent anyway.
        if owes && self.link.as_ref().is_some_and(|link| link.owes.is_some()) {
            self.push(&Frame::Keepalive, now);
        }
        Ok(())
    }

    fn due(&self) -> Duration {
        let Some(link) = &self.link else { return Duration::MAX };
        let Some(up) = &link.up else { return link.deadline };
        let mut due = up.tree.due();
        let mut also = |time: Duration| due = due.min(time);
        link.owes.into_iter().chain(link.awaits).for_each(&mut also);
        if up.is_announced && up.tree.coords().is_some() {
            for wanted in self.targets.values() {
                if wanted.is_lost() {
                    also(wanted.next_lookup);
                }
                if wanted.coords.is_some() && wanted.key.is_some() {
                    also(wanted.next_init);
                    also(wanted.next_notice);
                }
            }
        }
        due
    }

    fn seek(&mut self, target: Ipv6Addr, now: Duration) {
        if self.targets.len() >= MAX_TARGETS && !self.targets.contains_key(&target) {
            return;
        }
        let wanted = self.targets.entry(target).or_insert_with(|| Wanted::new(now));
        wanted.users += 1;
        if let Some(memory) = &self.memory {
            wanted.guess(target, &**memory, now);
        }
        self.look(now);
    }

    fn forget(&mut self, target: Ipv6Addr) {
        let Some(wanted) = self.targets.get_mut(&target) else { return };
        wanted.users = wanted.users.saturating_sub(1);
        if wanted.users == 0 {
            self.targets.remove(&target);
        }
    }

    fn step(&self, target: Ipv6Addr) -> Step {
        let is_peered = self.coords().is_some();
        match self.targets.get(&target) {
            _ if !is_peered => Step::Peering,
            Some(wanted) if wanted.coords.is_some() && wanted.is_ready() => Step::Ready,
            Some(wanted) if wanted.coords.is_some() && !wanted.is_guessed => Step::Session,
            _ => Step::Lookup,
        }
    }

    fn send(&mut self, packet: &[u8], now: Duration) {
        self.send_packet(packet, now);
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}

/// A key that lives as long as the process. One that begins with a high byte is never the
/// lowest of all, which would make others take us for the root of their tree.
pub(super) fn fresh_identity(random: Random) -> Option<Identity> {
    let mut seed = Zeroizing::new([0; 32]);
    for _ in 0..64 {
        if !random(seed.as_mut_slice()) {
            return None;
        }
        let identity = Identity::new(&seed);
        if identity.public.first().is_some_and(|first| *first >= 0x80) {
            return Some(identity);
        }
    }
    None
}

#[cfg(test)]
mod tests;
