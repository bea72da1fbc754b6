//! User authentication (RFC 4252, RFC 4256). Owns the order of methods and of
//! keys; reads key files, asks the agent and the user, and nothing else.

mod agent;
mod keyfile;
mod keys;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{MethodKind, MethodSet};

use super::Session;
use crate::error::{Error, Result};
use crate::printable::lines;
use crate::secret::Secret;
use crate::user::User;
pub use agent::AddKeys;
use agent::{Agent, SignError};
use keyfile::{KeyFile, Probe};
use keys::{Candidate, Holder, Keys};

/// Questions asked for one password, as NumberOfPasswordPrompts in ssh_config(5).
pub const PASSWORD_PROMPTS: usize = 3;
/// Key offers before the other methods get their turn. sshd closes after
/// MaxAuthTries, 6 by default, failures of any kind.
const MAX_KEY_OFFERS: usize = 5;
/// Rounds of keyboard-interactive questions, bounded against a server that
/// never has enough.
const MAX_ROUNDS: usize = 32;
/// Steps of authentication that may each succeed partially (several factors).
const MAX_FACTORS: usize = 8;

/// What we can authenticate with.
#[derive(Clone)]
pub struct Credentials {
    /// The login name.
    pub login: String,
    /// The machine, for questions and messages.
    pub machine: String,
    /// Key files named by the user; tried first, so that a full agent cannot
    /// use up the server's patience.
    pub identities: Vec<PathBuf>,
    /// Key files tried after the agent's keys, where they exist.
    pub default_identities: Vec<PathBuf>,
    /// The agent's socket, from `SSH_AUTH_SOCK`.
    pub agent: Option<PathBuf>,
    /// Whether the agent's keys count only as far as they are those of the files.
    pub identities_only: bool,
    /// Certificates for keys of the files or the agent (`CertificateFile`).
    pub certificates: Vec<PathBuf>,
    /// Whether keys of files are given to the agent (`AddKeysToAgent`).
    pub add_keys: Option<AddKeys>,
    /// What may be tried, in this order.
    pub methods: Vec<Method>,
    /// Questions asked for one password.
    pub prompts: usize,
    /// A password that is known already, tried once before asking.
    pub password: Option<Secret<String>>,
    /// Who answers questions.
    pub user: Arc<dyn User>,
}

/// A way to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `publickey`.
    PublicKey,
    /// `keyboard-interactive`.
    KeyboardInteractive,
    /// `password`.
    Password,
}

impl Method {
    /// OpenSSH's order.
    pub const ALL: [Self; 3] = [Self::PublicKey, Self::KeyboardInteractive, Self::Password];

    fn kind(self) -> MethodKind {
        match self {
            Self::PublicKey => MethodKind::PublicKey,
            Self::KeyboardInteractive => MethodKind::KeyboardInteractive,
            Self::Password => MethodKind::Password,
        }
    }
}

/// Authenticates `session`.
///
/// # Errors
/// [`Error::Auth`] when the server accepts nothing we have,
/// [`Error::ConnectionLost`] when it closes the connection meanwhile.
pub async fn authenticate(session: &mut Session, credentials: &Credentials) -> Result<()> {
    let mut attempt = Authentication::start(session, credentials).await?;
    for _ in 0..MAX_FACTORS {
        match attempt.next_factor().await? {
            Step::Success => return Ok(()),
            Step::Partial => {}
            Step::Failed => break,
        }
    }
    Err(attempt.refused())
}

enum Step {
    Success,
    /// Accepted, and the server wants another method too.
    Partial,
    Failed,
}

struct Authentication<'a> {
    session: &'a mut Session,
    credentials: &'a Credentials,
    agent: Option<Agent>,
    keys: VecDeque<Candidate>,
    offered: usize,
    /// What the server still takes; unknown before its first answer.
    remaining: Option<MethodSet>,
    tried: Vec<String>,
    password: Option<Secret<String>>,
}

impl<'a> Authentication<'a> {
    async fn start(session: &'a mut Session, credentials: &'a Credentials) -> Result<Self> {
        let Keys { agent, keys, tried } = Keys::gather(credentials, &session.handle).await;
        let password = credentials.password.clone();
        Ok(Self { session, credentials, agent, keys, offered: 0, remaining: None, tried, password })
    }

