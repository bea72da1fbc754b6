//! Called as `clan`: the commands of Clan's own program that are about reaching machines, in
//! its grammar, its formats and its exit statuses (`clan_cli` of clan-core). Owns which of
//! its commands are done here; all others, and every word that we do not know, are the next
//! `clan`'s, see [`next`].

mod callers;
mod grammar;
mod hints;
mod next;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::error::ContextKind;
use clap::{Command, CommandFactory, Parser};

use super::network::{list_text_of_clan, sorted};
use super::reach;
use super::refusal;
use super::task::drive;
use super::{Called, Cli, Global, Ui, print, print_text, select, ssh, vars, ways};
use crate::env::Env;
use crate::error::{Error, FAILED, Result};
use crate::model::{Network, VarRef};
use crate::plan::unknown_network;
use crate::printable::{self, Printable};
use crate::vars::Kept;
use crate::{log, signals};
pub(super) use hints::in_words_of_clan;

use grammar::{Clan, Done, Machines, Networks, SshArguments, Vars};

/// What stands for a secret value (`clan_lib/vars/var.py`).
const SECRET: &str = "********";

/// Whether we are called by Clan's name.
pub(super) fn is_called(args: &[OsString]) -> bool {
    args.first().and_then(|program| Path::new(program).file_name()).is_some_and(|it| it == "clan")
}

/// Has the next `clan` do what is not done here, in this process's place; the exit status
/// where that cannot be. `None` for what is ours.
pub fn handed_over(args: impl Iterator<Item = OsString>, env: &Env) -> Option<u8> {
    let args: Vec<OsString> = args.collect();
    let is_others = is_called(&args) && (!is_ours(&args) || is_later_clans(&args, env));
    is_others.then(|| {
        let global = Global { env: env.clone(), ..Global::default() };
        if let Some(status) = help(&args, env) {
            return status;
        }
        let error = next::run(&args, &global);
        Ui::new(&global).error(&error);
        error.exit_code(false)
    })
}

/// Runs a whole command line of `clan` and returns the exit status.
pub(super) fn main(args: &[OsString], env: Env) -> u8 {
    let mut global = Global { env, ..Global::default() };
    let clan = match Clan::try_parse_from(args) {
        Ok(clan) => clan,
        Err(error) => {
            let (mut error, _) = refusal::shown::<Clan>(error, args);
            // It would become a part of the command.
            error.remove(ContextKind::Suggested);
            let _ = error.print();
            return if error.use_stderr() {
                Error::Usage(String::new()).exit_code(false)
            } else {
                0
            };
        }
    };
    let common = clan.command.common();
    global.verbose = u8::from(common.debug);
    global.nix_options.clone_from(&common.option);
    global.flake.clone_from(&common.flake);
    global.called = Called::Clan(clan.command.name());
    log::start(global.verbose);
    global.settle();
    let ui = Arc::new(Ui::new(&global));
    let done = match clan.command {
        Done::Ssh(arguments) => session(arguments, &global),
        Done::Network(Networks::List { .. }) => networks(&global, &ui),
        Done::Network(Networks::Ping { machine, network, .. }) => {
            ping(&machine, network.as_deref(), &global, &ui)
        }
        Done::Network(Networks::Overview { .. }) => overview(&global, &ui),
        Done::Select { selector, impure, .. } => {
            global.impure = impure;
            select::run(&selector, &global, &ui).map(|()| 0)
        }
        Done::Vars(Vars::Get { machine, var_id, .. }) => {
            vars::run(vars::Command::Get { machine, var: var_id }, &global, &ui).map(|()| 0)
        }
        Done::Vars(Vars::List { machine, .. }) => list_vars(&machine, &global, &ui),
        Done::Machines(Machines::List { tags, .. }) => machines(&tags, &global, &ui),
    };
    done.unwrap_or_else(|error| {
        let is_told = match &error {
            Error::Output(error) => error.kind() != std::io::ErrorKind::BrokenPipe,
            _ => true,
        };
        if is_told && !signals::has_come() {
            ui.error(&error);
        }
        match error {
            // Clan's own program has 2 for what its grammar refuses, and for nothing else.
            Error::Usage(_) => FAILED,
            error => error.exit_code(false),
        }
    })
}

/// Whether these words are none of ours, and another `clan` is there that may know them: a
/// later version of Clan's.
fn is_later_clans(args: &[OsString], env: &Env) -> bool {
    Clan::try_parse_from(args).is_err_and(|error| error.use_stderr()) && next::is_there(env)
}

