//! The vectors of `fixtures/mycelium`.

use serde_json::Value;
use zeroize::Zeroizing;

use super::identity::Identity;
use crate::overlay::Overlay;

const VECTORS: &str = include_str!("../../../fixtures/mycelium/vectors.json");

fn all() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// The bytes of this name; a slash leads into it.
pub(super) fn bytes(name: &str) -> Vec<u8> {
    unhex(all().pointer(&format!("/{name}")).unwrap())
}

fn identity(key: &Value) -> Identity {
    Identity::new(Zeroizing::new(unhex(&key["secret"]).try_into().unwrap()))
}

/// The first two.
pub(super) fn identities() -> [Identity; 2] {
    [0, 1].map(|number| identity(&all()["keys"][number]))
}

#[test]
fn keys_have_the_addresses_that_the_program_gives_them() {
    let all = all();
    for key in all["keys"].as_array().unwrap() {
        let identity = identity(key);
        assert_eq!(identity.public.to_vec(), unhex(&key["public"]));
        assert_eq!(identity.address.to_string(), key["address"].as_str().unwrap());
        assert_eq!(Overlay::of(identity.address.into()), Some(Overlay::Mycelium));
    }
}

#[test]
fn a_key_of_a_low_order_has_nothing_to_share() {
    let [first, _] = identities();
    assert!(first.shared_with([0; 32]).is_none());
}
