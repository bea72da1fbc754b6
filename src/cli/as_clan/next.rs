//! The next `clan` in `$PATH`: which it is, and what it is started with. Owns that it is
//! never ourselves, that no two of us call each other for ever, and that it finds our `ssh`
//! before any other, in a directory that nobody else can write.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::callers::{self, MAX_CALLS};
use crate::cli::clan::{NAMED, STOOD_IN, short_hash};
use crate::cli::{Global, Ui};
use crate::env::Env;
use crate::error::{Error, Result, strerror};
use crate::flake::not_his_alone;
use crate::mux::warm::{make_private, private_dir};
use crate::printable;

/// The programs of ours that have handed a command over on the way here, as
/// `DEVICE:INODE` each.
const CALLS: &str = "CLAN_CONNECT_CALLS";
/// Ourselves, whatever has happened to our file.
const OURSELVES: &str = "/proc/self/exe";
/// The directory with our `ssh`.
const DIR: &str = "clan-connect-path";
/// So much of a script has the name of its interpreter (`BINPRM_BUF_SIZE` of Linux).
const MAX_FIRST_LINE: u64 = 256;
/// What a shell looks through where nothing is said.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Whether there is one.
pub(super) fn is_there(env: &Env) -> bool {
    find(env).is_some()
}

/// Becomes the next `clan`, with the same arguments; returns only why it could not.
pub(super) fn run(args: &[OsString], global: &Global) -> Error {
    let env = &global.env;
    let calls = calls(env);
    let failed = |reason: String| Error::NextClan { command: shown(args), reason, is_found: false };
    // The environment may have been cleared on the way.
    let marks = callers::marks();
    if calls.len().max(marks.unwrap_or_default()) >= MAX_CALLS {
        return failed("each `clan` in $PATH calls another".into());
    }
    if marks.is_none() && callers::depth() >= callers::MAX_DEPTH {
        return failed(format!(
            "{} processes or more have started each other to ask for it: each `clan` in $PATH \
             may call another",
            callers::MAX_DEPTH
        ));
    }
    let Some(program) = find(env) else {
        return failed("there is no other `clan` in $PATH".into());
    };
    let ui = Ui::new(global);
    // A program of the user's: he has put it into $PATH, and asks for it by its name.
    #[allow(
        clippy::disallowed_methods,
        reason = "the next program of the name that we are called by"
    )]
    let mut command = Command::new(&program);
    command.args(args.iter().skip(1));
    match with_ssh(env) {
        Ok(path) => drop(command.env("PATH", path)),
        Err(why) => ui.warning(&format!("clan uses another ssh than ours: {why}")),
    }
    if let Some(own) = own() {
        let calls = calls.iter().cloned().chain([own]).collect::<Vec<_>>();
        command.env(CALLS, calls.join(" "));
    }
    // What a `clan` before was told is not what this one is.
    command.env_remove(NAMED).env_remove(STOOD_IN);
    if let Some((variable, dir)) = clan(args, global) {
        command.env(variable, dir);
    }
    callers::mark();
    let error = command.exec();
    let reason = match error.kind() {
        ErrorKind::NotFound => missing_interpreter(&program),
        _ => None,
    };
    let reason = reason.unwrap_or_else(|| strerror(&error));
    let reason = format!("{}: {reason}", printable::line(&program.to_string_lossy()));
    Error::NextClan { command: shown(args), reason, is_found: true }
}

/// That the interpreter of a script is missing: the system says of the script itself that it
/// is not there (execve(2)).
fn missing_interpreter(program: &Path) -> Option<String> {
    let mut start = Vec::new();
    let file = std::fs::File::open(program).ok()?;
    file.take(MAX_FIRST_LINE).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let interpreter = Path::new(OsStr::from_bytes(words.next()?));
    let name = printable::line(&interpreter.to_string_lossy());
    (!interpreter.exists()).then(|| format!("its interpreter {name} is missing"))
}

/// The first that is another program than we, and than those of us that were before.
fn find(env: &Env) -> Option<PathBuf> {
    let mut seen = calls(env);
    seen.extend(own());
    let files = env.program_dirs().map(|dir| dir.join("clan"));
    files.into_iter().find(|file| {
        let meta = file.metadata().ok().filter(Metadata::is_file);
        let is_other = meta.is_some_and(|meta| !seen.contains(&name(&meta)));
        is_other && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
    })
}

fn own() -> Option<String> {
    std::fs::metadata(OURSELVES).ok().as_ref().map(name)
}

fn name(meta: &Metadata) -> String {
    format!("{}:{}", meta.dev(), meta.ino())
}

fn calls(env: &Env) -> Vec<String> {
    let text = env.text(CALLS).unwrap_or_default();
    text.split(' ').filter(|word| !word.is_empty()).take(MAX_CALLS).map(str::to_owned).collect()
}

