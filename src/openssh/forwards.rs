//! What LocalForward, RemoteForward and DynamicForward ask for. Owns their
//! addresses; opens nothing.

use std::path::PathBuf;

use super::arguments::forward_fields;
use super::{Resolved, usage};
use crate::error::Result;
use crate::printable::Printable;
use crate::ssh::forward::{Forward, Listen, Place, Side};

/// Everything that is to be forwarded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwards {
    /// Each one, those that listen here first.
    pub all: Vec<Forward>,
    /// Whether listeners here are for everybody.
    pub gateway_ports: bool,
    /// Whether one that fails ends everything.
    pub exit_on_failure: bool,
    /// Whether an old socket is removed first.
    pub unlink: bool,
    /// The permissions that sockets here do not have (`StreamLocalBindMask`).
    pub mask: u32,
    /// Where the server's clients may go by SOCKS (`PermitRemoteOpen`).
    pub permitted: Permitted,
}

/// Hosts and ports, of which either may be any; everything when `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permitted(Option<Vec<(Option<String>, Option<u16>)>>);

impl Permitted {
    fn of(resolved: &Resolved) -> Result<Self> {
        let Some(setting) = resolved.config.get("permitremoteopen") else {
            return Ok(Self(None));
        };
        let words: Vec<&str> = setting.args.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["any"] => return Ok(Self(None)),
            ["none"] => return Ok(Self(Some(Vec::new()))),
            _ => {}
        }
        let one = |text: &str| {
            let (host, port) = text.rsplit_once(':')?;
            let host = (host != "*").then(|| bare(host).to_owned());
            match (host.as_deref(), port) {
                (Some(""), _) => None,
                (_, "*") => Some((host, None)),
                (_, port) => Some((host, Some(port.parse().ok().filter(|port| *port > 0)?))),
            }
        };
        let all: Option<Vec<_>> = words.into_iter().map(one).collect();
        all.map(|all| Self(Some(all))).ok_or_else(|| setting.wrong("bad port number or host"))
    }

    /// Whether a client may go there.
    pub fn has(&self, host: &str, port: u16) -> bool {
        let Some(all) = &self.0 else { return true };
        all.iter().any(|(known, number)| {
            known.as_deref().is_none_or(|known| known == host)
                && number.is_none_or(|number| number == port)
        })
    }
}

impl Forwards {
    /// What applies to a host.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] naming what cannot be understood.
    pub fn of(resolved: &Resolved) -> Result<Self> {
        let config = &resolved.config;
        let mut forwards = Self {
            gateway_ports: config.flag("gatewayports", false)?,
            exit_on_failure: config.flag("exitonforwardfailure", false)?,
            unlink: config.flag("streamlocalbindunlink", false)?,
            mask: mask(resolved)?,
            permitted: Permitted::of(resolved)?,
            ..Self::default()
        };
        if config.flag("clearallforwardings", false)? {
            return Ok(forwards);
        }
        for setting in config.all("dynamicforward") {
            let listen = listen(&resolved.end(setting.value())?)?;
            forwards.all.push(Forward { side: Side::Local, listen, place: Place::Dynamic });
        }
        for (keyword, side) in [("localforward", Side::Local), ("remoteforward", Side::Remote)] {
            for setting in config.all(keyword) {
                let listen = listen(&resolved.end(setting.value())?)?;
                let place = match setting.args.get(1) {
                    Some(to) => place(&resolved.end(to)?)?,
                    None if keyword == "remoteforward" => Place::Dynamic,
                    None => return Err(setting.wrong("it leads nowhere")),
                };
                forwards.all.push(Forward { side, listen, place });
            }
        }
        Ok(forwards)
    }
}

/// `StreamLocalBindMask`, in octal; nobody but the user as it stands.
fn mask(resolved: &Resolved) -> Result<u32> {
    let Some(setting) = resolved.config.get("streamlocalbindmask") else { return Ok(0o177) };
    let mask = u32::from_str_radix(setting.value(), 8).ok().filter(|mask| *mask <= 0o777);
    mask.ok_or_else(|| setting.wrong("Bad mask"))
}

/// Whether it is a socket and no port, as ssh(1) sees it.
pub(super) fn is_path(text: &str) -> bool {
    text.contains('/')
}

/// `[address:]port`, or a path.
fn listen(text: &str) -> Result<Listen> {
    let bad = || usage(format!("Bad forwarding specification '{}'", Printable(text)));
    if is_path(text) {
        return Ok(Listen::Unix(PathBuf::from(text)));
    }
    let port = |text: &str| text.parse::<u16>().map_err(|_| bad());
    let fields = forward_fields(text).ok_or_else(bad)?;
    match fields.as_slice() {
        [one] => Ok(Listen::Tcp(String::new(), port(one)?)),
        // An address that is there and empty is for everybody, as `*` is.
        [address, number] if address.is_empty() => Ok(Listen::Tcp("*".to_owned(), port(number)?)),
        [address, number] => Ok(Listen::Tcp(bare(address).to_owned(), port(number)?)),
        _ => Err(bad()),
    }
}

/// `host:port`, or a path.
///
/// # Errors
/// [`crate::Error::Usage`].
pub fn place(text: &str) -> Result<Place> {
    let bad = || usage(format!("Bad forwarding specification '{}'", Printable(text)));
    if is_path(text) {
        return Ok(Place::Unix(PathBuf::from(text)));
    }
    let fields = forward_fields(text).ok_or_else(bad)?;
    let [host, port] = fields.as_slice() else { return Err(bad()) };
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?;
    if host.is_empty() {
        return Err(bad());
    }
    Ok(Place::Tcp(bare(host).to_owned(), port))
}

/// Without the brackets of IPv6.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

impl Resolved {
    /// One end of a forward. Only in paths are there tokens: a host may be
    /// `fe80::1%eth0`.
    pub(super) fn end(&self, text: &str) -> Result<String> {
        match is_path(text) {
            true => self.path(text),
            false => Ok(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_ssh_takes_for_one() {
        let tcp = |host: &str, port| Listen::Tcp(host.to_owned(), port);
        for (text, expected) in [
            ("22", tcp("", 22)),
            ("localhost:22", tcp("localhost", 22)),
            (":22", tcp("*", 22)),
            ("*:22", tcp("*", 22)),
            ("[::1]:22", tcp("::1", 22)),
            ("0", tcp("", 0)),
            ("/run/x", Listen::Unix("/run/x".into())),
            ("run/22", Listen::Unix("run/22".into())),
        ] {
            assert_eq!(listen(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "x", "70000", "a:b", "a:1:2"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
        assert_eq!(place("[::1]:22").unwrap(), Place::Tcp("::1".into(), 22));
        let scoped = Place::Tcp("fe80::1%eth0".into(), 22);
        assert_eq!(place("[fe80::1%eth0]:22").unwrap(), scoped);
        assert_eq!(place("h:22").unwrap(), Place::Tcp("h".into(), 22));
        assert_eq!(place("/run/x").unwrap(), Place::Unix("/run/x".into()));
        for bad in ["h", ":22", "h:0", "h:x", "a:b:1"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
