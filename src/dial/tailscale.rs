//! Tailscale through the tailscaled of this computer. Owns what is dialled so: addresses
//! and names of a tailnet that the system has no route to, because tailscaled has no TUN
//! device (`--tun=userspace-networking`), and what an error calls for. Never dials outside
//! of the tailnet.

mod local_api;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::by_address::{Answering, ByAddress, TAILSCALED, first};
use super::carrier::{Carrier, Setup};
use super::{
    Dial, DialError, DialFailure, Dialling, Phase, Settings, SocketOptions, Stream, Target,
};
use crate::address;
use crate::error::Stage;
use crate::model::{Host, Network, Running};
use crate::overlay::{self, Overlay};

/// Where tailscaled listens.
const SOCKETS: [&str; 3] = [
    "/var/run/tailscale/tailscaled.sock",
    "/run/tailscale/tailscaled.sock",
    "/var/run/tailscaled.socket",
];
/// What MagicDNS calls the machines of a tailnet by.
const DOMAIN: &str = ".ts.net";
/// The address of every tailscaled's own name server, to which it has a route.
const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 100));

/// The row of the services whose hosts are of a tailnet, whatever they look like.
pub(super) struct Row;

impl Carrier for Row {
    fn name(&self) -> &'static str {
        "tailscale"
    }

    fn running(&self, _: &Network) -> Running {
        match (is_up(), local_api::is_there(&sockets())) {
            (true, _) => Running::Yes,
            (false, true) => Running::InProcess,
            (false, false) => Running::No,
        }
    }

    fn prepare(&self, setup: &Setup<'_>) -> Arc<dyn Dial> {
        Arc::new(ByService {
            direct: setup.direct.clone(),
            socket_options: setup.socket_options.clone(),
            way: Tailscale { sockets: sockets() },
        })
    }
}

/// The way to addresses and names that tell their tailnet.
pub(super) fn way(_: &Settings) -> Option<Arc<dyn ByAddress>> {
    Some(Arc::new(Tailscale { sockets: sockets() }))
}

fn sockets() -> Vec<PathBuf> {
    SOCKETS.map(PathBuf::from).to_vec()
}

/// Whether this computer is in a tailnet with addresses of its own.
fn is_up() -> bool {
    overlay::is_running(OWN) == Some(true)
}

fn is_name(host: &str) -> bool {
    host.trim_end_matches('.').to_ascii_lowercase().ends_with(DOMAIN)
}

fn is_address(address: IpAddr) -> bool {
    Overlay::of(address) == Some(Overlay::Tailscale)
}

/// Dials by tailscaled.
struct Tailscale {
    sockets: Vec<PathBuf>,
}

impl Dial for Tailscale {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        Box::pin(async move {
            enter(Phase::Through(TAILSCALED));
            let host = target.host.expose();
            let stream = local_api::dial(&self.sockets, host, target.port).await?;
            Ok(Stream::new(stream, address::parse(host)))
        })
    }
}

impl ByAddress for Tailscale {
    fn name(&self) -> &'static str {
        Row.name()
    }

    fn running(&self, network: &Network) -> Option<Running> {
        let is_ours = |host: &Host| match host {
            Host::Plain(text) => {
                let address = address::parse(text.trim_matches(['[', ']']));
                is_name(text) || address.is_some_and(is_address)
            }
            Host::Var(_) => false,
        };
        let mut hosts = network.peers.iter().flat_map(|peer| &peer.hosts);
        hosts.any(is_ours).then(|| Row.running(network))
    }

    fn claims(&self, address: IpAddr) -> Answering<'_, bool> {
        Box::pin(async move { is_address(address) })
    }

    fn takes(&self, name: &str) -> bool {
        is_name(name) && !is_up()
    }
}

/// Dials the hosts of such a service, which may be bare names of machines.
struct ByService {
    direct: Arc<dyn Dial>,
    socket_options: SocketOptions,
    way: Tailscale,
}

impl Dial for ByService {
    fn dial<'a>(&'a self, target: &'a Target, enter: &'a (dyn Fn(Phase) + Sync)) -> Dialling<'a> {
        let host = target.host.expose();
        // What tells its tailnet itself is led there in any network.
        let is_told = is_name(host) || address::parse(host).is_some();
        if is_told || is_up() || !self.socket_options.are_open() {
            return self.direct.dial(target, enter);
        }
        Box::pin(async move {
            self.socket_options.unless(|_| true)?;
            first(self.direct.dial(target, &|_| ()), self.way.dial(target, enter)).await
        })
    }
}

fn failed(failure: DialFailure) -> DialError {
    DialError::new(Stage::Dial, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tailnet_is_told_by_addresses_and_names() {
        for (host, is) in [
            ("web.tailnet.ts.net", true),
            ("WEB.tailnet.TS.net.", true),
            ("ts.net", false),
            ("web.ts.net.example", false),
            ("web", false),
        ] {
            assert_eq!(is_name(host), is, "{host}");
        }
        for (text, is) in [("100.64.0.1", true), ("fd7a:115c:a1e0::1", true), ("10.0.0.1", false)] {
            assert_eq!(is_address(text.parse().unwrap()), is, "{text}");
        }
    }
}
