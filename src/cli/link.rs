//! From an invocation to a connection: over the network that is remembered, through
//! what the user has put in the way, as often as he says, with a word about what
//! takes so long. Owns no front end's words.

mod proxy;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::invocation::{Front, Invocation};
use super::request::routes::{self, DIRECT, Found};
use super::request::{self, request};
use super::{Global, Ui, events};
use crate::connect::{Connected, Opens, Proof, Reached, Request, connect, reach};
use crate::dial::{Dialer, Proxy, Target};
use crate::error::{Attempt, Cause, Error, Result, Stage};
use crate::model::Host;
use crate::mux::master::Streams;
use crate::options::bare;
use crate::plan::Route;
use crate::printable::Printable;
use crate::race::RaceEvent;
use crate::remembered::Remembered;
use crate::ssh::forward::{Duplex, ForwardTarget};
use crate::ssh::info::ConnectionInfo;
use crate::ssh::{Opening, Session};
pub(super) use proxy::Jumps;

/// Jump hosts on the way to one host.
const MAX_JUMPS: usize = 16;

/// How long what the user has put in the way may take: somebody may be asked there.
const PROXY_DEADLINE: Duration = Duration::from_secs(120);

/// A session and what carries it.
pub(super) struct Link {
    pub(super) session: Arc<Session>,
    /// What there is to tell of it.
    pub(super) info: Arc<ConnectionInfo>,
    /// Whether a clan has led there that the user has not named.
    pub(super) is_unnamed: bool,
    /// Where it leads.
    target: Target,
    /// Owns the stream, and the session that it may go through.
    dialer: Arc<Dialer>,
}

impl Link {
    /// Whether it goes by something that no other process can have at the same time.
    pub(super) fn is_alone(&self) -> bool {
        self.dialer.is_alone()
    }

    /// What opens more streams to the same machine over the same network: to its SSH
    /// server, or to another port.
    pub(super) fn streams(&self) -> Streams {
        let (dialer, target) = (self.dialer.clone(), self.target.clone());
        Arc::new(move |port| {
            let (dialer, port) = (dialer.clone(), port.unwrap_or(target.port));
            let target = Target { port, ..target.clone() };
            async move {
                let stream = dialer.dial(&target, &|_| {}).await.ok()?;
                Some(Box::new(stream) as Box<dyn Duplex>)
            }
            .boxed()
        })
    }
}

/// What may be begun along with the login.
pub(super) enum Begins {
    /// Nothing: something has to be done before.
    Nothing,
    /// What the invocation is for. It is told whether a clan has led there that the
    /// user has not named.
    Task(Box<dyn FnOnce(bool) -> Opens>),
    /// A stream to where the connection is on the way to.
    Stream(ForwardTarget),
}

