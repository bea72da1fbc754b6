//! Whose files a clan is made of: git's rule for `safe.directory`, with sudo
//! considered, and with whoever else can write them. Owns the rule, which is pure,
//! and which files it is asked of.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::accounts::Accounts;
use crate::env::Env;
use crate::printable;

/// What of a clan is read first, and leads to all else.
const FILES: [&str; 9] = [
    "flake.nix",
    "flake.lock",
    ".clan-flake",
    super::snapshot::NAME,
    ".git",
    "vars",
    "sops",
    "secrets",
    "machines",
];
/// Those whose own entries count, too.
const FOLDERS: [&str; 3] = ["vars", "sops", "secrets"];
/// Most entries of a folder that are looked at: more than any clan has.
const MAX_ENTRIES: usize = 10_000;

/// Who wants to use a clan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Who {
    uid: u32,
    gid: u32,
    /// Root is told by sudo(8) whom it stands for: his own clan is no stranger's.
    sudo: Option<u32>,
}

/// What stat(2) says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Who else has a say about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// It belongs to this user.
    Owner(u32),
    /// This group can write it.
    Group(u32),
    /// Everybody can write it.
    Everybody,
}

/// A file that is not the user's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    path: PathBuf,
    other: Other,
}

impl Who {
    /// The user of this process.
    pub(super) fn asks(env: &Env) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let sudo = || env.text("SUDO_UID")?.parse().ok();
        Self {
            uid,
            gid: rustix::process::getegid().as_raw(),
            // Nobody but root can set it to any purpose: as git (path.c,
            // `is_path_owned_by_current_uid`).
            sudo: if uid == 0 { sudo() } else { None },
        }
    }

    /// Who beside him has a say about a file. Root has one about all.
    pub(super) fn other(self, file: Stat) -> Option<Other> {
        if file.uid != 0 && file.uid != self.uid && Some(file.uid) != self.sudo {
            return Some(Other::Owner(file.uid));
        }
        if file.mode & 0o002 != 0 {
            return Some(Other::Everybody);
        }
        // Where each user has a group of his own, with his own number, umask lets it
        // write.
        let is_private = (file.gid == 0 && file.uid == 0)
            || (file.gid == self.uid && file.gid == self.gid)
            || Some(file.gid) == self.sudo;
        (file.mode & 0o020 != 0 && !is_private).then_some(Other::Group(file.gid))
    }

    /// Who can put something else into the place of what lies in a directory. Its
    /// owner can, too, but not what belongs to the user.
    fn mover(self, dir: Stat) -> Option<Other> {
        // With the sticky bit, only what is one's own (`/tmp`).
        match self.other(dir) {
            Some(Other::Owner(_)) if dir.mode & 0o022 == 0 => None,
            found if dir.mode & 0o1000 == 0 => found,
            _ => None,
        }
    }
}

impl From<&Metadata> for Stat {
    fn from(meta: &Metadata) -> Self {
        Self { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() }
    }
}

