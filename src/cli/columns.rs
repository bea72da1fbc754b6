//! How much room text takes on a terminal, where a character may take two columns
//! or none (UAX #11). Owns padding and cutting; what stands in a table is others'.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The columns that `text` takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// `text` with spaces after it, up to that many columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{:missing$}", "")
}

/// The beginning of `text` that takes no more than that many columns.
pub(super) fn cut(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let too_far = text.char_indices().find(|(_, char)| {
        taken += char.width().unwrap_or(0);
        taken > columns
    });
    let end = too_far.map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns_and_accents_none() {
        assert_eq!((width("web"), width("日本"), width("e\u{301}")), (3, 4, 1));
        assert_eq!(padded("日本", 6), "日本  ");
        assert_eq!(padded("too long", 3), "too long");
    }

    #[test]
    fn what_is_cut_never_takes_more() {
        assert_eq!(cut("connecting", 4), "conn");
        assert_eq!(cut("日本語", 5), "日本");
        assert_eq!(cut("日本語", 1), "");
        assert_eq!(cut("e\u{301}e\u{301}", 1), "e\u{301}");
        assert_eq!(cut("ab", 9), "ab");
    }
}
