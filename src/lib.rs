//! Reach a machine of a [Clan](https://clan.lol) over the best of its networks
//! and speak SSH on that one stream.
#![deny(missing_docs)]

pub mod error;
pub mod exports;
pub mod secret;
pub mod ssh;

pub use error::{Attempt, Error, Result, Stage};
pub use secret::Secret;
