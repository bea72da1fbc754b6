//! Words that arrive as they are typed: one command line for whatever shell somebody
//! logs in with. Owns what sh, bash, zsh, fish, tcsh and nushell read alike.

use std::fmt::Write;

use crate::encoding;

/// A command line for the machine's login shell in which every word arrives as one
/// argument. Quoted as clan quotes them (clan_lib/ssh/remote.py) where all shells agree
/// on what that means; else sh(1), which they all can start, is told what to do.
pub fn quote(words: &[String]) -> String {
    let alike = words.iter().all(|word| is_plain(word) || is_alike_in_quotes(word));
    // To nushell, what is quoted and comes first is a value, and no program.
    let names_program = words.first().is_none_or(|word| is_plain(word));
    let quoted: Vec<String> = words.iter().map(|word| quote_word(word)).collect();
    match alike && names_program {
        true => quoted.join(" "),
        false => of_sh(&quoted.join(" ")),
    }
}

/// A word as a shell here takes it, where it is typed.
pub fn quote_word(word: &str) -> String {
    match is_plain(word) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\"'\"'")),
    }
}

/// Whether a word needs no quotes anywhere.
fn is_plain(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    // To zsh `=ls` is where ls is, to fish `%self` is a number, to nushell `...` is up.
    let is_more = word.starts_with(['=', '%']) || word.contains("...");
    !word.is_empty() && word.chars().all(is_plain) && !is_more
}

/// Whether a word within single quotes is that word to every shell. fish has escapes
/// there, tcsh its history and no end of a line, and nushell takes nothing but UTF-8.
fn is_alike_in_quotes(word: &str) -> bool {
    let is_foul = |c: char| matches!(c, '\'' | '!' | '\n') || encoding::byte(c).is_some();
    !(word.chars().any(is_foul) || word.contains("\\\\") || word.ends_with('\\'))
}

/// A command line of sh(1) that every shell passes on to it as it is: whatever is more
/// than a plain character stands as a number, which is none between single quotes.
fn of_sh(line: &str) -> String {
    let mut octal = String::with_capacity(line.len());
    for byte in encoding::bytes(line).iter() {
        match byte {
            b' ' | b'_' | b'@' | b'+' | b'=' | b':' | b',' | b'.' | b'/' | b'-' => {
                octal.push(char::from(*byte));
            }
            byte if byte.is_ascii_alphanumeric() => octal.push(char::from(*byte)),
            // Writing to a String cannot fail.
            byte => _ = write!(octal, "\\{byte:03o}"),
        }
    }
    format!("sh -c 'eval \"$(printf \"{octal}\")\"'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> String {
        quote(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_on_which_all_shells_agree_are_quoted_as_clan_quotes_them() {
        assert_eq!(words(&["systemctl", "status", "a@b.service"]), "systemctl status a@b.service");
        assert_eq!(words(&["echo", "a b", "", "$HOME", "~"]), "echo 'a b' '' '$HOME' '~'");
        assert_eq!(words(&["grep", r"\d+", "größe"]), r"grep '\d+' 'größe'");
        assert_eq!(words(&["echo", "=ls", "%self", "..."]), "echo '=ls' '%self' '...'");
    }

    #[test]
    fn what_a_shell_could_take_for_something_else_is_told_to_sh() {
        assert_eq!(
            words(&["echo", "it's"]),
            r#"sh -c 'eval "$(printf "echo \047it\047\042\047\042\047s\047")"'"#
        );
        for word in ["a!", "a\nb", r"a\\b", r"a\", "it's", &encoding::text(b"r\xe9po")] {
            let line = words(&["echo", "a b", word]);
            let inner = line.strip_prefix("sh -c '").and_then(|rest| rest.strip_suffix('\''));
            assert!(is_alike_in_quotes(inner.unwrap()), "{line}");
            assert!(line.is_ascii(), "{line}");
        }
        assert!(words(&["my program", "x"]).starts_with("sh -c "));
    }
}
