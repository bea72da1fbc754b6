//! What is done with a connection, from looking for one to share to the exit status.
//! Owns the order in which things happen, which is that of ssh(1).

pub(super) mod background;
mod converse;
mod forwards;
pub(super) mod mux;
mod remote;
pub(super) mod stdio;
pub(super) mod warm;

use std::sync::Arc;
use std::time::Duration;

use super::invocation::{Front, Invocation, Task};
use super::link::{self, Begins, Link};
use super::request::{lend_no_absent_agent, lent_agent};
use super::role::Role;
use super::{Global, Ui, shell};
use crate::connect::Opens;
use crate::dial;
use crate::error::{Error, Result};
use crate::mux::master::First;
use crate::openssh::Forwards;
use crate::options::{Maybe, SessionType};
use crate::printable::Printable;
use crate::signals::{self, Stop};
use crate::ssh::forward::ForwardTarget;
use crate::ssh::info::ConnectionInfo;
use crate::ssh::remote::{Ending, Remote};
use crate::ssh::{BegunRemote, Opening, Session};
use crate::{children, term};
use converse::On;
use mux::{Control, Shared, Wanted};

/// How long networks of our own may take to say goodbye to the machines.
const GOODBYES: Duration = Duration::from_millis(900);

/// Does `work` on a runtime that nothing outlives, and ends it when a signal comes.
pub(super) fn drive(work: impl Future<Output = Result<u8>>) -> Result<u8> {
    let _blocking = term::Blocking::enter();
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut stop = Stop::new();
        tokio::select! {
            done = work => done,
            code = stop.signalled() => Ok(code),
            () = background::called_off() => Ok(255),
        }
    });
    // A read of standard input may never return; nothing waits for it.
    runtime.shutdown_background();
    // Its tasks, which hold the streams, end on threads of their own.
    dial::wait_for_goodbyes(GOODBYES);
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

/// Does all of it, and returns the exit status.
pub(super) async fn run(mut invocation: Invocation, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    lend_no_absent_agent(&mut invocation.resolved)?;
    let options = &invocation.resolved.options;
    let is_master = invocation.task == Task::Share;
    // What is wrong with the command is said before anything happens.
    let remote = remote::remote(&invocation)?;
    if options.fork_after_authentication() && Role::of_this().is_none() {
        if global.events.is_some() {
            let why = "--events cannot be used with -f (ForkAfterAuthentication)";
            return Err(Error::Usage(why.to_owned()));
        }
        return background::start(Role::Session, &invocation, global).await;
    }
    if options.stdin_null() && Role::of_this().is_none() {
        // For what the user's own commands would read, too.
        let null = std::fs::File::open("/dev/null");
        let done = null.and_then(|null| rustix::stdio::dup2_stdin(&null).map_err(Into::into));
        done.map_err(|source| Error::System { what: "cannot read from /dev/null", source })?;
    }
    remote::missing_terminal(&invocation, ui);
    if Role::of_this().is_none() {
        say_what_changes_nothing(&invocation, ui);
    }
    let forwards = Forwards::of(&invocation.resolved)?;
    let mut control = match Control::of(&invocation, global)? {
        None if !is_master && global.events.is_none() => {
            warm::control(&invocation, remote.as_ref(), &forwards, global, ui)?
        }
        control => control,
    };
    if let Some(control) = control.as_ref().filter(|_| !is_master) {
        let wanted = match (&invocation.task, &remote) {
            (Task::Stdio(target), _) => Wanted::Stdio(target),
            (_, Some(remote)) => Wanted::Session(remote),
            (_, None) => Wanted::Forwards,
        };
        let shared = mux::shared(control, &wanted, &forwards, &invocation, global, ui);
        if let Some(code) = shared.await? {
            return Ok(code);
        }
    }
    // Else this is a connection of our own, for this alone.
    control = control.filter(|control| is_master || !control.is_warm());
    let first = match is_master && invocation.warm.is_some() {
        true => Some(background::first().await?),
        false => None,
    };
    let begins = match (&first, has_more_to_do(&invocation, &forwards, control.as_ref())) {
        (Some(first), _) => {
            let (remote, invocation) = (first.remote(true), invocation.clone());
            Begins::Task(Box::new(|is_unnamed| opens_for(remote, invocation, is_unnamed)))
        }
        (None, true) => Begins::Nothing,
        (None, false) => {
            let invocation = invocation.clone();
            Begins::Task(Box::new(|is_unnamed| opens(invocation, is_unnamed)))
        }
    };
    let link = link::open(&mut invocation, begins, global, ui).await?;
    over(&link, &invocation, &forwards, control.as_ref(), first, ui).await
}

