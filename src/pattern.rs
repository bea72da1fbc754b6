//! OpenSSH's patterns (ssh_config(5), PATTERNS): `*` and `?` over bytes. Owns
//! matching one of them; lists, negation and what they are for are the caller's.

/// Whether a pattern is for a name, byte for byte.
pub(crate) fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    matches_by(pattern, name, u8::eq)
}

/// Whether a pattern is for a host's name, in which case does not matter.
pub(crate) fn matches_host(pattern: &[u8], name: &[u8]) -> bool {
    matches_by(pattern, name, u8::eq_ignore_ascii_case)
}

/// `*` is any run of bytes, `?` one byte. Only the last star is retried, so
/// the time is at most the product of both lengths.
fn matches_by(pattern: &[u8], name: &[u8], same: impl Fn(&u8, &u8) -> bool) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(n) {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                star = Some((p, n));
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(own) if same(own, byte) => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition of the wildcards, slow and obviously right.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=name.len()).any(|skip| naive(rest, &name[skip..])),
            (Some((b'?', rest)), Some((_, tail))) => naive(rest, tail),
            (Some((a, rest)), Some((b, tail))) => a == b && naive(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn wildcards_agree_with_their_definition(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            prop_assert_eq!(
                matches_pattern(pattern.as_bytes(), name.as_bytes()),
                naive(pattern.as_bytes(), name.as_bytes())
            );
            prop_assert!(!matches_pattern(b"A", name.as_bytes()));
        }
    }
}
