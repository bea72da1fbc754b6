//! What goes to a shell or a command: input, sizes of the terminal, keystrokes on their grid,
//! and what escape sequences ask for.

use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::Session;
use super::super::escape::{Action, DEFAULT, Escapes, Piece};
use super::super::keystrokes::{CHAFF, Due, Keystrokes, chance};
use super::{OnEscape, Size};

/// How long a BREAK is, in milliseconds: as OpenSSH asks for it.
const BREAK: u32 = 1000;
/// Bytes read from our input at once.
const CHUNK: usize = 64 << 10;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    InputEnded,
    Escaped,
}

/// Passes on what goes to the machine.
pub(super) struct Sender<'a> {
    pub(super) session: &'a Session,
    pub(super) channel: &'a ChannelWriteHalf<Msg>,
    pub(super) keystrokes: Option<Keystrokes>,
}

impl Sender<'_> {
    /// Passes input and sizes on until the input ends.
    pub(super) async fn send(
        mut self,
        mut input: impl AsyncRead + Unpin,
        mut sizes: mpsc::UnboundedReceiver<Size>,
        escapes: Option<(u8, OnEscape)>,
    ) -> Stopped {
        let (escape, mut on_action) = escapes.unzip();
        let mut escapes = Escapes::new(escape.unwrap_or(DEFAULT));
        let mut buffer = vec![0; CHUNK];
        let (mut open, mut resizes) = (true, true);
        while open || resizes {
            let next = self.keystrokes.as_ref().and_then(Keystrokes::next);
            let count = tokio::select! {
                size = sizes.recv(), if resizes => {
                    match size {
                        Some(Size { columns, rows, width, height }) => {
                            let _ = self.channel.window_change(columns, rows, width, height).await;
                        }
                        None => resizes = false,
                    }
                    continue;
                }
                count = input.read(&mut buffer), if open => count,
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)),
                    if next.is_some() => match self.due().await
                {
                    Some(stopped) => return stopped,
                    None => continue,
                },
            };
            // An input that fails is at its end for the machine.
            let count = count.unwrap_or(0);
            if count == 0 {
                if let Some(stopped) = self.rest().await {
                    return stopped;
                }
                let _ = self.channel.eof().await;
                open = false;
                continue;
            }
            let data = buffer.get(..count).unwrap_or_default();
            let pieces = match on_action {
                Some(_) => escapes.feed(data),
                None => vec![Piece::Send(data.to_vec())],
            };
            for piece in pieces {
                let stopped = match (piece, &mut on_action) {
                    (Piece::Send(bytes), _) => self.typed(bytes).await,
                    (Piece::Do(Action::Disconnect), _) => return Stopped::Escaped,
                    (Piece::Do(Action::Break), on_action) => {
                        let _ = self.channel.send_break(BREAK).await;
                        if let Some(on_action) = on_action {
                            on_action(Action::Break);
                        }
                        None
                    }
                    (Piece::Do(Action::Rekey), _) => {
                        let _ = self.session.handle.rekey_soon().await;
                        None
                    }
                    (Piece::Do(action), on_action) => {
                        if let Some(on_action) = on_action {
                            on_action(action);
                        }
                        None
                    }
                };
                if let Some(stopped) = stopped {
                    return stopped;
                }
            }
        }
        Stopped::InputEnded
    }

    /// Sends what was typed, now or when its time comes.
    async fn typed(&mut self, bytes: Vec<u8>) -> Option<Stopped> {
        let now = match &mut self.keystrokes {
            Some(keystrokes) => keystrokes.typed(bytes, Instant::now(), chance()),
            None => bytes,
        };
        self.data(now).await
    }

    /// Sends what is due.
    async fn due(&mut self) -> Option<Stopped> {
        match self.keystrokes.as_mut()?.due(Instant::now()) {
            Due::Data(bytes) => self.data(bytes).await,
            Due::Chaff => {
                let sent = self.session.handle.transport_ping(CHAFF.to_vec()).await;
                sent.err().map(|_| Stopped::InputEnded)
            }
            Due::Nothing => None,
        }
    }

    /// Sends what has not left yet.
    async fn rest(&mut self) -> Option<Stopped> {
        let rest = self.keystrokes.as_mut()?.all();
        self.data(rest).await
    }

    async fn data(&self, bytes: Vec<u8>) -> Option<Stopped> {
        if bytes.is_empty() {
            return None;
        }
        self.channel.data_bytes(bytes).await.err().map(|_| Stopped::InputEnded)
    }
}
