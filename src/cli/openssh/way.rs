//! The way to a host of the `ssh` personality: directly, over the clan's networks,
//! over jump hosts, or by a command. Owns which of them it is.

use std::fmt;
use std::num::NonZeroU16;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Child;

use super::super::background::{self, Role};
use super::super::request::{KEEPALIVE, Way, assemble, configuration, lent_agent};
use super::super::{Global, Ui};
use super::in_shell;
use super::words::DIRECT;
use crate::children::Awaited;
use crate::connect::{Connection, Request, connect};
use crate::dial::{Detour, Dialer, Opening, ProxyFailure, Stream, Target};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::model::Technology;
use crate::openssh::arguments::{self, Arguments};
use crate::openssh::{Forwards, Resolved};
use crate::options::{Maybe, Names, Options, Template, Tunnel, bare};
use crate::plan::{Overrides, Route, TargetHost, plan};
use crate::printable::Printable;
use crate::race::Event;
use crate::ssh::Session;
use crate::ssh::auth::Method;
use crate::ssh::hostkey::{HostKeyCheck, Stake, Stakes, Words};
use crate::tokens;

/// Jump hosts on the way to one host.
const MAX_JUMPS: usize = 16;

/// How long what the user has put in the way may take: somebody may be asked there.
const DETOUR_DEADLINE: Duration = Duration::from_secs(120);

/// A session and what carries it.
pub(super) struct Link {
    pub(super) session: Arc<Session>,
    /// Owns the stream, and the session that it may go through.
    _dialer: Arc<Dialer>,
}

/// Connects to a host by whatever way its configuration has.
pub(super) async fn open(
    resolved: &Resolved,
    arguments: &Arguments,
    global: &Global,
    ui: &Arc<Ui>,
    depth: usize,
) -> Result<Link> {
    if depth > MAX_JUMPS {
        return Err(Error::Usage("too many jump hosts, or one jumps over itself".to_owned()));
    }
    let file = arguments.config_file.as_deref();
    let detour = in_the_way(resolved, file, global, ui, depth).await?;
    let mut request = request(resolved, global, ui)?;
    // As ssh(1): a stream of ours through it is what it is for.
    let is_way = depth > 0 || arguments.stdio_forward.is_some();
    request.host_keys.stakes = stakes(resolved, &request, is_way)?;
    if let Some(detour) = detour {
        let user = request.routes.first().map(|route| route.user.clone());
        if over(&mut request, detour).is_err() {
            // Whoever is in the way may know the name.
            request.routes = direct(resolved, user);
        }
    }
    let mut watch = |event: Event<'_>| match event {
        Event::Started(route) => ui.verbose(&format!("trying {} ({})", route.network, route.host)),
        Event::Waiting(route, phase) => ui.verbose(&format!("{}: {phase}", route.network)),
        Event::Failed(attempt) => ui.verbose(&format!("failed: {attempt}")),
    };
    let Connection { session, dialer, .. } =
        attempts(request, &resolved.options, &mut watch).await?;
    ui.verbose(&format!("host key vouched for by {}", session.vouched_by()));
    Ok(Link { session: Arc::new(session), _dialer: dialer })
}

/// Has `request` go over `detour`, which leads to what is reached directly alone.
fn over(request: &mut Request, detour: Arc<dyn Detour>) -> Result<()> {
    request.origin.detour = Some(detour);
    request.deadline = request.deadline.or(Some(DETOUR_DEADLINE));
    let is_direct =
        |route: &Route| matches!(route.technology, Technology::Direct | Technology::Zerotier);
    request.routes.retain(is_direct);
    match request.routes.is_empty() && request.last_resort.is_none() {
        false => Ok(()),
        true => Err(Error::NoRoute {
            machine: request.machine.clone(),
            reason: "none of its networks is one that ProxyJump or ProxyCommand lead to".to_owned(),
        }),
    }
}

