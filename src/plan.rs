//! From a clan and a machine to the routes worth trying, best first. Owns the
//! order and the overrides of the command line. Pure: it reveals no var, asks
//! no resolver and does not know which technologies this build can dial.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::address;
use crate::error::{Error, Result};
pub use crate::model::TargetHost;
use crate::model::{Clan, Host, Network, Peer, Technology};
use crate::nearest::nearest;
use crate::printable::Printable;

/// The network name of the one route that `--target-host` makes.
pub const TARGET_HOST: &str = "target-host";

/// The network name of the route to a machine's `deploy.targetHost`.
pub const INVENTORY: &str = "inventory";

/// The network name of the route to the `targetHost` in a machine's own
/// configuration.
pub const CONFIGURATION: &str = "configuration";

/// Whom Clan logs in as where nothing else is said.
pub const DEFAULT_USER: &str = "root";

/// SSH's port (RFC 4253, section 4.1).
pub const DEFAULT_PORT: u16 = 22;

/// Most names that an error lists.
const MAX_KNOWN: usize = 100;

/// One way to try.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Route {
    /// The network as it is shown, unambiguous within the clan.
    pub network: String,
    /// How to dial.
    pub technology: Technology,
    /// Where; a plain host holds neither user nor port any more.
    pub host: Host,
    /// The port of the SSH server.
    pub port: u16,
    /// The login name.
    pub user: String,
    /// The network's priority, higher first.
    pub priority: i64,
}

/// What the command line says against the clan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--network`: only this one; see [`Network::answers_to`].
    pub network: Option<String>,
    /// `--target-host`: only this address, whatever the clan says.
    pub target_host: Option<TargetHost>,
    /// `-l`: the login name on every route.
    pub user: Option<String>,
    /// `-p`: the port on every route.
    pub port: Option<u16>,
    /// Whom to log in as where the clan does not say, as ssh_config(5) has it.
    pub default_user: Option<String>,
    /// The port where the clan does not say.
    pub default_port: Option<u16>,
}

impl Route {
    /// The route straight to an address, shown as `network`: over Tor if it is
    /// an onion service, else direct. Its priority is the highest there is.
    pub fn to(target: &TargetHost, network: &str, overrides: &Overrides) -> Self {
        let user = overrides.user.as_deref().or(target.user.as_deref());
        let user = user.or(overrides.default_user.as_deref());
        let port = overrides.port.or(target.port).or(overrides.default_port);
        Self {
            network: network.to_owned(),
            technology: Technology::of_host(&target.host),
            host: Host::Plain(address::canonical(&target.host)),
            port: port.unwrap_or(DEFAULT_PORT),
            user: user.unwrap_or(DEFAULT_USER).to_owned(),
            priority: i64::MAX,
        }
    }

    /// The route to the address in a machine's own configuration, which is tried
    /// after all networks.
    pub fn configured(target: &TargetHost, overrides: &Overrides) -> Self {
        Self { priority: i64::MIN, ..Self::to(target, CONFIGURATION, overrides) }
    }

    /// Its host as it may be shown before anybody has looked: one that is as good as a
    /// credential may lie open in the exports.
    pub fn shown_host(&self) -> String {
        match &self.host {
            Host::Plain(_) if self.technology.hides_hosts() => "<secret>".to_owned(),
            host => host.to_string(),
        }
    }

    fn through(network: &Network, peer: &Peer, host: &Host, overrides: &Overrides) -> Self {
        // People also write `user@host:port` into a clan; the exports refuse
        // what does not parse, so the fallback is for clans built by hand.
        let target = match host {
            Host::Plain(text) => TargetHost::read(text, |_| false).ok(),
            Host::Var(_) => None,
        };
        let (host, user, port) = match target {
            Some(target) => {
                (Host::Plain(address::canonical(&target.host)), target.user, target.port)
            }
            None => (host.clone(), None, None),
        };
        // A name that is another technology's must not be asked of the DNS.
        let of_host = match &host {
            Host::Plain(name) if network.technology.is_direct() => Some(Technology::of_host(name)),
            _ => None,
        };
        let technology = of_host.filter(|of_host| !of_host.is_direct());
        let technology = technology.unwrap_or_else(|| network.technology.clone());
        let user = overrides.user.clone().or(user).or_else(|| peer.user.clone());
        let user = user.or_else(|| overrides.default_user.clone());
        Self {
            network: network.label.clone(),
            technology,
            host,
            port: overrides.port.or(port).unwrap_or(peer.port),
            user: user.unwrap_or_else(|| DEFAULT_USER.to_owned()),
            priority: network.priority,
        }
    }
}

/// The routes to `machine`: the inventory's `targetHost` first, as Clan has it
/// (`clan_lib/network/network.py`), but not as the last word; then by priority,
/// highest first, ties in the order of the exports, the hosts of a peer in
/// theirs; the `targetHost` of the machine's configuration last, if it is known;
/// never empty, nothing twice.
/// With a target host it is the only route, and the clan need not know the machine.
/// A network's name that several services share keeps all of them.
///
/// # Errors
/// [`Error::UnknownMachine`] and [`Error::UnknownNetwork`] with the nearest
/// known name; [`Error::NoRoute`] when the machine exists but no address is
/// left; [`Error::Usage`] when the overrides contradict each other or the port is 0.
pub fn plan(clan: &Clan, machine: &str, overrides: &Overrides) -> Result<Vec<Route>> {
    if overrides.port == Some(0) {
        return Err(Error::Usage("the port is not a number from 1 to 65535".into()));
    }
    if let Some(target) = &overrides.target_host {
        return match overrides.network {
            None => Ok(vec![Route::to(target, TARGET_HOST, overrides)]),
            Some(_) => Err(Error::Usage(
                "a network and a target host cannot be used together: name one of them".into(),
            )),
        };
    }
    if !clan.knows(machine) {
        return Err(unknown_machine(clan, machine));
    }
    let mut networks: Vec<&Network> = clan.networks.iter().collect();
    if let Some(name) = &overrides.network {
        networks.retain(|network| network.answers_to(name));
        let is_inventory = name == INVENTORY && clan.target_host(machine).is_some();
        if networks.is_empty() && !is_inventory {
            return Err(no_network(clan, machine, name));
        }
    }
    let found: Vec<_> = peers(sorted(networks).into_iter(), machine).collect();
    routes(clan, machine, &found, overrides)
}

