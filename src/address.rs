//! Addresses as people write them. Owns that there is one spelling of each, by which its
//! key is known, however it was written (OpenSSH's ssh.c, `resolve_addr`).

use std::net::{IpAddr, Ipv4Addr};

/// The address that a host is, without a zone.
pub(crate) fn parse(host: &str) -> Option<IpAddr> {
    host.parse().ok().or_else(|| short(host).map(IpAddr::V4))
}

/// A host in its one spelling, if it is an address, and as it is if it is not. The zone of
/// an address stays; brackets go.
pub(crate) fn canonical(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (address, zone) = match bare.unwrap_or(host).split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (bare.unwrap_or(host), None),
    };
    let parsed = match bare {
        Some(_) => address.parse().ok(),
        None => parse(address),
    };
    match (parsed, zone) {
        (Some(ip), None) => ip.to_string(),
        (Some(IpAddr::V6(ip)), Some(zone)) => format!("{ip}%{zone}"),
        _ => host.to_owned(),
    }
}

/// Whether a host may have an address: not all hosts of a network, and not none.
pub(crate) fn is_a_hosts(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

/// An address of version 4 in the forms that inet_aton(3) takes, and so getaddrinfo(3):
/// one to four numbers, each decimal, octal or hexadecimal; the last has all bytes that
/// are left.
fn short(host: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| {
        let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if text.len() > 1 && text.starts_with('0') => (text, 8),
            None => (text, 10),
        };
        let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, radix).ok().filter(|_| is_number)
    };
    let numbers: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = numbers.split_last().filter(|(_, bytes)| bytes.len() <= 3)?;
    let left = 32 - 8 * u32::try_from(bytes.len()).ok()?;
    if bytes.iter().any(|byte| *byte > 255) || u64::from(*last) >> left != 0 {
        return None;
    }
    let address = bytes.iter().zip([24, 16, 8]).fold(*last, |all, (byte, by)| all | byte << by);
    Some(Ipv4Addr::from_bits(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_one_spelling() {
        for (text, one) in [
            ("127.1", "127.0.0.1"),
            ("10.1.258", "10.1.1.2"),
            ("0x7f000001", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("[127.0.0.1]", "127.0.0.1"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("0::0001", "::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("FE80:0::1%eth0", "fe80::1%eth0"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(canonical(text), one, "{text}");
            assert_eq!(canonical(one), one, "{text}");
        }
    }

    #[test]
    fn an_address_of_all_or_of_none_is_no_hosts() {
        for text in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:224.0.0.1"]
        {
            assert!(!is_a_hosts(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "127.0.0.1", "fd00::1"] {
            assert!(is_a_hosts(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_stays() {
        for name in [
            "256.1",
            "1.2.3.4.5",
            "127.",
            ".1",
            "0x",
            "08",
            "4294967296",
            "1.16777216",
            "a.1",
            "+1",
            "[127.1]",
            "Web01.example",
            "10.0.0.1%eth0",
            "",
            "[]",
        ] {
            assert_eq!(canonical(name), name, "{name}");
        }
    }
}
