//! What a command line that clap refuses was meant to be, where ssh(1) takes it. Owns
//! the tips of such refusals.

use std::ffi::OsString;

use clap::Parser;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::encoding;
use crate::openssh::arguments::{ALONE, WITH_ARGUMENT};
use crate::printable::Printable;
use crate::ssh::words::quote;

/// Places of a word that are tried for what it may be meant as: each is a whole parse.
const MOST_PLACES: usize = 16;

/// Says with `error` what does it, if it is about a session.
pub(super) fn explain(error: &mut clap::Error, args: &[OsString]) {
    let is_session = args.iter().skip(1).any(|arg| arg == "ssh");
    if error.kind() != ErrorKind::UnknownArgument || !is_session {
        return;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return };
    let tip = match word.strip_prefix('-') {
        Some(letter) => of_letter(letter),
        None => of_command(word, args),
    };
    if let Some(tip) = tip {
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        let _ = error.insert(ContextKind::Suggested, tips);
    }
}

/// A letter that ssh(1) has, and `clan-connect ssh` has not.
fn of_letter(letter: &str) -> Option<String> {
    let mut letters = letter.chars();
    let known = |letter: &char| ALONE.contains(*letter) || WITH_ARGUMENT.contains(*letter);
    let letter = letters.next().filter(known).filter(|_| letters.next().is_none())?;
    let all = "every option of ssh(1) is taken by clan-connect openssh, and where it is called \
               as ssh";
    let option = match letter {
        'f' => "ForkAfterAuthentication=yes",
        'g' => "GatewayPorts=yes",
        'n' => "StdinNull=yes",
        'b' => "BindAddress=ADDRESS",
        'B' => "BindInterface=NAME",
        'm' => "MACs=NAMES",
        's' => "SessionType=subsystem",
        _ => return Some(all.to_owned()),
    };
    Some(format!("-{letter} is -o {option} here; {all}"))
}

/// A command without `--` before it.
fn of_command(word: &str, args: &[OsString]) -> Option<String> {
    // The same word may be an option's value: what is meant can be parsed.
    let places = args.iter().enumerate().skip(1).filter(|(_, arg)| *arg == word);
    let meant = places.take(MOST_PLACES).map(|(at, _)| {
        let (before, command) = args.split_at(at);
        [before, &["--".into()], command].concat()
    });
    let meant = meant.into_iter().find(|args| Cli::try_parse_from(args).is_ok())?;
    let words: Vec<String> = meant.iter().skip(1).map(encoding::of_os).collect();
    let at = words.iter().position(|word| word == "--")?;
    let (before, command) = words.split_at_checked(at)?;
    let (before, command) = (quote(before), quote(command.get(1..)?));
    let line = format!("clan-connect {before} -- {command}");
    Some(format!("put the command behind --: {}", Printable(&line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let mut error = Cli::try_parse_from(&args).unwrap_err();
        explain(&mut error, &args);
        error.to_string()
    }

    #[test]
    fn a_command_belongs_behind_two_dashes() {
        for (line, meant) in [
            ("clan-connect ssh db01 uname -a", "clan-connect ssh db01 -- uname -a"),
            ("clan-connect ssh -l x db01 x $y", "clan-connect ssh -l x db01 -- x '$y'"),
        ] {
            let said = said(line);
            assert!(said.contains(&format!("put the command behind --: {meant}\n")), "{said}");
        }
    }

    #[test]
    fn a_word_that_is_there_thousands_of_times_is_not_tried_everywhere() {
        let line = format!("clan-connect ssh m{} a", " -i a".repeat(4000));
        let began = std::time::Instant::now();
        said(&line);
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn letters_of_ssh_are_told_what_takes_them() {
        for letter in "fngXYEMqKk".chars().filter(|letter| *letter != 'q') {
            let said = said(&format!("clan-connect ssh db01 -{letter}"));
            assert!(said.contains("clan-connect openssh"), "{said}");
            assert!(!said.contains("'-- -"), "{said}");
        }
        assert!(said("clan-connect ssh db01 -n").contains("-n is -o StdinNull=yes here"));
        let other = said("clan-connect network ping db01 -n");
        assert!(!other.contains("openssh"), "{other}");
    }
}
