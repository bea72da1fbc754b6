//! Times and sizes as ssh_config(5) has them.

/// A time of sshd_config(5), "TIME FORMATS", in seconds: `90`, `10m`, `1h30m`.
pub fn seconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut number = None;
    for char in text.chars() {
        if let Some(digit) = char.to_digit(10) {
            let before = number.unwrap_or(0_u64);
            number = Some(before.checked_mul(10)?.checked_add(digit.into())?);
            continue;
        }
        let unit = match char.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let is_there = !text.is_empty();
    is_there.then(|| total.checked_add(number.unwrap_or(0))).flatten()
}

/// A size in bytes: a number, perhaps with `K`, `M` or `G` (RekeyLimit).
pub fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = match lower.char_indices().next_back()? {
        (at, 'k') => (lower.get(..at)?, 1 << 10),
        (at, 'm') => (lower.get(..at)?, 1 << 20),
        (at, 'g') => (lower.get(..at)?, 1 << 30),
        _ => (lower.as_str(), 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_openssh() {
        for (text, expected) in [
            ("60", Some(60)),
            ("60s", Some(60)),
            ("10m", Some(600)),
            ("1h30m", Some(5400)),
            ("1w2d", Some(777_600)),
            ("1m30", Some(90)),
            ("", None),
            ("m", None),
            ("5x", None),
            ("99999999999999999999w", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_those_of_openssh() {
        for (text, expected) in [
            ("16", Some(16)),
            ("16K", Some(16 << 10)),
            ("1m", Some(1 << 20)),
            ("4G", Some(4 << 30)),
            ("", None),
            ("k", None),
            ("1t", None),
            ("99999999999999999999g", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