/// The routes to each machine of a clan, as [`plan`] has them without overrides. Looks at
/// every peer once, however many machines there are.
pub fn plans(clan: &Clan) -> impl Iterator<Item = (&str, Result<Vec<Route>>)> {
    let mut found: HashMap<&str, Vec<Found<'_>>> = HashMap::new();
    for network in sorted(clan.networks.iter().collect()) {
        for peer in &network.peers {
            found.entry(&peer.machine).or_default().push((network, peer));
        }
    }
    clan.machines().into_iter().map(move |machine| {
        let found = found.remove(machine).unwrap_or_default();
        (machine, routes(clan, machine, &found, &Overrides::default()))
    })
}

/// A machine's place in a network.
type Found<'a> = (&'a Network, &'a Peer);

fn sorted(mut networks: Vec<&Network>) -> Vec<&Network> {
    networks.sort_by_key(|network| Reverse(network.priority));
    networks
}

/// The routes to a machine that was found in these networks.
fn routes(
    clan: &Clan,
    machine: &str,
    found: &[Found<'_>],
    overrides: &Overrides,
) -> Result<Vec<Route>> {
    let mut seen = HashSet::new();
    let mut routes = Vec::new();
    let named = overrides.network.as_deref();
    if let Some(target) = clan.target_host(machine)
        && named.is_none_or(|name| name == INVENTORY)
    {
        routes.push(Route::to(target, INVENTORY, overrides));
    }
    for (network, peer) in found {
        for host in &peer.hosts {
            let route = Route::through(network, peer, host, overrides);
            if seen.insert(route.clone()) {
                routes.push(route);
            }
        }
    }
    if let Some(Some(target)) = clan.configured_host(machine)
        && named.is_none()
    {
        routes.push(Route::configured(target, overrides));
    }
    if routes.is_empty() {
        let reason = no_route(clan, machine, found, named);
        return Err(Error::NoRoute { machine: machine.to_owned(), reason });
    }
    Ok(routes)
}

fn peers<'a>(
    networks: impl Iterator<Item = &'a Network>,
    machine: &str,
) -> impl Iterator<Item = Found<'a>> {
    networks.flat_map(move |network| {
        let peers = network.peers.iter().filter(move |peer| peer.machine == machine);
        peers.map(move |peer| (network, peer))
    })
}

/// The error for a machine that the clan does not know.
pub(crate) fn unknown_machine(clan: &Clan, machine: &str) -> Error {
    let known = clan.machines();
    Error::UnknownMachine {
        machine: machine.to_owned(),
        empty: clan.origin().filter(|_| known.is_empty()).map(str::to_owned),
        nearest: nearest(machine, &known).map(str::to_owned),
        known: listed(&known),
    }
}

/// The error for the network of this name, which cannot lead to the machine.
fn no_network(clan: &Clan, machine: &str, network: &str) -> Error {
    match clan.problem_of_network(network) {
        Some(problem) => {
            Error::NoRoute { machine: machine.to_owned(), reason: problem.to_string() }
        }
        None => unknown_network(clan, network),
    }
}

/// The error for a network that the clan does not have.
pub(crate) fn unknown_network(clan: &Clan, network: &str) -> Error {
    let known: Vec<&str> = clan.networks.iter().map(|network| network.label.as_str()).collect();
    Error::UnknownNetwork {
        network: network.to_owned(),
        nearest: nearest(network, &known).map(str::to_owned),
        known: listed(&known),
    }
}

/// Why there is no route although the machine is known: what is malformed comes
/// last, because it may be the cause of all the rest.
fn no_route(clan: &Clan, machine: &str, kept: &[Found<'_>], chosen: Option<&str>) -> String {
    let mut reasons = Vec::new();
    let hostless = labels(kept.iter().copied());
    if !hostless.is_empty() {
        reasons.push(format!("no host for it in {}", hostless.join(", ")));
    } else if let Some(chosen) = chosen {
        let elsewhere = labels(peers(clan.networks.iter(), machine));
        if !elsewhere.is_empty() {
            let (chosen, elsewhere) = (Printable(chosen), elsewhere.join(", "));
            reasons.push(format!("it is not in \"{chosen}\" but in {elsewhere}"));
        }
    }
    let mut problems = clan.problems_of(machine);
    match problems.next() {
        Some(problem) => {
            let more = problems.count();
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            reasons.push(format!("{problem}{more}"));
        }
        None if reasons.is_empty() => reasons.push("it is in no network of the clan".into()),
        None => {}
    }
    reasons.join("; ")
}

fn labels<'a>(peers: impl Iterator<Item = Found<'a>>) -> Vec<String> {
    let mut labels: Vec<&str> = peers.map(|(network, _)| network.label.as_str()).collect();
    labels.dedup();
    listed(&labels)
}

fn listed(names: &[&str]) -> Vec<String> {
    names.iter().take(MAX_KNOWN).map(|name| Printable(name).to_string()).collect()
}

#[cfg(test)]
mod tests;
