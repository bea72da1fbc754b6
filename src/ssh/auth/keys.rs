//! Which keys are offered, and in which order: certificates that were named, keys
//! that were named, the agent's, those of the default files.

use std::collections::VecDeque;
use std::path::Path;

use russh::client;
use russh::keys::agent::AgentIdentity;
use russh::keys::{Certificate, PublicKey};

use super::super::Client;
use super::Credentials;
use super::agent::{self, Agent};
use super::keyfile::{self, KeyFile, Unreadable};

/// A key to offer.
pub(super) struct Candidate {
    pub(super) holder: Holder,
    /// What is offered in place of the key itself.
    pub(super) certificate: Option<Certificate>,
}

/// Who signs.
#[derive(Clone)]
pub(super) enum Holder {
    Agent(AgentIdentity),
    File(KeyFile),
}

impl Holder {
    fn has(&self, public: &PublicKey) -> bool {
        match self {
            Self::Agent(identity) => identity.public_key().key_data() == public.key_data(),
            Self::File(key) => key.is(public),
        }
    }
}

/// All there is to offer.
pub(super) struct Keys {
    pub(super) agent: Option<Agent>,
    pub(super) keys: VecDeque<Candidate>,
    /// What was named and cannot be used, and why.
    pub(super) tried: Vec<String>,
}

impl Keys {
    pub(super) async fn gather(credentials: &Credentials, handle: &client::Handle<Client>) -> Self {
        let mut tried = Vec::new();
        let mut agent = None;
        let mut held = Vec::new();
        if let Some(path) = &credentials.agent {
            match agent::open(path, handle).await {
                Ok((client, identities)) => (agent, held) = (Some(client), identities),
                Err(reason) => tried.push(format!("agent ({reason})")),
            }
        }
        let all_held = held.clone();
        let mut holders: Vec<Holder> = Vec::new();
        for path in &credentials.identities {
            match found(path, &mut held).await {
                Ok(holder) => holders.push(holder),
                Err(reason) => tried.push(format!("{} ({reason})", path.display())),
            }
        }
        // The agent's others come before the default files, but only those of the
        // files count where the user says so.
        let own = holders.len();
        let others = held.clone();
        for path in &credentials.default_identities {
            match found(path, &mut held).await {
                Ok(Holder::File(key)) if is_known(&holders, &key) => {}
                Ok(holder) => holders.push(holder),
                // Missing defaults are normal; broken ones are worth a word.
                Err(Unreadable::Missing) => {}
                Err(reason) => tried.push(format!("{} ({reason})", path.display())),
            }
        }
        let mut defaults = holders.split_off(own);
        if !credentials.identities_only {
            // Defaults that the agent holds keep the agent's order.
            defaults.retain(|holder| !matches!(holder, Holder::Agent(_)));
            holders.extend(others.into_iter().map(Holder::Agent));
        }
        holders.extend(defaults);
        let mut keys = VecDeque::new();
        for path in &credentials.certificates {
            match certified(path, &holders, &all_held).await {
                Ok(candidate) => keys.push_back(candidate),
                Err(reason) => tried.push(format!("{} ({reason})", path.display())),
            }
        }
        // What lies beside a key that the agent has; those of files have it with them.
        for path in credentials.identities.iter().chain(&credentials.default_identities) {
            let beside = keyfile::beside(path, "-cert.pub");
            let candidate = certified(&beside, &holders, &all_held).await;
            keys.extend(candidate.ok().filter(|known| matches!(known.holder, Holder::Agent(_))));
        }
        keys.extend(holders.into_iter().map(|holder| Candidate { holder, certificate: None }));
        Self { agent, keys, tried }
    }
}

/// The key of a file; it is the agent's if that has it: no passphrase then. A file
/// may be the public half, or be missing but for that.
async fn found(path: &Path, held: &mut Vec<AgentIdentity>) -> Result<Holder, Unreadable> {
    let mut take = |is: &dyn Fn(&PublicKey) -> bool| {
        let at = held.iter().position(|identity| is(&identity.public_key()))?;
        Some(Holder::Agent(held.remove(at)))
    };
    match KeyFile::read(path).await {
        Ok(key) => Ok(take(&|public| key.is(public)).unwrap_or(Holder::File(key))),
        Err(reason @ (Unreadable::Missing | Unreadable::NoKey)) => {
            let public = keyfile::public_half(path).await;
            let holder =
                public.and_then(|public| take(&|held| held.key_data() == public.key_data()));
            holder.ok_or(reason)
        }
        Err(reason) => Err(reason),
    }
}

fn is_known(holders: &[Holder], key: &KeyFile) -> bool {
    holders.iter().any(|holder| match holder {
        Holder::Agent(identity) => key.is(&identity.public_key()),
        Holder::File(other) => key.same_as(other),
    })
}

/// A certificate, and who has its key.
async fn certified(
    path: &Path,
    holders: &[Holder],
    held: &[AgentIdentity],
) -> Result<Candidate, String> {
    let certificate = keyfile::certificate(path).await.map_err(|reason| reason.to_string())?;
    let public = PublicKey::from(certificate.public_key().clone());
    let of_files = holders.iter().find(|holder| holder.has(&public)).cloned();
    let of_agent = || {
        let held = held.iter().find(|identity| {
            // A plain key: an agent that holds the certificate itself offers it.
            matches!(identity, AgentIdentity::PublicKey { .. })
                && identity.public_key().key_data() == public.key_data()
        });
        held.cloned().map(Holder::Agent)
    };
    let holder = of_files.or_else(of_agent).ok_or("there is no private key for it")?;
    Ok(Candidate { holder, certificate: Some(certificate) })
}
