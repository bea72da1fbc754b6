//! What is taken of a clan by evaluating it: its exports and its inventory, and on request
//! the `targetHost` in the configuration of each machine. Owns the expressions, and what is
//! done where an error in one part cannot be caught inside nix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{Subject, machines, quote};
use crate::error::Result;
use crate::flake::services::{Inventory, SERVICES as SERVICES_KEPT};
use crate::flake::snapshot::{Machine, Snapshot};
use crate::flake::{Flake, Step};

/// Entries, or machines, that are evaluated one by one when the whole cannot be.
const MAX_ENTRIES: usize = 1000;

/// What both expressions take of an inventory: of the services whose settings matter, the
/// module and the roles, without what is no data.
const SERVICES: &str = "
  clean = depth: value:
    let tried = builtins.tryEval value; it = tried.value; in
    if !tried.success || depth == 0 || builtins.isFunction it || builtins.isPath it then null
    else if builtins.isAttrs it then
      (if it ? outPath then null else builtins.mapAttrs (_: clean (depth - 1)) it)
    else if builtins.isList it then map (clean (depth - 1)) it
    else it;
  moduleOf = instance: clean 1 (instance.module.name or null);
  servicesOf = inventory:
    let said = inventory.instances or { };
        all = if builtins.isAttrs said then said else { }; in {
      tags = clean 4 (inventory.tags or { });
      instances = builtins.listToAttrs (map
        (name: { inherit name; value = {
          module.name = moduleOf all.${name};
          roles = clean 24 (all.${name}.roles or { });
        }; })
        (builtins.filter (name: builtins.elem (moduleOf all.${name}) wanted) (builtins.attrNames all)));
    };
";

/// Everything at once. An entry that throws, because a var was not generated
/// yet, is left out and named; the others count.
const ALL: &str = "
let
  attempt = value: builtins.tryEval (builtins.deepSeq value value);
  either = value: default: let tried = attempt value; in if tried.success then tried.value else default;
  exports = builtins.mapAttrs (_: attempt) (flake.clan.exports or { });
  names = builtins.attrNames exports;
  inventory = either (flake.clanInternals.inventoryClass.inventorySerialization or { }) { };
  keep = wanted: builtins.filter (name: exports.${name}.success == wanted) names;
in {
  lacks_exports = !(flake ? clan.exports);
  services = either (servicesOf inventory) null;
  exports = builtins.listToAttrs (map (name: { inherit name; value = exports.${name}.value; }) (keep true));
  failed = keep false;
  domain = either (inventory.meta.domain or null) null;
  machines = builtins.mapAttrs (_: machine: {
    host = either (machine.deploy.targetHost or null) null;
    tags = either (clean 2 (machine.tags or [ ])) null;
  }) (inventory.machines or { });
}";

/// The inventory's part of it.
const INVENTORY: &str = "
let inventory = flake.clanInternals.inventoryClass.inventorySerialization or { };
in {
  services = servicesOf inventory;
  domain = inventory.meta.domain or null;
  machines = builtins.mapAttrs (_: machine: {
    host = machine.deploy.targetHost or null;
    tags = clean 2 (machine.tags or [ ]);
  }) (inventory.machines or { });
}";

/// The `targetHost` in the configuration of a machine, if that can be evaluated.
const CONFIGURED: &str = "
  addressOf = machine:
    let tried = builtins.tryEval
      (let host = machine.config.clan.core.networking.targetHost or null; in
       if builtins.isString host then host else null);
    in if tried.success then { host = tried.value; } else { };
";

/// All that connecting to the machines of a clan takes, as far as nix can say.
pub struct Whole {
    /// It, with the addresses in the configurations of all machines.
    pub snapshot: Snapshot,
    /// The machines whose configuration cannot be evaluated; `None` where nobody has tried.
    pub failed: Option<Vec<String>>,
    /// Where nix had the clan's files.
    pub source: Option<PathBuf>,
}

#[derive(Deserialize)]
struct All {
    exports: Value,
    failed: Vec<String>,
    lacks_exports: bool,
    #[serde(flatten)]
    inventory: Said,
}

/// What the inventory says.
#[derive(Default, Deserialize)]
struct Said {
    domain: Option<Value>,
    machines: BTreeMap<String, OfMachine>,
    /// As an [`Inventory`]; one that is none costs only what needs it.
    #[serde(default)]
    services: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OfMachine {
    host: Value,
    tags: Value,
}

/// What [`CONFIGURED`] says of each machine.
type Addresses = BTreeMap<String, Address>;

#[derive(Deserialize)]
struct Address {
    /// `None` where it cannot be evaluated.
    #[serde(default, deserialize_with = "is_there")]
    host: Option<Value>,
}

#[derive(Deserialize)]
struct AllAndAddresses {
    all: All,
    configured: Addresses,
}

/// Evaluates `flake`. Blocks, for minutes if nix must fetch.
///
/// # Errors
/// [`crate::Error::Nix`] with the end of nix's own message.
pub fn evaluate(nix: &Path, flake: &Flake) -> Result<Snapshot> {
    evaluate_in_parts(&Subject::new(nix, flake)?).map(snapshot)
}

/// The same with the addresses in the configurations of all machines: in one evaluation,
/// unless an error in one of them cannot be caught inside nix.
///
/// # Errors
/// [`crate::Error::Nix`] with the end of nix's own message.
pub fn evaluate_whole(nix: &Path, flake: &Flake, step: &mut dyn FnMut(Step)) -> Result<Whole> {
    let subject = Subject::new(nix, flake)?;
    step(Step::EvaluatingAll);
    let expression = format!(
        "let {} {CONFIGURED} in {{
           all = {};
           configured = builtins.mapAttrs (_: addressOf) machines;
         }}",
        machines(),
        with_services(ALL)
    );
    let (all, configured) = match answer::<AllAndAddresses>(&subject, &expression) {
        Ok(both) => (both.all, both.configured),
        Err(_) => {
            step(Step::Evaluating);
            let all = evaluate_in_parts(&subject)?;
            let names =
                answer(&subject, &format!("let {} in builtins.attrNames machines", machines()));
            // Each of them fails then, and is named.
            let of_inventory = || all.inventory.machines.keys().cloned().collect();
            let names = names.unwrap_or_else(|_| of_inventory());
            let configured = addresses(&subject, names, step);
            (all, configured)
        }
    };
    let mut snapshot = snapshot(all);
    let mut failed = Vec::new();
    for (name, Address { host }) in configured {
        match host {
            Some(host) => drop(snapshot.configured.insert(name, text(host))),
            None => failed.push(name),
        }
    }
    Ok(Whole { snapshot, failed: Some(failed), source: Some(subject.source) })
}

