//! Numbers that look random and are the same each time, for tests and fuzzers. Owns that
//! each thread has its own.

use std::cell::Cell;

/// The golden ratio, as splitmix64 has it.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// From here on they are those that follow `seed`.
pub(in crate::dial) fn restart(seed: u64) {
    STATE.set(seed);
}

/// The next one.
pub(in crate::dial) fn number() -> u64 {
    STATE.set(STATE.get().wrapping_add(STEP));
    let mixed = STATE.get();
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// In the place of the system's.
pub(in crate::dial) fn random(bytes: &mut [u8]) -> bool {
    for part in bytes.chunks_mut(8) {
        part.iter_mut().zip(number().to_be_bytes()).for_each(|(to, from)| *to = from);
    }
    true
}