    async fn next_factor(&mut self) -> Result<Step> {
        for method in self.credentials.methods.clone() {
            if method != Method::PublicKey {
                match self.ask_what_is_taken().await? {
                    Step::Failed => {}
                    step => return Ok(step),
                }
                if !self.session.may_send_secrets {
                    let why = "password and keyboard-interactive are off: the host key is not \
                               the known one";
                    self.tried.push(why.to_owned());
                    return Ok(Step::Failed);
                }
            }
            if !self.takes(method.kind()) {
                continue;
            }
            let step = match method {
                Method::PublicKey => self.publickey().await?,
                Method::KeyboardInteractive => self.keyboard_interactive().await?,
                Method::Password => self.password().await?,
            };
            match step {
                Step::Failed => {}
                step => return Ok(step),
            }
        }
        // Also what the server takes from everybody.
        self.ask_what_is_taken().await
    }

    /// Not one key to offer: asks what the server takes.
    async fn ask_what_is_taken(&mut self) -> Result<Step> {
        if self.remaining.is_some() {
            return Ok(Step::Failed);
        }
        let login = self.credentials.login.clone();
        let answer = self.session.handle.authenticate_none(login);
        let answer = timed(self.session.deadline, answer).await?;
        self.judge(answer)
    }

    fn takes(&self, method: MethodKind) -> bool {
        self.remaining.as_ref().is_none_or(|remaining| remaining.contains(&method))
    }

    async fn publickey(&mut self) -> Result<Step> {
        while let Some(candidate) = self.keys.pop_front() {
            let others_left = self
                .remaining
                .as_ref()
                .is_some_and(|left| left.iter().any(|method| *method != MethodKind::PublicKey));
            if self.offered >= MAX_KEY_OFFERS && others_left {
                self.tried.push(format!("{} more keys were not offered", self.keys.len() + 1));
                self.keys.clear();
                break;
            }
            let Candidate { holder, certificate } = candidate;
            let step = match holder {
                Holder::Agent(identity) => self.offer_agent_key(&identity, certificate).await?,
                Holder::File(key) => self.offer_key_file(key, certificate).await?,
            };
            match step {
                Step::Failed if self.takes(MethodKind::PublicKey) => {}
                step => return Ok(step),
            }
        }
        Ok(Step::Failed)
    }

    /// With a certificate it is that which is offered; the agent signs with the key
    /// that it has.
    async fn offer_agent_key(
        &mut self,
        identity: &AgentIdentity,
        certificate: Option<Certificate>,
    ) -> Result<Step> {
        let public = identity.public_key().into_owned();
        let hash = self.rsa_hash(&public).await?;
        let Some(agent) = &mut self.agent else { return Ok(Step::Failed) };
        let what = if certificate.is_some() { "certificate of agent key" } else { "agent key" };
        self.tried.push(format!("{what} {}", public.fingerprint(HashAlg::Sha256)));
        self.offered += 1;
        let login = self.credentials.login.clone();
        let handle = &mut self.session.handle;
        let signing = AtomicBool::new(false);
        let mut signer = agent::Bounded { agent, signing: &signing, identity };
        let offer = async {
            match (certificate, identity) {
                (None, AgentIdentity::PublicKey { key, .. }) => {
                    handle.authenticate_publickey_with(login, key.clone(), hash, &mut signer).await
                }
                (Some(certificate), _) => {
                    handle
                        .authenticate_certificate_with(login, certificate, hash, &mut signer)
                        .await
                }
                (None, AgentIdentity::Certificate { certificate, .. }) => {
                    let certificate = certificate.clone();
                    handle
                        .authenticate_certificate_with(login, certificate, hash, &mut signer)
                        .await
                }
            }
        };
        let deadline = self.session.deadline;
        let answer = async {
            tokio::pin!(offer);
            loop {
                match answered(deadline, &mut offer).await {
                    // The agent has a deadline of its own.
                    Err(_) if signing.load(Ordering::Relaxed) => {}
                    answer => break answer,
                }
            }
        };
        match answer.await? {
            Ok(answer) => self.judge(answer),
            // The agent would not sign; the session goes on.
            Err(SignError::Agent) => {
                if let Some(last) = self.tried.last_mut() {
                    last.push_str(" (the agent refused to sign)");
                }
                Ok(Step::Failed)
            }
            Err(SignError::Session) => Err(self.lost()),
        }
    }

