//! The messages of PROTOCOL.mux. Owns their bytes; knows no socket.

pub use super::wire::Malformed;
use super::wire::{put_string, put_u32, take_string, take_u32};
use crate::encoding;
use crate::ssh::forward::{Forward, ForwardTarget, Listen, Side};

/// The version of the protocol that both sides have to speak.
pub const VERSION: u32 = 4;
/// No message is longer, in bytes: OpenSSH's own bound on a packet.
pub const MAX_LENGTH: usize = 256 << 10;
/// Variables of the environment in one request, as in OpenSSH.
const MAX_ENV: usize = 4096;

const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const ALIVE_CHECK: u32 = 0x1000_0004;
const TERMINATE: u32 = 0x1000_0005;
const OPEN_FORWARD: u32 = 0x1000_0006;
const CLOSE_FORWARD: u32 = 0x1000_0007;
const NEW_STDIO_FORWARD: u32 = 0x1000_0008;
const STOP_LISTENING: u32 = 0x1000_0009;
/// Of the extension "info".
const INFO: u32 = 0x2000_0001;
/// Of our own.
const NEW_ROUTE: u32 = 0x2fff_0001;
const OK: u32 = 0x8000_0001;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT_MESSAGE: u32 = 0x8000_0004;
const ALIVE: u32 = 0x8000_0005;
const SESSION_OPENED: u32 = 0x8000_0006;
const REMOTE_PORT: u32 = 0x8000_0007;
const TTY_ALLOC_FAIL: u32 = 0x8000_0008;
const INFO_REPLY: u32 = 0x9000_0001;

/// In the place of a port: the host is the path of a Unix socket.
const STREAMLOCAL: u32 = u32::MAX - 1;
/// In the place of an escape character: there is none.
const NO_ESCAPE: u32 = u32::MAX;
/// What a dynamic forward connects to, in words.
const SOCKS: &str = "socks";
/// The extension by which a master tells of itself, and what stands behind its name.
const INFO_EXTENSION: (&str, &str) = ("info", "0");

/// What a client asks for. All but the first are answered under their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterRequest {
    /// The first message of either side.
    Hello {
        /// Of the protocol.
        version: u32,
    },
    /// A shell, command or subsystem; three descriptors follow.
    NewSession(NewSession),
    /// Whether the master lives, and as which process.
    AliveCheck,
    /// End the connection and everything on it.
    Terminate,
    /// Forward more.
    OpenForward(Forward),
    /// Forward less.
    CloseForward(Forward),
    /// Join two descriptors, which follow, to a place seen from the machine.
    NewStdioForward(ForwardTarget),
    /// Take no more clients.
    StopListening,
    /// Tell something, by its name.
    Info(String),
    /// Join two descriptors, which follow, to a port of the machine, or to that of its SSH
    /// server, by the way that led there. Asked of our own masters alone.
    NewRoute(Option<u16>),
    /// Something that this program does not do.
    Unknown,
}

/// A shell, command or subsystem.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewSession {
    /// Whether it is to run on a pseudo-terminal.
    pub tty: bool,
    /// Whether it may show windows, which is not supported.
    pub x11: bool,
    /// Whether it may use the agent.
    pub agent: bool,
    /// Whether the command is a subsystem's name.
    pub subsystem: bool,
    /// The escape character, if it has one.
    pub escape: Option<u8>,
    /// `$TERM`.
    pub term: String,
    /// The command; a shell when empty.
    pub command: String,
    /// The environment.
    pub env: Vec<(String, String)>,
}

/// What a master answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The first message of either side.
    Hello {
        /// Of the protocol.
        version: u32,
        /// Whether it tells of itself.
        has_info: bool,
    },
    /// It is done.
    Ok,
    /// The user does not allow it.
    PermissionDenied(String),
    /// It cannot be done.
    Failure(String),
    /// The master's process.
    Alive(u32),
    /// The session runs, under this number.
    SessionOpened(u32),
    /// The machine listens on this port.
    RemotePort(u32),
    /// The session of this number has ended with this status.
    Exit {
        /// As in [`Reply::SessionOpened`].
        session: u32,
        /// Of the command.
        status: u32,
    },
    /// The session of this number has no terminal.
    TtyAllocFail(u32),
    /// What was asked for, or why it is not told.
    Info {
        /// Whether it is what was asked for.
        is_told: bool,
        /// In words.
        text: String,
    },
}

