//! The dotenv and INI stores of sops (`stores/dotenv`, `stores/ini`): text
//! without depth, whose metadata is flattened into names such as
//! `age__list_0__map_enc`. Owns their parsers; comments are dropped.

use std::collections::BTreeMap;

use super::tree::{MAX_DEPTH, Node};

/// Parses a dotenv file: `KEY=VALUE` lines, `\n` being a newline; metadata in
/// keys that begin with `sops_`.
///
/// # Errors
/// The line and what is wrong with it, without quoting it.
pub(super) fn dotenv(text: &str) -> Result<Node, String> {
    let (mut values, mut metadata) = (Vec::new(), Vec::new());
    for (at, line) in text.split('\n').enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| format!("line {}: no =", at + 1))?;
        let value = value.replace("\\n", "\n");
        match key.strip_prefix("sops_") {
            Some(key) => metadata.push((key.to_owned(), value)),
            None => values.push((key.to_owned(), Node::Text(value))),
        }
    }
    document(values, metadata)
}

/// Parses an INI file as go-ini does, as far as sops writes them: sections of
/// `key = value` lines, values in quotes of three kinds, of which two may hold
/// newlines; metadata in section `sops`. What comes before a section is in `DEFAULT`.
///
/// # Errors
/// As for [`dotenv`].
pub(super) fn ini(text: &str) -> Result<Node, String> {
    let mut sections = vec![("DEFAULT".to_owned(), Vec::new())];
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim();
        let wrong = |what: &str| format!("line {}: {what}", at + 1);
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| wrong("the section has no ]"))?;
            sections.push((name.trim().to_owned(), Vec::new()));
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("no ="))?;
        let mut value = value.trim().to_owned();
        let quote = QUOTES
            .into_iter()
            .find(|quote| value.strip_prefix(quote).is_some_and(|inner| !inner.contains(quote)));
        while let Some(quote) = quote {
            let (_, more) = lines.next().ok_or_else(|| wrong("a quote is not closed"))?;
            value.push('\n');
            value.push_str(more);
            if more.contains(quote) {
                break;
            }
        }
        if let Some((_, entries)) = sections.last_mut() {
            entries.push((key.trim().to_owned(), unquote(&value).to_owned()));
        }
    }
    let (mut values, mut metadata) = (Vec::new(), Vec::new());
    for (name, entries) in sections {
        if name == "sops" {
            let unescape = |(key, value): (String, String)| (key, value.replace("\\n", "\n"));
            metadata.extend(entries.into_iter().map(unescape));
        } else if name != "DEFAULT" || !entries.is_empty() {
            let entries: Vec<_> =
                entries.into_iter().map(|(key, value)| (key, Node::Text(value))).collect();
            unique(&entries)?;
            values.push((name, Node::Map(entries)));
        }
    }
    document(values, metadata)
}

/// Those that may hold newlines.
const QUOTES: [&str; 2] = ["\"\"\"", "`"];

fn unquote(value: &str) -> &str {
    for quote in QUOTES {
        if let Some((inner, _)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote))
        {
            return inner;
        }
    }
    // go-ini ends a bare value at a comment, quotes or not.
    let bare = value.split(['#', ';']).next().unwrap_or_default().trim_end();
    let quoted = |quote| bare.strip_prefix(quote)?.strip_suffix(quote);
    quoted('"').or_else(|| quoted('\'')).unwrap_or(bare)
}

fn document(
    mut values: Vec<(String, Node)>,
    metadata: Vec<(String, String)>,
) -> Result<Node, String> {
    unique(&values)?;
    if !metadata.is_empty() {
        values.push(("sops".to_owned(), unflatten(metadata)?));
    }
    Ok(Node::Map(values))
}

fn unique(entries: &[(String, Node)]) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    match entries.iter().find(|(key, _)| !seen.insert(key.as_str())) {
        Some((key, _)) => Err(format!("{key:?} appears twice")),
        None => Ok(()),
    }
}

/// A tree whose entries come in any order.
enum Flat {
    Value(String),
    Map(BTreeMap<String, Flat>),
    List(BTreeMap<usize, Flat>),
}

/// sops, `stores/flatten.go`: names of `__map_` and `__list_` parts.
fn unflatten(entries: Vec<(String, String)>) -> Result<Node, String> {
    let mut root = Flat::Map(BTreeMap::new());
    for (name, value) in entries {
        let wrong = || format!("sops metadata {name:?} does not fit the rest");
        let mut place = &mut root;
        let steps = steps(&name).ok_or_else(wrong)?;
        for (at, step) in steps.iter().enumerate() {
            let new = || match steps.get(at + 1) {
                None => Flat::Value(value.clone()),
                Some(Step::Key(_)) => Flat::Map(BTreeMap::new()),
                Some(Step::Index(_)) => Flat::List(BTreeMap::new()),
            };
            place = match (place, step) {
                (Flat::Map(map), Step::Key(key)) => map.entry(key.to_string()).or_insert_with(new),
                (Flat::List(list), Step::Index(index)) => list.entry(*index).or_insert_with(new),
                _ => return Err(wrong()),
            };
        }
        if !matches!(place, Flat::Value(known) if *known == value) {
            return Err(wrong());
        }
    }
    node(root)
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

fn steps(name: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let (mut rest, mut is_index) = (name, false);
    while steps.len() < MAX_DEPTH {
        let next = match (rest.find("__map_"), rest.find("__list_")) {
            (Some(map), Some(list)) => Some(map.min(list)),
            (map, list) => map.or(list),
        };
        let (word, more) = rest.split_at_checked(next.unwrap_or(rest.len()))?;
        steps.push(if is_index { Step::Index(word.parse().ok()?) } else { Step::Key(word) });
        if more.is_empty() {
            return Some(steps);
        }
        is_index = more.starts_with("__list_");
        rest = more.strip_prefix("__list_").or_else(|| more.strip_prefix("__map_"))?;
    }
    None
}

fn node(flat: Flat) -> Result<Node, String> {
    Ok(match flat {
        Flat::Value(text) => Node::Text(text),
        Flat::Map(map) => {
            let entries = map.into_iter().map(|(key, flat)| Ok((key, node(flat)?)));
            Node::Map(entries.collect::<Result<_, String>>()?)
        }
        Flat::List(list) => {
            if list.keys().enumerate().any(|(at, index)| at != *index) {
                return Err("a list in the sops metadata has gaps".to_owned());
            }
            Node::List(list.into_values().map(node).collect::<Result<_, _>>()?)
        }
    })
}
