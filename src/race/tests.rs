//! Races under a clock that stands still until everybody waits (tokio's
//! `start_paused`), over peers that answer as a script says.

mod early;
mod property;

use std::pin::Pin;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{sleep, timeout};

use super::*;
use crate::dial::{self, DialError, DialFailure, Dialer, Dialling, Stream};
use crate::error::{Cause, LeafFailure, LeafFault, Stage};
use crate::model::Host;
use crate::ssh::Loss;

const BANNER: &str = "SSH-2.0-peer\r\n";
const HELLO: &str = "SSH-2.0-test\r\n";
/// Timers have a resolution of one millisecond.
const TICK: Duration = Duration::from_millis(2);

fn iroh() -> Technology {
    Technology::of_module("clan_lib.network.p2p_ssh_iroh")
}

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// What becomes of a route.
#[derive(Debug, Clone)]
struct Script {
    technology: Technology,
    dialled: Dialled,
    /// What the peer says, and how long after the connection.
    says: Option<(Duration, &'static str)>,
}

#[derive(Debug, Clone, Copy)]
enum Dialled {
    Connects(Duration),
    Fails(Duration),
    Never,
    /// It has deadlines of its own, and connects then.
    InItsTime(Duration),
}

impl Script {
    fn new(dialled: Dialled, says: Option<(Duration, &'static str)>) -> Self {
        Self { technology: Technology::DIRECT, dialled, says }
    }

    /// Connects and answers, each after a round trip.
    fn answering(round_trip: Duration) -> Self {
        Self::new(Dialled::Connects(round_trip), Some((round_trip, BANNER)))
    }

    fn refusing(after: Duration) -> Self {
        Self::new(Dialled::Fails(after), None)
    }

    fn black_hole() -> Self {
        Self::new(Dialled::Never, None)
    }

    fn over(self, technology: Technology) -> Self {
        Self { technology, ..self }
    }
}

/// What was seen of a route.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Dialled,
    /// Its dial ended, by itself or because nobody waited any longer.
    Ended,
    /// Its stream was closed from our side, and this was said before.
    Closed(String),
}

/// Plays the dialler.
struct Cast {
    scripts: Vec<Script>,
    begin: Instant,
    log: Arc<Mutex<Vec<(usize, Duration, Seen)>>>,
}

/// What it is when what has its own time takes too long.
fn unknown() -> LeafFailure {
    LeafFailure { overlay: "Yggdrasil", fault: LeafFault::NotFound }
}

/// Notes the end of a dial.
struct Ending<'a>(&'a Cast, usize);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.note(self.1, Seen::Ended);
    }
}

impl Cast {
    fn note(&self, rank: usize, seen: Seen) {
        self.log.lock().unwrap().push((rank, self.begin.elapsed(), seen));
    }
}

impl Dial for Cast {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        let rank: usize = target.host.expose().parse().unwrap();
        Box::pin(async move {
            self.note(rank, Seen::Dialled);
            let _ending = Ending(self, rank);
            let script = self.scripts[rank].clone();
            match script.dialled {
                Dialled::Never => std::future::pending().await,
                Dialled::Fails(after) => {
                    sleep(after).await;
                    Err(DialError { stage: Stage::Dial, failure: DialFailure::Refused })
                }
                Dialled::Connects(after) | Dialled::InItsTime(after) => {
                    if let Dialled::InItsTime(_) = script.dialled {
                        enter(Phase::Seeking(unknown()));
                    }
                    sleep(after).await;
                    let (ours, theirs) = duplex(4096);
                    let (log, begin) = (self.log.clone(), self.begin);
                    tokio::spawn(async move {
                        let heard = serve(theirs, script.says).await;
                        let closed = (rank, begin.elapsed(), Seen::Closed(heard));
                        log.lock().unwrap().push(closed);
                    });
                    Ok(Stream::new(ours, None))
                }
            }
        })
    }
}

