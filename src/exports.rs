//! The JSON that a clan exports, as networks and peers. Owns the shapes of
//! `clan.exports` since 2025 and what a usable entry is. Pure: it reads bytes,
//! and knows no file, clock or socket. Options for ssh in the exports are never
//! honoured, because they could start programs.

mod field;
mod reader;
mod shape;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::Clan;
use crate::printable::Printable;

pub(crate) use field::check_machine;

/// Largest document, in bytes: some 400,000 peers as Clan writes them.
pub const MAX_BYTES: usize = 64 << 20;

/// Most JSON values in a document. Small values take far more memory than text.
const MAX_VALUES: usize = 1_000_000;

/// Most networks: each is looked at with each machine, and with each other.
const MAX_NETWORKS: usize = 500;

impl Clan {
    /// Reads a document; `origin` names it in errors. Every shape is taken:
    /// `SERVICE:INSTANCE:ROLE:MACHINE` keys with `networking` and `peer`
    /// interfaces, and `INSTANCE: {priority, module, peers}` of 2025, the
    /// latter also below `networking`; all of it bare or under `exports`,
    /// `instances` or both.
    ///
    /// # Errors
    /// [`Error::Exports`] when the whole document is unusable: not JSON, no
    /// object, over 64 MiB, over a million values or 500 networks. A
    /// single malformed entry is no error but one of [`Clan::problems`].
    pub fn parse(origin: &str, bytes: &[u8]) -> Result<Self> {
        check_bounds(bytes)
            .and_then(|()| {
                serde_json::from_slice(bytes).map_err(|error| format!("not valid JSON: {error}"))
            })
            .and_then(|document: Value| Self::read(origin, &document))
            .map_err(|reason| Error::Exports { origin: Printable(origin).to_string(), reason })
    }

    /// The same for a document that has been read already.
    ///
    /// # Errors
    /// [`Error::Exports`].
    pub fn from_value(origin: &str, document: &Value) -> Result<Self> {
        Self::read(origin, document)
            .map_err(|reason| Error::Exports { origin: Printable(origin).to_string(), reason })
    }

    /// Notes that this entry of the exports could not be evaluated.
    pub fn add_unevaluated(&mut self, key: &str) {
        if let shape::Key::Scope { machine, .. } = shape::Key::parse(key)
            && check_machine(machine).is_ok()
        {
            self.add_machine(machine);
        }
        self.unevaluated.push(key.to_owned());
    }

    /// The keys of those that may have had an address of this machine: its own, and where its
    /// other ones lack a network, those of networks.
    pub fn unevaluated_of(&self, machine: &str) -> impl Iterator<Item = &str> {
        let lacks_network = self.problems_of(machine).next().is_some();
        let may_have = move |key: &&str| match shape::Key::parse(key) {
            shape::Key::Scope { machine: "", .. } => lacks_network,
            shape::Key::Scope { machine: of, .. } => of == machine,
            shape::Key::Instance(_) => false,
        };
        self.unevaluated.iter().map(String::as_str).filter(may_have)
    }

    fn read(origin: &str, document: &Value) -> Result<Self, String> {
        let mut clan = reader::read(origin, &shape::entries(document)?)?;
        clan.origin = origin.to_owned();
        if clan.networks.len() > MAX_NETWORKS {
            return Err(format!("more than {MAX_NETWORKS} networks"));
        }
        if clan.networks.is_empty() && clan.problems.is_empty() {
            clan.warnings.push("the exports declare no network".into());
        }
        Ok(clan)
    }
}

/// Refuses what would take far more memory than any clan needs, before it is
/// read.
pub(crate) fn check_bounds(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("larger than {MAX_BYTES} bytes"));
    }
    if bytes.trim_ascii().is_empty() {
        return Err("empty, expected the JSON of clan.exports".into());
    }
    if values(bytes) > MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    Ok(())
}

/// An upper bound of the number of values, without building any.
fn values(bytes: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (1_usize, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests;
