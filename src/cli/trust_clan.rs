//! `trust-clan`: which clans the user has allowed for his `ssh`, and although they are
//! not his alone.

use std::path::PathBuf;

use clap::Args;

use super::{Global, Ui, print};
use crate::error::Result;
use crate::flake::{self, Trusted};
use crate::printable;

#[derive(Debug, Args)]
pub(super) struct TrustClan {
    /// The clan's directory [default: --flake, then the nearest parent with
    /// flake.nix, .clan-flake or a snapshot]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// List the clans that are allowed
    #[arg(long, conflicts_with_all = ["dir", "revoke"])]
    list: bool,
    /// No longer allow the clan
    #[arg(long)]
    revoke: bool,
}

pub(super) fn run(command: &TrustClan, global: &Global, ui: &Ui) -> Result<u8> {
    let mut trusted = Trusted::load(&global.env)?;
    if command.list {
        let line = |clan: &flake::Allowed| {
            let shared = if clan.is_shared { ", not the user's alone" } else { "" };
            let changed = if clan.is_there() { "" } else { ", but another one is there now" };
            format!("{}  (owner: uid {}{shared}{changed})\n", shown(&clan.path), clan.uid)
        };
        print(trusted.clans().iter().map(line).collect::<String>().as_bytes())?;
        return Ok(0);
    }
    let named = command.dir.clone().or_else(|| global.flake.clone());
    // Where that is gone, nothing lies around it.
    let start = global.env.dir().unwrap_or(std::path::Path::new("/"));
    if command.revoke {
        return revoke(&mut trusted, named.as_deref(), start, ui);
    }
    let (dir, foreign) = flake::inspect(named.as_deref(), start, &global.env)?;
    trusted.allow(&dir, foreign.is_some())?;
    print(format!("allowed {}\n", shown(&dir)).as_bytes())?;
    if let Some(foreign) = foreign {
        ui.warning(&format!(
            "{foreign}: other users can change what nix evaluates, the machines' addresses and \
             their host keys"
        ));
    }
    Ok(0)
}

fn revoke(
    trusted: &mut Trusted,
    named: Option<&std::path::Path>,
    start: &std::path::Path,
    ui: &Ui,
) -> Result<u8> {
    let dir = match named {
        // It may be gone.
        Some(named) => named.canonicalize().unwrap_or_else(|_| start.join(named)),
        None => flake::find(None, start)?,
    };
    if trusted.revoke(&dir)? {
        print(format!("{} is no longer allowed\n", shown(&dir)).as_bytes())?;
        return Ok(0);
    }
    ui.warning(&format!("{} was not allowed", shown(&dir)));
    Ok(1)
}

fn shown(path: &std::path::Path) -> String {
    printable::line(&path.to_string_lossy())
}
