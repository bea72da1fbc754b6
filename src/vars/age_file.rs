//! One age file (age-encryption.org/v1): bytes and keys to plaintext, in
//! memory. Knows no store and no path.

use std::io::{self, BufRead, Read};

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity};

use super::MAX_VALUE;
use super::closed::Closed;
use super::effort::{Effort, MAX_RECIPIENTS};
use super::key::Key;
use super::sealed::Sealed;
use crate::secret::Secret;

/// Bound on an age file: armor adds a third, headers of many recipients a bit.
pub(super) const MAX_FILE: u64 = MAX_VALUE * 3 / 2 + (1 << 20);
/// Headers are text; longer ones than this have more recipients than any clan.
const MAX_HEADER: usize = 1 << 20;
/// scrypt's cost for a passphrase, as log2; 2^22 takes half a minute.
const MAX_WORK_FACTOR: u8 = 22;
/// The nonce and the tag of a payload of nothing (C2SP age, "Payload").
const MIN_PAYLOAD: usize = 16 + 16;
const MAGIC: &[u8] = b"age-encryption.org/";
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// An age file without its armor.
pub(super) struct AgeFile {
    binary: Vec<u8>,
    /// Where the header ends.
    payload: usize,
}

impl AgeFile {
    /// Whether these bytes claim to be an age file, armored or not.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC) || bytes.trim_ascii_start().starts_with(ARMOR)
    }

    /// Takes off the armor, if there is one, and finds the header.
    ///
    /// # Errors
    /// [`Closed::Broken`], also when it has more recipients than any clan.
    pub(super) fn parse(file: &[u8]) -> Result<Self, Closed> {
        let binary = if file.trim_ascii_start().starts_with(ARMOR) {
            let mut binary = Vec::with_capacity(file.len());
            ArmoredReader::new(file.trim_ascii_start())
                .take(MAX_FILE)
                .read_to_end(&mut binary)
                .map_err(|_| Closed::broken("its age armor is damaged or truncated"))?;
            binary
        } else {
            file.to_vec()
        };
        if !binary.starts_with(MAGIC) {
            return Err(Closed::broken("it is no age file, or truncated"));
        }
        let payload = header_len(&binary)
            .ok_or_else(|| Closed::broken("its age header is damaged or truncated"))?;
        let file = Self { binary, payload };
        if file.recipient_count() > MAX_RECIPIENTS {
            return Err(Closed::Broken(format!("it has more than {MAX_RECIPIENTS} recipients")));
        }
        Ok(file)
    }

    /// How many recipients its header has.
    pub(super) fn recipient_count(&self) -> usize {
        self.stanzas().count()
    }

    /// Whether it is whole as far as can be seen, and for so many X25519 keys and nothing else
    /// but what the age crate adds to keep readers tolerant ("grease").
    pub(super) fn is_for_keys(&self, count: usize) -> bool {
        let is_key = |(kind, _): &(&[u8], &[u8])| *kind == b"X25519";
        let is_grease = |(kind, _): &(&[u8], &[u8])| kind.ends_with(b"-grease");
        self.stanzas().filter(is_key).count() == count
            && self.stanzas().all(|stanza| is_key(&stanza) || is_grease(&stanza))
            && self.binary.len().saturating_sub(self.payload) > MIN_PAYLOAD
    }

    /// The plaintext, or `None` when none of the keys is meant.
    ///
    /// # Errors
    /// [`Closed`].
    pub(super) fn decrypt<'a>(
        &self,
        keys: impl Iterator<Item = &'a dyn Identity>,
    ) -> Result<Option<Secret<Vec<u8>>>, Closed> {
        let (header, payload) = self.binary.split_at_checked(self.payload).unwrap_or_default();
        let input = HeaderFirst { header, payload };
        let reader = match Decryptor::new_buffered(input).map(|file| file.decrypt(keys)) {
            Ok(Ok(reader)) => reader,
            Ok(Err(error)) | Err(error) => return closed(&error).map_or(Ok(None), Err),
        };
        // Never longer than the file, so it is never copied to grow.
        let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(self.binary.len()));
        reader
            .take(MAX_VALUE + 1)
            .read_to_end(&mut plain)
            .map_err(|_| Closed::broken("it is truncated or damaged"))?;
        if plain.len() as u64 > MAX_VALUE {
            return Err(Closed::TooLarge);
        }
        Ok(Some(Secret::new(std::mem::take(&mut *plain))))
    }

    /// The plaintext of a file locked by a passphrase; `None` if it is wrong.
    ///
    /// # Errors
    /// [`Closed`].
    pub(super) fn decrypt_with_passphrase(
        &self,
        passphrase: &Secret<String>,
    ) -> Result<Option<Secret<Vec<u8>>>, Closed> {
        let mut key = age::scrypt::Identity::new(passphrase.expose().clone().into());
        key.set_max_work_factor(MAX_WORK_FACTOR);
        self.decrypt(std::iter::once(&key as &dyn Identity))
    }

    /// Whether the file is locked by a passphrase rather than for keys.
    pub(super) fn is_locked_by_passphrase(&self) -> bool {
        self.stanzas().any(|(kind, _)| kind == b"scrypt")
    }

    /// What trying `key` costs, see [`Effort`].
    fn tries(&self, key: &Key) -> usize {
        self.stanzas().map(|(kind, word)| key.cost_of(kind, word)).fold(0, usize::saturating_add)
    }

    /// Type and first argument of every recipient (C2SP age, "Recipient stanza").
    fn stanzas(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let header = self.binary.get(..self.payload).unwrap_or_default();
        header.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut words = line.strip_prefix(b"-> ")?.split(|byte| *byte == b' ');
            Some((words.next()?, words.next().unwrap_or_default()))
        })
    }
}

