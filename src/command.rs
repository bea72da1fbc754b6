//! Runs what the user has configured to fetch a key or known hosts. Owns the
//! words of such a command and the bound on its output. No shell.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::children::Awaited;
use crate::encoding;
use crate::secret::Secret;

/// What the command of these words prints, with one variable added to its
/// environment; `None` when it cannot be run, fails, or prints too much. It
/// may ask on the terminal by itself; its standard error is ours.
pub(crate) fn output(
    words: &[String],
    variable: Option<(&str, &str)>,
    limit: u64,
) -> Option<Secret<Vec<u8>>> {
    let (program, arguments) = words.split_first()?;
    #[allow(clippy::disallowed_methods, reason = "the user configured this very command")]
    let mut child = Command::new(encoding::os(program))
        .args(arguments.iter().map(|word| encoding::os(word)))
        .envs(variable)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let _awaited = Awaited::child(&child);
    // With room for most keys from the start, few copies are left behind.
    let mut printed = zeroize::Zeroizing::new(Vec::with_capacity(64 << 10));
    let read = child.stdout.take()?.take(limit + 1).read_to_end(&mut printed);
    if read.is_err() || printed.len() as u64 > limit {
        let _ = child.kill();
        let _ = child.wait();
        return None;
    }
    let done = child.wait().ok()?;
    done.success().then(|| Secret::new(std::mem::take(&mut *printed)))
}

/// Splits a command line like google/shlex, which sops uses: blanks, quotes,
/// backslashes, and comments from a `#` that begins a word. `None` when a quote
/// is not closed.
pub(crate) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => while chars.next().is_some_and(|char| char != '\n') {},
            '\\' => word.get_or_insert_default().push(chars.next()?),
            quote @ ('\'' | '"') => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        char if char == quote => break,
                        // Only double quotes know an escape.
                        '\\' if quote == '"' => word.push(chars.next()?),
                        char => word.push(char),
                    }
                }
            }
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_splits_into_words_as_sops_splits_it() {
        for (line, words) in [
            ("a b  c", &["a", "b", "c"][..]),
            ("'a b' \"c d\" e'f'g", &["a b", "c d", "efg"]),
            (r#"a\ b "c\"d" 'e\f'"#, &["a b", "c\"d", "e\\f"]),
            ("a # b\nc#d ''", &["a", "c#d", ""]),
            ("", &[]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line:?}");
        }
        for line in ["'a", "\"a", "a\\"] {
            assert_eq!(split(line), None, "{line:?}");
        }
    }

    #[test]
    fn output_is_bounded_and_belongs_to_a_command_that_succeeded() {
        let run = |line| output(&split(line)?, Some(("SOPS_AGE_RECIPIENT", "age1x")), 100);
        let script = "sh -c 'printf %s \"$SOPS_AGE_RECIPIENT\"'";
        assert_eq!(run(script).unwrap().expose(), b"age1x");
        for line in ["", "false", "/nonexistent/program", "sh -c 'echo key; exit 1'", "yes"] {
            assert!(run(line).is_none(), "{line:?}");
        }
    }
}
