//! `proxy MACHINE [PORT]`: a stream to a machine over the best of its networks, on
//! standard input and output, for programs that know no clan. Owns its command line;
//! speaks no SSH, and writes nothing but the stream.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::machine::{MachineRequest, SshOptions};
use super::request::seconds;
use super::task::{drive, mux, stdio, warm};
use super::{Color, Global, Ui, complete, link};
use crate::connect::{Proof, Reached};
use crate::error::Result;
use crate::openssh::Forwards;
use crate::options::Persist;
use crate::plan::DEFAULT_PORT;

#[derive(Debug, Args)]
pub(super) struct Proxy {
    /// The machine's name in the clan
    #[arg(add = ArgValueCompleter::new(complete::machines))]
    machine: String,
    /// The machine's port to connect to [default: the port of its SSH server]
    ///
    /// 22 means the port of its SSH server as well, because ssh(1) passes 22 on by
    /// default. At the SSH server a network counts as reachable when the server's banner
    /// has arrived, at other ports when the connection is established.
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Use this network only
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::networks))]
    network: Option<String>,
    /// Connect to this address instead of the clan's
    #[arg(long, value_name = "HOST[:PORT]")]
    target_host: Option<String>,
    /// How long a network may take to answer [default: 10, but 20 for iroh and 120 for Tor]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Do not reuse the network of a connection that `ssh` keeps open
    #[arg(long)]
    no_persist: bool,
    #[command(flatten)]
    options: SshOptions,
}

pub(super) fn run(arguments: &Proxy, global: &Global) -> Result<u8> {
    drive(async {
        let mut asked = MachineRequest::of(&arguments.machine, &arguments.options)?;
        asked.network.clone_from(&arguments.network);
        asked.target_host.clone_from(&arguments.target_host);
        asked.timeout = arguments.timeout;
        if arguments.no_persist {
            asked.arguments.options.control_persist = Some(Persist::No);
        }
        let mut invocation = asked.invocation(global).await?;
        if !invocation.proxy_is_said {
            // The files name whoever calls us as the way to the machine.
            invocation.resolved.options.proxy_command = None;
        }
        // Whoever started us has the terminal, and hears from nobody else what is wrong.
        let (is_verbose, is_quiet) =
            (invocation.resolved.verbosity() > 0, invocation.resolved.is_quiet());
        let ui = Arc::new(Ui::with(is_verbose, is_quiet, Color::Never, &global.env));
        let port = arguments.port.filter(|port| *port != DEFAULT_PORT);
        let control = warm::control(&invocation, None, &Forwards::default(), global, &ui)?;
        if let Some(control) = control
            && mux::routed(&control, port, &ui).await?
        {
            return Ok(0);
        }
        let proof = match port {
            None => Proof::Banner(None),
            Some(port) => {
                invocation.overrides.port = Some(port);
                Proof::Connection
            }
        };
        let reached = link::stream(&mut invocation, proof, global, &ui).await?;
        let Reached { stream, dialer, .. } = reached;
        let ended = stdio::join(stream).await;
        // It carries the stream.
        drop(dialer);
        ended.map(|()| 0).map_err(|failure| failure.of(invocation.name()))
    })
}
