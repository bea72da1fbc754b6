//! Evaluates a clan with nix, the only program that this one may start by
//! itself. Owns the expression and the distrust of what comes back.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::snapshot::{Machine, Snapshot};
use crate::error::{Error, Result};
use crate::exports::TargetHost;
use crate::printable;
use crate::select::Selector;

/// Where nix is when it is not in the path (NixOS, the multi-user installer).
const PLACES: [&str; 2] = ["/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin"];
/// Bound on what nix prints, in bytes.
const MAX_OUTPUT: u64 = 64 << 20;
/// Entries that are evaluated one by one when the whole cannot be.
const MAX_ENTRIES: usize = 1000;
/// Lines of nix's own message that are shown.
const SHOWN_LINES: usize = 8;

/// The nix program, if there is one.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join("nix")).find(|file| file.is_file())
}

/// Everything at once. An entry that throws, because a var was not generated
/// yet, is left out and named; the others count.
const ALL: &str = "
let
  attempt = value: builtins.tryEval (builtins.deepSeq value value);
  either = value: default: let tried = attempt value; in if tried.success then tried.value else default;
  exports = builtins.mapAttrs (_: attempt) (flake.clan.exports or { });
  names = builtins.attrNames exports;
  inventory = either (flake.clanInternals.inventoryClass.inventorySerialization or { }) { };
  keep = wanted: builtins.filter (name: exports.${name}.success == wanted) names;
in {
  exports = builtins.listToAttrs (map (name: { inherit name; value = exports.${name}.value; }) (keep true));
  failed = keep false;
  domain = either (inventory.meta.domain or null) null;
  source = either (builtins.unsafeDiscardStringContext (toString flake.outPath)) null;
  machines = builtins.mapAttrs
    (_: machine: either (machine.deploy.targetHost or null) null)
    (inventory.machines or { });
}";

#[derive(Deserialize)]
struct All {
    exports: Value,
    failed: Vec<String>,
    domain: Option<Value>,
    source: Option<PathBuf>,
    machines: BTreeMap<String, Value>,
}

/// Evaluates the clan that `reference` names for nix: a flake reference, or a
/// directory as [`reference`] gives it. Blocks, for minutes if nix must fetch.
///
/// # Errors
/// [`Error::Nix`] with the end of nix's own message.
pub fn evaluate(nix: &Path, reference: &str) -> Result<Snapshot> {
    let whole = eval(nix, reference, ALL).and_then(|json| {
        serde_json::from_slice::<All>(&json)
            .map_err(|error| failed(reference, format!("its output is unexpected: {error}")))
    });
    let all = match whole {
        Ok(all) => all,
        // Some errors cannot be caught inside nix: then one entry at a time.
        Err(error) => match one_by_one(nix, reference) {
            Some(all) if all.exports.as_object().is_some_and(|map| !map.is_empty()) => all,
            _ => return Err(error),
        },
    };
    let text = |value: Value| value.as_str().map(str::to_owned);
    let mut snapshot = Snapshot::new(all.exports);
    snapshot.failed = all.failed;
    snapshot.domain = all.domain.and_then(text);
    let machines = all.machines.into_iter();
    snapshot.machines = machines
        .map(|(name, target)| (name, Machine { target_host: text(target), ..Machine::default() }))
        .collect();
    snapshot.source = all.source;
    Ok(snapshot)
}

fn one_by_one(nix: &Path, reference: &str) -> Option<All> {
    let names = eval(nix, reference, "builtins.attrNames flake.clan.exports").ok()?;
    let names: Vec<String> = serde_json::from_slice(&names).ok()?;
    let (mut exports, mut failed) = (serde_json::Map::new(), Vec::new());
    for name in names.into_iter().take(MAX_ENTRIES) {
        let expression = format!("flake.clan.exports.{}", quote(&name));
        let value = eval(nix, reference, &expression).ok();
        match value.and_then(|json| serde_json::from_slice(&json).ok()) {
            Some(value) => {
                exports.insert(name, value);
            }
            None => failed.push(name),
        }
    }
    let (domain, source, machines) = Default::default();
    Some(All { exports: exports.into(), failed, domain, source, machines })
}

