//! What a packet from the network is to us. Owns the look at it before the stack's: only
//! segments of TCP to our addresses and errors about connections of ours are let in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::wire::{
    Icmpv4Packet, Icmpv6Packet, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

use super::super::DialFailure;

/// Of TCP.
const TCP: u8 = 6;

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A segment from one address to another.
    Segment,
    /// A router says that packets of this connection may not be longer.
    TooBig(Flow, usize),
    /// Somebody says that the other side of this connection cannot be reached.
    Unreachable(Flow, DialFailure),
    /// Nothing for us.
    Foreign,
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// Looks at a packet to one of `ours`.
pub(super) fn look(packet: &[u8], ours: &[IpAddr]) -> Arrival {
    let arrival = match version(packet) {
        Some(6) => look_at_six(packet, ours),
        Some(4) => look_at_four(packet, ours),
        _ => None,
    };
    arrival.unwrap_or(Arrival::Foreign)
}

/// smoltcp's own does not take an empty packet.
fn version(packet: &[u8]) -> Option<u8> {
    packet.first().map(|first| first >> 4)
}

fn look_at_six(packet: &[u8], ours: &[IpAddr]) -> Option<Arrival> {
    let packet = Ipv6Packet::new_checked(packet).ok()?;
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    if !ours.contains(&IpAddr::V6(to)) || from.is_multicast() || from.is_unspecified() {
        return None;
    }
    match packet.next_header() {
        IpProtocol::Tcp => segment(packet.payload()),
        IpProtocol::Icmpv6 => {
            let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
            message.verify_checksum(&from, &to).then_some(())?;
            error_of_six(packet.payload())
        }
        _ => None,
    }
}

/// RFC 4443, sections 3.1 and 3.2.
fn error_of_six(message: &[u8]) -> Option<Arrival> {
    let flow = quoted_six(message.get(8..)?)?;
    match (message.first()?, message.get(1)?) {
        (1, code) => Some(Arrival::Unreachable(
            flow,
            match code {
                4 => DialFailure::Refused,
                0 => DialFailure::NoNetwork,
                _ => DialFailure::NoRoute,
            },
        )),
        (2, _) => {
            let mtu = u32::from_be_bytes(message.get(4..8)?.try_into().ok()?);
            Some(Arrival::TooBig(flow, usize::try_from(mtu).ok()?))
        }
        _ => None,
    }
}

fn quoted_six(packet: &[u8]) -> Option<Flow> {
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)))
    };
    (version(packet)? == 6 && *packet.get(6)? == TCP).then_some(())?;
    flow(address(8)?, address(24)?, packet.get(40..)?)
}

fn look_at_four(packet: &[u8], ours: &[IpAddr]) -> Option<Arrival> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let is_part = packet.more_frags() || packet.frag_offset() != 0;
    if !ours.contains(&IpAddr::V4(to)) || from.is_multicast() || from.is_unspecified() || is_part {
        return None;
    }
    match packet.next_header() {
        IpProtocol::Tcp => segment(packet.payload()),
        IpProtocol::Icmp => {
            let message = Icmpv4Packet::new_checked(packet.payload()).ok()?;
            message.verify_checksum().then_some(())?;
            error_of_four(packet.payload())
        }
        _ => None,
    }
}

/// RFC 792 and RFC 1191, section 4.
fn error_of_four(message: &[u8]) -> Option<Arrival> {
    let flow = quoted_four(message.get(8..)?)?;
    match (message.first()?, message.get(1)?) {
        (3, 4) => {
            let mtu = u16::from_be_bytes(message.get(6..8)?.try_into().ok()?);
            Some(Arrival::TooBig(flow, usize::from(mtu)))
        }
        (3, code) => Some(Arrival::Unreachable(
            flow,
            match code {
                2 | 3 => DialFailure::Refused,
                0 | 6 | 9 | 11 => DialFailure::NoNetwork,
                _ => DialFailure::NoRoute,
            },
        )),
        _ => None,
    }
}

fn quoted_four(packet: &[u8]) -> Option<Flow> {
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(bytes)))
    };
    let first = packet.first()?;
    (version(packet)? == 4 && *packet.get(9)? == TCP).then_some(())?;
    flow(address(12)?, address(16)?, packet.get(usize::from(first & 15) * 4..)?)
}

fn flow(from: IpAddr, to: IpAddr, ports: &[u8]) -> Option<Flow> {
    let port = |at: usize| -> Option<u16> {
        Some(u16::from_be_bytes(ports.get(at..at + 2)?.try_into().ok()?))
    };
    let (local, remote) = (SocketAddr::new(from, port(0)?), SocketAddr::new(to, port(2)?));
    Some(Flow { local, remote })
}