fn shown(args: &[OsString]) -> String {
    let words = args.iter().skip(1).take(2).map(|word| word.to_string_lossy());
    let words: Vec<String> =
        std::iter::once("clan".into()).chain(words).map(|word| printable::line(&word)).collect();
    words.join(" ")
}

/// The clan that the command is about, for the `ssh` that it may start, and the variable that
/// says whether it was named.
fn clan(args: &[OsString], global: &Global) -> Option<(&'static str, PathBuf)> {
    let global = Global { flake: flake(args), env: global.env.clone(), ..Global::default() };
    // A reference would be fetched for each connection.
    if global.remote().is_some() {
        return None;
    }
    let site = global.site().ok()?;
    Some((if site.is_named { NAMED } else { STOOD_IN }, site.dir))
}

/// What `--flake` says as Clan reads it (Python's argparse): the last one counts, it may be
/// shortened, and it is a plain word behind `--` and in the command of `clan ssh`.
fn flake(args: &[OsString]) -> Option<PathBuf> {
    let is_ssh = args.get(1).is_some_and(|word| word == "ssh");
    let mut words = args.iter().skip(1).map(|word| word.as_bytes());
    let mut found = None;
    while let Some(word) = words.next() {
        let mut parts = word.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        let is = |long: &str| name.len() > 2 && long.as_bytes().starts_with(name);
        if word == b"--" || is_ssh && (name == b"-c" || is("--remote-command")) {
            break;
        }
        if is("--flake") {
            found = value.or_else(|| words.next());
        }
    }
    found.map(|value| PathBuf::from(OsStr::from_bytes(value)))
}

/// `$PATH` with our `ssh` before all others, or why there is none.
fn with_ssh(env: &Env) -> Result<OsString, String> {
    let dir = dir_with_ssh(env)?;
    let path = env.var("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
    if std::env::split_paths(path).next().is_some_and(|first| first == dir) {
        return Ok(path.to_owned());
    }
    let all = std::iter::once(dir).chain(std::env::split_paths(path));
    std::env::join_paths(all).map_err(|error| error.to_string())
}

/// A directory of the user's alone in which `ssh` is this very program. It stays there:
/// whoever has it in his path may outlive us.
fn dir_with_ssh(env: &Env) -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| strerror(&error))?;
    let is_ourselves = program.metadata().ok().as_ref().map(name) == own();
    if !is_ourselves {
        return Err("our own file was replaced".to_owned());
    }
    let dir = private_dir(DIR, env).or_else(|_| cached_dir(env))?;
    // Another version of ours has a directory of its own.
    let dir = dir.join(short_hash(&program.to_string_lossy()));
    // Those that it is in may be open to others' looks.
    make_private(&dir)?;
    let link = dir.join("ssh");
    if std::fs::read_link(&link).is_ok_and(|target| target == program) {
        return Ok(dir);
    }
    let failed = |error: std::io::Error| {
        format!("{}: {}", printable::line(&link.to_string_lossy()), strerror(&error))
    };
    // Whoever looks meanwhile finds the old one or the new one.
    let new = dir.join(format!("ssh.{}", std::process::id()));
    symlink(&program, &new).map_err(failed)?;
    std::fs::rename(&new, &link).map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(error)
    })?;
    Ok(dir)
}

