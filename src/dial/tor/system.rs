//! A tor that runs already, by its SOCKS port. Owns the proof that it is one, and
//! one of whom we may trust: any other proxy must not be told an onion's name. It
//! might ask the DNS for it, or be a stranger's who collects secret names.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tor_socksproto::{
    Buffer, Handshake, NextStep, SocksAddr, SocksAuth, SocksClientHandshake, SocksCmd,
    SocksHostname, SocksRequest, SocksStatus, SocksVersion,
};

use super::address::Onion;
use super::owner::{self, Owner};
use super::stream::Whole;
use crate::dial::{DialError, DialFailure, Stream};
use crate::error::Stage;
use crate::error::TorFailure;

/// It is on this computer.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// What stands against telling what listens there an onion's name, printable.
/// Whose a socket of another computer is nobody can tell; its address was given
/// by the user.
pub(super) async fn objection(socks: SocketAddr) -> Option<String> {
    if !is_here(socks) {
        return None;
    }
    match owner::of_listener(socks).await {
        Owner::Trusted | Owner::Nobody => None,
        Owner::Stranger(name) => Some(format!("it belongs to {name}")),
        Owner::Unknown => Some("without /proc its owner cannot be found out".to_owned()),
    }
}

/// Whether a tor listens there: asked for a web page, tor and arti say what
/// they are instead of passing it on.
pub(super) async fn is_tor(socks: SocketAddr) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(socks).await.ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        Some(answer.contains("Tor is not an HTTP Proxy") || answer.contains("Arti"))
    };
    tokio::time::timeout(PROBE_DEADLINE, asking).await.ok().flatten().unwrap_or(false)
}

/// Opens a stream to `onion` through the tor at `socks`. The name is told only
/// when the other end has spoken and turned out to be of whom we may trust:
/// another one may have come to listen since anybody looked.
pub(super) async fn dial(socks: SocketAddr, onion: &Onion, port: u16) -> Result<Stream, DialError> {
    let failed = |failure| DialError::new(Stage::Dial, DialFailure::Tor(failure));
    if is_here(socks)
        && let Owner::Stranger(owner) = owner::of_listener(socks).await
    {
        return Err(failed(TorFailure::Stranger { address: socks, owner }));
    }
    let mut stream =
        TcpStream::connect(socks).await.map_err(|_| failed(TorFailure::NoSystemTor(socks)))?;
    let broken = |_: std::io::Error| failed(TorFailure::SystemTorFailed);
    stream.set_nodelay(true).map_err(broken)?;
    let not_tor = || failed(TorFailure::NotTor(socks));
    let request = request(onion, port).ok_or_else(not_tor)?;
    let mut handshake = SocksClientHandshake::new(request);
    let mut buffer = Buffer::new_precise();
    let mut has_spoken = false;
    let reply = loop {
        match handshake.step(&mut buffer).map_err(|_| not_tor())? {
            NextStep::Send(bytes) => stream.write_all(&bytes).await.map_err(broken)?,
            NextStep::Recv(mut step) => {
                let count = stream.read(step.buf()).await.map_err(broken)?;
                step.note_received(count).map_err(|_| not_tor())?;
                // The first words hold no name (RFC 1928, section 3), and they
                // were answered by whoever has accepted the connection.
                if count > 0 && !has_spoken {
                    has_spoken = true;
                    may_hear(socks, &stream).await.map_err(failed)?;
                }
            }
            NextStep::Finished(done) => {
                break done.into_output_forbid_pipelining().map_err(|_| not_tor())?;
            }
        }
    };
    match reply.status() {
        SocksStatus::SUCCEEDED => Ok(Stream::new(Whole(stream), None)),
        status => Err(failed(failure(status))),
    }
}

/// Whether the address is this computer's alone.
fn is_here(socks: SocketAddr) -> bool {
    socks.ip().to_canonical().is_loopback()
}

/// Whether the other end of `stream` may be told an onion's name.
async fn may_hear(socks: SocketAddr, stream: &TcpStream) -> Result<(), TorFailure> {
    match owner::of_peer(stream).await {
        Owner::Trusted => Ok(()),
        Owner::Stranger(owner) => Err(TorFailure::Stranger { address: socks, owner }),
        // On another computer. The loopback's other end would be in the tables.
        Owner::Nobody if !is_here(socks) => Ok(()),
        Owner::Nobody => Err(TorFailure::NotTor(socks)),
        // Only for those who have asked for the system's tor.
        Owner::Unknown => Ok(()),
    }
}

fn request(onion: &Onion, port: u16) -> Option<SocksRequest> {
    let host = SocksHostname::try_from(onion.name.expose().clone()).ok()?;
    // Streams with a name of their own share no circuit with other programs.
    let mut name = [0; 16];
    getrandom::fill(&mut name).ok()?;
    let auth = SocksAuth::Username(b"clan-connect".to_vec(), name.to_vec());
    let address = SocksAddr::Hostname(host);
    SocksRequest::new(SocksVersion::V5, SocksCmd::CONNECT, address, port, auth).ok()
}

/// socks-extensions, "Extended error codes"; without `ExtendedErrors` tor says
/// less.
fn failure(status: SocksStatus) -> TorFailure {
    match status {
        SocksStatus::HS_DESC_NOT_FOUND | SocksStatus::HOST_UNREACHABLE => TorFailure::NoDescriptor,
        SocksStatus::HS_INTRO_FAILED
        | SocksStatus::HS_REND_FAILED
        | SocksStatus::HS_DESC_INVALID => TorFailure::NotConnected,
        SocksStatus::HS_MISSING_CLIENT_AUTH => TorFailure::AuthMissing,
        SocksStatus::HS_WRONG_CLIENT_AUTH => TorFailure::AuthWrong,
        SocksStatus::HS_INTRO_TIMEOUT | SocksStatus::TTL_EXPIRED => TorFailure::Silent,
        SocksStatus::CONNECTION_REFUSED => TorFailure::PortClosed,
        SocksStatus::NETWORK_UNREACHABLE => TorFailure::NoNetwork,
        _ => TorFailure::SystemTorFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_tor_is_taken_for_one() {
        for (answer, expected) in [
            ("HTTP/1.0 501 Tor is not an HTTP Proxy\r\n\r\n<html>", true),
            ("HTTP/1.0 501 running Arti here\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            ("", false),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 18];
                stream.read_exact(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                String::from_utf8_lossy(&request).into_owned()
            });
            assert_eq!(is_tor(address).await, expected, "{answer:?}");
            assert!(server.await.unwrap().starts_with("GET / "));
        }
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert!(!is_tor(nobody).await);
        assert_eq!(objection(nobody).await, None);
        // Another computer's: the user's word counts.
        assert_eq!(objection("192.0.2.1:9050".parse().unwrap()).await, None);
    }
}
