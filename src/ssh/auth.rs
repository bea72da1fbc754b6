//! User authentication (RFC 4252, RFC 4256). Owns the order of methods and of
//! keys; reads key files, asks the agent and the user, and nothing else.

mod agent;
mod keyfile;
mod offers;
mod password;
mod publickey;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse};
use russh::{MethodKind, MethodSet};

use super::hostkey::Wording;
use super::{Loss, Session};
use crate::encoding;
use crate::error::{Error, Result};
use crate::printable::{self, Printable, lines};
use crate::prompter::Prompter;
use crate::secret::Secret;
use agent::Agent;
use keyfile::KeyFile;
use offers::{Offer, Sources};

/// Questions asked for one password, as NumberOfPasswordPrompts in ssh_config(5).
const PASSWORD_PROMPTS: usize = 3;
/// Rounds of keyboard-interactive questions, bounded against a server that
/// never has enough.
const MAX_ROUNDS: usize = 32;
/// The method by which a server lets in whoever comes.
const NONE: &str = "none";
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
    /// A private key given by value, and what it is called; tried before all others.
    pub key: Option<(String, Secret<String>)>,
    /// Key files tried after the agent's keys, where they exist.
    pub default_identities: Vec<PathBuf>,
    /// Whether the user has named them: then it is worth a word that one is missing.
    pub names_identities: bool,
    /// The agent's socket, from `SSH_AUTH_SOCK`.
    pub agent: Option<PathBuf>,
    /// Whether the agent's keys count only as far as they are those of the files.
    pub identities_only: bool,
    /// Certificates named for themselves (`CertificateFile`), each used with
    /// whichever of the keys it is for; then none beside a key file counts.
    pub certificates: Vec<PathBuf>,
    /// Names of the algorithms that keys may be used with
    /// (`PubkeyAcceptedAlgorithms`); all if there is none.
    pub accepted: Vec<String>,
    /// What the agent is given of key files that are used.
    pub add_to_agent: AddToAgent,
    /// `KbdInteractiveDevices`: a list for the server.
    pub devices: String,
    /// What may be tried, in this order.
    pub methods: Vec<Method>,
    /// Questions asked for one password.
    pub prompts: usize,
    /// A password that is known already, tried once before asking.
    pub password: Option<Secret<String>>,
    /// Who answers questions.
    pub prompter: Arc<dyn Prompter>,
}

impl Credentials {
    /// Nothing to authenticate with but what `user` answers, by every method.
    pub fn new(prompter: Arc<dyn Prompter>) -> Self {
        Self {
            login: String::new(),
            machine: String::new(),
            identities: Vec::new(),
            key: None,
            default_identities: Vec::new(),
            names_identities: false,
            agent: None,
            identities_only: false,
            certificates: Vec::new(),
            accepted: Vec::new(),
            add_to_agent: AddToAgent::No,
            devices: String::new(),
            methods: Method::ALL.to_vec(),
            prompts: PASSWORD_PROMPTS,
            password: None,
            prompter,
        }
    }
}

/// Whether the agent is given a key that was read from a file
/// (`AddKeysToAgent`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddToAgent {
    /// It is not.
    #[default]
    No,
    /// If the user agrees.
    Ask,
    /// It is.
    Yes {
        /// Whether the agent asks before each use.
        confirm: bool,
        /// After which it forgets the key; never when 0.
        seconds: u32,
    },
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

    fn name(self) -> &'static str {
        match self {
            Self::PublicKey => "publickey",
            Self::KeyboardInteractive => "keyboard-interactive",
            Self::Password => "password",
        }
    }

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
            Step::Success => {
                attempt.say_success();
                return Ok(());
            }
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
    keys: VecDeque<Offer>,
    offered: usize,
    /// What the server still takes; unknown before its first answer.
    remaining: Option<MethodSet>,
    tried: Vec<String>,
    password: Option<Secret<String>>,
    /// The method whose answer counts.
    method: &'static str,
}

impl<'a> Authentication<'a> {
    async fn start(session: &'a mut Session, credentials: &'a Credentials) -> Result<Self> {
        let as_ssh = session.policy.wording == Wording::Ssh;
        let mut tried = Vec::new();
        let mut sources = Sources {
            identities_only: credentials.identities_only,
            accepted: credentials.accepted.clone(),
            ..Sources::default()
        };
        if let Some((name, key)) = &credentials.key {
            match KeyFile::given(name, key) {
                Ok(key) => sources.named.push(Arc::new(key)),
                Err(reason) => tried.push(format!("{name} ({reason})")),
            }
        }
        for path in &credentials.identities {
            match KeyFile::read(path).await {
                Ok(key) => sources.named.push(Arc::new(key)),
                // It is said in any case, because the user has named it.
                Err(reason) => sources.named.push(Arc::new(KeyFile::unreadable(path, reason))),
            }
        }
        let mut agent = None;
        if let Some(path) = &credentials.agent {
            match agent::open(path, &session.handle).await {
                Ok((client, identities)) => (agent, sources.held) = (Some(client), identities),
                Err(reason) => tried.push(format!("agent ({reason})")),
            }
        }
        for path in &credentials.default_identities {
            // Missing defaults are normal; broken ones are worth a word.
            match KeyFile::read(path).await {
                Ok(key) => sources.files.push(Arc::new(key)),
                Err(keyfile::Unreadable::Missing) if !credentials.names_identities => {}
                Err(reason) if as_ssh => {
                    sources.files.push(Arc::new(KeyFile::unreadable(path, reason)));
                }
                Err(reason) => tried.push(format!("{} ({reason})", path.display())),
            }
        }
        for path in &credentials.certificates {
            match keyfile::read_certificate(path).await {
                Ok(certificate) => sources.certificates.push((path.clone(), certificate)),
                Err(reason) => tried.push(format!("{} ({reason})", path.display())),
            }
        }
        let (keys, unusable) = sources.order();
        for (name, why) in unusable {
            let text = format!("{name} ({why})");
            if credentials.identities.iter().any(|path| path.display().to_string() == name) {
                let text = format!("Warning: a named key is not used: {}", printable::line(&text));
                credentials.prompter.warn(&text);
            }
            tried.push(text);
        }
        let password = credentials.password.clone();
        Ok(Self {
            session,
            credentials,
            agent,
            keys,
            offered: 0,
            remaining: None,
            tried,
            password,
            method: NONE,
        })
    }

