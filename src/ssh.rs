//! A stream to an SSH session: key exchange, host key, authentication. Owns
//! every use of russh; knows no network, no clan and no terminal.

pub mod auth;
pub mod escape;
pub mod hostkey;
pub mod known_hosts;
pub mod remote;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, DisconnectReason};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Disconnect, cipher, compression, kex};

use crate::error::Error;
use crate::printable;
use crate::user::User;
use hostkey::{Decision, HostKeyPolicy};
use known_hosts::KnownHosts;

/// What a session says first, with its line end (RFC 4253, section 4.2).
pub const IDENTIFICATION: &str =
    concat!("SSH-2.0-clan_connect_", env!("CARGO_PKG_VERSION"), "\r\n");

/// Bytes the server may send ahead on a channel. With russh's own 2 MiB a link
/// of 100 ms carries 20 MB/s at most.
const WINDOW: u32 = 16 << 20;
/// Bytes in one packet, at most what RFC 4253 section 6.1 lets everyone send
/// without asking: larger ones were not faster beyond this.
const MAX_PACKET: u32 = 65_535;

/// How the session is set up.
#[derive(Clone)]
pub struct Options {
    /// Interval of keepalives, once authenticated; none when zero.
    pub keepalive_interval: Duration,
    /// Unanswered keepalives after which the peer counts as dead.
    pub keepalive_max: usize,
    /// Bound on key exchange and on each answer during authentication.
    pub deadline: Duration,
    /// What is expected of the server's key.
    pub policy: HostKeyPolicy,
    /// The known hosts behind `policy`.
    pub known: Arc<KnownHosts>,
    /// Who answers questions.
    pub user: Arc<dyn User>,
}

/// An SSH connection, authenticated or about to be.
pub struct Session {
    handle: client::Handle<Client>,
    ended: Ended,
    deadline: Duration,
    /// Whether a password may be typed at this server.
    may_send_secrets: bool,
}

/// How the connection ended, in the peer's or russh's words, printable.
type Ended = Arc<Mutex<Option<String>>>;

/// Why key exchange did not succeed.
#[derive(Debug)]
pub enum HandshakeError {
    /// The key is not the one known for this machine: another route may lead to
    /// the right one, but must not be trusted on first use.
    HostKeyChanged(Error),
    /// The key is unknown and nobody trusts it.
    HostKeyRefused(Error),
    /// The protocol failed; the words are printable.
    Protocol(String),
}

impl Session {
    /// Exchanges keys on `stream` and checks the host key.
    ///
    /// # Errors
    /// See [`HandshakeError`]; nothing was authenticated in any case.
    pub async fn handshake<S>(stream: S, options: &Options) -> Result<Self, HandshakeError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let ended = Ended::default();
        let refusal = Arc::new(Mutex::new(None));
        let asking = Arc::new(AtomicBool::new(false));
        let mismatch = Arc::new(AtomicBool::new(false));
        let client = Client {
            policy: options.policy.clone(),
            known: options.known.clone(),
            user: options.user.clone(),
            refusal: refusal.clone(),
            asking: asking.clone(),
            mismatch: mismatch.clone(),
            ended: ended.clone(),
        };
        let config = Arc::new(config(options));
        let connecting = client::connect_stream(config, stream, client);
        tokio::pin!(connecting);
        let connected = loop {
            match tokio::time::timeout(options.deadline.max(MIN_KEX), &mut connecting).await {
                Ok(connected) => break connected,
                // The peer has a deadline; the user thinking about a key has none.
                Err(_) if asking.load(Ordering::Relaxed) => {}
                Err(_) => {
                    return Err(HandshakeError::Protocol("key exchange timed out".to_owned()));
                }
            }
        };
        match connected {
            Ok(handle) => Ok(Self {
                handle,
                ended,
                deadline: options.deadline,
                may_send_secrets: !mismatch.load(Ordering::Relaxed),
            }),
            Err(error) => Err(match lock(&refusal).take() {
                Some(Refusal { changed: true, error }) => HandshakeError::HostKeyChanged(error),
                Some(Refusal { changed: false, error }) => HandshakeError::HostKeyRefused(error),
                None => HandshakeError::Protocol(
                    lock(&ended).take().unwrap_or_else(|| protocol_text(&error)),
                ),
            }),
        }
    }

    /// What the peer said as it closed the connection, if it did.
    pub fn ended(&self) -> Option<String> {
        lock(&self.ended).clone()
    }

    /// Says goodbye. Dropping a session would leave the server to find out by
    /// itself (RFC 4253, section 11.1).
    pub async fn disconnect(&self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        let _ = tokio::time::timeout(Duration::from_millis(500), goodbye).await;
    }
}

