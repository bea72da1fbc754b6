//! Routes to the one stream that is used. Owns when a route starts, which of
//! those that answer wins, and the word "reachable": the peer's SSH banner has
//! arrived. Sends nothing but what the SSH client says first, and only where no better
//! route is left.
//!
//! # The rules
//! 1. Routes start in the order of their priority, the first one at once.
//! 2. Every other route waits for its head start: 120 ms, for iroh half a second,
//!    for Tor one second, because strangers see those begin. It counts from when
//!    each better attempt that is still running began. One that has connected has a
//!    server, which gets 200 ms at least to say so. When no better attempt is running,
//!    the route starts at once.
//! 3. A failure therefore starts the next route only if no other better attempt
//!    still holds that one back.
//! 4. The route that last worked starts together with the first one, Tor too.
//!    Routes that are worse count from it as from any other better attempt.
//! 5. A technology does nothing before one of its routes starts: no relay of Tor
//!    hears from us while a better network may still answer in time.
//! 6. When a route has answered, worse ones do not start any more. Better ones
//!    start at once, except for iroh and Tor, which still wait for rule 2.
//! 7. The best route that has answered is used as soon as no better attempt may
//!    hold it up any longer: one that has not connected may for the grace period
//!    after its start, one that has connected for two seconds after that.
//! 8. All other attempts are closed then. Only the best route that is left speaks
//!    before it has won, so that a loser is closed without a word.

mod attempt;
mod banner;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::dial::{Dial, Phase, Target};
use crate::error::{Attempt, Error};
use crate::model::Technology;
use crate::plan::Route;
use crate::ssh::Greeting;
use attempt::{RouteState, Running};
use schedule::{Schedule, Waiting};

pub use crate::error::BannerError;
pub use attempt::Reachable;

/// How long a better route that has not even connected may still hold up one
/// that has answered, counted from its own start. One with a round trip of
/// 300 ms is still preferred; two dead ones cost less than half a second.
pub const DEFAULT_GRACE: Duration = Duration::from_millis(360);
/// How long after connecting it may take for its banner meanwhile: its server
/// is there, and only slow.
const BANNER_GRACE: Duration = Duration::from_secs(2);
/// How long after connecting a better route is left alone at least: its banner takes a
/// round trip, and the start of a process at the server.
const BANNER_HEAD_START: Duration = Duration::from_millis(200);
/// Later than the end of any attempt.
const FAR: Duration = Duration::from_secs(3600);
/// Routes tried at the same time. A machine with more has them tried in turn.
const MAX_RUNNING: usize = 16;

/// How a race is run.
#[derive(Clone)]
pub struct Rules {
    /// Bound on each route from its start to its banner; what its technology
    /// needs when `None`.
    pub deadline: Option<Duration>,
    /// How long a better route may hold up one that has answered; nothing makes
    /// the fastest route win.
    pub grace: Duration,
    /// The place of the route that last worked. It starts together with the first
    /// one; a better route that answers is preferred all the same.
    pub early: Option<usize>,
    /// What shows that a route is reachable.
    pub proof: Proof,
}

/// What is said first to a target, once.
pub type Hello = Arc<dyn Fn(&Target) -> Greeting + Send + Sync>;

/// What shows that a route is reachable.
#[derive(Clone)]
pub enum Proof {
    /// The banner of an SSH server. With it what begins with our identification and its
    /// line end; nothing where whoever gets the stream says it himself.
    Banner(Option<Hello>),
    /// A connection, where nobody has to speak first.
    Connection,
}

impl Rules {
    fn deadline_of(&self, technology: &Technology) -> Duration {
        self.deadline.unwrap_or_else(|| technology.deadline())
    }
}

/// Routes still to try, and what became of the others.
pub struct Race<R> {
    /// In the order of their priority; `None` once one has failed.
    routes: Vec<Option<Route>>,
    /// By the place of the route.
    attempts: Vec<(usize, Attempt)>,
    dialer: Arc<dyn Dial>,
    reveal: R,
    rules: Rules,
}

/// The outcome of revealing a route's host: its target, or why this route is
/// out. Blocking work such as decryption belongs on a blocking thread.
pub type Revealed = Result<Target, Box<Error>>;

