//! `network identity`: who we are in a network that this computer is not in, and what lets
//! us in there. Owns the text and the JSON of it; making and keeping a key is the
//! network's own.

use std::fmt::Write as _;
use std::sync::Arc;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use super::complete::TECHNOLOGIES;
use super::machine::SshOptions;
use super::{Global, Ui, columns, complete, print_json, print_text, ways, wireguard};
use crate::dial::wireguard::OwnMember;
use crate::dial::{self, OfClan};
use crate::error::{Error, Result};
use crate::flake::nix;
use crate::model::{Clan, Network, Technology};
use crate::plan;
use crate::printable::Printable;

#[cfg(feature = "yggdrasil")]
/// The role of Clan's service `yggdrasil`, and its setting that lets others in.
const SETTING: &str = "roles.default.settings.extraYggdrasilIPs";
/// What stands for an instance where the clan has none.
const INSTANCE: &str = "INSTANCE";
/// Technologies in which there is nobody to be, with a clan that has them and without one.
const OPEN: [&str; 2] = ["tor", "iroh"];

#[derive(Debug, Args)]
pub(super) struct Identity {
    /// The network's name in the clan, or yggdrasil, wireguard, mycelium, tor or iroh
    #[arg(add = ArgValueCompleter::new(complete::identities))]
    network: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Says who we are in the network, and makes the key that we keep for it.
pub(super) fn run(arguments: &Identity, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let name = arguments.network.as_str();
    let is_technology = TECHNOLOGIES.contains(&name) || OPEN.contains(&name);
    let here = match global.clan(ui) {
        Ok(clan) => Some(clan),
        // A key of our own is the same for all clans.
        Err(error) if is_technology => {
            ui.verbose(&format!("no clan is used: {error}"));
            None
        }
        Err(error) => return Err(error),
    };
    let is_here = here.is_some();
    let clan = here.unwrap_or_default();
    ui.problems(&clan);
    let named = || clan.networks.iter().filter(|network| network.answers_to(name));
    let of_kind = || clan.networks.iter().filter(|network| network.service_name() == name);
    let found = named().next().or_else(|| of_kind().find(|_| is_technology));
    let technology = match found {
        Some(network) if network.technology == Technology::DIRECT => network.service_name(),
        Some(network) => network.technology.name(),
        None if is_technology => name,
        None => return Err(plan::unknown_network(&clan, name)),
    };
    let known = match technology {
        "yggdrasil" => yggdrasil(found, global)?,
        "wireguard" => {
            let absent = match is_here {
                true => "the clan has no WireGuard network",
                false => "there is no clan here",
            };
            wireguard_member(found, absent, &clan, global, ui)?
        }
        "mycelium" | "iroh" | "tor" => throwaway(found, technology),
        _ => {
            return Err(Error::Usage(format!(
                "{} needs no identity of clan-connect: its machines are dialled directly or by \
                 this computer's daemon",
                Printable(name)
            )));
        }
    };
    known.remarks.iter().for_each(|remark| ui.notice(remark));
    match arguments.json {
        true => print_json(&known.json)?,
        false => print_text(&table(&known.lines))?,
    }
    Ok(0)
}

/// What is known of us in a network. The JSON has one schema, which only grows:
///
/// ```json
/// {
///   "network": "ygg",              // as --network takes it, or null without one
///   "technology": "yggdrasil",
///   "kind": "kept",                // kept: a key of ours; member: a machine of the
///                                  // inventory; ephemeral: made anew each time
///   "machine": null,               // the member that the key at hand is of
///   "addresses": ["201:…"],
///   "public_key": "…",
///   "file": "/home/joe/.local/state/clan-connect/yggdrasil-key",
///   "is_new": true,                // whether it was made just now
///   "settings": [{                 // what lets us in, in the clan's own flake
///     "path": "inventory.instances.ygg.roles.default.settings.extraYggdrasilIPs",
///     "value": ["201:…"]
///   }],
///   "reason": null                 // why no key makes us a member yet
/// }
/// ```
struct Known {
    json: Value,
    lines: Vec<Line>,
    remarks: Vec<String>,
}

/// A line of the text: what it tells, and that.
type Line = (&'static str, String);

fn table(lines: &[Line]) -> String {
    let width = lines.iter().map(|(name, _)| columns::width(name)).max().unwrap_or(0);
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}  {value}", columns::padded(name, width));
        text
    })
}

/// The first line: which network it is.
fn heading(found: Option<&Network>, technology: &str) -> Line {
    let label = found.map(|network| Printable(&network.label).to_string());
    ("network", label.map_or(technology.to_owned(), |label| format!("{label} ({technology})")))
}

/// The place of an instance in the inventory.
fn instance(found: Option<&Network>) -> String {
    let name = found.map_or(INSTANCE.to_owned(), |network| nix::attribute(&network.name));
    format!("inventory.instances.{name}")
}

