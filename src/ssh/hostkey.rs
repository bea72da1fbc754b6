//! Whether to talk to a server with this host key or certificate. Owns the
//! policy, its words and its messages; decides without any input or output.
//! Asking the user and calling [`remember`] are the caller's.

mod certificate;
mod check;
mod clan;
mod revoked;
mod stake;
mod unknown;
mod warning;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use russh::keys::ssh_key::Certificate;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::printable;

use super::algorithms::Algorithms;
use super::known_hosts::{self, Entry, KnownHosts, Name, Program, Verdict};
use crate::error::{Error, Result};
use crate::sshfp::Sshfp;
pub use check::HostKeyCheck;
pub use clan::ClanKeys;
pub use revoked::Revoked;
pub use stake::{Advice, Stake, Stakes, Wording, Worth};

/// The known_hosts files of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownHostsFiles {
    /// The user's; new keys go to the first one.
    pub user: Vec<PathBuf>,
    /// The machine's, only read.
    pub global: Vec<PathBuf>,
    /// Hash the names in new lines, ssh(1)'s `HashKnownHosts`.
    pub hash_names: bool,
    /// What `~` stands for where a file is shown.
    pub home: Option<PathBuf>,
}

impl KnownHostsFiles {
    /// Those that ssh(1) reads for a user with this home.
    pub fn of(home: Option<&Path>) -> Self {
        Self {
            user: home.map(known_hosts::user_files).unwrap_or_default(),
            global: known_hosts::global_files(),
            hash_names: false,
            home: home.map(Path::to_owned),
        }
    }
}

/// What to demand of the host key of one connection.
#[derive(Debug, Clone, Default)]
pub struct HostKeyPolicy {
    /// How much it must be known.
    pub check: HostKeyCheck,
    /// The name to look up and to write, and the server's port. For a
    /// `HostKeyAlias`, which ssh(1) looks up without a port, it is 22.
    pub name: Name,
    /// A machine of a clan has one identity, whatever address is dialled: its own
    /// name, which a new key is stored under, too, and its other addresses. Empty
    /// for any other host.
    pub identity: Vec<Name>,
    /// The only name that the machine's key is remembered under, of a clan that nobody has
    /// named.
    pub kept_as: Option<Name>,
    /// Where keys are known.
    pub files: KnownHostsFiles,
    /// The host in messages; for a secret one a placeholder.
    pub shown: String,
    /// The host and its address where ssh(1) shows `[HOST]:PORT ([IP]:PORT)`.
    pub titles: (String, String),
    /// Where the stream leads, by itself and not over a proxy: the address, or what is
    /// shown for a secret one, and the port.
    pub peer: Option<Name>,
    /// Whose words messages are in.
    pub wording: Wording,
    /// What is advised where a clan's word is in question.
    pub advice: Advice,
    /// What is withheld from a server whose key nobody vouches for.
    pub stakes: Stakes,
    /// False after an earlier route showed a wrong key: then only known keys
    /// pass, except with [`HostKeyCheck::None`].
    pub allow_first_use: bool,
    /// Names that a certificate may be for; `name` when there is none.
    pub certificate_names: Vec<String>,
    /// `RevokedHostKeys`.
    pub revoked: Vec<Arc<Revoked>>,
    /// `KnownHostsCommand`.
    pub program: Option<Program>,
    /// What the DNS proves about the host's keys (`VerifyHostKeyDNS`).
    pub sshfp: Vec<Sshfp>,
    /// What is too weak.
    pub algorithms: Algorithms,
    /// The keys are those in the clan's own repository.
    pub of_clan: bool,
    /// The clan has an authority, and no key of the machine.
    pub has_authority_alone: bool,
    /// The user's own files and the names that they may know the host by: there the
    /// clan, which nobody has named, must not say otherwise.
    pub uncontradicted: Option<Own>,
    /// Whatever its key, it is this computer
    /// (`NoHostAuthenticationForLocalhost`).
    pub is_this_computer: bool,
}

