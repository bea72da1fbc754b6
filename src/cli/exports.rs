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
    /// Show the clan's exports as this program has read them
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write everything that is needed for connecting into one file, which needs no nix
    Snapshot(snapshot::Arguments),
    /// Decrypt the snapshot's secret hosts for this machine into DIR, readable by DIR's group;
    /// run as root on the machine
    Unseal {
        /// A directory below /run/clan-connect that only its owner and its group can read
        dir: PathBuf,
    },
}

pub(super) fn run(command: Command, global: &Global, ui: &Arc<Ui>) -> Result<()> {
    match command {
        Command::Show { json } => {
            let clan = global.clan(ui)?;
            ui.problems(&clan);
            ui.lack_of_exports(&clan);
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
