//! Clan's own data, which the tests that need it read and nobody copies. They are
//! `#[ignore]`d, so that `cargo test` counts what it leaves out; who asks for them
//! (`--include-ignored`) has to say where the data is, or that there is none.

#![allow(clippy::disallowed_methods, reason = "a variable of whoever runs the tests")]

use std::path::PathBuf;

/// The folder in `$CLAN_TEST_DATA`, if it names one.
pub(crate) fn named() -> Option<PathBuf> {
    let said = std::env::var_os("CLAN_TEST_DATA").filter(|said| !said.is_empty())?;
    if said == "none" {
        return None;
    }
    let data = PathBuf::from(said);
    assert!(data.join("manifest.json").exists(), "{} is not Clan's data", data.display());
    Some(data)
}

/// The same for a test that is nothing without it; `None` only where
/// `$CLAN_TEST_DATA` is `none`.
pub(crate) fn clan() -> Option<PathBuf> {
    assert!(
        std::env::var_os("CLAN_TEST_DATA").is_some_and(|said| !said.is_empty()),
        "CLAN_TEST_DATA names no folder with Clan's data; CLAN_TEST_DATA=none goes without"
    );
    named()
}
