//! Whose files a clan is made of: git's rule for `safe.directory`, with sudo
//! considered, and with whoever else can write them. Owns the rule; which files it is
//! asked of is `survey`'s business.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::acl::Acl;
use crate::accounts::Accounts;
use crate::env::Env;
use crate::printable;

/// The bits of a mode that say what it is, and those of a file (inode(7)).
const KIND: u32 = 0o170_000;
const FILE: u32 = 0o100_000;

/// Who wants to use a clan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Who {
    uid: u32,
    /// The group that is his alone.
    private: Option<u32>,
    /// Root is told by sudo(8) whom it stands for: his own clan is no stranger's.
    sudo: Option<u32>,
    /// The group that is that user's alone.
    sudo_private: Option<u32>,
    /// Whether nobody but root is in root's group.
    root_is_alone: bool,
    /// The number under which a user namespace shows everybody that it has no number
    /// for, root of the host among them (user_namespaces(7)).
    unmapped: Option<u32>,
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
    /// An access control list lets this user write it.
    User(u32),
    /// This group can write it.
    Group(u32),
    /// Everybody can write it.
    Everybody,
}

/// What of a clan is not the user's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// A file of it, or of the repository that it is in.
    File(PathBuf, Other),
    /// A directory above it, in which somebody could put another into its place.
    Above(PathBuf, Other),
    /// What is in it cannot be looked at.
    Unreadable(PathBuf),
    /// It has more files than are looked at.
    TooMany(PathBuf, usize),
}

impl Who {
    /// The user of this process.
    pub(super) fn asks(env: &Env) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        // Nobody but root can set them to any purpose: as git (path.c,
        // `is_path_owned_by_current_uid`).
        let sudo = |name: &str| env.text(name).filter(|_| uid == 0)?.parse::<u32>().ok();
        let sudo_uid = sudo("SUDO_UID");
        Self {
            uid,
            private: private(uid, gid),
            sudo: sudo_uid,
            sudo_private: sudo_uid.zip(sudo("SUDO_GID")).and_then(|(uid, gid)| private(uid, gid)),
            root_is_alone: private(0, 0).is_some(),
            unmapped: unmapped(),
        }
    }

    /// Who beside him has a say about a file, with its access control list. Root has
    /// one about all.
    pub(super) fn look(self, path: &Path, meta: &Metadata) -> Option<Other> {
        let stat = Stat::from(meta);
        // Where there is such a list, the group's bits are the most that it gives to
        // anybody (acl(5), "Correspondence Between ACL Entries and File Permission Bits").
        match (stat.mode & 0o020 != 0).then(|| Acl::of(path)).flatten() {
            Some(acl) => self.other_of_list(stat, &acl),
            None => self.other(stat),
        }
    }

    /// The same of a link, which nobody can write, but somebody has made.
    pub(super) fn look_at_link(self, meta: &Metadata) -> Option<Other> {
        self.other(Stat { mode: 0, ..Stat::from(meta) })
    }

    fn other_of_list(self, stat: Stat, acl: &Acl) -> Option<Other> {
        let group = if acl.group_writes { 0o020 } else { 0 };
        let user = acl.users.iter().find(|uid| !self.is_his(**uid));
        self.other(Stat { mode: (stat.mode & !0o020) | group, ..stat })
            .or_else(|| user.copied().map(Other::User))
            .or_else(|| {
                let group = acl.groups.iter().find(|gid| !self.is_private(**gid));
                group.copied().map(Other::Group)
            })
    }

    fn other(self, file: Stat) -> Option<Other> {
        if !self.is_his(file.uid) {
            return Some(Other::Owner(file.uid));
        }
        if file.mode & 0o002 != 0 {
            return Some(Other::Everybody);
        }
        // Where each user has a group of his own, with his own number, umask lets it
        // write.
        let is_roots = file.gid == 0 && file.uid == 0 && self.root_is_alone;
        let is_private = is_roots || self.is_private(file.gid);
        (file.mode & 0o020 != 0 && !is_private).then_some(Other::Group(file.gid))
    }

    fn is_his(self, uid: u32) -> bool {
        uid == 0 || uid == self.uid || Some(uid) == self.sudo
    }

    fn is_private(self, gid: u32) -> bool {
        Some(gid) == self.private || Some(gid) == self.sudo_private
    }

    /// Who can put something else into the place of what is the user's in a directory.
    pub(super) fn mover(self, path: &Path, dir: &Metadata) -> Option<Other> {
        self.mover_of(Stat::from(dir), self.look(path, dir))
    }

    fn mover_of(self, dir: Stat, found: Option<Other>) -> Option<Other> {
        // To a file it means nothing.
        let is_sticky = dir.mode & 0o1000 != 0 && dir.mode & KIND != FILE;
        match found {
            Some(Other::Owner(uid)) if Some(uid) == self.unmapped && dir.mode & 0o022 == 0 => None,
            // He can rename whatever is in it, sticky or not (rename(2), EPERM).
            Some(Other::Owner(uid)) => Some(Other::Owner(uid)),
            // The others can rename only what is their own then (`/tmp`).
            _ if is_sticky => None,
            found => found,
        }
    }
}

/// The group, if it is the user's alone: it has his number, and nobody else in it.
fn private(uid: u32, gid: u32) -> Option<u32> {
    let is_alone = || !Accounts::users().share_group(Accounts::groups(), gid, uid);
    (uid == gid && is_alone()).then_some(gid)
}

