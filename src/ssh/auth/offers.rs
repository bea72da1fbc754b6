//! Which keys and certificates are offered, and in which order: that of ssh(1)
//! (`pubkey_prepare` in sshconnect2.c). Owns the list; asks nobody.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use super::keyfile::KeyFile;

/// The two that are not SHA-1 (RFC 8332).
const RSA: [&str; 2] = ["rsa-sha2-512", "rsa-sha2-256"];

/// A key or a certificate to offer, and who signs for it.
#[derive(Debug)]
pub(super) struct Offer {
    /// What the server is shown; `None` when only unlocking the file tells.
    pub(super) what: Option<AgentIdentity>,
    pub(super) by: By,
    /// For what is said afterwards.
    pub(super) name: String,
}

/// Who signs.
#[derive(Debug, Clone)]
pub(super) enum By {
    Agent(Box<AgentIdentity>),
    File(Arc<KeyFile>),
    /// Nobody has been found yet.
    Nobody,
}

/// What an offer is called that cannot be made, and why.
pub(super) type Unusable = (String, &'static str);

/// Where keys come from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Files that go before everything else.
    pub(super) named: Vec<Arc<KeyFile>>,
    /// Files that go after the agent's keys, unless the agent has theirs.
    pub(super) files: Vec<Arc<KeyFile>>,
    /// Certificates named for themselves; then none beside a key counts.
    pub(super) certificates: Vec<(PathBuf, Certificate)>,
    /// What the agent holds.
    pub(super) held: Vec<AgentIdentity>,
    /// Whether the agent's keys count only as far as the files name them.
    pub(super) identities_only: bool,
    /// Names of algorithms that may be used (`PubkeyAcceptedAlgorithms`); all if
    /// there is none.
    pub(super) accepted: Vec<String>,
}

impl Sources {
    /// All offers in their order, and the name of each that cannot be made, and why.
    pub(super) fn order(self) -> (VecDeque<Offer>, Vec<Unusable>) {
        let Self { named, files, certificates, mut held, identities_only, accepted } = self;
        let beside = certificates.is_empty();
        let mut offers: Vec<Offer> = Vec::new();
        for (path, certificate) in certificates {
            let name = format!("certificate {}", path.display());
            offers.push(Offer { what: Some(certificate.into()), by: By::Nobody, name });
        }
        // A key that the agent holds is signed for there: no passphrase.
        for mut offer in named.iter().flat_map(|file| offers_of(file, beside)) {
            if let Some(at) = held.iter().position(|identity| offer.is(identity)) {
                offer = by_agent(held.remove(at));
            }
            offers.push(offer);
        }
        let mut of_files: Vec<Offer> =
            files.iter().flat_map(|file| offers_of(file, beside)).collect();
        let mut others = Vec::new();
        for identity in held {
            match of_files.iter().position(|offer| offer.is(&identity)) {
                Some(at) => {
                    of_files.remove(at);
                    offers.push(by_agent(identity));
                }
                None if identities_only => {}
                None => others.push(by_agent(identity)),
            }
        }
        offers.extend(others);
        offers.extend(of_files);
        let offers = without_twins(offers);
        finished(offers, &accepted)
    }
}

impl Offer {
    fn is(&self, identity: &AgentIdentity) -> bool {
        self.what.as_ref().is_some_and(|what| is_same(what, identity))
    }

    /// The key itself, if it is offered without a certificate.
    fn plain(&self) -> Option<&KeyData> {
        match &self.what {
            Some(AgentIdentity::PublicKey { key, .. }) => Some(key.key_data()),
            _ => None,
        }
    }
}

fn is_same(one: &AgentIdentity, other: &AgentIdentity) -> bool {
    match (one, other) {
        (AgentIdentity::PublicKey { key: one, .. }, AgentIdentity::PublicKey { key, .. }) => {
            one.key_data() == key.key_data()
        }
        (
            AgentIdentity::Certificate { certificate: one, .. },
            AgentIdentity::Certificate { certificate, .. },
        ) => one == certificate,
        _ => false,
    }
}

fn by_agent(identity: AgentIdentity) -> Offer {
    let fingerprint = identity.public_key().fingerprint(HashAlg::Sha256);
    let kind =
        if matches!(identity, AgentIdentity::Certificate { .. }) { "certificate" } else { "key" };
    let name = format!("agent {kind} {fingerprint}");
    Offer { what: Some(identity.clone()), by: By::Agent(Box::new(identity)), name }
}

