//! Routes to the one stream that is used. Owns when a route starts, which of
//! those that answer wins, and the word "reachable": the peer's SSH banner has
//! arrived. Sends nothing but our own identification, and only where no better
//! route is left.

mod attempt;
mod banner;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::dial::{Dialer, Phase, Target};
use crate::error::{Attempt, Error};
use crate::exports::Technology;
use crate::plan::Route;
use attempt::{Running, State};

pub use attempt::Won;
pub use banner::BannerError;

/// How long a better route that has not even connected may still hold up one
/// that has answered, counted from its own start. One with a round trip of
/// 300 ms is still preferred; two dead ones cost little more than half a second.
pub const DEFAULT_GRACE: Duration = Duration::from_millis(360);
/// How long after connecting it may take for its banner meanwhile: its server
/// is there, and only slow.
const BANNER_GRACE: Duration = Duration::from_secs(2);
/// When the next route is prepared: not at once, as most races are won by then.
const PREPARE_AFTER: Duration = Duration::from_millis(200);
/// Later than the end of any attempt.
const FAR: Duration = Duration::from_secs(3600);
/// Routes tried at the same time. A machine with more has them tried in turn.
const MAX_RUNNING: usize = 16;

/// How a race is run.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Bound on each route from its start to its banner; what its technology
    /// needs when `None`.
    pub deadline: Option<Duration>,
    /// How long a better route may hold up one that has answered; nothing makes
    /// the fastest route win.
    pub grace: Duration,
    /// The place of the route that last worked: it starts with the first, and
    /// wins no sooner for that.
    pub early: Option<usize>,
    /// Our identification with its line end, as whoever gets the stream will
    /// send it first.
    pub hello: &'static str,
}

impl Rules {
    fn deadline_of(&self, technology: &Technology) -> Duration {
        self.deadline.unwrap_or(match technology {
            // A first start downloads megabytes over Tor; its parts have
            // deadlines of their own.
            Technology::Tor => Duration::from_secs(120),
            _ => Duration::from_secs(10),
        })
    }
}

/// Routes still to try, and what became of the others.
pub struct Race<R> {
    /// In the order of their priority; `None` once one has failed.
    routes: Vec<Option<Route>>,
    /// By the place of the route.
    attempts: Vec<(usize, Attempt)>,
    dialer: Arc<Dialer>,
    reveal: R,
    rules: Rules,
}

/// The outcome of revealing a route's host: its target, or why this route is
/// out. Blocking work such as decryption belongs on a blocking thread.
pub type Revealed = Result<Target, Box<Error>>;

