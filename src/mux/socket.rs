//! The Unix socket of a master (ControlPath). Owns making it, finding it and
//! removing it.

use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::descriptors;
use crate::file;

/// A socket that clients connect to.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    pub(super) name: Name,
}

/// The socket's name; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Name {
    path: PathBuf,
    /// Device and inode: who removes a name must know that it is his.
    identity: (u64, u64),
}

impl ControlSocket {
    /// Listens at `path`, which appears only once it is ready.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when there is one, the system's otherwise.
    pub fn listen(path: &Path) -> Result<Self> {
        let mut unique = [0; 4];
        getrandom::fill(&mut unique).map_err(|error| Error::other(error.to_string()))?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{:08x}", u32::from_ne_bytes(unique)));
        let new = PathBuf::from(name);
        let listener = file::masked(0o177, || UnixListener::bind(&new))?;
        let placed = || -> Result<(u64, u64)> {
            let meta = std::fs::symlink_metadata(&new)?;
            // Unlike a rename this fails where something is already.
            std::fs::hard_link(&new, path)?;
            Ok((meta.dev(), meta.ino()))
        };
        let identity = placed();
        let _ = std::fs::remove_file(&new);
        let name = Name { path: path.to_owned(), identity: identity? };
        Ok(Self { listener, name })
    }
}

/// The next client. Only the user's own processes and root's are served.
///
/// # Errors
/// The system's.
pub(super) async fn accept(listener: &UnixListener) -> Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        if is_own(&stream) {
            return Ok(stream);
        }
    }
}

impl Name {
    /// Whether it is there, and this socket's.
    pub(super) fn is_there(&self) -> bool {
        let meta = std::fs::symlink_metadata(&self.path);
        meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Connects to the master at `path`; what another user listens on is not one.
///
/// # Errors
/// The system's, [`ErrorKind::PermissionDenied`].
pub(super) async fn connect(path: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(path).await?;
    match is_own(&stream) {
        true => Ok(stream),
        false => Err(Error::new(ErrorKind::PermissionDenied, "it is another user's")),
    }
}

fn is_own(stream: &UnixStream) -> bool {
    descriptors::peer(stream).is_some_and(|peer| peer.uid == 0 || peer.is_ours())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_goes_with_its_master_and_takes_nobody_elses_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master");
        let socket = ControlSocket::listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let second = ControlSocket::listen(&path).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AlreadyExists);
        let (client, served) = tokio::join!(connect(&path), accept(&socket.listener));
        assert!(client.is_ok() && served.is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(socket);
        assert!(!path.exists());
        // What came in its place stays.
        let socket = ControlSocket::listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "other").unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