impl MasterRequest {
    /// The message without its length; `id` is the number for the answer.
    pub fn encode(&self, id: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut start = |kind: u32| {
            put_u32(&mut out, kind);
            put_u32(&mut out, id);
        };
        match self {
            Self::Hello { version } => return hello(*version),
            Self::NewSession(session) => {
                start(NEW_SESSION);
                session.encode(&mut out);
            }
            Self::AliveCheck => start(ALIVE_CHECK),
            Self::Terminate => start(TERMINATE),
            Self::OpenForward(forward) => {
                start(OPEN_FORWARD);
                put_forward(&mut out, forward);
            }
            Self::CloseForward(forward) => {
                start(CLOSE_FORWARD);
                put_forward(&mut out, forward);
            }
            Self::NewStdioForward(target) => {
                start(NEW_STDIO_FORWARD);
                put_string(&mut out, "");
                put_target(&mut out, target);
            }
            Self::StopListening => start(STOP_LISTENING),
            Self::Info(name) => {
                start(INFO);
                put_string(&mut out, name);
            }
            Self::NewRoute(port) => {
                start(NEW_ROUTE);
                put_u32(&mut out, port.unwrap_or(0).into());
            }
            Self::Unknown => start(0),
        }
        out
    }

    /// The number for the answer, and the message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<(u32, Self), Malformed> {
        let mut rest = bytes;
        let kind = take_u32(&mut rest)?;
        let id = take_u32(&mut rest)?;
        let request = match kind {
            HELLO => return Ok((0, Self::Hello { version: id })),
            NEW_SESSION => Self::NewSession(NewSession::decode(&mut rest)?),
            ALIVE_CHECK => Self::AliveCheck,
            TERMINATE => Self::Terminate,
            OPEN_FORWARD => Self::OpenForward(take_forward(&mut rest)?),
            CLOSE_FORWARD => Self::CloseForward(take_forward(&mut rest)?),
            NEW_STDIO_FORWARD => {
                let _reserved = take_string(&mut rest)?;
                let (host, port) = (take_string(&mut rest)?, take_u32(&mut rest)?);
                Self::NewStdioForward(target(host, port)?)
            }
            STOP_LISTENING => Self::StopListening,
            INFO => Self::Info(take_string(&mut rest)?),
            NEW_ROUTE => {
                let port = u16::try_from(take_u32(&mut rest)?).map_err(|_| Malformed)?;
                Self::NewRoute(Some(port).filter(|port| *port != 0))
            }
            _ => Self::Unknown,
        };
        Ok((id, request))
    }
}

impl NewSession {
    fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, "");
        for flag in [self.tty, self.x11, self.agent, self.subsystem] {
            put_u32(out, flag.into());
        }
        put_u32(out, self.escape.map_or(NO_ESCAPE, u32::from));
        put_string(out, &self.term);
        put_string(out, &self.command);
        for (name, value) in &self.env {
            put_string(out, &format!("{name}={value}"));
        }
    }

    fn decode(rest: &mut &[u8]) -> Result<Self, Malformed> {
        let _reserved = take_string(rest)?;
        let mut flag = || take_u32(rest).map(|flag| flag != 0);
        let (tty, x11, agent, subsystem) = (flag()?, flag()?, flag()?, flag()?);
        let escape = u8::try_from(take_u32(rest)?).ok();
        let (term, command) = (take_string(rest)?, take_string(rest)?);
        let mut env = Vec::new();
        while !rest.is_empty() && env.len() < MAX_ENV {
            let pair = take_string(rest)?;
            if let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(Self { tty, x11, agent, subsystem, escape, term, command, env })
    }
}

fn put_forward(out: &mut Vec<u8>, forward: &Forward) {
    put_u32(
        out,
        match (forward.side, &forward.target) {
            (Side::Local, ForwardTarget::Dynamic) => 3,
            (Side::Local, _) => 1,
            (Side::Remote, _) => 2,
        },
    );
    match &forward.listen {
        Listen::Tcp(address, port) => {
            put_string(out, address);
            put_u32(out, (*port).into());
        }
        Listen::Unix(path) => put_path(out, path),
    }
    put_target(out, &forward.target);
}

fn take_forward(rest: &mut &[u8]) -> Result<Forward, Malformed> {
    let kind = take_u32(rest)?;
    let (host, port) = (take_string(rest)?, take_u32(rest)?);
    let listen = match port {
        STREAMLOCAL => Listen::Unix(encoding::path(&host)),
        port => Listen::Tcp(host, u16::try_from(port).map_err(|_| Malformed)?),
    };
    let (host, port) = (take_string(rest)?, take_u32(rest)?);
    let (side, target) = match (kind, port) {
        (3, _) => (Side::Local, ForwardTarget::Dynamic),
        (2, 0) => (Side::Remote, ForwardTarget::Dynamic),
        (2, port) => (Side::Remote, target(host, port)?),
        (1, port) => (Side::Local, target(host, port)?),
        _ => return Err(Malformed),
    };
    Ok(Forward { side, listen, target })
}

