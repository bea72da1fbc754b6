//! The command line; this branch has only the pure parts.

pub mod network;
