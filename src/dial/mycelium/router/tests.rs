use super::*;
use crate::dial::leaf::packet_between;
use crate::dial::leaf::repeatable::random;
use crate::dial::leaf::transcript;
use crate::dial::mycelium::vectors;

const START: Duration = Duration::from_secs(1_790_000_000);

/// Numbers that are known.
fn counted(bytes: &mut [u8]) -> bool {
    for (number, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(number + 1).unwrap();
    }
    true
}

fn router() -> Router {
    let [first, _] = vectors::identities();
    Router::new(first, counted)
}

fn pair() -> (Router, Router) {
    let [first, second] = vectors::identities();
    (Router::new(first, counted), Router::new(second, counted))
}

fn sent(router: &mut Router) -> Vec<u8> {
    std::mem::take(&mut router.output().bytes)
}

fn give(router: &mut Router, mut bytes: &[u8], now: Duration) {
    while let Some(length) = router.receive(bytes, now).unwrap() {
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty());
}

/// Each is the other's neighbour until both have said all.
fn talk(one: &mut Router, other: &mut Router, now: Duration) {
    for _ in 0..8 {
        let (first, second) = (sent(one), sent(other));
        give(other, &first, now);
        give(one, &second, now);
    }
}

/// Two that look for each other, and have found the way.
fn met() -> (Router, Router) {
    let (mut one, mut other) = pair();
    one.seek(other.address(), START);
    other.seek(one.address(), START);
    one.begin(&PeerAddress::example(), START);
    other.begin(&PeerAddress::example(), START);
    talk(&mut one, &mut other, START);
    (one, other)
}

fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while let Some((frame, length)) = wire::decode(rest).unwrap() {
        frames.push(frame);
        rest = &rest[length..];
    }
    frames
}

/// What is announced, with this number and this metric.
fn own_update(seqno: u16, metric: u16) -> Vec<u8> {
    let mut bytes = vectors::bytes("update_own_subnet");
    // Behind the headers, the TLV's type and length, and what says how long things are.
    bytes[16..18].copy_from_slice(&seqno.to_be_bytes());
    bytes[18..20].copy_from_slice(&metric.to_be_bytes());
    bytes
}

#[test]
fn it_begins_with_its_subnet_a_hello_and_what_it_looks_for() {
    let mut router = router();
    let [_, second] = vectors::identities();
    router.seek(second.address, START);
    router.begin(&PeerAddress::example(), START);
    let begun = sent(&mut router);
    let rest = ["hello", "route_request"].map(vectors::bytes).concat();
    assert_eq!(begun, [own_update(0, FIRST_METRIC), rest].concat());
    assert_eq!(router.step(second.address), Step::Peering);
}

#[test]
fn packets_go_both_ways_once_the_way_is_known() {
    let (mut one, mut other) = met();
    assert_eq!(one.step(other.address()), Step::Ready);
    let packet = packet_between(one.address(), other.address(), b"hello");
    one.send(&packet, START);
    talk(&mut one, &mut other, START);
    assert_eq!(other.output().packets.pop_front(), Some(packet));
    // Nothing is sent in another's name.
    let forged = packet_between("400::1".parse().unwrap(), other.address(), b"hello");
    one.send(&forged, START);
    assert!(sent(&mut one).is_empty());
}

#[test]
fn the_vector_of_a_packet_is_opened() {
    let (mut one, mut other) = pair();
    other.seek(one.address(), START);
    one.begin(&PeerAddress::example(), START);
    other.begin(&PeerAddress::example(), START);
    talk(&mut one, &mut other, START);
    give(&mut other, &vectors::bytes("data_frame/frame"), START);
    let packet = other.output().packets.pop_front();
    // The vector's packet says less of its ends than ours has to.
    assert_eq!(packet, None);
    let plain = vectors::bytes("data_frame/plaintext");
    let [first, second] = vectors::identities();
    let shared = first.shared_with(second.public).unwrap();
    let frame = vectors::bytes("data_frame/frame");
    let (Frame::Data { hops, body, .. }, _) = wire::decode(&frame).unwrap().unwrap() else {
        panic!("not data");
    };
    assert_eq!((hops, shared.open(body)), (63, Some(plain.clone())));
    let nonce = vectors::bytes("data_frame/nonce").try_into().unwrap();
    let mut out = Vec::new();
    let length = plain.len() + super::super::identity::OVERHEAD;
    wire::data_header(63, first.address, second.address, length, &mut out);
    let start = out.len();
    out.extend(plain);
    shared.seal(nonce, &mut out, start).unwrap();
    assert_eq!(out, frame);
}

