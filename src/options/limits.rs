//! The options that are units: times, sizes, permissions.

use super::slot::{Arity, Value, first};
use super::units::{bytes, seconds};
use crate::printable::Printable;

/// A time in whole seconds; `none` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Option<u64>);

/// `RekeyLimit`: an amount of data and a time, 0 for what the library has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RekeyLimit {
    /// In one direction.
    pub bytes: u64,
    /// Since the last exchange.
    pub seconds: u64,
}

/// `ControlPersist`: how long a master stays that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persist {
    /// It goes with its own session.
    No,
    /// Until it is told to go.
    Forever,
    /// So many seconds.
    Seconds(u64),
}

/// `RequiredRSASize`: bits of the smallest RSA keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RsaSize(pub u32);

/// `StreamLocalBindMask`: permissions that a socket does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(pub u32);

fn time(text: &str) -> Result<u64, String> {
    let fits = |seconds: &u64| i32::try_from(*seconds).is_ok();
    seconds(text).filter(fits).ok_or_else(|| "invalid time value.".to_owned())
}

impl Value for Time {
    fn parse(words: &[String]) -> Result<Self, String> {
        match first(words) {
            "none" => Ok(Self(None)),
            text => time(text).map(|seconds| Self(Some(seconds))),
        }
    }

    fn words(&self) -> Vec<String> {
        vec![self.0.map_or_else(|| "none".to_owned(), |seconds| seconds.to_string())]
    }
}

impl Value for RekeyLimit {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        let is_usual = |word: &str| ["default", "none"].contains(&&*word.to_ascii_lowercase());
        let size = match first(words) {
            word if is_usual(word) => 0,
            word => bytes(word)
                .ok_or_else(|| format!("Bad number '{}': Invalid argument", Printable(word)))?,
        };
        // OpenSSH's blocks have 16 bytes at most.
        if (1..16).contains(&size) {
            return Err("RekeyLimit too small".to_owned());
        }
        let seconds = match words {
            [_, word] if is_usual(word) => 0,
            [_, word] => time(word)?,
            [_] => 0,
            _ => return Err("extra arguments at end of line".to_owned()),
        };
        Ok(Self { bytes: size, seconds })
    }

    fn words(&self) -> Vec<String> {
        vec![self.bytes.to_string(), self.seconds.to_string()]
    }
}

impl Value for Persist {
    fn parse(words: &[String]) -> Result<Self, String> {
        match first(words).to_ascii_lowercase().as_str() {
            "no" | "false" => Ok(Self::No),
            "yes" | "true" => Ok(Self::Forever),
            text => match time(text) {
                Ok(0) => Ok(Self::Forever),
                Ok(seconds) => Ok(Self::Seconds(seconds)),
                Err(_) => Err("Bad ControlPersist argument.".to_owned()),
            },
        }
    }

    fn words(&self) -> Vec<String> {
        vec![match self {
            Self::No => "no".to_owned(),
            Self::Forever => "yes".to_owned(),
            Self::Seconds(seconds) => seconds.to_string(),
        }]
    }
}

impl Value for RsaSize {
    fn parse(words: &[String]) -> Result<Self, String> {
        let bits = u32::parse(words)?;
        let is_usable = (1024..=16_384).contains(&bits);
        is_usable.then_some(Self(bits)).ok_or_else(|| "not from 1024 to 16384 bits".to_owned())
    }

    fn words(&self) -> Vec<String> {
        self.0.words()
    }
}

impl Value for Mask {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mask = u32::from_str_radix(first(words), 8).ok().filter(|mask| *mask <= 0o777);
        mask.map(Self).ok_or_else(|| "Bad mask.".to_owned())
    }

    fn words(&self) -> Vec<String> {
        vec![format!("0{:o}", self.0)]
    }
}