/// As often as `ConnectionAttempts` says, with a second between.
pub(in crate::cli) async fn attempts(
    request: Request,
    options: &Options,
    watch: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Connection> {
    let mut left = options.connection_attempts().get();
    loop {
        left -= 1;
        match connect(request.clone(), watch).await {
            Err(Error::Unreachable { .. }) if left > 0 => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            done => return done,
        }
    }
}

/// What `ProxyJump` or `ProxyCommand` put in the way. Jump hosts are connected to at
/// once.
async fn in_the_way(
    resolved: &Resolved,
    config_file: Option<&str>,
    global: &Global,
    ui: &Arc<Ui>,
    depth: usize,
) -> Result<Option<Arc<dyn Detour>>> {
    if let Some(command) = resolved.proxy_command() {
        return Ok(Some(Program::new(command.clone(), resolved.clone())));
    }
    match resolved.jumps() {
        [] => Ok(None),
        jumps => {
            let link = jump(jumps, config_file, global, ui, depth + 1).await?;
            Ok(Some(Arc::new(Jump(link))))
        }
    }
}

/// The last of some jump hosts, over the others.
async fn jump(
    jumps: &[String],
    config_file: Option<&str>,
    global: &Global,
    ui: &Arc<Ui>,
    depth: usize,
) -> Result<Link> {
    let Some((last, before)) = jumps.split_last() else {
        return Err(Error::Usage("no jump host".to_owned()));
    };
    // As ssh(1) does: only the file's name is passed on to a jump host.
    let uri = if last.starts_with("ssh://") { last.clone() } else { format!("ssh://{last}") };
    let mut hop = arguments::parse(&["--".to_owned(), uri])?;
    hop.config_file = config_file.map(str::to_owned);
    if !before.is_empty() {
        hop.options.proxy_jump = Some(Maybe(Some(Names(before.to_vec()))));
    }
    let resolved = super::resolved(&hop.host, &hop.options, config_file, &global.env)?;
    Box::pin(open(&resolved, &hop, global, ui, depth)).await
}

/// Has `request` go over what `ProxyJump` or `ProxyCommand` say, if they do.
pub(in crate::cli) async fn detour(
    request: &mut Request,
    resolved: &Resolved,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<()> {
    if !resolved.jumps().is_empty() {
        ui.progress.doing(format!("connecting to {}", Printable(&resolved.jumps().join(","))));
    }
    match in_the_way(resolved, None, global, ui, 0).await? {
        Some(detour) => over(request, detour),
        None => Ok(()),
    }
}

/// A session that streams go through.
struct Jump(Link);

impl fmt::Debug for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jump")
    }
}

impl Detour for Jump {
    fn open<'a>(&'a self, target: &'a Target) -> Opening<'a> {
        Box::pin(async {
            let stream = self.0.session.open_tcp(bare(target.host.expose()), target.port).await;
            Ok(Stream::new(stream.map_err(ProxyFailure::NotForwarded)?, None))
        })
    }
}

/// A command for each stream.
#[derive(Debug)]
struct Program {
    command: Template,
    machine: Resolved,
    started: Mutex<Vec<(Child, Option<Awaited>)>>,
}

impl Program {
    fn new(command: Template, machine: Resolved) -> Arc<Self> {
        Arc::new(Self { command, machine, started: Mutex::default() })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // As ssh(1) does: not every program ends when its input does.
        let started = self.started.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (child, _) in started {
            let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, Signal::HUP);
            }
        }
    }
}

impl Detour for Program {
    fn open<'a>(&'a self, target: &'a Target) -> Opening<'a> {
        // Everybody on this computer can read what a program is called with.
        let host = (!target.secret).then(|| target.host.expose().clone());
        // Whoever it comes from: its words become the shell's.
        let unfit = tokens::unfit_host(target.host.expose());
        let expanded = tokens::expand(self.command.written(), &|token| match token {
            'h' => host.clone(),
            'p' => Some(target.port.to_string()),
            token => self.machine.token(token),
        });
        Box::pin(async move {
            if let Some(why) = unfit {
                return Err(ProxyFailure::Unfit(why.to_string()));
            }
            let command = expanded.map_err(|error| match target.secret {
                true if self.command.written().contains("%h") => ProxyFailure::ShowsSecret,
                _ => ProxyFailure::Command(error.to_string()),
            })?;
            let logs = self.machine.verbosity() > 0;
            let (stream, child) = proxy(&command, logs, &self.machine.env)
                .map_err(|error| ProxyFailure::NotStarted(error.kind()))?;
            let awaited = child.id().map(Awaited::new);
            self.started.lock().unwrap_or_else(PoisonError::into_inner).push((child, awaited));
            Ok(stream)
        })
    }
}

/// A program, and its standard input and output. That of a master keeps nobody's
/// standard error open (`ssh_proxy_connect` of OpenSSH's sshconnect.c).
fn proxy(command: &str, logs: bool, env: &Env) -> std::io::Result<(Stream, Child)> {
    // Without a shell that would stay between us and it.
    let mut run = tokio::process::Command::from(in_shell(&format!("exec {command}"), env));
    if background::role() == Some(Role::Master) && !logs {
        run.stderr(Stdio::null());
    }
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    Ok((Stream::new(tokio::io::join(output, input), None), child))
}

/// The host itself, in no network of a clan.
fn direct(resolved: &Resolved, user: Option<String>) -> Vec<Route> {
    let target = TargetHost {
        user: user.or_else(|| Some(resolved.user.clone())),
        host: resolved.host_name.clone(),
        port: Some(resolved.port),
        options: Vec::new(),
    };
    vec![Route::to(&target, DIRECT, &Overrides::default())]
}

