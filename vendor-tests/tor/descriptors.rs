//! The descriptor of an onion service is kept for the next process, which then asks no
//! directory; and one that is of no use costs nothing but time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Machine;
use super::network::network;
use crate::harness::until;

/// The only descriptor that is kept below `dir`, once it is there.
fn kept(dir: &Path) -> PathBuf {
    let mut found = Vec::new();
    until("a descriptor is kept", || {
        found = below(dir);
        found.len() == 1 && !name(&found[0]).starts_with('.')
    });
    found.remove(0)
}

/// The files in directories of descriptors below `dir`.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(below(&path)),
            false if dir.ends_with("descriptors") => found.push(path),
            false => {}
        }
    }
    found
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}

fn written(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn who_was_asked_for_before_is_reached_without_a_directory() {
    let (network, _turn) = network();
    let machine = Machine::reachable(network);
    let state = machine.home.path("state");
    machine.ssh(&[], &["true"]).exits(0);
    let path = kept(&state);
    let is_hex = |name: &str| name.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(name(&path).len() == 64 && is_hex(name(&path)), "{path:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A directory's answer would be written again. A directory is asked as well where the
    // service was slow to answer, as on a busy computer.
    until("the kept one is enough", || {
        let before = written(&path);
        machine.ssh(&[], &["true"]).exits(0);
        assert_eq!(kept(&state), path);
        written(&path) == before
    });
    let before = written(&path);
    // What is damaged or too old is asked for again.
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    machine.ssh(&[], &["true"]).exits(0);
    until("a whole one takes its place", || fs::read(kept(&state)).unwrap().len() >= text.len());
    let old = SystemTime::now() - std::time::Duration::from_secs(3 * 60 * 60);
    fs::File::open(kept(&state)).unwrap().set_modified(old).unwrap();
    machine.ssh(&[], &["true"]).exits(0);
    until("a new one takes its place", || written(&kept(&state)) > before);
    // Nothing is kept where nothing may be.
    let none = ["--exports", "exports.json", "--tor-config", "arti.toml", "--tor", "embedded"];
    let command = ["--tor-state", "none", "ssh", "m", "-l", "root", "-c", "true"];
    machine.home.run(&[&none[..], &command].concat()).exits(0);
    assert_eq!(below(&machine.home.path("home")), Vec::<PathBuf>::new());
}

#[test]
fn a_service_that_has_begun_again_is_found_though_its_old_descriptor_was_kept() {
    let (network, _turn) = network();
    let mut machine = Machine::reachable(network);
    let state = machine.home.path("state");
    machine.ssh(&[], &["true"]).exits(0);
    let path = kept(&state);
    let old = fs::read(&path).unwrap();
    // Its introduction points are others then, and the old ones know nothing of it.
    let port = machine.server.address.port();
    drop(std::mem::replace(&mut machine._tor, network.tor(&machine.home, "idle", "SocksPort 0\n")));
    let (tor, onion) = network.onion(&machine.home, "onion", port, "");
    machine._tor = tor;
    assert_eq!(onion, machine.onion);
    // Another state, which has none of it.
    machine.until_reachable(&[]);
    machine.ssh(&[], &["true"]).exits(0);
    until("the new one is kept", || fs::read(kept(&state)).unwrap() != old);
}
