//! The known name that a mistyped one probably means. Owns the measure; says
//! nothing rather than something far-fetched.

/// Names longer than this are no typing mistakes worth the time, in characters.
const MAX_CHARS: usize = 64;

/// Most names that are compared.
const MAX_NAMES: usize = 20_000;

/// The nearest of `known` within one mistake in three characters, ignoring
/// case; the first of several.
pub(crate) fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let typed = letters(typed)?;
    let allowed = typed.len().div_ceil(3).min(4);
    let distances = known.iter().take(MAX_NAMES).filter_map(|&name| {
        let letters = letters(name)?;
        let close = letters.len().abs_diff(typed.len()) <= allowed;
        close.then(|| (distance(&typed, &letters), name))
    });
    let (best, name) = distances.min_by_key(|&(distance, _)| distance)?;
    (best <= allowed && best < typed.len()).then_some(name)
}

fn letters(name: &str) -> Option<Vec<char>> {
    let letters: Vec<char> =
        name.chars().take(MAX_CHARS + 1).flat_map(char::to_lowercase).collect();
    (!letters.is_empty() && letters.len() <= MAX_CHARS).then_some(letters)
}

/// Insertions, deletions, substitutions and swaps of neighbours, each counting
/// one (optimal string alignment distance).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut left_a = None;
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut left_b = None;
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if left_a == Some(y) && left_b == Some(x) {
                best = best.min(at(&before, j.wrapping_sub(1)) + 1);
            }
            row.push(best);
            left_b = Some(y);
        }
        left_a = Some(x);
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_each_kind_of_mistake_once() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "abcd", 1),
            ("abc", "bc", 1),
            ("jon", "jno", 1),
            ("kitten", "sitting", 3),
        ] {
            let (x, y): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!(distance(&x, &y), expected, "{a} {b}");
            assert_eq!(distance(&y, &x), expected, "{b} {a}");
        }
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
