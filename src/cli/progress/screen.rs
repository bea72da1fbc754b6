//! Standard error as indicatif draws on it. Owns that not a byte is written as long
//! as there is nothing to show, and that a line that is shown is erased at the end.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressDrawTarget, TermLike};

use crate::term;

/// Of a terminal that does not tell.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// What is drawn until the next flush.
#[derive(Debug)]
pub(in crate::cli) struct Screen {
    drawn: Mutex<Drawn>,
    /// Whether it is one line, which goes away whatever ends this process.
    is_line: bool,
}

#[derive(Debug, Default)]
struct Drawn {
    text: String,
    /// Whether there is something to see in it.
    is_visible: bool,
    /// Whether there is something to see on the terminal.
    is_shown: bool,
}

impl Screen {
    pub(in crate::cli) fn line() -> ProgressDrawTarget {
        Self::target(true)
    }

    pub(in crate::cli) fn table() -> ProgressDrawTarget {
        Self::target(false)
    }

    fn target(is_line: bool) -> ProgressDrawTarget {
        ProgressDrawTarget::term_like(Box::new(Self { drawn: Mutex::default(), is_line }))
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Control sequences that move by `count`, of which 0 would mean 1.
    fn moves(&self, count: usize, direction: char) -> io::Result<()> {
        if count > 0 {
            self.drawn().text.push_str(&format!("\x1b[{count}{direction}"));
        }
        Ok(())
    }
}

/// The columns of the terminal.
pub(super) fn columns() -> u16 {
    term::size().and_then(|size| u16::try_from(size.columns).ok()).unwrap_or(COLUMNS).max(1)
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        columns()
    }

    fn height(&self) -> u16 {
        term::size().and_then(|size| u16::try_from(size.rows).ok()).unwrap_or(ROWS)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.moves(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.moves(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.moves(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.moves(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.write_str("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut drawn = self.drawn();
        drawn.text.push_str(text);
        drawn.is_visible |= !text.trim().is_empty();
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.drawn().text.push_str(term::ERASE);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self.drawn();
        let text = std::mem::take(&mut drawn.text);
        let is_visible = std::mem::take(&mut drawn.is_visible);
        let was_shown = std::mem::replace(&mut drawn.is_shown, is_visible);
        // Spaces alone would leave the cursor where nobody expects it.
        let text = if is_visible { &*text } else { text.trim_end_matches(' ') };
        if self.is_line {
            term::note_line(is_visible);
        }
        match is_visible || was_shown {
            true => io::stderr().lock().write_all(text.as_bytes()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_where_there_is_nothing_to_see() {
        let screen = Screen { drawn: Mutex::default(), is_line: false };
        for (text, is_visible) in [("", false), ("      ", false), ("a", true)] {
            screen.clear_line().unwrap();
            screen.write_str(text).unwrap();
            screen.move_cursor_up(0).unwrap();
            assert_eq!(screen.drawn().is_visible, is_visible, "{text:?}");
            assert_eq!(screen.drawn().text, format!("\r\x1b[K{text}"));
            screen.flush().unwrap();
            assert_eq!(screen.drawn().is_shown, is_visible, "{text:?}");
        }
    }
}
