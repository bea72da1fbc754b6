//! What a fuzzer calls. Owns the list of targets; what has to hold of each decoder lies
//! beside it, in its own `fuzz`.

use super::leaf::script::Trace;

/// Does something with any bytes, and panics when what has to hold does not.
pub(super) type Target = fn(&[u8], &mut Trace);

/// The targets by name. `fuzz/Cargo.toml` has each of them.
const TARGETS: &[(&str, Target)] = &[
    #[cfg(feature = "mycelium")]
    ("mycelium_packet", super::mycelium::fuzz::packet),
    #[cfg(feature = "mycelium")]
    ("mycelium_router", super::mycelium::fuzz::router),
    #[cfg(feature = "mycelium")]
    ("mycelium_wire", super::mycelium::fuzz::wire),
    #[cfg(feature = "yggdrasil")]
    ("yggdrasil_bloom", super::yggdrasil::fuzz::bloom),
    #[cfg(feature = "yggdrasil")]
    ("yggdrasil_meta", super::yggdrasil::fuzz::meta),
    #[cfg(feature = "yggdrasil")]
    ("yggdrasil_node", super::yggdrasil::fuzz::node),
    #[cfg(feature = "yggdrasil")]
    ("yggdrasil_session", super::yggdrasil::fuzz::session),
    #[cfg(feature = "yggdrasil")]
    ("yggdrasil_tree", super::yggdrasil::fuzz::tree),
    #[cfg(feature = "yggdrasil")]
    ("yggdrasil_wire", super::yggdrasil::fuzz::wire),
];

/// Runs one.
#[cfg(fuzzing)]
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    assert!(target.is_some(), "there is no target {name}");
    if let Some((_, target)) = target {
        target(data, &mut Trace::default());
    }
}

#[cfg(test)]
mod tests;
