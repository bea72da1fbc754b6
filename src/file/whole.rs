//! Writing a file whole, in a directory that is opened once: what is written there stays
//! there, wherever the path of the directory leads by then. Owns how a file gets its place.
//! Whoever is killed while it is filled leaves nothing, where the file system can make a file
//! without a name; at the moment at which it takes another's place a whole one may be left.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::not_regular;

/// How many hexadecimal digits make the name of a temporary file nobody else's.
const UNIQUE: usize = 16;
/// The longest name that is part of that of a temporary file, in bytes: with more there would
/// be no room for our own part in every file system (255 bytes at most, and 143 in eCryptfs).
const LONGEST: usize = 100;

/// Writes a file so that a reader sees the old one or the new one, whole.
///
/// # Errors
/// [`super::is_not_regular`] where something else than a file is there: a device or a pipe
/// would be gone.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_settled(path, bytes, mode, |_| Ok(()))
}

/// The same, where `settle` gives the new file its owner and mode before it has its place,
/// or refuses it.
///
/// # Errors
/// As for [`write_whole`], and those of `settle`.
pub(crate) fn write_settled(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    settle: impl Fn(&File) -> io::Result<()>,
) -> io::Result<()> {
    Directory::above(path)?.write(name_of(path), bytes, mode, settle)
}

/// The same for a file of the user's own making: one that is there keeps its mode and its
/// owner. The owner is the user, or for root the one who has become root by `sudo`, or whose
/// the directory is; anybody else's does not stay his.
///
/// # Errors
/// As for [`write_whole`].
pub(crate) fn write_over(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    sudo: Option<u32>,
) -> io::Result<()> {
    let old = path.symlink_metadata().ok().filter(Metadata::is_file);
    let dir = Directory::above(path)?;
    let his = [sudo, Some(dir.0.metadata()?.uid())];
    let settle = |file: &File| old.as_ref().map_or(Ok(()), |old| keep(file, old, &his));
    dir.write(name_of(path), bytes, mode, settle)
}

/// The same for a file that is not there yet: what is there stays as it is.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where something is there.
#[cfg(any(test, feature = "yggdrasil"))]
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    Directory::above(path)?.put(name_of(path), bytes, mode, Place::Free, |_| Ok(()))
}

/// The name of the file for which a temporary one of ours is called so, unless that is a
/// long one.
pub(crate) fn is_temporary(name: &str) -> Option<&str> {
    let (name, unique) = name.strip_prefix('.')?.rsplit_once('.')?;
    let is_ours = unique.len() == UNIQUE && unique.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then_some(name)
}

/// A directory that is open.
#[derive(Debug)]
pub(crate) struct Directory(File);

/// What may be in the place of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Another file.
    Taken,
    /// Nothing.
    #[cfg(any(test, feature = "yggdrasil"))]
    Free,
}

