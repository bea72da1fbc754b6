//! The options that are units: times, sizes, permissions.

use std::time::Duration;

use super::slot::{Arity, Value, first};
use super::units::{bytes, seconds};
use super::value::NONE_ALONE;
use crate::printable::Printable;
use crate::ssh::KEYSTROKES;

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

/// `RequiredRSASize`: bits of the smallest RSA keys; fewer than 1024 are too few
/// whatever is said (OpenSSH's `SSH_RSA_MINIMUM_MODULUS_SIZE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RsaSize(pub u32);

/// `StreamLocalBindMask`: permissions that a socket does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(pub u32);

/// `ObscureKeystrokeTiming`: the grid on which keystrokes leave, if they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keystrokes(pub Option<Duration>);

impl Value for Keystrokes {
    fn parse(words: &[String]) -> Result<Self, String> {
        let word = first(words);
        match word {
            "yes" | "true" => return Ok(Self(Some(KEYSTROKES))),
            "no" | "false" => return Ok(Self(None)),
            _ => {}
        }
        let Some(interval) = word.strip_prefix("interval:") else {
            return Err(format!("unsupported argument \"{}\"", Printable(word)));
        };
        let millis = u32::parse(&[interval.to_owned()])?;
        match millis {
            1..=1000 => Ok(Self(Some(Duration::from_millis(millis.into())))),
            _ => Err("interval out of range".to_owned()),
        }
    }

    fn words(&self) -> Vec<String> {
        vec![match self.0 {
            None => "no".to_owned(),
            Some(KEYSTROKES) => "yes".to_owned(),
            Some(interval) => format!("interval:{}", interval.as_millis()),
        }]
    }
}

/// `ChannelTimeout`: patterns of kinds of channels, each with a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intervals(Vec<String>);

impl Value for Intervals {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        match words {
            [word] if word.eq_ignore_ascii_case("none") => return Ok(Self(Vec::new())),
            words if words.iter().any(|word| word.eq_ignore_ascii_case("none")) => {
                return Err(NONE_ALONE.to_owned());
            }
            _ => {}
        }
        let is_interval = |word: &String| {
            let parts = word.split_once('=').filter(|(kind, _)| !kind.is_empty());
            parts.is_some_and(|(_, interval)| time(interval).is_ok())
        };
        match words.iter().find(|word| !is_interval(word)) {
            Some(word) => Err(format!("invalid channel timeout {}", Printable(word))),
            None => Ok(Self(words.to_vec())),
        }
    }

    fn words(&self) -> Vec<String> {
        match self.0.is_empty() {
            true => vec!["none".to_owned()],
            false => self.0.clone(),
        }
    }
}

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
    const ARITY: Arity = Arity::Two;

    fn parse(words: &[String]) -> Result<Self, String> {
        let size = match first(words) {
            word if word.eq_ignore_ascii_case("default") => 0,
            word => bytes(word)
                .ok_or_else(|| format!("Bad number '{}': Invalid argument", Printable(word)))?,
        };
        // OpenSSH's blocks have 16 bytes at most.
        if (1..16).contains(&size) {
            return Err("RekeyLimit too small".to_owned());
        }
        let seconds = match words {
            [_, word] if word.eq_ignore_ascii_case("none") => 0,
            [_, word] => time(word)?,
            _ => 0,
        };
        Ok(Self { bytes: size, seconds })
    }

    fn words(&self) -> Vec<String> {
        vec![self.bytes.to_string(), self.seconds.to_string()]
    }
}

impl Value for Persist {
    fn parse(words: &[String]) -> Result<Self, String> {
        match first(words) {
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
        u32::parse(words).map(Self)
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
