//! What both sides of a peering say first (yggdrasil-go, `src/core/version.go`). Owns that
//! the peer speaks our version, knows the password and is one that we want.

use blake2::digest::{Digest, FixedOutput, KeyInit, Update};
use blake2::{Blake2b512, Blake2bMac512};

use super::address::Key;
use super::identity::{Identity, has_signed};
use crate::dial::leaf::reader::Reader;
use crate::error::LeafFault;
use crate::secret::Secret;

const MAGIC: [u8; 4] = *b"meta";
const MAJOR: u16 = 0;
const MINOR: u16 = 5;
/// What an honest peer says is 117 bytes long.
const MAX_LENGTH: u16 = 4096;
/// The longest password (yggdrasil-go, `ErrLinkPasswordInvalid`; BLAKE2b's longest key).
pub(super) const MAX_PASSWORD: usize = 64;

// The fields.
const FIELD_MAJOR: u16 = 0;
const FIELD_MINOR: u16 = 1;
const FIELD_KEY: u16 = 2;
const FIELD_PRIORITY: u16 = 3;

/// Says who we are.
pub(super) fn encode(me: &Identity, password: Option<&Secret<String>>, out: &mut Vec<u8>) {
    let mut fields = Vec::with_capacity(128);
    let mut field = |kind: u16, value: &[u8]| {
        fields.extend(kind.to_be_bytes());
        fields.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        fields.extend_from_slice(value);
    };
    field(FIELD_MAJOR, &MAJOR.to_be_bytes());
    field(FIELD_MINOR, &MINOR.to_be_bytes());
    field(FIELD_KEY, &me.public);
    field(FIELD_PRIORITY, &[0]);
    fields.extend(me.sign(&digest(&me.public, password)));
    out.extend(MAGIC);
    out.extend(u16::try_from(fields.len()).unwrap_or_default().to_be_bytes());
    out.extend(fields);
}

/// The peer's key and how much of what has arrived tells it; none while it is not whole.
///
/// # Errors
/// What is the matter with the peer.
pub(super) fn decode(
    arrived: &[u8],
    password: Option<&Secret<String>>,
) -> Result<Option<(Key, usize)>, LeafFault> {
    let mut reader = Reader::new(arrived);
    let Some(magic) = reader.array::<4>() else { return Ok(None) };
    if magic != MAGIC {
        return Err(LeafFault::Protocol("it is not Yggdrasil"));
    }
    let Some(length) = reader.u16() else { return Ok(None) };
    if length > MAX_LENGTH {
        return Err(LeafFault::Protocol("its first message is too long"));
    }
    let Some(body) = reader.take(length.into()) else { return Ok(None) };
    let peer = read(body).ok_or(LeafFault::Protocol("its first message is cut off"))?;
    if (peer.major, peer.minor) != (MAJOR, MINOR) {
        let ours = format!("{MAJOR}.{MINOR}");
        return Err(LeafFault::Version { ours, theirs: format!("{}.{}", peer.major, peer.minor) });
    }
    if !has_signed(&peer.key, &digest(&peer.key, password), &peer.signature) {
        return Err(LeafFault::Password);
    }
    Ok(Some((peer.key, arrived.len() - reader.rest().len())))
}

struct Peer {
    major: u16,
    minor: u16,
    key: Key,
    signature: [u8; 64],
}

fn read(body: &[u8]) -> Option<Peer> {
    let (fields, signature) = body.split_last_chunk()?;
    let mut peer = Peer { major: 0, minor: 0, key: [0; 32], signature: *signature };
    let mut fields = Reader::new(fields);
    while !fields.is_empty() {
        let (kind, length) = (fields.u16()?, fields.u16()?);
        let mut value = Reader::new(fields.take(length.into())?);
        match kind {
            FIELD_MAJOR => peer.major = value.u16()?,
            FIELD_MINOR => peer.minor = value.u16()?,
            FIELD_KEY => peer.key = value.array()?,
            // How much it likes us, and what newer ones say.
            _ => {}
        }
    }
    Some(peer)
}

/// What proves that a password is known.
fn digest(key: &Key, password: Option<&Secret<String>>) -> [u8; 64] {
    let password = password.map(|password| password.expose().as_bytes()).unwrap_or_default();
    if password.is_empty() {
        return Blake2b512::digest(key).into();
    }
    // A longer one is refused where it is named; it would not be one here.
    let password = password.get(..MAX_PASSWORD).unwrap_or(password);
    let Ok(mut hash) = Blake2bMac512::new_from_slice(password) else { return [0; 64] };
    hash.update(key);
    hash.finalize_fixed().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::yggdrasil::vectors;
    use proptest::prelude::*;

    fn said(password: Option<&Secret<String>>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&vectors::identity(0), password, &mut out);
        out
    }

    #[test]
    fn the_vectors_are_read_and_written() {
        let key: Key = vectors::bytes("keys/0/public").try_into().unwrap();
        let secret = Secret::new("secret".to_owned());
        for (name, password) in
            [("meta_no_password", None), ("meta_password_secret", Some(&secret))]
        {
            let bytes = vectors::bytes(name);
            assert_eq!(said(password), bytes, "{name}");
            assert_eq!(decode(&bytes, password), Ok(Some((key, bytes.len()))), "{name}");
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end], password), Ok(None), "{name} up to {end}");
            }
        }
    }

    #[test]
    fn another_password_or_version_is_told() {
        let secret = Secret::new("secret".to_owned());
        let plain = said(None);
        assert_eq!(decode(&plain, Some(&secret)), Err(LeafFault::Password));
        assert_eq!(decode(&said(Some(&secret)), None), Err(LeafFault::Password));
        let mut newer = plain.clone();
        newer[17] = 6;
        let version = LeafFault::Version { ours: "0.5".into(), theirs: "0.6".into() };
        assert_eq!(decode(&newer, None), Err(version));
        assert_eq!(decode(b"SSH-2.0-x", None), Err(LeafFault::Protocol("it is not Yggdrasil")));
        assert!(decode(b"meta\xff\xff", None).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(mut body: Vec<u8>, more: Vec<u8>) {
            body.truncate(4000);
            let mut bytes = MAGIC.to_vec();
            bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            bytes.extend(body);
            bytes.extend(more);
            prop_assert!(decode(&bytes, None).is_err());
        }
    }
}
