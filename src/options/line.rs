//! One line of ssh_config(5): the keyword, and the words after it. Owns quotes,
//! backslashes and comments, as OpenSSH's argv_split has them.

/// The keyword and the rest of the line; `None` for blank lines and comments.
pub(crate) fn split(line: &str) -> Result<Option<(String, &str)>, String> {
    let line = line.trim_matches([' ', '\t', '\r', '\n', '\x0c']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("invalid quotes")?,
        None => line.split_at(line.find([' ', '\t', '=']).unwrap_or(line.len())),
    };
    let rest = rest.trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Ok(Some((name.to_owned(), rest.trim_start_matches([' ', '\t']))))
}

/// The words of a line; a `#` that begins one ends the line.
pub(crate) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '"' | '\'') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (Some(open), char) if open == char => quote = None,
            (_, '\\') => {
                let is_escape = |next: &char| {
                    matches!(next, '"' | '\'' | '\\') || (quote.is_none() && *next == ' ')
                };
                let escaped = chars.next_if(is_escape);
                word.get_or_insert_default().push(escaped.unwrap_or('\\'));
            }
            (_, char) => word.get_or_insert_default().push(char),
        }
    }
    if quote.is_some() {
        return Err("invalid quotes".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_end_at_blanks_and_one_equals_sign() {
        for (line, expected) in [
            ("Port 22", Some(("Port", "22"))),
            ("  Port=22 \r", Some(("Port", "22"))),
            ("Port = 22", Some(("Port", "22"))),
            ("Port\t==22", Some(("Port", "=22"))),
            ("\"Port\" 22", Some(("Port", "22"))),
            ("Port", Some(("Port", ""))),
            ("# Port 22", None),
            ("   ", None),
        ] {
            let split = split(line).unwrap();
            assert_eq!(
                split.as_ref().map(|(name, rest)| (name.as_str(), *rest)),
                expected,
                "{line:?}"
            );
        }
        assert!(split("\"Port 22").is_err());
    }

    #[test]
    fn words_have_quotes_escapes_and_an_end() {
        for (text, expected) in [
            ("a b\tc", &["a", "b", "c"][..]),
            ("\"a b\" 'c \"d'", &["a b", "c \"d"]),
            (r#"a\ b c\"d e\f"#, &["a b", "c\"d", "e\\f"]),
            ("a # b", &["a"]),
            ("a#b \"\"", &["a#b", ""]),
            ("", &[]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text:?}");
        }
        assert!(words("\"a").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in r#"[a-z"'\\ =#\t]{0,40}|\PC*"#) {
            if let Ok(Some((_, rest))) = split(&line) {
                let _ = words(rest);
            }
        }
    }
}
