//! The stanzas that age and its plugins exchange (C2SP age, "Recipient stanza"; C2SP
//! age-plugin). Owns their form on a pipe, where each is read to its own end.

use std::io::{self, BufRead, ErrorKind};

use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

/// Bytes of base64 on one line; a shorter line is the last.
const COLUMNS: usize = 64;
const BEGINNING: &str = "-> ";

/// The words and the body of the next one.
///
/// # Errors
/// [`ErrorKind::UnexpectedEof`], or [`ErrorKind::InvalidData`] for anything else.
pub(super) fn read(from: &mut impl BufRead) -> io::Result<(Vec<String>, Zeroizing<Vec<u8>>)> {
    let line = line(from)?;
    let words = line.strip_prefix(BEGINNING).ok_or_else(invalid)?;
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let mut text = Zeroizing::new(String::new());
    loop {
        let part = self::line(from)?;
        text.push_str(&part);
        match part.len() {
            COLUMNS => {}
            ..COLUMNS => break,
            _ => return Err(invalid()),
        }
    }
    let body = BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| invalid())?;
    Ok((words, Zeroizing::new(body)))
}

/// One with these words and this body.
pub(super) fn written(words: &[&str], body: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = Zeroizing::new(BASE64_NOPAD.encode(body));
    // With room for all, no copy of a secret is left behind.
    let length: usize = words.iter().map(|word| word.len() + 1).sum();
    let length = length + text.len() + text.len() / COLUMNS + BEGINNING.len() + 2;
    let mut stanza = Zeroizing::new(Vec::with_capacity(length));
    stanza.extend_from_slice(BEGINNING.as_bytes());
    for (at, word) in words.iter().enumerate() {
        stanza.extend((at > 0).then_some(b' '));
        stanza.extend_from_slice(word.as_bytes());
    }
    stanza.push(b'\n');
    let lines = text.as_bytes().chunks_exact(COLUMNS);
    let last = lines.remainder();
    for line in lines.chain([last]) {
        stanza.extend_from_slice(line);
        stanza.push(b'\n');
    }
    stanza
}

fn line(from: &mut impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(COLUMNS + 1));
    from.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        let why = "it ended, or said too much, in the middle of what it had to say";
        return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
    }
    let text = std::str::from_utf8(&line).map_err(|_| invalid())?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn invalid() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "what it said is not of the age-plugin protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 47, 48, 49, 96, 1000] {
            let body = vec![7; length];
            let text = written(&["file-key", "0"], &body);
            assert!(text.len() <= text.capacity() && text.ends_with(b"\n"));
            let mut text = [&text[..], b"-> done\n\n"].concat();
            let mut from = io::Cursor::new(&mut text);
            let (words, read_body) = read(&mut from).unwrap();
            assert_eq!(
                (words, &read_body[..]),
                (vec!["file-key".to_owned(), "0".to_owned()], &body[..])
            );
            assert_eq!(read(&mut from).unwrap().0, ["done"]);
            assert_eq!(read(&mut from).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("-> a\n{}\n", "A".repeat(65));
        for text in ["a\n\n", "->\n\n", "-> a\n!\n", "-> a\nA\n", &long, "-> \u{e9}\nA=\n"] {
            let error = read(&mut text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{text:?}");
        }
        assert_eq!(read(&mut &b"-> \xff\n\n"[..]).unwrap_err().kind(), ErrorKind::InvalidData);
        for text in ["", "-> a", "-> a\n", "-> a\nAAAA"] {
            let error = read(&mut text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{text:?}");
        }
    }
}
