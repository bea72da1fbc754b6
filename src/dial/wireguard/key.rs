//! A WireGuard key as text: a line of `wg genkey`, or the PrivateKey of a wg-quick
//! configuration. Owns both forms; says what is wrong without ever quoting a line.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A configuration with thousands of peers is no larger, in bytes.
pub(super) const MAX_FILE: u64 = 1 << 20;
/// The length of a key.
const LENGTH: usize = 32;

/// The private key in `text`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn private(text: &str) -> Result<Secret<[u8; LENGTH]>, &'static str> {
    let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let said = lines.find_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim().eq_ignore_ascii_case("PrivateKey").then_some(value)
    });
    match said {
        Some(key) => decoded(key).ok_or("its PrivateKey is not a WireGuard key"),
        // The base64 of a key ends in an equals sign, too.
        None => decoded(text).ok_or("it holds no private key"),
    }
}

fn decoded(text: &str) -> Option<Secret<[u8; LENGTH]>> {
    let bytes = Zeroizing::new(BASE64.decode(text.trim().as_bytes()).ok()?);
    let key: [u8; LENGTH] = bytes.as_slice().try_into().ok()?;
    (key != [0; LENGTH]).then(|| Secret::new(key))
}

/// The public key in the text of a var.
///
/// # Errors
/// What is wrong with it.
pub(super) fn public(text: &str) -> Result<[u8; LENGTH], &'static str> {
    let bytes = BASE64.decode(text.trim().as_bytes()).ok();
    let key = bytes.and_then(|bytes| bytes.try_into().ok());
    key.ok_or("it is no public key of WireGuard")
}

/// A public key as WireGuard's own programs write it.
pub(super) fn shown(public: &[u8; LENGTH]) -> String {
    BASE64.encode(public)
}

/// The public key that belongs to a private one (Curve25519, RFC 7748).
pub(super) fn public_of(private: &Secret<[u8; LENGTH]>) -> [u8; LENGTH] {
    let secret = x25519_dalek::StaticSecret::from(*private.expose());
    x25519_dalek::PublicKey::from(&secret).to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7748, section 6.1.
    const ALICE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const ALICES_PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn a_key_is_read_from_both_forms() {
        let configuration = format!(
            "# admin\n[Interface]\n privatekey = {ALICE} # mine\nAddress=fd00::1\n[Peer]\n\
             PublicKey = {ALICES_PUBLIC}\n"
        );
        for text in [format!("{ALICE}\n"), ALICE.to_owned(), configuration] {
            let key = private(&text).unwrap();
            assert_eq!(public_of(&key), public(ALICES_PUBLIC).unwrap());
            assert_eq!(format!("{key:?}"), "<secret>");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_a_word_of_it() {
        let zero = BASE64.encode(&[0; 32]);
        for text in ["", "hunter2", "PrivateKey = hunter2", "[Peer]\nPublicKey = x", &zero] {
            let why = private(text).map(|_| ()).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        for text in ["", "AAAA", "!", &BASE64.encode(&[1; 33])] {
            assert!(public(text).is_err(), "{text}");
        }
    }
}
