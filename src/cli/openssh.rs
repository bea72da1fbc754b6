//! Called as `ssh`, or as `openssh ARGS...`: OpenSSH's command line, with the
//! words and exit statuses that its callers look for.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use super::background::{self, Role};
use super::mux::{self, Control, Shared, Wanted};
use super::ssh::{self, SshOptions, Stop, Way};
use super::{Global, Ui, print, tor};
use crate::connect::{Connection, Request, connect, connect_on};
use crate::dial::{Dialer, Family, Stream, Target};
use crate::error::{Attempt, Error, Result};
use crate::exports::Technology;
use crate::openssh::arguments::{self, Arguments};
use crate::openssh::{Forwards, Resolved, dump, query, resolve};
use crate::plan::{Overrides, Route, TargetHost, plan};
use crate::printable::{self, Printable};
use crate::secret::Secret;
use crate::ssh::Session;
use crate::ssh::auth::Method;
use crate::ssh::forward::{Connector, Duplex, Forward, Listen, Place, Side, pipe};
use crate::ssh::hostkey::HostKeyCheck;
use crate::ssh::open_forwards::{OpenForwards, Rules};
use crate::ssh::remote::{Ending, Remote};
use crate::term;
use crate::user::User;

/// The network's name in messages.
const DIRECT: &str = "direct";
/// Jump hosts on the way to one host.
const MAX_JUMPS: usize = 16;

/// Options of ssh_config(5) that are understood as `--ssh-option` is.
const SHARED: [&str; 18] = [
    "casignaturealgorithms",
    "ciphers",
    "compression",
    "connecttimeout",
    "dnssecanchor",
    "hashknownhosts",
    "hostkeyalgorithms",
    "hostkeyalias",
    "kexalgorithms",
    "knownhostscommand",
    "macs",
    "requiredrsasize",
    "revokedhostkeys",
    "serveralivecountmax",
    "serveraliveinterval",
    "torauth",
    "updatehostkeys",
    "verifyhostkeydns",
];

/// Runs a whole command line and returns the exit status.
pub(super) fn main(args: &[String]) -> u8 {
    let arguments = match arguments::parse(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            say(&error.to_string());
            return 255;
        }
    };
    if let Some(file) = &arguments.log_file
        && let Err(error) = log_to(file)
    {
        say(&format!("Couldn't open logfile {}: {error}", Printable(file)));
        return 255;
    }
    crate::log::start(arguments.verbose);
    match run(&arguments) {
        Ok(code) => code,
        Err(Error::Output(_)) => 255,
        Err(error) => {
            say(&error.to_string());
            255
        }
    }
}

/// Our own options, of which there are none on such a command line.
fn global(arguments: &Arguments, resolved: &Resolved) -> Global {
    Global {
        flake: None,
        exports: None,
        identity: Vec::new(),
        verbose: arguments.verbose,
        quiet: resolved.is_quiet(),
        color: super::Color::Never,
        show_secrets: false,
        tor: tor::TorOptions::default(),
    }
}

/// `-E`: what would be on standard error goes to the end of a file.
fn log_to(file: &str) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
    rustix::stdio::dup2_stderr(&file).map_err(Into::into)
}

