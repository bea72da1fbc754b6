//! The reasons why we are no member of a clan's WireGuard network, in words for people.
//! Owns no key.

use std::fmt;
use std::net::Ipv6Addr;

use super::BadKey;

/// Why this process cannot be a member of the network of a machine. Texts are printable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberFailure {
    /// No key is at hand.
    NoKey {
        /// The network.
        instance: String,
    },
    /// What should be a key cannot be read, or is none.
    BadKey(BadKey),
    /// The key is of no member.
    Stranger {
        /// Where it is.
        origin: String,
        /// The network.
        instance: String,
    },
    /// The key is a controller's.
    Controller {
        /// Where it is.
        origin: String,
        /// The controller.
        machine: String,
    },
    /// This computer has the address of the key's member: it is this member already.
    Runs {
        /// The member.
        machine: String,
        /// The address.
        address: Ipv6Addr,
        /// The device that has it.
        device: String,
    },
    /// Another process of ours uses the key.
    Busy {
        /// The member.
        machine: String,
    },
    /// What is read of the clan does not say where a controller is.
    NoEndpoint {
        /// The controller.
        machine: String,
        /// Whether nothing was said of any service's settings.
        is_unknown: bool,
    },
    /// The vars know no controller.
    NoController {
        /// The network.
        instance: String,
    },
    /// No var can have the name of the network in its own.
    Unnameable {
        /// The network.
        instance: String,
    },
    /// A var of a member is not what it should be.
    BadVar {
        /// Whose, and which.
        var: String,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for MemberFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey { instance } => write!(
                f,
                "this computer is not in the WireGuard network {instance}, and no key of a member \
                 was found"
            ),
            Self::BadKey(BadKey { origin, fault }) => {
                write!(f, "the WireGuard key {origin}: {fault}")
            }
            Self::Unnameable { instance } => write!(
                f,
                "the vars of the WireGuard network {instance} cannot be found: a var's name \
                 cannot contain this name"
            ),
            Self::Stranger { origin, instance } => {
                write!(f, "the WireGuard key {origin} does not belong to a member of {instance}")
            }
            Self::Controller { origin, machine } => write!(
                f,
                "the WireGuard key {origin} belongs to the controller {machine}, and only that \
                 machine can use it"
            ),
            Self::Runs { machine, address, device } => write!(
                f,
                "this computer is {machine} in its WireGuard network already: {device} has the \
                 address {address}"
            ),
            Self::Busy { machine } => {
                write!(f, "another clan-connect uses the WireGuard key of {machine}")
            }
            Self::NoEndpoint { machine, .. } => {
                write!(f, "the endpoint of the WireGuard controller {machine} is not known")
            }
            Self::NoController { instance } => {
                write!(f, "no controller of the WireGuard network {instance} is known")
            }
            Self::BadVar { var, why } => write!(f, "{var}: {why}"),
        }
    }
}

#[cfg(test)]
impl MemberFailure {
    /// One of each kind.
    pub(crate) fn examples() -> impl Iterator<Item = Self> {
        let text = || "x".to_owned();
        [
            Self::NoKey { instance: text() },
            Self::Unnameable { instance: text() },
            Self::Stranger { origin: text(), instance: text() },
            Self::Controller { origin: text(), machine: text() },
            Self::Runs { machine: text(), address: Ipv6Addr::LOCALHOST, device: text() },
            Self::Busy { machine: text() },
            Self::NoEndpoint { machine: text(), is_unknown: true },
            Self::NoEndpoint { machine: text(), is_unknown: false },
            Self::NoController { instance: text() },
            Self::BadVar { var: text(), why: text() },
        ]
        .into_iter()
        .chain(BadKey::examples().map(Self::BadKey))
    }
}
