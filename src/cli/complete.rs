//! Completion in the shell: commands and options from the command line's own
//! description, machines and networks from the snapshot or the cache. Never
//! asks nix, and stays silent when it knows nothing.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use clap::{CommandFactory, ValueEnum};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};

use super::Cli;
use crate::env::Env;
use crate::flake::{self, Asker, Flake};
use crate::model::{Clan, VarRef};
use crate::options::{TABLE, find};
use crate::prompter::Nobody;
use crate::ssh::hostkey::HostKeyCheck;
use crate::vars::{Environment, Vars};

/// The variable by which a shell asks.
const VARIABLE: &str = "COMPLETE";

/// Technologies in which we can be somebody, by the names of their services.
pub(super) const TECHNOLOGIES: [&str; 3] = ["yggdrasil", "wireguard", "mycelium"];
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Answers a shell that asks for completions; says whether one did.
pub(super) fn answer(args: &[OsString], env: &Env) -> bool {
    // Its scripts put the line after two dashes; everything else is no question.
    let is_question = args.get(1).is_none_or(|arg| arg == "--");
    if env.var(VARIABLE).is_none() || !is_question {
        return false;
    }
    let asked = CompleteEnv::with_factory(Cli::command).var(VARIABLE);
    asked.try_complete(args, env.dir()).unwrap_or(true)
}

/// The script by which a shell learns to ask us.
pub(super) fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let name = env!("CARGO_PKG_NAME");
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    // Writing into memory cannot fail.
    let _ = shell.write_registration(VARIABLE, name, name, name, &mut script);
    script
}

/// Commands whose names begin with `current`.
pub(super) fn commands(current: &OsStr) -> Vec<CompletionCandidate> {
    let command = Cli::command();
    beginning_with(current, command.get_subcommands().map(clap::Command::get_name))
}

/// Machines whose names begin with `current`.
pub(super) fn machines(current: &OsStr) -> Vec<CompletionCandidate> {
    let clan = known().unwrap_or_default();
    beginning_with(current, clan.machines().into_iter())
}

/// Networks likewise.
pub(super) fn networks(current: &OsStr) -> Vec<CompletionCandidate> {
    let clan = known().unwrap_or_default();
    beginning_with(current, clan.networks.iter().map(|network| network.label.as_str()))
}

/// Networks and technologies in which we can be somebody.
pub(super) fn identities(current: &OsStr) -> Vec<CompletionCandidate> {
    let clan = known().unwrap_or_default();
    let networks = clan.networks.iter().filter(|it| TECHNOLOGIES.contains(&it.service_name()));
    let mut names: Vec<&str> = networks.map(|network| network.label.as_str()).collect();
    let is_new = |name: &&str| !clan.networks.iter().any(|it| it.label == *name);
    names.extend(TECHNOLOGIES.iter().copied().filter(is_new));
    beginning_with(current, names.into_iter())
}

/// Vars of the machine that stands before.
pub(super) fn vars(current: &OsStr) -> Vec<CompletionCandidate> {
    let env = Env::read();
    let Some(machine) = before(2, "get").filter(|name| VarRef::new(name, "-", "-").is_ok()) else {
        return Vec::new();
    };
    let Some(flake) = admitted(&env) else { return Vec::new() };
    let vars = Vars::new(Some(flake.vars), Vec::new(), Environment::default(), Arc::new(Nobody));
    let names = vars.names(&machine).unwrap_or_default();
    beginning_with(current, names.iter().map(String::as_str))
}

/// What `--host-key-check` takes.
pub(super) fn host_key_checks(current: &OsStr) -> Vec<CompletionCandidate> {
    use HostKeyCheck::{AcceptNew, Ask, None, Strict, Tofu};
    let words = [Strict, Ask, AcceptNew, Tofu, None].map(|check| check.to_string());
    beginning_with(current, words.iter().map(String::as_str))
}

