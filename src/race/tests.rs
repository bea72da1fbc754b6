//! Races against listeners on loopback that answer in every wrong way.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
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
    Race::new(routes, Arc::new(Dialer::new()), reveal, deadline, "SSH-2.0-test\r\n")
}

type BoxedReveal = std::pin::Pin<Box<dyn Future<Output = Revealed> + Send>>;

#[tokio::test]
async fn the_first_route_with_a_banner_wins_and_the_others_tell_why() {
    let routes = vec![
        route("refusing", closed_port().await),
        route("web", peer(b"HTTP/1.1 400 no\r\n\r\n").await),
        route("good", peer(b"SSH-2.0-good\r\n").await),
        route("unused", peer(b"SSH-2.0-unused\r\n").await),
    ];
    let mut race = race(routes, Duration::from_millis(400));
    let mut events = Vec::new();
    let won = race
        .next(&mut |event| {
            events.push(match event {
                Event::Started(route) => format!("start {}", route.network),
                Event::Failed(attempt) => format!("fail {} {}", attempt.network, attempt.stage),
            });
        })
        .await
        .unwrap();
    assert_eq!((won.route.network.as_str(), won.banner.as_str()), ("good", "SSH-2.0-good"));
    assert_eq!(
        events,
        ["start refusing", "fail refusing dial", "start web", "fail web banner", "start good"]
    );
    assert!(race.has_more());
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
    let mut tor = route("tor", closed_port().await);
    tor.technology = Technology::Tor;
    let mut race = race(vec![tor], Duration::from_secs(1));
    assert!(race.next(&mut |_| {}).await.is_none());
    let attempts = race.into_attempts();
    assert!(attempts.iter().any(|attempt| attempt.reason.contains("tor")), "{attempts:?}");
}
