//! The options of ssh_config(5), each of them once: the [`TABLE`] says what it is
//! called, what it takes, who may set it and how it is shown, and [`Options`] has
//! what was said. Owns reading them, from files, letters, `-o`, `--ssh-option` and
//! addresses, and when a value is wrong, which is said at once. What an option does
//! is for whoever uses its field.

mod algorithms;
mod choice;
mod docs;
mod forwards;
mod jumps;
mod limits;
pub(crate) mod line;
mod quality;
mod row;
mod session;
mod slot;
mod table;
mod units;
mod value;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::pattern::matches_pattern;
use crate::printable::{self, Printable};
use slot::Arity;

pub use choice::{
    Canonicalize, ControlMaster, LogLevel, PubkeyAuthentication, RequestTty, SessionType, Tunnel,
    YesNoAsk,
};
pub use docs::manual;
#[cfg(test)]
pub use docs::page;
pub(crate) use forwards::bare;
pub use forwards::{Leads, Listener, LocalForward, Permitted, RemoteForward, target};
pub use jumps::JumpHosts;
pub use limits::{Persist, Time};
pub use row::{Row, Says, Shown};
pub use session::{Agent, ForwardAgent, SendEnv};
pub use slot::{Slot, Value};
pub use table::{Options, TABLE};
use value::KEYWORD;
pub use value::{Files, Maybe, Template};

/// Where an option was set, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    place: String,
    line: Option<usize>,
    /// The file, if it is one.
    file: Option<PathBuf>,
}

impl Origin {
    /// `-o`, as ssh(1) calls it.
    pub fn command_line() -> Self {
        Self { place: "command-line".to_owned(), line: Some(0), file: None }
    }

    /// A line of a file, counted from 1.
    pub fn line(path: &Path, line: usize) -> Self {
        Self {
            place: printable::line(&path.to_string_lossy()),
            line: Some(line),
            file: Some(path.to_owned()),
        }
    }

    /// One option by itself, such as one of `--ssh-option`.
    fn option(before: &str, name: &str) -> Self {
        Self { place: format!("{before} {}", Printable(name)), line: None, file: None }
    }

    /// The error for a value that cannot be used.
    pub fn wrong(&self, why: &str) -> Error {
        self.error(match self.line {
            Some(line) => format!("{} line {line}: {why}", self.place),
            None => format!("{}: {why}", self.place),
        })
    }

    /// The error for a keyword that nobody knows.
    fn unknown(&self, name: &str) -> Error {
        let name = name.to_ascii_lowercase();
        let why = format!("Bad configuration option: {}", Printable(&name));
        self.error(match self.line {
            Some(line) => format!("{}: line {line}: {why}", self.place),
            None => format!("{}: {why}", self.place),
        })
    }

    fn error(&self, text: String) -> Error {
        match &self.file {
            Some(path) => Error::SshConfig { path: path.clone(), line: self.line, text },
            None => Error::Usage(text),
        }
    }
}

/// The row of an option, by any of its names in whatever case.
pub fn find(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.is_called(name))
}

/// Whether an option may stand in an address. One that nobody knows may not harm.
pub fn is_for_addresses(name: &str) -> bool {
    let is_structure = ["host", "include", "match"].contains(&&*name.to_ascii_lowercase());
    !is_structure && find(name).is_none_or(|row| row.facts.in_address)
}

impl Options {
    /// Reads what follows a keyword. What was said before counts, where it is the
    /// first that counts.
    ///
    /// # Errors
    /// [`Error::Usage`] in OpenSSH's words.
    pub fn set(&mut self, name: &str, rest: &str, origin: &Origin) -> Result<()> {
        let Some(row) = find(name) else {
            return match self.passes_over(name) {
                true => Ok(()),
                false => Err(origin.unknown(name)),
            };
        };
        // Quotes are looked at even where the line is taken as it stands.
        let split = line::words(rest).map_err(|why| origin.wrong(&why))?;
        let rest = rest.trim_start_matches(['=', ' ', '\t']);
        let words = match row.arity {
            Arity::Rest => vec![rest.to_owned()],
            Arity::Unquoted => rest.split([' ', '\t', '#']).take(1).map(str::to_owned).collect(),
            _ => split,
        };
        let is_rest = matches!(row.arity, Arity::Rest | Arity::Unquoted);
        let keyword = name.to_ascii_lowercase();
        if words.is_empty() || words.first().is_some_and(|rest| rest.is_empty() && is_rest) {
            return Err(origin.wrong(&format!("no argument after keyword \"{keyword}\"")));
        }
        if row.arity == Arity::One && words.first().is_some_and(String::is_empty) {
            return Err(origin.wrong("Missing argument."));
        }
        let most = match row.arity {
            Arity::One | Arity::Rest | Arity::Unquoted => 1,
            Arity::Two => 2,
            Arity::Some => words.len(),
        };
        let (used, more) = words.split_at_checked(most).unwrap_or((&words, &[]));
        self.take(row, used).map_err(|why| origin.wrong(&why))?;
        match more {
            [] => Ok(()),
            _ => Err(origin.wrong(&format!("keyword {keyword} extra arguments at end of line"))),
        }
    }

    /// Reads it where it does not apply: a mistake is one whomever it is for.
    ///
    /// # Errors
    /// As for [`Options::set`].
    pub fn check(&self, name: &str, rest: &str, origin: &Origin) -> Result<()> {
        let ignore_unknown = self.ignore_unknown.clone();
        Self { ignore_unknown, ..Self::default() }.set(name, rest, origin)
    }

