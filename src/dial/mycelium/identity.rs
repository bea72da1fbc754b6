//! Who is who in Mycelium, and what two of them share. Owns the address of a key, and the
//! encryption between the ends; knows nothing of ways.

use std::net::Ipv6Addr;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

/// The bits of an address that tell the subnet, and so whose it is.
pub(super) const SUBNET: u8 = 64;
/// The first byte of an address is this or one more: 400::/7.
const FIRST: u8 = 0x04;
const TAG: usize = 16;
const NONCE: usize = 12;
/// How much longer a packet is when it is encrypted.
pub(super) const OVERHEAD: usize = TAG + NONCE;

/// The address that a public key has.
pub(super) fn address_of(public: &[u8; 32]) -> Ipv6Addr {
    let mut address = [0; 16];
    blake3::Hasher::new().update(public).finalize_xof().fill(&mut address);
    if let Some(first) = address.first_mut() {
        *first = FIRST | u8::from(first.count_ones() % 2 == 1);
    }
    Ipv6Addr::from(address)
}

/// A key, for as long as there is use for it.
pub(super) struct Identity {
    secret: Zeroizing<[u8; 32]>,
    /// X25519.
    pub(super) public: [u8; 32],
    /// What others call it.
    pub(super) address: Ipv6Addr,
}

impl Identity {
    pub(super) fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        let public = x25519_dalek::x25519(*secret, x25519_dalek::X25519_BASEPOINT_BYTES);
        Self { secret, public, address: address_of(&public) }
    }

    /// What encrypts between us and the owner of another key; none where that is no key.
    pub(super) fn shared_with(&self, public: [u8; 32]) -> Option<Shared> {
        let secret = Zeroizing::new(x25519_dalek::x25519(*self.secret, public));
        // The point is of a low order: everybody knows the secret (RFC 7748, section 6.1).
        if secret.iter().all(|&byte| byte == 0) {
            return None;
        }
        Some(Shared(Aes256Gcm::new_from_slice(secret.as_slice()).ok()?))
    }
}

/// What two keys share. It is the same in both directions and for ever, so that nonces are
/// random.
pub(super) struct Shared(Aes256Gcm);

impl Shared {
    /// Encrypts what is in `body` from `start` on, and adds the tag and the nonce.
    pub(super) fn seal(&self, nonce: [u8; NONCE], body: &mut Vec<u8>, start: usize) -> Option<()> {
        let plain = InOutBuf::from(body.get_mut(start..)?);
        let tag = self.0.encrypt_inout_detached(&Nonce::from(nonce), &[], plain).ok()?;
        body.extend_from_slice(&tag);
        body.extend_from_slice(&nonce);
        Some(())
    }

    /// What is in a body, if its owner has encrypted it for us.
    pub(super) fn open(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (rest, nonce) = body.split_last_chunk::<NONCE>()?;
        let (sealed, tag) = rest.split_last_chunk::<TAG>()?;
        let mut plain = sealed.to_vec();
        let buffer = InOutBuf::from(plain.as_mut_slice());
        let tag = Tag::from(*tag);
        self.0.decrypt_inout_detached(&Nonce::from(*nonce), &[], buffer, &tag).ok()?;
        Some(plain)
    }
}
