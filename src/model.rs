//! A clan as far as connecting to its machines needs it: networks, peers, hosts,
//! vars by their names, keys as text. Pure: it knows no document, store, file or
//! socket; whoever reads one of these fills it.

mod host_keys;
mod kept_hosts;
mod machines;
mod service;
mod target_host;
mod technology;
mod var_ref;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use crate::error::Error;
use crate::printable::Printable;
use machines::Machines;

pub use host_keys::{HostKeys, Stated};
pub use kept_hosts::{KeptHosts, SealedHosts};
pub use service::{Member, Service, Setting};
pub use target_host::TargetHost;
pub(crate) use target_host::{MAX_HOST, check_user, is_host};
pub(crate) use technology::HEAD_START;
pub use technology::{Running, Technology};
pub use var_ref::VarRef;

/// What the exports of a clan say about reaching its machines.
#[derive(Debug, Default)]
pub struct Clan {
    /// All usable networks, in the order of the document.
    pub networks: Vec<Network>,
    /// Entries that cannot be used, each an [`Error::ExportEntry`], and addresses
    /// that cannot, each an [`Error::TargetHost`].
    pub problems: Vec<Error>,
    /// What was ignored but costs no route, such as options for ssh.
    pub warnings: Vec<String>,
    /// Where the document came from.
    pub(crate) origin: String,
    pub(crate) machines: Machines,
    /// `deploy.targetHost` of the inventory.
    target_hosts: HashMap<String, TargetHost>,
    /// `clan.core.networking.targetHost` of each machine that was asked for it.
    configured_hosts: HashMap<String, Option<TargetHost>>,
    /// What a snapshot says of the machines' keys: the keys, and the certificate.
    host_keys: HashMap<String, (Vec<String>, Option<String>)>,
    /// The keys that sign certificates, as it has them.
    authorities: Vec<String>,
    /// Where that is written.
    keys_place: PathBuf,
    /// `meta.domain`.
    domain: Option<String>,
    /// What the inventory says of services; `None` where nobody has looked.
    services: Option<Vec<Service>>,
    /// Public vars that the document has itself.
    public_vars: HashMap<VarRef, String>,
    /// Secret hosts that it has, encrypted.
    sealed_hosts: Vec<SealedHosts>,
    /// Service, instance and index in `problems` of each unusable network.
    pub(crate) broken: Vec<(Option<String>, String, usize)>,
}

/// One instance of a networking service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The instance's name. Two services may both have an instance of it.
    pub name: String,
    /// The service, such as `clan-core/tor`; documents of 2025 do not tell.
    pub service: Option<String>,
    /// A name to show: the instance, or `SERVICE:INSTANCE` where that is ambiguous.
    pub label: String,
    /// Networks of higher priority are tried first; 1000 where nothing is said.
    pub priority: i64,
    /// The Python module's name, if the document has it.
    pub module: Option<String>,
    /// How to dial, from the module or inferred without one.
    pub technology: Technology,
    /// In the order of the document. A machine with several roles is there several times.
    pub peers: Vec<Peer>,
}

/// A machine in one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The machine's name.
    pub machine: String,
    /// Where it may be reached, best first; may be empty.
    pub hosts: Vec<Host>,
    /// The port of its SSH server.
    pub port: u16,
    /// The login name, if the export has one.
    pub user: Option<String>,
}

/// An address in the exports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Trimmed text that [`TargetHost`] understands: a name, an address or a ticket.
    Plain(String),
    /// The value of this var, public or secret.
    Var(VarRef),
}

impl Clan {
    /// Where the document came from, if it came from anywhere.
    pub fn origin(&self) -> Option<&str> {
        Some(self.origin.as_str()).filter(|origin| !origin.is_empty())
    }

    /// Every machine that the document names, once each: those of usable
    /// networks, of malformed entries and of other exports.
    pub fn machines(&self) -> Vec<&str> {
        self.machines.names()
    }

    /// Whether the document (or [`Clan::add_machine`]) names this machine.
    pub fn knows(&self, machine: &str) -> bool {
        self.machines.contains(machine)
    }

    /// Makes a machine known that the exports do not name, for example one of
    /// the inventory that is in no network.
    pub fn add_machine(&mut self, machine: &str) {
        self.machines.add(machine);
    }

    /// Notes the address that the inventory has for a machine.
    pub fn set_target_host(&mut self, machine: &str, target: TargetHost) {
        self.add_machine(machine);
        self.target_hosts.insert(machine.to_owned(), target);
    }

    /// The address that the inventory has for a machine.
    pub fn target_host(&self, machine: &str) -> Option<&TargetHost> {
        self.target_hosts.get(machine)
    }

    /// Notes that the address somebody has written for a machine cannot be used,
    /// and why.
    pub fn refuse_target_host(&mut self, machine: &str, reason: String) {
        let at = self.problems.len();
        self.problems.push(Error::TargetHost { machine: machine.to_owned(), reason });
        self.machines.lose(machine, Some(at));
    }

    /// Notes the address in a machine's own configuration, or that it has none.
    pub fn set_configured_host(&mut self, machine: &str, target: Option<TargetHost>) {
        self.add_machine(machine);
        self.configured_hosts.insert(machine.to_owned(), target);
    }

