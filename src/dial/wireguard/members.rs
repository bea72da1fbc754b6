//! Who is in a clan's WireGuard network, as its public vars and settings say. Owns the
//! names of the vars (clan-core's `clanServices/wireguard`), which names only the network
//! resolves, and that nobody is believed about more than a local network.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use super::addresses::{PREFIX, controller_address, peer_address, prefix, suffix};
use super::key;
use crate::address;
use crate::error::MemberFailure;
use crate::model::{Clan, Host, Network, Service, VarRef};
use crate::overlay::Overlay;
use crate::printable::Printable;
use crate::tokens;
use crate::vars::Vars;

/// The service's name.
const SERVICE: &str = "wireguard";
/// Most members whose vars are read.
const MAX_MEMBERS: usize = 4096;
/// Longest of the vars, in bytes.
const MAX_VAR: usize = 256;
/// Longest name or address of a controller, in bytes.
const MAX_ENDPOINT: usize = 253;

/// A network before its vars are read: what the exports and the inventory say.
#[derive(Clone)]
pub(super) struct Outline {
    pub(super) instance: String,
    /// As the exports show it.
    pub(super) label: String,
    has_settings: bool,
    machines: Vec<Said>,
    /// Names that the network resolves, each with its machine.
    names: Vec<(String, String)>,
    /// Public vars of the document itself, for where the clan's are not here.
    kept: Vec<(VarRef, String)>,
}

/// What the settings say of a machine.
#[derive(Clone, Default)]
struct Said {
    machine: String,
    endpoint: Option<String>,
    port: Option<u16>,
    mtu: Option<u16>,
    controller: Option<String>,
    is_deployed: bool,
}

/// All members that the vars know.
pub(super) struct Members {
    pub(super) instance: String,
    /// Whether anything was said of settings.
    pub(super) has_settings: bool,
    pub(super) all: Vec<Member>,
}

/// A machine that the vars know.
pub(super) struct Member {
    pub(super) machine: String,
    pub(super) key: [u8; 32],
    pub(super) role: Role,
    /// Where it is reached, if it says.
    pub(super) endpoint: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) mtu: Option<u16>,
    /// The one that its name leads by.
    pub(super) controller: Option<String>,
    /// Whether the clan knows it at a place of its own, so that it runs there.
    pub(super) is_deployed: bool,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It leads to all others, and has a network.
    Controller {
        /// Its network.
        prefix: Ipv6Addr,
    },
    /// It has an address in the network of each controller.
    Peer {
        /// Their common end.
        suffix: u64,
    },
}

/// Whether a network is Clan's WireGuard.
fn is_ours(network: &Network) -> bool {
    network.service_name() == SERVICE
}

/// The vars that tell who a machine is in an instance.
fn vars_of(machine: &str, instance: &str) -> [Option<VarRef>; 3] {
    let var = |generator: &str, file: &str| {
        VarRef::new(machine, &format!("wireguard-{generator}-{instance}"), file).ok()
    };
    [var("keys", "publickey"), var("network", "prefix"), var("network", "suffix")]
}

/// The var with the key of a machine.
pub(super) fn key_of(machine: &str, instance: &str) -> Option<VarRef> {
    VarRef::new(machine, &format!("wireguard-keys-{instance}"), "privatekey").ok()
}

/// The public vars that being a member of this network takes; none of other networks.
pub(crate) fn public_vars(clan: &Clan, network: &Network) -> Vec<VarRef> {
    let Some(outline) = Outline::of(clan, network, &HashSet::new()) else { return Vec::new() };
    let instance = &outline.instance;
    let vars = outline.machines.iter().flat_map(|said| vars_of(&said.machine, instance));
    vars.flatten().collect()
}

impl Outline {
    /// Those of all networks that are Clan's WireGuard.
    pub(super) fn all(clan: &Clan) -> Vec<Self> {
        let mut networks = clan.networks.iter().filter(|it| is_ours(it)).peekable();
        let deployed = networks.peek().map(|_| deployed(clan)).unwrap_or_default();
        networks.filter_map(|network| Self::of(clan, network, &deployed)).collect()
    }

