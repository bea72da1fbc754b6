//! The links to peers, over what the system has: TCP, and TLS on it. Owns that TLS proves
//! nothing here; whoever is at the other end proves it in the overlay's own protocol.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::connect::{Connecting, PeerConnection, Underlay};
use super::{Carriage, PeerAddress};
use crate::dial::by_address::Ways;
use crate::dial::direct::Direct;
use crate::dial::onions::Onions;
use crate::dial::{Dial, Family, SocketOptions, Target};
use crate::model::Technology;
use crate::secret::Secret;

/// Connects by the system, and never by a way of ours: a peer is nowhere that has to be
/// reached through a peer.
pub(in crate::dial) struct Sockets {
    direct: Arc<Direct>,
    onions: Onions,
    tls: Option<TlsConnector>,
}

impl Sockets {
    /// `onions` leads to peers that are onion services.
    pub(in crate::dial) fn new(onions: Onions) -> Self {
        let options = SocketOptions {
            family: Family::Any,
            address: None,
            interface: None,
            keepalive: true,
            proxy: None,
            // Whoever relies on one has no way of ours.
            preload: None,
        };
        let direct = Arc::new(Direct::new(options, Ways::none()));
        Self { direct, onions, tls: connector() }
    }
}

impl Underlay for Sockets {
    fn connect(&self, peer: PeerAddress) -> Connecting {
        let (direct, onions, tls) = (self.direct.clone(), self.onions.clone(), self.tls.clone());
        Box::pin(async move {
            let technology = if peer.is_onion() { Technology::TOR } else { Technology::DIRECT };
            let dialler: Arc<dyn Dial> = match technology == Technology::TOR {
                true => onions.dialler()?,
                false => direct,
            };
            let PeerAddress { host, port, carriage, .. } = peer;
            let name = ServerName::try_from(host.clone());
            let label = host.clone();
            let host = Secret::new(host);
            let target = Target { technology, host, label, secret: false, port };
            let stream = dialler.dial(&target, &|_| ()).await.ok()?;
            Some(match carriage {
                Carriage::Tcp => Box::pin(stream) as PeerConnection,
                Carriage::Tls => Box::pin(tls?.connect(name.ok()?, stream).await.ok()?),
            })
        })
    }
}

fn connector() -> Option<TlsConnector> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}

/// Takes every certificate: Yggdrasil's are made by the peer itself, and checked by nobody.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
