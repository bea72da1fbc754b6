//! The command line: arguments to requests, results to exit status. What can be typed is
//! in `grammar`, and what is printed goes through `ui`.

mod as_clan;
mod askpass;
mod clan;
mod columns;
mod command_words;
mod complete;
mod events;
mod exports;
mod grammar;
mod identity;
mod invocation;
#[cfg(feature = "iroh")]
mod iroh;
mod link;
mod live_table;
mod machine;
mod manual;
mod network;
mod openssh;
// With every network there is, as the page has them.
#[cfg(all(
    test,
    feature = "iroh",
    feature = "mycelium",
    feature = "tor",
    feature = "wireguard",
    feature = "yggdrasil"
))]
mod options_page;
#[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
mod overlays;
mod progress;
mod proxy;
mod reach;
mod refusal;
mod request;
mod role;
mod select;
mod shell;
mod slips;
mod ssh;
mod stock_ssh;
mod task;
#[cfg(feature = "tor")]
mod tor;
mod trust;
mod trust_clan;
mod ui;
mod vars;
mod warm;
mod warmth;
mod ways;
mod wireguard;

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use clap::Parser;
use clap::error::ErrorKind;

use crate::encoding;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::{log, signals};
use grammar::{Called, Cli, Color, Command, ExitCodes, Global, Network};
use invocation::{Front, Invocation};
use task::background;
use ui::{Ui, print, print_json, print_text};

/// Prints the version if the first word asks for it. Whoever looks for a program asks so,
/// and waits: nothing is set up, and no description of the command line is made.
pub fn tells_version(args: impl Iterator<Item = OsString>) -> bool {
    let args: Vec<OsString> = args.take(2).collect();
    let asks = args.get(1).is_some_and(|first| first == "--version" || first == "-V");
    if !asks || as_ssh(&args).is_some() || as_clan::is_called(&args) {
        return false;
    }
    // Nobody listens: that is no failure for clap, either.
    let _ = print(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    true
}

pub use as_clan::handed_over;

/// Runs a whole command line and returns the exit status.
pub fn main(args: impl IntoIterator<Item = OsString>, env: Env) -> u8 {
    if let Some(taken_over) = background::taken_over(&env) {
        return go_on(taken_over, &env);
    }
    let args: Vec<OsString> = args.into_iter().collect();
    if as_clan::is_called(&args) {
        return as_clan::main(&args, env);
    }
    if complete::answer(&args, &env) {
        return 0;
    }
    if let Some(arguments) = as_ssh(&args) {
        return openssh::main(&arguments, Global { env, ..Global::default() });
    }
    let mut cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let (mut error, args) = refusal::shown::<Cli>(error, &args);
            slips::explain(&mut error, &args);
            if shows_help(error.kind()) {
                error = manual::asked(&args).unwrap_or(error);
            }
            // `--help` and `--version` are errors to clap, but not to users.
            let _ = error.print();
            if let Some(hint) = manual::hint(&error, &args) {
                let _ = writeln!(std::io::stderr(), "\nhint: {hint}");
            }
            let opens_session = names_session(&args);
            return match error.use_stderr() {
                false => 0,
                true => Error::Usage(String::new()).exit_code(opens_session),
            };
        }
    };
    cli.global.env = env;
    log::start(cli.global.verbose);
    let ui = Arc::new(Ui::new(&cli.global));
    let opens_session = matches!(cli.command, Command::Ssh(_) | Command::Proxy(_));
    signals::fail_as(Error::Internal.exit_code(opens_session));
    cli.global.settle();
    if let Some(Err(error)) = cli.global.events.as_deref().map(events::start) {
        ui.error(&error);
        return error.exit_code(opens_session);
    }
    events::ended(run(cli, &ui))
}

/// The exit status of a command line that fails before it is read.
pub fn failure(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let is_ssh = as_ssh(&args).is_some() || names_session(&args);
    Error::Internal.exit_code(is_ssh && !as_clan::is_called(&args))
}

fn names_session(args: &[OsString]) -> bool {
    args.iter().skip(1).any(|arg| arg == "ssh" || arg == "proxy")
}

fn shows_help(kind: ErrorKind) -> bool {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand};
    matches!(kind, DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand)
}

