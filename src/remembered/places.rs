//! Where machines of an overlay and peers in it were met last, so that they are reached
//! before the overlay has been asked. Names are under hashes, and places under what only
//! who has the name can compute: the file tells nobody who was reached.

use crate::dial::yggdrasil::Memory;
use crate::env::Env;
use crate::parts::Parts;

use super::kept::{self, Kept};

/// Bound on the places.
const MAX_PLACES: usize = 1000;
/// No longer place is kept.
const MAX_PLACE: usize = 512;

/// What is remembered of places.
#[derive(Debug)]
pub struct Places(Kept);

impl Places {
    /// The memory of this user; `None` without a home, and where others could write it.
    pub fn of_user(env: &Env) -> Option<Self> {
        Kept::of_user(env, "places.json", MAX_PLACES).map(Self)
    }
}

impl Memory for Places {
    fn recall(&self, name: &[u8]) -> Option<Vec<u8>> {
        let kept = self.0.get(&kept::key(&[name]))?;
        let mut place = data_encoding::HEXLOWER.decode(kept.as_bytes()).ok()?;
        (place.len() <= MAX_PLACE).then_some(())?;
        mask(name, &mut place);
        Some(place)
    }

    fn keep(&self, name: &[u8], mut place: Vec<u8>) {
        if place.len() <= MAX_PLACE {
            mask(name, &mut place);
            self.0.note(kept::key(&[name]), &data_encoding::HEXLOWER.encode(&place));
        }
    }
}

/// Hides a place, and shows one that is hidden.
fn mask(name: &[u8], place: &mut [u8]) {
    for (number, part) in (0_u64..).zip(place.chunks_mut(32)) {
        let mut hash = Parts::default();
        hash.put(b"place");
        hash.put(&number.to_le_bytes());
        hash.put(name);
        part.iter_mut().zip(hash.digest()).for_each(|(byte, with)| *byte ^= with);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_again_and_the_file_does_not_tell_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("places.json");
        let places = Places(Kept { file: file.clone(), most: 2 });
        let place = [7; 100].to_vec();
        places.keep(b"name", place.clone());
        assert_eq!(places.recall(b"name"), Some(place));
        assert_eq!(places.recall(b"other"), None);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("name") && !text.contains("0707"), "{text}");
        places.keep(b"long", vec![0; MAX_PLACE + 1]);
        assert_eq!(places.recall(b"long"), None);
        std::fs::write(&file, text.replace('"', "")).unwrap();
        assert_eq!(places.recall(b"name"), None);
    }
}