/// What connecting takes.
fn request(resolved: &Resolved, global: &Global, ui: &Arc<Ui>) -> Result<Request> {
    let overrides = Overrides {
        user: resolved.options.user.clone(),
        port: resolved.options.port.map(NonZeroU16::get),
        ..Overrides::default()
    };
    let mut way = Way {
        machine: resolved.original_host.clone(),
        routes: Vec::new(),
        no_route: None,
        last_resort: None,
        of_clan: None,
        identity: Vec::new(),
        password: None,
        identities: Vec::new(),
        tokens: resolved.tokens().collect(),
        // What nobody says is as in ssh(1), and not as in clan.
        check: HostKeyCheck::Ask,
        keepalive: Duration::ZERO,
    };
    let clan = machine(resolved, global, ui)?;
    // Not even a var of it is read for another host.
    let nobody;
    let global = match &clan {
        Some(_) => global,
        None => {
            nobody = global.without_clan();
            &nobody
        }
    };
    match clan {
        Some(clan) => {
            way.of_clan = global.host_keys(&way.machine, Some(&clan), ui)?;
            way.identity = global.identity(&way.machine, &clan, ui)?;
            if way.of_clan.is_some() {
                way.keepalive = KEEPALIVE;
            }
            way.last_resort = configuration(&clan, &way.machine, &overrides, global, ui);
            way.routes = match plan(&clan, &way.machine, &overrides) {
                Err(Error::NoRoute { reason, .. }) if way.last_resort.is_some() => {
                    way.no_route = Some(reason);
                    Vec::new()
                }
                routes => routes?,
            };
        }
        None => way.routes = direct(resolved, None),
    }
    let mut request = assemble(way, resolved, global, ui)?;
    // The name that ssh(1) shows where it asks (sshconnect2.c).
    let shown = resolved.options.host_key_alias.as_ref().unwrap_or(&resolved.host_name);
    request.credentials.machine = shown.to_ascii_lowercase();
    request.host_keys.words = Words::Ssh;
    Ok(request)
}

/// What the host would get, but not with a key that nobody vouches for.
fn stakes(resolved: &Resolved, request: &Request, is_way: bool) -> Result<Stakes> {
    let options = &resolved.options;
    let forwards = Forwards::of(resolved)?;
    let methods = &request.credentials.methods;
    let all = [
        (methods.contains(&Method::Password), Stake::Password),
        (methods.contains(&Method::KeyboardInteractive), Stake::KeyboardInteractive),
        (lent_agent(resolved)?.is_some(), Stake::Agent),
        (options.forward_x11(), Stake::X11),
        (!forwards.all.is_empty(), Stake::Ports),
        (options.tunnel() != Tunnel::No, Stake::Tunnel),
        (request.host_keys.update, Stake::UpdateHostKeys),
    ];
    let all: Vec<Stake> =
        all.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, stake)| stake).collect();
    let is_refused = all.iter().any(|stake| *stake != Stake::UpdateHostKeys);
    Ok(Stakes { gives_up: is_way || (forwards.exit_on_failure && is_refused), all })
}

/// The clan, if the host is one of its machines and nothing else is said of it.
fn machine(
    resolved: &Resolved,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Option<crate::model::Clan>> {
    let name = &resolved.original_host;
    let is_plain = !name.contains(['.', ':', '/']) && resolved.options.host_name.is_none();
    if !is_plain {
        return Ok(None);
    }
    match global.site() {
        Ok(_) => {}
        // What was named is not left aside in silence.
        Err(error) if global.named().is_some() => return Err(error),
        // Where there is no clan there is nothing to say.
        Err(Error::FlakeNotFound { .. } | Error::System { .. }) => return Ok(None),
        Err(error @ Error::ClanRefused { .. }) => {
            ui.verbose(&format!("{error}; to allow it: clan-connect trust-clan"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    match global.clan(ui) {
        Ok(clan) => Ok(clan.knows(name).then_some(clan)),
        Err(error) => {
            ui.verbose(&format!("the clan here is of no use: {error}"));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[tokio::test]
    async fn a_program_is_never_told_a_secret_host() {
        let machine = Resolved::of("m", Options::default(), &Env::default());
        let open = async |command: &str, secret| {
            let program = Program::new(Template::new(command), machine.clone());
            let host = Secret::new("hidden.example".to_owned());
            let (technology, label) = (Technology::Direct, "<secret>".to_owned());
            program.open(&Target { technology, host, label, secret, port: 22 }).await.map(|_| ())
        };
        assert!(open("true %h %p %n", false).await.is_ok());
        assert!(open("true %p %n", true).await.is_ok());
        assert_eq!(open("true %h", true).await, Err(ProxyFailure::ShowsSecret));
        let Err(ProxyFailure::Command(why)) = open("true %Z", true).await else { panic!() };
        assert!(why.contains("unknown token"), "{why}");
    }

    #[tokio::test]
    async fn a_program_is_never_told_a_host_that_means_something_to_its_shell() {
        let machine = Resolved::of("m", Options::default(), &Env::default());
        for host in ["$(touch x)", "a;b", "-oProxyCommand=x", "`x`"] {
            let program = Program::new(Template::new("true %h"), machine.clone());
            let (technology, label) = (Technology::Direct, "x".to_owned());
            let host = Secret::new(host.to_owned());
            let target = Target { technology, host, label, secret: false, port: 22 };
            let why = program.open(&target).await.map(|_| ()).unwrap_err();
            assert!(matches!(why, ProxyFailure::Unfit(_)), "{why}");
        }
    }
}
