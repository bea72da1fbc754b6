//! What messages of PROTOCOL.mux are put together from: numbers, and texts of any bytes.

use crate::encoding;

/// A message that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

/// A number.
pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    let bytes = encoding::bytes(text);
    // A text that is too long makes a message that no master takes.
    put_u32(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&bytes);
}

pub(super) fn take_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    let (number, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(u32::from_be_bytes(*number))
}

pub(super) fn take_string(rest: &mut &[u8]) -> Result<String, Malformed> {
    let length = usize::try_from(take_u32(rest)?).map_err(|_| Malformed)?;
    let (text, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(encoding::text(text))
}