/// Connects, and notes in `invocation` whom it has logged in as.
pub(super) async fn open(
    invocation: &mut Invocation,
    begins: Begins,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Link> {
    let opened = open_at(invocation, begins, global, ui, 0).await;
    ui.progress.done();
    opened
}

/// The same at a depth of jump hosts.
async fn open_at(
    invocation: &mut Invocation,
    begins: Begins,
    global: &Global,
    ui: &Arc<Ui>,
    depth: usize,
) -> Result<Link> {
    if depth > MAX_JUMPS {
        return Err(Error::Usage("too many jump hosts, or one jumps over itself".to_owned()));
    }
    let is_way = depth > 0 || invocation.is_stream();
    let Prepared { mut request, memory } =
        prepare(invocation, is_way, &Jumps::new(depth), global, ui).await?;
    let machine = request.machine.clone();
    let is_unnamed = !request.host_keys.clan_is_named && !request.host_keys.identity.is_empty();
    request.opens = match begins {
        Begins::Nothing => None,
        Begins::Task(opens) => Some(opens(is_unnamed)),
        Begins::Stream(target) => Some(Arc::new(move |_| Some(Opening::Stream(target.clone())))),
    };
    let mut watch = watch(&machine, ui);
    let connection = attempts(request, invocation, &mut watch).await?;
    let Connected { session, route, target, mut info, dialer } = connection;
    let host = &target.label;
    memory.note(&route.network);
    if invocation.front == Front::Clan || route.network != DIRECT {
        ui.verbose(&format!(
            "connected to {} over network {} as {}@{host} port {}",
            Printable(&machine),
            route.network,
            route.user,
            route.port
        ));
    }
    let vouched_by = vouched(&session, &route);
    ui.verbose(&format!("host key vouched for by {vouched_by}"));
    events::connected(&machine, &route, host, &vouched_by);
    invocation.resolved.logged_in(&route.user, route.port);
    info.network = info.network.filter(|network| network != DIRECT);
    let (session, info) = (Arc::new(session), Arc::new(info));
    Ok(Link { session, info, is_unnamed, target, dialer })
}

/// Opens a stream and speaks no SSH on it.
pub(super) async fn stream(
    invocation: &mut Invocation,
    proof: Proof,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Reached> {
    let Prepared { mut request, memory } =
        prepare(invocation, true, &Jumps::new(0), global, ui).await?;
    if matches!(proof, Proof::Connection) {
        to_any_port(&mut request)?;
    }
    let machine = request.machine.clone();
    let reached = reach(request, proof, &mut watch(&machine, ui)).await?;
    events::reached(&machine, &reached.route, &reached.host);
    memory.note(&reached.route.network);
    ui.verbose(&format!(
        "connected to {} over network {} at {} port {}",
        Printable(&machine),
        reached.route.network,
        reached.host,
        reached.route.port
    ));
    Ok(reached)
}

/// Leaves out what leads to the SSH server whatever port is asked for.
fn to_any_port(request: &mut Request) -> Result<()> {
    let before = request.routes.len();
    request.routes.retain(|route| route.technology.has_ports());
    match before != 0 && request.routes.is_empty() && request.last_resort.is_none() {
        true => Err(Error::NoRoute {
            machine: request.machine.clone(),
            reason: "its networks carry only SSH, and no other port".to_owned().into(),
        }),
        false => Ok(()),
    }
}

/// All that connecting takes, and who remembers how it went.
pub(super) struct Prepared {
    pub(super) request: Request,
    memory: Memory,
}

/// Finds where the destination is, and connects to what is in the way of it.
pub(super) async fn prepare(
    invocation: &mut Invocation,
    is_way: bool,
    jumps: &Jumps,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Prepared> {
    // With an address that was named, the clan of somebody else that we stand in is none.
    let has_address = invocation.overrides.target_host.is_some();
    let beside = has_address.then(|| global.beside_strangers(ui)).flatten();
    let global = beside.as_ref().unwrap_or(global);
    let mut found = routes::find(invocation, global, ui)?;
    let ways = std::mem::take(&mut found.ways);
    // Of a host's own nothing of the clan is read; of the way to it all that leads there.
    let of_way = found.is_in_clans_network.then(|| global.vars(ui)).transpose()?.map(Arc::new);
    let prepared = prepare_found(invocation, found, is_way, jumps, global, ui).await?;
    let Request { routes, machine, vars, .. } = &prepared.request;
    let vars = of_way.as_ref().unwrap_or(vars);
    let options = &invocation.resolved.options;
    let settings = request::technologies(routes.iter(), &ways, global, options, machine, vars)?;
    Ok(Prepared { request: Request { settings, ..prepared.request }, ..prepared })
}

/// The same once it is found, and without what technologies need.
pub(super) async fn prepare_found(
    invocation: &mut Invocation,
    found: Found,
    is_way: bool,
    jumps: &Jumps,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Prepared> {
    let (is_machine, memory) = (found.is_machine, Memory::of(&found, invocation, global));
    // The one that all routes share, if they do.
    if let Some(route) = found.routes.first() {
        invocation.resolved.user.clone_from(&route.user);
    }
    let mut request = request(invocation, found, is_way, global, ui)?;
    request.last = memory.network();
    let begins = way(&request);
    if let Some(proxy) = proxy::of(invocation, is_machine, begins, jumps, global, ui).await? {
        over(&mut request, proxy, invocation)?;
    }
    Ok(Prepared { request, memory })
}

/// What is begun along with the login at what is in the way: a stream to where it goes
/// from there, if that is one place, and no secret.
fn way(request: &Request) -> Begins {
    let [route] = request.routes.as_slice() else { return Begins::Nothing };
    match &route.host {
        Host::Plain(host) if route.technology.is_direct() => {
            Begins::Stream(ForwardTarget::Tcp(bare(host).to_owned(), route.port))
        }
        _ => Begins::Nothing,
    }
}

/// Has `request` go over `proxy`, which leads to what is reached directly alone.
fn over(request: &mut Request, proxy: Arc<dyn Proxy>, invocation: &Invocation) -> Result<()> {
    request.socket_options.proxy = Some(proxy);
    request.deadline = request.deadline.or(Some(PROXY_DEADLINE));
    // What the files say of hosts in general leaves the networks alone that they
    // know nothing of, such as Tor.
    if invocation.front == Front::Clan && !invocation.proxy_is_said {
        return Ok(());
    }
    let user = request.routes.first().map(|route| route.user.clone());
    request.routes.retain(|route| route.technology.is_direct());
    match (request.routes.is_empty() && request.last_resort.is_none(), invocation.front) {
        (false, _) => {}
        // Whoever is in the way may know the name.
        (true, Front::Ssh) => request.routes = routes::direct(&invocation.resolved, user),
        (true, Front::Clan) => {
            return Err(Error::NoRoute {
                machine: request.machine.clone(),
                reason: "ProxyJump and ProxyCommand can reach none of its networks"
                    .to_owned()
                    .into(),
            });
        }
    }
    Ok(())
}

/// As often as `ConnectionAttempts` says, with a second between. Only connecting is
/// repeated, as by ssh(1): who was reached and does not answer will not like to be asked
/// again (sshconnect.c, `ssh_connect_direct`).
async fn attempts(
    request: Request,
    invocation: &Invocation,
    watch: &mut (dyn FnMut(RaceEvent<'_>) + Send),
) -> Result<Connected> {
    let mut left = invocation.resolved.options.connection_attempts().get();
    loop {
        left -= 1;
        match connect(request.clone(), watch).await {
            Err(Error::Unreachable { attempts, .. }) if left > 0 && may_come_up(&attempts) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            done => return done,
        }
    }
}

/// Whether somebody was not there who may be later, and nobody else was.
fn may_come_up(attempts: &[Attempt]) -> bool {
    let is_absent = |attempt: &Attempt| match &attempt.cause {
        Cause::Dial(error) => error.stage == Stage::Dial,
        _ => false,
    };
    let is_there = |attempt: &Attempt| match &attempt.cause {
        Cause::Decrypt(_) | Cause::Configuration(_) | Cause::Dial(_) => false,
        Cause::Proxy(_) | Cause::Banner(_) | Cause::KeyExchange(_) | Cause::HostKey(_) => true,
    };
    attempts.iter().any(is_absent) && !attempts.iter().any(is_there)
}

/// Says what the race does: with `-v` all of it, and on a terminal what takes long.
fn watch(machine: &str, ui: &Arc<Ui>) -> impl FnMut(RaceEvent<'_>) + Send {
    let (name, ui) = (machine.to_owned(), ui.clone());
    let machine = Printable(machine).to_string();
    ui.progress.doing(format!("connecting to {machine}"));
    move |event| {
        events::race(&name, &event);
        match event {
            RaceEvent::Started(route) => {
                match (ui.front, route.network == DIRECT) {
                    // sshconnect.c, `ssh_connect_direct`.
                    (Front::Ssh, true) => {
                        ui.verbose(&format!("Connecting to {} port {}.", route.host, route.port));
                    }
                    _ => ui.verbose(&format!("trying {} ({})", route.network, route.shown_host())),
                }
                ui.progress.doing(format!("connecting to {machine} over {}", route.network));
            }
            RaceEvent::Waiting(_, phase) if phase.is_warning() => ui.warning(&phase.to_string()),
            RaceEvent::Waiting(route, phase) => {
                ui.verbose(&format!("{}: {phase}", route.network));
                let text = format!("connecting to {machine} over {}: {phase}", route.network);
                ui.progress.doing(text);
            }
            RaceEvent::Failed(attempt) => ui.verbose(&format!("failed: {attempt}")),
        }
    }
}

/// What has told that this is the machine.
fn vouched(session: &Session, route: &Route) -> String {
    let network = route.technology.known().and_then(|known| known.vouches);
    let network =
        network.map(|what| format!("; {what} also identifies the machine")).unwrap_or_default();
    format!("{}{network}", session.vouched_by())
}

/// The network that last led to a machine of a clan.
struct Memory {
    /// Who remembers, for which clan and which machine.
    of: Option<(Remembered, String, String)>,
}

impl Memory {
    fn of(found: &Found, invocation: &Invocation, global: &Global) -> Self {
        // Where we are takes the system a moment to say: only where it is asked for.
        let memory = match found.is_in_networks {
            true => Remembered::of_user(&global.env),
            false => None,
        };
        let machine = invocation.name().to_owned();
        Self { of: memory.map(|memory| (memory, global.place(), machine)) }
    }

    fn network(&self) -> Option<String> {
        let (memory, clan, machine) = self.of.as_ref()?;
        memory.network(clan, machine)
    }

    fn note(&self, network: &str) {
        if let Some((memory, clan, machine)) = &self.of {
            memory.note(clan, machine, network);
        }
    }
}
