//! The users and groups of this computer, as far as passwd(5) and group(5) name
//! them: there is no more without the name service of the C library. Owns the
//! reading of both files.

use std::path::Path;
use std::sync::LazyLock;

use crate::file;

/// Bound on either file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The lines of one of the files, which begin with a name, a password and a number.
#[derive(Debug)]
pub(crate) struct Accounts(String);

impl Accounts {
    /// The users; none where the file cannot be read. Read once: whose a file is, is
    /// asked many times.
    pub(crate) fn users() -> &'static Self {
        static USERS: LazyLock<Accounts> = LazyLock::new(|| Accounts::read("/etc/passwd"));
        &USERS
    }

    /// The groups; none where the file cannot be read.
    pub(crate) fn groups() -> &'static Self {
        static GROUPS: LazyLock<Accounts> = LazyLock::new(|| Accounts::read("/etc/group"));
        &GROUPS
    }

    fn read(path: &str) -> Self {
        let bytes = file::read(Path::new(path), MAX_FILE).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    pub(crate) fn parse(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The name that has this number first.
    pub(crate) fn name_of(&self, number: u32) -> Option<&str> {
        self.numbered().find(|(_, of)| *of == number).map(|(name, _)| name)
    }

    /// Names with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name, number.parse().ok()?))
        })
    }

    /// Whether the group with this number has anybody in it but the user with this
    /// one: as his own group, or as one more. `self` are the users.
    pub(crate) fn share_group(&self, groups: &Self, gid: u32, uid: u32) -> bool {
        let gid_is = |fields: &[&str], at: usize| {
            fields.get(at).and_then(|field| field.parse().ok()) == Some(gid)
        };
        let as_own = self.0.lines().any(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let is_user = fields.get(2).and_then(|field| field.parse().ok()) == Some(uid);
            gid_is(&fields, 3) && !is_user
        });
        let number = |name: &str| self.numbered().find(|(of, _)| *of == name).map(|(_, uid)| uid);
        as_own
            || groups.0.lines().any(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                let members = fields.get(3).into_iter().flat_map(|names| names.split(','));
                let mut names = members.map(str::trim).filter(|name| !name.is_empty());
                gid_is(&fields, 2) && names.any(|name| number(name) != Some(uid))
            })
    }

    /// The home directory of the first user with this number.
    pub(crate) fn home_of_number(&self, number: u32) -> Option<&str> {
        self.home_of(self.name_of(number)?)
    }

    /// The home directory of the user with this name.
    pub(crate) fn home_of(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines().map(|line| line.split(':'));
        lines.find(|fields| fields.clone().next() == Some(name))?.nth(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_shared_when_anybody_else_is_in_it() {
        let users = "me:x:1000:1000::/:\nyou:x:1001:1001::/:\nguest:x:1002:1001::/:\n";
        let users = Accounts::parse(users);
        let groups = "me:x:1000:\nyou:x:1001:\nours:x:1003:me, you\nown:x:1004:me\nfar:x:1005:ldap";
        let groups = Accounts::parse(groups);
        for (gid, is_shared) in
            [(1000, false), (1001, true), (1003, true), (1004, false), (1005, true), (7, false)]
        {
            assert_eq!(users.share_group(&groups, gid, 1000), is_shared, "{gid}");
        }
    }

    #[test]
    fn names_numbers_and_homes_are_found_and_broken_lines_are_not() {
        let text = "root:x:0:0::/root:/bin/sh\nbroken\n::\nme:x:1000:1000:a:/home/me:/bin/sh\n\
                    again:x:1000:1:::\nbig:x:99999999999:1::/:\n";
        let accounts = Accounts::parse(text);
        assert_eq!(accounts.name_of(0), Some("root"));
        assert_eq!(accounts.name_of(1000), Some("me"));
        assert_eq!(accounts.name_of(7), None);
        assert_eq!(accounts.home_of("me"), Some("/home/me"));
        assert_eq!(accounts.home_of_number(1000), Some("/home/me"));
        assert_eq!(accounts.home_of_number(7), None);
        assert_eq!(accounts.home_of("broken"), None);
        assert_eq!(accounts.home_of("nobody"), None);
        assert_eq!(accounts.numbered().count(), 3);
    }
}
