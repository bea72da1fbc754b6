//! A stream to a machine over the best of its networks, on which somebody else
//! speaks. Owns that nothing of it is read or written here but what proves that the
//! other side is there, and that whoever gets the stream sees that, too.

use std::sync::Arc;

use super::{Request, next, race, rules, unreachable};
use crate::dial::{Dialer, Stream};
use crate::error::Result;
use crate::plan::Route;
use crate::race::{Proof, RaceEvent, Reachable};

/// A machine that was reached.
#[derive(Debug)]
pub struct Reached {
    /// The stream, from its first byte on.
    pub stream: Stream,
    /// The route that won.
    pub route: Route,
    /// The host as it may be shown.
    pub host: String,
    /// What carries the stream: it ends with this.
    pub dialer: Arc<Dialer>,
}

/// Races the routes of `request`; nothing is authenticated, and no key is looked at.
///
/// # Errors
/// [`crate::Error::Unreachable`] when no route is left.
pub async fn reach(
    request: Request,
    proof: Proof,
    progress: &mut (dyn FnMut(RaceEvent<'_>) + Send),
) -> Result<Reached> {
    let dialer = Arc::new(Dialer::new(request.settings.clone(), request.socket_options.clone()));
    let mut race = race(&request, request.routes.clone(), &dialer, rules(&request, proof));
    let mut last_resort = request.last_resort.clone();
    match next(&mut race, &mut last_resort, progress).await {
        Some(Reachable { stream, route, target, .. }) => {
            Ok(Reached { stream, route, host: target.label, dialer })
        }
        None => Err(unreachable(request.machine, request.no_route, race.into_attempts())),
    }
}
