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
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            other => match other.and_then(token) {
                Some(value) => out.push_str(&value),
                None => {
                    let token = other.map_or_else(String::new, String::from);
                    return Err(Error::Usage(format!(
                        "{:?} has the unknown token %{token}",
                        Printable(text).to_string()
                    )));
                }
            },
        }
    }
    Ok(out)
}

/// `text` with every `${NAME}` replaced by that variable of the environment.
///
/// # Errors
/// [`Error::Usage`] naming a variable that is not set, or text that never ends.
pub fn expand_variables(text: &str) -> Result<String> {
    let bad = |why: &str| Error::Usage(format!("{:?}: {why}", Printable(text).to_string()));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or_else(|| bad("a brace is not closed"))?;
        let value = std::env::var(name).map_err(|_| bad(&format!("${name} is not set")))?;
        out.push_str(before);
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
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
            assert_eq!(expand_variables("a${HOME}/b").unwrap(), format!("a{home}/b"));
        }
        assert_eq!(expand_variables("$HOME {}").unwrap(), "$HOME {}");
        for bad in ["${", "${SURELY_NOT_SET_HERE}"] {
            assert!(expand_variables(bad).is_err(), "{bad}");
        }
    }
}
