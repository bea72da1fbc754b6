//! What goes over a link of Mycelium 0.7. Owns the frames: a header, and then either
//! somebody's packet or one TLV of Babel (RFC 8966) with Mycelium's router ids.

use std::net::Ipv6Addr;

use crate::dial::leaf::reader::Reader;
use crate::error::LeafFault;

/// The version of the link's header.
const VERSION: u8 = 1;
const DATA: u8 = 0;
const CONTROL: u8 = 1;
/// RFC 8966, section 4.2: the magic number. The version there is 2, and Mycelium's 3.
const MAGIC: u8 = 42;
const BABEL_VERSION: u8 = 3;
/// The longest body that an honest packet has: one of IPv6, and what encrypts it.
const MAX_BODY: usize = 65_535 + 40 + 4 + super::identity::OVERHEAD;

// RFC 8966, section 4.6.
const HELLO: u8 = 4;
const IHU: u8 = 5;
const UPDATE: u8 = 8;
const ROUTE_REQUEST: u8 = 9;
const SEQNO_REQUEST: u8 = 10;

/// RFC 8966, section 4.6.5: the unicast flag.
const UNICAST: u16 = 0x8000;
/// RFC 8966, section 4.1.4: address encodings.
const WILDCARD: u8 = 0;
const IPV6: u8 = 2;
/// RFC 8966, section 4.6.9: a retraction.
pub(super) const INFINITY: u16 = 0xffff;

/// A router: its public key, a zone and a number that is new at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouterId {
    pub public: [u8; 32],
    pub zone: u16,
    pub random: [u8; 6],
}

/// The addresses that begin like this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Prefix {
    address: Ipv6Addr,
    bits: u8,
}

/// RFC 8966, section 4.6.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Update {
    /// In hundredths of a second.
    pub interval: u16,
    pub seqno: u16,
    pub metric: u16,
    pub prefix: Prefix,
    pub router: RouterId,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Data {
        hops: u8,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        body: &'a [u8],
    },
    Hello {
        seqno: u16,
        interval: u16,
    },
    Ihu {
        cost: u16,
        interval: u16,
    },
    Update(Update),
    /// Without a prefix everything is asked for.
    RouteRequest(Option<Prefix>),
    SeqnoRequest {
        prefix: Prefix,
        seqno: u16,
        hops: u8,
        router: RouterId,
    },
    /// A TLV that means nothing to a leaf.
    Other,
}

impl Prefix {
    /// The first bits of an address.
    pub(super) fn of(address: Ipv6Addr, bits: u8) -> Self {
        let unused = 128_u32.saturating_sub(bits.into());
        let mask = u128::MAX.checked_shl(unused).unwrap_or(0);
        Self { address: Ipv6Addr::from_bits(address.to_bits() & mask), bits: bits.min(128) }
    }

    pub(super) fn has(self, address: Ipv6Addr) -> bool {
        Self::of(address, self.bits) == self
    }

    /// The bytes that hold it.
    fn length(bits: u8) -> usize {
        usize::from(bits).div_ceil(8)
    }

    fn read(value: &mut Reader<'_>, bits: u8) -> Option<Self> {
        let mut address = [0; 16];
        let bytes = value.take(Self::length(bits))?;
        address.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self::of(Ipv6Addr::from(address), bits))
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend(self.address.octets().iter().take(Self::length(self.bits)));
    }
}

impl RouterId {
    fn read(value: &mut Reader<'_>) -> Option<Self> {
        Some(Self { public: value.array()?, zone: value.u16()?, random: value.array()? })
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend(self.public);
        out.extend(self.zone.to_be_bytes());
        out.extend(self.random);
    }
}

/// No version of the protocol for a long time to come is higher.
const MOST_VERSION: u8 = 15;

/// The frame at the beginning, and how long it is; none while it is not whole.
///
/// # Errors
/// When it is not one of this version.
pub(super) fn decode(arrived: &[u8]) -> Result<Option<(Frame<'_>, usize)>, LeafFault> {
    let mut reader = Reader::new(arrived);
    let Some(version) = reader.u8() else { return Ok(None) };
    let Some([kind, reserved @ ..]) = reader.array::<3>() else { return Ok(None) };
    if version != VERSION {
        // Anything else may listen there.
        let is_version = (1..=MOST_VERSION).contains(&version);
        return Err(match is_version && kind <= CONTROL && reserved == [0, 0] {
            true => other_version(version.to_string()),
            false => LeafFault::Protocol("it is not Mycelium"),
        });
    }
    let whole = match kind {
        DATA => data(&mut reader)?,
        CONTROL => control(&mut reader)?,
        _ => return Err(LeafFault::Protocol("a packet that is neither data nor control")),
    };
    Ok(whole.map(|frame| (frame, arrived.len() - reader.rest().len())))
}

