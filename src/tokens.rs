//! The `%` tokens and `${VARIABLES}` of ssh_config(5). Owns finding them, and which
//! names may stand for one; what they stand for is said by whoever uses them.

use std::fmt;

use crate::accounts::Accounts;
use crate::encoding;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::printable::Printable;

/// `text` with every `%x` replaced by what `token` has for it, `%%` by a percent
/// sign.
///
/// # Errors
/// [`Error::OptionValue`] naming a token that stands for nothing here.
pub fn expand(text: &str, token: &dyn Fn(char) -> Option<String>) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('%') => out.push('%'),
            other => {
                let value = other.and_then(token);
                out.push_str(&value.ok_or_else(|| {
                    let token = other.map_or_else(String::new, String::from);
                    bad(text, &format!("it has the unknown token %{token}"))
                })?);
            }
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    Ok(out)
}

/// The same for a file's name, where `${NAME}` is that variable of `env`.
///
/// # Errors
/// [`Error::OptionValue`], also naming a variable that is not set, or a brace that is not
/// closed.
pub fn expand_file(
    text: &str,
    env: &Env,
    token: &dyn Fn(char) -> Option<String>,
) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) =
            after.split_once('}').ok_or_else(|| bad(text, "a brace is not closed"))?;
        let value = env.set(name).ok_or_else(|| bad(text, &format!("${name} is not set")))?;
        out.push_str(&expand(before, token)?);
        out.push_str(&value);
        rest = after;
    }
    out.push_str(&expand(rest, token)?);
    Ok(out)
}

/// The name of a file with its `~` or `~USER` replaced, and what follows that.
///
/// # Errors
/// [`Error::OptionValue`] for a user who has no home.
pub fn split_home<'a>(text: &'a str, env: &Env) -> Result<(String, &'a str)> {
    let Some(rest) = text.strip_prefix('~') else { return Ok((String::new(), text)) };
    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let home = match name {
        "" => env.home().map(encoding::of_os),
        name => Accounts::users().home_of(name).map(str::to_owned),
    };
    let home =
        home.ok_or_else(|| Error::OptionValue(format!("No such user {}", Printable(name))))?;
    Ok((format!("{home}/"), rest))
}

/// Why a name may not stand for a token. It becomes part of a command line of the
/// user's shell, in ProxyCommand and others, without quotes (CVE-2023-51385).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It could be an option.
    Dash,
    /// It could be two words.
    Blank,
    /// It means something to a shell.
    Char(char),
    /// It would quote what follows.
    Backslash,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dash => f.write_str("starts with -"),
            Self::Blank => f.write_str("holds a space or a control character"),
            Self::Char(char) => write!(f, "holds {char:?}"),
            Self::Backslash => f.write_str("ends with a backslash"),
        }
    }
}

/// What OpenSSH refuses in the name of a host (`valid_hostname` of its ssh.c).
pub fn unfit_host(name: &str) -> Option<Unfit> {
    // A byte that is no text may be a control character to whoever is told the name.
    let is_byte = |char| encoding::byte(char).is_some();
    unfit(name, "'`\"$\\;&<>|(){},", |char, _| char.is_whitespace() || is_byte(char))
}

/// What OpenSSH refuses in the name of a user (`valid_ruser` of its ssh.c). A dollar
/// sign ends the names of computers' accounts, and a backslash follows a domain.
pub fn unfit_user(name: &str) -> Option<Unfit> {
    // A dash after a space would be an option, too.
    let unfit =
        unfit(name, "'`\";&<>|(){}", |char, next| char.is_whitespace() && next == Some('-'));
    unfit.or_else(|| name.ends_with('\\').then_some(Unfit::Backslash))
}

fn unfit(name: &str, foul: &str, splits: impl Fn(char, Option<char>) -> bool) -> Option<Unfit> {
    if name.starts_with('-') {
        return Some(Unfit::Dash);
    }
    let mut chars = name.chars().peekable();
    while let Some(char) = chars.next() {
        if char.is_control() || splits(char, chars.peek().copied()) {
            return Some(Unfit::Blank);
        }
        if foul.contains(char) {
            return Some(Unfit::Char(char));
        }
    }
    None
}

fn bad(text: &str, why: &str) -> Error {
    Error::OptionValue(format!("{:?}: {}", Printable(text).to_string(), Printable(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_in_no_name_of_a_host() {
        assert!(unfit_host(&encoding::text(b"h\x85")).is_some());
        assert!(unfit_host("\u{10ffc2}\u{10ff85}").is_some());
        assert!(unfit_user(&encoding::text(b"r\xe9mi")).is_none());
    }

    #[test]
    fn names_that_mean_something_to_a_shell_are_unfit() {
        for fit in ["m", "web01.example", "fe80::1%eth0", "größe", "a_b", "a!b", "a~b", "10.0.0.1"]
        {
            assert_eq!(unfit_host(fit), None, "{fit:?}");
        }
        for (foul, why) in [
            ("-oProxyCommand=x", Unfit::Dash),
            ("a b", Unfit::Blank),
            ("a\nb", Unfit::Blank),
            ("a\u{a0}b", Unfit::Blank),
            ("a\u{9b}b", Unfit::Blank),
            ("$HOME", Unfit::Char('$')),
        ] {
            assert_eq!(unfit_host(foul), Some(why), "{foul:?}");
        }
        for char in "'`\"$\\;&<>|(){},".chars() {
            assert_eq!(unfit_host(&format!("a{char}b")), Some(Unfit::Char(char)));
        }
        for fit in ["root", "DOMAIN\\me", "host$", "a b", "me@example", "a,b"] {
            assert_eq!(unfit_user(fit), None, "{fit:?}");
        }
        for (foul, why) in [
            ("-l", Unfit::Dash),
            ("a -x", Unfit::Blank),
            ("a\tb", Unfit::Blank),
            ("a\\", Unfit::Backslash),
            ("$(x)", Unfit::Char('(')),
        ] {
            assert_eq!(unfit_user(foul), Some(why), "{foul:?}");
        }
        for char in "'`\";&<>|(){}".chars() {
            assert_eq!(unfit_user(&format!("a{char}b")), Some(Unfit::Char(char)));
        }
    }

    #[test]
    fn tokens_and_variables_are_replaced_once() {
        let token = |token| (token == 'h').then(|| "%n${HOME}".to_owned());
        assert_eq!(expand("a%h%%b", &token).unwrap(), "a%n${HOME}%b");
        for bad in ["%", "%x", "%h%"] {
            assert!(expand(bad, &token).is_err(), "{bad}");
        }
        let env = Env::of([("HOME", "/home/%h")]);
        let expanded = expand_file("%h${HOME}%%b", &env, &token).unwrap();
        assert_eq!(expanded, "%n${HOME}/home/%h%b");
        assert_eq!(expand_file("$HOME {}", &env, &token).unwrap(), "$HOME {}");
        for bad in ["${", "${SURELY_NOT_SET_HERE}", "%x"] {
            assert!(expand_file(bad, &env, &token).is_err(), "{bad}");
        }
    }
}
