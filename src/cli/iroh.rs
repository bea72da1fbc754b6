//! The options for iroh: from the command line and ssh_config(5) to the dialler's
//! settings.

use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};

use super::command_words::CommandWords;
use crate::dial::iroh::Settings;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::printable::Printable;

#[derive(Debug, Default, Clone, Args, Serialize, Deserialize)]
#[command(next_help_heading = "iroh")]
pub(super) struct IrohOptions {
    /// Use this iroh relay instead of the public ones; `none` uses no relay
    #[arg(long = "iroh-relay", global = true, value_name = "URL|none", action = ArgAction::Append)]
    relay: Vec<String>,
    /// Look up the addresses of iroh endpoints in this DNS domain or at this pkarr server
    /// instead of the public ones; `none` looks up nothing
    #[arg(long = "iroh-discovery", global = true, value_name = "DOMAIN[@ADDRESS:PORT]|URL|none",
          action = ArgAction::Append)]
    discovery: Vec<String>,
}

impl IrohOptions {
    /// Adds them to a command line.
    pub(super) fn write(&self, words: &mut CommandWords) {
        self.relay.iter().for_each(|relay| words.option("--iroh-relay", relay));
        self.discovery.iter().for_each(|place| words.option("--iroh-discovery", place));
    }
}

/// The settings for a connection with these options of ssh_config(5), which count where
/// the command line says nothing.
pub(super) fn settings(said: &IrohOptions, options: &Options) -> Result<Settings> {
    let or = |said: &[String], other: &[String]| match said.is_empty() {
        true => other.to_vec(),
        false => said.to_vec(),
    };
    let relay = or(&said.relay, &options.iroh_relay);
    let discovery = or(&said.discovery, &options.iroh_discovery);
    Settings::of(&relay, &discovery)
        .map_err(|(text, why)| Error::Usage(format!("for iroh, \"{}\": {why}", Printable(&text))))
}