/// What the user's own files say of a host, whatever a clan says.
#[derive(Debug, Clone)]
pub struct Own {
    /// The lines of the files.
    pub known: Arc<KnownHosts>,
    /// The names and ports that they may know it by.
    pub names: Vec<Name>,
    /// The machine's name, which counts whatever its port.
    pub machine: String,
}

/// What to do about the server's key.
#[derive(Debug)]
pub enum Decision {
    /// Go on.
    Accept {
        /// To be shown, may be several lines.
        note: Option<String>,
        /// What vouches for the key, in half a sentence.
        by: String,
        /// Call [`remember`] with the key, and give up if it fails with
        /// `Error::HostKey`; other failures deserve a warning only.
        remember: bool,
        /// What it is worth.
        worth: Worth,
    },
    /// Ask the user, then go on and [`remember`] the key, or give up with
    /// [`HostKeyPolicy::unverified`]; the latter also without a terminal.
    Ask {
        /// What to ask, several lines without an end of line. See [`consent`].
        question: String,
        /// SHA-256 of the key, which the user may also type as consent.
        fingerprint: String,
    },
    /// Send nothing more and close.
    Reject {
        /// To be shown loudly, line by line; empty if the error says it all.
        warning: Vec<String>,
        /// What ends the connection.
        error: Error,
        /// The key is wrong rather than unknown: no first use on other routes.
        changed: bool,
    },
}

/// Decides about `key`, the one the server proved to have, and the certificate
/// for it, if it showed one. Pure but for the clock.
pub fn decide(
    policy: &HostKeyPolicy,
    known: &KnownHosts,
    key: &PublicKey,
    certificate: Option<&Certificate>,
) -> Decision {
    let is_revoked = |revoked: &&Arc<Revoked>| {
        revoked.has_key(key) || certificate.is_some_and(|it| revoked.has_certificate(it))
    };
    if let Some(revoked) = policy.revoked.iter().find(is_revoked) {
        return reject_revoked(policy, key, &printable::line(&revoked.path().to_string_lossy()));
    }
    if policy.is_this_computer {
        let by = "nothing: it is this computer".to_owned();
        return Decision::Accept { note: None, by, remember: false, worth: Worth::Enough };
    }
    if let Some(entry) = known.revoked_for_any(policy.names(), key) {
        return reject_revoked(policy, key, &warning::place(&entry.path, entry.line));
    }
    if let Some(why) = policy.algorithms.weakness(key) {
        return Decision::Reject {
            warning: Vec::new(),
            error: policy.error(format!("{}: {why}", describe(key))),
            changed: false,
        };
    }
    let decision = match certificate {
        Some(certificate) => decide_certificate(policy, known, key, certificate),
        None => decide_key(policy, known, key),
    };
    match decision {
        Decision::Accept { worth: Worth::UsersWord | Worth::Enough, .. } => {
            contradiction(policy, key).unwrap_or(decision)
        }
        other => other,
    }
}

/// What follows when the clan says one thing of a host, and the user's own files
/// another.
fn contradiction(policy: &HostKeyPolicy, key: &PublicKey) -> Option<Decision> {
    let Own { known, names, machine, .. } = policy.uncontradicted.as_ref()?;
    let with_ports = known.ports_of(machine).into_iter().map(|port| (machine.clone(), port));
    let names: Vec<Name> = names.iter().cloned().chain(with_ports).collect();
    let entries = names.iter().find_map(|(name, port)| match known.lookup(name, *port, key) {
        Verdict::Changed { entries } | Verdict::OtherType { entries } => Some(entries),
        _ => None,
    })?;
    Some(decide_changed(policy, key, &entries, false))
}

