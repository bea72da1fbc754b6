//! The library's main entry: routes to an authenticated session. Owns what
//! happens between the race and SSH: the name a host key is checked under, and
//! which failures mean the next route and which mean the end.

mod identity;
mod probe;
mod reach;
mod trust;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::address;
use crate::dial::{Dialer, Settings, SocketOptions, Target};
use crate::env::Env;
use crate::error::{Attempt, Cause, Error, Result};
use crate::model::{Host, is_host};
use crate::openssh::DEFAULT_IDENTITIES;
use crate::plan::{CONFIGURATION, Route};
use crate::prompter::Prompter;
pub use crate::race::Proof;
use crate::race::{self, Hello, Race, RaceEvent, Reachable, Revealed, Rules};
use crate::secret::{self, Secret};
use crate::ssh::auth::{Credentials, authenticate};
use crate::ssh::hostkey::{HostKeyCheck, KnownHostsFiles, Stake, Stakes, Wording};
use crate::ssh::info::ConnectionInfo;
use crate::ssh::{
    self, HandshakeError, KEYSTROKES, Opening, Rekey, ServerMemory, Session, takes_guesses,
};
use crate::vars::Vars;

pub use identity::{identity, stated_keys};
pub use probe::{KeyState, Probed, probe};
pub use reach::{Reached, reach};
pub use trust::{Counted, EntryKind, HostKeySettings, Trust};

/// Bound on each answer of a server, unless the user sets one.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The interval of keepalives, as Clan has it.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Unanswered keepalives that end a connection, as in ssh_config(5).
const KEEPALIVE_MAX: usize = 3;

/// Finds one more route when all others have failed. May block for long.
pub type LastResort = Arc<dyn Fn() -> Result<Option<Route>> + Send + Sync>;

/// What may be begun along with the login over a route, if that is known before.
pub type Opens = Arc<dyn Fn(&Route) -> Option<Opening> + Send + Sync>;

/// What is wanted of a connection.
#[derive(Clone)]
pub struct Request {
    /// The machine, as it is called in the clan.
    pub machine: String,
    /// How to get there, best first.
    pub routes: Vec<Route>,
    /// Why the clan has no routes, if it has none.
    pub no_route: Option<String>,
    /// Where to look when none of the routes leads there.
    pub last_resort: Option<LastResort>,
    /// The network that last worked, which starts at once.
    pub last: Option<String>,
    /// The vars that secret hosts are in.
    pub vars: Arc<Vars>,
    /// Bound on each route from its start to the SSH banner, and on each answer
    /// after it; what the technology needs when `None`.
    pub deadline: Option<Duration>,
    /// How long a better route may hold up one that has answered already.
    pub grace: Duration,
    /// Whether the user has named or allowed the exports that the routes are of. Else
    /// no name server is asked for a secret host.
    pub exports_are_named: bool,
    /// What the user says of technologies.
    pub settings: Settings,
    /// Where direct connections come from.
    pub socket_options: SocketOptions,
    /// What is asked of the machine's key.
    pub host_keys: HostKeySettings,
    /// Interval of keepalives; none when zero.
    pub keepalive_interval: Duration,
    /// Unanswered keepalives after which the peer counts as dead.
    pub keepalive_max: usize,
    /// When keys are exchanged again.
    pub rekey: Rekey,
    /// The grid on which keystrokes leave, if they do.
    pub keystrokes: Option<Duration>,
    /// Whether messages leave before the answers to those that they follow.
    pub pipelining: bool,
    /// Who remembers what servers prefer in the key exchange, if anybody does.
    pub servers: Option<Arc<dyn ServerMemory>>,
    /// What the connection is for, where nothing has to be done before that.
    pub opens: Option<Opens>,
    /// Print secret hosts as they are.
    pub show_secrets: bool,
    /// What to authenticate with. Its `login` is replaced by the route's.
    pub credentials: Credentials,
}

impl Request {
    /// What holds where nothing else is said, for a machine that no routes are known
    /// to yet: the keys and the agent of who calls, his known_hosts, and `user` to
    /// answer questions.
    pub fn new(machine: &str, vars: Arc<Vars>, prompter: Arc<dyn Prompter>, env: &Env) -> Self {
        let home = env.home();
        let in_ssh = |name: &&str| home.map(|home| home.join(".ssh").join(name));
        Self {
            machine: machine.to_owned(),
            routes: Vec::new(),
            no_route: None,
            last_resort: None,
            last: None,
            vars,
            deadline: None,
            grace: race::DEFAULT_GRACE,
            exports_are_named: false,
            settings: Settings::default(),
            socket_options: SocketOptions::of(env),
            host_keys: HostKeySettings {
                stakes: Stakes {
                    all: vec![Stake::Password, Stake::KeyboardInteractive],
                    gives_up: false,
                },
                files: KnownHostsFiles::of(home),
                ..HostKeySettings::default()
            },
            keepalive_interval: KEEPALIVE,
            keepalive_max: KEEPALIVE_MAX,
            rekey: Rekey::default(),
            keystrokes: Some(KEYSTROKES),
            pipelining: true,
            servers: None,
            opens: None,
            show_secrets: false,
            credentials: Credentials {
                machine: machine.to_owned(),
                default_identities: DEFAULT_IDENTITIES.iter().filter_map(in_ssh).collect(),
                agent: env.agent(),
                ..Credentials::new(prompter)
            },
        }
    }
}

