//! When the keystrokes of a terminal leave (`ObscureKeystrokeTiming`): on a grid, and
//! with messages of the same size among and after them, so that nobody on the path sees
//! the rhythm in which a password is typed. Owns that time; sends nothing itself. The
//! figures are those of OpenSSH's clientloop.c.

use std::time::Duration;

use tokio::time::Instant;

/// What is due when nothing was typed (`send_chaff`): with its length as long as the
/// data of one keystroke.
pub(super) const CHAFF: &[u8] = b"PING!";

/// After the last keystroke the rest goes on for so long, and up to so much longer.
const CHAFF_LEAST: Duration = Duration::from_millis(1024);
const CHAFF_MORE: Duration = Duration::from_millis(2048);
/// The grid is wider or narrower by up to a twentieth, another one each time.
const FUZZ: u32 = 20;
/// More than this at once is nobody's typing (`ssh_packet_interactive_data_to_write`).
const TYPING: usize = 256;

/// What was typed and has not left yet.
#[derive(Debug)]
pub(super) struct Keystrokes {
    interval: Duration,
    held: Vec<u8>,
    grid: Option<Grid>,
}

/// The times at which something leaves.
#[derive(Debug, Clone, Copy)]
struct Grid {
    step: Duration,
    next: Instant,
    /// When nothing more is sent that was not typed.
    until: Instant,
}

/// What leaves at one of these times.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// What was typed.
    Data(Vec<u8>),
    /// [`CHAFF`].
    Chaff,
    /// Nothing: nobody has typed for long.
    Nothing,
}

impl Keystrokes {
    /// Nothing is typed yet.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, held: Vec::new(), grid: None }
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.grid.map(|grid| grid.next)
    }

    /// Takes what was typed, and returns what leaves now: the first of it, and what is
    /// too much to be typed. `chance` is any number below one.
    pub(super) fn typed(&mut self, bytes: Vec<u8>, now: Instant, chance: f64) -> Vec<u8> {
        self.held.extend(bytes);
        if self.held.len() > TYPING {
            return self.all();
        }
        let until = now + CHAFF_LEAST + CHAFF_MORE.mul_f64(chance);
        match &mut self.grid {
            Some(grid) => {
                grid.until = until;
                Vec::new()
            }
            None => {
                let fuzz = self.interval.mul_f64(chance * 2.0) / FUZZ;
                let step = self.interval - self.interval / FUZZ + fuzz;
                self.grid = Some(Grid { step, next: now + step, until });
                std::mem::take(&mut self.held)
            }
        }
    }

    /// What leaves at [`Keystrokes::next`], which is over.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let Some(grid) = &mut self.grid else { return Due::Nothing };
        // Times that were missed are not made up for.
        while grid.next <= now {
            grid.next += grid.step;
        }
        if !self.held.is_empty() {
            return Due::Data(std::mem::take(&mut self.held));
        }
        if now < grid.until {
            return Due::Chaff;
        }
        self.grid = None;
        Due::Nothing
    }

    /// All that has not left yet: something else than typing goes on.
    pub(super) fn all(&mut self) -> Vec<u8> {
        self.grid = None;
        std::mem::take(&mut self.held)
    }
}

/// Any number below one.
pub(super) fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without it the grid is as wide as it is called, and no other.
    let is_random = getrandom::fill(&mut bytes).is_ok();
    let number = f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0);
    if is_random { number } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    #[test]
    fn what_is_typed_leaves_on_the_grid_and_chaff_follows() {
        let (mut keys, start) = (Keystrokes::new(STEP), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(keys.next(), None);
        // In the middle of what is possible, the grid is as wide as it is called.
        assert_eq!(keys.typed(b"a".to_vec(), start, 0.5), b"a");
        assert_eq!(keys.next(), Some(at(20)));
        assert_eq!(keys.typed(b"b".to_vec(), at(3), 0.5), b"");
        assert_eq!(keys.typed(b"c".to_vec(), at(19), 0.5), b"");
        assert_eq!(keys.due(at(20)), Due::Data(b"bc".to_vec()));
        assert_eq!(keys.due(at(40)), Due::Chaff);
        // What comes late keeps to the grid.
        assert_eq!(keys.due(at(75)), Due::Chaff);
        assert_eq!(keys.next(), Some(at(80)));
        assert_eq!(keys.typed(b"d".to_vec(), at(81), 0.0), b"");
        assert_eq!(keys.due(at(100)), Due::Data(b"d".to_vec()));
        assert_eq!(keys.due(at(81 + 1000)), Due::Chaff);
        assert_eq!(keys.due(at(81 + 1024)), Due::Nothing);
        assert_eq!(keys.next(), None);
    }

    #[test]
    fn what_nobody_types_is_not_held() {
        let (mut keys, now) = (Keystrokes::new(STEP), Instant::now());
        keys.typed(b"a".to_vec(), now, 0.0);
        keys.typed(b"b".to_vec(), now, 0.0);
        let pasted = vec![b'x'; 1000];
        let sent = keys.typed(pasted, now, 0.0);
        assert_eq!((sent.first(), sent.len()), (Some(&b'b'), 1001));
        assert_eq!(keys.next(), None);
        keys.typed(b"c".to_vec(), now, 0.0);
        keys.typed(b"d".to_vec(), now, 0.0);
        assert_eq!(keys.all(), b"d");
    }

    #[test]
    fn grids_differ_by_a_twentieth() {
        for (chance, step) in [(0.0, 19_000), (0.5, 20_000), (0.999_999, 20_999)] {
            let (mut keys, now) = (Keystrokes::new(STEP), Instant::now());
            keys.typed(b"a".to_vec(), now, chance);
            let next = keys.next().unwrap() - now;
            assert!(next.as_micros().abs_diff(step) <= 1, "{next:?}");
        }
        for _ in 0..100 {
            assert!((0.0..1.0).contains(&chance()));
        }
    }
}
