//! Whose turn it is: when a route may start, which one may speak first, and when
//! the race is over. Owns the rules of [`super`]. Pure: it is told the time, and
//! knows neither streams nor clocks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::BANNER_GRACE;
use super::attempt::RouteState;
use crate::model::HEAD_START;

/// A route that has not started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) rank: usize,
    pub(super) head_start: Duration,
}

/// What the race has come to.
pub(super) struct Schedule {
    /// The best is the last.
    waiting: Vec<Waiting>,
    /// The route that last worked.
    early: Option<usize>,
    grace: Duration,
    /// Every route that has started, in that order.
    states: Vec<Arc<RouteState>>,
    /// The place of the best route that has answered.
    answered: Option<usize>,
}

impl Schedule {
    /// Of `routes`, the best first.
    pub(super) fn new(
        routes: impl DoubleEndedIterator<Item = Waiting>,
        early: Option<usize>,
        grace: Duration,
    ) -> Self {
        let waiting = routes.rev().collect();
        Self { waiting, early, grace, states: Vec::new(), answered: None }
    }

    /// The route that starts next, and when it may.
    pub(super) fn turn(&self, now: Instant) -> Option<(usize, Instant)> {
        let Some(best) = self.answered else {
            let next = self.waiting.last()?;
            let due = self.due(next, now);
            let early = self.early.filter(|rank| {
                let waits = self.waiting.iter().any(|waiting| waiting.rank == *rank);
                waits && due > now
            });
            return Some(early.map_or((next.rank, due), |rank| (rank, now)));
        };
        // Nothing that starts now could still win.
        if self.grace.is_zero() {
            return None;
        }
        let better = self.waiting.iter().filter(|waiting| waiting.rank < best);
        let turns = better.map(|waiting| match waiting.head_start > HEAD_START {
            true => (waiting.rank, self.due(waiting, now)),
            false => (waiting.rank, now),
        });
        // Of those whose turn has come, the best: the others count from it.
        turns.min_by_key(|(rank, at)| ((*at).max(now), *rank))
    }

    /// When a route may start: once no better attempt that still runs is left alone any
    /// longer, and at once when none runs.
    fn due(&self, waiting: &Waiting, now: Instant) -> Instant {
        let better = self.running().filter(|state| state.rank < waiting.rank);
        better.map(|state| state.is_alone_until(waiting.head_start)).max().unwrap_or(now)
    }

    fn running(&self) -> impl Iterator<Item = &Arc<RouteState>> {
        self.states.iter().filter(|state| !state.failed())
    }

    /// This one starts.
    pub(super) fn start(&mut self, rank: usize, now: Instant) -> Arc<RouteState> {
        self.waiting.retain(|waiting| waiting.rank != rank);
        let state = Arc::new(RouteState::new(rank, now));
        self.states.push(state.clone());
        self.promote();
        state
    }

    /// This one is out.
    pub(super) fn failed(&mut self, state: &RouteState) {
        state.fail();
        self.promote();
    }

    /// This one is reachable.
    pub(super) fn answered(&mut self, rank: usize) {
        self.answered = Some(self.answered.map_or(rank, |best| best.min(rank)));
    }

    /// The best route that is left may speak first, if none that waits is better.
    fn promote(&self) {
        if let Some(best) = self.running().min_by_key(|state| state.rank)
            && self.waiting.last().is_none_or(|waiting| best.rank < waiting.rank)
        {
            best.lead();
        }
    }

    /// When to decide: once no better route than the best that has answered may
    /// hold it up any longer. `None` while none has answered.
    pub(super) fn decision(&self, now: Instant) -> Option<Instant> {
        let best = self.answered?;
        let better = self.running().filter(|state| state.rank < best);
        let held_up = better.map(|state| match state.connected_at() {
            Some(_) if self.grace.is_zero() => now,
            Some(at) => at + BANNER_GRACE,
            None => state.started + self.grace,
        });
        Some(held_up.max().unwrap_or(now))
    }

    /// The youngest attempt that runs: what is waited for, as far as a user cares.
    pub(super) fn youngest(&self) -> Option<&Arc<RouteState>> {
        self.running().max_by_key(|state| state.started)
    }

