//! A stream to an SSH session: key exchange, host key, authentication. Owns
//! every use of russh; knows no network, no clan and no terminal.

pub mod algorithms;
pub mod auth;
mod begun;
mod callbacks;
pub mod escape;
pub mod forward;
mod greeting;
pub mod hostkey;
pub mod info;
mod keystrokes;
pub mod known_hosts;
mod leases;
mod loss;
pub mod open_forwards;
mod opened;
pub mod remote;
mod traffic;
pub mod words;

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::Disconnect;
use russh::client;
use russh::keys::PublicKey;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::prompter::Prompter;
use begun::Begun;
pub use begun::{BegunRemote, Opening};
use callbacks::{AcceptedKey, Client, Refusal, Told};
use forward::SharedRemotes;
use greeting::Expected;
pub use greeting::{Greeting, Met, ServerMemory, greeting, takes_guesses};
use hostkey::{HostKeyPolicy, Worth};
use known_hosts::{Announced, KnownHosts, Name, Program, Purpose, Renewal};
pub use leases::{Lease, Leases};
pub use loss::{Loss, Negotiated, NoCommon};
use traffic::{Counted, Traffic};

/// What a session says first, with its line end (RFC 4253, section 4.2).
pub const IDENTIFICATION: &str =
    concat!("SSH-2.0-clan_connect_", env!("CARGO_PKG_VERSION"), "\r\n");

/// The grid of keystrokes where nobody says otherwise (`ObscureKeystrokeTiming`).
pub const KEYSTROKES: Duration = Duration::from_millis(20);
/// Bytes the server may send ahead on a new channel, as OpenSSH's client has it.
const WINDOW: u32 = 2 << 20;
/// The same while what arrives is read quickly: with 2 MiB a link of 100 ms carries
/// 20 MB/s at most.
const MOST_WINDOW: u32 = 16 << 20;
/// What all channels together should have ahead: it is memory that the server can
/// fill where nobody reads.
const ALL_WINDOWS: usize = 64 << 20;
/// Bytes in one packet, at most what RFC 4253 section 6.1 lets everyone send
/// without asking: larger ones were not faster beyond this.
const MAX_PACKET: u32 = 65_535;

/// How the session is set up.
#[derive(Clone)]
pub struct SessionSettings {
    /// Interval of keepalives, once authenticated; none when zero.
    pub keepalive_interval: Duration,
    /// Unanswered keepalives after which the peer counts as dead.
    pub keepalive_max: usize,
    /// When keys are exchanged again.
    pub rekey: Rekey,
    /// Bound on key exchange and on each answer during authentication.
    pub deadline: Duration,
    /// What is expected of the server's key.
    pub policy: HostKeyPolicy,
    /// The known hosts behind `policy`.
    pub known: Arc<KnownHosts>,
    /// Whether the user's file follows what the server says of its keys.
    pub update_host_keys: bool,
    /// The grid on which keystrokes of a terminal leave, if they do
    /// (`ObscureKeystrokeTiming`).
    pub keystrokes: Option<Duration>,
    /// Whether messages leave before the answers to those that they follow
    /// (`Pipelining`).
    pub pipelining: bool,
    /// Who remembers servers, for a guess at what they prefer, if anybody does.
    pub servers: Option<Arc<dyn ServerMemory>>,
    /// Who answers questions.
    pub prompter: Arc<dyn Prompter>,
}

/// When keys are exchanged again (`RekeyLimit`): after so much has been sent or
/// received, and after so long. Where nothing is said, after 1 GiB and an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rekey {
    /// Bytes in one direction.
    pub bytes: Option<usize>,
    /// Since the last exchange.
    pub time: Option<Duration>,
}

/// An SSH connection, authenticated or about to be.
pub struct Session {
    handle: client::Handle<Client>,
    told: Arc<Told>,
    deadline: Duration,
    /// What its key is worth: what is confidential depends on it.
    worth: Worth,
    /// Its key.
    host_key: Option<PublicKey>,
    /// What vouches for its key, in half a sentence.
    vouched_by: String,
    /// Keys that the server says it has.
    announced: watch::Receiver<Vec<PublicKey>>,
    update_host_keys: bool,
    /// What the server was asked to forward to us.
    remotes: SharedRemotes,
    leases: Leases,
    keystrokes: Option<Duration>,
    policy: HostKeyPolicy,
    traffic: Traffic,
    /// What is to be begun along with the login.
    opening: Option<Opening>,
    /// What has been.
    begun: Mutex<Option<Begun>>,
    /// Who is remembered, until somebody has.
    met: Option<Met>,
}

/// Why key exchange did not succeed.
#[derive(Debug)]
pub enum HandshakeError {
    /// The key is not the one known for this machine: another route may lead to
    /// the right one, but must not be trusted on first use.
    HostKeyChanged(Error),
    /// The key is unknown and nobody trusts it.
    HostKeyRefused(Error),
    /// The connection was lost before that, or the two sides do not fit.
    Protocol(Loss),
    /// The same, after a guess at what the server prefers, which is not made again.
    Guessed(Loss),
}

