//! Descriptors of onion services, kept for the processes to come: with one, a
//! connection needs neither a circuit to a directory nor its answer. Owns their files.
//!
//! A file has what the directories of Tor have, under the name that they know it by: the
//! blinded identity of the service, which changes every day and from which nobody learns
//! the address (rend-spec-v3, sections 2.1 and 2.5). Who knows the address can tell that
//! the service was asked for here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tor_hsclient::DescriptorStore;
use tor_hscrypto::pk::HsBlindId;

use crate::file;

/// How long a directory keeps one (rend-spec-v3, section 2.5.1.2, `descriptor-lifetime`).
const LIFETIME: Duration = Duration::from_secs(3 * 60 * 60);
/// More than a directory accepts (`HSV3MaxDescriptorSize`, 50,000 bytes by default).
const MAX_BYTES: u64 = 128 * 1024;
/// Most files; more are of no use to anybody.
const MAX_FILES: usize = 1_000;

/// A directory of its own.
pub(super) struct Descriptors(PathBuf);

impl Descriptors {
    /// Below the cache of the Tor client.
    pub(super) fn below(cache: &Path) -> Self {
        Self(cache.join("descriptors"))
    }

    fn path(&self, id: &HsBlindId) -> PathBuf {
        self.0.join(data_encoding::HEXLOWER.encode(id.as_ref()))
    }
}

impl DescriptorStore for Descriptors {
    fn load(&self, id: &HsBlindId) -> Option<String> {
        let path = self.path(id);
        if !is_fresh(&path) {
            return None;
        }
        String::from_utf8(file::read_unlinked(&path, MAX_BYTES).ok()?).ok()
    }

    fn keep(&self, id: &HsBlindId, text: &str) {
        let (dir, path, text) = (self.0.clone(), self.path(id), text.to_owned());
        // The connection goes on meanwhile. What cannot be kept is asked for again.
        let keeping = move || {
            if sweep(&dir) < MAX_FILES {
                let _ = file::write_whole(&path, text.as_bytes(), 0o600);
            }
        };
        let _ = std::thread::Builder::new().name("descriptor".into()).spawn(keeping);
    }

    fn forget(&self, id: &HsBlindId) {
        let _ = fs::remove_file(self.path(id));
    }
}

/// Whether it was written not longer ago than it is of use, and not in the future.
fn is_fresh(path: &Path) -> bool {
    let written = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
    age.is_some_and(|age| age < LIFETIME)
}

/// Removes what is of no use any more, and counts the others. What has another name than
/// ours is somebody else's.
fn sweep(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let remains = |path: PathBuf| is_fresh(&path) || fs::remove_file(&path).is_err();
    let ours = entries.filter(|entry| is_ours(&entry.file_name().to_string_lossy()));
    ours.filter(|entry| remains(entry.path())).count()
}

/// A name of [`Descriptors::path`], or that of a file which is to have it
/// ([`file::write_whole`]).
fn is_ours(name: &str) -> bool {
    let name = name.strip_prefix('.').and_then(|rest| rest.split('.').next()).unwrap_or(name);
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn until_loaded(descriptors: &Descriptors, id: &HsBlindId) -> String {
        for _ in 0..1_000 {
            if let Some(text) = descriptors.load(id) {
                return text;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nothing was kept");
    }

    #[test]
    fn what_is_kept_is_loaded_until_it_is_old_or_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let descriptors = Descriptors::below(dir.path());
        let (id, other) = (HsBlindId::from([1; 32]), HsBlindId::from([2; 32]));
        assert_eq!(descriptors.load(&id), None);
        descriptors.keep(&id, "hs-descriptor 3\n");
        assert_eq!(until_loaded(&descriptors, &id), "hs-descriptor 3\n");
        assert_eq!(descriptors.load(&other), None);
        let path = descriptors.path(&id);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&descriptors.0).unwrap().permissions().mode() & 0o777, 0o700);
        let set = |time| File::open(&path).unwrap().set_modified(time).unwrap();
        set(SystemTime::now() - LIFETIME);
        assert_eq!(descriptors.load(&id), None);
        set(SystemTime::now() + Duration::from_secs(60));
        assert_eq!(descriptors.load(&id), None);
        // Another one takes its place.
        let unfinished = descriptors.0.join(format!(".{}.0123", "a".repeat(64)));
        let foreign = [descriptors.0.join("letter"), descriptors.0.join(".profile")];
        for path in foreign.iter().chain([&unfinished]) {
            fs::write(path, "").unwrap();
            File::open(path).unwrap().set_modified(SystemTime::now() - LIFETIME).unwrap();
        }
        descriptors.keep(&other, "new");
        assert_eq!(until_loaded(&descriptors, &other), "new");
        assert!(!path.exists() && !unfinished.exists());
        assert!(foreign.iter().all(|path| path.exists()), "what is not ours stays");
        descriptors.forget(&other);
        assert_eq!(descriptors.load(&other), None);
    }

    #[test]
    fn a_file_that_is_none_or_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let descriptors = Descriptors::below(dir.path());
        let id = HsBlindId::from([1; 32]);
        let path = descriptors.path(&id);
        fs::create_dir_all(&path).unwrap();
        assert_eq!(descriptors.load(&id), None);
        fs::remove_dir(&path).unwrap();
        fs::write(dir.path().join("elsewhere"), "text").unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert_eq!(descriptors.load(&id), None);
        fs::remove_file(&path).unwrap();
        fs::write(&path, vec![b'a'; MAX_BYTES as usize + 1]).unwrap();
        assert_eq!(descriptors.load(&id), None);
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(descriptors.load(&id), None);
    }
}
