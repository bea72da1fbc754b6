//! The `%` tokens and `${VARIABLES}` of ssh_config(5). Owns finding them; what
//! they stand for is said by whoever uses them.

use crate::error::{Error, Result};
use crate::printable::Printable;

/// `text` with every `%x` replaced by what `token` has for it, `%%` by a percent
/// sign.
///
/// # Errors
/// [`Error::Usage`] naming a token that stands for nothing here.
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

/// The same for a file's name, where `${NAME}` is that variable of the environment.
///
/// # Errors
/// [`Error::Usage`], also naming a variable that is not set, or a brace that is not
/// closed.
pub fn expand_file(text: &str, token: &dyn Fn(char) -> Option<String>) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) =
            after.split_once('}').ok_or_else(|| bad(text, "a brace is not closed"))?;
        let value = std::env::var(name).map_err(|_| bad(text, &format!("${name} is not set")))?;
        out.push_str(&expand(before, token)?);
        out.push_str(&value);
        rest = after;
    }
    out.push_str(&expand(rest, token)?);
    Ok(out)
}

fn bad(text: &str, why: &str) -> Error {
    Error::Usage(format!("{:?}: {}", Printable(text).to_string(), Printable(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_variables_are_replaced_once() {
        let token = |token| (token == 'h').then(|| "%n${HOME}".to_owned());
        assert_eq!(expand("a%h%%b", &token).unwrap(), "a%n${HOME}%b");
        for bad in ["%", "%x", "%h%"] {
            assert!(expand(bad, &token).is_err(), "{bad}");
        }
        let home = std::env::var("HOME").unwrap_or_default();
        if !home.is_empty() {
            let expected = format!("%n${{HOME}}{home}%b");
            assert_eq!(expand_file("%h${HOME}%%b", &token).unwrap(), expected);
        }
        assert_eq!(expand_file("$HOME {}", &token).unwrap(), "$HOME {}");
        for bad in ["${", "${SURELY_NOT_SET_HERE}", "%x"] {
            assert!(expand_file(bad, &token).is_err(), "{bad}");
        }
    }
}
