//! The known name that a mistyped one probably means. Owns which is near enough; says
//! nothing rather than something far-fetched.

/// Names longer than this are no typing mistakes worth the time, in characters.
const MAX_CHARS: usize = 64;

/// Most names that are compared.
const MAX_NAMES: usize = 20_000;

/// The nearest of `known` within one mistake in three characters, ignoring
/// case; the first of several.
pub(crate) fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let typed = letters(typed)?;
    let count = typed.chars().count();
    let allowed = count.div_ceil(3).min(4);
    let distances = known.iter().take(MAX_NAMES).filter_map(|&name| {
        let letters = letters(name)?;
        let close = letters.chars().count().abs_diff(count) <= allowed;
        // Insertions, deletions, substitutions and swaps of neighbours, each counting one.
        close.then(|| (strsim::osa_distance(&typed, &letters), name))
    });
    let (best, name) = distances.min_by_key(|&(distance, _)| distance)?;
    (best <= allowed && best < count).then_some(name)
}

fn letters(name: &str) -> Option<String> {
    let letters: String = name.chars().take(MAX_CHARS + 1).flat_map(char::to_lowercase).collect();
    (!letters.is_empty() && letters.chars().count() <= MAX_CHARS).then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_mistake_counts_once() {
        for typed in ["peer", "peerx1", "pear1", "pere1", "PEER1"] {
            assert_eq!(nearest(typed, &["peer1"]), Some("peer1"), "{typed}");
        }
        // Four mistakes at most, in as many letters as that takes.
        assert_eq!(nearest("abcdefghijklmnop", &["abcdefghijklXXXX"]), Some("abcdefghijklXXXX"));
        assert_eq!(nearest("abcdefghijklmnop", &["abcdefghijkXXXXX"]), None);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["peer1", "peer2", "outsider", "jon"];
        for (typed, expected) in [
            ("peer", Some("peer1")),
            ("per2", Some("peer2")),
            ("Peer1", Some("peer1")),
            ("otusider", Some("outsider")),
            ("jno", Some("jon")),
            ("x", None),
            ("", None),
            ("database", None),
        ] {
            assert_eq!(nearest(typed, &known), expected, "{typed}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), &known), None);
        assert_eq!(nearest("peer1", &[]), None);
    }
}
