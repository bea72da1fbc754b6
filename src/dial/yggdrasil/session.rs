//! What two machines of Yggdrasil say to each other so that nobody between them reads it:
//! the sessions of ironwood (`encrypted/session.go`). Owns the messages and the ratchet of
//! keys, which both sides turn as they hear from each other.

use std::time::Duration;

use zeroize::Zeroizing;

use super::address::Key;
use super::identity::{Identity, exchange_key, has_signed};
use super::seal::{Shared, TAG};
use crate::dial::leaf::reader::{Reader, put_uvarint};

// ironwood, `sessionType`.
pub(super) const INIT: u8 = 1;
pub(super) const ACK: u8 = 2;
pub(super) const TRAFFIC: u8 = 3;

/// How long a turn of the keys stays the last one (ironwood, `session.doRecv`).
const TURN: Duration = Duration::from_secs(60);

/// What fills bytes with random ones, if it can.
pub(super) type Random = fn(&mut [u8]) -> bool;

/// What one side tells the other of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    pub current: [u8; 32],
    pub next: [u8; 32],
    pub key_seq: u64,
    pub seq: u64,
}

impl Keys {
    fn signed_bytes(&self, ephemeral: &[u8; 32]) -> Vec<u8> {
        let mut bytes = [*ephemeral, self.current, self.next].concat();
        bytes.extend(self.key_seq.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes
    }

    /// The message for the owner of a key. The ephemeral secret is used but once.
    pub(super) fn encode(
        &self,
        kind: u8,
        me: &Identity,
        to: &Key,
        ephemeral: &[u8; 32],
    ) -> Option<Vec<u8>> {
        let public = x25519_dalek::x25519(*ephemeral, x25519_dalek::X25519_BASEPOINT_BYTES);
        let signed = self.signed_bytes(&public);
        let mut message = vec![kind];
        message.extend(public);
        let start = message.len();
        message.extend([0; TAG]);
        message.extend(me.sign(&signed));
        message.extend(signed.get(public.len()..)?);
        Shared::new(ephemeral, &exchange_key(to)?)?.seal(0, &mut message, start)?;
        Some(message)
    }

    /// What the owner of a key says in a message, without its first byte.
    pub(super) fn decode(message: &[u8], me: &Identity, from: &Key) -> Option<Self> {
        let (ephemeral, sealed) = message.split_first_chunk()?;
        let plain = Shared::new(&me.exchange_secret(), ephemeral)?.open(0, sealed)?;
        let mut plain = Reader::new(&plain);
        let signature = plain.array()?;
        let (current, next) = (plain.array()?, plain.array()?);
        let keys = Self { current, next, key_seq: plain.u64()?, seq: plain.u64()? };
        let is_whole = plain.is_empty();
        (is_whole && has_signed(from, &keys.signed_bytes(ephemeral), &signature)).then_some(keys)
    }
}

/// A pair of X25519 keys.
#[derive(Clone)]
struct Pair {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Pair {
    fn new(random: Random) -> Option<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        random(secret.as_mut_slice()).then(|| Self::of(secret))
    }

    fn of(secret: Zeroizing<[u8; 32]>) -> Self {
        let public = x25519_dalek::x25519(*secret, x25519_dalek::X25519_BASEPOINT_BYTES);
        Self { secret, public }
    }

    fn with(&self, public: &[u8; 32]) -> Option<Way> {
        Some(Way { shared: Shared::new(&self.secret, public)?, nonce: 0 })
    }
}

/// A shared key and the last number under which something came by it.
struct Way {
    shared: Shared,
    nonce: u64,
}

impl Way {
    fn open(&mut self, nonce: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        if nonce <= self.nonce {
            return None;
        }
        let plain = self.shared.open(nonce, sealed)?;
        self.nonce = nonce;
        Some(plain)
    }
}

/// One side of a session.
pub(super) struct Session {
    random: Random,
    receive: Pair,
    send: Pair,
    next: Pair,
    key_seq: u64,
    sent: u64,
    last_seq: u64,
    awaits_ack: bool,
    /// Whether our keys are those that an answer has turned: a later one to a question that
    /// was repeated turns them no further.
    is_answered: bool,
    turned: Option<Duration>,
    remote: Option<Remote>,
}

/// What is known of the other side, and what follows from it.
struct Remote {
    next: [u8; 32],
    key_seq: u64,
    sending: Way,
    receiving: Way,
    next_sending: Way,
    next_receiving: Way,
}

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// What the other side sends.
    Payload(Vec<u8>),
    /// It has other keys in mind: it has to be told ours.
    Lost,
    /// It is one that was received already, or not from the other side.
    Nothing,
}

