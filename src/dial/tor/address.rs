//! Onion addresses and keys for client authorization. Owns their forms
//! (rend-spec-v3, "ONIONADDRESS"; tor(1), "CLIENT AUTHORIZATION").

use data_encoding::{BASE32_NOPAD, BASE64};
use tor_hscrypto::pk::{HsClientDescEncSecretKey, HsId, HsIdParseError};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Characters of a version 3 address without its `.onion`.
const LENGTH: usize = 56;
/// Of a version 2 one, which no longer works.
const LENGTH_V2: usize = 16;

/// The address of an onion service, of which the checksum is right. A secret
/// until told otherwise: it can only be dialled.
#[derive(Clone)]
pub struct Onion {
    pub(super) id: HsId,
    /// `….onion`.
    pub(super) name: Secret<String>,
}

impl Onion {
    /// Parses an address, with or without `.onion` and names before it, which
    /// Tor ignores.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(host: &str) -> Result<Self, &'static str> {
        let host = Zeroizing::new(host.trim_end_matches('.').to_ascii_lowercase());
        let bare = host.strip_suffix(".onion").unwrap_or(&host);
        let bare = bare.rsplit('.').next().unwrap_or(bare);
        match bare.len() {
            LENGTH => {}
            LENGTH_V2 => return Err("onion addresses of version 2 no longer work"),
            _ => return Err("an onion address has 56 characters before .onion"),
        }
        let name = format!("{bare}.onion");
        let id = name.parse().map_err(|error| match error {
            HsIdParseError::WrongChecksum => {
                "the checksum of the onion address is wrong: a character must be mistyped"
            }
            HsIdParseError::UnsupportedVersion(_) => "only onion addresses of version 3 work",
            _ => "an onion address has only the letters a to z and the digits 2 to 7",
        })?;
        Ok(Self { id, name: Secret::new(name) })
    }
}

/// A key for client authorization ("restricted discovery").
#[derive(Clone)]
pub struct ClientAuth {
    /// The service it is for; any when it was given as a key alone.
    onion: Option<Onion>,
    key: Secret<Vec<u8>>,
}

impl ClientAuth {
    /// Parses `56 CHARACTERS:descriptor:x25519:BASE32`, as in tor's own
    /// `.auth_private` files; `descriptor:x25519:BASE32`; or the key alone in
    /// base32 or base64.
    ///
    /// # Errors
    /// What is wrong with it; never any part of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let words: Vec<&str> = text.trim().split(':').map(str::trim).collect();
        let (onion, key) = match words.as_slice() {
            [key] | ["descriptor", "x25519", key] => (None, *key),
            [onion, "descriptor", "x25519", key] => (Some(Onion::parse(onion)?), *key),
            _ => return Err("it is not in the form ADDRESS:descriptor:x25519:KEY"),
        };
        let upper = Zeroizing::new(key.trim_end_matches('=').to_ascii_uppercase());
        let key = match BASE32_NOPAD.decode(upper.as_bytes()) {
            Ok(bytes) if bytes.len() == 32 => bytes,
            _ => match BASE64.decode(key.as_bytes()) {
                Ok(bytes) if bytes.len() == 32 => bytes,
                _ => return Err("its key is not 32 bytes in base32"),
            },
        };
        Ok(Self { onion, key: Secret::new(key) })
    }

    /// The key, if it is for `onion`.
    pub(super) fn key_for(&self, onion: &Onion) -> Option<HsClientDescEncSecretKey> {
        if self.onion.as_ref().is_some_and(|own| own.id != onion.id) {
            return None;
        }
        let bytes: [u8; 32] = self.key.expose().as_slice().try_into().ok()?;
        Some(tor_llcrypto::pk::curve25519::StaticSecret::from(bytes).into())
    }
}

impl std::fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientAuth")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Tor Project's own, from its website.
    const GOOD: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    #[test]
    fn addresses_are_checked_before_any_use() {
        for good in [GOOD, &GOOD.to_uppercase(), &format!("www.{GOOD}."), &GOOD[..56]] {
            assert_eq!(Onion::parse(good).unwrap().name.expose(), GOOD, "{good}");
        }
        for (bad, why) in [
            (GOOD.replacen('2', "3", 1), "checksum"),
            (GOOD.replacen('2', "1", 1), "letters a to z"),
            ("expyuzz4wqqyqhjn.onion".to_owned(), "version 2"),
            ("example.com".to_owned(), "56 characters"),
            (String::new(), "56 characters"),
        ] {
            assert!(Onion::parse(&bad).err().unwrap().contains(why), "{bad}");
        }
    }

    #[test]
    fn client_keys_are_taken_in_every_form_and_never_shown() {
        let key = BASE32_NOPAD.encode(&[7; 32]);
        let onion = Onion::parse(GOOD).unwrap();
        let other =
            Onion::parse("duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion").unwrap();
        for text in [
            key.clone(),
            key.to_lowercase(),
            BASE64.encode(&[7; 32]),
            format!("descriptor:x25519:{key}\n"),
            format!("{}:descriptor:x25519:{key}\n", &GOOD[..56]),
        ] {
            let auth = ClientAuth::parse(&text).unwrap();
            assert!(auth.key_for(&onion).is_some(), "{text}");
            assert_eq!(auth.key_for(&other).is_some(), !text.starts_with('2'), "{text}");
            assert_eq!(format!("{auth:?}"), "ClientAuth");
        }
        for bad in ["", "a:b", &key[..50], &format!("{GOOD}:descriptor:rsa:{key}"), "x:y:z:w:v"] {
            assert!(ClientAuth::parse(bad).is_err(), "{bad}");
        }
    }
}