/// Options that `--ssh-option` takes, in whatever case they are begun, or what the one
/// before takes.
pub(super) fn ssh_options(current: &OsStr) -> Vec<CompletionCandidate> {
    if let Some(name) = before(2, "--ssh-option") {
        return beginning_with(current, choices(&name).iter().copied());
    }
    let Some(current) = current.to_str().map(str::to_ascii_lowercase) else { return Vec::new() };
    let rows = TABLE.iter();
    rows.filter(|row| row.name.to_ascii_lowercase().starts_with(&current))
        .map(|row| CompletionCandidate::new(row.name).help(Some(row.about.trim().into())))
        .collect()
}

/// `-oNAME=` of OpenSSH's command line.
pub(super) fn letters(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(begun) = current.to_str().and_then(|word| word.strip_prefix("-o")) else {
        return Vec::new();
    };
    if let Some((name, value)) = begun.split_once('=') {
        let values = choices(name).iter().filter(|choice| choice.starts_with(value));
        let whole = |choice: &&str| CompletionCandidate::new(format!("-o{name}={choice}"));
        return values.map(whole).collect();
    }
    let begun = begun.to_ascii_lowercase();
    TABLE
        .iter()
        .filter(|row| row.name.to_ascii_lowercase().starts_with(&begun))
        .map(|row| CompletionCandidate::new(format!("-o{}=", row.name)))
        .collect()
}

/// The words that an option takes, if it takes no others.
fn choices(name: &str) -> &'static [&'static str] {
    find(name).map_or(&[], |row| row.choices)
}

/// The word before the one that is completed, if `word` stands `back` words before that.
fn before(back: usize, word: &str) -> Option<String> {
    // The shell's question is `clan-connect -- clan-connect WORD…`, which clap does not
    // hand to us.
    let words: Vec<OsString> = std::env::args_os().collect();
    let at = words.len().checked_sub(back + 1)?;
    let is_there = words.get(at).is_some_and(|known| known == word);
    is_there.then(|| words.get(at + 1)?.clone().into_string().ok()).flatten()
}

fn beginning_with<'a>(
    current: &OsStr,
    names: impl Iterator<Item = &'a str>,
) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    // A shell would take them apart, or worse.
    let is_plain = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || "-_.:/".contains(c));
    names
        .filter(|name| name.starts_with(current))
        .filter(is_plain)
        .map(CompletionCandidate::new)
        .collect()
}

/// The clan here, as far as it is known without nix: one that the commands would use.
fn known() -> Option<Clan> {
    // The completer can be handed nothing.
    let env = Env::read();
    flake::last_known(&admitted(&env)?.dir, &env)?.clan("").ok()
}

fn admitted(env: &Env) -> Option<Flake> {
    flake::admitted(env.path("CLAN_DIR"), env.dir()?, Asker::Command, env).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_options_are_completed_from_what_describes_them() {
        let names = |candidates: Vec<CompletionCandidate>| {
            let name = |one: &CompletionCandidate| one.get_value().to_str().unwrap().to_owned();
            candidates.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(ssh_options(OsStr::new("stricthost"))), ["StrictHostKeyChecking"]);
        assert_eq!(names(ssh_options(OsStr::new("ControlM"))), ["ControlMaster"]);
        assert_eq!(names(letters(OsStr::new("-oControlM"))), ["-oControlMaster="]);
        assert!(names(letters(OsStr::new("host"))).is_empty());
        let values = ["-oControlMaster=auto", "-oControlMaster=ask", "-oControlMaster=autoask"];
        assert_eq!(names(letters(OsStr::new("-oControlMaster=a"))), values);
        assert_eq!(names(letters(OsStr::new("-oBatchMode=y"))), ["-oBatchMode=yes"]);
        assert_eq!(names(letters(OsStr::new("-oPort="))), [""; 0]);
        assert_eq!(names(commands(OsStr::new("ex"))), ["exports"]);
    }
}
