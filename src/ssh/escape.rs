//! Escape sequences of an interactive session, as ssh(1) "ESCAPE CHARACTERS"
//! has them. Pure: turns typed bytes into what to send and what to do.

/// What `~?` shows. Raw mode needs the carriage returns.
pub const HELP: &str = "~?\r\n\
supported escape sequences:\r\n \
~.   - terminate connection\r\n \
~R   - request rekey\r\n \
~^Z  - suspend clan-connect\r\n \
~?   - this message\r\n \
~~   - send the escape character by typing it twice\r\n\
(escapes are only recognized immediately after newline)\r\n";

const ESCAPE: u8 = b'~';
const CTRL_Z: u8 = 0x1a;

/// Something the user asked of us rather than of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End the connection now.
    Disconnect,
    /// Show [`HELP`].
    Help,
    /// Stop this process as the shell's job control does.
    Suspend,
    /// Exchange keys again.
    Rekey,
}

/// A part of the input, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes for the machine.
    Send(Vec<u8>),
    /// A request for us.
    Do(Action),
}

/// Where in a line the input is. Escapes count only at the start of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escapes {
    at_line_start: bool,
    pending: bool,
}

impl Default for Escapes {
    fn default() -> Self {
        Self { at_line_start: true, pending: false }
    }
}

impl Escapes {
    /// Splits `input`. An escape character at the end is held back until the
    /// next call shows what it means.
    pub fn feed(&mut self, input: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut send = Vec::with_capacity(input.len() + 1);
        for &byte in input {
            if self.pending {
                self.pending = false;
                let action = match byte {
                    b'.' => Some(Action::Disconnect),
                    b'?' => Some(Action::Help),
                    b'R' => Some(Action::Rekey),
                    CTRL_Z => Some(Action::Suspend),
                    _ => None,
                };
                if let Some(action) = action {
                    if !send.is_empty() {
                        pieces.push(Piece::Send(std::mem::take(&mut send)));
                    }
                    pieces.push(Piece::Do(action));
                    self.at_line_start = true;
                    continue;
                }
                // `~~` sends one; anything else sends both characters.
                send.push(ESCAPE);
                if byte == ESCAPE {
                    self.at_line_start = false;
                    continue;
                }
            } else if self.at_line_start && byte == ESCAPE {
                self.pending = true;
                continue;
            }
            self.at_line_start = byte == b'\r' || byte == b'\n';
            send.push(byte);
        }
        if !send.is_empty() {
            pieces.push(Piece::Send(send));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(chunks: &[&str]) -> (String, Vec<Action>) {
        let mut escapes = Escapes::default();
        let (mut sent, mut actions) = (Vec::new(), Vec::new());
        for piece in chunks.iter().flat_map(|chunk| escapes.feed(chunk.as_bytes())) {
            match piece {
                Piece::Send(bytes) => sent.extend(bytes),
                Piece::Do(action) => actions.push(action),
            }
        }
        (String::from_utf8(sent).unwrap(), actions)
    }

    #[test]
    fn escapes_count_only_at_the_start_of_a_line() {
        assert_eq!(fed(&["~."]), (String::new(), vec![Action::Disconnect]));
        assert_eq!(fed(&["a~."]), ("a~.".into(), vec![]));
        assert_eq!(fed(&["a\r~?b"]), ("a\rb".into(), vec![Action::Help]));
        assert_eq!(fed(&["~~."]), ("~.".into(), vec![]));
        assert_eq!(fed(&["~x~."]), ("~x~.".into(), vec![]));
        assert_eq!(fed(&["~\x1a"]), (String::new(), vec![Action::Suspend]));
    }

    #[test]
    fn an_escape_may_come_in_two_reads() {
        assert_eq!(fed(&["ls\r", "~", "."]), ("ls\r".into(), vec![Action::Disconnect]));
        assert_eq!(fed(&["~", "~", "a"]), ("~a".into(), vec![]));
        assert_eq!(fed(&["~", "\r", "~", "R"]), ("~\r".into(), vec![Action::Rekey]));
    }
}
