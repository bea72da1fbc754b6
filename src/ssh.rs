//! SSH on a stream that is already open. Owns host keys; never names a network.

pub mod hostkey;
pub mod known_hosts;
