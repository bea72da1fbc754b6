//! What LocalForward, RemoteForward and DynamicForward ask for, with the tokens in
//! the names of sockets replaced. Opens nothing.

use std::path::PathBuf;

use super::Resolved;
use crate::encoding;
use crate::error::Result;
use crate::options::{Leads, Listener, Permitted, Template, Tunnel};
use crate::ssh::forward::{Forward, ForwardTarget, Listen, Side};

/// Everything that is to be forwarded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwards {
    /// Each one, those that listen here first.
    pub all: Vec<Forward>,
    /// Whether listeners here are for everybody.
    pub gateway_ports: bool,
    /// Whether one that fails ends everything.
    pub exit_on_failure: bool,
    /// Whether an old socket is removed first.
    pub unlink: bool,
    /// The permissions that sockets here do not have (`StreamLocalBindMask`).
    pub mask: u32,
    /// Where the server's clients may go by SOCKS (`PermitRemoteOpen`).
    pub permitted: Permitted,
    /// Whether a tunnel of packets is wanted, which there is none of (`Tunnel`, `-w`).
    pub has_tunnel: bool,
}

impl Forwards {
    /// What applies to a host.
    ///
    /// # Errors
    /// [`crate::Error::OptionValue`] naming a socket whose name cannot be understood.
    pub fn of(resolved: &Resolved) -> Result<Self> {
        let options = &resolved.options;
        let mut forwards = Self {
            all: Vec::new(),
            gateway_ports: options.gateway_ports(),
            exit_on_failure: options.exit_on_forward_failure(),
            unlink: options.stream_local_bind_unlink(),
            mask: options.stream_local_bind_mask().0,
            permitted: options.permit_remote_open(),
            has_tunnel: options.tunnel() != Tunnel::No && !options.clear_all_forwardings(),
        };
        if options.clear_all_forwardings() {
            return Ok(forwards);
        }
        let mut add = |side, listener, leads| {
            let (listen, target) = (resolved.listen(listener)?, resolved.target(leads)?);
            forwards.all.push(Forward { side, listen, target });
            Ok(())
        };
        for forward in &options.dynamic_forward {
            add(Side::Local, &forward.0, &Leads::Anywhere)?;
        }
        for forward in &options.local_forward {
            add(Side::Local, &forward.0, &forward.1)?;
        }
        for forward in &options.remote_forward {
            add(Side::Remote, &forward.0, &forward.1)?;
        }
        Ok(forwards)
    }
}

impl Resolved {
    fn listen(&self, listener: &Listener) -> Result<Listen> {
        Ok(match listener {
            Listener::Socket(name) => Listen::Unix(self.socket(name)?),
            Listener::Tcp(None, port) => Listen::Tcp(String::new(), *port),
            // An address that is there and empty is for everybody, as `*` is.
            Listener::Tcp(Some(address), port) if address.is_empty() => {
                Listen::Tcp("*".to_owned(), *port)
            }
            Listener::Tcp(Some(address), port) => Listen::Tcp(address.clone(), *port),
        })
    }

    fn target(&self, leads: &Leads) -> Result<ForwardTarget> {
        Ok(match leads {
            Leads::Socket(name) => ForwardTarget::Unix(self.socket(name)?),
            Leads::Tcp(host, port) => ForwardTarget::Tcp(host.clone(), *port),
            Leads::Anywhere => ForwardTarget::Dynamic,
        })
    }

    fn socket(&self, name: &Template) -> Result<PathBuf> {
        Ok(encoding::path(&self.path(name.written())?))
    }
}