/// Does what is asked for, and says why it could not be done.
fn run(cli: Cli, ui: &Arc<Ui>) -> u8 {
    let opens_session = matches!(cli.command, Command::Ssh(_) | Command::Proxy(_));
    let exit_codes = cli.global.exit_codes;
    let done = match cli.command {
        Command::Ssh(arguments) => ssh::run(&arguments, &cli.global),
        Command::Proxy(arguments) => proxy::run(&arguments, &cli.global),
        Command::Network(Network::List { all, json }) => list_networks(&cli.global, all, json, ui),
        Command::Close(arguments) => warm::close(&arguments, &cli.global, ui),
        Command::Network(Network::Ping(arguments)) => reach::ping(&arguments, &cli.global),
        Command::Network(Network::Overview(arguments)) => {
            reach::overview(&arguments, &cli.global, ui)
        }
        Command::Network(Network::Identity(arguments)) => {
            identity::run(&arguments, &cli.global, ui)
        }
        Command::Network(Network::Trust(command)) => trust::run(&command, &cli.global, ui),
        Command::Exports(command) => exports::run(command, &cli.global, ui).map(|()| 0),
        // Taken above, with every letter in its place.
        Command::Openssh { arguments } => {
            let arguments: Vec<String> = arguments.iter().map(encoding::of_os).collect();
            return openssh::main(&arguments, cli.global);
        }
        Command::SshConfig(arguments) => stock_ssh::run(&arguments, &cli.global, ui).map(|()| 0),
        Command::Select { selector } => select::run(&selector, &cli.global, ui).map(|()| 0),
        Command::Completions { shell } => print(&complete::script(shell)).map(|()| 0),
        Command::Man { command } => {
            manual::page(&command).and_then(|page| print(&page)).map(|()| 0)
        }
        Command::Help { command } => manual::help(&command).map(|()| 0),
        Command::Vars(command) => vars::run(command, &cli.global, ui).map(|()| 0),
        Command::TrustClan(command) => trust_clan::run(&command, &cli.global, ui),
    };
    match done {
        Ok(code) => code,
        // The reader of our output has had enough, as in `… | head`.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Error::Output(error).exit_code(opens_session)
        }
        Err(error) => {
            if !signals::has_come() {
                ui.error(&error);
                events::error(&error);
            }
            exit_codes.of(&error, opens_session)
        }
    }
}

/// Does in the background what another process of ours has understood.
fn go_on(taken_over: Result<(Invocation, Global)>, env: &Env) -> u8 {
    let (invocation, global) = match taken_over {
        Ok(taken_over) => taken_over,
        Err(error) => {
            Ui::with(false, false, Color::Never, env).error(&error);
            return error.exit_code(true);
        }
    };
    // It was opened once already.
    let _ = invocation.log_file.as_deref().map(openssh::log_to);
    log::start(global.verbose);
    let done = match invocation.front {
        Front::Ssh => task::drive(async { Ok(openssh::run(invocation, &global).await) }),
        Front::Clan => task::drive(async {
            let ui = Arc::new(Ui::of(&invocation.resolved, global.color));
            task::run(invocation, &global, &ui).await
        }),
    };
    done.unwrap_or_else(|error| {
        if !signals::has_come() {
            Ui::new(&global).error(&error);
        }
        global.exit_codes.of(&error, true)
    })
}

/// The arguments for the `ssh` personality, if it is asked for: by the program's
/// name, or by the first word.
fn as_ssh(args: &[OsString]) -> Option<Vec<String>> {
    let (program, rest) = args.split_first()?;
    let name = std::path::Path::new(program).file_name()?;
    let rest = match rest.split_first() {
        _ if name == "ssh" => rest,
        Some((first, rest)) if first == "openssh" => rest,
        _ => return None,
    };
    Some(rest.iter().map(encoding::of_os).collect())
}

fn list_networks(global: &Global, all: bool, json: bool, ui: &Arc<Ui>) -> Result<u8> {
    let clan = global.clan(ui)?;
    ui.problems(&clan);
    let warm = warm::of_clan(global)?;
    let ways = ways::ways(&clan, global, ui)?;
    match json {
        true => print_json(&warm::with_json(network::list_json(&clan, &ways), &warm))?,
        false => print_text(&(network::list_text(&clan, &ways, all) + &warm::text(&warm)))?,
    }
    Ok(0)
}
