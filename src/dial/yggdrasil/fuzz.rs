//! What has to hold of the decoders of Yggdrasil, whatever they are given. A script is what
//! a peer says who has keys and signs with them: almost everything is refused that is not.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use super::address::{Key, filter_key};
use super::bloom::Filter;
use super::identity::Identity;
use super::meta;
use super::others::{START, announce, give, identity, place, sent, settle, two};
use super::session::{ACK, INIT, Keys, Received, Session, TRAFFIC};
use super::tree::{Change, Tree};
use super::wire::{self, Frame, Notice, SigRequest, SigResponse};
use crate::dial::leaf::reader::{Reader, put_uvarint};
use crate::dial::leaf::repeatable::random;
use crate::dial::leaf::script::{self, Script, Trace};
use crate::dial::leaf::{Protocol, packet_between};
use crate::secret::Secret;

/// Those who say something, the first of whom is us.
static PEOPLE: LazyLock<[Identity; 6]> = LazyLock::new(|| [1, 2, 3, 4, 5, 200].map(identity));

fn person(number: u8) -> &'static Identity {
    let [first, others @ ..] = &*PEOPLE;
    others.get(usize::from(number % 6).wrapping_sub(1)).unwrap_or(first)
}

/// What a peer says first: all of it, or more fields around those of an honest one.
pub(in crate::dial) fn meta(data: &[u8], trace: &mut Trace) {
    let mut script = Script::new(data);
    let mode = script.byte();
    let password = (mode & 1 == 1).then(|| Secret::new("secret".to_owned()));
    let mut bytes = Vec::new();
    if mode & 2 == 0 {
        bytes.extend(script.rest());
    } else {
        let before = script.bytes();
        let mut honest = Vec::new();
        meta::encode(person(1), password.as_ref(), &mut honest);
        let mut rest = Reader::new(&honest);
        let (magic, _) = (rest.take(4), rest.take(2));
        let fields = [before, rest.rest()].concat();
        let length = u16::try_from(fields.len()).unwrap_or_default();
        bytes.extend(magic.unwrap_or_default());
        bytes.extend(length.to_be_bytes());
        bytes.extend(fields);
        bytes.extend(script.rest());
    }
    let decoded = meta::decode(&bytes, password.as_ref());
    trace.note(decoded.as_ref().map(Option::is_some).map_err(std::mem::discriminant));
    let Ok(Some((key, length))) = decoded else { return };
    assert!(length > 0 && length <= bytes.len() && length <= 6 + 4096);
    let (whole, _) = bytes.split_at(length);
    assert_eq!(meta::decode(whole, password.as_ref()), Ok(Some((key, length))));
    let cut = whole.split_last().map(|(_, cut)| meta::decode(cut, password.as_ref()));
    assert_eq!(cut, Some(Ok(None)));
    // Nobody else's key comes with our signature.
    assert!(mode & 2 == 0 || key == person(1).public);
}

/// Frames: as they are, or one at a time with the length that it has.
pub(in crate::dial) fn wire(data: &[u8], trace: &mut Trace) {
    let mut script = Script::new(data);
    if script.byte() & 1 == 0 {
        frames(script.rest(), trace);
        return;
    }
    while let Some(kind) = script.next() {
        let body = [&[kind % 12], script.bytes()].concat();
        let mut bytes = Vec::new();
        put_uvarint(body.len() as u64, &mut bytes);
        bytes.extend(body);
        frames(&bytes, trace);
    }
}

fn frames(bytes: &[u8], trace: &mut Trace) {
    script::frames(bytes, 131_070 + 3, trace, wire::decode, |frame, length| {
        let mut again = Vec::new();
        frame.encode(&mut again);
        // Numbers may be longer than they have to be.
        assert!(again.len() <= length);
        assert_eq!(wire::decode(&again), Ok(Some((*frame, again.len()))));
    });
}

