//! Commands that the user has configured, as ssh(1) runs them: by his own shell.

use std::process::Stdio;

use super::role;
use crate::children;
use crate::encoding;
use crate::env::Env;
use crate::error::Result;

/// A command for the user's shell.
pub(super) fn command(text: &str, env: &Env) -> std::process::Command {
    let shell = env.var("SHELL").unwrap_or("/bin/sh".as_ref());
    #[allow(clippy::disallowed_methods, reason = "the user configured this very command")]
    let mut run = std::process::Command::new(shell);
    run.arg("-c").arg(encoding::os(text));
    role::hide_from(&mut run);
    run
}

/// Whether a command of `Match exec` says yes. What it reads and writes is not for it:
/// others read what we write (readconf.c, `execute_in_shell`).
pub(super) fn holds(text: &str, env: &Env) -> Result<bool> {
    let mut command = command(text, env);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(children::status(&mut command).is_ok_and(|status| status.success()))
}