/// The key of a file, then the certificate beside it.
fn offers_of(file: &Arc<KeyFile>, beside: bool) -> Vec<Offer> {
    let key = file.public().cloned().map(AgentIdentity::from);
    let certificate = file.certificate().filter(|_| beside || file.is_certificate());
    let certificate = certificate.cloned().map(AgentIdentity::from);
    let name = file.path().display().to_string();
    let offer = |what| Offer { what, by: By::File(file.clone()), name: name.clone() };
    match (key, certificate) {
        (None, None) => vec![offer(None)],
        (key, certificate) => key.into_iter().chain(certificate).map(Some).map(offer).collect(),
    }
}

/// What is offered twice is refused twice. Whoever can sign signs for both.
fn without_twins(offers: Vec<Offer>) -> Vec<Offer> {
    let mut once: Vec<Offer> = Vec::new();
    for offer in offers {
        let twin = offer.what.as_ref().and_then(|what| once.iter_mut().find(|it| it.is(what)));
        if let Some(twin) = twin {
            if !can_sign(&twin.by) && can_sign(&offer.by) {
                *twin = offer;
            }
            continue;
        }
        let is_there = match (&offer.what, &offer.by) {
            (None, By::File(file)) => once
                .iter()
                .any(|other| matches!(&other.by, By::File(known) if known.path() == file.path())),
            _ => false,
        };
        if !is_there {
            once.push(offer);
        }
    }
    once
}

/// With somebody to sign for each, and nothing that is not accepted.
fn finished(mut offers: Vec<Offer>, accepted: &[String]) -> (VecDeque<Offer>, Vec<Unusable>) {
    let keys: Vec<(KeyData, By)> = offers
        .iter()
        .filter_map(|offer| Some((offer.plain()?.clone(), offer.by.clone())))
        .filter(|(_, by)| can_sign(by))
        .collect();
    for offer in &mut offers {
        let public = match &offer.what {
            Some(AgentIdentity::Certificate { certificate, .. }) => {
                certificate.public_key().clone()
            }
            _ if can_sign(&offer.by) => continue,
            Some(AgentIdentity::PublicKey { key, .. }) => key.key_data().clone(),
            None => continue,
        };
        if let Some((_, by)) = keys.iter().find(|(key, _)| *key == public) {
            offer.by = by.clone();
        }
    }
    let mut said = Vec::new();
    offers.retain(|offer| {
        let is_accepted = offer.what.as_ref().is_none_or(|what| !names(what, accepted).is_empty());
        let why = match (can_sign(&offer.by), is_accepted) {
            (true, true) => return true,
            (_, false) => "not in PubkeyAcceptedAlgorithms",
            (false, true) => "its private half is neither in a file nor in the agent",
        };
        said.push((offer.name.clone(), why));
        false
    });
    (offers.into(), said)
}

fn can_sign(by: &By) -> bool {
    match by {
        By::Agent(_) => true,
        // What cannot be used is said when its turn comes.
        By::File(file) => file.has_private() || file.trouble().is_some(),
        By::Nobody => false,
    }
}

/// The algorithms that may be used with a key or certificate, best first.
fn names(what: &AgentIdentity, accepted: &[String]) -> Vec<String> {
    let algorithm = what.public_key().algorithm();
    let is_certificate = matches!(what, AgentIdentity::Certificate { .. });
    let names: Vec<String> = match (algorithm, is_certificate) {
        (Algorithm::Rsa { .. }, true) => {
            RSA.iter().map(|name| format!("{name}-cert-v01@openssh.com")).collect()
        }
        (Algorithm::Rsa { .. }, false) => RSA.iter().map(|name| (*name).to_owned()).collect(),
        (algorithm, true) => vec![algorithm.to_certificate_type()],
        (algorithm, false) => vec![algorithm.as_str().to_owned()],
    };
    if accepted.is_empty() {
        return names;
    }
    accepted.iter().filter(|name| names.contains(name)).cloned().collect()
}

/// The hash for an RSA key where the server takes `best`, or has not said; never
/// SHA-1.
pub(super) fn rsa_hash(
    what: &AgentIdentity,
    accepted: &[String],
    best: Option<HashAlg>,
) -> Option<HashAlg> {
    let names = names(what, accepted);
    let hashes = names.iter().map(|name| match name.starts_with("rsa-sha2-256") {
        true => HashAlg::Sha256,
        false => HashAlg::Sha512,
    });
    let mut hashes = hashes.filter(|hash| match best {
        // Who takes the longer one takes the shorter one.
        Some(HashAlg::Sha256) => *hash == HashAlg::Sha256,
        _ => true,
    });
    hashes.next()
}

/// The public half that a private key has.
pub(super) fn of_key(key: &PublicKey, accepted: &[String]) -> Option<AgentIdentity> {
    let what = AgentIdentity::from(key.clone());
    (!names(&what, accepted).is_empty()).then_some(what)
}

#[cfg(test)]
mod tests;