impl Session {
    /// None when there are no random numbers.
    pub(super) fn new(random: Random) -> Option<Self> {
        Some(Self {
            random,
            receive: Pair::new(random)?,
            send: Pair::new(random)?,
            next: Pair::new(random)?,
            key_seq: 0,
            sent: 0,
            last_seq: 0,
            awaits_ack: false,
            is_answered: false,
            turned: None,
            remote: None,
        })
    }

    /// Whether something can be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether the other side has been asked for its keys and has not answered.
    pub(super) fn awaits_ack(&self) -> bool {
        self.awaits_ack
    }

    /// Asks the other side for its keys.
    pub(super) fn init(&mut self, me: &Identity, to: &Key, now: Duration) -> Option<Vec<u8>> {
        self.awaits_ack = true;
        self.is_answered = false;
        self.tell(INIT, me, to, now)
    }

    fn tell(&self, kind: u8, me: &Identity, to: &Key, now: Duration) -> Option<Vec<u8>> {
        let ephemeral = Pair::new(self.random)?;
        let (current, next) = (self.send.public, self.next.public);
        let keys = Keys { current, next, key_seq: self.key_seq, seq: now.as_secs() };
        keys.encode(kind, me, to, &ephemeral.secret)
    }

    /// Takes the keys of the other side. The answer to a question is ours to the same.
    pub(super) fn take(
        &mut self,
        kind: u8,
        keys: &Keys,
        me: &Identity,
        from: &Key,
        now: Duration,
    ) -> Option<Vec<u8>> {
        let is_late = kind == ACK && !self.awaits_ack;
        let known = self.remote.as_ref().map_or(0, |remote| remote.key_seq);
        let is_newer = match is_late {
            true => self.is_answered && (keys.seq, keys.key_seq) > (self.last_seq, known),
            false => keys.seq > self.last_seq,
        };
        if !is_newer {
            return None;
        }
        self.last_seq = keys.seq;
        self.awaits_ack = false;
        if !is_late {
            self.turn()?;
        }
        self.is_answered = kind == ACK;
        self.meet(keys.current, keys.next, keys.key_seq)?;
        if kind == INIT { self.tell(ACK, me, from, now) } else { None }
    }

    /// Turns our own keys by one.
    fn turn(&mut self) -> Option<()> {
        let fresh = Pair::new(self.random)?;
        let send = std::mem::replace(&mut self.next, fresh);
        self.receive = std::mem::replace(&mut self.send, send);
        self.key_seq = self.key_seq.saturating_add(1);
        self.is_answered = false;
        Some(())
    }

    fn meet(&mut self, current: [u8; 32], next: [u8; 32], key_seq: u64) -> Option<()> {
        self.remote = None;
        self.remote = Some(Remote {
            next,
            key_seq,
            sending: self.send.with(&current)?,
            receiving: self.receive.with(&current)?,
            next_sending: self.send.with(&next)?,
            next_receiving: self.receive.with(&next)?,
        });
        Some(())
    }

    /// The message in which `payload`, in its parts, goes.
    pub(super) fn seal(&mut self, payload: [&[u8]; 2]) -> Option<Vec<u8>> {
        let remote = self.remote.as_ref()?;
        self.sent = self.sent.checked_add(1)?;
        let length: usize = payload.iter().map(|part| part.len()).sum();
        let mut message = Vec::with_capacity(1 + 3 * 10 + TAG + 32 + length);
        message.push(TRAFFIC);
        for number in [self.key_seq, remote.key_seq, self.sent] {
            put_uvarint(number, &mut message);
        }
        let start = message.len();
        message.extend([0; TAG]);
        message.extend(self.next.public);
        payload.iter().for_each(|part| message.extend_from_slice(part));
        remote.sending.shared.seal(self.sent, &mut message, start)?;
        Some(message)
    }

