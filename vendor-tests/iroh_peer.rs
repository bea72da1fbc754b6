//! Peers of iroh that the tests make themselves, with iroh's own crate: where no option of
//! dumbpipe's leads (a relay of one's own, and no socket but that), and those that behave
//! as dumbpipe does not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use iroh::endpoint::presets::Minimal;
use iroh::endpoint::{Connection, ConnectionError};
use iroh::endpoint_info::EndpointInfo;
use iroh::{Endpoint, EndpointAddr, RelayMode, RelayUrl, SecretKey};
use iroh_tickets::endpoint::EndpointTicket;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What a peer does with a stream.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Leads it to this address, as dumbpipe does.
    Leads(SocketAddr),
    /// Says nothing.
    Silent,
    /// Takes the connection, and looks at no stream.
    Deaf,
    /// Says this, and no more.
    Says(&'static [u8]),
    /// Closes the connection as soon as there is one.
    Closes,
}

/// An endpoint on loopback, or at a relay alone.
pub struct Peer {
    endpoint: Endpoint,
    /// How connections ended, and when.
    ends: Arc<Mutex<Vec<(ConnectionError, Instant)>>>,
    runtime: Runtime,
}

/// The protocol of dumbpipe.
pub const DUMBPIPE: &[u8] = b"DUMBPIPEV0";

impl Peer {
    pub fn new(manner: Manner, relay: Option<&str>) -> Self {
        Self::speaking(DUMBPIPE, manner, relay)
    }

    pub fn speaking(protocol: &[u8], manner: Manner, relay: Option<&str>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let builder = Endpoint::builder(Minimal)
            .alpns(vec![protocol.to_vec()])
            .secret_key(SecretKey::generate())
            .clear_ip_transports();
        let builder = match relay {
            None => {
                let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
                builder.relay_mode(RelayMode::Disabled).bind_addr(here).unwrap()
            }
            Some(url) => builder.relay_mode(RelayMode::custom([url.parse::<RelayUrl>().unwrap()])),
        };
        let endpoint = runtime.block_on(async {
            let endpoint = builder.bind().await.unwrap();
            if relay.is_some() {
                let online = tokio::time::timeout(Duration::from_secs(20), endpoint.online());
                online.await.expect("the relay");
            }
            endpoint
        });
        let (accepting, ends) = (endpoint.clone(), Arc::new(Mutex::new(Vec::new())));
        let seen = ends.clone();
        runtime.spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        let behaving = tokio::spawn(behave(connection.clone(), manner));
                        let end = connection.closed().await;
                        seen.lock().unwrap().push((end, Instant::now()));
                        behaving.abort();
                    }
                });
            }
        });
        Self { endpoint, ends, runtime }
    }

    /// With its addresses.
    pub fn ticket(&self) -> String {
        let id = self.endpoint.id();
        let address = self.endpoint.addr();
        let here = self.endpoint.bound_sockets();
        let here = here.into_iter().filter(|it| it.ip().is_loopback());
        let here = here.map(iroh::TransportAddr::Ip);
        let relays = address.addrs.into_iter().filter(|address| address.is_relay());
        EndpointTicket::new(EndpointAddr::from_parts(id, relays.chain(here))).to_string()
    }

    /// With its addresses, and a relay that nobody has.
    pub fn ticket_with_relay(&self, relay: &str) -> String {
        let here = self.endpoint.bound_sockets().into_iter().map(iroh::TransportAddr::Ip);
        let relay = iroh::TransportAddr::Relay(relay.parse().unwrap());
        let all = here.chain([relay]);
        EndpointTicket::new(EndpointAddr::from_parts(self.endpoint.id(), all)).to_string()
    }

    /// As Clan makes them.
    pub fn bare_ticket(&self) -> String {
        EndpointTicket::new(self.endpoint.id().into()).to_string()
    }

    /// What a name server has of it: the name below the domain, and the text.
    pub fn record(&self) -> (String, String) {
        let port = self.endpoint.bound_sockets()[0].port();
        (format!("_iroh.{}", self.endpoint.id().to_z32()), format!("addr=127.0.0.1:{port}"))
    }

    /// What a server of pkarr has of it: the name after its address, and the body.
    pub fn signed(&self) -> (String, Vec<u8>) {
        let here = self.endpoint.bound_sockets().into_iter().map(iroh::TransportAddr::Ip);
        let info = EndpointInfo::from_parts(self.endpoint.id(), here.collect());
        let packet = info.to_pkarr_signed_packet(self.endpoint.secret_key(), 30).unwrap();
        (self.endpoint.id().to_z32(), packet.to_relay_payload())
    }

    /// Every form in which somebody might write the ticket's key down.
    pub fn key_forms(&self) -> [String; 5] {
        let id = self.endpoint.id();
        [
            id.to_string(),
            id.to_z32(),
            data_encoding::BASE32_DNSSEC.encode(id.as_bytes()),
            format!("{:?}", id.as_bytes()),
            id.fmt_short().to_string(),
        ]
    }

    /// Its address and port, which a ticket has.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.bound_sockets()[0]
    }

    pub fn ends(&self) -> Vec<(ConnectionError, Instant)> {
        self.ends.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let closing = async {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.endpoint.close()).await;
        };
        self.runtime.block_on(closing);
    }
}

async fn behave(connection: Connection, manner: Manner) {
    if matches!(manner, Manner::Closes) {
        connection.close(7_u32.into(), b"go away \x1b[2J");
        return;
    }
    if matches!(manner, Manner::Deaf) {
        connection.closed().await;
        return;
    }
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
    let mut hello = [0; 5];
    receive.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    match manner {
        Manner::Leads(address) => {
            let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
            let up = tokio::spawn(async move {
                let _ = tokio::io::copy(&mut receive, &mut to).await;
                let _ = to.shutdown().await;
            });
            let _ = tokio::io::copy(&mut from, &mut send).await;
            let _ = send.finish();
            let _ = up.await;
        }
        Manner::Says(words) => {
            let _ = send.write_all(words).await;
        }
        Manner::Silent | Manner::Deaf | Manner::Closes => {}
    }
    // Its halves end with the connection.
    connection.closed().await;
}
