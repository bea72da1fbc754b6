//! Keys that one process can use at a time: whoever uses them is a member of a network, and
//! two of them would take each other's packets. Owns the locks.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::env::Env;
use crate::file;
use crate::parts::Parts;

/// Where locks of one kind lie, in the directory of what runs or of what is kept; nowhere,
/// where there is neither.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyLocks(Option<PathBuf>);

/// Whether a directory is this user's, and nobody else can put anything into it.
fn is_ours(dir: &Path) -> bool {
    dir.metadata()
        .is_ok_and(|meta| meta.is_dir() && file::is_ours(&meta) && !file::is_writable(&meta))
}

/// Another process has the lock.
#[derive(Debug)]
pub(super) struct InUse;

impl KeyLocks {
    /// Below this name.
    pub(super) fn of(env: &Env, name: &str) -> Self {
        let runtime = env.path("XDG_RUNTIME_DIR").filter(|dir| dir.is_absolute() && is_ours(dir));
        let locks = runtime.map(Path::to_owned).or_else(|| env.state_dir());
        Self(locks.map(|dir| dir.join(name)))
    }

    /// Takes the lock of a key; none where there is no place for it.
    pub(super) fn take(&self, public: &[u8; 32]) -> Result<Option<File>, InUse> {
        let Some(dir) = &self.0 else { return Ok(None) };
        let mut name = Parts::default();
        name.put(public);
        let name = data_encoding::HEXLOWER.encode(&name.digest());
        // Where none can be made, none is held.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(dir.join(name));
        let is_file = |file: &File| file.metadata().is_ok_and(|meta| meta.is_file());
        let Some(file) = opened.ok().filter(is_file) else { return Ok(None) };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(InUse),
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
        }
    }
}
