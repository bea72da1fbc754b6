//! The `sops` entry of a document (sops, `stores/stores.go`): who may open it,
//! what is encrypted, and how it is authenticated. Owns its fields and bounds.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::rule::Rule;
use super::tree::Node;
use crate::vars::age_file::AgeFile;
use crate::vars::effort::MAX_RECIPIENTS;

/// Largest encrypted data key, in bytes; an honest one has about 400.
const MAX_ENC: usize = 64 << 10;
/// One byte says which share it is, and none is 0.
const MAX_GROUPS: usize = 255;
/// Other kinds of keys that sops knows, for messages.
const OTHERS: [(&str, &str); 6] = [
    ("pgp", "PGP"),
    ("kms", "AWS KMS"),
    ("gcp_kms", "GCP KMS"),
    ("azure_kv", "Azure Key Vault"),
    ("hc_vault", "Vault"),
    ("hckms", "HuaweiCloud KMS"),
];

/// What the `sops` entry says.
pub(super) struct Metadata {
    /// Every group has the data key, or one share of it.
    pub(super) groups: Vec<Group>,
    /// How many shares it takes; 1 when there is one group.
    pub(super) threshold: usize,
    /// The encrypted MAC.
    pub(super) mac: String,
    /// What authenticates it: a time in RFC 3339.
    pub(super) last_modified: String,
    pub(super) mac_only_encrypted: bool,
    pub(super) rule: Rule,
    /// Names this set of encrypted data keys.
    pub(super) fingerprint: String,
}

/// Keys of which any one opens the same share.
#[derive(Default)]
pub(super) struct Group {
    pub(super) keys: Vec<GroupKey>,
    /// Kinds of keys in it that we cannot use.
    pub(super) others: Vec<&'static str>,
}

/// A share, encrypted for one recipient.
pub(super) struct GroupKey {
    pub(super) recipient: String,
    /// What is wrong with it where it is none: it may be another's.
    pub(super) file: Result<AgeFile, String>,
}

impl GroupKey {
    pub(super) fn intact(&self) -> Option<&AgeFile> {
        self.file.as_ref().ok()
    }
}

impl Metadata {
    /// # Errors
    /// The field and what is wrong with it.
    pub(super) fn parse(node: &Node) -> Result<Self, String> {
        if !matches!(node, Node::Map(_)) {
            return Err("its sops metadata is no map".to_owned());
        }
        let mut hash = Sha256::new();
        // As in sops, groups count only when there are no keys beside them.
        let mut groups = vec![group(node, "sops", &mut hash)?];
        let alone = |group: &Group| group.keys.is_empty() && group.others.is_empty();
        if groups.iter().all(alone) {
            let listed = list(node, "sops", "key_groups")?;
            if listed.len() > MAX_GROUPS {
                return Err("sops.key_groups has more than 255 groups".to_owned());
            }
            groups.clear();
            for (at, entry) in listed.iter().enumerate() {
                groups.push(group(entry, &format!("sops.key_groups[{at}]"), &mut hash)?);
            }
            if groups.is_empty() {
                return Err("sops.age names no key".to_owned());
            }
        }
        // Each is an age file for one recipient, if sops wrote it.
        let keys = groups.iter().flat_map(|group| &group.keys).filter_map(GroupKey::intact);
        if keys.map(AgeFile::recipient_count).sum::<usize>() > MAX_RECIPIENTS {
            return Err(format!("sops names more than {MAX_RECIPIENTS} keys"));
        }
        let threshold = match (groups.len(), number(node, "shamir_threshold")?) {
            (1, _) => 1,
            (all, None | Some(0)) => all,
            (all, Some(some)) if (2..=all).contains(&some) => some,
            _ => return Err("sops.shamir_threshold does not fit the key groups".to_owned()),
        };
        Ok(Self {
            groups,
            threshold,
            mac: text(node, "sops", "mac")?.ok_or("sops.mac is missing")?,
            last_modified: modified(node)?,
            mac_only_encrypted: flag(node, "mac_only_encrypted")?,
            rule: rule(node)?,
            fingerprint: BASE64.encode(&hash.finalize()),
        })
    }
}

