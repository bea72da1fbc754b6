//! `KnownHostsCommand` of ssh_config(5): a program of the user's that prints
//! known hosts. Owns its tokens; a secret host is no word of a command, so the
//! machine's own name stands for it.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::BASE64;
use russh::keys::{HashAlg, PublicKey};

use super::{KnownHosts, lookup_name};
use crate::command;
use crate::error::{Error, Result};
use crate::tokens;

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
    /// What a caller who knows better has for the tokens of ssh_config(5).
    pub tokens: BTreeMap<char, String>,
}

impl Program {
    /// Reads the option's value; `none` is no command.
    ///
    /// # Errors
    /// [`Error::OptionValue`].
    pub fn parse(line: &str) -> Result<Option<Self>> {
        if line.eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        let bad = |why| Error::OptionValue(format!("KnownHostsCommand {line:?}: {why}"));
        let words = command::split(line).ok_or_else(|| bad("a quote is not closed"))?;
        match words.first() {
            Some(program) if Path::new(program).is_absolute() => {
                Ok(Some(Self { words, tokens: BTreeMap::new() }))
            }
            _ => Err(bad("the program needs its whole path, from / on")),
        }
    }

    /// Whether it is this very program, which a stock ssh asks what is known here already.
    pub fn is_own_list(&self) -> bool {
        let program = self.words.first().and_then(|word| Path::new(word).file_name());
        program.is_some_and(|name| name == env!("CARGO_PKG_NAME"))
            && self.words.iter().any(|word| word == "--known-hosts")
    }

    /// What it says of `name` at `port`, which offers `key` if it has by now.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::KnownHostsCommand`] when it fails: then nothing may be trusted.
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
        let none = || "NONE".to_owned();
        let blob = || key.and_then(|key| key.to_bytes().ok()).map(|bytes| BASE64.encode(&bytes));
        tokens::expand(word, &|token| {
            Some(match token {
                'I' => match purpose {
                    Purpose::Order => "ORDER".to_owned(),
                    Purpose::Hostname => "HOSTNAME".to_owned(),
                },
                'H' => lookup_name(name, port),
                't' => key.map_or_else(none, |key| key.algorithm().as_str().to_owned()),
                'f' => key.map_or_else(none, |key| key.fingerprint(HashAlg::Sha256).to_string()),
                'K' => blob().unwrap_or_else(none),
                token if self.tokens.contains_key(&token) => self.tokens.get(&token)?.clone(),
                'h' | 'k' | 'n' => name.to_owned(),
                'p' => port.to_string(),
                'i' => rustix::process::getuid().as_raw().to_string(),
                'T' => none(),
                'j' => String::new(),
                _ => return None,
            })
        })
    }
}

fn failed(reason: &str) -> Error {
    Error::KnownHostsCommand { reason: reason.to_owned() }
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
        let words = Program { words: Vec::new(), tokens: [('r', "me".to_owned())].into() };
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
