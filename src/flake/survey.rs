//! Which files of a clan are asked whose they are: all of them, the repository that
//! they are in, and the directories above, in which they could be replaced. Owns which
//! they are; the rule is `owner`'s.

use std::fs::DirEntry;
use std::io::ErrorKind;
use std::ops::ControlFlow::{Break, Continue};
use std::path::{Path, PathBuf};

use super::owner::{Foreign, Other, Who};
use super::snapshot;
use super::walk::{Seen, walk};
use super::way::Way;

/// What of a clan leads to all else: it counts where it leads to, too.
const FIRST: [&str; 5] = ["flake.nix", "flake.lock", ".clan-flake", snapshot::NAME, ".git"];
/// Most files that are looked at.
const MAX_FILES: usize = 300_000;

/// The first file of the clan in `path`, which may also be a single file, that
/// somebody else than `who` has a say about; also a directory above it in which
/// somebody could replace it.
pub(super) fn foreign(path: &Path, who: Who) -> Option<Foreign> {
    // What is not there is nobody's; a link is what it leads to.
    let of = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok()?;
        Some(Foreign::File(path.clone(), who.look(&path, &meta)?))
    };
    of(path.to_owned())
        .or_else(|| FIRST.iter().find_map(|name| of(path.join(name))))
        .or_else(|| above(path, who))
        .or_else(|| below(path, who, MAX_FILES))
}

/// Who else has a say about a single file that is believed, be it there or not.
pub(super) fn foreign_file(path: &Path, who: Who) -> Option<Foreign> {
    let path = std::path::absolute(path).ok()?;
    let found = match path.metadata() {
        Ok(meta) => who.look(&path, &meta).map(|other| Foreign::File(path.clone(), other)),
        // Whoever can write where it will be can be the first, sticky or not.
        Err(_) => Way::from(&path)?.dirs.into_iter().rev().find_map(|dir| {
            let meta = dir.metadata().ok()?;
            Some(who.look(&dir, &meta).map(|other| Foreign::Above(dir, other)))
        })?,
    };
    found.or_else(|| above(&path, who))
}

/// Whether a single file is in a directory that `is_allowed` although others have a say about
/// it, and nobody else can lead the way there elsewhere: what such a directory has is part of
/// what was allowed, and so is where it is.
pub(super) fn leads_into(path: &Path, who: Who, is_allowed: impl Fn(&Path) -> bool) -> bool {
    let way = std::path::absolute(path).ok().and_then(|path| Way::from(&path));
    let Some(Way { dirs, links, end }) = way.filter(|way| way.end.exists()) else { return false };
    let is_within = |path: &Path| path.ancestors().skip(1).any(&is_allowed);
    let is_his_link = |link: &PathBuf| {
        let meta = link.symlink_metadata();
        meta.is_ok_and(|meta| who.look_at_link(&meta).is_none())
    };
    let is_his_dir =
        |dir: &PathBuf| dir.metadata().is_ok_and(|meta| who.mover(dir, &meta).is_none());
    is_within(&end)
        && links.iter().all(|link| is_within(link) || is_his_link(link))
        && dirs
            .iter()
            .all(|dir| end.starts_with(dir) || is_allowed(dir) || is_within(dir) || is_his_dir(dir))
}

/// Whether the clan in `dir` is somebody else's altogether, and not the user's own in
/// which others have a say, too.
pub(super) fn is_strangers(dir: &Path, marks: &[&str], who: Who) -> bool {
    let belongs = |path: &Path| {
        let of_link = path.symlink_metadata().ok().and_then(|meta| who.look_at_link(&meta));
        let led_to = path.metadata().ok().and_then(|meta| who.look_at_link(&meta));
        [of_link, led_to].iter().flatten().any(|other| matches!(other, Other::Owner(_)))
    };
    belongs(dir) || marks.iter().any(|mark| belongs(&dir.join(mark)))
}

/// A directory or a link on the way to `path` by which somebody could lead it elsewhere.
pub(super) fn above(path: &Path, who: Who) -> Option<Foreign> {
    // Where it has no end, nobody gets to it.
    let way = Way::from(path)?;
    let link = way.links.into_iter().find_map(|link| {
        let other = who.look_at_link(&link.symlink_metadata().ok()?)?;
        Some(Foreign::File(link, other))
    });
    link.or_else(|| {
        way.dirs.into_iter().rev().find_map(|dir| {
            let other = who.mover(&dir, &dir.metadata().ok()?)?;
            Some(Foreign::Above(dir, other))
        })
    })
}

/// What git knows counts with what it does not, which nix or the vars may read. What
/// the user cannot read, he cannot believe.
fn below(top: &Path, who: Who, most: usize) -> Option<Foreign> {
    walk(top, most, |seen| {
        let found = match seen {
            Seen::Entry(entry) | Seen::OfGit(entry) => of_entry(entry, who),
            Seen::Elsewhere(dir) => elsewhere(dir, who),
            Seen::Unreadable(path) => Some(Foreign::Unreadable(path.to_owned())),
            // Git is not run then (`git::parameters`).
            Seen::Astray(_) => None,
            Seen::TooMany => Some(Foreign::TooMany(top.to_owned(), most)),
        };
        found.map_or(Continue(()), Break)
    })
}

fn of_entry(entry: &DirEntry, who: Who) -> Option<Foreign> {
    let path = entry.path();
    let meta = match entry.metadata() {
        Ok(meta) => meta,
        // It is gone meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(_) => return Some(Foreign::Unreadable(path)),
    };
    match meta.is_symlink() {
        true => above(&path, who).or_else(|| behind(&path, who)),
        false => Some(Foreign::File(path.clone(), who.look(&path, &meta)?)),
    }
}