/// What a watcher of the race is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum RaceEvent<'a> {
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
    pub fn new(routes: Vec<Route>, dialer: Arc<dyn Dial>, reveal: R, rules: Rules) -> Self {
        let routes = routes.into_iter().map(Some).collect();
        Self { routes, attempts: Vec::new(), dialer, reveal, rules }
    }

    /// The best route that is reachable now, or `None` when all have failed.
    /// The other routes are closed; they start anew should this one turn out
    /// wrong and another be asked for.
    pub async fn next(&mut self, progress: &mut dyn FnMut(RaceEvent<'_>)) -> Option<Reachable> {
        let Self { routes, attempts, dialer, reveal, rules } = self;
        let (dialer, reveal, rules) = (&**dialer, &*reveal, &*rules);
        let waiting = routes.iter().enumerate().filter_map(|(rank, route)| {
            let head_start = route.as_ref()?.technology.head_start();
            Some(Waiting { rank, head_start })
        });
        let mut schedule = Schedule::new(waiting, rules.early, rules.grace);
        let changed = Notify::new();
        let mut shown = None;
        let mut running = FuturesUnordered::new();
        let mut answered: Vec<Reachable> = Vec::new();
        loop {
            let now = Instant::now();
            while running.len() < MAX_RUNNING
                && let Some((rank, at)) = schedule.turn(now)
                && at <= now
            {
                let state = schedule.start(rank, now);
                let Some(Some(route)) = routes.get(rank) else { continue };
                progress(RaceEvent::Started(route));
                running.push(attempt::run(Running {
                    route: route.clone(),
                    state,
                    dialer,
                    reveal,
                    rules,
                    changed: &changed,
                }));
            }
            let decision = schedule.decision(now);
            if running.is_empty() || decision.is_some_and(|at| at <= now) {
                return answered.into_iter().min_by_key(|reachable| reachable.rank);
            }
            let turn = schedule.turn(now).filter(|_| running.len() < MAX_RUNNING);
            let events = [decision, turn.map(|(_, at)| at)];
            // Without any, nothing but the end of an attempt changes anything.
            let wake = events.into_iter().flatten().min().unwrap_or(now + FAR);
            tokio::select! {
                Some((state, outcome)) = running.next() => {
                    remarks(&state, routes, progress);
                    match outcome {
                        Ok(reachable) => {
                            schedule.answered(reachable.rank);
                            answered.push(*reachable);
                        }
                        Err(attempt) => {
                            progress(RaceEvent::Failed(&attempt));
                            if let Some(route) = routes.get_mut(state.rank) {
                                *route = None;
                            }
                            attempts.push((state.rank, *attempt));
                            schedule.failed(&state);
                        }
                    }
                }
                () = changed.notified() => {
                    for state in schedule.states() {
                        remarks(state, routes, progress);
                    }
                    if let Some(state) = schedule.youngest()
                        && let Some(Some(route)) = routes.get(state.rank)
                    {
                        let phase = state.phase();
                        if shown.as_ref() != Some(&(state.rank, phase.clone())) {
                            progress(RaceEvent::Waiting(route, &phase));
                            shown = Some((state.rank, phase));
                        }
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// One more route, to be tried after all others.
    pub fn add(&mut self, route: Route) {
        self.routes.push(Some(route));
    }

    /// Counts a route as failed after it was won: its key exchange broke, or
    /// its host key was not the machine's.
    pub fn failed(
        &mut self,
        rank: usize,
        attempt: Attempt,
        progress: &mut dyn FnMut(RaceEvent<'_>),
    ) {
        progress(RaceEvent::Failed(&attempt));
        if let Some(route) = self.routes.get_mut(rank) {
            *route = None;
        }
        self.attempts.push((rank, attempt));
    }

    /// Every route that failed, in the order of the routes.
    pub fn into_attempts(mut self) -> Vec<Attempt> {
        self.attempts.sort_by_key(|(rank, _)| *rank);
        self.attempts.into_iter().map(|(_, attempt)| attempt).collect()
    }
}

/// Passes on what an attempt has said by the way.
fn remarks(state: &RouteState, routes: &[Option<Route>], progress: &mut dyn FnMut(RaceEvent<'_>)) {
    for remark in state.remarks() {
        if let Some(Some(route)) = routes.get(state.rank) {
            progress(RaceEvent::Waiting(route, &remark));
        }
    }
}

#[cfg(test)]
mod tests;
