//! The JSON that a clan exports, as networks and peers.

mod var_ref;

pub use var_ref::VarRef;
