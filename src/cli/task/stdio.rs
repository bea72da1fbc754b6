//! Standard input and output joined to a stream: `-W`, and `clan-connect proxy`.
//! Owns that each direction ends by itself: the end of our input reaches the other
//! side, and the end of what it sends reaches whoever reads our output, while the
//! other direction goes on. Where nothing is said and nobody reads, it is over.

use std::future::pending;
use std::io::ErrorKind;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::{Error, Result};
use crate::output::{heard, unread};
use crate::ssh::Loss;
use crate::term;

/// Bytes that are passed on at once.
const CHUNK: usize = 64 << 10;

/// Why it ended before both sides had ended it.
#[derive(Debug)]
pub(in crate::cli) enum StreamFailure {
    /// The stream broke.
    Stream(ErrorKind),
    /// Nobody takes our output.
    Output(std::io::Error),
}

impl StreamFailure {
    /// The error about a machine.
    pub(in crate::cli) fn of(self, machine: &str) -> Error {
        match self {
            Self::Stream(kind) => Error::ConnectionLost {
                machine: machine.to_owned(),
                reason: Loss::Broken(kind),
                login_at: None,
            },
            Self::Output(error) => Error::Output(error),
        }
    }
}

/// Joins them until both directions have ended, or the stream or whoever reads our
/// output is gone.
pub(in crate::cli) async fn join(stream: impl AsyncRead + AsyncWrite) -> Result<(), StreamFailure> {
    let (mut from, mut to) = tokio::io::split(stream);
    // A person at a terminal has nothing to say once the other side has ended.
    let waits = !term::is_interactive();
    let receiving = async {
        let output = unbuffered(std::io::stdout()).map_err(|_| broken_pipe())?;
        receive(&mut from, output).await
    };
    let (input, silence) = heard(tokio::io::stdin());
    let sending = send(input, &mut to);
    tokio::pin!(receiving, sending);
    let mut is_sent = false;
    tokio::select! {
        received = &mut receiving => received?,
        () = silence.after(unread(rustix::stdio::stdout())) => return Err(broken_pipe()),
        () = async {
            (&mut sending).await;
            is_sent = true;
            pending().await
        } => {}
    }
    if waits && !is_sent {
        sending.await;
    }
    Ok(())
}

/// Passes on what comes until its end, and ends our output with it.
async fn receive(
    from: &mut (impl AsyncRead + Unpin),
    mut output: impl AsyncWrite + Unpin,
) -> Result<(), StreamFailure> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match from.read(&mut chunk).await {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => return Err(StreamFailure::Stream(error.kind())),
        };
        let data = chunk.get(..count).unwrap_or_default();
        output.write_all(data).await.map_err(StreamFailure::Output)?;
        output.flush().await.map_err(StreamFailure::Output)?;
    }
    drop(output);
    end_output();
    Ok(())
}

/// Passes on our input until its end, or until the other side takes no more.
async fn send(mut input: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin)) {
    let mut chunk = vec![0; CHUNK];
    // An input that fails is at its end for the other side.
    while let Ok(count @ 1..) = input.read(&mut chunk).await {
        let data = chunk.get(..count).unwrap_or_default();
        if to.write_all(data).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Whoever reads our output sees its end, and this process goes on.
fn end_output() {
    let stdout = rustix::stdio::stdout();
    // One socket may be our input, too.
    let _ = rustix::net::shutdown(stdout, rustix::net::Shutdown::Write);
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

fn broken_pipe() -> StreamFailure {
    StreamFailure::Output(ErrorKind::BrokenPipe.into())
}

/// The file behind standard output: the library's own handle would hold back
/// a prompt, which ends in no newline.
pub(super) fn unbuffered(stream: impl std::os::fd::AsFd) -> Result<tokio::fs::File> {
    let file = rustix::io::dup(stream).map_err(|error| Error::Output(error.into()))?;
    Ok(tokio::fs::File::from_std(std::fs::File::from(file)))
}
