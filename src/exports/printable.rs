//! `Printable`: text from a file or a user, made fit for a terminal and a log.
//! Owns escaping and cutting; decides nothing about what is valid.

use std::fmt::{self, Write};

/// How many characters of foreign text a message shows.
const MAX_CHARS: usize = 200;

/// Shows text with every character that is no plain glyph escaped (control
/// characters of C0 and C1, bidirectional overrides, joiners) and cut after 200
/// characters, so that no name can move the cursor, hide or flood a message.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(MAX_CHARS) {
            match c {
                '"' | '\'' | '\\' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        if chars.next().is_some() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        for name in ["web01", "clan-core/tor:tor", "it's \"quoted\" \\ here", "größe", "机器"] {
            assert_eq!(Printable(name).to_string(), name);
        }
    }

    #[test]
    fn nothing_can_move_the_cursor_or_reverse_the_line() {
        let shown = Printable("a\x1b[2Jb\u{9b}c\u{202e}d\u{200d}e\r\n\0").to_string();
        assert!(shown.is_ascii(), "{shown:?}");
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(Printable(&"x".repeat(200)).to_string().chars().count(), 200);
        assert_eq!(Printable(&"x".repeat(1 << 20)).to_string().chars().count(), 201);
    }
}
