//! How much a host key must be known. Owns the words for it, on our command line and
//! in ssh_config(5).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// How much a host key must be known, in the words of `--host-key-check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKeyCheck {
    /// `strict`: only known keys (ssh(1): `StrictHostKeyChecking=yes`).
    Strict,
    /// `ask`: known keys, and others if the user agrees.
    Ask,
    /// `accept-new`: store the keys of new hosts, refuse changed ones.
    AcceptNew,
    /// `tofu`, trust on first use: the same as `accept-new`, under the name the
    /// Python clan has for it (clan_lib/ssh/host_key.py).
    #[default]
    Tofu,
    /// `no`, of ssh_config(5) alone: store the keys of new hosts, go on with
    /// changed ones after a warning.
    No,
    /// `none`: accept every key that is not revoked, store nothing. As in the
    /// Python clan; but a key that is not known gets no password.
    None,
}

impl FromStr for HostKeyCheck {
    type Err = Error;

    /// Also takes the words of ssh_config(5)'s `StrictHostKeyChecking`: `yes`,
    /// `no`, `off`, and what stands for them.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "strict" | "yes" | "true" => Ok(Self::Strict),
            "ask" => Ok(Self::Ask),
            "accept-new" => Ok(Self::AcceptNew),
            "tofu" => Ok(Self::Tofu),
            "no" | "off" | "false" => Ok(Self::No),
            "none" => Ok(Self::None),
            _ => Err(Error::Usage(format!(
                "unknown host key check {text:?}: it is strict, ask, accept-new, tofu or none"
            ))),
        }
    }
}

impl fmt::Display for HostKeyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Ask => "ask",
            Self::AcceptNew => "accept-new",
            Self::Tofu => "tofu",
            Self::No => "no",
            Self::None => "none",
        })
    }
}
