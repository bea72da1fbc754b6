//! Whether a machine answers over one route, and with which host key, without
//! logging in. Owns what is asked for that: the same dial and the same check as
//! for a session, and nothing after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Request, Trust, hello, race};
use crate::dial::{Dialer, Phase};
use crate::error::{Attempt, Cause, Error};
use crate::plan::Route;
use crate::prompter::Nobody;
use crate::race::{Proof, RaceEvent, Rules};
use crate::ssh::hostkey::HostKeyCheck;
use crate::ssh::{HandshakeError, Session};

/// What became of a probe.
#[derive(Debug)]
pub struct Probed {
    /// The route that was tried.
    pub route: Route,
    /// What was waited for, each with the time from the start until it began to be.
    pub phases: Vec<(Phase, Duration)>,
    /// The answer, or how far it got and why.
    pub outcome: Result<Answer, Attempt>,
}

/// A machine that answered.
#[derive(Debug)]
pub struct Answer {
    /// The host as it may be shown.
    pub host: String,
    /// The server's identification, printable.
    pub banner: String,
    /// From the first packet to the banner.
    pub elapsed: Duration,
    /// The node of our own that led there, as [`crate::dial::Stream::way`] has it.
    pub way: Option<&'static str>,
    /// What is known of its key; none when it was not asked for.
    pub key: Option<KeyState>,
}

/// What known_hosts says of a server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is the known one.
    Known,
    /// None is known.
    Unknown,
    /// Another one is known, or it is revoked.
    Changed,
    /// The key exchange failed.
    Failed,
}

impl KeyState {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
            Self::Changed => "changed",
            Self::Failed => "failed",
        }
    }
}

/// The most phases that are noted: Tor's start is told in percent.
const MOST_PHASES: usize = 32;

/// Tries `route` of `request`. With `trust`, goes on to the key exchange and
/// compares the key; else it closes when the banner has come, without a word.
pub async fn probe(
    request: &Request,
    route: Route,
    dialer: &Arc<Dialer>,
    trust: Option<&Arc<Trust>>,
) -> Probed {
    let proof = Proof::Banner(trust.map(|trust| hello(request, trust)));
    let rules = Rules { deadline: request.deadline, grace: Duration::ZERO, early: None, proof };
    let started = Instant::now();
    let mut race = race(request, vec![route.clone()], dialer, rules);
    let mut phases = Vec::new();
    let mut note = |event: RaceEvent<'_>| match event {
        RaceEvent::Waiting(_, phase) if phases.len() < MOST_PHASES => {
            phases.push((phase.clone(), started.elapsed()));
        }
        _ => {}
    };
    let Some(reachable) = race.next(&mut note).await else {
        // A route that was not won has failed, and says how.
        let attempt = race.into_attempts().pop().unwrap_or_else(|| Attempt {
            network: route.network.clone(),
            host: route.shown_host(),
            port: None,
            cause: Cause::Decrypt(Box::new(Error::Internal)),
            elapsed: started.elapsed(),
        });
        return Probed { route, phases, outcome: Err(attempt) };
    };
    let elapsed = started.elapsed();
    let way = reachable.stream.way;
    let key = match trust {
        None => None,
        Some(trust) => {
            let mut strict = trust.options(request, &reachable.target, None, false);
            strict.policy.check = HostKeyCheck::Strict;
            strict.prompter = Arc::new(Nobody);
            Some(match Session::handshake(reachable.stream, &strict, reachable.said).await {
                Ok(session) => {
                    session.disconnect().await;
                    KeyState::Known
                }
                Err(HandshakeError::HostKeyRefused(_)) => KeyState::Unknown,
                Err(HandshakeError::HostKeyChanged(_)) => KeyState::Changed,
                Err(HandshakeError::Protocol(_) | HandshakeError::Guessed(_)) => KeyState::Failed,
            })
        }
    };
    let (host, banner) = (reachable.target.label, reachable.banner);
    let answer = Answer { host, banner, elapsed, way, key };
    Probed { route, phases, outcome: Ok(answer) }
}
