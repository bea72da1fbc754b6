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

/// A size in bytes: a number, perhaps with a unit or a fraction of one (RekeyLimit,
/// scan_scaled(3)).
pub fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (at, last) = lower.char_indices().next_back()?;
    let power = "bkmgtpe".find(last);
    let number = if power.is_some() { lower.get(..at)? } else { lower.as_str() };
    let unit = 1_u128 << (10 * power.unwrap_or(0));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 18;
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let sum = whole.parse::<u128>().ok()?.checked_mul(unit)? + part * unit / scale;
    u64::try_from(sum).ok().filter(|sum| i64::try_from(*sum).is_ok())
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
            ("1T", Some(1 << 40)),
            ("1.5G", Some(3 << 29)),
            ("8E", None),
            ("1x", None),
            ("+1", None),
            ("1.x", None),
            ("99999999999999999999g", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
