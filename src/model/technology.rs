//! `Technology`: what a network's module means to us. Owns the names of
//! `clan_lib/network/*` and the guess for an export without a module; dials nothing.

use std::fmt;

use crate::printable::Printable;

/// Where Clan's own modules live in its Python library.
const LIBRARY: &str = "clan_lib.network.";

/// How a stream to a peer of the network is opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Technology {
    /// TCP to the host; wireguard, mycelium and yggdrasil are of this kind too.
    Direct,
    /// An onion service.
    Tor,
    /// TCP to an address that a zerotier daemon of this machine routes; dialled like direct.
    Zerotier,
    /// A ticket of iroh, spoken as dumbpipe does.
    Iroh,
    /// A module that we do not know, by its full name.
    Unsupported(String),
}

impl Technology {
    /// The technology of a module's full Python name, such as `clan_lib.network.tor`.
    pub fn from_module(module: &str) -> Self {
        match module.strip_prefix(LIBRARY) {
            Some("direct") => Self::Direct,
            Some("tor") => Self::Tor,
            Some("zerotier") => Self::Zerotier,
            Some("p2p_ssh_iroh") => Self::Iroh,
            _ => Self::Unsupported(module.to_owned()),
        }
    }

    /// The technology of a network whose module was left out, as a narrow
    /// `clan select` does: the service's last component decides, else the
    /// instance's name, else it is direct.
    pub fn infer(service: Option<&str>, instance: &str) -> Self {
        let service = service.and_then(|service| service.rsplit('/').next());
        service.and_then(Self::known).or_else(|| Self::known(instance)).unwrap_or(Self::Direct)
    }

    /// A short name: `direct`, `tor`, `zerotier`, `iroh`, or the unknown
    /// module's full name, which is foreign text.
    pub fn name(&self) -> &str {
        match self {
            Self::Direct => "direct",
            Self::Tor => "tor",
            Self::Zerotier => "zerotier",
            Self::Iroh => "iroh",
            Self::Unsupported(module) => module,
        }
    }

    fn known(name: &str) -> Option<Self> {
        match name {
            "tor" => Some(Self::Tor),
            "zerotier" => Some(Self::Zerotier),
            "p2p-ssh-iroh" | "p2p_ssh_iroh" | "iroh" => Some(Self::Iroh),
            "internet" | "mycelium" | "wireguard" | "yggdrasil" => Some(Self::Direct),
            _ => None,
        }
    }
}

/// The short name, fit for a terminal.
impl fmt::Display for Technology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(self.name()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clans_modules_are_known_and_others_are_kept() {
        for (module, technology) in [
            ("clan_lib.network.direct", Technology::Direct),
            ("clan_lib.network.tor", Technology::Tor),
            ("clan_lib.network.zerotier", Technology::Zerotier),
            ("clan_lib.network.p2p_ssh_iroh", Technology::Iroh),
        ] {
            assert_eq!(Technology::from_module(module), technology);
        }
        for module in ["", "tor", "clan_lib.network.", "clan_lib.network.tor.lib", "my.net.tor"] {
            assert_eq!(Technology::from_module(module), Technology::Unsupported(module.to_owned()));
        }
    }

    #[test]
    fn a_missing_module_is_inferred_from_service_then_instance() {
        for (service, instance, technology) in [
            (None, "tor", Technology::Tor),
            (None, "zerotier", Technology::Zerotier),
            (None, "p2p-ssh-iroh", Technology::Iroh),
            (None, "office", Technology::Direct),
            (Some("clan-core/tor"), "hidden", Technology::Tor),
            (Some("clan-core/internet"), "tor", Technology::Direct),
            (Some("mine/special"), "tor", Technology::Tor),
        ] {
            assert_eq!(Technology::infer(service, instance), technology, "{service:?} {instance}");
        }
    }
}
