//! What lies in `vendor` is crates as they were published, with the patches beside them and
//! nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{run, start, wait};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What we have no use for: tests, examples, and what describes the package.
const LEFT_OUT: [&str; 10] = [
    ".cargo-checksum.json",
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml.orig",
    "README.md",
    "benches/",
    "examples/",
    "src/client/test.rs",
    "src/tests.rs",
    "tests/",
];

/// The published crate `name` of the version that the manifest names, or for one that only
/// others depend on of the version that lies here; from the registry or from what cargo has
/// of it already.
fn published(name: &str, dir: &Path) -> PathBuf {
    let manifest = std::fs::read_to_string(format!("{ROOT}/Cargo.toml")).unwrap();
    let line =
        manifest.lines().find(|line| line.starts_with(&format!("{name} = {{ path"))).unwrap();
    let ours = format!("path = \"vendor/{name}\", version = \"");
    let line = match line.contains(&ours) {
        true => line.replace(&ours, "version = \"="),
        false => format!("{name} = \"={}\"", version(name)),
    };
    let text = format!(
        "[package]\nname = \"published\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"lib.rs\"\n[workspace]\n[dependencies]\n{line}\n"
    );
    std::fs::write(dir.join("Cargo.toml"), text).unwrap();
    std::fs::write(dir.join("lib.rs"), "").unwrap();
    // The versions of everything else are ours, which cargo has.
    std::fs::copy(format!("{ROOT}/Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let vendor = |more: &[&str]| {
        let mut command = Command::new(&cargo);
        command.args(["vendor", "--quiet"]).args(more).arg("all").current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        wait(start(&mut command, "cargo"))
    };
    if !vendor(&["--offline"]).status.success() {
        let done = vendor(&[]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    dir.join("all").join(name)
}

/// The version of what lies in `vendor`.
fn version(name: &str) -> String {
    let manifest = std::fs::read_to_string(format!("{ROOT}/vendor/{name}/Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    version.trim_matches('"').to_owned()
}

/// The manifest of a crate as it was published.
fn original_manifest(name: &str, dir: &Path) -> String {
    let again = tempfile::tempdir_in(dir).unwrap();
    std::fs::read_to_string(published(name, again.path()).join("Cargo.toml")).unwrap()
}

/// The files below `dir`, by their names from there.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(dir).unwrap();
                    found.insert(name.to_str().unwrap().to_owned());
                }
            }
        }
    }
    found
}

/// The published crate with our patches, below `dir`.
fn patched(name: &str, dir: &Path) -> PathBuf {
    let patched = published(name, dir);
    let mut patches: Vec<_> = std::fs::read_dir(format!("{ROOT}/vendor/{name}-patches"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "patch"))
        .collect();
    patches.sort();
    assert!(!patches.is_empty());
    let tree = patched.to_str().unwrap();
    for patch in &patches {
        println!("{}", patch.display());
        let patch = patch.to_str().unwrap();
        run(
            "patch",
            &["-p1", "-s", "-F0", "--no-backup-if-mismatch", "-d", tree, "-i", patch],
            "patch",
        );
    }
    patched
}

/// Compares what lies in `vendor` with the published crate and its patches, but for the
/// files that are left out.
fn is_published_but_for_the_patches(name: &str, left_out: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let patched = patched(name, dir.path());
    let ours = PathBuf::from(format!("{ROOT}/vendor/{name}"));
    let mut expected = files(&patched);
    expected.retain(|file| !left_out.iter().any(|left_out| file.starts_with(left_out)));
    assert_eq!(files(&ours), expected);
    for file in expected {
        let same =
            std::fs::read(ours.join(&file)).unwrap() == std::fs::read(patched.join(&file)).unwrap();
        assert!(same, "vendor/{name}/{file} has changes that are in no patch");
    }
}

#[test]
fn russh_is_the_published_crate_with_the_patches_beside_it() {
    is_published_but_for_the_patches("russh", &LEFT_OUT);
}

#[test]
fn tor_hsclient_is_the_published_crate_with_the_patches_beside_it() {
    // Its documentation takes in its README.
    let left_out: Vec<_> = LEFT_OUT.into_iter().filter(|name| *name != "README.md").collect();
    is_published_but_for_the_patches("tor-hsclient", &left_out);
}

