//! Advice for whoever called us as `clan`. Owns that every command in it can be typed as it
//! stands there: by the name `clan` where that has the command, and else by our own, as all
//! that is known of options which only we take.

use clap::{Command, CommandFactory, Parser};

use super::grammar::Clan;

/// Our own name before a command.
const OWN: &str = "clan-connect ";
/// What options belong to that come later in a sentence.
const COMMANDS: [&str; 3] = [OWN, "clan machines ", "clan vars "];

/// The advice of `clan-connect` for whoever typed `clan COMMAND`.
pub(in crate::cli) fn in_words_of_clan(hints: &[String], command: &str) -> Vec<String> {
    let mut lacking: Vec<&str> = Vec::new();
    let whole = Clan::command();
    let taken = command.split(' ').try_fold(&whole, |whole, word| whole.find_subcommand(word));
    for option in hints.iter().flat_map(|hint| options(hint)) {
        if !taken.is_some_and(|command| takes(command, option)) && !lacking.contains(&option) {
            lacking.push(option);
        }
    }
    let mut hints: Vec<String> = hints.iter().map(|hint| renamed(hint)).collect();
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        hints.push(format!("clan-connect takes {lacking}, and clan {command} does not"));
    }
    hints
}

/// A hint in which commands that `clan` takes as they are begin with its name.
fn renamed(hint: &str) -> String {
    let mut parts = hint.split(OWN);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let line = part.split([',', ';']).next().unwrap_or_default();
        let words = std::iter::once("clan").chain(line.split_whitespace());
        text.push_str(if Clan::try_parse_from(words).is_ok() { "clan " } else { OWN });
        text.push_str(part);
    }
    text
}

/// The options that a hint names, but for those of a command that it names before them.
fn options(hint: &str) -> impl Iterator<Item = &str> {
    let before_commands = |clause: &'_ str| {
        COMMANDS.iter().filter_map(|command| clause.find(command)).min().unwrap_or(clause.len())
    };
    let clauses = hint.split(';');
    let outside = clauses.filter_map(move |clause| clause.get(..before_commands(clause)));
    let words = outside.flat_map(str::split_whitespace);
    let words = words.map(|word| word.trim_end_matches([',', ':']));
    words.filter(|word| match word.strip_prefix('-') {
        Some(name) if name.len() == 1 => name != "-",
        Some(name) => name.len() > 2 && name.starts_with('-'),
        None => false,
    })
}

fn takes(command: &Command, option: &str) -> bool {
    let mut arguments = command.get_arguments();
    arguments.any(|argument| match option.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short() == option.chars().nth(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::{self, Caller};
    use crate::error::Error;

    fn said(error: &Error, command: &str) -> String {
        in_words_of_clan(&advice::of(error, Caller::CommandLine), command).join("\n")
    }

    #[test]
    fn a_command_that_clan_has_is_advised_by_its_name() {
        let unknown = |machine: &str| Error::UnknownVar {
            machine: machine.to_owned(),
            var: "g/f".to_owned(),
            nearest: None,
        };
        let said_of_var = said(&unknown("web01"), "vars get");
        assert!(
            said_of_var.starts_with("see what there is: clan vars list web01\n"),
            "{said_of_var}"
        );
        assert!(!said_of_var.contains("clan-connect"), "{said_of_var}");
        for (hint, meant) in [
            ("x: clan-connect ssh m; y", "x: clan ssh m; y"),
            ("clan-connect network list, z", "clan network list, z"),
            ("clan-connect machines list", "clan machines list"),
            ("clan-connect select x", "clan select x"),
            // What it does not have, and what it would take otherwise.
            ("allow it: clan-connect trust-clan", "allow it: clan-connect trust-clan"),
            ("clan-connect network trust list m", "clan-connect network trust list m"),
            ("clan-connect ssh m --target-host h", "clan-connect ssh m --target-host h"),
            ("another clan-connect that runs", "another clan-connect that runs"),
        ] {
            assert_eq!(renamed(hint), meant);
        }
    }

    #[test]
    fn options_that_clan_does_not_take_are_said_to_be_ours() {
        let no_route = Error::NoRoute { machine: "m".to_owned(), reason: "x".to_owned() };
        let note = "\nclan-connect takes --target-host, and clan ssh does not";
        assert!(said(&no_route, "ssh").ends_with(note), "{}", said(&no_route, "ssh"));
        let not_found = Error::FlakeNotFound { start: "/x".into() };
        assert_eq!(said(&not_found, "ssh"), advice::of(&not_found, Caller::CommandLine).join("\n"));
        for (hint, command, note) in [
            ("if you trust it: --impure", "select", None),
            ("if you trust it: --impure", "network ping", Some("--impure")),
            ("name it with -i FILE or -l USER", "ssh", Some("-i, -l")),
            ("--ssh-option Pipelining no", "ssh", None),
            ("--ssh-option Pipelining no", "network ping", Some("--ssh-option")),
            ("clan machines update m --target-host x", "ssh", None),
            ("ssh-keygen -lf /k", "ssh", None),
        ] {
            let hints = in_words_of_clan(&[hint.to_owned()], command);
            let note =
                note.map(|all| format!("clan-connect takes {all}, and clan {command} does not"));
            assert_eq!(hints.get(1), note.as_ref(), "{hint}");
        }
    }
}
