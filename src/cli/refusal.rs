//! What clap says of a command line that it refuses, with the words of that command line in
//! it. Owns that they are shown as all other text of strangers is, and secrets among them not
//! at all; clap has the colours.

use std::ffi::OsString;

use clap::Parser;

use crate::encoding;
use crate::printable;
use crate::secret::redacted;

/// The words of a command line as they can be shown, and what clap says of them: `error`,
/// which it has said of the words as they are.
pub(super) fn shown<P: Parser>(
    error: clap::Error,
    args: &[OsString],
) -> (clap::Error, Vec<OsString>) {
    let fit = |arg: &OsString| printable::line(&redacted(&encoding::of_os(arg))).into();
    let fit: Vec<OsString> = args.iter().map(fit).collect();
    if fit == args {
        return (error, fit);
    }
    let again = P::try_parse_from(&fit).map(drop);
    let error = match again {
        Err(again) if again.kind() == error.kind() => again,
        // As they can be shown, the words have another fault, or none.
        _ => clap::Error::raw(error.kind(), text(&error)),
    };
    (error, fit)
}

/// What clap says, printable and without its own `error: `, for those who say so themselves.
pub(super) fn text(error: &clap::Error) -> String {
    let text = redacted(&error.to_string());
    printable::shown(text.strip_prefix("error: ").unwrap_or(&text)).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Words {
        #[arg(long)]
        number: Option<u16>,
        #[arg(long, value_parser = short)]
        short: Option<String>,
        #[arg(long, value_parser = ["one", "two"])]
        choice: Option<String>,
        word: Option<String>,
    }

    fn short(text: &str) -> Result<String, String> {
        if text.chars().count() < 3 { Ok(text.to_owned()) } else { Err(format!("{text} is long")) }
    }

    /// What a terminal gets, without the colours.
    fn on_terminal(args: &[OsString]) -> String {
        let error = Words::try_parse_from(args).unwrap_err();
        let text = shown::<Words>(error, args).0.render().ansi().to_string();
        let mut parts = text.split("\u{1b}[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let (color, rest) = part.split_once('m').unwrap();
            assert!(color.chars().all(|c| c.is_ascii_digit() || c == ';'), "{part:?}");
            text + rest
        })
    }

    #[test]
    fn the_words_of_a_command_line_are_escaped_and_colours_stay() {
        let hostile = "a\u{1b}[2Jb\u{9b}c\u{202e}\u{200b}\r\nd";
        for args in [
            vec!["program".to_owned(), format!("--{hostile}")],
            vec!["program".to_owned(), format!("--number={hostile}")],
            vec!["program".to_owned(), format!("--short={hostile}")],
            vec!["program".to_owned(), format!("--choice={hostile}")],
            vec!["program".to_owned(), "x".to_owned(), hostile.to_owned()],
            vec![hostile.to_owned(), "--none".to_owned()],
            // As it can be shown it is longer.
            vec!["program".to_owned(), "--short=\u{1b}".to_owned(), format!("--{hostile}")],
        ] {
            let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
            let text = on_terminal(&args);
            assert_eq!(printable::shown(&text), text, "{text:?}");
            assert!(text.starts_with("error: ") && text.lines().count() > 2, "{text:?}");
            assert!(!text.contains("error: error"), "{text:?}");
        }
        let text = on_terminal(&["program".into(), format!("--{hostile}").into()]);
        assert!(text.contains("a\\u{1b}[2Jb\\u{9b}c\\u{202e}\\u{200b}\\r\\nd"), "{text}");
        let foul = OsString::from_vec(b"--\xff\x1b".to_vec());
        assert!(!on_terminal(&["program".into(), foul]).contains('\u{1b}'));
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_echoed() {
        let secret = "AGE-SECRET-KEY-1REFUSALREFUSALREFUSAL";
        crate::secret::conceal_typed([secret.as_ref()].into_iter());
        for words in [
            vec![format!("--{secret}")],
            vec![format!("--number={secret}")],
            vec!["--short".to_owned(), secret.to_owned()],
            vec!["--choice".to_owned(), secret.to_ascii_lowercase()],
            vec!["x".to_owned(), secret.to_owned()],
            vec![format!("--short={secret}"), "--none".to_owned()],
        ] {
            let args: Vec<OsString> =
                std::iter::once("program".to_owned()).chain(words).map(Into::into).collect();
            let error = Words::try_parse_from(&args).unwrap_err();
            let texts = [text(&error), on_terminal(&args)];
            assert!(
                texts.iter().all(|text| !text.to_uppercase().contains("REFUSALR")),
                "{texts:?}"
            );
        }
    }

    #[test]
    fn an_error_is_called_one_once() {
        let error = Words::try_parse_from(["program", "--number"]).unwrap_err();
        assert!(error.to_string().starts_with("error: "));
        let text = super::text(&error);
        assert!(text.starts_with("a value is required for '--number"), "{text}");
    }

    #[test]
    fn what_is_fit_already_is_as_clap_has_it() {
        let args: Vec<OsString> = vec!["program".into(), "--größe".into()];
        let error = Words::try_parse_from(&args).unwrap_err();
        let as_it_is = error.render().ansi().to_string();
        assert!(as_it_is.contains('\u{1b}'), "no colours: {as_it_is:?}");
        assert_eq!(shown::<Words>(error, &args).0.render().ansi().to_string(), as_it_is);
    }
}
