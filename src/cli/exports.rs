//! `exports show`, `exports snapshot` and `exports unseal`.

mod access;
mod snapshot;
mod unseal;

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
    Snapshot(snapshot::Arguments),
    /// Open the secret hosts that a snapshot has for this machine, for its users in a group:
    /// root does that, once the machine has its key
    Unseal {
        /// A directory below /run/clan-connect that the group can read and nobody else
        dir: PathBuf,
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
        Command::Snapshot(arguments) => snapshot::run(&arguments, global, ui),
        Command::Unseal { dir } => unseal::run(&dir, global, ui),
    }
}