pub(super) fn say(text: &str) {
    use std::io::Write;
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

fn run(arguments: &Arguments) -> Result<u8> {
    if arguments.version {
        let version = env!("CARGO_PKG_VERSION");
        say(&format!("clan-connect {version}, with the command line of OpenSSH_9.9"));
        return Ok(0);
    }
    if let Some(kind) = &arguments.query {
        let list = query(kind)
            .ok_or_else(|| Error::Usage(format!("Unsupported query \"{}\"", Printable(kind))))?;
        print(list.as_bytes())?;
        return Ok(0);
    }
    let exec = |command: &str| Ok(in_shell(command).status().is_ok_and(|status| status.success()));
    let file = arguments.config_file.as_deref();
    let resolved = resolve(&arguments.host, &arguments.config, file, &exec)?;
    if arguments.dump {
        print(dump(&resolved).as_bytes())?;
        return Ok(0);
    }
    let global = global(arguments, &resolved);
    let ui = Arc::new(Ui::new(&global));
    if let Some(command) = &arguments.control {
        return ssh::runtime()?.block_on(mux::command(command, &resolved, &ui));
    }
    if resolved.config.flag("forkafterauthentication", false)? && background::role().is_none() {
        return background::start(Role::Session);
    }
    let _blocking = term::Blocking::enter();
    let runtime = ssh::runtime()?;
    let done = runtime.block_on(async {
        let mut stop = Stop::new()?;
        tokio::select! {
            done = session(arguments, &resolved, &global, &ui) => done,
            code = stop.signalled() => Ok(code),
        }
    });
    runtime.shutdown_background();
    term::restore();
    done.map_err(|error| in_words_of_ssh(error, &resolved))
}

/// A command of the user's, as ssh(1) runs it.
fn in_shell(command: &str) -> std::process::Command {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    #[allow(clippy::disallowed_methods, reason = "the user configured this very command")]
    let mut run = std::process::Command::new(shell.unwrap_or_else(|| "/bin/sh".into()));
    run.arg("-c").arg(command);
    background::hide_from(&mut run);
    run
}

async fn session(
    arguments: &Arguments,
    resolved: &Resolved,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<u8> {
    let config = &resolved.config;
    let is_master = background::role() == Some(Role::Master);
    let remote = if is_master { None } else { remote(arguments, resolved, ui)? };
    let forwards = Forwards::of(resolved)?;
    let through = arguments.stdio_forward.as_deref().filter(|_| !is_master);
    let through = through.map(|text| resolved.stdio_forward(text)).transpose()?;
    let control = Control::of(resolved)?;
    if let Some(control) = control.as_ref().filter(|_| !is_master) {
        let wanted = match (&through, &remote) {
            (Some(place), _) => Wanted::Stdio(place),
            (None, Some(remote)) => Wanted::Session(remote),
            (None, None) => Wanted::Forwards,
        };
        if let Some(code) = mux::shared(control, &wanted, &forwards, resolved, ui).await? {
            return Ok(code);
        }
    }
    let link = open(resolved, arguments, global, ui, 0).await?;
    let session = link.session.clone();
    let agent = lent_agent(resolved)?;
    let lends_agent = agent.is_some();
    if let Some(agent) = agent {
        session.lend_agent(agent);
    }
    session.connect_with(connector());
    let open = Arc::new(OpenForwards::new(
        session.clone(),
        Rules { gateway_ports: forwards.gateway_ports, unlink: forwards.unlink },
    ));
    forward(&open, &forwards, ui).await?;
    let host = resolved.original_host.as_str();
    let shared = Shared::start(control.as_ref(), &session, &open, host, lends_agent, ui)?;
    if let Some(command) = config.get("localcommand")
        && config.flag("permitlocalcommand", false)?
    {
        let command = resolved.expand(command.value())?;
        // Before anything that comes from the other side.
        let _ = tokio::task::spawn_blocking(move || in_shell(&command).status()).await;
    }
    background::ready(arguments.verbose > 0 || arguments.log_file.is_some());
    let conversation = async {
        match (through, remote) {
            (Some(place), _) => stdio(&session, &place).await.map(|()| (0, true)),
            (None, Some(remote)) => {
                let input = input(config.flag("stdinnull", false)?);
                let ended = ssh::converse(&session, host, &remote, ui, input).await;
                if remote.pty.is_some() && !ui.quiet && ended.is_ok() {
                    say(&format!("Connection to {} closed.\r", Printable(&resolved.host_name)));
                }
                ended.map(|ending| (ending.exit_code(), ending != Ending::Escaped))
            }
            // Another one was first to be the master.
            (None, None) if is_master && shared.is_none() => Ok((0, false)),
            // Nothing but forwarding and sharing, until the connection ends.
            (None, None) => {
                tokio::select! {
                    () = session.closed() => {
                        let reason = session.ended();
                        let reason = reason.unwrap_or_else(|| "closed by the peer".to_owned());
                        Err(Error::ConnectionLost { machine: host.to_owned(), reason })
                    }
                    () = unused(shared.as_ref(), &session) => Ok((0, false)),
                }
            }
        }
    };
    let whole = async {
        let (code, waits) = conversation.await?;
        // As ssh(1) does: others may still be at it, and connections be forwarded.
        if waits {
            tokio::select! {
                () = session.uses().none() => {}
                () = session.closed() => {}
            }
        }
        Ok(code)
    };
    let ended = tokio::select! {
        ended = whole => ended,
        () = terminated(shared.as_ref()) => Ok(if is_master { 0 } else { 255 }),
    };
    drop(shared);
    drop(open);
    session.disconnect().await;
    drop(session);
    drop(link);
    ended
}

async fn terminated(shared: Option<&Shared>) {
    match shared {
        Some(shared) => shared.terminated().await,
        None => std::future::pending().await,
    }
}

async fn unused(shared: Option<&Shared>, session: &Session) {
    match shared {
        Some(shared) => shared.unused(session).await,
        None => std::future::pending().await,
    }
}

/// Standard input, unless nothing is to be read.
fn input(is_null: bool) -> Box<dyn tokio::io::AsyncRead + Send + Unpin> {
    if is_null { Box::new(tokio::io::empty()) } else { Box::new(tokio::io::stdin()) }
}

/// A session and what carries it.
struct Link {
    session: Arc<Session>,
    /// The dialler that owns the stream, if it is ours.
    _dialer: Option<Arc<Dialer>>,
    /// The session that the stream goes through.
    _before: Option<Box<Link>>,
}

/// Connects to a host by whatever way its configuration has.
async fn open(
    resolved: &Resolved,
    arguments: &Arguments,
    global: &Global,
    ui: &Arc<Ui>,
    depth: usize,
) -> Result<Link> {
    if depth > MAX_JUMPS {
        return Err(Error::Usage("too many jump hosts, or one jumps over itself".to_owned()));
    }
    let jumps = resolved.jumps();
    let command = resolved.proxy_command()?;
    if jumps.is_empty() && command.is_none() {
        let request = request(resolved, global, ui, true)?;
        let mut watch = |_: crate::race::Event<'_>| ();
        let Connection { session, dialer, .. } = connect(request, &mut watch).await?;
        return Ok(Link { session: Arc::new(session), _dialer: Some(dialer), _before: None });
    }
    let request = request(resolved, global, ui, false)?;
    let (stream, before) = match command {
        Some(command) => (proxy(&command)?, None),
        None => {
            let before = jump(&jumps, arguments, global, ui, depth + 1).await?;
            let to = before.session.open_tcp(&resolved.host_name, resolved.port).await;
            let to =
                to.map_err(|reason| Error::Ssh(format!("stdio forwarding failed: {reason}")))?;
            (Stream::new(to, None), Some(Box::new(before)))
        }
    };
    let session = connect_on(&request, stream, &target(resolved)).await?;
    Ok(Link { session: Arc::new(session), _dialer: None, _before: before })
}

/// The last of some jump hosts, over the others.
async fn jump(
    jumps: &[String],
    arguments: &Arguments,
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
    hop.config_file.clone_from(&arguments.config_file);
    if !before.is_empty() {
        hop.config.put("proxyjump", &[&before.join(",")]);
    }
    let exec = |command: &str| Ok(in_shell(command).status().is_ok_and(|status| status.success()));
    let resolved = resolve(&hop.host, &hop.config, hop.config_file.as_deref(), &exec)?;
    Box::pin(open(&resolved, &hop, global, ui, depth)).await
}

/// A program's standard input and output.
fn proxy(command: &str) -> Result<Stream> {
    // Without a shell that would stay between us and it.
    let mut run = tokio::process::Command::from(in_shell(&format!("exec {command}")));
    let failed = |source| Error::System { what: "cannot start the ProxyCommand", source };
    let mut child = run
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
    };
    // The program ends when its input does, which is when the stream is dropped.
    tokio::spawn(async move { child.wait().await });
    Ok(Stream::new(tokio::io::join(output, input), None))
}

fn target(resolved: &Resolved) -> Target {
    Target {
        technology: Technology::Direct,
        host: Secret::new(resolved.host_name.clone()),
        label: resolved.host_name.clone(),
        secret: false,
        port: resolved.port,
    }
}

/// What connecting takes; `routes` of a clan only where nothing else leads there.
fn request(resolved: &Resolved, global: &Global, ui: &Arc<Ui>, routes: bool) -> Result<Request> {
    let config = &resolved.config;
    let overrides = Overrides {
        user: config.get("user").map(|_| resolved.user.clone()),
        port: config.get("port").map(|_| resolved.port),
        ..Overrides::default()
    };
    let direct = || {
        let target = TargetHost {
            user: Some(resolved.user.clone()),
            host: resolved.host_name.clone(),
            port: Some(resolved.port),
            options: Vec::new(),
        };
        vec![Route::to(&target, DIRECT, &Overrides::default())]
    };
    let mut way = Way {
        machine: resolved.original_host.clone(),
        routes: Vec::new(),
        last_resort: None,
        of_clan: None,
        password: None,
        identities: Vec::new(),
    };
    let machine = if routes { machine(resolved, global, ui) } else { None };
    match machine {
        Some(clan) => {
            way.of_clan = global.host_keys(&way.machine, Some(&clan), ui)?;
            way.last_resort = ssh::configuration(&clan, &way.machine, &overrides, global, ui);
            way.routes = match plan(&clan, &way.machine, &overrides) {
                Err(Error::NoRoute { .. }) if way.last_resort.is_some() => Vec::new(),
                routes => routes?,
            };
        }
        None => way.routes = direct(),
    }
    let mut request = ssh::assemble(way, options(resolved)?, HostKeyCheck::Ask, global, ui)?;
    if let Some(setting) = config.get("addressfamily") {
        request.family = match setting.value().to_ascii_lowercase().as_str() {
            "any" => Family::Any,
            "inet" => Family::Four,
            "inet6" => Family::Six,
            _ => return Err(setting.wrong("neither any nor inet nor inet6")),
        };
    }
    let credentials = &mut request.credentials;
    credentials.login.clone_from(&resolved.user);
    if config.get("identityfile").is_some() {
        let files = config.all("identityfile").filter(|setting| setting.value() != "none");
        let files = files.map(|setting| resolved.file(setting.value()));
        credentials.default_identities = files.collect::<Result<_>>()?;
    }
    credentials.identities_only = config.flag("identitiesonly", false)?;
    credentials.agent = agent(resolved, credentials.agent.take())?;
    credentials.methods = methods(resolved)?;
    if let Some(setting) = config.get("numberofpasswordprompts") {
        let number = setting.value().parse().map_err(|_| setting.wrong("not a number"))?;
        credentials.prompts = number;
    }
    if config.flag("batchmode", false)? {
        credentials.methods.retain(|method| *method == Method::PublicKey);
        credentials.user = Arc::new(Batch(ui.clone()));
    }
    // What nobody says is as in ssh(1), and not as in clan.
    if config.get("serveraliveinterval").is_none() && request.host_keys.of_clan.is_none() {
        request.keepalive_interval = std::time::Duration::ZERO;
    }
    Ok(request)
}

/// The clan, if the host is one of its machines and nothing else is said of it.
fn machine(resolved: &Resolved, global: &Global, ui: &Arc<Ui>) -> Option<crate::exports::Clan> {
    let name = &resolved.original_host;
    let is_plain = !name.contains(['.', ':', '/']) && resolved.config.get("hostname").is_none();
    if !is_plain {
        return None;
    }
    // Where there is no clan there is nothing to say.
    global.flake().ok()?;
    match global.clan(ui) {
        Ok(clan) => clan.knows(name).then_some(clan),
        Err(error) => {
            ui.verbose(&format!("the clan here is of no use: {error}"));
            None
        }
    }
}

/// The options that mean the same as in `--ssh-option`.
fn options(resolved: &Resolved) -> Result<SshOptions> {
    let mut pairs = Vec::new();
    for keyword in SHARED {
        for setting in resolved.config.all(keyword) {
            let value = match keyword {
                "revokedhostkeys" => resolved.file(setting.value())?.display().to_string(),
                _ => setting.args.join(" "),
            };
            if !value.eq_ignore_ascii_case("none") {
                pairs.extend([keyword.to_owned(), value]);
            }
        }
    }
    for keyword in ["userknownhostsfile", "globalknownhostsfile"] {
        if let Some(setting) = resolved.config.get(keyword) {
            let files = setting.args.iter().map(|file| resolved.file(file));
            let files: Vec<PathBuf> = files.collect::<Result<_>>()?;
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            pairs.extend([keyword.to_owned(), files.join(" ")]);
        }
    }
    if let Some(setting) = resolved.config.get("stricthostkeychecking") {
        let value = match setting.value().to_ascii_lowercase().as_str() {
            "false" => "no".to_owned(),
            "true" => "yes".to_owned(),
            other => other.to_owned(),
        };
        pairs.extend(["stricthostkeychecking".to_owned(), value]);
    }
    SshOptions::parse(&pairs)
}

/// `IdentityAgent`, or what the environment says.
fn agent(resolved: &Resolved, default: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let Some(setting) = resolved.config.get("identityagent") else { return Ok(default) };
    match setting.value() {
        "none" => Ok(None),
        "SSH_AUTH_SOCK" => Ok(default),
        value => match value.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => Ok(std::env::var_os(name).map(PathBuf::from)),
            _ => resolved.file(value).map(Some),
        },
    }
}

