//! The command line: arguments to requests, results to text and exit status.
//! The only place that prints.

mod askpass;
mod background;
mod board;
mod complete;
mod exports;
mod mux;
mod network;
mod openssh;
mod progress;
mod reach;
mod request;
mod select;
mod ssh;
mod tor;
mod trust;
mod vars;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::error::{Error, Result};
use crate::exports::Clan;
use crate::host_keys::HostKeys;
use crate::secret::{Secret, redacted};
use crate::user::User;
use crate::vars::Vars;
use crate::{flake, log, term};
use flake::Step;
use flake::snapshot::Snapshot;

/// ssh for Clan machines: one binary, one connection, the best network.
#[derive(Debug, Parser)]
#[command(name = "clan-connect", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The clan's directory [default: $CLAN_DIR, then the nearest parent with
    /// flake.nix or .clan-flake]
    #[arg(long, global = true, value_name = "DIR")]
    flake: Option<PathBuf>,
    /// Read the clan's exports from FILE, or from standard input for `-`
    #[arg(long, global = true, value_name = "FILE")]
    exports: Option<PathBuf>,
    /// An age identity or ssh key that decrypts the clan's vars
    #[arg(long, global = true, value_name = "FILE", action = ArgAction::Append)]
    identity: Vec<PathBuf>,
    /// Say what is done; twice for a log, three times for the libraries' too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// When to use colour and progress lines
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Print decrypted hosts as they are
    #[arg(long, global = true)]
    show_secrets: bool,
    #[command(flatten)]
    tor: tor::TorOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Log into a machine, or run a command on it
    Ssh(Box<ssh::Ssh>),
    /// Show the clan's networks
    #[command(subcommand)]
    Network(Network),
    /// Show or keep what is known of the clan
    #[command(subcommand)]
    Exports(exports::Command),
    /// Print what a selector picks, as `clan select` does
    Select {
        /// Such as `clan.exports.*.networking` or `clan.exports.instances.{a,?b}`
        selector: String,
    },
    /// Show generated values
    #[command(subcommand)]
    Vars(vars::Command),
    /// OpenSSH's command line; also when called as `ssh`
    Openssh {
        /// As for ssh(1)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Print what makes a shell complete our commands, machines and networks
    Completions {
        /// The shell
        shell: complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Subcommand)]
enum Network {
    /// List the networks, best first
    List {
        /// Name all peers, however many
        #[arg(short, long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a machine over every network for its SSH banner and host key
    Ping(reach::Ping),
    /// Ask every peer of every network for its SSH banner
    Overview(reach::Overview),
    /// Show or change which host keys count for a machine
    #[command(subcommand)]
    Trust(trust::Command),
}

/// Runs a whole command line and returns the exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    if complete::answer(&args) {
        return 0;
    }
    if let Some(arguments) = as_ssh(&args) {
        return openssh::main(&arguments);
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are errors to clap, but not to users.
            let _ = error.print();
            let opens_session = args.iter().skip(1).any(|arg| arg == "ssh");
            return match (error.use_stderr(), opens_session) {
                (false, _) => 0,
                (true, true) => 255,
                (true, false) => 2,
            };
        }
    };
    log::start(cli.global.verbose);
    let ui = Arc::new(Ui::new(&cli.global));
    let opens_session = matches!(cli.command, Command::Ssh(_));
    let done = match cli.command {
        Command::Ssh(arguments) => ssh::run(*arguments, &cli.global, &ui),
        Command::Network(Network::List { all, json }) => list_networks(&cli.global, all, json, &ui),
        Command::Network(Network::Ping(arguments)) => reach::ping(&arguments, &cli.global, &ui),
        Command::Network(Network::Overview(arguments)) => {
            reach::overview(&arguments, &cli.global, &ui)
        }
        Command::Network(Network::Trust(command)) => trust::run(&command, &cli.global, &ui),
        Command::Exports(command) => exports::run(command, &cli.global, &ui).map(|()| 0),
        // Taken above, with every letter in its place.
        Command::Openssh { arguments } => return openssh::main(&arguments),
        Command::Select { selector } => select::run(&selector, &cli.global, &ui).map(|()| 0),
        Command::Completions { shell } => print(&complete::script(shell)).map(|()| 0),
        Command::Man => complete::manual().and_then(|page| print(&page)).map(|()| 0),
        Command::Vars(command) => vars::run(command, &cli.global, &ui).map(|()| 0),
    };
    match done {
        Ok(code) => code,
        // The reader of our output has had enough, as in `… | head`.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Error::Output(error).exit_code(opens_session)
        }
        Err(error) => {
            ui.error(&error);
            error.exit_code(opens_session)
        }
    }
}

