//! Networks that only a daemon of this computer carries, recognised by the names of their
//! services: a host of theirs is an ordinary one while it runs. Owns which daemon that is,
//! and that a failure names it where it is down.

use std::sync::Arc;

use super::carrier::{Carrier, Setup};
use super::{Dial, DialError, DialFailure, Dialling, Phase, Target};
use crate::address;
use crate::error::Daemon;
use crate::hosts;
use crate::model::{Network, Running};
use crate::overlay;

/// The row of one of them.
pub(super) struct Row {
    name: &'static str,
    daemon: Daemon,
}

impl Row {
    const fn new(name: &'static str, daemon: &'static str, start: &'static str) -> Self {
        Self { name, daemon: Daemon { name: daemon, start } }
    }
}

/// NetBird.
pub(super) static NETBIRD: Row =
    Row::new("netbird", "netbird", "systemctl start netbird, then netbird up");
/// Nebula; NixOS names its unit after the network.
pub(super) static NEBULA: Row = Row::new("nebula", "nebula", "systemctl start nebula@NETWORK");
/// EasyTier; NixOS names its unit after the instance.
pub(super) static EASYTIER: Row =
    Row::new("easytier", "easytier", "systemctl start easytier-INSTANCE");
/// Hyprspace.
pub(super) static HYPRSPACE: Row = Row::new("hyprspace", "hyprspace", "systemctl start hyprspace");
/// VpnCloud; its unit is named after the network.
pub(super) static VPNCLOUD: Row =
    Row::new("vpncloud", "vpncloud", "systemctl start vpncloud@NETWORK");
/// tinc; NixOS names its unit after the network.
pub(super) static TINC: Row = Row::new("tinc", "tincd", "systemctl start tinc.NETWORK");

impl Carrier for Row {
    fn name(&self) -> &'static str {
        self.name
    }

    fn running(&self, network: &Network) -> Running {
        overlay::running(network, None)
    }

    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        let is_open = setup.socket_options.are_open();
        Arc::new(Through { direct: setup.direct.clone(), daemon: self.daemon, is_open })
    }
}

/// Dials as ever, and knows better why it fails.
struct Through {
    direct: Arc<dyn Dial>,
    daemon: Daemon,
    /// Whether it is this computer that has to be in the network.
    is_open: bool,
}

impl Dial for Through {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        if !self.is_open {
            return self.direct.dial(target, enter);
        }
        Box::pin(async move {
            let is_down = is_down(target.host.expose());
            let daemon = self.daemon;
            let enter_down = |phase| match (phase, is_down) {
                (Phase::Connecting, Some(true)) => enter(Phase::Outside(daemon)),
                (phase, _) => enter(phase),
            };
            let better = |error: DialError| match (&error.failure, is_down) {
                // Its own name server would know the name.
                (DialFailure::NoSuchName, None)
                | (
                    DialFailure::NoRoute
                    | DialFailure::NoNetwork
                    | DialFailure::NoAddress
                    | DialFailure::TimedOut
                    // Others have addresses of the same range.
                    | DialFailure::Outside(_)
                    | DialFailure::Tailscale(_),
                    Some(true),
                ) => DialError::new(error.stage, DialFailure::Outside(daemon)),
                _ => error,
            };
            self.direct.dial(target, &enter_down).await.map_err(better)
        })
    }
}

/// Whether no device of a VPN leads to a host; `None` where its addresses are not known.
fn is_down(host: &str) -> Option<bool> {
    let addresses = match address::parse(host.trim_matches(['[', ']'])) {
        Some(address) => vec![address],
        None => hosts::addresses(host),
    };
    let leads =
        |address| overlay::is_tunnelled(address) || overlay::is_running(address) == Some(true);
    (!addresses.is_empty()).then(|| !addresses.into_iter().any(leads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Stream;
    use crate::error::{Cause, Stage};
    use crate::model::Technology;
    use crate::secret::Secret;

    struct Fails(DialFailure);

    impl Dial for Fails {
        fn dial<'a>(&'a self, _: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
            enter(Phase::Connecting);
            let failed: Result<Stream, _> = Err(DialError::new(Stage::Dial, self.0.clone()));
            Box::pin(async { failed })
        }
    }

    async fn failure(host: &str, failure: DialFailure, is_open: bool) -> DialFailure {
        let through = Through { direct: Arc::new(Fails(failure)), daemon: NETBIRD.daemon, is_open };
        let target = Target {
            technology: Technology::of_network(None, Some("mine/netbird"), "x"),
            host: Secret::new(host.to_owned()),
            label: String::new(),
            secret: false,
            port: 22,
        };
        assert_eq!(target.technology.name(), "netbird");
        through.dial(&target, &|_| ()).await.map(|_| ()).unwrap_err().failure
    }

    #[tokio::test]
    async fn the_daemon_is_named_where_it_must_be_down() {
        let down = DialFailure::Outside(NETBIRD.daemon);
        let name = "web.netbird.cloud";
        assert_eq!(failure(name, DialFailure::NoSuchName, true).await, down);
        assert_eq!(failure(name, DialFailure::TimedOut, true).await, DialFailure::TimedOut);
        assert_eq!(failure("192.0.2.1", DialFailure::TimedOut, true).await, down);
        assert_eq!(failure("192.0.2.1", DialFailure::Refused, true).await, DialFailure::Refused);
        // A jump host may be in the network.
        let far = failure("192.0.2.1", DialFailure::TimedOut, false).await;
        assert_eq!(far, DialFailure::TimedOut);
        assert_eq!(
            Cause::from(DialError::new(Stage::Dial, down)).hint().unwrap(),
            "start it here: systemctl start netbird, then netbird up"
        );
    }
}
