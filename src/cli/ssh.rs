//! `ssh MACHINE`: a shell or a command on a machine of the clan.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::openssh::{environment, way};
use super::request::{KEEPALIVE, Way, assemble, configuration, lent_agent, seconds};
use super::{Global, Ui, complete};
use crate::connect::{Connection, Request};
use crate::error::{Error, Result};
use crate::installer::{self, Installer};
use crate::model::{Clan, Technology};
use crate::openssh::Resolved;
use crate::options::{Maybe, Options, RequestTty, SendEnv, is_for_addresses};
use crate::plan::{Overrides, Route, TargetHost, plan};
use crate::race::{self, Event};
use crate::remembered::Remembered;
use crate::signals::Stop;
use crate::ssh::Session;
use crate::ssh::escape::{Action, help};
use crate::ssh::hostkey::{HostKeyCheck, Stake};
use crate::ssh::remote::{Ending, OnEscape, Remote, Streams, quote};
use crate::ssh_config::host_name;
use crate::{term, tokens};

#[derive(Debug, Args)]
pub(super) struct Ssh {
    /// The machine, as it is called in the clan
    #[arg(required_unless_present_any = ["json", "png"],
          add = ArgValueCompleter::new(complete::machines))]
    machine: Option<String>,
    /// Connect to the installer that shows this JSON, given here or in a file
    #[arg(short = 'j', long, value_name = "JSON|FILE", conflicts_with_all = ["machine", "png"])]
    json: Option<String>,
    /// Connect to the installer that shows the QR code in this PNG or JPEG
    #[arg(short = 'P', long, value_name = "IMAGE", conflicts_with = "machine")]
    png: Option<PathBuf>,
    /// Run COMMAND instead of a shell; takes all arguments that follow
    #[arg(short = 'c', long = "remote-command", value_name = "COMMAND", num_args = 1..,
          allow_hyphen_values = true)]
    remote_command: Vec<String>,
    /// The same, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Use this network only
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::networks))]
    network: Option<String>,
    /// Connect to this address instead of the clan's
    #[arg(long, value_name = "[USER@]HOST[:PORT]")]
    target_host: Option<String>,
    /// Log in as USER
    #[arg(short = 'l', long, value_name = "USER")]
    login: Option<String>,
    /// Connect to PORT
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// A private key to authenticate with
    #[arg(short = 'i', value_name = "KEYFILE", action = ArgAction::Append)]
    identity_file: Vec<PathBuf>,
    /// What to do about host keys: strict, ask, accept-new, tofu, none
    #[arg(long, value_name = "CHECK", default_value = "tofu")]
    host_key_check: HostKeyCheck,
    /// Set an option of ssh_config(5)
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], action = ArgAction::Append,
          add = ArgValueCompleter::new(complete::ssh_options))]
    ssh_option: Vec<String>,
    /// Run on a pseudo-terminal even with a command
    #[arg(short = 't', conflicts_with = "no_pty")]
    pty: bool,
    /// Never run on a pseudo-terminal
    #[arg(short = 'T')]
    no_pty: bool,
    /// How long a network may take to answer [default: 10, but 120 for Tor]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Which of the networks that answer to use: the one of the highest
    /// priority, or the first
    #[arg(long, value_name = "WHICH", default_value = "priority")]
    prefer: Prefer,
    /// How long a network of higher priority may hold up one that has answered
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "prefer")]
    grace: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Prefer {
    Priority,
    Fastest,
}

pub(super) fn run(arguments: Ssh, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let command = command(&arguments)?;
    let (mut request, resolved) = request(&arguments, global, ui)?;
    let remote = remote(command, &resolved)?;
    let remembered = Remembered::of_user(&global.env);
    let clan = global.place();
    request.last = remembered.as_ref().and_then(|memory| memory.network(&clan, &request.machine));
    let note = |machine: &str, network: &str| {
        remembered.as_ref().inspect(|memory| memory.note(&clan, machine, network));
    };
    let _blocking = term::Blocking::enter();
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut stop = Stop::new();
        tokio::select! {
            done = async {
                way::detour(&mut request, &resolved, global, ui).await?;
                session(request, &remote, &resolved, ui, &note).await
            } => done,
            code = stop.signalled() => Ok(code),
        }
    });
    ui.progress.done();
    // A read of standard input may never return; nothing waits for it.
    runtime.shutdown_background();
    term::restore();
    done
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "cannot start", source })
}

