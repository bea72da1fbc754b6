//! Where a destination is: over the networks of the clan, at an installer's
//! addresses, or at the host itself. Owns which of them counts, and everything that
//! only the clan can say of its machine.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::address;
use crate::cli::clan::short_hash;
use crate::cli::invocation::{Destination, Invocation};
use crate::cli::{Global, Ui};
use crate::connect::LastResort;
use crate::dial::{OfClan, wireguard};
use crate::error::{Error, NoRoute, Result};
use crate::flake::{self, Step, nix, snapshot};
use crate::installer::Installer;
use crate::model::{Clan, HostKeys, KeptHosts};
use crate::openssh::Resolved;
use crate::overlay;
use crate::plan::{Overrides, Route, TargetHost, plan};
use crate::printable::Printable;
use crate::secret::Secret;
use crate::ssh::known_hosts::{DEFAULT_PORT, Name};

/// The network's name of a host in no network of a clan.
pub(in crate::cli) const DIRECT: &str = "direct";
/// That of an address in ssh_config(5) for a machine that the clan has none for.
const CONFIGURED: &str = "ssh_config";

/// What is known of a destination.
#[derive(Default)]
pub(in crate::cli) struct Found {
    pub(in crate::cli) routes: Vec<Route>,
    /// Why there are no routes, if there are none.
    pub(in crate::cli) no_route: Option<NoRoute>,
    pub(in crate::cli) last_resort: Option<LastResort>,
    /// Whether the clan, or an installer, leads there.
    pub(in crate::cli) is_machine: bool,
    /// Whether it could be a machine, and the clan that would know cannot be read.
    pub(in crate::cli) may_be_machine: bool,
    /// Whether the clan has networks for it, of which one may be remembered.
    pub(in crate::cli) is_in_networks: bool,
    /// What the clan says of its host keys.
    pub(in crate::cli) of_clan: Option<HostKeys>,
    /// All names of the machine, if it is one of a clan.
    pub(in crate::cli) identity: Vec<Name>,
    /// The name that its key is remembered under, if that is not its own.
    pub(in crate::cli) kept_as: Option<Name>,
    pub(in crate::cli) password: Option<Secret<String>>,
    /// What the clan says that ways into its networks need.
    pub(in crate::cli) ways: OfClan,
    /// Whether a host that is no machine's name is in a network of the clan, into which the
    /// clan's vars may lead.
    pub(in crate::cli) is_in_clans_network: bool,
    /// What a snapshot itself has of the hosts.
    pub(in crate::cli) known: KeptHosts,
}

