//! What `network list` says about a clan. Owns the table and the JSON schema;
//! prints nothing, dials nothing.

use std::cmp::Reverse;
use std::fmt::Write;

use serde_json::{Value, json};

use super::columns;
use crate::dial::Ways;
use crate::model::{Clan, Host, Network, Peer, Running, Technology};
use crate::plan::DEFAULT_USER;
use crate::printable::Printable;

/// Machines named in a line of the table; the rest are counted.
const SHOWN_PEERS: usize = 3;

/// The table of `clan network list` (`clan_cli/network/list.py`): highest
/// priority first, ties in the order of the exports. *Running* tells whether the
/// network is up on this computer: `n/a` nothing has to run, `in-process` this
/// program runs it, `yes` and `no` for overlays of which an address is known,
/// `unknown` we cannot tell. With `all`, no peer is left out. Foreign text is
/// escaped.
pub fn list_text(clan: &Clan, ways: &Ways, all: bool) -> String {
    let networks = sorted(clan).into_iter();
    table(networks.map(|network| row(network, &running(network, ways), all)).collect())
}

/// The word for what runs, and the node of our own that it would be where the network's
/// module does not tell.
fn running(network: &Network, ways: &Ways) -> String {
    let (running, way) = ways.running(network);
    let way = way.map(|way| format!(" ({way})")).unwrap_or_default();
    format!("{}{way}", running.word())
}

/// A network's name, and that we would be a node of it for as long as it is asked.
pub fn label_on_demand(network: &Network, ways: &Ways) -> String {
    let label = Printable(&network.label);
    match ways.running(network) {
        (Running::InProcess, Some(way)) => format!("{label} (on demand: {way})"),
        (Running::InProcess, None) => format!("{label} (on demand)"),
        _ => label.to_string(),
    }
}

/// The same with Clan's own words for what is running: `Yes` where this computer is in the
/// network, or nothing has to run, and `No` where it would have to begin.
pub fn list_text_of_clan(clan: &Clan, ways: &Ways) -> String {
    let word = |network: &Network| if is_up(network, ways) { "Yes" } else { "No" };
    table(sorted(clan).into_iter().map(|network| row(network, word(network), false)).collect())
}

/// Whether a network carries something without our help.
pub fn is_up(network: &Network, ways: &Ways) -> bool {
    matches!(ways.running(network).0, Running::Yes | Running::Irrelevant)
}

fn table(rows: Vec<[String; 5]>) -> String {
    if rows.is_empty() {
        return "No networks found\n".to_owned();
    }
    let header = ["Network", "Priority", "Module", "Running", "Peers"].map(str::to_owned);
    // Clan's own minimum widths.
    let mut widths = [12, 8, 10, 8, 0];
    for cells in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(cells).take(4) {
            *width = (*width).max(columns::width(cell));
        }
    }
    let header = line(&header, &widths);
    let mut text = format!("{header}\n{}\n", "-".repeat(columns::width(&header)));
    for cells in &rows {
        text.push_str(&line(cells, &widths));
        text.push('\n');
    }
    text
}

/// Every network with each of its peers, best first: `MACHINE USER@HOST PORT`
/// below `NETWORK PRIORITY TECHNOLOGY`. Foreign text is escaped.
pub fn show_text(clan: &Clan) -> String {
    let mut text = String::new();
    for network in sorted(clan) {
        let label = Printable(&network.label);
        let technology = network.technology.name();
        let _ = writeln!(text, "{label}  priority {}, {technology}", network.priority);
        for peer in &network.peers {
            let user = Printable(peer.user.as_deref().unwrap_or(DEFAULT_USER)).to_string();
            let machine = Printable(&peer.machine);
            for host in &peer.hosts {
                let _ = writeln!(text, "  {machine}  {user}@{host}  port {}", peer.port);
            }
            if peer.hosts.is_empty() {
                let _ = writeln!(text, "  {machine}  no host");
            }
        }
    }
    for machine in clan.machines() {
        if let Some(target) = clan.target_host(machine) {
            let _ = writeln!(text, "targetHost of {}: {target}", Printable(machine));
        }
    }
    if text.is_empty() { "No networks found\n".to_owned() } else { text }
}

