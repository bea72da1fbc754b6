//! `exports unseal`: the secret hosts that a snapshot has for this machine, for a group of its
//! users. Owns where they may be written: to where that group alone can read them.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::{Global, Ui};
use crate::env::Env;
use crate::error::{Error, Result, strerror};
use crate::file::{self, Directory};
use crate::flake;
use crate::printable;
use crate::vars;

/// What nobody but the owner may: write for the group, anything for others.
const FORBIDDEN: u32 = 0o027;
/// Of the file, while its group is not set yet, and then.
const CLOSED: u32 = 0o600;
const OPEN: u32 = 0o640;

/// Writes them into `dir`, in the place of those that were opened there before.
pub(super) fn run(dir: &Path, global: &Global, ui: &Arc<Ui>) -> Result<()> {
    let place = Place::open(dir, &global.env)?;
    let clan = global.clan(ui)?;
    let vars = global.vars(ui)?.with_known(clan.kept_hosts(std::iter::empty()));
    let opened = vars.opened_hosts();
    // Those of another snapshot go, also where this one has nothing for this machine.
    let removed = match &opened {
        Ok(opened) => place.forget(opened.as_ref().map(|(name, _)| &**name))?,
        Err(Error::SealedHosts { .. }) => place.forget(None)?,
        Err(_) => Vec::new(),
    };
    for name in removed {
        ui.verbose(&format!("removed {}", place.shown(&name)));
    }
    let Some((name, text)) = opened? else {
        return Err(Error::Usage(
            "the snapshot has no secret hosts: make it with clan-connect exports snapshot --for \
             MACHINE"
                .to_owned(),
        ));
    };
    place.write(&name, text.expose())?;
    ui.notice(&format!("wrote {}", place.shown(&name)));
    Ok(())
}

/// A directory that is a group's alone to read.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    opened: Directory,
    group: u32,
}

impl Place {
    /// What is in memory alone, and the group's alone, is not to be anybody else's for a
    /// mistake. What is looked at is what is written into.
    fn open(path: &Path, env: &Env) -> Result<Self> {
        let failed = |source| Error::File { action: "write into", path: path.to_owned(), source };
        let shown = printable::line(&path.to_string_lossy());
        let real = path.canonicalize().map_err(failed)?;
        if !real.is_dir() {
            return Err(Error::Usage(format!("{shown} is no directory")));
        }
        let opened = Directory::open(&real).map_err(failed)?;
        let meta = opened.file().metadata().map_err(failed)?;
        let wrong = match meta.mode() & FORBIDDEN {
            _ if !file::is_ours(&meta) => {
                format!("{shown} is another user's")
            }
            0 if flake::names_others(opened.file(), meta.uid()) => format!(
                "{shown} has an access control list that opens it, or what is made in it, to \
                 more than a group of readers: remove it with setfacl -b {shown}"
            ),
            0 => match flake::not_his_alone(path, env) {
                Some(why) => format!("{why}: secret hosts are not written to {shown}"),
                None => return Ok(Self { path: path.to_owned(), opened, group: meta.gid() }),
            },
            _ => format!(
                "{shown} is open to more than its owner and a group of readers: run chmod 750 \
                 {shown}"
            ),
        };
        Err(Error::Usage(wrong))
    }

    fn shown(&self, name: &str) -> String {
        printable::line(&self.path.join(name).to_string_lossy())
    }

    fn failed(&self, action: &'static str, name: &str, source: io::Error) -> Error {
        Error::File { action, path: self.path.join(name), source }
    }

