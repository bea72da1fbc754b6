//! The client's side: requests to a master. Owns the order of messages; knows no
//! terminal.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::message::{MasterRequest, NewSession, Reply, VERSION};
use super::passing::{receive, send, send_descriptor};
use super::socket;
use crate::printable;
use crate::ssh::forward::{Forward, ForwardTarget};

/// A connection to a master.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// The number of the next request.
    next: u32,
    /// Whether the master tells of itself.
    has_info: bool,
}

/// Why a master is of no use.
#[derive(Debug, thiserror::Error)]
pub enum MasterFailure {
    /// There is none, or it is gone.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It will not; its words, printable.
    #[error("{0}")]
    Refused(String),
    /// It says what no master says.
    #[error("it does not speak version 4 of the multiplexing protocol")]
    Protocol,
}

impl Client {
    /// Connects to the master at `path`.
    ///
    /// # Errors
    /// See [`MasterFailure`].
    pub async fn connect(path: &Path) -> Result<Self, MasterFailure> {
        let mut stream = socket::connect(path).await?;
        send(&mut stream, &MasterRequest::Hello { version: VERSION }.encode(0)).await?;
        let mut client = Self { stream, next: 0, has_info: false };
        match client.receive().await? {
            (_, Reply::Hello { version: VERSION, has_info }) => Ok(Self { has_info, ..client }),
            _ => Err(MasterFailure::Protocol),
        }
    }

    /// The master's process.
    ///
    /// # Errors
    /// See [`MasterFailure`].
    pub async fn pid(&mut self) -> Result<u32, MasterFailure> {
        match self.ask(&MasterRequest::AliveCheck).await? {
            Reply::Alive(pid) => Ok(pid),
            _ => Err(MasterFailure::Protocol),
        }
    }

    /// What the master tells of its connection or its channels, as it has it; `None`
    /// from one that tells nothing.
    ///
    /// # Errors
    /// See [`MasterFailure`].
    pub async fn info(&mut self, name: &str) -> Result<Option<String>, MasterFailure> {
        if !self.has_info {
            return Ok(None);
        }
        match self.ask(&MasterRequest::Info(name.to_owned())).await? {
            Reply::Info { is_told: true, text } => Ok(Some(text)),
            Reply::Info { text, .. } => Err(MasterFailure::Refused(printable::line(&text))),
            _ => Err(MasterFailure::Protocol),
        }
    }

