//! What fs-mistrust needs of `pwd-grp`: users from /etc/passwd (passwd(5)) and
//! groups from /etc/group (group(5)), read as files.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// Larger databases are of another kind, in bytes.
const MAX_SIZE: u64 = 16 << 20;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passwd<S> {
    /// The login name.
    pub name: S,
    /// Its number.
    pub uid: u32,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<S> {
    /// Its name.
    pub name: S,
    /// Its number.
    pub gid: u32,
}

/// Where users and groups are looked up.
pub trait PwdGrpProvider {
    /// The real user id of this process.
    fn getuid(&self) -> u32;
    /// The supplementary groups of this process.
    ///
    /// # Errors
    /// What the system says.
    fn getgroups(&self) -> io::Result<Vec<u32>>;
    /// The user of this name.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn getpwnam<S: From<Vec<u8>>>(&self, name: impl AsRef<[u8]>) -> io::Result<Option<Passwd<S>>>;
    /// The user of this number.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn getpwuid<S: From<Vec<u8>>>(&self, uid: u32) -> io::Result<Option<Passwd<S>>>;
    /// The group of this name.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn getgrnam<S: From<Vec<u8>>>(&self, name: impl AsRef<[u8]>) -> io::Result<Option<Group<S>>>;
}

/// The files of this system.
#[derive(Debug, Clone, Copy, Default)]
pub struct PwdGrp;

impl PwdGrpProvider for PwdGrp {
    fn getuid(&self) -> u32 {
        getuid()
    }

    fn getgroups(&self) -> io::Result<Vec<u32>> {
        Ok(rustix::process::getgroups()?.into_iter().map(|gid| gid.as_raw()).collect())
    }

    fn getpwnam<S: From<Vec<u8>>>(&self, name: impl AsRef<[u8]>) -> io::Result<Option<Passwd<S>>> {
        let found = find("/etc/passwd", |found, _| found == name.as_ref())?;
        Ok(found.map(|(name, uid)| Passwd { name: name.into(), uid }))
    }

    fn getpwuid<S: From<Vec<u8>>>(&self, uid: u32) -> io::Result<Option<Passwd<S>>> {
        let found = find("/etc/passwd", |_, found| found == uid)?;
        Ok(found.map(|(name, uid)| Passwd { name: name.into(), uid }))
    }

    fn getgrnam<S: From<Vec<u8>>>(&self, name: impl AsRef<[u8]>) -> io::Result<Option<Group<S>>> {
        let found = find("/etc/group", |found, _| found == name.as_ref())?;
        Ok(found.map(|(name, gid)| Group { name: name.into(), gid }))
    }
}

/// The real user id of this process.
pub fn getuid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Name and number of the first line that is wanted; none without the file.
fn find(path: &str, wanted: impl Fn(&[u8], u32) -> bool) -> io::Result<Option<(Vec<u8>, u32)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for line in BufReader::new(file.take(MAX_SIZE)).split(b'\n') {
        // Both files begin with NAME:PASSWORD:NUMBER.
        let line = line?;
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), _, Some(number)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
        if let Some(number) = number
            && wanted(name, number)
        {
            return Ok(Some((name.to_vec(), number)));
        }
    }
    Ok(None)
}
