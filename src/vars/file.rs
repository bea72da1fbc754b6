//! Reads a file of the clan. Owns the rule that it lies inside the clan; what kind of
//! file it may be is that of `crate::file`.

use std::path::Path;

use crate::error::{Error, Result};
use crate::file;

/// Bound on the entries of a folder: more than any clan has machines or vars.
const MAX_NAMES: usize = 10_000;
/// What is wrong with a link to elsewhere.
const LEAVES: &str = "it is a link that leaves the clan";

/// The bytes of `path` below `root`, which must be canonical; `None` when there
/// is no such file.
///
/// # Errors
/// [`Error::VarBroken`], [`Error::TooLarge`] and [`Error::File`], also for a link on the
/// way that leads nowhere, and for anything on it that is no folder.
pub(super) fn read(root: &Path, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let path = root.join(path);
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if file::is_absent(error.kind()) => {
            return none_below(root, &path).map(|()| None);
        }
        Err(source) => return Err(Error::File { action: "read", path, source }),
    };
    if !real.starts_with(root) {
        return Err(Error::VarBroken { path, reason: LEAVES.into() });
    }
    // The canonical path has no links; one put in its place since is refused.
    file::read_unlinked(&real, limit).map(Some).map_err(broken)
}

/// The names in the folder `path` below `root`, in their order; none when there is no such
/// folder.
///
/// # Errors
/// [`Error::File`] and [`Error::VarBroken`]: what cannot be seen is not none.
pub(super) fn names(root: &Path, path: &Path) -> Result<Vec<String>> {
    let dir = &root.join(path);
    let failed = |source| Error::File { action: "read", path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if file::is_absent(error.kind()) => {
            return none_below(root, dir).map(|()| Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name());
        if names.len() > MAX_NAMES {
            let reason = format!("it has more than {MAX_NAMES} entries");
            return Err(Error::VarBroken { path: dir.to_owned(), reason });
        }
    }
    // No machine and no var can have another name.
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// The bytes of a file that lies where a convention says.
pub(super) fn read_any(path: &Path, limit: u64) -> Result<Vec<u8>> {
    file::read(path, limit).map_err(broken)
}

/// The bytes of a file that the user named, see [`file::read_named`].
pub(super) fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>> {
    file::read_named(path, limit).map_err(broken)
}

/// Something else in the place of a file is a mistake in the clan.
fn broken(error: Error) -> Error {
    match error {
        Error::File { path, source, .. } if file::is_not_regular(&source) => {
            Error::VarBroken { path, reason: source.to_string() }
        }
        other => other,
    }
}

/// That there is nothing at `path`, which nothing below `root` is to blame for: neither a link
/// that leads nowhere or out of the clan nor something else in the place of a folder.
fn none_below(root: &Path, path: &Path) -> Result<()> {
    let mut way = path.ancestors().take_while(|at| *at != root);
    way.next().map_or(Ok(()), file::leads_somewhere)?;
    way.try_for_each(|at| {
        file::leads_somewhere(at)?;
        let broken =
            |reason: &str| Err(Error::VarBroken { path: at.to_owned(), reason: reason.to_owned() });
        match (at.metadata(), at.canonicalize()) {
            (Ok(meta), _) if !meta.is_dir() => {
                broken("it is no folder; put back the folder that was there, or remove it")
            }
            // What belongs there may be on a file system that is not mounted.
            (_, Ok(real)) if !real.starts_with(root) => broken(LEAVES),
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_not_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("many")).unwrap();
        for at in 0..=MAX_NAMES {
            std::fs::write(path(&format!("many/{at}")), "").unwrap();
        }
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        std::os::unix::fs::symlink("elsewhere", path("away")).unwrap();
        let names = |name: &str| names(dir.path(), Path::new(name));
        for name in ["none", "many/0"] {
            assert_eq!(names(name).unwrap(), Vec::<String>::new(), "{name}");
        }
        for (name, named) in [("loop", "loop"), ("many", "many"), ("away/folder", "away")] {
            let error = names(name).unwrap_err().to_string();
            assert!(error.contains(&format!("{}", path(named).display())), "{error}");
        }
    }

    #[test]
    fn what_stands_in_the_place_of_a_folder_is_not_none() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("folder")).unwrap();
        std::fs::write(root.join("folder/file"), "x").unwrap();
        std::os::unix::fs::symlink("folder/file", root.join("linked")).unwrap();
        for (name, named) in [
            ("folder/file/value", "folder/file"),
            ("folder/file/key/value", "folder/file"),
            ("linked/value", "linked"),
        ] {
            let broken = |error: Error| match error {
                Error::VarBroken { path, reason } => {
                    assert!(reason.contains("no folder"), "{reason}");
                    assert_eq!(path, root.join(named), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            };
            broken(read(&root, Path::new(name), 9).unwrap_err());
        }
        // A file among folders has no names in it, and those below it are astray.
        assert!(names(&root, Path::new("folder/file")).unwrap().is_empty());
        assert!(names(&root, Path::new("folder/file/more")).is_err());
    }

    #[test]
    fn a_link_that_leaves_the_clan_is_not_none_whatever_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let root = base.join("clan");
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(base.join("mount")).unwrap();
        std::os::unix::fs::symlink(base.join("mount"), root.join("vars")).unwrap();
        for there in [false, true] {
            match read(&root, Path::new("vars/key/value"), 9) {
                Err(Error::VarBroken { reason, .. }) => assert_eq!(reason, LEAVES, "{there}"),
                other => panic!("{other:?}"),
            }
            std::fs::create_dir_all(base.join("mount/key")).unwrap();
            std::fs::write(base.join("mount/key/value"), "x").unwrap();
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_broken_wherever_on_the_way_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        std::fs::create_dir_all(root.join("kept/key")).unwrap();
        std::fs::write(root.join("kept/key/value"), "x").unwrap();
        link("kept", "linked");
        link("kept/key/none", "nowhere");
        link("kept/key/value/none", "below-a-file");
        link("../none", "kept/away");
        let read = |name: &str| read(&root, Path::new(name), 9);
        assert_eq!(read("linked/key/value").unwrap().as_deref(), Some(&b"x"[..]));
        for name in ["linked/none", "linked/none/value", "none"] {
            assert_eq!(read(name).unwrap(), None, "{name}");
        }
        for (name, named) in [
            ("nowhere", "nowhere"),
            ("nowhere/key/value", "nowhere"),
            ("below-a-file", "below-a-file"),
            ("linked/away/value", "linked/away"),
        ] {
            match read(name) {
                Err(Error::File { path, source, .. }) => {
                    assert!(source.to_string().contains("leads nowhere"), "{source}");
                    assert_eq!(path, root.join(named), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
