//! What goes over a peering of Yggdrasil 0.5 after both have said who they are: the frames
//! of ironwood (`network/wire.go`). Owns their form; what they mean is in `tree`, `node`
//! and `session`.

use super::address::Key;
use super::identity::Signed;
use crate::dial::leaf::reader::{Reader, put_uvarint};
use crate::error::LeafFault;

/// The longest frame (ironwood, `peerMaxMessageSize`).
const MAX_FRAME: u64 = 131_070;
/// Numbers of no more than that many bytes tell how long a frame is.
const MAX_LENGTH_BYTES: usize = 3;

// ironwood, `wirePacketType`.
const DUMMY: u8 = 0;
const KEEPALIVE: u8 = 1;
const SIG_REQUEST: u8 = 2;
const SIG_RESPONSE: u8 = 3;
const ANNOUNCE: u8 = 4;
const BLOOM: u8 = 5;
const PATH_LOOKUP: u8 = 6;
const PATH_NOTIFY: u8 = 7;
const PATH_BROKEN: u8 = 8;
const TRAFFIC: u8 = 9;

/// Somebody wants to be a child of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SigRequest {
    pub seq: u64,
    pub nonce: u64,
}

/// He may be, behind this port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SigResponse {
    pub request: SigRequest,
    pub port: u64,
    pub signature: Signed,
}

/// Somebody's place in the tree, signed by his parent and by himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announce {
    pub key: Key,
    pub parent: Key,
    pub response: SigResponse,
    pub signature: Signed,
}

/// A way through the tree: numbers of ports, and a zero in the end. As it is sent.
pub(super) type Path<'a> = &'a [u8];

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Dummy,
    Keepalive,
    SigRequest(SigRequest),
    SigResponse(SigResponse),
    Announce(Announce),
    /// What it has in it concerns a leaf only if it is its own.
    Bloom(&'a [u8]),
    Lookup {
        source: Key,
        dest: Key,
        from: Path<'a>,
    },
    Notify {
        path: Path<'a>,
        watermark: u64,
        notice: Notice<'a>,
    },
    Broken {
        path: Path<'a>,
        watermark: u64,
        source: Key,
        dest: Key,
    },
    Traffic {
        path: Path<'a>,
        from: Path<'a>,
        source: Key,
        dest: Key,
        watermark: u64,
        payload: &'a [u8],
    },
}

/// Where somebody is, signed by him.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notice<'a> {
    pub source: Key,
    pub dest: Key,
    pub seq: u64,
    pub coords: Path<'a>,
    pub signature: Signed,
}

/// The frame at the beginning, and how long it is; none while it is not whole.
///
/// # Errors
/// When it is none.
pub(super) fn decode(arrived: &[u8]) -> Result<Option<(Frame<'_>, usize)>, LeafFault> {
    let mut reader = Reader::new(arrived);
    let Some(length) = reader.uvarint() else {
        return match arrived.len() > MAX_LENGTH_BYTES {
            true => Err(LeafFault::Protocol("a frame that is too long")),
            false => Ok(None),
        };
    };
    if length > MAX_FRAME {
        return Err(LeafFault::Protocol("a frame that is too long"));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let Some(body) = reader.take(length) else { return Ok(None) };
    let frame = read(Reader::new(body)).ok_or(LeafFault::Protocol("a malformed frame"))?;
    Ok(Some((frame, arrived.len() - reader.rest().len())))
}

fn read(mut body: Reader<'_>) -> Option<Frame<'_>> {
    let frame = match body.u8()? {
        DUMMY => return Some(Frame::Dummy),
        KEEPALIVE => return Some(Frame::Keepalive),
        SIG_REQUEST => Frame::SigRequest(SigRequest::read(&mut body)?),
        SIG_RESPONSE => Frame::SigResponse(SigResponse::read(&mut body)?),
        ANNOUNCE => Frame::Announce(Announce {
            key: body.array()?,
            parent: body.array()?,
            response: SigResponse::read(&mut body)?,
            signature: body.array()?,
        }),
        BLOOM => Frame::Bloom(body.take(body.rest().len())?),
        PATH_LOOKUP => {
            Frame::Lookup { source: body.array()?, dest: body.array()?, from: path(&mut body)? }
        }
        PATH_NOTIFY => Frame::Notify {
            path: path(&mut body)?,
            watermark: body.uvarint()?,
            notice: Notice {
                source: body.array()?,
                dest: body.array()?,
                seq: body.uvarint()?,
                coords: path(&mut body)?,
                signature: body.array()?,
            },
        },
        PATH_BROKEN => Frame::Broken {
            path: path(&mut body)?,
            watermark: body.uvarint()?,
            source: body.array()?,
            dest: body.array()?,
        },
        TRAFFIC => Frame::Traffic {
            path: path(&mut body)?,
            from: path(&mut body)?,
            source: body.array()?,
            dest: body.array()?,
            watermark: body.uvarint()?,
            payload: body.take(body.rest().len())?,
        },
        _ => return None,
    };
    body.is_empty().then_some(frame)
}

fn path<'a>(body: &mut Reader<'a>) -> Option<Path<'a>> {
    let mut after = *body;
    while after.uvarint()? != 0 {}
    body.take(body.rest().len() - after.rest().len())
}