/// The same as JSON. The schema only grows:
///
/// ```json
/// {
///   "networks": [{
///     "name": "tor",                     // the instance
///     "label": "tor",                    // unambiguous, as --network takes it
///     "service": "clan-core/tor",        // or null
///     "priority": 10,
///     "module": "clan_lib.network.tor",  // or null
///     "technology": "tor",               // direct, tor, zerotier, iroh, tailscale, netbird,
///                                        // nebula, easytier, hyprspace, vpncloud, tinc,
///                                        // unsupported
///     "running": "in-process",           // n/a, in-process, yes, no, unknown
///     "on_demand": true,                 // a node of our own, for as long as it is needed
///     "way": null,                       // such a node by address: wireguard, tailscale, …
///     "costly": true,                    // takes seconds, and the work of others
///     "head_start": 1.0,                 // seconds that it leaves to better ones
///     "deadline": 120.0,                 // seconds that it may take
///     "peers": [{
///       "machine": "peer1",
///       "hosts": [{"plain": "192.0.2.1"},
///                 {"var": {"machine": "peer1", "generator": "tor_tor", "file": "hostname"}}],
///       "port": 22,
///       "user": "root"
///     }]
///   }],
///   "target_hosts": {"peer1": "root@192.0.2.1"},  // of the inventory
///   "problems": ["exports entry …"],     // malformed entries, which are left out
///   "warnings": ["exports entry …"],     // what was ignored
///   "warm": [{                           // connections that are kept; see `warm`
///     "machine": "peer1", "network": "tor", "user": "root", "sessions": 0
///   }]
/// }
/// ```
pub fn list_json(clan: &Clan, ways: &Ways) -> Value {
    let problems: Vec<String> = clan.problems.iter().map(ToString::to_string).collect();
    let target = |machine| Some((machine, clan.target_host(machine)?.to_string()));
    let target_hosts: serde_json::Map<String, Value> = clan
        .machines()
        .into_iter()
        .filter_map(target)
        .map(|(machine, target)| (machine.to_owned(), target.into()))
        .collect();
    json!({
        "networks": sorted(clan).into_iter().map(|network| network_json(network, ways)).collect::<Vec<_>>(),
        "target_hosts": target_hosts,
        "problems": problems,
        "warnings": clan.warnings,
    })
}

/// All of them, the best first.
pub fn sorted(clan: &Clan) -> Vec<&Network> {
    let mut networks: Vec<&Network> = clan.networks.iter().collect();
    networks.sort_by_key(|network| Reverse(network.priority));
    networks
}

fn row(network: &Network, running: &str, all: bool) -> [String; 5] {
    let module = match &network.module {
        Some(module) => module.rsplit('.').next().unwrap_or(module),
        None => network.technology.name(),
    };
    [
        Printable(&network.label).to_string(),
        network.priority.to_string(),
        Printable(module).to_string(),
        running.to_owned(),
        peers(network, all),
    ]
}

fn peers(network: &Network, all: bool) -> String {
    // A machine with two roles is one peer to whoever reads the table.
    let mut machines: Vec<&str> = network.peers.iter().map(|peer| peer.machine.as_str()).collect();
    let mut seen = std::collections::HashSet::new();
    machines.retain(|machine| seen.insert(*machine));
    if machines.is_empty() {
        return "No peers".to_owned();
    }
    let most = if all { machines.len() } else { SHOWN_PEERS };
    let shown = machines.iter().take(most).map(|machine| Printable(machine).to_string());
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = machines.len().checked_sub(most).filter(|&more| more > 0) {
        // Writing to a String cannot fail.
        let _ = write!(text, " ...({more} more)");
    }
    text
}

fn line(cells: &[String; 5], widths: &[usize; 5]) -> String {
    let [network, priority, module, running, peers] = cells;
    let [a, b, c, d, _] = *widths;
    let cell = columns::padded;
    let (network, priority) = (cell(network, a), cell(priority, b));
    let (module, running) = (cell(module, c), cell(running, d));
    format!("{network}  {priority}  {module}  {running}  {peers}")
}

fn network_json(network: &Network, ways: &Ways) -> Value {
    let (running, way) = ways.running(network);
    let technology = network.technology.known().map_or("unsupported", |known| known.name);
    json!({
        "name": network.name,
        "label": network.label,
        "service": network.service,
        "priority": network.priority,
        "module": network.module,
        "technology": technology,
        "running": running.word(),
        "on_demand": running == Running::InProcess,
        "way": way,
        "costly": network.technology.is_costly(),
        "head_start": network.technology.head_start().as_secs_f64(),
        "deadline": network.technology.deadline().as_secs_f64(),
        "peers": network.peers.iter().map(|peer| peer_json(peer, &network.technology)).collect::<Vec<_>>(),
    })
}

fn peer_json(peer: &Peer, technology: &Technology) -> Value {
    json!({
        "machine": peer.machine,
        "hosts": peer.hosts.iter().map(|host| host_json(host, technology)).collect::<Vec<_>>(),
        "port": peer.port,
        "user": peer.user.as_deref().unwrap_or(DEFAULT_USER),
    })
}

