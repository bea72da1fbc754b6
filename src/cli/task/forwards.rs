//! The forwards of a session: what the server's lead to, and what is said when one
//! cannot be had.

use std::sync::Arc;

use crate::cli::Ui;
use crate::dial::{Dialer, SocketOptions, Target};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::model::Technology;
use crate::openssh::Forwards;
use crate::secret::Secret;
use crate::ssh::Session;
use crate::ssh::forward::{Connector, Duplex, Forward, ForwardTarget, Listen, Side};
use crate::ssh::open_forwards::{OpenForwards, Rules};

/// Says what the server's forwards may lead to; none is open yet.
pub(super) fn prepare(
    session: &Arc<Session>,
    forwards: &Forwards,
    env: &Env,
    ui: &Arc<Ui>,
) -> Arc<OpenForwards> {
    let (connector, permitted) = (connector(env), forwards.permitted.clone());
    session.connect_with(connector.clone());
    session.connect_dynamic_with(Arc::new(move |host, port| match permitted.has(&host, port) {
        true => connector(host, port),
        false => Box::pin(std::future::ready(None)),
    }));
    let rules = Rules {
        gateway_ports: forwards.gateway_ports,
        unlink: forwards.unlink,
        mask: forwards.mask,
    };
    Arc::new(OpenForwards::new(session.clone(), rules, ui.clone()))
}

/// Opens every listener.
pub(super) async fn open(open: &OpenForwards, forwards: &Forwards, ui: &Ui) -> Result<()> {
    for forward in &forwards.all {
        let Forward { side, listen, target } = forward;
        let text = match (open.open(forward).await, side) {
            (Ok(port), Side::Remote) if matches!(listen, Listen::Tcp(_, 0)) => {
                ui.notice(&allocated(port.into(), target));
                continue;
            }
            (Ok(_), _) => continue,
            (Err(reason), Side::Local) => {
                format!("could not request local forwarding: {listen}: {reason}")
            }
            (Err(reason), Side::Remote) => {
                format!("remote port forwarding failed for listen {listen}: {reason}")
            }
        };
        if forwards.exit_on_failure {
            return Err(Error::Forward(text));
        }
        ui.notice(&format!("Warning: {text}"));
    }
    // Where ssh(1) has no device it says the same (clientloop.c, ssh.c).
    if forwards.has_tunnel {
        ui.say("Tunnel device open failed.");
        let text = "Could not request tunnel forwarding.";
        if forwards.exit_on_failure {
            return Err(Error::Forward(text.to_owned()));
        }
        ui.say(text);
    }
    Ok(())
}

/// What scripts look for that let the server choose a port (clientloop.c).
pub(super) fn allocated(port: u32, target: &ForwardTarget) -> String {
    format!("Allocated port {port} for remote forward to {target}")
}

/// Connects to what the server's forwards lead to, names included.
fn connector(env: &Env) -> Connector {
    let dialer = Arc::new(Dialer::new(Default::default(), SocketOptions::of(env)));
    Arc::new(move |host, port| {
        let dialer = dialer.clone();
        Box::pin(async move {
            let target = Target {
                technology: Technology::DIRECT,
                label: host.clone(),
                host: Secret::new(host),
                secret: false,
                port,
            };
            let stream = dialer.dial(&target, &|_| ()).await.ok()?;
            Some(Box::new(stream) as Box<dyn Duplex>)
        })
    })
}