fn other_version(theirs: String) -> LeafFault {
    LeafFault::Version { ours: VERSION.to_string(), theirs }
}

fn data<'a>(reader: &mut Reader<'a>) -> Result<Option<Frame<'a>>, LeafFault> {
    let Some(word) = reader.u32() else { return Ok(None) };
    let [length @ .., hops] = word.to_be_bytes();
    let [high, middle, low] = length.map(usize::from);
    let length = high << 16 | middle << 8 | low;
    if length > MAX_BODY {
        return Err(LeafFault::Protocol("a packet that is too long"));
    }
    let mut frame = || {
        let (source, destination) = (reader.array::<16>()?, reader.array::<16>()?);
        let body = reader.take(length)?;
        Some(Frame::Data { hops, source: source.into(), destination: destination.into(), body })
    };
    Ok(frame())
}

fn control<'a>(reader: &mut Reader<'a>) -> Result<Option<Frame<'a>>, LeafFault> {
    let Some([magic, version]) = reader.array() else { return Ok(None) };
    if magic != MAGIC {
        return Err(LeafFault::Protocol("a control packet that is not Babel's"));
    }
    if version != BABEL_VERSION {
        let ours = format!("{VERSION} with {BABEL_VERSION} of Babel");
        let theirs = format!("{VERSION} with {version} of Babel");
        return Err(LeafFault::Version { ours, theirs });
    }
    let Some(length) = reader.u16() else { return Ok(None) };
    let Some(body) = reader.take(length.into()) else { return Ok(None) };
    let mut body = Reader::new(body);
    let value = |body: &mut Reader<'a>| {
        let [kind, length] = body.array()?;
        Some((kind, body.take(length.into())?))
    };
    let Some((kind, value)) = value(&mut body) else {
        return Err(LeafFault::Protocol("a TLV that is cut off"));
    };
    let frame = tlv(kind, Reader::new(value));
    frame.map(Some).ok_or(LeafFault::Protocol("a TLV that is too short"))
}

fn tlv(kind: u8, mut value: Reader<'_>) -> Option<Frame<'_>> {
    Some(match kind {
        HELLO => {
            value.u16()?;
            Frame::Hello { seqno: value.u16()?, interval: value.u16()? }
        }
        IHU => {
            value.u16()?;
            Frame::Ihu { cost: value.u16()?, interval: value.u16()? }
        }
        UPDATE => {
            let [encoding, _, bits, _] = value.array()?;
            let (interval, seqno, metric) = (value.u16()?, value.u16()?, value.u16()?);
            if encoding != IPV6 || bits > 128 {
                return Some(Frame::Other);
            }
            let prefix = Prefix::read(&mut value, bits)?;
            let router = RouterId::read(&mut value)?;
            Frame::Update(Update { interval, seqno, metric, prefix, router })
        }
        ROUTE_REQUEST => match value.array()? {
            [_, WILDCARD, 0] => Frame::RouteRequest(None),
            [_, IPV6, bits @ 0..=128] => Frame::RouteRequest(Some(Prefix::read(&mut value, bits)?)),
            _ => Frame::Other,
        },
        SEQNO_REQUEST => {
            let [encoding, bits] = value.array()?;
            let (seqno, [hops, _]) = (value.u16()?, value.array()?);
            let router = RouterId::read(&mut value)?;
            if encoding != IPV6 || bits > 128 {
                return Some(Frame::Other);
            }
            Frame::SeqnoRequest { prefix: Prefix::read(&mut value, bits)?, seqno, hops, router }
        }
        _ => Frame::Other,
    })
}

impl Frame<'_> {
    /// Adds it to what goes to the peer.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Data { hops, source, destination, body } => {
                data_header(hops, source, destination, body.len(), out);
                out.extend_from_slice(body);
            }
            Self::Hello { seqno, interval } => tlv_of(HELLO, out, |out| {
                let fields = [UNICAST, seqno, interval].map(u16::to_be_bytes);
                out.extend(fields.as_flattened());
            }),
            Self::Ihu { cost, interval } => tlv_of(IHU, out, |out| {
                out.extend([WILDCARD, 0]);
                out.extend([cost, interval].map(u16::to_be_bytes).as_flattened());
            }),
            Self::Update(Update { interval, seqno, metric, prefix, router }) => {
                tlv_of(UPDATE, out, |out| {
                    out.extend([IPV6, 0, prefix.bits, 0]);
                    out.extend([interval, seqno, metric].map(u16::to_be_bytes).as_flattened());
                    prefix.write(out);
                    router.write(out);
                });
            }
            Self::RouteRequest(None) => tlv_of(ROUTE_REQUEST, out, |out| {
                out.extend([0, WILDCARD, 0]);
            }),
            Self::RouteRequest(Some(prefix)) => tlv_of(ROUTE_REQUEST, out, |out| {
                out.extend([0, IPV6, prefix.bits]);
                prefix.write(out);
            }),
            Self::SeqnoRequest { prefix, seqno, hops, router } => {
                tlv_of(SEQNO_REQUEST, out, |out| {
                    out.extend([IPV6, prefix.bits]);
                    out.extend(seqno.to_be_bytes());
                    out.extend([hops, 0]);
                    router.write(out);
                    prefix.write(out);
                });
            }
            Self::Other => {}
        }
    }
}

