//! `Reader`: entries in, a [`Clan`] out. Owns which peer belongs to which
//! network and what becomes of an entry that cannot be used: it is set aside
//! with a reason, and everything else still counts.

use std::collections::HashMap;

use serde_json::Value;

use super::field::{self, Fault};
use super::shape::{Entry, Key, Object, kind};
use crate::printable::Printable;

use crate::error::Error;
use crate::model::{Clan, Host, Network, Peer, Technology};

/// Most peers of all networks together.
const MAX_PEERS: usize = 1_000_000;

/// Most problems and most warnings that are kept; more help nobody.
const MAX_NOTES: usize = 10_000;

/// Service (if known) and instance, which together name a network.
type Id<'a> = (Option<&'a str>, &'a str);

/// Where an entry is, for the message about it.
#[derive(Clone, Copy)]
struct Location<'a> {
    key: &'a str,
    /// The dotted path inside the entry, with a trailing dot if not empty.
    prefix: &'a str,
}

struct Reader<'a> {
    /// Where the document came from, for messages.
    origin: String,
    clan: Clan,
    networks: HashMap<Id<'a>, usize>,
    broken: HashMap<Id<'a>, Option<usize>>,
    peers: usize,
}

/// Reads all entries; `origin` names the document in messages.
///
/// # Errors
/// The reason why the document as a whole is refused: too many peers.
pub(super) fn read(origin: &str, entries: &[Entry<'_>]) -> Result<Clan, String> {
    let mut reader = Reader {
        origin: Printable(origin).to_string(),
        clan: Clan::default(),
        networks: HashMap::new(),
        broken: HashMap::new(),
        peers: 0,
    };
    // Networks first: a peer may come before its network in a file.
    for entry in entries {
        reader.networking(entry)?;
    }
    for entry in entries {
        reader.scoped_peer(entry)?;
    }
    Ok(reader.finish())
}

impl<'a> Reader<'a> {
    fn networking(&mut self, entry: &Entry<'a>) -> Result<(), String> {
        let Some(map) = self.object(entry) else { return Ok(()) };
        let nested = field::present(map, "networking");
        let (id, machine) = match entry.key {
            Key::Scope { service, instance, machine } => {
                ((Some(service).filter(|service| !service.is_empty()), instance), machine)
            }
            Key::Instance(instance) => ((None, instance), ""),
        };
        let place = match (entry.key, nested) {
            (_, Some(_)) => Location { key: entry.text, prefix: "networking." },
            (Key::Scope { .. }, None) => return Ok(()),
            (Key::Instance(_), None) => Location { key: entry.text, prefix: "" },
        };
        let map = match nested {
            None => map,
            Some(Value::Object(map)) => map,
            Some(_) if !entry.certain => return Ok(()),
            Some(other) => {
                let reason = format!("expected an object, found {}", kind(other));
                let problem = self.problem(entry.text, Fault::new("networking", reason));
                self.broken.entry(id).or_insert(problem);
                return Ok(());
            }
        };
        if !machine.is_empty() {
            self.warn(entry.text, "networking of a single machine is ignored");
            return Ok(());
        }
        // `"blabla": {}`: an instance that exports nothing.
        let fields = ["priority", "module", "peers"];
        if matches!(entry.key, Key::Instance(_))
            && fields.iter().all(|name| field::present(map, name).is_none())
        {
            return Ok(());
        }
        self.network(id, place, map)
    }

    fn network(&mut self, id: Id<'a>, place: Location<'_>, map: &'a Object) -> Result<(), String> {
        let read =
            id.0.map_or(Ok(()), field::check_name)
                .and_then(|()| field::check_name(id.1))
                .map_err(|reason| Fault::new("key", reason))
                .and_then(|()| field::network(map).map_err(|fault| fault.under(place.prefix)))
                .and_then(|fields| match self.networks.contains_key(&id) {
                    true => Err(Fault::new("networking", "the network is already declared")),
                    false => Ok(fields),
                });
        let peers = self.nested_peers(place, map);
        let fields = match read {
            Ok(fields) => fields,
            Err(fault) => {
                let problem = self.problem(place.key, fault);
                self.broken.entry(id).or_insert(problem);
                for (machine, _) in peers.into_iter().flatten() {
                    self.lose(machine, problem);
                }
                return Ok(());
            }
        };
        let (service, instance) = id;
        let technology = Technology::of_network(fields.module.as_deref(), service, instance);
        let at = self.clan.networks.len();
        self.networks.insert(id, at);
        self.clan.networks.push(Network {
            name: instance.to_owned(),
            service: service.map(str::to_owned),
            label: String::new(),
            priority: fields.priority,
            module: fields.module,
            technology,
            peers: Vec::new(),
        });
        for (machine, value) in peers.into_iter().flatten() {
            let prefix = format!("{}peers.{}.", place.prefix, Printable(machine));
            self.peer(at, machine, Location { key: place.key, prefix: &prefix }, value)?;
        }
        Ok(())
    }

    /// The peers inside a network's entry, as clan-core of 2025 put them.
    fn nested_peers(&mut self, place: Location<'_>, map: &'a Object) -> Option<&'a Object> {
        match field::present(map, "peers")? {
            Value::Object(peers) => Some(peers),
            other => {
                let reason = format!("expected an object, found {}", kind(other));
                self.problem(place.key, Fault::new("peers", reason).under(place.prefix));
                None
            }
        }
    }

    fn scoped_peer(&mut self, entry: &Entry<'a>) -> Result<(), String> {
        let Key::Scope { service, instance, machine } = entry.key else { return Ok(()) };
        let Value::Object(map) = entry.value else { return Ok(()) };
        if machine.is_empty() {
            return Ok(());
        }
        let Some(peer) = field::present(map, "peer") else {
            // Some other export, but it tells us that the machine exists.
            if field::check_machine(machine).is_ok() {
                self.clan.machines.add(machine);
            }
            return Ok(());
        };
        let id = (Some(service).filter(|service| !service.is_empty()), instance);
        if let Some(&at) = self.networks.get(&id) {
            return self.peer(at, machine, Location { key: entry.text, prefix: "peer." }, peer);
        }
        let problem = match self.broken.get(&id) {
            Some(&problem) => problem,
            None => {
                let reason = format!(
                    "the network is declared nowhere, expected an entry \"{}\"",
                    Printable(&format!("{service}:{instance}::"))
                );
                self.problem(entry.text, Fault::new("networking", reason))
            }
        };
        self.lose(machine, problem);
        Ok(())
    }

    fn peer(
        &mut self,
        at: usize,
        machine: &str,
        place: Location<'_>,
        value: &Value,
    ) -> Result<(), String> {
        if value.is_null() {
            return Ok(());
        }
        self.peers += 1;
        if self.peers > MAX_PEERS {
            return Err(format!("more than {MAX_PEERS} peers"));
        }
        if let Err(reason) = field::check_machine(machine) {
            self.problem(place.key, Fault::new("machine", reason).under(place.prefix));
            return Ok(());
        }
        self.clan.machines.add(machine);
        let read = match value {
            Value::Object(map) => field::peer(map, machine),
            other => Err(Fault::new("", format!("expected an object, found {}", kind(other)))),
        };
        let fields = match read {
            Ok(fields) => fields,
            Err(fault) => {
                let problem = self.problem(place.key, fault.under(place.prefix));
                self.lose(machine, problem);
                return Ok(());
            }
        };
        let mut hosts = fields.hosts;
        let mut faults = fields.faults;
        if let Some(network) = self.clan.networks.get(at)
            && let Some(known) = network.technology.known()
            && hosts.is_empty()
            && faults.is_empty()
        {
            match known.host_of.map(|host_of| host_of(machine, &network.name)) {
                None => {}
                Some(Ok(var)) => hosts.push(Host::Var(var)),
                Some(Err(error)) => faults.push(Fault::new("hosts", field::reason(&error))),
            }
        }
        for fault in faults {
            let problem = self.problem(place.key, fault.under(place.prefix));
            self.lose(machine, problem);
        }
        if let Some(options) = fields.options {
            self.warn(place.key, &format!("SSHOptions are never used, ignored {options}"));
        }
        if let Some(network) = self.clan.networks.get_mut(at) {
            let machine = machine.to_owned();
            network.peers.push(Peer { machine, hosts, port: fields.port, user: fields.user });
        }
        Ok(())
    }

    /// The entry's object; anything else is a problem where an export is certain.
    fn object(&mut self, entry: &Entry<'a>) -> Option<&'a Object> {
        match entry.value {
            Value::Object(map) => Some(map),
            Value::Null => None,
            _ if !entry.certain => None,
            other => {
                let reason = format!("expected an object, found {}", kind(other));
                let problem = self.problem(entry.text, Fault::new("value", reason));
                if let Key::Scope { machine, .. } = entry.key {
                    self.lose(machine, problem);
                }
                None
            }
        }
    }

    /// Keeps the problem, if there are not too many, and says where.
    fn problem(&mut self, key: &str, fault: Fault) -> Option<usize> {
        let at = self.clan.problems.len();
        if at >= MAX_NOTES {
            return None;
        }
        let field = fault.field.trim_end_matches('.').to_owned();
        let key = cut(key);
        let origin = self.origin.clone();
        self.clan.problems.push(Error::ExportEntry { origin, key, field, reason: fault.reason });
        Some(at)
    }

    /// Remembers that the machine exists, and which problem costs it an address.
    fn lose(&mut self, machine: &str, problem: Option<usize>) {
        if field::check_machine(machine).is_ok() {
            self.clan.machines.lose(machine, problem);
        }
    }

    fn warn(&mut self, key: &str, text: &str) {
        if self.clan.warnings.len() < MAX_NOTES {
            let (origin, key) = (&self.origin, Printable(key));
            self.clan.warnings.push(format!("{origin}: exports entry \"{key}\": {text}"));
        }
    }

    fn finish(mut self) -> Clan {
        let mut count: HashMap<String, usize> = HashMap::new();
        for network in &self.clan.networks {
            *count.entry(network.name.clone()).or_default() += 1;
        }
        for network in &mut self.clan.networks {
            let alone = count.get(&network.name).is_none_or(|&count| count < 2);
            network.label = match &network.service {
                Some(service) if !alone => format!("{service}:{}", network.name),
                _ => network.name.clone(),
            };
        }
        let broken = self.broken.into_iter().filter_map(|((service, instance), problem)| {
            Some((service.map(str::to_owned), instance.to_owned(), problem?))
        });
        self.clan.broken = broken.collect();
        self.clan.broken.sort();
        self.clan
    }
}

/// A key as it is kept: raw, because the error quotes it, but of bounded length.
fn cut(key: &str) -> String {
    const MAX: usize = 300;
    match key.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", key.get(..end).unwrap_or_default()),
        None => key.to_owned(),
    }
}