/// Finds it. Blocks, for long if nix has to be asked.
pub(in crate::cli) fn find(
    invocation: &Invocation,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Found> {
    match &invocation.destination {
        Destination::Installer(origin, json) => {
            let installer = Installer::parse(origin, json.expose(), &invocation.overrides)?;
            let Installer { routes, password, warnings } = installer;
            warnings.iter().for_each(|warning| ui.warning(warning));
            Ok(Found { routes, password, is_machine: true, ..Found::default() })
        }
        Destination::Machine => {
            // An address on the command line needs no clan.
            let clan = match (&invocation.overrides.target_host, &global.exports) {
                (Some(_), None) => Clan::default(),
                _ => global.clan(ui)?,
            };
            ui.problems(&clan);
            let networks = wireguard::Networks::of(&clan);
            let name = invocation.name();
            let by_name = networks.machine_of(name).filter(|_| !clan.knows(name));
            let machine = by_name.unwrap_or(name);
            let mut found = of_machine(&clan, machine, invocation, global, ui)?;
            if let (Some(target), None) = (&invocation.overrides.target_host, &global.exports)
                && needs_way(&target.host)
            {
                found.ways = ways_of_clan(invocation.name(), global, ui);
            }
            Ok(found)
        }
        Destination::Host => of_host(invocation, global, ui),
    }
}

/// Whether only a node of our own leads to a host: it is an address of an overlay that
/// this computer is not in.
fn needs_way(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    address.is_some_and(|address| overlay::is_running(address) == Some(false))
}

/// What the clan says that leads into its networks, if there is a clan. It is asked for
/// nothing else: the address has been named.
fn ways_of_clan(machine: &str, global: &Global, ui: &Arc<Ui>) -> OfClan {
    match global.clan(ui) {
        Ok(clan) => OfClan::of(&clan, Some(machine)),
        Err(error) => {
            ui.verbose(&format!("the clan is not used to reach the host: {error}"));
            OfClan::default()
        }
    }
}

/// What the clan says that leads to a host which is no machine's name: an address of an
/// overlay that this computer is not in, or a name that only the clan's network resolves. The
/// clan is one that may be used for its machines as well.
fn ways_to_host(resolved: &Resolved, global: &Global, ui: &Arc<Ui>) -> Option<OfClan> {
    let host = resolved.host_name.as_str();
    let is_led = resolved.proxy_command().is_some() || !resolved.jumps().is_empty();
    // A reference would be fetched for each connection, and standard input is the session's.
    let is_dear =
        global.exports.as_ref().map_or(global.remote().is_some(), |it| it.as_os_str() == "-");
    // A clan that the user only stands in has no say about other hosts.
    let is_unnamed =
        global.exports.is_none() && (global.stood_in().is_some() || global.site().is_err());
    if is_led || is_dear || is_unnamed {
        return None;
    }
    if needs_way(host) {
        return Some(ways_of_clan(host, global, ui));
    }
    let is_address = address::parse(host.trim_matches(['[', ']'])).is_some();
    // Nobody waits for nix because of a name that is most likely some other host's.
    let clan = global.last_known().filter(|_| !is_address)?;
    let ways = OfClan::of(&clan, None);
    ways.wireguard.machine_of(host).is_some().then_some(ways)
}

/// A host as ssh(1) has it, which may be a machine of a clan that the user has named.
fn of_host(invocation: &Invocation, global: &Global, ui: &Arc<Ui>) -> Result<Found> {
    let routes = direct(&invocation.resolved, None);
    let Some(clan) = clan_of(&invocation.resolved, global, ui)? else {
        let ways = ways_to_host(&invocation.resolved, global, ui);
        let is_in_clans_network = ways.is_some();
        let ways = ways.unwrap_or_default();
        return Ok(Found { routes, ways, is_in_clans_network, ..Found::default() });
    };
    let name = invocation.name();
    if let Ok(clan) = &clan
        && let Some(machine) = spelled(&clan.machines(), name)?
    {
        return of_machine(clan, &machine, invocation, global, ui);
    }
    // In no network, or the clan cannot say: its files may know the machine's key.
    let known = global.vars(ui)?.machines();
    let names: Vec<&str> = known.iter().flatten().map(String::as_str).collect();
    let machine = spelled(&names, name)?;
    let trouble = clan.as_ref().err().or(known.as_ref().err());
    if let Some(error) = trouble {
        let name = Printable(name);
        ui.warning(&match &machine {
            Some(_) => format!("{name} is dialled directly, the clan cannot be read: {error}"),
            None => format!("whether {name} is a machine of the clan cannot be told: {error}"),
        });
    }
    match machine {
        Some(machine) => Ok(Found {
            routes,
            is_machine: true,
            of_clan: global.host_keys(&machine, clan.as_ref().ok(), ui)?,
            kept_as: global.kept_as(&machine),
            identity: vec![(machine, DEFAULT_PORT)],
            ..Found::default()
        }),
        None => Ok(Found { routes, may_be_machine: trouble.is_some(), ..Found::default() }),
    }
}

/// The machine that a host is. Names of hosts have no case, but those of machines do.
fn spelled(machines: &[&str], name: &str) -> Result<Option<String>> {
    if machines.contains(&name) {
        return Ok(Some(name.to_owned()));
    }
    let mut alike = machines.iter().filter(|known| known.eq_ignore_ascii_case(name));
    match (alike.next(), alike.next()) {
        (Some(one), Some(other)) => {
            let [name, one, other] = [name, one, other].map(|name| Printable(name).to_string());
            let why = format!(
                "{name} can mean the machines {one} and {other} of the clan: write one of these \
                 names"
            );
            Err(Error::Usage(why))
        }
        (one, _) => Ok(one.map(|&one| one.to_owned())),
    }
}

fn of_machine(
    clan: &Clan,
    machine: &str,
    invocation: &Invocation,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Found> {
    let overrides = &invocation.overrides;
    let last_resort = configuration(clan, machine, overrides, global, ui);
    let (routes, no_route) = match plan(clan, machine, overrides) {
        Ok(routes) => (routes, None),
        Err(Error::NoRoute { machine, reason }) => {
            let configured = configured(&invocation.resolved, overrides);
            // Its own configuration may still say where it is.
            if configured.is_none() && last_resort.is_none() {
                return Err(Error::NoRoute { machine, reason });
            }
            (configured.into_iter().collect(), Some(reason))
        }
        Err(error) => return Err(error),
    };
    let known = clan.kept_hosts(routes.iter().map(|route| &route.host));
    let identity = global.identity(machine, clan, ui)?;
    // Where there is no clan, there is but the address.
    let kept_as = global.kept_as(machine).filter(|_| !identity.is_empty());
    Ok(Found {
        routes,
        no_route,
        last_resort,
        is_machine: true,
        may_be_machine: false,
        is_in_networks: overrides.target_host.is_none(),
        of_clan: global.host_keys(machine, Some(clan), ui)?,
        identity,
        kept_as,
        password: None,
        ways: OfClan::of(clan, Some(machine)),
        known,
        is_in_clans_network: false,
    })
}

/// The host of the name itself, in no network of a clan.
pub(in crate::cli) fn direct(resolved: &Resolved, user: Option<String>) -> Vec<Route> {
    let target = TargetHost {
        user: user.or_else(|| Some(resolved.user.clone())),
        host: resolved.host_name.clone(),
        port: Some(resolved.port),
        options: Vec::new(),
    };
    vec![Route::to(&target, DIRECT, &Overrides::default())]
}

/// What HostName says, where the clan says nothing.
fn configured(resolved: &Resolved, overrides: &Overrides) -> Option<Route> {
    let named = resolved.has_other_name() && overrides.network.is_none();
    let (host, options) = (resolved.host_name.clone(), Vec::new());
    let port = resolved.options.port.map(NonZeroU16::get);
    let target = TargetHost { user: None, host, port, options };
    named.then(|| Route::to(&target, CONFIGURED, overrides))
}

/// Where Clan looks last: the configuration of the machine itself, if nix can be
/// asked and has not been yet.
fn configuration(
    clan: &Clan,
    machine: &str,
    overrides: &Overrides,
    global: &Global,
    ui: &Arc<Ui>,
) -> Option<LastResort> {
    let is_open = overrides.network.is_none() && overrides.target_host.is_none();
    if !is_open || !clan.knows(machine) || clan.configured_host(machine).is_some() {
        return None;
    }
    let flake = match &global.exports {
        Some(_) => return None,
        None => global.site().ok().filter(|flake| !flake.stands_alone())?,
    };
    nix::program(&global.env)?;
    let (ui, machine, overrides) = (ui.clone(), machine.to_owned(), overrides.clone());
    Some(Arc::new(move || {
        let mut step = |_: Step| ui.evaluating();
        let target = flake::configured_host(&flake, &machine, &mut step)?;
        Ok(target.map(|target| Route::configured(&target, &overrides)))
    }))
}

/// The clan that a host may be a machine of, if there is one and nothing else is said
/// of the host; or why it cannot be read.
fn clan_of(resolved: &Resolved, global: &Global, ui: &Arc<Ui>) -> Result<Option<Result<Clan>>> {
    match asked(resolved, global)? {
        Asked::Clan => Ok(Some(global.clan(ui))),
        Asked::Nobody => Ok(None),
        Asked::Refused(error) => {
            ui.verbose(&format!("{error}; to allow it: clan-connect trust-clan"));
            Ok(None)
        }
    }
}

/// What to say of a host that has no address, where a clan of the user's own is left aside
/// that seems to have a machine of that name. None of its files is read.
pub(in crate::cli) fn clan_left_aside(resolved: &Resolved, global: &Global) -> Option<String> {
    match asked(resolved, global) {
        Ok(Asked::Refused(error @ Error::ClanRefused { is_strangers: false, .. })) => {
            let Error::ClanRefused { dir, .. } = &error else { return None };
            let name = &resolved.original_host;
            let below = |place: &str| dir.join(place).join(name);
            let signs = [below("machines"), below("vars/per-machine"), dir.join(snapshot::NAME)];
            if !signs.iter().any(|sign| sign.exists()) {
                return None;
            }
            let hint = error.hint().into_iter().next()?;
            Some(format!("{error}\nhint: {hint}"))
        }
        _ => None,
    }
}

/// Who is asked for a host.
enum Asked {
    Clan,
    Nobody,
    /// Nobody, because the clan must not be used.
    Refused(Error),
}

fn asked(resolved: &Resolved, global: &Global) -> Result<Asked> {
    let name = &resolved.original_host;
    if name.contains(['.', ':', '/']) || resolved.has_other_name() {
        return Ok(Asked::Nobody);
    }
    let site = global.exports.is_none().then(|| global.site()).transpose();
    match site {
        Ok(_) => Ok(Asked::Clan),
        // What was named is not left aside in silence.
        Err(error) if global.named().is_some() => Err(error),
        // Where there is no clan there is nothing to say.
        Err(Error::FlakeNotFound { .. } | Error::System { .. }) => Ok(Asked::Nobody),
        Err(error @ Error::ClanRefused { .. }) => Ok(Asked::Refused(error)),
        Err(error) => Err(error),
    }
}

/// With whom a connection may be shared.
pub(in crate::cli) enum Scope {
    /// With whoever asks for the host, as by OpenSSH.
    Host,
    /// With whoever asks for the same machine of the same clan; what is in the socket's
    /// name for it.
    Machine(String),
    /// With nobody: what it would be told from others by is not there any more.
    Nobody,
}

/// What tells a machine of a clan, or an installer, from whatever has the same name
/// elsewhere.
pub(in crate::cli) fn scope(invocation: &Invocation, global: &Global) -> Result<Scope> {
    let source = match &invocation.destination {
        Destination::Installer(_, json) => Some(json.expose().clone()),
        Destination::Host if !matches!(asked(&invocation.resolved, global)?, Asked::Clan) => {
            return Ok(Scope::Host);
        }
        Destination::Machine | Destination::Host => global.source(),
    };
    let Some(source) = source else { return Ok(Scope::Nobody) };
    let Overrides { network, target_host, .. } = &invocation.overrides;
    let said = (network, target_host, invocation.host_key_check);
    // As it is written: two machines may differ in case alone.
    let name = invocation.name();
    Ok(Scope::Machine(short_hash(&format!("{source}\0{name}\0{said:?}"))))
}
