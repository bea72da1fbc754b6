//! What holds for every race, whatever its peers do.

use proptest::prelude::*;

use super::*;
use crate::model::HEAD_START;

const DEADLINE: Duration = Duration::from_millis(2000);
const NONSENSE: &str = "HTTP/1.1 400 no\r\n\r\nSSH-1.5-old\r\n";

fn span(most: u64) -> impl Strategy<Value = Duration> {
    (0..most).prop_map(ms)
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let technology = prop_oneof![
        3 => Just(Technology::DIRECT),
        1 => Just(Technology::TOR),
        1 => Just(iroh()),
    ];
    let dialled = prop_oneof![
        4 => span(1500).prop_map(Dialled::Connects),
        2 => span(1500).prop_map(Dialled::Fails),
        1 => Just(Dialled::Never),
    ];
    let says = prop_oneof![
        3 => span(3000).prop_map(|after| Some((after, BANNER))),
        1 => span(1000).prop_map(|after| Some((after, NONSENSE))),
        1 => Just(None),
    ];
    let script = (technology, dialled, says).prop_map(|(technology, dialled, says)| Script {
        technology,
        dialled,
        says,
    });
    prop::collection::vec(script, 1..8)
}

/// When things happen to a route that started at some time, if it is let.
struct Course {
    started: Duration,
    connects: Option<Duration>,
    answers: Option<Duration>,
    fails: Option<Duration>,
}

impl Course {
    fn of(script: &Script, started: Duration) -> Self {
        let end = started + DEADLINE;
        let (connects, refused) = match script.dialled {
            Dialled::Connects(after) | Dialled::InItsTime(after) => (Some(started + after), None),
            Dialled::Fails(after) => (None, Some(started + after)),
            Dialled::Never => (None, None),
        };
        let says = connects.zip(script.says).map(|(at, (after, text))| (at + after, text));
        let answers = says.filter(|(at, text)| *at < end && *text == BANNER).map(|(at, _)| at);
        let nonsense = says.filter(|(at, text)| *at < end && *text != BANNER).map(|(at, _)| at);
        let fails = match answers {
            Some(_) => None,
            None => Some(refused.or(nonsense).unwrap_or(end)),
        };
        Self { started, connects, answers, fails }
    }

    fn is_over(&self, at: Duration) -> bool {
        self.fails.is_some_and(|fails| fails <= at + TICK)
    }

    /// Until when it is left alone, by what was surely seen of it.
    fn is_alone_until(&self, at: Duration, head_start: Duration) -> Duration {
        match self.connects.filter(|connects| *connects + TICK < at) {
            Some(connects) => connects + head_start.max(BANNER_HEAD_START),
            None => self.started + head_start,
        }
    }
}

fn check(scripts: Vec<Script>, early: Option<usize>, grace: Duration) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut watched = watched(scripts.clone());
        let proof = Proof::Banner(Some(Arc::new(|_: &Target| HELLO.into())));
        watched.race.rules = Rules { deadline: Some(DEADLINE), grace, early, proof };
        let reachable = watched.race.next(&mut |_| {}).await;
        let end = watched.cast.begin.elapsed();
        sleep(TICK).await;
        let courses: Vec<Option<Course>> = scripts
            .iter()
            .enumerate()
            .map(|(rank, script)| Some(Course::of(script, watched.dialled(rank)?)))
            .collect();
        starts_are_in_turn(&scripts, &courses, early);
        let rank = reachable.as_ref().map(|reachable| reachable.rank);
        the_best_wins(&scripts, &courses, rank, end, grace);
        the_rest_is_gone(&watched, &courses, rank, end);
        drop(reachable);
        if rank.is_none() {
            assert_eq!(watched.race.into_attempts().len(), scripts.len());
        }
        let spans = scripts.iter().map(|script| script.technology.head_start() + ms(1500));
        assert!(end <= spans.sum::<Duration>() + DEADLINE + BANNER_GRACE + grace, "{end:?}");
    });
}

