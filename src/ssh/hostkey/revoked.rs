//! `RevokedHostKeys` of ssh_config(5): a list of public keys, or a key revocation
//! list as ssh-keygen(1) makes it (OpenSSH's PROTOCOL.krl). Owns both formats; a
//! file that cannot be understood is an error, or what it revokes would pass.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use russh::keys::PublicKey;
use russh::keys::ssh_key::Certificate;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::error::{Error, Result, strerror};

/// Largest file, in bytes.
const MAX_FILE: u64 = 64 << 20;
const MAGIC: &[u8] = b"SSHKRL\n\0";
/// How types of certificates end.
const CERTIFICATE: &[u8] = b"-cert-v01@openssh.com";

/// Keys and certificates that must never be accepted.
#[derive(Debug, Clone, Default)]
pub struct Revoked {
    /// Public keys as they are on the wire.
    keys: Vec<Vec<u8>>,
    sha1: Vec<[u8; 20]>,
    sha256: Vec<[u8; 32]>,
    certificates: Vec<Certificates>,
    path: PathBuf,
}

/// Certificates of one authority, or of all.
#[derive(Debug, Clone, Default)]
struct Certificates {
    /// As on the wire; empty for all.
    authority: Vec<u8>,
    /// First and last.
    serials: Vec<(u64, u64)>,
    /// First serial and a big-endian number in which its bits count.
    bitmaps: Vec<(u64, Vec<u8>)>,
    ids: Vec<Vec<u8>>,
}