fn segment(payload: &[u8]) -> Option<Arrival> {
    TcpPacket::new_checked(payload).ok().map(|_| Arrival::Segment)
}

/// Fills the header of a segment that ends a connection with an option that says nothing.
/// Mycelium 0.7.7 and later (`gro_coalesce`) join segments whose headers have one length, and
/// take the flags of the first: an end behind data would be lost.
pub(super) fn set_end_apart(packet: &mut Vec<u8>) -> Option<()> {
    const NO_OPERATION: [u8; 4] = [1; 4];
    let begin = if version(packet)? == 6 { 40 } else { 20 };
    let segment = TcpPacket::new_checked(packet.get(begin..)?).ok()?;
    let length = segment.header_len();
    (segment.fin() || segment.rst()).then_some(())?;
    let longer = u8::try_from(usize::from(length) + NO_OPERATION.len()).ok()?;
    (longer <= 60).then_some(())?;
    let end = begin + usize::from(length);
    packet.splice(end..end, NO_OPERATION);
    let total = packet.len();
    let (from, to): (IpAddress, IpAddress) = if version(packet)? == 6 {
        let mut header = Ipv6Packet::new_unchecked(&mut **packet);
        header.set_payload_len(u16::try_from(total - begin).ok()?);
        (header.src_addr().into(), header.dst_addr().into())
    } else {
        let mut header = Ipv4Packet::new_unchecked(&mut **packet);
        header.set_total_len(u16::try_from(total).ok()?);
        header.fill_checksum();
        (header.src_addr().into(), header.dst_addr().into())
    };
    let mut segment = TcpPacket::new_unchecked(packet.get_mut(begin..)?);
    segment.set_header_len(longer);
    segment.fill_checksum(&from, &to);
    Some(())
}

/// Whether a packet that we have made resets a connection.
pub(super) fn is_reset(packet: &[u8]) -> bool {
    let payload = match version(packet) {
        Some(6) => packet.get(40..),
        Some(4) => packet.get(20..),
        _ => None,
    };
    payload.and_then(|segment| TcpPacket::new_checked(segment).ok()).is_some_and(|it| it.rst())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with these flags, in a packet of either version.
    fn packet(version: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut segment =
            vec![0xc0, 1, 0, 22, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, flags, 1, 0, 0, 0, 0, 0];
        segment.extend(payload);
        let mut packet = vec![0; if version == 6 { 40 } else { 20 }];
        packet[0] = if version == 6 { 0x60 } else { 0x45 };
        packet.extend(segment);
        let total = u16::try_from(packet.len()).unwrap();
        match version {
            6 => {
                packet[4..6].copy_from_slice(&(total - 40).to_be_bytes());
                packet[6] = TCP;
                packet[8..40].copy_from_slice(&[[2; 16], [3; 16]].concat());
            }
            _ => {
                packet[2..4].copy_from_slice(&total.to_be_bytes());
                packet[9] = TCP;
                packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            }
        }
        packet
    }

    #[test]
    fn an_end_has_a_longer_header_and_says_the_same() {
        const FIN: u8 = 0x11;
        const RESET: u8 = 0x14;
        for (version, flags, payload) in
            [(6, FIN, &b"last words"[..]), (6, RESET, b""), (4, FIN, b"last"), (4, RESET, b"")]
        {
            let mut apart = packet(version, flags, payload);
            let before = apart.len();
            assert_eq!(set_end_apart(&mut apart), Some(()));
            assert_eq!(apart.len(), before + 4);
            let (from, to, begin): (IpAddress, IpAddress, usize) = if version == 6 {
                let header = Ipv6Packet::new_checked(&*apart).unwrap();
                assert_eq!(usize::from(header.payload_len()), apart.len() - 40);
                (header.src_addr().into(), header.dst_addr().into(), 40)
            } else {
                let header = Ipv4Packet::new_checked(&*apart).unwrap();
                assert!(header.verify_checksum());
                assert_eq!(usize::from(header.total_len()), apart.len());
                (header.src_addr().into(), header.dst_addr().into(), 20)
            };
            let segment = TcpPacket::new_checked(&apart[begin..]).unwrap();
            assert!(segment.verify_checksum(&from, &to));
            assert_eq!((segment.header_len(), segment.payload()), (24, payload));
            assert_eq!((segment.fin(), segment.rst()), (flags == FIN, flags == RESET));
            assert_eq!((segment.src_port(), segment.dst_port()), (0xc001, 22));
        }
        let data = packet(6, 0x18, b"data");
        let mut same = data.clone();
        assert_eq!(set_end_apart(&mut same), None);
        assert_eq!(same, data);
        for short in [&[][..], &[0x60], &data[..50]] {
            assert_eq!(set_end_apart(&mut short.to_vec()), None);
        }
    }
}
