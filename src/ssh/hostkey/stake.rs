//! What a host key that passed is worth, and what a server gets none of when
//! nobody vouches for its key (sshconnect.c, `check_host_key`). Owns ssh(1)'s words
//! for that; the session withholds it.

use std::fmt;

/// What a host key that passed is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Worth {
    /// The user himself vouches for it: by his own file, or just now. Only such a
    /// server may tell of its other keys (`UpdateHostKeys`).
    UsersWord,
    /// Somebody else vouches for it, or this is its first use.
    #[default]
    Enough,
    /// Nobody does, and why: it gets no password and no agent, and nothing is
    /// forwarded.
    Nothing(&'static str),
}

/// Whose words messages about host keys are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wording {
    /// Our own.
    #[default]
    Own,
    /// Those of ssh(1), which programs look for.
    Ssh,
}

/// Ways out of a question about a machine of a clan, in the words of the front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// How to make the clan's word count.
    pub allow_clan: &'static str,
    /// How to connect whatever the key.
    pub unchecked: &'static str,
}

impl Default for Advice {
    fn default() -> Self {
        Self { allow_clan: "clan-connect trust-clan", unchecked: "without a check of its key" }
    }
}

/// Something that a server could abuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stake {
    /// A password that is typed.
    Password,
    /// Answers to its questions.
    KeyboardInteractive,
    /// The user's agent.
    Agent,
    /// The user's display.
    X11,
    /// Forwards of any kind.
    Ports,
    /// A tunnel.
    Tunnel,
    /// The user's list of its keys.
    UpdateHostKeys,
}

/// What is at stake on one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stakes {
    /// What the user wants it to have.
    pub all: Vec<Stake>,
    /// The connection is of no use without: `ExitOnForwardFailure`, `-W`, a jump
    /// host.
    pub gives_up: bool,
}

/// The end of a connection that is of no use (sshconnect.c).
pub(super) const GIVEN_UP: &str = "Error: forwarding disabled due to host key check failure";

impl Stakes {
    /// A sentence for each that it does not get.
    pub(super) fn withheld(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(Stake::to_string)
    }
}

impl fmt::Display for Stake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Password => "Password authentication",
            Self::KeyboardInteractive => "Keyboard-interactive authentication",
            Self::Agent => "Agent forwarding",
            Self::X11 => "X11 forwarding",
            Self::Ports => "Port forwarding",
            Self::Tunnel => "Tunnel forwarding",
            Self::UpdateHostKeys => {
                return f
                    .write_str("UpdateHostkeys is disabled because the host key is not trusted.");
            }
        };
        write!(f, "{what} is disabled to avoid man-in-the-middle attacks.")
    }
}
