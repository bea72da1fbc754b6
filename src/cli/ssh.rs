//! `ssh MACHINE`: a shell or a command on a machine of the clan.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::openssh::way;
use super::request::{Proxy, SshOptions, Way, assemble, configuration, seconds};
use super::{Global, Ui, complete};
use crate::connect::{Connection, Request, connect};
use crate::error::{Error, Result};
use crate::exports::{Clan, Technology};
use crate::installer::{self, Installer};
use crate::plan::{Overrides, Route, TargetHost, plan};
use crate::race::{self, Event};
use crate::remembered::Remembered;
use crate::signals::Stop;
use crate::ssh::Session;
use crate::ssh::escape::{Action, help};
use crate::ssh::hostkey::HostKeyCheck;
use crate::ssh::remote::{Ending, OnEscape, Remote, Streams, quote};
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
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], action = ArgAction::Append)]
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
    let remote = remote(&arguments)?;
    let (mut request, proxy) = request(&arguments, global, ui)?;
    let remembered = Remembered::of_user();
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
                if let Some(proxy) = &proxy {
                    way::detour(&mut request, proxy, global, ui).await?;
                }
                session(request, &remote, ui, &note).await
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
    let connection = connect(request, &mut watch).await?;
    ui.progress.done();
    let Connection { session, route, host, dialer } = connection;
    note(&machine, &route.network);
    ui.verbose(&format!(
        "connected to {machine} over network {} as {}@{host} port {}",
        route.network, route.user, route.port
    ));
    ui.verbose(&vouched(&session, &route));
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

/// What connecting takes, and what it goes through.
fn request(arguments: &Ssh, global: &Global, ui: &Arc<Ui>) -> Result<(Request, Option<Proxy>)> {
    let target_host = arguments.target_host.as_deref().map(TargetHost::parse).transpose()?;
    // What follows `?` in the address counts as --ssh-option, which comes after.
    let in_address = target_host.iter().flat_map(|target| &target.options);
    let mut pairs: Vec<String> =
        in_address.flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
    pairs.extend(arguments.ssh_option.iter().cloned());
    let options = SshOptions::parse(&pairs)?;
    let overrides = Overrides {
        network: arguments.network.clone(),
        target_host,
        user: arguments.login.clone().or(options.user.clone()),
        port: arguments.port.or(options.port),
    };
    if let Some(why) = overrides.user.as_deref().and_then(tokens::unfit_user) {
        return Err(Error::Usage(format!("the login name {why}")));
    }
    let installer = installer(arguments, &overrides)?;
    let machine = arguments.machine.clone().unwrap_or_else(|| installer::MACHINE.to_owned());
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
    let way = Way {
        machine,
        routes,
        no_route,
        last_resort,
        of_clan,
        identity,
        password,
        identities: arguments.identity_file.clone(),
    };
    let proxy = options.proxy.clone();
    let request = assemble(way, options, arguments.host_key_check, global, ui)?;
    let request = Request {
        deadline: request.deadline.or(arguments.timeout),
        grace: match arguments.prefer {
            Prefer::Fastest => Duration::ZERO,
            Prefer::Priority => arguments.grace.unwrap_or(race::DEFAULT_GRACE),
        },
        ..request
    };
    Ok((request, proxy))
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

fn remote(arguments: &Ssh) -> Result<Remote> {
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
    let command = (!words.is_empty()).then(|| quote(&words));
    let interactive = term::is_interactive();
    let on_terminal = interactive && std::io::IsTerminal::is_terminal(&std::io::stdout());
    // A shell needs a terminal; a command gets one where clan would give it
    // one, unless its output goes elsewhere.
    let wanted = if command.is_none() { interactive } else { on_terminal };
    let pty = (arguments.pty || (wanted && !arguments.no_pty)).then(term::pty);
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name == "LANG" || name.starts_with("LC_"))
        .collect();
    Ok(Remote { command, pty, env, ..Remote::default() })
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
