//! A key of our own that is kept, for whoever is no machine of the clan: its address is
//! what the clan's settings let in. Owns where it lies, and that it is made once and never
//! written over.

use std::io::ErrorKind;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::identity::Identity;
use super::random;
use crate::env::Env;
use crate::error::{BadKey, Error, KeyFault, Result};
use crate::file::{self, Private};
use crate::printable;

/// Its file, among what programs keep.
const FILE: &str = "clan-connect/yggdrasil-key";
/// A key in PEM is not longer.
const MAX_FILE: u64 = 4096;

/// Who we are in Yggdrasil where nobody says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The address.
    pub address: Ipv6Addr,
    /// The public key, in hexadecimal.
    pub public_key: String,
    /// Where the private one is.
    pub file: PathBuf,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// Where it lies, if there is a place for it.
pub(crate) fn place(env: &Env) -> Option<PathBuf> {
    env.state_dir().map(|dir| dir.join(FILE))
}

/// The key that is kept, made if there is none. Blocks.
///
/// # Errors
/// [`Error::Key`] where what is there is of no use, which is never written over, and
/// [`Error::File`] where none can be written.
pub fn kept(env: &Env) -> Result<Kept> {
    let none = || Error::Usage("there is no home directory to keep a key in".to_owned());
    let file = place(env).ok_or_else(none)?;
    let sudo = env.sudo();
    if file.symlink_metadata().is_ok() {
        return read(file, sudo);
    }
    let mut seed = Zeroizing::new([0; 32]);
    if !random(seed.as_mut_slice()) {
        let source = std::io::Error::other("there are no random numbers");
        return Err(Error::System { what: "making a key", source });
    }
    let identity = Identity::new(&seed);
    match file::write_new(&file, identity.to_pem().as_bytes(), 0o600) {
        Ok(()) => Ok(of(&identity, file, true)),
        // Another process was quicker.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file, sudo),
        Err(source) => Err(Error::File { action: "write", path: file, source }),
    }
}

fn read(file: PathBuf, sudo: Option<u32>) -> Result<Kept> {
    let bad = |fault| Error::Key(BadKey { origin: shown(&file), fault });
    let bytes = file::read_kept(&file, MAX_FILE, sudo).map_err(|why| match why {
        Private::Unread(error) => error,
        Private::Exposed(mode) => bad(KeyFault::Exposed { mode }),
        Private::Foreign(uid) => bad(KeyFault::Foreign { uid }),
    })?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let identity = Identity::parse(text).map_err(|why| bad(KeyFault::Wrong(why)))?;
    Ok(of(&identity, file, false))
}

fn of(identity: &Identity, file: PathBuf, is_new: bool) -> Kept {
    let public_key = data_encoding::HEXLOWER.encode(&identity.public);
    Kept { address: identity.address, public_key, file, is_new }
}

fn shown(path: &Path) -> String {
    printable::line(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn env(home: &Path) -> Env {
        Env::of([("HOME", home.to_str().unwrap())])
    }

    #[test]
    fn a_key_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let made = kept(&env(dir.path())).unwrap();
        assert!(made.is_new && made.address.segments()[0] & 0xfe00 == 0x200, "{made:?}");
        let mode = made.file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = kept(&env(dir.path())).unwrap();
        assert_eq!(again, Kept { is_new: false, ..made.clone() });
        let text = std::fs::read_to_string(&made.file).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let public = HEX.decode(made.public_key.as_bytes()).unwrap();
        assert_eq!(Identity::parse(&text).unwrap().public.to_vec(), public);
        // Another home, another key.
        let other = tempfile::tempdir().unwrap();
        assert_ne!(kept(&env(other.path())).unwrap().address, made.address);
    }

    const HEX: data_encoding::Encoding = data_encoding::HEXLOWER;

    #[test]
    fn a_pipe_in_its_place_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = place(&env(dir.path())).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, 0o600.into()).unwrap();
        let env = env(dir.path());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(kept(&env).unwrap_err().to_string()));
        let told = receiver.recv_timeout(std::time::Duration::from_secs(60));
        assert!(told.as_ref().is_ok_and(|told| told.contains("not a regular file")), "{told:?}");
    }

    #[test]
    fn what_is_no_key_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = place(&env(dir.path())).unwrap();
        file::write_whole(&file, b"hunter2", 0o600).unwrap();
        let failed = kept(&env(dir.path())).unwrap_err();
        let Error::Key(BadKey { origin, fault: KeyFault::Wrong(_) }) = &failed else {
            panic!("{failed:?}")
        };
        assert!(origin.ends_with("yggdrasil-key") && !failed.to_string().contains("hunter2"));
        assert_eq!(std::fs::read(&file).unwrap(), b"hunter2");
        let all = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&file, all).unwrap();
        let failed = kept(&env(dir.path())).unwrap_err();
        assert!(failed.hint()[0].contains("chmod 600"), "{failed:?}");
        assert!(kept(&Env::default()).is_err());
    }
}
