//! The command line: arguments to requests, results to text and exit status.
//! The only place that prints.

mod advice;
mod as_clan;
mod askpass;
mod clan;
mod columns;
mod command_words;
mod complete;
mod events;
mod exports;
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
mod vars;
mod warm;
mod warmth;
mod ways;
mod wireguard;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use serde::{Deserialize, Serialize};

use crate::encoding;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::model::Clan;
use crate::openssh::Resolved;
use crate::options::{LogLevel, Value as _};
use crate::prompter::Prompter;
use crate::secret::{Secret, redacted};
use crate::{flake, log, printable, signals, term};
use invocation::{Front, Invocation};
use role::Role;
use task::background;

/// Problems of a clan's data that are said at once; who mends these sees the next.
const MOST_PROBLEMS: usize = 20;

/// ssh for Clan machines: one binary, one connection, the best network.
#[derive(Debug, Parser)]
#[command(name = "clan-connect", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Default, Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The clan's directory, a snapshot of it, or a reference for nix [default: $CLAN_DIR,
    /// then the nearest parent with flake.nix, .clan-flake or a snapshot, if it is yours alone]
    #[arg(long, global = true, value_name = "DIR")]
    flake: Option<PathBuf>,
    /// Let nix use what is outside of the clan as well: files, environment variables, the
    /// time, and downloads without a hash
    #[arg(long, global = true)]
    impure: bool,
    /// Read the clan's exports from FILE, or from standard input for `-`
    #[arg(long, global = true, value_name = "FILE")]
    exports: Option<PathBuf>,
    /// An age identity or ssh key that decrypts the clan's vars
    #[arg(long, global = true, value_name = "FILE", action = ArgAction::Append)]
    identity: Vec<PathBuf>,
    /// Print each step; `-vv` also prints what was skipped or refused, `-vvv` the log of the
    /// libraries
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// When to show progress lines
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Exit status of a failed session. `ssh`: always 255. `detailed`: 251 unreachable,
    /// 252 wrong host key, 253 login refused, 254 connection lost, 255 anything else
    #[arg(long, global = true, value_name = "WHICH", default_value = "ssh")]
    exit_codes: ExitCodes,
    /// Write connection events to FILE (such as /dev/fd/3), one JSON object per line; the
    /// connection is not kept for later commands
    #[arg(long, global = true, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Print decrypted hosts instead of placeholders
    #[arg(long, global = true)]
    show_secrets: bool,
    #[cfg(feature = "tor")]
    #[command(flatten)]
    tor: tor::TorOptions,
    #[cfg(feature = "iroh")]
    #[command(flatten)]
    iroh: iroh::IrohOptions,
    #[command(flatten)]
    wireguard: wireguard::WireguardOptions,
    #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
    #[command(flatten)]
    overlays: overlays::OverlayOptions,
    /// Options for nix, names and values in turn.
    #[arg(skip)]
    nix_options: Vec<String>,
    /// What we were called as.
    #[arg(skip)]
    called: Called,
    /// Who asks for the clan.
    #[arg(skip)]
    asker: flake::Asker,
    /// The clan, once it is found.
    #[arg(skip)]
    found: OnceLock<flake::Flake>,
    /// What `exports` names, once it is read.
    #[arg(skip)]
    document: OnceLock<Arc<flake::Document>>,
    /// What we were started with.
    #[arg(skip)]
    env: Env,
}

