//! One line on the terminal that says what takes so long. Appears after a
//! second, disappears without a trace.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::columns;
use crate::{printable, term};

/// What is done in less needs no explanation.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of a terminal that does not tell.
const COLUMNS: u32 = 80;
/// How often the line is renewed.
const TICK: Duration = Duration::from_millis(250);

/// The line. Cheap when it is not wanted.
pub(super) struct Progress {
    line: Option<Arc<Mutex<Line>>>,
}

#[derive(Default)]
struct Line {
    /// What is being done and since when; `None` between two waits.
    doing: Option<(String, Instant)>,
    since: Option<Instant>,
    shown: bool,
    paused: bool,
    /// Whether a thread renews the line.
    ticking: bool,
}

impl Progress {
    /// `wanted` only on a terminal that can erase a line.
    pub(super) fn new(wanted: bool) -> Self {
        Self { line: wanted.then(Arc::default) }
    }

    /// Whether the terminal is one for moving text.
    pub(super) fn is_wanted(&self) -> bool {
        self.line.is_some()
    }

    /// Begins or changes what is being done.
    pub(super) fn doing(&self, what: String) {
        let Some(line) = &self.line else { return };
        let mut state = lock(line);
        let now = Instant::now();
        state.since.get_or_insert(now);
        state.doing = Some((what, now));
        if !state.ticking {
            state.ticking = true;
            let line = line.clone();
            // A thread, because the runtime's may all be busy or not yet there.
            std::thread::spawn(move || tick(&line));
        }
    }

    /// All is done; the line goes.
    pub(super) fn done(&self) {
        if let Some(line) = &self.line {
            let mut state = lock(line);
            state.doing = None;
            state.since = None;
            erase(&mut state);
        }
    }

    /// Makes way for other text.
    pub(super) fn clear(&self) {
        if let Some(line) = &self.line {
            erase(&mut lock(line));
        }
    }

    /// Keeps the terminal free while `dialogue` uses it.
    pub(super) fn pause<T>(&self, dialogue: impl FnOnce() -> T) -> T {
        if let Some(line) = &self.line {
            let mut state = lock(line);
            erase(&mut state);
            state.paused = true;
        }
        let result = dialogue();
        if let Some(line) = &self.line {
            let mut state = lock(line);
            state.paused = false;
            state.since = state.since.map(|_| Instant::now());
        }
        result
    }
}

fn tick(line: &Mutex<Line>) {
    loop {
        std::thread::sleep(TICK);
        let mut state = lock(line);
        let (Some((what, _)), Some(since)) = (state.doing.clone(), state.since) else {
            state.ticking = false;
            return;
        };
        if since.elapsed() >= PATIENCE && !state.paused {
            let all = term::size().map_or(COLUMNS, |size| size.columns);
            let what = printable::shown(&what);
            let text = one_line(&what, since.elapsed().as_secs(), all);
            let text = format!("\r\x1b[K{text}");
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
            state.shown = true;
            term::note_line(true);
        }
    }
}

/// What fits into a line of the terminal: of a longer one, only the last piece
/// would go away again.
fn one_line(what: &str, seconds: u64, all: u32) -> String {
    let end = format!(" … {seconds} s");
    let room = usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(1);
    let room = room.saturating_sub(columns::width(&end));
    format!("{}{end}", columns::cut(what, room))
}

fn erase(state: &mut Line) {
    if std::mem::take(&mut state.shown) {
        let _ = std::io::stderr().lock().write_all(term::ERASE);
        term::note_line(false);
    }
}

fn lock(line: &Mutex<Line>) -> std::sync::MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_never_wraps_and_keeps_its_end() {
        assert_eq!(one_line("connecting to web", 3, 80), "connecting to web … 3 s");
        let long = one_line(&"x".repeat(200), 12, 40);
        assert_eq!(long.chars().count(), 39);
        assert!(long.ends_with("x … 12 s"), "{long}");
        assert_eq!(one_line("abc", 1, 0), " … 1 s");
        let wide = one_line(&"線".repeat(200), 12, 40);
        assert!((38..=39).contains(&columns::width(&wide)), "{wide}");
    }
}
