//! A shell or a command on the machine (RFC 4254, section 6). Owns the session
//! channel: what is asked for, how bytes flow, how it ends. Knows no terminal.

mod ending;
mod send;

use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::escape::{Action, DEFAULT};
use super::keystrokes::Keystrokes;
use super::{BegunRemote, Lease, Loss, MIN_ANSWER, Session, loss};
use crate::encoding;
use crate::error::{Error, Result, SessionRequest};
use crate::printable::Printable;
pub use ending::Ending;
use ending::name_of;
use send::{Sender, Stopped};

/// Extended data of type 1 is standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// What to run.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The command for the login shell; `None` starts the shell itself.
    pub command: Option<String>,
    /// Whether `command` is the name of a subsystem instead.
    pub is_subsystem: bool,
    /// Whether the machine may use the agent that [`Session::lend_agent`] lends.
    pub with_agent: bool,
    /// The pseudo-terminal to run it on, if any.
    pub pty: Option<Pty>,
    /// Environment, which sshd takes only as far as its AcceptEnv allows.
    pub env: Vec<(String, String)>,
    /// What begins escape sequences on a terminal (`EscapeChar`), if anything.
    pub escape: Option<u8>,
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            command: None,
            is_subsystem: false,
            with_agent: false,
            pty: None,
            env: Vec::new(),
            escape: Some(DEFAULT),
        }
    }
}

/// A pseudo-terminal.
#[derive(Debug, Clone)]
pub struct Pty {
    /// `$TERM`.
    pub term: String,
    /// Its size now.
    pub size: Size,
    /// Terminal modes by their numbers in RFC 4254, section 8.
    pub modes: Vec<(u8, u32)>,
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Columns, in characters.
    pub columns: u32,
    /// Rows, in characters.
    pub rows: u32,
    /// Width in pixels, 0 when unknown.
    pub width: u32,
    /// Height in pixels, 0 when unknown.
    pub height: u32,
}

/// Hears of escape sequences.
pub type OnEscape = Box<dyn FnMut(Action) + Send>;

/// Our end of the remote process.
pub struct Streams<I, O, E> {
    /// Its standard input; the end of it is passed on as a half-close.
    pub input: I,
    /// Its standard output.
    pub output: O,
    /// Its standard error.
    pub errors: E,
    /// New sizes of the terminal.
    pub sizes: mpsc::UnboundedReceiver<Size>,
    /// The character that begins escape sequences, and what hears of all but `~.`
    /// and `~R`. `None` passes every byte through.
    pub escapes: Option<(u8, OnEscape)>,
    /// Hears that the server has no terminal for it.
    pub no_terminal: Option<oneshot::Sender<()>>,
}

/// Why nothing runs on a connection that may be dead.
#[derive(Debug)]
pub enum NotStarted {
    /// The server opens no more sessions; nothing was asked of it.
    Refused,
    /// It has not answered in time, or is gone; nothing was asked of it.
    Dead,
    /// The connection was lost when it had been asked already.
    Lost(Error),
}

/// A remote shell or command.
pub struct Process<'a> {
    session: &'a Session,
    machine: String,
    incoming: ChannelReadHalf,
    outgoing: ChannelWriteHalf<Msg>,
    expected: Expected,
    /// How what is typed leaves, if somebody types.
    keystrokes: Option<Keystrokes>,
    _use: Lease,
}