/// What we were called as by who reads our advice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Called {
    /// `clan-connect`, or `ssh`, which has words of its own.
    #[default]
    Own,
    /// `clan`, with this command.
    Clan(&'static str),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Log into a machine, or run a command on it
    Ssh(Box<ssh::Ssh>),
    /// Close connections that were kept for later commands
    Close(warm::Close),
    /// Show the clan's networks
    #[command(subcommand)]
    Network(Network),
    /// Connect standard input and output to a machine, as a ProxyCommand: `ssh -o
    /// ProxyCommand='clan-connect proxy %n %p' MACHINE`
    Proxy(proxy::Proxy),
    /// Print ssh_config lines that let a stock OpenSSH, and programs that start it, reach
    /// the clan's machines through clan-connect
    SshConfig(stock_ssh::StockSsh),
    /// Show the clan's exports, or save them as a snapshot
    #[command(subcommand)]
    Exports(exports::Command),
    /// Print the values that a selector picks, as `clan select` does
    Select {
        /// A selector, such as `clan.exports.*.networking` or `clan.exports.instances.{a,?b}`
        selector: String,
    },
    /// Show generated values
    #[command(subcommand)]
    Vars(vars::Command),
    /// Allow a clan. This program called as `ssh` uses only clans that are named or
    /// allowed, and a clan that other users can write must be allowed for every command
    TrustClan(trust_clan::TrustClan),
    /// Take OpenSSH's command line, as this program does when it is called as `ssh`
    Openssh {
        /// The arguments of ssh(1)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true,
              add = ArgValueCompleter::new(complete::letters))]
        arguments: Vec<OsString>,
    },
    /// Print the shell completion script
    Completions {
        /// The shell
        shell: complete::Shell,
    },
    /// Print the manual page, or that of a command
    Man {
        /// The command, such as `ssh` or `network trust add`
        #[arg(add = ArgValueCompleter::new(complete::commands))]
        command: Vec<String>,
    },
    /// Print what a command is for, and its options
    Help {
        /// The command, such as `ssh` or `network trust add`
        #[arg(add = ArgValueCompleter::new(complete::commands))]
        command: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Network {
    /// List the networks, best first
    List {
        /// Name all peers, even if there are many
        #[arg(short, long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a machine over every network for its SSH banner and host key
    Ping(reach::Ping),
    /// Ask every peer of every network for its SSH banner
    ///
    /// Exits with 0 whoever answers, since the table is the answer, and with 1 where nobody
    /// could be asked. The status of `network ping` tells whether a machine answers.
    Overview(reach::Overview),
    /// Show the key and address that clan-connect uses as its own node of a network, and the
    /// clan setting that admits it; creates the key for Yggdrasil if there is none
    Identity(identity::Identity),
    /// Show or change which host keys are trusted for a machine
    #[command(subcommand)]
    Trust(trust::Command),
}

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
    ui.lack_of_exports(&clan);
    let warm = warm::of_clan(global)?;
    let ways = ways::ways(&clan, global, ui)?;
    match json {
        true => print_json(&warm::with_json(network::list_json(&clan, &ways), &warm))?,
        false => print_text(&(network::list_text(&clan, &ways, all) + &warm::text(&warm)))?,
    }
    Ok(0)
}

/// Which statuses a session exits with that fails.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum ExitCodes {
    #[default]
    Ssh,
    Detailed,
}

impl ExitCodes {
    fn of(self, error: &Error, opens_session: bool) -> u8 {
        match self {
            Self::Detailed if opens_session => error.detailed_exit_code(),
            _ => error.exit_code(opens_session),
        }
    }
}

/// What stands between us and standard error.
struct Ui {
    /// How much is said, as a number of [`LogLevel`]: a user may change it meanwhile.
    level: AtomicUsize,
    /// Whose words it is in.
    front: Front,
    /// By which name commands are advised.
    called: Called,
    progress: progress::Progress,
    /// What we were started with.
    env: Env,
}

impl Ui {
    fn new(global: &Global) -> Self {
        let ui = Self::with(global.verbose > 0, global.quiet, global.color, &global.env);
        Self { called: global.called, ..ui }
    }

    /// For one invocation, whose LogLevel counts. Nobody looks at a line of progress
    /// where nobody may be asked, or in the background, but for a master that somebody
    /// waits for.
    fn of(resolved: &Resolved, color: Color) -> Self {
        let options = &resolved.options;
        let is_watched = !options.batch_mode()
            && !options.fork_after_authentication()
            && Role::of_this() != Some(Role::Session);
        let color = if is_watched { color } else { Color::Never };
        let ui = Self::with(resolved.verbosity() > 0, resolved.is_quiet(), color, &resolved.env);
        ui.set_level(options.log_level());
        ui
    }

    /// The same in the words of ssh(1).
    fn as_ssh(resolved: &Resolved, color: Color) -> Self {
        Self { front: Front::Ssh, ..Self::of(resolved, color) }
    }

