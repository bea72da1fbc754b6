//! Called as `ssh`, or as `openssh ARGS...`: OpenSSH's command line, with the
//! words and exit statuses that its callers look for.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::background;
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
use crate::ssh::forward::{Connector, Duplex, Listen, Listener, Place};
use crate::ssh::hostkey::HostKeyCheck;
use crate::ssh::remote::Remote;
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

fn say(text: &str) {
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
        return Err(control(command, &resolved));
    }
    if resolved.config.flag("forkafterauthentication", false)? && !background::is_child() {
        return background::start();
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

/// There is no master: every connection is its own.
fn control(command: &str, resolved: &Resolved) -> Error {
    let path = resolved.config.get("controlpath").map(|setting| resolved.file(setting.value()));
    match path {
        Some(Ok(path)) => Error::Usage(format!(
            "Control socket connect({}): No such file or directory",
            printable::line(&path.to_string_lossy())
        )),
        Some(Err(error)) => error,
        None => Error::Usage(format!(
            "No ControlPath specified for \"-O {}\" command",
            Printable(command)
        )),
    }
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
    let remote = remote(arguments, resolved, ui)?;
    let forwards = Forwards::of(resolved)?;
    let through = arguments.stdio_forward.as_deref().map(|text| resolved.stdio_forward(text));
    let through = through.transpose()?;
    let link = open(resolved, arguments, global, ui, 0).await?;
    let session = link.session.clone();
    if let Some(command) = config.get("localcommand")
        && config.flag("permitlocalcommand", false)?
    {
        let command = resolved.expand(command.value())?;
        // Before anything that comes from the other side.
        let _ = tokio::task::spawn_blocking(move || in_shell(&command).status()).await;
    }
    if let Some(agent) = lent_agent(resolved)? {
        session.lend_agent(agent);
    }
    let listeners = forward(&session, &forwards, ui).await?;
    background::ready();
    let ended = match (through, remote) {
        (Some(place), _) => stdio(&session, &place).await.map(|()| 0),
        (None, Some(remote)) => {
            let input = input(config.flag("stdinnull", false)?);
            let host = resolved.original_host.as_str();
            let ended = ssh::converse(&session, host, &remote, ui, input).await;
            if remote.pty.is_some() && !ui.quiet && ended.is_ok() {
                say(&format!("Connection to {} closed.\r", Printable(&resolved.host_name)));
            }
            ended.map(|ending| ending.exit_code())
        }
        // Nothing but forwarding, until the connection ends.
        (None, None) => {
            session.closed().await;
            let reason = session.ended().unwrap_or_else(|| "closed by the peer".to_owned());
            Err(Error::ConnectionLost { machine: resolved.original_host.clone(), reason })
        }
    };
    drop(listeners);
    session.disconnect().await;
    drop(session);
    drop(link);
    ended
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

/// Opens every listener; the tasks end with what is returned.
async fn forward(
    session: &Arc<Session>,
    forwards: &Forwards,
    ui: &Ui,
) -> Result<tokio::task::JoinSet<()>> {
    let mut tasks = tokio::task::JoinSet::new();
    let failed = |text: String| match forwards.exit_on_failure {
        true => Err(Error::Usage(text)),
        false => {
            if !ui.quiet {
                say(&format!("Warning: {text}"));
            }
            Ok(())
        }
    };
    for (listen, place) in &forwards.local {
        let mut count = 0;
        let mut reason = "no such address".to_owned();
        for listener in listeners(listen, forwards).await {
            match listener {
                Ok(listener) => {
                    count += 1;
                    tasks.spawn(listener.serve(session.clone(), place.clone()));
                }
                Err(error) => reason = error.to_string(),
            }
        }
        if count == 0 {
            failed(format!("could not request local forwarding: {listen}: {reason}"))?;
        }
    }
    if !forwards.remote.is_empty() {
        session.connect_with(connector());
    }
    for (listen, place) in &forwards.remote {
        match session.listen_there(listen, place.clone()).await {
            Ok(port) if matches!(listen, Listen::Tcp(_, 0)) && !ui.quiet => {
                say(&format!("Allocated port {port} for remote forward to {}", shown(place)));
            }
            Ok(_) => {}
            Err(reason) => {
                failed(format!("remote port forwarding failed for listen {listen}: {reason}"))?;
            }
        }
    }
    Ok(tasks)
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

fn shown(place: &Place) -> String {
    match place {
        Place::Tcp(host, port) => format!("{}:{port}", printable::line(host)),
        Place::Unix(path) => printable::line(&path.to_string_lossy()),
        Place::Dynamic => "anywhere".to_owned(),
    }
}

/// The sockets that a listener here is: both families where it says neither.
async fn listeners(listen: &Listen, forwards: &Forwards) -> Vec<std::io::Result<Listener>> {
    let (address, port) = match listen {
        Listen::Unix(path) => return vec![Listener::unix(path.clone(), forwards.unlink)],
        Listen::Tcp(address, port) => (address.as_str(), *port),
    };
    let (four, six) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let ips = match (address, address.parse()) {
        ("*", _) => vec![all[1], all[0]],
        ("", _) if forwards.gateway_ports => vec![all[1], all[0]],
        ("" | "localhost", _) => vec![six, four],
        (_, Ok(ip)) => vec![ip],
        (name, Err(_)) => crate::hosts::addresses(name),
    };
    let mut listeners = Vec::new();
    for ip in ips {
        listeners.push(Listener::tcp(SocketAddr::new(ip, port)).await);
    }
    listeners
}

/// `-W`: standard input and output are the stream.
async fn stdio(session: &Session, place: &Place) -> Result<()> {
    let opened = match place {
        Place::Tcp(host, port) => session.open_tcp(host, *port).await,
        Place::Unix(path) => session.open_unix(&path.to_string_lossy()).await,
        Place::Dynamic => Err("it leads nowhere".to_owned()),
    };
    let mut there =
        opened.map_err(|reason| Error::Ssh(format!("stdio forwarding failed: {reason}")))?;
    let (mut from, mut to) = tokio::io::split(&mut there);
    let sending = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
        let _ = to.shutdown().await;
        // The other side may have more to say.
        std::future::pending::<()>().await;
    };
    let mut output = tokio::io::stdout();
    tokio::select! {
        _ = tokio::io::copy(&mut from, &mut output) => {}
        () = sending => {}
    }
    let _ = output.flush().await;
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
