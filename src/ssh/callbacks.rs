//! Our side of russh's callbacks: what the server says and opens by itself. Owns
//! the judgement of host keys as far as a person has a part in it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Msg};
use russh::keys::ssh_key::Certificate;
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelId, ChannelOpenFailure, Firsts, Names};
use tokio::sync::watch;

use super::forward::{self, SharedRemotes};
use super::hostkey::{self, Decision, HostKeyPolicy, Wording, Worth};
use super::info::Agreed;
use super::known_hosts::{KnownHosts, Purpose};
use super::opened::Opened;
use super::{Leases, Loss, SessionSettings, lock, loss};
use crate::error::{Error, Result};
use crate::printable;
use crate::prompter::Prompter;

/// Our side of russh's callbacks. What the server opens by itself is refused, unless
/// somebody here has asked for it: russh's default is to accept it.
pub(super) struct Client {
    pub(super) policy: HostKeyPolicy,
    pub(super) known: Arc<KnownHosts>,
    pub(super) prompter: Arc<dyn Prompter>,
    pub(super) told: Arc<Told>,
    pub(super) announced: watch::Sender<Vec<PublicKey>>,
    pub(super) remotes: SharedRemotes,
    pub(super) leases: Leases,
    pub(super) opened: Opened,
    /// Whether the server's last host key came with a certificate.
    pub(super) has_certificate: bool,
}

/// What the callbacks tell the session of the key exchange and of its end.
#[derive(Default)]
pub(super) struct Told {
    /// Whether the host key is being judged, perhaps by a person.
    pub(super) asking: AtomicBool,
    /// Why the host key was refused.
    pub(super) refusal: Mutex<Option<Refusal>>,
    /// The host key, if it was not.
    pub(super) accepted: Mutex<Option<AcceptedKey>>,
    /// What the server has put first, if its key is no certificate.
    pub(super) firsts: Mutex<Option<Firsts>>,
    /// The algorithms in use.
    pub(super) agreed: Mutex<Agreed>,
    /// How the connection ended, if it has.
    pub(super) ended: Mutex<Option<Loss>>,
}

impl Client {
    /// What is announced of the server's keys goes to `announced`.
    pub(super) fn new(
        options: &SessionSettings,
        known: Arc<KnownHosts>,
        announced: watch::Sender<Vec<PublicKey>>,
    ) -> Self {
        Self {
            policy: options.policy.clone(),
            known,
            prompter: options.prompter.clone(),
            told: Arc::default(),
            announced,
            remotes: SharedRemotes::default(),
            leases: Leases::default(),
            opened: Opened::default(),
            has_certificate: false,
        }
    }
}

pub(super) struct Refusal {
    pub(super) changed: bool,
    pub(super) error: Error,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let (policy, known, user) =
            (self.policy.clone(), self.known.clone(), self.prompter.clone());
        let (key, certificate) = (offered.public_key(), offered.certificate().cloned());
        self.has_certificate = certificate.is_some();
        self.told.asking.store(true, Ordering::Relaxed);
        // Asking and writing known_hosts block.
        let check = move || check_host_key(&policy, &known, &*user, &key, certificate.as_ref());
        let decided = tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| russh::Error::IO(std::io::Error::other(error)))?;
        self.told.asking.store(false, Ordering::Relaxed);
        match decided {
            Ok(trust) => {
                *lock(&self.told.accepted) = Some(trust);
                Ok(true)
            }
            Err(refusal) => {
                *lock(&self.told.refusal) = Some(refusal);
                Ok(false)
            }
        }
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        names: &Names,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        *lock(&self.told.agreed) = Agreed::new(names, self.has_certificate);
        *lock(&self.told.firsts) = (!self.has_certificate).then(|| names.firsts.clone());
        Ok(())
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let (user, text) = (self.prompter.clone(), printable::lines(banner));
        tokio::task::spawn_blocking(move || user.banner(&text))
            .await
            .map_err(|error| russh::Error::IO(std::io::Error::other(error)))
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let target = lock(&self.remotes).of_tcp(address, port);
        self.take("forwarded-tcpip", channel, target, reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let target = lock(&self.remotes).of_unix(path);
        self.take("forwarded-streamlocal", channel, target, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let agent = lock(&self.remotes).agent();
        let Some((path, binding)) = agent else {
            self.opened.prohibit("auth-agent", reply).await;
            return Ok(());
        };
        // Who asks over there is told that nobody is there (clientloop.c,
        // `client_request_agent`).
        let Ok(agent) = tokio::net::UnixStream::connect(path).await else {
            self.opened.refuse("auth-agent", ChannelOpenFailure::ConnectFailed, reply).await;
            return Ok(());
        };
        if let Some(open) = self.opened.accept("auth-agent", reply).await {
            let using = self.leases.begin("auth-agent");
            tokio::spawn(async move {
                forward::accept_agent(channel, agent, binding).await;
                drop((using, open));
            });
        }
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.opened.prohibit("session", reply).await;
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.opened.prohibit("direct-tcpip", reply).await;
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.opened.prohibit("direct-streamlocal", reply).await;
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.opened.prohibit("x11", reply).await;
        Ok(())
    }

    async fn openssh_ext_host_keys_announced(
        &mut self,
        keys: Vec<PublicKey>,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.announced.send_replace(keys);
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        channel: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _language: &str,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        // As ssh(1) says it (channels.c, `channel_input_open_failure`).
        let mut text = format!("channel {channel}: open failed: {}", loss::refusal(&reason));
        if !description.is_empty() {
            text.push_str(": ");
            text.push_str(&printable::lines(description));
        }
        let (user, words) = (self.prompter.clone(), self.policy.wording);
        tokio::task::spawn_blocking(move || match words {
            Wording::Ssh => user.tell(text.trim_end()),
            Wording::Own => user.detail(&printable::line(&text)),
        })
        .await
        .map_err(|error| russh::Error::IO(std::io::Error::other(error)))
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let (loss, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                (Loss::disconnected(info.reason_code as u32, &info.message), Ok(()))
            }
            DisconnectReason::Error(error) => (Loss::from(&error), Err(error)),
        };
        lock(&self.told.ended).get_or_insert(loss);
        result
    }
}

