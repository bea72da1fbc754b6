//! A shell, a command or a subsystem on our own standard input, output and error,
//! and on our terminal if it has one. Owns the terminal meanwhile.

use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::stdio::unbuffered;
use crate::cli::Ui;
use crate::cli::invocation::Front;
use crate::error::{Error, Result};
use crate::ssh::escape::{Action, help};
use crate::ssh::info::ConnectionInfo;
use crate::ssh::remote::{Ending, OnEscape, Remote, Size, Streams};
use crate::ssh::{BegunRemote, Session};
use crate::term;

/// Where something runs.
pub(super) struct On<'a> {
    pub(super) session: &'a Arc<Session>,
    /// What there is to tell of it.
    pub(super) info: &'a Arc<ConnectionInfo>,
    pub(super) machine: &'a str,
}

/// Runs what `remote` says, which may have been begun already; standard input is left
/// alone if it `is_null`.
pub(super) async fn converse(
    On { session, info, machine }: On<'_>,
    remote: &Remote,
    begun: Option<BegunRemote>,
    is_null: bool,
    ui: &Arc<Ui>,
) -> Result<Ending> {
    let mut process = match begun {
        Some(begun) => session.go_on(machine, begun).await?,
        None => session.start(machine, remote).await?,
    };
    if ui.front == Front::Ssh {
        ui.verbose("Entering interactive session.");
    }
    let (size_changed, sizes) = mpsc::unbounded_channel();
    let raw = match &remote.pty {
        Some(pty) if term::is_interactive() => {
            watch_size(size_changed, pty.size)?;
            Some(term::Raw::enter().map_err(Error::Terminal)?)
        }
        _ => None,
    };
    let input: Box<dyn AsyncRead + Send + Unpin> = match is_null {
        true => Box::new(tokio::io::empty()),
        false => Box::new(tokio::io::stdin()),
    };
    let streams = Streams {
        input,
        output: unbuffered(std::io::stdout())?,
        errors: unbuffered(std::io::stderr())?,
        sizes,
        escapes: remote
            .escape
            .filter(|_| remote.pty.is_some())
            .map(|escape| (escape, on_escape(escape, ui.clone(), session.clone(), info.clone()))),
        no_terminal: None,
    };
    let ended = {
        let running = process.converse(streams);
        let renewing = session.renew_host_keys();
        tokio::pin!(running, renewing);
        tokio::select! {
            ended = &mut running => ended,
            renewed = &mut renewing => {
                match renewed {
                    Ok(Some(renewal)) => ui.verbose(&renewal.to_string()),
                    Ok(None) => {}
                    Err(error) => ui.warning(&format!("the server's other host keys: {error}")),
                }
                running.await
            }
        }
    };
    drop(raw);
    if let (Front::Ssh, Ok(ended)) = (ui.front, &ended) {
        match ended {
            Ending::Status(status) => ui.verbose(&format!("Exit status {status}")),
            _ => ui.verbose("Exit status -1"),
        }
    }
    ended
}

/// What `~` and a letter do here, in the words of OpenSSH's clientloop.c.
fn on_escape(
    escape: u8,
    ui: Arc<Ui>,
    session: Arc<Session>,
    info: Arc<ConnectionInfo>,
) -> OnEscape {
    let shown = std::ascii::escape_default(escape).to_string();
    Box::new(move |action| match action {
        Action::Help => ui.show(&help(escape)),
        Action::Suspend => term::suspend(),
        Action::Quieter => {
            let level = ui.change_level(false);
            ui.show(&format!("{shown}V [LogLevel {level}]\r\n"));
        }
        Action::Louder => {
            let level = ui.change_level(true);
            ui.show(&format!("{shown}v [LogLevel {level}]\r\n"));
        }
        Action::List => ui.show(&format!("{shown}#\r\n{}", session.channels_text())),
        Action::Info => ui.show(&format!("{shown}I\r\n{}", info.text(&session))),
        Action::CommandLine => ui.show("commandline disabled\r\n"),
        Action::Break => ui.show(&format!("{shown}B\r\n")),
        Action::Background => ui.show(&format!("{shown}& is not supported here\r\n")),
        Action::Disconnect | Action::Rekey => {}
    })
}

/// Passes on every change of the size that was `told`.
fn watch_size(changed: mpsc::UnboundedSender<Size>, told: Size) -> Result<()> {
    let mut resized = signal(SignalKind::window_change())
        .map_err(|source| Error::System { what: "cannot listen for signals", source })?;
    // It may have changed before anybody listened.
    if let Some(size) = term::size().filter(|size| size.columns > 0 && *size != told) {
        let _ = changed.send(size);
    }
    tokio::spawn(async move {
        while resized.recv().await.is_some() {
            if let Some(size) = term::size()
                && changed.send(size).is_err()
            {
                break;
            }
        }
    });
    Ok(())
}