fn group(node: &Node, field: &str, hash: &mut Sha256) -> Result<Group, String> {
    let mut group = Group::default();
    let listed = list(node, field, "age")?;
    if listed.len() > MAX_RECIPIENTS {
        return Err(format!("{field}.age names more than {MAX_RECIPIENTS} keys"));
    }
    for (at, entry) in listed.iter().enumerate() {
        let field = format!("{field}.age[{at}]");
        // As in sops, what is damaged keeps those out that it is for, and nobody else.
        let enc = text(entry, &field, "enc").and_then(|enc| {
            let enc = enc.ok_or_else(|| format!("{field}.enc is missing"))?;
            let fits = enc.len() <= MAX_ENC;
            fits.then_some(enc).ok_or_else(|| format!("{field}.enc is too large"))
        });
        let recipient = text(entry, &field, "recipient")?.unwrap_or_default();
        let parsed = enc.as_ref().map_err(String::clone).and_then(|enc| {
            let damaged = |_| format!("{field}.enc is no age file, or truncated");
            AgeFile::parse(enc.as_bytes()).map_err(damaged)
        });
        let (enc, file) = (enc.unwrap_or_default(), parsed);
        hash.update((enc.len() as u64).to_be_bytes());
        hash.update(enc.as_bytes());
        group.keys.push(GroupKey { recipient, file });
    }
    for (name, title) in OTHERS {
        if !list(node, field, name)?.is_empty() {
            group.others.push(title);
        }
    }
    Ok(group)
}

fn rule(node: &Node) -> Result<Rule, String> {
    let mut rules = Vec::new();
    for name in Rule::NAMES {
        if let Some(pattern) = text(node, "sops", name)?.filter(|pattern| !pattern.is_empty()) {
            rules.push(Rule::parse(name, &pattern)?);
        }
    }
    match (rules.pop(), rules.is_empty()) {
        (None, _) => Ok(Rule::default()),
        (Some(rule), true) => Ok(rule),
        (Some(_), false) => {
            Err("sops has more than one rule about what is encrypted, as sops never writes".into())
        }
    }
}

/// sops authenticates the time as Go formats it: without fractions, UTC as `Z`.
fn modified(node: &Node) -> Result<String, String> {
    let time = text(node, "sops", "lastmodified")?.ok_or("sops.lastmodified is missing")?;
    let time = match time.strip_suffix("+00:00") {
        Some(time) => format!("{time}Z"),
        None => time,
    };
    let Some((seconds, rest)) = time.split_once('.') else { return Ok(time) };
    let zone = rest.trim_start_matches(|char: char| char.is_ascii_digit());
    Ok(format!("{seconds}{zone}"))
}

/// A list, where absent and null are as good as empty.
fn list<'a>(node: &'a Node, field: &str, name: &str) -> Result<&'a [Node], String> {
    match node.get(name) {
        None | Some(Node::Null) => Ok(&[]),
        Some(Node::List(items)) => Ok(items),
        // The flat stores write no list at all when it is empty, YAML may write "".
        Some(Node::Text(text)) if text.is_empty() => Ok(&[]),
        Some(_) => Err(format!("{field}.{name} is no list")),
    }
}

fn text(node: &Node, field: &str, name: &str) -> Result<Option<String>, String> {
    match node.get(name) {
        None | Some(Node::Null) => Ok(None),
        Some(Node::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{field}.{name} is no text")),
    }
}

/// The flat stores know only text.
fn number(node: &Node, name: &str) -> Result<Option<usize>, String> {
    let value = match node.get(name) {
        None | Some(Node::Null) => return Ok(None),
        Some(Node::Int(value)) => usize::try_from(*value).ok(),
        Some(Node::Text(text)) => text.parse().ok(),
        Some(_) => None,
    };
    value.map(Some).ok_or_else(|| format!("sops.{name} is no number"))
}

fn flag(node: &Node, name: &str) -> Result<bool, String> {
    match node.get(name) {
        None | Some(Node::Null) => Ok(false),
        Some(Node::Bool(value)) => Ok(*value),
        Some(Node::Text(text)) if text == "true" => Ok(true),
        Some(Node::Text(text)) if text.is_empty() || text == "false" => Ok(false),
        Some(_) => Err(format!("sops.{name} is neither true nor false")),
    }
}
