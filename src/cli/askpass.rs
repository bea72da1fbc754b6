//! `SSH_ASKPASS`: a program of the user's that asks instead of the terminal, as
//! ssh(1) "ENVIRONMENT" has it. Owns when it is used and what it is told.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::children::Awaited;
use crate::env::Env;
use crate::secret::{Secret, redacted};
use crate::term;

/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 4096;

/// The program to ask with, if it is to be used: always with
/// `SSH_ASKPASS_REQUIRE=force`, before the terminal with `prefer`, never with
/// `never`, and otherwise when there is a display but no terminal.
pub(super) fn program(env: &Env) -> Option<OsString> {
    let program = env.var("SSH_ASKPASS")?;
    let display = env.var("DISPLAY").or_else(|| env.var("WAYLAND_DISPLAY")).is_some();
    let wanted = match env.text("SSH_ASKPASS_REQUIRE") {
        Some("force") => true,
        Some("prefer") => display,
        Some("never") => false,
        _ => display && !term::can_ask(),
    };
    wanted.then(|| program.to_owned())
}

/// Shows `prompt` by `program` and returns its first line. `None` when it fails,
/// which is how it says that the user cancelled.
pub(super) fn ask(program: &OsString, prompt: &str) -> Option<Secret<String>> {
    #[allow(clippy::disallowed_methods, reason = "a program that the user configured")]
    let mut command = Command::new(program);
    let mut child =
        command.arg(redacted(prompt)).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().ok()?;
    let _awaited = Awaited::child(&child);
    let mut answer = Zeroizing::new(Vec::with_capacity(MAX_ANSWER as usize));
    let read = child.stdout.take()?.take(MAX_ANSWER).read_to_end(&mut answer);
    let confirmed = child.wait().is_ok_and(|status| status.success());
    if read.is_err() || !confirmed {
        return None;
    }
    let line = answer.split(|byte| *byte == b'\n' || *byte == b'\r').next().unwrap_or_default();
    std::str::from_utf8(line).ok().map(|line| Secret::new(line.to_owned()))
}
