//! A session with a machine: commands, and streams from there.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Command;
use crate::connect;
use crate::dial::Dialer;
use crate::error::{Error, Result};
use crate::ssh::Session;
use crate::ssh::forward::Duplex;
use crate::ssh::words::quote;

/// A login on a machine. It ends when this and everything that came of it is dropped,
/// or by [`Connection::close`].
pub struct Connection {
    machine: String,
    network: String,
    host: String,
    user: String,
    session: Arc<Session>,
    // After the session, which it carries.
    _dialer: Arc<Dialer>,
}

impl Connection {
    pub(super) fn new(machine: String, connection: connect::Connected) -> Self {
        let connect::Connected { session, route, target, dialer, .. } = connection;
        let (network, user) = (route.network, route.user);
        let host = target.label;
        Self { machine, network, host, user, session: Arc::new(session), _dialer: dialer }
    }

    /// The network that it goes over.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The host, as it may be shown: a secret one is the name of its var.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Who is logged in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A command to be run on the machine. Every word arrives there as it is here,
    /// whatever characters it has.
    pub fn command<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let words: Vec<String> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self.shell(quote(&words))
    }

    /// A command line for the login shell of the user there.
    pub fn shell(&self, line: impl Into<String>) -> Command {
        Command::new(self.session.clone(), self.machine.clone(), line.into())
    }

    /// Opens a stream from the machine to a host and a port, as seen from there.
    ///
    /// # Errors
    /// [`Error::NotForwarded`] with the reason of the machine.
    pub async fn open_tcp(&self, host: &str, port: u16) -> Result<Stream> {
        let opened = self.session.open_tcp(host, port).await;
        opened.map(Stream::new).map_err(Error::NotForwarded)
    }

    /// Opens a stream to a Unix socket of the machine.
    ///
    /// # Errors
    /// [`Error::NotForwarded`] with the reason of the machine.
    pub async fn open_unix(&self, path: impl AsRef<Path>) -> Result<Stream> {
        let opened = self.session.open_unix(path.as_ref()).await;
        opened.map(Stream::new).map_err(Error::NotForwarded)
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.session.closed().await;
    }

    /// Ends the connection, and with it all that goes over it.
    pub async fn close(self) {
        self.session.disconnect().await;
    }
}

/// A stream that the machine has opened for us.
pub struct Stream(Box<dyn Duplex>);

impl Stream {
    fn new(stream: impl Duplex + 'static) -> Self {
        Self(Box::new(stream))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}