/// What `selector` picks out of the whole flake. Blocks.
///
/// # Errors
/// [`Error::Nix`].
pub fn select(nix: &Path, reference: &str, selector: &Selector) -> Result<Value> {
    let json = eval(nix, reference, &format!("{} flake", selector.to_nix(quote)))?;
    let value = serde_json::from_slice(&json)
        .map_err(|error| failed(reference, format!("its output is unexpected: {error}")))?;
    Ok(selector.arrange(value))
}

/// The `targetHost` in the configuration of a machine, where Clan looks last
/// (`clan_lib/nix_selectors.py`). Blocks: nix evaluates the whole machine.
///
/// # Errors
/// [`Error::Nix`], and [`Error::TargetHost`] when it is no address.
pub fn target_host(nix: &Path, reference: &str, machine: &str) -> Result<Option<TargetHost>> {
    let expression = format!(
        "flake.clanInternals.machines.${{builtins.currentSystem}}.{}.config.clan.core.networking\
         .targetHost or null",
        quote(machine)
    );
    let json = eval(nix, reference, &expression)?;
    match serde_json::from_slice(&json) {
        Ok(Value::String(text)) => {
            // Options are for Clan's own ssh, as in the inventory.
            let target = TargetHost::without_options(&text);
            target
                .map(|(target, _)| Some(target))
                .map_err(|reason| Error::TargetHost { machine: machine.to_owned(), reason })
        }
        _ => Ok(None),
    }
}

/// How nix is told of a directory: by git where there is git, which leaves out
/// what is not part of the clan.
pub fn reference(dir: &Path) -> String {
    let scheme = if dir.join(".git").exists() { "git+file" } else { "path" };
    format!("{scheme}:{}", encode(&dir.to_string_lossy()))
}

/// The characters of a path that mean something in a URL.
fn encode(path: &str) -> String {
    let mut text = String::new();
    for char in path.chars() {
        match char {
            '%' | '?' | '#' | ' ' | '"' => text.push_str(&format!("%{:02X}", char as u32)),
            char => text.push(char),
        }
    }
    text
}

/// A string of the nix language.
fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("\"{escaped}\"")
}

fn eval(nix: &Path, reference: &str, expression: &str) -> Result<Vec<u8>> {
    let expression = format!("let flake = builtins.getFlake {}; in {expression}", quote(reference));
    #[allow(clippy::disallowed_methods, reason = "the one program we may start by ourselves")]
    let mut child = Command::new(nix)
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(["eval", "--json", "--impure", "--expr", &expression])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(reference, format!("cannot start {}: {error}", nix.display())))?;
    let stderr = child.stderr.take();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(stderr) = stderr {
            let _ = stderr.take(MAX_OUTPUT).read_to_end(&mut text);
        }
        text
    });
    let mut json = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = stdout.take(MAX_OUTPUT + 1).read_to_end(&mut json);
    }
    if json.len() as u64 > MAX_OUTPUT {
        let _ = child.kill();
    }
    let status = child.wait();
    let errors = errors.join().unwrap_or_default();
    match status {
        // What nix printed before it failed is not the whole.
        Ok(status) if status.success() && json.len() as u64 <= MAX_OUTPUT => Ok(json),
        _ => Err(failed(reference, tail(&errors))),
    }
}

/// The end of a message, where nix says what is wrong.
fn tail(errors: &[u8]) -> String {
    let text = printable::lines(&String::from_utf8_lossy(errors));
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

fn failed(reference: &str, reason: String) -> Error {
    Error::Nix { reference: printable::line(reference), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_can_become_part_of_the_expression() {
        assert_eq!(quote("a\"b\\c${d}"), "\"a\\\"b\\\\c\\${d}\"");
        let dir = Path::new("/tmp/a b#c?d%\"e");
        assert_eq!(reference(dir), "path:/tmp/a%20b%23c%3Fd%25%22e");
    }

    #[test]
    fn the_end_of_a_long_message_is_shown_and_can_hold_nothing_foul() {
        let text: String = (0..100).map(|at| format!("line {at}\x1b[31m\n\n")).collect();
        let shown = tail(text.as_bytes());
        assert_eq!(shown.lines().count(), SHOWN_LINES);
        assert!(shown.contains("line 99") && !shown.contains('\x1b'), "{shown}");
    }
}
