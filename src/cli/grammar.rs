//! What can be typed: the commands and global options of `clan-connect`, as clap reads
//! them. A command's own arguments are in the file of the command; `cli` runs it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use serde::{Deserialize, Serialize};

#[cfg(feature = "iroh")]
use super::iroh;
#[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
use super::overlays;
#[cfg(feature = "tor")]
use super::tor;
use super::{
    complete, exports, identity, proxy, reach, ssh, stock_ssh, trust, trust_clan, vars, warm,
    wireguard,
};
use crate::env::Env;
use crate::error::Error;
use crate::flake;

/// ssh for Clan machines: one binary, one connection, the best network.
#[derive(Debug, Parser)]
#[command(name = "clan-connect", version, max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Default, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The clan's directory, a snapshot of it, or a reference for nix [default: $CLAN_DIR,
    /// then the nearest parent with flake.nix, .clan-flake or a snapshot, if it is yours alone]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) flake: Option<PathBuf>,
    /// Let nix use what is outside of the clan as well: files, environment variables, the
    /// time, and downloads without a hash
    #[arg(long, global = true)]
    pub(super) impure: bool,
    /// Read the clan's exports from FILE, or from standard input for `-`
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) exports: Option<PathBuf>,
    /// An age identity or ssh key that decrypts the clan's vars
    #[arg(long, global = true, value_name = "FILE", action = ArgAction::Append)]
    pub(super) identity: Vec<PathBuf>,
    /// Print each step; `-vv` also prints what was skipped or refused, `-vvv` the log of the
    /// libraries
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// When to show progress lines
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
    /// Exit status of a failed session. `ssh`: always 255. `detailed`: 251 unreachable,
    /// 252 wrong host key, 253 login refused, 254 connection lost, 255 anything else
    #[arg(long, global = true, value_name = "WHICH", default_value = "ssh")]
    pub(super) exit_codes: ExitCodes,
    /// Write connection events to FILE (such as /dev/fd/3), one JSON object per line; the
    /// connection is not kept for later commands
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) events: Option<PathBuf>,
    /// Print decrypted hosts instead of placeholders
    #[arg(long, global = true)]
    pub(super) show_secrets: bool,
    #[cfg(feature = "tor")]
    #[command(flatten)]
    pub(super) tor: tor::TorOptions,
    #[cfg(feature = "iroh")]
    #[command(flatten)]
    pub(super) iroh: iroh::IrohOptions,
    #[command(flatten)]
    pub(super) wireguard: wireguard::WireguardOptions,
    #[cfg(any(feature = "mycelium", feature = "yggdrasil"))]
    #[command(flatten)]
    pub(super) overlays: overlays::OverlayOptions,
    /// Options for nix, names and values in turn.
    #[arg(skip)]
    pub(super) nix_options: Vec<String>,
    /// What we were called as.
    #[arg(skip)]
    pub(super) called: Called,
    /// Who asks for the clan.
    #[arg(skip)]
    pub(super) asker: flake::Asker,
    /// The clan, once it is found.
    #[arg(skip)]
    pub(super) found: OnceLock<flake::Flake>,
    /// What `exports` names, once it is read.
    #[arg(skip)]
    pub(super) document: OnceLock<Arc<flake::Document>>,
    /// What we were started with.
    #[arg(skip)]
    pub(super) env: Env,
}

/// What we were called as by who reads our advice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    /// `clan-connect`, or `ssh`, which has words of its own.
    #[default]
    Own,
    /// `clan`, with this command.
    Clan(&'static str),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(super) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
pub(super) enum Network {
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

/// Which statuses a session exits with that fails.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(super) enum ExitCodes {
    #[default]
    Ssh,
    Detailed,
}

impl ExitCodes {
    pub(super) fn of(self, error: &Error, opens_session: bool) -> u8 {
        match self {
            Self::Detailed if opens_session => error.detailed_exit_code(),
            _ => error.exit_code(opens_session),
        }
    }
}
