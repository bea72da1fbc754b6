//! Where the addresses of an endpoint are looked for. Owns the form in which the user
//! names a place, and that no more is believed of what is found there than of a ticket.

use std::net::SocketAddr;
use std::str::FromStr;

use futures_util::StreamExt;
use iroh::address_lookup::{
    AddressLookup, AddressLookupBuilder, AddressLookupBuilderError, DnsAddressLookup, EndpointData,
    EndpointInfo, Item, N0_DNS_ENDPOINT_ORIGIN_PROD, N0_DNS_PKARR_RELAY_PROD,
};
use iroh::dns::{DnsResolver, NameserverConfig};
use iroh::endpoint::Builder;
use iroh::{Endpoint, EndpointId, RelayUrl};

use super::addresses::{conceal, url, usable};
use super::pkarr::{Answers, Pkarr};

/// A place where endpoints are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// TXT records below a domain, asked of the system's name servers or of this one.
    Dns(String, Option<SocketAddr>),
    /// A server that has what endpoints have signed (pkarr).
    Pkarr(RelayUrl),
}

impl Discovery {
    /// Where dumbpipe publishes: Clan's tickets lead nowhere without.
    pub(super) fn public() -> Vec<Self> {
        let pkarr = N0_DNS_PKARR_RELAY_PROD.parse().map(Self::Pkarr);
        let dns = Self::Dns(N0_DNS_ENDPOINT_ORIGIN_PROD.to_owned(), None);
        pkarr.into_iter().chain([dns]).collect()
    }

    /// Has endpoints looked for here, too.
    pub(super) fn add_to(&self, builder: Builder, own: &[RelayUrl]) -> Builder {
        match self {
            Self::Pkarr(server) => {
                builder.address_lookup(Doubtful::new(Pkarr(server.clone()), own))
            }
            Self::Dns(domain, None) => {
                let lookup = DnsAddressLookup::builder(domain.clone());
                builder.address_lookup(Doubtful::new(lookup, own))
            }
            Self::Dns(domain, Some(server)) => {
                let lookup =
                    DnsAddressLookup::builder(domain.clone()).dns_resolver(asking(*server));
                builder.address_lookup(Doubtful::new(lookup, own))
            }
        }
    }
}

/// Asks this name server and no other.
fn asking(server: SocketAddr) -> DnsResolver {
    let server = NameserverConfig::udp(server.ip()).with_port(server.port());
    DnsResolver::builder().add_nameserver_config(server).disable_fallback().build()
}

/// `https://…` is a server of pkarr; `DOMAIN` or `DOMAIN@ADDRESS:PORT` is in the DNS.
impl FromStr for Discovery {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            return url(text).map(Self::Pkarr);
        }
        let (domain, server) = match text.split_once('@') {
            None => (text, None),
            Some((domain, server)) => match server.parse() {
                Ok(server) => (domain, Some(server)),
                Err(_) => return Err("after @ comes ADDRESS:PORT of a name server"),
            },
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // Before it come `_iroh.` and 52 letters, and a name has at most 253 bytes.
        let is_domain =
            domain.len() <= 190 && domain.trim_end_matches('.').split('.').all(is_label);
        match is_domain {
            true => Ok(Self::Dns(domain.to_owned(), server)),
            false => Err("it is neither a domain nor a URL"),
        }
    }
}

/// A lookup whose answers are checked.
#[derive(Debug)]
struct Doubtful<B> {
    inner: B,
    own: Vec<RelayUrl>,
}

impl<B> Doubtful<B> {
    fn new(inner: B, own: &[RelayUrl]) -> Self {
        Self { inner, own: own.to_vec() }
    }
}

impl<B: AddressLookupBuilder> AddressLookupBuilder for Doubtful<B> {
    fn into_address_lookup(
        self,
        endpoint: &Endpoint,
    ) -> Result<impl AddressLookup, AddressLookupBuilderError> {
        Ok(Checked { inner: self.inner.into_address_lookup(endpoint)?, own: self.own })
    }
}

#[derive(Debug)]
struct Checked<L> {
    inner: L,
    own: Vec<RelayUrl>,
}

/// Publishes nothing.
impl<L: AddressLookup> AddressLookup for Checked<L> {
    fn resolve(&self, endpoint: EndpointId) -> Option<Answers> {
        let own = self.own.clone();
        let answers = self.inner.resolve(endpoint)?;
        Some(answers.map(move |answer| answer.map(|item| checked(&item, &own))).boxed())
    }
}

fn checked(item: &Item, own: &[RelayUrl]) -> Item {
    let info = item.endpoint_info();
    // Only who has the ticket finds them.
    conceal(item.endpoint_id(), info.addrs(), own);
    let data = EndpointData::from_iter(usable(info.addrs().cloned(), own));
    let info = EndpointInfo::from_parts(item.endpoint_id(), data);
    Item::new(info, item.provenance(), item.last_updated())
}

#[cfg(test)]
mod tests {
    use iroh::{SecretKey, TransportAddr};

    use super::*;

    #[test]
    fn places_are_read() {
        let dns = |domain: &str, server: Option<&str>| {
            let server = server.map(|server| server.parse().unwrap());
            Ok(Discovery::Dns(domain.to_owned(), server))
        };
        assert_eq!("dns.iroh.link".parse(), dns("dns.iroh.link", None));
        assert_eq!("d.test@127.0.0.1:53".parse(), dns("d.test", Some("127.0.0.1:53")));
        assert!(matches!("https://x.example/pkarr".parse(), Ok(Discovery::Pkarr(_))));
        for text in
            ["", "a..b", "d.test@", "d.test@host:53", "https://", "a b", "x\x1b", "file:///"]
        {
            assert!(text.parse::<Discovery>().is_err(), "{text:?}");
        }
        assert_eq!(Discovery::public().len(), 2);
    }

    #[test]
    fn no_more_is_believed_of_an_answer_than_of_a_ticket() {
        let id = SecretKey::from_bytes(&[7; 32]).public();
        let relay = |url: &str| TransportAddr::Relay(url.parse().unwrap());
        let many = (1..=999).map(|port| TransportAddr::Ip(([10, 0, 0, 1], port).into()));
        let data = EndpointData::from_iter([relay("http://10.0.0.1/")].into_iter().chain(many));
        let item = Item::new(EndpointInfo::from_parts(id, data), "dns", None);
        let checked = checked(&item, &[]);
        assert_eq!(checked.endpoint_info().addrs().count(), super::super::addresses::MOST);
        assert_eq!(checked.endpoint_info().relay_urls().count(), 0);
        assert_eq!(checked.endpoint_id(), id);
    }
}
