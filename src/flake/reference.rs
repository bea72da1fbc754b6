//! The references by which nix is told of flakes (nix3-flake(1)): how a directory is
//! written as one, and what one says of this computer's files. Pure but for a look at
//! whether there is git.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use percent_encoding::AsciiSet;

/// How nix is told of a directory: by git where there is git, which leaves out
/// what is not part of the clan.
pub fn reference(dir: &Path) -> String {
    let scheme = if dir.join(".git").exists() { "git+file" } else { "path" };
    format!("{scheme}:{}", encode(&dir.to_string_lossy()))
}

/// The characters of a path that mean something in a URL.
const SPECIAL: AsciiSet =
    percent_encoding::CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ').add(b'"');

/// A path as part of a URL.
pub(super) fn encode(path: &str) -> String {
    percent_encoding::utf8_percent_encode(path, &SPECIAL).to_string()
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
    }
}
