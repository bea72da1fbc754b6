//! A machine to be connected to, and what is wanted of the connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Clan, Connection, blocking};
use crate::connect::{self, HostKeySettings, Request};
#[cfg(feature = "yggdrasil")]
use crate::dial::yggdrasil;
use crate::dial::{OfClan, wireguard};
use crate::error::{Attempt, Result};
use crate::flake::{self, snapshot};
use crate::plan::{Overrides, TargetHost, plan};
use crate::race;
use crate::ssh::hostkey::{HostKeyCheck, KnownHostsFiles};

/// Hears of the way.
type Watch = Box<dyn FnMut(Event<'_>) + Send>;

/// A machine of a [`Clan`], and how to connect to it. What is not said is as with
/// `clan-connect ssh`: the clan's networks by priority, the keys of the agent and of
/// `~/.ssh`, host keys that are trusted on first use and kept in `~/.ssh/known_hosts`.
pub struct Machine {
    clan: Clan,
    name: String,
    overrides: Overrides,
    identities: Vec<PathBuf>,
    check: HostKeyCheck,
    known_hosts: Option<PathBuf>,
    deadline: Option<Duration>,
    wireguard_keys: Vec<String>,
    watch: Watch,
}

/// What happens on the way to a machine.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A network is tried.
    Trying {
        /// Its name.
        network: &'a str,
        /// The host, as it may be shown.
        host: String,
    },
    /// It takes a while.
    Waiting {
        /// The network's name.
        network: &'a str,
        /// What is waited for.
        phase: String,
    },
    /// A network has failed; others may follow.
    Failed(&'a Attempt),
}

impl Machine {
    pub(super) fn new(clan: Clan, name: &str) -> Self {
        Self {
            clan,
            name: name.to_owned(),
            overrides: Overrides::default(),
            identities: Vec::new(),
            check: HostKeyCheck::default(),
            known_hosts: None,
            deadline: None,
            wireguard_keys: Vec::new(),
            watch: Box::new(|_| ()),
        }
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leases this network only.
    pub fn network(mut self, name: impl Into<String>) -> Self {
        self.overrides.network = Some(name.into());
        self
    }

    /// Leases this address, `[USER@]HOST[:PORT]`, in the place of the clan's.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when it is none.
    pub fn target_host(mut self, address: &str) -> Result<Self> {
        self.overrides.target_host = Some(TargetHost::parse(address, |_| false)?);
        Ok(self)
    }

    /// Logs in as this user, in the place of the one that the clan names.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.overrides.user = Some(name.into());
        self
    }

    /// Connects to this port, in the place of the one that the clan names.
    pub fn port(mut self, port: u16) -> Self {
        self.overrides.port = Some(port);
        self
    }

    /// A file with a private key to authenticate with, tried before all others.
    pub fn identity_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.identities.push(file.into());
        self
    }

    /// What to do about a host key that neither the clan nor known_hosts has.
    pub fn host_keys(mut self, check: HostKeyCheck) -> Self {
        self.check = check;
        self
    }

    /// The file that host keys are looked up in and written to, in the place of
    /// those of ssh(1).
    pub fn known_hosts(mut self, file: impl Into<PathBuf>) -> Self {
        self.known_hosts = Some(file.into());
        self
    }

    /// How long a network may take to answer; by default 10 seconds, but 20 for
    /// iroh and 120 for Tor.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Some(timeout);
        self
    }

    /// The key of a member of the clan's WireGuard network, for a computer that is not in
    /// it: a file, or `var:MACHINE` for that of a machine which runs nowhere else.
    pub fn wireguard_key(mut self, key: impl Into<String>) -> Self {
        self.wireguard_keys.push(key.into());
        self
    }

    /// Hears of what happens on the way.
    pub fn on_event(mut self, watch: impl FnMut(Event<'_>) + Send + 'static) -> Self {
        self.watch = Box::new(watch);
        self
    }

    /// Connects over the best network that answers and logs in.
    ///
    /// # Errors
    /// [`crate::Error::NoRoute`] and [`crate::Error::UnknownNetwork`] before anything
    /// is dialled; [`crate::Error::Unreachable`] with what was tried on every network
    /// and why it failed; [`crate::Error::HostKey`]; [`crate::Error::Auth`].
    pub async fn connect(mut self) -> Result<Connection> {
        let mut watch = std::mem::replace(&mut self.watch, Box::new(|_| ()));
        let request = blocking(move || self.request()).await?;
        let machine = request.machine.clone();
        let connection = connect::connect(request, &mut |event| {
            watch(match &event {
                race::RaceEvent::Started(route) => {
                    Event::Trying { network: &route.network, host: route.shown_host() }
                }
                race::RaceEvent::Waiting(route, phase) => {
                    Event::Waiting { network: &route.network, phase: phase.to_string() }
                }
                race::RaceEvent::Failed(attempt) => Event::Failed(attempt),
            });
        })
        .await?;
        Ok(Connection::new(machine, connection))
    }

    fn request(self) -> Result<Request> {
        let Clan { known, prompter, env, .. } = &self.clan;
        let routes = plan(known, &self.name, &self.overrides)?;
        let hosts = known.kept_hosts(routes.iter().map(|route| &route.host));
        let vars = Arc::new(self.clan.vars().with_known(hosts));
        let mut request = Request::new(&self.name, vars.clone(), prompter.clone(), env);
        request.routes = routes;
        let OfClan { wireguard, underlay } = OfClan::of(known, Some(&self.name));
        let keys = &self.wireguard_keys;
        request.settings.wireguard = wireguard::Settings::of(&wireguard, vars.clone(), keys, env);
        request.settings.underlay = underlay;
        #[cfg(feature = "yggdrasil")]
        if let Ok(settings) = yggdrasil::Settings::of(None, &[], vars.clone(), env) {
            request.settings.yggdrasil = settings;
        }
        request.deadline = self.deadline;
        // Who calls has named them.
        request.exports_are_named = true;
        request.credentials.identities = self.identities;
        let snapshots = self.clan.dir.iter().map(|dir| dir.join(snapshot::NAME));
        let kept = || flake::kept_keys(snapshots, &self.name);
        let stated = connect::stated_keys(Some(known), &self.name, &vars, kept)?;
        request.host_keys = HostKeySettings {
            check: self.check,
            identity: connect::identity(known, &self.name, &vars),
            of_clan: Some(stated).filter(|keys| !keys.is_empty()),
            clan_is_named: true,
            ..request.host_keys
        };
        if let Some(file) = self.known_hosts {
            request.host_keys.files =
                KnownHostsFiles { user: vec![file], global: Vec::new(), ..request.host_keys.files };
        }
        Ok(request)
    }
}
