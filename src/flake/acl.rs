//! POSIX access control lists (acl(5)), as far as they say who can write a file. Owns
//! the format of the extended attribute (`posix_acl_xattr.h` of Linux).

use std::path::Path;

/// Who can write a file by its list.
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

impl Acl {
    /// The list of a file; none where there is none but the bits of its mode.
    pub(super) fn of(path: &Path) -> Option<Self> {
        // Most are short; only one that is not needs more than one look.
        let mut bytes = vec![0; 512];
        let read = |bytes: &mut [u8]| rustix::fs::getxattr(path, "system.posix_acl_access", bytes);
        let size = match read(&mut bytes) {
            Err(rustix::io::Errno::RANGE) => {
                bytes.resize(MAX_SIZE, 0);
                read(&mut bytes)
            }
            size => size,
        };
        Self::parse(bytes.get(..size.ok()?)?)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
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
        let mask = entries.iter().find(|(tag, ..)| *tag == MASK).map_or(WRITE, |entry| entry.1);
        let writers = |wanted: u16| {
            let may = move |(tag, rights, _): &&(u16, u16, u32)| {
                *tag == wanted && rights & mask & WRITE != 0
            };
            entries.iter().filter(may).map(|(_, _, id)| *id)
        };
        Some(Self {
            users: writers(USER).collect(),
            groups: writers(GROUP).collect(),
            group_writes: writers(GROUP_OBJ).next().is_some(),
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
        Acl::parse(&bytes)
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
        assert_eq!(Acl::parse(&[1, 0, 0, 0]), None);
        assert_eq!(Acl::parse(&[2, 0]), None);
        // What is cut off is not there.
        assert_eq!(Acl::parse(&[2, 0, 0, 0, 2, 0]), Some(Acl::default()));
    }
}
