//! `network overview`: which machines answer, over which networks, each with the
//! options that a session would have. Owns the table and its JSON; while it lasts, the
//! table stands on the terminal as far as it is known.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{How, Turns, allowed, as_json, fan_out};
use crate::cli::link::{self, Jumps, Prepared};
use crate::cli::live_table::{LiveTable, Row};
use crate::cli::network::{is_up, label_on_demand, sorted};
use crate::cli::request::deadline;
use crate::cli::request::routes::Found;
use crate::cli::request::technologies;
use crate::cli::task::runtime;
use crate::cli::ways::network_options;
use crate::cli::{Global, Ui, events, print_json, print_text, warm};
use crate::connect::{Probed, Request, probe};
use crate::dial::{self, Dialer, Lasting, OfClan, Settings, SocketOptions, Ways};
use crate::error::{Attempt, Cause, Error, ProxyFailure, Result};
use crate::model::{Clan, Running};
use crate::plan::{Route, plans};
use crate::printable::Printable;
use crate::race::RaceEvent;

/// Open files that this takes.
const FILES: u64 = 4096;

#[derive(Debug, Args)]
pub(in crate::cli) struct Overview {
    #[command(flatten)]
    how: How,
    /// In the words of `clan network overview`.
    #[arg(skip)]
    is_of_clan: bool,
}

impl Overview {
    /// The same in the words of `clan network overview`.
    pub(in crate::cli) fn of_clan(self) -> Self {
        Self { is_of_clan: true, ..self }
    }
}

/// Every network with every peer.
pub(in crate::cli) fn overview(arguments: &Overview, global: &Global, ui: &Arc<Ui>) -> Result<u8> {
    let clan = global.clan(ui)?;
    ui.problems(&clan);
    ui.lack_of_exports(&clan);
    let routes = all_routes(&clan);
    let vars = Arc::new(global.vars(ui)?);
    let used = routes.iter().map(|(_, route)| route);
    let of_clan = OfClan::of(&clan, None);
    let options = network_options(&clan, &arguments.how.options, global)?;
    let settings = technologies(used, &of_clan, global, &options, "", &vars)?;
    let ways = dial::ways(&settings);
    let networks = sorted(&clan).into_iter();
    let names: HashMap<&str, String> =
        networks.map(|network| (network.label.as_str(), label_on_demand(network, &ways))).collect();
    // Some routes are in no network, such as those to a `targetHost`.
    let name =
        |label: &str| names.get(label).cloned().unwrap_or_else(|| Printable(label).to_string());
    let rows = routes
        .iter()
        .map(|(machine, route)| Row {
            machine: Printable(machine).to_string(),
            network: name(&route.network),
            state: String::new(),
        })
        .collect();
    let table = LiveTable::new(rows, ui);
    let (total, done) = (routes.len(), AtomicUsize::new(0));
    let seen = |place: usize, probed: &Probed| {
        table.set(place, state(probed));
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if !table.is_shown() {
            ui.progress.doing(format!("asked {done} of {total}"));
        }
    };
    let settings = Settings { lasting: Lasting::Answer, ..settings };
    let base = Dialer::new(settings, SocketOptions::of(&global.env));
    let dialers = Dialers { base, shared: Mutex::default() };
    let (how, jumps) = (&arguments.how, Jumps::silent());
    let everybody = Everybody { clan: &clan, how, global, ui, jumps, dialers };
    more_files();
    let runtime = runtime()?;
    let probed = runtime.block_on(everybody.probe(routes, &seen));
    // In this order: Tor, if it was started, ends with its dialler.
    drop(everybody);
    runtime.shutdown_background();
    ui.progress.done();
    let text = table.text();
    drop(table);
    if arguments.is_of_clan {
        print_text(&text_of_clan(&clan, &probed, &ways))?;
        return Ok(0);
    }
    let warm = warm::of_clan(global)?;
    if arguments.how.json {
        print_json(&warm::with_json(overview_json(&clan, &probed, &ways), &warm))?;
    } else {
        print_text(&(text + &warm::text(&warm)))?;
    }
    Ok(0)
}

/// The routes of all machines, by network, best first.
fn all_routes(clan: &Clan) -> Vec<(String, Route)> {
    let mut all = Vec::new();
    for (machine, routes) in plans(clan) {
        // Machines without an address are in no row.
        for route in routes.unwrap_or_default() {
            all.push((machine.to_owned(), route));
        }
    }
    all.sort_by(|(_, a), (_, b)| b.priority.cmp(&a.priority).then(a.network.cmp(&b.network)));
    all
}

/// The peers of all networks, each with the options that apply to its machine.
struct Everybody<'a> {
    clan: &'a Clan,
    how: &'a How,
    global: &'a Global,
    ui: &'a Arc<Ui>,
    jumps: Jumps,
    dialers: Dialers,
}

