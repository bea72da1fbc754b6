//! WireGuard in the process: we as a member of a clan's network, on a computer that is not
//! in it. Owns which addresses and names are led there, whose key is used, and that no two
//! processes use one at the same time; what a member is follows from the clan in the
//! modules below, and packets are the tunnel's.

mod addresses;
mod identity;
mod key;
mod members;
mod membership;
#[cfg(feature = "wireguard")]
mod tunnel;
#[cfg(not(feature = "wireguard"))]
#[path = "wireguard/no_tunnel.rs"]
mod tunnel;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::OnceCell;

use super::by_address::{Answering, ByAddress, Resolved};
use super::own_runtime::OwnRuntime;
use super::{Dial, DialError, DialFailure, Dialling, Phase, Target};
use crate::env::Env;
use crate::error::{MemberFailure, Stage};
use crate::model::{Clan, Network, Running};
use crate::overlay::{self, Overlay};
use crate::printable::Printable;
use crate::vars::Vars;
pub(crate) use identity::default_key;
use identity::{Identity, Keys};
pub(crate) use members::public_vars;
use members::{Members, Outline};
use tunnel::Tunnel;

/// What a clan says of its WireGuard networks, before any var is read.
#[derive(Clone, Default)]
pub struct Networks(Vec<Outline>);

impl Networks {
    /// Those of `clan`.
    pub fn of(clan: &Clan) -> Self {
        Self(Outline::all(clan))
    }

    /// The machine of a name that only one of them resolves.
    pub fn machine_of(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|outline| outline.machine_of(name))
    }
}

/// The networks of a clan, and what may make us a member.
#[derive(Clone, Default)]
pub struct Settings(Option<Arc<Source>>);

impl Settings {
    /// `keys` are those that the user has named: files, or `var:MACHINE`. Reads nothing.
    pub fn of(networks: &Networks, vars: Arc<Vars>, keys: &[String], env: &Env) -> Self {
        let outlines = networks.0.clone();
        let is_any = !outlines.is_empty();
        Self(is_any.then(|| Arc::new(Source { outlines, vars, keys: Keys::of(keys, env) })))
    }
}

/// Who we are in a network, see [`Settings::member`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnMember {
    /// The machine of the inventory.
    pub machine: String,
    /// Its public key, as `wg pubkey` prints it.
    pub public_key: String,
    /// Its addresses.
    pub addresses: Vec<Ipv6Addr>,
}

impl Settings {
    /// Who we would be in the network of this label with what is at hand; `None` where it
    /// is no WireGuard network. Blocks: a key may take a passphrase.
    pub fn member(&self, label: &str) -> Option<Result<OwnMember, MemberFailure>> {
        let source = self.0.as_ref()?;
        let outline = source.outlines.iter().find(|outline| outline.label == label)?;
        let instance = Printable(&outline.instance).to_string();
        if !outline.is_nameable() {
            return Some(Err(MemberFailure::Unnameable { instance }));
        }
        let found = source.keys.find(&outline.members(&source.vars), &source.vars);
        Some(found.map(|identity| OwnMember {
            machine: identity.machine,
            public_key: key::shown(&key::public_of(&identity.membership.key)),
            addresses: identity.membership.addresses,
        }))
    }
}

/// The key may be named by it, and is not in it.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

struct Source {
    outlines: Vec<Outline>,
    vars: Arc<Vars>,
    keys: Keys,
}

/// The way to the addresses and the names of these networks.
pub(super) fn way(settings: &super::Settings) -> Option<Arc<dyn ByAddress>> {
    let source = settings.wireguard.0.clone()?;
    Some(Arc::new(WireGuard {
        source,
        members: OnceCell::new(),
        nodes: Mutex::default(),
        starting: Default::default(),
    }))
}

/// The dialler for addresses of these networks.
struct WireGuard {
    source: Arc<Source>,
    members: OnceCell<Vec<Arc<Members>>>,
    /// By instance, as long as a stream needs it: nobody else can be the member meanwhile.
    nodes: Mutex<HashMap<String, Weak<Node>>>,
    /// Held while one starts.
    starting: tokio::sync::Mutex<()>,
}

/// We in a network.
struct Node {
    tunnel: Tunnel,
    runtime: OwnRuntime,
    /// Held as long as we are the member.
    _alone: Option<std::fs::File>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.runtime.end_after(self.tunnel.close());
    }
}

impl Dial for WireGuard {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async move {
            let address = target.host.expose().parse().ok();
            let Some(address @ IpAddr::V6(six)) = address else {
                return Err(failed(DialFailure::BadAddress("it is no address of the network")));
            };
            let all = self.members().await;
            let Some(members) = all.iter().find(|members| members.claims(address)) else {
                return Err(failed(DialFailure::NoRoute));
            };
            let node = self.node(members, enter).await?;
            let address = SocketAddrV6::new(six, target.port, 0, 0);
            Ok(node.tunnel.connect(address, enter).await?.with_carrier(node))
        })
    }
}