    async fn next_factor(&mut self) -> Result<Step> {
        for method in self.credentials.methods.clone() {
            if method != Method::PublicKey {
                match self.ask_what_is_taken().await? {
                    Step::Failed => {}
                    step => return Ok(step),
                }
                if let Some(why) = self.session.suspicion() {
                    let off = format!("password and keyboard-interactive are off: {why}");
                    self.tried.push(off);
                    return Ok(Step::Failed);
                }
            }
            if !self.takes(method.kind()) {
                continue;
            }
            self.method = method.name();
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
        let login = self.login();
        let answer = self.session.handle.authenticate_none(login);
        let answer = timed(self.session.deadline, answer).await?;
        self.judge(answer)
    }

    /// Who logs in, which is bytes to many a server.
    fn login(&self) -> Vec<u8> {
        encoding::bytes(&self.credentials.login).into_owned()
    }

    fn takes(&self, method: MethodKind) -> bool {
        self.remaining.as_ref().is_none_or(|remaining| remaining.contains(&method))
    }

    async fn keyboard_interactive(&mut self) -> Result<Step> {
        for _ in 0..self.credentials.prompts {
            let login = self.login();
            let devices = self.credentials.devices.clone();
            let start = self.session.handle.authenticate_keyboard_interactive_start(login, devices);
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
                            self.tried
                                .push("keyboard-interactive (no prompt is possible)".to_owned());
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
        let prompter = self.credentials.prompter.clone();
        let heading: String = [name, instructions]
            .iter()
            .filter(|text| !text.trim().is_empty())
            .map(|text| format!("{}\n", lines(text).trim_end()))
            .collect();
        let who = format!("({}@{}) ", self.credentials.login, self.credentials.machine);
        blocking(move || {
            if !heading.is_empty() {
                prompter.tell(heading.trim_end());
            }
            let ask = |(prompt, echo): &(String, bool)| {
                // Who asks comes first, so that a server cannot pose as us.
                let prompt = format!("{who}{}", lines(prompt));
                prompter.ask(&prompt, *echo).map(|answer| answer.expose().clone())
            };
            prompts.iter().map(ask).collect()
        })
        .await
    }

    /// Takes note of the server's answer.
    fn judge(&mut self, answer: AuthResult) -> Result<Step> {
        match answer {
            AuthResult::Success => Ok(Step::Success),
            AuthResult::Failure { remaining_methods, partial_success } => {
                if self.session.handle.is_closed() {
                    return Err(self.lost());
                }
                if self.speaks_as_ssh() {
                    let names: Vec<&str> = remaining_methods.iter().map(<&str>::from).collect();
                    let names = format!("Authentications that can continue: {}", names.join(","));
                    self.credentials.prompter.detail(&names);
                }
                self.remaining = Some(remaining_methods);
                Ok(if partial_success { Step::Partial } else { Step::Failed })
            }
            // Only ever the answer to a password, and dealt with there.
            AuthResult::PasswordChange { .. } => Ok(Step::Failed),
        }
    }

    /// What programs look for that run ssh(1) with `-v` (sshconnect2.c).
    fn say_success(&self) {
        if !self.speaks_as_ssh() {
            return;
        }
        let (host, method) = (Printable(&self.credentials.machine), self.method);
        let place = match &self.session.policy.peer {
            Some((address, port)) => format!("[{}]:{port}", Printable(address)),
            None => "via proxy".to_owned(),
        };
        let text = format!("Authenticated to {host} ({place}) using \"{method}\".");
        self.credentials.prompter.remark(&text);
    }

    /// Whether messages are in the words of ssh(1).
    fn speaks_as_ssh(&self) -> bool {
        self.session.policy.wording == Wording::Ssh
    }

    fn lost(&self) -> Error {
        // packet.c, `ssh_remote_ipaddr`: over a proxy nobody knows.
        let nowhere = || ("UNKNOWN".to_owned(), 65_535);
        let peer = self.session.policy.peer.clone().unwrap_or_else(nowhere);
        match self.session.loss() {
            // What helps is a key by name.
            Loss::TooManyFailures => {
                if self.speaks_as_ssh() {
                    let (from, port) = (Printable(&peer.0), peer.1);
                    let words = "Too many authentication failures";
                    let said = format!("Received disconnect from {from} port {port}:2: {words}");
                    self.credentials.prompter.warn(&said);
                }
                self.refused()
            }
            reason => Error::ConnectionLost {
                machine: self.credentials.machine.clone(),
                reason,
                login_at: Some(Box::new(peer)),
            },
        }
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
        .map_err(|error| Error::Ssh(format!("authentication {}", Loss::from(&error))))
}

/// What the server answers, if it does in time.
async fn answered<T>(deadline: Duration, answer: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(deadline.max(super::MIN_ANSWER), answer)
        .await
        .map_err(|_| Error::Ssh("authentication timed out: the server does not answer".into()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Internal)
}
