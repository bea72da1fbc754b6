//! Leaves: clients of our own for overlays, which route for nobody. Owns what an overlay's
//! protocol has to be so that it can be driven: no sockets, no clocks, and a bound on
//! everything that a peer makes us keep.

mod client;
mod connect;
mod driver;
mod peer;
pub(super) mod reader;
#[cfg(any(test, fuzzing))]
pub(super) mod repeatable;
#[cfg(any(test, fuzzing))]
pub(super) mod script;
mod sockets;
#[cfg(test)]
pub(super) mod transcript;
mod way;

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::error::LeafFault;
pub(super) use client::Client;
use connect::Underlay;
#[cfg(all(test, feature = "mycelium"))]
pub(super) use driver::{Command, Driver, Progress};
pub use peer::{Carriage, PeerAddress};
pub(super) use sockets::Sockets;
pub(super) use way::{Leaf, OverlayKind, Started, peers};

/// An overlay's protocol, on one link to a peer at a time. `now` is always the time since
/// the Unix epoch, on a clock that never goes back.
pub(super) trait Protocol: Send + 'static {
    /// Whether a machine that is ready has said so itself.
    const IS_MET: bool;

    /// Begins on a new link. What the peer before it has said of ways is forgotten.
    fn begin(&mut self, peer: &PeerAddress, now: Duration);

    /// Takes one frame from the beginning of what has arrived: its length, or none while it
    /// is not whole.
    ///
    /// # Errors
    /// What ends the link.
    fn receive(&mut self, arrived: &[u8], now: Duration) -> Result<Option<usize>, LeafFault>;

    /// Does what is due.
    ///
    /// # Errors
    /// What ends the link.
    fn tick(&mut self, now: Duration) -> Result<(), LeafFault>;

    /// When something will be due.
    fn due(&self) -> Duration;

    /// Looks for a machine, from now on and on each link.
    fn seek(&mut self, target: Ipv6Addr, now: Duration);

    /// Ends that.
    fn forget(&mut self, target: Ipv6Addr);

    /// How far that is.
    fn step(&self, target: Ipv6Addr) -> Step;

    /// Sends an IP packet of ours; it is dropped while there is no way.
    fn send(&mut self, packet: &[u8], now: Duration);

    /// What is to go out.
    fn output(&mut self) -> &mut Output;
}

/// What a protocol has for others. One frame or tick adds a few kilobytes at the most; who
/// drives it gives it no more before these are gone.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// For the peer.
    pub bytes: Vec<u8>,
    /// IP packets for us.
    pub packets: VecDeque<Vec<u8>>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// A peer that speaks the protocol.
    Peering,
    /// Where the machine is.
    Lookup,
    /// Keys in common with it.
    Session,
    /// Nothing.
    Ready,
}

impl Step {
    /// What it is when this takes too long.
    fn late(self) -> LeafFault {
        match self {
            Self::Peering => LeafFault::SilentPeer,
            Self::Lookup => LeafFault::NotFound,
            Self::Session | Self::Ready => LeafFault::NoSession,
        }
    }
}

/// Fills bytes with random ones, if the system has any.
pub(super) fn random(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}

/// The least that an IPv6 packet has to be (RFC 8200, section 3).
const IPV6_HEADER: usize = 40;

/// The source and the destination of an IPv6 packet that is as long as it says.
pub(super) fn ends_of(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let mut header = reader::Reader::new(packet.get(..IPV6_HEADER)?);
    let version = header.u32()? >> 28;
    let length = usize::from(header.u16()?);
    header.u16()?;
    let ends = (Ipv6Addr::from(header.array::<16>()?), Ipv6Addr::from(header.array::<16>()?));
    (version == 6 && packet.len() == IPV6_HEADER + length).then_some(ends)
}

#[cfg(any(test, fuzzing))]
pub(super) fn packet_between(source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend([59, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_ipv6_packet_has_ends() {
        let (source, destination) = ("400::1".parse().unwrap(), "400::2".parse().unwrap());
        let packet = packet_between(source, destination, b"payload");
        assert_eq!(ends_of(&packet), Some((source, destination)));
        assert_eq!(ends_of(&packet[..packet.len() - 1]), None);
        assert_eq!(ends_of(&packet[..39]), None);
        let mut four = packet.clone();
        four[0] = 0x45;
        assert_eq!(ends_of(&four), None);
    }
}
