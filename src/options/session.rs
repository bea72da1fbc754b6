//! The options about agents, the environment and the terminal of a session.

use super::slot::{Arity, Slot, Value, first};
use super::units::seconds;
use super::value::{EMPTY, NONE_ALONE, Template};
use crate::pattern::matches_pattern;
use crate::ssh::auth::AddToAgent;
use crate::ssh::escape::DEFAULT;

/// `IdentityAgent`: whom to ask for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// Nobody.
    None,
    /// Whom `$SSH_AUTH_SOCK` names.
    Environment,
    /// Whom this variable names, the older way to say `${NAME}`.
    Variable(String),
    /// Who listens at this socket.
    Socket(Template),
}

/// `ForwardAgent`: which agent the other side may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardAgent {
    /// None.
    No,
    /// Our own.
    Yes,
    /// Another one.
    Other(Agent),
}

/// `EscapeChar`: what begins an escape sequence, if anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EscapeChar(pub Option<u8>);

/// `SetEnv`: variables and their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetEnv(pub Vec<(String, String)>);

/// `SendEnv`: patterns of variables of our own. A line may take back what was said
/// before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendEnv(Vec<String>);

impl Agent {
    fn of(text: &str) -> Self {
        match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::Socket(Template::new(text)),
        }
    }

    fn written(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Environment => "SSH_AUTH_SOCK".to_owned(),
            Self::Variable(name) => format!("${name}"),
            Self::Socket(path) => path.written().to_owned(),
        }
    }
}

impl Value for Agent {
    fn parse(words: &[String]) -> Result<Self, String> {
        Ok(match first(words) {
            "none" => Self::None,
            "SSH_AUTH_SOCK" => Self::Environment,
            text => Self::of(text),
        })
    }

    fn words(&self) -> Vec<String> {
        vec![self.written()]
    }
}

impl Value for ForwardAgent {
    fn parse(words: &[String]) -> Result<Self, String> {
        Ok(match bool::parse(words) {
            Ok(false) => Self::No,
            Ok(true) => Self::Yes,
            Err(_) => Self::Other(Agent::of(first(words))),
        })
    }

    fn words(&self) -> Vec<String> {
        vec![match self {
            Self::No => "no".to_owned(),
            Self::Yes => "yes".to_owned(),
            Self::Other(agent) => agent.written(),
        }]
    }
}

/// `yes`, `no`, `ask`, `confirm` with or without a time, or a time alone.
impl Value for AddToAgent {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        let bad = || "unsupported option".to_owned();
        let time = |text: &str| {
            let seconds = seconds(text).and_then(|seconds| u32::try_from(seconds).ok());
            seconds.filter(|seconds| i32::try_from(*seconds).is_ok()).ok_or_else(bad)
        };
        let word = first(words).to_ascii_lowercase();
        Ok(match (word.as_str(), words.get(1..).unwrap_or_default()) {
            ("no" | "false", []) => Self::No,
            ("yes" | "true", []) => Self::Yes { confirm: false, seconds: 0 },
            ("ask", []) => Self::Ask,
            ("confirm", []) => Self::Yes { confirm: true, seconds: 0 },
            ("confirm", [text]) => Self::Yes { confirm: true, seconds: time(text)? },
            (text, []) => Self::Yes { confirm: false, seconds: time(text)? },
            _ => return Err(bad()),
        })
    }

    fn words(&self) -> Vec<String> {
        match self {
            Self::No => vec!["false".to_owned()],
            Self::Ask => vec!["ask".to_owned()],
            Self::Yes { confirm: false, seconds: 0 } => vec!["true".to_owned()],
            Self::Yes { confirm: true, seconds: 0 } => vec!["confirm".to_owned()],
            Self::Yes { confirm: true, seconds } => vec!["confirm".to_owned(), seconds.to_string()],
            Self::Yes { confirm: false, seconds } => vec![seconds.to_string()],
        }
    }
}

impl Default for EscapeChar {
    fn default() -> Self {
        Self(Some(DEFAULT))
    }
}

impl Value for EscapeChar {
    fn parse(words: &[String]) -> Result<Self, String> {
        match first(words).as_bytes() {
            b"none" => Ok(Self(None)),
            [one] => Ok(Self(Some(*one))),
            [b'^', letter @ 64..128] => Ok(Self(Some(letter & 31))),
            _ => Err("Bad escape character.".to_owned()),
        }
    }

    /// As vis(3) writes it.
    fn words(&self) -> Vec<String> {
        vec![match self.0 {
            None => "none".to_owned(),
            Some(control @ ..32) => format!("\\^{}", char::from(control | 64)),
            Some(byte) => char::from(byte).to_string(),
        }]
    }

    fn said(&self) -> Vec<String> {
        vec![match self.0 {
            None => "none".to_owned(),
            Some(control @ ..32) => format!("^{}", char::from(control | 64)),
            Some(byte) => char::from(byte).to_string(),
        }]
    }
}