impl Session {
    /// Starts `remote`; whether the server takes it shows in
    /// [`Process::converse`].
    ///
    /// # Errors
    /// [`Error::Ssh`] when the server opens no session,
    /// [`Error::ConnectionLost`] when the connection breaks.
    pub async fn start(&self, machine: &str, remote: &Remote) -> Result<Process<'_>> {
        let opening = self.session_opened(machine, self.handle.channel_open_session());
        let channel = opening.await?;
        self.start_on(machine, remote, channel).await
    }

    /// The same on a connection that may be dead.
    ///
    /// # Errors
    /// See [`NotStarted`].
    pub async fn start_within(
        &self,
        machine: &str,
        remote: &Remote,
        patience: Duration,
    ) -> Result<Process<'_>, NotStarted> {
        let opening = tokio::time::timeout(patience, self.handle.channel_open_session());
        let channel = match opening.await {
            Ok(Ok(channel)) => channel,
            Ok(Err(russh::Error::ChannelOpenFailure(_))) => return Err(NotStarted::Refused),
            Ok(Err(_)) | Err(_) => return Err(NotStarted::Dead),
        };
        self.start_on(machine, remote, channel).await.map_err(NotStarted::Lost)
    }

    async fn start_on(
        &self,
        machine: &str,
        remote: &Remote,
        channel: Channel<Msg>,
    ) -> Result<Process<'_>> {
        let (incoming, outgoing) = channel.split();
        // Also for the clients of a master.
        let lends_agent = remote.with_agent && self.suspicion().is_none();
        for request in requests(remote, lends_agent) {
            let sent = outgoing.request(request).await;
            sent.map_err(|error| self.broken(machine, "request failed", &error))?;
        }
        Ok(self.process(machine, remote, incoming, outgoing).await)
    }

    /// Goes on with what has been begun along with the login, or starts it if the server
    /// has taken nothing of that.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub async fn go_on(&self, machine: &str, begun: BegunRemote) -> Result<Process<'_>> {
        let remote = begun.remote().clone();
        let opening = self.handle.channel_opened_early(begun.channel);
        match self.session_opened(machine, opening).await? {
            Some(channel) => {
                let (incoming, outgoing) = channel.split();
                Ok(self.process(machine, &remote, incoming, outgoing).await)
            }
            None => self.start(machine, &remote).await,
        }
    }

    /// What the server makes of a session, if it says so in time.
    async fn session_opened<T>(
        &self,
        machine: &str,
        opening: impl Future<Output = Result<T, russh::Error>>,
    ) -> Result<T> {
        tokio::time::timeout(self.deadline.max(MIN_ANSWER), opening)
            .await
            .map_err(|_| Error::ConnectionLost {
                machine: machine.to_owned(),
                reason: Loss::NoSession,
                login_at: None,
            })?
            .map_err(|error| self.broken(machine, "session refused by the server", &error))
    }

    /// A process of which everything has been asked for.
    async fn process(
        &self,
        machine: &str,
        remote: &Remote,
        incoming: ChannelReadHalf,
        outgoing: ChannelWriteHalf<Msg>,
    ) -> Process<'_> {
        let (machine, expected, _use) =
            (machine.to_owned(), Expected::of(remote), self.leases.begin(kind(remote)));
        let keystrokes = match self.keystrokes.filter(|_| remote.pty.is_some()) {
            Some(interval) if self.handle.takes_transport_pings().await.unwrap_or(false) => {
                Some(Keystrokes::new(interval))
            }
            _ => None,
        };
        Process { session: self, machine, incoming, outgoing, expected, keystrokes, _use }
    }

    fn broken(&self, machine: &str, what: &str, error: &russh::Error) -> Error {
        // A server may end the connection over what followed a channel that it refused.
        let is_refused = matches!(error, russh::Error::ChannelOpenFailure(_));
        if self.handle.is_closed() && !is_refused {
            return self.lost(machine);
        }
        Error::Ssh(format!("{what}: {}", loss::reason(error)))
    }

    fn lost(&self, machine: &str) -> Error {
        Error::ConnectionLost { machine: machine.to_owned(), reason: self.loss(), login_at: None }
    }
}

impl Process<'_> {
    /// Joins it to our streams until its end.
    ///
    /// # Errors
    /// [`Error::Refused`] when the server refuses to run it,
    /// [`Error::ConnectionLost`] when the connection breaks,
    /// [`Error::Output`] when our output cannot be written; errors that cannot are dropped.
    pub async fn converse<I, O, E>(&mut self, streams: Streams<I, O, E>) -> Result<Ending>
    where
        I: AsyncRead + Send + Unpin,
        O: AsyncWrite + Send + Unpin,
        E: AsyncWrite + Send + Unpin,
    {
        let Streams { input, output, errors, sizes, escapes, no_terminal } = streams;
        let Self { session, machine, incoming, outgoing, expected, keystrokes, .. } = self;
        let sender = Sender { session, channel: outgoing, keystrokes: keystrokes.take() };
        let sending = sender.send(input, sizes, escapes);
        let receiving = receive(incoming, expected, output, errors, no_terminal);
        tokio::pin!(sending, receiving);
        let mut sent = false;
        // At the same time: output that nobody reads must not hold up the input.
        let received = loop {
            tokio::select! {
                received = &mut receiving => break received,
                stopped = &mut sending, if !sent => match stopped {
                    Stopped::Escaped => return Ok(Ending::Escaped),
                    Stopped::InputEnded => sent = true,
                },
            }
        };
        match received {
            Ok((Some(ending), _)) => Ok(ending),
            Ok((None, true)) if !session.handle.is_closed() => Ok(Ending::Unknown),
            Ok((None, _)) => Err(session.lost(machine)),
            Err(error) => {
                // As with any pipe: the reader is gone, so is the process.
                let _ = outgoing.close().await;
                Err(error)
            }
        }
    }

    /// Lets go of it before its end; the server ends it then.
    pub async fn close(&self) {
        let _ = self.outgoing.close().await;
    }
}

