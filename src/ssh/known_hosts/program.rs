//! `KnownHostsCommand` of ssh_config(5): a program of the user's that prints
//! known hosts. Owns its tokens; a secret host is no word of a command, so the
//! machine's own name stands for it.

use std::path::Path;

use data_encoding::BASE64;
use russh::keys::{HashAlg, PublicKey};

use super::{KnownHosts, lookup_name};
use crate::command;
use crate::error::{Error, Result};

/// Bound on what it prints, in bytes.
const MAX_OUTPUT: u64 = 64 << 20;
/// What messages call it instead of a file.
const PLACE: &str = "KnownHostsCommand";

/// Why it is asked, its `%I`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// For the types of keys to prefer.
    Order,
    /// For the host's name.
    Hostname,
}

/// The command and what it may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    words: Vec<String>,
    /// `%r`.
    pub login: String,
}

impl Program {
    /// Reads the option's value; `none` is no command.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn parse(line: &str) -> Result<Option<Self>> {
        if line.eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        let bad = |why| Error::Usage(format!("KnownHostsCommand {line:?}: {why}"));
        let words = command::split(line).ok_or_else(|| bad("a quote is not closed"))?;
        match words.first() {
            Some(program) if Path::new(program).is_absolute() => {
                Ok(Some(Self { words, login: String::new() }))
            }
            _ => Err(bad("the program needs its whole path, from / on")),
        }
    }

    /// What it says of `name` at `port`, which offers `key` if it has by now.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::KnownHosts`] when it fails: then nothing may be trusted.
    pub fn ask(
        &self,
        purpose: Purpose,
        name: &str,
        port: u16,
        key: Option<&PublicKey>,
    ) -> Result<KnownHosts> {
        let expand = |word: &String| self.expand(word, purpose, name, port, key);
        let words = self.words.iter().map(expand).collect::<Result<Vec<_>>>()?;
        let printed = command::output(&words, None, MAX_OUTPUT);
        let printed = printed.ok_or_else(|| failed("it failed, or printed too much"))?;
        let mut known = KnownHosts::default();
        known.parse(Path::new(PLACE), printed.expose());
        Ok(known)
    }

    fn expand(
        &self,
        word: &str,
        purpose: Purpose,
        name: &str,
        port: u16,
        key: Option<&PublicKey>,
    ) -> Result<String> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let blob = || key.and_then(|key| key.to_bytes().ok()).map(|bytes| BASE64.encode(&bytes));
        let mut out = String::new();
        let mut chars = word.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                out.push(char);
                continue;
            }
            match chars.next() {
                Some('%') => out.push('%'),
                Some('I') => out.push_str(match purpose {
                    Purpose::Order => "ORDER",
                    Purpose::Hostname => "HOSTNAME",
                }),
                Some('H') => out.push_str(&lookup_name(name, port)),
                Some('h' | 'k' | 'n') => out.push_str(name),
                Some('p') => out.push_str(&port.to_string()),
                Some('r') => out.push_str(&self.login),
                Some('u') => out.push_str(&variable("USER")),
                Some('d') => out.push_str(&variable("HOME")),
                Some('i') => out.push_str(&rustix::process::getuid().as_raw().to_string()),
                Some('T') => out.push_str("NONE"),
                Some('j') => {}
                Some('t') => out.push_str(
                    &key.map_or("NONE".to_owned(), |key| key.algorithm().as_str().to_owned()),
                ),
                Some('f') => {
                    out.push_str(&key.map_or("NONE".to_owned(), |key| {
                        key.fingerprint(HashAlg::Sha256).to_string()
                    }))
                }
                Some('K') => out.push_str(&blob().unwrap_or_else(|| "NONE".to_owned())),
                other => {
                    let token = other.map_or_else(String::new, String::from);
                    return Err(failed(&format!("it has the unknown token %{token}")));
                }
            }
        }
        Ok(out)
    }
}

fn failed(reason: &str) -> Error {
    Error::KnownHosts { path: PLACE.into(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::known_hosts::Verdict;
    use crate::ssh::known_hosts::test_keys::*;

    #[test]
    fn it_is_told_who_is_asked_for_and_its_lines_count() {
        let line = format!("/bin/sh -c 'echo \"$1 {ED25519}\"' sh %H");
        let program = Program::parse(&line).unwrap().unwrap();
        let known = program.ask(Purpose::Hostname, "Host", 2222, None).unwrap();
        assert!(matches!(known.lookup("host", 2222, &key(ED25519)), Verdict::Known { .. }));
        let words = Program { words: Vec::new(), login: "me".into() };
        let expand =
            |word| words.expand(word, Purpose::Hostname, "h", 22, Some(&key(ED25519))).unwrap();
        assert_eq!(expand("%%|%I|%h|%p|%r|%t|%T"), "%|HOSTNAME|h|22|me|ssh-ed25519|NONE");
        assert_eq!(format!("ssh-ed25519 {}", expand("%K")), ED25519);
        assert!(expand("%f").starts_with("SHA256:"));
        assert_eq!(words.expand("%t%K", Purpose::Order, "h", 22, None).unwrap(), "NONENONE");
        assert!(words.expand("%x", Purpose::Order, "h", 22, None).is_err());
    }

    #[test]
    fn a_failing_one_is_an_error_and_none_is_none() {
        let ask =
            |line: &str| Program::parse(line).unwrap().unwrap().ask(Purpose::Order, "h", 22, None);
        for line in ["/bin/false", "/nonexistent", "/bin/sh -c 'echo x; exit 3'"] {
            assert!(ask(line).is_err(), "{line}");
        }
        assert_eq!(Program::parse("none").unwrap(), None);
        for line in ["", "echo x", "/bin/sh -c 'x"] {
            assert!(Program::parse(line).is_err(), "{line:?}");
        }
    }
}