impl Reply {
    /// The message without its length; `id` is the number of the request, which
    /// those that belong to a session do not have.
    pub fn encode(&self, id: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut start = |kind: u32, number: u32| {
            put_u32(&mut out, kind);
            put_u32(&mut out, number);
        };
        match self {
            Self::Hello { version, has_info } => {
                let mut out = hello(*version);
                if *has_info {
                    put_string(&mut out, INFO_EXTENSION.0);
                    put_string(&mut out, INFO_EXTENSION.1);
                }
                return out;
            }
            Self::Ok => start(OK, id),
            Self::PermissionDenied(reason) => {
                start(PERMISSION_DENIED, id);
                put_string(&mut out, reason);
            }
            Self::Failure(reason) => {
                start(FAILURE, id);
                put_string(&mut out, reason);
            }
            Self::Alive(pid) => {
                start(ALIVE, id);
                put_u32(&mut out, *pid);
            }
            Self::SessionOpened(session) => {
                start(SESSION_OPENED, id);
                put_u32(&mut out, *session);
            }
            Self::RemotePort(port) => {
                start(REMOTE_PORT, id);
                put_u32(&mut out, *port);
            }
            Self::Exit { session, status } => {
                start(EXIT_MESSAGE, *session);
                put_u32(&mut out, *status);
            }
            Self::TtyAllocFail(session) => start(TTY_ALLOC_FAIL, *session),
            Self::Info { is_told, text } => {
                start(INFO_REPLY, id);
                put_u32(&mut out, (*is_told).into());
                put_string(&mut out, text);
            }
        }
        out
    }

    /// The number of the request, 0 where there is none, and the message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<(u32, Self), Malformed> {
        let mut rest = bytes;
        let kind = take_u32(&mut rest)?;
        let number = take_u32(&mut rest)?;
        Ok(match kind {
            HELLO => (0, Self::Hello { version: number, has_info: has_info(&mut rest)? }),
            OK => (number, Self::Ok),
            PERMISSION_DENIED => (number, Self::PermissionDenied(take_string(&mut rest)?)),
            FAILURE => (number, Self::Failure(take_string(&mut rest)?)),
            ALIVE => (number, Self::Alive(take_u32(&mut rest)?)),
            SESSION_OPENED => (number, Self::SessionOpened(take_u32(&mut rest)?)),
            REMOTE_PORT => (number, Self::RemotePort(take_u32(&mut rest)?)),
            EXIT_MESSAGE => (0, Self::Exit { session: number, status: take_u32(&mut rest)? }),
            TTY_ALLOC_FAIL => (0, Self::TtyAllocFail(number)),
            INFO_REPLY => {
                let is_told = take_u32(&mut rest)? != 0;
                (number, Self::Info { is_told, text: take_string(&mut rest)? })
            }
            _ => return Err(Malformed),
        })
    }
}

fn hello(version: u32) -> Vec<u8> {
    [HELLO.to_be_bytes(), version.to_be_bytes()].concat()
}

/// Whether the extension is among those that a master names, each with a value.
fn has_info(rest: &mut &[u8]) -> Result<bool, Malformed> {
    let mut has = false;
    while !rest.is_empty() {
        let (name, _value) = (take_string(rest)?, take_string(rest)?);
        has |= name == INFO_EXTENSION.0;
    }
    Ok(has)
}

fn target(host: String, port: u32) -> Result<ForwardTarget, Malformed> {
    match port {
        STREAMLOCAL => Ok(ForwardTarget::Unix(encoding::path(&host))),
        port => match u16::try_from(port) {
            Ok(port) if port > 0 && !host.is_empty() => Ok(ForwardTarget::Tcp(host, port)),
            _ => Err(Malformed),
        },
    }
}

fn put_target(out: &mut Vec<u8>, target: &ForwardTarget) {
    match target {
        ForwardTarget::Tcp(host, port) => {
            put_string(out, host);
            put_u32(out, (*port).into());
        }
        ForwardTarget::Unix(path) => put_path(out, path),
        ForwardTarget::Dynamic => {
            put_string(out, SOCKS);
            put_u32(out, 0);
        }
    }
}

fn put_path(out: &mut Vec<u8>, path: &std::path::Path) {
    put_string(out, &encoding::of_os(path));
    put_u32(out, STREAMLOCAL);
}

#[cfg(test)]
mod tests;