    async fn offer_key_file(
        &mut self,
        key: KeyFile,
        certificate: Option<Certificate>,
    ) -> Result<Step> {
        let public = key.public().cloned();
        let login = self.credentials.login.clone();
        let is_for_certificate = certificate.is_some();
        let certificate = certificate.or_else(|| key.certificate().cloned());
        // A locked key is offered by its public half first: no passphrase is
        // asked for a key that the server does not want.
        if key.is_locked()
            && let Some(public) = public.as_ref().filter(|_| certificate.is_none())
        {
            let hash = self.rsa_hash(public).await?;
            let mut probe = Probe::default();
            let handle = &mut self.session.handle;
            let offer =
                handle.authenticate_publickey_with(login.clone(), public.clone(), hash, &mut probe);
            let answer = answered(self.session.deadline, offer).await?;
            self.tried.push(format!("{}", key.path().display()));
            self.offered += 1;
            match answer {
                Ok(answer) => return self.judge(answer),
                Err(_) if probe.wanted => {}
                Err(_) => return Err(self.lost()),
            }
            self.tried.pop();
        }
        self.tried.push(format!("{}", key.path().display()));
        let private = match key.unlock(&self.credentials.user).await {
            Ok(private) => Arc::new(private),
            Err(reason) => {
                if let Some(last) = self.tried.last_mut() {
                    last.push_str(&format!(" ({reason})"));
                }
                return Ok(Step::Failed);
            }
        };
        self.add_to_agent(&key, &private).await?;
        if let Some(certificate) = certificate {
            self.offered += 1;
            let handle = &mut self.session.handle;
            let answer =
                handle.authenticate_openssh_cert(login.clone(), private.clone(), certificate);
            let answer = timed(self.session.deadline, answer).await?;
            match self.judge(answer)? {
                // The key alone is a candidate of its own.
                step if is_for_certificate => return Ok(step),
                Step::Failed => {}
                step => return Ok(step),
            }
        }
        let hash = self.rsa_hash(private.public_key()).await?;
        self.offered += 1;
        let answer = self
            .session
            .handle
            .authenticate_publickey(login, PrivateKeyWithHashAlg::new(private, hash));
        let answer = timed(self.session.deadline, answer).await?;
        self.judge(answer)
    }

    /// Gives a key that was read from a file to the agent, if the user wants that.
    async fn add_to_agent(&mut self, key: &KeyFile, private: &PrivateKey) -> Result<()> {
        let (Some(add), Some(agent)) = (self.credentials.add_keys, &mut self.agent) else {
            return Ok(());
        };
        if add.asks {
            let user = self.credentials.user.clone();
            let question = format!("add key {} to the agent (yes/no)? ", key.path().display());
            let answer = blocking(move || user.ask(&question, true)).await?;
            if !answer.is_some_and(|answer| answer.expose().eq_ignore_ascii_case("yes")) {
                return Ok(());
            }
        }
        if !agent::add(agent, private, add).await {
            let text = format!("warning: the agent does not take key {}", key.path().display());
            self.credentials.user.warn(&text);
        }
        Ok(())
    }

    /// The hash for an RSA key; never SHA-1. Only RSA is worth the wait for
    /// the server's extension message (RFC 8308).
    async fn rsa_hash(&self, key: &PublicKey) -> Result<Option<HashAlg>> {
        if !key.algorithm().is_rsa() {
            return Ok(None);
        }
        let best = self.session.handle.best_supported_rsa_hash();
        let best = answered(self.session.deadline, best).await?;
        let best = best.map_err(|_| self.lost())?.flatten();
        Ok(Some(best.unwrap_or(HashAlg::Sha512)))
    }

    async fn keyboard_interactive(&mut self) -> Result<Step> {
        for _ in 0..self.credentials.prompts {
            let login = self.credentials.login.clone();
            let start = self.session.handle.authenticate_keyboard_interactive_start(login, None);
            let mut answer = timed(self.session.deadline, start).await?;
            let mut asked = false;
            for _ in 0..MAX_ROUNDS {
                match answer {
                    KeyboardInteractiveAuthResponse::Success => return Ok(Step::Success),
                    KeyboardInteractiveAuthResponse::Failure {
                        remaining_methods,
                        partial_success,
                    } => {
                        let failed = AuthResult::Failure { remaining_methods, partial_success };
                        match self.judge(failed)? {
                            // A server that asked nothing will not ask next time.
                            Step::Failed
                                if asked && self.takes(MethodKind::KeyboardInteractive) =>
                            {
                                break;
                            }
                            step => return Ok(step),
                        }
                    }
                    KeyboardInteractiveAuthResponse::InfoRequest {
                        name,
                        instructions,
                        prompts,
                    } => {
                        asked |= !prompts.is_empty();
                        let prompts =
                            prompts.into_iter().map(|prompt| (prompt.prompt, prompt.echo));
                        let Some(answers) =
                            self.answers(&name, &instructions, prompts.collect()).await?
                        else {
                            self.tried.push("keyboard-interactive (nobody to ask)".to_owned());
                            return Ok(Step::Failed);
                        };
                        let handle = &mut self.session.handle;
                        let respond = handle.authenticate_keyboard_interactive_respond(answers);
                        answer = timed(self.session.deadline, respond).await?;
                    }
                }
            }
            self.tried.push("keyboard-interactive".to_owned());
        }
        Ok(Step::Failed)
    }

