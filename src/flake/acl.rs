//! POSIX access control lists (acl(5)), as far as they say who can write a file, or do
//! anything to it at all. Owns the format of the extended attribute (`posix_acl_xattr.h` of
//! Linux).

use std::fs::File;
use std::path::Path;

/// Who can write a file by its list, or whatever it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Acl {
    /// These users, by number.
    pub(super) users: Vec<u32>,
    /// These groups, by number.
    pub(super) groups: Vec<u32>,
    /// The group that the file belongs to.
    pub(super) group_writes: bool,
}

/// Longest value of an attribute, in bytes (`XATTR_SIZE_MAX`).
const MAX_SIZE: usize = 64 << 10;
const VERSION: u32 = 2;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const WRITE: u16 = 0x02;
const ANY: u16 = 0x07;

/// Whether a list of this directory, or that of what is made in it, lets anybody do anything
/// who is neither its owner, nor in its group, nor root.
pub(crate) fn names_others(dir: &File, owner: u32) -> bool {
    ["system.posix_acl_access", "system.posix_acl_default"].into_iter().any(|name| {
        let acl = Acl::read(ANY, |bytes| rustix::fs::fgetxattr(dir, name, bytes));
        let is_another = |uid: &u32| *uid != 0 && *uid != owner;
        acl.is_some_and(|acl| !acl.groups.is_empty() || acl.users.iter().any(is_another))
    })
}

impl Acl {
    /// The list of a file; none where there is none but the bits of its mode.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Self::read(WRITE, |bytes| rustix::fs::getxattr(path, "system.posix_acl_access", bytes))
    }

    /// Who has one of these rights by the list that `read` puts into its buffer.
    fn read(rights: u16, read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> Option<Self> {
        // Most are short; only one that is not needs more than one look.
        let mut bytes = vec![0; 512];
        let size = match read(&mut bytes) {
            Err(rustix::io::Errno::RANGE) => {
                bytes.resize(MAX_SIZE, 0);
                read(&mut bytes)
            }
            size => size,
        };
        Self::parse(bytes.get(..size.ok()?)?, rights)
    }

    fn parse(bytes: &[u8], asked: u16) -> Option<Self> {
        let (version, entries) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION {
            return None;
        }
        let entries: Vec<(u16, u16, u32)> = entries
            .chunks_exact(8)
            .filter_map(|entry| {
                let (tag, rest) = entry.split_first_chunk::<2>()?;
                let (rights, id) = rest.split_first_chunk::<2>()?;
                let id = u32::from_le_bytes(id.try_into().ok()?);
                Some((u16::from_le_bytes(*tag), u16::from_le_bytes(*rights), id))
            })
            .collect();
        // What it gives to all but the owner and the others, the mask can take.
        let mask = entries.iter().find(|(tag, ..)| *tag == MASK).map_or(ANY, |entry| entry.1);
        let holders = |wanted: u16| {
            let may = move |(tag, rights, _): &&(u16, u16, u32)| {
                *tag == wanted && rights & mask & asked != 0
            };
            entries.iter().filter(may).map(|(_, _, id)| *id)
        };
        Some(Self {
            users: holders(USER).collect(),
            groups: holders(GROUP).collect(),
            group_writes: holders(GROUP_OBJ).next().is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Option<Acl> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        Acl::parse(&bytes, WRITE)
    }

    #[test]
    fn whoever_may_write_under_the_mask_is_found() {
        let none = u32::MAX;
        let acl = |mask| {
            list(&[
                (0x01, 7, none),
                (USER, 7, 1001),
                (USER, 5, 1002),
                (GROUP_OBJ, 7, none),
                (GROUP, 6, 100),
                (MASK, mask, none),
                (0x20, 5, none),
            ])
        };
        let open = Acl { users: vec![1001], groups: vec![100], group_writes: true };
        assert_eq!(acl(7), Some(open));
        assert_eq!(acl(5), Some(Acl::default()));
        assert_eq!(list(&[(0x01, 7, none), (GROUP_OBJ, 5, none)]), Some(Acl::default()));
        assert_eq!(Acl::parse(&[1, 0, 0, 0], WRITE), None);
        assert_eq!(Acl::parse(&[2, 0], WRITE), None);
        // What is cut off is not there.
        assert_eq!(Acl::parse(&[2, 0, 0, 0, 2, 0], WRITE), Some(Acl::default()));
    }
}