/// Says what the script says, and returns what was heard when the other side is
/// gone.
async fn serve(stream: DuplexStream, says: Option<(Duration, &'static str)>) -> String {
    let (mut read, mut write) = tokio::io::split(stream);
    let saying = tokio::spawn(async move {
        if let Some((after, text)) = says {
            sleep(after).await;
            let _ = write.write_all(text.as_bytes()).await;
        }
        std::future::pending::<()>().await;
    });
    let mut heard = String::new();
    let _ = read.read_to_string(&mut heard).await;
    saying.abort();
    heard
}

type BoxedReveal = Pin<Box<dyn Future<Output = Revealed> + Send>>;

/// A race that is watched.
struct Watched {
    race: Race<fn(Route) -> BoxedReveal>,
    cast: Arc<Cast>,
}

fn reveal(route: Route) -> BoxedReveal {
    Box::pin(async move {
        let Host::Plain(host) = route.host else {
            return Err(Box::new(Error::Usage("no var here".to_owned())));
        };
        Ok(Target {
            technology: route.technology,
            host: host.clone().into(),
            label: host,
            secret: false,
            port: route.port,
        })
    })
}

/// Routes that are called by their places.
fn watched(scripts: Vec<Script>) -> Watched {
    let routes = scripts.iter().enumerate().map(|(rank, script)| Route {
        network: rank.to_string(),
        technology: script.technology.clone(),
        host: Host::Plain(rank.to_string()),
        port: 22,
        user: "root".to_owned(),
        priority: 0,
    });
    let routes = routes.collect();
    let cast = Arc::new(Cast { scripts, begin: Instant::now(), log: Arc::default() });
    let rules = Rules {
        deadline: Some(ms(5000)),
        grace: DEFAULT_GRACE,
        early: None,
        proof: Proof::Banner(Some(Arc::new(|_| HELLO.into()))),
    };
    let reveal: fn(Route) -> BoxedReveal = reveal;
    Watched { race: Race::new(routes, cast.clone(), reveal, rules), cast }
}

impl Watched {
    /// The network that wins, and when.
    async fn winner(&mut self) -> (Option<String>, Duration) {
        let reachable = self.race.next(&mut |_| {}).await;
        let elapsed = self.cast.begin.elapsed();
        let network = reachable.as_ref().map(|reachable| reachable.route.network.clone());
        drop(reachable);
        // Those who were left have the time to notice.
        sleep(TICK).await;
        (network, elapsed)
    }

    /// When a route was dialled.
    fn dialled(&self, rank: usize) -> Option<Duration> {
        let log = self.cast.log.lock().unwrap();
        log.iter().find(|(of, _, seen)| (*of, seen) == (rank, &Seen::Dialled)).map(|found| found.1)
    }

    /// What the peer of a stream that was closed had heard.
    fn heard(&self, rank: usize) -> Option<String> {
        let log = self.cast.log.lock().unwrap();
        log.iter().find_map(|(of, _, seen)| match seen {
            Seen::Closed(heard) if *of == rank => Some(heard.clone()),
            _ => None,
        })
    }
}

fn assert_about(elapsed: Duration, expected: Duration) {
    assert!(elapsed >= expected && elapsed <= expected + TICK, "{elapsed:?} is not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_route_with_a_banner_wins_and_the_others_tell_why() {
    let web = Script::new(Dialled::Connects(ms(1)), Some((ms(250), "HTTP/1.1 400 no\r\n\r\n")));
    let closing = ms(400);
    let mut watched = watched(vec![
        Script::refusing(ms(1)),
        web,
        Script::answering(ms(20)),
        Script::answering(ms(20)),
    ]);
    watched.race.rules.deadline = Some(closing);
    let mut events = Vec::new();
    let mut watch = |event: RaceEvent<'_>| {
        events.push(match event {
            RaceEvent::Waiting(..) => return,
            RaceEvent::Started(route) => format!("start {}", route.network),
            RaceEvent::Failed(attempt) => {
                format!("fail {} {}", attempt.network, attempt.cause.stage())
            }
        });
    };
    let reachable = watched.race.next(&mut watch).await.unwrap();
    assert_eq!(
        (reachable.route.network.as_str(), reachable.banner.as_str()),
        ("2", "SSH-2.0-peer")
    );
    assert_eq!(events, ["start 0", "fail 0 dial", "start 1", "start 2", "fail 1 banner"]);
    assert_eq!(watched.race.into_attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_out_after_the_deadline_and_says_so() {
    let mut watched = watched(vec![Script::new(Dialled::Connects(ms(10)), None)]);
    let (winner, elapsed) = watched.winner().await;
    assert_eq!(winner, None);
    assert_about(elapsed, ms(5000));
    let attempts = watched.race.into_attempts();
    let [attempt] = attempts.as_slice() else { panic!("{attempts:?}") };
    assert_eq!(attempt.cause.stage(), Stage::Banner);
    assert!(matches!(attempt.cause, Cause::Banner(BannerError::TimedOut)), "{attempt}");
    assert!(attempt.cause.hint().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_way_with_deadlines_of_its_own_may_take_them_and_no_longer() {
    let slow = || Script { dialled: Dialled::InItsTime(ms(25_000)), ..Script::answering(ms(10)) };
    let mut alone = watched(vec![slow()]);
    alone.race.rules.deadline = None;
    let (winner, elapsed) = alone.winner().await;
    assert_eq!(winner.as_deref(), Some("0"));
    assert_about(elapsed, ms(25_010));
    // The next network does not wait for that.
    let mut of_two = watched(vec![slow(), Script::answering(ms(10))]);
    of_two.race.rules.deadline = None;
    let (winner, elapsed) = of_two.winner().await;
    assert_eq!(winner.as_deref(), Some("1"));
    assert!(elapsed < ms(500), "{elapsed:?}");
    // There is an end to it, and what the user says counts; each says how far it came.
    for (said, expected) in [(None, ms(180_000)), (Some(ms(3000)), ms(3000))] {
        let mut endless = slow();
        endless.dialled = Dialled::InItsTime(ms(3_600_000));
        let mut watched = watched(vec![endless]);
        watched.race.rules.deadline = said;
        let (winner, elapsed) = watched.winner().await;
        assert_eq!(winner, None);
        assert_about(elapsed, expected);
        let attempts = watched.race.into_attempts();
        assert_eq!(attempts[0].cause.to_string(), unknown().to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_long_way_a_silent_server_has_the_ordinary_time() {
    let long = Script { dialled: Dialled::InItsTime(ms(25_000)), ..Script::black_hole() };
    let mut watched = watched(vec![long]);
    watched.race.rules.deadline = None;
    let (winner, elapsed) = watched.winner().await;
    assert_eq!(winner, None);
    assert_about(elapsed, ms(35_000));
    let attempts = watched.race.into_attempts();
    assert!(matches!(attempts[0].cause, Cause::Banner(BannerError::TimedOut)));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_revealed_is_an_attempt_like_any_other() {
    let mut watched = watched(vec![Script::black_hole(), Script::answering(ms(10))]);
    let var = crate::model::VarRef::new("m", "gen", "file").unwrap();
    watched.race.routes[0].as_mut().unwrap().host = Host::Var(var);
    let (winner, elapsed) = watched.winner().await;
    assert_eq!(winner.as_deref(), Some("1"));
    assert_about(elapsed, ms(20));
    let attempts = watched.race.into_attempts();
    assert_eq!(attempts.first().map(|attempt| attempt.cause.stage()), Some(Stage::Decrypt));
}

#[tokio::test]
async fn technologies_that_are_not_there_are_named() {
    let pigeons = Technology::unsupported("my.pigeons");
    let mut watched = watched(vec![Script::black_hole().over(pigeons)]);
    watched.race.dialer = Arc::new(Dialer::new(Default::default(), Default::default()));
    assert!(watched.race.next(&mut |_| {}).await.is_none());
    let attempts = watched.race.into_attempts();
    assert!(attempts.iter().any(|it| it.cause.to_string().contains("my.pigeons")), "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_route_of_higher_priority_still_wins_and_the_loser_hears_nothing() {
    let slow = Script::new(Dialled::Connects(ms(5)), Some((ms(600), BANNER)));
    let mut watched = watched(vec![slow, Script::answering(ms(5))]);
    let (winner, elapsed) = watched.winner().await;
    assert_eq!(winner.as_deref(), Some("0"));
    assert_about(elapsed, ms(605));
    assert_eq!(watched.heard(1).as_deref(), Some(""), "the loser was closed without a word");
    assert_eq!(watched.heard(0).as_deref(), Some(HELLO), "the best may speak first");
}

#[tokio::test(start_paused = true)]
async fn two_black_holes_cost_less_than_half_a_second() {
    let hole = Script::black_hole();
    let mut watched = watched(vec![hole.clone(), hole, Script::answering(ms(1))]);
    let (winner, elapsed) = watched.winner().await;
    assert_eq!(winner.as_deref(), Some("2"));
    assert_about(watched.dialled(2).unwrap(), ms(240));
    assert_about(elapsed, ms(120) + DEFAULT_GRACE);
    assert!(elapsed < ms(500));
}

#[tokio::test(start_paused = true)]
async fn a_network_of_300_ms_is_preferred_wherever_it_stands() {
    let far = Script::answering(ms(300));
    let near = Script::answering(ms(5));
    let hole = Script::black_hole();
    for (scripts, best) in [
        (vec![far.clone(), near.clone()], "0"),
        (vec![far.clone(), near.clone(), near.clone()], "0"),
        (vec![hole, far, near], "1"),
    ] {
        assert_eq!(watched(scripts).winner().await.0.as_deref(), Some(best));
    }
}

#[tokio::test(start_paused = true)]
async fn without_grace_the_fastest_wins() {
    let mut watched = watched(vec![Script::answering(ms(900)), Script::answering(ms(10))]);
    watched.race.rules.grace = Duration::ZERO;
    let (winner, elapsed) = watched.winner().await;
    assert_eq!(winner.as_deref(), Some("1"));
    assert_about(elapsed, ms(140));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_there_but_slow_is_waited_for_only_so_long() {
    for (slow, expected, after) in [(1900, "0", 1910), (2500, "1", 2010)] {
        let slow = Script::new(Dialled::Connects(ms(10)), Some((ms(slow), BANNER)));
        let mut watched = watched(vec![slow, Script::answering(ms(5))]);
        let (winner, elapsed) = watched.winner().await;
        assert_eq!(winner.as_deref(), Some(expected));
        assert_about(elapsed, ms(after));
    }
}

#[tokio::test(start_paused = true)]
async fn a_winner_that_turns_out_wrong_gives_way_to_the_others() {
    let mut watched = watched(vec![Script::answering(ms(5)), Script::answering(ms(5))]);
    let reachable = watched.race.next(&mut |_| {}).await.unwrap();
    let attempt = Attempt {
        network: reachable.route.network,
        host: String::new(),
        port: None,
        cause: Cause::KeyExchange(Loss::Closed),
        elapsed: Duration::ZERO,
    };
    watched.race.failed(reachable.rank, attempt, &mut |_| {});
    assert_eq!(watched.winner().await.0.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_routes_are_tried_a_few_at_a_time() {
    let mut scripts = vec![Script::refusing(ms(1)); 999];
    scripts.push(Script::answering(ms(1)));
    let mut watched = watched(scripts);
    let (winner, elapsed) = watched.winner().await;
    assert_eq!(winner.as_deref(), Some("999"));
    assert!(elapsed < ms(5000), "{elapsed:?}");
    let attempts = watched.race.into_attempts();
    assert_eq!(attempts.len(), 999);
    assert!(attempts.iter().enumerate().all(|(at, attempt)| attempt.network == at.to_string()));
    // All of them silent: no more than so many at a time.
    let mut watched = self::watched(vec![Script::black_hole(); 40]);
    let _ = timeout(ms(4900), watched.race.next(&mut |_| {})).await;
    let dialled = (0..40).filter(|rank| watched.dialled(*rank).is_some()).count();
    assert_eq!(dialled, MAX_RUNNING);
}

#[tokio::test(start_paused = true)]
async fn the_route_that_last_worked_starts_at_once_and_still_yields_to_better_ones() {
    let hole = Script::black_hole();
    let mut first = watched(vec![hole.clone(), hole.clone(), Script::answering(ms(5))]);
    first.race.rules.early = Some(2);
    let (winner, elapsed) = first.winner().await;
    assert_eq!(winner.as_deref(), Some("2"));
    // The better ones start when it has answered, and get their grace.
    assert_about(first.dialled(1).unwrap(), ms(10));
    assert_about(elapsed, ms(10) + DEFAULT_GRACE);
    let mut second = watched(vec![hole, Script::answering(ms(100)), Script::answering(ms(5))]);
    second.race.rules.early = Some(2);
    assert_eq!(second.winner().await.0.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn tor_does_not_start_while_a_remembered_vpn_answers() {
    // The internet is off at once; the VPN is far away, or its server slow.
    for (connects, banner) in [(5, 5), (300, 300), (900, 900), (5, 990)] {
        let vpn = Script::new(Dialled::Connects(ms(connects)), Some((ms(banner), BANNER)));
        let tor = Script::answering(ms(5)).over(Technology::TOR);
        let mut watched = watched(vec![Script::refusing(ms(1)), vpn, tor]);
        watched.race.rules.early = Some(1);
        let (winner, elapsed) = watched.winner().await;
        assert_eq!(winner.as_deref(), Some("1"));
        assert_about(elapsed, ms(connects + banner));
        assert_eq!(watched.dialled(2), None, "{connects} {banner}");
    }
}

#[tokio::test(start_paused = true)]
async fn tor_starts_a_second_after_the_last_sign_of_a_better_route() {
    let tor = Script::answering(ms(50)).over(Technology::TOR);
    for (vpn, early, starts) in [
        // Dead, remembered or not: a second after it began.
        (Script::black_hole(), Some(1), 1000),
        (Script::black_hole(), None, 1001),
        // It connects, and says nothing: a second after that.
        (Script::new(Dialled::Connects(ms(700)), None), Some(1), 1700),
        // It is out as well: nothing holds Tor back.
        (Script::refusing(ms(80)), Some(1), 80),
        (Script::refusing(ms(80)), None, 81),
    ] {
        let mut watched = watched(vec![Script::refusing(ms(1)), vpn.clone(), tor.clone()]);
        watched.race.rules.early = early;
        assert_eq!(watched.winner().await.0.as_deref(), Some("2"), "{vpn:?}");
        assert_about(watched.dialled(2).unwrap(), ms(starts));
    }
    // It is all there is, or it is what last worked.
    let mut alone = watched(vec![tor.clone()]);
    assert_about(alone.winner().await.1, ms(100));
    let mut remembered = watched(vec![Script::black_hole(), tor]);
    remembered.race.rules.early = Some(1);
    let (winner, elapsed) = remembered.winner().await;
    assert_eq!(winner.as_deref(), Some("1"));
    assert_about(elapsed, DEFAULT_GRACE);
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_says_by_the_way_is_told_even_if_it_ends_at_once() {
    struct Distrustful;
    impl Dial for Distrustful {
        fn dial<'a>(
            &'a self,
            _target: &'a Target,
            enter: &'a (dyn Fn(Phase) + Sync),
        ) -> Dialling<'a> {
            let socks = "127.0.0.1:9050".parse().unwrap();
            enter(Phase::Distrusting { socks, why: "it belongs to user nobody".to_owned() });
            enter(Phase::Onion);
            let failed = DialError { stage: Stage::Dial, failure: DialFailure::Refused };
            Box::pin(std::future::ready(Err(failed)))
        }
    }
    let mut watched = watched(vec![Script::black_hole()]);
    watched.race.dialer = Arc::new(Distrustful);
    let mut said = Vec::new();
    let mut watch = |event: RaceEvent<'_>| {
        if let RaceEvent::Waiting(_, phase) = event {
            said.push(phase.to_string());
        }
    };
    assert!(watched.race.next(&mut watch).await.is_none());
    let remark =
        "the program that listens on 127.0.0.1:9050 is not used: it belongs to user nobody";
    assert!(said.iter().any(|text| text == remark), "{said:?}");
}