#[test]
fn a_hello_is_answered_and_a_question_for_us_too() {
    let mut router = router();
    router.begin(&PeerAddress::example(), START);
    sent(&mut router);
    give(&mut router, &vectors::bytes("hello"), START);
    assert_eq!(sent(&mut router), vectors::bytes("ihu"));
    let mut everything = Vec::new();
    Frame::RouteRequest(None).encode(&mut everything);
    give(&mut router, &everything, START);
    assert_eq!(sent(&mut router), own_update(0, FIRST_METRIC));
    // Somebody else's.
    give(&mut router, &vectors::bytes("route_request"), START);
    assert!(sent(&mut router).is_empty());
}

#[test]
fn a_newer_number_is_made_for_who_needs_one_and_not_at_once_again() {
    let mut router = router();
    router.begin(&PeerAddress::example(), START);
    sent(&mut router);
    let ask = |seqno| {
        let router_id = RouterId {
            public: vectors::identities()[0].public,
            zone: 0,
            random: [1, 2, 3, 4, 5, 6],
        };
        let prefix = Prefix::of(vectors::identities()[0].address, 64);
        let mut bytes = Vec::new();
        Frame::SeqnoRequest { prefix, seqno, hops: 64, router: router_id }.encode(&mut bytes);
        bytes
    };
    let seqnos = |bytes: &[u8]| -> Vec<u16> {
        let update = |frame: &Frame<'_>| match frame {
            Frame::Update(update) => update.seqno,
            other => panic!("{other:?}"),
        };
        frames(bytes).iter().map(update).collect()
    };
    give(&mut router, &ask(1), START);
    assert_eq!(seqnos(&sent(&mut router)), [1]);
    for seqno in [2, 3, 0, 0x8001] {
        give(&mut router, &ask(seqno), START + Duration::from_secs(1));
        assert_eq!(seqnos(&sent(&mut router)), [0_u16; 0], "{seqno}");
    }
    give(&mut router, &ask(2), START + SEQNO_EVERY);
    assert_eq!(seqnos(&sent(&mut router)), [2]);
}

#[test]
fn a_new_link_is_announced_as_newer_and_cheaper_than_those_before() {
    let mut router = router();
    let begun = |router: &mut Router, now| {
        router.begin(&PeerAddress::example(), now);
        let update = own_update(0, 0).len();
        sent(router)[..update].to_vec()
    };
    assert_eq!(begun(&mut router, START), own_update(0, FIRST_METRIC));
    let mut now = START + Duration::from_secs(40);
    assert_eq!(begun(&mut router, now), own_update(1, FIRST_METRIC - CHEAPER));
    // It is asked for as well.
    let mut everything = Vec::new();
    Frame::RouteRequest(None).encode(&mut everything);
    give(&mut router, &everything, now);
    assert_eq!(sent(&mut router), own_update(1, FIRST_METRIC - CHEAPER));
    // In the end it is free, and still newer.
    for number in 2..20 {
        now += Duration::from_secs(1);
        let metric = FIRST_METRIC.saturating_sub(number * CHEAPER);
        assert_eq!(begun(&mut router, now), own_update(number, metric));
    }
    // When nobody can have the links before it any more, there is room for others.
    let alone = now + ALONE_AFTER;
    let mut said = Vec::new();
    while router.due() <= alone {
        let due = router.due();
        router.tick(due).unwrap();
        said = sent(&mut router);
        give(&mut router, &vectors::bytes("ihu"), due);
    }
    assert_eq!(said, own_update(20, FIRST_METRIC));
    let later = alone + Duration::from_secs(1);
    assert_eq!(begun(&mut router, later), own_update(21, FIRST_METRIC - CHEAPER));
}

