//! Whether to talk to a server with this host key or certificate. Owns the
//! policy, its words and its messages; decides without any input or output.
//! Asking the user and calling [`remember`] are the caller's.

mod certificate;
mod clan;
mod revoked;
mod warning;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use russh::keys::ssh_key::Certificate;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::printable;

use super::algorithms::Algorithms;
use super::known_hosts::{self, Entry, KnownHosts, Program, Verdict};
use crate::error::{Error, Result};
use crate::sshfp::Sshfp;
pub use clan::ClanKeys;
pub use revoked::Revoked;

/// How much a host key must be known, in the words of `--host-key-check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKeyCheck {
    /// `strict`: only known keys (ssh(1): `StrictHostKeyChecking=yes`).
    Strict,
    /// `ask`: known keys, and others if the user agrees.
    Ask,
    /// `accept-new`: store the keys of new hosts, refuse changed ones.
    AcceptNew,
    /// `tofu`, trust on first use: the same as `accept-new`, under the name the
    /// Python clan has for it (clan_lib/ssh/host_key.py).
    #[default]
    Tofu,
    /// `no`, of ssh_config(5) alone: store the keys of new hosts, go on with
    /// changed ones after a warning.
    No,
    /// `none`: accept every key that is not revoked, store nothing. As in the
    /// Python clan.
    None,
}

/// The known_hosts files of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownHostsFiles {
    /// The user's; new keys go to the first one.
    pub user: Vec<PathBuf>,
    /// The machine's, only read.
    pub global: Vec<PathBuf>,
    /// Hash the names in new lines, ssh(1)'s `HashKnownHosts`.
    pub hash_names: bool,
}

/// What to demand of the host key of one connection.
#[derive(Debug, Clone, Default)]
pub struct HostKeyPolicy {
    /// How much it must be known.
    pub check: HostKeyCheck,
    /// The name to look up and to write.
    pub name: String,
    /// The server's port. For a `HostKeyAlias`, which ssh(1) looks up without a
    /// port, it is 22.
    pub port: u16,
    /// Where keys are known.
    pub files: KnownHostsFiles,
    /// The host in messages; for a secret one a placeholder.
    pub shown: String,
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
    pub names: Vec<(String, u16)>,
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
        /// The key is not the one we know, and only [`HostKeyCheck::None`] lets
        /// it pass: as ssh(1) does, send no password and forward nothing.
        mismatch: bool,
    },
    /// Ask the user, then go on and [`remember`] the key, or give up with
    /// [`HostKeyPolicy::unverified`]; the latter also without a terminal.
    Ask {
        /// What to say before the answer, several lines. See [`consent`].
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
        return Decision::Accept { note: None, by, remember: false, mismatch: false };
    }
    if let Some(entry) = known.revoked(&policy.name, policy.port, key) {
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
        Decision::Accept { mismatch: false, .. } => contradiction(policy, key).unwrap_or(decision),
        other => other,
    }
}

