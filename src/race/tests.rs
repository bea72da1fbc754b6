//! Races against listeners on loopback that answer in every wrong way.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::dial::{Dialer, black_hole};
use crate::error::Stage;
use crate::exports::{Host, Technology};

/// A peer that sends `answer` and then waits until the other side closes.
async fn peer(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            let mut rest = Vec::new();
            // What a loser sent would show here; tests look at the winner only.
            let _ = stream.read_to_end(&mut rest).await;
        }
    });
    address
}

async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn route(network: &str, address: SocketAddr) -> Route {
    Route {
        network: network.to_owned(),
        technology: Technology::Direct,
        host: Host::Plain(address.ip().to_string()),
        port: address.port(),
        user: "root".to_owned(),
        priority: 0,
    }
}

async fn reveal(route: Route) -> Revealed {
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
}

fn race(routes: Vec<Route>, deadline: Duration) -> Race<impl Fn(Route) -> BoxedReveal> {
    let reveal = |route| -> BoxedReveal { Box::pin(reveal(route)) };
    let deadline = Some(deadline);
    let rules = Rules { deadline, grace: DEFAULT_GRACE, early: None, hello: "SSH-2.0-test\r\n" };
    Race::new(routes, Arc::new(Dialer::new(Default::default(), Default::default())), reveal, rules)
}

type BoxedReveal = std::pin::Pin<Box<dyn Future<Output = Revealed> + Send>>;

#[tokio::test]
async fn the_first_route_with_a_banner_wins_and_the_others_tell_why() {
    let routes = vec![
        route("refusing", closed_port().await),
        route("web", slow_peer(b"", Duration::ZERO).await.0),
        route("good", peer(b"SSH-2.0-good\r\n").await),
        route("unused", peer(b"SSH-2.0-unused\r\n").await),
    ];
    let mut race = race(routes, Duration::from_millis(400));
    let mut events = Vec::new();
    let won = race
        .next(&mut |event| {
            events.push(match event {
                Event::Waiting(..) => return,
                Event::Started(route) => format!("start {}", route.network),
                Event::Failed(attempt) => format!("fail {} {}", attempt.network, attempt.stage),
            });
        })
        .await
        .unwrap();
    assert_eq!((won.route.network.as_str(), won.banner.as_str()), ("good", "SSH-2.0-good"));
    assert_eq!(
        events,
        ["start refusing", "fail refusing dial", "start web", "start good", "fail web banner"]
    );
    assert_eq!(race.into_attempts().len(), 2);
}

#[tokio::test]
async fn a_silent_peer_is_out_after_the_deadline_and_says_so() {
    let mut race = race(vec![route("silent", peer(b"").await)], Duration::from_millis(100));
    let started = Instant::now();
    assert!(race.next(&mut |_| {}).await.is_none());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let attempts = race.into_attempts();
    let [attempt] = attempts.as_slice() else { panic!("{attempts:?}") };
    assert_eq!(attempt.stage, Stage::Banner);
    assert!(attempt.reason.contains("no SSH banner"), "{attempt}");
    assert!(attempt.hint.is_some());
}

#[tokio::test]
async fn a_host_that_cannot_be_revealed_is_an_attempt_like_any_other() {
    let mut hidden = route("hidden", closed_port().await);
    let var = crate::exports::VarRef::new("m", "gen", "file").unwrap();
    hidden.host = Host::Var(var);
    let good = route("good", peer(b"SSH-2.0-good\r\n").await);
    let mut race = race(vec![hidden, good], Duration::from_secs(1));
    assert_eq!(race.next(&mut |_| {}).await.unwrap().route.network, "good");
    let attempts = race.into_attempts();
    assert_eq!(attempts.first().map(|attempt| attempt.stage), Some(Stage::Reveal));
}

#[tokio::test]
async fn technologies_that_are_not_there_are_named() {
    let mut iroh = route("iroh", closed_port().await);
    iroh.technology = Technology::Iroh;
    let mut race = race(vec![iroh], Duration::from_secs(1));
    assert!(race.next(&mut |_| {}).await.is_none());
    let attempts = race.into_attempts();
    assert!(attempts.iter().any(|attempt| attempt.reason.contains("iroh")), "{attempts:?}");
}

/// A peer that takes `delay` to send `answer`, and what it was sent.
async fn slow_peer(
    answer: &'static [u8],
    delay: Duration,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let heard = heard.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = stream.write_all(answer).await;
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said).await;
                let _ = heard.send(said);
            });
        }
    });
    (address, hears)
}

