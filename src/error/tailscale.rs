//! The ways the tailscaled of this computer does not lead to a machine, in words for
//! people. Owns no text of its own answers, which name hosts.

use std::fmt;

/// Why tailscaled has opened no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TailscaleFailure {
    /// It does not let this user dial.
    Forbidden,
    /// It is logged in nowhere.
    NeedsLogin,
    /// It was told to be down.
    Stopped,
    /// It has not come up yet.
    Starting,
    /// It knows no such host in its tailnet, and would dial outside of it.
    Outside,
    /// It could not reach the host.
    Unreached,
    /// It does not speak as a tailscaled does.
    Garbled,
}

impl fmt::Display for TailscaleFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forbidden => "tailscaled does not let this user dial",
            Self::NeedsLogin => "tailscaled is not logged in",
            Self::Stopped => "tailscaled is stopped",
            Self::Starting => "tailscaled is still starting",
            Self::Outside => "tailscaled says that the host is not in its tailnet",
            Self::Unreached => "tailscaled cannot reach the host",
            Self::Garbled => "the answer on tailscaled's socket is not understood",
        })
    }
}

#[cfg(test)]
impl TailscaleFailure {
    /// One of each kind.
    pub(crate) fn examples() -> impl Iterator<Item = Self> {
        [
            Self::Forbidden,
            Self::NeedsLogin,
            Self::Stopped,
            Self::Starting,
            Self::Outside,
            Self::Unreached,
            Self::Garbled,
        ]
        .into_iter()
    }
}