/// The arguments for the `ssh` personality, if it is asked for: by the program's
/// name, or by the first word.
fn as_ssh(args: &[OsString]) -> Option<Vec<String>> {
    let text = |arg: &OsString| arg.to_string_lossy().into_owned();
    let (program, rest) = args.split_first()?;
    let name = std::path::Path::new(program).file_name()?;
    let rest = match rest.split_first() {
        _ if name == "ssh" => rest,
        Some((first, rest)) if first == "openssh" || background::is_called_by(first) => rest,
        _ => return None,
    };
    Some(rest.iter().map(text).collect())
}

fn list_networks(global: &Global, all: bool, json: bool, ui: &Ui) -> Result<u8> {
    let clan = global.clan(ui)?;
    ui.problems(&clan);
    let text = match json {
        true => format!("{:#}\n", network::list_json(&clan)),
        false => network::list_text(&clan, all),
    };
    print(text.as_bytes())?;
    Ok(0)
}

impl Global {
    /// The clan's directory.
    fn flake(&self) -> Result<PathBuf> {
        let from_env =
            std::env::var_os("CLAN_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let named = self.flake.clone().or(from_env);
        let start = std::env::current_dir()
            .map_err(|source| Error::System { what: "no current directory", source })?;
        flake::find(named.as_deref(), &start)
    }

    /// The clan as nix may be asked for it: a directory, or a remote flake.
    fn reference(&self) -> Result<PathBuf> {
        let remote = self.flake.clone().filter(|name| flake::is_remote(name));
        remote.map_or_else(|| self.flake(), Ok)
    }

    /// Where the clan is, to tell it from others.
    fn place(&self) -> String {
        let file = self.exports.as_ref().map(|file| file.display().to_string());
        let flake = || self.flake().map(|dir| dir.display().to_string()).unwrap_or_default();
        file.unwrap_or_else(flake)
    }

    /// The clan's networks and peers.
    fn clan(&self, ui: &Ui) -> Result<Clan> {
        match &self.exports {
            Some(file) => flake::read_exports(file),
            None => {
                let (origin, snapshot) = self.snapshot(ui)?;
                snapshot.clan(&origin)
            }
        }
    }

    /// What the flake exports, and where it is.
    fn snapshot(&self, ui: &Ui) -> Result<(String, Snapshot)> {
        let mut step = |step| match step {
            Step::Evaluating => ui.evaluating(),
            Step::Stale => ui.warning(&format!(
                "the clan has changed since {} was made; where there is nix, renew it with: \
                 clan-connect exports snapshot",
                flake::snapshot::NAME
            )),
        };
        let remote = self.flake.as_deref().filter(|name| flake::is_remote(name));
        let loaded = match remote {
            Some(name) => {
                let reference = name.to_string_lossy().into_owned();
                flake::load_remote(&reference, &mut step).map(|snapshot| (reference, snapshot))
            }
            None => {
                let dir = self.flake()?;
                let loaded = flake::load(&dir, &mut step);
                loaded.map(|snapshot| (dir.display().to_string(), snapshot))
            }
        };
        ui.progress.done();
        loaded
    }

    /// What the clan says of a machine's host keys: its vars, or a snapshot.
    fn host_keys(
        &self,
        machine: &str,
        clan: Option<&Clan>,
        ui: &Arc<Ui>,
    ) -> Result<Option<HostKeys>> {
        let of_snapshot = clan.and_then(|clan| clan.host_keys(machine)).cloned();
        let mut keys = match self.vars(ui) {
            Ok(vars) => HostKeys::read(&vars, machine),
            Err(error) => Err(error),
        };
        // A name that no var can have is no machine's of the clan.
        if let Err(Error::VarName { .. }) = keys {
            return Ok(None);
        }
        if keys.as_ref().is_ok_and(HostKeys::is_empty)
            && let Some(of_snapshot) = of_snapshot
        {
            return Ok(Some(of_snapshot));
        }
        if let Ok(keys) = &mut keys {
            let known = || flake::last_known(&self.flake().ok()?)?.domain;
            keys.domain = match clan.and_then(Clan::domain) {
                Some(domain) => Some(domain.to_owned()),
                None => known(),
            };
        }
        keys.map(|keys| (!keys.is_empty()).then_some(keys))
    }

    /// The vars of the clan, if there is one, and of this machine, with the
    /// identities that may open them.
    fn vars(&self, ui: &Arc<Ui>) -> Result<Vars> {
        let flake = match self.flake() {
            Ok(flake) => Some(flake),
            // Machines of a clan have none, nor need one beside their exports.
            Err(Error::FlakeNotFound { .. }) => None,
            Err(_) if self.flake.as_deref().is_some_and(flake::is_remote) => None,
            Err(error) => return Err(error),
        };
        Ok(Vars::new(flake, self.identity.clone(), ui.clone()))
    }
}

/// What stands between us and standard error.
struct Ui {
    verbose: bool,
    quiet: bool,
    progress: progress::Progress,
}

impl Ui {
    fn new(global: &Global) -> Self {
        let fancy = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::io::stderr().is_terminal()
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Self {
            verbose: global.verbose > 0,
            quiet: global.quiet,
            progress: progress::Progress::new(fancy && !global.quiet && global.verbose == 0),
        }
    }