impl Directory {
    /// Opens it, where the last part of the path must be no link.
    ///
    /// # Errors
    /// Those of open(2).
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::opened(path, OFlags::NOFOLLOW)
    }

    /// The one that a file is in, made if it is not there.
    fn above(path: &Path) -> io::Result<Self> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Self::opened(dir, OFlags::empty())
    }

    fn opened(path: &Path, more: OFlags) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?.into()))
    }

    /// The directory as a file.
    pub(crate) const fn file(&self) -> &File {
        &self.0
    }

    /// The names in it that are text.
    ///
    /// # Errors
    /// Those of getdents(2).
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Writes a file so that a reader sees the old one or the new one, whole. It is
    /// made with `mode`, as far as umask allows, and nobody finds it before `settle` is done,
    /// where the file system can make a file without a name.
    ///
    /// # Errors
    /// As for [`write_whole`], and those of `settle`.
    pub(crate) fn write(
        &self,
        name: &OsStr,
        bytes: &[u8],
        mode: u32,
        settle: impl Fn(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        // Also what a link leads to, which would not be led there any more.
        let there = rustix::fs::statat(&self.0, name, AtFlags::empty());
        let kind = |stat: rustix::fs::Stat| rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if there.is_ok_and(|stat| !kind(stat).is_file()) {
            return Err(not_regular());
        }
        self.put(name, bytes, mode, Place::Taken, settle)
    }

    fn put(
        &self,
        name: &OsStr,
        bytes: &[u8],
        mode: u32,
        place: Place,
        settle: impl Fn(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let fill = |mut file: &File| {
            file.write_all(bytes)?;
            settle(file)?;
            file.sync_all()
        };
        let mode = Mode::from_raw_mode(mode);
        if !self.put_nameless(name, mode, place, &fill)? {
            self.with_temporary(name, |temporary| {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                fill(&rustix::fs::openat(&self.0, temporary, flags, mode)?.into())?;
                self.rename(temporary, name, place)
            })?;
        }
        self.0.sync_all()
    }

    /// Fills a file that has no name before it is whole; returns whether that can be done
    /// here.
    fn put_nameless(
        &self,
        name: &OsStr,
        mode: Mode,
        place: Place,
        fill: &impl Fn(&File) -> io::Result<()>,
    ) -> io::Result<bool> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.0, ".", flags, mode) else {
            // Not every file system can do that, and it is said of the other way why there
            // is none.
            return Ok(false);
        };
        let file = File::from(file);
        fill(&file)?;
        // open(2), "O_TMPFILE"; without /proc it takes privileges.
        let opened = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let link = |to: &OsStr| {
            rustix::fs::linkat(rustix::fs::CWD, &opened, &self.0, to, AtFlags::SYMLINK_FOLLOW)
        };
        match link(name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if place == Place::Taken => {
                self.with_temporary(name, |temporary| {
                    link(temporary)?;
                    self.rename(temporary, name, place)
                })?;
                Ok(true)
            }
            Err(Errno::EXIST) => Err(Errno::EXIST.into()),
            Err(_) => Ok(false),
        }
    }

    /// Hands out a name that nothing has, and removes what is called so if that fails.
    fn with_temporary(
        &self,
        name: &OsStr,
        put: impl FnOnce(&OsStr) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut unique = [0; UNIQUE / 2];
        getrandom::fill(&mut unique).map_err(|error| io::Error::other(error.to_string()))?;
        let unique = data_encoding::HEXLOWER.encode(&unique);
        let temporary = match name.as_bytes() {
            name if name.len() <= LONGEST => [b".", name, b".", unique.as_bytes()].concat(),
            _ => [b".", unique.as_bytes()].concat(),
        };
        let temporary = OsStr::from_bytes(&temporary);
        put(temporary).inspect_err(|_| {
            let _ = self.remove(temporary);
        })
    }

    fn rename(&self, from: &OsStr, to: &OsStr, place: Place) -> io::Result<()> {
        if place == Place::Taken {
            return Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?);
        }
        match rustix::fs::renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE) {
            // Not every file system can do that.
            Err(Errno::INVAL) => {
                rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty())?;
                self.remove(from)
            }
            moved => Ok(moved?),
        }
    }
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// Gives a new file the owner and the mode of an old one. Where the group does not stay, the
/// mode is for another; and nobody gets a file of root's for having made another one there,
/// but those whose it would have been.
fn keep(new: &File, old: &Metadata, his: &[Option<u32>]) -> io::Result<()> {
    let meta = new.metadata()?;
    let is_same = (meta.uid(), meta.gid()) == (old.uid(), old.gid());
    let is_his = old.uid() == meta.uid() || meta.uid() == 0 && his.contains(&Some(old.uid()));
    let mode = match is_his {
        true if is_same || fchown(new, Some(old.uid()), Some(old.gid())).is_ok() => old.mode(),
        true => old.mode() & 0o707,
        false => old.mode() & meta.mode() & 0o707,
    };
    new.set_permissions(Permissions::from_mode(mode & 0o777))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};

    use super::super::is_not_regular;
    use super::*;

    #[test]
    fn only_a_file_is_replaced_and_it_keeps_its_mode_and_owner_where_it_is_the_users() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), 0o600.into()).unwrap();
        symlink(path("fifo"), path("to-fifo")).unwrap();
        symlink("/dev/null", path("null")).unwrap();
        std::fs::create_dir(path("dir")).unwrap();
        for name in ["fifo", "to-fifo", "null", "dir"] {
            let write = |over| match over {
                true => write_over(&path(name), b"x", 0o600, None),
                false => write_whole(&path(name), b"x", 0o600),
            };
            for over in [true, false] {
                let error = write(over).unwrap_err();
                assert!(is_not_regular(&error), "{name}: {error}");
            }
        }
        assert!(path("fifo").metadata().unwrap().file_type().is_fifo());
        assert!(path("to-fifo").is_symlink() && path("null").is_symlink());
        let mode = |name: &str| path(name).metadata().unwrap().mode() & 0o777;
        std::fs::write(path("old"), "old").unwrap();
        for (before, kept) in [(0o600, 0o600), (0o640, 0o640), (0o644, 0o644)] {
            std::fs::set_permissions(path("old"), Permissions::from_mode(before)).unwrap();
            write_over(&path("old"), b"new", 0o755, None).unwrap();
            assert_eq!((mode("old"), std::fs::read(path("old")).unwrap()), (kept, b"new".into()));
        }
        write_over(&path("new"), b"x", 0o600, None).unwrap();
        assert_eq!(mode("new"), 0o600);
        write_whole(&path("old"), b"x", 0o600).unwrap();
        assert_eq!(mode("old"), 0o600);
        // Nothing is left beside them.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 6);
    }

    #[test]
    fn a_file_of_another_user_is_not_his_after_root_has_written_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let written = |mode, sudo| {
            std::fs::write(&path, "old").unwrap();
            fchown(File::open(&path).unwrap(), Some(65_534), Some(65_534)).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            write_over(&path, b"new", 0o644, sudo).unwrap();
            let meta = path.metadata().unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o777)
        };
        let (uid, _, mode) = written(0o666, None);
        assert_eq!((uid, mode & 0o022), (0, 0));
        assert_eq!(written(0o600, Some(1)).0, 0);
        assert_eq!(written(0o600, None).2, 0o600);
        // But that of who has become root stays his.
        assert_eq!(written(0o640, Some(65_534)), (65_534, 65_534, 0o640));
        // So does one in the directory of the same user, who could not read it else.
        std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
        assert_eq!(written(0o600, None), (65_534, 65_534, 0o600));
    }

    #[test]
    fn what_is_cut_short_leaves_nothing_and_what_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Directory::open(dir.path()).unwrap();
        let names = || {
            let names = opened.names().unwrap().into_iter();
            names.filter(|name| name != "." && name != "..").collect::<Vec<_>>()
        };
        let name = OsStr::new("file");
        // Nobody finds it before it is whole.
        let has_nameless =
            rustix::fs::openat(opened.file(), ".", OFlags::WRONLY | OFlags::TMPFILE, Mode::RUSR);
        opened
            .write(name, b"one", 0o600, |_| {
                assert!(has_nameless.is_err() || names().is_empty(), "{:?}", names());
                Ok(())
            })
            .unwrap();
        assert_eq!(names(), ["file"]);
        let failed = |_: &File| Err(io::Error::other("no"));
        assert!(opened.write(name, b"two", 0o600, failed).is_err());
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"one");
        assert_eq!(names(), ["file"]);
        // The same where a file has to have a name from the start.
        for fails in [false, true] {
            let written = opened.with_temporary(name, |temporary| {
                let seen = temporary.to_str().unwrap();
                assert_eq!(is_temporary(seen), Some("file"), "{seen}");
                std::fs::write(dir.path().join(temporary), "three")?;
                if fails {
                    failed(opened.file())
                } else {
                    opened.rename(temporary, name, Place::Taken)
                }
            });
            assert_eq!(written.is_err(), fails);
            assert_eq!(names(), ["file"]);
        }
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"three");
        for other in ["file", ".file", ".file.0123", "file.0123456789abcdef", ".f.0123456789abcdeg"]
        {
            assert_eq!(is_temporary(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_with_the_longest_name_is_written_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for length in [LONGEST, LONGEST + 1, 250, 255] {
            let path = dir.path().join("n".repeat(length));
            for bytes in [b"one", b"two"] {
                write_whole(&path, bytes, 0o600).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "{length}");
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn what_is_written_stays_in_the_directory_that_was_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("good")).unwrap();
        std::fs::create_dir(path("trap")).unwrap();
        symlink(path("good"), path("link")).unwrap();
        assert!(Directory::open(&path("link")).is_err());
        let opened = Directory::open(&path("good")).unwrap();
        std::fs::rename(path("good"), path("moved")).unwrap();
        symlink(path("trap"), path("good")).unwrap();
        for bytes in [b"1", b"2"] {
            opened.write(OsStr::new("file"), bytes, 0o600, |_| Ok(())).unwrap();
            assert_eq!(std::fs::read(path("moved/file")).unwrap(), bytes);
        }
        assert_eq!(std::fs::read_dir(path("trap")).unwrap().count(), 0);
    }

    #[test]
    fn a_new_file_takes_nobodys_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/key");
        write_new(&path, b"one", 0o600).unwrap();
        let kind = write_new(&path, b"two", 0o600).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Nothing is left beside it.
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
