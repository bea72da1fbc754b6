//! A command on a machine, in the manner of `tokio::process`.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::ssh::Session;
use crate::ssh::remote::{Ending, Remote, Streams};

/// Bytes of each stream that wait for who reads.
const BUFFER: usize = 64 << 10;

/// A command to be run on a machine.
pub struct Command {
    session: Arc<Session>,
    machine: String,
    remote: Remote,
}

/// A command that runs.
pub struct Child {
    /// Its standard input; dropping or shutting it down is the end of the input.
    pub stdin: Option<DuplexStream>,
    /// Its standard output, to be read: the command waits while nobody does.
    pub stdout: Option<DuplexStream>,
    /// Its standard error, likewise.
    pub stderr: Option<DuplexStream>,
    ended: JoinHandle<Result<Ending>>,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitStatus(Ending);

impl Command {
    pub(super) fn new(session: Arc<Session>, machine: String, line: String) -> Self {
        Self { session, machine, remote: Remote { command: Some(line), ..Remote::default() } }
    }

    /// Sets a variable of its environment; sshd takes those that its `AcceptEnv` names.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.remote.env.push((name.into(), value.into()));
        self
    }

    /// Starts it.
    pub fn spawn(self) -> Child {
        let (stdin, input) = duplex(BUFFER);
        let (stdout, output) = duplex(BUFFER);
        let (stderr, errors) = duplex(BUFFER);
        let ended = tokio::spawn(async move {
            let Self { session, machine, remote } = self;
            let (_never, sizes) = mpsc::unbounded_channel();
            let streams =
                Streams { input, output, errors, sizes, escapes: None, no_terminal: None };
            session.start(&machine, &remote).await?.converse(streams).await
        });
        Child { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr), ended }
    }

    /// Runs it to its end without input, and collects what it prints.
    ///
    /// # Errors
    /// Those of [`Child::wait`]. A command that fails is no error, but shows in
    /// [`Output::status`].
    pub async fn output(self) -> Result<Output> {
        let mut child = self.spawn();
        child.stdin = None;
        child.wait_with_output().await
    }

    /// Runs it to its end without input, and drops what it prints.
    ///
    /// # Errors
    /// Those of [`Child::wait`].
    pub async fn status(self) -> Result<ExitStatus> {
        self.output().await.map(|output| output.status)
    }
}

impl Child {
    /// Waits for its end. Streams that are still here are closed before: the command
    /// sees the end of its input, and an error if it writes.
    ///
    /// # Errors
    /// [`Error::Refused`] when the machine does not run it, [`Error::ConnectionLost`],
    /// [`Error::Output`] when it writes output that nobody reads any more.
    pub async fn wait(mut self) -> Result<ExitStatus> {
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        self.ended.await.unwrap_or(Err(Error::Internal)).map(ExitStatus)
    }

    /// Closes its input, waits for its end, and collects what it prints meanwhile.
    ///
    /// # Errors
    /// Those of [`Child::wait`].
    pub async fn wait_with_output(mut self) -> Result<Output> {
        self.stdin = None;
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (stdout, stderr, status) = tokio::join!(all(stdout), all(stderr), self.ended);
        let status = ExitStatus(status.unwrap_or(Err(Error::Internal))?);
        Ok(Output { status, stdout, stderr })
    }
}

/// Everything that comes of a stream.
async fn all(stream: Option<DuplexStream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // Streams in memory do not fail; they end.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    bytes
}

impl ExitStatus {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.0 == Ending::Status(0)
    }

    /// The status that it exited with; `None` when a signal ended it.
    pub fn code(&self) -> Option<u32> {
        match self.0 {
            Ending::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The name of the signal that ended it, without `SIG`.
    pub fn signal(&self) -> Option<&str> {
        match &self.0 {
            Ending::Signal(name) => Some(name),
            _ => None,
        }
    }
}