    fn with(verbose: bool, quiet: bool, color: Color, env: &Env) -> Self {
        let fancy = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                // $NO_COLOR is about colour, of which there is none.
                std::io::stderr().is_terminal() && env.var("TERM").is_none_or(|term| term != "dumb")
            }
        };
        let progress = progress::Progress::new(fancy && !quiet && !verbose);
        let level = match (quiet, verbose) {
            (true, _) => LogLevel::Error,
            (false, true) => LogLevel::Debug1,
            (false, false) => LogLevel::Info,
        };
        let level = AtomicUsize::new(level as usize);
        Self { level, front: Front::Clan, called: Called::Own, progress, env: env.clone() }
    }

    fn set_level(&self, level: LogLevel) {
        self.level.store(level as usize, Ordering::Relaxed);
    }

    fn says(&self, level: LogLevel) -> bool {
        self.level.load(Ordering::Relaxed) >= level as usize
    }

    /// Says more or less from now on; the level that counts then.
    fn change_level(&self, is_more: bool) -> String {
        let now = self.level.load(Ordering::Relaxed);
        let next = if is_more { now + 1 } else { now.saturating_sub(1) };
        let level = LogLevel::ALL.get(next).copied().unwrap_or(LogLevel::Debug3);
        self.set_level(level);
        level.words().concat()
    }

    /// An error and its hints.
    fn error(&self, error: &Error) {
        let mut text = format!("error: {error}\n");
        let mut hints = advice::native(error);
        if let Called::Clan(command) = self.called {
            hints = as_clan::in_words_of_clan(&hints, command);
        }
        for hint in hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
        self.write(&text);
    }

    /// A line that is left out where nothing is to be said at all.
    fn say(&self, text: &str) {
        if self.says(LogLevel::Error) {
            self.write(&format!("{text}\n"));
        }
    }

    /// A line for all who have not asked for silence.
    fn notice(&self, text: &str) {
        if self.says(LogLevel::Info) {
            self.say(text);
        }
    }

    /// Something the user should know, though all goes on.
    fn warning(&self, text: &str) {
        if self.says(LogLevel::Info) {
            self.write(&format!("warning: {text}\n"));
        }
    }

    /// nix runs, which may take long.
    fn evaluating(&self) {
        self.progress.doing("evaluating the clan with nix".to_owned());
    }

    /// Something for `-v`.
    fn verbose(&self, text: &str) {
        match self.front {
            Front::Clan if self.says(LogLevel::Verbose) => self.write(&format!("{text}\n")),
            Front::Ssh if self.says(LogLevel::Debug1) => {
                self.write(&format!("debug1: {text}\r\n"));
            }
            _ => {}
        }
    }

    /// What is wrong with parts of the exports that are not used.
    fn problems(&self, clan: &Clan) {
        for problem in clan.problems.iter().take(MOST_PROBLEMS) {
            self.warning(&problem.to_string());
        }
        let more = clan.problems.len().saturating_sub(MOST_PROBLEMS);
        if more > 0 {
            self.warning(&format!("{more} further problems in the clan's data are not shown"));
        }
        for warning in &clan.warnings {
            self.verbose(&format!("warning: {warning}"));
        }
    }

    /// Says why there are no networks, where the flake hides them.
    fn lack_of_exports(&self, clan: &Clan) {
        if clan.lacks_exports() {
            self.warning(
                "the flake does not export clan.exports, so that no networks are known; in \
                 flake.nix its outputs need clan = clan.config; next to clanInternals",
            );
        }
    }

    /// What is no word about ourselves, and goes into no log (`-E`).
    fn show(&self, text: &str) {
        self.write_by(text, |text| {
            // Nobody is left to tell when standard error is closed.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        });
    }

    fn write(&self, text: &str) {
        self.write_by(text, log::write);
    }

    fn write_by(&self, text: &str, write: impl FnOnce(&str)) {
        let text = redacted(text);
        let text = printable::shown(&text);
        self.progress.aside(|| write(&text));
    }
}

impl Prompter for Ui {
    fn ask(&self, prompt: &str, echo: bool) -> Option<Secret<String>> {
        let prompt = &*printable::shown(prompt);
        self.progress.pause(|| match askpass::program(&self.env) {
            Some(program) => askpass::ask(&program, prompt),
            None => term::ask(prompt, echo),
        })
    }

    fn tell(&self, text: &str) {
        if self.says(LogLevel::Info) {
            self.write(&format!("{}\n", text.trim_end()));
        }
    }

    fn warn(&self, text: &str) {
        self.say(text.trim_end());
    }

    fn banner(&self, text: &str) {
        if self.says(LogLevel::Info) {
            self.show(&format!("{}\n", text.trim_end()));
        }
    }

    fn detail(&self, text: &str) {
        self.verbose(text);
    }

    fn remark(&self, text: &str) {
        if self.says(LogLevel::Verbose) {
            self.write(&format!("{text}\r\n"));
        }
    }
}

/// Writes text for people to standard output.
fn print_text(text: &str) -> Result<()> {
    print(printable::shown(text).as_bytes())
}

/// Writes JSON to standard output, with a newline at its end.
fn print_json(value: &serde_json::Value) -> Result<()> {
    print(printable::json(&format!("{value:#}\n")).as_bytes())
}

/// Writes data to standard output.
fn print(data: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(data).and_then(|()| stdout.flush()).map_err(Error::Output)
}
