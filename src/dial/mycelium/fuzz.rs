//! What has to hold of the decoders of Mycelium, whatever they are given. A script is what a
//! neighbour says who has keys and encrypts with them.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::identity::{Identity, OVERHEAD};
use super::router::Router;
use super::wire::{self, Frame, INFINITY, Prefix, RouterId, Update};
use crate::dial::leaf::repeatable::random;
use crate::dial::leaf::script::{self, Script, Trace};
use crate::dial::leaf::{PeerAddress, Protocol, Step, ends_of, packet_between};

const START: Duration = Duration::from_secs(1_790_000_000);

/// Ours is number 1, and that of the machine that we look for number 2.
fn identity(number: u8) -> Identity {
    Identity::new([number; 32].into())
}

/// Frames: as they are, or one at a time with the lengths that they have.
pub(in crate::dial) fn wire(data: &[u8], trace: &mut Trace) {
    let mut script = Script::new(data);
    if script.byte() & 1 == 0 {
        frames(script.rest(), trace);
        return;
    }
    while let Some(kind) = script.next() {
        let value = script.bytes();
        let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![1, 1, 0, 0, 42, 3];
        bytes.extend((u16::from(length) + 2).to_be_bytes());
        bytes.extend([kind % 16, length]);
        bytes.extend(value);
        frames(&bytes, trace);
    }
}

fn frames(bytes: &[u8], trace: &mut Trace) {
    script::frames(bytes, 66_000, trace, wire::decode, |frame, length| {
        if *frame == Frame::Other {
            return;
        }
        let mut again = Vec::new();
        frame.encode(&mut again);
        // What follows in a TLV is skipped.
        assert!(again.len() <= length);
        assert_eq!(wire::decode(&again), Ok(Some((*frame, again.len()))));
    });
}

/// What is encrypted for us: whatever it is, what comes of it is a packet of its sender to us.
pub(in crate::dial) fn packet(data: &[u8], trace: &mut Trace) {
    let (us, them) = (identity(1), identity(2));
    let mut script = Script::new(data);
    let mode = script.byte();
    let mut router = ready();
    let (Some(shared), Some(stranger)) =
        (them.shared_with(us.public), identity(3).shared_with(us.public))
    else {
        return;
    };
    let is_sealed = mode & 1 == 1;
    let hops = script.byte();
    let honest = packet_between(them.address, us.address, b"payload");
    let plain = match mode >> 1 & 3 {
        0 => script.rest().to_vec(),
        1 => [&[1, 0, 0, 0], script.rest()].concat(),
        2 => {
            let mut plain = [&[1, 0, 0, 0], &*honest].concat();
            while let Some(at) = script.next() {
                let at = usize::from(at) % plain.len().max(1);
                if let Some(byte) = plain.get_mut(at) {
                    *byte ^= script.byte();
                }
            }
            plain
        }
        _ => [&[1, 0, 0, 0], &*packet_between(them.address, us.address, script.rest())].concat(),
    };
    let source = if mode & 8 == 0 { them.address } else { identity(3).address };
    let mut bytes = Vec::new();
    let mut body = plain.clone();
    if is_sealed {
        let key = if mode & 16 == 0 { &shared } else { &stranger };
        assert!(key.seal([7; 12], &mut body, 0).is_some());
        assert_eq!(body.len(), plain.len() + OVERHEAD);
        assert_eq!(key.open(&body).as_ref(), Some(&plain));
        // Each bit counts.
        let mut other = body.clone();
        let at = usize::from(hops) % other.len().max(1);
        if let Some(byte) = other.get_mut(at) {
            *byte ^= 1;
        }
        assert_eq!(key.open(&other), None);
    }
    let frame = Frame::Data { hops, source, destination: us.address, body: &body };
    frame.encode(&mut bytes);
    assert_eq!(router.receive(&bytes, START), Ok(Some(bytes.len())));
    let is_theirs = is_sealed && mode & 24 == 0;
    let packets = std::mem::take(&mut router.output().packets);
    trace.note((packets.len(), is_theirs, mode >> 1 & 3));
    assert!(packets.len() <= usize::from(is_theirs && hops > 0));
    for packet in packets {
        assert_eq!(ends_of(&packet), Some((them.address, us.address)));
        assert_eq!(packet.get(7), Some(&hops));
        assert_eq!(packet.get(8..), plain.get(12..));
    }
}

