//! The YAML store of sops (`stores/yaml`). Owns the way from YAML's events to
//! a document, with the types that Go's yaml.v3 gives to plain scalars.
//! Refuses aliases, several documents and keys that are no text; comments are
//! dropped, as no MAC covers them. Dates that are not encrypted stay text, so
//! a MAC over them may not match.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::tree::{MAX_DEPTH, Node};

/// A map or list that is not complete yet.
enum Open {
    Map { entries: Vec<(String, Node)>, key: Option<String> },
    List(Vec<Node>),
}

/// Parses one YAML document.
///
/// # Errors
/// Where and what is wrong, without quoting it.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut stack: Vec<Open> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| format!("it is no YAML (line {})", error.marker().line()))?;
        let wrong = |what: &str| format!("{what} (line {})", span.start.line());
        let node = match event {
            Event::MappingStart(..) => {
                stack.push(Open::Map { entries: Vec::new(), key: None });
                None
            }
            Event::SequenceStart(..) => {
                stack.push(Open::List(Vec::new()));
                None
            }
            Event::MappingEnd | Event::SequenceEnd => stack.pop().map(|open| match open {
                Open::Map { entries, .. } => Node::Map(entries),
                Open::List(items) => Node::List(items),
            }),
            Event::Scalar(text, style, _, tag) => Some(match (style, tag) {
                (ScalarStyle::Plain, None) => plain(&text),
                _ => Node::Text(text.into_owned()),
            }),
            Event::Alias(_) => return Err(wrong("YAML aliases are not supported")),
            _ => None,
        };
        if stack.len() > MAX_DEPTH {
            return Err(wrong("it is nested too deeply"));
        }
        let Some(node) = node else { continue };
        match stack.last_mut() {
            None if document.is_none() => document = Some(node),
            None => return Err(wrong("several YAML documents are not supported")),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map { entries, key }) => match (key.take(), node) {
                (Some(key), node) => entries.push((key, node)),
                (None, Node::Text(text)) => *key = Some(text),
                (None, _) => return Err(wrong("a key is no text")),
            },
        }
    }
    let document = document.unwrap_or(Node::Null);
    unique(&document)?;
    Ok(document)
}

fn unique(node: &Node) -> Result<(), String> {
    match node {
        Node::Map(entries) => {
            let mut seen = std::collections::HashSet::new();
            for (key, value) in entries {
                if !seen.insert(key) {
                    return Err(format!("{key:?} appears twice"));
                }
                unique(value)?;
            }
            Ok(())
        }
        Node::List(items) => items.iter().try_for_each(unique),
        _ => Ok(()),
    }
}

/// The type of a plain scalar, as yaml.v3 resolves it (`resolve.go`).
fn plain(text: &str) -> Node {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" | "True" | "TRUE" => return Node::Bool(true),
        "false" | "False" | "FALSE" => return Node::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Node::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Node::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Node::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|char: char| char.is_ascii_digit() || "+-.".contains(char)) {
        return Node::Text(text.to_owned());
    }
    let digits = text.replace('_', "");
    if let Some(value) = integer(&digits) {
        return Node::Int(value);
    }
    let is_number = digits.chars().all(|char| char.is_ascii_digit() || "+-.eE".contains(char));
    match digits.parse() {
        Ok(value) if is_number && digits.contains(|char: char| char.is_ascii_digit()) => {
            Node::Float(value)
        }
        _ => Node::Text(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = if let Some(digits) = digits.strip_prefix("0x") {
        (16, digits)
    } else if let Some(digits) = digits.strip_prefix("0o") {
        (8, digits)
    } else if let Some(digits) = digits.strip_prefix("0b") {
        (2, digits)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, digits)
    } else {
        (10, digits)
    };
    if !digits.starts_with(|char: char| char.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}
