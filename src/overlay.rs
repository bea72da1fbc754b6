//! Whether this computer is part of an overlay network, told from an address in
//! it. Owns the prefixes of the overlays that Clan knows, and for those without
//! one the kernel's routes; sends nothing.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use crate::hosts;
use crate::model::{Host, Network, Running};

/// Peers of a network whose addresses are looked at.
const PEERS: usize = 3;

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

/// Whether this computer is part of a network whose addresses an overlay may have, told
/// from the addresses of its peers. With `only`, other addresses say nothing.
pub fn running(network: &Network, only: Option<Overlay>) -> Running {
    let hosts = network.peers.iter().flat_map(|peer| &peer.hosts).take(PEERS);
    let addresses = hosts.flat_map(|host| match host {
        Host::Plain(text) => match text.trim_matches(['[', ']']).parse() {
            Ok(address) => vec![address],
            // Clan's wireguard has names, which its machines know by /etc/hosts.
            Err(_) => hosts::addresses(text),
        },
        Host::Var(_) => Vec::new(),
    });
    // All of a network's addresses are of one kind.
    let addresses: Vec<IpAddr> = addresses.take(PEERS).collect();
    let counts = |address: &IpAddr| only.is_none() || Overlay::of(*address) == only;
    match addresses.iter().copied().filter(counts).find_map(is_running) {
        Some(true) => Running::Yes,
        Some(false) => Running::No,
        None if only.is_some() => Running::Unknown,
        // VPNs without addresses of their own are told by their device.
        None if addresses.iter().copied().any(is_tunnelled) => Running::Yes,
        None if is_vpn(network) && addresses.is_empty() => Running::Unknown,
        None if is_vpn(network) => Running::No,
        None => Running::Irrelevant,
    }
}

/// Whether its name says that something has to run for it, whatever its addresses.
fn is_vpn(network: &Network) -> bool {
    let names = [network.service.as_deref(), network.module.as_deref(), Some(&network.name)];
    let names = names.into_iter().flatten().map(|name| name.rsplit(['/', '.']).next());
    let known = [
        "tinc",
        "wireguard",
        "yggdrasil",
        "mycelium",
        "zerotier",
        "tailscale",
        "headscale",
        "netbird",
        "nebula",
        "easytier",
        "hyprspace",
        "vpncloud",
    ];
    names.flatten().any(|name| known.contains(&name))
}

/// Whether this computer is in the overlay that `address` belongs to; `None`
/// when it belongs to none.
pub fn is_running(address: IpAddr) -> Option<bool> {
    let overlay = Overlay::of(address)?;
    Some(source(address).is_some_and(|ours| overlay.joins(ours, address)))
}

/// Whether packets to `address` leave by a VPN's device: a TUN or TAP device, as
/// tinc has it, or the kernel's wireguard. From the main routing table
/// (proc(5), `/proc/net/route`; the kernel's `net/ipv6/route.c`) and sysfs.
pub fn is_tunnelled(address: IpAddr) -> bool {
    let read = |name| std::fs::read_to_string(Path::new("/proc/net").join(name));
    let device = match address {
        IpAddr::V4(v4) => device_v4(&read("route").unwrap_or_default(), v4.to_bits()),
        IpAddr::V6(v6) => device_v6(&read("ipv6_route").unwrap_or_default(), v6.to_bits()),
    };
    let Some(device) = device else { return false };
    let place = Path::new("/sys/class/net").join(device);
    place.join("tun_flags").exists()
        || std::fs::read_to_string(place.join("uevent"))
            .is_ok_and(|text| text.lines().any(|line| line == "DEVTYPE=wireguard"))
}

/// RTF_UP and RTF_REJECT of linux/route.h.
const UP: u32 = 1;
const REJECT: u32 = 0x200;

/// The device of the most specific of the routes to `address`.
fn device_v4(table: &str, address: u32) -> Option<String> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[device, to, _, flags, _, _, metric, mask, ..] = fields.as_slice() else {
            return None;
        };
        // In the byte order of the machine.
        let (to, mask) = (number(to)?.to_be(), number(mask)?.to_be());
        let is_usable = number(flags)? & (UP | REJECT) == UP;
        let leads_there = is_usable && address & mask == to;
        leads_there.then_some((mask.count_ones(), std::cmp::Reverse(metric.parse().ok()?), device))
    });
    routes
        .max_by_key(|&(bits, metric, _): &(u32, std::cmp::Reverse<u32>, _)| (bits, metric))
        .map(|(.., device)| device.to_owned())
}

fn device_v6(table: &str, address: u128) -> Option<String> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[to, bits, _, _, _, metric, _, _, flags, device] = fields.as_slice() else {
            return None;
        };
        let (to, bits) = (u128::from_str_radix(to, 16).ok()?, number(bits)?.min(128));
        let is_usable = number(flags)? & (UP | REJECT) == UP;
        let differs = (to ^ address).checked_shr(128 - bits).unwrap_or(0);
        let leads_there = is_usable && differs == 0;
        leads_there.then_some((bits, std::cmp::Reverse(number(metric)?), device))
    });
    routes.max_by_key(|&(bits, metric, _)| (bits, metric)).map(|(.., device)| device.to_owned())
}

/// The device of this computer that has an address (proc(5), `/proc/net/if_inet6`).
pub(crate) fn device_with(address: Ipv6Addr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    device_in(&table, address)
}

fn device_in(table: &str, address: Ipv6Addr) -> Option<String> {
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[own, _, _, _, _, device] = fields.as_slice() else { return None };
        let is_it = u128::from_str_radix(own, 16) == Ok(address.to_bits());
        is_it.then(|| device.to_owned())
    })
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
    fn the_most_specific_route_tells_the_device() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
                  eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                  tinc\t0000F30A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                  down\t0100F30A\t00000000\t0000\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";
        let device = |text: &str| match ip(text) {
            IpAddr::V4(v4_address) => device_v4(v4, v4_address.to_bits()),
            IpAddr::V6(v6_address) => device_v6(
                "fd120000000000000000000000000000 10 00000000000000000000000000000000 00 \
                 00000000000000000000000000000000 00000100 00000001 00000000 00000001     wg0\n\
                 00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200      lo\n",
                v6_address.to_bits(),
            ),
        };
        if cfg!(target_endian = "little") {
            assert_eq!(device("10.243.0.1").as_deref(), Some("tinc"));
            assert_eq!(device("10.244.0.1").as_deref(), Some("eth0"));
        }
        assert_eq!(device("fd12::1").as_deref(), Some("wg0"));
        assert_eq!(device("fd13::1"), None);
        assert!(device_v4("rubbish", 1).is_none() && device_v6("a b\n", 1).is_none());
        assert!(!is_tunnelled(ip("127.0.0.1")));
    }

    #[test]
    fn the_device_with_an_address_is_known() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fd110000000001000000000000000a01 05 38 00 80      wg0\n\
                     rubbish\n";
        let device = |text: &str| device_in(table, text.parse().unwrap());
        assert_eq!(device("fd11:0:0:100::a01").as_deref(), Some("wg0"));
        assert_eq!(device("::1").as_deref(), Some("lo"));
        assert_eq!(device("fd11::1"), None);
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