    /// Every route that has started.
    pub(super) fn states(&self) -> &[Arc<RouteState>] {
        &self.states
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Technology;

    const ORDINARY: Technology = Technology::DIRECT;
    const GRACE: Duration = super::super::DEFAULT_GRACE;

    fn schedule(technologies: &[Technology], early: Option<usize>, grace: Duration) -> Schedule {
        let routes = technologies
            .iter()
            .enumerate()
            .map(|(rank, technology)| Waiting { rank, head_start: technology.head_start() });
        Schedule::new(routes, early, grace)
    }

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// Starts everything that may start at `now`.
    fn started(schedule: &mut Schedule, now: Instant) -> Vec<Arc<RouteState>> {
        let mut started = Vec::new();
        while let Some((rank, at)) = schedule.turn(now)
            && at <= now
        {
            started.push(schedule.start(rank, now));
        }
        started
    }

    fn ranks(states: &[Arc<RouteState>]) -> Vec<usize> {
        states.iter().map(|state| state.rank).collect()
    }

    #[test]
    fn a_failure_does_not_start_what_a_younger_better_attempt_still_holds_back() {
        let begin = Instant::now();
        let mut schedule = schedule(&[ORDINARY, ORDINARY, Technology::TOR], Some(1), GRACE);
        let first = started(&mut schedule, begin);
        assert_eq!(ranks(&first), [0, 1], "the remembered one starts with the first");
        schedule.failed(&first[0]);
        assert_eq!(schedule.turn(begin + ms(50)), Some((2, begin + Technology::TOR.head_start())));
        // It has connected: it counts from there.
        first[1].connect(begin + ms(600));
        assert_eq!(
            schedule.turn(begin + ms(700)),
            Some((2, begin + ms(600) + Technology::TOR.head_start()))
        );
        // It is out, and nothing holds Tor back any longer.
        schedule.failed(&first[1]);
        assert_eq!(schedule.turn(begin + ms(750)), Some((2, begin + ms(750))));
    }

    #[test]
    fn a_failure_of_the_youngest_leaves_the_older_one_to_count_from() {
        let begin = Instant::now();
        let mut schedule = schedule(&[ORDINARY, ORDINARY, Technology::TOR], None, GRACE);
        assert_eq!(ranks(&started(&mut schedule, begin)), [0]);
        assert_eq!(schedule.turn(begin), Some((1, begin + HEAD_START)));
        let second = started(&mut schedule, begin + ms(200));
        assert_eq!(ranks(&second), [1]);
        assert_eq!(schedule.turn(begin + ms(200)), Some((2, begin + ms(1200))));
        schedule.failed(&second[0]);
        assert_eq!(schedule.turn(begin + ms(210)), Some((2, begin + ms(1000))));
    }

    #[test]
    fn a_server_that_is_there_is_left_alone_longer_than_one_that_is_silent() {
        let begin = Instant::now();
        let mut schedule = schedule(&[ORDINARY, ORDINARY], None, GRACE);
        let first = started(&mut schedule, begin);
        assert_eq!(schedule.turn(begin), Some((1, begin + HEAD_START)));
        first[0].connect(begin + ms(100));
        let after = begin + ms(100) + super::super::BANNER_HEAD_START;
        assert_eq!(schedule.turn(begin + ms(150)), Some((1, after)));
    }

    #[test]
    fn a_worse_attempt_holds_nobody_back() {
        let begin = Instant::now();
        let all = [ORDINARY, Technology::TOR, ORDINARY];
        let mut schedule = schedule(&all, Some(2), GRACE);
        let first = started(&mut schedule, begin);
        assert_eq!(ranks(&first), [0, 2]);
        schedule.failed(&first[0]);
        assert_eq!(schedule.turn(begin + ms(5)), Some((1, begin + ms(5))));
    }

    #[test]
    fn once_one_has_answered_the_better_ones_start_at_once_but_not_the_costly() {
        let begin = Instant::now();
        let all = [ORDINARY, Technology::TOR, ORDINARY, ORDINARY, ORDINARY];
        let mut one = schedule(&all, Some(3), GRACE);
        let first = started(&mut one, begin);
        assert_eq!(ranks(&first), [0, 3]);
        one.answered(3);
        assert_eq!(ranks(&started(&mut one, begin + ms(20))), [2]);
        // Tor waits on, the worst never starts, and all is decided before.
        assert_eq!(one.turn(begin + ms(20)), Some((1, begin + ms(1000))));
        assert_eq!(one.decision(begin + ms(20)), Some(begin + ms(20) + GRACE));
        // Where the fastest is wanted nothing starts any more.
        let mut other = schedule(&all, Some(3), Duration::ZERO);
        started(&mut other, begin);
        other.answered(3);
        assert_eq!(other.turn(begin + ms(20)), None);
        assert!(other.decision(begin + ms(20)).unwrap() <= begin + ms(20));
    }

    #[test]
    fn the_best_route_that_is_left_may_speak_first() {
        let begin = Instant::now();
        let mut schedule = schedule(&[ORDINARY, ORDINARY, ORDINARY], Some(2), GRACE);
        let first = started(&mut schedule, begin);
        let leading = |states: &[Arc<RouteState>]| -> Vec<bool> {
            states.iter().map(|state| state.leads()).collect()
        };
        assert_eq!(leading(&first), [true, false]);
        schedule.failed(&first[0]);
        let second = started(&mut schedule, begin + ms(1));
        assert_eq!(ranks(&second), [1]);
        assert_eq!((second[0].leads(), first[1].leads()), (true, false));
        schedule.failed(&second[0]);
        assert!(first[1].leads());
    }
}