/// Filters are only made here: what is sent tells which bits are set, and at most eight are.
pub(in crate::dial) fn bloom(data: &[u8], trace: &mut Trace) {
    let mut key: Key = [0; 32];
    key.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
    for (filter, most) in [(Filter::of(&key), 8), (Filter::of(&filter_key(&key)), 8)]
        .into_iter()
        .chain([(Filter::EMPTY, 0)])
    {
        let mut out = Vec::new();
        filter.encode(&mut out);
        let mut reader = Reader::new(&out);
        let zeros: [u8; 16] = reader.array().unwrap_or_default();
        let ones: [u8; 16] = reader.array().unwrap_or_default();
        let mut bits = 0;
        for (zeros, ones) in zeros.into_iter().zip(ones) {
            assert_eq!(zeros & ones, 0);
            for at in 0..8 {
                let flag = 0x80_u8 >> at;
                bits += match (zeros & flag != 0, ones & flag != 0) {
                    (true, _) => 0,
                    (_, true) => 64,
                    _ => reader.u64().map_or(1000, u64::count_ones),
                };
            }
        }
        assert!(reader.is_empty());
        assert!(bits <= most && (bits > 0) == (most > 0), "{bits}");
        trace.note(bits);
    }
}

/// Places and announcements, of which some are forged.
pub(in crate::dial) fn tree(data: &[u8], trace: &mut Trace) {
    let (me, peer) = (person(0), person(1));
    let mut script = Script::new(data);
    let mut now = START;
    let mut tree = Tree::new(peer.public, script.number(), now);
    let mut asked = None;
    while let Some(kind) = script.next() {
        match kind % 8 {
            0 => now += Duration::from_secs(script.number() % 400),
            1 => asked = tree.request(script.number(), now).or(asked),
            2 | 3 => {
                let other = SigRequest { seq: script.number(), nonce: script.number() };
                let request = asked.filter(|_| kind & 8 == 0).unwrap_or(other);
                let mut given = place(request, me, peer, script.number());
                let is_forged = kind & 0x30 == 0x30;
                if is_forged && let Some(first) = given.signature.first_mut() {
                    *first ^= 1;
                }
                let had = tree.coords().map(<[u8]>::to_vec);
                let is_taken = tree.take_place(given, me, now);
                assert!(!is_forged || tree.coords().map(<[u8]>::to_vec) == had);
                trace.note(("place", is_taken));
            }
            _ => {
                let people = script.byte();
                let (child, parent) = (person(people), person(people >> 4));
                let mut said = announce(child, parent, script.number(), script.number() % 5);
                let is_forged = kind & 0x30 == 0x30;
                if is_forged && let Some(first) = said.signature.first_mut() {
                    *first ^= 1;
                }
                if !tree.is_news(&said, me) {
                    trace.note("known");
                    continue;
                }
                let change = tree.take(&said, me, now);
                trace.note(("announce", change == Change::Ways, change == Change::Disputed));
                assert_eq!(
                    change == Change::Forged,
                    is_forged || said.response.port == 0 && said.key != said.parent
                );
            }
        }
        tree.expire(now);
        tree.announcement();
        let coords = tree.coords().map(<[u8]>::to_vec);
        trace.note(coords.as_ref().map(Vec::len));
        if let Some(coords) = coords {
            let mut ports = Reader::new(&coords);
            while ports.uvarint().is_some_and(|port| port != 0) {}
            assert!(ports.is_empty() && coords.last() == Some(&0));
        }
        if tree.due() <= now {
            asked = tree.request(0, now);
            assert!(asked.is_some());
        }
    }
}

/// What two machines say to each other comes late, twice, not at all or changed. Whatever
/// one receives the other has sent, once; and in the end they understand each other.
pub(in crate::dial) fn session(data: &[u8], trace: &mut Trace) {
    let mut script = Script::new(data);
    let mut two = Two::new();
    while let Some(kind) = script.next() {
        let side = usize::from(kind >> 7);
        match kind % 8 {
            0 => two.ask(side),
            1 | 2 => two.send(side),
            3 | 4 => {
                let which = usize::from(script.byte());
                two.deliver(which, 0, 0, trace);
            }
            5 => {
                let (which, at) = (usize::from(script.byte()), usize::from(script.byte()));
                two.deliver(which, at, script.byte(), trace);
            }
            6 => two.now += Duration::from_millis(script.number() % 100_000),
            _ => {
                let message = script.bytes().to_vec();
                two.sent.push((side, message));
            }
        }
    }
    two.now += Duration::from_secs(2);
    for _ in 0..2 {
        two.ask(0);
        let newest = two.sent.len().saturating_sub(1);
        two.deliver(newest, 0, 0, trace);
        let newest = two.sent.len().saturating_sub(1);
        two.deliver(newest, 0, 0, trace);
        two.now += Duration::from_secs(1);
    }
    for side in [0, 1, 0, 1] {
        let before = two.received.len();
        two.send(side);
        let newest = two.sent.len().saturating_sub(1);
        two.deliver(newest, 0, 0, trace);
        assert_eq!(two.received.len(), before + 1, "they understand each other");
    }
}