    /// An error and its hints.
    fn error(&self, error: &Error) {
        let mut text = format!("error: {error}\n");
        for hint in error.hint() {
            text.push_str(&format!("hint: {hint}\n"));
        }
        self.write(&text);
    }

    /// Something the user should know, though all goes on.
    fn warning(&self, text: &str) {
        if !self.quiet {
            self.write(&format!("warning: {text}\n"));
        }
    }

    /// nix runs, which may take long.
    fn evaluating(&self) {
        self.progress.doing("evaluating the clan with nix".to_owned());
    }

    /// Something for `-v`.
    fn verbose(&self, text: &str) {
        if self.verbose {
            self.write(&format!("{text}\n"));
        }
    }

    /// What is wrong with parts of the exports that are not used.
    fn problems(&self, clan: &Clan) {
        for problem in &clan.problems {
            self.warning(&problem.to_string());
        }
        for warning in &clan.warnings {
            self.verbose(&format!("warning: {warning}"));
        }
    }

    fn write(&self, text: &str) {
        self.progress.clear();
        // Nobody is left to tell when standard error is closed.
        let _ = std::io::stderr().lock().write_all(redacted(text).as_bytes());
    }
}

impl User for Ui {
    fn ask(&self, prompt: &str, echo: bool) -> Option<Secret<String>> {
        self.progress.pause(|| match askpass::program() {
            Some(program) => askpass::ask(&program, prompt),
            None => term::ask(prompt, echo),
        })
    }

    fn ask_about(&self, text: &str, prompt: &str) -> Option<Secret<String>> {
        match askpass::program() {
            // All in one window.
            Some(_) => self.ask(&format!("{text}\n{prompt}"), true),
            None => {
                self.warn(text);
                self.ask(prompt, true)
            }
        }
    }

    fn tell(&self, text: &str) {
        if !self.quiet {
            self.write(&format!("{}\n", text.trim_end()));
        }
    }

    fn warn(&self, text: &str) {
        self.write(&format!("{}\n", text.trim_end()));
    }
}

/// Writes data to standard output.
fn print(data: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(data).and_then(|()| stdout.flush()).map_err(Error::Output)
}
