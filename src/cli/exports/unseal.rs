//! `exports unseal`: the secret hosts that a snapshot has for this machine, for a group of its
//! users. Owns where they may be written: to where that group alone can read them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Global, Ui};
use crate::error::{Error, Result};
use crate::file;
use crate::printable;
use crate::vars;

/// What nobody but the owner may: write for the group, anything for others.
const FORBIDDEN: u32 = 0o027;

/// Writes them into `dir`, in the place of those that were opened there before.
pub(super) fn run(dir: &Path, global: &Global, ui: &Arc<Ui>) -> Result<()> {
    check(dir)?;
    let clan = global.clan(ui)?;
    let vars = global.vars(ui)?.with_known(clan.kept_hosts(std::iter::empty()));
    let Some((name, text)) = vars.opened_hosts()? else {
        return Err(Error::Usage(
            "the snapshot has no secret hosts: make it with clan-connect exports snapshot --for \
             MACHINE"
                .to_owned(),
        ));
    };
    let path = dir.join(&name);
    let write = || file::write_whole(&path, text.expose(), 0o640);
    let failed = |source| Error::File { action: "write", path: path.clone(), source };
    file::masked(FORBIDDEN, write).map_err(failed)?;
    forget(dir, &name)?;
    ui.notice(&format!("wrote {}", printable::line(&path.to_string_lossy())));
    Ok(())
}

/// What is in memory alone, and the group's alone, is not to be anybody else's for a mistake.
fn check(dir: &Path) -> Result<()> {
    let failed = |source| Error::File { action: "write into", path: dir.to_owned(), source };
    let meta = dir.metadata().map_err(failed)?;
    let shown = printable::line(&dir.to_string_lossy());
    let wrong = match meta.mode() & FORBIDDEN {
        _ if !meta.is_dir() => format!("{shown} is no directory"),
        _ if meta.uid() != rustix::process::geteuid().as_raw() => {
            format!("{shown} is another user's")
        }
        0 => return Ok(()),
        _ => format!(
            "{shown} is open to more than a group of readers: make it so with chmod 750 {shown}"
        ),
    };
    Err(Error::Usage(wrong))
}

/// Removes those of another snapshot.
fn forget(dir: &Path, but: &str) -> Result<()> {
    let failed = |source| Error::File { action: "read", path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(failed)?.flatten() {
        let name = entry.file_name();
        let is_old = name.to_str().is_some_and(|name| name != but && vars::is_opened_file(name));
        if is_old {
            let path = entry.path();
            let failed = |source| Error::File { action: "remove", path: path.clone(), source };
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}
