//! What the inventory says of the services that a technology of ours needs the settings
//! of. Owns their resolving, from roles, tags and machines to members, and the form in
//! which a snapshot keeps them; believes nothing of their size.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::exports::check_machine;
use crate::model::{Member, Service, Setting, VarRef};

/// The services whose settings are kept.
pub(super) const SERVICES: [&str; 3] = ["wireguard", "mycelium", "yggdrasil"];
/// The settings of them that are kept.
const SETTINGS: [&str; 9] = [
    "endpoint",
    "port",
    "domain",
    "mtu",
    "controller",
    "ports.tcp",
    "ports.tls",
    "extraPeers",
    "addHostedPublicNodes",
];
/// Most instances.
const MAX_INSTANCES: usize = 64;
/// Most members of an instance, each in one role.
const MAX_MEMBERS: usize = 10_000;
/// Longest text of a setting or a name, in bytes.
const MAX_TEXT: usize = 1024;
/// Most texts in a list.
const MAX_TEXTS: usize = 64;
/// How deep modules may import each other.
const MAX_DEPTH: usize = 16;

/// Members by role and name, each with its settings.
type Roles = BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>;

/// An instance as a snapshot keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The service.
    pub service: String,
    /// Its members.
    #[serde(default)]
    pub roles: Roles,
}

