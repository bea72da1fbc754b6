//! The method `publickey` (RFC 4252, section 7). Owns offering one key after the
//! other; nothing is unlocked, and nobody asked, before the server wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::MethodKind;
use russh::client::{AuthResult, EarlyChannel};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg};

use super::super::hostkey::type_name;
use super::agent::{self, Agent};
use super::keyfile::{KeyFile, Unreadable};
use super::offers::{self, By, Offer};
use super::{AddToAgent, Authentication, Credentials, Step, answered, blocking};
use crate::error::{Error, Result};
use crate::printable;

/// Key offers before the other methods get their turn. sshd closes after
/// MaxAuthTries, 6 by default, failures of any kind.
const MAX_KEY_OFFERS: usize = 5;

impl Authentication<'_> {
    pub(super) async fn publickey(&mut self) -> Result<Step> {
        while let Some(offer) = self.keys.pop_front() {
            let others_left = self
                .remaining
                .as_ref()
                .is_some_and(|left| left.iter().any(|method| *method != MethodKind::PublicKey));
            if self.offered >= MAX_KEY_OFFERS && others_left {
                self.tried.push(format!("{} more keys were not offered", self.keys.len() + 1));
                self.keys.clear();
                break;
            }
            match self.offer(offer).await? {
                Step::Failed if self.takes(MethodKind::PublicKey) => {}
                step => return Ok(step),
            }
        }
        Ok(Step::Failed)
    }

    async fn offer(&mut self, offer: Offer) -> Result<Step> {
        let Offer { what, by, name } = offer;
        self.tried.push(name);
        if let By::File(file) = &by
            && let Some(trouble) = file.trouble()
        {
            let (user, words) = (&self.credentials.prompter, trouble.as_ssh(file.path()));
            match trouble {
                Unreadable::Missing => user.tell(&words),
                _ => user.warn(&words),
            }
            return Ok(self.failed(&trouble.to_string()));
        }
        let what = match (what, &by) {
            (Some(what), _) => what,
            // Nobody knows what it is before it is unlocked.
            (None, By::File(file)) => match unlocked(file, self.credentials).await {
                Ok(key) => {
                    let accepted = &self.credentials.accepted;
                    match offers::of_key(key.public_key(), accepted) {
                        Some(what) => what,
                        None => return Ok(self.failed("not in PubkeyAcceptedAlgorithms")),
                    }
                }
                Err(reason) => return Ok(self.failed(reason)),
            },
            (None, _) => return Ok(Step::Failed),
        };
        self.offered += 1;
        if self.speaks_as_ssh() {
            self.credentials.prompter.detail(&offering(&what, &by));
        }
        if let By::File(file) = &by
            && self.signs_at_once(&what, file)
        {
            return self.sign_at_once(file).await;
        }
        let hash = self.rsa_hash(&what).await?;
        let begun = match self.signs_unasked(&what, &by) {
            true => self.session.follow_signature().await,
            false => None,
        };
        let login = self.login();
        let deadline = self.session.deadline;
        let signing = AtomicBool::new(false);
        let mut hand = Hand {
            by: &by,
            agent: self.agent.as_mut(),
            credentials: self.credentials,
            signing: &signing,
        };
        let handle = &mut self.session.handle;
        let offering = async {
            match what {
                AgentIdentity::PublicKey { key, .. } => {
                    handle.authenticate_publickey_with(login, key, hash, &mut hand).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    handle.authenticate_certificate_with(login, certificate, hash, &mut hand).await
                }
            }
        };
        let answer = async {
            tokio::pin!(offering);
            loop {
                match answered(deadline, &mut offering).await {
                    // Who signs has a deadline of its own, or may think.
                    Err(_) if signing.load(Ordering::Relaxed) => {}
                    answer => break answer,
                }
            }
        };
        match answer.await? {
            Ok(answer) => self.judge_with(answer, begun),
            // The session goes on.
            Err(SignError::Hand(reason)) => {
                if let By::Agent(identity) = &by
                    && self.speaks_as_ssh()
                {
                    self.credentials.prompter.warn(&refused(identity));
                }
                Ok(self.failed(reason))
            }
            Err(SignError::Session) => Err(self.lost()),
        }
    }

    /// Whether a signature is no more trouble than the question whether the server
    /// wants it: nobody is asked, nothing else is done, and it costs no time.
    fn signs_at_once(&self, what: &AgentIdentity, file: &KeyFile) -> bool {
        let AgentIdentity::PublicKey { key, .. } = what else { return false };
        let is_cheap = matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Ecdsa { .. });
        is_cheap && file.is_open() && self.credentials.add_to_agent == AddToAgent::No
    }

    /// Spares the question, and so a round trip.
    async fn sign_at_once(&mut self, file: &Arc<KeyFile>) -> Result<Step> {
        let key = match unlocked(file, self.credentials).await {
            Ok(key) => PrivateKeyWithHashAlg::new(key, None),
            Err(reason) => return Ok(self.failed(reason)),
        };
        let begun = self.session.follow_signature().await;
        let login = self.login();
        let answer = self.session.handle.authenticate_publickey(login, key);
        match answered(self.session.deadline, answer).await? {
            Ok(answer) => self.judge_with(answer, begun),
            Err(_) => Err(self.lost()),
        }
    }

    /// Takes note of the server's answer to a signature, and of what has followed that.
    fn judge_with(&mut self, answer: AuthResult, begun: Option<EarlyChannel>) -> Result<Step> {
        let step = self.judge(answer)?;
        if let Step::Success = step {
            self.session.has_begun(begun);
        }
        Ok(step)
    }

    /// Whether whoever signs asks nobody for that, as far as can be known: then nothing
    /// is begun that the user has not yet had a say in.
    fn signs_unasked(&self, what: &AgentIdentity, by: &By) -> bool {
        match by {
            By::Agent(_) => !matches!(
                what.public_key().algorithm(),
                Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256
            ),
            By::File(file) => file.is_open() && self.credentials.add_to_agent != AddToAgent::Ask,
            By::Nobody => false,
        }
    }

    fn failed(&mut self, reason: &str) -> Step {
        if let Some(last) = self.tried.last_mut() {
            last.push_str(&format!(" ({reason})"));
        }
        Step::Failed
    }

    /// The hash for an RSA key. Only RSA is worth the wait for the server's
    /// extension message (RFC 8308).
    async fn rsa_hash(&self, what: &AgentIdentity) -> Result<Option<HashAlg>> {
        if !what.public_key().algorithm().is_rsa() {
            return Ok(None);
        }
        let best = self.session.handle.best_supported_rsa_hash();
        let best = answered(self.session.deadline, best).await?;
        let best = best.map_err(|_| self.lost())?.flatten();
        Ok(offers::rsa_hash(what, &self.credentials.accepted, best).or(Some(HashAlg::Sha512)))
    }
}

