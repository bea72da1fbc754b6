//! The layouts a document of exports comes in. Owns finding the entries and
//! splitting their keys; what is inside an entry is the reader's.

use serde_json::{Map, Value};

/// A JSON object, in the order of the file.
pub(super) type Object = Map<String, Value>;

/// What the key of an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// `SERVICE:INSTANCE:ROLE:MACHINE`, each part possibly empty (clan-core's
    /// `lib/exports`, since late 2025). The role tells us nothing.
    Scope { service: &'a str, instance: &'a str, machine: &'a str },
    /// The instance's name alone (clan-core of 2025).
    Instance(&'a str),
}

impl<'a> Key<'a> {
    pub(super) fn parse(key: &'a str) -> Self {
        let mut parts = key.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(service), Some(instance), Some(_role), Some(machine), None) => {
                Self::Scope { service, instance, machine }
            }
            _ => Self::Instance(key),
        }
    }
}

/// One entry of the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) text: &'a str,
    pub(super) key: Key<'a>,
    pub(super) value: &'a Value,
    /// Whether the place says that this must be an export: it lies under
    /// `exports` or `instances`, or its key is a scope.
    pub(super) certain: bool,
}

/// All entries of the document, in order. `exports` and `instances` may each
/// be there or not: `clan select` and `nix eval` print different depths.
///
/// # Errors
/// The reason why the document as a whole is unusable.
pub(super) fn entries(document: &Value) -> Result<Vec<Entry<'_>>, String> {
    let Value::Object(top) = document else {
        return Err(format!("expected an object, found {}", kind(document)));
    };
    let mut found = Vec::new();
    match wrapper(top, "exports")? {
        // What lies beside `exports` is some other part of a flake.
        Some(inner) => level(inner, true, &mut found)?,
        None => level(top, false, &mut found)?,
    }
    Ok(found)
}

fn level<'a>(map: &'a Object, certain: bool, found: &mut Vec<Entry<'a>>) -> Result<(), String> {
    let instances = wrapper(map, "instances")?;
    if let Some(instances) = instances {
        found.extend(instances.iter().map(|(text, value)| entry(text, value, true)));
    }
    // In 2025 `machines` and others were siblings of `instances`; of siblings
    // only scopes can be exports.
    found.extend(
        map.iter()
            .map(|(text, value)| entry(text, value, certain))
            .filter(|entry| instances.is_none() || matches!(entry.key, Key::Scope { .. })),
    );
    Ok(())
}

fn entry<'a>(text: &'a str, value: &'a Value, certain: bool) -> Entry<'a> {
    let key = Key::parse(text);
    Entry { text, key, value, certain: certain || matches!(key, Key::Scope { .. }) }
}

/// The object under `name` if it wraps entries and is not itself an instance
/// that happens to have that name.
fn wrapper<'a>(map: &'a Object, name: &str) -> Result<Option<&'a Object>, String> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => {
            let nested = inner.get("networking").and_then(Value::as_object);
            let instance = is_network(inner) || nested.is_some_and(is_network);
            Ok((!instance).then_some(inner))
        }
        Some(other) => Err(format!("{name}: expected an object, found {}", kind(other))),
    }
}

fn is_network(map: &Object) -> bool {
    map.get("priority").is_some_and(Value::is_number)
        || map.get("module").is_some_and(Value::is_string)
        || map.get("peers").and_then(Value::as_object).is_some_and(|peers| !is_network(peers))
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
