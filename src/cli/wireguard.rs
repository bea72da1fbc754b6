//! The options for WireGuard: from the command line to the dialler's settings.

use std::sync::Arc;

use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};

use super::Global;
use super::command_words::CommandWords;
use crate::dial::OfClan;
use crate::dial::wireguard::Settings;
use crate::error::Result;
use crate::model::VarRef;
use crate::options::Options;
use crate::vars::Vars;

#[derive(Debug, Default, Clone, Args, Serialize, Deserialize)]
#[command(next_help_heading = "WireGuard")]
pub(super) struct WireguardOptions {
    /// Key with which this program joins the clan's WireGuard network when this computer is
    /// not in it: FILE (`wg genkey` or wg-quick format), or `var:MACHINE` for a machine that
    /// is never deployed [default: clan-connect/wireguard-key in the configuration directory,
    /// then the deployed key]
    #[arg(long = "wireguard-key", global = true, value_name = "FILE|var:MACHINE",
          action = ArgAction::Append)]
    key: Vec<String>,
}

impl WireguardOptions {
    /// The files that are named, which may become others at the same place.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(String::as_str).filter(|key| !key.starts_with(VarRef::PREFIX))
    }
}

impl WireguardOptions {
    /// Adds them to a command line.
    pub(super) fn write(&self, words: &mut CommandWords) -> Result<()> {
        self.key.iter().try_for_each(|key| words.file_or("--wireguard-key", key, VarRef::PREFIX))
    }
}

/// The settings for connections to machines of this clan with these options of
/// ssh_config(5), which count where the command line says nothing.
pub(super) fn settings(
    global: &Global,
    options: &Options,
    clan: &OfClan,
    vars: &Arc<Vars>,
) -> Settings {
    let said = &global.wireguard.key;
    let keys = if said.is_empty() { &options.wireguard_key } else { said };
    Settings::of(&clan.wireguard, vars.clone(), keys, &global.env)
}
