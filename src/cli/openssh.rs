//! Called as `ssh`, or as `openssh ARGS...`: OpenSSH's command line, with the
//! words and exit statuses that its callers look for.

mod messages;

use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use super::invocation::Invocation;
use super::request::routes::clan_left_aside;
use super::task::{self, mux};
use super::{Global, Ui, events, print};
use crate::dial::{DialError, DialFailure};
use crate::encoding;
use crate::error::{Cause, Error, Result, strerror};
use crate::flake::Asker;
use crate::openssh::arguments::{self, Arguments};
use crate::openssh::{dump, query};
use crate::options::LogLevel;
use crate::printable::{self, Printable};
use crate::secret::redacted;
use crate::{log, signals};
use messages::in_words_of_ssh;

/// Runs a whole command line, with what was said of the clan before it, and returns the
/// exit status.
pub(super) fn main(args: &[String], said: Global) -> u8 {
    let arguments = match arguments::parse(args, &said.env) {
        Ok(arguments) => arguments,
        Err(error) => {
            say(&error.to_string());
            return 255;
        }
    };
    // Whoever wants a log or silence hears of these all the same, as of ssh(1).
    arguments.warnings.iter().for_each(|warning| say(&format!("Warning: {warning}")));
    if let Some(file) = arguments.log_file.as_ref().filter(|_| !arguments.version)
        && let Err(error) = log_to(file)
    {
        say(&format!("Couldn't open logfile {}: {}", Printable(file), strerror(&error)));
        return 255;
    }
    let is_silent = arguments.options.log_level() == LogLevel::Quiet;
    let exit_codes = said.exit_codes;
    let done = match (arguments.version, &arguments.query) {
        (true, _) => {
            let version = env!("CARGO_PKG_VERSION");
            // What scripts look for goes first; who we are is said as well.
            say(&format!("OpenSSH_9.9 command line of clan-connect {version}"));
            Ok(0)
        }
        (false, Some(kind)) => answer(kind),
        (false, None) => task::drive(resolved(&arguments, said)),
    };
    done.unwrap_or_else(|error| {
        let is_told = match error {
            Error::Output(_) => false,
            // What is wrong with the files is no more than what goes wrong later.
            Error::SshConfig { .. } => !is_silent,
            _ => true,
        };
        events::error(&error);
        if is_told && !signals::has_come() {
            say(&error.to_string());
        }
        exit_codes.of(&error, true)
    })
}

/// `-Q`.
fn answer(kind: &str) -> Result<u8> {
    let list = query(kind)
        .ok_or_else(|| Error::Usage(format!("Unsupported query \"{}\"", Printable(kind))))?;
    print(list.as_bytes())?;
    Ok(0)
}

/// What is asked of a host, with all that applies to it.
async fn resolved(arguments: &Arguments, said: Global) -> Result<u8> {
    let invocation = Invocation::as_ssh(arguments, &said.env).await?;
    let resolved = &invocation.resolved;
    if arguments.dump {
        print(&encoding::bytes(&dump(resolved)?))?;
        return Ok(0);
    }
    log::start(resolved.verbosity());
    let mut global = Global {
        verbose: resolved.verbosity(),
        quiet: resolved.is_quiet(),
        asker: Asker::Ssh,
        ..said
    };
    global.settle();
    if let Some(command) = &arguments.control {
        let done = mux::command(command, &invocation, &global).await;
        return match done {
            Err(error @ Error::Control(_)) if resolved.is_silent() => Ok(error.exit_code(true)),
            done => done,
        };
    }
    Ok(run(invocation, &global).await)
}

/// Does what is asked for, and says in ssh(1)'s words what went wrong.
pub(super) async fn run(invocation: Invocation, global: &Global) -> u8 {
    let ui = Arc::new(Ui::as_ssh(&invocation.resolved, global.color));
    let resolved = invocation.resolved.clone();
    let done = task::run(invocation, global, &ui).await;
    done.unwrap_or_else(|error| {
        let is_told = !resolved.is_silent() && !signals::has_come();
        events::error(&error);
        if is_told && !matches!(error, Error::Output(_)) {
            ui.progress.pause(|| say(&in_words_of_ssh(&error, &resolved)));
            if has_no_address(&error)
                && let Some(why) = clan_left_aside(&resolved, global)
            {
                ui.progress.pause(|| say(&why));
            }
        }
        global.exit_codes.of(&error, true)
    })
}

/// Whether no address of the host is known.
fn has_no_address(error: &Error) -> bool {
    let is_unknown = |cause: &Cause| match cause {
        Cause::Dial(DialError { failure, .. }) => matches!(
            failure,
            DialFailure::NoSuchName
                | DialFailure::NoNameServer
                | DialFailure::ResolverTimeout
                | DialFailure::ResolverFailed
        ),
        _ => false,
    };
    matches!(error, Error::Unreachable { attempts, .. }
        if attempts.iter().any(|attempt| is_unknown(&attempt.cause)))
}

/// `-E`: what we say goes to the end of a file, which is nobody else's to read
/// (`log_redirect_stderr_to` of OpenSSH's log.c).
pub(super) fn log_to(file: &str) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(encoding::os(file))?;
    log::go_to(file);
    Ok(())
}

fn say(text: &str) {
    log::write(&printable::shown(&redacted(&format!("{text}\n"))));
}