/// What the list of channels has for it. The command is no matter of others.
fn kind(remote: &Remote) -> String {
    let what = match &remote.command {
        Some(name) if remote.is_subsystem => format!("subsystem {}", Printable(name)),
        Some(_) => "command".to_owned(),
        None => "shell".to_owned(),
    };
    let terminal = if remote.pty.is_some() { ", with a terminal" } else { "" };
    format!("client-session ({what}{terminal})")
}

/// Everything that is asked for, which is sent at once: waiting for each answer would
/// cost a round trip a piece. The answers come in this order (RFC 4254, section 5.4).
pub(super) fn requests(remote: &Remote, lends_agent: bool) -> Vec<ChannelMsg> {
    let mut requests = Vec::new();
    if lends_agent {
        requests.push(ChannelMsg::AgentForward { want_reply: false });
    }
    requests.extend(remote.env.iter().map(|(name, value)| ChannelMsg::SetEnv {
        want_reply: false,
        variable_name: encoding::bytes(name).into(),
        variable_value: encoding::bytes(value).into(),
    }));
    if let Some(pty) = &remote.pty {
        let modes = pty.modes.iter();
        let modes = modes.filter_map(|(code, value)| Some((russh::Pty::from_u8(*code)?, *value)));
        let Size { columns, rows, width, height } = pty.size;
        requests.push(ChannelMsg::RequestPty {
            want_reply: true,
            term: pty.term.clone(),
            col_width: columns,
            row_height: rows,
            pix_width: width,
            pix_height: height,
            terminal_modes: modes.collect(),
        });
    }
    requests.push(match &remote.command {
        Some(name) if remote.is_subsystem => {
            ChannelMsg::RequestSubsystem { want_reply: true, name: encoding::bytes(name).into() }
        }
        Some(command) => {
            ChannelMsg::Exec { want_reply: true, command: encoding::bytes(command).into() }
        }
        None => ChannelMsg::RequestShell { want_reply: true },
    });
    requests
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Pty,
    Run(SessionRequest),
}

/// Requests that still have to be answered, the next one last.
struct Expected(Vec<Pending>);

impl Expected {
    fn of(remote: &Remote) -> Self {
        let mut open = vec![Pending::Run(match &remote.command {
            Some(_) if remote.is_subsystem => SessionRequest::Subsystem,
            Some(_) => SessionRequest::Command,
            None => SessionRequest::Shell,
        })];
        if remote.pty.is_some() {
            open.push(Pending::Pty);
        }
        Self(open)
    }

    fn answered(&mut self) -> Option<Pending> {
        self.0.pop()
    }
}

/// Passes output on until the channel is closed; returns how the process ended,
/// if that was said, and whether the server has closed the channel.
async fn receive(
    incoming: &mut ChannelReadHalf,
    expected: &mut Expected,
    mut output: impl AsyncWrite + Unpin,
    mut errors: impl AsyncWrite + Unpin,
    mut no_terminal: Option<oneshot::Sender<()>>,
) -> Result<(Option<Ending>, bool)> {
    let mut ending = None;
    let mut closed = false;
    let mut errors_are_taken = true;
    while let Some(message) = incoming.wait().await {
        match message {
            ChannelMsg::Data { data } => output.write_all(&data).await.map_err(Error::Output)?,
            ChannelMsg::ExtendedData { data, ext: STDERR } => {
                // As with OpenSSH, what runs there goes on although nobody reads its errors:
                // deploy-rs ends before the machine has gone back to its last generation.
                errors_are_taken = errors_are_taken && errors.write_all(&data).await.is_ok();
            }
            ChannelMsg::ExitStatus { exit_status } => {
                ending = Some(Ending::Status(exit_status));
            }
            ChannelMsg::ExitSignal { signal_name, .. } => {
                ending = Some(Ending::Signal(name_of(&signal_name)));
            }
            ChannelMsg::Success => {
                expected.answered();
            }
            ChannelMsg::Failure => match expected.answered() {
                Some(Pending::Pty) => {
                    let text = b"PTY allocation request failed\r\n";
                    errors_are_taken = errors_are_taken && errors.write_all(text).await.is_ok();
                    if let Some(no_terminal) = no_terminal.take() {
                        let _ = no_terminal.send(());
                    }
                }
                Some(Pending::Run(asked)) => return Err(Error::Refused(asked)),
                None => {}
            },
            ChannelMsg::Close => {
                closed = true;
                break;
            }
            _ => {}
        }
    }
    let _ = output.flush().await;
    let _ = errors.flush().await;
    Ok((ending, closed))
}
