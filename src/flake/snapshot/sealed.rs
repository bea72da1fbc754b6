//! Secret hosts in a snapshot, encrypted for those who may dial them. Owns when they are
//! encrypted anew: age gives other bytes each time, and a file that is committed is to change
//! only where something has. Opens a host only for that.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Snapshot;
use crate::error::Result;
use crate::model::{VarRef, is_host};
use crate::secret::Secret;
use crate::vars::{self, PublicKey, Vars};

/// The secret hosts for one machine, or for the holder of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The public keys that they are encrypted for.
    pub recipients: Vec<String>,
    /// The hosts, as an age file in armor.
    pub sealed: String,
    /// A digest of what they were made from, the clan's own encrypted files, their names, and
    /// the keys, and of what was made of it. No host can be guessed with it, and who can
    /// write it can write another.
    pub sources: String,
}

/// Who may dial what.
pub struct Access {
    /// A machine, or a public key.
    pub whose: String,
    /// What it opens them with.
    pub keys: Vec<PublicKey>,
    /// The secret hosts.
    pub hosts: BTreeSet<VarRef>,
}

impl Snapshot {
    /// The hosts that the clan keeps as secrets.
    ///
    /// # Errors
    /// As for [`Vars::public_value`], and [`Error::Exports`].
    pub fn secret_host_vars(&self, vars: &Vars) -> Result<BTreeSet<VarRef>> {
        let clan = self.clan("the exports")?;
        let mut secret = BTreeSet::new();
        for var in clan.host_vars() {
            if vars.public_value(var)?.is_none() && vars.is_kept(var) {
                secret.insert(var.clone());
            }
        }
        Ok(secret)
    }

    /// Encrypts secret hosts for those who may dial them, and for nobody else. What `before`
    /// has of the same hosts for the same keys stays, and is not even opened: whoever hands it
    /// in answers for where it comes from. Returns the vars that were opened and are the
    /// address of no host, which are left out.
    ///
    /// # Errors
    /// As for [`Vars::reveal`].
    pub fn seal(
        &mut self,
        access: &[Access],
        vars: &Vars,
        before: &BTreeMap<String, Sealed>,
    ) -> Result<BTreeSet<VarRef>> {
        let mut opened = HashMap::new();
        self.secret_hosts.clear();
        for Access { whose, keys, hosts } in access.iter().filter(|it| !it.hosts.is_empty()) {
            let recipients: Vec<String> = keys.iter().map(|key| key.as_str().to_owned()).collect();
            let sources = sources(&recipients, hosts, vars)?;
            let digest = |sealed: &str| sources.as_ref().map(|sources| made(sources, sealed));
            let same = |old: &&Sealed| {
                old.recipients == recipients
                    && Some(&old.sources) == digest(&old.sealed).as_ref()
                    && vars::is_sealed_for(&old.sealed, recipients.len())
            };
            let sealed = match before.get(whose).filter(same) {
                Some(old) => old.clone(),
                None => {
                    for var in hosts {
                        if !opened.contains_key(var) {
                            opened.insert(var.clone(), host(var, vars)?);
                        }
                    }
                    let theirs: Vec<_> = hosts
                        .iter()
                        .filter_map(|var| Some((var, opened.get(var)?.as_ref()?)))
                        .collect();
                    if theirs.is_empty() {
                        continue;
                    }
                    let sealed = vars::seal(theirs.into_iter(), keys)?;
                    let sources = digest(&sealed).unwrap_or_default();
                    Sealed { recipients, sealed, sources }
                }
            };
            self.secret_hosts.insert(whose.clone(), sealed);
        }
        Ok(opened.into_iter().filter_map(|(var, host)| host.is_none().then_some(var)).collect())
    }
}

/// A secret host; `None` for what nobody could dial.
fn host(var: &VarRef, vars: &Vars) -> Result<Option<Secret<String>>> {
    Ok(vars.reveal(var)?.text().filter(|host| is_host(host.expose())))
}

/// What [`Sealed::sources`] is.
fn made(sources: &str, sealed: &str) -> String {
    let digest = Sha256::new().chain_update(sources).chain_update(sealed).finalize();
    data_encoding::HEXLOWER.encode(&digest)
}

/// A digest of what hosts are sealed from; `None` where one is in no file that could be
/// looked at.
fn sources(recipients: &[String], hosts: &BTreeSet<VarRef>, vars: &Vars) -> Result<Option<String>> {
    let mut digest = Sha256::new();
    let mut add = |word: &str| {
        digest.update(word.as_bytes());
        // No key, name or digest has one.
        digest.update(b"\0");
    };
    recipients.iter().for_each(|key| add(key));
    for var in hosts {
        let Some(file) = vars.sealed_digest(var)? else { return Ok(None) };
        add(var.machine());
        add(&var.to_string());
        add(&file);
    }
    Ok(Some(data_encoding::HEXLOWER.encode(&digest.finalize())))
}

#[cfg(test)]
mod tests;