fn host_json(host: &Host, technology: &Technology) -> Value {
    match host {
        Host::Plain(_) if technology.hides_hosts() => json!({ "plain": "<secret>" }),
        Host::Plain(plain) => json!({ "plain": plain }),
        Host::Var(var) => json!({ "var": {
            "machine": var.machine(),
            "generator": var.generator(),
            "file": var.file(),
        }}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = include_str!("../../fixtures/exports/mixed.json");

    fn none() -> Ways {
        crate::dial::ways(&Default::default())
    }

    /// Without Tor its columns have other widths.
    #[cfg(feature = "tor")]
    #[test]
    fn the_table_is_that_of_clan() {
        let clan = Clan::parse("mixed.json", MIXED.as_bytes()).unwrap();
        let expected = "\
Network          Priority  Module        Running     Peers
----------------------------------------------------------
p2p              3000      p2p_ssh_iroh  in-process  web, db
mine/vpn:office  2000      direct        n/a         web, db, build ...(2 more)
zt               900       zerotier      unknown     web
lab              800       pigeons       unknown     No peers
mine/tor:office  10        tor           in-process  web
";
        let text = list_text(&clan, &none(), false);
        #[cfg(not(feature = "iroh"))]
        let expected = expected.replace("p2p_ssh_iroh  in-process", "p2p_ssh_iroh  no        ");
        assert_eq!(text, expected);
        let all = list_text(&clan, &none(), true);
        assert!(all.contains("web, db, build, mail, empty\n"), "{all}");
    }

    #[test]
    fn the_json_has_all_that_the_schema_promises() {
        let clan = Clan::parse("mixed.json", MIXED.as_bytes()).unwrap();
        let value = list_json(&clan, &none());
        let running = if cfg!(feature = "tor") { "in-process" } else { "no" };
        assert_eq!(
            value["networks"][4],
            json!({
                "name": "office", "label": "mine/tor:office", "service": "mine/tor",
                "priority": 10, "module": "clan_lib.network.tor",
                "technology": "tor", "running": running, "on_demand": cfg!(feature = "tor"),
                "way": null, "costly": true, "head_start": 1.0, "deadline": 120.0,
                "peers": [{
                    "machine": "web", "port": 22, "user": "root",
                    "hosts": [{"var": {
                        "machine": "web", "generator": "tor_office", "file": "hostname",
                    }}],
                }],
            })
        );
        assert_eq!(value["networks"][3]["technology"], "unsupported");
        assert_eq!(value["networks"].as_array().unwrap().len(), 5);
        assert_eq!(value["problems"], json!([]));
        assert_eq!(value["warnings"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_ticket_in_the_exports_is_not_listed() {
        let text = r#"{"p2p": {"module": "clan_lib.network.p2p_ssh_iroh",
                               "peers": {"m": {"host": {"plain": "endpointabc"}}}}}"#;
        let clan = Clan::parse("x", text.as_bytes()).unwrap();
        let listed = list_json(&clan, &none());
        assert_eq!(listed["networks"][0]["peers"][0]["hosts"], json!([{ "plain": "<secret>" }]));
        assert!(!listed.to_string().contains("endpointabc"));
        let route = &crate::plan::plan(&clan, "m", &Default::default()).unwrap()[0];
        assert_eq!(route.shown_host(), "<secret>");
    }

    #[test]
    fn an_empty_clan_says_so_as_clan_does() {
        assert_eq!(list_text(&Clan::default(), &none(), true), "No networks found\n");
        let empty = json!({"networks": [], "target_hosts": {}, "problems": [], "warnings": []});
        assert_eq!(list_json(&Clan::default(), &none()), empty);
    }

    #[test]
    fn foreign_text_cannot_reach_the_terminal() {
        let text = r#"{"a\u202eb": {"module": "x.\u200fy", "peers": {"m\u2066": {}}}}"#;
        let shown = list_text(&Clan::parse("x", text.as_bytes()).unwrap(), &none(), false);
        assert!(shown.is_ascii(), "{shown:?}");
        assert!(shown.contains("a\\u{202e}b") && shown.contains("\\u{200f}y"), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn no_document_prints_a_control_character(
            // A name with colons is one of another shape (`SERVICE:INSTANCE:ROLE:MACHINE`).
            network in "[^:]*",
            module: String, machine: String, host: String, user: String,
        ) {
            let document = json!({ &network: {
                "module": module, "priority": 7,
                "peers": { &machine: { "host": host, "user": user } },
            }});
            let clan = Clan::parse("x", document.to_string().as_bytes()).unwrap();
            let text = list_text(&clan, &none(), true);
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            let listed = list_json(&clan, &none())["networks"].as_array().unwrap().len();
            // Whatever it is called it is listed, or said to be wrong.
            assert!(listed == 1 || !clan.problems.is_empty(), "{document}");
        }

        #[test]
        fn a_changed_document_is_listed_or_refused(at in 0_usize..4000, c: char) {
            let mut text: Vec<char> = MIXED.chars().collect();
            let at = at % text.len();
            text[at] = c;
            let text: String = text.into_iter().collect();
            match Clan::parse("x", text.as_bytes()) {
                Ok(clan) => {
                    let listed = list_text(&clan, &none(), true);
                    assert!(!listed.chars().any(|c| c.is_control() && c != '\n'), "{listed:?}");
                    assert!(!clan.networks.is_empty(), "{text}");
                }
                Err(error) => {
                    assert!(serde_json::from_str::<Value>(&text).is_err(), "{error}: {text}");
                }
            }
        }
    }
}