/// Says what works here, where that is asked for or no command is named and nobody else can
/// answer; the exit status then.
fn help(args: &[OsString], env: &Env) -> Option<u8> {
    let mut words: Vec<&str> = args.iter().skip(1).map(|it| it.to_str().unwrap_or("?")).collect();
    let count = words.len();
    words.retain(|word| !matches!(*word, "-h" | "--help"));
    let whole = Clan::command();
    let is_group = |name| whole.find_subcommand(name).is_some_and(Command::has_subcommands);
    let names_none = match words.as_slice() {
        [] => true,
        [name] => is_group(name),
        _ => false,
    };
    if !names_none || next::is_there(env) {
        return None;
    }
    let text = commands(&whole);
    let is_asked = words.len() < count;
    let written = match is_asked {
        true => print(text.as_bytes()),
        false => std::io::stderr().write_all(text.as_bytes()).map_err(Error::Output),
    };
    Some(match (written, is_asked) {
        (Ok(()), true) => 0,
        _ => FAILED,
    })
}

/// The commands that are done here, each with what it is for.
fn commands(whole: &Command) -> String {
    let mut lines = Vec::new();
    let mut add = |name: String, command: &Command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        lines.push((name, about));
    };
    for command in whole.get_subcommands() {
        let name = format!("clan {}", command.get_name());
        match command.has_subcommands() {
            false => add(name, command),
            true => command
                .get_subcommands()
                .for_each(|below| add(format!("{name} {}", below.get_name()), below)),
        }
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = lines.iter().map(|(name, about)| format!("  {name:<width$}  {about}\n"));
    format!(
        "This is clan-connect, called as clan. It has these commands:\n\n{}\nAll others are those \
         of Clan's own program, which is not in $PATH.\n",
        lines.collect::<String>()
    )
}

/// Whether a command is done here: its first words say.
fn is_ours(args: &[OsString]) -> bool {
    let word = |at: usize| args.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    matches!(
        (word(1), word(2)),
        ("ssh" | "select" | "se", _)
            | ("network" | "net", "list" | "ping" | "overview")
            | ("vars" | "va", "get" | "list")
            | ("machines" | "m", "list")
    )
}

/// `clan ssh`, in the words of ours, which has all of them.
fn session(arguments: SshArguments, global: &Global) -> Result<u8> {
    let SshArguments {
        mut machine,
        json,
        png,
        host_key_check,
        ssh_option,
        remote_command,
        mut rest,
        ..
    } = arguments;
    // Behind `--` there are but positions to argparse, of which the machine is the first.
    let names_none = machine.is_none() && json.is_none() && png.is_none();
    if names_none && remote_command.is_none() && !rest.is_empty() {
        let name = rest.remove(0).to_string_lossy().into_owned();
        if name.starts_with('-') {
            return Err(Error::Usage(format!("{} is no name of a machine", Printable(&name))));
        }
        machine = Some(name);
    }
    let mut words: Vec<OsString> = vec!["clan".into(), "ssh".into()];
    match (machine, json, png) {
        (Some(machine), _, _) => words.push(machine.into()),
        (_, Some(json), _) => words.extend(["--json".into(), json]),
        (_, _, Some(png)) => words.extend(["--png".into(), png]),
        _ => return Err(Error::NoMachine),
    }
    words.push(format!("--host-key-check={host_key_check}").into());
    for pair in ssh_option.chunks_exact(2) {
        words.push("--ssh-option".into());
        words.extend_from_slice(pair);
    }
    let mut command = remote_command.unwrap_or_default();
    if !command.is_empty() && !rest.is_empty() {
        command.push("--".into());
    }
    command.extend(rest);
    if !command.is_empty() {
        words.push("-c".into());
        words.extend(command);
    }
    let cli = Cli::try_parse_from(words).map_err(|error| Error::Usage(refusal::text(&error)))?;
    match cli.command {
        super::Command::Ssh(arguments) => ssh::run(&arguments, global),
        _ => Err(Error::Internal),
    }
}

fn networks(global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let clan = global.clan(ui)?;
    ui.problems(&clan);
    ui.lack_of_exports(&clan);
    let ways = ways::ways(&clan, global, ui)?;
    print_text(&list_text_of_clan(&clan, &ways))?;
    Ok(0)
}

