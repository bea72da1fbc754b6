use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::Barrier;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::test_keys::*;
use super::*;

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

/// What lies in the directory, to see that nothing temporary is left.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn reason(error: Error) -> String {
    match error {
        Error::KnownHosts { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn the_first_key_makes_a_private_file_in_a_private_directory() {
    let dir = dir();
    let path = dir.path().join(".ssh/known_hosts");
    add(&path, "Host", 22, &key(&format!("{ED25519} a comment")), false).unwrap();
    add(&path, "host", 2222, &key(RSA), false).unwrap();
    assert_eq!(text(&path), format!("host {ED25519}\n[host]:2222 {RSA}\n"));
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(names(path.parent().unwrap()), ["known_hosts"]);
}

#[test]
fn a_last_line_without_newline_stays_whole() {
    let dir = dir();
    let path = dir.path().join("kh");
    std::fs::write(&path, "other line").unwrap();
    add(&path, "host", 22, &key(ED25519), false).unwrap();
    assert_eq!(text(&path), format!("other line\nhost {ED25519}\n"));
}

#[test]
fn a_known_key_is_not_added_twice_but_a_further_one_is() {
    let dir = dir();
    let path = dir.path().join("kh");
    add(&path, "host", 2222, &key(ED25519), true).unwrap();
    add(&path, "HOST", 2222, &key(ED25519), false).unwrap();
    assert_eq!(text(&path).lines().count(), 1);
    add(&path, "host", 2222, &key(RSA), false).unwrap();
    // The line for the port says nothing about the plain name.
    add(&path, "host", 22, &key(ED25519), false).unwrap();
    assert_eq!(text(&path).lines().count(), 3);
}

#[test]
fn trust_on_first_use_loses_to_a_key_stored_meanwhile() {
    let dir = dir();
    let path = dir.path().join("kh");
    add_first(&path, "host", 22, &key(ED25519), false).unwrap();
    add_first(&path, "host", 22, &key(ED25519), false).unwrap();
    for other in [OTHER_ED25519, RSA] {
        let error = add_first(&path, "host", 22, &key(other), false).unwrap_err();
        assert!(matches!(error, Error::HostKey { .. }), "{error}");
    }
    assert_eq!(text(&path), format!("host {ED25519}\n"));
}

#[test]
fn hashed_names_hide_the_name_and_are_found() {
    let dir = dir();
    let path = dir.path().join("kh");
    add(&path, "host", 22, &key(ED25519), true).unwrap();
    add(&path, "second", 22, &key(ED25519), true).unwrap();
    assert!(text(&path).starts_with("|1|"));
    assert!(!text(&path).contains("host"));
    let known = KnownHosts::load([&path]).unwrap();
    assert!(matches!(known.lookup("HOST", 22, &key(ED25519)), Verdict::Known { line: 1, .. }));
    assert_eq!(known.lookup("third", 22, &key(ED25519)), Verdict::Unknown);
}

#[test]
fn mode_and_symbolic_link_survive() {
    let dir = dir();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    let target = dir.path().join("real/kh");
    std::fs::write(&target, "").unwrap();
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    symlink("real/kh", &second).unwrap();
    symlink("second", &first).unwrap();
    add(&first, "host", 22, &key(ED25519), false).unwrap();
    assert!(std::fs::symlink_metadata(&first).unwrap().is_symlink());
    assert!(std::fs::symlink_metadata(&second).unwrap().is_symlink());
    assert_eq!((text(&target).lines().count(), mode(&target)), (1, 0o644));
}

#[test]
fn a_dangling_link_gets_its_target_and_a_loop_an_error() {
    let dir = dir();
    let link = dir.path().join("link");
    symlink("new/kh", &link).unwrap();
    add(&link, "host", 22, &key(ED25519), false).unwrap();
    assert_eq!(text(&dir.path().join("new/kh")).lines().count(), 1);
    let ring = dir.path().join("ring");
    symlink("ring", &ring).unwrap();
    assert!(reason(add(&ring, "host", 22, &key(ED25519), false).unwrap_err()).contains("links"));
}

#[test]
fn names_that_would_mean_more_than_themselves_are_not_written() {
    let dir = dir();
    let path = dir.path().join("kh");
    for name in
        ["", "*", "a*", "h?st", "a,b", "!a", "#a", "@revoked", "|1|", "a b", "a\nb", "[a]:1", "a\0"]
    {
        for hashed in [false, true] {
            let error = add(&path, name, 22, &key(ED25519), hashed).unwrap_err();
            assert!(reason(error).contains("cannot be written into the file"), "{name:?}");
        }
    }
    assert!(!path.exists());
}

#[test]
fn dev_null_is_an_empty_file_that_swallows_everything() {
    let null = Path::new("/dev/null");
    assert_eq!(read(null).unwrap(), None);
    add(null, "host", 22, &key(ED25519), false).unwrap();
    assert_eq!(read(null).unwrap(), None);
}

#[test]
fn only_regular_files_of_a_sane_size_are_read() {
    let dir = dir();
    assert!(reason(read(dir.path()).unwrap_err()).contains("not a regular file"));
    assert!(reason(read(Path::new("/dev/zero")).unwrap_err()).contains("not a regular file"));

    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    assert!(reason(read(&fifo).unwrap_err()).contains("not a regular file"));

    let large = dir.path().join("large");
    let file = File::create(&large).unwrap();
    file.set_len(MAX_SIZE).unwrap();
    assert!(read(&large).unwrap().is_some());
    file.set_len(MAX_SIZE + 1).unwrap();
    assert!(reason(read(&large).unwrap_err()).contains("64 MiB"));

    assert_eq!(read(&dir.path().join("missing")).unwrap(), None);
    assert_eq!(read(&large.join("below a file")).unwrap(), None);
}

#[test]
fn a_failed_update_leaves_the_old_file_and_nothing_else() {
    let dir = dir();
    let path = dir.path().join("kh");
    std::fs::write(&path, "old\n").unwrap();
    // Root ignores modes, so what fails is the directory: it is a file.
    let (file, before) = open_locked(&path, &path).unwrap();
    let none = path.join("kh");
    assert!(replace(&none, b"new\n", &file, &before).is_err());
    // And the target cannot be renamed over when it is a directory.
    let busy = dir.path().join("busy");
    std::fs::create_dir_all(busy.join("full")).unwrap();
    assert!(replace(&busy, b"new\n", &file, &before).is_err());
    assert_eq!(text(&path), "old\n");
    assert_eq!(names(dir.path()), ["busy", "kh"]);
}

#[test]
fn a_line_added_by_ssh_in_the_middle_of_an_update_is_noticed() {
    let dir = dir();
    let path = dir.path().join("kh");
    let (file, before) = open_locked(&path, &path).unwrap();
    // ssh(1) appends without a lock.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"by ssh\n").unwrap();
    assert!(!replace(&path, b"new\n", &file, &before).unwrap());
    assert_eq!(text(&path), "by ssh\n");
    assert_eq!(names(dir.path()), ["kh"]);
}

#[test]
fn whoever_waited_for_the_lock_opens_the_new_file() {
    let dir = dir();
    let path = dir.path().join("kh");
    let (file, before) = open_locked(&path, &path).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| add(&path, "host", 22, &key(ED25519), false));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        assert!(replace(&path, b"first\n", &file, &before).unwrap());
        drop(file);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(text(&path), format!("first\nhost {ED25519}\n"));
}

#[test]
fn a_file_that_was_replaced_or_removed_is_not_taken_for_the_one_there() {
    let dir = dir();
    let path = dir.path().join("kh");
    let (file, before) = open_locked(&path, &path).unwrap();
    assert!(still_there(&before, &path).unwrap());
    assert!(replace(&path, b"new\n", &file, &before).unwrap());
    assert!(!still_there(&before, &path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(!still_there(&before, &path).unwrap());
}

#[test]
fn many_writers_at_once_lose_nothing() {
    const WRITERS: usize = 8;
    const KEYS: usize = 20;
    let dir = dir();
    let path = dir.path().join(".ssh/known_hosts");
    let start = Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (path, start) = (&path, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..KEYS {
                    let name = format!("host-{writer}-{number}");
                    add(path, &name, 22, &key(ED25519), number % 2 == 0).unwrap();
                }
            });
        }
    });
    let known = KnownHosts::load([&path]).unwrap();
    assert_eq!((text(&path).lines().count(), known.skipped()), (WRITERS * KEYS, 0));
    for writer in 0..WRITERS {
        for number in 0..KEYS {
            let name = format!("host-{writer}-{number}");
            let verdict = known.lookup(&name, 22, &key(ED25519));
            assert!(matches!(verdict, Verdict::Known { .. }), "{name}: {verdict:?}");
        }
    }
    assert_eq!(names(path.parent().unwrap()), ["known_hosts"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_name_is_either_refused_or_means_exactly_itself(
        name in "\\PC{1,12}|[a-z*?!,|@#\\[\\]: ]{1,8}", port: u16, hashed: bool,
    ) {
        let dir = dir();
        let path = dir.path().join("kh");
        if add(&path, &name, port, &key(ED25519), hashed).is_ok() {
            let known = KnownHosts::load([&path]).unwrap();
            let found = known.lookup(&name, port, &key(ED25519));
            prop_assert!(matches!(found, Verdict::Known { .. }), "{found:?}");
            let other = known.lookup(&format!("{name}x"), port, &key(ED25519));
            prop_assert_eq!(other, Verdict::Unknown);
        }
    }
}
