//! What the `ssh` personality runs on the machine, and in which environment.

use std::io::IsTerminal;

use super::super::Ui;
use super::super::request::lent_agent;
use super::say;
use crate::error::{Error, Result};
use crate::openssh::Resolved;
use crate::openssh::arguments::Arguments;
use crate::options::{Maybe, RequestTty, SessionType};
use crate::ssh::remote::Remote;
use crate::term;

/// What to run, and on what; nothing with `-N`.
pub(super) fn remote(
    arguments: &Arguments,
    resolved: &Resolved,
    ui: &Ui,
) -> Result<Option<Remote>> {
    let options = &resolved.options;
    let is_subsystem = match options.session_type() {
        SessionType::None => return Ok(None),
        SessionType::Subsystem => true,
        SessionType::Default => false,
    };
    let configured = Maybe::of(&options.remote_command);
    let command = match (arguments.command.is_empty(), configured) {
        (true, Some(command)) => Some(resolved.expand(&command.0)?),
        (false, Some(_)) => {
            return Err(Error::Usage("Cannot execute command-line and remote command.".to_owned()));
        }
        (true, None) => None,
        (false, None) => Some(arguments.command.join(" ")),
    };
    let goes_away = options.fork_after_authentication();
    if goes_away && command.is_none() && arguments.stdio_forward.is_none() {
        let why = "Cannot fork into background without a command to execute.";
        return Err(Error::Usage(why.to_owned()));
    }
    if is_subsystem && command.is_none() {
        return Err(Error::Usage("You must specify a subsystem to invoke.".to_owned()));
    }
    let has_input = std::io::stdin().is_terminal() && !options.stdin_null();
    let wanted = match options.request_tty() {
        RequestTty::No => false,
        RequestTty::Auto => command.is_none(),
        RequestTty::Yes | RequestTty::Force => true,
    };
    let is_there = has_input || options.request_tty() == RequestTty::Force;
    if wanted && !is_there && !ui.quiet {
        say("Pseudo-terminal will not be allocated because stdin is not a terminal.");
    }
    let pty = (wanted && is_there && !is_subsystem).then(|| term::pty(&resolved.env));
    let with_agent = lent_agent(resolved)?.is_some();
    let env = environment(resolved);
    let escape = options.escape_char().0;
    Ok(Some(Remote { command, is_subsystem, with_agent, pty, env, escape }))
}

/// `SetEnv`, then what `SendEnv` names of our own.
pub(in crate::cli) fn environment(resolved: &Resolved) -> Vec<(String, String)> {
    let options = &resolved.options;
    let mut env = options.set_env.as_ref().map(|set| set.0.clone()).unwrap_or_default();
    for (name, value) in resolved.env.variables() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        if options.send_env.has(name) && !env.iter().any(|(known, _)| known == name) {
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    env
}
