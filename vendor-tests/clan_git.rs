//! What the real git does while the real nix has it read a clan's repository: nothing
//! that the repository asks for, whoever has written its settings.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

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

/// What is done to a repository, and in which words.
type Case<'a> = (&'a str, &'a dyn Fn(&Home));

fn ran(home: &Home) -> Vec<String> {
    let names = fs::read_dir(home.path(".")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
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

/// Has HEAD be a link to a branch that is no file any more.
fn link_head(home: &Home) {
    git(home, "clan", &["pack-refs", "--all"]);
    let head = home.read("clan/.git/HEAD");
    let branch = head.trim().strip_prefix("ref: ").unwrap();
    fs::remove_file(home.path("clan/.git/HEAD")).unwrap();
    symlink(branch, home.path("clan/.git/HEAD")).unwrap();
    assert!(!home.path("clan/.git/HEAD").exists());
}

/// Moves the repository, and has `.git` lead there by `text`.
fn move_git(home: &Home, to: &[u8], text: &[u8]) {
    let to = home.path(".").join(OsStr::from_bytes(to));
    fs::rename(home.path("clan/.git"), to).unwrap();
    home.write("clan/.git", text);
}

/// Moves what repositories share to `to`, and has `.git/commondir` lead there.
fn share(home: &Home, to: &str) {
    fs::create_dir(home.path(to)).unwrap();
    for name in ["config", "objects", "refs", "info", "hooks"] {
        fs::rename(home.path(&format!("clan/.git/{name}")), home.path(&format!("{to}/{name}")))
            .unwrap();
    }
    home.write("clan/.git/commondir", home.path(to).to_str().unwrap());
}

/// Has the settings in `dir` be read from a file that they include.
fn include(home: &Home, dir: &str) {
    fs::rename(home.path(&format!("{dir}/config")), home.path(&format!("{dir}/more"))).unwrap();
    home.write(
        &format!("{dir}/config"),
        "[core]\n\trepositoryformatversion = 0\n[include]\n\tpath = more\n",
    );
}

fn append(home: &Home, file: &str, text: &str) {
    let before = home.read(file);
    home.write(file, before + text);
}

#[test]
fn no_setting_is_overlooked_wherever_git_finds_it() {
    let long = [b"gitdir: ../repo".to_vec(), vec![b'\n'; 17_000]].concat();
    let cases: [Case<'_>; 11] = [
        ("a .git file", &|home| move_git(home, b"repo", b"gitdir: ../repo\n")),
        ("with a NUL", &|home| move_git(home, b"repo", b"gitdir: ../repo\0\n")),
        ("with 17,000 newlines", &|home| move_git(home, b"repo", &long)),
        ("that is not UTF-8", &|home| move_git(home, b"repo\xff", b"gitdir: ../repo\xff\n")),
        ("HEAD is a link, and an include", &|home| {
            link_head(home);
            include(home, "clan/.git");
        }),
        ("HEAD is a link, and a large file of settings", &|home| {
            link_head(home);
            append(home, "clan/.git/config", &"#".repeat(1_100_000));
        }),
        ("a filter whose name has two parts", &|home| {
            let run = home.path("ran-parts");
            let filter = format!("[filter.a \"B\"]\n\tclean = touch {}; cat\n", run.display());
            append(home, "clan/.git/config", &filter);
            home.write("clan/.gitattributes", "notes filter=a.B\n");
        }),
        ("a common directory elsewhere", &|home| share(home, "shared")),
        ("a common directory that includes", &|home| {
            share(home, "shared");
            include(home, "shared");
        }),
        ("a common directory in the clan", &|home| {
            share(home, "clan/shared");
            include(home, "clan/shared");
        }),
        ("a .git file, and a link to its settings", &|home| {
            move_git(home, b"repo", b"gitdir: ../repo\n");
            fs::rename(home.path("repo/config"), home.path("settings")).unwrap();
            symlink("../settings", home.path("repo/config")).unwrap();
        }),
    ];
    for (name, prepare) in cases {
        let home = Home::new();
        clan(&home, "clan");
        trap(&home, "clan", "clan/.git");
        prepare(&home);
        home.write("clan/notes", "2");
        // The trap is good.
        let at = home.path("clan").display().to_string();
        let mut diff = std::process::Command::new("git");
        let _ = diff.args(["-C", &at, "diff", "HEAD", "--quiet"]).output();
        assert_ne!(ran(&home), Vec::<String>::new(), "{name}");
        list(&home, "clan").exits(0);
        assert_eq!(ran(&home), Vec::<String>::new(), "{name}");
        let reference = format!("git+file://{}?ref=HEAD", home.path("clan").display());
        list(&home, &reference);
        assert_eq!(ran(&home), Vec::<String>::new(), "{name}, by reference");
    }
}

#[test]
fn nothing_waits_for_a_fifo_in_a_repository() {
    for file in [
        ".git/config",
        ".git/HEAD",
        ".git/index",
        ".git/packed-refs",
        ".git/info/exclude",
        ".git/commondir",
        ".git/config.worktree",
        ".git/objects/info/alternates",
        ".gitattributes",
        ".git",
    ] {
        let home = Home::new();
        clan(&home, "clan");
        git(&home, "clan", &["config", "extensions.worktreeConfig", "true"]);
        let path = home.path(&format!("clan/{file}"));
        match path.is_dir() {
            true => fs::remove_dir_all(&path).unwrap(),
            false => drop(fs::remove_file(&path)),
        }
        run("mkfifo", &[path.to_str().unwrap()], "coreutils");
        let began = std::time::Instant::now();
        list(&home, "clan").exits(1).says(&[file, "is not a regular file", "remove it"]);
        // Or a link leads to one.
        let other = home.path("fifo");
        fs::rename(&path, &other).unwrap();
        symlink(&other, &path).unwrap();
        list(&home, "clan").exits(1).says(&[file, "is not a regular file"]);
        assert!(began.elapsed().as_secs() < 30, "{file}");
    }
}

#[test]
fn no_part_of_a_repository_may_be_a_strangers_by_a_link() {
    let home = Home::new();
    clan(&home, "theirs");
    git(&home, "theirs", &["pack-refs", "--all"]);
    let chown = |uid: u32, dir: &str| {
        let dir = home.path(dir).display().to_string();
        run("chown", &["-R", &uid.to_string(), &dir], "coreutils");
    };
    chown(NOBODY, "theirs");
    for part in ["config", "objects", "refs", "index", "hooks", "info", "packed-refs"] {
        for is_strangers in [true, false] {
            let (from, to) = (
                home.path("theirs").display().to_string(),
                home.path("clan").display().to_string(),
            );
            run("cp", &["-r", &from, &to], "coreutils");
            let path = home.path(&format!("clan/.git/{part}"));
            let other = match is_strangers {
                true => home.path(&format!("theirs/.git/{part}")),
                // Mine, in a directory of everybody.
                false => home.path("open/part"),
            };
            fs::create_dir_all(home.path("open")).unwrap();
            fs::rename(&path, home.path("open/part")).unwrap();
            symlink(&other, &path).unwrap();
            fs::set_permissions(home.path("open"), fs::Permissions::from_mode(0o755)).unwrap();
            if !is_strangers {
                list(&home, "clan").exits(0);
                fs::set_permissions(home.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
            }
            let done = list(&home, "clan").exits(1);
            done.says(&[if is_strangers { "belongs to nobody" } else { "open can be written by" }]);
            fs::remove_dir_all(home.path("clan")).unwrap();
            fs::remove_dir_all(home.path("open")).unwrap();
        }
    }
}

#[test]
fn borrowed_objects_must_be_the_users_own() {
    let home = Home::new();
    clan(&home, "lender");
    let path = |name: &str| home.path(name).display().to_string();
    run("git", &["clone", "-q", "--shared", &path("lender"), &path("clan")], "git");
    list(&home, "clan").exits(0);
    let object = run("git", &["-C", &path("clan"), "rev-parse", "HEAD:flake.nix"], "git");
    let (start, rest) = object.trim().split_at(2);
    let object = home.path(&format!("lender/.git/objects/{start}/{rest}"));
    let own = |path: &Path, uid| std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
    for path in [object.as_path(), object.parent().unwrap(), &home.path("lender/.git/objects")] {
        own(path, NOBODY);
        list(&home, "clan").exits(1).says(&[path.to_str().unwrap(), "belongs to nobody"]);
        own(path, 0);
    }
    // In which others could put another repository there.
    own(&home.path("lender"), NOBODY);
    list(&home, "clan").exits(1).says(&["lender belongs to nobody", "can be replaced"]);
    own(&home.path("lender"), 0);
    list(&home, "clan").exits(0);
    // The second of two lines.
    clan(&home, "second");
    own(&home.path("second/.git/objects"), NOBODY);
    append(
        &home,
        "clan/.git/objects/info/alternates",
        &format!("# x\n{}\n", path("second/.git/objects")),
    );
    list(&home, "clan").exits(1).says(&["second/.git/objects belongs to nobody"]);
}

#[test]
fn a_directory_whose_name_is_escaped_is_no_host() {
    let home = Home::new();
    let started = home.path("started");
    let ssh = format!("#!/bin/sh\necho \"$@\" >> {}\nexit 1\n", started.display());
    let ssh = home.script("fake-ssh", ssh);
    for name in ["my clan", "gr\u{f6}\u{df}e", "a%20b", "a#b"] {
        clan(&home, name);
        let mut command = home.command(&["--flake", name, "network", "list"]);
        command.current_dir(home.path(".")).env("PATH", "/usr/bin:/bin");
        command.env("GIT_SSH_COMMAND", &ssh);
        let done = Run::of(wait(start(&mut command, "nix-bin")));
        assert!(!started.exists(), "{name}: {}", fs::read_to_string(&started).unwrap());
        done.exits(0);
    }
}
