//! Escape sequences of an interactive session, as ssh(1) "ESCAPE CHARACTERS"
//! has them. Pure: turns typed bytes into what to send and what to do.

/// What begins an escape sequence if nobody says otherwise.
pub const DEFAULT: u8 = b'~';

/// What `~?` shows. Raw mode needs the carriage returns.
pub fn help(escape: u8) -> String {
    let escape = std::ascii::escape_default(escape);
    format!(
        "{escape}?\r\n\
         Supported escape sequences:\r\n \
         {escape}.   - terminate connection (and any multiplexed sessions)\r\n \
         {escape}B   - send a BREAK to the remote system\r\n \
         {escape}I   - show connection information\r\n \
         {escape}R   - request rekey\r\n \
         {escape}V/v - decrease/increase verbosity (LogLevel)\r\n \
         {escape}^Z  - suspend ssh\r\n \
         {escape}#   - list forwarded connections\r\n \
         {escape}?   - this message\r\n \
         {escape}{escape}   - send the escape character by typing it twice\r\n\
         (Note that escapes are only recognized immediately after newline.)\r\n"
    )
}

const CTRL_Z: u8 = 0x1a;

/// Something the user asked of us rather than of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End the connection now.
    Disconnect,
    /// Show [`help`].
    Help,
    /// Stop this process as the shell's job control does.
    Suspend,
    /// Have the machine's line broken off for a moment (RFC 4335).
    Break,
    /// Exchange keys again.
    Rekey,
    /// Say less.
    Quieter,
    /// Say more.
    Louder,
    /// Show what is forwarded.
    List,
    /// Show what is known of the connection.
    Info,
    /// Open a command line, which there is none of.
    CommandLine,
    /// Go to the background, which only a process without threads can.
    Background,
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
    escape: u8,
    at_line_start: bool,
    pending: bool,
}

impl Escapes {
    /// At the start of a line.
    pub fn new(escape: u8) -> Self {
        Self { escape, at_line_start: true, pending: false }
    }

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
                    b'V' => Some(Action::Quieter),
                    b'v' => Some(Action::Louder),
                    b'#' => Some(Action::List),
                    b'I' => Some(Action::Info),
                    b'C' => Some(Action::CommandLine),
                    b'B' => Some(Action::Break),
                    b'&' => Some(Action::Background),
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
                send.push(self.escape);
                if byte == self.escape {
                    self.at_line_start = false;
                    continue;
                }
            } else if self.at_line_start && byte == self.escape {
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
        let mut escapes = Escapes::new(DEFAULT);
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
        assert_eq!(fed(&["~V~v"]), (String::new(), vec![Action::Quieter, Action::Louder]));
        assert_eq!(fed(&["~#~C"]), (String::new(), vec![Action::List, Action::CommandLine]));
        assert_eq!(fed(&["~I"]), (String::new(), vec![Action::Info]));
        assert_eq!(fed(&["~&"]), (String::new(), vec![Action::Background]));
    }

    #[test]
    fn an_escape_may_come_in_two_reads() {
        assert_eq!(fed(&["ls\r", "~", "."]), ("ls\r".into(), vec![Action::Disconnect]));
        assert_eq!(fed(&["~", "~", "a"]), ("~a".into(), vec![]));
        assert_eq!(fed(&["~", "\r", "~", "R"]), ("~\r".into(), vec![Action::Rekey]));
    }
}
