//! One line of known_hosts: marker, hosts, key type, key, comment (sshd(8),
//! SSH_KNOWN_HOSTS FILE FORMAT). Works on bytes, because comments may be in any
//! encoding. Lines nobody understands are told apart from empty ones.

use data_encoding::BASE64;
use russh::keys::{Certificate, PublicKey};

use super::hosts::Hosts;

/// What the key of a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// A host key.
    Plain,
    /// `@cert-authority`: the key signs host certificates.
    CertAuthority,
    /// `@revoked`: never accept this key.
    Revoked,
}

/// A line that says something.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) marker: Marker,
    pub(super) hosts: Hosts,
    pub(super) key: PublicKey,
}

impl Line {
    /// `None` for blank lines and comments; the error says why the line was
    /// not understood. As ssh(1), the caller skips such lines: SSH 1 keys, key
    /// types of the future, text.
    pub(super) fn parse(text: &[u8]) -> Result<Option<Self>, &'static str> {
        let mut rest = trim(text);
        if rest.is_empty() || rest.starts_with(b"#") {
            return Ok(None);
        }
        if rest.contains(&0) {
            return Err("a zero byte");
        }
        let mut marker = Marker::Plain;
        if rest.starts_with(b"@") {
            let word;
            (word, rest) = word_of(rest);
            marker = match word {
                b"@cert-authority" => Marker::CertAuthority,
                b"@revoked" => Marker::Revoked,
                _ => return Err("an unknown marker"),
            };
            if rest.starts_with(b"@") {
                return Err("more than one marker");
            }
        }
        let (hosts, rest) = word_of(rest);
        let (key_type, rest) = word_of(rest);
        let (key, _comment) = word_of(rest);
        let hosts = Hosts::parse(hosts)?;
        let key = BASE64.decode(key).map_err(|_| "a damaged key")?;
        if marker == Marker::Revoked
            && let Some(key) = key_inside(key_type, &key)
        {
            return Ok(Some(Self { marker, hosts, key }));
        }
        let key = PublicKey::from_bytes(&key).map_err(|_| "an unknown or damaged key")?;
        if key.algorithm().as_str().as_bytes() != key_type {
            return Err("a key of another type than the line says");
        }
        Ok(Some(Self { marker, hosts, key }))
    }
}

/// The key that a certificate is of. To revoke a certificate is to revoke that
/// (sshkey.c, `sshkey_equal_public`, by which hostfile.c compares).
fn key_inside(key_type: &[u8], blob: &[u8]) -> Option<PublicKey> {
    let certificate = Certificate::from_bytes(blob).ok()?;
    let is_of_type = certificate.algorithm().to_certificate_type().as_bytes() == key_type;
    is_of_type.then(|| PublicKey::new(certificate.public_key().clone(), ""))
}

/// What remains of a line when `name` is taken out of it: nothing, or a line for
/// its other names. `None` when it is not a plain line for that very name with a
/// key that is meant; patterns are left alone.
pub(super) fn without(
    text: &[u8],
    name: &str,
    is_meant: &dyn Fn(&PublicKey) -> bool,
) -> Option<Vec<u8>> {
    let line = Line::parse(text).ok()??;
    if line.marker != Marker::Plain || !is_meant(&line.key) {
        return None;
    }
    let others = line.hosts.without(name.as_bytes())?;
    if others.is_empty() {
        return Some(Vec::new());
    }
    let (_, rest) = word_of(trim(text));
    let newline: &[u8] = if text.ends_with(b"\n") { b"\n" } else { b"" };
    Some([&others, &b" "[..], rest, newline].concat())
}

/// The first word and what follows it.
fn word_of(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(is_blank).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, trim(rest))
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    // Also the carriage return of files edited elsewhere.
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