impl Sealed for AgeFile {
    fn open(&mut self, keys: &[Key], effort: &Effort) -> Result<Option<Secret<Vec<u8>>>, Closed> {
        for key in keys {
            effort.spend(self.tries(key))?;
            if let Some(plain) = self.decrypt(std::iter::once(key.identity()))? {
                return Ok(Some(plain));
            }
        }
        Ok(None)
    }

    fn names_ssh_key(&self, tag: &str) -> bool {
        self.stanzas().any(|(kind, word)| kind.starts_with(b"ssh-") && word == tag.as_bytes())
    }

    fn names_native_key(&self) -> bool {
        self.stanzas().any(|(kind, _)| !kind.starts_with(b"ssh-"))
    }

    fn obstacle(&self) -> Option<String> {
        self.is_locked_by_passphrase()
            .then(|| "it is locked by a passphrase, not encrypted for keys".to_owned())
    }
}

/// The length of the header with its last line, `--- MAC`.
fn header_len(binary: &[u8]) -> Option<usize> {
    let header = binary.get(..binary.len().min(MAX_HEADER))?;
    let mac = header.windows(5).position(|window| window == b"\n--- ")? + 1;
    let line = header.get(mac..)?.iter().position(|byte| *byte == b'\n')?;
    Some(mac + line + 1)
}

/// Hands the whole header to the age crate at once. It asks line by line and
/// parses from the start after each, which takes minutes for a hostile header.
struct HeaderFirst<'a> {
    header: &'a [u8],
    payload: &'a [u8],
}

impl Read for HeaderFirst<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.payload.read(buf)
    }
}

impl BufRead for HeaderFirst<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.payload)
    }

    fn consume(&mut self, amount: usize) {
        self.payload.consume(amount);
    }

    fn read_until(&mut self, _: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        let header = std::mem::take(&mut self.header);
        buf.extend_from_slice(header);
        Ok(header.len())
    }
}

/// `None` when another key may do.
fn closed(error: &DecryptError) -> Option<Closed> {
    Some(Closed::broken(match error {
        // A stanza whose ssh tag fits by chance, or a wrong passphrase.
        DecryptError::NoMatchingKeys
        | DecryptError::KeyDecryptionFailed
        | DecryptError::DecryptionFailed => return None,
        DecryptError::ExcessiveWork { .. } => "its passphrase takes too much work to try",
        DecryptError::InvalidMac => "its age header was tampered with",
        DecryptError::UnknownFormat => "it is no age file of version 1",
        _ => "it is no age file, or truncated",
    }))
}

#[cfg(test)]
mod tests;