impl HandshakeError {
    async fn lost(loss: Loss, guessed: Option<Expected>) -> Self {
        match guessed {
            Some(expected) => {
                expected.forget().await;
                Self::Guessed(loss)
            }
            None => Self::Protocol(loss),
        }
    }
}

/// How key exchange ended without a session.
enum Ended {
    /// The host key was refused.
    Refused(HandshakeError),
    /// The connection was lost, or too much time passed.
    Lost(Loss),
}

impl Told {
    /// Waits for key exchange, until `deadline` passes while nobody is asked about the host
    /// key.
    async fn in_time(
        &self,
        connecting: impl Future<Output = Result<client::Handle<Client>, russh::Error>>,
        deadline: Duration,
    ) -> Result<client::Handle<Client>, Ended> {
        tokio::pin!(connecting);
        loop {
            match tokio::time::timeout(deadline.max(MIN_KEX), &mut connecting).await {
                Ok(connected) => return connected.map_err(|error| self.why(&error)),
                // The peer has a deadline; the user thinking about a key has none.
                Err(_) if self.asking.load(Ordering::Relaxed) => {}
                Err(_) => return Err(Ended::Lost(Loss::TimedOut)),
            }
        }
    }

    /// Why key exchange failed: what is told here says more than russh's error.
    fn why(&self, error: &russh::Error) -> Ended {
        match lock(&self.refusal).take() {
            Some(Refusal { changed: true, error }) => {
                Ended::Refused(HandshakeError::HostKeyChanged(error))
            }
            Some(Refusal { changed: false, error }) => {
                Ended::Refused(HandshakeError::HostKeyRefused(error))
            }
            None => Ended::Lost(lock(&self.ended).take().unwrap_or_else(|| Loss::from(error))),
        }
    }
}

impl Session {
    /// Exchanges keys on `stream` and checks the host key. If something was said on it
    /// already, that is `said`, which was a [`greeting`] by these settings.
    ///
    /// # Errors
    /// See [`HandshakeError`]; nothing was authenticated in any case.
    pub async fn handshake<S>(
        stream: S,
        options: &SessionSettings,
        said: Greeting,
    ) -> Result<Self, HandshakeError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let known = known_by_now(options).await.map_err(HandshakeError::HostKeyRefused)?;
        let config = Arc::new(config(options, &known));
        let traffic = Traffic::default();
        let mut stream = Counted::new(stream, traffic.clone());
        let (announced_to_us, announced) = watch::channel(Vec::new());
        let client = Client::new(options, known.clone(), announced_to_us);
        let (told, remotes, leases) =
            (client.told.clone(), client.remotes.clone(), client.leases.clone());
        let is_said = !said.bytes().is_empty();
        let said = if is_said { said } else { greeting::with(&config, &known, options) };
        let first = if is_said { Vec::new() } else { said.bytes().to_vec() };
        let Greeting { whole, expected, .. } = said;
        let has_guess = whole.as_ref().is_some_and(client::Greeting::has_guess);
        let connecting = async {
            // Who takes nothing may have said why, which reading shows.
            if !is_said && stream.write_all(&first).await.is_ok() {
                let _ = stream.flush().await;
            }
            client::connect_greeted(config, whole, stream, client).await
        };
        let handle = match told.in_time(connecting, options.deadline).await {
            Ok(handle) => handle,
            Err(Ended::Refused(error)) => return Err(error),
            Err(Ended::Lost(loss)) => {
                return Err(HandshakeError::lost(loss, expected.filter(|_| has_guess)).await);
            }
        };
        let AcceptedKey { worth, by, key } = lock(&told.accepted).take().unwrap_or_default();
        let firsts = lock(&told.firsts).take().filter(|_| !matches!(worth, Worth::Nothing(_)));
        let met = Met::new(options, &known, key.as_ref().zip(firsts), expected);
        Ok(Self {
            handle,
            told,
            deadline: options.deadline,
            worth,
            host_key: key,
            vouched_by: by,
            announced,
            update_host_keys: options.update_host_keys && worth == Worth::UsersWord,
            remotes,
            leases,
            keystrokes: options.keystrokes,
            policy: options.policy.clone(),
            traffic,
            opening: None,
            begun: Mutex::default(),
            met,
        })
    }

    /// What there is to remember of the server, once.
    pub fn met(&mut self) -> Option<Met> {
        self.met.take()
    }

    /// How the connection was lost.
    pub fn loss(&self) -> Loss {
        lock(&self.told.ended).clone().unwrap_or(Loss::Closed)
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        while !self.handle.is_closed() {
            tokio::time::sleep(CLOSED_TICK).await;
        }
    }

    /// What uses this session now.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// What vouches for the server's key, in half a sentence for `-v`.
    pub fn vouched_by(&self) -> &str {
        &self.vouched_by
    }

    /// Why nothing confidential may go to this server, if it may not: nobody vouches
    /// for its key. It gets no password and no agent, and nothing is forwarded.
    pub fn suspicion(&self) -> Option<&'static str> {
        match self.worth {
            Worth::Nothing(why) => Some(why),
            Worth::UsersWord | Worth::Enough => None,
        }
    }

    /// Refuses what a server could abuse whose key nobody vouches for.
    fn may_forward(&self) -> std::result::Result<(), String> {
        self.suspicion().map_or(Ok(()), |why| Err(format!("forwarding is disabled: {why}")))
    }

    /// Waits until the server tells of all its keys, and keeps the user's file up
    /// to date with those that it proves to have (`UpdateHostKeys`). Returns what
    /// has changed; may never return, as servers need not tell.
    ///
    /// # Errors
    /// As [`KnownHosts::load`] and [`known_hosts::add`].
    pub async fn renew_host_keys(&self) -> Result<Option<Renewal>> {
        let mut announced = self.announced.clone();
        let policy = &self.policy;
        let Some(path) = policy.files.user.first().cloned().filter(|_| self.update_host_keys)
        else {
            return Ok(None);
        };
        if announced.wait_for(|keys| !keys.is_empty()).await.is_err() {
            return Ok(None);
        }
        let Some(own) = self.host_key.clone() else { return Ok(None) };
        let announced = Announced { all: announced.borrow().clone(), own };
        let names: Vec<Name> = policy.names().cloned().collect();
        let (algorithms, hashed) = (policy.algorithms.clone(), policy.files.hash_names);
        let plan = move || {
            Renewal::plan(&path, &names, hashed, announced, &|key| algorithms.takes_host_key(key))
        };
        let Some(renewal) = blocking(plan).await? else { return Ok(None) };
        let proof = self.handle.hostkeys_prove(renewal.new.clone());
        match tokio::time::timeout(self.deadline, proof).await {
            Ok(Ok(())) => {}
            // A server that cannot prove them has none.
            _ => return Ok(None),
        }
        let applied = renewal.clone();
        blocking(move || applied.apply()).await?;
        Ok(Some(renewal))
    }

    /// Says goodbye. Dropping a session would leave the server to find out by
    /// itself (RFC 4253, section 11.1).
    pub async fn disconnect(&self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        let _ = tokio::time::timeout(Duration::from_millis(500), goodbye).await;
    }
}

