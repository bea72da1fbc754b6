//! The values that many options have: yes and no, numbers, words, text with
//! tokens. Owns how they are written; each says what is wrong with it in the words
//! of OpenSSH's `readconf.c`.

use std::num::{IntErrorKind, NonZeroU16, NonZeroU32};

use super::slot::{Arity, Value, first};
use crate::printable::Printable;
use crate::services;

/// Text in which tokens, and in names of files `~` and `${VARIABLE}`, are replaced
/// when it is used. It cannot be read without doing that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// A command, with its tokens: all that follows the keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command(pub Template);

/// A value, or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maybe<V>(pub Option<V>);

/// Names of files; `none` alone is no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files(pub Vec<Template>);

/// Words that mean nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

/// Names between commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// What stands for the option in a complaint.
pub(super) const KEYWORD: &str = "{keyword}";
/// `none` beside others.
pub(super) const NONE_ALONE: &str = "keyword {keyword} \"none\" argument must appear alone.";
/// A word that is empty.
pub(super) const EMPTY: &str = "keyword {keyword} empty argument";

impl Template {
    /// Text that was written by somebody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Text that is not to be changed.
    pub fn literal(text: &str) -> Self {
        Self(text.replace('%', "%%"))
    }

    /// As it was written, for those who replace what has to be.
    pub fn written(&self) -> &str {
        &self.0
    }
}

impl<V> Maybe<V> {
    /// What is said, if it is more than `none`.
    pub fn of(said: &Option<Self>) -> Option<&V> {
        said.as_ref().and_then(|maybe| maybe.0.as_ref())
    }
}

impl Value for Template {
    fn parse(words: &[String]) -> Result<Self, String> {
        Ok(Self::new(first(words)))
    }

    fn words(&self) -> Vec<String> {
        vec![self.0.clone()]
    }
}

impl Value for Command {
    const ARITY: Arity = Arity::Rest;

    fn parse(words: &[String]) -> Result<Self, String> {
        Template::parse(words).map(Self)
    }

    fn words(&self) -> Vec<String> {
        self.0.words()
    }
}

/// OpenSSH clears what is `none` before it prints it.
impl<V: Value> Value for Maybe<V> {
    const ARITY: Arity = V::ARITY;

    fn parse(words: &[String]) -> Result<Self, String> {
        match words {
            [word] if word.eq_ignore_ascii_case("none") => Ok(Self(None)),
            words => V::parse(words).map(|value| Self(Some(value))),
        }
    }

    fn words(&self) -> Vec<String> {
        self.0.as_ref().map(Value::words).unwrap_or_default()
    }

    fn lines(&self) -> Vec<Vec<String>> {
        self.0.as_ref().map(Value::lines).unwrap_or_default()
    }

    fn said(&self) -> Vec<String> {
        self.0.as_ref().map_or_else(|| vec!["none".to_owned()], Value::said)
    }
}

impl Value for Files {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        let is_none = |word: &String| word.eq_ignore_ascii_case("none");
        match words {
            [word] if is_none(word) => Ok(Self(Vec::new())),
            words if words.iter().any(is_none) => Err(NONE_ALONE.to_owned()),
            words if words.iter().any(String::is_empty) => Err(EMPTY.to_owned()),
            words => Ok(Self(words.iter().map(Template::new).collect())),
        }
    }

    fn words(&self) -> Vec<String> {
        match self.0.as_slice() {
            [] => vec!["none".to_owned()],
            files => files.iter().map(|file| file.0.clone()).collect(),
        }
    }
}

impl Value for Words {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        match words.iter().any(String::is_empty) {
            true => Err(EMPTY.to_owned()),
            false => Ok(Self(words.to_vec())),
        }
    }

    fn words(&self) -> Vec<String> {
        self.0.clone()
    }
}

impl Value for Names {
    fn parse(words: &[String]) -> Result<Self, String> {
        Ok(Self(first(words).split(',').map(str::to_owned).collect()))
    }

    fn words(&self) -> Vec<String> {
        vec![self.0.join(",")]
    }
}

impl Value for String {
    fn parse(words: &[String]) -> Result<Self, String> {
        Ok(first(words).to_owned())
    }

    fn words(&self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl Value for bool {
    const CHOICES: &'static [&'static str] = &["yes", "no"];

    fn parse(words: &[String]) -> Result<Self, String> {
        choose(words, &[("yes", true), ("true", true), ("no", false), ("false", false)])
    }

    fn words(&self) -> Vec<String> {
        vec![if *self { "yes" } else { "no" }.to_owned()]
    }
}

impl Value for u32 {
    fn parse(words: &[String]) -> Result<Self, String> {
        let parsed = first(words).parse::<i64>();
        let why = match parsed.as_ref().map_err(|error| error.kind()) {
            Ok(0..=0x7fff_ffff) => "invalid",
            Ok(..0) | Err(IntErrorKind::NegOverflow) => "too small",
            Ok(_) | Err(IntErrorKind::PosOverflow) => "too large",
            Err(_) => "invalid",
        };
        let number = parsed.ok().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| i32::try_from(*number).is_ok());
        number.ok_or_else(|| format!("integer value {why}."))
    }

    fn words(&self) -> Vec<String> {
        vec![self.to_string()]
    }
}

impl Value for NonZeroU32 {
    fn parse(words: &[String]) -> Result<Self, String> {
        Self::new(u32::parse(words)?).ok_or_else(|| "integer value too small.".to_owned())
    }

    fn words(&self) -> Vec<String> {
        vec![self.to_string()]
    }
}

/// A port.
impl Value for NonZeroU16 {
    fn parse(words: &[String]) -> Result<Self, String> {
        let text = first(words);
        let port = services::port(text).and_then(Self::new);
        port.ok_or_else(|| format!("Bad port '{}'.", Printable(text)))
    }

    fn words(&self) -> Vec<String> {
        vec![self.to_string()]
    }
}

/// The value that stands beside a word, in whatever case.
pub(super) fn choose<T: Clone>(words: &[String], known: &[(&str, T)]) -> Result<T, String> {
    let word = first(words);
    let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    let found = found.map(|(_, value)| value.clone());
    found.ok_or_else(|| format!("unsupported option \"{}\".", Printable(word)))
}

/// The first word that a value stands beside.
pub(super) fn chosen<T: PartialEq>(value: &T, known: &[(&str, T)]) -> Vec<String> {
    let found = known.iter().find(|(_, other)| other == value);
    found.map(|(name, _)| (*name).to_owned()).into_iter().collect()
}