/// Does one thing to its end, and waits for nothing that is under way beside it.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(done)
}

async fn session(
    request: Request,
    remote: &Remote,
    resolved: &Resolved,
    ui: &Arc<Ui>,
    note: &(dyn Fn(&str, &str) + Sync),
) -> Result<u8> {
    let machine = request.machine.clone();
    ui.progress.doing(format!("connecting to {machine}"));
    let mut watch = |event: Event<'_>| match event {
        Event::Started(route) => {
            ui.verbose(&format!("trying {} ({})", route.network, route.host));
            ui.progress.doing(format!("connecting to {machine} over {}", route.network));
        }
        Event::Waiting(route, phase) => {
            ui.verbose(&format!("{}: {phase}", route.network));
            let text = format!("connecting to {machine} over {}: {phase}", route.network);
            ui.progress.doing(text);
        }
        Event::Failed(attempt) => ui.verbose(&format!("failed: {attempt}")),
    };
    let connection = way::attempts(request, &resolved.options, &mut watch).await?;
    ui.progress.done();
    let Connection { session, route, host, dialer } = connection;
    note(&machine, &route.network);
    ui.verbose(&format!(
        "connected to {machine} over network {} as {}@{host} port {}",
        route.network, route.user, route.port
    ));
    ui.verbose(&vouched(&session, &route));
    // Not to a host whose key nobody vouches for, as ssh(1) has it.
    if let Some(agent) = lent_agent(resolved)?.filter(|_| session.suspicion().is_none()) {
        session.lend_agent(agent);
    }
    let input = Box::pin(tokio::io::stdin());
    let ended = converse(&session, &machine, remote, ui, input).await;
    session.disconnect().await;
    // In this order: the dialler carries the session.
    drop(session);
    drop(dialer);
    let ended = ended?;
    match &ended {
        Ending::Escaped if !ui.quiet => ui.write(&format!("connection to {machine} closed\n")),
        Ending::Signal(name) => ui.verbose(&format!("ended by signal {name}")),
        _ => {}
    }
    Ok(ended.exit_code())
}

/// Runs what `remote` says with our own output and this input.
pub(super) async fn converse(
    session: &Session,
    machine: &str,
    remote: &Remote,
    ui: &Arc<Ui>,
    input: impl tokio::io::AsyncRead + Send + Unpin,
) -> Result<Ending> {
    let mut process = session.start(machine, remote).await?;
    let (size_changed, sizes) = mpsc::unbounded_channel();
    let raw = match &remote.pty {
        Some(_) if term::is_interactive() => {
            watch_size(size_changed)?;
            Some(term::Raw::enter().map_err(Error::Terminal)?)
        }
        _ => None,
    };
    let streams = Streams {
        input,
        output: unbuffered(std::io::stdout())?,
        errors: unbuffered(std::io::stderr())?,
        sizes,
        escapes: remote.escape.filter(|_| remote.pty.is_some()).map(|escape| {
            let ui = ui.clone();
            let hear = Box::new(move |action| match action {
                Action::Help => ui.write(&help(escape)),
                Action::Suspend => term::suspend(),
                Action::Disconnect | Action::Rekey => {}
            }) as OnEscape;
            (escape, hear)
        }),
        no_terminal: None,
    };
    let ended = {
        let running = process.converse(streams);
        let renewing = session.renew_host_keys();
        tokio::pin!(running, renewing);
        tokio::select! {
            ended = &mut running => ended,
            renewed = &mut renewing => {
                match renewed {
                    Ok(Some(renewal)) => ui.verbose(&renewal.to_string()),
                    Ok(None) => {}
                    Err(error) => ui.warning(&format!("the server's other host keys: {error}")),
                }
                running.await
            }
        }
    };
    drop(raw);
    ended
}

