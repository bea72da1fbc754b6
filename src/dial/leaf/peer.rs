//! Whom a leaf peers with. Owns the form in which the overlays themselves write it, a URI.

use percent_encoding::percent_decode_str;

use crate::model::Technology;
use crate::secret::Secret;

/// What carries the link to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    /// TCP.
    Tcp,
    /// TLS, in which nobody proves who he is: what the overlay sends does.
    Tls,
}

/// Whom to peer with.
#[derive(Debug, Clone)]
pub struct PeerAddress {
    /// A name or an IP address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// What carries the link.
    pub carriage: Carriage,
    /// What the peer wants to hear, if anything.
    pub password: Option<Secret<String>>,
    /// The keys of which it has to have one; when there are none, any will do.
    pub keys: Vec<[u8; 32]>,
    /// Whether it is a public node, of people who have nothing to do with the clan.
    pub is_public: bool,
}

/// The longest password that Yggdrasil has.
const MAX_PASSWORD: usize = 64;
/// So many keys a peer may be expected to have.
const MAX_KEYS: usize = 64;

impl PeerAddress {
    /// One without a password, of whom nothing is known.
    pub fn new(host: &str, port: u16, carriage: Carriage) -> Self {
        Self {
            host: host.to_owned(),
            port,
            carriage,
            password: None,
            keys: Vec::new(),
            is_public: false,
        }
    }

    /// Whether only Tor leads there.
    pub fn is_onion(&self) -> bool {
        Technology::of_host(&self.host) == Technology::TOR
    }

    /// Whether this is the node that the other is, by another of its ports.
    pub(super) fn is_same_node(&self, other: &Self) -> bool {
        self.host == other.host && self.carriage != other.carriage
    }

    /// From what the overlays' own settings have, such as `tls://host:port?key=…`; where
    /// there is no port, it is this one.
    ///
    /// # Errors
    /// What cannot be used, without what it is: a password may be in it.
    pub fn parse(uri: &str, default_port: u16) -> Result<Self, &'static str> {
        let (scheme, rest) = uri.split_once("://").ok_or("it is written as tcp://HOST:PORT")?;
        let carriage = match scheme {
            "tcp" | "socks" => Carriage::Tcp,
            "tls" | "sockstls" => Carriage::Tls,
            _ => return Err("only tcp:// and tls:// are spoken"),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        // The proxy is a tor, which we have ourselves.
        let by_proxy = scheme.starts_with("socks");
        let place = match place.split_once('/').filter(|_| by_proxy) {
            Some((_, place)) => place,
            None => place.strip_suffix('/').unwrap_or(place),
        };
        let (host, port) = split_port(place).ok_or("its port is missing or invalid")?;
        let is_host = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:%".contains(&byte))
        };
        if !is_host(host) {
            return Err("its host is invalid");
        }
        let mut peer = Self::new(host, port.unwrap_or(default_port), carriage);
        if by_proxy && !peer.is_onion() {
            return Err("a proxy is supported only for onion services");
        }
        if peer.is_onion() && !cfg!(feature = "tor") {
            return Err("this build has no Tor, which onion services need");
        }
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = percent_decode_str(value).decode_utf8().map_err(|_| "it is not UTF-8")?;
            match name {
                "password" if value.len() > MAX_PASSWORD => {
                    return Err("its password is longer than 64 bytes");
                }
                "password" => peer.password = Some(Secret::new(value.into_owned())),
                "key" => {
                    let key = data_encoding::HEXLOWER_PERMISSIVE.decode(value.as_bytes());
                    let key = key.ok().and_then(|key| key.try_into().ok());
                    peer.keys.push(key.ok_or("its key is not 64 hexadecimal digits")?);
                }
                // How much it is liked and how often it is tried does not concern a leaf.
                _ => {}
            }
        }
        if peer.keys.len() > MAX_KEYS {
            return Err("it has more than 64 keys");
        }
        Ok(peer)
    }

    #[cfg(any(test, fuzzing))]
    pub(in crate::dial) fn example() -> Self {
        Self::new("peer.example", 1, Carriage::Tcp)
    }
}

fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    match port {
        None => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok().filter(|&port| port != 0)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_tells_all() {
        let key = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
        let uri = format!("tls://[2001:db8::1]:6446?key={key}&password=a%26b&priority=1");
        let peer = PeerAddress::parse(&uri, 1).unwrap();
        assert_eq!((peer.host.as_str(), peer.port), ("2001:db8::1", 6446));
        assert_eq!((peer.carriage, peer.keys.len()), (Carriage::Tls, 1));
        assert_eq!(peer.password.unwrap().expose(), "a&b");
        let peer = PeerAddress::parse("tcp://peer.example/", 9651).unwrap();
        assert_eq!((peer.host.as_str(), peer.port), ("peer.example", 9651));
    }

    #[cfg(feature = "tor")]
    #[test]
    fn an_onion_service_is_reached_with_or_without_a_proxy() {
        for uri in ["tcp://abc.onion:1", "socks://127.0.0.1:9050/abc.onion:1?priority=20"] {
            let peer = PeerAddress::parse(uri, 2).unwrap();
            assert_eq!((peer.host.as_str(), peer.port, peer.is_onion()), ("abc.onion", 1, true));
        }
        let peer = PeerAddress::parse("sockstls://x/abc.onion", 2).unwrap();
        assert_eq!((peer.carriage, peer.port), (Carriage::Tls, 2));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for bad in [
            "",
            "peer.example:1",
            "quic://a:1",
            "tcp://",
            "tcp://:1",
            "tcp://a:0",
            "tcp://a:x",
            "tcp://a:1:2",
            "tcp://a b:1",
            "socks://127.0.0.1:9050/peer.example:1",
            "socks://127.0.0.1:9050",
            "tcp://[::1]1",
            "tcp://a:1?key=00",
            &format!("tcp://a?password={}", "x".repeat(65)),
        ] {
            assert!(PeerAddress::parse(bad, 1).is_err(), "{bad}");
        }
    }
}