/// Who else has a say about what a link leads to. A device is for all.
fn behind(link: &Path, who: Who) -> Option<Foreign> {
    let meta = link.metadata().ok().filter(|meta| meta.is_file() || meta.is_dir())?;
    Some(Foreign::File(link.to_owned(), who.mover(link, &meta)?))
}

fn elsewhere(dir: &Path, who: Who) -> Option<Foreign> {
    let real = dir.canonicalize().ok()?;
    let other = who.look(&real, &real.metadata().ok()?);
    other.map(|other| Foreign::File(real, other)).or_else(|| above(dir, who))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::env::Env;

    #[test]
    fn a_single_file_counts_with_the_way_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("cache/ours")).unwrap();
        let file = root.join("cache/ours/file");
        let who = Who::asks(&Env::default());
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        // Nobody could have put it there.
        assert_eq!(foreign_file(&file, who), None);
        open(&root.join("cache/ours"), 0o1777);
        let above = Foreign::Above(root.join("cache/ours"), Other::Everybody);
        assert_eq!(foreign_file(&file, who), Some(above));
        open(&root.join("cache/ours"), 0o755);
        std::fs::write(&file, "").unwrap();
        assert_eq!(foreign_file(&file, who), None);
        open(&file, 0o666);
        assert_eq!(foreign_file(&file, who), Some(Foreign::File(file.clone(), Other::Everybody)));
        open(&file, 0o600);
        for above in ["cache/ours", "cache"] {
            let above = root.join(above);
            open(&above, 0o777);
            let expected = Foreign::Above(above.clone(), Other::Everybody);
            assert_eq!(foreign_file(&file, who), Some(expected));
            open(&above, 0o755);
        }
    }

    #[test]
    fn a_way_into_an_allowed_directory_is_nobodys_to_turn() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["open/clan/sub", "open/other", "mine"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let open = |name: &str, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(root.join(name), mode).unwrap();
        };
        for name in ["open", "open/clan", "open/clan/sub", "open/other"] {
            open(name, 0o777);
        }
        for name in ["open/clan/file", "open/clan/sub/file", "open/file"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        symlink(root.join("open/clan"), root.join("mine/clan")).unwrap();
        symlink("clan", root.join("open/clan/link")).unwrap();
        symlink("sub", root.join("open/clan/to-sub")).unwrap();
        symlink("../file", root.join("open/clan/out")).unwrap();
        let who = Who::asks(&Env::default());
        let leads =
            |name: &str| leads_into(&root.join(name), who, |dir| dir == root.join("open/clan"));
        for (name, expected) in [
            ("open/clan/file", true),
            ("open/clan/sub/file", true),
            ("open/clan/sub/../file", true),
            ("open/clan/to-sub/../file", true),
            ("mine/clan/file", true),
            ("mine/clan/to-sub/file", true),
            ("mine/../open/clan/file", true),
            // Whoever can write it can put a link there that leads elsewhere.
            ("open/other/../clan/file", false),
            ("open/clan/out", false),
            ("open/file", false),
            ("mine/clan", false),
            ("open/clan/none", false),
        ] {
            assert_eq!(leads(name), expected, "{name}");
        }
        // A link in what others can write is theirs.
        symlink(root.join("open/clan"), root.join("open/other/clan")).unwrap();
        assert!(!leads("open/other/clan/file"));
        open("mine", 0o777);
        assert!(!leads("mine/clan/file"));
    }

    #[test]
    fn every_file_counts_and_every_directory_above() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("clan/vars/per-machine/m/g/f")).unwrap();
        std::fs::create_dir_all(root.join("clan/modules")).unwrap();
        std::fs::create_dir_all(root.join("repo/worktrees/w")).unwrap();
        let files =
            ["clan/flake.nix", "clan/modules/x.nix", "clan/vars/per-machine/m/g/f/value", "notes"];
        for file in files {
            std::fs::write(root.join(file), "").unwrap();
        }
        symlink("/dev/null", root.join("clan/null")).unwrap();
        std::fs::write(root.join("repo/config"), "").unwrap();
        std::fs::write(root.join("repo/worktrees/w/HEAD"), "ref: refs/heads/w\n").unwrap();
        std::fs::write(root.join("repo/worktrees/w/commondir"), "../..\n").unwrap();
        std::fs::write(root.join("clan/.git"), "gitdir: ../repo/worktrees/w\n").unwrap();
        let clan = root.join("clan");
        let who = Who::asks(&Env::default());
        let found = || foreign(&clan, who);
        assert_eq!(found(), None);
        let open = |name: &str, mode| {
            let path = root.join(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open("notes", 0o666);
        assert_eq!(found(), None);
        for (name, open_to_all, closed) in [
            ("clan", 0o777, 0o755),
            ("clan/flake.nix", 0o666, 0o644),
            ("clan/modules", 0o1777, 0o755),
            ("clan/modules/x.nix", 0o666, 0o644),
            ("clan/vars/per-machine/m", 0o777, 0o755),
            ("clan/vars/per-machine/m/g/f/value", 0o666, 0o644),
            ("repo/config", 0o666, 0o644),
            ("repo/worktrees/w", 0o777, 0o755),
        ] {
            open(name, open_to_all);
            let path = root.join(name);
            assert_eq!(found(), Some(Foreign::File(path, Other::Everybody)), "{name}");
            open(name, closed);
        }
        // Somebody could put another directory there.
        open(".", 0o777);
        assert_eq!(found(), Some(Foreign::Above(root.clone(), Other::Everybody)));
        open(".", 0o1777);
        assert_eq!(found(), None);
        assert_eq!(below(&clan, who, 3), Some(Foreign::TooMany(clan.clone(), 3)));
    }
}
