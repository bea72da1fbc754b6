//! Reach a machine of a [Clan](https://clan.lol) over the best of its networks
//! and speak SSH on that one stream.
//!
//! ```text
//! argv ── clap (ssh, proxy, network …)       ┐
//! argv ── OpenSSH's letters, -o, ssh_config  ┴► Invocation { target, options, task }
//!                                                    │ request: clan ── plan ──► routes
//!                                                    │ link: remembered network, proxies
//! vars/, secrets/ ── vars ──► host ── dial ──► race (SSH banner = reachable)
//!                                                    │ one stream
//!                             known_hosts ──► ssh: key exchange, host key, authentication
//!                                                    │ Link
//!                             task: shell, command, subsystem, -W, forwards, shared
//! ```
//!
//! ```
//! # mod sample { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo/sample.rs")); }
//! use clan_connect::{Clan, HostKeys};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let dir = temporary.path();
//! # let key = sample::write_clan(dir, sample::start_machine().await?)?;
//! # let exports: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("exports.json"))?)?;
//! # let fingerprint = clan_connect::internals::fingerprint(dir);
//! # std::fs::write(dir.join("clan-connect.json"), serde_json::json!({
//! #     "clan_connect_snapshot": 1, "fingerprint": fingerprint, "exports": exports,
//! # }).to_string())?;
//! let clan = Clan::open(dir).await?;
//! # let clan = clan.age_identity(dir.join("key.txt"));
//! let machine = clan.machine("my_cool_machine")?.identity_file(key);
//! # let machine = machine.known_hosts(dir.join("known_hosts"));
//! let machine = machine.host_keys(HostKeys::AcceptNew).connect().await?;
//!
//! let output = machine.command(["uname", "-sm"]).output().await?; // as tokio::process
//! assert!(output.status.success());
//! assert_eq!(output.stdout, b"Linux x86_64\n");
//!
//! let mut database = machine.open_tcp("localhost", 5432).await?; // AsyncRead + AsyncWrite
//! database.write_all(b"ping").await?;
//! let mut answer = [0; 4];
//! database.read_exact(&mut answer).await?;
//! assert_eq!(&answer, b"ping");
//! machine.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! What this crate does not do: start `ssh`, `tor`, `age` or any other program but
//! nix, which evaluates clans where there is one, and those that a configuration
//! names; open a second connection to find out whether the first would work; or write a
//! decrypted value anywhere.
// What only some networks use lies idle in a build without them.
#![cfg_attr(
    not(all(
        feature = "iroh",
        feature = "mycelium",
        feature = "tor",
        feature = "wireguard",
        feature = "yggdrasil"
    )),
    allow(dead_code, unused_imports)
)]
#![deny(missing_docs)]

mod accounts;
mod address;
mod advice;
mod children;
#[cfg(test)]
mod circles;
mod cli;
mod client;
mod command;
mod connect;
mod descriptors;
mod dial;
mod encoding;
mod env;
mod error;
mod exports;
mod file;
mod flake;
mod host_keys;
mod host_name;
mod hosts;
mod installer;
mod log;
mod model;
mod mux;
mod nearest;
mod openssh;
mod options;
mod output;
mod overlay;
mod parts;
mod pattern;
mod plan;
mod preload;
mod printable;
mod prompter;
mod race;
mod remembered;
mod secret;
mod select;
mod services;
mod signals;
mod ssh;
mod ssh_config;
mod sshfp;
mod term;
#[cfg(test)]
mod test_data;
mod tokens;
mod vars;

pub use client::{Child, Clan, Command, Connection, Event, ExitStatus, Machine, Output, Stream};
pub use error::{Attempt, Cause, Error, Result, Stage};
pub use prompter::Prompter;
pub use secret::Secret;
pub use ssh::hostkey::HostKeyCheck as HostKeys;

/// What the tests beside other programs compare within one process. Not for others:
/// it changes without notice.
#[doc(hidden)]
pub mod internals {
    pub use crate::flake::fingerprint;
    pub use crate::ssh::{hostkey, known_hosts};
}

/// What `fuzz/` calls, and nobody else can.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz {
    pub use crate::dial::fuzz::run;
}

/// The program `clan-connect`: reads the arguments of this process and does what they
/// say. Returns what the process ends with.
pub fn main() -> std::process::ExitCode {
    if cli::tells_version(std::env::args_os()) {
        return std::process::ExitCode::SUCCESS;
    }
    let env = env::Env::read();
    // Before anything is changed that another program would inherit.
    if let Some(code) = cli::handed_over(std::env::args_os(), &env) {
        return std::process::ExitCode::from(code);
    }
    secret::guard_process();
    descriptors::close_inherited(&env);
    term::restore_on_panic();
    signals::end_where_the_system_refuses(cli::failure(std::env::args_os()));
    let code = signals::run(|| cli::main(std::env::args_os(), env));
    term::leave();
    std::process::ExitCode::from(code)
}
