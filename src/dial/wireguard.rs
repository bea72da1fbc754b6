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
use super::holder::{self, Lasting, Offer, Patience, Visit};
use super::key_lock::{Hold, InUse};
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
use membership::Membership;
use tunnel::Tunnel;

/// What such a network is called where something is said of it.
const NETWORK: &str = "WireGuard";

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
        lasting: settings.lasting,
        visits: Arc::default(),
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
    lasting: Lasting,
    /// Held by streams that go by another process.
    visits: Arc<()>,
}

/// What leads into a network.
enum Entry {
    Node(Arc<Node>),
    /// The process that is the member.
    Elsewhere(Visit, InUse),
}

/// We in a network.
struct Node {
    tunnel: Tunnel,
    runtime: OwnRuntime,
    /// Held as long as we are the member.
    alone: Hold,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.runtime.end_after(self.tunnel.close());
    }
}

impl holder::Node for Node {
    fn open<'a>(
        self: Arc<Self>,
        to: SocketAddrV6,
        enter: &'a (dyn Fn(Phase) + Sync),
    ) -> Dialling<'a> {
        Box::pin(async move { Ok(self.tunnel.connect(to, enter).await?.with_carrier(self)) })
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
            let to = SocketAddrV6::new(six, target.port, 0, 0);
            let mut patience = Patience::of(self.lasting);
            if self.node(members).is_none() {
                enter(Phase::Key(NETWORK));
            }
            loop {
                match self.entry(members, to, enter).await? {
                    Entry::Node(node) => return holder::Node::open(node, to, enter).await,
                    Entry::Elsewhere(visit, holder) => {
                        if let Some(opened) = visit.open(holder, &mut patience, enter).await {
                            return Ok(opened?.with_carrier(self.visits.clone()));
                        }
                    }
                }
            }
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
        let nodes: Vec<_> = self.nodes().values().filter_map(Weak::upgrade).collect();
        nodes.iter().any(|node| node.alone.is_held()) || Arc::strong_count(&self.visits) > 1
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

    /// We in a network, which begins where nothing of ours is in it yet, and this process
    /// may be the one.
    async fn entry(
        &self,
        members: &Arc<Members>,
        to: SocketAddrV6,
        enter: &(dyn Fn(Phase) + Sync),
    ) -> Result<Entry, DialError> {
        let _starting = self.starting.lock().await;
        if let Some(node) = self.node(members) {
            return Ok(Entry::Node(node));
        }
        let Identity { membership, machine, alone, is_borrowed } = self.identity(members).await?;
        let (machine, terms) = (Printable(&machine).to_string(), membership.terms());
        let alone = match alone {
            Ok(alone) => alone,
            Err(holder) => {
                let visit = Visit { network: NETWORK, to, terms, busy: Phase::Busy(machine) };
                return Ok(Entry::Elsewhere(visit, holder));
            }
        };
        if alone.is_contested {
            enter(Phase::Contested(NETWORK));
        }
        let node = Arc::new(start(membership, machine, alone, is_borrowed, enter).await?);
        holder::serve(&node.alone, &node, Offer { network: NETWORK, terms, lasting: self.lasting });
        self.nodes().insert(members.instance.clone(), Arc::downgrade(&node));
        Ok(Entry::Node(node))
    }

    /// We in a network, if something of ours is in it.
    fn node(&self, members: &Members) -> Option<Arc<Node>> {
        self.nodes().get(&members.instance).and_then(Weak::upgrade)
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, Weak<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first key that is a member's, and better one that no other process uses.
    async fn identity(&self, members: &Arc<Members>) -> Result<Identity, DialError> {
        let (source, members) = (self.source.clone(), members.clone());
        let finding = move || source.keys.find(&members, &source.vars);
        let found = tokio::task::spawn_blocking(finding).await;
        let none = || Err(MemberFailure::NoKey { instance: String::new() });
        found.unwrap_or_else(|_| none()).map_err(member)
    }
}

/// Becomes a member.
async fn start(
    membership: Membership,
    machine: String,
    alone: Hold,
    is_borrowed: bool,
    enter: &(dyn Fn(Phase) + Sync),
) -> Result<Node, DialError> {
    for address in &membership.addresses {
        if let Some(device) = overlay::device_with(*address) {
            let (address, device) = (*address, Printable(&device).to_string());
            return Err(member(MemberFailure::Runs { machine, address, device }));
        }
    }
    if is_borrowed {
        enter(Phase::Borrowing(machine));
    }
    let runtime =
        OwnRuntime::new("wireguard").map_err(|error| failed(DialFailure::from(&error)))?;
    let tunnel = Tunnel::start(&membership, &runtime, enter).await?;
    Ok(Node { tunnel, runtime, alone })
}

fn failed(failure: DialFailure) -> DialError {
    DialError::new(Stage::Bootstrap, failure)
}

fn member(failure: MemberFailure) -> DialError {
    failed(DialFailure::Member(Box::new(failure)))
}
