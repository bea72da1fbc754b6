//! Reach a machine of a [Clan](https://clan.lol) over the best of its networks
//! and speak SSH on that one stream.
//!
//! ```text
//! exports (JSON) ── exports ──► Clan ── plan ──► routes, best first
//!                                                  │
//! vars/, secrets/ ── vars ──► host ── dial ──► race (SSH banner = reachable)
//!                                                  │ one stream
//!                              known_hosts ──► ssh: key exchange, host key,
//!                                               authentication, shell or command
//! ```
//!
//! [`connect::connect`] does all of it; every step is usable alone. What this
//! crate does not do: start `ssh`, `tor`, `age` or any other program, open a
//! second connection to find out whether the first would work, or write a
//! decrypted value anywhere.
#![deny(missing_docs)]

mod accounts;
mod children;
pub mod cli;
mod command;
pub mod connect;
pub mod descriptors;
pub mod dial;
pub mod env;
pub mod error;
pub mod exports;
mod file;
pub mod flake;
pub mod host_keys;
mod host_name;
mod hosts;
pub mod installer;
mod log;
pub mod mux;
mod nearest;
pub mod openssh;
pub mod options;
pub mod overlay;
mod pattern;
pub mod plan;
pub mod printable;
pub mod race;
pub mod remembered;
pub mod secret;
pub mod select;
pub mod signals;
pub mod ssh;
pub mod ssh_config;
pub mod sshfp;
pub mod term;
#[cfg(test)]
mod test_data;
mod tokens;
pub mod user;
pub mod vars;

pub use error::{Attempt, Cause, Error, Result, Stage};
pub use secret::Secret;