/// How often a session without a channel is looked at.
const CLOSED_TICK: Duration = Duration::from_millis(200);

/// A key exchange takes several round trips; no `--timeout` may be so short
/// that a far machine can never be reached.
const MIN_KEX: Duration = Duration::from_secs(10);

/// The least time for an answer: sshd delays failed passwords by seconds on
/// purpose.
const MIN_ANSWER: Duration = Duration::from_secs(30);

/// The known hosts, with what the user's own program adds.
async fn known_by_now(options: &SessionSettings) -> Result<Arc<KnownHosts>> {
    let Some(program) = order_program(&options.policy).cloned() else {
        return Ok(options.known.clone());
    };
    let (name, port) = options.policy.name.clone();
    let more = blocking(move || program.ask(Purpose::Order, &name, port, None)).await?;
    let mut known = KnownHosts::clone(&options.known);
    known.extend(more);
    Ok(Arc::new(known))
}

/// The program of the user's that is asked which keys are known before algorithms are
/// offered: as by ssh(1), only where it could change the order.
fn order_program(policy: &HostKeyPolicy) -> Option<&Program> {
    let may_change = !policy.of_clan && policy.algorithms.puts_known_first();
    policy.program.as_ref().filter(|_| may_change)
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(Error::Internal))
}

fn config(options: &SessionSettings, known: &KnownHosts) -> client::Config {
    let policy = &options.policy;
    let has_authority = policy
        .certificate_names()
        .iter()
        .any(|name| !known.authorities(name, policy.name.1).is_empty());
    client::Config {
        client_id: russh::SshId::Raw(Cow::Borrowed(IDENTIFICATION)),
        window_size: WINDOW,
        maximum_window_size: MOST_WINDOW,
        window_sizes: ALL_WINDOWS,
        maximum_packet_size: MAX_PACKET,
        preferred: policy
            .algorithms
            .preferred(&known.algorithms_of_all(policy.names()), has_authority),
        keepalive_interval: (!options.keepalive_interval.is_zero())
            .then_some(options.keepalive_interval),
        keepalive_max: options.keepalive_max,
        limits: limits(options.rekey),
        gex: group_exchange(),
        ..client::Config::default()
    }
}

/// Groups of whatever size is still safe (RFC 8270); 3072 bits are as strong as AES-128,
/// and larger ones cost seconds.
fn group_exchange() -> client::GexParams {
    client::GexParams::new(2048, 3072, 8192).unwrap_or_default()
}

/// RFC 4253, section 9, wants no more than 1 GiB with one key.
fn limits(rekey: Rekey) -> russh::Limits {
    let default = russh::Limits::default();
    let bytes = |most: usize| rekey.bytes.map_or(most, |bytes| bytes.min(most));
    russh::Limits {
        rekey_write_limit: bytes(default.rekey_write_limit),
        rekey_read_limit: bytes(default.rekey_read_limit),
        rekey_time_limit: rekey.time.unwrap_or(default.rekey_time_limit),
    }
}

/// A panic elsewhere while a lock was held leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
