//! Text from a file, a server or a user, made fit for a terminal and a log.
//! Owns escaping and cutting; decides nothing about what is valid.

use std::fmt::{self, Write};

/// How many characters of a foreign name a message shows.
const MAX_NAME: usize = 200;
/// How many characters of foreign text of several lines are shown.
const MAX_TEXT: usize = 16 << 10;

/// A name: every character that is no plain glyph is escaped, and what follows
/// the 200th is cut, so that it can neither move the cursor nor flood a message.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(MAX_NAME) {
            write_char(f, c)?;
        }
        if chars.next().is_some() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

/// One line of any length, such as a path.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = write_char(&mut out, c);
    }
    out
}

/// A word of a command that somebody may copy into a shell; `placeholder` where the
/// shell could take it for more than a word.
pub fn argument<'a>(text: &'a str, placeholder: &'a str) -> &'a str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,=%".contains(c);
    let is_word = !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain);
    if is_word { text } else { placeholder }
}

/// Text of several lines: lines and tabs stay, carriage returns go, everything
/// else is escaped (RFC 4252, section 5.4, asks for this); the size is bounded.
pub fn lines(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(MAX_TEXT) {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => {}
            c => {
                let _ = write_char(&mut out, c);
            }
        }
    }
    out
}

/// Control characters move the cursor; marks for direction and invisible ones
/// reorder or hide text (Trojan Source, CVE-2021-42574).
fn write_char(out: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '"' | '\'' | '\\' => out.write_char(c),
        '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => write!(out, "{}", c.escape_unicode()),
        c if c.is_control() => write!(out, "{}", c.escape_default()),
        c => out.write_char(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        for name in ["web01", "clan-core/tor:tor", "it's \"quoted\" \\ here", "größe", "机器"] {
            assert_eq!(Printable(name).to_string(), name);
            assert_eq!(line(name), name);
        }
    }

    #[test]
    fn nothing_can_move_the_cursor_or_reverse_the_line() {
        let hostile = "a\x1b[2Jb\u{9b}c\u{202e}d\u{200d}e\r\n\0";
        for shown in [Printable(hostile).to_string(), line(hostile)] {
            assert!(shown.is_ascii(), "{shown:?}");
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
        assert_eq!(lines("a\r\nb\tc\x1b[31m\u{7}"), "a\nb\tc\\u{1b}[31m\\u{7}");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(Printable(&"x".repeat(200)).to_string().chars().count(), 200);
        assert_eq!(Printable(&"x".repeat(1 << 20)).to_string().chars().count(), 201);
        assert_eq!(lines(&"x".repeat(1 << 20)).len(), MAX_TEXT);
    }
}
