//! The crates in `Cargo.lock` that somebody has warned of, against what
//! `docs/dependencies.md` says of them; and that tests build no crate otherwise than the
//! program does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{start, wait};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The crates of the lock file.
fn locked() -> BTreeSet<String> {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    packages.iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect()
}

/// The crate and the advisory in each row of the document's first table.
fn explained() -> BTreeSet<(String, String)> {
    let text = read("docs/dependencies.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.split('`').next()?.to_owned();
        let advisory = cells.next()?.to_owned();
        advisory.starts_with("RUSTSEC-").then_some((name, advisory))
    });
    rows.collect()
}

/// Crates that nobody maintains, by RustSec's database.
fn unmaintained() -> BTreeSet<(String, String)> {
    let list = read("fixtures/rustsec/unmaintained");
    let lines = list.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, advisory)| (name.to_owned(), advisory.to_owned())).collect()
}

#[test]
fn every_unmaintained_crate_is_explained_and_nothing_is_explained_that_is_gone() {
    let (locked, explained, unmaintained) = (locked(), explained(), unmaintained());
    assert!(locked.len() > 100 && unmaintained.len() > 100, "the files are read");
    let found: BTreeSet<_> =
        unmaintained.into_iter().filter(|(name, _)| locked.contains(name)).collect();
    let new: Vec<_> = found.difference(&explained).collect();
    assert!(new.is_empty(), "not in docs/dependencies.md: {new:?}");
    let gone: Vec<_> = explained.iter().filter(|(name, _)| !locked.contains(name)).collect();
    assert!(gone.is_empty(), "no longer in Cargo.lock, but in docs/dependencies.md: {gone:?}");
    // The one that is more than unmaintained.
    assert!(explained.iter().any(|(name, _)| name == "rsa"), "{explained:?}");
}

/// Every crate that is compiled, with its features, as edges of these kinds ask for them.
fn features(edges: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["tree", "--offline", "--locked", "--prefix=none"]);
    command.args(["--format={p}: {f}", &format!("--edges={edges}")]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = wait(start(&mut command, "cargo"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // Where a crate is named again, it is marked.
    let lines = String::from_utf8(done.stdout).unwrap();
    lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

#[test]
fn tests_and_the_demo_compile_no_crate_of_the_program_once_more() {
    let (program, tests) = (features("normal,build"), features("normal,build,dev"));
    assert!(program.len() > 300 && tests.len() > program.len(), "{} crates", program.len());
    let twice: Vec<_> = program.difference(&tests).collect();
    assert!(twice.is_empty(), "dev-dependencies change the features of {twice:?}");
}
