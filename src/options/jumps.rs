//! `ProxyJump`: the hosts to go over. Owns what a list of them looks like; who goes
//! there reads each of them as a command line of its own.

use super::slot::{Arity, Value, first};
use crate::printable::Printable;
use crate::services;
use crate::tokens::{unfit_host, unfit_user};

/// Hosts as they were written, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JumpHosts(pub Vec<String>);

impl JumpHosts {
    /// Whether a command line may name them: in a file they may be whatever the user has
    /// written there (OpenSSH 10.3), until one is connected to.
    pub fn are_fit(&self) -> bool {
        self.0.iter().filter_map(|host| Hop::parse(host)).all(|hop| hop.is_fit())
    }
}

impl Value for JumpHosts {
    /// Quotes are part of it, and no host has one (readconf.c, `oProxyJump`).
    const ARITY: Arity = Arity::Unquoted;

    fn parse(words: &[String]) -> Result<Self, String> {
        let text = first(words);
        let hosts: Vec<String> = text.split(',').map(str::to_owned).collect();
        match hosts.iter().all(|host| Hop::parse(host).is_some()) {
            true => Ok(Self(hosts)),
            false => Err(format!("Invalid ProxyJump \"{}\"", Printable(text))),
        }
    }

    fn words(&self) -> Vec<String> {
        vec![self.0.join(",")]
    }

    /// Without the scheme of the last one, and with its address in brackets
    /// (`dump_client_config` of OpenSSH's readconf.c).
    fn lines(&self) -> Vec<Vec<String>> {
        let Some((last, before)) = self.0.split_last() else { return Vec::new() };
        let last = Hop::parse(last).map_or_else(|| last.clone(), |hop| hop.shown());
        let hosts: Vec<&str> = before.iter().map(String::as_str).chain([last.as_str()]).collect();
        vec![vec![hosts.join(",")]]
    }

    fn said(&self) -> Vec<String> {
        self.words()
    }
}

/// One of them: `[user@]host[:port]`, or that as a URI.
struct Hop<'a> {
    user: Option<&'a str>,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Hop<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix("ssh://").map_or(text, |uri| uri.trim_end_matches('/'));
        let (user, address) = match text.rsplit_once('@') {
            Some((user, address)) => (Some(user).filter(|user| !user.is_empty()), address),
            None => (None, text),
        };
        if user.is_none() && text.contains('@') {
            return None;
        }
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => match address.split_once([':', '/']) {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let port = match port {
            Some(port) => Some(services::port(port).filter(|port| *port > 0)?),
            None => None,
        };
        let is_option = |name: &str| name.starts_with('-');
        let is_one = !host.is_empty() && !is_option(host) && !user.is_some_and(is_option);
        is_one.then_some(Self { user, host, port })
    }

    /// Whether nothing of it means something to a shell.
    fn is_fit(&self) -> bool {
        unfit_host(self.host).is_none() && self.user.is_none_or(|user| unfit_user(user).is_none())
    }

    fn shown(&self) -> String {
        let is_address = self.host.contains(':')
            || self.host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let user = self.user.map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        match is_address {
            true => format!("{user}[{}]{port}", self.host),
            false => format!("{user}{}{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_to_jump_over_are_hosts() {
        for (text, shown) in [
            ("h", "h"),
            ("u@h:22", "u@h:22"),
            ("ssh://u@h:22/", "u@h:22"),
            ("x,ssh://u@h", "x,u@h"),
            ("ssh://u@h,x", "ssh://u@h,x"),
            ("1.2.3.4:5", "[1.2.3.4]:5"),
            ("u@[::1]:22", "u@[::1]:22"),
            ("a@b@c", "a@b@c"),
        ] {
            let hosts = JumpHosts::parse(&[text.to_owned()]).unwrap();
            assert_eq!(hosts.lines(), [[shown]], "{text}");
        }
        for bad in [
            "", "::1", "u@", "@h", "h:0", "h:x", "h:70000", "ssh://", "a,,b", ",a", "u@-h", "-u@h",
            "h/x", "[::1",
        ] {
            assert!(JumpHosts::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        for unfit in ["a b", "$(x)", "h;h", "h,h'", "u;u@h", "u'u@h"] {
            assert!(!JumpHosts::parse(&[unfit.to_owned()]).unwrap().are_fit(), "{unfit}");
        }
        assert!(JumpHosts::parse(&["u@h,[::1]:2".to_owned()]).unwrap().are_fit());
    }
}