impl SetEnv {
    /// What a variable is set to, if that is more than nothing.
    pub fn of(&self, name: &str) -> Option<&str> {
        let set = self.0.iter().find(|(known, _)| known == name);
        set.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl Value for SetEnv {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        let mut all: Vec<(String, String)> = Vec::new();
        for word in words {
            let (name, value) = word.split_once('=').ok_or("Invalid SetEnv.")?;
            if !all.iter().any(|(known, _)| known == name) {
                all.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(Self(all))
    }

    fn words(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn lines(&self) -> Vec<Vec<String>> {
        self.words().into_iter().map(|word| vec![word]).collect()
    }
}

impl SendEnv {
    /// These patterns.
    pub fn of(patterns: &[&str]) -> Self {
        Self(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    }

    /// Adds what others say.
    pub fn extend(&mut self, more: Self) {
        for pattern in more.0 {
            if !self.0.contains(&pattern) {
                self.0.push(pattern);
            }
        }
    }

    /// Whether a variable of this name is sent.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, name))
    }
}

impl Value for SendEnv {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        let is_bad = |word: &String| word.is_empty() || word.contains('=');
        match words.iter().any(is_bad) {
            true => Err("Invalid environment name.".to_owned()),
            false => Ok(Self(words.to_vec())),
        }
    }

    fn words(&self) -> Vec<String> {
        self.0.clone()
    }

    fn lines(&self) -> Vec<Vec<String>> {
        self.0.iter().map(|word| vec![word.clone()]).collect()
    }
}

/// Every line counts.
impl Slot for SendEnv {
    type Value = Self;
    const EACH: bool = true;

    fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    fn take(&mut self, words: &[String]) -> Result<(), String> {
        for word in <Self as Value>::parse(words)?.0 {
            match word.strip_prefix('-') {
                // It takes back what was said before, word by word.
                Some(pattern) => self.0.retain(|known| !matches(pattern, known)),
                None if self.0.contains(&word) => {}
                None => self.0.push(word),
            }
        }
        Ok(())
    }

    fn lines(&self) -> Vec<Vec<String>> {
        Value::lines(self)
    }

    fn said(&self) -> Vec<Vec<String>> {
        vec![Value::said(self)]
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    matches_pattern(pattern.as_bytes(), text.as_bytes())
}

/// Whether a list is the word `none`, which must stand alone.
fn is_none(words: &[String]) -> Result<bool, String> {
    let count = words.iter().filter(|word| word.eq_ignore_ascii_case("none")).count();
    match (count, words.len()) {
        (0, _) => Ok(false),
        (_, 1) => Ok(true),
        _ => Err(NONE_ALONE.to_owned()),
    }
}

/// `CanonicalDomains`: where short names may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domains(pub Vec<String>);

impl Value for Domains {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        if is_none(words)? {
            return Ok(Self(Vec::new()));
        }
        if words.iter().any(String::is_empty) {
            return Err(EMPTY.to_owned());
        }
        words.iter().map(|word| domain(word)).collect::<Result<_, _>>().map(Self)
    }

    fn words(&self) -> Vec<String> {
        match self.0.is_empty() {
            true => vec!["none".to_owned()],
            false => self.0.clone(),
        }
    }
}

/// A domain in lower case, as `valid_domain` of OpenSSH's misc.c has it.
fn domain(word: &str) -> Result<String, String> {
    let name = word.to_ascii_lowercase();
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let why = match name.as_bytes() {
        [first, ..] if !first.is_ascii_alphanumeric() => "starts with invalid character",
        bytes if !bytes.iter().copied().all(is_fit) => "contains invalid characters",
        _ if name.contains("..") => "contains consecutive separators",
        _ => return Ok(name.strip_suffix('.').unwrap_or(&name).to_owned()),
    };
    Err(format!("domain name \"{}\" {why}", crate::printable::Printable(word)))
}

/// `CanonicalizePermittedCNAMEs`: which names may be aliases of which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aliases(pub Vec<(Vec<String>, Vec<String>)>);

impl Value for Aliases {
    const ARITY: Arity = Arity::Some;

    fn parse(words: &[String]) -> Result<Self, String> {
        if is_none(words)? {
            return Ok(Self(Vec::new()));
        }
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        let rule = |word: &String| {
            let bad = || {
                let word = crate::printable::Printable(word);
                format!("Invalid permitted CNAME \"{word}\"")
            };
            word.split_once(':').map(|(from, to)| (list(from), list(to))).ok_or_else(bad)
        };
        words.iter().map(rule).collect::<Result<_, _>>().map(Self)
    }

    fn words(&self) -> Vec<String> {
        match self.0.is_empty() {
            true => vec!["none".to_owned()],
            false => {
                let rule = |(from, to): &(Vec<String>, Vec<String>)| {
                    format!("{}:{}", from.join(","), to.join(","))
                };
                self.0.iter().map(rule).collect()
            }
        }
    }
}
