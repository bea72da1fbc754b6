//! Clan's selectors: `clan.exports.*.networking.{priority,peers}`. Owns their
//! grammar (`clan_lib/flake/flake.py`, and `select.nix` of clan-lol/select),
//! what they pick out of a value, the same as an expression for nix, and the
//! way Clan prints the result. Pure.

use std::fmt::Write as _;

use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::printable::Printable;

/// What nix shows of a set that has it, instead of the set.
const OUT_PATH: &str = "outPath";
/// Where nix keeps what it has built.
const STORE: &str = "/nix/store/";

/// A way from a value to its parts, one step a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    steps: Vec<Step>,
}

/// One level of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// `*`: every member.
    All,
    /// `a`, `"a.b"`, `0`: this member, which must be there.
    Key(String),
    /// `?a`: this member, or nothing.
    Maybe(String),
    /// `{a,?b}`: these members.
    Set(Vec<Member>),
}

impl Step {
    /// Whether it picks this one member.
    fn is(&self, name: &str) -> bool {
        matches!(self, Self::Key(key) | Self::Maybe(key) if key == name)
    }

    /// Whether it picks nothing from what has no names.
    fn is_optional(&self) -> bool {
        match self {
            Self::Maybe(_) => true,
            Self::Set(members) => members.iter().all(|member| member.maybe),
            Self::All | Self::Key(_) => false,
        }
    }
}

/// One name in braces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Member {
    key: String,
    maybe: bool,
}

impl Selector {
    /// Parses a selector. Quotes and backslashes take the meaning from `.`, `,`,
    /// `{`, `*` and `?`.
    ///
    /// # Errors
    /// [`Error::Usage`] with the rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self> {
        let steps = Parser { rest: text.chars().peekable() }.steps();
        match steps {
            Ok(steps) => Ok(Self { text: text.to_owned(), steps }),
            Err(reason) => {
                Err(Error::Usage(format!("invalid selector \"{}\": {reason}", Printable(text))))
            }
        }
    }

    /// Whether all that it picks lies below this path of names.
    pub fn is_below(&self, path: &[&str]) -> bool {
        let only = |step: &Step, name: &str| match step {
            Step::All => false,
            Step::Key(key) | Step::Maybe(key) => key == name,
            Step::Set(members) => members.iter().all(|member| member.key == name),
        };
        self.steps.len() >= path.len()
            && self.steps.iter().zip(path).all(|(step, name)| only(step, name))
    }

    /// What it picks out of `value`. An entry of `*` that is `{}` stays `{}`: in
    /// exports that is an instance that has none.
    ///
    /// # Errors
    /// [`Error::Select`] with the place and what is missing there.
    pub fn apply(&self, value: &Value) -> Result<Value> {
        let mut place = Vec::new();
        pick(&self.steps, value, &mut place).map_err(|reason| Error::Select {
            selector: Printable(&self.text).to_string(),
            place: place.iter().map(|name| Printable(name).to_string()).collect(),
            reason,
        })
    }

    /// An expression of the nix language: a function from a value to what this
    /// selector picks out of it.
    pub fn to_nix(&self, quote: fn(&str) -> String) -> String {
        let mut steps = String::from("[");
        for step in &self.steps {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::All => write!(steps, " {{ type = \"all\"; }}"),
                Step::Key(key) => write!(steps, " {{ type = \"key\"; key = {}; }}", quote(key)),
                Step::Maybe(key) => {
                    write!(steps, " {{ type = \"maybe\"; key = {}; }}", quote(key))
                }
                Step::Set(members) => {
                    let member = |member: &Member| {
                        format!("{{ key = {}; maybe = {}; }}", quote(&member.key), member.maybe)
                    };
                    let members: Vec<String> = members.iter().map(member).collect();
                    write!(steps, " {{ type = \"set\"; members = [ {} ]; }}", members.join(" "))
                }
            };
        }
        steps.push_str(" ]");
        format!("({PICK} {steps})")
    }

    /// Puts the members of sets in the order of the selector, as Clan does with
    /// what nix has sorted.
    pub fn arrange(&self, value: Value) -> Value {
        arrange(&self.steps, value)
    }
}

