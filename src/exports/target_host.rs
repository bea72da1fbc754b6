//! `TargetHost`: `[user@]host[:port]` as Clan's `targetHost` writes it. Owns
//! that grammar; refuses options in it, resolves nothing.

use std::fmt;
use std::net::Ipv6Addr;

use crate::error::{Error, Result};
use crate::printable::Printable;

/// Longest host, in bytes; a name in DNS has at most 253, a ticket more.
pub(super) const MAX_HOST: usize = 1024;

/// Longest user, in bytes.
pub(super) const MAX_USER: usize = 255;

/// An address as a person writes it: `[user@]host[:port]`, `[user@][v6]:port`
/// or a bare IPv6 address, with or without `ssh://` before it
/// (`clan_lib/ssh/parse.py`, draft-salowey-secsh-uri-00).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetHost {
    /// The login name, if one was given.
    pub user: Option<String>,
    /// A name or an address, without brackets; never empty, never starting with `-`.
    pub host: String,
    /// The TCP port, if one was given; never 0.
    pub port: Option<u16>,
}

impl TargetHost {
    /// Parses what a user typed.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the text and the rule it breaks. Options such as
    /// `?ProxyCommand=…` are refused: they could start programs.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).map_err(|reason| {
            // What precedes `@` may be a password; the reason names what follows `?`.
            let shown = match text.rsplit_once('@') {
                Some((user, host)) if user.trim_start_matches("ssh:").contains(':') => host,
                _ => text,
            };
            let shown = shown.split('?').next().unwrap_or(shown);
            Error::Usage(format!("invalid target host \"{}\": {reason}", Printable(shown)))
        })
    }

    /// Parses `text`, or says only which rule it breaks.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let text = match text.strip_prefix("ssh://") {
            Some(uri) => uri.strip_suffix('/').unwrap_or(uri),
            None => text,
        };
        if text.len() > MAX_HOST + MAX_USER {
            return Err(format!("longer than {} bytes", MAX_HOST + MAX_USER));
        }
        let (user, address) = match text.rsplit_once('@') {
            Some((user, address)) => (Some(check_user(user)?), address),
            None => (None, text),
        };
        if let Some((_, options)) = text.split_once('?') {
            return Err(refused_options(options));
        }
        let (host, port) = split_port(address)?;
        check_host(host)?;
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}

/// Fit for a terminal; what is plain ASCII, [`TargetHost::parse`] reads back.
impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{}@", Printable(user))?;
        }
        let host = Printable(&self.host);
        match (self.port, self.host.contains(':')) {
            (Some(port), true) => write!(f, "[{host}]:{port}"),
            (Some(port), false) => write!(f, "{host}:{port}"),
            (None, _) => host.fmt(f),
        }
    }
}

/// Refuses a login name that is empty, too long, or could be taken for an option.
pub(super) fn check_user(user: &str) -> Result<&str, String> {
    check_word("user", user, MAX_USER)?;
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

fn check_host(host: &str) -> Result<(), String> {
    check_word("host", host, MAX_HOST)?;
    match host.chars().find(|c| matches!(c, '/' | '#' | '[' | ']' | '"' | '\'' | '\\')) {
        Some(c) => Err(format!("the host holds {c:?}")),
        None => Ok(()),
    }
}

fn check_word(what: &str, word: &str, max: usize) -> Result<(), String> {
    if word.is_empty() {
        Err(format!("the {what} is empty"))
    } else if word.len() > max {
        Err(format!("the {what} is longer than {max} bytes"))
    } else if word.starts_with('-') {
        Err(format!("the {what} starts with -"))
    } else if word.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Err(format!("the {what} holds a space or a control character"))
    } else {
        Ok(())
    }
}

/// An IPv6 address, with or without a zone (RFC 4007, section 11).
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let zone_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !zone.is_empty() && zone.chars().all(zone_char) && address.parse::<Ipv6Addr>().is_ok()
}

fn refused_options(options: &str) -> String {
    let names: Vec<String> = options
        .split('&')
        .map(|option| option.split('=').next().unwrap_or(option))
        .filter(|name| !name.is_empty())
        .take(8)
        .map(|name| Printable(name).to_string())
        .collect();
    if names.is_empty() {
        return "nothing may follow the address, but there is a ?".into();
    }
    format!("options are not taken from an address: {}", names.join(", "))
}

#[cfg(test)]
mod tests;
