//! What the `ssh` personality runs on the machine, and in which environment.

use std::io::IsTerminal;

use super::super::Ui;
use super::login::lent_agent;
use super::say;
use crate::error::{Error, Result};
use crate::openssh::Resolved;
use crate::openssh::arguments::Arguments;
use crate::pattern::matches_pattern;
use crate::ssh::escape::DEFAULT;
use crate::ssh::remote::Remote;
use crate::term;

/// What to run, and on what; nothing with `-N`.
pub(super) fn remote(
    arguments: &Arguments,
    resolved: &Resolved,
    ui: &Ui,
) -> Result<Option<Remote>> {
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
    let goes_away = config.flag("forkafterauthentication", false)?;
    if goes_away && command.is_none() && arguments.stdio_forward.is_none() {
        let why = "Cannot fork into background without a command to execute.";
        return Err(Error::Usage(why.to_owned()));
    }
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
    let escape = escape(resolved)?;
    Ok(Some(Remote { command, is_subsystem, with_agent, pty, env, escape }))
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
    let matches = |pattern: &str, text: &str| matches_pattern(pattern.as_bytes(), text.as_bytes());
    let mut patterns: Vec<&str> = Vec::new();
    for pattern in config.all("sendenv").flat_map(|setting| &setting.args) {
        match pattern.strip_prefix('-') {
            // It takes back what was said before, word by word.
            Some(pattern) => patterns.retain(|known| !matches(pattern, known)),
            None => patterns.push(pattern),
        }
    }
    let is_sent = |name: &str| patterns.iter().any(|pattern| matches(pattern, name));
    for (name, value) in std::env::vars_os() {
        let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else { continue };
        if is_sent(&name) && !env.iter().any(|(known, _)| *known == name) {
            env.push((name, value));
        }
    }
    env
}

/// `EscapeChar`: one character, `^` and a letter, or none.
fn escape(resolved: &Resolved) -> Result<Option<u8>> {
    let Some(setting) = resolved.config.get("escapechar") else { return Ok(Some(DEFAULT)) };
    match setting.value().as_bytes() {
        b"none" => Ok(None),
        [one] => Ok(Some(*one)),
        [b'^', letter @ 64..128] => Ok(Some(letter & 31)),
        _ => Err(setting.wrong("not a character, ^ and a letter, or none")),
    }
}