/// What has told that this is the machine.
fn vouched(session: &Session, route: &Route) -> String {
    let network = match route.technology {
        Technology::Tor => "; its onion address stands for the machine, too",
        Technology::Iroh => "; its ticket stands for the machine, too",
        _ => "",
    };
    format!("host key vouched for by {}{network}", session.vouched_by())
}

/// What is said of the connection: first by `--ssh-option`, then in the address.
fn options(arguments: &Ssh, target_host: Option<&TargetHost>) -> Result<Options> {
    let mut options = Options {
        // As clan does.
        send_env: SendEnv::of(&["LANG", "LC_*"]),
        request_tty: match (arguments.pty, arguments.no_pty) {
            (true, _) => Some(RequestTty::Force),
            (_, true) => Some(RequestTty::No),
            _ => None,
        },
        ..Options::default()
    };
    for pair in arguments.ssh_option.chunks_exact(2) {
        if let [name, value] = pair {
            options.pair(name, value, "--ssh-option")?;
        }
    }
    for (name, value) in target_host.iter().flat_map(|target| &target.options) {
        options.pair(name, value, "--target-host")?;
    }
    Ok(options)
}

/// What connecting takes, and the options that say more.
fn request(arguments: &Ssh, global: &Global, ui: &Arc<Ui>) -> Result<(Request, Resolved)> {
    let address = |text| TargetHost::parse(text, is_for_addresses);
    let target_host = arguments.target_host.as_deref().map(address).transpose()?;
    let mut options = options(arguments, target_host.as_ref())?;
    let named = std::mem::take(&mut options.identity_file);
    let machine = arguments.machine.clone().unwrap_or_else(|| installer::MACHINE.to_owned());
    // Another address, as `--target-host` is.
    let other_host = options.host_name.is_some().then(|| host_name(&options, &machine));
    let other_host = other_host.as_deref().map(address).transpose()?;
    let target_host = target_host.or(other_host);
    let overrides = Overrides {
        network: arguments.network.clone(),
        target_host,
        user: arguments.login.clone().or(options.user.clone()),
        port: arguments.port.or(options.port.map(NonZeroU16::get)),
    };
    if let Some(why) = overrides.user.as_deref().and_then(tokens::unfit_user) {
        return Err(Error::Usage(format!("the login name {why}")));
    }
    let installer = installer(arguments, &overrides)?;
    if let Some(why) = tokens::unfit_host(&machine) {
        return Err(Error::Usage(format!("the machine's name {why}")));
    }
    let (mut last_resort, mut of_clan, mut no_route) = (None, None, None);
    let mut identity = Vec::new();
    let (routes, password) = match installer {
        Some(Installer { routes, password, warnings }) => {
            warnings.iter().for_each(|warning| ui.warning(warning));
            (routes, password)
        }
        None => {
            // An address on the command line needs no clan.
            let clan = match (&overrides.target_host, &global.exports) {
                (Some(_), None) => Clan::default(),
                _ => global.clan(ui)?,
            };
            ui.problems(&clan);
            of_clan = global.host_keys(&machine, Some(&clan), ui)?;
            identity = global.identity(&machine, &clan, ui)?;
            last_resort = configuration(&clan, &machine, &overrides, global, ui);
            match plan(&clan, &machine, &overrides) {
                // Its own configuration may still say where it is.
                Err(Error::NoRoute { reason, .. }) if last_resort.is_some() => {
                    no_route = Some(reason);
                    (Vec::new(), None)
                }
                routes => (routes?, None),
            }
        }
    };
    // The one that all routes share, if they do.
    let user = routes.first().map(|route| route.user.clone()).unwrap_or_default();
    let resolved = Resolved { user, ..Resolved::of(&machine, options, &global.env) };
    let mut identities = arguments.identity_file.clone();
    identities.extend(resolved.files(&named)?);
    let way = Way {
        machine,
        routes,
        no_route,
        last_resort,
        of_clan,
        identity,
        password,
        identities,
        // Where it is differs from route to route.
        tokens: resolved.tokens().filter(|(token, _)| !"hknp".contains(*token)).collect(),
        check: arguments.host_key_check,
        keepalive: KEEPALIVE,
    };
    let mut request = assemble(way, &resolved, global, ui)?;
    if lent_agent(&resolved)?.is_some() {
        request.host_keys.stakes.all.push(Stake::Agent);
    }
    let request = Request {
        deadline: request.deadline.or(arguments.timeout),
        grace: match arguments.prefer {
            Prefer::Fastest => Duration::ZERO,
            Prefer::Priority => arguments.grace.unwrap_or(race::DEFAULT_GRACE),
        },
        ..request
    };
    Ok((request, resolved))
}