fn decide_certificate(
    policy: &HostKeyPolicy,
    known: &KnownHosts,
    key: &PublicKey,
    certificate: &Certificate,
) -> Decision {
    let signer = PublicKey::new(certificate.signature_key().clone(), "");
    for name in policy.certificate_names() {
        if let Some(entry) = known.revoked(name, policy.name.1, &signer) {
            return reject_revoked(policy, &signer, &warning::place(&entry.path, entry.line));
        }
    }
    let why = match certificate::check(policy, known, certificate, SystemTime::now()) {
        Ok(certificate::Vouched { authority, name }) => {
            let by = format!(
                "a certificate for {} by the authority of {}",
                printable::line(&name),
                warning::place(&authority.path, authority.line)
            );
            return Decision::Accept { note: None, by, remember: false, worth: Worth::Enough };
        }
        Err(why) => why,
    };
    let bad = format!("the host certificate \"{}\": {why}", printable::line(certificate.key_id()));
    match decide_key(policy, known, key) {
        // As ssh(1), but nothing that nobody knows is trusted after that.
        Decision::Accept { note, by, worth, remember: false } => {
            let notes = std::iter::once(format!("warning: {bad}")).chain(note);
            let note = Some(notes.collect::<Vec<_>>().join("\n"));
            Decision::Accept { note, by, remember: false, worth }
        }
        Decision::Reject { warning, changed: true, .. } => {
            Decision::Reject { warning, error: policy.error(bad), changed: true }
        }
        _ => Decision::Reject {
            warning: Vec::new(),
            error: policy.error(format!("{bad}, and {} is not known", describe(key))),
            changed: true,
        },
    }
}

fn reject_revoked(policy: &HostKeyPolicy, key: &PublicKey, place: &str) -> Decision {
    Decision::Reject {
        warning: warning::revoked(policy, key, place),
        error: policy.error(format!("{} is revoked by {place}", describe(key))),
        changed: true,
    }
}

fn decide_key(policy: &HostKeyPolicy, known: &KnownHosts, key: &PublicKey) -> Decision {
    match known.lookup_all(policy.names(), key) {
        Verdict::Known { path, line, is_exact } => {
            let by = format!("the key in {}", warning::place(&path, line));
            // As ssh(1): nothing is written because of what others have written.
            let worth = match is_exact && policy.files.user.contains(&path) {
                true => Worth::UsersWord,
                false => Worth::Enough,
            };
            Decision::Accept { note: None, by, remember: false, worth }
        }
        Verdict::Revoked { path, line } => {
            reject_revoked(policy, key, &warning::place(&path, line))
        }
        Verdict::Changed { entries } => decide_changed(policy, key, &entries, false),
        Verdict::OtherType { entries } => decide_changed(policy, key, &entries, true),
        Verdict::Unknown => unknown::decide_by_dns(policy, key)
            .unwrap_or_else(|| unknown::decide_unknown(policy, known, key)),
    }
}

/// Stores the key for the next time, in the first of the user's files and under the
/// name of the machine, too, if it is one; of a machine whose clan nobody has named, under
/// the name for that alone. Without such a file, does nothing.
/// Blocks, see [`known_hosts::add`].
///
/// # Errors
/// `Error::HostKey` if another connection has stored another key meanwhile, and
/// `Error::KnownHosts` if the file cannot be written.
pub fn remember(policy: &HostKeyPolicy, key: &PublicKey) -> Result<()> {
    let Some(path) = policy.files.user.first() else { return Ok(()) };
    let add = |(name, port): &Name| {
        let added = known_hosts::add_first(path, name, *port, key, policy.files.hash_names);
        added.map_err(|error| match error {
            Error::HostKey { reason, .. } => policy.error(reason),
            other => other,
        })
    };
    // What a clan calls its own that nobody has named says nothing about the address.
    if let Some(kept_as) = &policy.kept_as {
        return add(kept_as);
    }
    // The machine's name first: all its addresses meet there.
    let machine = policy.identity.first().filter(|machine| **machine != policy.name);
    let of_machine = machine.map_or(Ok(()), add);
    if let Err(error @ Error::HostKey { .. }) = of_machine {
        return Err(error);
    }
    add(&policy.name).and(of_machine)
}

/// What ssh(1) says of a key that it has stored.
pub fn added(policy: &HostKeyPolicy, key: &PublicKey) -> String {
    let host = printable::line(&policy.titles.0);
    let kind = type_name(&key.algorithm());
    format!("Warning: Permanently added '{host}' ({kind}) to the list of known hosts.")
}

