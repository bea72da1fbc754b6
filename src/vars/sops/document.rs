//! From an encrypted document and its data key to plaintext (sops,
//! `Tree.Decrypt`). Owns the walk, the MAC over it, and what may leave: nothing
//! before the MAC is right.

use data_encoding::HEXUPPER;
use serde::ser::{Error as _, Serialize, Serializer};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::metadata::Metadata;
use super::tree::Node;
use super::value::{DataKey, Kind, Leaf, float};
use crate::secret::Secret;

/// What begins a MAC over encrypted values only (sops, `sops.go`): the SHA-256
/// of `sops`.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// A decrypted, authentic document.
pub(super) enum Plain {
    Map(Vec<(String, Plain)>),
    List(Vec<Plain>),
    Leaf(Leaf),
    Null,
}

impl Plain {
    /// Decrypts `document`, which no longer has its `sops` entry, and checks
    /// its MAC.
    ///
    /// # Errors
    /// Where and what is wrong, never with any plaintext.
    pub(super) fn decrypt(
        document: &Node,
        metadata: &Metadata,
        key: &DataKey,
    ) -> Result<Self, String> {
        let mut walk = Walk { metadata, key, hash: Sha512::new() };
        if metadata.mac_only_encrypted {
            walk.hash.update(ONLY_ENCRYPTED);
        }
        let plain = walk.node(document, &mut Vec::new())?;
        let mac = key
            .decrypt(&metadata.mac, &metadata.last_modified)
            .map_err(|reason| format!("sops.mac: {reason}"))?;
        let computed = HEXUPPER.encode(&walk.hash.finalize());
        if bool::from(computed.as_bytes().ct_eq(mac.bytes.expose())) {
            Ok(plain)
        } else {
            Err("its MAC does not match: it was changed by something other than sops".to_owned())
        }
    }

    /// All of it as JSON, as `sops decrypt --output-type json` writes it but
    /// for white space.
    ///
    /// # Errors
    /// When a text is not UTF-8.
    pub(super) fn to_json(&self) -> Result<Secret<Vec<u8>>, String> {
        let not_text = |_| "a value is not UTF-8 text".to_owned();
        // Measured first, so that growing leaves no copy of a secret behind.
        let mut len = Length(0);
        serde_json::to_writer(&mut len, self).map_err(not_text)?;
        let mut json = Vec::with_capacity(len.0);
        serde_json::to_writer(&mut json, self).map_err(not_text)?;
        Ok(Secret::new(json))
    }

    /// The text or bytes at `key` of the top level.
    pub(super) fn into_bytes_at(self, key: &str) -> Option<Secret<Vec<u8>>> {
        let Self::Map(entries) = self else { return None };
        match entries.into_iter().find(|(name, _)| name == key)?.1 {
            Self::Leaf(Leaf { kind: Kind::Text | Kind::Bytes, bytes }) => Some(bytes),
            _ => None,
        }
    }
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let leaf = match self {
            Self::Map(entries) => {
                return serializer.collect_map(entries.iter().map(|(key, value)| (key, value)));
            }
            Self::List(items) => return serializer.collect_seq(items),
            Self::Null => return serializer.serialize_unit(),
            Self::Leaf(leaf) => leaf,
        };
        let text = std::str::from_utf8(leaf.bytes.expose()).map_err(S::Error::custom)?;
        match leaf.kind {
            Kind::Int if let Ok(value) = text.parse::<i64>() => serializer.serialize_i64(value),
            // Like Go's JSON: sops 3.11 takes every number for a float.
            Kind::Float if let Ok(value) = text.parse::<i64>() => serializer.serialize_i64(value),
            Kind::Float if let Ok(value) = text.parse::<f64>() => serializer.serialize_f64(value),
            Kind::Bool => serializer.serialize_bool(text == "True"),
            _ => serializer.serialize_str(text),
        }
    }
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Walk<'a> {
    metadata: &'a Metadata,
    key: &'a DataKey,
    hash: Sha512,
}

impl Walk<'_> {
    fn node<'n>(&mut self, node: &'n Node, path: &mut Vec<&'n str>) -> Result<Plain, String> {
        Ok(match node {
            Node::Map(entries) => {
                let mut plain = Vec::with_capacity(entries.len());
                for (name, value) in entries {
                    path.push(name);
                    plain.push((name.clone(), self.node(value, path)?));
                    path.pop();
                }
                Plain::Map(plain)
            }
            // Indexes are no part of the path.
            Node::List(items) => {
                let items = items.iter().map(|item| self.node(item, path));
                Plain::List(items.collect::<Result<_, _>>()?)
            }
            // sops neither encrypts nor authenticates it.
            Node::Null => Plain::Null,
            leaf => Plain::Leaf(self.leaf(leaf, path)?),
        })
    }

    fn leaf(&mut self, node: &Node, path: &[&str]) -> Result<Leaf, String> {
        let encrypted = self.metadata.rule.encrypts(path);
        let leaf = match (encrypted, node) {
            (true, Node::Text(text)) => {
                let place = format!("{}:", path.join(":"));
                let leaf = self.key.decrypt(text, &place);
                leaf.map_err(|reason| format!("value {:?}: {reason}", path.join(":")))?
            }
            (true, _) => {
                return Err(format!("value {:?}: it is not encrypted", path.join(":")));
            }
            (false, node) => unencrypted(node),
        };
        if encrypted || !self.metadata.mac_only_encrypted {
            self.hash.update(leaf.bytes.expose());
        }
        Ok(leaf)
    }
}

fn unencrypted(node: &Node) -> Leaf {
    let (kind, text) = match node {
        Node::Text(text) => (Kind::Text, text.clone()),
        Node::Int(value) => (Kind::Int, value.to_string()),
        Node::Float(value) => (Kind::Float, float(*value)),
        Node::Bool(value) => (Kind::Bool, if *value { "True" } else { "False" }.to_owned()),
        Node::Map(_) | Node::List(_) | Node::Null => (Kind::Text, String::new()),
    };
    Leaf { kind, bytes: Secret::new(text.into_bytes()) }
}
