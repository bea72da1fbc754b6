//! Reads a frame from its beginning. Owns that nothing is read past the end.

/// What is left of a frame.
#[derive(Debug, Clone, Copy)]
pub(in crate::dial) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::dial) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// All that is left.
    pub(in crate::dial) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(in crate::dial) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::dial) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(in crate::dial) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(in crate::dial) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(in crate::dial) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(in crate::dial) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(in crate::dial) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// An unsigned number of 7 bits a byte, the lowest first (as `encoding/binary` of Go has
    /// it).
    pub(in crate::dial) fn uvarint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // What does not fit into 64 bits is no number.
            if (bits << shift) >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

/// The other way round.
pub(in crate::dial) fn put_uvarint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (300, &[0xac, 2]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put_uvarint(number, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(Reader::new(bytes).uvarint(), Some(number));
        }
        assert_eq!(Reader::new(&[0x80]).uvarint(), None);
        assert_eq!(Reader::new(&[0xff; 10]).uvarint(), None);
        assert_eq!(Reader::new(&[0x80; 11]).uvarint(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64) {
            let mut out = Vec::new();
            put_uvarint(number, &mut out);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.uvarint(), Some(number));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn nothing_is_read_past_the_end(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.uvarint().is_some() {}
            prop_assert!(reader.rest().len() <= bytes.len());
        }
    }
}
