//! Which address a key has in Yggdrasil, and what an address tells of its key. Owns that
//! comparison (yggdrasil-go, `src/address`); keys are Ed25519's public ones.

use std::net::Ipv6Addr;

/// An Ed25519 public key.
pub(super) type Key = [u8; 32];

/// The first byte of a machine's address, and of those in its subnet.
const ADDRESS: u8 = 0x02;
const SUBNET: u8 = 0x03;
/// How many bytes of an address hold bits of the key: of all, and of a subnet.
const ADDRESS_BYTES: usize = 14;
const SUBNET_BYTES: usize = 6;

/// The address that a key has.
pub(super) fn address_of(key: &Key) -> Ipv6Addr {
    packed(key, ADDRESS, ADDRESS_BYTES)
}

/// Whether it is the key of an address, or of the subnet that the address is in.
pub(super) fn has_address(key: &Key, address: Ipv6Addr) -> bool {
    match address.octets() {
        [ADDRESS, ..] => address_of(key) == address,
        [SUBNET, ..] => {
            address.to_bits() >> 64 == packed(key, SUBNET, SUBNET_BYTES).to_bits() >> 64
        }
        _ => false,
    }
}

/// What an address tells of its key; the rest is ones.
pub(super) fn key_from(address: Ipv6Addr) -> Key {
    let octets = address.octets();
    let is_subnet = octets.first() == Some(&SUBNET);
    let length = if is_subnet { SUBNET_BYTES } else { ADDRESS_BYTES };
    let [_, ones, rest @ ..] = octets;
    let ones = usize::from(ones);
    let told = (0..8 * length).filter(|&bit| bit_at(&rest, bit)).map(|bit| ones + 1 + bit);
    let mut key = [0xff; 32];
    for bit in (0..ones).chain(told) {
        clear(&mut key, bit);
    }
    key
}

/// A key as it is in a filter: what its subnet tells of it.
pub(super) fn filter_key(key: &Key) -> Key {
    key_from(packed(key, SUBNET, SUBNET_BYTES))
}

/// The number of leading zeros of the key, and the bits behind the first one, inverted.
fn packed(key: &Key, kind: u8, length: usize) -> Ipv6Addr {
    let zeros = (0..256).take_while(|&bit| !bit_at(key, bit)).count();
    let mut address = [0; 16];
    let [first, second, rest @ ..] = &mut address;
    *first = kind;
    // A key of nothing but zeros would have one more than there is room for.
    *second = u8::try_from(zeros).unwrap_or_default();
    for bit in 0..8 * length {
        let at = zeros + 1 + bit;
        // Behind the end of the key nothing is inverted.
        if at < 256
            && !bit_at(key, at)
            && let Some(byte) = rest.get_mut(bit / 8)
        {
            *byte |= 0x80 >> (bit % 8);
        }
    }
    Ipv6Addr::from(address)
}

fn bit_at(bytes: &[u8], bit: usize) -> bool {
    bytes.get(bit / 8).is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0)
}

fn clear(key: &mut Key, bit: usize) {
    if let Some(byte) = key.get_mut(bit / 8) {
        *byte &= !(0x80 >> (bit % 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::yggdrasil::vectors;
    use proptest::prelude::*;

    #[test]
    fn keys_have_the_addresses_that_the_program_gives_them() {
        for number in 0..3 {
            let text = |name: &str| vectors::text(&format!("keys/{number}/{name}"));
            let bytes = |name: &str| vectors::bytes(&format!("keys/{number}/{name}"));
            let key: Key = bytes("public").try_into().unwrap();
            let address = address_of(&key);
            assert_eq!(address.to_string(), text("address"));
            assert_eq!(key_from(address).to_vec(), bytes("key_from_address"));
            assert_eq!(filter_key(&key).to_vec(), bytes("bloom_key"));
            let subnet = text("subnet").replace("/64", "7");
            assert!(has_address(&key, subnet.parse().unwrap()));
            assert!(has_address(&key, address));
            assert!(!has_address(&key, Ipv6Addr::LOCALHOST));
        }
    }

    proptest! {
        #[test]
        fn what_an_address_tells_of_a_key_leads_back_to_it(key: Key) {
            let address = address_of(&key);
            prop_assert_eq!(address_of(&key_from(address)), address);
            prop_assert_eq!(filter_key(&key_from(address)), filter_key(&key));
        }

        #[test]
        fn any_address_can_be_asked_about(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            has_address(&key_from(address), address);
        }
    }
}