/// The first file of the clan in `path`, which may also be a single file, that
/// somebody else than `who` has a say about; also a directory above it in which
/// anybody could replace it.
pub(super) fn foreign(path: &Path, who: Who) -> Option<Foreign> {
    let of = |path: PathBuf| {
        // What is not there is nobody's; a link is what it leads to.
        let stat = Stat::from(&std::fs::metadata(&path).ok()?);
        Some(Foreign { other: who.other(stat)?, path })
    };
    let entries = |dir: PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.take(MAX_ENTRIES).map(|entry| entry.path())
    };
    let above = |dir: &Path| {
        let stat = Stat::from(&std::fs::metadata(dir).ok()?);
        Some(Foreign { other: who.mover(stat)?, path: dir.to_owned() })
    };
    of(path.to_owned())
        .or_else(|| FILES.iter().find_map(|name| of(path.join(name))))
        .or_else(|| FOLDERS.iter().flat_map(|name| entries(path.join(name))).find_map(of))
        .or_else(|| path.ancestors().skip(1).find_map(above))
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable::line(&self.path.to_string_lossy());
        match self.other {
            Other::Owner(uid) => match Accounts::users().name_of(uid).map(printable::line) {
                Some(name) => write!(f, "{path} belongs to {name} (uid {uid})"),
                None => write!(f, "{path} belongs to uid {uid}"),
            },
            Other::Group(gid) => match Accounts::groups().name_of(gid).map(printable::line) {
                Some(name) => write!(f, "{path} can be written by group {name}"),
                None => write!(f, "{path} can be written by gid {gid}"),
            },
            Other::Everybody => write!(f, "{path} can be written by everybody"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Who = Who { uid: 1000, gid: 1000, sudo: None };
    const ROOT: Who = Who { uid: 0, gid: 0, sudo: None };
    const SUDO: Who = Who { uid: 0, gid: 0, sudo: Some(1000) };

    fn stat(uid: u32, gid: u32, mode: u32) -> Stat {
        Stat { uid, gid, mode }
    }

    #[test]
    fn only_what_the_user_or_root_owns_and_nobody_else_can_write_is_his() {
        for (who, file, other) in [
            (ALICE, stat(1000, 1000, 0o755), None),
            (ALICE, stat(0, 0, 0o755), None),
            (ALICE, stat(0, 0, 0o775), None),
            (ALICE, stat(1001, 1000, 0o700), Some(Other::Owner(1001))),
            (ALICE, stat(1000, 1000, 0o775), None),
            (ALICE, stat(1000, 100, 0o755), None),
            (ALICE, stat(1000, 100, 0o775), Some(Other::Group(100))),
            (ALICE, stat(1000, 0, 0o775), Some(Other::Group(0))),
            (ALICE, stat(0, 1001, 0o775), Some(Other::Group(1001))),
            (ALICE, stat(1000, 1000, 0o757), Some(Other::Everybody)),
            // The sticky bit does not keep anybody from adding a file.
            (ALICE, stat(0, 0, 0o1777), Some(Other::Everybody)),
            (ROOT, stat(1000, 1000, 0o755), Some(Other::Owner(1000))),
            (SUDO, stat(1000, 1000, 0o775), None),
            (SUDO, stat(0, 0, 0o755), None),
            (SUDO, stat(1001, 1001, 0o755), Some(Other::Owner(1001))),
            (SUDO, stat(1000, 100, 0o775), Some(Other::Group(100))),
        ] {
            assert_eq!(who.other(file), other, "{who:?} {file:?}");
        }
        // A group with the user's number that is not his is another's.
        let other = Who { gid: 100, ..ALICE };
        assert_eq!(other.other(stat(1000, 1000, 0o775)), Some(Other::Group(1000)));
    }

    #[test]
    fn a_directory_above_counts_when_anybody_can_rename_what_is_in_it() {
        for (dir, other) in [
            (stat(0, 0, 0o755), None),
            (stat(0, 0, 0o1777), None),
            (stat(0, 0, 0o777), Some(Other::Everybody)),
            (stat(0, 100, 0o775), Some(Other::Group(100))),
            (stat(0, 100, 0o1775), None),
            (stat(1000, 1000, 0o775), None),
            // He could only put something of his own there.
            (stat(1001, 1001, 0o755), None),
            (stat(1001, 1001, 0o777), Some(Other::Owner(1001))),
        ] {
            assert_eq!(ALICE.mover(dir), other, "{dir:?}");
        }
    }

    #[test]
    fn the_files_that_are_read_first_count_and_what_lies_about_does_not() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("vars/per-machine")).unwrap();
        for file in ["flake.nix", "notes", "vars/x"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let who = Who::asks(&Env::default());
        assert_eq!(foreign(&root, who), None);
        let open = |name: &str, mode| {
            let path = root.join(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open("notes", 0o666);
        assert_eq!(foreign(&root, who), None);
        for (name, open_to_all, closed) in
            [("flake.nix", 0o666, 0o644), ("vars/x", 0o666, 0o644), ("vars", 0o777, 0o755)]
        {
            open(name, open_to_all);
            let found = foreign(&root, who).unwrap();
            assert_eq!(found.path, root.join(name));
            assert!(found.to_string().ends_with("can be written by everybody"), "{found}");
            open(name, closed);
        }
        // Somebody could put another directory there.
        let inner = root.join("vars");
        open(".", 0o777);
        assert_eq!(foreign(&inner, who).unwrap().path, root);
        open(".", 0o1777);
        assert_eq!(foreign(&inner, who), None);
    }
}