/// See [`Who::unmapped`]; none where every number is somebody's.
fn unmapped() -> Option<u32> {
    const MAX: u64 = 4096;
    let text = |path: &str| {
        let bytes = crate::file::read(Path::new(path), MAX).ok()?;
        String::from_utf8(bytes).ok()
    };
    let map = text("/proc/self/uid_map")?;
    let is_whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    (!is_whole).then(|| text("/proc/sys/kernel/overflowuid")?.trim().parse().ok()).flatten()
}

impl From<&Metadata> for Stat {
    fn from(meta: &Metadata) -> Self {
        Self { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() }
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = |uid: u32| match Accounts::users().name_of(uid).map(printable::line) {
            Some(name) => format!("{name} (uid {uid})"),
            None => format!("uid {uid}"),
        };
        match *self {
            Self::Owner(uid) => write!(f, "belongs to {}", user(uid)),
            Self::User(uid) => write!(f, "can be written by {}", user(uid)),
            Self::Group(gid) => match Accounts::groups().name_of(gid).map(printable::line) {
                Some(name) => write!(f, "can be written by group {name}"),
                None => write!(f, "can be written by gid {gid}"),
            },
            Self::Everybody => write!(f, "can be written by everybody"),
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| printable::line(&path.to_string_lossy());
        match self {
            Self::File(path, other) => write!(f, "{} {other}", shown(path)),
            Self::Above(path, other) => {
                let path = shown(path);
                write!(f, "{path} {other}, and so what is in it can be replaced")
            }
            Self::Unreadable(path) => {
                write!(f, "{} cannot be looked into to see whose files it has", shown(path))
            }
            Self::TooMany(path, most) => {
                let path = shown(path);
                write!(f, "{path} holds more than {most} files, too many to see whose they are")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Who = Who {
        uid: 1000,
        private: Some(1000),
        sudo: None,
        sudo_private: None,
        root_is_alone: true,
        unmapped: None,
    };
    const ROOT: Who = Who { uid: 0, private: Some(0), ..ALICE };
    const SUDO: Who = Who { sudo: Some(1000), sudo_private: Some(1000), ..ROOT };

    fn stat(uid: u32, gid: u32, mode: u32) -> Stat {
        Stat { uid, gid, mode }
    }

    #[test]
    fn only_what_the_user_or_root_owns_and_nobody_else_can_write_is_his() {
        // sudo(8) by a user whose own group is another.
        let users = Who { sudo_private: None, ..SUDO };
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
            (users, stat(1000, 1000, 0o755), None),
            (users, stat(1000, 1000, 0o775), Some(Other::Group(1000))),
        ] {
            assert_eq!(who.other(file), other, "{who:?} {file:?}");
        }
        // Somebody else is in root's group.
        for who in [ALICE, Who { private: None, ..ROOT }] {
            let who = Who { root_is_alone: false, ..who };
            assert_eq!(who.other(stat(0, 0, 0o775)), Some(Other::Group(0)));
            assert_eq!(who.other(stat(0, 0, 0o755)), None);
        }
        // A group with the user's number that is not his is another's.
        let other = Who { private: None, ..ALICE };
        assert_eq!(other.other(stat(1000, 1000, 0o775)), Some(Other::Group(1000)));
    }

    #[test]
    fn an_access_control_list_counts_for_what_it_lets_others_write() {
        let mine = stat(1000, 1000, 0o775);
        let list = |users: &[u32], groups: &[u32], group_writes| Acl {
            users: users.to_vec(),
            groups: groups.to_vec(),
            group_writes,
        };
        for (list, other) in [
            (list(&[], &[], true), None),
            (list(&[1000, 0], &[1000], false), None),
            (list(&[1000, 1001], &[], false), Some(Other::User(1001))),
            (list(&[], &[100], false), Some(Other::Group(100))),
        ] {
            assert_eq!(ALICE.other_of_list(mine, &list), other, "{list:?}");
        }
        // The mask is no group's right.
        let shared = stat(1000, 100, 0o775);
        assert_eq!(ALICE.other_of_list(shared, &list(&[1000], &[], false)), None);
        let open = ALICE.other_of_list(shared, &list(&[1000], &[], true));
        assert_eq!(open, Some(Other::Group(100)));
    }

    #[test]
    fn a_directory_above_counts_when_somebody_can_rename_what_is_in_it() {
        for (dir, other) in [
            (stat(0, 0, 0o755), None),
            (stat(0, 0, 0o1777), None),
            (stat(0, 0, 0o777), Some(Other::Everybody)),
            (stat(0, 100, 0o775), Some(Other::Group(100))),
            (stat(0, 100, 0o1775), None),
            (stat(1000, 1000, 0o775), None),
            (stat(1000, 1000, 0o1777), None),
            (stat(1001, 1001, 0o755), Some(Other::Owner(1001))),
            (stat(1001, 1001, 0o777), Some(Other::Owner(1001))),
            (stat(1001, 1001, 0o1777), Some(Other::Owner(1001))),
        ] {
            assert_eq!(ALICE.mover_of(dir, ALICE.other(dir)), other, "{dir:?}");
        }
        // A file of everybody, sticky or not.
        let file = stat(1000, 1000, FILE | 0o1666);
        assert_eq!(ALICE.mover_of(file, ALICE.other(file)), Some(Other::Everybody));
        // In a user namespace the host's root looks like nobody.
        let inside = Who { unmapped: Some(65534), ..ALICE };
        for (dir, other) in [
            (stat(65534, 65534, 0o755), None),
            (stat(65534, 65534, 0o775), Some(Other::Owner(65534))),
            (stat(1001, 1001, 0o755), Some(Other::Owner(1001))),
        ] {
            assert_eq!(inside.mover_of(dir, inside.other(dir)), other, "{dir:?}");
        }
    }
}
