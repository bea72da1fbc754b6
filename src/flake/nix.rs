//! Evaluates a clan with nix, the only program that this one may start by
//! itself. Owns the expression, that it is pure, and the distrust of what comes back.

mod whole;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::git;
use super::reference::{as_path, encode, folder, inside, local};
use super::source::{Fetched, Flake};
use crate::children::Awaited;
use crate::env::Env;
use crate::error::{Error, NixFault as Fault, Result, strerror};
use crate::model::TargetHost;
use crate::options::is_for_addresses;
use crate::preload::Preload;
use crate::printable;
use crate::select::Selector;
use percent_encoding::AsciiSet;
use serde::Deserialize;
use serde_json::Value;

pub use whole::{Whole, evaluate, evaluate_whole};

/// Where nix is when it is not in the path (NixOS, the multi-user installer).
const PLACES: [&str; 2] = ["/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin"];
/// Bound on what nix prints, in bytes.
const MAX_OUTPUT: u64 = 64 << 20;
/// How long what nix has said may take to arrive once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Lines of nix's own message that are shown.
const SHOWN_LINES: usize = 16;
/// Bound on that, in bytes.
const MAX_MESSAGE: usize = 4 << 10;
/// Variables that nix, git and curl need. Whatever else there is may be a secret
/// (`AGE_KEY`, tokens), and neither an evaluation nor a fetch needs it.
const ENVIRONMENT: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LOCALE_ARCHIVE",
    "TERM",
    "TMPDIR",
    "TZ",
    "TZDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_TERMINAL_PROMPT",
    "NETRC",
];
/// The beginnings of more such names.
const ENVIRONMENTS: [&str; 3] = ["LC_", "XDG_", "NIX_"];
/// Which proxy to use, in capitals or not (curl(1), ENVIRONMENT).
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];
/// What a hash may hold as it is in a URL.
const HASH: AsciiSet = percent_encoding::NON_ALPHANUMERIC.remove(b'-');
/// A file that is never there: in nix 2.8 the only way to have no registry, which it
/// would else download for every reference.
const NO_REGISTRY: &str = "/dev/null/none";

/// The nix program, if there is one.
pub fn program(env: &Env) -> Option<PathBuf> {
    let dirs = env.program_dirs().chain(PLACES.map(PathBuf::from));
    dirs.map(|dir| dir.join("nix")).find(|file| file.is_file())
}

#[derive(Deserialize)]
struct Prefetched {
    hash: String,
    #[serde(rename = "storePath")]
    store_path: PathBuf,
}

/// Has nix put the files of a flake into its store, and evaluates nothing; `git` are
/// its [`settings`]. Blocks, for minutes if nix must download them.
///
/// # Errors
/// [`Error::Nix`].
pub(super) fn fetch(nix: &Path, reference: &str, git: &str, env: &Env) -> Result<Fetched> {
    let here = local(reference);
    if let Some(dir) = here.as_ref().and_then(|here| inside(here, reference)) {
        // nix would wait for ever, and git would not see it.
        for name in ["flake.nix", "flake.lock"] {
            let file = dir.join(name);
            if std::fs::metadata(&file).is_ok_and(|meta| !meta.is_file()) {
                let file = printable::line(&file.to_string_lossy());
                let why = format!("{file} is not a regular file");
                return Err(Fault::NotRegular.error(reference, &why));
            }
        }
    }
    let mut args = vec!["flake", "prefetch", "--json"];
    // Names without a scheme of their own are looked up there, and nothing else.
    if !reference.starts_with("flake:") {
        args.extend(["--option", "flake-registry", NO_REGISTRY]);
    }
    let output = output(nix, &args, Some(reference), env, git);
    let json = output.map_err(|text| Fault::of_fetching(&text).error(reference, &tail(&text)))?;
    let Prefetched { hash, store_path } = serde_json::from_slice(&json).map_err(|error| {
        Fault::Fetch.error(reference, &format!("its output is unexpected: {error}"))
    })?;
    let folder = folder(reference);
    let mut locked = format!(
        "path:{}?narHash={}",
        encode(store_path.as_os_str().as_encoded_bytes()),
        percent_encoding::utf8_percent_encode(&hash, &HASH)
    );
    if let Some(folder) = folder {
        locked.push_str(&format!("&dir={folder}"));
    }
    match inside(&store_path, reference) {
        Some(files) => Ok(Fetched { files, root: store_path, locked }),
        None => Err(Fault::Missing.error(reference, "its ?dir= points outside of it")),
    }
}

