//! `exports show` and `exports snapshot`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;

use super::{Global, Ui, network, print, print_json, print_text, request};
use crate::error::{Error, Result};
use crate::flake::fingerprint;
use crate::flake::snapshot::{self, Snapshot};
use crate::printable;

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
        /// clan]
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
                    let ways = request::ways(&clan, global, ui)?;
                    print_json(&network::list_json(&clan, &ways))
                }
                false => print_text(&network::show_text(&clan)),
            }
        }
        Command::Snapshot { output } => {
            let (origin, mut snapshot) = global.snapshot(ui)?;
            if global.flake().is_ok() {
                let vars = global.vars(ui)?;
                snapshot.add_host_keys(&vars)?;
                snapshot.add_vars(&vars)?;
            }
            // For whoever reads it: what is wrong is said now, not later.
            ui.problems(&snapshot.clan(&origin)?);
            if snapshot.fingerprint.is_none() {
                snapshot.fingerprint = global.flake().ok().as_deref().and_then(fingerprint);
            }
            match output {
                Some(file) if file == Path::new("-") => {
                    print(printable::json(&snapshot.to_json()).as_bytes())
                }
                Some(file) => written(&snapshot, &file, ui),
                None => match global.site()? {
                    flake if flake.is_remote => Err(Error::Usage(
                        "a reference cannot be written to: name a file with --output FILE".into(),
                    )),
                    flake => written(&snapshot, &flake.dir.join(snapshot::NAME), ui),
                },
            }
        }
    }
}

/// Writes it, and says what is where.
fn written(snapshot: &Snapshot, file: &Path, ui: &Ui) -> Result<()> {
    // What is misspelt is not to become a new directory.
    let above = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(Err(source)) = above.map(std::fs::metadata) {
        return Err(Error::File { action: "write", path: file.to_owned(), source });
    }
    snapshot.write(file)?;
    let clan = snapshot.clan("")?;
    let (machines, networks) = (clan.machines().len(), clan.networks.len());
    let count = |number: usize, one: &str| {
        let many = if number == 1 { "" } else { "s" };
        format!("{number} {one}{many}")
    };
    let (machines, networks) = (count(machines, "machine"), count(networks, "network"));
    let shown = printable::line(&file.to_string_lossy());
    ui.notice(&format!("wrote {shown}: {machines} in {networks}"));
    Ok(())
}