fn evaluate_in_parts(subject: &Subject) -> Result<All> {
    answer::<All>(subject, &with_services(ALL)).or_else(|error| {
        // Some errors cannot be caught inside nix: then one entry at a time.
        let is_something = |all: &All| all.exports.as_object().is_some_and(|map| !map.is_empty());
        one_by_one(subject).filter(is_something).ok_or(error)
    })
}

fn one_by_one(subject: &Subject) -> Option<All> {
    let names: Vec<String> = answer(subject, "builtins.attrNames flake.clan.exports").ok()?;
    let (mut exports, mut failed) = (serde_json::Map::new(), Vec::new());
    for name in names.into_iter().take(MAX_ENTRIES) {
        match answer(subject, &format!("flake.clan.exports.{}", quote(&name))) {
            Ok(value) => drop(exports.insert(name, value)),
            Err(_) => failed.push(name),
        }
    }
    let inventory = answer(subject, &with_services(INVENTORY)).unwrap_or_default();
    Some(All { exports: exports.into(), failed, lacks_exports: false, inventory })
}

/// The addresses of machines that are evaluated one after the other.
fn addresses(subject: &Subject, names: Vec<String>, step: &mut dyn FnMut(Step)) -> Addresses {
    let of = names.len();
    let address = |(at, name): (usize, String)| {
        let host = (at < MAX_ENTRIES).then(|| {
            step(Step::Machine { number: at + 1, of });
            let expression =
                format!("let {} {CONFIGURED} in addressOf machines.{}", machines(), quote(&name));
            answer::<Address>(subject, &expression).ok()?.host
        });
        (name, Address { host: host.flatten() })
    };
    names.into_iter().enumerate().map(address).collect()
}

fn answer<T: serde::de::DeserializeOwned>(subject: &Subject, expression: &str) -> Result<T> {
    let json = subject.eval(expression)?;
    serde_json::from_slice(&json).map_err(|error| subject.unexpected(&error))
}

/// An expression that may say `servicesOf` and `clean`.
fn with_services(expression: &str) -> String {
    let names: Vec<String> = SERVICES_KEPT.iter().map(|name| quote(name)).collect();
    format!("(let\n  wanted = [ {} ];{SERVICES}in {expression})", names.join(" "))
}

fn snapshot(all: All) -> Snapshot {
    let All { exports, failed, lacks_exports, inventory } = all;
    let Said { domain, machines, services } = inventory;
    let mut snapshot = Snapshot::new(exports);
    snapshot.lacks_exports = lacks_exports;
    snapshot.failed = failed;
    snapshot.domain = domain.and_then(text);
    let inventory: Inventory = serde_json::from_value(services).unwrap_or_default();
    let mut tags = inventory.tags_of_machines();
    for (name, said) in &machines {
        let own = said.tags.as_array().into_iter().flatten().filter_map(Value::as_str);
        tags.entry(name.clone()).or_default().extend(own.map(str::to_owned));
    }
    snapshot.services = Some(inventory.services(&tags));
    let machine = |(name, said): (String, OfMachine)| {
        let tags = tags.remove(&name).unwrap_or_default().into_iter().collect();
        (name, Machine { target_host: text(said.host), tags, ..Machine::default() })
    };
    snapshot.machines = machines.into_iter().map(machine).collect();
    snapshot
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Tells what is `null` from what is not there.
fn is_there<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_role_is_for_the_machines_that_have_its_tag_wherever_that_is_said() {
        let roles = json!({ "peer": { "tags": {
            "all": {}, "far": { "settings": { "mtu": 1280 } },
        } } });
        let all = json!({
            "exports": {},
            "failed": [],
            "lacks_exports": false,
            "machines": { "a": {}, "b": { "tags": ["far", 3] } },
            "services": {
                "tags": { "all": ["a"] },
                "instances": { "vpn": { "module": { "name": "wireguard" }, "roles": roles } },
            },
        });
        let snapshot = snapshot(serde_json::from_value(all).unwrap());
        assert_eq!(snapshot.machines["b"].tags, ["far"]);
        let services = serde_json::to_value(snapshot.services).unwrap();
        let peers = &services["vpn"]["roles"]["peer"];
        assert_eq!(peers, &json!({ "a": {}, "b": { "mtu": 1280 } }));
    }
}
