//! The forwards that a session has. Owns opening and closing them one by one;
//! what comes through them is `forward`'s.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::task::AbortHandle;

use super::forward::{Forward, Listen, Listener, Side};
use super::{Session, lock};
use crate::error::strerror;
use crate::prompter::Prompter;

/// What applies to all listeners here.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// They are for everybody, where nothing else is said (`GatewayPorts`).
    pub gateway_ports: bool,
    /// An old socket is removed first (`StreamLocalBindUnlink`).
    pub unlink: bool,
    /// The permissions that sockets do not have (`StreamLocalBindMask`).
    pub mask: u32,
}

/// The forwards of a session; those that listen here end with this.
pub struct OpenForwards {
    session: Arc<Session>,
    rules: Rules,
    /// Who is told that a listener has not every address.
    prompter: Arc<dyn Prompter>,
    open: Mutex<Vec<Open>>,
}

struct Open {
    forward: Forward,
    /// The port on the machine.
    port: u16,
    listeners: Vec<AbortHandle>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.listeners.iter().for_each(AbortHandle::abort);
    }
}

impl OpenForwards {
    /// None yet.
    pub fn new(session: Arc<Session>, rules: Rules, prompter: Arc<dyn Prompter>) -> Self {
        Self { session, rules, prompter, open: Mutex::default() }
    }

    /// Opens one, unless it is open; the port is the one that the machine listens
    /// on.
    ///
    /// # Errors
    /// The system's or the server's reason, printable.
    pub async fn open(&self, forward: &Forward) -> Result<u16, String> {
        self.session.may_forward()?;
        if let Some(open) = lock(&self.open).iter().find(|open| open.forward == *forward) {
            return Ok(open.port);
        }
        let (port, listeners) = match forward.side {
            Side::Local => (0, self.listen_here(forward).await?),
            Side::Remote => {
                let target = forward.target.clone();
                (self.session.listen_there(&forward.listen, target).await?, Vec::new())
            }
        };
        lock(&self.open).push(Open { forward: forward.clone(), port, listeners });
        Ok(port)
    }

    /// Whether it is open.
    pub fn has(&self, forward: &Forward) -> bool {
        lock(&self.open).iter().any(|open| open.forward == *forward)
    }

    /// Closes one; connections that came through it go on.
    ///
    /// # Errors
    /// When there is no such forward, or in the server's words.
    pub async fn close(&self, forward: &Forward) -> Result<(), String> {
        let closed = {
            let mut open = lock(&self.open);
            let at = open.iter().position(|open| open.forward == *forward);
            at.map(|at| open.remove(at)).ok_or("port not forwarded")?
        };
        match forward.side {
            Side::Local => Ok(()),
            Side::Remote => self.session.stop_listening_there(&forward.listen, closed.port).await,
        }
    }

    async fn listen_here(&self, forward: &Forward) -> Result<Vec<AbortHandle>, String> {
        let mut tasks = Vec::new();
        let mut reason = "no such address".to_owned();
        let mut taken = Vec::new();
        for (address, listener) in self.listeners(&forward.listen).await {
            match listener {
                Ok(listener) => {
                    let serving = listener.serve(self.session.clone(), forward.target.clone());
                    tasks.push(tokio::spawn(serving).abort_handle());
                }
                Err(error) => {
                    reason = strerror(&error);
                    if error.kind() == ErrorKind::AddrInUse {
                        taken.extend(address);
                    }
                }
            }
        }
        if tasks.is_empty() {
            return Err(reason);
        }
        // What connects there reaches another program. A computer without IPv6 is no case
        // of that.
        for address in taken {
            let (ip, port) = (address.ip(), address.port());
            self.prompter.warn(&format!("bind [{ip}]:{port}: Address already in use"));
        }
        Ok(tasks)
    }

    /// The sockets that a listener here is: both families where it says neither.
    async fn listeners(&self, listen: &Listen) -> Vec<(Option<SocketAddr>, io::Result<Listener>)> {
        let (address, port) = match listen {
            Listen::Unix(path) => {
                let Rules { unlink, mask, .. } = self.rules;
                return vec![(None, Listener::unix(path.clone(), unlink, mask))];
            }
            Listen::Tcp(address, port) => (address.as_str(), *port),
        };
        let (four, six) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
        let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let ips = match (address, address.parse()) {
            ("*", _) => vec![all[1], all[0]],
            ("", _) if self.rules.gateway_ports => vec![all[1], all[0]],
            ("" | "localhost", _) => vec![six, four],
            (_, Ok(ip)) => vec![ip],
            (name, Err(_)) => crate::hosts::addresses(name),
        };
        let mut listeners: Vec<(Option<SocketAddr>, io::Result<Listener>)> = Vec::new();
        for ip in ips {
            // One for every address of IPv6 takes those of IPv4 too.
            let has_all = matches!(listeners.as_slice(), [(_, Ok(_)), ..]) && ip == all[0];
            if !has_all {
                let address = SocketAddr::new(ip, port);
                listeners.push((Some(address), Listener::tcp(address).await));
            }
        }
        listeners
    }
}
