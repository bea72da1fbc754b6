//! The host field of a known_hosts line: a list of patterns or one hashed name
//! (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). Owns matching and hashing; knows
//! nothing of keys, markers or files. Patterns work on bytes, without case.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::pattern::matches_host;

/// The length of a SHA-1 digest, and of the salt OpenSSH uses with it.
const DIGEST: usize = 20;

/// OpenSSH gives one pattern 1024 bytes with the terminating zero.
const PATTERN_MAX: usize = 1023;

const HASH_PREFIX: &[u8] = b"|1|";

/// Which names a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hosts {
    /// A comma list, in lower case.
    Patterns(Box<[u8]>),
    /// `|1|salt|HMAC-SHA1(salt, name)`.
    Hashed { salt: [u8; DIGEST], digest: [u8; DIGEST] },
}

impl Hosts {
    /// Reads the field; the error says why nobody could mean it.
    pub(super) fn parse(field: &[u8]) -> Result<Self, &'static str> {
        if !field.starts_with(b"|") {
            if field.split(|byte| *byte == b',').any(|pattern| pattern.len() > PATTERN_MAX) {
                return Err("a host pattern is too long");
            }
            return Ok(Self::Patterns(field.to_ascii_lowercase().into_boxed_slice()));
        }
        let fields = field.strip_prefix(HASH_PREFIX).ok_or("an unknown way of hashing names")?;
        let mut fields = fields.split(|byte| *byte == b'|').map(base64_digest);
        match (fields.next().flatten(), fields.next().flatten(), fields.next()) {
            (Some(salt), Some(digest), None) => Ok(Self::Hashed { salt, digest }),
            _ => Err("a damaged hashed name"),
        }
    }

    /// The ports of its `[name]:PORT`.
    pub(super) fn ports_of(&self, name: &str) -> Vec<u16> {
        let Self::Patterns(list) = self else { return Vec::new() };
        let front = format!("[{}]:", name.to_ascii_lowercase());
        let ports = list.split(|byte| *byte == b',').filter_map(|pattern| {
            std::str::from_utf8(pattern.strip_prefix(front.as_bytes())?).ok()?.parse().ok()
        });
        ports.collect()
    }

    /// Whether the line is about `name`, which must be in lower case.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Hashed { salt, digest } => hash(salt, name).is_some_and(|own| own == *digest),
            Self::Patterns(list) => {
                let mut found = false;
                for pattern in list.split(|byte| *byte == b',') {
                    match pattern.strip_prefix(b"!") {
                        Some(not) if matches_host(not, name) => return false,
                        Some(_) => {}
                        None => found = found || matches_host(pattern, name),
                    }
                }
                found
            }
        }
    }

    /// The other names, when `name` itself, in lower case, is among these.
    pub(super) fn without(&self, name: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hashed { .. } => self.matches(name).then(Vec::new),
            Self::Patterns(list) => {
                let all = || list.split(|byte| *byte == b',');
                if !all().any(|pattern| pattern == name) {
                    return None;
                }
                let others: Vec<&[u8]> = all().filter(|pattern| *pattern != name).collect();
                Some(others.join(&b','))
            }
        }
    }

    /// Whether a pattern or a negation is among them.
    pub(super) fn is_complex(&self) -> bool {
        match self {
            Self::Hashed { .. } => false,
            Self::Patterns(list) => list.iter().any(|byte| b"*?!".contains(byte)),
        }
    }

    /// The names for a human, not escaped.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Patterns(list) => String::from_utf8_lossy(list).into_owned(),
            Self::Hashed { .. } => "[hashed name]".to_owned(),
        }
    }
}

/// The hashed form of `name`, which must be in lower case, with this salt.
pub(super) fn hashed_field(salt: &[u8; DIGEST], name: &[u8]) -> Option<String> {
    let digest = hash(salt, name)?;
    Some(format!("|1|{}|{}", BASE64.encode(salt), BASE64.encode(&digest)))
}

