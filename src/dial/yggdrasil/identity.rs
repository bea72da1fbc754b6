//! Who we are in Yggdrasil. Owns our key, what is signed with it, and what others have
//! signed with theirs.

use std::net::Ipv6Addr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::address::{Key, address_of};

/// An Ed25519 signature.
pub(super) type Signed = [u8; 64];

/// RFC 8410, section 7: what stands before the seed of an Ed25519 key in PKCS#8.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// A key pair.
pub(super) struct Identity {
    key: SigningKey,
    pub(super) public: Key,
    pub(super) address: Ipv6Addr,
}

impl Identity {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = key.verifying_key().to_bytes();
        Self { key, public, address: address_of(&public) }
    }

    /// From a key as Clan keeps it (PKCS#8 in PEM), or as the daemon's configuration has
    /// it: the seed and then the public key in hexadecimal.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let body = text.strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END));
        match body {
            Some(body) => Self::from_pem(body),
            None => Self::from_hex(text),
        }
    }

    fn from_pem(body: &str) -> Result<Self, &'static str> {
        let joined: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
        let der = data_encoding::BASE64.decode(joined.as_bytes()).map(Zeroizing::new);
        let der = der.map_err(|_| "it is not PEM")?;
        let seed = der.strip_prefix(&PKCS8).and_then(|seed| seed.try_into().ok());
        seed.map(Self::new).ok_or("it is no Ed25519 key in PKCS#8")
    }

    fn from_hex(text: &str) -> Result<Self, &'static str> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let bytes = bytes.map(Zeroizing::new).map_err(|_| "it is neither PEM nor hexadecimal")?;
        let (seed, public) = bytes.split_first_chunk().ok_or("it is too short")?;
        let identity = Self::new(seed);
        match public.is_empty() || public == identity.public {
            true => Ok(identity),
            false => Err("its two halves do not belong to one key"),
        }
    }

    /// As Clan keeps it.
    pub(super) fn to_pem(&self) -> Zeroizing<String> {
        let mut der = Zeroizing::new([0; PKCS8.len() + 32]);
        let bytes = PKCS8.iter().chain(self.key.as_bytes());
        der.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let body = Zeroizing::new(data_encoding::BASE64.encode(der.as_slice()));
        Zeroizing::new(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", body.as_str()))
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Signed {
        self.key.sign(bytes).to_bytes()
    }

    /// The same key for X25519.
    pub(super) fn exchange_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_scalar_bytes())
    }
}

/// Whether the owner of a key has signed something.
pub(super) fn has_signed(key: &Key, bytes: &[u8], signature: &Signed) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(bytes, &signature).is_ok())
}

/// A public key for X25519; none where it is no key.
pub(super) fn exchange_key(key: &Key) -> Option<[u8; 32]> {
    let key = VerifyingKey::from_bytes(key).ok().filter(|key| !key.is_weak())?;
    Some(key.to_montgomery().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::yggdrasil::vectors;

    #[test]
    fn a_key_is_read_as_clan_and_as_the_daemon_have_it() {
        let seed = vectors::bytes("keys/0/seed");
        let public = vectors::bytes("keys/0/public");
        let pem = data_encoding::BASE64.encode(&[&PKCS8[..], &seed].concat());
        let pem = format!("{PEM_BEGIN}\n{pem}\n{PEM_END}\n");
        let hex = data_encoding::HEXLOWER.encode(&[&seed[..], &public].concat());
        let seed_bytes: [u8; 32] = seed.clone().try_into().unwrap();
        assert_eq!(Identity::new(&seed_bytes).to_pem().as_str(), pem);
        for text in [&pem, &hex, &hex[..64].to_owned()] {
            assert_eq!(Identity::parse(text).map(|it| it.public.to_vec()), Ok(public.clone()));
        }
        let other = data_encoding::HEXLOWER.encode(&[&seed[..], &seed].concat());
        for bad in ["", "00", &other, &pem.replace("MC4", "MD4"), &hex[..100]] {
            assert!(Identity::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_converted_as_others_convert_them() {
        for number in 0..3 {
            let bytes = |name: &str| vectors::bytes(&format!("keys/{number}/{name}"));
            let identity = Identity::new(&bytes("seed").try_into().unwrap());
            assert_eq!(identity.public.to_vec(), bytes("public"));
            let exchange = exchange_key(&identity.public).unwrap();
            assert_eq!(exchange.to_vec(), bytes("x25519_public"));
            // Which bits are fixed is X25519's own affair (RFC 7748, section 5).
            let mut secret = *identity.exchange_secret();
            secret[0] &= 248;
            secret[31] = secret[31] & 127 | 64;
            assert_eq!(secret.to_vec(), bytes("x25519_private"));
        }
        assert_eq!(exchange_key(&[0; 32]), None);
    }
}
