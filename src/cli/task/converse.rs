//! A shell, a command or a subsystem on our own standard input, output and error,
//! and on our terminal if it has one. Owns the terminal meanwhile.

use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::stdio::unbuffered;
use crate::cli::Ui;
use crate::error::{Error, Result};
use crate::ssh::Session;
use crate::ssh::escape::{Action, help};
use crate::ssh::remote::{Ending, OnEscape, Remote, Size, Streams};
use crate::term;

/// Runs what `remote` says; standard input is left alone if it `is_null`.
pub(super) async fn converse(
    session: &Session,
    machine: &str,
    remote: &Remote,
    is_null: bool,
    ui: &Arc<Ui>,
) -> Result<Ending> {
    let mut process = session.start(machine, remote).await?;
    let (size_changed, sizes) = mpsc::unbounded_channel();
    let raw = match &remote.pty {
        Some(_) if term::is_interactive() => {
            watch_size(size_changed)?;
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
        escapes: remote.escape.filter(|_| remote.pty.is_some()).map(|escape| {
            let ui = ui.clone();
            let hear = Box::new(move |action| match action {
                Action::Help => ui.show(&help(escape)),
                Action::Suspend => term::suspend(),
                Action::Disconnect | Action::Rekey => {}
            }) as OnEscape;
            (escape, hear)
        }),
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
    ended
}

fn watch_size(changed: mpsc::UnboundedSender<Size>) -> Result<()> {
    let mut resized = signal(SignalKind::window_change())
        .map_err(|source| Error::System { what: "cannot listen for signals", source })?;
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
