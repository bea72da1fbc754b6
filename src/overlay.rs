//! Whether this computer is part of an overlay network, told from an address in
//! it. Owns the prefixes of the overlays that Clan knows; asks the kernel which
//! source it would use, and sends nothing.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// discard (RFC 863); no packet is sent.
const PORT: u16 = 9;

/// An overlay by its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// 200::/7.
    Yggdrasil,
    /// 400::/7.
    Mycelium,
    /// RFC 4193 with the network's id, `fd` + id + `9993` (ZeroTier's "RFC4193").
    Zerotier,
    /// 100.64.0.0/10 and fd7a:115c:a1e0::/48.
    Tailscale,
    /// Another network of RFC 4193, such as Clan's wireguard.
    Local,
}

impl Overlay {
    /// The overlay of an address; none of the internet's and of the private
    /// ones, which say nothing.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                (a == 100 && b & 0xc0 == 64).then_some(Self::Tailscale)
            }
            IpAddr::V6(v6) => match v6.octets() {
                [first, ..] if first & 0xfe == 0x02 => Some(Self::Yggdrasil),
                [first, ..] if first & 0xfe == 0x04 => Some(Self::Mycelium),
                [0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, ..] => Some(Self::Tailscale),
                [0xfd, _, _, _, _, _, _, _, _, 0x99, 0x93, ..] => Some(Self::Zerotier),
                [0xfd, ..] => Some(Self::Local),
                _ => None,
            },
        }
    }

    /// Whether two addresses of this overlay are of the same network.
    fn joins(self, ours: IpAddr, theirs: IpAddr) -> bool {
        let bits = match self {
            Self::Yggdrasil | Self::Mycelium | Self::Tailscale => {
                return Self::of(ours) == Some(self);
            }
            // `fd`, eight bytes of the network's id, and 9993.
            Self::Zerotier => 88,
            // `fd` and a global id of 32 bits at least: Clan's wireguard has /40.
            Self::Local => 40,
        };
        match (ours, theirs) {
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (u128::from(ours) ^ u128::from(theirs)) >> (128 - bits) == 0
            }
            _ => false,
        }
    }
}

/// Whether this computer is in the overlay that `address` belongs to; `None`
/// when it belongs to none.
pub fn is_running(address: IpAddr) -> Option<bool> {
    let overlay = Overlay::of(address)?;
    Some(source(address).is_some_and(|ours| overlay.joins(ours, address)))
}

/// The address that a packet to `address` would have as its source.
pub(crate) fn source(address: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((address, PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_tell_their_overlay() {
        for (text, overlay) in [
            ("200:1::1", Some(Overlay::Yggdrasil)),
            ("3ff:ffff::1", Some(Overlay::Yggdrasil)),
            ("5aa:bb::1", Some(Overlay::Mycelium)),
            ("fd5d:bbe3:cbc5:fe6b:f699:935d:bbe3:cbc5", Some(Overlay::Zerotier)),
            ("fd7a:115c:a1e0::1", Some(Overlay::Tailscale)),
            ("100.64.0.1", Some(Overlay::Tailscale)),
            ("100.128.0.1", None),
            ("fd12:3456:78::1", Some(Overlay::Local)),
            ("2001:db8::1", None),
            ("10.0.0.1", None),
            ("::1", None),
        ] {
            assert_eq!(Overlay::of(ip(text)), overlay, "{text}");
        }
    }

    #[test]
    fn only_the_same_network_counts() {
        let zerotier = Overlay::Zerotier;
        let (one, two) = ("fd5d:bbe3:cbc5:fe6b:f699:93aa::1", "fd5d:bbe3:cbc5:fe6b:f699:93bb::2");
        assert!(zerotier.joins(ip(one), ip(two)));
        assert!(!zerotier.joins(ip("fd5d:bbe3:cbc5:fe6b:0099:93aa::1"), ip(two)));
        assert!(Overlay::Local.joins(ip("fd12:3456:78aa::1"), ip("fd12:3456:78bb::2")));
        assert!(!Overlay::Local.joins(ip("fd12:3456:79aa::1"), ip("fd12:3456:78bb::2")));
        assert!(!Overlay::Mycelium.joins(ip("::1"), ip("400::1")));
        assert!(Overlay::Yggdrasil.joins(ip("201::1"), ip("302::1")));
        assert_eq!(is_running(ip("127.0.0.1")), None);
    }
}
