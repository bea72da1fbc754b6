//! `network ping`: whether a machine answers, over which of its networks. Owns how
//! many are asked at once and for how long, and the lines and the JSON of an answer.

mod overview;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::invocation::Invocation;
use super::link::{self, Jumps};
use super::machine::{MachineRequest, SshOptions};
use super::request::{deadline, seconds};
use super::task::drive;
use super::{Global, Ui, complete, events, print_json, print_text};
use crate::advice::{self, Caller};
use crate::connect::{KeyState, Probed, Request, Trust, probe};
use crate::dial::{Dialer, Lasting, Phase, Settings};
use crate::error::{Error, Result};
use crate::plan::Route;
use crate::printable::Printable;
use crate::race::RaceEvent;
pub(super) use overview::{Overview, overview};

/// Probes at the same time: more than the black holes of any clan, fewer than
/// the files a process may have open.
const FAN_OUT: usize = 800;
/// At the same time over Tor or iroh, where each costs circuits of others.
const COSTLY_FAN_OUT: usize = 16;
/// How long a peer may take, unless the user says.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most of that where it is costly, as over Tor, which has to start.
const COSTLY_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Ping {
    /// The machine
    #[arg(add = ArgValueCompleter::new(complete::machines))]
    machine: String,
    /// Use this network only
    #[arg(short, long, value_name = "NAME", add = ArgValueCompleter::new(complete::networks))]
    network: Option<String>,
    #[command(flatten)]
    how: How,
}

/// How a probe is made and told.
#[derive(Debug, Args)]
struct How {
    /// How long an answer may take [default: 5, but 60 for Tor and 20 for iroh]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: SshOptions,
}

impl How {
    /// What is asked about a machine.
    fn asked(&self, machine: &str) -> Result<MachineRequest> {
        Ok(MachineRequest { timeout: self.timeout, ..MachineRequest::of(machine, &self.options)? })
    }
}

/// Every network of the machine, and its own configuration when none answers: time to the
/// banner and what is known of the host key, a line as soon as it answers, or in JSON all of
/// them in the order of priority. Exits with 1 when none answers that a session would go on
/// with.
pub(super) fn ping(arguments: &Ping, global: &Global) -> Result<u8> {
    drive(async {
        let mut asked = arguments.how.asked(&arguments.machine)?;
        asked.network.clone_from(&arguments.network);
        let mut invocation = asked.invocation(global).await?;
        let ui = Arc::new(Ui::of(&invocation.resolved, global.color));
        let probed = ping_all(&mut invocation, !arguments.how.json, global, &ui).await;
        ui.progress.done();
        let probed = probed?;
        let reachable = probed.iter().any(|probed| probed.outcome.is_ok());
        if arguments.how.json {
            let rows: Vec<Value> = probed.iter().map(as_json).collect();
            let json =
                json!({ "machine": arguments.machine, "reachable": reachable, "routes": rows });
            print_json(&json)?;
        }
        Ok(u8::from(!probed.iter().any(is_usable)))
    })
}

/// How long the machine takes to answer over one of its networks, in milliseconds; `None`
/// where it does not answer.
pub(super) async fn answer_time(
    machine: &str,
    network: &str,
    global: &Global,
) -> Result<Option<f64>> {
    let mut asked = MachineRequest::of(machine, &SshOptions::default())?;
    asked.network = Some(network.to_owned());
    let mut invocation = asked.invocation(global).await?;
    let ui = Arc::new(Ui::of(&invocation.resolved, global.color));
    let probed = ping_all(&mut invocation, false, global, &ui).await;
    ui.progress.done();
    let probed = probed?;
    probed.iter().for_each(|probed| ui.verbose(as_line(probed).trim_end()));
    let answers = probed.iter().filter_map(|probed| probed.outcome.as_ref().ok());
    let times = answers.map(|answer| answer.elapsed.as_secs_f64() * 1000.0);
    Ok(times.min_by(f64::total_cmp))
}

