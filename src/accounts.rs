//! The users and groups of this computer, as far as passwd(5) and group(5) name
//! them: there is no more without the name service of the C library. Owns the
//! reading of both files.

use std::path::Path;

use crate::file;

/// Bound on either file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The lines of one of the files, which begin with a name, a password and a number.
#[derive(Debug)]
pub(crate) struct Accounts(String);

impl Accounts {
    /// The users; none where the file cannot be read.
    pub(crate) fn users() -> Self {
        Self::read("/etc/passwd")
    }

    /// The groups; none where the file cannot be read.
    pub(crate) fn groups() -> Self {
        Self::read("/etc/group")
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