/// Both sides, and all that either has said to the other.
struct Two {
    sides: [(&'static Identity, Option<Session>); 2],
    now: Duration,
    sent: Vec<(usize, Vec<u8>)>,
    payloads: HashSet<Vec<u8>>,
    received: HashSet<Vec<u8>>,
}

impl Two {
    fn new() -> Self {
        let side = |number| (person(number), Session::new(random));
        let (sides, sent) = ([side(0), side(1)], Vec::new());
        Self { sides, now: START, sent, payloads: HashSet::new(), received: HashSet::new() }
    }

    fn ask(&mut self, side: usize) {
        let now = self.now;
        let to = person(u8::from(side == 0)).public;
        let Some((me, Some(session))) = self.sides.get_mut(side) else { return };
        self.sent.extend(session.init(me, &to, now).map(|init| (side, init)));
    }

    fn send(&mut self, side: usize) {
        let number = self.payloads.len().to_be_bytes();
        let Some((_, Some(session))) = self.sides.get_mut(side) else { return };
        if let Some(message) = session.seal([b"payload", &number]) {
            self.payloads.insert([&b"payload"[..], &number].concat());
            self.sent.push((side, message));
        }
    }

    fn deliver(&mut self, which: usize, at: usize, change: u8, trace: &mut Trace) {
        let which = which % self.sent.len().max(1);
        let Some((from, mut message)) = self.sent.get(which).cloned() else { return };
        let length = message.len().max(1);
        if let Some(byte) = message.get_mut(at % length) {
            *byte ^= change;
        }
        let now = self.now;
        let (side, other) = (1 - from, person(u8::from(from == 1)).public);
        let Some((me, Some(session))) = self.sides.get_mut(side) else { return };
        let Some((kind, rest)) = message.split_first() else { return };
        match *kind {
            INIT | ACK => {
                let keys = Keys::decode(rest, me, &other);
                assert!(keys.is_none() || change == 0 || at.is_multiple_of(length));
                let answer = keys.and_then(|keys| session.take(*kind, &keys, me, &other, now));
                trace.note((kind, keys.is_some(), answer.is_some()));
                self.sent.extend(answer.map(|answer| (side, answer)));
            }
            TRAFFIC => {
                let received = session.open(rest, now);
                trace.note(match received {
                    Received::Payload(_) => 0,
                    Received::Lost => 1,
                    Received::Nothing => 2,
                });
                if let Received::Payload(payload) = received {
                    assert!(self.payloads.contains(&payload));
                    assert!(self.received.insert(payload), "it counts but once");
                }
            }
            _ => {}
        }
    }
}

/// A leaf in a network, and frames of a peer that has the keys of many.
pub(in crate::dial) fn node(data: &[u8], trace: &mut Trace) {
    let mut script = Script::new(data);
    let (mut root, mut nodes) = two();
    if script.byte() & 1 == 1 {
        settle(&mut root, &mut nodes, START);
        settle(&mut root, &mut nodes, START + Duration::from_secs(1));
    }
    let [node, other] = &mut nodes;
    let ends = (node.address(), other.address());
    let mut now = START + Duration::from_secs(1);
    while let Some(kind) = script.next() {
        now += Duration::from_millis(script.number() % 3000);
        sent(node);
        let frame = frame(kind, &mut script);
        let mut received = node.tick(now);
        if received.is_ok() {
            assert!(node.due() > now);
            received = node.receive(&frame, now).map(drop);
            // Nobody is made to say or to keep much by one frame.
            assert!(node.output().bytes.len() <= 8192);
            assert!(node.output().packets.len() <= 1);
        }
        node.output().packets.clear();
        if kind & 0x80 != 0 {
            node.send(&packet_between(ends.0, ends.1, script.bytes()), now);
        }
        trace.note((kind % 12, received.is_ok(), node.step(ends.1)));
        if received.is_err() {
            node.begin(&root.address(), now);
            root.greet(0);
            let bytes = root.said(0);
            sent(node);
            assert!(give(node, &bytes, now).is_ok());
        }
    }
}

/// One that is almost what it should be.
fn frame(kind: u8, script: &mut Script<'_>) -> Vec<u8> {
    let people = script.byte();
    let (source, dest) = (person(people), person(people >> 4));
    let ports = [script.byte() & 3, script.byte() & 3];
    let [path, from] = ports.map(|port| if port == 0 { vec![0] } else { vec![port, 0] });
    let (path, from) = (&*path, &*from);
    let [first, second] = [script.number(), script.number()];
    let (me, you) = (source.public, dest.public);
    let request = SigRequest { seq: first, nonce: second };
    let traffic = |payload: &[u8]| {
        let mut bytes = Vec::new();
        let (source, dest, watermark) = (me, you, second);
        Frame::Traffic { path, from, source, dest, watermark, payload }.encode(&mut bytes);
        bytes
    };
    let mut bytes = Vec::new();
    let frame = match kind % 12 {
        0 => Frame::SigRequest(request),
        1 => Frame::SigResponse(place(request, person(0), source, second)),
        2 | 3 => Frame::Announce(announce(source, dest, first, second % 4)),
        4 => Frame::Bloom(script.bytes()),
        5 => Frame::Lookup { source: me, dest: you, from },
        6 => {
            let signature = source.sign(&Notice::signed_bytes(first, from));
            let notice = Notice { source: me, dest: you, seq: first, coords: from, signature };
            Frame::Notify { path, watermark: second, notice }
        }
        7 => Frame::Broken { path, watermark: second, source: me, dest: you },
        8 => return traffic(&[&[TRAFFIC], script.bytes()].concat()),
        9 => {
            let keys = Keys { current: [3; 32], next: [4; 32], key_seq: second, seq: first };
            let kind = if kind & 0x10 == 0 { INIT } else { ACK };
            return traffic(&keys.encode(kind, source, &you, &[5; 32]).unwrap_or_default());
        }
        10 => {
            let signature = source.sign(script.bytes());
            Frame::SigResponse(SigResponse { request, port: second, signature })
        }
        _ => {
            bytes.extend(script.bytes());
            return bytes;
        }
    };
    frame.encode(&mut bytes);
    bytes
}

/// What fixtures have of it.
#[cfg(test)]
pub(in crate::dial) fn seeds(name: &str) -> Vec<Vec<u8>> {
    use super::vectors;
    use crate::dial::leaf::transcript;
    let raw = |bytes: Vec<u8>| [&[0], &*bytes].concat();
    match name {
        "yggdrasil_meta" => ["meta_no_password", "meta_password_secret"]
            .map(|name| [&[u8::from(name.ends_with("secret"))], &*vectors::bytes(name)].concat())
            .into_iter()
            .chain([vec![2, 4, 0, 9, 0, 0], vec![3]])
            .collect(),
        "yggdrasil_wire" => ["sigres/frame", "announce_frame", "keepalive_frame"]
            .map(|name| raw(vectors::bytes(name)))
            .into_iter()
            .chain((0..12).map(|kind| [&[1, kind, 200], &[1; 200][..]].concat()))
            .chain(transcript::heard("yggdrasil/session.txt").into_iter().map(raw))
            .collect(),
        "yggdrasil_bloom" => {
            (0..3).map(|number| vectors::bytes(&format!("keys/{number}/bloom_key"))).collect()
        }
        // Asked, answered, sent and delivered, both ways and after a minute.
        "yggdrasil_session" => vec![
            vec![0, 3, 0, 3, 1, 1, 3, 2, 0x81, 3, 3, 6, 0xf3, 1, 3, 4],
            vec![0, 0x80, 3, 0, 3, 1, 3, 2, 3, 3, 1, 5, 4, 9, 1],
        ],
        "yggdrasil_tree" => vec![
            vec![0, 1, 7, 2, 3, 0, 0, 4, 0x11, 1, 0, 4, 0x51, 2, 1, 4, 0x55, 1, 0],
            vec![0, 1, 7, 2, 3, 0, 0, 4, 0x10, 250, 0, 0, 255, 1, 8, 2],
        ],
        _ => (0..12)
            .map(|kind| vec![1, kind, 9, 0x10, 1, 2, 0xf3, 3, 4, kind, 9, 1, 0x10, 2, 2, 0xf8, 4])
            .collect(),
    }
}