    /// Ends the master.
    ///
    /// # Errors
    /// See [`MasterFailure`].
    pub async fn terminate(&mut self) -> Result<(), MasterFailure> {
        match self.ask(&MasterRequest::Terminate).await {
            // OpenSSH's may be gone before it has answered.
            Err(MasterFailure::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            done => expect_ok(done?),
        }
    }

    /// Has the master take no more clients.
    ///
    /// # Errors
    /// See [`MasterFailure`].
    pub async fn stop_listening(&mut self) -> Result<(), MasterFailure> {
        expect_ok(self.ask(&MasterRequest::StopListening).await?)
    }

    /// Opens a forward; returns the port where the machine has chosen one.
    ///
    /// # Errors
    /// See [`MasterFailure`].
    pub async fn open_forward(&mut self, forward: &Forward) -> Result<Option<u32>, MasterFailure> {
        match self.ask(&MasterRequest::OpenForward(forward.clone())).await? {
            Reply::RemotePort(port) => Ok(Some(port)),
            reply => expect_ok(reply).map(|()| None),
        }
    }

    /// Closes a forward.
    ///
    /// # Errors
    /// See [`MasterFailure`].
    pub async fn close_forward(&mut self, forward: &Forward) -> Result<(), MasterFailure> {
        expect_ok(self.ask(&MasterRequest::CloseForward(forward.clone())).await?)
    }

    /// Starts a shell or command that reads and writes these descriptors.
    ///
    /// # Errors
    /// See [`MasterFailure`]; nothing was read from them.
    pub async fn session(
        mut self,
        wanted: NewSession,
        files: [BorrowedFd<'_>; 3],
    ) -> Result<Running, MasterFailure> {
        let id = self.send(&MasterRequest::NewSession(wanted)).await?;
        self.opened(id, &files).await
    }

    /// Joins two descriptors to a place seen from the machine.
    ///
    /// # Errors
    /// See [`MasterFailure`]; nothing was read from them.
    pub async fn stdio(
        mut self,
        target: &ForwardTarget,
        files: [BorrowedFd<'_>; 2],
    ) -> Result<Running, MasterFailure> {
        let id = self.send(&MasterRequest::NewStdioForward(target.clone())).await?;
        self.opened(id, &files).await
    }

    /// Asks for a session before the master has one itself: it answers when it has.
    ///
    /// # Errors
    /// The system's.
    pub async fn ahead(
        stream: UnixStream,
        wanted: NewSession,
        files: [BorrowedFd<'_>; 3],
    ) -> io::Result<Ahead> {
        let mut client = Self { stream, next: 0, has_info: false };
        let hello = MasterRequest::Hello { version: VERSION }.encode(0);
        send(&mut client.stream, &hello).await?;
        let id = client.send(&MasterRequest::NewSession(wanted)).await?;
        client.pass(&files).await?;
        Ok(Ahead { client, id })
    }

    /// Waits until the master is gone.
    pub async fn gone(&mut self) {
        while self.receive().await.is_ok() {}
    }

    /// Joins two descriptors to a port of the machine, by the way that led there.
    ///
    /// # Errors
    /// See [`MasterFailure`]; nothing was read from them.
    pub async fn route(
        mut self,
        port: Option<u16>,
        files: [BorrowedFd<'_>; 2],
    ) -> Result<Running, MasterFailure> {
        let id = self.send(&MasterRequest::NewRoute(port)).await?;
        self.opened(id, &files).await
    }

    async fn opened(self, id: u32, files: &[BorrowedFd<'_>]) -> Result<Running, MasterFailure> {
        self.pass(files).await?;
        self.running(id).await
    }

    async fn pass(&self, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        for file in files {
            send_descriptor(&self.stream, *file).await?;
        }
        Ok(())
    }

    async fn running(mut self, id: u32) -> Result<Running, MasterFailure> {
        match self.answer(id).await? {
            Reply::SessionOpened(number) => Ok(Running { client: self, number }),
            _ => Err(MasterFailure::Protocol),
        }
    }

    async fn ask(&mut self, request: &MasterRequest) -> Result<Reply, MasterFailure> {
        let id = self.send(request).await?;
        self.answer(id).await
    }

    async fn send(&mut self, request: &MasterRequest) -> io::Result<u32> {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        send(&mut self.stream, &request.encode(id)).await?;
        Ok(id)
    }

    async fn answer(&mut self, id: u32) -> Result<Reply, MasterFailure> {
        match self.receive().await? {
            (number, _) if number != id => Err(MasterFailure::Protocol),
            (_, Reply::PermissionDenied(reason) | Reply::Failure(reason)) => {
                Err(MasterFailure::Refused(printable::line(&reason)))
            }
            (_, reply) => Ok(reply),
        }
    }

    async fn receive(&mut self) -> Result<(u32, Reply), MasterFailure> {
        let message = receive(&mut self.stream).await?;
        Reply::decode(&message).map_err(|_| MasterFailure::Protocol)
    }
}

/// A client whose master is about to be one.
#[derive(Debug)]
pub struct Ahead {
    client: Client,
    /// The number of its request.
    id: u32,
}

impl Ahead {
    /// Waits for the byte by which a process says that it stands; whether it came.
    pub async fn is_ready(&mut self) -> bool {
        self.client.stream.read_u8().await.is_ok()
    }

    /// The session, when the master has said that it stands.
    ///
    /// # Errors
    /// See [`MasterFailure`].
    pub async fn opened(mut self) -> Result<Running, MasterFailure> {
        match self.client.receive().await? {
            (_, Reply::Hello { version: VERSION, .. }) => self.client.running(self.id).await,
            _ => Err(MasterFailure::Protocol),
        }
    }
}

fn expect_ok(reply: Reply) -> Result<(), MasterFailure> {
    match reply {
        Reply::Ok => Ok(()),
        _ => Err(MasterFailure::Protocol),
    }
}

/// A session of ours in a master. It ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    client: Client,
    number: u32,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent {
    /// The server has no terminal for it.
    NoTerminal,
    /// It has ended, with a status if the master knows one.
    Ended(Option<u32>),
}

impl Running {
    /// What happens next. Not to be dropped before it has come: a part of a
    /// message could be lost.
    pub async fn event(&mut self) -> SessionEvent {
        match self.client.receive().await {
            Ok((_, Reply::TtyAllocFail(number))) if number == self.number => {
                SessionEvent::NoTerminal
            }
            Ok((_, Reply::Exit { session, status })) if session == self.number => {
                // The master closes when the last of the output is written.
                self.client.gone().await;
                SessionEvent::Ended(Some(status))
            }
            _ => SessionEvent::Ended(None),
        }
    }
}
