//! Who else than this user can read or write a file, as far as its owner and its mode tell.
//! All rules of that kind are here, so that they can be compared:
//!
//! | what it is | whose it may be | what others may not do |
//! |---|---|---|
//! | a private key of a network ([`may_hold_key`]) | ours, root's, that of `sudo` | read it |
//! | a private key of ssh(1) ([`exposed_to_ssh`]) | anybody's | read it, if it is ours |
//! | a directory for what is secret ([`is_open`]) | ours | read it |
//! | a directory for locks ([`is_writable`]) | ours | write into it |
//! | a file of ssh_config(5) ([`is_bad_to_ssh`]) | ours, root's | write it |
//!
//! Whether a clan, a snapshot or a list of clans may be believed is asked of `flake::owner`,
//! which looks at groups, access control lists and the directories above as well. The
//! identities of age and sops have no rule, as with age and sops themselves.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use crate::error::Error;

/// Why a file with a private key is not read.
#[derive(Debug)]
pub(crate) enum Private {
    /// It cannot be.
    Unread(Error),
    /// Other users can read it; its mode.
    Exposed(u32),
    /// It belongs to this user, and neither to us nor to root.
    Foreign(u32),
}

/// Whether it belongs to the user as whom this process acts.
pub(crate) fn is_ours(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// Whether anybody but its owner can do anything with it.
pub(crate) fn is_open(meta: &Metadata) -> bool {
    meta.mode() & 0o077 != 0
}

/// Whether anybody but its owner can write it.
pub(crate) fn is_writable(meta: &Metadata) -> bool {
    meta.mode() & 0o022 != 0
}

/// Whether the private key of a network may be in this file. As with ssh(1), one that others
/// can read is not used; nor is another user's, who knows the key, but for root's, who may
/// have made it for a group. Root reads that of `sudo`, the user who has become root, as
/// well.
pub(super) fn may_hold_key(meta: &Metadata, sudo: Option<u32>) -> Result<(), Private> {
    let is_of_sudo = rustix::process::geteuid().is_root() && Some(meta.uid()) == sudo;
    let is_ours = is_ours(meta) || is_of_sudo;
    let is_exposed = if is_ours { is_open(meta) } else { meta.mode() & 0o007 != 0 };
    match () {
        () if !is_ours && meta.uid() != 0 => Err(Private::Foreign(meta.uid())),
        () if is_exposed => Err(Private::Exposed(meta.mode())),
        () => Ok(()),
    }
}

/// Whether ssh(1) ignores a private key in this file because others can read it (authfile.c,
/// `sshkey_perm_ok`): it asks only about the files of the user who has started it, and so
/// reads root's for a group. The mode of the file, if it does.
pub(crate) fn exposed_to_ssh(meta: &Metadata) -> Option<u32> {
    let is_users = meta.uid() == rustix::process::getuid().as_raw();
    (is_users && is_open(meta)).then(|| meta.mode())
}

/// Whether ssh(1) refuses to read this file of ssh_config(5), because somebody else could
/// have written it (readconf.c, `SSHCONF_CHECKPERM`).
pub(crate) fn is_bad_to_ssh(meta: &Metadata) -> bool {
    let is_trusted = meta.uid() == 0 || meta.uid() == rustix::process::getuid().as_raw();
    !is_trusted || is_writable(meta)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    /// What each rule says of a file with this mode and, where we are root, this owner.
    fn said(mode: u32, owner: Option<u32>) -> [bool; 5] {
        let file = tempfile::NamedTempFile::new().unwrap();
        set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        if let Some(uid) = owner {
            chown(file.path(), Some(uid), None).unwrap();
        }
        let meta = file.path().metadata().unwrap();
        [
            may_hold_key(&meta, None).is_ok(),
            exposed_to_ssh(&meta).is_some(),
            is_open(&meta),
            is_writable(&meta),
            is_bad_to_ssh(&meta),
        ]
    }

    #[test]
    fn a_file_of_our_own_is_judged_by_its_mode() {
        for (mode, said_of_it) in [
            (0o600, [true, false, false, false, false]),
            (0o400, [true, false, false, false, false]),
            (0o640, [false, true, true, false, false]),
            (0o604, [false, true, true, false, false]),
            (0o620, [false, true, true, true, true]),
            (0o602, [false, true, true, true, true]),
        ] {
            assert_eq!(said(mode, None), said_of_it, "{mode:o}");
        }
    }

    #[test]
    fn another_users_file_is_no_key_and_no_configuration() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // ssh(1) does not ask whose a key is.
        assert_eq!(said(0o600, Some(65_534)), [false, false, false, false, true]);
        assert_eq!(said(0o644, Some(65_534)), [false, false, true, false, true]);
    }
}