/// A fresh salt from the operating system.
pub(super) fn new_salt() -> Result<[u8; DIGEST], getrandom::Error> {
    let mut salt = [0; DIGEST];
    getrandom::fill(&mut salt)?;
    Ok(salt)
}

fn hash(salt: &[u8; DIGEST], name: &[u8]) -> Option<[u8; DIGEST]> {
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(salt).ok()?;
    mac.update(name);
    mac.finalize().into_bytes().as_slice().try_into().ok()
}

fn base64_digest(text: &[u8]) -> Option<[u8; DIGEST]> {
    // A longer text cannot be 20 bytes; refusing it first bounds the work.
    if text.len() > 2 * DIGEST {
        return None;
    }
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(field: &str, name: &str) -> bool {
        Hosts::parse(field.as_bytes()).unwrap().matches(name.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_the_man_page() {
        for (field, name, expected) in [
            ("host", "host", true),
            ("HOST.Example", "host.example", true),
            ("host", "hosts", false),
            ("host", "hos", false),
            ("a,b,host", "host", true),
            ("a,,b", "", true),
            ("*", "anything", true),
            ("*.example", "a.b.example", true),
            ("*.example", "example", false),
            ("h?st", "host", true),
            ("h?st", "hst", false),
            ("host?", "host", false),
            ("h**t", "ht", true),
            ("*a*b*c", "xxaxxbxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("*,!host", "host", false),
            ("!host,*", "host", false),
            ("*,!host", "other", true),
            ("!host", "other", false),
            ("!*.bad,*.bad,*", "x.bad", false),
            ("[host]:2222", "[host]:2222", true),
            ("[host]:2222", "host", false),
            ("[*.example]:2222", "[a.example]:2222", true),
            ("*", "[host]:2222", true),
            ("fe80::1%eth0", "fe80::1%eth0", true),
        ] {
            assert_eq!(matches(field, name), expected, "{field} against {name}");
        }
    }

    #[test]
    fn a_name_hashed_by_ssh_keygen_is_found() {
        // Made with OpenSSH 9.2: ssh-keygen -H on a file with these names.
        for (field, name) in HASHED_BY_SSH_KEYGEN {
            assert!(matches(field, name), "{name}");
            assert!(!matches(field, "other"), "{name}");
        }
    }

    const HASHED_BY_SSH_KEYGEN: [(&str, &str); 2] = [
        ("|1|twvNEQk86tLUFkwd5PkMqwI3SfQ=|LmIpF/XvTd36HRXB8q03+JXazq8=", "host.example"),
        ("|1|PwbTCyEDMcUiEXZsFMhS8v5SDLs=|DR7fE6P09I5axiWPRvObe3/74i8=", "[host.example]:2222"),
    ];

    #[test]
    fn our_hashed_names_are_found_again() {
        let salt = new_salt().unwrap();
        let field = hashed_field(&salt, b"[host]:2222").unwrap();
        assert!(matches(&field, "[host]:2222"));
        assert!(!matches(&field, "host"));
        assert_ne!(salt, new_salt().unwrap());
    }

    #[test]
    fn damaged_hashed_names_are_refused() {
        let good = hashed_field(&[7; 20], b"host").unwrap();
        for field in [
            "|",
            "|1|",
            "|1||",
            "|1|AAAA|AAAA",
            "|2|x|y",
            &good[..good.len() - 1],
            &format!("{good}|"),
            &format!("{good},other"),
            &format!("{good}{}", "A".repeat(100_000)),
        ] {
            assert!(Hosts::parse(field.as_bytes()).is_err(), "{field}");
        }
    }

    #[test]
    fn a_pattern_full_of_stars_ends_soon() {
        let field = "*a".repeat(500);
        assert!(!matches(&field, &"a".repeat(499)));
        assert!(matches(&field, &"a".repeat(5000)));
        assert!(Hosts::parse("a".repeat(1024).as_bytes()).is_err());
    }
}
