//! A route that was tried and failed: how far it got, and why, by type. Owns no
//! words of its own but the network, the host and the time around the cause's.

use std::fmt;
use std::time::Duration;

use super::{BannerError, DialError, DialFailure, Error, Loss, ProxyFailure, Stage};

/// What everybody takes the port for.
const SSH_PORT: u16 = 22;

/// A route that was tried and failed.
#[derive(Debug)]
pub struct Attempt {
    /// The network's name.
    pub network: String,
    /// The host as it may be shown; a secret one is a placeholder.
    pub host: String,
    /// The port there, where the host may be shown and is known.
    pub port: Option<u16>,
    /// Why it failed. Names no host.
    pub cause: Cause,
    /// From the start of the route to its failure.
    pub elapsed: Duration,
}

/// Why a route failed. Which of them it is says how far the route got.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// Its host is a var that could not be read or decrypted.
    Decrypt(Box<Error>),
    /// The machine's own configuration, which may name a host, could not be read.
    Configuration(Box<Error>),
    /// No stream could be opened.
    Dial(DialError),
    /// What the user has put in the way did not lead there.
    Proxy(ProxyFailure),
    /// No SSH server that we can use answered.
    Banner(BannerError),
    /// No keys could be exchanged.
    KeyExchange(Loss),
    /// The server's key is not one that may be trusted.
    HostKey(Box<Error>),
}

impl Cause {
    /// How far the route got.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Decrypt(_) => Stage::Decrypt,
            Self::Configuration(_) => Stage::Evaluate,
            Self::Dial(error) => error.stage,
            Self::Proxy(_) => Stage::Dial,
            Self::Banner(_) => Stage::Banner,
            Self::KeyExchange(_) | Self::HostKey(_) => Stage::Kex,
        }
    }
}

impl From<DialError> for Cause {
    fn from(error: DialError) -> Self {
        match error.failure {
            DialFailure::Proxy(failure) => Self::Proxy(failure),
            _ => Self::Dial(error),
        }
    }
}

impl From<BannerError> for Cause {
    fn from(error: BannerError) -> Self {
        Self::Banner(error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decrypt(error) | Self::Configuration(error) | Self::HostKey(error) => {
                write!(f, "{error}")
            }
            Self::Dial(error) => write!(f, "{}", error.failure),
            Self::Proxy(failure) => write!(f, "{failure}"),
            Self::Banner(error) => write!(f, "{error}"),
            Self::KeyExchange(loss) => write!(f, "key exchange {loss}"),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, host, port, cause, elapsed } = self;
        let (stage, seconds) = (cause.stage(), elapsed.as_secs_f64());
        write!(f, "{network} via {host}")?;
        if let Some(port) = port.filter(|port| *port != SSH_PORT) {
            write!(f, " port {port}")?;
        }
        write!(f, ": {cause} ({stage}, {seconds:.1} s)")
    }
}