/// [`pick`] in the nix language.
const PICK: &str = r#"(let
  number = text:
    let value = builtins.fromJSON text;
    in if builtins.isInt value then value else throw "${text} is no index of a list";
  pick = steps: value:
    if steps == [ ] then value
    else
      let
        step = builtins.head steps;
        next = pick (builtins.tail steps);
        wanted = builtins.filter (member: !member.maybe || builtins.hasAttr member.key value) step.members;
        at = index: next (builtins.elemAt value index);
      in
      if builtins.isList value then {
        all = map next value;
        key = at (number step.key);
        maybe = if number step.key < builtins.length value then [ (at (number step.key)) ] else [ ];
        set = map (member: if member.maybe then throw "no ? in a set of indices" else at (number member.key)) step.members;
      }.${step.type}
      else if builtins.isAttrs value then {
        all = builtins.mapAttrs (_: next) value;
        key = next (builtins.getAttr step.key value);
        maybe = if builtins.hasAttr step.key value then { ${step.key} = next value.${step.key}; } else { };
        set = builtins.listToAttrs (map (member: { name = member.key; value = next (builtins.getAttr member.key value); }) wanted);
      }.${step.type}
      else if step.type == "maybe" || step.type == "set" && builtins.all (member: member.maybe) step.members then { }
      else throw "nothing can be selected from a value of type ${builtins.typeOf value}";
in pick)"#;

fn pick<'a>(steps: &[Step], value: &'a Value, place: &mut Vec<&'a str>) -> Result<Value, String> {
    let Some((step, rest)) = steps.split_first() else { return Ok(finished(value)) };
    match value {
        Value::Object(map) => {
            let mut found = Map::new();
            match step {
                Step::Key(key) => {
                    let (name, inner) = map
                        .get_key_value(key)
                        .ok_or_else(|| format!("there is no \"{}\"", Printable(key)))?;
                    return pick_below(name, rest, inner, place);
                }
                Step::All => {
                    for (name, inner) in map {
                        let is_none = inner.as_object().is_some_and(Map::is_empty);
                        let picked = match is_none {
                            true => inner.clone(),
                            false => pick_below(name, rest, inner, place)?,
                        };
                        insert(&mut found, name, inner, picked);
                    }
                }
                Step::Maybe(key) => {
                    if let Some((name, inner)) = map.get_key_value(key) {
                        found.insert(name.clone(), pick_below(name, rest, inner, place)?);
                    }
                }
                Step::Set(members) => {
                    for Member { key, maybe } in members {
                        match map.get_key_value(key) {
                            Some((name, inner)) => {
                                let picked = pick_below(name, rest, inner, place)?;
                                insert(&mut found, name, inner, picked);
                            }
                            None if *maybe => {}
                            None => return Err(format!("there is no \"{}\"", Printable(key))),
                        }
                    }
                }
            }
            Ok(found.into())
        }
        Value::Array(list) => {
            let at = |key: &String| {
                let index: usize =
                    key.parse().map_err(|_| format!("\"{}\" is no index", Printable(key)))?;
                Ok::<_, String>((index, list.get(index)))
            };
            let mut found = Vec::new();
            match step {
                Step::All => {
                    for inner in list {
                        found.push(pick(rest, inner, place)?);
                    }
                }
                Step::Key(key) => {
                    let (index, inner) = at(key)?;
                    let inner = inner.ok_or_else(|| format!("the list has no index {index}"))?;
                    return pick(rest, inner, place);
                }
                Step::Maybe(key) => {
                    if let (_, Some(inner)) = at(key)? {
                        found.push(pick(rest, inner, place)?);
                    }
                }
                Step::Set(members) => {
                    for Member { key, maybe } in members {
                        let (index, inner) = at(key)?;
                        match inner {
                            Some(inner) => found.push(pick(rest, inner, place)?),
                            None if *maybe => {}
                            None => return Err(format!("the list has no index {index}")),
                        }
                    }
                }
            }
            Ok(found.into())
        }
        // What it was in nix, which shows a set with an outPath as that path alone.
        Value::String(path) if is_store_path(path) && rest.is_empty() && step.is(OUT_PATH) => {
            Ok(match step {
                Step::Maybe(_) => Map::from_iter([(OUT_PATH.to_owned(), value.clone())]).into(),
                _ => value.clone(),
            })
        }
        // `null ? name` is false in the nix language, as for any value that is no set.
        _ if step.is_optional() => Ok(Map::new().into()),
        _ => Err("there is a single value, and nothing below it".into()),
    }
}

/// The same for a member of a set; `place` stays where it failed.
fn pick_below<'a>(
    name: &'a str,
    steps: &[Step],
    member: &'a Value,
    place: &mut Vec<&'a str>,
) -> Result<Value, String> {
    place.push(name);
    let picked = pick(steps, member, place)?;
    place.pop();
    Ok(picked)
}

/// Adds what was picked out of `value`. Nothing out of null is left out, as by Clan once it
/// knows the whole (`clan_lib/flake/flake_test.py`, `test_select`).
fn insert(found: &mut Map<String, Value>, name: &str, value: &Value, picked: Value) {
    let is_nothing = value.is_null() && picked.as_object().is_some_and(Map::is_empty);
    if !is_nothing {
        found.insert(name.to_owned(), picked);
    }
}