/// Of options that are accepted for the sake of those who have them in their files.
fn say_what_changes_nothing(invocation: &Invocation, ui: &Ui) {
    for warning in &invocation.warnings {
        ui.warning(warning);
    }
    for row in invocation.resolved.options.without_effect() {
        ui.verbose(&format!("{} changes nothing here", row.name));
    }
}

/// Whether something comes between the login and what it is for: forwards that are to
/// stand before, or that may end all of it; others that share the connection; a command
/// here; the way into the background.
fn has_more_to_do(invocation: &Invocation, forwards: &Forwards, control: Option<&Control>) -> bool {
    let options = &invocation.resolved.options;
    let has_command = options.permit_local_command() && options.local_command.is_some();
    has_command
        || !forwards.all.is_empty()
        || forwards.has_tunnel
        || control.is_some_and(Control::is_master)
        || options.fork_after_authentication()
}

/// What `invocation` may have begun along with the login: exactly what is done after it.
fn opens(invocation: Invocation, is_unnamed: bool) -> Opens {
    Arc::new(move |route| {
        let mut invocation = invocation.clone();
        invocation.resolved.logged_in(&route.user, route.port);
        if let Task::Stdio(target) = &invocation.task {
            return Some(Opening::Stream(target.clone()));
        }
        // What is wrong is said when its turn comes.
        opening(remote::remote(&invocation).ok()??, &invocation, is_unnamed)
    })
}

/// The same for who is handed over to a warm master.
fn opens_for(remote: Remote, invocation: Invocation, is_unnamed: bool) -> Opens {
    Arc::new(move |_| opening(remote.clone(), &invocation, is_unnamed))
}

fn opening(mut remote: Remote, invocation: &Invocation, is_unnamed: bool) -> Option<Opening> {
    let agent = lent_agent(&invocation.resolved).ok()?;
    let agent = agent.filter(|_| may_lend(invocation, is_unnamed));
    remote.with_agent &= agent.is_some();
    Some(Opening::Remote(remote, agent))
}

/// Whether the agent may be lent: what the files say of the name was not said of a
/// machine of a clan that the user has not named.
fn may_lend(invocation: &Invocation, is_unnamed: bool) -> bool {
    !is_unnamed || invocation.agent_is_said
}

/// Does it over a connection.
async fn over(
    link: &Link,
    invocation: &Invocation,
    forwards: &Forwards,
    control: Option<&Control>,
    first: Option<First>,
    ui: &Arc<Ui>,
) -> Result<u8> {
    let (resolved, session) = (&invocation.resolved, &link.session);
    if invocation.front == Front::Ssh {
        let is_bare = resolved.options.session_type() == SessionType::None;
        signals::end_as(match is_bare {
            true => signals::Ending::SshBare,
            false => signals::Ending::Ssh,
        });
    }
    // Whom we log in as, and at which port, are tokens, and are known by now.
    let mut begun = session.begun();
    let mut remote = match &begun {
        Some(begun) if first.is_none() => Some(begun.remote().clone()),
        _ => remote::remote(invocation)?,
    };
    // As ssh(1), which has said so, too (sshconnect.c, `check_host_key`).
    let is_suspect = session.suspicion().is_some();
    let mut agent = lent_agent(resolved)?.filter(|_| !is_suspect);
    if agent.is_some() && !may_lend(invocation, link.is_unnamed) {
        agent = None;
        let allow = "-A forwards it once, clan-connect trust-clan allows the clan";
        ui.warning(&format!("the agent is not forwarded to a clan that was not named; {allow}"));
    }
    let lends_agent = agent.is_some();
    if let Some(remote) = &mut remote {
        remote.with_agent &= lends_agent;
    }
    if let Some(agent) = agent {
        session.lend_agent(agent);
    }
    let open = forwards::prepare(session, forwards, &resolved.env, ui);
    if !is_suspect {
        forwards::open(&open, forwards, ui).await?;
    }
    let shared = Shared::start(control, link, &open, invocation.name(), lends_agent, ui)?;
    if let Some(command) = Maybe::of(&resolved.options.local_command)
        && resolved.options.permit_local_command()
    {
        let command = resolved.expand(&command.0)?;
        // Before anything that comes from the other side.
        let mut run = shell::command(&command, &resolved.env);
        let run = move || children::status(&mut run);
        let _ = tokio::task::spawn_blocking(run).await;
    }
    // Who waits for the end of what is said would wait for a warm master, too.
    let logs = resolved.verbosity() > 0 && invocation.log_file.is_none() && first.is_none();
    background::ready(logs, remote.is_some() || invocation.is_stream())?;
    if let (Some(first), Some(shared)) = (first, &shared) {
        shared.attend_first(first, begun.take());
        renew_host_keys(session);
    }
    let talk = Talk { invocation, ui, session, info: &link.info, shared: shared.as_ref() };
    let ended = talk.until_the_end(remote, begun).await;
    drop(shared);
    drop(open);
    session.disconnect().await;
    if Role::of_this() == Some(Role::Master) {
        // Sessions to other machines may go by a network of ours in this process.
        dial::guests_are_gone().await;
    }
    ended
}

