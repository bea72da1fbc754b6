//! Where an endpoint may be, by its ticket or by whoever publishes it, and where servers
//! are that the user names. Owns which of that is dialled: tickets and the answers of name
//! servers are foreign text.

use std::net::{IpAddr, SocketAddr};

use iroh::{EndpointAddr, EndpointId, RelayUrl, TransportAddr};
use iroh_tickets::endpoint::EndpointTicket;

use crate::address;
use crate::secret::{self, Secret};

/// More addresses than any machine has, and few enough to knock at all of them.
pub(super) const MOST: usize = 64;

/// What a ticket says, or what is wrong with it, which says nothing of its text.
pub(super) fn of_ticket(ticket: &str, own: &[RelayUrl]) -> Result<EndpointAddr, &'static str> {
    let Ok(ticket) = ticket.trim().parse::<EndpointTicket>() else {
        return Err("a ticket begins with \"endpoint\" and has only letters and digits");
    };
    let EndpointAddr { id, addrs } = EndpointAddr::from(ticket);
    conceal(id, addrs.iter(), own);
    // One of the few with which everybody can sign.
    if id.as_verifying_key().is_weak() {
        return Err("its public key is of small order, so it proves nothing about who answers");
    }
    if addrs.len() > MOST {
        return Err("it has more than 64 addresses");
    }
    if addrs.iter().any(|address| is_plain_relay(address, own)) {
        return Err("its relay is not at an https:// address");
    }
    Ok(EndpointAddr::from_parts(id, usable(addrs, own)))
}

/// The address of a server. One in the clear is for those who run it themselves.
pub(super) fn url(text: &str) -> Result<RelayUrl, &'static str> {
    let url: RelayUrl = text.parse().map_err(|_| "it is no URL")?;
    match url.scheme() {
        "https" | "http" if url.has_host() => Ok(url),
        _ => Err("it is no URL of a server, such as https://relay.example"),
    }
}

/// Those that are dialled.
pub(super) fn usable(
    addresses: impl IntoIterator<Item = TransportAddr>,
    own: &[RelayUrl],
) -> impl Iterator<Item = TransportAddr> {
    addresses.into_iter().filter(move |address| is_usable(address, own)).take(MOST)
}

fn is_usable(address: &TransportAddr, own: &[RelayUrl]) -> bool {
    match address {
        TransportAddr::Relay(_) => !is_plain_relay(address, own),
        TransportAddr::Ip(address) => is_a_hosts(address),
        _ => false,
    }
}

/// What is said to a relay in the clear is only said to one that the user has named.
fn is_plain_relay(address: &TransportAddr, own: &[RelayUrl]) -> bool {
    matches!(address, TransportAddr::Relay(url) if url.scheme() != "https" && !own.contains(url))
}

/// Private ones are where the machine is at home.
fn is_a_hosts(address: &SocketAddr) -> bool {
    address.port() != 0 && address::is_a_hosts(address.ip())
}

/// Keeps what a ticket says, or what its key has led to, out of what libraries log.
pub(super) fn conceal<'a>(
    id: EndpointId,
    addresses: impl Iterator<Item = &'a TransportAddr>,
    own: &[RelayUrl],
) {
    let forms = addresses.take(MOST).flat_map(|address| match address {
        TransportAddr::Ip(address) => forms_of_ip(*address),
        // The user has said where his own relays are.
        TransportAddr::Relay(url) if !own.contains(url) => forms_of_relay(url),
        _ => Vec::new(),
    });
    for form in forms_of_key(id).into_iter().chain(forms) {
        secret::conceal(&Secret::new(form));
    }
}

/// A key as text, as a name of the DNS, as the name of a TLS server, as numbers, and as its
/// beginning.
fn forms_of_key(id: EndpointId) -> Vec<String> {
    let name = data_encoding::BASE32_DNSSEC.encode(id.as_bytes());
    let debug = format!("{:?}", id.as_bytes());
    vec![id.to_string(), id.to_z32(), name, debug, id.fmt_short().to_string()]
}

/// An address with its port: without it, it may be that of another network, which is shown.
fn forms_of_ip(address: SocketAddr) -> Vec<String> {
    let (ip, port) = (address.ip().to_canonical(), address.port());
    let mapped = match ip {
        IpAddr::V4(ip) => Some(SocketAddr::new(ip.to_ipv6_mapped().into(), port)),
        IpAddr::V6(_) => None,
    };
    let all = [Some(SocketAddr::new(ip, port)), mapped, Some(address)];
    all.into_iter().flatten().map(|form| form.to_string()).collect()
}