    /// Asks the user what the server asks; `None` when nobody answers.
    async fn answers(
        &mut self,
        name: &str,
        instructions: &str,
        prompts: Vec<(String, bool)>,
    ) -> Result<Option<Vec<String>>> {
        // A password known beforehand answers the one question it can be.
        if let [(_, false)] = prompts.as_slice()
            && let Some(password) = self.password.take()
        {
            return Ok(Some(vec![password.expose().clone()]));
        }
        let user = self.credentials.user.clone();
        let heading: String = [name, instructions]
            .iter()
            .filter(|text| !text.trim().is_empty())
            .map(|text| format!("{}\n", lines(text).trim_end()))
            .collect();
        let who = format!("({}@{}) ", self.credentials.login, self.credentials.machine);
        blocking(move || {
            if !heading.is_empty() {
                user.warn(heading.trim_end());
            }
            let ask = |(prompt, echo): &(String, bool)| {
                // Who asks comes first, so that a server cannot pose as us.
                let prompt = format!("{who}{}", lines(prompt));
                user.ask(&prompt, *echo).map(|answer| answer.expose().clone())
            };
            prompts.iter().map(ask).collect()
        })
        .await
    }

    async fn password(&mut self) -> Result<Step> {
        for _ in 0..self.credentials.prompts {
            let password = match self.password.take() {
                Some(password) => Some(password),
                None => {
                    let user = self.credentials.user.clone();
                    let prompt = format!(
                        "{}@{}'s password: ",
                        self.credentials.login, self.credentials.machine
                    );
                    blocking(move || user.ask(&prompt, false)).await?
                }
            };
            let Some(password) = password else {
                self.tried.push("password (nobody to ask)".to_owned());
                return Ok(Step::Failed);
            };
            self.tried.push("password".to_owned());
            let login = self.credentials.login.clone();
            let answer =
                self.session.handle.authenticate_password(login, password.expose().clone());
            let answer = timed(self.session.deadline, answer).await?;
            match self.judge(answer)? {
                Step::Failed if self.takes(MethodKind::Password) => {}
                step => return Ok(step),
            }
        }
        Ok(Step::Failed)
    }

    /// Takes note of the server's answer.
    fn judge(&mut self, answer: AuthResult) -> Result<Step> {
        match answer {
            AuthResult::Success => Ok(Step::Success),
            AuthResult::Failure { remaining_methods, partial_success } => {
                if self.session.handle.is_closed() {
                    return Err(self.lost());
                }
                self.remaining = Some(remaining_methods);
                Ok(if partial_success { Step::Partial } else { Step::Failed })
            }
        }
    }

    fn lost(&self) -> Error {
        let reason = self.session.ended().unwrap_or_else(|| "closed by the peer".to_owned());
        // sshd's words when MaxAuthTries is used up; what helps is a key by name.
        if reason.contains("Too many authentication failures") {
            return self.refused();
        }
        Error::ConnectionLost { machine: self.credentials.machine.clone(), reason }
    }

    fn refused(&self) -> Error {
        Error::Auth {
            user: self.credentials.login.clone(),
            machine: self.credentials.machine.clone(),
            offered: self
                .remaining
                .iter()
                .flat_map(|methods| methods.iter().map(String::from))
                .collect(),
            tried: self.tried.clone(),
        }
    }
}

async fn timed<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, russh::Error>>,
) -> Result<T> {
    answered(deadline, answer)
        .await?
        .map_err(|error| Error::Ssh(format!("authentication {}", super::protocol_text(&error))))
}

/// What the server answers, if it does in time.
async fn answered<T>(deadline: Duration, answer: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(deadline.max(super::MIN_ANSWER), answer)
        .await
        .map_err(|_| Error::Ssh("authentication timed out: the server does not answer".into()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Ssh("an internal task failed".to_owned()))
}