/// What git is told before it reads the repository here that a reference names.
///
/// # Errors
/// [`Error::Nix`] for one that must not be read.
pub(super) fn settings(reference: &str) -> Result<String> {
    // Without git, none is read.
    let dir = local(reference).filter(|_| !reference.starts_with("path:"));
    git::parameters(dir.iter().map(PathBuf::as_path)).map_err(|why| {
        let fault = match why {
            git::Unsafe::Special(_) => Fault::NotRegular,
            _ => Fault::Repository,
        };
        fault.error(reference, &why.to_string())
    })
}

/// What `selector` picks out of the whole flake. Blocks.
///
/// # Errors
/// [`Error::Nix`].
pub fn select(nix: &Path, flake: &Flake, selector: &Selector) -> Result<Value> {
    let subject = Subject::new(nix, flake)?;
    let json = subject.eval(&format!("{} flake", selector.to_nix(quote)))?;
    let value = serde_json::from_slice(&json).map_err(|error| subject.unexpected(&error))?;
    Ok(selector.arrange(value))
}

/// The `targetHost` in the configuration of a machine, where Clan looks last
/// (`clan_lib/nix_selectors.py`). Blocks: nix evaluates the whole machine.
///
/// # Errors
/// [`Error::Nix`], and [`Error::TargetHost`] when it is no address.
pub fn target_host(nix: &Path, flake: &Flake, machine: &str) -> Result<Option<TargetHost>> {
    let subject = Subject::new(nix, flake)?;
    let expression = format!(
        "let {} in machines.{}.config.clan.core.networking.targetHost or null",
        machines(),
        quote(machine)
    );
    let json = subject.eval(&expression)?;
    match serde_json::from_slice(&json) {
        Ok(Value::String(text)) => {
            // Options are for Clan's own ssh, as in the inventory.
            let target = TargetHost::without_options(&text, is_for_addresses);
            target
                .map(|(target, _)| Some(target))
                .map_err(|reason| Error::TargetHost { machine: machine.to_owned(), reason })
        }
        _ => Ok(None),
    }
}

/// Says what `machines` are in an expression: those of one system, for the same machine
/// has the same address on all.
fn machines() -> String {
    format!(
        "all = flake.clanInternals.machines or {{ }};
         systems = builtins.attrNames all;
         own = {};
         system = if all ? ${{own}} || systems == [ ] then own else builtins.head systems;
         machines = all.${{system}} or {{ }};",
        quote(&system())
    )
}

/// This computer, as nix calls it.
fn system() -> String {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let arch = match std::env::consts::ARCH {
        "x86" => "i686",
        arch => arch,
    };
    format!("{arch}-{os}")
}

/// A name in a path of attributes, as people write it.
pub(crate) fn attribute(name: &str) -> String {
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if is_word { name.to_owned() } else { quote(name) }
}

/// A string of the nix language.
fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("\"{escaped}\"")
}

/// A flake that questions are asked about.
struct Subject<'a> {
    nix: &'a Path,
    flake: &'a Flake,
    /// What is evaluated: files that nothing can change any more, unless the user
    /// wants it impure.
    locked: Option<String>,
    /// Where its files are in the store.
    source: PathBuf,
    /// How it is named for an evaluation that is not pure.
    reference: String,
    /// What git is told, should it read the clan's repository.
    git: String,
}

impl<'a> Subject<'a> {
    fn new(nix: &'a Path, flake: &'a Flake) -> Result<Self> {
        let missing = |fault: Fault| {
            Err(fault.error(&flake.reference, "it has no flake.nix that nix could evaluate"))
        };
        let here = (!flake.is_remote).then(|| flake.dir.join("flake.nix").exists());
        if here == Some(false) {
            return missing(Fault::NoFlake);
        }
        let (reference, git) = match settings(&flake.reference) {
            // Then git does not read it at all.
            Err(Error::Nix { fault: Fault::Repository, .. }) if !flake.is_remote => {
                let path = as_path(&flake.dir);
                let git = settings(&path)?;
                (path, git)
            }
            git => (flake.reference.clone(), git?),
        };
        let fetched = match &flake.fetched {
            Some(fetched) => fetched.clone(),
            None => fetch(nix, &reference, &git, &flake.env)?,
        };
        // Unless nix's store is elsewhere than it says.
        if fetched.files.is_dir() && !fetched.files.join("flake.nix").exists() {
            let untracked = Fault::Untracked(flake.dir.join("flake.nix"));
            return missing(if here.is_some() { untracked } else { Fault::NoFlake });
        }
        let Fetched { root: source, locked, .. } = fetched;
        let locked = (!flake.is_impure).then_some(locked);
        Ok(Self { nix, flake, locked, source, reference, git })
    }

