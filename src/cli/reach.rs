//! `network ping` and `network overview`: which machines answer, over which
//! networks. Owns the fan-out, the tables and their JSON; while it lasts, the
//! table stands on the terminal as far as it is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::board::{Board, Row};
use super::request::{bare_request, seconds};
use super::{Global, Ui, advice, complete, print_json, print_text, ssh};
use crate::connect::{Probed, Request, Trust, probe};
use crate::dial::Dialer;
use crate::error::Result;
use crate::model::HostKeys;
use crate::model::{Clan, Technology};
use crate::plan::{Overrides, Route, plan};
use crate::printable::Printable;
use crate::ssh::known_hosts::Name;

/// Probes at the same time: more than the black holes of any clan, fewer than
/// the files a process may have open.
const FAN_OUT: usize = 800;
/// At the same time over Tor or iroh, where each costs circuits of others.
const COSTLY_FAN_OUT: usize = 16;
/// Open files that this takes.
const FILES: u64 = 4096;
/// How long a peer may take, unless the user says.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The same over Tor, which has to start.
const TOR_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Ping {
    /// The machine
    #[arg(add = ArgValueCompleter::new(complete::machines))]
    machine: String,
    /// Over this network only
    #[arg(short, long, value_name = "NAME", add = ArgValueCompleter::new(complete::networks))]
    network: Option<String>,
    /// How long an answer may take [default: 5, but 60 for Tor]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Overview {
    /// How long an answer may take [default: 5, but 60 for Tor]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Every network of the machine, in the order of priority: time to the banner
/// and what is known of the host key. Exits with 1 when none answers.
pub(super) fn ping(arguments: &Ping, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let clan = global.clan(ui)?;
    ui.problems(&clan);
    let overrides = Overrides { network: arguments.network.clone(), ..Overrides::default() };
    let routes = plan(&clan, &arguments.machine, &overrides)?;
    ui.progress.doing(format!("pinging {}", arguments.machine));
    let wanted = routes.into_iter().map(|route| (arguments.machine.clone(), route)).collect();
    let keys = Known {
        of_clan: global.host_keys(&arguments.machine, Some(&clan), ui)?,
        identity: global.identity(&arguments.machine, &clan, ui)?,
    };
    let probed = probe_all(wanted, Some(keys), arguments.timeout, global, ui, &|_, _| ())?;
    ui.progress.done();
    let reachable = probed.iter().any(|(_, probed)| probed.outcome.is_ok());
    if arguments.json {
        let rows: Vec<Value> = probed.iter().map(|(_, probed)| as_json(probed)).collect();
        let json = json!({ "machine": arguments.machine, "reachable": reachable, "routes": rows });
        print_json(&json)?;
    } else {
        let text: String = probed.iter().map(|(_, probed)| as_line(probed)).collect();
        print_text(&text)?;
    }
    Ok(u8::from(!reachable))
}

/// Every network with every peer.
pub(super) fn overview(arguments: &Overview, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let clan = global.clan(ui)?;
    ui.problems(&clan);
    let routes = all_routes(&clan);
    let rows = routes
        .iter()
        .map(|(machine, route)| Row {
            machine: Printable(machine).to_string(),
            network: Printable(&route.network).to_string(),
            state: String::new(),
        })
        .collect();
    let board = Board::new(rows, ui);
    let (total, done) = (routes.len(), AtomicUsize::new(0));
    let seen = |place: usize, probed: &Probed| {
        board.set(place, state(probed));
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if !board.is_shown() {
            ui.progress.doing(format!("asked {done} of {total}"));
        }
    };
    let probed = probe_all(routes, None, arguments.timeout, global, ui, &seen)?;
    ui.progress.done();
    let text = board.text();
    drop(board);
    if arguments.json {
        print_json(&overview_json(&clan, &probed))?;
    } else {
        print_text(&text)?;
    }
    Ok(0)
}

/// The routes of all machines, by network, best first.
fn all_routes(clan: &Clan) -> Vec<(String, Route)> {
    let mut all = Vec::new();
    for machine in clan.machines() {
        // Machines without an address are in no row.
        for route in plan(clan, machine, &Overrides::default()).unwrap_or_default() {
            all.push((machine.to_owned(), route));
        }
    }
    all.sort_by(|(_, a), (_, b)| b.priority.cmp(&a.priority).then(a.network.cmp(&b.network)));
    all
}

/// Where the host key of a machine may be known.
struct Known {
    of_clan: Option<HostKeys>,
    identity: Vec<Name>,
}

/// Probes all of them, and returns them in the same order.
fn probe_all(
    wanted: Vec<(String, Route)>,
    host_keys: Option<Known>,
    timeout: Option<Duration>,
    global: &Global,
    ui: &Arc<Ui>,
    seen: &dyn Fn(usize, &Probed),
) -> Result<Vec<(String, Probed)>> {
    more_files();
    let uses_tor = wanted.iter().any(|(_, route)| route.technology == Technology::Tor);
    let mut base = bare_request(global, ui, uses_tor)?;
    let runtime = ssh::runtime()?;
    // Keys are of interest only where all routes are one machine's.
    let trust = match (host_keys, wanted.first()) {
        (Some(known), Some((machine, _))) => {
            base.machine.clone_from(machine);
            base.host_keys.of_clan = known.of_clan;
            base.host_keys.identity = known.identity;
            Some(runtime.block_on(Trust::load(&base))?)
        }
        _ => None,
    };
    let dialer = Arc::new(Dialer::new(base.tor.clone(), base.origin.clone()));
    let costly = Semaphore::new(COSTLY_FAN_OUT);
    let one = async |(place, (machine, route)): (usize, (String, Route))| {
        let is_costly = matches!(route.technology, Technology::Tor | Technology::Iroh);
        let _turn = if is_costly { costly.acquire().await.ok() } else { None };
        let deadline = timeout.unwrap_or(if is_costly { TOR_TIMEOUT } else { TIMEOUT });
        let request =
            Request { machine: machine.clone(), deadline: Some(deadline), ..base.clone() };
        let probed = probe(&request, route, &dialer, trust.as_ref()).await;
        seen(place, &probed);
        (place, machine, probed)
    };
    let all = stream::iter(wanted.into_iter().enumerate()).map(one).buffer_unordered(FAN_OUT);
    let mut probed: Vec<_> = runtime.block_on(all.collect());
    probed.sort_by_key(|(place, ..)| *place);
    // In this order: Tor, if it was started, ends with its dialler.
    drop(dialer);
    runtime.shutdown_background();
    Ok(probed.into_iter().map(|(_, machine, probed)| (machine, probed)).collect())
}

/// The soft limit is for old programs (setrlimit(2)).
fn more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        let _ =
            setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

fn as_line(probed: &Probed) -> String {
    let network = Printable(&probed.route.network);
    match &probed.outcome {
        Ok(answer) => {
            let key = answer.key.map(|key| format!(", host key {}", key.name()));
            format!(
                "{network} via {}: {:.1} ms{}, {}\n",
                Printable(&answer.host),
                answer.elapsed.as_secs_f64() * 1000.0,
                key.unwrap_or_default(),
                answer.banner
            )
        }
        Err(attempt) => {
            let hint = advice::of_cause(&attempt.cause).map(|hint| format!("\n  hint: {hint}"));
            format!("{attempt}{}\n", hint.unwrap_or_default())
        }
    }
}

fn state(probed: &Probed) -> String {
    match &probed.outcome {
        Ok(answer) => format!("ok       {:.1} ms", answer.elapsed.as_secs_f64() * 1000.0),
        Err(attempt) => format!("failed   {}", attempt.cause),
    }
}

fn overview_json(clan: &Clan, probed: &[(String, Probed)]) -> Value {
    let mut networks: Vec<Value> = Vec::new();
    let mut last = None;
    for (machine, probed) in probed {
        let label = &probed.route.network;
        if last != Some(label) {
            let network = clan.networks.iter().find(|network| network.label == *label);
            networks.push(json!({
                "name": label,
                "priority": network.map(|network| network.priority),
                "peers": [],
            }));
            last = Some(label);
        }
        let mut row = as_json(probed);
        if let Value::Object(row) = &mut row {
            row.insert("machine".to_owned(), machine.as_str().into());
        }
        if let Some(Value::Array(peers)) =
            networks.last_mut().and_then(|network| network.get_mut("peers"))
        {
            peers.push(row);
        }
    }
    json!({ "networks": networks })
}

fn as_json(probed: &Probed) -> Value {
    let Route { network, port, .. } = &probed.route;
    match &probed.outcome {
        Ok(answer) => json!({
            "network": network, "port": port, "ok": true,
            "host": answer.host,
            "seconds": answer.elapsed.as_secs_f64(),
            "banner": answer.banner,
            "host_key": answer.key.map(|key| key.name()),
        }),
        Err(attempt) => json!({
            "network": network, "port": port, "ok": false,
            "host": attempt.host,
            "seconds": attempt.elapsed.as_secs_f64(),
            "stage": attempt.cause.stage().to_string(),
            "reason": attempt.cause.to_string(),
            "hint": advice::of_cause(&attempt.cause),
        }),
    }
}