async fn ping_all(
    invocation: &mut Invocation,
    is_told: bool,
    global: &Global,
    ui: &Arc<Ui>,
) -> Result<Vec<Probed>> {
    let prepared = link::prepare(invocation, true, &Jumps::new(0), global, ui).await?;
    let mut request = prepared.request;
    ui.progress.doing(format!("pinging {}", Printable(&request.machine)));
    // Each asks about one of them, and is alone.
    let routes = std::mem::take(&mut request.routes);
    let last_resort = request.last_resort.take();
    let trust = Arc::new(Trust::load(&request).await?);
    let settings = Settings { lasting: Lasting::Answer, ..std::mem::take(&mut request.settings) };
    let dialer = Arc::new(Dialer::new(settings, request.socket_options.clone()));
    let turns = Turns::new();
    let said = deadline(invocation);
    let one = async |_, route: Route| {
        let _turn = turns.wait(&route).await;
        let request = Request { deadline: Some(allowed(said, &route)), ..request.clone() };
        events::race(&request.machine, &RaceEvent::Started(&route));
        let probed = probe(&request, route, &dialer, Some(&trust)).await;
        events::probed(&request.machine, &probed);
        if is_told {
            let mut done = Ok(());
            ui.progress.aside(|| done = print_text(&as_line(&probed)));
            done?;
        }
        Ok(probed)
    };
    let probed: Result<Vec<Probed>> = fan_out(routes, &one).await.into_iter().collect();
    let mut probed = probed?;
    let is_reached = probed.iter().any(|probed| probed.outcome.is_ok());
    if let Some(find) = last_resort.filter(|_| !is_reached) {
        // Its own configuration may say where it is, which a session asks then, too.
        let found = tokio::task::spawn_blocking(move || find()).await;
        match found.unwrap_or(Err(Error::Internal)) {
            Ok(Some(route)) => probed.push(one(0, route).await?),
            Ok(None) => {}
            Err(error) if probed.is_empty() => return Err(error),
            Err(error) => ui.warning(&error.to_string()),
        }
    }
    if probed.is_empty() {
        let reason = request.no_route.unwrap_or_default();
        return Err(Error::NoRoute { machine: request.machine, reason });
    }
    Ok(probed)
}

/// Does it for all of them at the same time, each with its place; what becomes of them
/// is in the same order.
async fn fan_out<T, R>(all: Vec<T>, one: impl AsyncFn(usize, T) -> R) -> Vec<R> {
    let each = async |(place, it)| (place, one(place, it).await);
    let done = stream::iter(all.into_iter().enumerate()).map(each).buffer_unordered(FAN_OUT);
    let mut done: Vec<_> = done.collect().await;
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
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
    route.technology.is_costly()
}

/// How long an answer may take.
fn allowed(said: Option<Duration>, route: &Route) -> Duration {
    said.unwrap_or(match is_costly(route) {
        true => route.technology.deadline().min(COSTLY_TIMEOUT),
        false => TIMEOUT,
    })
}

/// Whether it answers, and not with a host key that a session refuses.
fn is_usable(probed: &Probed) -> bool {
    probed.outcome.as_ref().is_ok_and(|answer| answer.key != Some(KeyState::Changed))
}

/// What to do about a host key that a session refuses.
fn hint_of_key(key: Option<KeyState>) -> Option<&'static str> {
    (key == Some(KeyState::Changed)).then_some(
        "a session would be refused: clan-connect network trust list MACHINE shows which host \
         keys are known, and clan-connect ssh MACHINE says what to do",
    )
}

fn as_line(probed: &Probed) -> String {
    let network = Printable(&probed.route.network);
    match &probed.outcome {
        Ok(answer) => {
            let key = answer.key.map(|key| format!(", host key {}", key.name()));
            let hint = hint_of_key(answer.key).map(|hint| format!("\n  hint: {hint}"));
            format!(
                "{network} via {}{}: {:.1} ms{}, {}{}\n",
                Printable(&answer.host),
                answer.way.map(|way| format!(" (on demand: {way})")).unwrap_or_default(),
                answer.elapsed.as_secs_f64() * 1000.0,
                key.unwrap_or_default(),
                answer.banner,
                hint.unwrap_or_default()
            )
        }
        Err(attempt) => {
            let hint = advice::of_cause(&attempt.cause, Caller::CommandLine)
                .map(|hint| format!("\n  hint: {hint}"));
            format!("{attempt}{}\n", hint.unwrap_or_default())
        }
    }
}

fn as_json(probed: &Probed) -> Value {
    let Route { network, port, user, technology, .. } = &probed.route;
    let name = technology.name();
    let phase = |(phase, at): &(Phase, Duration)| json!({ "waits_for": phase.to_string(), "seconds": at.as_secs_f64() });
    let phases: Vec<Value> = probed.phases.iter().map(phase).collect();
    let costly = technology.is_costly();
    match &probed.outcome {
        Ok(answer) => json!({
            "network": network, "technology": name, "port": port, "user": user, "ok": true,
            "host": answer.host,
            "seconds": answer.elapsed.as_secs_f64(),
            "banner": answer.banner,
            "host_key": answer.key.map(|key| key.name()),
            "hint": hint_of_key(answer.key),
            "way": answer.way,
            "costly": costly,
            "phases": phases,
        }),
        Err(attempt) => json!({
            "network": network, "technology": name, "port": port, "user": user, "ok": false,
            "host": attempt.host,
            "seconds": attempt.elapsed.as_secs_f64(),
            "stage": attempt.cause.stage().to_string(),
            "reason": attempt.cause.to_string(),
            "hint": advice::of_cause(&attempt.cause, Caller::CommandLine),
            "way": null,
            "costly": costly,
            "phases": phases,
        }),
    }
}