/// The networks of a machine one after the other, the best first, until one leads there.
/// That none does is no failure to Clan.
fn ping(machine: &str, only: Option<&str>, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let clan = global.clan(ui)?;
    ui.problems(&clan);
    if clan.networks.is_empty() {
        print_text("No networks found\n")?;
        return Ok(0);
    }
    if let Some(name) = only
        && !clan.networks.iter().any(|network| network.answers_to(name))
    {
        return Err(unknown_network(&clan, name));
    }
    let is_asked = |network: &&Network| only.is_none_or(|name| network.answers_to(name));
    let has = |network: &&Network| network.peers.iter().any(|peer| peer.machine == machine);
    let asked: Vec<&Network> = sorted(&clan).into_iter().filter(is_asked).filter(has).collect();
    if asked.is_empty() {
        let reason = "it is not found in any network".to_owned().into();
        return Err(Error::NoRoute { machine: machine.to_owned(), reason });
    }
    let shown = Printable(machine);
    drive(async {
        for network in asked {
            let label = Printable(&network.label);
            ui.notice(&format!("Pinging '{shown}' in network '{label}' ..."));
            let time = reach::answer_time(machine, &network.label, global).await;
            let time = time.unwrap_or_else(|error| {
                ui.verbose(&error.to_string());
                None
            });
            match time {
                Some(time) => {
                    ui.notice(&format!("{shown} ({label}): reachable, ping: {time:.2} ms"));
                    break;
                }
                None => ui.notice(&format!("{shown} ({label}): not reachable")),
            }
        }
        Ok(0)
    })
}

fn overview(global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let cli = Cli::try_parse_from(["clan", "network", "overview"]);
    match cli.map_err(|error| Error::Usage(refusal::text(&error)))?.command {
        super::Command::Network(super::Network::Overview(arguments)) => {
            reach::overview(&arguments.of_clan(), global, ui)
        }
        _ => Err(Error::Internal),
    }
}

/// As `clan_cli/vars/list.py` has them. What is not generated yet is in no file, and so in
/// no list of ours.
fn list_vars(machine: &str, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let vars = vars::vars(global, ui)?;
    // Any var of it, to have its name checked.
    VarRef::new(machine, "-", "-")?;
    if let Some(error) = vars::unknown(machine, &vars, global, ui) {
        return Err(error);
    }
    let listed = vars.list(machine)?;
    let line = |entry: &crate::vars::Listed| {
        let value = match &entry.kept {
            Kept::Secret { .. } => SECRET,
            Kept::Public(value) => std::str::from_utf8(value).unwrap_or("<binary blob>"),
        };
        format!("{}: {value}", entry.var)
    };
    let mut lines: Vec<String> = listed.iter().filter(|entry| entry.counts).map(line).collect();
    lines.sort();
    print_text(&format!("{}\n", lines.join("\n")))?;
    Ok(0)
}

/// The machines of the inventory that have all of these tags.
fn machines(tags: &[String], global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let snapshot = global.known(ui)?;
    let has = |all: &[String]| tags.iter().all(|tag| all.contains(tag));
    let named = snapshot.machines.iter().filter(|(_, machine)| has(&machine.tags));
    let lines: String = named.map(|(name, _)| format!("{}\n", printable::line(name))).collect();
    print(lines.as_bytes())?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn commands_that_reach_machines_are_ours_and_no_others() {
        for line in [
            "clan ssh m",
            "/x/clan select a",
            "clan se a",
            "clan net list",
            "clan network overview --flake x",
            "clan va get m g/f",
            "clan m list --tags a b",
        ] {
            assert!(is_called(&words(line)) && is_ours(&words(line)), "{line}");
        }
        for line in
            ["clan", "clan --help", "clan machines update m", "clan vars generate", "clan m"]
        {
            assert!(is_called(&words(line)) && !is_ours(&words(line)), "{line}");
        }
        assert!(!is_called(&words("clan-connect ssh m")) && !is_called(&[]));
    }

    #[test]
    fn where_no_other_clan_is_the_commands_that_work_are_listed() {
        let env = Env::default();
        for (line, status) in [
            ("clan", Some(1)),
            ("clan network", Some(1)),
            ("clan m --help", Some(0)),
            ("clan -h", Some(0)),
            ("clan machines update", None),
            ("clan flakes --help", None),
        ] {
            assert_eq!(help(&words(line), &env), status, "{line}");
        }
        let text = commands(&Clan::command());
        for line in ["  clan ssh               Ssh to", "  clan network overview  Show the"] {
            assert!(text.contains(line), "{text}");
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("  ")) {
            let command = line.split_once("  ").map(|(command, _)| command);
            assert!(is_ours(&words(command.unwrap())), "{line}");
        }
    }
}