fn starts_are_in_turn(scripts: &[Script], courses: &[Option<Course>], early: Option<usize>) {
    assert_eq!(courses[0].as_ref().map(|course| course.started), Some(Duration::ZERO));
    for (rank, course) in courses.iter().enumerate() {
        let Some(course) = course else { continue };
        let now = course.started;
        if early == Some(rank) {
            assert_eq!(now, Duration::ZERO, "the remembered one starts with the first");
            continue;
        }
        let head_start = scripts[rank].technology.head_start();
        let answered = |by: Duration| {
            move |course: &Option<Course>| {
                course.as_ref().and_then(|course| course.answers).is_some_and(|at| at <= by)
            }
        };
        let late = courses[..rank].iter().any(answered(now.saturating_sub(TICK)));
        assert!(!late, "{rank} starts though a better one has answered");
        // Once one has answered, only what is costly still waits.
        if courses.iter().any(answered(now + TICK)) && head_start <= HEAD_START {
            continue;
        }
        for better in courses[..rank].iter().flatten() {
            if better.started <= now && !better.is_over(now) {
                let due = better.is_alone_until(now, head_start);
                assert!(now + TICK >= due, "{rank} starts at {now:?}, not {due:?}");
            }
        }
    }
}

fn the_best_wins(
    scripts: &[Script],
    courses: &[Option<Course>],
    reachable: Option<usize>,
    end: Duration,
    grace: Duration,
) {
    let Some(reachable) = reachable else {
        let fails = |course: &Option<Course>| course.as_ref().is_some_and(|it| it.is_over(end));
        assert!(courses.iter().all(fails), "given up while one still ran");
        return;
    };
    assert!(courses[reachable].as_ref().unwrap().answers.unwrap() <= end + TICK);
    for (rank, better) in courses[..reachable].iter().enumerate() {
        let Some(better) = better else {
            // It would have started at once, had it been cheap.
            let costly = scripts[rank].technology.head_start() > HEAD_START;
            assert!(grace.is_zero() || costly, "{rank} was never tried");
            continue;
        };
        let answers_late = better.answers.is_none_or(|at| at + TICK >= end);
        assert!(answers_late, "{rank} had answered, and {reachable} was used");
        if better.is_over(end) || grace.is_zero() {
            continue;
        }
        let waited_for = match better.connects.filter(|connects| *connects + TICK <= end) {
            Some(connects) => connects + BANNER_GRACE,
            None => better.started + grace,
        };
        assert!(end + TICK >= waited_for, "{rank} was not waited for until {waited_for:?}");
    }
}

fn the_rest_is_gone(
    watched: &Watched,
    courses: &[Option<Course>],
    reachable: Option<usize>,
    end: Duration,
) {
    let log = watched.cast.log.lock().unwrap().clone();
    for (rank, course) in courses.iter().enumerate() {
        let Some(course) = course else { continue };
        let seen = |wanted: &dyn Fn(&Seen) -> bool| {
            log.iter().any(|(of, _, seen)| *of == rank && wanted(seen))
        };
        assert!(seen(&|seen| *seen == Seen::Ended), "the dial of {rank} still runs");
        if Some(rank) == reachable || course.connects.is_none_or(|connects| connects + TICK >= end)
        {
            continue;
        }
        assert!(seen(&|seen| matches!(seen, Seen::Closed(_))), "{rank} is still open");
    }
    for (rank, _, seen) in &log {
        let Seen::Closed(heard) = seen else { continue };
        assert!(heard.is_empty() || heard == HELLO, "{heard:?}");
        let out = |better: &Option<Course>| better.as_ref().is_some_and(|it| it.is_over(end));
        let was_best = courses[..*rank].iter().all(out);
        assert!(heard.is_empty() || was_best, "{rank} was spoken to, and was not the best");
    }
}

proptest! {
    #[test]
    fn the_rules_hold_for_all_peers(
        scripts in scripts(),
        early in prop::option::of(0_usize..8),
        grace in prop_oneof![Just(Duration::ZERO), Just(DEFAULT_GRACE), span(1000)],
    ) {
        let early = early.filter(|rank| *rank < scripts.len());
        check(scripts, early, grace);
    }
}
