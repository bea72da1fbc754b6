//! Text from a file, a server or a user, made fit for a terminal and a log.
//! Owns escaping and cutting; decides nothing about what is valid.

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::encoding;

/// How many characters of a foreign name a message shows.
const MAX_NAME: usize = 200;
/// How many characters of foreign text of several lines are shown: as many as one message
/// of OpenSSH's can have (packet.c, `PACKET_MAX_SIZE`).
const MAX_TEXT: usize = 256 << 10;

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

/// A whole message as it goes to the terminal, of which the parts are printable by
/// themselves: what was overlooked there is escaped here. Ends of lines stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_foul = |c: char| c.is_control() || is_invisible(c) || encoding::byte(c).is_some();
    let is_plain = |c: char| matches!(c, '\n' | '\t') || !is_foul(c);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => out.push(c),
            // As ssh(1) ends lines while a terminal is raw.
            '\r' if chars.peek() == Some(&'\n') => out.push(c),
            c => {
                let _ = write_char(&mut out, c);
            }
        }
    }
    Cow::Owned(out)
}

/// JSON that means the same and shows what it holds: what is invisible can only be
/// within a string, and stands there as an escape (RFC 8259, section 7).
pub fn json(text: &str) -> Cow<'_, str> {
    let is_foul = |c: char| c != '\n' && (c.is_control() || is_invisible(c));
    if !text.chars().any(is_foul) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_foul(c) {
            false => out.push(c),
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(out)
}

/// Control characters move the cursor.
fn write_char(out: &mut impl Write, c: char) -> fmt::Result {
    if let Some(byte) = encoding::byte(c) {
        // As OpenSSH shows a byte that is no text (utf8.c).
        return write!(out, "\\{byte:03o}");
    }
    match c {
        '"' | '\'' | '\\' => out.write_char(c),
        c if is_invisible(c) => write!(out, "{}", c.escape_unicode()),
        c if c.is_control() => write!(out, "{}", c.escape_default()),
        c => out.write_char(c),
    }
}

/// Marks for direction reorder text, others hide in it (Trojan Source,
/// CVE-2021-42574): Unicode's `Default_Ignorable_Code_Point` and `Bidi_Control`, its
/// ends of lines, and what annotates.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
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
    fn no_mark_of_unicode_that_nobody_sees_is_printed_as_it_is() {
        for c in "\u{61c}\u{200b}\u{200e}\u{2028}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{fe0f}\
                  \u{3164}\u{fff9}\u{e0001}\u{e0041}\u{e0100}\u{85}\u{9b}\u{7f}\u{1b}"
            .chars()
        {
            let text = format!("a{c}b");
            for shown in [Printable(&text).to_string(), line(&text), lines(&text)] {
                assert!(shown.is_ascii() && shown.contains("\\u{"), "{shown:?}");
            }
            assert!(shown(&text).contains("\\u{"), "{c:?}");
            let object = format!("{{\n  \"{text}\": 1\n}}");
            let printed = json(&object);
            assert!(printed.is_ascii() && printed.contains("\\u"), "{printed:?}");
            let read: serde_json::Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(read[&text], 1);
        }
    }

    #[test]
    fn a_whole_message_keeps_its_lines_and_nothing_else() {
        assert_eq!(shown("closed.\r\nnext\tone\n"), "closed.\r\nnext\tone\n");
        assert_eq!(shown("a\rb\x1b[2J\u{202e}"), "a\\rb\\u{1b}[2J\\u{202e}");
        // What was escaped before stays as it is.
        let text = Printable("a\x1b\\").to_string();
        assert_eq!(shown(&text), text);
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(Printable(&"x".repeat(200)).to_string().chars().count(), 200);
        assert_eq!(Printable(&"x".repeat(1 << 20)).to_string().chars().count(), 201);
        assert_eq!(lines(&"x".repeat(1 << 20)).len(), MAX_TEXT);
    }
}