    /// The address in a machine's own configuration: `None` when nobody has
    /// looked, `Some(None)` when it has none.
    pub fn configured_host(&self, machine: &str) -> Option<Option<&TargetHost>> {
        self.configured_hosts.get(machine).map(Option::as_ref)
    }

    /// Notes the clan's domain.
    pub fn set_domain(&mut self, domain: Option<String>) {
        self.domain = domain;
    }

    /// `meta.domain`, in which every machine has a name.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Notes what the inventory says of the services that technologies need the settings
    /// of.
    pub fn set_services(&mut self, services: Vec<Service>) {
        self.services = Some(services);
    }

    /// What the inventory says of services: `None` where the document has no inventory.
    pub fn services(&self) -> Option<&[Service]> {
        self.services.as_deref()
    }

    /// Notes a public var that the document has itself.
    pub fn set_public_var(&mut self, var: VarRef, value: String) {
        self.public_vars.insert(var, value);
    }

    /// A public var that the document has itself.
    pub fn public_var(&self, var: &VarRef) -> Option<&str> {
        self.public_vars.get(var).map(String::as_str)
    }

    /// Notes secret hosts that the document has, encrypted.
    pub fn add_sealed_hosts(&mut self, sealed: SealedHosts) {
        self.sealed_hosts.push(sealed);
    }

    /// What the document itself has of these hosts.
    pub fn kept_hosts<'a>(&self, hosts: impl Iterator<Item = &'a Host>) -> KeptHosts {
        let vars = hosts.filter_map(Host::var);
        let public = vars.filter_map(|var| Some((var.clone(), self.public_vars.get(var)?.clone())));
        KeptHosts { public: public.collect(), sealed: self.sealed_hosts.clone() }
    }

    /// The vars that hosts are in, as the document has them: some may be there several times.
    pub fn host_vars(&self) -> impl Iterator<Item = &VarRef> {
        let peers = self.networks.iter().flat_map(|network| &network.peers);
        peers.flat_map(|peer| &peer.hosts).filter_map(Host::var)
    }

    /// Notes the host keys of a machine, and its certificate.
    pub fn set_host_keys(&mut self, machine: &str, keys: Vec<String>, certificate: Option<String>) {
        self.host_keys.insert(machine.to_owned(), (keys, certificate));
    }

    /// Notes the keys that sign the certificates of all machines, and the file that they
    /// and all host keys are in.
    pub fn set_authorities(&mut self, place: PathBuf, authorities: Vec<String>) {
        self.keys_place = place;
        self.authorities = authorities;
    }

    /// The host keys of a machine, where the document has them.
    pub fn host_keys(&self, machine: &str) -> Option<HostKeys> {
        let none = (Vec::new(), None);
        let (keys, certificate) = self.host_keys.get(machine).unwrap_or(&none);
        let stated = |texts: &[String]| {
            let place = &self.keys_place;
            let stated = |text: &String| Stated { text: text.clone(), place: place.clone() };
            texts.iter().map(stated).collect()
        };
        let keys = HostKeys {
            keys: stated(keys),
            certificate: certificate.clone(),
            authorities: stated(&self.authorities),
            domain: self.domain.clone(),
        };
        (!keys.is_empty()).then_some(keys)
    }

    /// The first network that answers to `name`, see [`Network::answers_to`].
    #[cfg(test)]
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.answers_to(name))
    }

    /// The problems that cost this machine an address.
    pub fn problems_of(&self, machine: &str) -> impl Iterator<Item = &Error> {
        self.machines.problems(machine).iter().filter_map(|&at| self.problems.get(at))
    }

    /// The problem that made the network of this name unusable.
    pub fn problem_of_network(&self, name: &str) -> Option<&Error> {
        let mut broken = self.broken.iter();
        let (_, _, at) = broken.find(|(service, instance, _)| answers(service, instance, name))?;
        self.problems.get(*at)
    }
}

impl Network {
    /// Whether `name` means this network: `INSTANCE`, `SERVICE:INSTANCE` or
    /// `SERVICE/INSTANCE`, where the service may be given without what precedes
    /// its last slash.
    pub fn answers_to(&self, name: &str) -> bool {
        answers(&self.service, &self.name, name)
    }

    /// The service without where it comes from, such as `tor`; where the document does not
    /// tell it, the instance is called so.
    pub fn service_name(&self) -> &str {
        let service = self.service.as_deref().and_then(|service| service.rsplit('/').next());
        service.unwrap_or(&self.name)
    }
}

impl Host {
    /// The var that it is in, if it is in one.
    pub fn var(&self) -> Option<&VarRef> {
        match self {
            Self::Var(var) => Some(var),
            Self::Plain(_) => None,
        }
    }
}

/// Fit for a terminal; a var is shown by its name.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(host) => Printable(host).fmt(f),
            Self::Var(var) => write!(f, "<var: {}>", Printable(&var.to_string())),
        }
    }
}

fn answers(service: &Option<String>, instance: &str, name: &str) -> bool {
    if name == instance {
        return true;
    }
    let Some(service) = service.as_deref() else { return false };
    let Some(front) = name.strip_suffix(instance) else { return false };
    let front = front.strip_suffix([':', '/']).unwrap_or_default();
    !front.is_empty() && (front == service || service.rsplit('/').next() == Some(front))
}
