//! Asks a server of pkarr for what an endpoint has signed of itself. Owns how much of an
//! answer is read: iroh's own lookup takes whatever comes, and goes wherever it is sent.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, once};
use iroh::address_lookup::{
    AddressLookup, AddressLookupBuilder, AddressLookupBuilderError, EndpointInfo, Error, Item,
};
use iroh::dns::{DNS_TIMEOUT, DnsResolver};
use iroh::{Endpoint, EndpointId, RelayUrl};
use iroh_dns::pkarr::SignedPacket;
use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

/// How lookups of this kind are called in logs.
const PKARR: &str = "pkarr";
/// A signature, a time and one packet of the DNS (`iroh_dns::pkarr`), without the key.
const MOST: usize = SignedPacket::MAX_BYTES - 32;
/// After how many milliseconds a name server that has not answered is asked again.
const AGAIN: [u64; 3] = [200, 600, 2000];
/// How long a server may take in all.
const DEADLINE: Duration = Duration::from_secs(15);

/// What is found, one after the other.
pub(super) type Answers = BoxStream<'static, Result<Item, Error>>;

/// A server of pkarr.
#[derive(Debug)]
pub(super) struct Pkarr(pub(super) RelayUrl);

impl AddressLookupBuilder for Pkarr {
    fn into_address_lookup(
        self,
        endpoint: &Endpoint,
    ) -> Result<impl AddressLookup, AddressLookupBuilderError> {
        let failed = |error| AddressLookupBuilderError::from_err(PKARR, error);
        let resolver = endpoint
            .dns_resolver()
            .map_err(|error| AddressLookupBuilderError::from_err(PKARR, error))?;
        let client = Client::builder()
            .tls_backend_preconfigured(endpoint.tls_config().clone())
            .dns_resolver(Resolver(resolver.clone()))
            .redirect(Policy::none())
            .timeout(DEADLINE)
            .build()
            .map_err(failed)?;
        Ok(Lookup { server: self.0, client })
    }
}

#[derive(Debug)]
struct Lookup {
    server: RelayUrl,
    client: Client,
}

impl AddressLookup for Lookup {
    fn resolve(&self, endpoint: EndpointId) -> Option<Answers> {
        let mut url = (*self.server).clone();
        url.path_segments_mut().ok()?.pop_if_empty().push(&endpoint.to_z32());
        let request = self.client.get(url);
        let asking = async move {
            let response = request.send().await.and_then(Response::error_for_status);
            let response = response.map_err(|error| Error::from_err(PKARR, error.without_url()))?;
            let packet = SignedPacket::from_relay_payload(&endpoint, &body(response).await?);
            let packet = packet.map_err(|error| Error::from_err(PKARR, error))?;
            let info = EndpointInfo::from_pkarr_signed_packet(&packet);
            let info = info.map_err(|error| Error::from_err(PKARR, error))?;
            Ok(Item::new(info, PKARR, None))
        };
        Some(once(asking).boxed())
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, Error> {
    let failed = |error: reqwest::Error| Error::from_err(PKARR, error.without_url());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MOST {
            return Err(Error::from_err(PKARR, std::io::Error::other("the answer is too long")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The endpoint's own, for the names of servers: never the C library's.
struct Resolver(DnsResolver);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found =
                resolver.lookup_ipv4_ipv6_staggered(name.as_str(), DNS_TIMEOUT, &AGAIN).await?;
            let found: Vec<_> = found.map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(found.into_iter()) as _)
        })
    }
}
