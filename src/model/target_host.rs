//! `TargetHost`: `[user@]host[:port][?options]` as Clan's `targetHost` writes
//! it. Owns that grammar; which options may stand there says whoever reads one.
//! Resolves nothing.

use std::fmt;
use std::net::Ipv6Addr;

use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::tokens;

/// Longest host, in bytes; a name in DNS has at most 253, a ticket more.
pub(crate) const MAX_HOST: usize = 1024;
/// Longest host of any technology that is the value of a var; tickets of iroh are the longest.
const MAX_VAR_HOST: usize = 4096;

/// Longest user, in bytes.
const MAX_USER: usize = 255;

/// An address as a person writes it: `[user@]host[:port]`, `[user@][v6]:port`
/// or a bare IPv6 address, with or without `ssh://` before it, with or without
/// `?NAME=VALUE&…` after it (`clan_lib/ssh/remote.py`,
/// draft-salowey-secsh-uri-00).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetHost {
    /// The login name, if one was given.
    pub user: Option<String>,
    /// A name or an address, without brackets; never empty, never starting with `-`.
    pub host: String,
    /// The TCP port, if one was given; never 0.
    pub port: Option<u16>,
    /// Options of ssh_config(5), in their order; none that starts a program.
    pub options: Vec<(String, String)>,
}

impl TargetHost {
    /// Parses what a user typed, with options that are `allowed`, such as by
    /// [`crate::options::is_for_addresses`].
    ///
    /// # Errors
    /// [`Error::Usage`] naming the text and the rule it breaks. Options such as
    /// `?ProxyCommand=…` are refused: they could start programs.
    pub fn parse(text: &str, allowed: fn(&str) -> bool) -> Result<Self> {
        Self::read(text, allowed).map_err(|reason| Error::Usage(refusal(text, &reason)))
    }

    /// Parses what stands in a clan, where options do not count: the address
    /// without them, and what was left out, one sentence each.
    ///
    /// # Errors
    /// Why it is no address, with the text.
    pub(crate) fn without_options(
        text: &str,
        allowed: fn(&str) -> bool,
    ) -> Result<(Self, Vec<String>), String> {
        let (target, options) = Self::split(text).map_err(|reason| refusal(text, &reason))?;
        let ignored = match parse_options(options, allowed) {
            Ok(options) => {
                options.into_iter().map(|(name, _)| format!("option {name} is ignored")).collect()
            }
            Err(reason) => vec![format!("{reason}; its options are ignored")],
        };
        Ok((target, ignored))
    }

    /// Parses `text`, or says only which rule it breaks.
    pub(crate) fn read(text: &str, allowed: fn(&str) -> bool) -> Result<Self, String> {
        let (target, options) = Self::split(text)?;
        Ok(Self { options: parse_options(options, allowed)?, ..target })
    }

    /// The address, and what follows its `?`.
    fn split(text: &str) -> Result<(Self, &str), String> {
        if text.len() > MAX_HOST + MAX_USER {
            return Err(format!("longer than {} bytes", MAX_HOST + MAX_USER));
        }
        let (endpoint, options) = text.split_once('?').unwrap_or((text, ""));
        let endpoint = match endpoint.strip_prefix("ssh://") {
            Some(uri) => uri.strip_suffix('/').unwrap_or(uri),
            None => endpoint,
        };
        let (user, address) = match endpoint.split_once('@') {
            Some((_, address)) if address.contains('@') => {
                return Err("more than one @".into());
            }
            Some((user, address)) => (Some(check_user(user)?), address),
            None => (None, endpoint),
        };
        if user.is_some() && is_ipv6(address) {
            return Err("an IPv6 address takes brackets after a user".into());
        }
        let (host, port) = split_port(address)?;
        check_host(host)?;
        let (user, host) = (user.map(str::to_owned), host.to_owned());
        Ok((Self { user, host, port, options: Vec::new() }, options))
    }
}

