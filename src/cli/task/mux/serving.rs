//! Serving others over a session of ours, and for how long.

use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::cli::Ui;
use crate::cli::invocation::Warm;
use crate::cli::link::Link;
use crate::error::Result;
use crate::mux::master::{First, Master, Shares, Warmth};
use crate::mux::warm::Card;
use crate::options::Persist;
use crate::ssh::open_forwards::OpenForwards;
use crate::ssh::{BegunRemote, Session};

/// A session that others use, if it is shared.
pub(in crate::cli::task) struct Shared {
    master: Arc<Master>,
    persist: Persist,
    is_warm: bool,
}

/// How long a warm master stays that keeps others from the same network.
const ALONE_PERSIST: Persist = Persist::Seconds(1);

/// How often a warm master looks whether its name is still there.
const NAMED_TICK: Duration = Duration::from_secs(20);

impl Drop for Shared {
    fn drop(&mut self) {
        self.master.hide();
    }
}

impl Shared {
    /// Begins to serve; `None` when this connection is not shared.
    pub(in crate::cli::task) fn start(
        control: Option<&Control>,
        link: &Link,
        forwards: &Arc<OpenForwards>,
        host: &str,
        lends_agent: bool,
        ui: &Arc<Ui>,
    ) -> Result<Option<Self>> {
        let Some(control) = control.filter(|control| control.is_master) else { return Ok(None) };
        let socket = control.listen(ui)?;
        if socket.is_none() && !control.is_warm() {
            return Ok(None);
        }
        let card = |warm: &Warm| Card {
            machine: host.to_owned(),
            clan: warm.clan.clone(),
            network: link.info.network.clone().unwrap_or_default(),
            user: link.info.user.clone(),
            sessions: 0,
            pid: std::process::id(),
        };
        let master = Master::new(
            socket,
            Shares {
                session: link.session.clone(),
                info: link.info.clone(),
                forwards: forwards.clone(),
                host: host.to_owned(),
                lends_agent,
                confirm: control.confirms.then(|| ui.clone() as Arc<dyn crate::prompter::Prompter>),
                warm: control
                    .warm
                    .as_ref()
                    .map(|warm| Warmth { card: card(warm), streams: link.streams() }),
            },
        );
        tokio::spawn(master.clone().serve());
        let persist = match control.is_warm() && link.is_alone() {
            true => ALONE_PERSIST,
            false => control.persist,
        };
        Ok(Some(Self { master, persist, is_warm: control.is_warm() }))
    }

    /// Serves who was handed over along with the connection.
    pub(in crate::cli::task) fn attend_first(&self, first: First, begun: Option<BegunRemote>) {
        self.master.attend_first(first, begun);
    }

    /// Waits until a client ends the connection.
    pub(in crate::cli::task) async fn terminated(&self) {
        self.master.terminated().await;
    }

    /// Waits until it is no longer of use: as ControlPersist says, or when it
    /// takes no more clients.
    pub(in crate::cli::task) async fn unused(&self, session: &Session) {
        let lasting = async {
            loop {
                session.leases().none().await;
                match self.persist {
                    // Nobody else can come.
                    _ if !self.master.is_listening() => return,
                    Persist::Seconds(seconds) => tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(seconds)) => {
                            if self.master.ends_unused() {
                                return;
                            }
                        }
                        () = session.leases().any() => {}
                    },
                    _ => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = lasting => {}
            () = self.master.left() => {}
            () = self.unnamed(), if self.is_warm => {}
        }
    }

    /// Waits until nobody can find it any more, as when the system has taken the
    /// directory away at the end of the user's last session, and nobody uses it.
    async fn unnamed(&self) {
        while self.master.is_named() {
            tokio::time::sleep(NAMED_TICK).await;
        }
        self.master.no_more();
        self.master.left().await;
    }
}
