//! Called as `ssh`, or as `openssh ARGS...`: OpenSSH's command line, with the
//! words and exit statuses that its callers look for.

mod remote;
pub(super) mod way;
pub(super) mod words;

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::background::{self, Role};
use super::mux::{self, Control, Shared, Wanted};
use super::request::lent_agent;
use super::ssh;
use super::{Global, Ui, print, tor};
use crate::dial::{Dialer, Origin, Target};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::flake::Asker;
use crate::model::Technology;
use crate::openssh::arguments::{self, Arguments};
use crate::openssh::{Forwards, Resolved, dump, query, resolve};
use crate::options::{Maybe, Options, place};
use crate::printable::{self, Printable};
use crate::secret::Secret;
use crate::signals::{self, Stop};
use crate::ssh::Session;
use crate::ssh::forward::{Connector, Duplex, Forward, Listen, Place, Side, pipe};
use crate::ssh::open_forwards::{OpenForwards, Rules};
use crate::ssh::remote::{Ending, Remote};
use crate::{children, term};
pub(super) use remote::environment;
use words::{in_words_of_ssh, shown};

/// Runs a whole command line, with the clan that was named before it, and returns the
/// exit status.
pub(super) fn main(args: &[String], flake: Option<PathBuf>, env: Env) -> u8 {
    if let Some(flake) = &flake {
        background::names(flake.clone());
    }
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
    run(&arguments, flake, env).unwrap_or_else(|error| {
        if !matches!(error, Error::Output(_)) && !signals::has_come() {
            say(&error.to_string());
        }
        error.exit_code(true)
    })
}

/// Our own options, of which there are none on such a command line.
fn global(resolved: &Resolved, flake: Option<PathBuf>, env: Env) -> Global {
    Global {
        flake,
        impure: false,
        exports: None,
        identity: Vec::new(),
        verbose: resolved.verbosity(),
        quiet: resolved.is_quiet(),
        color: super::Color::Never,
        show_secrets: false,
        tor: tor::TorOptions::default(),
        asker: Asker::Ssh,
        found: Default::default(),
        env,
    }
}

/// `-E`: what would be on standard error goes to the end of a file, which is nobody
/// else's to read (`log_redirect_stderr_to` of OpenSSH's log.c).
fn log_to(file: &str) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    rustix::stdio::dup2_stderr(&file).map_err(Into::into)
}

pub(super) fn say(text: &str) {
    use std::io::Write;
    let line = format!("{text}\n");
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().lock().write_all(printable::shown(&line).as_bytes());
}

fn run(arguments: &Arguments, flake: Option<PathBuf>, env: Env) -> Result<u8> {
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
    let file = arguments.config_file.as_deref();
    let resolved = resolved(&arguments.host, &arguments.options, file, &env)?;
    if arguments.dump {
        print(dump(&resolved)?.as_bytes())?;
        return Ok(0);
    }
    crate::log::start(resolved.verbosity());
    let global = global(&resolved, flake, env);
    let ui = Arc::new(Ui::new(&global));
    if let Some(command) = &arguments.control {
        return ssh::block_on(mux::command(command, &resolved, &ui))?;
    }
    if resolved.options.fork_after_authentication() && background::role().is_none() {
        return background::start(Role::Session);
    }
    if resolved.options.stdin_null() && background::role().is_none() {
        // For what the user's own commands would read, too.
        let null = std::fs::File::open("/dev/null");
        let done = null.and_then(|null| rustix::stdio::dup2_stdin(&null).map_err(Into::into));
        done.map_err(|source| Error::System { what: "cannot read from /dev/null", source })?;
    }
    let _blocking = term::Blocking::enter();
    let runtime = ssh::runtime()?;
    let done = runtime.block_on(async {
        let mut stop = Stop::new();
        tokio::select! {
            done = session(arguments, &resolved, &global, &ui) => done,
            code = stop.signalled() => Ok(code),
        }
    });
    runtime.shutdown_background();
    term::restore();
    Ok(done.unwrap_or_else(|error| {
        let is_told = !resolved.is_silent() && !signals::has_come();
        if is_told && !matches!(error, Error::Output(_)) {
            say(&in_words_of_ssh(&error, &resolved));
        }
        error.exit_code(true)
    }))
}

/// A command of the user's, as ssh(1) runs it.
fn in_shell(command: &str, env: &Env) -> std::process::Command {
    let shell = env.var("SHELL").unwrap_or("/bin/sh".as_ref());
    #[allow(clippy::disallowed_methods, reason = "the user configured this very command")]
    let mut run = std::process::Command::new(shell);
    run.arg("-c").arg(command);
    background::hide_from(&mut run);
    run
}

/// All that applies to a host, with the files of the configuration.
fn resolved(
    host: &str,
    options: &Options,
    config_file: Option<&str>,
    env: &Env,
) -> Result<Resolved> {
    // Whether a command of `Match exec` says yes.
    let holds = |command: &str| {
        Ok(children::status(&mut in_shell(command, env)).is_ok_and(|status| status.success()))
    };
    resolve(host, options, config_file, env, &holds, &canonical)
}

/// The name that a name with an address is an alias of, or the name itself.
fn canonical(name: &str) -> Option<String> {
    let dialer = Dialer::new(Default::default(), Origin::default());
    // Jump hosts are looked up while the runtime of the session is at work.
    std::thread::scope(|scope| {
        let find = || ssh::block_on(dialer.canonical(name)).ok().flatten();
        scope.spawn(find).join().ok().flatten()
    })
}

