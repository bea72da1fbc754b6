//! A hash over several parts. Owns that no two lists of parts come to the same: each is
//! put with its length, lest `a` and `bc` say what `ab` and `c` say together.

use sha2::{Digest, Sha256};

/// What the parts come to by now (SHA-256).
#[derive(Default)]
pub(crate) struct Parts(Sha256);

impl Parts {
    pub(crate) fn put(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// All of it: 32 bytes.
    pub(crate) fn digest(self) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_matters_where_a_part_ends() {
        let of = |parts: &[&[u8]]| {
            let mut all = Parts::default();
            parts.iter().for_each(|part| all.put(part));
            all.digest()
        };
        assert_eq!(of(&[b"a", b"bc"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a", b"bc"]), of(&[b"ab", b"c"]));
        assert_ne!(of(&[b"a"]), of(&[b"a", b""]));
    }
}
