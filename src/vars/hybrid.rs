//! The post-quantum identity of age, `AGE-SECRET-KEY-PQ-1…` (C2SP age,
//! "The mlkem768x25519 recipient type"), which the age crate lacks. Owns its
//! parsing and its stanza; the cryptography is HPKE's (RFC 9180) with X-Wing.

use age::{DecryptError, Identity};
use age_core::format::{FileKey, Stanza};
use bech32::{FromBase32, Variant};
use data_encoding::BASE64_NOPAD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, single_shot_open};
use zeroize::Zeroizing;

/// What a line with such an identity begins with.
pub(super) const PREFIX: &str = "AGE-SECRET-KEY-PQ-1";
/// The type of its stanza.
pub(super) const STANZA: &str = "mlkem768x25519";
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
/// A file key of 16 bytes and the tag of ChaCha20-Poly1305.
const BODY: usize = 32;

/// One such identity.
pub(super) struct HybridIdentity {
    key: <XWing as Kem>::PrivateKey,
}

impl HybridIdentity {
    /// `None` when `line` is no such identity.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (prefix, seed, variant) = bech32::decode(line).ok()?;
        let seed = Zeroizing::new(Vec::<u8>::from_base32(&seed).ok()?);
        let is_one = variant == Variant::Bech32 && format!("{prefix}1").to_uppercase() == PREFIX;
        let upper = line.chars().all(|char| !char.is_ascii_lowercase());
        (is_one && upper)
            .then(|| <XWing as Kem>::PrivateKey::from_bytes(&seed).ok())?
            .map(|key| Self { key })
    }
}

impl Identity for HybridIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != STANZA {
            return None;
        }
        let [encapsulated] = stanza.args.as_slice() else {
            return Some(Err(DecryptError::InvalidHeader));
        };
        let encapsulated = BASE64_NOPAD
            .decode(encapsulated.as_bytes())
            .ok()
            .filter(|bytes| !is_low_order(bytes))
            .and_then(|bytes| <XWing as Kem>::EncappedKey::from_bytes(&bytes).ok());
        let Some(encapsulated) = encapsulated.filter(|_| stanza.body.len() == BODY) else {
            return Some(Err(DecryptError::InvalidHeader));
        };
        let opened = single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.key,
            &encapsulated,
            INFO,
            &stanza.body,
            &[],
        );
        // ML-KEM does not tell a wrong key; the tag does, and then it is for
        // someone else.
        let opened = Zeroizing::new(opened.ok()?);
        let opened: &[u8; 16] = opened.as_slice().try_into().ok()?;
        Some(Ok(FileKey::new(Box::new(*opened))))
    }
}

/// Whether the X25519 half, which comes last, makes the shared secret zero
/// whatever the key (RFC 7748, section 6.1), which age refuses.
fn is_low_order(encapsulated: &[u8]) -> bool {
    let point = encapsulated.last_chunk::<32>();
    point.is_none_or(|point| x25519_dalek::x25519([1; 32], *point) == [0; 32])
}