    /// Reads `-o`: `Name=value` or `Name value`.
    ///
    /// # Errors
    /// As for [`Options::set`].
    pub fn line(&mut self, text: &str) -> Result<()> {
        let origin = Origin::command_line();
        let Some((name, rest)) = line::split(text).map_err(|why| origin.wrong(&why))? else {
            return Ok(());
        };
        // OpenSSH has one word for both of the first two.
        for (structure, said) in [("Host", "Host"), ("Match", "Host"), ("Include", "Include")] {
            if name.eq_ignore_ascii_case(structure) {
                let why = format!("{said} directive not supported as a command-line option");
                return Err(Error::Usage(why));
            }
        }
        self.set(&name, rest, &origin)
    }

    /// Reads one option for a machine of the clan by its name and value; `before` is
    /// what goes before its name in messages, such as `--ssh-option`.
    ///
    /// # Errors
    /// As for [`Options::set`].
    pub fn pair(&mut self, name: &str, value: &str, before: &str) -> Result<()> {
        self.set(name, value, &Origin::option(before, name))
    }

    /// Does what a letter of ssh(1) does to the options.
    ///
    /// # Errors
    /// [`Error::Usage`] in OpenSSH's words.
    pub fn letter(&mut self, letter: char, argument: &str) -> Result<()> {
        for row in TABLE {
            let Some(says) = row.letter(letter) else { continue };
            let (word, is_last) = match says {
                Says::First(word) => (word, false),
                Says::Now(word) => (word, true),
                Says::Next(words) => (self.next(row, words), true),
                Says::Argument(_) => (argument, false),
            };
            if is_last {
                (row.clear)(self);
            }
            self.take(row, &[word.to_owned()]).map_err(|why| match says {
                Says::Argument(complaint) if !complaint.is_empty() => {
                    Error::Usage(complaint.replace("{}", &Printable(argument).to_string()))
                }
                _ => Error::Usage(format!("-{letter}: {why}")),
            })?;
        }
        Ok(())
    }

    /// What comes after what is said now.
    fn next(&self, row: &Row, words: &[&'static str]) -> &'static str {
        let is_said = |word: &&'static str| {
            let mut other = Self::default();
            let taken = self.is_set(row) && other.take(row, &[(*word).to_owned()]).is_ok();
            taken && (row.lines)(&other) == (row.lines)(self)
        };
        let said = words.iter().position(is_said);
        let next = words.get(said.map_or(0, |said| said + 1)).or(words.last());
        next.copied().unwrap_or_default()
    }

    /// Everything that was said, each by its name and its words.
    pub fn said(&self) -> Vec<(String, Vec<String>)> {
        let set = TABLE.iter().filter(|row| self.is_set(row));
        let lines =
            |row: &Row| (row.said)(self).into_iter().map(|words| (row.name.to_owned(), words));
        set.flat_map(lines).collect()
    }

    /// What is asked for and changes nothing.
    pub fn without_effect(&self) -> impl Iterator<Item = &'static Row> {
        let is_ignored = |row: &&Row| !row.facts.is_honoured && self.is_set(row);
        let default = Self::default();
        // As good as nothing said.
        let is_off = |words: &Vec<String>| {
            words.iter().all(|word| ["no", "false", "none"].contains(&word.as_str()))
        };
        TABLE.iter().filter(is_ignored).filter(move |row| {
            let lines = (row.lines)(self);
            lines != (row.lines)(&default) && !lines.iter().all(is_off)
        })
    }

    /// The same options again.
    ///
    /// # Errors
    /// [`Error::Usage`] for what [`Options::said`] never says.
    pub fn of_said(said: &[(String, Vec<String>)]) -> Result<Self> {
        let mut options = Self::default();
        for (name, words) in said {
            let origin = Origin::option("option", name);
            let row = find(name).ok_or_else(|| origin.unknown(name))?;
            (row.take)(&mut options, words).map_err(|why| origin.wrong(&why))?;
        }
        Ok(options)
    }

    fn take(&mut self, row: &Row, words: &[String]) -> Result<(), String> {
        let taken = match row.facts.yields.is_some_and(|yields| yields(self)) {
            true => (row.take)(&mut Self::default(), words),
            false => (row.take)(self, words),
        };
        taken.map_err(|why| why.replace(KEYWORD, &row.name.to_ascii_lowercase()))
    }

    /// Whether anything was said of an option.
    pub fn is_set(&self, row: &Row) -> bool {
        (row.is_set)(self)
    }

    /// The lines that `ssh -G` prints for an option, word by word and not expanded.
    pub fn shown(&self, row: &Row) -> Vec<Vec<String>> {
        let unset = (row.facts.unset)(self);
        match self.is_set(row) || unset.is_empty() {
            true => (row.lines)(self),
            false => {
                let words = |line: &str| line.split(' ').map(str::to_owned).collect();
                unset.lines().map(words).collect()
            }
        }
    }

    /// Whether what is known of hosts stays as it is while UpdateHostKeys says
    /// nothing: files of the user's own do, and so does what the DNS proves.
    pub fn leaves_known_hosts(&self) -> bool {
        self.user_known_hosts_file.is_some() || self.verify_host_key_dns() != YesNoAsk::No
    }

    /// Whether a keyword that is in no row is no mistake.
    fn passes_over(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let patterns = self.ignore_unknown.as_deref().unwrap_or_default().to_ascii_lowercase();
        table::OBSOLETE.contains(&name.as_str())
            || patterns
                .split(',')
                .any(|pattern| matches_pattern(pattern.as_bytes(), name.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
