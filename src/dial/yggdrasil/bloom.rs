//! The filter by which others know that lookups for us have to come our way. Owns which of
//! its bits are ours (bits-and-blooms/bloom) and how it is sent (ironwood, `bloomfilter.go`).

use super::address::Key;

const WORDS: usize = 128;
const HASHES: u64 = 8;

/// Of 8192 bits.
pub(super) struct Filter([u64; WORDS]);

impl Filter {
    /// In which nobody is.
    pub(super) const EMPTY: Self = Self([0; WORDS]);

    /// In which one key is.
    pub(super) fn of(key: &Key) -> Self {
        let mut words = [0; WORDS];
        for bit in bits(key) {
            if let Some(word) = words.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        Self(words)
    }

    /// Which words are all zeros, which all ones, and then the others.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for uniform in [0, u64::MAX] {
            for eight in self.0.chunks(8) {
                let flag = |(at, &word)| if word == uniform { 0x80_u8 >> at } else { 0 };
                out.push(eight.iter().enumerate().map(flag).fold(0, |all, flag| all | flag));
            }
        }
        let others = self.0.iter().filter(|&&word| word != 0 && word != u64::MAX);
        out.extend(others.flat_map(|word| word.to_be_bytes()));
    }
}

/// The bits of a key.
fn bits(key: &Key) -> impl Iterator<Item = usize> {
    let mut longer = [0; 33];
    longer.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    if let Some(last) = longer.last_mut() {
        *last = 1;
    }
    let ([first, second], [third, fourth]) = (murmur3(key), murmur3(&longer));
    (0..HASHES).map(move |number| {
        let base = if number % 2 == 0 { first } else { second };
        let step = if (number + number % 2) % 4 / 2 == 0 { third } else { fourth };
        let hash = base.wrapping_add(number.wrapping_mul(step));
        usize::try_from(hash % (64 * WORDS as u64)).unwrap_or_default()
    })
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// MurmurHash3 for 64-bit computers, 128 bits, with seed 0.
fn murmur3(bytes: &[u8]) -> [u64; 2] {
    let (mut one, mut two) = (0_u64, 0_u64);
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
    let mix_one = |word: u64| word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix_two = |word: u64| word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let blocks = bytes.chunks_exact(16);
    let tail = blocks.remainder();
    for block in blocks {
        let (low, high) = block.split_at(8);
        one ^= mix_one(word(low));
        one = one.rotate_left(27).wrapping_add(two).wrapping_mul(5).wrapping_add(0x52dc_e729);
        two ^= mix_two(word(high));
        two = two.rotate_left(31).wrapping_add(one).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (low, high) = tail.split_at(tail.len().min(8));
    two ^= mix_two(word(high));
    one ^= mix_one(word(low));
    let length = bytes.len() as u64;
    one ^= length;
    two ^= length;
    one = one.wrapping_add(two);
    two = two.wrapping_add(one);
    one = finish(one);
    two = finish(two);
    one = one.wrapping_add(two);
    two = two.wrapping_add(one);
    [one, two]
}

fn finish(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::yggdrasil::vectors;

    #[test]
    fn the_vectors_are_filters_of_their_keys() {
        for number in 0..3 {
            let bytes = |name: &str| vectors::bytes(&format!("keys/{number}/{name}"));
            let key: Key = bytes("bloom_key").try_into().unwrap();
            let expected: Vec<usize> = vectors::numbers(&format!("keys/{number}/bloom_bits"));
            assert_eq!(bits(&key).collect::<Vec<_>>(), expected);
            let mut out = Vec::new();
            Filter::of(&key).encode(&mut out);
            assert_eq!(out, bytes("bloom_frame_payload"));
        }
        let mut empty = Vec::new();
        Filter::EMPTY.encode(&mut empty);
        assert_eq!(empty, [[0xff; 16], [0; 16]].concat());
    }
}