impl SigRequest {
    fn read(body: &mut Reader<'_>) -> Option<Self> {
        Some(Self { seq: body.uvarint()?, nonce: body.uvarint()? })
    }

    fn write(self, out: &mut Vec<u8>) {
        put_uvarint(self.seq, out);
        put_uvarint(self.nonce, out);
    }

    /// What a parent signs for its child, and the child too.
    pub(super) fn signed_bytes(self, child: &Key, parent: &Key, port: u64) -> Vec<u8> {
        let mut bytes = [*child, *parent].concat();
        self.write(&mut bytes);
        put_uvarint(port, &mut bytes);
        bytes
    }
}

impl SigResponse {
    fn read(body: &mut Reader<'_>) -> Option<Self> {
        let request = SigRequest::read(body)?;
        Some(Self { request, port: body.uvarint()?, signature: body.array()? })
    }

    fn write(self, out: &mut Vec<u8>) {
        self.request.write(out);
        put_uvarint(self.port, out);
        out.extend(self.signature);
    }
}

impl Announce {
    /// What both signatures are of.
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        self.response.request.signed_bytes(&self.key, &self.parent, self.response.port)
    }
}

impl Notice<'_> {
    /// What its signature is of.
    pub(super) fn signed_bytes(seq: u64, coords: Path<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(10 + coords.len());
        put_uvarint(seq, &mut bytes);
        bytes.extend_from_slice(coords);
        bytes
    }
}

