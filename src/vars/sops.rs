//! Files of sops (<https://github.com/getsops/sops>) for age recipients. Owns
//! the format; finds no key and reads no file. Decryption happens in memory,
//! and nothing is released before the MAC is right.

mod document;
mod flat;
mod metadata;
mod rule;
mod shamir;
mod tree;
mod value;
mod yaml;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use document::Plain;
use metadata::{GroupKey, Metadata};
use tree::Node;
use value::DataKey;

use super::MAX_VALUE;
use super::closed::Closed;
use super::effort::Effort;
use super::key::Key;
use super::sealed::Sealed;
use crate::secret::Secret;

/// Data keys that were opened, by [`Metadata::fingerprint`].
pub(super) type DataKeys = Mutex<HashMap<String, Secret<Vec<u8>>>>;

/// How a file of sops is written, which sops tells from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Any bytes, kept in JSON. What Clan uses.
    Binary,
    /// A JSON document.
    Json,
    /// A YAML document.
    Yaml,
    /// `KEY=VALUE` lines.
    Dotenv,
    /// Sections of `key = value` lines.
    Ini,
}

impl Format {
    /// The format that sops expects in a file of this name
    /// (`cmd/sops/formats`).
    pub fn of(path: &Path) -> Self {
        let name = path.to_string_lossy();
        let ends = |suffix| name.ends_with(suffix);
        match () {
            () if ends(".yaml") || ends(".yml") => Self::Yaml,
            () if ends(".json") => Self::Json,
            () if ends(".env") => Self::Dotenv,
            () if ends(".ini") => Self::Ini,
            () => Self::Binary,
        }
    }
}

/// An encrypted file, and the shares of its data key that were opened so far.
pub(super) struct SopsFile {
    format: Format,
    document: Node,
    metadata: Metadata,
    shares: Vec<Option<Secret<Vec<u8>>>>,
    data_keys: Arc<DataKeys>,
    /// What was wrong with a data key that might have been for us.
    damaged: Option<String>,
}

impl SopsFile {
    /// Parses a file. Its plaintext is the bytes of the binary store, and JSON
    /// for all other formats.
    ///
    /// # Errors
    /// [`Closed::Broken`].
    pub(super) fn parse(
        bytes: &[u8],
        format: Format,
        data_keys: &Arc<DataKeys>,
    ) -> Result<Self, Closed> {
        let text = || std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned());
        let node = match format {
            Format::Binary | Format::Json => Node::json(bytes),
            Format::Yaml => text().and_then(yaml::parse),
            Format::Dotenv => text().and_then(flat::dotenv),
            Format::Ini => text().and_then(flat::ini),
        };
        node.and_then(|node| Self::new(node, format, data_keys)).map_err(Closed::Broken)
    }

    fn new(document: Node, format: Format, data_keys: &Arc<DataKeys>) -> Result<Self, String> {
        let Node::Map(mut entries) = document else {
            return Err("it is no sops file: it is no map".to_owned());
        };
        let Some(at) = entries.iter().position(|(name, _)| name == "sops") else {
            return Err("it is no sops file: it has no sops metadata".to_owned());
        };
        let metadata = Metadata::parse(&entries.remove(at).1)?;
        let has_comments = matches!(format, Format::Yaml | Format::Dotenv | Format::Ini);
        if has_comments && metadata.rule.needs_comments() {
            return Err("rules by comment are not supported".to_owned());
        }
        let shares = metadata.groups.iter().map(|_| None).collect();
        let (document, data_keys) = (Node::Map(entries), data_keys.clone());
        Ok(Self { format, document, metadata, shares, data_keys, damaged: None })
    }

    /// Opens shares with `keys`; the data key once there are enough.
    fn data_key(
        &mut self,
        keys: &[Key],
        effort: &Effort,
    ) -> Result<Option<Secret<Vec<u8>>>, Closed> {
        let known = self.data_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(&self.metadata.fingerprint) {
            return Ok(Some(key.clone()));
        }
        drop(known);
        for (share, group) in self.shares.iter_mut().zip(&mut self.metadata.groups) {
            for key in &mut group.keys {
                if share.is_some() {
                    break;
                }
                // One damaged key must not keep the others out.
                let file = match &mut key.file {
                    Ok(file) => file,
                    Err(why) => {
                        self.damaged = Some(why.clone());
                        continue;
                    }
                };
                match file.open(keys, effort) {
                    Ok(opened) => *share = opened,
                    Err(Closed::TooMuch) => return Err(Closed::TooMuch),
                    Err(_) => {
                        self.damaged = Some(format!("its key for {:?} is damaged", key.recipient));
                    }
                }
            }
        }
        let shares: Vec<&[u8]> =
            self.shares.iter().flatten().map(|share| share.expose().as_slice()).collect();
        match shares.as_slice() {
            [key] if self.metadata.groups.len() == 1 => Ok(Some(Secret::new(key.to_vec()))),
            shares if self.metadata.groups.len() > 1 && shares.len() >= self.metadata.threshold => {
                let combined = shamir::combine(shares);
                combined.map(Some).map_err(|reason| Closed::Broken(reason.to_owned()))
            }
            _ => Ok(None),
        }
    }
}

impl Sealed for SopsFile {
    fn open(&mut self, keys: &[Key], effort: &Effort) -> Result<Option<Secret<Vec<u8>>>, Closed> {
        let Some(data_key) = self.data_key(keys, effort)? else { return Ok(None) };
        let key = DataKey::new(data_key.expose()).map_err(Closed::Broken)?;
        let plain = Plain::decrypt(&self.document, &self.metadata, &key).map_err(Closed::Broken)?;
        let mut known = self.data_keys.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(self.metadata.fingerprint.clone(), data_key);
        drop(known);
        let data = match self.format {
            Format::Binary => plain.into_bytes_at("data"),
            _ => Some(plain.to_json().map_err(Closed::Broken)?),
        };
        match data {
            Some(data) if data.expose().len() as u64 > MAX_VALUE => Err(Closed::TooLarge),
            Some(data) => Ok(Some(data)),
            None => Err(Closed::broken("it is no file of sops' binary store: it has no data")),
        }
    }

    fn names_ssh_key(&self, tag: &str) -> bool {
        self.metadata
            .groups
            .iter()
            .flat_map(|group| &group.keys)
            .filter_map(GroupKey::intact)
            .any(|file| file.names_ssh_key(tag))
    }

    fn names_native_key(&self) -> bool {
        self.metadata
            .groups
            .iter()
            .flat_map(|group| &group.keys)
            .filter_map(GroupKey::intact)
            .any(|file| file.names_native_key())
    }

    fn recipients(&self) -> Vec<String> {
        let keys = self.metadata.groups.iter().flat_map(|group| &group.keys);
        keys.map(|key| key.recipient.clone()).collect()
    }

    fn obstacle(&self) -> Option<String> {
        if self.damaged.is_some() {
            return self.damaged.clone();
        }
        let groups = &self.metadata.groups;
        let usable = groups.iter().filter(|group| !group.keys.is_empty()).count();
        if usable < self.metadata.threshold {
            let mut others: Vec<&str> =
                groups.iter().flat_map(|group| group.others.iter().copied()).collect();
            others.dedup();
            return Some(format!(
                "it is encrypted for {}; only age keys are supported",
                others.join(", ")
            ));
        }
        let opened = self.shares.iter().flatten().count();
        (opened > 0).then(|| {
            format!(
                "{opened} of {} shares of its data key could be opened",
                self.metadata.threshold
            )
        })
    }
}

#[cfg(test)]
mod tests;