async fn session(
    arguments: &Arguments,
    resolved: &Resolved,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<u8> {
    let options = &resolved.options;
    let is_master = background::role() == Some(Role::Master);
    let remote = if is_master { None } else { remote::remote(arguments, resolved, ui)? };
    let forwards = Forwards::of(resolved)?;
    let through = arguments.stdio_forward.as_deref().filter(|_| !is_master);
    let bad = |text| format!("Bad stdio forwarding specification '{}'", Printable(text));
    let through = through.map(|text| place(text).ok_or_else(|| Error::Usage(bad(text))));
    let through = through.transpose()?;
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
    let link = way::open(resolved, arguments, global, ui, 0).await?;
    let session = link.session.clone();
    // As ssh(1), which has said so, too (sshconnect.c, `check_host_key`).
    let is_suspect = session.suspicion().is_some();
    let agent = lent_agent(resolved)?.filter(|_| !is_suspect);
    let lends_agent = agent.is_some();
    if let Some(agent) = agent {
        session.lend_agent(agent);
    }
    let (connector, permitted) = (connector(), forwards.permitted.clone());
    session.connect_with(connector.clone());
    session.connect_dynamic_with(Arc::new(move |host, port| match permitted.has(&host, port) {
        true => connector(host, port),
        false => Box::pin(std::future::ready(None)),
    }));
    let open = Arc::new(OpenForwards::new(
        session.clone(),
        Rules {
            gateway_ports: forwards.gateway_ports,
            unlink: forwards.unlink,
            mask: forwards.mask,
        },
    ));
    if !is_suspect {
        forward(&open, &forwards, ui).await?;
    }
    let host = resolved.original_host.as_str();
    let shared = Shared::start(control.as_ref(), &session, &open, host, lends_agent, ui)?;
    if let Some(command) = Maybe::of(&options.local_command)
        && options.permit_local_command()
    {
        let command = resolved.expand(&command.0)?;
        // Before anything that comes from the other side.
        let mut run = in_shell(&command, &resolved.env);
        let run = move || children::status(&mut run);
        let _ = tokio::task::spawn_blocking(run).await;
    }
    let logs = resolved.verbosity() > 0 || arguments.log_file.is_some();
    background::ready(logs, remote.is_some() || through.is_some())?;
    let talk = Talk { resolved, ui, session: &session, shared: shared.as_ref(), is_master };
    let ended = talk.until_the_end(through, remote).await;
    drop(shared);
    drop(open);
    session.disconnect().await;
    drop(session);
    drop(link);
    ended
}

/// What goes on over a session.
struct Talk<'a> {
    resolved: &'a Resolved,
    ui: &'a Arc<Ui>,
    session: &'a Arc<Session>,
    shared: Option<&'a Shared>,
    is_master: bool,
}

impl Talk<'_> {
    async fn until_the_end(&self, through: Option<Place>, remote: Option<Remote>) -> Result<u8> {
        let whole = async {
            let (code, waits) = self.own(through, remote).await?;
            // As ssh(1) does: others may still be at it, and connections be forwarded.
            if waits {
                tokio::select! {
                    () = self.session.uses().none() => {}
                    () = self.session.closed() => {}
                }
            }
            Ok(code)
        };
        let terminated = async {
            match self.shared {
                Some(shared) => shared.terminated().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = whole => ended,
            () = terminated => Ok(if self.is_master { 0 } else { 255 }),
        }
    }

    /// What this process itself was called for: its exit status, and whether that of
    /// others is waited for.
    async fn own(&self, through: Option<Place>, remote: Option<Remote>) -> Result<(u8, bool)> {
        let Self { resolved, ui, session, shared, is_master } = self;
        let host = resolved.original_host.as_str();
        match (through, remote) {
            (Some(place), _) => stdio(session, &place).await.map(|()| (0, true)),
            (None, Some(remote)) => {
                let input = input(resolved.options.stdin_null());
                let ended = ssh::converse(session, host, &remote, ui, input).await;
                if remote.pty.is_some() && !ui.quiet && ended.is_ok() {
                    say(&format!("Connection to {} closed.\r", Printable(&resolved.host_name)));
                }
                ended.map(|ending| (ending.exit_code(), ending != Ending::Escaped))
            }
            // Another one was first to be the master.
            (None, None) if *is_master && shared.is_none() => Ok((0, false)),
            // Nothing but forwarding and sharing, until the connection ends.
            (None, None) => {
                let unused = async {
                    match shared {
                        Some(shared) => shared.unused(session).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = session.closed() => {
                        let (machine, reason) = (host.to_owned(), session.loss());
                        Err(Error::ConnectionLost { machine, reason })
                    }
                    () = unused => Ok((0, false)),
                }
            }
        }
    }
}

/// Standard input, unless nothing is to be read.
fn input(is_null: bool) -> Box<dyn tokio::io::AsyncRead + Send + Unpin> {
    if is_null { Box::new(tokio::io::empty()) } else { Box::new(tokio::io::stdin()) }
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
            return Err(Error::Forward(text));
        }
        if !ui.quiet {
            say(&format!("Warning: {text}"));
        }
    }
    Ok(())
}

/// Connects to what the server's forwards lead to, names included.
fn connector() -> Connector {
    let dialer = Arc::new(Dialer::new(Default::default(), Origin::default()));
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

/// `-W`: standard input and output are the stream.
async fn stdio(session: &Session, place: &Place) -> Result<()> {
    let there = session.open(place).await;
    let there = there.map_err(Error::NotForwarded)?;
    pipe(there, tokio::io::stdin(), tokio::io::stdout()).await;
    Ok(())
}
