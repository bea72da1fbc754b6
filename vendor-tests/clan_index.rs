//! What the real git tracks is what the fingerprint of a clan counts, in whatever format git
//! keeps it, and wherever.

use std::fs;

use crate::harness::{Home, run};

const WITH_NIX: (&str, &str) = ("PATH", "/usr/bin:/bin");
const FLAKE: &str = "{ outputs = _: { clan.exports.net = { priority = 1; \
                     peers.m.host.plain = \"127.0.0.1\"; }; }; }";

struct Place(Home);

impl Place {
    /// A clan in `origin` with its snapshot, as long as there was no git.
    fn new() -> Self {
        let home = Home::new();
        println!("{}", run("nix", &["--version"], "nix-bin"));
        println!("{}", run("git", &["--version"], "git"));
        home.write("origin/flake.nix", FLAKE);
        home.write("origin/a/b.nix", "{ }");
        home.write("origin/a.nix", "{ }");
        home.write("origin/vars/shared/g/f/value", "1");
        let args = ["--flake", "origin", "exports", "snapshot"];
        home.run_with_env(&args, &[WITH_NIX]).exits(0);
        fs::remove_dir_all(home.path("home/.cache")).unwrap();
        Self(home)
    }

    fn git(&self, dir: &str, args: &[&str]) -> String {
        let dir = self.0.path(dir).display().to_string();
        let who = ["-C", &dir, "-c", "user.name=a", "-c", "user.email=a@example.com"];
        let local = ["-c", "protocol.file.allow=always"];
        run("git", &[&who[..], &local, args].concat(), "git")
    }

    /// The same files in a directory of their own.
    fn copy(&self, to: &str) {
        let [from, to] = ["origin", to].map(|name| self.0.path(name).display().to_string());
        run("cp", &["-r", &from, &to], "coreutils");
    }

    fn has_changed(&self, dir: &str) -> bool {
        // Neither nix nor a cache.
        let done = self.0.run(&["--flake", dir, "network", "list"]).exits(0);
        assert!(done.text().contains("net"), "{}", done.text());
        done.stderr.contains("the clan has changed since clan-connect.json was made")
    }

    fn counts_what_is_tracked(&self, dir: &str) {
        assert!(!self.has_changed(dir), "{dir}");
        self.0.write(&format!("{dir}/a/scratch"), "x");
        self.0.write(&format!("{dir}/.flake.nix.swp"), "x");
        assert!(!self.has_changed(dir), "{dir}: what git does not track counts");
        self.0.write(&format!("{dir}/a/b.nix"), "{ a = 1; }");
        assert!(self.has_changed(dir), "{dir}: what git tracks does not count");
        self.0.write(&format!("{dir}/a/b.nix"), "{ }");
        assert!(!self.has_changed(dir), "{dir}");
        self.git(dir, &["add", "--intent-to-add", "a/scratch"]);
        assert!(self.has_changed(dir), "{dir}: what is to be added does not count");
        self.git(dir, &["reset", "-q", "--", "a/scratch"]);
        assert!(!self.has_changed(dir), "{dir}");
    }
}

#[test]
fn every_format_of_the_index_says_the_same() {
    let place = Place::new();
    for format in ["sha1", "sha256"] {
        for version in ["2", "3", "4"] {
            let dir = format!("{format}-{version}");
            place.copy(&dir);
            place.git(&dir, &["init", "-q", "--object-format", format]);
            place.git(&dir, &["config", "index.version", version]);
            place.git(&dir, &["add", "--all"]);
            place.git(&dir, &["commit", "-qm", "x"]);
            place.git(&dir, &["update-index", "--index-version", version, "--untracked-cache"]);
            place.counts_what_is_tracked(&dir);
        }
    }
}

#[test]
fn a_work_tree_and_a_submodule_have_their_own_index() {
    let place = Place::new();
    // The vars are a repository of their own.
    place.copy("vars");
    fs::remove_file(place.0.path("vars/clan-connect.json")).unwrap();
    run(
        "sh",
        &[
            "-c",
            "cd \"$1\" && mv vars/shared . && rm -r vars a a.nix flake.nix",
            "-",
            place.0.path("vars").to_str().unwrap(),
        ],
        "coreutils",
    );
    place.git("vars", &["init", "-q"]);
    place.git("vars", &["add", "--all"]);
    place.git("vars", &["commit", "-qm", "x"]);
    place.copy("clan");
    fs::remove_dir_all(place.0.path("clan/vars")).unwrap();
    place.git("clan", &["init", "-q"]);
    let url = place.0.path("vars").display().to_string();
    place.git("clan", &["submodule", "add", "-q", &url, "vars"]);
    place.git("clan", &["add", "--all"]);
    place.git("clan", &["commit", "-qm", "x"]);
    // But for .gitmodules, it is the clan that the snapshot was made of.
    place.git("clan", &["rm", "-q", "--cached", ".gitmodules"]);
    place.counts_what_is_tracked("clan");
    place.0.write("clan/vars/shared/g/scratch", "x");
    assert!(!place.has_changed("clan"));
    place.0.write("clan/vars/shared/g/f/value", "2");
    assert!(place.has_changed("clan"));

    place.copy("first");
    place.git("first", &["init", "-q"]);
    place.git("first", &["add", "--all"]);
    place.git("first", &["commit", "-qm", "x"]);
    let second = place.0.path("second").display().to_string();
    place.git("first", &["worktree", "add", "-q", &second]);
    assert!(place.0.path("second/.git").is_file());
    place.counts_what_is_tracked("second");
}

#[test]
fn what_the_index_leaves_open_is_asked_of_the_files() {
    let place = Place::new();
    let made = |dir: &str| {
        place.copy(dir);
        place.git(dir, &["init", "-q"]);
        place.git(dir, &["add", "--all"]);
        place.git(dir, &["commit", "-qm", "x"]);
    };
    made("split");
    place.git("split", &["update-index", "--split-index"]);
    // Nix reads such a repository without git.
    made("includes");
    let config = place.0.read("includes/.git/config");
    place.0.write("includes/.git/config", config + "[include]\n\tpath = x\n");
    made("broken");
    place.0.write("broken/.git/index", "DIRC");
    for dir in ["split", "includes", "broken"] {
        assert!(!place.has_changed(dir), "{dir}");
        place.0.write(&format!("{dir}/scratch"), "x");
        assert!(place.has_changed(dir), "{dir}");
    }
}
