//! What can go wrong, where, and whose fault it is. Messages are lowercase without a full
//! stop and name no flag. An error only says what has happened: what helps against it is
//! in `advice`, and the exit status in `exit_status`.

mod attempt;
mod banner;
mod dial;
mod exit_status;
mod iroh;
mod key;
mod leaf;
mod loss;
mod member;
mod nix;
mod no_route;
mod sealed;
mod stage;
mod tailscale;
mod tor;
mod wireguard;

use std::path::PathBuf;

use crate::printable::{self, Printable};
pub use attempt::{Attempt, Cause};
pub use banner::BannerError;
pub use dial::{Daemon, DialError, DialFailure, ProxyFailure};
pub(crate) use exit_status::FAILED;
pub use iroh::IrohFailure;
pub use key::{BadKey, KeyFault};
pub use leaf::{LeafFailure, LeafFault};
pub(crate) use loss::TOO_MANY_FAILURES;
pub use loss::{Loss, Negotiated, NoCommon};
pub use member::MemberFailure;
pub use nix::NixFault;
pub use no_route::NoRoute;
pub use sealed::SealedFault;
pub use stage::Stage;
pub use tailscale::TailscaleFailure;
pub use tor::TorFailure;
pub use wireguard::WireGuardFailure;

/// Everything that ends a command. A failed route is not an `Error` but an
/// [`Attempt`]: the next route is tried, and only when none is left do they
/// become [`Error::Unreachable`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),

    /// A file of ssh_config(5) says what cannot be used.
    #[error("{text}")]
    SshConfig {
        /// The file.
        path: PathBuf,
        /// Its first line that is at fault, if one is.
        line: Option<usize>,
        /// What is wrong with it, in OpenSSH's words, of several lines.
        text: String,
    },

    /// An option of ssh_config(5) has a value that is understood only when it is used,
    /// and of no use then, wherever it was set.
    #[error("{0}")]
    OptionValue(String),

    /// No clan here and none named.
    #[error("no clan found in {start} or any parent")]
    FlakeNotFound {
        /// The directory where the search began.
        start: PathBuf,
    },

    /// The directory is no clan.
    #[error(
        "{path} is not a clan: it has neither flake.nix nor .clan-flake nor vars nor a snapshot"
    )]
    NotAFlake {
        /// The directory named by the user.
        path: PathBuf,
    },

    /// A clan without exports we could read.
    #[error("no exports for the clan in {flake}: {reason}")]
    NoExports {
        /// The clan's directory.
        flake: PathBuf,
        /// What was looked for.
        reason: String,
    },

    /// What an installer shows cannot be used.
    #[error("{origin}: {reason}")]
    Installer {
        /// The image, the file, or the option.
        origin: String,
        /// What is wrong with it; nothing of its text.
        reason: String,
    },

    /// Somebody else has a say about the clan, or the user has not said that it is to
    /// be used.
    #[error("the clan in {} is not used: {reason}", printable::line(&dir.to_string_lossy()))]
    ClanRefused {
        /// Its directory.
        dir: PathBuf,
        /// Why, printable.
        reason: String,
        /// Whether it is somebody else's altogether, and not the user's own in which
        /// others have a say.
        is_strangers: bool,
    },

    /// `clan ssh` without a word on whom to connect to.
    #[error("no MACHINE, --json or --png data provided")]
    NoMachine,

    /// A command of Clan's own program that nobody does.
    #[error("clan-connect does not have the command \"{command}\", and {reason}")]
    NextClan {
        /// Its first words, printable.
        command: String,
        /// Why no other program does it, printable.
        reason: String,
        /// Whether there is one, which cannot be started.
        is_found: bool,
    },

    /// There is a snapshot of a clan, or its exports, that was named and must not be used.
    #[error("the snapshot {} is not used: {reason}", printable::line(&file.to_string_lossy()))]
    SnapshotRefused {
        /// The file.
        file: PathBuf,
        /// Why, printable.
        reason: String,
    },

    /// The list of the clans that the user has allowed is of no use.
    #[error("{path} {reason}")]
    TrustedClans {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// nix could not fetch or evaluate the clan.
    #[error("nix cannot {action} {reference}:\n{reason}")]
    Nix {
        /// The verb, such as `evaluate`.
        action: &'static str,
        /// The flake, as nix was told of it.
        reference: String,
        /// The end of nix's message, printable, of several lines.
        reason: String,
        /// Why, as far as its message tells.
        fault: NixFault,
    },

    /// A selector asks for what is not there.
    #[error("cannot select {selector}: {}{reason}", within(place))]
    Select {
        /// As typed by the user, printable.
        selector: String,
        /// The names of the way to where it failed, printable.
        place: Vec<String>,
        /// What is missing there.
        reason: String,
    },

    /// A file could not be read or written.
    #[error("cannot {action} {path}: {}", strerror(source))]
    File {
        /// The verb, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// A file is larger than anything honest would be.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        limit: u64,
    },

    /// The whole exports document is unusable.
    #[error("{origin}: {reason}")]
    Exports {
        /// Where the document came from.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },

    /// One entry of the exports is malformed; the others still count.
    #[error("{origin}: exports entry {key:?}, field {field}: {reason}")]
    ExportEntry {
        /// Where the document came from: its file, or the flake.
        origin: String,
        /// The key of the entry.
        key: String,
        /// The field inside it, dotted.
        field: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A secret host is a name, which only the DNS knows, and the clan is one that the
    /// user has not named: any secret of his could stand there.
    #[error(
        "the value of {var} is a DNS name, and a secret of a clan that was neither named nor \
         allowed is not looked up in the DNS"
    )]
    SecretName {
        /// The var.
        var: String,
    },

    /// The address that the clan has for a machine is none; its networks still
    /// count.
    #[error("targetHost of {machine:?}: {reason}")]
    TargetHost {
        /// The machine.
        machine: String,
        /// Which rule it breaks.
        reason: String,
    },

    /// Nobody has heard of this machine.
    #[error(
        "unknown machine {machine:?}{}{}",
        did_you_mean(nearest.as_deref()),
        has_none(empty.as_deref())
    )]
    UnknownMachine {
        /// As typed by the user.
        machine: String,
        /// Where the clan is read from, if it has no machine at all.
        empty: Option<String>,
        /// The nearest known name.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },

    /// No network of that name.
    #[error("unknown network {network:?}{}", did_you_mean_or_none(nearest.as_deref(), known))]
    UnknownNetwork {
        /// As typed by the user.
        network: String,
        /// The nearest known name.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },

    /// The machine exists but nothing says how to reach it.
    #[error("machine {machine:?} has no address: {reason}")]
    NoRoute {
        /// The machine.
        machine: String,
        /// Why there is no route.
        reason: NoRoute,
    },

    /// A var's name would leave the place where vars are kept.
    #[error("invalid var name {name:?}: {reason}")]
    VarName {
        /// The offending name.
        name: String,
        /// The rule it breaks.
        reason: &'static str,
    },

    /// A var has a value that is of no use.
    #[error("var {var}: its value is {reason}")]
    VarValue {
        /// `generator/file`.
        var: String,
        /// What it is, and should not be.
        reason: &'static str,
    },

    /// A var is needed, and there is no clan to read it from.
    #[error("the host is var {var}, and the clan it belongs to is not here")]
    NoVars {
        /// `generator/file`.
        var: String,
    },

    /// A snapshot has secret hosts, and not this one for us.
    #[error("{}", fault.text(whose, here.as_deref()))]
    SealedHosts {
        /// Whom it has them for: machines and public keys.
        whose: Vec<String>,
        /// The machine that we run on.
        here: Option<String>,
        /// What stood in the way.
        fault: SealedFault,
    },

    /// The var was never generated.
    #[error("var {var} of machine {machine:?} has not been generated")]
    VarMissing {
        /// The machine.
        machine: String,
        /// `generator/file`.
        var: String,
    },

    /// No var of that name has a value.
    #[error("machine {machine:?} has no var {var:?}{}", did_you_mean(nearest.as_deref()))]
    UnknownVar {
        /// The machine.
        machine: String,
        /// `generator/file`, as typed by the user.
        var: String,
        /// The nearest one that has a value.
        nearest: Option<String>,
    },

    /// No identity opens the var.
    #[error("cannot decrypt var {var} of machine {machine:?}: {reason}")]
    VarUndecryptable {
        /// The machine.
        machine: String,
        /// `generator/file`.
        var: String,
        /// What stood in the way.
        reason: String,
        /// Every identity that was tried, by its origin.
        tried: Vec<String>,
    },

    /// The file behind a var is damaged or lies outside the clan.
    #[error("{path}: {reason}")]
    VarBroken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// An identity was named by the user but cannot be used.
    #[error("identity {origin}: {reason}")]
    Identity {
        /// A file or an environment variable.
        origin: String,
        /// Why it is unusable.
        reason: String,
    },

    /// A key for a network cannot be used.
    #[error("the key {}: {}", .0.origin, .0.fault)]
    Key(BadKey),

    /// Every route failed.
    #[error("cannot reach machine {machine:?}{}", attempts_text(attempts))]
    Unreachable {
        /// The machine.
        machine: String,
        /// One for each route, in the order they were tried.
        attempts: Vec<Attempt>,
    },

    /// A line of known_hosts or the file itself cannot be used.
    #[error("{path}: {reason}")]
    KnownHosts {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The file of revoked host keys cannot be used.
    #[error("{path}: {reason}")]
    RevokedHostKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The program that is asked for host keys has failed.
    #[error("KnownHostsCommand: {reason}")]
    KnownHostsCommand {
        /// How.
        reason: String,
    },

    /// The server's key is not the one we know, or not one we may trust.
    #[error("host key verification failed for {name}: {reason}")]
    HostKey {
        /// The name looked up in known_hosts.
        name: String,
        /// What the check found.
        reason: String,
    },

    /// The server refused every way of authentication we have.
    #[error("permission denied for {user}@{machine} ({})", offered.join(","))]
    Auth {
        /// The login name.
        user: String,
        /// The machine.
        machine: String,
        /// Methods the server still offers, in SSH's own names.
        offered: Vec<String>,
        /// What was tried, in order.
        tried: Vec<String>,
    },

    /// The SSH protocol failed after the session was up.
    #[error("{0}")]
    Ssh(String),

    /// The connection ended while the session was in use.
    #[error("connection to {machine} {reason}")]
    ConnectionLost {
        /// The machine.
        machine: String,
        /// How it ended.
        reason: Loss,
        /// Whom it led to, if nobody had been logged in yet: the address, if there is one
        /// that is known and no secret, and the port.
        login_at: Option<Box<(String, u16)>>,
    },

    /// The server does not run what it is asked to.
    #[error("the server refused to run the command")]
    Refused(SessionRequest),

    /// A forward could not be opened, and the session depends on it. The words are
    /// those of ssh(1).
    #[error("{0}")]
    Forward(String),

    /// The machine does not open the stream that standard input and output are to be.
    #[error("stdio forwarding failed: {0}")]
    NotForwarded(String),

    /// A shared connection could not be used or offered. The words are those of
    /// ssh(1).
    #[error("{0}")]
    Control(String),

    /// A task of ours ended before its time.
    #[error("an internal task failed")]
    Internal,

    /// The terminal could not be used.
    #[error("terminal: {}", strerror(.0))]
    Terminal(std::io::Error),

    /// Writing to standard output or error failed.
    #[error("cannot write output: {}", strerror(.0))]
    Output(std::io::Error),

    /// The operating system refused something basic.
    #[error("{what}: {}", strerror(source))]
    System {
        /// What we wanted.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },

    /// No identity opens a file that is no var.
    #[error("cannot decrypt {path}: {reason}")]
    Undecryptable {
        /// The file.
        path: PathBuf,
        /// What stood in the way.
        reason: String,
        /// Every identity that was tried, by its origin.
        tried: Vec<String>,
    },
}

/// What a server is asked to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRequest {
    /// The login shell.
    Shell,
    /// A command.
    Command,
    /// A subsystem.
    Subsystem,
}

/// The result type of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What strerror(3) says, without the number that Rust adds.
pub(crate) fn strerror(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(words, _)| words.to_owned())
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(", did you mean {name:?}?")).unwrap_or_default()
}

fn did_you_mean_or_none(nearest: Option<&str>, known: &[String]) -> String {
    match known.is_empty() {
        true => ": the clan has no networks".to_owned(),
        false => did_you_mean(nearest),
    }
}

fn has_none(empty: Option<&str>) -> String {
    let place = |place| format!(": the clan has no machines ({})", Printable(place));
    empty.map(place).unwrap_or_default()
}

fn within(place: &[String]) -> String {
    if place.is_empty() { String::new() } else { format!("in {} ", place.join(".")) }
}

fn attempts_text(attempts: &[Attempt]) -> String {
    attempts.iter().map(|attempt| format!("\n  {attempt}")).collect()
}

#[cfg(test)]
pub(crate) mod tests;