    fn of(clan: &Clan, network: &Network, deployed: &HashSet<&str>) -> Option<Self> {
        is_ours(network).then(|| {
            let service = clan.services().and_then(|services| {
                let is_it = |it: &&Service| it.name == SERVICE && it.instance == network.name;
                services.iter().find(is_it)
            });
            let of_service = service.into_iter().flat_map(|service| &service.members);
            let mut machines: Vec<Said> = Vec::new();
            for member in of_service {
                let endpoint = member.text("endpoint").and_then(endpoint);
                machines.push(Said {
                    machine: member.machine.clone(),
                    endpoint,
                    port: member.number("port").filter(|port| *port != 0),
                    mtu: member.number("mtu"),
                    controller: member.text("controller").map(str::to_owned),
                    is_deployed: false,
                });
            }
            let mut known: HashSet<String> =
                machines.iter().map(|said| said.machine.clone()).collect();
            for peer in &network.peers {
                if known.insert(peer.machine.clone()) {
                    machines.push(Said { machine: peer.machine.clone(), ..Said::default() });
                }
            }
            machines.truncate(MAX_MEMBERS);
            for said in &mut machines {
                said.is_deployed = deployed.contains(said.machine.as_str());
            }
            let kept = machines.iter().flat_map(|said| vars_of(&said.machine, &network.name));
            let kept = kept.flatten().filter_map(|var| {
                let value = clan.public_var(&var)?.to_owned();
                Some((var, value))
            });
            Self {
                instance: network.name.clone(),
                label: network.label.clone(),
                has_settings: service.is_some(),
                kept: kept.collect(),
                names: names(network, machines.iter().map(|said| said.machine.as_str())),
                machines,
            }
        })
    }

    /// The machine that a name of this network means.
    pub(super) fn machine_of(&self, name: &str) -> Option<&str> {
        let name = name.trim_end_matches('.');
        let found = self.names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    /// Whether vars can have the name of this network in theirs.
    pub(super) fn is_nameable(&self) -> bool {
        key_of("machine", &self.instance).is_some()
    }

    /// Reads the vars of all machines. One that has none, or broken ones, is left out.
    /// Blocks.
    pub(super) fn members(&self, vars: &Vars) -> Members {
        let text = |var: Option<VarRef>| -> Option<String> {
            let var = var?;
            let of_clan = vars.public_value(&var).ok().flatten();
            let of_clan = of_clan.and_then(|(bytes, _)| String::from_utf8(bytes).ok());
            let kept = || self.kept.iter().find(|(known, _)| *known == var);
            let text = of_clan.or_else(|| Some(kept()?.1.clone()))?;
            (text.len() <= MAX_VAR).then_some(text)
        };
        let member = |said: &Said| {
            let [key, network, end] = vars_of(&said.machine, &self.instance).map(text);
            let of_prefix = network.and_then(|text| prefix(&text).ok());
            let role = match of_prefix {
                Some(prefix) => Role::Controller { prefix },
                None => Role::Peer { suffix: suffix(&end?).ok()? },
            };
            Some(Member {
                machine: said.machine.clone(),
                key: key::public(&key?).ok()?,
                role,
                endpoint: said.endpoint.clone(),
                port: said.port,
                mtu: said.mtu,
                controller: said.controller.clone(),
                is_deployed: said.is_deployed,
            })
        };
        Members {
            instance: self.instance.clone(),
            has_settings: self.has_settings,
            all: self.machines.iter().filter_map(member).collect(),
        }
    }
}

/// `MACHINE.DOMAIN`, as the service exports it, and `MACHINE.INSTANCE`.
fn names<'a>(network: &Network, machines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let exported = network.peers.iter().flat_map(|peer| {
        let is_of = |host: &&str| {
            let rest = host.strip_prefix(peer.machine.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        let plain = peer.hosts.iter().filter_map(|host| match host {
            Host::Plain(text) => Some(text.as_str()),
            Host::Var(_) => None,
        });
        plain.filter(is_of).map(|host| (host.to_owned(), peer.machine.clone()))
    });
    let of_instance =
        machines.map(|machine| (format!("{machine}.{}", network.name), machine.to_owned()));
    exported.chain(of_instance).take(2 * MAX_MEMBERS).collect()
}

/// The machines that have an address in no overlay: they run somewhere.
fn deployed(clan: &Clan) -> HashSet<&str> {
    let is_place = |host: &Host| match host {
        Host::Plain(text) => {
            let address: Option<IpAddr> = text.parse().ok();
            address.is_none_or(|address| Overlay::of(address).is_none())
        }
        Host::Var(_) => false,
    };
    let networks = clan.networks.iter().filter(|it| !is_ours(it) && it.technology.is_direct());
    let peers = networks.flat_map(|network| &network.peers);
    let peers = peers.filter(|peer| peer.hosts.iter().any(is_place));
    let targets = clan.machines().into_iter().filter(|name| clan.target_host(name).is_some());
    peers.map(|peer| peer.machine.as_str()).chain(targets).collect()
}