/// A key exchange takes several round trips; no `--timeout` may be so short
/// that a far machine can never be reached.
const MIN_KEX: Duration = Duration::from_secs(10);

/// The least time for an answer: sshd delays failed passwords by seconds on
/// purpose.
const MIN_ANSWER: Duration = Duration::from_secs(30);

fn config(options: &Options) -> client::Config {
    client::Config {
        client_id: russh::SshId::Raw(Cow::Borrowed(IDENTIFICATION)),
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        preferred: preferred(
            options.known.known_algorithms(&options.policy.name, options.policy.port),
        ),
        keepalive_interval: (!options.keepalive_interval.is_zero())
            .then_some(options.keepalive_interval),
        keepalive_max: options.keepalive_max,
        ..client::Config::default()
    }
}

/// russh's defaults without SHA-1 and small groups, AES-GCM first (the fastest
/// where the processor has AES), and the key types we know the host by first,
/// as OpenSSH orders its HostKeyAlgorithms.
fn preferred(known: Vec<Algorithm>) -> russh::Preferred {
    let mut keys = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    // Stable: what is known keeps its order before what is not.
    keys.sort_by_key(|key| {
        !known.iter().any(|known| match (key, known) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (key, known) => key == known,
        })
    });
    russh::Preferred {
        kex: Cow::Borrowed(&[
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::DH_GEX_SHA256,
            kex::DH_G18_SHA512,
            kex::DH_G16_SHA512,
            kex::DH_G14_SHA256,
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        ]),
        key: Cow::Owned(keys),
        cipher: Cow::Borrowed(&[
            cipher::AES_256_GCM,
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_CTR,
            cipher::AES_192_CTR,
            cipher::AES_128_CTR,
        ]),
        compression: Cow::Borrowed(&[
            compression::NONE,
            compression::ZLIB_LEGACY,
            compression::ZLIB,
        ]),
        ..russh::Preferred::DEFAULT
    }
}

/// Our side of russh's callbacks. Everything the server opens by itself is
/// refused, which is russh's default.
struct Client {
    policy: HostKeyPolicy,
    known: Arc<KnownHosts>,
    user: Arc<dyn User>,
    refusal: Arc<Mutex<Option<Refusal>>>,
    /// Whether the host key is being judged, perhaps by a person.
    asking: Arc<AtomicBool>,
    mismatch: Arc<AtomicBool>,
    ended: Ended,
}

struct Refusal {
    changed: bool,
    error: Error,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let (policy, known, user) = (self.policy.clone(), self.known.clone(), self.user.clone());
        let key = offered.public_key();
        self.asking.store(true, Ordering::Relaxed);
        // Asking and writing known_hosts block.
        let decided =
            tokio::task::spawn_blocking(move || check_host_key(&policy, &known, &*user, &key))
                .await
                .map_err(|error| russh::Error::IO(std::io::Error::other(error)))?;
        self.asking.store(false, Ordering::Relaxed);
        match decided {
            Ok(trust) => {
                self.mismatch.store(trust == Trust::Mismatch, Ordering::Relaxed);
                Ok(true)
            }
            Err(refusal) => {
                *lock(&self.refusal) = Some(refusal);
                Ok(false)
            }
        }
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let (user, text) = (self.user.clone(), printable::lines(banner));
        tokio::task::spawn_blocking(move || user.tell(&text))
            .await
            .map_err(|error| russh::Error::IO(std::io::Error::other(error)))
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let (text, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                let message = printable::lines(&info.message);
                (format!("closed by the server: {}", message.trim_end()), Ok(()))
            }
            DisconnectReason::Error(error) => (protocol_text(&error), Err(error)),
        };
        lock(&self.ended).get_or_insert(text);
        result
    }
}

