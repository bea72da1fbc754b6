//! `network ping` and `network overview`: which machines answer, over which
//! networks. Owns the fan-out, the tables and their JSON; while it lasts, the
//! table stands on the terminal as far as it is known.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::board::{Board, Row};
use super::invocation::Invocation;
use super::link::{self, Jumps, Prepared};
use super::machine::{Asked, SshOptions};
use super::request::routes::Found;
use super::request::{deadline, seconds};
use super::task::{drive, runtime};
use super::{Global, Ui, advice, complete, print_json, print_text, tor};
use crate::connect::{Probed, Request, Trust, probe};
use crate::dial::{Dialer, Origin};
use crate::error::{Attempt, Cause, Error, ProxyFailure, Result};
use crate::model::{Clan, Technology};
use crate::plan::{Overrides, Route, plan};
use crate::printable::Printable;

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
    #[command(flatten)]
    options: SshOptions,
}

#[derive(Debug, Args)]
pub(super) struct Overview {
    /// How long an answer may take [default: 5, but 60 for Tor]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: SshOptions,
}

/// Every network of the machine, in the order of priority: time to the banner
/// and what is known of the host key. Exits with 1 when none answers.
pub(super) fn ping(arguments: &Ping, global: &Global) -> Result<u8> {
    drive(async {
        let mut asked = Asked::of(&arguments.machine, &arguments.options)?;
        asked.network.clone_from(&arguments.network);
        asked.timeout = arguments.timeout;
        let mut invocation = asked.invocation(global).await?;
        let ui = Arc::new(Ui::of(&invocation.resolved, global.color));
        let probed = ping_all(&mut invocation, global, &ui).await;
        ui.progress.done();
        let probed = probed?;
        let reachable = probed.iter().any(|probed| probed.outcome.is_ok());
        if arguments.json {
            let rows: Vec<Value> = probed.iter().map(as_json).collect();
            let json =
                json!({ "machine": arguments.machine, "reachable": reachable, "routes": rows });
            print_json(&json)?;
        } else {
            print_text(&probed.iter().map(as_line).collect::<String>())?;
        }
        Ok(u8::from(!reachable))
    })
}

async fn ping_all(
    invocation: &mut Invocation,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Vec<Probed>> {
    let prepared = link::prepare(invocation, true, &Jumps::new(0), global, ui).await?;
    let mut request = prepared.request;
    ui.progress.doing(format!("pinging {}", Printable(&request.machine)));
    if request.routes.is_empty()
        && let Some(find) = request.last_resort.take()
    {
        // Its own configuration may say where it is.
        let found = tokio::task::spawn_blocking(move || find()).await;
        request.routes.extend(found.unwrap_or(Err(Error::Internal))?);
    }
    if request.routes.is_empty() {
        let reason = request.no_route.unwrap_or_default();
        return Err(Error::NoRoute { machine: request.machine, reason });
    }
    let trust = Trust::load(&request).await?;
    let dialer = Arc::new(Dialer::new(request.tor.clone(), request.origin.clone()));
    let turns = Turns::new();
    let said = deadline(invocation);
    let one = async |(place, route): (usize, Route)| {
        let _turn = turns.wait(&route).await;
        let request = Request { deadline: Some(allowed(said, &route)), ..request.clone() };
        (place, probe(&request, route, &dialer, Some(&trust)).await)
    };
    let routes = request.routes.clone().into_iter().enumerate();
    let all = stream::iter(routes).map(one).buffer_unordered(FAN_OUT);
    let mut probed: Vec<_> = all.collect().await;
    probed.sort_by_key(|(place, _)| *place);
    Ok(probed.into_iter().map(|(_, probed)| probed).collect())
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
    let vars = global.vars(ui)?;
    let tor = match routes.iter().any(|(_, route)| route.technology == Technology::Tor) {
        true => tor::settings(global, &[], "", &vars)?,
        false => Default::default(),
    };
    let base = Dialer::new(tor, Origin::default());
    let dialers = Dialers { base, shared: Mutex::default() };
    let everybody = Everybody { arguments, global, ui, jumps: Jumps::silent(), dialers };
    more_files();
    let runtime = runtime()?;
    let probed = runtime.block_on(everybody.probe(routes, &seen));
    // In this order: Tor, if it was started, ends with its dialler.
    drop(everybody);
    runtime.shutdown_background();
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

/// Who may go on: not too many at the same time where each is costly.
struct Turns(Semaphore);

impl Turns {
    fn new() -> Self {
        Self(Semaphore::new(COSTLY_FAN_OUT))
    }

    async fn wait(&self, route: &Route) -> Option<tokio::sync::SemaphorePermit<'_>> {
        if is_costly(route) { self.0.acquire().await.ok() } else { None }
    }
}

fn is_costly(route: &Route) -> bool {
    matches!(route.technology, Technology::Tor | Technology::Iroh)
}

/// How long an answer may take.
fn allowed(said: Option<Duration>, route: &Route) -> Duration {
    said.unwrap_or(if is_costly(route) { TOR_TIMEOUT } else { TIMEOUT })
}

/// The peers of all networks, each with the options that apply to its machine.
struct Everybody<'a> {
    arguments: &'a Overview,
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
        let one = async |(place, (machine, route)): (usize, (String, Route))| {
            let _turn = turns.wait(&route).await;
            let probed = match self.prepared(&machine, route.clone()).await {
                Ok((mut request, said)) => {
                    request.deadline = Some(allowed(said, &route));
                    let dialer = self.dialers.of(&request.origin);
                    probe(&request, route, &dialer, None).await
                }
                Err(error) => failed(route, &error),
            };
            seen(place, &probed);
            (place, machine, probed)
        };
        let all = stream::iter(wanted.into_iter().enumerate()).map(one).buffer_unordered(FAN_OUT);
        let mut probed: Vec<_> = all.collect().await;
        probed.sort_by_key(|(place, ..)| *place);
        probed.into_iter().map(|(_, machine, probed)| (machine, probed)).collect()
    }

    /// What connecting over one route takes, and how long it may.
    async fn prepared(&self, machine: &str, route: Route) -> Result<(Request, Option<Duration>)> {
        let mut asked = Asked::of(machine, &self.arguments.options)?;
        asked.timeout = self.arguments.timeout;
        let mut invocation = asked.invocation(self.global).await?;
        let found = Found { routes: vec![route], is_machine: true, ..Found::default() };
        let Self { jumps, global, ui, .. } = self;
        let prepared = link::prepare_found(&mut invocation, found, true, jumps, global, ui);
        let Prepared { request, .. } = prepared.await?;
        match request.routes.is_empty() {
            true => Err(Error::NoRoute {
                machine: machine.to_owned(),
                reason: "no proxy leads to this network".to_owned(),
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
        host: route.host.to_string(),
        cause: Cause::Proxy(ProxyFailure::Jump(why)),
        elapsed: Duration::ZERO,
    };
    Probed { route, outcome: Err(attempt) }
}

/// One dialler for all that come from the same place, and one Tor for all of them.
struct Dialers {
    base: Dialer,
    shared: Mutex<HashMap<String, Arc<Dialer>>>,
}

impl Dialers {
    fn of(&self, origin: &Origin) -> Arc<Dialer> {
        if origin.detour.is_some() {
            return Arc::new(self.base.from(origin.clone()));
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(self.base.from(origin.clone()));
        shared.entry(format!("{origin:?}")).or_insert_with(new).clone()
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