/// Where there is no directory for running programs.
fn cached_dir(env: &Env) -> Result<PathBuf, String> {
    let dir = env.cache_dir().ok_or("there is no home")?.join("clan-connect/path");
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|error| {
        format!("{}: {}", printable::line(&dir.to_string_lossy()), strerror(&error))
    })?;
    match not_his_alone(&dir, env) {
        Some(why) => Err(why),
        None => dir.canonicalize().map_err(|error| strerror(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_next_one_is_another_program_that_can_be_run() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).join("clan");
        let make = |name: &str, mode: u32| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            std::fs::write(at(name), "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::create_dir(dir.path().join("ours")).unwrap();
        symlink(std::env::current_exe().unwrap(), at("ours")).unwrap();
        std::fs::create_dir_all(at("folder")).unwrap();
        make("text", 0o644);
        make("one", 0o755);
        make("two", 0o755);
        let path = ["ours", "none", "folder", "text", "one", "two"];
        let path = std::env::join_paths(path.map(|name| dir.path().join(name))).unwrap();
        let env = Env::of([("PATH", path.clone())]);
        assert_eq!(find(&env), Some(at("one")));
        // One that has handed over to us is not asked again.
        let one = name(&at("one").metadata().unwrap());
        assert_eq!(find(&Env::of([("PATH", path), (CALLS, one.into())])), Some(at("two")));
        assert_eq!(find(&Env::of([("PATH", dir.path().join("ours"))])), None);
        assert_eq!(find(&Env::default()), None);
    }

    #[test]
    fn a_script_without_its_interpreter_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("clan");
        for (text, missing) in [
            ("#!/nonexistent/python3 -I\nimport clan\n", Some("/nonexistent/python3")),
            ("#! /nonexistent/python3", Some("/nonexistent/python3")),
            ("#!/bin/sh\n", None),
            ("#!\n", None),
            ("\x7fELF", None),
        ] {
            std::fs::write(&script, text).unwrap();
            let expected = missing.map(|name| format!("its interpreter {name} is missing"));
            assert_eq!(missing_interpreter(&script), expected, "{text:?}");
        }
    }

    #[test]
    fn our_ssh_is_first_in_a_directory_of_the_users_alone_and_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let env = |path: &OsStr| Env::of([("HOME", home.as_os_str()), ("PATH", path)]);
        let path = with_ssh(&env(OsStr::new("/a:/b"))).unwrap();
        let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        assert!(dirs[0].starts_with(&home) && dirs[1..] == [PathBuf::from("/a"), "/b".into()]);
        let own = std::env::current_exe().unwrap();
        assert_eq!(std::fs::read_link(dirs[0].join("ssh")).unwrap(), own);
        assert_eq!(dirs[0].metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(with_ssh(&env(&path)).unwrap(), path, "once is enough");
        assert_eq!(std::fs::read_dir(&dirs[0]).unwrap().count(), 1);
        // A link that leads elsewhere is put right.
        std::fs::remove_file(dirs[0].join("ssh")).unwrap();
        symlink("/bin/false", dirs[0].join("ssh")).unwrap();
        with_ssh(&env(OsStr::new("/a"))).unwrap();
        assert_eq!(std::fs::read_link(dirs[0].join("ssh")).unwrap(), own);
        let open = std::fs::Permissions::from_mode(0o777);
        // The directory itself counts, and so does what it is in.
        std::fs::set_permissions(&dirs[0], open.clone()).unwrap();
        let why = with_ssh(&env(OsStr::new("/a"))).unwrap_err();
        assert!(why.contains("is open to others"), "{why}");
        std::fs::rename(&dirs[0], home.join("elsewhere")).unwrap();
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(home.join("elsewhere"), closed).unwrap();
        symlink(home.join("elsewhere"), &dirs[0]).unwrap();
        let why = with_ssh(&env(OsStr::new("/a"))).unwrap_err();
        assert!(why.contains("is not a directory"), "{why}");
        std::fs::remove_file(&dirs[0]).unwrap();
        with_ssh(&env(OsStr::new("/a"))).unwrap();
        std::fs::set_permissions(home.join(".cache/clan-connect/path"), open).unwrap();
        assert!(with_ssh(&env(OsStr::new("/a"))).is_err());
    }

    #[test]
    fn the_clan_is_the_one_that_argparse_finds() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (line, expected) in [
            ("clan machines update --flake a", Some("a")),
            ("clan machines update --flake a m --flake=b", Some("b")),
            ("clan machines update --flake=a --fl b", Some("b")),
            ("clan machines update --f a", Some("a")),
            ("clan machines update --flak=a=b --flakes c", Some("a=b")),
            ("clan machines update --flake a --flake github:b/c", Some("github:b/c")),
            ("clan machines update -- --flake a", None),
            ("clan machines update --flake a -- --flake b", Some("a")),
            ("clan ssh m --new --flake a -c tool --flake b", Some("a")),
            ("clan ssh m --new --remote tool --flake b", None),
            ("clan machines update --flake", None),
            ("clan machines update -f a --", None),
            ("clan", None),
        ] {
            assert_eq!(flake(&words(line)), expected.map(PathBuf::from), "{line}");
        }
        let bytes = OsString::from(OsStr::from_bytes(b"--flake=/\xff"));
        assert_eq!(flake(&["clan".into(), bytes]).unwrap().as_os_str().as_bytes(), b"/\xff");
    }

    #[test]
    fn a_clan_counts_as_named_only_where_somebody_named_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        std::fs::write(dir.join(".clan-flake"), "").unwrap();
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let told = |line: &str, variables: &[(&str, &str)]| {
            let env = Env::of(variables.iter().copied());
            clan(&words(line), &Global { env, ..Global::default() })
        };
        let named = Some((NAMED, dir.clone()));
        let said = dir.to_str().unwrap();
        assert_eq!(told(&format!("clan vars generate --flake {said}"), &[]), named);
        assert_eq!(told("clan vars generate", &[("CLAN_DIR", said)]), named);
        // nix is not asked for the files of a reference, wherever that stands.
        assert_eq!(told("clan vars generate --flake github:a/b", &[("CLAN_DIR", said)]), None);
        assert_eq!(told("clan vars generate", &[("CLAN_DIR", "github:a/b")]), None);
    }
}