#[cfg(feature = "yggdrasil")]
fn yggdrasil(found: Option<&Network>, global: &Global) -> Result<Known> {
    use dial::yggdrasil::{Kept, kept, kept_key};

    use crate::flake::not_his_alone;
    use crate::printable;
    if let Some(why) = kept_key(&global.env).and_then(|file| not_his_alone(&file, &global.env)) {
        return Err(Error::Usage(format!("{why}: no key is saved there")));
    }
    let Kept { address, public_key, file, is_new } = kept(&global.env)?;
    let path = format!("{}.{SETTING}", instance(found));
    let mut remarks = Vec::new();
    if is_new {
        remarks.push("a new key was made and saved in the key file".to_owned());
    }
    remarks.push(format!(
        "machines let it in once the setting is in the clan and deployed: clan machines update{}",
        found.map_or(String::new(), machines)
    ));
    Ok(Known {
        json: json!({
            "network": found.map(|network| &network.label),
            "technology": "yggdrasil",
            "kind": "kept",
            "machine": null,
            "addresses": [address.to_string()],
            "public_key": public_key,
            "file": file.to_string_lossy(),
            "is_new": is_new,
            "settings": [{ "path": path, "value": [address.to_string()] }],
            "reason": null,
        }),
        lines: vec![
            heading(found, "yggdrasil"),
            ("address", address.to_string()),
            ("public key", public_key),
            ("key file", printable::line(&file.to_string_lossy())),
            ("setting", format!("{} = [ \"{address}\" ];", Printable(&path))),
        ],
        remarks,
    })
}

#[cfg(not(feature = "yggdrasil"))]
fn yggdrasil(_: Option<&Network>, _: &Global) -> Result<Known> {
    Err(Error::Usage("this build has no Yggdrasil".to_owned()))
}

#[cfg(feature = "yggdrasil")]
/// The machines that a network has, as words of a command.
fn machines(network: &Network) -> String {
    let mut names: Vec<&str> = network.peers.iter().map(|peer| peer.machine.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        1..=8 => names.iter().map(|name| format!(" {}", Printable(name))).collect(),
        _ => String::new(),
    }
}

/// WireGuard takes nobody but machines of the inventory; `absent` says why the clan's
/// network is not `found`.
fn wireguard_member(
    found: Option<&Network>,
    absent: &str,
    clan: &Clan,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Known> {
    let (vars, of_clan) = (Arc::new(global.vars(ui)?), OfClan::of(clan, None));
    let options = ways::network_options(clan, &SshOptions::default(), global)?;
    let settings = wireguard::settings(global, &options, &of_clan, &vars);
    let member = found.and_then(|network| settings.member(&network.label));
    let (member, reason) = match member {
        Some(Ok(member)) => (Some(member), None),
        Some(Err(failure)) => (None, Some(failure.to_string())),
        None => (None, Some(absent.to_owned())),
    };
    let settings = match &member {
        Some(_) => Vec::new(),
        None => vec![
            "inventory.machines.admin".to_owned(),
            format!("{}.roles.peer.machines.admin", instance(found)),
        ],
    };
    let mut lines = vec![heading(found, "wireguard")];
    match &member {
        Some(member) => lines.extend(of_member(member)),
        None => lines.extend(to_become_one(found, &settings)),
    }
    let remark = reason.as_ref().map(|reason| {
        format!("{reason}; to join such a network, add a machine to the inventory that is never deployed")
    });
    let empty = |path: &String| json!({ "path": path, "value": {} });
    Ok(Known {
        json: json!({
            "network": found.map(|network| &network.label),
            "technology": "wireguard",
            "kind": "member",
            "machine": member.as_ref().map(|member| &member.machine),
            "addresses": member.iter().flat_map(|it| &it.addresses).map(ToString::to_string)
                .collect::<Vec<_>>(),
            "public_key": member.as_ref().map(|member| &member.public_key),
            "file": null,
            "is_new": false,
            "settings": settings.iter().map(empty).collect::<Vec<_>>(),
            "reason": reason,
        }),
        lines,
        remarks: remark.into_iter().collect(),
    })
}

fn of_member(member: &OwnMember) -> Vec<Line> {
    let addresses = member.addresses.iter().map(|address| ("address", address.to_string()));
    let machine = [("machine", Printable(&member.machine).to_string())];
    let key = [("public key", member.public_key.clone())];
    machine.into_iter().chain(addresses).chain(key).collect()
}

/// What has to be done for it, in this order.
fn to_become_one(found: Option<&Network>, settings: &[String]) -> Vec<Line> {
    let name = found.map_or(INSTANCE, |network| &network.name);
    let empty = settings.iter().map(|path| ("setting", format!("{} = {{ }};", Printable(path))));
    let var = format!("wireguard-keys-{}/publickey", Printable(name));
    let then = [
        "clan vars generate admin".to_owned(),
        format!("deploy the controllers, which learn its public key from its var {var}"),
        "--wireguard-key var:admin, or WireguardKey var:admin in ssh_config".to_owned(),
    ];
    empty.chain(then.map(|step| ("then", step))).collect()
}

/// Where everybody is let in.
fn throwaway(found: Option<&Network>, technology: &str) -> Known {
    let why = match technology {
        "tor" => "none is needed; for a service with client authorization: --tor-auth",
        _ => "none is needed: the network admits every node, and a new key is made each time",
    };
    Known {
        json: json!({
            "network": found.map(|network| &network.label),
            "technology": technology,
            "kind": "ephemeral",
            "machine": null,
            "addresses": [],
            "public_key": null,
            "file": null,
            "is_new": false,
            "settings": [],
            "reason": null,
        }),
        lines: vec![heading(found, technology), ("identity", why.to_owned())],
        remarks: Vec::new(),
    }
}
