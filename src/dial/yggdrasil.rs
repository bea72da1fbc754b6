//! Yggdrasil 0.5: an overlay in which the address of a machine comes from its key. Owns what
//! the rest of the program may know of it.
//!
//! The overlay takes everybody, and the machines of Clan's service only the packets of
//! members: the key is one that they know.

mod address;
mod bloom;
mod budget;
mod identity;
mod meta;
mod node;
mod seal;
mod session;
mod tree;
mod wire;

#[cfg(test)]
mod vectors;