/// Whether this is a path of the store, and no file below one.
fn is_store_path(text: &str) -> bool {
    let Some((hash, name)) = text.strip_prefix(STORE).and_then(|name| name.split_once('-')) else {
        return false;
    };
    let is_hash = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
    !hash.is_empty() && hash.chars().all(is_hash) && name.chars().all(is_name)
}

/// A whole value as nix shows it: what has an `outPath` is that path.
fn finished(value: &Value) -> Value {
    match value {
        Value::Object(map) => match map.get(OUT_PATH) {
            Some(path) => finished(path),
            None => {
                let pairs = map.iter().map(|(name, inner)| (name.clone(), finished(inner)));
                Value::Object(pairs.collect())
            }
        },
        Value::Array(list) => list.iter().map(finished).collect(),
        other => other.clone(),
    }
}

fn arrange(steps: &[Step], value: Value) -> Value {
    let Some((step, rest)) = steps.split_first() else { return value };
    match (step, value) {
        (Step::Key(_), value) => arrange(rest, value),
        (Step::Set(members), Value::Object(mut map)) => {
            let mut found = Map::new();
            for member in members {
                if let Some(inner) = map.remove(&member.key) {
                    found.insert(member.key.clone(), arrange(rest, inner));
                }
            }
            found.into()
        }
        (_, Value::Object(map)) => {
            map.into_iter().map(|(name, inner)| (name, arrange(rest, inner))).collect()
        }
        (_, Value::Array(list)) => list.into_iter().map(|inner| arrange(rest, inner)).collect(),
        (_, value) => value,
    }
}

/// The grammar, a character at a time.
struct Parser<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Parser<'_> {
    fn steps(mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        while let Some(&first) = self.rest.peek() {
            let step = match first {
                '*' => {
                    self.rest.next();
                    self.end()?;
                    Step::All
                }
                '{' => {
                    self.rest.next();
                    let members = self.members()?;
                    self.end()?;
                    Step::Set(members)
                }
                '?' => {
                    self.rest.next();
                    Step::Maybe(self.word(false)?)
                }
                _ => Step::Key(self.word(true)?),
            };
            steps.push(step);
        }
        Ok(steps)
    }

    /// After `*` and `}` only the next level may follow.
    fn end(&mut self) -> Result<(), String> {
        match self.rest.next() {
            None | Some('.') => Ok(()),
            Some(other) => Err(format!("expected \".\", found {other:?}")),
        }
    }

    /// Up to the next `.`, which is taken. Quotes mean something at the start only.
    fn word(&mut self, quoted: bool) -> Result<String, String> {
        let mut word = String::new();
        if quoted && self.rest.next_if_eq(&'"').is_some() {
            self.quoted(&mut word)?;
        }
        loop {
            match self.rest.next() {
                None | Some('.') => return Ok(word),
                Some('\\') => word.push(self.escaped()?),
                Some(other) => word.push(other),
            }
        }
    }

    fn members(&mut self) -> Result<Vec<Member>, String> {
        let mut members = Vec::new();
        let mut member = Member::default();
        // Whether anything was said of this member, be it an empty name.
        let mut begun = false;
        loop {
            let next = self.rest.next().ok_or("the brace is not closed")?;
            match next {
                '}' | ',' => {
                    if next == ',' || begun {
                        members.push(std::mem::take(&mut member));
                    }
                    if next == '}' {
                        break;
                    }
                    begun = false;
                    continue;
                }
                '?' if !begun => member.maybe = true,
                '"' => self.quoted(&mut member.key)?,
                '\\' => member.key.push(self.escaped()?),
                other => member.key.push(other),
            }
            begun = true;
        }
        match members.iter().any(|member| member.key == OUT_PATH) {
            // Nix shows a set with an outPath as that path alone.
            true => Err("outPath cannot be in braces, select it by itself".into()),
            false => Ok(members),
        }
    }

    fn quoted(&mut self, word: &mut String) -> Result<(), String> {
        loop {
            match self.rest.next().ok_or("the quote is not closed")? {
                '"' => return Ok(()),
                '\\' => word.push(self.escaped()?),
                other => word.push(other),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        self.rest.next().ok_or_else(|| "nothing follows the last backslash".into())
    }
}

/// A value as Clan prints it (`json.dumps(…, indent=4)` of Python): ASCII alone,
/// which also keeps control characters from a terminal.
pub fn to_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    // Writing into memory cannot fail, and keys are text.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    let mut text = String::with_capacity(bytes.len() + 1);
    let mut units = [0; 2];
    // Only strings hold other characters than these.
    for char in String::from_utf8_lossy(&bytes).chars() {
        match char {
            '\n' | ' '..='~' => text.push(char),
            _ => {
                for unit in char.encode_utf16(&mut units) {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
