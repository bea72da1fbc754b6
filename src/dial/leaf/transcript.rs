//! What a leaf and a real daemon have said to each other, as a fixture. Owns its form, one
//! event a line with its time in milliseconds, and both directions: recording it, where
//! `CLAN_RECORD` names a peer and a machine, and replaying it to the byte.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{Ipv6Addr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;

use super::repeatable;
use super::{PeerAddress, Protocol, Step};

/// How long it is, and how often something is sent to the machine meanwhile: keys turn and
/// places are renewed.
const LENGTH: Duration = Duration::from_secs(285);
const ECHO_EVERY: Duration = Duration::from_secs(20);
/// Nobody waits for longer.
const LEAST: Duration = Duration::from_millis(1);

/// The file of this name in `fixtures`.
pub(in crate::dial) fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// What the peer has said in it.
pub(in crate::dial) fn heard(name: &str) -> Vec<Vec<u8>> {
    let all = read(name);
    let events = all.lines().filter_map(event).filter(|event| event.name == "heard");
    events.map(|event| unhex(event.value)).collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Replays the file, which is recorded before that if somebody wants it: `CLAN_RECORD` is
/// then the URI of a peer, a space, and the address of a machine that answers to a ping.
pub(in crate::dial) fn check<P: Protocol>(name: &str, leaf: impl Fn() -> (P, Ipv6Addr)) {
    #[allow(clippy::disallowed_methods, reason = "a variable of whoever runs the tests")]
    if let Ok(wanted) = std::env::var("CLAN_RECORD") {
        let (peer, machine) = wanted.split_once(' ').unwrap();
        repeatable::restart(0);
        let recorded = record(leaf(), peer, machine.parse().unwrap());
        std::fs::write(path(name), recorded).unwrap();
    }
    repeatable::restart(0);
    replay(leaf().0, &read(name));
}

/// Does what the file says and compares what comes of it.
fn replay(mut protocol: impl Protocol, transcript: &str) {
    let mut events = transcript.lines().filter_map(event).peekable();
    let mut start = Duration::ZERO;
    let mut peer = PeerAddress::example();
    let mut arrived = Vec::new();
    let mut machine = Ipv6Addr::UNSPECIFIED;
    let (mut step, mut steps) = (None, 0);
    while let Some(Event { at, name, value }) = events.next() {
        let now = start + at;
        match name {
            "start" => start = Duration::from_secs(value.parse().unwrap()),
            "peer" => peer = PeerAddress::parse(value, 1).unwrap(),
            "begin" => protocol.begin(&peer, now),
            "seek" => {
                machine = value.parse().unwrap();
                protocol.seek(machine, now);
            }
            "heard" => hear(&mut protocol, &mut arrived, &unhex(value), now),
            "tick" => protocol.tick(now).unwrap(),
            "send" => protocol.send(&unhex(value), now),
            other => panic!("{other}"),
        }
        for expected in outcome(&mut protocol, machine, &mut step) {
            let Event { name, value, .. } = events.next().unwrap();
            assert_eq!(format!("{name} {value}"), expected, "after {at:?}");
        }
        steps += 1;
        let is_input = |event: &Event<'_>| !["said", "got", "step"].contains(&event.name);
        assert!(events.peek().is_none_or(is_input), "less is said after {at:?}");
    }
    assert!(steps > 20, "{steps}");
}

fn hear(protocol: &mut impl Protocol, arrived: &mut Vec<u8>, bytes: &[u8], now: Duration) {
    arrived.extend(bytes);
    while let Some(length) = protocol.receive(arrived, now).unwrap() {
        arrived.drain(..length);
    }
}

/// What an event has led to, in the words of the file.
fn outcome(
    protocol: &mut impl Protocol,
    machine: Ipv6Addr,
    before: &mut Option<Step>,
) -> Vec<String> {
    let now = protocol.step(machine);
    let is_new = before.replace(now) != Some(now);
    let step = is_new.then(|| format!("step {now:?}"));
    let output = std::mem::take(protocol.output());
    let said = (!output.bytes.is_empty()).then(|| hex("said", &output.bytes));
    let got = output.packets.iter().map(|packet| hex("got", packet));
    said.into_iter().chain(got).chain(step).collect()
}

fn hex(name: &str, bytes: &[u8]) -> String {
    format!("{name} {}", HEXLOWER.encode(bytes))
}

fn unhex(value: &str) -> Vec<u8> {
    HEXLOWER.decode(value.as_bytes()).unwrap()
}

/// One line.
struct Event<'a> {
    at: Duration,
    name: &'a str,
    value: &'a str,
}