/// The agent that the machine may use (`ForwardAgent`).
fn lent_agent(resolved: &Resolved) -> Result<Option<PathBuf>> {
    let Some(setting) = resolved.config.get("forwardagent") else { return Ok(None) };
    let own = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    match setting.value() {
        value if value.eq_ignore_ascii_case("no") => Ok(None),
        value if value.eq_ignore_ascii_case("yes") => Ok(own.map(PathBuf::from)),
        value => match value.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => Ok(std::env::var_os(name).map(PathBuf::from)),
            _ => resolved.file(value).map(Some),
        },
    }
}

/// What may be tried, in the order of `PreferredAuthentications`.
fn methods(resolved: &Resolved) -> Result<Vec<Method>> {
    let config = &resolved.config;
    let mut methods = match config.get("preferredauthentications") {
        None => Method::ALL.to_vec(),
        Some(setting) => setting
            .value()
            .split(',')
            .filter_map(|name| match name {
                "publickey" => Some(Method::PublicKey),
                "keyboard-interactive" => Some(Method::KeyboardInteractive),
                "password" => Some(Method::Password),
                _ => None,
            })
            .collect(),
    };
    for (keyword, method) in [
        ("pubkeyauthentication", Method::PublicKey),
        ("kbdinteractiveauthentication", Method::KeyboardInteractive),
        ("passwordauthentication", Method::Password),
    ] {
        let is_on = match config.get(keyword) {
            // `host-bound` and `unbound` are ways to be on.
            Some(setting) if keyword == "pubkeyauthentication" => setting.value() != "no",
            Some(setting) => setting.flag()?,
            None => true,
        };
        if !is_on {
            methods.retain(|known| *known != method);
        }
    }
    Ok(methods)
}