/// The part of an inventory that matters here: for each instance the name of its module
/// and its roles, and for each tag its machines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Inventory {
    instances: BTreeMap<String, Instance>,
    tags: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Instance {
    module: Module,
    roles: BTreeMap<String, Option<Role>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Module {
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Role {
    settings: Value,
    machines: BTreeMap<String, Value>,
    tags: BTreeMap<String, Value>,
}

impl Inventory {
    /// The tags of each machine, as far as the inventory lists machines by tags.
    pub(super) fn tags_of_machines(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut of_machines: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (tag, machines) in &self.tags {
            for machine in machines {
                of_machines.entry(machine.clone()).or_default().insert(tag.clone());
            }
        }
        of_machines
    }

    /// The instances of the services that matter, each with its members; `tags` are those of
    /// each machine, wherever the inventory says them.
    pub(super) fn services(
        self,
        tags: &BTreeMap<String, BTreeSet<String>>,
    ) -> BTreeMap<String, Kept> {
        let kept = self.instances.into_iter().filter_map(|(name, instance)| {
            let service = instance.module.name.filter(|it| SERVICES.contains(&it.as_str()))?;
            let roles = instance.roles.into_iter().filter_map(|(name, role)| Some((name, role?)));
            let roles = roles.map(|(name, role)| (name, members(role, tags)));
            Some((name, Kept { service, roles: roles.collect() }))
        });
        kept.take(MAX_INSTANCES).collect()
    }
}

/// The machines of a role with what holds for them: what the role says, then what their
/// tags say, then what is said of them.
fn members(
    role: Role,
    tags: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeMap<String, BTreeMap<String, Value>> {
    let Role { settings, machines, tags: tagged } = role;
    let mut defaults = BTreeMap::new();
    flatten(&settings, MAX_DEPTH, &mut defaults);
    let mut members: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for (tag, said) in &tagged {
        for (machine, _) in tags.iter().filter(|(_, all)| all.contains(tag)) {
            let all = members.entry(machine.clone()).or_insert_with(|| defaults.clone());
            flatten(said.get("settings").unwrap_or_default(), MAX_DEPTH, all);
        }
    }
    for (machine, said) in machines {
        let all = members.entry(machine).or_insert_with(|| defaults.clone());
        flatten(said.get("settings").unwrap_or_default(), MAX_DEPTH, all);
    }
    members
}

/// Reads a module as the inventory writes one: its imports, then what it says itself,
/// with an override taken for what it holds.
fn flatten(module: &Value, depth: usize, all: &mut BTreeMap<String, Value>) {
    let (Value::Object(map), Some(depth)) = (module, depth.checked_sub(1)) else { return };
    if let Some(Value::Array(imports)) = map.get("imports") {
        imports.iter().for_each(|import| flatten(import, depth, all));
    }
    if let Some(config @ Value::Object(_)) = map.get("config") {
        flatten(config, depth, all);
    }
    settings(map, "", all);
}

fn settings(map: &Map<String, Value>, prefix: &str, all: &mut BTreeMap<String, Value>) {
    for (name, value) in map {
        let name = format!("{prefix}{name}");
        let value = match value.get("_type").and_then(Value::as_str) {
            Some("override") => value.get("content").unwrap_or_default(),
            _ => value,
        };
        match value {
            Value::Object(inner) if prefix.is_empty() => settings(inner, &format!("{name}."), all),
            value if SETTINGS.contains(&name.as_str()) && setting(value).is_some() => {
                all.insert(name, value.clone());
            }
            _ => {}
        }
    }
}

impl Kept {
    /// The same for the model, without what no honest inventory has.
    pub(super) fn service(&self, instance: &str) -> Service {
        let members = self.roles.iter().flat_map(|(role, machines)| {
            machines.iter().map(move |(machine, said)| Member {
                machine: machine.clone(),
                role: role.clone(),
                settings: said
                    .iter()
                    .filter(|(name, _)| SETTINGS.contains(&name.as_str()))
                    .filter_map(|(name, value)| Some((name.clone(), setting(value)?)))
                    .collect(),
            })
        });
        let members = members
            .filter(|member| check_machine(&member.machine).is_ok())
            .filter(|member| VarRef::new(&member.machine, "g", "f").is_ok())
            .take(MAX_MEMBERS)
            .collect();
        Service { instance: instance.to_owned(), name: self.service.clone(), members }
    }
}

/// What the model is told of several instances.
pub(super) fn services(kept: &BTreeMap<String, Kept>) -> Vec<Service> {
    let fits = |(name, kept): &(&String, &Kept)| {
        name.len() <= MAX_TEXT && SERVICES.contains(&kept.service.as_str())
    };
    let fitting = kept.iter().filter(fits).take(MAX_INSTANCES);
    fitting.map(|(name, kept)| kept.service(name)).collect()
}

fn setting(value: &Value) -> Option<Setting> {
    let text = |text: &String| (text.len() <= MAX_TEXT).then(|| text.clone());
    Some(match value {
        Value::String(it) => Setting::Text(text(it)?),
        Value::Number(number) => Setting::Number(number.as_i64()?),
        Value::Bool(flag) => Setting::Flag(*flag),
        Value::Array(all) if all.len() <= MAX_TEXTS => {
            let texts = all.iter().map(|value| match value {
                Value::String(it) => text(it),
                _ => None,
            });
            Setting::Texts(texts.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_data;

    fn services_of(inventory: Value) -> Vec<Service> {
        let inventory: Inventory = serde_json::from_value(inventory).unwrap();
        let tags = inventory.tags_of_machines();
        services(&inventory.services(&tags))
    }

    #[test]
    fn roles_tags_and_machines_say_more_and_more_of_a_member() {
        let found = services_of(json!({
            "tags": {"all": ["a", "b", "c"], "far": ["c"]},
            "instances": {
                "vpn": {"module": {"name": "wireguard"}, "roles": {
                    "controller": {"machines": {"a": {"settings": {
                        "endpoint": "a.example", "port": {"_type": "override", "content": 7}}}}},
                    "peer": {
                        "settings": {"imports": [{"imports": [{"mtu": 1300, "controller": "x"}]}]},
                        "tags": {"all": {"settings": {"controller": "a"}},
                                 "far": {"settings": {"config": {"mtu": 1280}}}},
                        "machines": {"b": {"settings": {"controller": "b"}}, "d": {}},
                    },
                    "none": null,
                }},
                "web": {"module": {"name": "internet"}, "roles": {}},
            },
        }));
        let [vpn] = found.as_slice() else { panic!("{found:?}") };
        let said = |member: &Member| {
            let (machine, role) = (&member.machine, &member.role);
            let text = |name| member.text(name).unwrap_or("-").to_owned();
            let (port, mtu) = (member.number("port"), member.number("mtu"));
            format!("{machine} {role} {} {} {port:?} {mtu:?}", text("endpoint"), text("controller"))
        };
        assert_eq!(
            vpn.members.iter().map(said).collect::<Vec<_>>(),
            [
                "a controller a.example - Some(7) None",
                "a peer - a None Some(1300)",
                "b peer - b None Some(1300)",
                "c peer - a None Some(1280)",
                "d peer - x None Some(1300)",
            ]
        );
    }

    #[test]
    fn what_no_honest_inventory_has_is_left_out() {
        let deep = (0..100).fold(json!({"endpoint": "deep"}), |it, _| json!({"imports": [it]}));
        let found = services_of(json!({"instances": {"vpn": {
            "module": {"name": "wireguard"},
            "roles": {"controller": {"machines": {
                "../../etc": {"settings": {"endpoint": "a"}},
                "$(touch x)": {},
                "a": {"settings": {"endpoint": "e".repeat(2000), "port": 1.5, "other": "secret",
                                   "mtu": [1], "controller": {"endpoint": "b"}}},
                "b": {"settings": deep},
            }}},
        }}}));
        let members = &found[0].members;
        let names: Vec<&str> = members.iter().map(|member| member.machine.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(members.iter().all(|member| member.settings.is_empty()), "{members:?}");
    }

    #[test]
    #[ignore = "needs Clan's data, see CLAN_TEST_DATA"]
    fn clans_own_inventory_says_who_the_members_are() {
        let Some(data) = test_data::clan() else { return };
        let text = std::fs::read_to_string(data.join("exports/real-inventory.json")).unwrap();
        let found = services_of(serde_json::from_str(&text).unwrap());
        let names: Vec<&str> = found.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["mycelium", "wireguard", "yggdrasil"]);
        let [controller, peer] = found[1].members.as_slice() else { panic!("{found:?}") };
        assert_eq!(controller.text("endpoint"), Some("peer1.example"));
        assert_eq!(peer.text("controller"), Some("peer1"));
        assert_eq!(found[0].members.len(), 3, "{:?}", found[0]);
    }
}