/// What the user's answer to [`Decision::Ask`] means, as in ssh(1): `yes` or the
/// fingerprint, `no` or an empty line; `None` means to ask again.
pub fn consent(answer: &str, fingerprint: &str) -> Option<bool> {
    let answer = answer.split_whitespace().next().unwrap_or_default();
    if answer.eq_ignore_ascii_case("yes") || answer == fingerprint {
        Some(true)
    } else if answer.is_empty() || answer.eq_ignore_ascii_case("no") {
        Some(false)
    } else {
        None
    }
}

impl HostKeyPolicy {
    /// All lines of this policy's files, the user's first.
    ///
    /// # Errors
    /// As [`KnownHosts::load`].
    pub fn load(&self) -> Result<KnownHosts> {
        KnownHosts::load(self.files.user.iter().chain(&self.files.global))
    }

    /// All names that the key is looked up under, the one that is dialled first.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let others = self.identity.iter().filter(|name| **name != self.name);
        std::iter::once(&self.name).chain(others)
    }

    /// The error for an unknown key that nobody vouched for; `why` is the end of
    /// the sentence, such as `there is no terminal to ask on`.
    pub fn unverified(&self, key: &PublicKey, why: &str) -> Error {
        let key = describe(key);
        if !self.has_authority_alone {
            return self.error(format!("{key} is not known, and {why}"));
        }
        let unsigned = match self.certificate_names.as_slice() {
            [] => {
                "the authority of the clan vouches for no name of the machine, because the \
                   clan's domain (meta.domain) is not known here"
            }
            _ => "no authority of the clan has signed it",
        };
        self.error(format!(
            "{key} is not known, {unsigned}, and {why}; if it is the machine's own: clan-connect \
             network trust add MACHINE KEY"
        ))
    }

    /// The names that a certificate may be for.
    pub fn certificate_names(&self) -> &[String] {
        match self.certificate_names.as_slice() {
            [] => std::slice::from_ref(&self.name.0),
            names => names,
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::HostKey { name: printable::line(&self.shown), reason }
    }
}

fn decide_changed(
    policy: &HostKeyPolicy,
    key: &PublicKey,
    entries: &[Entry],
    other_type: bool,
) -> Decision {
    let mut warning = warning::changed(policy, key, entries, other_type);
    let is_checked = !matches!(policy.check, HostKeyCheck::None | HostKeyCheck::No);
    if !is_checked {
        if policy.wording == Wording::Own {
            warning.push("going on all the same, because host keys are not checked".into());
        }
        warning.extend(policy.stakes.withheld());
        if !policy.stakes.gives_up {
            return Decision::Accept {
                note: Some(warning.join("\n")),
                by: "nothing: it is not the known key".to_owned(),
                remember: false,
                worth: Worth::Nothing("the host key is not the known one"),
            };
        }
        warning.push(stake::GIVEN_UP.to_owned());
    } else if policy.wording == Wording::Ssh {
        warning.push(format!(
            "Host key for {} has changed and you have requested strict checking.",
            printable::line(&policy.titles.0)
        ));
    }
    let places = warning::places(entries);
    Decision::Reject {
        warning,
        error: policy.error(format!("{} is not the one known from {places}", describe(key))),
        changed: true,
    }
}

/// `ED25519 key SHA256:…`
pub fn describe(key: &PublicKey) -> String {
    format!("{} key {}", type_name(&key.algorithm()), key.fingerprint(HashAlg::Sha256))
}

/// The short names of key types that ssh(1) prints.
pub(in crate::ssh) fn type_name(algorithm: &Algorithm) -> String {
    match algorithm {
        Algorithm::Dsa => "DSA".into(),
        Algorithm::Ecdsa { .. } => "ECDSA".into(),
        Algorithm::Ed25519 => "ED25519".into(),
        Algorithm::Rsa { .. } => "RSA".into(),
        Algorithm::SkEcdsaSha2NistP256 => "ECDSA-SK".into(),
        Algorithm::SkEd25519 => "ED25519-SK".into(),
        other => printable::line(other.as_str()),
    }
}

#[cfg(test)]
mod tests;