/// A name or an address of a controller.
fn endpoint(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let fits = !text.is_empty() && text.len() <= MAX_ENDPOINT && tokens::unfit_host(text).is_none();
    let fits = fits && text.parse().map_or(true, address::is_a_hosts);
    fits.then(|| text.to_owned())
}

impl Members {
    /// The controllers, each with its network.
    pub(super) fn controllers(&self) -> impl Iterator<Item = (&Member, Ipv6Addr)> {
        self.all.iter().filter_map(|member| match member.role {
            Role::Controller { prefix } => Some((member, prefix)),
            Role::Peer { .. } => None,
        })
    }

    /// Whether a machine runs somewhere, as far as the clan tells.
    pub(super) fn is_deployed(&self, machine: &str) -> bool {
        self.all.iter().any(|member| member.machine == machine && member.is_deployed)
    }

    /// Whether an address is in one of their networks.
    pub(super) fn claims(&self, address: IpAddr) -> bool {
        let IpAddr::V6(address) = address else { return false };
        let differs = |prefix: Ipv6Addr| (prefix.to_bits() ^ address.to_bits()) >> (128 - PREFIX);
        self.controllers().any(|(_, prefix)| differs(prefix) == 0)
    }

    /// The addresses of a machine: a peer's is in the network of the controller that it
    /// names, or of every one.
    ///
    /// # Errors
    /// When the vars do not tell them.
    pub(super) fn addresses(&self, machine: &str) -> Result<Vec<Ipv6Addr>, MemberFailure> {
        let missing = |var: &str, why: &str| MemberFailure::BadVar {
            var: format!("{var} of machine {}", Printable(machine)),
            why: why.to_owned(),
        };
        let Some(member) = self.all.iter().find(|member| member.machine == machine) else {
            let generator = format!("wireguard-network-{}", Printable(&self.instance));
            return Err(missing(&generator, "neither a prefix nor a suffix can be read there"));
        };
        let suffix = match member.role {
            Role::Controller { prefix } => return Ok(vec![controller_address(prefix)]),
            Role::Peer { suffix } => suffix,
        };
        let named = |(controller, _): &(&Member, Ipv6Addr)| {
            member.controller.as_ref().is_none_or(|name| *name == controller.machine)
        };
        let addresses: Vec<Ipv6Addr> = self
            .controllers()
            .filter(named)
            .map(|(_, prefix)| peer_address(prefix, suffix))
            .collect();
        match addresses.is_empty() {
            true => {
                Err(MemberFailure::NoController { instance: Printable(&self.instance).to_string() })
            }
            false => Ok(addresses),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use data_encoding::BASE64;

    use super::*;
    use crate::model::{Member as InRole, Setting};
    use crate::prompter::Nobody;
    use crate::secret::Secret;
    use crate::vars::Environment;

    const EXPORTS: &str = r#"{
        "clan-core/wireguard:vpn::": {"networking": {"module": "clan_lib.network.direct"}},
        "clan-core/wireguard:vpn:controller:one": {"peer": {"hosts": [{"plain": "one.lab.example"}]}},
        "clan-core/wireguard:vpn:controller:two": {"peer": {"hosts": [{"plain": "two.lab.example"}]}},
        "clan-core/wireguard:vpn:peer:admin": {"peer": {"hosts": [{"plain": "admin.lab.example"}]}},
        "clan-core/wireguard:vpn:peer:web": {"peer": {"hosts": [{"plain": "web.lab.example"}]}},
        "clan-core/internet:net::": {"networking": {"module": "clan_lib.network.direct"}},
        "clan-core/internet:net:default:web": {"peer": {"hosts": [{"plain": "web.example"}]}}
    }"#;

    fn clan() -> Clan {
        let mut clan = Clan::parse("x", EXPORTS.as_bytes()).unwrap();
        let member = |machine: &str, role: &str, settings: &[(&str, Setting)]| InRole {
            machine: machine.to_owned(),
            role: role.to_owned(),
            settings: settings.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect(),
        };
        let text = |text: &str| Setting::Text(text.to_owned());
        clan.set_services(vec![Service {
            instance: "vpn".to_owned(),
            name: "wireguard".to_owned(),
            members: vec![
                member("one", "controller", &[("endpoint", text("one.example"))]),
                member(
                    "two",
                    "controller",
                    &[("endpoint", text("192.0.2.2")), ("port", Setting::Number(7))],
                ),
                member("admin", "peer", &[("mtu", Setting::Number(1380))]),
                member("web", "peer", &[("controller", text("two"))]),
            ],
        }]);
        let public = |byte| BASE64.encode(&key::public_of(&Secret::new([byte; 32])));
        for (machine, generator, file, value) in [
            ("one", "keys", "publickey", public(1)),
            ("one", "network", "prefix", "fd11:0:0:100".to_owned()),
            ("two", "keys", "publickey", public(2)),
            ("two", "network", "prefix", "fd11:0:0:200".to_owned()),
            ("admin", "keys", "publickey", public(3)),
            ("admin", "network", "suffix", "0:0:a:1".to_owned()),
            ("web", "keys", "publickey", public(4)),
            ("web", "network", "suffix", "0:0:b:2".to_owned()),
        ] {
            let var = VarRef::new(machine, &format!("wireguard-{generator}-vpn"), file).unwrap();
            clan.set_public_var(var, value);
        }
        clan
    }

    fn vars(flake: Option<&std::path::Path>) -> Vars {
        let flake = flake.map(std::path::Path::to_owned);
        Vars::new(flake, Vec::new(), Environment::default(), Arc::new(Nobody))
    }

    pub(in crate::dial::wireguard) fn outline(clan: &Clan) -> Outline {
        Outline::all(clan).into_iter().next().unwrap()
    }

    /// Two controllers, an admin and a machine; their keys are bytes 1 to 4.
    pub(in crate::dial::wireguard) fn members() -> Members {
        outline(&clan()).members(&vars(None))
    }

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn names_of_the_network_mean_its_machines_and_their_addresses() {
        let outline = outline(&clan());
        for (name, machine) in [
            ("web.lab.example", Some("web")),
            ("WEB.lab.example.", Some("web")),
            ("web.vpn", Some("web")),
            ("one.vpn", Some("one")),
            ("web.example", None),
            ("web", None),
            ("other.vpn", None),
        ] {
            assert_eq!(outline.machine_of(name), machine, "{name}");
        }
        let members = members();
        assert_eq!(members.addresses("one"), Ok(vec![ip("fd11:0:0:100::1")]));
        assert_eq!(members.addresses("web"), Ok(vec![ip("fd11:0:0:200::b:2")]));
        // It names no controller.
        let both = vec![ip("fd11:0:0:100::a:1"), ip("fd11:0:0:200::a:1")];
        assert_eq!(members.addresses("admin"), Ok(both));
        assert!(members.addresses("other").is_err());
        assert!(members.claims(ip("fd11:0:0:1ff::9").into()));
        assert!(!members.claims(ip("fd11:0:0:300::9").into()));
        assert!(!members.claims("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn other_networks_are_none_of_ours() {
        let clan = clan();
        let net = clan.network("net").unwrap();
        assert!(public_vars(&clan, net).is_empty());
        let all = Outline::all(&clan);
        assert_eq!(all.iter().map(|it| &*it.instance).collect::<Vec<_>>(), ["vpn"]);
        let named: Vec<String> = public_vars(&clan, clan.network("vpn").unwrap())
            .iter()
            .map(|var| format!("{} {var}", var.machine()))
            .collect();
        assert_eq!(named.len(), 12);
        assert_eq!(named[0], "one wireguard-keys-vpn/publickey");
    }

    #[test]
    fn vars_of_the_clan_come_before_those_that_were_kept_and_broken_ones_cost_one_member() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join("vars/per-machine").join(path).join("value");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("web/wireguard-network-vpn/suffix", "0:0:c:3\n");
        write("two/wireguard-network-vpn/prefix", "2001:db8:1:200");
        let members = outline(&clan()).members(&vars(Some(dir.path())));
        assert!(members.addresses("web").is_err(), "its controller's network is not to be had");
        assert!(!members.claims("2001:db8:1:200::1".parse().unwrap()));
        let web = members.all.iter().find(|member| member.machine == "web").unwrap();
        assert_eq!(web.role, Role::Peer { suffix: 0xc_0003 });
        assert_eq!(members.controllers().count(), 1);
    }
}
