//! What targets of fuzzers have in common. Owns how bytes become a script, and what is told
//! of what it has led to.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use super::reader::Reader;
use crate::error::LeafFault;

/// What has happened, for a fuzzer that does not see which code runs: what came after what.
#[derive(Default)]
pub(in crate::dial) struct Trace {
    last: u64,
    pub seen: Vec<u64>,
}

impl Trace {
    pub(in crate::dial) fn note(&mut self, what: impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.last, &what).hash(&mut hasher);
        self.seen.push(hasher.finish());
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        self.last = hasher.finish();
    }
}

/// Takes one frame after the other. Each is whole and no shorter; `check` says what else has
/// to hold of it and its length. What is waited for is bounded.
pub(in crate::dial) fn frames<'a, F: PartialEq + Debug>(
    mut bytes: &'a [u8],
    longest: usize,
    trace: &mut Trace,
    decode: impl Fn(&'a [u8]) -> Result<Option<(F, usize)>, LeafFault>,
    check: impl Fn(&F, usize),
) {
    loop {
        match decode(bytes) {
            Ok(Some((frame, length))) => {
                trace.note(std::mem::discriminant(&frame));
                assert!(length > 0 && length <= longest);
                let (whole, rest) = bytes.split_at(length);
                let cut = whole.split_last().map(|(_, cut)| decode(cut));
                assert_eq!(cut, Some(Ok(None)));
                check(&frame, length);
                bytes = rest;
            }
            Ok(None) => return assert!(bytes.len() < longest),
            Err(_) => return trace.note("no frame"),
        }
    }
}

/// Bytes as a script: each says what is done next. It ends with them.
pub(in crate::dial) struct Script<'a>(Reader<'a>);

impl<'a> Script<'a> {
    pub(in crate::dial) fn new(data: &'a [u8]) -> Self {
        Self(Reader::new(data))
    }

    pub(in crate::dial) fn next(&mut self) -> Option<u8> {
        self.0.u8()
    }

    /// Zero behind the end.
    pub(in crate::dial) fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    /// A small number, one of those at an edge, or any.
    pub(in crate::dial) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=0xef => small.into(),
            bits @ 0xf0..=0xf7 => 1 << (8 * (bits & 7)),
            0xf8 => u64::MAX,
            0xf9 => u64::MAX - 1,
            0xfa => u64::MAX >> 1,
            _ => self.0.u64().unwrap_or_default(),
        }
    }

    /// Up to 255 bytes.
    pub(in crate::dial) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.0.take(length).unwrap_or_else(|| self.rest())
    }

    /// All that are left.
    pub(in crate::dial) fn rest(&mut self) -> &'a [u8] {
        let rest = self.0.rest();
        self.0 = Reader::new(&[]);
        rest
    }
}
