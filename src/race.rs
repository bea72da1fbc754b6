//! Routes to the one stream that is used. Owns the order, the deadline of a
//! route and the word "reachable": the peer's SSH banner has arrived. Sends
//! nothing but our own identification.

mod banner;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dial::{DialError, Dialer, Stream, Target};
use crate::error::{Attempt, Error, Stage};
use crate::plan::Route;

pub use banner::BannerError;

/// Routes still to try, and what became of the others.
pub struct Race<R> {
    routes: VecDeque<Route>,
    attempts: Vec<Attempt>,
    dialer: Arc<Dialer>,
    reveal: R,
    deadline: Duration,
    hello: &'static str,
}

/// A route whose peer answered with an SSH banner.
#[derive(Debug)]
pub struct Won {
    /// The route.
    pub route: Route,
    /// Where it led, for the host key and for messages.
    pub target: Target,
    /// The stream, with the banner still to be read.
    pub stream: Stream,
    /// The server's identification, for messages; printable.
    pub banner: String,
    /// From the start of the route to its banner.
    pub elapsed: Duration,
}

/// The outcome of revealing a route's host: its target, or why this route is
/// out. Blocking work such as decryption belongs on a blocking thread.
pub type Revealed = Result<Target, Box<Error>>;

impl<R, F> Race<R>
where
    R: Fn(Route) -> F,
    F: Future<Output = Revealed>,
{
    /// `reveal` turns a route into a target just before it is dialled;
    /// `deadline` bounds each route from there to its banner; `hello` is our
    /// identification with its line end, as whoever gets the stream will send
    /// it first.
    pub fn new(
        routes: Vec<Route>,
        dialer: Arc<Dialer>,
        reveal: R,
        deadline: Duration,
        hello: &'static str,
    ) -> Self {
        Self { routes: routes.into(), attempts: Vec::new(), dialer, reveal, deadline, hello }
    }

    /// The next reachable route, or `None` when all are used up. `progress` is
    /// told of every route as it starts and as it fails.
    pub async fn next(&mut self, progress: &mut dyn FnMut(Event<'_>)) -> Option<Won> {
        while let Some(route) = self.routes.pop_front() {
            progress(Event::Started(&route));
            let started = Instant::now();
            match self.attempt(&route, started).await {
                Ok(won) => return Some(won),
                Err(attempt) => self.failed(attempt, progress),
            }
        }
        None
    }

    /// Counts a route as failed after it was won: its key exchange broke, or
    /// its host key was not the machine's.
    pub fn failed(&mut self, attempt: Attempt, progress: &mut dyn FnMut(Event<'_>)) {
        progress(Event::Failed(&attempt));
        self.attempts.push(attempt);
    }

    /// Whether another route is left.
    pub fn has_more(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Every route that failed, in order.
    pub fn into_attempts(self) -> Vec<Attempt> {
        self.attempts
    }

    async fn attempt(&self, route: &Route, started: Instant) -> Result<Won, Attempt> {
        let failed = |label: String, stage, reason: String, hint| Attempt {
            network: route.network.clone(),
            host: label,
            stage,
            reason,
            hint,
            elapsed: started.elapsed(),
        };
        let target = (self.reveal)(route.clone()).await.map_err(|error| {
            let hints = error.hint();
            let hint = (!hints.is_empty()).then(|| hints.join("; "));
            failed(route.host.to_string(), Stage::Reveal, error.to_string(), hint)
        })?;
        let label = target.label.clone();
        // Until the dial returns nobody knows more than that it is dialling.
        let mut stage = Stage::Dial;
        let reached = tokio::time::timeout(self.deadline, async {
            let stream = self.dialer.dial(&target).await?;
            stage = Stage::Banner;
            Ok::<_, Lost>(banner::receive(stream, self.hello).await?)
        })
        .await;
        match reached {
            Ok(Ok((stream, banner))) => {
                Ok(Won { route: route.clone(), target, stream, banner, elapsed: started.elapsed() })
            }
            Ok(Err(Lost::Dial(error))) => {
                Err(failed(label, error.stage, error.failure.to_string(), error.hint()))
            }
            Ok(Err(Lost::Banner(error))) => {
                Err(failed(label, Stage::Banner, error.to_string(), error.hint()))
            }
            Err(_) => {
                let (reason, hint) = match stage {
                    Stage::Banner => (
                        "connected, but no SSH banner came in time",
                        "is that port really sshd's? a firewall or proxy may be answering",
                    ),
                    _ => (
                        "connection timed out",
                        "the machine may be off, or a firewall drops packets; \
                         allow more time with --timeout SECONDS",
                    ),
                };
                Err(failed(label, stage, reason.to_owned(), Some(hint.to_owned())))
            }
        }
    }
}

/// What a watcher of the race is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// This route is being tried.
    Started(&'a Route),
    /// This route is out.
    Failed(&'a Attempt),
}

enum Lost {
    Dial(DialError),
    Banner(BannerError),
}

impl From<DialError> for Lost {
    fn from(error: DialError) -> Self {
        Self::Dial(error)
    }
}

impl From<BannerError> for Lost {
    fn from(error: BannerError) -> Self {
        Self::Banner(error)
    }
}

#[cfg(test)]
mod tests;