/// What to run, and on what; nothing with `-N`.
fn remote(arguments: &Arguments, resolved: &Resolved, ui: &Ui) -> Result<Option<Remote>> {
    let config = &resolved.config;
    let kind = config.get("sessiontype").map_or("default", |setting| setting.value());
    let is_subsystem = match kind.to_ascii_lowercase().as_str() {
        "none" => return Ok(None),
        "subsystem" => true,
        _ => false,
    };
    let configured = config.get("remotecommand").filter(|setting| setting.value() != "none");
    let command = match (arguments.command.is_empty(), configured) {
        (true, Some(setting)) => Some(resolved.expand(setting.value())?),
        (false, Some(_)) => {
            return Err(Error::Usage("Cannot execute command-line and remote command.".to_owned()));
        }
        (true, None) => None,
        (false, None) => Some(arguments.command.join(" ")),
    };
    if is_subsystem && command.is_none() {
        return Err(Error::Usage("You must specify a subsystem to invoke.".to_owned()));
    }
    let asked = config.get("requesttty").map_or("auto", |setting| setting.value());
    let asked = asked.to_ascii_lowercase();
    let has_input = std::io::stdin().is_terminal() && !config.flag("stdinnull", false)?;
    let wanted = match asked.as_str() {
        "no" | "false" => false,
        "auto" => command.is_none(),
        _ => true,
    };
    let is_there = has_input || asked == "force";
    if wanted && !is_there && !ui.quiet {
        say("Pseudo-terminal will not be allocated because stdin is not a terminal.");
    }
    let pty = (wanted && is_there && !is_subsystem).then(term::pty);
    let with_agent = lent_agent(resolved)?.is_some();
    let env = environment(resolved);
    Ok(Some(Remote { command, is_subsystem, with_agent, pty, env }))
}