/// Keeps the user's known hosts up to date meanwhile, of which nobody hears.
fn renew_host_keys(session: &Arc<Session>) {
    let session = session.clone();
    tokio::spawn(async move {
        let _ = session.renew_host_keys().await;
    });
}

/// What goes on over a session.
struct Talk<'a> {
    invocation: &'a Invocation,
    ui: &'a Arc<Ui>,
    session: &'a Arc<Session>,
    info: &'a Arc<ConnectionInfo>,
    shared: Option<&'a Shared>,
}

impl Talk<'_> {
    fn is_master(&self) -> bool {
        self.invocation.task == Task::Share
    }

    async fn until_the_end(
        &self,
        remote: Option<Remote>,
        begun: Option<BegunRemote>,
    ) -> Result<u8> {
        let whole = async {
            let (code, waits) = self.own(remote, begun).await?;
            // As ssh(1) does: others may still be at it, and connections be forwarded.
            if waits {
                tokio::select! {
                    () = self.session.leases().none() => {}
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
            () = terminated => Ok(if self.is_master() { 0 } else { 255 }),
        }
    }

    /// What this process itself was called for: its exit status, and whether that of
    /// others is waited for.
    async fn own(&self, remote: Option<Remote>, begun: Option<BegunRemote>) -> Result<(u8, bool)> {
        match (&self.invocation.task, remote) {
            (Task::Stdio(target), _) => self.stdio(target).await.map(|()| (0, true)),
            (_, Some(remote)) => {
                let ended = self.converse(&remote, begun).await?;
                let code = ended.exit_code(self.invocation.front.tells_signals());
                Ok((code, ended != Ending::Escaped))
            }
            // Another one was first to be the master.
            (Task::Share, None) if self.shared.is_none() => Ok((0, false)),
            (_, None) => self.stay().await,
        }
    }

    /// Standard input and output are the stream.
    async fn stdio(&self, target: &ForwardTarget) -> Result<()> {
        let there = self.session.open(target).await.map_err(Error::NotForwarded)?;
        stdio::join(there).await.map_err(|failure| failure.of(self.invocation.name()))
    }

    async fn converse(&self, remote: &Remote, begun: Option<BegunRemote>) -> Result<Ending> {
        let Self { invocation, ui, session, .. } = self;
        let is_null = invocation.resolved.options.stdin_null();
        let on = On { session, info: self.info, machine: invocation.name() };
        let ended = converse::converse(on, remote, begun, is_null, ui).await?;
        match (invocation.front, &ended) {
            (Front::Ssh, _) if remote.pty.is_some() => {
                let host = Printable(&invocation.resolved.host_name);
                // Which is no part of the log (clientloop.c, `quit_message`).
                if !invocation.resolved.is_quiet() {
                    ui.show(&format!("Connection to {host} closed.\r\n"));
                }
            }
            (Front::Clan, Ending::Escaped) => {
                let machine = Printable(invocation.name());
                ui.notice(&format!("connection to {machine} closed"));
            }
            (Front::Clan, Ending::Signal(name)) => {
                ui.verbose(&format!("ended by signal {name}"));
            }
            _ => {}
        }
        Ok(ended)
    }

    /// Nothing but forwarding and sharing, until the connection ends.
    async fn stay(&self) -> Result<(u8, bool)> {
        let unused = async {
            match self.shared {
                Some(shared) => shared.unused(self.session).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.session.closed() => {
                // Who uses it is told by who serves him.
                let told = self.session.leases().none();
                let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
                let machine = self.invocation.name().to_owned();
                let reason = self.session.loss();
                Err(Error::ConnectionLost { machine, reason, login_at: None })
            }
            () = unused => Ok((0, false)),
        }
    }
}