    /// The value of `expression` as JSON. Pure, so that it depends on nothing but
    /// the flake's files: on no variable, no other file, no time, and on nothing
    /// from the network whose hash they do not hold. As no installable, so that
    /// its `nixConfig` is not even looked at.
    fn eval(&self, expression: &str) -> Result<Vec<u8>> {
        let reference = self.locked.as_deref().unwrap_or(&self.reference);
        let flake = format!("builtins.getFlake {}", quote(reference));
        let expression = format!("let flake = {flake}; in {expression}");
        let mode: &[&str] = match self.locked {
            Some(_) => &["--option", "pure-eval", "true"],
            None => &["--impure"],
        };
        let pairs = self.flake.options.chunks_exact(2);
        let options = pairs
            .flat_map(|pair| std::iter::once("--option").chain(pair.iter().map(String::as_str)));
        // What comes last counts: that it is pure is not the user's to change here.
        let args: Vec<&str> = ["eval", "--json"]
            .into_iter()
            .chain(options)
            .chain(mode.iter().copied())
            .chain(["--option", "accept-flake-config", "false", "--expr", &expression])
            .collect();
        output(self.nix, &args, None, &self.flake.env, &self.git).map_err(|text| {
            let fault = Fault::of_evaluating(&text, &self.flake.dir);
            fault.error(&self.flake.reference, &tail(&text))
        })
    }

    fn unexpected(&self, error: &serde_json::Error) -> Error {
        let text = format!("its output is unexpected: {error}");
        Fault::Evaluation.error(&self.flake.reference, &text)
    }
}

/// What nix prints, or why it failed, in its own words. `git` are the settings that go
/// before those of a repository.
fn output(
    nix: &Path,
    args: &[&str],
    last: Option<&str>,
    env: &Env,
    git: &str,
) -> Result<Vec<u8>, String> {
    // nix is no static program: what is to lead connections leads its own.
    let leads = Preload::of(env).map(|_| Preload::is_variable);
    #[allow(clippy::disallowed_methods, reason = "the one program we may start by ourselves")]
    let mut command = Command::new(nix);
    command
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(["--option", "accept-flake-config", "false"])
        .args(args)
        // No reference is an option.
        .args(last.iter().flat_map(|last| ["--", last]))
        .env_clear()
        .envs(
            env.variables()
                .filter(|(name, _)| is_for_nix(name) || leads.is_some_and(|leads| leads(name))),
        )
        .env("GIT_CONFIG_PARAMETERS", git)
        // By the settings of a repository, any program would do that.
        .env("GIT_NO_LAZY_FETCH", "1")
        // No flake can name what lies where the user stands.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot start {}: {}", nix.display(), strerror(&error)))?;
    let _awaited = Awaited::child(&child);
    let errors = child.stderr.take().map(|pipe| Pipe::read(pipe, MAX_OUTPUT));
    // What prints more finds nobody who reads, and ends.
    let json = child.stdout.take().map(|pipe| Pipe::read(pipe, MAX_OUTPUT + 1));
    let status = child.wait();
    let errors = errors.map(Pipe::finish).unwrap_or_default();
    let json = json.map(Pipe::finish).unwrap_or_default();
    match status {
        // What nix printed before it failed is not the whole.
        Ok(status) if status.success() && json.len() as u64 <= MAX_OUTPUT => Ok(json),
        _ => Err(String::from_utf8_lossy(&errors).into_owned()),
    }
}

/// What comes through a pipe. A program that nix has started may hold it open for longer
/// than nix is there: what has come by then counts.
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: mpsc::Receiver<()>,
}