    /// What is in a message of traffic, without its first byte.
    pub(super) fn open(&mut self, message: &[u8], now: Duration) -> Received {
        let mut reader = Reader::new(message);
        let mut number = || reader.uvarint();
        let (Some(theirs), Some(ours), Some(nonce)) = (number(), number(), number()) else {
            return Received::Nothing;
        };
        let sealed = reader.rest();
        let Some(remote) = &mut self.remote else { return Received::Lost };
        let is_current = theirs == remote.key_seq;
        let is_next = theirs.checked_sub(1) == Some(remote.key_seq);
        let to_receive = ours.checked_add(1) == Some(self.key_seq);
        let to_send = ours == self.key_seq;
        let way = match (is_current, is_next, to_receive, to_send) {
            (true, _, true, _) => &mut remote.receiving,
            (_, true, _, true) => &mut remote.next_sending,
            (_, true, true, _) => &mut remote.next_receiving,
            _ => return Received::Lost,
        };
        if nonce <= way.nonce {
            return Received::Nothing;
        }
        let Some(mut plain) = way.open(nonce, sealed) else { return Received::Lost };
        if plain.len() < 32 {
            return Received::Nothing;
        }
        let payload = plain.split_off(32);
        let is_time = self.turned.is_none_or(|turned| now.saturating_sub(turned) > TURN);
        if is_next
            && is_time
            && let Ok(inner) = plain.try_into()
        {
            self.turned = Some(now);
            let next = remote.next;
            if self.turn().and_then(|()| self.meet(next, inner, theirs)).is_none() {
                return Received::Lost;
            }
            self.sent = 0;
            // The same two keys have a new name, and what came by them counts but once.
            if to_send && let Some(remote) = &mut self.remote {
                remote.receiving.nonce = nonce;
            }
        }
        Received::Payload(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::leaf::repeatable::random;
    use crate::dial::yggdrasil::others::{START, identity};
    use crate::dial::yggdrasil::vectors;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two sessions of two machines, of which one has begun.
    fn pair() -> (Session, Session, Identity, Identity) {
        let (one, other) = (identity(1), identity(2));
        let mut first = Session::new(random).unwrap();
        let mut second = Session::new(random).unwrap();
        let init = first.init(&one, &other.public, START).unwrap();
        assert_eq!(init.len(), 193);
        let keys = Keys::decode(&init[1..], &other, &one.public).unwrap();
        let ack = second.take(INIT, &keys, &other, &one.public, START).unwrap();
        assert_eq!((ack[0], ack.len()), (ACK, 193));
        let keys = Keys::decode(&ack[1..], &one, &other.public).unwrap();
        assert_eq!(first.take(ACK, &keys, &one, &other.public, START), None);
        (first, second, one, other)
    }

    fn pass(from: &mut Session, to: &mut Session, payload: &[u8], now: Duration) {
        let message = from.seal([payload, b"!"]).unwrap();
        assert_eq!(message[0], TRAFFIC);
        let expected = [payload, b"!"].concat();
        assert_eq!(to.open(&message[1..], now), Received::Payload(expected));
        // It counts but once.
        assert!(!matches!(to.open(&message[1..], now), Received::Payload(_)));
    }

    #[test]
    fn the_vectors_are_read_and_written() {
        let (me, to) = (vectors::identity(0), vectors::identity(1));
        let current = vectors::array("session_init/current");
        let next = vectors::array("session_init/next");
        let keys = Keys { current, next, key_seq: 0, seq: 1_790_000_000 };
        let ephemeral = vectors::array("session_init/ephemeral_private");
        let message = keys.encode(INIT, &me, &to.public, &ephemeral).unwrap();
        assert_eq!(message, vectors::bytes("session_init/message"));
        assert_eq!(Keys::decode(&message[1..], &to, &me.public), Some(keys));
        assert_eq!(Keys::decode(&message[1..], &to, &to.public), None);
        assert_eq!(Keys::decode(&message[1..], &me, &me.public), None);

        let public = vectors::array("session_traffic/shared_of/public");
        let secret = Zeroizing::new(vectors::array("session_traffic/shared_of/private"));
        let mut session = Session::new(random).unwrap();
        session.send = Pair::of(secret);
        session.next.public = vectors::array("session_traffic/next_public");
        session.key_seq = 1;
        session.sent = 2;
        session.meet(public, public, 2).unwrap();
        let plain = vectors::bytes("session_traffic/plaintext");
        let message = session.seal([&plain, b""]).unwrap();
        assert_eq!(message, vectors::bytes("session_traffic/message"));
    }

    #[test]
    fn both_turn_their_keys_as_they_hear_from_each_other() {
        let (mut first, mut second, ..) = pair();
        let mut now = START;
        let mut seen = Vec::new();
        for _ in 0..20 {
            now += 30 * SECOND;
            for _ in 0..3 {
                pass(&mut first, &mut second, b"there", now);
            }
            pass(&mut second, &mut first, b"back", now);
            pass(&mut second, &mut first, b"", now);
            seen.push((first.key_seq, second.key_seq));
        }
        seen.dedup();
        // In ten minutes, at most once a minute.
        assert!((4..=11).contains(&seen.len()), "{seen:?}");
    }

    #[test]
    fn only_one_side_may_talk_for_long() {
        let (mut first, mut second, ..) = pair();
        for minute in 0..10 {
            pass(&mut first, &mut second, b"there", START + minute * 60 * SECOND);
        }
        pass(&mut second, &mut first, b"back", START + 700 * SECOND);
    }

    #[test]
    fn who_has_forgotten_all_is_met_again() {
        let (mut first, _, one, other) = pair();
        let mut second = Session::new(random).unwrap();
        let message = first.seal([b"x", b""]).unwrap();
        assert_eq!(second.open(&message[1..], START), Received::Lost);
        let init = second.init(&other, &one.public, START + SECOND).unwrap();
        let keys = Keys::decode(&init[1..], &one, &other.public).unwrap();
        let ack = first.take(INIT, &keys, &one, &other.public, START + SECOND).unwrap();
        let keys = Keys::decode(&ack[1..], &other, &one.public).unwrap();
        second.take(ACK, &keys, &other, &one.public, START + SECOND);
        pass(&mut first, &mut second, b"there", START + SECOND);
        pass(&mut second, &mut first, b"back", START + SECOND);
    }

    #[test]
    fn a_question_that_is_repeated_too_early_does_no_harm() {
        let (one, other) = (identity(1), identity(2));
        let (mut first, mut second) =
            (Session::new(random).unwrap(), Session::new(random).unwrap());
        let mut acks = Vec::new();
        for second_number in 0..3 {
            let now = START + second_number * SECOND;
            let init = first.init(&one, &other.public, now).unwrap();
            let keys = Keys::decode(&init[1..], &other, &one.public).unwrap();
            acks.extend(second.take(INIT, &keys, &other, &one.public, now));
        }
        for ack in acks {
            let keys = Keys::decode(&ack[1..], &one, &other.public).unwrap();
            first.take(ACK, &keys, &one, &other.public, START + 3 * SECOND);
        }
        pass(&mut first, &mut second, b"there", START + 3 * SECOND);
        pass(&mut second, &mut first, b"back", START + 3 * SECOND);
        pass(&mut first, &mut second, b"there", START + 4 * SECOND);
    }

    #[test]
    fn old_keys_are_not_taken_again() {
        let (mut first, _, one, other) = pair();
        let mut second = Session::new(random).unwrap();
        let old = second.init(&other, &one.public, START).unwrap();
        let keys = Keys::decode(&old[1..], &one, &other.public).unwrap();
        assert_eq!(first.take(INIT, &keys, &one, &other.public, START), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(message: Vec<u8>, numbers: [u8; 3]) {
            let (mut first, _, one, other) = pair();
            prop_assert_eq!(Keys::decode(&message, &one, &other.public), None);
            let message = [&numbers.map(|number| number % 4)[..], &message].concat();
            prop_assert!(!matches!(first.open(&message, START), Received::Payload(_)));
            prop_assert!(first.is_ready());
        }
    }
}
