//! The references by which nix is told of flakes (nix3-flake(1)): how a directory is
//! written as one, and what one says of this computer's files. Pure but for a look at
//! whether there is git.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::AsciiSet;

/// How nix is told of a directory: by git where there is git, which leaves out
/// what is not part of the clan.
pub fn reference(dir: &Path) -> String {
    let scheme = if dir.join(".git").exists() { "git+file" } else { "path" };
    located(scheme, dir)
}

/// The same without git, for a directory whose repository must not be read.
pub(super) fn as_path(dir: &Path) -> String {
    located("path", dir)
}

/// With an authority, which is empty: without it, nix 2.8 hands git `file:/a%20b`, which
/// is the path of a host called "file" to git.
fn located(scheme: &str, dir: &Path) -> String {
    let authority = if scheme == "path" { "" } else { "//" };
    format!("{scheme}:{authority}{}", encode(dir.as_os_str().as_bytes()))
}

/// The reference with the `path` that it leads to, wherever we stand and without links.
pub(super) fn resolved(reference: &str, path: &Path) -> Option<String> {
    let (scheme, rest) = reference.split_once(':')?;
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (_, more) = rest.split_at_checked(end)?;
    Some(format!("{}{more}", located(scheme, path)))
}

/// Whether a reference names a state of the repository, and not what is there now.
pub(super) fn is_pinned(reference: &str) -> bool {
    let query = reference.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    query.split('&').any(|field| field.starts_with("ref=") || field.starts_with("rev="))
}

/// The folder of `dir` that is the flake, if it does not lead out of it.
pub(super) fn inside(dir: &Path, reference: &str) -> Option<PathBuf> {
    use std::path::Component::{CurDir, Normal};
    let folder = PathBuf::from(folder(reference).map(decode).unwrap_or_default());
    let is_inside = folder.components().all(|part| matches!(part, Normal(_) | CurDir));
    // No slash at the end of it.
    is_inside.then(|| dir.join(folder).components().collect())
}

/// The characters of a path that mean something in a URL.
const SPECIAL: AsciiSet =
    percent_encoding::CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ').add(b'"');

/// A path as part of a URL.
pub(super) fn encode(path: &[u8]) -> String {
    percent_encoding::percent_encode(path, &SPECIAL).to_string()
}

/// The directory or the file here that a reference names, if it names one.
pub(super) fn local(reference: &str) -> Option<PathBuf> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_local = scheme == "path" || scheme.rsplit('+').next() == Some("file");
    let rest = rest.split(['?', '#']).next().filter(|_| is_local)?;
    // An authority, which is empty or this computer.
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.get(rest.find('/')?..)?,
        None => rest,
    };
    Some(PathBuf::from(decode(path)))
}

/// The reverse of [`encode`].
pub(super) fn decode(text: &str) -> OsString {
    OsString::from_vec(percent_encoding::percent_decode_str(text).collect())
}

/// `?dir=` of a reference, still encoded.
pub(super) fn folder(reference: &str) -> Option<&str> {
    let (_, query) = reference.split_once('?')?;
    let query = query.split('#').next()?;
    let mut fields = query.split('&').filter_map(|field| field.strip_prefix("dir="));
    fields.next().filter(|dir| !dir.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_directory_is_no_more_than_a_path() {
        let dir = Path::new("/tmp/a b#c?d%\"e");
        assert_eq!(reference(dir), "path:/tmp/a%20b%23c%3Fd%25%22e");
    }

    #[test]
    fn a_reference_to_a_directory_here_is_known_as_such() {
        let local = |text: &str| local(text).map(|path| path.to_string_lossy().into_owned());
        let same = Some("/a b/c".to_owned());
        for reference in [
            "path:/a%20b/c?dir=x",
            "git+file:///a b/c#x",
            "git+file:/a%20b/c",
            "file://localhost/a b/c",
            "tarball+file:///a b/c",
        ] {
            assert_eq!(local(reference), same, "{reference}");
        }
        assert_eq!(local("path:./x").as_deref(), Some("./x"));
        for reference in ["github:a/b", "git+ssh://h/a", "https://h/a", "x"] {
            assert_eq!(local(reference), None, "{reference}");
        }
        assert_eq!(folder("github:a/b?ref=x&dir=sub%20a#y"), Some("sub%20a"));
        assert_eq!(folder("github:a/b#dir=x"), None);
        assert_eq!(inside(Path::new("/a"), "x:y?dir=b%20c"), Some("/a/b c".into()));
        assert_eq!(inside(Path::new("/a"), "x:y?dir=../c"), None);
    }

    #[test]
    fn a_reference_means_the_same_wherever_one_stands() {
        let at = |text: &str| resolved(text, Path::new("/a b"));
        assert_eq!(at("path:./c?dir=x#y").as_deref(), Some("path:/a%20b?dir=x#y"));
        assert_eq!(at("git+file:c").as_deref(), Some("git+file:///a%20b"));
        assert_eq!(at("path:/c?x").as_deref(), Some("path:/a%20b?x"));
        assert_eq!(at("git+file:///c#d").as_deref(), Some("git+file:///a%20b#d"));
        let latin = PathBuf::from(OsString::from_vec(b"/r\xe9po".to_vec()));
        assert_eq!(resolved("git+file:///c", &latin).as_deref(), Some("git+file:///r%E9po"));
        for (reference, pinned) in
            [("x:y?dir=a&rev=1", true), ("x:y?ref=1", true), ("x:y?dir=ref=", false), ("x", false)]
        {
            assert_eq!(is_pinned(reference), pinned, "{reference}");
        }
    }
}