/// What a watcher of the race is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// This route is being tried.
    Started(&'a Route),
    /// This route waits for something else now.
    Waiting(&'a Route, &'a Phase),
    /// This route is out.
    Failed(&'a Attempt),
}

impl<R, F> Race<R>
where
    R: Fn(Route) -> F,
    F: Future<Output = Revealed>,
{
    /// `reveal` turns a route into a target just before it is dialled.
    pub fn new(routes: Vec<Route>, dialer: Arc<Dialer>, reveal: R, rules: Rules) -> Self {
        let routes = routes.into_iter().map(Some).collect();
        Self { routes, attempts: Vec::new(), dialer, reveal, rules }
    }

    /// The best route that is reachable now, or `None` when all have failed.
    /// The other routes are closed; they start anew should this one turn out
    /// wrong and another be asked for.
    pub async fn next(&mut self, progress: &mut dyn FnMut(Event<'_>)) -> Option<Won> {
        let Self { routes, attempts, dialer, reveal, rules } = self;
        let (dialer, reveal, rules) = (&*dialer, &*reveal, *rules);
        let mut waiting: Vec<usize> = (0..routes.len())
            .rev()
            .filter(|at| routes.get(*at).is_some_and(Option::is_some))
            .collect();
        let mut states: Vec<Arc<State>> = Vec::new();
        let changed = Notify::new();
        let mut shown = None;
        let mut early = rules.early;
        let mut running = FuturesUnordered::new();
        let mut answered: Vec<Won> = Vec::new();
        let mut start_at = Instant::now();
        let mut prepare_at = None;
        loop {
            let now = Instant::now();
            let best_yet = answered.iter().map(|won| won.place).min();
            while running.len() < MAX_RUNNING {
                let due = match best_yet {
                    None if running.is_empty() || now >= start_at => waiting.last().copied(),
                    None => early.take().filter(|place| waiting.contains(place)),
                    // Once one has answered, only better ones matter, and at once.
                    Some(best) => waiting.last().copied().filter(|place| *place < best),
                };
                let Some(place) = due else { break };
                waiting.retain(|waiting| *waiting != place);
                let Some(Some(route)) = routes.get(place) else { continue };
                progress(Event::Started(route));
                let state = Arc::new(State::new(place, states.iter().all(|state| state.failed())));
                states.push(state.clone());
                running.push(attempt::run(Running {
                    route: route.clone(),
                    state,
                    dialer,
                    reveal,
                    rules,
                    changed: &changed,
                }));
                let next = waiting.last().and_then(|next| routes.get(*next)?.as_ref());
                start_at = now + next.map_or(Duration::ZERO, |next| head_start(&next.technology));
                prepare_at = next.map(|_| now + PREPARE_AFTER);
            }
            // What takes long to start begins while better routes still run.
            if prepare_at.is_some_and(|at| at <= now) && answered.is_empty() {
                prepare_at = None;
                let next = waiting.last().and_then(|next| routes.get(*next)?.as_ref());
                next.inspect(|next| dialer.prepare(&next.technology));
            }
            let decision = decision(&answered, &states, rules.grace, now);
            if let Some(at) = decision
                && at <= now
            {
                return best(answered);
            }
            if running.is_empty() {
                return best(answered);
            }
            let wake = match decision {
                Some(at) => at,
                // Nothing but the end of an attempt changes anything.
                None if waiting.is_empty() || running.len() >= MAX_RUNNING => now + FAR,
                None => prepare_at.map_or(start_at, |at| at.min(start_at)),
            };
            tokio::select! {
                Some((state, outcome)) = running.next() => match outcome {
                    Ok(won) => answered.push(*won),
                    Err(attempt) => {
                        state.fail();
                        progress(Event::Failed(&attempt));
                        if let Some(route) = routes.get_mut(state.place) {
                            *route = None;
                        }
                        attempts.push((state.place, *attempt));
                        promote(&states, waiting.last().copied());
                        // Nothing is gained by waiting for it any longer.
                        start_at = Instant::now();
                    }
                },
                () = changed.notified() => {
                    let best = states.iter().filter(|state| !state.failed());
                    let latest = best.max_by_key(|state| state.started);
                    if let Some(state) = latest
                        && let Some(Some(route)) = routes.get(state.place)
                    {
                        let phase = state.phase();
                        if shown.as_ref() != Some(&(state.place, phase.clone())) {
                            progress(Event::Waiting(route, &phase));
                            shown = Some((state.place, phase));
                        }
                    }
                }
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    /// One more route, to be tried after all others.
    pub fn add(&mut self, route: Route) {
        self.routes.push(Some(route));
    }

    /// Counts a route as failed after it was won: its key exchange broke, or
    /// its host key was not the machine's.
    pub fn failed(&mut self, place: usize, attempt: Attempt, progress: &mut dyn FnMut(Event<'_>)) {
        progress(Event::Failed(&attempt));
        if let Some(route) = self.routes.get_mut(place) {
            *route = None;
        }
        self.attempts.push((place, attempt));
    }

    /// Every route that failed, in the order of the routes.
    pub fn into_attempts(mut self) -> Vec<Attempt> {
        self.attempts.sort_by_key(|(place, _)| *place);
        self.attempts.into_iter().map(|(_, attempt)| attempt).collect()
    }
}

/// How long a route of this technology leaves the field to the better ones:
/// RFC 8305, section 5, between addresses allows 100 ms to 2 s; what costs more
/// than a packet to start waits longer.
fn head_start(technology: &Technology) -> Duration {
    Duration::from_millis(match technology {
        Technology::Tor => 1000,
        Technology::Iroh => 500,
        _ => 200,
    })
}

/// When to decide: once no better route than the best that has answered may
/// hold it up any longer. `None` while none has answered.
fn decision(
    answered: &[Won],
    states: &[Arc<State>],
    grace: Duration,
    now: Instant,
) -> Option<Instant> {
    let best = answered.iter().map(|won| won.place).min()?;
    let held_up = states
        .iter()
        .filter(|state| state.place < best && !state.failed())
        .map(|state| match state.connected_at() {
            Some(_) if grace.is_zero() => now,
            Some(at) => at + BANNER_GRACE,
            None => state.started + grace,
        })
        .max();
    Some(held_up.unwrap_or(now))
}

fn best(answered: Vec<Won>) -> Option<Won> {
    answered.into_iter().min_by_key(|won| won.place)
}

/// The best route that is left may speak first, if none that waits is better.
fn promote(states: &[Arc<State>], waiting: Option<usize>) {
    let best = states.iter().filter(|state| !state.failed()).min_by_key(|state| state.place);
    if let Some(state) = best
        && waiting.is_none_or(|place| state.place < place)
    {
        state.lead();
    }
}

#[cfg(test)]
mod tests;