/// What a host key that passed is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Verified,
    /// The user asked for no check and the key is not the known one: no
    /// password may be sent, as in ssh(1).
    Mismatch,
}

fn check_host_key(
    policy: &HostKeyPolicy,
    known: &KnownHosts,
    user: &dyn User,
    key: &PublicKey,
) -> Result<Trust, Refusal> {
    let refused = |error| Refusal { changed: false, error };
    match hostkey::decide(policy, known, key) {
        Decision::Accept { note, remember, mismatch } => {
            match note {
                Some(note) if mismatch => user.warn(&note),
                Some(note) => user.tell(&note),
                None => {}
            }
            if remember {
                keep(policy, user, key)?;
            }
            Ok(if mismatch { Trust::Mismatch } else { Trust::Verified })
        }
        Decision::Ask { question, fingerprint } => {
            user.warn(&question);
            let mut prompt = "continue connecting (yes/no/fingerprint)? ";
            loop {
                let Some(answer) = user.ask(prompt, true) else {
                    let error = policy.unverified(key, "there is nobody to ask");
                    return Err(refused(error));
                };
                match hostkey::consent(answer.expose(), &fingerprint) {
                    Some(true) => {
                        keep(policy, user, key)?;
                        return Ok(Trust::Verified);
                    }
                    Some(false) => {
                        return Err(refused(policy.unverified(key, "you did not accept it")));
                    }
                    None => prompt = "please type 'yes', 'no' or the fingerprint: ",
                }
            }
        }
        Decision::Reject { warning, error, changed } => {
            if !warning.is_empty() {
                user.warn(&warning.join("\n"));
            }
            Err(Refusal { changed, error })
        }
    }
}

/// A key that cannot be written down is still a key we trust now: say so and
/// go on, as ssh(1) does. Another key written meanwhile is a mismatch.
fn keep(policy: &HostKeyPolicy, user: &dyn User, key: &PublicKey) -> Result<(), Refusal> {
    match hostkey::remember(policy, key) {
        Ok(()) => Ok(()),
        Err(error @ Error::HostKey { .. }) => Err(Refusal { changed: true, error }),
        Err(error) => {
            user.warn(&format!("warning: the host key could not be remembered: {error}"));
            Ok(())
        }
    }
}

/// russh's error in words for a person, without its internals.
fn protocol_text(error: &russh::Error) -> String {
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => format!(
            "no {kind:?} algorithm in common, the server offers only {}",
            printable::lines(&theirs.join(","))
        ),
        russh::Error::KeepaliveTimeout => "timed out: the peer no longer answers".to_owned(),
        russh::Error::InactivityTimeout => "timed out".to_owned(),
        russh::Error::HUP | russh::Error::Disconnect => "closed by the peer".to_owned(),
        russh::Error::IO(error) => match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "closed by the peer".to_owned(),
            kind => format!("lost: {kind}"),
        },
        other => format!("failed: {}", printable::lines(&other.to_string())),
    }
}

/// A panic elsewhere while a lock was held leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sha1_is_offered_and_strict_kex_is() {
        let preferred = preferred(Vec::new());
        assert!(!preferred.key.contains(&Algorithm::Rsa { hash: None }));
        assert!(preferred.kex.contains(&kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT));
        let names: Vec<String> = preferred
            .kex
            .iter()
            .map(|name| name.as_ref().to_owned())
            .chain(preferred.mac.iter().map(|name| name.as_ref().to_owned()))
            .collect();
        assert!(!names.iter().any(|name| name.ends_with("sha1")), "{names:?}");
    }

    #[test]
    fn known_key_types_are_asked_for_first() {
        let rsa = Algorithm::Rsa { hash: None };
        let first = preferred(vec![rsa]).key.first().cloned();
        assert_eq!(first, Some(Algorithm::Rsa { hash: Some(HashAlg::Sha512) }));
    }
}
