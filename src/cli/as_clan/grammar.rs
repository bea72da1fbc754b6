//! The part of Clan's grammar that is done here (`clan_cli` of clan-core). Owns the words and
//! their shortened forms, and does nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::ssh::hostkey::HostKeyCheck;

/// The part of Clan's grammar that is done here.
#[derive(Debug, Parser)]
#[command(name = "clan", infer_long_args = true, disable_help_subcommand = true)]
pub(super) struct Clan {
    #[command(subcommand)]
    pub(super) command: Done,
}

#[derive(Debug, Subcommand)]
pub(super) enum Done {
    /// Ssh to a remote machine
    Ssh(SshArguments),
    /// Manage networks
    #[command(alias = "net", subcommand)]
    Network(Networks),
    /// Select nixos values from the flake
    #[command(alias = "se")]
    Select {
        /// Select from a flake
        selector: String,
        /// Let nix look at what is outside of the clan, too
        #[arg(long, overrides_with = "impure")]
        impure: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Manage vars
    #[command(alias = "va", subcommand)]
    Vars(Vars),
    /// Manage machines and their configuration
    #[command(alias = "m", subcommand)]
    Machines(Machines),
}

#[derive(Debug, Args)]
pub(super) struct SshArguments {
    /// Machine to ssh into
    pub(super) machine: Option<String>,
    /// Deployment information as a JSON string or path to a JSON file
    #[arg(short, long, conflicts_with_all = ["machine", "png"], overrides_with = "json")]
    pub(super) json: Option<OsString>,
    /// Deployment information as a QR code image file
    #[arg(short = 'P', long, conflicts_with = "machine", overrides_with = "png")]
    pub(super) png: Option<OsString>,
    /// Host key (.ssh/known_hosts) check mode
    #[arg(long, default_value = "tofu", overrides_with = "host_key_check")]
    pub(super) host_key_check: HostKeyCheck,
    /// SSH option to set
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], action = ArgAction::Append,
          allow_hyphen_values = true)]
    pub(super) ssh_option: Vec<OsString>,
    /// Command to execute on the remote host; takes all remaining arguments
    #[arg(short = 'c', long, value_name = "COMMAND", num_args = 0.., allow_hyphen_values = true)]
    pub(super) remote_command: Option<Vec<OsString>>,
    /// The rest of it, which may have `--` in it.
    #[arg(last = true, hide = true)]
    pub(super) rest: Vec<OsString>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
pub(super) enum Networks {
    /// List all networks
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Ping a machine to check if it's online
    Ping {
        /// Machine name to ping
        machine: String,
        /// Specific network to use for ping
        #[arg(short, long, overrides_with = "network")]
        network: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show the overview of all networks and hosts
    Overview {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Vars {
    /// Get a specific var
    Get {
        /// The machine to print vars for
        machine: String,
        /// The var id to get the value for
        var_id: String,
        #[command(flatten)]
        common: Common,
    },
    /// List all vars
    List {
        /// The machine to print vars for
        machine: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Machines {
    /// List machines
    List {
        /// Tags that machines should be queried for. Multiple tags will intersect
        #[arg(long, num_args = 1.., overrides_with = "tags")]
        tags: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
}

/// What all commands of Clan's take.
#[derive(Debug, Default, Args)]
pub(super) struct Common {
    /// Enable debug logging
    #[arg(long, overrides_with = "debug")]
    pub(super) debug: bool,
    /// Nix option to set
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], action = ArgAction::Append,
          allow_hyphen_values = true)]
    pub(super) option: Vec<String>,
    /// Path to the flake where the clan resides in
    #[arg(long, value_name = "PATH", overrides_with = "flake")]
    pub(super) flake: Option<PathBuf>,
}

impl Done {
    /// The words that it is called by.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Ssh(_) => "ssh",
            Self::Network(Networks::List { .. }) => "network list",
            Self::Network(Networks::Ping { .. }) => "network ping",
            Self::Network(Networks::Overview { .. }) => "network overview",
            Self::Select { .. } => "select",
            Self::Vars(Vars::Get { .. }) => "vars get",
            Self::Vars(Vars::List { .. }) => "vars list",
            Self::Machines(Machines::List { .. }) => "machines list",
        }
    }

    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Ssh(SshArguments { common, .. })
            | Self::Select { common, .. }
            | Self::Network(
                Networks::List { common }
                | Networks::Ping { common, .. }
                | Networks::Overview { common },
            )
            | Self::Vars(Vars::Get { common, .. } | Vars::List { common, .. })
            | Self::Machines(Machines::List { common, .. }) => common,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn clans_own_grammar_is_understood() {
        let parse = |line: &str| Clan::try_parse_from(words(line));
        for line in [
            "clan ssh m --host-key-check=none --ssh-option IdentityFile /k -c touch x && exit 0",
            "clan ssh --flake . m --debug --option a b --option -c d --flake other",
            "clan ssh m --remote-command ls -l --flake x -- y",
            "clan ssh -j {} --host-key none",
            "clan ssh m -c",
            "clan ssh",
            "clan net ping m -n tor --option cores 1",
            "clan select --impure --impure a.b",
            "clan machines list --tags a b --tags c",
        ] {
            parse(line).unwrap();
        }
        for line in ["clan ssh m --json {}", "clan vars get m", "clan net list x", "clan ssh m --x"]
        {
            parse(line).unwrap_err();
        }
        let Done::Ssh(ssh) = parse("clan ssh m -c ls --flake x -- y").unwrap().command else {
            panic!()
        };
        let command: Vec<_> = ssh.remote_command.unwrap().into_iter().chain(ssh.rest).collect();
        assert!(command.len() >= 4 && ssh.common.flake.is_none(), "{command:?}");
        let parsed = parse("clan machines list --tags a b --debug").unwrap();
        assert!(parsed.command.common().debug);
    }
}