/// `SetEnv`, then what `SendEnv` names of our own.
fn environment(resolved: &Resolved) -> Vec<(String, String)> {
    let config = &resolved.config;
    let mut env: Vec<(String, String)> = config
        .get("setenv")
        .into_iter()
        .flat_map(|setting| &setting.args)
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let patterns: Vec<&String> = config.all("sendenv").flat_map(|setting| &setting.args).collect();
    let is_sent = |name: &str| {
        let matches = |pattern: &str| {
            crate::ssh::known_hosts::matches_pattern(pattern.as_bytes(), name.as_bytes())
        };
        let is_cleared = patterns.iter().any(|text| text.strip_prefix('-').is_some_and(matches));
        !is_cleared && patterns.iter().any(|text| !text.starts_with('-') && matches(text))
    };
    for (name, value) in std::env::vars_os() {
        let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else { continue };
        if is_sent(&name) && !env.iter().any(|(known, _)| *known == name) {
            env.push((name, value));
        }
    }
    env
}

/// Opens every listener.
async fn forward(open: &OpenForwards, forwards: &Forwards, ui: &Ui) -> Result<()> {
    for forward in &forwards.all {
        let Forward { side, listen, place } = forward;
        let text = match (open.open(forward).await, side) {
            (Ok(port), Side::Remote) if matches!(listen, Listen::Tcp(_, 0)) && !ui.quiet => {
                say(&format!("Allocated port {port} for remote forward to {}", shown(place)));
                continue;
            }
            (Ok(_), _) => continue,
            (Err(reason), Side::Local) => {
                format!("could not request local forwarding: {listen}: {reason}")
            }
            (Err(reason), Side::Remote) => {
                format!("remote port forwarding failed for listen {listen}: {reason}")
            }
        };
        if forwards.exit_on_failure {
            return Err(Error::Usage(text));
        }
        if !ui.quiet {
            say(&format!("Warning: {text}"));
        }
    }
    Ok(())
}