/// An authenticated session and how it came about.
pub struct Connected {
    /// The session.
    pub session: Session,
    /// The route that won.
    pub route: Route,
    /// Where that has led, for more streams to the same place.
    pub target: Target,
    /// What there is to tell of it.
    pub info: ConnectionInfo,
    /// What carries the session: it ends with this.
    pub dialer: Arc<Dialer>,
}

/// Races the routes of `request` and authenticates on the best that answers with
/// the right host key.
///
/// # Errors
/// [`Error::Unreachable`] when no route is left; [`Error::HostKey`] when the
/// last answer came from the wrong machine; [`Error::Auth`] at once, because
/// the machine was reached.
pub async fn connect(
    request: Request,
    progress: &mut (dyn FnMut(RaceEvent<'_>) + Send),
) -> Result<Connected> {
    let trust = Arc::new(Trust::load(&request).await?);
    let dialer = Arc::new(Dialer::new(request.settings.clone(), request.socket_options.clone()));
    let rules = rules(&request, Proof::Banner(Some(hello(&request, &trust))));
    let mut race = race(&request, request.routes.clone(), &dialer, rules);
    // After one wrong key, any unknown key may be the same attacker's.
    let mut allow_first_use = true;
    let mut last_resort = request.last_resort.clone();
    let mut may_guess = true;
    while let Some(reachable) = next(&mut race, &mut last_resort, progress).await {
        let Reachable { rank, route, target, stream, said, banner } = reachable;
        if request.host_keys.wording == Wording::Ssh {
            request.credentials.prompter.detail(&remote_version(&banner));
        }
        let started = Instant::now();
        let (peer, local) = (stream.peer.map(|ip| ip.to_canonical()), stream.local);
        let mut options = trust.options(&request, &target, peer, allow_first_use);
        options.policy.sshfp = trust.sshfp(&request, &target).await;
        let cause = match Session::handshake(stream, &options, said).await {
            Ok(mut session) => {
                let noting = session.met().map(|met| {
                    let banner = banner.clone();
                    tokio::task::spawn_blocking(move || met.remember(&banner))
                });
                let credentials =
                    Credentials { login: route.user.clone(), ..request.credentials.clone() };
                let opens = request.opens.as_ref().filter(|_| request.pipelining);
                if let Some(opening) = opens.and_then(|opens| opens(&route)) {
                    session.begin_with_login(opening);
                }
                let authenticated = authenticate(&mut session, &credentials).await;
                if let Some(noting) = noting {
                    // It was quicker than the server.
                    let _ = noting.await;
                }
                authenticated?;
                let info = ConnectionInfo {
                    user: route.user.clone(),
                    host: target.label.clone(),
                    port: target.port,
                    network: Some(route.network.clone()),
                    // It may be the host's own, on this machine.
                    local: local.filter(|_| !target.secret),
                    identification: banner,
                };
                return Ok(Connected { session, route, target, info, dialer });
            }
            Err(HandshakeError::HostKeyRefused(error)) => {
                // The user said no, or nobody could be asked.
                if options.policy.check == HostKeyCheck::Ask {
                    return Err(error);
                }
                Cause::HostKey(Box::new(error))
            }
            Err(HandshakeError::HostKeyChanged(error)) => {
                allow_first_use = false;
                Cause::HostKey(Box::new(error))
            }
            Err(HandshakeError::Guessed(loss)) if may_guess && !takes_guesses(&banner) => {
                // Another server than the one that was met: it gets what it understands.
                may_guess = false;
                race.add(route.clone());
                Cause::KeyExchange(loss)
            }
            Err(HandshakeError::Protocol(loss) | HandshakeError::Guessed(loss)) => {
                Cause::KeyExchange(trust.advised(loss, &request))
            }
        };
        let (port, elapsed) = (target.shown_port(), started.elapsed());
        let (network, host) = (route.network, target.label);
        race.failed(rank, Attempt { network, host, port, cause, elapsed }, progress);
    }
    Err(unreachable(request.machine, request.no_route, race.into_attempts()))
}

/// What the other side runs, in the words of OpenSSH's kex.c. Printable.
fn remote_version(banner: &str) -> String {
    let rest = banner.strip_prefix("SSH-").unwrap_or(banner);
    let (protocol, software) = rest.split_once('-').unwrap_or((rest, ""));
    format!("Remote protocol version {protocol}, remote software version {software}")
}

/// A race of these routes, in which a host is decrypted when its turn has come.
fn race(
    request: &Request,
    routes: Vec<Route>,
    dialer: &Arc<Dialer>,
    rules: Rules,
) -> Race<impl Fn(Route) -> BoxFuture<'static, Revealed> + use<>> {
    let revealing = Revealing::of(request);
    let reveal = move |route| reveal(route, revealing.clone()).boxed();
    Race::new(routes, dialer.clone(), reveal, rules)
}

/// What is said first to a target of `request`. Nothing in it depends on where exactly
/// the target is, or on who is trusted for the first time.
fn hello(request: &Request, trust: &Arc<Trust>) -> Hello {
    let (request, trust) = (request.clone(), trust.clone());
    Arc::new(move |target| ssh::greeting(&trust.options(&request, target, None, false)))
}

fn rules(request: &Request, proof: Proof) -> Rules {
    Rules { deadline: request.deadline, grace: request.grace, early: last_place(request), proof }
}

/// The best route that is reachable, the last resort included.
async fn next<R, F>(
    race: &mut Race<R>,
    last_resort: &mut Option<LastResort>,
    progress: &mut (dyn FnMut(RaceEvent<'_>) + Send),
) -> Option<Reachable>
where
    R: Fn(Route) -> F,
    F: Future<Output = Revealed>,
{
    loop {
        if let Some(reachable) = race.next(progress).await {
            return Some(reachable);
        }
        match found(last_resort.take()?).await {
            Ok(Some(route)) => race.add(route),
            Ok(None) => return None,
            Err(attempt) => race.failed(usize::MAX, *attempt, progress),
        }
    }
}

/// What has gone wrong when all of these have failed.
fn unreachable(machine: String, no_route: Option<String>, mut attempts: Vec<Attempt>) -> Error {
    match (attempts.pop(), attempts.is_empty()) {
        (None, _) => Error::NoRoute {
            machine,
            reason: format!(
                "{}, and its configuration has no targetHost",
                no_route.as_deref().unwrap_or("it is in no network of the clan")
            ),
        },
        // One route and a wrong key: that, and not the route, is what went wrong.
        (Some(Attempt { cause: Cause::HostKey(error), .. }), true) => *error,
        (Some(last), _) => {
            attempts.push(last);
            Error::Unreachable { machine, attempts }
        }
    }
}

/// What a last resort has found, or why it has not.
async fn found(find: LastResort) -> Result<Option<Route>, Box<Attempt>> {
    let started = Instant::now();
    let found = tokio::task::spawn_blocking(move || find()).await;
    let found = found.unwrap_or(Err(Error::Internal));
    found.map_err(|error| {
        Box::new(Attempt {
            network: CONFIGURATION.to_owned(),
            host: "targetHost".to_owned(),
            port: None,
            cause: Cause::Configuration(Box::new(error)),
            elapsed: started.elapsed(),
        })
    })
}

fn last_place(request: &Request) -> Option<usize> {
    let last = request.last.as_ref()?;
    request.routes.iter().position(|route| route.network == *last)
}

/// What it takes to reveal the host of a route.
#[derive(Clone)]
struct Revealing {
    vars: Arc<Vars>,
    show_secrets: bool,
    may_ask_dns: bool,
}

impl Revealing {
    fn of(request: &Request) -> Self {
        Self {
            vars: request.vars.clone(),
            show_secrets: request.show_secrets,
            may_ask_dns: request.exports_are_named,
        }
    }
}

/// The target of a route; its var is decrypted here and not before.
async fn reveal(route: Route, revealing: Revealing) -> Result<Target, Box<Error>> {
    let Revealing { vars, show_secrets, may_ask_dns } = revealing;
    let Route { technology, host, port, .. } = route;
    let var = match host {
        Host::Plain(host) => {
            let secret = technology.hides_hosts();
            let hidden = secret && !show_secrets;
            let label = if hidden { "<secret>".to_owned() } else { host.clone() };
            let host = Secret::new(host);
            if hidden {
                secret::conceal(&host);
            }
            return Ok(Target { technology, host, label, secret, port });
        }
        Host::Var(var) => var,
    };
    let label = format!("<secret: {var}>");
    let reading = var.clone();
    let value = tokio::task::spawn_blocking(move || vars.reveal(&reading))
        .await
        .map_err(|_| Box::new(Error::Internal))??;
    let bad = |reason| Box::new(Error::VarValue { var: var.to_string(), reason });
    let host = value.text().ok_or_else(|| bad("not UTF-8 text"))?;
    if !is_host(host.expose()) {
        return Err(bad("not the address of a host"));
    }
    let written = host;
    let host = Secret::new(address::canonical(written.expose()));
    let is_address = technology.known().is_none_or(|known| (known.is_address)(host.expose()));
    if value.secret && !may_ask_dns && !is_address {
        return Err(Box::new(Error::SecretName { var: var.to_string() }));
    }
    let secret = value.secret || technology.hides_hosts();
    let shown = show_secrets || !secret;
    if !shown {
        secret::conceal(&written);
        secret::conceal(&host);
    }
    let label = if shown { host.expose().clone() } else { label };
    Ok(Target { technology, host, label, secret, port })
}

#[cfg(test)]
mod tests;
