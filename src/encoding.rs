//! Text that need not be UTF-8: arguments, variables, names of files and lines of a
//! configuration are bytes to the system, and commands and variables are to SSH (RFC
//! 4254, section 6). Owns how they are kept in a `String` without a loss, as Python's
//! PEP 383 does it: a byte that is no part of UTF-8 is a character of its own, out of
//! what Unicode leaves to private use. Whoever reads them makes it such text, and
//! whoever hands them on makes it bytes again.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What stands for byte 0; only bytes from 0x80 on ever need it.
const ZERO: u32 = 0x10_ff00;

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match byte(char) {
                // It would stand for something else.
                Some(_) => char.encode_utf8(&mut [0; 4]).bytes().for_each(|it| push(&mut out, it)),
                None => out.push(char),
            }
        }
        chunk.invalid().iter().for_each(|byte| push(&mut out, *byte));
    }
    out
}

/// The bytes of such text.
pub(crate) fn bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.chars().any(|char| byte(char).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    for char in text.chars() {
        match byte(char) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(out)
}

/// What the system has, as text.
pub(crate) fn of_os(text: impl AsRef<OsStr>) -> String {
    self::text(text.as_ref().as_bytes())
}

/// Such text for the system.
pub(crate) fn os(text: &str) -> OsString {
    OsString::from_vec(bytes(text).into_owned())
}

/// Such text as the name of a file.
pub(crate) fn path(text: &str) -> PathBuf {
    os(text).into()
}

/// The byte that a character stands for, if it does.
pub(crate) fn byte(char: char) -> Option<u8> {
    u32::from(char)
        .checked_sub(ZERO)
        .and_then(|byte| u8::try_from(byte).ok())
        .filter(|it| *it > 127)
}

fn push(out: &mut String, byte: u8) {
    out.extend(char::from_u32(ZERO + u32::from(byte)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_is_itself_and_every_other_byte_one_character() {
        for plain in ["", "größe", "a\0b\u{7f}", "\u{10ff7f}\u{e000}"] {
            assert_eq!(text(plain.as_bytes()), plain);
            assert!(matches!(bytes(plain), Cow::Borrowed(same) if same == plain.as_bytes()));
        }
        let latin = text(b"r\xe9po \xff");
        assert_eq!(latin.chars().map(byte).collect::<Vec<_>>()[1], Some(0xe9));
        assert_eq!(latin.chars().count(), 6);
        // ASCII has no second way to be written.
        assert!((0..128).all(|ascii| byte(char::from_u32(ZERO + ascii).unwrap()).is_none()));
    }

    proptest::proptest! {
        #[test]
        fn bytes_come_back_whatever_they_are(
            one in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
            other in "\\PC*[\u{10ff00}-\u{10ffff}]*",
        ) {
            let (one_text, other_text) = (text(&one), text(other.as_bytes()));
            proptest::prop_assert_eq!(&*bytes(&one_text), one.as_slice());
            proptest::prop_assert_eq!(&*bytes(&other_text), other.as_bytes());
            // Also of what is put together, as where tokens are replaced.
            let both = one_text + &other_text;
            proptest::prop_assert_eq!(&*bytes(&both), [&one, other.as_bytes()].concat());
        }
    }
}
