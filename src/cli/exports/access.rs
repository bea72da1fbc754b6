//! `--for` and `--for-recipient`: who gets which secret hosts into a snapshot. Owns how that
//! is written, and who is refused; encrypts nothing.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::cli::complete;
use crate::error::{Error, Result};
use crate::flake::snapshot::{Access, Snapshot};
use crate::model::VarRef;
use crate::nearest::nearest;
use crate::printable;
use crate::vars::{PublicKey, Vars};

/// What a name begins with that is a tag's.
const TAG: &str = "tag:";

/// Who is asked for.
#[derive(Debug, Default, Args)]
pub(super) struct Recipients {
    /// Include secret hosts, encrypted for MACHINE: those of all other machines, or only
    /// those of WHOM. MACHINE and each entry of WHOM may be `tag:NAME`; WHOM is a
    /// comma-separated list
    #[arg(long = "for", value_name = "MACHINE[=WHOM]", add = ArgValueCompleter::new(complete::machines))]
    machines: Vec<String>,
    /// Include secret hosts, encrypted for the age public key KEY (age1…), such as that of a
    /// CI job: those of all machines, or only those of WHOM
    #[arg(long = "for-recipient", value_name = "KEY[=WHOM]")]
    keys: Vec<String>,
}

/// The machines of a clan, and what they may be called by.
pub(super) struct Machines<'a> {
    /// Those that have a place in the inventory: nobody else gets a secret.
    pub(super) inventory: &'a BTreeSet<String>,
    pub(super) snapshot: &'a Snapshot,
}

impl Recipients {
    pub(super) fn is_nobody(&self) -> bool {
        self.machines.is_empty() && self.keys.is_empty()
    }

    /// Who gets which of the hosts in `secret`.
    pub(super) fn access(
        &self,
        machines: &Machines<'_>,
        secret: &BTreeSet<VarRef>,
        vars: &Vars,
    ) -> Result<Vec<Access>> {
        let mut all: BTreeMap<String, Access> = BTreeMap::new();
        let mut give = |whose: &str, keys: Vec<PublicKey>, whom: Option<&BTreeSet<&str>>| {
            let may_dial = |var: &&VarRef| match whom {
                Some(whom) => whom.contains(var.machine()),
                None => var.machine() != whose,
            };
            let empty = || Access { whose: whose.to_owned(), keys, hosts: BTreeSet::new() };
            let access = all.entry(whose.to_owned()).or_insert_with(empty);
            access.hosts.extend(secret.iter().filter(may_dial).cloned());
        };
        for asked in &self.machines {
            let (who, whom) = split(asked);
            let whom = whom.map(|whom| machines.listed("--for", whom)).transpose()?;
            for machine in machines.named("--for", who)? {
                if !machines.inventory.contains(machine) {
                    let why = match machines.inventory.is_empty() {
                        true => {
                            "this needs the clan's inventory, which an exports file does not \
                             have: leave --exports out"
                        }
                        false => "it is not a machine of the clan's inventory",
                    };
                    return Err(Error::Usage(format!("--for {}: {why}", printable::line(machine))));
                }
                if PublicKey::parse(machine).is_some() {
                    return Err(Error::Usage(format!(
                        "--for {machine}: the machine is called like a public key of age, whose \
                         holder would get its secret hosts: call it something else"
                    )));
                }
                give(machine, keys_of(machine, vars)?, whom.as_ref());
            }
        }
        for asked in &self.keys {
            let (key, whom) = split(asked);
            let whom = whom.map(|whom| machines.listed("--for-recipient", whom)).transpose()?;
            // What was given may be the private half: it is not shown.
            let key = PublicKey::parse(key).ok_or_else(|| {
                Error::Usage("--for-recipient: that is no public key of age (age1…)".to_owned())
            })?;
            give(key.as_str(), vec![key.clone()], whom.as_ref());
        }
        Ok(all.into_values().collect())
    }
}

/// Who, and whom he may dial.
fn split(asked: &str) -> (&str, Option<&str>) {
    match asked.split_once('=') {
        Some((who, whom)) => (who, Some(whom)),
        None => (asked, None),
    }
}

fn keys_of(machine: &str, vars: &Vars) -> Result<Vec<PublicKey>> {
    let keys = vars.machine_keys(machine)?;
    if keys.is_empty() {
        let machine = printable::line(machine);
        return Err(Error::Usage(format!(
            "--for {machine}: the clan has no public key of it, neither \
             sops/machines/{machine}/key.json nor secrets/age-keys/machines/{machine}/pub. \
             clan vars generate {machine} makes one; for a machine of a password store, make a \
             key on it with age-keygen -o /etc/secret-vars/key.txt, and name its public half \
             with --for-recipient"
        )));
    }
    Ok(keys)
}

impl<'a> Machines<'a> {
    /// Names with commas between.
    fn listed(&self, option: &str, names: &str) -> Result<BTreeSet<&'a str>> {
        let mut all = BTreeSet::new();
        for name in names.split(',') {
            all.extend(self.named(option, name)?);
        }
        Ok(all)
    }

    /// A machine, or all that have a tag.
    fn named(&self, option: &str, name: &str) -> Result<Vec<&'a str>> {
        let machines = &self.snapshot.machines;
        let Some(tag) = name.strip_prefix(TAG) else {
            let known: Vec<&str> = machines.keys().map(String::as_str).collect();
            return match known.iter().find(|known| **known == name) {
                Some(known) => Ok(vec![known]),
                None => Err(unknown(option, "machine", name, &known)),
            };
        };
        let has_tag = |(name, machine): (&'a String, &'a crate::flake::snapshot::Machine)| {
            machine.tags.iter().any(|it| it == tag).then_some(name.as_str())
        };
        let tagged: Vec<&str> = machines.iter().filter_map(has_tag).collect();
        if tagged.is_empty() {
            let tags: BTreeSet<&str> =
                machines.values().flat_map(|it| &it.tags).map(String::as_str).collect();
            return Err(unknown(option, "tag", tag, &Vec::from_iter(tags)));
        }
        Ok(tagged)
    }
}

fn unknown(option: &str, what: &str, name: &str, known: &[&str]) -> Error {
    let nearest = nearest(name, known).map(|it| format!(", did you mean {it:?}?"));
    let name = printable::line(name);
    Error::Usage(format!("{option}: no {what} {name:?} in the clan{}", nearest.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
