//! One age file (age-encryption.org/v1): bytes and keys to plaintext, in
//! memory. Knows no store and no path.

use std::io::Read;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity};

use super::MAX_VALUE;
use crate::secret::Secret;

/// Bound on an age file: armor adds a third, headers of many recipients a bit.
pub(super) const MAX_FILE: u64 = MAX_VALUE * 3 / 2 + (1 << 20);
/// Headers are text; longer ones than this have more recipients than any clan.
const MAX_HEADER: usize = 1 << 20;
/// scrypt's cost for a passphrase, as log2; 2^22 takes half a minute.
const MAX_WORK_FACTOR: u8 = 22;

/// Why an age file stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// None of the keys is meant: others may be.
    NoMatchingKey,
    /// The file is damaged.
    Broken(&'static str),
}

/// Whether these bytes are an age file, armored or not.
pub(super) fn is_age_file(bytes: &[u8]) -> bool {
    let armor = b"-----BEGIN AGE ENCRYPTED FILE-----";
    bytes.starts_with(b"age-encryption.org/") || bytes.trim_ascii_start().starts_with(armor)
}

/// Takes off the armor, if there is one.
pub(super) fn dearmor(file: &[u8]) -> Result<Vec<u8>, Closed> {
    let mut binary = Vec::with_capacity(file.len());
    ArmoredReader::new(file)
        .take(MAX_FILE)
        .read_to_end(&mut binary)
        .map_err(|_| Closed::Broken("its age armor is damaged"))?;
    Ok(binary)
}

/// The plaintext of a binary age file.
pub(super) fn decrypt<'a>(
    binary: &[u8],
    keys: impl Iterator<Item = &'a dyn Identity>,
) -> Result<Secret<Vec<u8>>, Closed> {
    let decryptor = Decryptor::new_buffered(binary).map_err(|error| closed(&error))?;
    let reader = decryptor.decrypt(keys).map_err(|error| closed(&error))?;
    // Never longer than the file, so it is never copied to grow.
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(binary.len()));
    reader
        .take(MAX_VALUE + 1)
        .read_to_end(&mut plain)
        .map_err(|_| Closed::Broken("it is truncated or damaged"))?;
    if plain.len() as u64 > MAX_VALUE {
        return Err(Closed::Broken("its plaintext is larger than 16 MiB"));
    }
    Ok(Secret::new(std::mem::take(&mut *plain)))
}

/// The plaintext of a file locked by a passphrase.
pub(super) fn decrypt_with_passphrase(
    binary: &[u8],
    passphrase: &Secret<String>,
) -> Result<Secret<Vec<u8>>, Closed> {
    let mut key = age::scrypt::Identity::new(passphrase.expose().clone().into());
    key.set_max_work_factor(MAX_WORK_FACTOR);
    decrypt(binary, std::iter::once(&key as &dyn Identity))
}

/// Whether a file is locked by a passphrase rather than for keys.
pub(super) fn is_locked_by_passphrase(binary: &[u8]) -> bool {
    Decryptor::new_buffered(binary).is_ok_and(|decryptor| decryptor.is_scrypt())
}

/// Whether the header names the ssh key with this tag as a recipient, so that
/// nobody is asked for the passphrase of a key that cannot help.
pub(super) fn names_ssh_key(binary: &[u8], tag: &str) -> bool {
    let header = binary.get(..binary.len().min(MAX_HEADER)).unwrap_or_default();
    header.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---")).any(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        words.next() == Some(b"->")
            && words.next().is_some_and(|kind| kind.starts_with(b"ssh-"))
            && words.next() == Some(tag.as_bytes())
    })
}

fn closed(error: &DecryptError) -> Closed {
    match error {
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => Closed::NoMatchingKey,
        DecryptError::DecryptionFailed => Closed::NoMatchingKey,
        DecryptError::ExcessiveWork { .. } => {
            Closed::Broken("its passphrase takes too much work to try")
        }
        DecryptError::InvalidMac => Closed::Broken("its age header was tampered with"),
        DecryptError::UnknownFormat => Closed::Broken("it is no age file of version 1"),
        _ => Closed::Broken("it is no age file, or truncated"),
    }
}
