//! Mycelium 0.7: an overlay that takes everybody, so that a machine in it is reached with a
//! key that lives as long as the process. Owns what the rest of the program may know of it.
//!
//! Between the ends it encrypts with AES-256-GCM and a key that never changes, so that it
//! has no forward secrecy and does not notice what is repeated: all that is left to SSH.

mod identity;
mod router;
mod wire;

#[cfg(test)]
mod vectors;