/// What ssh(1) says with `-v` of a key that it offers (sshconnect2.c,
/// `send_pubkey_test`).
fn offering(what: &AgentIdentity, by: &By) -> String {
    let (place, whose) = match by {
        By::File(file) => (printable::line(&file.path().to_string_lossy()), "explicit"),
        _ => (
            match what {
                AgentIdentity::PublicKey { comment, .. }
                | AgentIdentity::Certificate { comment, .. } => printable::line(comment),
            },
            "agent",
        ),
    };
    let key = what.public_key();
    let (kind, fingerprint) = (type_name(&key.algorithm()), key.fingerprint(HashAlg::Sha256));
    format!("Offering public key: {place} {kind} {fingerprint} {whose}")
}

/// What ssh(1) says when the agent does not sign (sshconnect2.c,
/// `sign_and_send_pubkey`).
fn refused(identity: &AgentIdentity) -> String {
    let comment = match identity {
        AgentIdentity::PublicKey { comment, .. } | AgentIdentity::Certificate { comment, .. } => {
            printable::line(comment)
        }
    };
    let kind = type_name(&identity.public_key().algorithm());
    format!(
        "sign_and_send_pubkey: signing failed for {kind} \"{comment}\" from agent: \
         agent refused operation"
    )
}

/// Signs as soon as the server wants it.
struct Hand<'a> {
    by: &'a By,
    agent: Option<&'a mut Agent>,
    credentials: &'a Credentials,
    /// Whether it is we who are waited for, and not the server.
    signing: &'a AtomicBool,
}

enum SignError {
    Hand(&'static str),
    Session,
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self::Session
    }
}

impl russh::Signer for Hand<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        self.signing.store(true, Ordering::Relaxed);
        let signed = match (self.by, &mut self.agent) {
            // A certificate may be signed for by its key alone.
            (By::Agent(identity), Some(agent)) => agent::sign(agent, identity, hash, data).await,
            (By::File(file), _) => match unlocked(file, self.credentials).await {
                Ok(key) => sign(&key, hash, data).ok_or("it cannot sign"),
                Err(reason) => Err(reason),
            },
            _ => Err("nothing can sign with it"),
        };
        self.signing.store(false, Ordering::Relaxed);
        signed.map_err(SignError::Hand)
    }
}

/// The data with the signature after it, as russh wants it.
fn sign(key: &PrivateKey, hash: Option<HashAlg>, mut data: Vec<u8>) -> Option<Vec<u8>> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(rsa) => (rsa, hash).try_sign(&data).ok()?,
        other => other.try_sign(&data).ok()?,
    };
    let mut blob = Vec::new();
    signature.encode(&mut blob).ok()?;
    blob.encode(&mut data).ok()?;
    Some(data)
}

/// The private key of a file; the agent gets it if it is to have it.
async fn unlocked(
    file: &Arc<KeyFile>,
    credentials: &Credentials,
) -> Result<Arc<PrivateKey>, &'static str> {
    let (key, is_first) = file.unlock(&credentials.prompter, credentials.prompts).await?;
    if let Some(agent) = credentials.agent.as_deref().filter(|_| is_first) {
        let (seconds, confirm) = match credentials.add_to_agent {
            AddToAgent::No => return Ok(key),
            AddToAgent::Yes { confirm, seconds } => (seconds, confirm),
            AddToAgent::Ask => match may_add(file, &key, credentials).await {
                Ok(true) => (0, false),
                _ => return Ok(key),
            },
        };
        if agent::add(agent, &key, seconds, confirm).await.is_none() {
            tracing::debug!("the agent does not take the key {}", file.path().display());
        }
    }
    Ok(key)
}

async fn may_add(
    file: &KeyFile,
    key: &PrivateKey,
    credentials: &Credentials,
) -> Result<bool, Error> {
    let comment = printable::line(key.comment().as_str_lossy());
    let prompt = format!("add key {} ({comment}) to agent? ", file.path().display());
    let prompter = credentials.prompter.clone();
    // An empty answer is a yes, as in ssh(1).
    let answer = blocking(move || prompter.ask(&prompt, true)).await?;
    Ok(answer.is_some_and(|answer| {
        let answer = answer.expose().trim();
        answer.is_empty() || answer.eq_ignore_ascii_case("yes")
    }))
}
