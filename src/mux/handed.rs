//! What clients hand over: their files, and themselves where they are there before the
//! connection is.

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::fd::OwnedFd;

use tokio::net::UnixStream;

use super::message::{MasterRequest, NewSession, VERSION};
use super::passing::{receive, receive_descriptor};
use crate::ssh::remote::Remote;
use crate::term;

/// What a client has passed.
pub(super) struct Files {
    pub(super) input: OwnedFd,
    pub(super) output: File,
    pub(super) errors: File,
}

impl Files {
    pub(super) async fn receive(client: &UnixStream) -> Result<Self> {
        let input = receive_descriptor(client).await?;
        let output = File::from(receive_descriptor(client).await?);
        let errors = File::from(receive_descriptor(client).await?);
        Ok(Self { input, output, errors })
    }

    /// What a client wants to be run, on its terminal if it has one.
    pub(super) fn remote(&self, wanted: &NewSession, lends_agent: bool) -> Remote {
        let tty = wanted.tty.then_some(&self.input);
        Remote {
            command: (!wanted.command.is_empty()).then(|| wanted.command.clone()),
            is_subsystem: wanted.subsystem,
            with_agent: wanted.agent && lends_agent,
            // Before the client changes its terminal, which it does when told
            // that the session is open.
            pty: tty.map(|tty| term::pty_like(tty, term::size_of(tty), wanted.term.clone())),
            env: wanted.env.clone(),
            escape: wanted.escape,
        }
    }
}

/// A client that is there before the connection is: what it wants may be begun along
/// with the login.
pub struct First {
    pub(super) client: UnixStream,
    pub(super) id: u32,
    pub(super) wanted: NewSession,
    pub(super) files: Files,
}

impl First {
    /// What a client has asked for by now.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::InvalidData`] for anything but one session.
    pub async fn receive(mut client: UnixStream) -> Result<Self> {
        let strange = || std::io::Error::from(ErrorKind::InvalidData);
        let mut request = async || -> Result<(u32, MasterRequest)> {
            let message = receive(&mut client).await?;
            MasterRequest::decode(&message).map_err(|_| strange())
        };
        let (_, MasterRequest::Hello { version: VERSION }) = request().await? else {
            return Err(strange());
        };
        let (id, MasterRequest::NewSession(wanted)) = request().await? else {
            return Err(strange());
        };
        let files = Files::receive(&client).await?;
        Ok(Self { client, id, wanted, files })
    }

    /// What it wants to be run, with the agent if that is lent.
    pub fn remote(&self, lends_agent: bool) -> Remote {
        self.files.remote(&self.wanted, lends_agent)
    }
}
