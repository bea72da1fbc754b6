//! Completion in the shell: commands and options from the command line's own
//! description, machines and networks from the snapshot or the cache. Never
//! asks nix, and stays silent when it knows nothing.

use std::ffi::{OsStr, OsString};

use clap::{CommandFactory, ValueEnum};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};

use super::Cli;
use crate::env::Env;
use crate::error::Result;
use crate::flake::{self, Asker};
use crate::model::Clan;
use crate::options::TABLE;

/// The variable by which a shell asks.
const VARIABLE: &str = "COMPLETE";

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Answers a shell that asks for completions; says whether one did.
pub(super) fn answer(args: &[OsString], env: &Env) -> bool {
    if env.var(VARIABLE).is_none() {
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

/// The manual page, in the language of man(7).
pub(super) fn manual() -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let command = Cli::command();
    clap_mangen::Man::new(command).render(&mut page).map_err(crate::error::Error::Output)?;
    page.extend(crate::options::manual().bytes());
    Ok(page)
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

/// Options that `--ssh-option` takes, in whatever case they are begun.
pub(super) fn ssh_options(current: &OsStr) -> Vec<CompletionCandidate> {
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
    let begun = begun.to_ascii_lowercase();
    TABLE
        .iter()
        .filter(|row| row.name.to_ascii_lowercase().starts_with(&begun))
        .map(|row| CompletionCandidate::new(format!("-o{}=", row.name)))
        .collect()
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
    let flake = flake::admitted(env.path("CLAN_DIR"), env.dir()?, Asker::Command, &env).ok()?;
    flake::last_known(&flake.dir, &env)?.clan("").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_completed_from_their_table_and_explained_in_the_manual() {
        let names = |candidates: Vec<CompletionCandidate>| {
            let name = |one: &CompletionCandidate| one.get_value().to_str().unwrap().to_owned();
            candidates.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(ssh_options(OsStr::new("stricthost"))), ["StrictHostKeyChecking"]);
        assert_eq!(names(ssh_options(OsStr::new("ControlM"))), ["ControlMaster"]);
        assert_eq!(names(letters(OsStr::new("-oControlM"))), ["-oControlMaster="]);
        assert!(names(letters(OsStr::new("host"))).is_empty());
        let page = String::from_utf8(manual().unwrap()).unwrap();
        assert!(page.contains("\n\\fBStrictHostKeyChecking\\fR\nWhat to do about"), "{page}");
        assert!(page.contains("Accepted, and without effect: ChannelTimeout,"), "{page}");
    }
}
