//! How the executable is linked. Owns that a third of a megabyte of addresses does not
//! take one and a half: relocations of a position-independent executable are packed where
//! the C library that goes into it can unpack them. And that the functions of a session lie
//! together: the system reads and maps what surrounds each one, 64 KiB at a time, and what
//! else is in this program is ten times as much.
#![expect(clippy::disallowed_methods, reason = "Cargo says all in variables; no user's words here")]

use std::path::Path;
use std::process::Command;

/// The functions of a session; `vendor-tests/session-functions` finds them.
const FUNCTIONS: &str = "build/session-functions";

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
    // Other linkers than GNU's and LLVM's know no such scripts.
    let is_known =
        !std::env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("fuse-ld"));
    if has_glibc
        && is_native
        && is_known
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("PROFILE", "release")
    {
        group();
    }
}

/// Has the linker put the functions together that the list names.
fn group() {
    println!("cargo::rerun-if-changed={FUNCTIONS}");
    let Ok(names) = std::fs::read_to_string(FUNCTIONS) else { return };
    let sections: String = names.lines().map(|name| format!("    .text.{name}*\n")).collect();
    // What runs of the C library is in no sections of its own.
    let script = format!(
        "SECTIONS {{\n  .text_session : {{\n    *(\n{sections}    )\n    \
         *libc.a:*(.text .text.*)\n  }}\n}}\nINSERT BEFORE .text;\n"
    );
    let Some(dir) = std::env::var_os("OUT_DIR") else { return };
    let path = Path::new(&dir).join("session.ld");
    if std::fs::write(&path, script).is_ok() {
        println!("cargo::rustc-link-arg-bins=-T{}", path.display());
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
