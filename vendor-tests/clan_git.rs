//! What the real git does while the real nix has it read a clan's repository: nothing
//! that the repository asks for, whoever has written its settings.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Home, Run, run, start, wait};

const NOBODY: u32 = 65534;

fn list(home: &Home, clan: &str) -> Run {
    let mut command = home.command(&["--flake", clan, "network", "list"]);
    command.current_dir(home.path(".")).env("PATH", "/usr/bin:/bin");
    Run::of(wait(start(&mut command, "util-linux")))
}

fn git(home: &Home, clan: &str, args: &[&str]) {
    let at = home.path(clan).display().to_string();
    let author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"];
    run("git", &[&["-C", &at], &author[..], args].concat(), "git");
}

/// A clan in a repository.
fn clan(home: &Home, name: &str) {
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    home.write(&format!("{name}/flake.nix"), "{ outputs = _: { clan.exports = { }; }; }");
    home.write(&format!("{name}/notes"), "1");
    git(home, name, &["init", "-q"]);
    home.write(&format!("{name}/.gitattributes"), "notes filter=x diff=y\n");
    git(home, name, &["add", "."]);
    git(home, name, &["commit", "-q", "-m", "x"]);
}

/// Settings and hooks that each leave a file when something runs them.
fn trap(home: &Home, name: &str, repository: &str) {
    let leave = |what: &str| format!("touch {}; cat", home.path(&format!("ran-{what}")).display());
    for (key, what) in [
        ("core.fsmonitor", "fsmonitor"),
        ("filter.x.clean", "clean"),
        ("filter.x.smudge", "smudge"),
        ("diff.y.command", "driver"),
        ("diff.external", "external"),
    ] {
        git(home, name, &["config", key, &leave(what)]);
    }
    git(home, name, &["config", "diff.trustExitCode", "true"]);
    git(home, name, &["config", "diff.y.trustExitCode", "true"]);
    git(home, name, &["config", "filter.x.required", "true"]);
    let hook = format!("#!/bin/sh\n{}\n", leave("hook"));
    home.script(&format!("{repository}/hooks/post-index-change"), hook);
}

fn ran(home: &Home) -> Vec<String> {
    let names = fs::read_dir(home.path(".")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut ran: Vec<String> = names.filter(|name| name.starts_with("ran-")).collect();
    ran.sort();
    ran.iter().for_each(|name| fs::remove_file(home.path(name)).unwrap());
    ran
}

#[test]
fn no_setting_of_a_repository_starts_a_program() {
    println!("{}", run("git", &["--version"], "git"));
    let home = Home::new();
    clan(&home, "clan");
    git(&home, "clan", &["worktree", "add", "-q", "../worktree"]);
    trap(&home, "clan", "clan/.git");
    // The traps are good: git itself runs into each.
    home.write("clan/notes", "2");
    let at = home.path("clan").display().to_string();
    let _ = std::process::Command::new("git").args(["-C", &at, "diff", "HEAD", "--quiet"]).output();
    assert!(ran(&home).contains(&"ran-fsmonitor".to_owned()));
    for place in ["clan", "worktree"] {
        for notes in ["1", "2", "1"] {
            // Touched, changed, and back.
            home.write(&format!("{place}/notes"), notes);
            let reference = format!("git+file://{}", home.path(place).display());
            for clan in [place.to_owned(), reference.clone(), format!("{reference}?ref=HEAD")] {
                let _ = fs::remove_dir_all(home.path("home/.cache"));
                list(&home, &clan).exits(0);
                assert_eq!(ran(&home), Vec::<String>::new(), "{clan}");
            }
        }
    }
}

#[test]
fn settings_that_are_kept_elsewhere_are_not_read() {
    let home = Home::new();
    clan(&home, "clan");
    trap(&home, "clan", "clan/.git");
    fs::rename(home.path("clan/.git/config"), home.path("clan/settings")).unwrap();
    home.write(
        "clan/.git/config",
        "[core]\n\trepositoryformatversion = 0\n[include]\n\tpath = ../settings\n",
    );
    home.write("clan/notes", "2");
    list(&home, "clan").exits(0);
    assert_eq!(ran(&home), Vec::<String>::new());
    let reference = format!("git+file://{}", home.path("clan").display());
    let done = list(&home, &reference).exits(1);
    done.says(&[".git/config includes other files", "path:", "--flake DIR"]);
    assert_eq!(ran(&home), Vec::<String>::new());
}

#[test]
fn a_repository_in_which_somebody_else_has_a_say_is_no_clans() {
    let home = Home::new();
    clan(&home, "clan");
    git(&home, "clan", &["worktree", "add", "-q", "../worktree"]);
    list(&home, "clan").exits(0);
    list(&home, "worktree").exits(0);
    let own = |file: &str, uid| {
        std::os::unix::fs::chown(home.path(file), Some(uid), Some(uid)).unwrap();
    };
    let mode = |file: &str, mode| {
        fs::set_permissions(home.path(file), fs::Permissions::from_mode(mode)).unwrap();
    };
    for file in [".git/config", ".git/HEAD", ".git/hooks", ".git/index", ".git"] {
        let file = format!("clan/{file}");
        let (bits, open) = if home.path(&file).is_dir() { (0o755, 0o777) } else { (0o644, 0o666) };
        for place in ["clan", "worktree"] {
            own(&file, NOBODY);
            list(&home, place).exits(1).says(&[&file, "belongs to nobody"]);
            own(&file, 0);
            mode(&file, open);
            list(&home, place).exits(1).says(&[&file, "can be written by everybody"]);
            mode(&file, bits);
        }
    }
    list(&home, "worktree").exits(0);
}