#[test]
fn tokio_websockets_is_the_published_crate_with_the_patch_beside_it() {
    let more = [
        ".cargo/",
        ".codespellrc",
        ".dockerignore",
        ".github/",
        "CHANGELOG.md",
        "autobahn/",
        "clippy.toml",
        "rustfmt.toml",
        "scripts/",
    ];
    let left_out = LEFT_OUT.into_iter().filter(|name| *name != "README.md").chain(more);
    is_published_but_for_the_patches("tokio-websockets", &left_out.collect::<Vec<_>>());
}

#[test]
fn gotatun_is_the_published_crate_with_the_patches_beside_it() {
    is_published_but_for_the_patches("gotatun", &LEFT_OUT);
}

#[test]
fn smoltcp_is_the_published_crate_with_the_patches_beside_it() {
    let more = [
        ".github/",
        "CHANGELOG.md",
        "CONTRIBUTING.txt",
        "ci.sh",
        "gen_config.py",
        "src/iface/interface/tests/",
        "utils/",
    ];
    let left_out = LEFT_OUT.into_iter().chain(more);
    is_published_but_for_the_patches("smoltcp", &left_out.collect::<Vec<_>>());
}

/// The published manifest without what examples and benchmarks need, which are not run.
fn manifest_for_tests(published: &str) -> String {
    let unused = ["ratatui", "termion", "tokio-fd", "russh-sftp", "criterion", "shell-escape"];
    let is_needed = |section: &&str| {
        let title = section.lines().next().unwrap_or_default();
        !["[example]]", "[bench]]", "dev-dependencies.clap]"].contains(&title)
            && !unused.iter().any(|name| title.ends_with(&format!("dependencies.{name}]")))
    };
    // What the tests use of tokio comes with a crate that is left out.
    let tokio = "[dev-dependencies.tokio]";
    let sections = published.split("\n[").filter(is_needed).collect::<Vec<_>>().join("\n[");
    let sections = sections.replace("[\"dep:criterion\"]", "[]");
    let (before, after) = sections.split_once(tokio).unwrap();
    let after = after.replacen("features = [", "features = [\"process\", ", 1);
    format!("{before}{tokio}{after}\n[workspace]\n")
}

#[test]
#[ignore = "compiles russh once more; vendor-tests/run has it run alone"]
fn russhs_own_tests_pass_with_the_patches() {
    // Below our configuration and beside what was compiled for us.
    let dir = tempfile::tempdir_in(format!("{ROOT}/target")).unwrap();
    let patched = patched("russh", dir.path());
    let name = format!("{}/Cargo.toml", patched.display());
    let original = original_manifest("russh", dir.path());
    std::fs::write(&name, manifest_for_tests(&original)).unwrap();
    std::fs::copy(format!("{ROOT}/Cargo.lock"), patched.join("Cargo.lock")).unwrap();
    let _ = std::fs::remove_dir_all(patched.join("examples"));
    let _ = std::fs::remove_dir_all(patched.join("benches"));
    // It connects to a listener that a task begins after its answer.
    let contention = patched.join("tests/test_contention.rs");
    let text = std::fs::read_to_string(&contention).unwrap();
    let connect = "TcpStream::connect(tcp_addr).await.unwrap();";
    assert!(text.contains(connect));
    let retried = "loop { match TcpStream::connect(tcp_addr).await { Ok(stream) => break stream, \
                   Err(_) => tokio::task::yield_now().await } };";
    std::fs::write(&contention, text.replace(connect, retried)).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    // Its many programs of tests take minutes to optimise, and seconds to run.
    command.args(["test", "--no-fail-fast", "--lib", "--tests"]);
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.args(["--no-default-features", "--features", "flate2,ring,rsa"]);
    command.current_dir(&patched).env("CARGO_TARGET_DIR", format!("{ROOT}/target"));
    command.stdin(Stdio::null());
    let status = command.status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
#[ignore = "compiles smoltcp once more; vendor-tests/run has it run alone"]
fn smoltcps_own_tests_pass_with_the_patches() {
    let dir = tempfile::tempdir_in(format!("{ROOT}/target")).unwrap();
    let patched = patched("smoltcp", dir.path());
    let original = original_manifest("smoltcp", dir.path());
    std::fs::write(patched.join("Cargo.toml"), format!("{original}\n[workspace]\n")).unwrap();
    std::fs::copy(format!("{ROOT}/Cargo.lock"), patched.join("Cargo.lock")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["test", "--lib", "--no-default-features", "--features"]);
    command.arg("alloc,async,medium-ip,proto-ipv4,proto-ipv6,socket-tcp,socket-tcp-cubic,std");
    command.current_dir(&patched).env("CARGO_TARGET_DIR", format!("{ROOT}/target"));
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{status}");
}