/// Why `text` is refused, with as much of it as may be shown.
fn refusal(text: &str, reason: &str) -> String {
    // What precedes `@` may be a password, and what follows `?` is no address.
    let shown = text.split('?').next().unwrap_or(text);
    let shown = match shown.rsplit_once('@') {
        Some((user, host)) if user.trim_start_matches("ssh:").contains(':') => host,
        _ => shown,
    };
    format!("invalid target host \"{}\": {reason}", Printable(shown))
}

/// Fit for a terminal; what is plain ASCII, [`TargetHost::parse`] reads back.
impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{}@", Printable(user))?;
        }
        let host = Printable(&self.host);
        match self.host.contains(':') && (self.port.is_some() || self.user.is_some()) {
            true => write!(f, "[{host}]")?,
            false => host.fmt(f)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        for (at, (name, value)) in self.options.iter().enumerate() {
            let before = if at == 0 { '?' } else { '&' };
            write!(f, "{before}{name}={}", Printable(value))?;
        }
        Ok(())
    }
}

/// Refuses a login name that is empty, too long, or could be taken for an option.
pub(crate) fn check_user(user: &str) -> Result<&str, String> {
    check_word("user", user, MAX_USER, tokens::unfit_user)?;
    // Stricter than for a name that the user types: a variable of his shell is not
    // for others to read.
    if let Some(c) = user.chars().find(|c| c.is_whitespace() || *c == '$') {
        return Err(format!("the user holds {c:?}"));
    }
    if user.contains(':') {
        return Err("the user holds a colon, and a password is not taken here".into());
    }
    Ok(user)
}

fn split_port(address: &str) -> Result<(&str, Option<u16>), String> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        if !is_ipv6(host) {
            return Err("only an IPv6 address goes in brackets".into());
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(parse_port(port)?))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("expected :PORT after the bracket".into()),
        };
    }
    match address.split_once(':') {
        None => Ok((address, None)),
        Some(_) if is_ipv6(address) => Ok((address, None)),
        Some((_, port)) if port.contains(':') => {
            Err("neither HOST:PORT nor an IPv6 address, which takes brackets before a port".into())
        }
        Some((host, port)) => Ok((host, Some(parse_port(port)?))),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        // u16's own parser takes a leading `+`.
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err("the port is not a number from 1 to 65535".into()),
    }
}

/// Whether this is a host that can be dialled, as the value of a var.
pub(crate) fn is_host(host: &str) -> bool {
    check_word("host", host, MAX_VAR_HOST, tokens::unfit_host).is_ok()
}

fn check_host(host: &str) -> Result<(), String> {
    check_word("host", host, MAX_HOST, tokens::unfit_host)?;
    match host.chars().find(|c| matches!(c, '/' | '#' | '[' | ']')) {
        Some(c) => Err(format!("the host holds {c:?}")),
        None => Ok(()),
    }
}

fn check_word(
    what: &str,
    word: &str,
    max: usize,
    unfit: fn(&str) -> Option<tokens::Unfit>,
) -> Result<(), String> {
    if word.is_empty() {
        Err(format!("the {what} is empty"))
    } else if word.len() > max {
        Err(format!("the {what} is longer than {max} bytes"))
    } else {
        unfit(word).map_or(Ok(()), |why| Err(format!("the {what} {why}")))
    }
}

/// An IPv6 address, with or without a zone (RFC 4007, section 11).
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let zone_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !zone.is_empty() && zone.chars().all(zone_char) && address.parse::<Ipv6Addr>().is_ok()
}

/// `NAME=VALUE&…`, as Clan splits it: nothing is decoded, empty pieces are skipped.
fn parse_options(text: &str, allowed: fn(&str) -> bool) -> Result<Vec<(String, String)>, String> {
    let pieces = text.split('&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            // A piece without a value may be anything, even a password.
            let (name, value) =
                piece.split_once('=').ok_or("an option has no value, expected NAME=VALUE")?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err("the name of an option is not a word".into());
            }
            if !allowed(name) {
                return Err(format!("option {name} is not taken from an address"));
            }
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(format!("option {name} has no usable value"));
            }
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