/// A relay as it is written, and its host, which name servers are asked for.
fn forms_of_relay(url: &RelayUrl) -> Vec<String> {
    let host = url.host_str().unwrap_or_default();
    let at = url.port().map(|port| format!("{host}:{port}"));
    // A name may be written with the dot of the root, and is then looked up without.
    let name = url.domain().map(|name| name.trim_end_matches('.').to_owned());
    let text = url.as_str();
    let bare = text.trim_end_matches('/').to_owned();
    [Some(text.to_owned()), Some(bare), at, name].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    fn ticket(addresses: impl IntoIterator<Item = TransportAddr>) -> String {
        let id = SecretKey::from_bytes(&[7; 32]).public();
        EndpointTicket::new(EndpointAddr::from_parts(id, addresses)).to_string()
    }

    fn relay(url: &str) -> TransportAddr {
        TransportAddr::Relay(url.parse().unwrap())
    }

    fn ip(text: &str) -> TransportAddr {
        TransportAddr::Ip(text.parse().unwrap())
    }

    #[test]
    fn what_is_no_ticket_is_said_without_it() {
        let long = format!("endpoint{}", "b".repeat(4000));
        let texts = ["", "web01", "endpoint", "endpointaaaa", "nodeabc", "endpoint\x1b[2J", &long];
        for text in texts {
            let why = of_ticket(text, &[]).unwrap_err();
            assert!(why.starts_with("a ticket begins"), "{why}");
        }
    }

    #[test]
    fn a_key_with_which_everybody_can_sign_is_nobodys() {
        for first in [0, 1] {
            let key = std::array::from_fn(|at| if at == 0 { first } else { 0 });
            let id = iroh::PublicKey::from_bytes(&key).unwrap();
            let ticket = EndpointTicket::new(EndpointAddr::new(id)).to_string();
            assert!(of_ticket(&ticket, &[]).unwrap_err().contains("proves nothing"));
        }
    }

    #[test]
    fn a_ticket_of_clan_is_an_id_and_one_of_dumbpipe_has_addresses() {
        assert!(of_ticket(&ticket([]), &[]).unwrap().addrs.is_empty());
        let full = [relay("https://relay.example/"), ip("192.168.1.2:4"), ip("[2001:db8::1]:4")];
        let read = of_ticket(&format!("{}\n", ticket(full.clone())), &[]).unwrap();
        assert_eq!(read.addrs, full.into_iter().collect());
    }

    #[test]
    fn nothing_that_a_ticket_says_is_in_a_line_of_the_log() {
        let id = SecretKey::from_bytes(&[9; 32]).public();
        let own = "https://own.concealed.example:3/".parse().unwrap();
        let of_ticket = [
            ip("10.231.7.2:4711"),
            ip("[2001:db8:77::1]:4712"),
            relay("https://relay.concealed.example./path"),
            relay("https://10.231.7.3:4713"),
            relay("https://own.concealed.example:3/"),
        ];
        conceal(id, of_ticket.iter(), &[own]);
        for text in [
            "ip_addresses=[10.231.7.2:4711, [2001:db8:77::1]:4712]",
            "remote=[::ffff:10.231.7.2]:4711",
            "relay_url=https://relay.concealed.example./path",
            "query: relay.concealed.example A",
            "RelayUrl(\"https://10.231.7.3:4713/\")",
            "connecting to https://10.231.7.3:4713",
            "dial 10.231.7.3:4713",
            &format!("node={id}"),
        ] {
            let shown = secret::redacted(text);
            assert!(shown.contains("<secret>"), "{shown}");
            for part in ["4711", "4712", "4713", "concealed", "2001"] {
                assert!(!shown.contains(part), "{shown}");
            }
        }
        // What the user has said himself, and other ports of the host, are no secrets.
        for text in ["https://own.concealed.example:3/", "10.231.7.2:22", "10.231.7.2"] {
            assert_eq!(secret::redacted(text), text);
        }
    }

    #[test]
    fn nobody_is_sent_to_many_or_to_everybody() {
        let many = (1..=65).map(|port| TransportAddr::Ip(([10, 0, 0, 1], port).into()));
        assert!(of_ticket(&ticket(many), &[]).unwrap_err().contains("64"));
        let nobody = ["0.0.0.0:1", "10.0.0.1:0", "224.0.0.1:1", "255.255.255.255:1", "[::]:1"];
        let nobody = nobody.into_iter().chain(["[ff02::1]:1", "[::ffff:224.0.0.1]:1"]).map(ip);
        let read = of_ticket(&ticket(nobody), &[]).unwrap();
        assert!(read.addrs.is_empty(), "{read:?}");
    }

    #[test]
    fn a_relay_in_the_clear_has_to_be_the_users_own() {
        let own: RelayUrl = "http://127.0.0.1:3340/".parse().unwrap();
        let of_own = ticket([TransportAddr::Relay(own.clone())]);
        assert!(of_ticket(&of_own, &[]).unwrap_err().contains("https"));
        assert_eq!(of_ticket(&of_own, std::slice::from_ref(&own)).unwrap().addrs.len(), 1);
        let other = ticket([relay("http://169.254.169.254/latest")]);
        assert!(of_ticket(&other, std::slice::from_ref(&own)).is_err());
        let found = usable([relay("http://x.example"), relay("https://x.example")], &[]);
        assert_eq!(found.collect::<Vec<_>>(), [relay("https://x.example")]);
    }
}