/// Ours, which knows the way to the machine.
fn ready() -> Router {
    let mut router = Router::new(identity(1), random);
    let them = identity(2);
    router.seek(them.address, START);
    router.begin(&PeerAddress::example(), START);
    let mut bytes = Vec::new();
    let router_id = RouterId { public: them.public, zone: 0, random: [0; 6] };
    let prefix = Prefix::of(them.address, 64);
    let update = Update { interval: 30_000, seqno: 0, metric: 1, prefix, router: router_id };
    Frame::Update(update).encode(&mut bytes);
    assert_eq!(router.receive(&bytes, START), Ok(Some(bytes.len())));
    assert_eq!(router.step(them.address), Step::Ready);
    router.output().bytes.clear();
    router
}

/// A leaf and what its neighbour says.
pub(in crate::dial) fn router(data: &[u8], trace: &mut Trace) {
    let mut script = Script::new(data);
    let them = identity(2).address;
    let mut router = if script.byte() & 1 == 0 { ready() } else { begun(them) };
    let mut now = START;
    while let Some(kind) = script.next() {
        now += Duration::from_millis(script.number() % 100_000);
        router.output().bytes.clear();
        // Whoever drives it comes no later than it asks for.
        if router.tick(now).is_err() {
            router.begin(&PeerAddress::example(), now);
        }
        assert!(router.due() > now);
        let before = router.output().bytes.len();
        let mut bytes = Vec::new();
        frame(kind, &mut script, &mut bytes);
        let received = router.receive(&bytes, now);
        assert!(matches!(received, Ok(Some(length)) if length == bytes.len()), "{received:?}");
        // Nobody is made to say or to keep much by one frame.
        assert!(router.output().bytes.len() <= before + 100);
        assert!(router.output().packets.len() <= 1);
        router.output().packets.clear();
        trace.note((kind % 7, router.step(them), router.output().bytes.len() - before));
    }
}

fn begun(target: Ipv6Addr) -> Router {
    let mut router = Router::new(identity(1), random);
    router.seek(target, START);
    router.begin(&PeerAddress::example(), START);
    router
}

/// One that is almost what it should be.
fn frame(kind: u8, script: &mut Script<'_>, out: &mut Vec<u8>) {
    let people = script.byte();
    let person = |number: u8| match number & 7 {
        0 => [0; 32],
        number => identity(number).public,
    };
    let address = |number: u8| match number & 3 {
        0 => Ipv6Addr::UNSPECIFIED,
        number => identity(number).address,
    };
    let short = |script: &mut Script<'_>| u16::from_be_bytes([script.byte(), script.byte()]);
    let router = RouterId { public: person(people), zone: 0, random: [0; 6] };
    let bits = Some(people >> 6).filter(|&it| it > 0).map_or(64, |it| it * 40);
    let prefix = Prefix::of(address(people >> 3), bits);
    let [one, two] = [short(script), short(script)];
    let frame = match kind % 7 {
        0 => Frame::Hello { seqno: one, interval: two },
        1 => Frame::Ihu { cost: one, interval: two },
        2 => {
            let metric = if kind & 0x80 == 0 { short(script) } else { INFINITY };
            Frame::Update(Update { interval: one, seqno: two, metric, prefix, router })
        }
        3 => Frame::RouteRequest(None),
        4 => Frame::RouteRequest(Some(prefix)),
        5 => Frame::SeqnoRequest { prefix, seqno: one, hops: 1, router },
        _ => Frame::Data {
            hops: kind,
            source: address(people),
            destination: address(people >> 2),
            body: script.bytes(),
        },
    };
    frame.encode(out);
}

/// What fixtures have of it.
#[cfg(test)]
pub(in crate::dial) fn seeds(name: &str) -> Vec<Vec<u8>> {
    use super::vectors;
    use crate::dial::leaf::transcript;
    match name {
        "mycelium_wire" => ["hello", "ihu", "update_own_subnet", "route_request", "seqno_request"]
            .map(vectors::bytes)
            .into_iter()
            .chain([vectors::bytes("data_frame/frame")])
            .chain(transcript::heard("mycelium/session.txt"))
            .map(|bytes| [&[0], &*bytes].concat())
            .chain((0..16).map(|kind| [&[1, kind, 80], &[2; 80][..]].concat()))
            .collect(),
        "mycelium_packet" => {
            let frame = vectors::bytes("data_frame/frame");
            (0..8).map(|mode| [&[mode, 64], frame.get(40..).unwrap()].concat()).collect()
        }
        _ => {
            (0..7).map(|kind| vec![kind & 1, kind, 200, 0x12, 0, 1, 9, 9, 0, 3, kind, 9]).collect()
        }
    }
}
