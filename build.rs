//! How the executable is linked. Owns that a third of a megabyte of addresses does not
//! take one and a half: relocations of a position-independent executable are packed where
//! the C library that goes into it can unpack them.
#![expect(clippy::disallowed_methods, reason = "Cargo says all in variables; no user's words here")]

use std::process::Command;

/// glibc that relocates a static executable with DT_RELR (its NEWS, 2.36). An older one
/// would start without.
const UNPACKS: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|is| is == value);
    let has_glibc = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    // Elsewhere nobody knows which one will be linked.
    let is_native = std::env::var("TARGET").ok() == std::env::var("HOST").ok();
    if has_glibc && is_native && glibc().is_some_and(|version| version >= UNPACKS) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