impl Pipe {
    fn read(pipe: impl Read + Send + 'static, most: u64) -> Self {
        let (bytes, (at_end, end)) = (Arc::<Mutex<Vec<u8>>>::default(), mpsc::channel());
        let read = bytes.clone();
        std::thread::spawn(move || {
            let (mut pipe, mut buffer) = (pipe.take(most), vec![0; 64 << 10]);
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let some = buffer.get(..count).unwrap_or_default();
                read.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(some);
            }
            drop(at_end);
        });
        Self { bytes, end }
    }

    /// What has come, once nix has ended.
    fn finish(self) -> Vec<u8> {
        let _ = self.end.recv_timeout(LAST_WORDS);
        std::mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_for_nix(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    ENVIRONMENT.contains(&name)
        || ENVIRONMENTS.iter().any(|start| name.starts_with(start))
        || PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
}

/// The end of a message, where nix says what is wrong.
fn tail(errors: &str) -> String {
    let text = printable::lines(last(errors, MAX_MESSAGE));
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let lines = without_traces(&lines).unwrap_or(lines);
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Leaves out how nix came to what is wrong: from an `error:` with nothing but `…` below it
/// to the next one. `None` where a trace has no end, for then the message is not known.
fn without_traces<'a>(lines: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut kept = Vec::new();
    let mut is_trace = false;
    let mut rest = lines.iter().peekable();
    while let Some(line) = rest.next() {
        let is_error = line.trim_start().starts_with("error:");
        if is_error {
            let next = rest.peek().map_or("", |next| next.trim_start());
            is_trace = line.trim() == "error:" && next.starts_with('…');
        }
        if !is_trace {
            kept.push(*line);
        }
    }
    (!is_trace).then_some(kept)
}

/// At most so many bytes from the end.
fn last(text: &str, bytes: usize) -> &str {
    let from = text.len().saturating_sub(bytes);
    (from..=text.len()).find_map(|from| text.get(from..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_can_become_part_of_the_expression() {
        assert_eq!(quote("a\"b\\c${d}"), "\"a\\\"b\\\\c\\${d}\"");
    }

    #[test]
    fn the_end_of_a_long_message_is_shown_and_can_hold_nothing_foul() {
        let text: String = (0..100).map(|at| format!("line {at}\x1b[31m\n\n")).collect();
        let shown = tail(&text);
        assert_eq!(shown.lines().count(), SHOWN_LINES);
        assert!(shown.contains("line 99") && !shown.contains('\x1b'), "{shown}");
        assert!(tail(&"ö".repeat(MAX_MESSAGE)).len() <= MAX_MESSAGE);
    }

    #[test]
    fn a_trace_is_left_out_and_nothing_else() {
        let trace = "error:\n  … while calling the 'throw' builtin\n  at /x.nix:1:2\n";
        for (said, shown) in [
            (format!("warning: w\n{trace}  error: a\n  b\n"), "warning: w\n  error: a\n  b"),
            (format!("{trace}{trace}error:\n  a\n"), "error:\n  a"),
            ("error: a\nerror: b\n".to_owned(), "error: a\nerror: b"),
            ("fatal: a\nerror: b\n".to_owned(), "fatal: a\nerror: b"),
            (trace.to_owned(), trace.trim_end()),
        ] {
            assert_eq!(tail(&said), shown);
        }
    }

    #[test]
    fn a_pipe_that_stays_open_ends_with_nix() {
        let (ours, theirs) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut &theirs, b"words").unwrap();
        assert_eq!(Pipe::read(ours, 9).finish(), b"words");
        drop(theirs);
    }

    #[test]
    fn a_name_that_is_no_word_is_quoted() {
        for (name, written) in [
            ("ygg-net", "ygg-net"),
            ("a/b", "\"a/b\""),
            ("1st", "\"1st\""),
            ("a.b\"${c}", "\"a.b\\\"\\${c}\""),
            ("", "\"\""),
        ] {
            assert_eq!(attribute(name), written);
        }
    }

    #[test]
    fn nix_gets_the_variables_that_it_needs_and_no_secret() {
        for name in ["PATH", "HOME", "LC_ALL", "NIX_REMOTE", "XDG_CACHE_HOME", "HTTPS_PROXY"] {
            assert!(is_for_nix(OsStr::new(name)), "{name}");
        }
        for name in [
            "AGE_KEY",
            "SOPS_AGE_KEY",
            "PASSAGE_DIR",
            "CLAN_DIR",
            "CLAN_CONNECT_X",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "GIT_DIR",
            "LD_PRELOAD",
        ] {
            assert!(!is_for_nix(OsStr::new(name)), "{name}");
        }
    }
}
