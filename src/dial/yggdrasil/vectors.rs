//! The vectors of `fixtures/yggdrasil`.

use serde_json::Value;

use super::identity::Identity;

const VECTORS: &str = include_str!("../../../fixtures/yggdrasil/vectors.json");

fn value(name: &str) -> Value {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all.pointer(&format!("/{name}")).unwrap().clone()
}

/// The text of this name; a slash leads into it.
pub(super) fn text(name: &str) -> String {
    value(name).as_str().unwrap().to_owned()
}

/// The bytes.
pub(super) fn bytes(name: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text(name).as_bytes()).unwrap()
}

/// The same, where it is known how many.
pub(super) fn array<const N: usize>(name: &str) -> [u8; N] {
    bytes(name).try_into().unwrap()
}

/// The numbers.
pub(super) fn numbers(name: &str) -> Vec<usize> {
    serde_json::from_value(value(name)).unwrap()
}

/// One of the keys.
pub(super) fn identity(number: usize) -> Identity {
    Identity::new(&array(&format!("keys/{number}/seed")))
}
