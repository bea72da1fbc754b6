//! One route of a race: reveal, dial, banner, within its deadline. Owns which cause
//! it fails for; knows of no other route but whether there is a better one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::banner;
use super::{BANNER_HEAD_START, Proof, Revealed, Rules};
use crate::dial::{Dial, Phase, Stream, Target};
use crate::error::BannerError;
use crate::error::{Attempt, Cause};
use crate::model::Technology;
use crate::plan::Route;
use crate::ssh::Greeting;

/// No attempt takes longer, however much time its steps have of their own.
const MOST: Duration = Duration::from_secs(180);

/// A route whose peer answered with an SSH banner.
#[derive(Debug)]
pub struct Reachable {
    /// Its place among the routes, 0 for the best.
    pub rank: usize,
    /// The route.
    pub route: Route,
    /// Where it led, for the host key and for messages.
    pub target: Target,
    /// The stream, with the banner still to be read.
    pub stream: Stream,
    /// What has been said on it. Nothing, if it had not won before it answered.
    pub said: Greeting,
    /// The server's identification, for messages; printable. Empty where a
    /// connection was proof enough.
    pub banner: String,
}

/// What the race knows of a route under way.
pub(super) struct RouteState {
    pub(super) rank: usize,
    pub(super) started: Instant,
    /// Whether no better route is left.
    leading: AtomicBool,
    failed: AtomicBool,
    connected_at: OnceLock<Instant>,
    phase: Mutex<Phase>,
    /// Wakes the attempt when its deadline may be another.
    moved: Notify,
    /// What was said by the way, until somebody is told.
    remarks: Mutex<Vec<Phase>>,
}

impl RouteState {
    pub(super) fn new(rank: usize, started: Instant) -> Self {
        Self {
            rank,
            started,
            leading: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            connected_at: OnceLock::new(),
            phase: Mutex::default(),
            moved: Notify::new(),
            remarks: Mutex::default(),
        }
    }

    pub(super) fn lead(&self) {
        self.leading.store(true, Ordering::Relaxed);
    }

    pub(super) fn leads(&self) -> bool {
        self.leading.load(Ordering::Relaxed)
    }

    /// Notes what is waited for; false when that is nothing new.
    fn enter(&self, phase: Phase) -> bool {
        if phase.is_remark() {
            self.remarks.lock().unwrap_or_else(PoisonError::into_inner).push(phase);
            return true;
        }
        let mut now = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *now != phase;
        *now = phase;
        if changed {
            self.moved.notify_one();
        }
        changed
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was said by the way, once.
    pub(super) fn remarks(&self) -> Vec<Phase> {
        std::mem::take(&mut *self.remarks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn connect(&self, now: Instant) {
        let _ = self.connected_at.set(now);
        self.moved.notify_one();
    }

    pub(super) fn connected_at(&self) -> Option<Instant> {
        self.connected_at.get().copied()
    }

    /// Until when the attempt may go on that began to dial at this time.
    fn deadline(&self, begun: Instant, rules: &Rules, technology: &Technology) -> Instant {
        let limit = rules.deadline_of(technology);
        let ordinary = begun + limit;
        if rules.deadline.is_some() || !self.phase().keeps_time() {
            return ordinary;
        }
        match self.connected_at() {
            Some(at) => ordinary.max(at + limit),
            None => ordinary.max(begun + MOST),
        }
    }

    /// Until when a worse route with this head start leaves it the field.
    pub(super) fn is_alone_until(&self, head_start: Duration) -> Instant {
        match self.connected_at() {
            Some(at) => at + head_start.max(BANNER_HEAD_START),
            None => self.started + head_start,
        }
    }
}

/// All that an attempt needs.
pub(super) struct Running<'a, R> {
    pub(super) route: Route,
    pub(super) state: Arc<RouteState>,
    pub(super) dialer: &'a dyn Dial,
    pub(super) reveal: &'a R,
    pub(super) rules: &'a Rules,
    /// Wakes the race when a phase has changed.
    pub(super) changed: &'a Notify,
}

/// Runs one attempt to its end.
pub(super) async fn run<R, F>(
    running: Running<'_, R>,
) -> (Arc<RouteState>, Result<Box<Reachable>, Box<Attempt>>)
where
    R: Fn(Route) -> F,
    F: Future<Output = Revealed>,
{
    let Running { route, state, dialer, reveal, rules, changed } = running;
    let failed = |host: String, port, cause| {
        let (network, elapsed) = (route.network.clone(), state.started.elapsed());
        Box::new(Attempt { network, host, port, cause, elapsed })
    };
    let target = match reveal(route.clone()).await {
        Ok(target) => target,
        Err(error) => {
            let host = route.shown_host();
            return (state.clone(), Err(failed(host, None, Cause::Decrypt(error))));
        }
    };
    let (label, port) = (target.label.clone(), target.shown_port());
    let enter = |phase| {
        if state.enter(phase) {
            changed.notify_one();
        }
    };
    let dialling = async {
        let mut begun = dialer.begin(&target, &enter).await?;
        // A loser is closed without a word; only the best route left speaks before it
        // is chosen.
        let first = || match &rules.proof {
            Proof::Banner(Some(hello)) if state.leads() => hello(&target),
            _ => Greeting::default(),
        };
        let mut said = Greeting::default();
        if begun.may_speak() {
            said = first();
            begun.say(said.bytes()).await;
        }
        let stream = begun.confirmed().await?;
        state.connect(Instant::now());
        Ok::<_, Cause>(match &rules.proof {
            Proof::Banner(_) => {
                let is_said = !said.bytes().is_empty();
                if !is_said {
                    said = first();
                }
                let now = if is_said { &[] } else { said.bytes() };
                let (stream, banner) = banner::receive(stream, now).await?;
                (stream, said, banner)
            }
            Proof::Connection => (stream, Greeting::default(), String::new()),
        })
    };
    let (begun, technology) = (Instant::now(), &route.technology);
    let reached = in_time(&state, || state.deadline(begun, rules, technology), dialling).await;
    let outcome = match reached {
        Some(Ok((stream, said, banner))) => {
            Ok(Box::new(Reachable { rank: state.rank, route, target, stream, said, banner }))
        }
        Some(Err(cause)) => Err(failed(label, port, cause)),
        None => {
            let cause = match state.connected_at() {
                Some(_) => BannerError::TimedOut.into(),
                None => state.phase().timed_out().into(),
            };
            Err(failed(label, port, cause))
        }
    };
    (state, outcome)
}

/// What it leads to, unless that takes longer than until the deadline, which another phase
/// moves.
async fn in_time<T>(
    state: &RouteState,
    deadline: impl Fn() -> Instant,
    dialling: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(dialling);
    loop {
        tokio::select! {
            biased;
            reached = &mut dialling => return Some(reached),
            () = state.moved.notified() => {}
            () = sleep_until(deadline()) => {
                if deadline() <= Instant::now() {
                    return None;
                }
            }
        }
    }
}