    /// Writes a file for the group that the directory is for, whatever our own one is.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let settle = |file: &File| {
            if file.metadata()?.gid() != self.group {
                fchown(file, None, Some(self.group)).map_err(|error| {
                    let (group, why) = (self.group, strerror(&error));
                    let words = format!(
                        "it cannot be given to the group of its directory, gid {group}: {why}"
                    );
                    io::Error::new(error.kind(), words)
                })?;
            }
            file.set_permissions(Permissions::from_mode(OPEN))
        };
        let written = self.opened.write(OsStr::new(name), bytes, CLOSED, settle);
        written.map_err(|source| self.failed("write", name, source))
    }

    /// Removes those of other snapshots, and what is left of one whose writing was cut short;
    /// returns their names.
    fn forget(&self, but: Option<&str>) -> Result<Vec<String>> {
        let is_old = |name: &String| match file::is_temporary(name) {
            Some(of) => vars::is_opened_file(of),
            None => but != Some(name) && vars::is_opened_file(name),
        };
        let names = self.opened.names().map_err(|source| self.failed("read", "", source))?;
        let old: Vec<String> = names.into_iter().filter(is_old).collect();
        for name in &old {
            let removed = self.opened.remove(OsStr::new(name));
            removed.map_err(|source| self.failed("remove", name, source))?;
        }
        Ok(old)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    /// Not in any account's hands.
    const OTHER: u32 = 54_321;

    fn dir(above: &Path, name: &str, mode: u32) -> PathBuf {
        let path = above.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn refusal(path: &Path) -> String {
        Place::open(path, &Env::default()).unwrap_err().to_string()
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn nothing_is_written_by_a_way_that_others_can_change() {
        let above = tempfile::tempdir().unwrap();
        let above = above.path();
        let good = dir(above, "good", 0o750);
        let opened = |path: &Path| Place::open(path, &Env::default());
        assert!(opened(&good).is_ok());
        symlink(&good, above.join("link")).unwrap();
        assert!(opened(&above.join("link")).is_ok());
        // Everybody could put another link there.
        let shared = dir(above, "shared", 0o777);
        symlink(&good, shared.join("link")).unwrap();
        assert!(refusal(&shared.join("link")).contains("can be written by everybody"));
        std::fs::write(above.join("file"), "").unwrap();
        assert!(refusal(&above.join("file")).ends_with("is no directory"));
        for mode in [0o755, 0o770, 0o751] {
            let wrong = refusal(&dir(above, &format!("{mode:o}"), mode));
            assert!(wrong.contains("chmod 750"), "{wrong}");
        }
        if !is_root() {
            return;
        }
        lchown(above.join("link"), Some(OTHER), None).unwrap();
        let wrong = refusal(&above.join("link"));
        assert!(wrong.contains("belongs to") && wrong.contains(&OTHER.to_string()), "{wrong}");
        // Where everybody can put something, but take nothing away.
        let sticky = dir(above, "sticky", 0o1777);
        symlink(&good, sticky.join("link")).unwrap();
        assert!(opened(&sticky.join("link")).is_ok());
        lchown(sticky.join("link"), Some(OTHER), None).unwrap();
        assert!(refusal(&sticky.join("link")).contains("belongs to"));
        let theirs = dir(above, "theirs", 0o755);
        symlink(&good, theirs.join("link")).unwrap();
        lchown(&theirs, Some(OTHER), None).unwrap();
        assert!(refusal(&theirs.join("link")).contains("can be replaced"));
        lchown(&good, Some(OTHER), None).unwrap();
        assert!(refusal(&good).contains("is another user's"));
    }

    #[test]
    fn a_list_that_lets_others_in_is_as_bad_as_a_mode() {
        let above = tempfile::tempdir().unwrap();
        const NONE: u32 = u32::MAX;
        let list = |named: &[(u16, u16, u32)]| {
            let fixed = [(1, 7, NONE), (4, 5, NONE), (0x10, 5, NONE), (0x20, 0, NONE)];
            let mut all: Vec<(u16, u16, u32)> = fixed.iter().chain(named).copied().collect();
            all.sort_unstable();
            let entry = |(tag, rights, id): (u16, u16, u32)| {
                [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
            };
            let entries = all.into_iter().flat_map(entry);
            2_u32.to_le_bytes().into_iter().chain(entries).collect::<Vec<u8>>()
        };
        let none = rustix::fs::XattrFlags::empty();
        for (at, (kind, named, is_good)) in [
            ("access", vec![], true),
            ("access", vec![(2, 5, 0)], true),
            ("access", vec![(2, 5, OTHER)], false),
            ("access", vec![(2, 2, OTHER)], true),
            ("access", vec![(8, 1, OTHER)], false),
            ("default", vec![], true),
            ("default", vec![(2, 4, OTHER)], false),
            ("default", vec![(8, 4, OTHER)], false),
        ]
        .into_iter()
        .enumerate()
        {
            let path = dir(above.path(), &at.to_string(), 0o750);
            let name = format!("system.posix_acl_{kind}");
            if rustix::fs::setxattr(&path, &*name, &list(&named), none).is_err() {
                // A file system without such lists.
                return;
            }
            let opened = Place::open(&path, &Env::default());
            assert_eq!(opened.is_ok(), is_good, "{kind} {named:?}: {opened:?}");
        }
        assert!(refusal(&above.path().join("2")).contains("setfacl -b"));
    }

    #[test]
    fn the_file_is_the_directorys_groups_and_what_was_cut_short_goes() {
        let above = tempfile::tempdir().unwrap();
        let path = dir(above.path(), "dir", 0o750);
        if is_root() {
            lchown(&path, None, Some(OTHER)).unwrap();
        }
        let group = path.metadata().unwrap().gid();
        let place = Place::open(&path, &Env::default()).unwrap();
        let (old, new) = (format!("{}.json", "a".repeat(64)), format!("{}.json", "b".repeat(64)));
        let mut gone =
            [old.clone(), format!(".{old}.0123456789abcdef"), format!(".{new}.{}", "0".repeat(16))];
        let kept = ["notes", ".notes.0123456789abcdef"];
        for name in gone.iter().map(String::as_str).chain(kept) {
            std::fs::write(path.join(name), "x").unwrap();
        }
        for text in ["one", "two"] {
            place.write(&new, text.as_bytes()).unwrap();
            let meta = path.join(&new).metadata().unwrap();
            assert_eq!((meta.gid(), meta.mode() & 0o777), (group, 0o640));
            assert_eq!(std::fs::read_to_string(path.join(&new)).unwrap(), text);
        }
        let mut removed = place.forget(Some(&new)).unwrap();
        removed.sort_unstable();
        gone.sort_unstable();
        assert_eq!(removed, gone);
        assert_eq!(place.forget(None).unwrap(), [new]);
        assert!(kept.iter().all(|name| path.join(name).exists()));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), kept.len());
    }
}