impl Revoked {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::RevokedHostKeys`] when it is missing, cannot be read or understood:
    /// then no host may be trusted.
    pub fn load(path: &Path) -> Result<Self> {
        let failed = |reason: String| Error::RevokedHostKeys { path: path.to_owned(), reason };
        let mut bytes = Vec::new();
        // A pipe is waited for: without a writer it would be an empty list.
        let file = File::open(path).map_err(|error| {
            failed(format!("cannot read the revoked host keys: {}", strerror(&error)))
        })?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| {
            failed(format!("cannot read the revoked host keys: {}", strerror(&error)))
        })?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(failed(format!("larger than {MAX_FILE} bytes")));
        }
        let parsed = match bytes.strip_prefix(MAGIC) {
            Some(rest) => Self::binary(rest).ok_or("a damaged key revocation list"),
            None => Self::text(&bytes),
        };
        let parsed = parsed.map_err(|reason| failed(reason.to_owned()))?;
        Ok(Self { path: path.to_owned(), ..parsed })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this key is revoked.
    pub fn has_key(&self, key: &PublicKey) -> bool {
        // A key that cannot be written has not come over the wire.
        key.to_bytes().is_ok_and(|bytes| self.has_bytes(&bytes))
    }

    /// Whether this certificate is, by its key, its authority's, its serial
    /// number or its id.
    pub fn has_certificate(&self, certificate: &Certificate) -> bool {
        let bytes = |key| PublicKey::new(key, "").to_bytes().unwrap_or_default();
        let authority = bytes(certificate.signature_key().clone());
        if self.has_bytes(&bytes(certificate.public_key().clone())) || self.has_bytes(&authority) {
            return true;
        }
        let of_it =
            |listed: &&Certificates| listed.authority.is_empty() || listed.authority == authority;
        self.certificates.iter().filter(of_it).any(|listed| {
            listed.ids.iter().any(|id| id == certificate.key_id().as_bytes())
                // Certificates without a serial number have this one.
                || (certificate.serial() != 0 && listed.has_serial(certificate.serial()))
        })
    }

    fn has_bytes(&self, key: &[u8]) -> bool {
        self.keys.iter().any(|known| known == key)
            || (!self.sha256.is_empty() && self.sha256.contains(&Sha256::digest(key).into()))
            || (!self.sha1.is_empty() && self.sha1.contains(&Sha1::digest(key).into()))
    }

    /// One public key a line, as in the `.pub` files of ssh-keygen(1). A certificate
    /// stands for the key that it is of, whoever has signed it (authfile.c,
    /// `sshkey_in_file`, which compares nothing else).
    fn text(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut revoked = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let mut words = line.split(|byte| byte.is_ascii_whitespace());
            let kind = words.next().unwrap_or_default();
            // None is of one byte alone, but words may be far from each other.
            let key = words.find(|word| !word.is_empty());
            let key = key.and_then(|word| BASE64.decode(word).ok());
            let key = key.ok_or("a line that is no public key")?;
            revoked.keys.push(match kind.ends_with(CERTIFICATE) {
                true => inside(&key).ok_or("a line that is no certificate")?,
                // What it is in is not looked at: of a type unknown here, too.
                false => key,
            });
        }
        Ok(revoked)
    }

    /// What follows the magic number.
    fn binary(bytes: &[u8]) -> Option<Self> {
        let mut rest = Wire(bytes);
        let mut revoked = Self::default();
        if rest.u32()? != 1 {
            return None;
        }
        for _ in ["version", "date", "flags"] {
            rest.u64()?;
        }
        for _ in ["reserved", "comment"] {
            rest.string()?;
        }
        while !rest.0.is_empty() {
            let kind = rest.u8()?;
            let mut section = Wire(rest.string()?);
            match kind {
                1 => revoked.certificates.push(Certificates::read(&mut section)?),
                2 => section.strings(|key| {
                    revoked.keys.push(key.to_vec());
                    Some(())
                })?,
                3 => section.strings(|hash| {
                    revoked.sha1.push(hash.try_into().ok()?);
                    Some(())
                })?,
                // The signature; who may write the file is for the file system to say.
                4 => {
                    rest.string()?;
                }
                5 => section.strings(|hash| {
                    revoked.sha256.push(hash.try_into().ok()?);
                    Some(())
                })?,
                255 => section.extension()?,
                _ => return None,
            }
        }
        Some(revoked)
    }
}

impl Certificates {
    fn read(section: &mut Wire<'_>) -> Option<Self> {
        let mut listed = Self { authority: section.string()?.to_vec(), ..Self::default() };
        section.string()?;
        while !section.0.is_empty() {
            let kind = section.u8()?;
            let mut part = Wire(section.string()?);
            match kind {
                0x20 => {
                    while !part.0.is_empty() {
                        let serial = part.u64()?;
                        listed.serials.push((serial, serial));
                    }
                }
                0x21 => listed.serials.push((part.u64()?, part.u64()?)),
                0x22 => listed.bitmaps.push((part.u64()?, part.string()?.to_vec())),
                0x23 => part.strings(|id| {
                    listed.ids.push(id.to_vec());
                    Some(())
                })?,
                0x39 => part.extension()?,
                _ => return None,
            }
        }
        Some(listed)
    }

    fn has_serial(&self, serial: u64) -> bool {
        let in_bitmap = |(first, bits): &(u64, Vec<u8>)| {
            let bit = serial.checked_sub(*first).and_then(|bit| usize::try_from(bit).ok());
            // The last byte has the lowest bits.
            let byte = bit.and_then(|bit| bits.len().checked_sub(1 + bit / 8));
            let byte = byte.and_then(|at| bits.get(at));
            byte.zip(bit).is_some_and(|(byte, bit)| byte >> (bit % 8) & 1 == 1)
        };
        self.serials.iter().any(|(first, last)| (*first..=*last).contains(&serial))
            || self.bitmaps.iter().any(in_bitmap)
    }
}

/// The key that a certificate is of, as on the wire.
fn inside(certificate: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_bytes(certificate).ok()?;
    PublicKey::new(certificate.public_key().clone(), "").to_bytes().ok()
}

/// The encoding of RFC 4251, section 5.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*bytes))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    fn strings(&mut self, mut each: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
        while !self.0.is_empty() {
            each(self.string()?)?;
        }
        Some(())
    }

    /// Something of the future; not to be ignored if it says so.
    fn extension(&mut self) -> Option<()> {
        self.string()?;
        (self.u8()? == 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::known_hosts::test_keys::*;

    fn load(bytes: &[u8]) -> Result<Revoked> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        std::fs::write(&path, bytes).unwrap();
        Revoked::load(&path)
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length, bytes].concat()
    }

    fn list(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = [MAGIC, &1_u32.to_be_bytes(), &[0; 24], &[0; 8]].concat();
        for (kind, section) in sections {
            bytes.push(*kind);
            bytes.extend(string(section));
        }
        bytes
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let late = path.clone();
        let writer = std::thread::spawn(move || {
            // Nobody is there to write yet when it is opened.
            std::thread::sleep(std::time::Duration::from_millis(100));
            std::fs::write(late, ED25519).unwrap();
        });
        assert!(Revoked::load(&path).unwrap().has_key(&key(ED25519)));
        writer.join().unwrap();
    }

    #[test]
    fn a_list_of_keys_revokes_these() {
        let revoked = load(format!("# x\n\n{ED25519}\n").as_bytes()).unwrap();
        assert!(revoked.has_key(&key(ED25519)) && !revoked.has_key(&key(OTHER_ED25519)));
        assert!(!load(b"").unwrap().has_key(&key(ED25519)));
        for bad in ["ssh-ed25519", "ssh-ed25519 not*base64", "\0\0\0"] {
            assert!(load(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Revoked::load(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_revocation_list_names_keys_by_themselves_and_by_hashes() {
        let bytes = key(ED25519).to_bytes().unwrap();
        for section in [
            (2, string(&bytes)),
            (3, string(&Sha1::digest(&bytes))),
            (5, string(&Sha256::digest(&bytes))),
        ] {
            let revoked = load(&list(&[(255, [string(b"x"), vec![0]].concat()), section])).unwrap();
            assert!(revoked.has_key(&key(ED25519)) && !revoked.has_key(&key(OTHER_ED25519)));
        }
    }

    #[test]
    fn serials_are_single_in_ranges_and_in_bitmaps() {
        let listed = Certificates {
            serials: vec![(5, 5), (10, 20)],
            bitmaps: vec![(100, vec![0b1000_0001, 0b10])],
            ..Certificates::default()
        };
        let all: Vec<u64> = (0..200).filter(|serial| listed.has_serial(*serial)).collect();
        let expected: Vec<u64> = [5].into_iter().chain(10..=20).chain([101, 108, 115]).collect();
        assert_eq!(all, expected);
        assert!(!listed.has_serial(u64::MAX));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for section in [
            (2, vec![0, 0]),
            (3, string(b"short")),
            (9, Vec::new()),
            (255, [string(b"x"), vec![1]].concat()),
            (1, [string(b""), string(b""), vec![0x40], string(b"")].concat()),
        ] {
            assert!(load(&list(std::slice::from_ref(&section))).is_err(), "{section:?}");
        }
        let whole = list(&[(2, string(&key(ED25519).to_bytes().unwrap()))]);
        for end in MAGIC.len()..whole.len() {
            // Nothing revoked is a list, too.
            let is_start = end == list(&[]).len();
            assert_eq!(load(&whole[..end]).is_ok(), is_start, "{end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_list_panics(mut bytes in proptest::collection::vec(0_u8..=255, 0..200), at: usize) {
            let mut whole = list(&[(1, bytes.clone()), (2, bytes.clone())]);
            let _ = Revoked::binary(&bytes);
            bytes.insert(0, 1);
            let at = at % whole.len();
            whole[at] ^= 0x55;
            let _ = Revoked::binary(&whole[MAGIC.len()..]);
        }
    }
}