impl Everybody<'_> {
    /// Probes all of them, and returns them in the same order.
    async fn probe(
        &self,
        wanted: Vec<(String, Route)>,
        seen: &dyn Fn(usize, &Probed),
    ) -> Vec<(String, Probed)> {
        let turns = Turns::new();
        let one = async |place, (machine, route): (String, Route)| {
            let _turn = turns.wait(&route).await;
            events::race(&machine, &RaceEvent::Started(&route));
            let probed = match self.prepared(&machine, route.clone()).await {
                Ok((mut request, said)) => {
                    request.deadline = Some(allowed(said, &route));
                    let dialer = self.dialers.of(&request.socket_options);
                    probe(&request, route, &dialer, None).await
                }
                Err(error) => failed(route, &error),
            };
            events::probed(&machine, &probed);
            seen(place, &probed);
            (machine, probed)
        };
        fan_out(wanted, one).await
    }

    /// What connecting over one route takes, and how long it may.
    async fn prepared(&self, machine: &str, route: Route) -> Result<(Request, Option<Duration>)> {
        let mut invocation = self.how.asked(machine)?.invocation(self.global).await?;
        let known = self.clan.kept_hosts(std::iter::once(&route.host));
        let found = Found { routes: vec![route], is_machine: true, known, ..Found::default() };
        let Self { jumps, global, ui, .. } = self;
        let prepared = link::prepare_found(&mut invocation, found, true, jumps, global, ui);
        let Prepared { request, .. } = prepared.await?;
        match request.routes.is_empty() {
            true => Err(Error::NoRoute {
                machine: machine.to_owned(),
                reason: "a proxy cannot reach this network".to_owned().into(),
            }),
            false => Ok((request, deadline(&invocation))),
        }
    }
}

/// A route to which not even what is in the way could be reached.
fn failed(route: Route, error: &Error) -> Probed {
    let text = error.to_string();
    let why = text.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    let attempt = Attempt {
        network: route.network.clone(),
        host: route.shown_host(),
        port: None,
        cause: Cause::Proxy(ProxyFailure::Jump(why)),
        elapsed: Duration::ZERO,
    };
    Probed { route, phases: Vec::new(), outcome: Err(attempt) }
}

/// One dialler for all that come from the same place, and one Tor for all of them.
struct Dialers {
    base: Dialer,
    shared: Mutex<HashMap<String, Arc<Dialer>>>,
}

impl Dialers {
    fn of(&self, socket_options: &SocketOptions) -> Arc<Dialer> {
        if socket_options.proxy.is_some() {
            return Arc::new(self.base.from(socket_options.clone()));
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(self.base.from(socket_options.clone()));
        shared.entry(format!("{socket_options:?}")).or_insert_with(new).clone()
    }
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

fn state(probed: &Probed) -> String {
    match &probed.outcome {
        Ok(answer) => format!("ok       {:.1} ms", answer.elapsed.as_secs_f64() * 1000.0),
        Err(attempt) => format!("failed   {}", attempt.cause),
    }
}

/// As `clan_cli/network/overview.py` has it: a network, then each of its peers with the
/// milliseconds that it takes.
fn text_of_clan(clan: &Clan, probed: &[(String, Probed)], ways: &Ways) -> String {
    let mut text = String::new();
    for network in sorted(clan) {
        let state = if is_up(network, ways) { "ONLINE" } else { "OFFLINE" };
        text.push_str(&format!("{} [{state}]\n", Printable(&network.label)));
        let mut times: Vec<(&str, Option<f64>)> = Vec::new();
        for (machine, probed) in probed.iter().filter(|(_, it)| it.route.network == network.label) {
            let time = probed.outcome.as_ref().ok().map(|it| it.elapsed.as_secs_f64() * 1000.0);
            // One that has several hosts is one peer.
            match times.iter_mut().find(|(known, _)| known == machine) {
                Some((_, known)) => *known = known.or(time),
                None => times.push((machine, time)),
            }
        }
        for (machine, time) in times {
            let time = time.map_or("OFFLINE".to_owned(), |time| format!("{time:.2}"));
            text.push_str(&format!("\t{}: [{time}]\n", Printable(machine)));
        }
    }
    if text.is_empty() { "No networks found.\n".to_owned() } else { text }
}

fn overview_json(clan: &Clan, probed: &[(String, Probed)], ways: &Ways) -> Value {
    let mut networks: Vec<Value> = Vec::new();
    let mut last = None;
    for (machine, probed) in probed {
        let label = &probed.route.network;
        if last != Some(label) {
            let network = clan.networks.iter().find(|network| network.label == *label);
            let running = network.map(|network| ways.running(network));
            networks.push(json!({
                "name": label,
                "priority": network.map(|network| network.priority),
                "running": running.map(|(running, _)| running.word()),
                "on_demand": running.is_some_and(|(it, _)| it == Running::InProcess),
                "way": running.and_then(|(_, way)| way),
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
