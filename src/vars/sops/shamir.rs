//! Shamir's secret sharing as sops uses it for several key groups: Vault's
//! format, a share being the values in GF(2^8) followed by one byte, the
//! place at which they were taken. Owns the arithmetic; free of branches and
//! tables that depend on secrets.

use crate::secret::Secret;

/// The secret behind `shares`, of which there must be enough: too few, or a
/// wrong one, give a wrong secret without notice.
///
/// # Errors
/// When the shares cannot belong together.
pub(super) fn combine(shares: &[&[u8]]) -> Result<Secret<Vec<u8>>, &'static str> {
    let mut points = Vec::with_capacity(shares.len());
    for share in shares {
        let (place, values) = share.split_last().ok_or("a share of its data key is empty")?;
        points.push((*place, values));
    }
    let len = points.first().map_or(0, |(_, values)| values.len());
    if points.len() < 2 || len == 0 {
        return Err("it has too few shares of its data key");
    }
    if points.iter().any(|(_, values)| values.len() != len) {
        return Err("the shares of its data key differ in length");
    }
    let mut secret = vec![0_u8; len];
    for (at, (place, values)) in points.iter().enumerate() {
        // Lagrange's basis polynomial of this share, at 0.
        let mut basis = 1;
        for (_, (other, _)) in points.iter().enumerate().filter(|(other, _)| *other != at) {
            if other == place || *other == 0 {
                return Err("two shares of its data key are the same");
            }
            basis = multiply(basis, multiply(*other, inverse(place ^ other)));
        }
        for (byte, value) in secret.iter_mut().zip(*values) {
            *byte ^= multiply(*value, basis);
        }
    }
    Ok(Secret::new(secret))
}

/// In GF(2^8) modulo x^8 + x^4 + x^3 + x + 1, the field of AES (FIPS 197, 4.2).
fn multiply(a: u8, b: u8) -> u8 {
    (0..8).rev().fold(0_u8, |product, bit| {
        let reduced = (product << 1) ^ (0x1b & (product >> 7).wrapping_neg());
        reduced ^ (a & ((b >> bit) & 1).wrapping_neg())
    })
}

/// `a` to the power of 254, as the group has 255 elements: the product of its
/// squares from the 2nd power to the 128th.
fn inverse(a: u8) -> u8 {
    let (mut power, mut result) = (a, 1);
    for _ in 0..7 {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares of `secret`, for a polynomial with the given coefficients.
    fn split(secret: &[u8], coefficients: &[u8], places: &[u8]) -> Vec<Vec<u8>> {
        let share = |place: &u8| {
            let value = |byte: &u8| {
                let higher = coefficients.iter().rev().fold(0, |sum, c| multiply(sum, *place) ^ c);
                multiply(higher, *place) ^ byte
            };
            secret.iter().map(value).chain([*place]).collect()
        };
        places.iter().map(share).collect()
    }

    #[test]
    fn multiplication_is_that_of_the_aes_field() {
        // FIPS 197, 4.2: {57} * {83} = {c1}; {57} * {13} = {fe}.
        assert_eq!((multiply(0x57, 0x83), multiply(0x57, 0x13)), (0xc1, 0xfe));
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1, "{a}");
        }
    }

    #[test]
    fn any_enough_shares_give_the_secret() {
        let secret: Vec<u8> = (0..32).collect();
        let shares = split(&secret, &[7, 200], &[1, 2, 3, 4, 255]);
        for chosen in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            let chosen = chosen.map(|at: usize| shares[at].as_slice());
            assert_eq!(combine(&chosen).unwrap().expose(), &secret);
        }
        let all: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
        assert_eq!(combine(&all).unwrap().expose(), &secret);
        assert_ne!(combine(&all[..2]).unwrap().expose(), &secret);
    }

    #[test]
    fn shares_that_cannot_belong_together_are_refused() {
        for shares in [
            &[][..],
            &[&[1, 1][..]],
            &[&[], &[]],
            &[&[1], &[2]],
            &[&[1, 1], &[1, 1]],
            &[&[1, 0], &[1, 1]],
            &[&[1, 1, 1], &[1, 2]],
        ] {
            assert!(combine(shares).is_err(), "{shares:?}");
        }
    }
}