impl Client {
    /// Takes a connection that was asked for, and no other.
    async fn take(
        &mut self,
        kind: &str,
        channel: Channel<Msg>,
        target: Option<forward::ForwardTarget>,
        reply: ChannelOpenHandle,
    ) {
        let Some(target) = target else { return self.opened.prohibit(kind, reply).await };
        let connector = lock(&self.remotes).connector(&target);
        if let Some(open) = self.opened.accept(kind, reply).await {
            let using = self.leases.begin(format!("{kind} (to {target})"));
            tokio::spawn(async move {
                forward::accept(channel, target, connector).await;
                drop((using, open));
            });
        }
    }
}

/// A host key that passed.
#[derive(Debug, Default)]
pub(super) struct AcceptedKey {
    /// What it is worth.
    pub(super) worth: Worth,
    /// What vouches for it.
    pub(super) by: String,
    /// The key.
    pub(super) key: Option<PublicKey>,
}

fn check_host_key(
    policy: &HostKeyPolicy,
    known: &KnownHosts,
    prompter: &dyn Prompter,
    key: &PublicKey,
    certificate: Option<&Certificate>,
) -> Result<AcceptedKey, Refusal> {
    let refused = |error| Refusal { changed: false, error };
    let (mut known, mut policy) = (Cow::Borrowed(known), Cow::Borrowed(policy));
    if let Some(program) = &policy.program {
        let (name, port) = &policy.name;
        let more = program.ask(Purpose::Hostname, name, *port, Some(key)).map_err(refused)?;
        // They are the user's word, which a clan's own stands instead of, or beside.
        if !policy.of_clan {
            known.to_mut().extend(more.clone());
        }
        if let Some(own) = &mut policy.to_mut().uncontradicted {
            Arc::make_mut(&mut own.known).extend(more);
        }
    }
    let policy = &*policy;
    if policy.wording == Wording::Ssh {
        let (kind, fingerprint) = (key.algorithm(), key.fingerprint(HashAlg::Sha256));
        prompter.detail(&format!("Server host key: {kind} {fingerprint}"));
    }
    let passed = |worth, by| AcceptedKey { worth, by, key: Some(key.clone()) };
    match hostkey::decide(policy, &known, key, certificate) {
        Decision::Accept { note, by, remember, worth } => {
            // What could not be written down is not said to be.
            let is_kept = !remember || keep(policy, prompter, key)?;
            match note.filter(|_| is_kept) {
                Some(note) if matches!(worth, Worth::Nothing(_)) => prompter.warn(&note),
                Some(note) => prompter.tell(&note),
                None => {}
            }
            Ok(passed(worth, by))
        }
        Decision::Ask { question, fingerprint } => {
            let mut asked = prompter.ask(&question, true);
            loop {
                let Some(answer) = asked else {
                    return Err(refused(policy.unverified(key, "no prompt is possible")));
                };
                match hostkey::consent(answer.expose(), &fingerprint) {
                    Some(true) => {
                        keep(policy, prompter, key)?;
                        return Ok(passed(Worth::UsersWord, "your word".to_owned()));
                    }
                    Some(false) => {
                        return Err(refused(policy.unverified(key, "you did not accept it")));
                    }
                    None => {
                        asked = prompter.ask("Please type 'yes', 'no' or the fingerprint: ", true);
                    }
                }
            }
        }
        Decision::Reject { warning, error, changed } => {
            if !warning.is_empty() {
                prompter.warn(&warning.join("\n"));
            } else if policy.wording == Wording::Ssh {
                // Its callers' last word is the same for all reasons.
                prompter.warn(&error.to_string());
            }
            Err(Refusal { changed, error })
        }
    }
}

/// A key that cannot be written down is still a key we trust now: say so and
/// go on, as ssh(1) does. Another key written meanwhile is a mismatch. Returns whether it
/// was written.
fn keep(policy: &HostKeyPolicy, prompter: &dyn Prompter, key: &PublicKey) -> Result<bool, Refusal> {
    match hostkey::remember(policy, key) {
        Ok(()) => {
            if policy.wording == Wording::Ssh && !policy.files.user.is_empty() {
                prompter.tell(&hostkey::added(policy, key));
            }
            Ok(true)
        }
        Err(error @ Error::HostKey { .. }) => {
            if policy.wording == Wording::Ssh {
                prompter.warn(&error.to_string());
            }
            Err(Refusal { changed: true, error })
        }
        Err(error) => {
            let key = hostkey::describe(key);
            prompter
                .warn(&format!("warning: the host key ({key}) could not be remembered: {error}"));
            Ok(false)
        }
    }
}