/// The installer that is meant, if one is.
fn installer(arguments: &Ssh, overrides: &Overrides) -> Result<Option<Installer>> {
    let (origin, json) = match (&arguments.json, &arguments.png) {
        (Some(json), _) => {
            let origin = if json.trim_start().starts_with('{') { "--json" } else { json };
            (origin.to_owned(), installer::read_json(json)?)
        }
        (None, Some(image)) => (image.display().to_string(), installer::read_image(image)?),
        (None, None) => return Ok(None),
    };
    if overrides.network.is_some() || overrides.target_host.is_some() {
        let why = "an installer is in no network: leave out --network and --target-host";
        return Err(Error::Usage(why.to_owned()));
    }
    Installer::parse(&origin, json.expose(), overrides).map(Some)
}

/// The command for the login shell of the machine, if there is one.
fn command(arguments: &Ssh) -> Result<Option<String>> {
    let mut words = arguments.remote_command.clone();
    if !words.is_empty() && !arguments.command.is_empty() {
        words.push("--".to_owned());
    }
    words.extend(arguments.command.iter().cloned());
    // As clan does: one quoted string would be taken for a program's name.
    if let [word] = words.as_slice()
        && word.contains(' ')
    {
        return Err(Error::Usage(format!(
            "the remote command {word:?} is one word; leave out the quotes, or use: sh -c {word:?}"
        )));
    }
    Ok((!words.is_empty()).then(|| quote(&words)))
}

fn remote(command: Option<String>, resolved: &Resolved) -> Result<Remote> {
    let options = &resolved.options;
    let command = match (command, Maybe::of(&options.remote_command)) {
        (None, Some(configured)) => Some(resolved.expand(&configured.0)?),
        (Some(_), Some(_)) => {
            let why = "there is a command already: leave out one, or RemoteCommand";
            return Err(Error::Usage(why.to_owned()));
        }
        (command, None) => command,
    };
    let interactive = term::is_interactive();
    let on_terminal = interactive && std::io::IsTerminal::is_terminal(&std::io::stdout());
    let has_pty = match options.request_tty() {
        RequestTty::No => false,
        RequestTty::Yes => interactive,
        RequestTty::Force => true,
        // A shell needs a terminal; a command gets one where clan would give it
        // one, unless its output goes elsewhere.
        RequestTty::Auto if command.is_none() => interactive,
        RequestTty::Auto => on_terminal,
    };
    Ok(Remote {
        command,
        pty: has_pty.then(|| term::pty(&resolved.env)),
        env: environment(resolved),
        with_agent: lent_agent(resolved)?.is_some(),
        escape: options.escape_char().0,
        ..Remote::default()
    })
}

fn watch_size(changed: mpsc::UnboundedSender<crate::ssh::remote::Size>) -> Result<()> {
    let mut resized = signal(SignalKind::window_change())
        .map_err(|source| Error::System { what: "cannot listen for signals", source })?;
    tokio::spawn(async move {
        while resized.recv().await.is_some() {
            if let Some(size) = term::size()
                && changed.send(size).is_err()
            {
                break;
            }
        }
    });
    Ok(())
}

/// The file behind standard output: the library's own handle would hold back
/// a prompt, which ends in no newline.
fn unbuffered(stream: impl std::os::fd::AsFd) -> Result<tokio::fs::File> {
    let file = rustix::io::dup(stream).map_err(|error| Error::Output(error.into()))?;
    Ok(tokio::fs::File::from_std(std::fs::File::from(file)))
}
