//! What runs on the machine, on what and in which environment. Owns what ssh(1) and
//! Clan say differently about that.

use std::io::IsTerminal;

use crate::cli::Ui;
use crate::cli::invocation::{Front, Invocation, Task};
use crate::cli::request::lent_agent;
use crate::encoding;
use crate::error::{Error, Result};
use crate::openssh::Resolved;
use crate::options::{Maybe, RequestTty, SessionType};
use crate::ssh::remote::Remote;
use crate::term;

/// What to run, and on what; nothing with `-N` and the like.
pub(super) fn remote(invocation: &Invocation) -> Result<Option<Remote>> {
    let resolved = &invocation.resolved;
    let options = &resolved.options;
    let said = match &invocation.task {
        Task::Session(command) => command.as_ref(),
        Task::Stdio(_) | Task::Share => return Ok(None),
    };
    let is_subsystem = match options.session_type() {
        SessionType::None => return Ok(None),
        SessionType::Subsystem => true,
        SessionType::Default => false,
    };
    let command = match (said, Maybe::of(&options.remote_command)) {
        (None, Some(command)) => Some(resolved.expand(&command.0)?),
        (Some(_), Some(_)) => return Err(Error::Usage(twice(invocation.front).to_owned())),
        (said, None) => said.cloned(),
    };
    if options.fork_after_authentication() && command.is_none() {
        let why = "Cannot fork into background without a command to execute.";
        return Err(Error::Usage(why.to_owned()));
    }
    if is_subsystem && command.is_none() {
        return Err(Error::Usage("You must specify a subsystem to invoke.".to_owned()));
    }
    let has_pty = wants_terminal(invocation, command.is_some()) && has_terminal(resolved);
    Ok(Some(Remote {
        command,
        is_subsystem,
        with_agent: lent_agent(resolved)?.is_some(),
        pty: (has_pty && !is_subsystem).then(|| term::pty(terminal(resolved))),
        env: environment(resolved)?,
        escape: options.escape_char().0,
    }))
}

/// Says that what was asked for has no terminal, as ssh(1) does.
pub(super) fn missing_terminal(invocation: &Invocation, ui: &Ui) {
    let options = &invocation.resolved.options;
    let Task::Session(said) = &invocation.task else { return };
    let has_command = said.is_some() || Maybe::of(&options.remote_command).is_some();
    let is_expected = invocation.front == Front::Ssh && options.session_type() != SessionType::None;
    if is_expected && wants_terminal(invocation, has_command) && !has_terminal(&invocation.resolved)
    {
        ui.notice("Pseudo-terminal will not be allocated because stdin is not a terminal.");
    }
}

/// Of two commands.
fn twice(front: Front) -> &'static str {
    match front {
        Front::Ssh => "Cannot execute command-line and remote command.",
        Front::Clan => "there is a command already: leave out one, or RemoteCommand",
    }
}

fn wants_terminal(invocation: &Invocation, has_command: bool) -> bool {
    match invocation.resolved.options.request_tty() {
        RequestTty::No => false,
        // A shell needs one. A command gets one where Clan would give it one, unless
        // its output goes elsewhere.
        RequestTty::Auto if has_command => {
            invocation.front.gives_commands_a_terminal() && std::io::stdout().is_terminal()
        }
        RequestTty::Auto | RequestTty::Yes | RequestTty::Force => true,
    }
}

fn has_terminal(resolved: &Resolved) -> bool {
    let options = &resolved.options;
    let has_input = term::is_interactive() && !options.stdin_null();
    has_input || options.request_tty() == RequestTty::Force
}

/// What the terminal is called: what `SetEnv` says of TERM counts before our own
/// (ssh.c, `ssh_session2_setup`).
fn terminal(resolved: &Resolved) -> &str {
    let set = resolved.options.set_env.as_ref().and_then(|set| set.of("TERM"));
    set.or_else(|| resolved.env.text("TERM")).unwrap_or_default()
}

/// Keys by value: `SendEnv` with a pattern means none of them.
const SECRET: [&str; 3] = ["AGE_KEY", "CLAN_CONNECT_SSH_KEY", "SOPS_AGE_KEY"];

/// `SetEnv`, then what `SendEnv` names of our own.
fn environment(resolved: &Resolved) -> Result<Vec<(String, String)>> {
    let options = &resolved.options;
    let mut env = resolved.set_env()?;
    for (name, value) in resolved.env.variables() {
        let name = encoding::of_os(name);
        if SECRET.contains(&&*name) {
            continue;
        }
        if options.send_env.has(&name) && !env.iter().any(|(known, _)| *known == name) {
            env.push((name, encoding::of_os(value)));
        }
    }
    Ok(env)
}
