//! Shells and commands for clients of a master, on their own standard input, output and
//! error.

use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::{ALIVE, CLIENT, DENIED, ENDING, First, Master, MasterState, NO_SESSION, gone};
use crate::mux::handed::Files;
use crate::mux::message::{NewSession, Reply, VERSION};
use crate::mux::passing::send;
use crate::mux::stdio::Input;
use crate::printable::Printable;
use crate::ssh::BegunRemote;
use crate::ssh::escape::{Action, help};
use crate::ssh::remote::{NotStarted, OnEscape, Process, Streams};
use crate::term;

impl Master {
    /// A shell or command with the client's standard input, output and error.
    pub(super) async fn session(
        &self,
        mut client: UnixStream,
        id: u32,
        wanted: NewSession,
        files: Files,
    ) -> Result<()> {
        if !self.allows("Allow use of").await {
            let denied = Reply::PermissionDenied(DENIED.to_owned());
            return send(&mut client, &denied.encode(id)).await;
        }
        let Some(_use) = self.lease() else {
            return send(&mut client, &Reply::Failure(ENDING.to_owned()).encode(id)).await;
        };
        let remote = files.remote(&wanted, self.lends_agent);
        let started = match &self.warm {
            None => self.session.start(&self.host, &remote).await.map_err(|_| NotStarted::Refused),
            Some(_) => self.session.start_within(&self.host, &remote, ALIVE).await,
        };
        let process = match started {
            Ok(process) => process,
            // It may have begun, and must not be begun once more elsewhere.
            Err(NotStarted::Lost(error)) => return Err(std::io::Error::other(error)),
            Err(why) => {
                tracing::debug!(?why, "a session for a client was refused");
                if matches!(why, NotStarted::Dead) {
                    self.stop(MasterState::Stopped);
                }
                return send(&mut client, &Reply::Failure(NO_SESSION.to_owned()).encode(id)).await;
            }
        };
        self.attend(client, id, &wanted, process, files).await
    }

    /// Serves who was handed over along with the connection, as what has been begun along
    /// with the login, if that has.
    pub fn attend_first(self: &Arc<Self>, first: First, begun: Option<BegunRemote>) {
        let (master, lease) = (self.clone(), self.session.leases().begin(CLIENT));
        tokio::spawn(async move {
            let _lease = lease;
            if let Err(error) = master.first(first, begun).await {
                tracing::debug!(%error, "the first client of the master is gone");
            }
        });
    }

    async fn first(&self, first: First, begun: Option<BegunRemote>) -> Result<()> {
        let First { mut client, id, wanted, files } = first;
        send(&mut client, &Reply::Hello { version: VERSION, has_info: true }.encode(0)).await?;
        let started = match begun {
            Some(begun) => self.session.go_on(&self.host, begun).await,
            None => {
                let remote = files.remote(&wanted, self.lends_agent);
                self.session.start(&self.host, &remote).await
            }
        };
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                let failure = Reply::Failure(error.to_string());
                return send(&mut client, &failure.encode(id)).await;
            }
        };
        self.attend(client, id, &wanted, process, files).await
    }

    /// Waits for the end of a session, or of its client, with which it is over.
    async fn attend(
        &self,
        mut client: UnixStream,
        id: u32,
        wanted: &NewSession,
        mut process: Process<'_>,
        files: Files,
    ) -> Result<()> {
        let done = self.joined(&mut client, id, wanted, &mut process, files).await;
        if done.is_err() {
            process.close().await;
        }
        done
    }

    async fn joined(
        &self,
        client: &mut UnixStream,
        id: u32,
        wanted: &NewSession,
        process: &mut Process<'_>,
        files: Files,
    ) -> Result<()> {
        let Files { input, output, mut errors } = files;
        let tty = wanted.tty.then(|| input.try_clone()).transpose()?;
        let number = self.opened(client, id).await?;

        let (size_changed, sizes) = mpsc::unbounded_channel();
        let (told_no_terminal, mut no_terminal) = oneshot::channel();
        let streams = Streams {
            input: Input::new(input)?,
            output: tokio::fs::File::from_std(output),
            errors: tokio::fs::File::from_std(errors.try_clone()?),
            sizes,
            escapes: match wanted.escape.filter(|_| wanted.tty) {
                Some(escape) => Some((escape, self.on_escape(escape, errors.try_clone()?))),
                None => None,
            },
            no_terminal: Some(told_no_terminal),
        };
        let mut resized = self.resized.subscribe();
        let ended = {
            let conversing = process.converse(streams);
            tokio::pin!(conversing);
            let mut may_fail = wanted.tty;
            loop {
                tokio::select! {
                    ended = &mut conversing => break Some(ended),
                    () = gone(client) => break None,
                    failed = &mut no_terminal, if may_fail => {
                        may_fail = false;
                        if failed.is_ok() {
                            send(client, &Reply::TtyAllocFail(number).encode(id)).await?;
                        }
                    }
                    _ = resized.changed() => {
                        if let Some(size) = tty.as_ref().and_then(term::size_of) {
                            let _ = size_changed.send(size);
                        }
                    }
                }
            }
        };
        let status = match ended {
            // Nobody is left to be told.
            None => return Err(ErrorKind::BrokenPipe.into()),
            Some(Ok(ending)) => ending.shared_status(),
            Some(Err(error)) => {
                let _ = write!(errors, "{}\r\n", Printable(&error.to_string()));
                255
            }
        };
        let exit = Reply::Exit { session: number, status };
        send(client, &exit.encode(id)).await
    }

    /// What is left of escape sequences where the terminal is another process's.
    fn on_escape(&self, escape: u8, mut errors: File) -> OnEscape {
        let (session, info) = (self.session.clone(), self.info.clone());
        let shown = std::ascii::escape_default(escape).to_string();
        Box::new(move |action| {
            // What is asked of the whole connection is its master's own (clientloop.c).
            let own = |letter: &str| {
                format!("{shown}{letter} escape not available to multiplexed sessions\r\n")
            };
            let text = match action {
                Action::Help => help(escape),
                Action::CommandLine => own("C"),
                Action::Quieter => own("V"),
                Action::Louder => own("v"),
                Action::List => format!("{shown}#\r\n{}", session.channels_text()),
                Action::Info => format!("{shown}I\r\n{}", info.text(&session)),
                Action::Background => own("&"),
                Action::Break => format!("{shown}B\r\n"),
                Action::Suspend => own("^Z"),
                Action::Disconnect | Action::Rekey => return,
            };
            let _ = errors.write_all(text.as_bytes());
        })
    }
}
