//! Words that go along with the asking for a stream.

use async_trait::async_trait;

use super::*;
use crate::dial::{Begun, Pending};
use crate::error::TorFailure;

/// Streams that are asked for, and what was said before they were there.
#[derive(Clone, Default)]
struct Asking {
    /// Says why there will be none.
    refuses: bool,
    early: Arc<Mutex<Vec<String>>>,
    late: Arc<Mutex<Vec<String>>>,
}

/// One of them, that is there a while after it was asked for.
struct Unconfirmed(Asking);

#[async_trait]
impl Pending for Unconfirmed {
    async fn say(&mut self, words: &[u8]) {
        self.0.early.lock().unwrap().push(String::from_utf8(words.to_vec()).unwrap());
    }

    async fn confirmed(self: Box<Self>) -> Result<Stream, DialError> {
        sleep(ms(50)).await;
        if self.0.refuses {
            let failure = DialFailure::Tor(TorFailure::PortClosed);
            return Err(DialError::new(Stage::Dial, failure));
        }
        let (ours, theirs) = duplex(4096);
        let late = self.0.late.clone();
        tokio::spawn(async move {
            let heard = serve(theirs, Some((ms(1), BANNER))).await;
            late.lock().unwrap().push(heard);
        });
        Ok(Stream::new(ours, None))
    }
}

impl Dial for Asking {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async move { self.begin(target, enter).await?.confirmed().await })
    }

    fn begin<'a>(
        &'a self,
        target: &'a Target,
        _: &'a (dyn Fn(Phase) + Sync),
    ) -> dial::Beginning<'a> {
        Box::pin(async move {
            match target.host.expose().as_str() {
                // It is there, but says nothing for as long as anybody waits.
                "silent" => std::future::pending().await,
                _ => Ok(Begun::asked(Unconfirmed(self.clone()))),
            }
        })
    }
}

fn race(hosts: &[&str], asking: &Asking) -> Race<fn(Route) -> BoxedReveal> {
    let routes = hosts.iter().map(|host| Route {
        network: (*host).to_owned(),
        technology: Technology::DIRECT,
        host: Host::Plain((*host).to_owned()),
        port: 22,
        user: "root".to_owned(),
        priority: 0,
    });
    let proof = Proof::Banner(Some(Arc::new(|_| HELLO.into())));
    let rules = Rules { deadline: Some(ms(5000)), grace: DEFAULT_GRACE, early: None, proof };
    let reveal: fn(Route) -> BoxedReveal = reveal;
    Race::new(routes.collect(), Arc::new(asking.clone()), reveal, rules)
}

#[tokio::test(start_paused = true)]
async fn the_only_route_speaks_before_its_stream_is_confirmed_and_once() {
    let asking = Asking::default();
    let reachable = race(&["onion"], &asking).next(&mut |_| {}).await.unwrap();
    assert_eq!(*asking.early.lock().unwrap(), [HELLO]);
    assert_eq!(reachable.said.bytes(), HELLO.as_bytes());
    drop(reachable);
    sleep(ms(1)).await;
    assert_eq!(*asking.late.lock().unwrap(), [""], "it was said already");
}

#[tokio::test(start_paused = true)]
async fn a_route_that_may_lose_says_nothing_early() {
    let asking = Asking::default();
    let reachable = race(&["silent", "onion"], &asking).next(&mut |_| {}).await.unwrap();
    assert_eq!(reachable.route.network, "onion");
    assert!(asking.early.lock().unwrap().is_empty());
    assert!(reachable.said.bytes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_after_the_first_words_fails_as_the_dial() {
    let asking = Asking { refuses: true, ..Asking::default() };
    let mut race = race(&["onion"], &asking);
    assert!(race.next(&mut |_| {}).await.is_none());
    let attempts = race.into_attempts();
    let failure = DialFailure::Tor(TorFailure::PortClosed);
    let expected = DialError { stage: Stage::Dial, failure };
    assert!(matches!(&attempts[0].cause, Cause::Dial(error) if *error == expected));
}