impl ByAddress for WireGuard {
    fn name(&self) -> &'static str {
        "wireguard"
    }

    fn running(&self, network: &Network) -> Option<Running> {
        let source = &self.source;
        let outline = source.outlines.iter().find(|outline| outline.label == network.label)?;
        let members = outline.members(&source.vars);
        let is_up = |(_, prefix): (_, Ipv6Addr)| overlay::is_running(prefix.into()) == Some(true);
        let is_possible = cfg!(feature = "wireguard") && source.keys.are_at_hand();
        Some(match (members.controllers().any(is_up), is_possible) {
            (true, _) => Running::Yes,
            (false, true) if members.controllers().next().is_some() => Running::InProcess,
            (false, _) => Running::No,
        })
    }

    fn claims(&self, address: IpAddr) -> Answering<'_, bool> {
        Box::pin(async move {
            // Before any var is read for it.
            Overlay::of(address) == Some(Overlay::Local)
                && self.members().await.iter().any(|members| members.claims(address))
        })
    }

    fn explains(&self, name: &str) -> Option<DialError> {
        let mut outlines = self.source.outlines.iter();
        let outline = outlines.find(|outline| outline.machine_of(name).is_some())?;
        let instance = Printable(&outline.instance).to_string();
        Some(member(MemberFailure::NoController { instance }))
    }

    fn is_alone(&self) -> bool {
        self.nodes().values().any(|node| node.strong_count() > 0)
    }

    fn addresses<'a>(&'a self, name: &'a str) -> Answering<'a, Option<Resolved>> {
        Box::pin(async move {
            let mut outlines = self.source.outlines.iter().enumerate();
            let known = |(at, it): (usize, &'a Outline)| Some((at, it.machine_of(name)?));
            let (at, machine) = outlines.find_map(known)?;
            let failed =
                |failure| DialError::new(Stage::Resolve, DialFailure::Member(Box::new(failure)));
            let outline = self.source.outlines.get(at)?;
            if !outline.is_nameable() {
                let instance = Printable(&outline.instance).to_string();
                return Some(Err(failed(MemberFailure::Unnameable { instance })));
            }
            let members = self.members().await.get(at)?;
            // Name servers may know it, for whoever has no clan at hand.
            if members.all.is_empty() {
                return None;
            }
            let addresses = members.addresses(machine).map_err(failed);
            Some(addresses.map(|all| all.into_iter().map(IpAddr::V6).collect()))
        })
    }
}

impl WireGuard {
    /// Who is in each of the networks, in their order.
    async fn members(&self) -> &[Arc<Members>] {
        let read = || async {
            let source = self.source.clone();
            let reading = move || {
                let all = source.outlines.iter().map(|it| Arc::new(it.members(&source.vars)));
                all.collect::<Vec<_>>()
            };
            tokio::task::spawn_blocking(reading).await.unwrap_or_default()
        };
        self.members.get_or_init(read).await
    }

    /// We in a network, which begins where nothing of ours is in it yet.
    async fn node(
        &self,
        members: &Arc<Members>,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Arc<Node>, DialError> {
        let _starting = self.starting.lock().await;
        if let Some(node) = self.nodes().get(&members.instance).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let node = Arc::new(self.start(members, enter).await?);
        self.nodes().insert(members.instance.clone(), Arc::downgrade(&node));
        Ok(node)
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, Weak<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes a member.
    async fn start(
        &self,
        members: &Arc<Members>,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Node, DialError> {
        let Identity { membership, alone, machine, is_borrowed } =
            self.identity(members, enter).await?;
        for address in &membership.addresses {
            if let Some(device) = overlay::device_with(*address) {
                let (machine, address) = (Printable(&machine).to_string(), *address);
                let device = Printable(&device).to_string();
                return Err(member(MemberFailure::Runs { machine, address, device }));
            }
        }
        if is_borrowed {
            enter(Phase::Borrowing(Printable(&machine).to_string()));
        }
        let runtime =
            OwnRuntime::new("wireguard").map_err(|error| failed(DialFailure::from(&error)))?;
        let tunnel = Tunnel::start(&membership, &runtime, enter).await?;
        Ok(Node { tunnel, runtime, _alone: alone })
    }

    /// The first key that is a member's and that no other process uses.
    async fn identity(
        &self,
        members: &Arc<Members>,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Identity, DialError> {
        enter(Phase::Key("WireGuard"));
        loop {
            let (source, members) = (self.source.clone(), members.clone());
            let finding = move || source.keys.find(&members, &source.vars);
            let found = tokio::task::spawn_blocking(finding).await;
            match found.unwrap_or(Err(MemberFailure::NoKey { instance: String::new() })) {
                Err(MemberFailure::Busy { machine }) => enter(Phase::Busy(machine)),
                found => return found.map_err(member),
            }
            tokio::time::sleep(identity::RETRY).await;
        }
    }
}

fn failed(failure: DialFailure) -> DialError {
    DialError::new(Stage::Bootstrap, failure)
}

fn member(failure: MemberFailure) -> DialError {
    failed(DialFailure::Member(Box::new(failure)))
}
