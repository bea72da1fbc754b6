//! NaCl's box, as sessions use it: X25519, HSalsa20, XSalsa20 and Poly1305. Owns that its
//! nonces are numbers; who counts them is in `session`.

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::Salsa20;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How long the tag is, which stands before what is encrypted.
pub(super) const TAG: usize = 16;

/// What two keys share.
pub(super) struct Shared(Zeroizing<[u8; 32]>);

impl Shared {
    /// None where the public key is none (RFC 7748, section 6.1).
    pub(super) fn new(secret: &[u8; 32], public: &[u8; 32]) -> Option<Self> {
        let point = Zeroizing::new(x25519_dalek::x25519(*secret, *public));
        if point.iter().all(|&byte| byte == 0) {
            return None;
        }
        // Once for the shared key of NaCl, and once for the first half of each nonce of
        // XSalsa20, which is zeros.
        let zeros = [0; 16].into();
        let key = Zeroizing::new(salsa20::hsalsa::<U10>(&(*point).into(), &zeros).into());
        let key: &Zeroizing<[u8; 32]> = &key;
        Some(Self(Zeroizing::new(salsa20::hsalsa::<U10>(&(**key).into(), &zeros).into())))
    }

    /// Encrypts what is in `body` from `start` on, where there is room for the tag first.
    pub(super) fn seal(&self, nonce: u64, body: &mut [u8], start: usize) -> Option<()> {
        let (tag, plain) = body.get_mut(start..)?.split_first_chunk_mut::<TAG>()?;
        let (mut stream, key) = self.streams(nonce);
        stream.apply_keystream(plain);
        *tag = Poly1305::new(&(*key).into()).compute_unpadded(plain).into();
        Some(())
    }

    /// What is in a body, if the other end has encrypted it.
    pub(super) fn open(&self, nonce: u64, body: &[u8]) -> Option<Vec<u8>> {
        let (tag, sealed) = body.split_first_chunk::<TAG>()?;
        let (mut stream, key) = self.streams(nonce);
        let expected: [u8; TAG] = Poly1305::new(&(*key).into()).compute_unpadded(sealed).into();
        if !bool::from(expected.ct_eq(tag)) {
            return None;
        }
        let mut plain = sealed.to_vec();
        stream.apply_keystream(&mut plain);
        Some(plain)
    }

    /// The key of Poly1305 is the beginning of the stream.
    fn streams(&self, nonce: u64) -> (Salsa20, Zeroizing<[u8; 32]>) {
        let mut stream = Salsa20::new(&(*self.0).into(), &nonce.to_be_bytes().into());
        let mut key = Zeroizing::new([0; 32]);
        stream.apply_keystream(key.as_mut_slice());
        (stream, key)
    }
}
