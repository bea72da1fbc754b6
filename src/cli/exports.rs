//! `exports show` and `exports snapshot`.

mod snapshot;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;

use super::{Global, Ui, network, print_json, print_text, ways};
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what was understood of the clan's exports
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write what connecting takes into one file that needs no nix
    Snapshot {
        /// Where to; standard output for `-` [default: clan-connect.json in the
        /// clan, and standard output for --exports FILE without one]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

pub(super) fn run(command: Command, global: &Global, ui: &Arc<Ui>) -> Result<()> {
    match command {
        Command::Show { json } => {
            let clan = global.clan(ui)?;
            ui.problems(&clan);
            match json {
                true => {
                    let ways = ways::ways(&clan, global, ui)?;
                    print_json(&network::list_json(&clan, &ways))
                }
                false => print_text(&network::show_text(&clan)),
            }
        }
        Command::Snapshot { output } => snapshot::run(output.as_deref(), global, ui),
    }
}