/// None for a comment.
fn event(line: &str) -> Option<Event<'_>> {
    if line.starts_with('#') {
        return None;
    }
    let mut words = line.splitn(3, ' ');
    let at = Duration::from_millis(words.next()?.parse().unwrap());
    Some(Event { at, name: words.next().unwrap(), value: words.next().unwrap_or_default() })
}

/// A leaf on a link of its own.
struct Recorder<P> {
    protocol: P,
    machine: Ipv6Addr,
    stream: TcpStream,
    step: Option<Step>,
    began: Instant,
    lines: String,
}

fn record<P: Protocol>((protocol, us): (P, Ipv6Addr), uri: &str, machine: Ipv6Addr) -> String {
    let peer = PeerAddress::parse(uri, 1).unwrap();
    let stream = TcpStream::connect((&*peer.host, peer.port)).unwrap();
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let start = Duration::from_secs(start);
    let lines = "# Recorded by the script beside this file.\n".to_owned();
    let mut it = Recorder { protocol, machine, stream, step: None, began: Instant::now(), lines };
    it.note(&format!("start {}", start.as_secs()), |_, _| {});
    it.note(&format!("peer {uri}"), |_, _| {});
    it.note(&format!("seek {machine}"), |leaf, now| leaf.seek(machine, start + now));
    it.note("begin", |leaf, now| leaf.begin(&peer, start + now));
    let mut arrived = Vec::new();
    let mut next_echo = Duration::from_secs(5);
    while it.now() < LENGTH {
        if it.now() >= next_echo {
            let packet = echo_request(us, machine, u16::try_from(next_echo.as_secs()).unwrap());
            it.note(&hex("send", &packet), |leaf, now| leaf.send(&packet, start + now));
            next_echo += ECHO_EVERY;
        }
        let due = it.protocol.due().saturating_sub(start).min(next_echo);
        match it.read(due.saturating_sub(it.now())) {
            Some(bytes) => it.note(&hex("heard", &bytes), |leaf, now| {
                hear(leaf, &mut arrived, &bytes, start + now);
            }),
            None => it.note("tick", |leaf, now| leaf.tick(start + now).unwrap()),
        }
    }
    it.lines
}

impl<P: Protocol> Recorder<P> {
    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap())
    }

    /// Does something, and writes it down with what it has led to.
    fn note(&mut self, line: &str, act: impl FnOnce(&mut P, Duration)) {
        let now = self.now();
        act(&mut self.protocol, now);
        self.stream.write_all(&self.protocol.output().bytes).unwrap();
        let outcome = outcome(&mut self.protocol, self.machine, &mut self.step);
        for line in [line.to_owned()].into_iter().chain(outcome) {
            writeln!(self.lines, "{} {line}", now.as_millis()).unwrap();
        }
    }

    /// What comes within this time.
    fn read(&mut self, time: Duration) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(time.max(LEAST))).unwrap();
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => panic!("the peer has ended:\n{}", self.lines),
            Ok(length) => Some(bytes[..length].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// RFC 4443, section 4.1.
fn echo_request(source: Ipv6Addr, destination: Ipv6Addr, number: u16) -> Vec<u8> {
    const ICMP: u8 = 58;
    let mut message = vec![128, 0, 0, 0, 0x43, 0x4c];
    message.extend(number.to_be_bytes());
    message.extend(b"is there anybody");
    let length = u32::try_from(message.len()).unwrap();
    let ends = [source.octets(), destination.octets()].concat();
    let summed = [&ends[..], &length.to_be_bytes(), &[0, 0, 0, ICMP], &message].concat();
    let words = summed.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = super::packet_between(source, destination, &message);
    packet[6] = ICMP;
    packet
}