#[test]
fn a_way_is_believed_only_if_the_key_has_the_address() {
    let mut router = router();
    let [first, second] = vectors::identities();
    router.seek(second.address, START);
    router.begin(&PeerAddress::example(), START);
    let update = |public, metric| {
        let router = RouterId { public, zone: 0, random: [0; 6] };
        let prefix = Prefix::of(second.address, 64);
        let mut bytes = Vec::new();
        Frame::Update(Update { interval: 30000, seqno: 0, metric, prefix, router })
            .encode(&mut bytes);
        bytes
    };
    give(&mut router, &update(first.public, 1), START);
    assert_eq!(router.step(second.address), Step::Lookup);
    give(&mut router, &update(second.public, 1), START);
    assert_eq!(router.step(second.address), Step::Ready);
    // A retraction by somebody else changes nothing, and one of its own is asked about.
    give(&mut router, &update(first.public, INFINITY), START);
    assert_eq!(router.step(second.address), Step::Ready);
    give(&mut router, &update(second.public, INFINITY), START);
    assert_eq!(router.step(second.address), Step::Lookup);
    sent(&mut router);
    router.tick(START + ASK_AGAIN).unwrap();
    assert_eq!(sent(&mut router), vectors::bytes("route_request"));
}

#[test]
fn a_way_is_asked_for_again_before_it_ends() {
    let (mut one, mut other) = pair();
    one.seek(other.address(), START);
    one.begin(&PeerAddress::example(), START);
    other.begin(&PeerAddress::example(), START);
    talk(&mut one, &mut other, START);
    let mut now = START;
    // Through 3000 seconds, with a neighbour that answers, it never ends.
    while now < START + Duration::from_secs(3000) {
        now = one.due().min(other.due());
        one.tick(now).unwrap();
        other.tick(now).unwrap();
        talk(&mut one, &mut other, now);
        assert_eq!(one.step(other.address()), Step::Ready);
    }
}

#[test]
fn a_neighbour_that_falls_silent_while_we_send_is_noticed_soon() {
    let (mut one, other) = met();
    let packet = packet_between(one.address(), other.address(), b"hello");
    let mut now = START + Duration::from_secs(1);
    one.send(&packet, now);
    sent(&mut one);
    // It is greeted, and its answer is enough, though the machine says nothing.
    now += PROBE_AFTER;
    assert!(one.due() <= now);
    one.tick(now).unwrap();
    assert!(frames(&sent(&mut one)).iter().any(|frame| matches!(frame, Frame::Hello { .. })));
    let mut answer = Vec::new();
    Frame::Ihu { cost: 1, interval: 6000 }.encode(&mut answer);
    give(&mut one, &answer, now);
    one.tick(now + ANSWER).unwrap();
    // But not for ever.
    now += ANSWER;
    one.send(&packet, now);
    one.tick(now + PROBE_AFTER).unwrap();
    one.tick(now + PROBE_AFTER + ANSWER - Duration::from_millis(1)).unwrap();
    assert_eq!(one.tick(now + PROBE_AFTER + ANSWER), Err(LeafFault::SilentPeer));
    one.begin(&PeerAddress::example(), now);
    one.tick(now + PROBE_AFTER + ANSWER).unwrap();
}

#[test]
fn nobody_there_is_noticed() {
    let mut router = router();
    router.begin(&PeerAddress::example(), START);
    let gone = loop {
        let now = router.due();
        if let Err(fault) = router.tick(now) {
            break (fault, now);
        }
    };
    assert_eq!(gone, (LeafFault::SilentPeer, START + SILENCE));
}

#[test]
fn who_is_not_wanted_says_nothing_to_us() {
    let (mut one, mut other) = pair();
    one.seek(other.address(), START);
    one.begin(&PeerAddress::example(), START);
    other.begin(&PeerAddress::example(), START);
    talk(&mut one, &mut other, START);
    let packet = packet_between(one.address(), other.address(), b"hello");
    one.send(&packet, START);
    talk(&mut one, &mut other, START);
    assert!(other.output().packets.is_empty());
    one.forget(other.address());
    one.send(&packet, START);
    assert!(sent(&mut one).is_empty());
}

#[test]
fn a_session_with_the_real_daemon_is_repeated_to_the_byte() {
    transcript::check("mycelium/session.txt", || {
        let [first, _] = vectors::identities();
        let router = Router::new(first, random);
        let address = router.address();
        (router, address)
    });
}