const BANNER: &[u8] = b"SSH-2.0-peer\r\n";

#[tokio::test]
async fn a_slow_route_of_higher_priority_still_wins_and_the_loser_hears_nothing() {
    let (slow, _slow_hears) = slow_peer(BANNER, Duration::from_millis(600)).await;
    let (fast, mut fast_hears) = slow_peer(BANNER, Duration::ZERO).await;
    let routes = vec![route("slow", slow), route("fast", fast)];
    let mut race = race(routes, Duration::from_secs(5));
    let won = race.next(&mut |_| {}).await.unwrap();
    assert_eq!(won.route.network, "slow");
    assert_eq!(fast_hears.recv().await.unwrap(), b"", "the loser was closed without a word");
}

#[tokio::test]
async fn two_black_holes_cost_little_more_than_half_a_second() {
    let (first, second) = (black_hole(), black_hole());
    let (good, _hears) = slow_peer(BANNER, Duration::ZERO).await;
    let routes = vec![route("one", first.0), route("two", second.0), route("three", good)];
    let mut race = race(routes, Duration::from_secs(5));
    let started = Instant::now();
    assert_eq!(race.next(&mut |_| {}).await.unwrap().route.network, "three");
    assert!(started.elapsed() < Duration::from_millis(650), "{:?}", started.elapsed());
}

#[tokio::test]
async fn without_grace_the_fastest_wins() {
    let (slow, _slow_hears) = slow_peer(BANNER, Duration::from_millis(900)).await;
    let (fast, _fast_hears) = slow_peer(BANNER, Duration::ZERO).await;
    let mut race = race(vec![route("slow", slow), route("fast", fast)], Duration::from_secs(5));
    race.rules.grace = Duration::ZERO;
    let started = Instant::now();
    assert_eq!(race.next(&mut |_| {}).await.unwrap().route.network, "fast");
    assert!(started.elapsed() < Duration::from_millis(600), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_winner_that_turns_out_wrong_gives_way_to_the_others() {
    let (one, _one_hears) = slow_peer(BANNER, Duration::ZERO).await;
    let (two, _two_hears) = slow_peer(BANNER, Duration::ZERO).await;
    let mut race = race(vec![route("one", one), route("two", two)], Duration::from_secs(5));
    let won = race.next(&mut |_| {}).await.unwrap();
    let attempt = Attempt {
        network: won.route.network,
        host: String::new(),
        stage: Stage::Kex,
        reason: "wrong".to_owned(),
        hint: None,
        elapsed: Duration::ZERO,
    };
    race.failed(won.place, attempt, &mut |_| {});
    assert_eq!(race.next(&mut |_| {}).await.unwrap().route.network, "two");
}

#[tokio::test]
async fn a_thousand_routes_are_tried_a_few_at_a_time() {
    let closed = closed_port().await;
    let (good, _hears) = slow_peer(BANNER, Duration::ZERO).await;
    let mut routes: Vec<Route> = (0..999).map(|at| route(&at.to_string(), closed)).collect();
    routes.push(route("good", good));
    let mut race = race(routes, Duration::from_secs(5));
    let started = Instant::now();
    assert_eq!(race.next(&mut |_| {}).await.unwrap().route.network, "good");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let attempts = race.into_attempts();
    assert_eq!(attempts.len(), 999);
    assert!(attempts.iter().enumerate().all(|(at, attempt)| attempt.network == at.to_string()));
}

#[tokio::test]
async fn the_route_that_last_worked_starts_at_once_and_still_yields_to_better_ones() {
    let hole = crate::dial::black_hole();
    let dead = |name: &str| route(name, hole.0);
    let routes = vec![dead("a"), dead("b"), route("last", peer(b"SSH-2.0-last\r\n").await)];
    let mut first = race(routes.clone(), Duration::from_secs(5));
    first.rules.early = Some(2);
    let started = Instant::now();
    assert_eq!(first.next(&mut |_| {}).await.unwrap().route.network, "last");
    // The better ones start when it has answered, and get their grace.
    assert!(
        started.elapsed() < DEFAULT_GRACE + Duration::from_millis(150),
        "{:?}",
        started.elapsed()
    );
    let routes = vec![
        dead("a"),
        route("slow", slow_peer(b"SSH-2.0-slow\r\n", Duration::from_millis(200)).await.0),
        route("last", peer(b"SSH-2.0-last\r\n").await),
    ];
    let mut second = race(routes, Duration::from_secs(5));
    second.rules.early = Some(2);
    assert_eq!(second.next(&mut |_| {}).await.unwrap().route.network, "slow");
}
