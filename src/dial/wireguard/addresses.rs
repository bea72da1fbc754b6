//! Addresses in a clan's WireGuard network, as its public vars write them
//! (clan-core's `clanServices/wireguard`). Owns that they are read as addresses, and never
//! joined as text; pure.

use std::net::Ipv6Addr;

/// The bits of a controller's network.
pub(super) const PREFIX: u8 = 56;

/// The address of a controller in its network.
pub(super) fn controller_address(prefix: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix.to_bits() | 1)
}

/// The address of a peer in the network of a controller.
pub(super) fn peer_address(prefix: Ipv6Addr, suffix: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix.to_bits() | u128::from(suffix))
}

/// The network in the text of a controller's var: an address whose end was cut with its
/// colons, and with it groups that are zero.
///
/// # Errors
/// What is wrong with it.
pub(super) fn prefix(text: &str) -> Result<Ipv6Addr, &'static str> {
    let text = text.trim();
    let bare = text.split_once('/').map_or(text, |(address, _)| address);
    let bare = bare.trim_end_matches(':');
    let address: Ipv6Addr =
        format!("{bare}::").parse().map_err(|_| "it is not the prefix of a network")?;
    let bits = address.to_bits();
    // No clan has a say about other addresses (RFC 4193).
    if bits >> 120 != 0xfd {
        return Err("it is not the prefix of a local network");
    }
    match bits.trailing_zeros() >= 128 - u32::from(PREFIX) {
        true => Ok(address),
        false => Err("it is longer than 56 bits"),
    }
}

/// The end of a peer's addresses in the text of its var.
///
/// # Errors
/// What is wrong with it.
pub(super) fn suffix(text: &str) -> Result<u64, &'static str> {
    let bare = text.trim().trim_start_matches(':');
    let address: Ipv6Addr =
        format!("::{bare}").parse().map_err(|_| "it is not the suffix of an address")?;
    let suffix = u64::try_from(address.to_bits()).map_err(|_| "it is longer than 64 bits")?;
    // That would be the network itself, or its controller.
    if suffix > 1 { Ok(suffix) } else { Err("it is not the suffix of a peer's address") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_and_suffixes_are_addresses_and_never_joined_as_text() {
        for (text, expected) in [
            ("fd28:387a:69:8700", "fd28:387a:69:8700::"),
            ("fd28:387a:69:8700\n", "fd28:387a:69:8700::"),
            // A group that is zero fell away with its colons.
            ("fd28:387a:69", "fd28:387a:69::"),
            ("fd28:387a:69::", "fd28:387a:69::"),
            ("fd28:387a:69:100::/56", "fd28:387a:69:100::"),
        ] {
            assert_eq!(prefix(text), Ok(ip(expected)), "{text:?}");
        }
        for text in ["", "2001:db8", "fe80", "fd28:387a:69:8701", "fd28:1:1:1:1:1:1:1", "x", ":::"]
        {
            assert!(prefix(text).is_err(), "{text:?}");
        }
        assert_eq!(suffix("3b21:3ced:003e:89b3"), Ok(0x3b21_3ced_003e_89b3));
        assert_eq!(suffix("ced:3e:89b3\n"), Ok(0x0ced_003e_89b3));
        for text in ["", "0:0:0:1", "1:2:3:4:5", "x", "1::2::3"] {
            assert!(suffix(text).is_err(), "{text:?}");
        }
        let address = peer_address(prefix("fd28:387a:69").unwrap(), suffix("1:2:3:4").unwrap());
        assert_eq!(address, ip("fd28:387a:69::1:2:3:4"));
    }
}