/// What follows when the clan says one thing of a host, and the user's own files
/// another.
fn contradiction(policy: &HostKeyPolicy, key: &PublicKey) -> Option<Decision> {
    let Own { known, names } = policy.uncontradicted.as_ref()?;
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
        if let Some(entry) = known.revoked(name, policy.port, &signer) {
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
            return Decision::Accept { note: None, by, remember: false, mismatch: false };
        }
        Err(why) => why,
    };
    let bad = format!("the host certificate \"{}\": {why}", printable::line(certificate.key_id()));
    match decide_key(policy, known, key) {
        // As ssh(1), but nothing that nobody knows is trusted after that.
        Decision::Accept { note, by, mismatch, remember: false } => {
            let notes = std::iter::once(format!("warning: {bad}")).chain(note);
            let note = Some(notes.collect::<Vec<_>>().join("\n"));
            Decision::Accept { note, by, remember: false, mismatch }
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
    match known.lookup(&policy.name, policy.port, key) {
        Verdict::Known { path, line } => {
            let by = format!("the key in {}", warning::place(&path, line));
            Decision::Accept { note: None, by, remember: false, mismatch: false }
        }
        Verdict::Revoked { path, line } => {
            reject_revoked(policy, key, &warning::place(&path, line))
        }
        Verdict::Changed { entries } => decide_changed(policy, key, &entries, false),
        Verdict::OtherType { entries } => decide_changed(policy, key, &entries, true),
        Verdict::Unknown => {
            decide_by_dns(policy, key).unwrap_or_else(|| decide_unknown(policy, known, key))
        }
    }
}

/// Stores the key for the next time, in the first of the user's files; without
/// such a file, does nothing. Blocks, see [`known_hosts::add`].
///
/// # Errors
/// `Error::HostKey` if another connection has stored another key meanwhile, and
/// `Error::KnownHosts` if the file cannot be written.
pub fn remember(policy: &HostKeyPolicy, key: &PublicKey) -> Result<()> {
    let Some(path) = policy.files.user.first() else { return Ok(()) };
    known_hosts::add_first(path, &policy.name, policy.port, key, policy.files.hash_names).map_err(
        |error| match error {
            Error::HostKey { reason, .. } => policy.error(reason),
            other => other,
        },
    )
}

/// What the user's answer to [`Decision::Ask`] means, as in ssh(1): `yes` or the
/// fingerprint, `no` or an empty line; `None` means to ask again.
pub fn consent(answer: &str, fingerprint: &str) -> Option<bool> {
    let answer = answer.trim();
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

    /// The error for an unknown key that nobody vouched for; `why` is the end of
    /// the sentence, such as `there is no terminal to ask on`.
    pub fn unverified(&self, key: &PublicKey, why: &str) -> Error {
        self.error(format!("{} is not known, and {why}", describe(key)))
    }

    /// The names that a certificate may be for.
    pub fn certificate_names(&self) -> &[String] {
        match self.certificate_names.as_slice() {
            [] => std::slice::from_ref(&self.name),
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
    if matches!(policy.check, HostKeyCheck::None | HostKeyCheck::No) {
        warning.push("going on all the same, because host keys are not checked".into());
        return Decision::Accept {
            note: Some(warning.join("\n")),
            by: "nothing: it is not the known key".to_owned(),
            remember: false,
            mismatch: true,
        };
    }
    let places = warning::places(entries);
    Decision::Reject {
        warning,
        error: policy.error(format!("{} is not the one known from {places}", describe(key))),
        changed: true,
    }
}

/// What the DNS says of a key that nobody else knows, if it says anything.
fn decide_by_dns(policy: &HostKeyPolicy, key: &PublicKey) -> Option<Decision> {
    let algorithm = key.algorithm();
    let mut about =
        policy.sshfp.iter().filter(|sshfp| sshfp.is_about(algorithm.as_str())).peekable();
    about.peek()?;
    let bytes = key.to_bytes().ok()?;
    Some(match about.any(|sshfp| sshfp.is_of(&bytes)) {
        true => Decision::Accept {
            note: None,
            by: "its SSHFP record, which DNSSEC proves".to_owned(),
            remember: false,
            mismatch: false,
        },
        false => Decision::Reject {
            warning: Vec::new(),
            error: policy.error(format!(
                "{} is not the one in its SSHFP records, which DNSSEC proves",
                describe(key)
            )),
            changed: true,
        },
    })
}

fn decide_unknown(policy: &HostKeyPolicy, known: &KnownHosts, key: &PublicKey) -> Decision {
    let reject = |why: &str| Decision::Reject {
        warning: Vec::new(),
        error: policy.unverified(key, why),
        changed: false,
    };
    let shown = printable::line(&policy.shown);
    match policy.check {
        HostKeyCheck::None => Decision::Accept {
            note: Some(format!("host key of {shown} is not checked: {}", describe(key))),
            by: "nothing: it is not checked".to_owned(),
            remember: false,
            mismatch: false,
        },
        HostKeyCheck::Strict => reject("the host key check is strict"),
        _ if !policy.allow_first_use => {
            reject("another route to this machine has just shown a wrong key")
        }
        HostKeyCheck::Ask => Decision::Ask {
            question: warning::question(policy, known, key),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        },
        HostKeyCheck::AcceptNew | HostKeyCheck::Tofu | HostKeyCheck::No => {
            let kept = match policy.files.user.first() {
                Some(path) => format!("stored in {}", printable::line(&path.to_string_lossy())),
                None => "not stored, for there is no known_hosts file".into(),
            };
            Decision::Accept {
                note: Some(format!(
                    "host key of {shown} is new, trusted on first use and {kept}: {}",
                    describe(key)
                )),
                by: "nothing but this first use".to_owned(),
                remember: !policy.files.user.is_empty(),
                mismatch: false,
            }
        }
    }
}

impl FromStr for HostKeyCheck {
    type Err = Error;

    /// Also takes the words of ssh_config(5)'s `StrictHostKeyChecking`: `yes`,
    /// `no`, `off`, and what stands for them.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "strict" | "yes" | "true" => Ok(Self::Strict),
            "ask" => Ok(Self::Ask),
            "accept-new" => Ok(Self::AcceptNew),
            "tofu" => Ok(Self::Tofu),
            "no" | "off" | "false" => Ok(Self::No),
            "none" => Ok(Self::None),
            _ => Err(Error::Usage(format!(
                "unknown host key check {text:?}: it is strict, ask, accept-new, tofu or none"
            ))),
        }
    }
}

impl fmt::Display for HostKeyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Ask => "ask",
            Self::AcceptNew => "accept-new",
            Self::Tofu => "tofu",
            Self::No => "no",
            Self::None => "none",
        })
    }
}

/// `ED25519 key SHA256:…`
fn describe(key: &PublicKey) -> String {
    format!("{} key {}", type_name(&key.algorithm()), key.fingerprint(HashAlg::Sha256))
}

/// The short names of key types that ssh(1) prints.
fn type_name(algorithm: &Algorithm) -> String {
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
