//! The options about packets and devices of the network: IPQoS and TunnelDevice. Owns
//! their words; neither changes anything here.

use super::slot::{Arity, Value, first};
use crate::printable::Printable;

/// `IPQoS`: how packets of a terminal, and all others, are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality(Option<u8>, Option<u8>);

/// `TunnelDevice`: the numbers of the devices here and there, if they have some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelDevice(Option<u32>, Option<u32>);

/// The names that OpenSSH's misc.c has for the bytes; the first one is printed.
const QUALITIES: [(&str, u8); 27] = [
    ("af11", 0x28),
    ("af12", 0x30),
    ("af13", 0x38),
    ("af21", 0x48),
    ("af22", 0x50),
    ("af23", 0x58),
    ("af31", 0x68),
    ("af32", 0x70),
    ("af33", 0x78),
    ("af41", 0x88),
    ("af42", 0x90),
    ("af43", 0x98),
    ("cs0", 0x00),
    ("cs1", 0x20),
    ("cs2", 0x40),
    ("cs3", 0x60),
    ("cs4", 0x80),
    ("cs5", 0xa0),
    ("cs6", 0xc0),
    ("cs7", 0xe0),
    ("ef", 0xb8),
    ("le", 0x04),
    ("va", 0xb0),
    ("lowdelay", 0x10),
    ("throughput", 0x08),
    ("reliability", 0x04),
    ("none", 0x00),
];

/// The largest number of a device (`SSH_TUNID_MAX` of misc.h).
const LAST_DEVICE: u32 = 0x7fff_ffff - 2;

impl Quality {
    /// Nothing is marked.
    pub const NONE: Self = Self(None, None);
}

impl Value for Quality {
    const ARITY: Arity = Arity::Two;

    fn parse(words: &[String]) -> Result<Self, String> {
        let one = |word: &String| {
            quality(word).ok_or_else(|| format!("Bad IPQoS value: {}", Printable(word)))
        };
        let all: Vec<_> = words.iter().map(one).collect::<Result<_, _>>()?;
        match all.as_slice() {
            [interactive, bulk] => Ok(Self(*interactive, *bulk)),
            all => Ok(all.first().map_or(Self::NONE, |both| Self(*both, *both))),
        }
    }

    fn words(&self) -> Vec<String> {
        let name = |byte: u8| {
            let known = QUALITIES.iter().find(|(_, known)| *known == byte);
            known.map_or_else(|| format!("0x{byte:02x}"), |(name, _)| (*name).to_owned())
        };
        let shown = |quality: Option<u8>| quality.map_or_else(|| "none".to_owned(), name);
        vec![shown(self.0), shown(self.1)]
    }
}

/// A name or a number; `Some(None)` for none.
fn quality(word: &str) -> Option<Option<u8>> {
    let lower = word.to_ascii_lowercase();
    if lower == "none" {
        return Some(None);
    }
    let named = QUALITIES.iter().find(|(name, _)| *name == lower).map(|(_, byte)| *byte);
    named.or_else(|| number(&lower)).map(Some)
}

/// As strtol(3) reads it in the base that it names itself.
fn number(text: &str) -> Option<u8> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, base) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (text, 10),
    };
    let is_number = digits.chars().all(|digit| digit.is_digit(base));
    u8::from_str_radix(digits, base).ok().filter(|_| is_number)
}

impl Value for TunnelDevice {
    fn parse(words: &[String]) -> Result<Self, String> {
        let text = first(words);
        let both = match text.split_once(':') {
            Some((here, there)) => device(here).zip(device(there)),
            None => device(text).zip(Some(None)),
        };
        both.map(|(here, there)| Self(here, there)).ok_or_else(|| "Bad tun device.".to_owned())
    }

    fn words(&self) -> Vec<String> {
        let shown = |device: Option<u32>| device.map_or("any".to_owned(), |it| it.to_string());
        vec![format!("{}:{}", shown(self.0), shown(self.1))]
    }
}

fn device(text: &str) -> Option<Option<u32>> {
    if text.eq_ignore_ascii_case("any") {
        return Some(None);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|number| is_number && *number < LAST_DEVICE);
    number.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_devices_are_read_as_openssh_does() {
        let quality = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            Quality::parse(&words).map(|quality| quality.words().join(" "))
        };
        for (text, shown) in [
            ("none", "none none"),
            ("0", "cs0 cs0"),
            ("EF", "ef ef"),
            ("0x48 le", "af21 le"),
            ("010", "throughput throughput"),
            ("5 none", "0x05 none"),
        ] {
            assert_eq!(quality(text).unwrap(), shown, "{text}");
        }
        for bad in ["", "256", "-1", "fast", "ef x", "0x", "09"] {
            assert!(quality(bad).is_err(), "{bad}");
        }
        let device = |text: &str| TunnelDevice::parse(&[text.to_owned()]).map(|it| it.words());
        for (text, shown) in [("any", "any:any"), ("5", "5:any"), ("any:1", "any:1")] {
            assert_eq!(device(text).unwrap(), [shown], "{text}");
        }
        for bad in ["", ":", "1:", "x", "-1", "1:2:3", "99999999999", "2147483647"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }
}