/// Connects to what the server's forwards lead to, names included.
fn connector() -> Connector {
    let dialer = Arc::new(Dialer::new(Default::default(), Family::Any));
    Arc::new(move |host, port| {
        let dialer = dialer.clone();
        Box::pin(async move {
            let target = Target {
                technology: Technology::Direct,
                label: host.clone(),
                host: Secret::new(host),
                secret: false,
                port,
            };
            let stream = dialer.dial(&target, &|_| ()).await.ok()?;
            Some(Box::new(stream) as Box<dyn Duplex>)
        })
    })
}

pub(super) fn shown(place: &Place) -> String {
    match place {
        Place::Tcp(host, port) => format!("{}:{port}", printable::line(host)),
        Place::Unix(path) => printable::line(&path.to_string_lossy()),
        Place::Dynamic => "anywhere".to_owned(),
    }
}

/// `-W`: standard input and output are the stream.
async fn stdio(session: &Session, place: &Place) -> Result<()> {
    let there = session.open(place).await;
    let there = there.map_err(|reason| Error::Ssh(format!("stdio forwarding failed: {reason}")))?;
    pipe(there, tokio::io::stdin(), tokio::io::stdout()).await;
    Ok(())
}

/// `BatchMode`: everything is said, and nothing asked.
struct Batch(Arc<Ui>);

impl User for Batch {
    fn ask(&self, _: &str, _: bool) -> Option<Secret<String>> {
        None
    }

    fn tell(&self, text: &str) {
        self.0.tell(text);
    }

    fn warn(&self, text: &str) {
        self.0.warn(text);
    }
}

/// The words that scripts look for in what ssh(1) says.
fn in_words_of_ssh(error: Error, resolved: &Resolved) -> Error {
    let host = Printable(&resolved.host_name);
    let text = match &error {
        Error::Auth { user, offered, .. } => {
            format!("{}@{host}: Permission denied ({}).", Printable(user), offered.join(","))
        }
        Error::HostKey { .. } => format!("{error}\r\nHost key verification failed."),
        Error::Unreachable { attempts, .. } => {
            let lines: Vec<String> =
                attempts.iter().map(|attempt| one_attempt(attempt, resolved)).collect();
            lines.join("\n")
        }
        Error::ConnectionLost { reason, .. } => {
            format!("Connection to {host} closed by remote host.\r\n{reason}")
        }
        Error::Usage(_) => return error,
        other => format!("ssh: {other}"),
    };
    Error::Usage(text)
}

fn one_attempt(attempt: &Attempt, resolved: &Resolved) -> String {
    let (host, port) = (Printable(&attempt.host), resolved.port);
    let Attempt { reason, network, .. } = attempt;
    let over = if network == DIRECT { String::new() } else { format!("{network}: ") };
    match reason.as_str() {
        "connection refused" => {
            format!("{over}ssh: connect to host {host} port {port}: Connection refused")
        }
        "connection timed out" => {
            format!("{over}ssh: connect to host {host} port {port}: Connection timed out")
        }
        _ if reason.contains("could not resolve hostname") => format!(
            "{over}ssh: Could not resolve hostname {host}: {}",
            reason.replace("could not resolve hostname: ", "")
        ),
        _ if reason.contains("host key verification failed") => {
            format!("{over}{reason}\r\nHost key verification failed.")
        }
        _ => format!("{over}ssh: connect to host {host} port {port}: {reason}"),
    }
}