impl Frame<'_> {
    /// Adds it to what goes to the peer.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(256);
        match *self {
            Self::Dummy => body.push(DUMMY),
            Self::Keepalive => body.push(KEEPALIVE),
            Self::SigRequest(request) => {
                body.push(SIG_REQUEST);
                request.write(&mut body);
            }
            Self::SigResponse(response) => {
                body.push(SIG_RESPONSE);
                response.write(&mut body);
            }
            Self::Announce(Announce { key, parent, response, signature }) => {
                body.push(ANNOUNCE);
                body.extend([key, parent].as_flattened());
                response.write(&mut body);
                body.extend(signature);
            }
            Self::Bloom(filter) => {
                body.push(BLOOM);
                body.extend(filter);
            }
            Self::Lookup { source, dest, from } => {
                body.push(PATH_LOOKUP);
                body.extend([source, dest].as_flattened());
                body.extend(from);
            }
            Self::Notify { path, watermark, notice } => {
                body.push(PATH_NOTIFY);
                body.extend(path);
                put_uvarint(watermark, &mut body);
                body.extend([notice.source, notice.dest].as_flattened());
                put_uvarint(notice.seq, &mut body);
                body.extend(notice.coords);
                body.extend(notice.signature);
            }
            Self::Broken { path, watermark, source, dest } => {
                body.push(PATH_BROKEN);
                body.extend(path);
                put_uvarint(watermark, &mut body);
                body.extend([source, dest].as_flattened());
            }
            Self::Traffic { path, from, source, dest, watermark, payload } => {
                // A packet goes by without another copy.
                let mut watermarked = Vec::with_capacity(10);
                put_uvarint(watermark, &mut watermarked);
                let keys = source.len() + dest.len();
                let length = 1 + path.len() + from.len() + keys + watermarked.len() + payload.len();
                put_uvarint(length as u64, out);
                out.push(TRAFFIC);
                for part in [path, from, &source, &dest, &watermarked, payload] {
                    out.extend_from_slice(part);
                }
                return;
            }
        }
        put_uvarint(body.len() as u64, out);
        out.extend(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::yggdrasil::identity::has_signed;
    use crate::dial::yggdrasil::vectors;
    use proptest::prelude::*;

    fn encoded(frame: &Frame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode(&mut out);
        out
    }

    #[test]
    fn the_vectors_are_read_and_written() {
        let node = vectors::identity(0);
        let parent = vectors::identity(1);
        let request = SigRequest { seq: 5, nonce: 9_223_372_036_854_775_808 };
        let bytes = request.signed_bytes(&node.public, &parent.public, 300);
        assert_eq!(bytes, vectors::bytes("sigres/signed_bytes"));
        let response = SigResponse { request, port: 300, signature: parent.sign(&bytes) };
        let frame = Frame::SigResponse(response);
        assert_eq!(encoded(&frame), vectors::bytes("sigres/frame"));
        let (key, parent) = (node.public, parent.public);
        let announce = Announce { key, parent, response, signature: node.sign(&bytes) };
        let bytes = vectors::bytes("announce_frame");
        assert_eq!(encoded(&Frame::Announce(announce)), bytes);
        assert_eq!(decode(&bytes).unwrap(), Some((Frame::Announce(announce), bytes.len())));
        assert!(has_signed(&key, &announce.signed_bytes(), &announce.signature));
        assert_eq!(encoded(&Frame::Keepalive), vectors::bytes("keepalive_frame"));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]).unwrap(), None, "up to {end}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_has_arrived() {
        let mut length = Vec::new();
        put_uvarint(MAX_FRAME + 1, &mut length);
        assert!(decode(&length).is_err());
        assert!(decode(&[0xff; 4]).is_err());
        assert_eq!(decode(&[0xff; 3]).unwrap(), None);
    }

    #[test]
    fn what_is_no_frame_ends_the_peering() {
        // Nothing, unknown, with something left over, and cut off.
        for bad in [&[0][..], &[1, 10], &[4, 2, 1, 1, 1], &[2, 2, 1], &[1, 9]] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
    }

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let path = || {
            proptest::collection::vec(1..1000_u64, 0..6).prop_map(|ports| {
                let mut path = Vec::new();
                ports.into_iter().chain([0]).for_each(|port| put_uvarint(port, &mut path));
                path
            })
        };
        let numbers = any::<[u64; 3]>();
        (0..9_u8, any::<[Key; 2]>(), numbers, path(), path(), any::<Vec<u8>>()).prop_map(
            |(kind, [source, dest], [one, two, three], path, from, payload)| {
                let signature = [7; 64];
                let request = SigRequest { seq: one, nonce: two };
                let response = SigResponse { request, port: three, signature };
                let notice = Notice { source, dest, seq: one, coords: &from, signature };
                let (path, from) = (&path[..], &from[..]);
                encoded(&match kind {
                    0 => Frame::Keepalive,
                    1 => Frame::SigRequest(request),
                    2 => Frame::SigResponse(response),
                    3 => {
                        Frame::Announce(Announce { key: source, parent: dest, response, signature })
                    }
                    4 => Frame::Bloom(&payload),
                    5 => Frame::Lookup { source, dest, from },
                    6 => Frame::Notify { path, watermark: two, notice },
                    7 => Frame::Broken { path, watermark: two, source, dest },
                    _ => Frame::Traffic {
                        path,
                        from,
                        source,
                        dest,
                        watermark: two,
                        payload: &payload,
                    },
                })
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in frame()) {
            let (frame, length) = decode(&bytes).unwrap().unwrap();
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(encoded(&frame), bytes);
        }

        #[test]
        fn nothing_makes_it_panic(mut bytes: Vec<u8>, kind in 0..11_u8) {
            bytes.insert(0, kind);
            bytes.insert(0, u8::try_from(bytes.len().min(127)).unwrap());
            if let Ok(Some((_, length))) = decode(&bytes) {
                prop_assert!(length <= bytes.len() && length > 0);
            }
        }
    }
}