/// What stands before the body of a packet.
pub(super) fn data_header(
    hops: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    length: usize,
    out: &mut Vec<u8>,
) {
    out.extend([VERSION, DATA, 0, 0]);
    let length = u32::try_from(length).unwrap_or(u32::MAX) << 8;
    out.extend((length | u32::from(hops)).to_be_bytes());
    out.extend(source.octets());
    out.extend(destination.octets());
}

/// RFC 8966, section 4.2: one TLV in a packet of its own.
fn tlv_of(kind: u8, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::with_capacity(64);
    value(&mut body);
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    out.extend([VERSION, CONTROL, 0, 0, MAGIC, BABEL_VERSION]);
    out.extend((u16::from(length) + 2).to_be_bytes());
    out.extend([kind, length]);
    out.extend(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::mycelium::vectors;
    use proptest::prelude::*;

    fn check(name: &str, frame: &Frame<'_>) {
        let bytes = vectors::bytes(name);
        let mut out = Vec::new();
        frame.encode(&mut out);
        assert_eq!(out, bytes, "{name}");
        assert_eq!(decode(&bytes).unwrap(), Some((*frame, bytes.len())), "{name}");
        // What is cut off is waited for.
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]).unwrap(), None, "{name} up to {end}");
        }
    }

    #[test]
    fn the_vectors_are_read_and_written() {
        let [first, second] = vectors::identities();
        let random = [1, 2, 3, 4, 5, 6];
        let router = RouterId { public: first.public, zone: 0, random };
        let prefix = Prefix::of(first.address, 64);
        check("hello", &Frame::Hello { seqno: 1, interval: 2000 });
        check("ihu", &Frame::Ihu { cost: 1, interval: 6000 });
        let update = Update { interval: 30000, seqno: 0, metric: 0, prefix, router };
        check("update_own_subnet", &Frame::Update(update));
        check("route_request", &Frame::RouteRequest(Some(Prefix::of(second.address, 64))));
        check("seqno_request", &Frame::SeqnoRequest { prefix, seqno: 1, hops: 64, router });
    }

    #[test]
    fn other_versions_are_told_apart() {
        let hello = vectors::bytes("hello");
        let mut newer = hello.clone();
        newer[0] = 2;
        let fault = LeafFault::Version { ours: "1".into(), theirs: "2".into() };
        assert_eq!(decode(&newer), Err(fault));
        // Something else that listens there.
        for other in [&b"HTTP/1.1 400"[..], &[0; 12], &[35, 7, 9, 1]] {
            assert!(matches!(decode(other), Err(LeafFault::Protocol(_))), "{other:?}");
        }
        let mut babel = hello.clone();
        babel[5] = 2;
        let ours = "1 with 3 of Babel".into();
        let fault = LeafFault::Version { ours, theirs: "1 with 2 of Babel".into() };
        assert_eq!(decode(&babel), Err(fault));
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_has_arrived() {
        let header = [1, 0, 0, 0, 0xff, 0xff, 0xff, 64];
        assert_eq!(decode(&header), Err(LeafFault::Protocol("a packet that is too long")));
    }

    #[test]
    fn unknown_tlvs_are_skipped() {
        let unknown = [1, 1, 0, 0, 42, 3, 0, 4, 200, 2, 7, 7, 1];
        assert_eq!(decode(&unknown).unwrap(), Some((Frame::Other, 12)));
        let cut = [1, 1, 0, 0, 42, 3, 0, 4, 200, 3, 7, 7];
        assert!(decode(&cut).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((_, length))) = decode(&bytes) {
                prop_assert!(length <= bytes.len() && length > 0);
            }
        }

        #[test]
        fn nor_does_a_tlv(kind: u8, value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = vec![1, 1, 0, 0, 42, 3, 0];
            bytes.push(u8::try_from(value.len()).unwrap() + 2);
            bytes.extend([kind, u8::try_from(value.len()).unwrap()]);
            bytes.extend(&value);
            match decode(&bytes) {
                Ok(frame) => prop_assert_eq!(frame.unwrap().1, bytes.len()),
                Err(fault) => prop_assert!(matches!(fault, LeafFault::Protocol(_))),
            }
        }
    }
}
