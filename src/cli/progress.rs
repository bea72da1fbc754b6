//! One line on the terminal that says what takes so long. It appears after a
//! second and disappears without a trace. indicatif draws it; owns when and what.

mod screen;

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::columns;
use crate::printable;

pub(super) use screen::Screen;

/// What is done in less needs no explanation.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the line is renewed.
const TICK: Duration = Duration::from_millis(250);

/// The line. Cheap when it is not wanted.
pub(super) struct Progress {
    line: Option<Line>,
}

struct Line {
    bar: ProgressBar,
    wait: Arc<Mutex<Wait>>,
}

#[derive(Default)]
struct Wait {
    /// What is being done; `None` between two waits.
    what: Option<String>,
    is_paused: bool,
    /// Whether indicatif's thread renews the line.
    is_ticking: bool,
}

impl Progress {
    /// `wanted` only on a terminal that can erase a line.
    pub(super) fn new(wanted: bool) -> Self {
        Self { line: wanted.then(Line::new) }
    }

    /// Whether the terminal is one for moving text.
    pub(super) fn is_wanted(&self) -> bool {
        self.line.is_some()
    }

    /// Begins or changes what is being done.
    pub(super) fn doing(&self, what: String) {
        if let Some(line) = &self.line {
            line.wait().what = Some(what);
            line.go_on();
        }
    }

    /// All is done; the line goes.
    pub(super) fn done(&self) {
        if let Some(line) = &self.line {
            line.wait().what = None;
            line.stop();
        }
    }

    /// Keeps the terminal free while `dialogue` uses it.
    pub(super) fn pause<T>(&self, dialogue: impl FnOnce() -> T) -> T {
        let Some(line) = &self.line else { return dialogue() };
        line.wait().is_paused = true;
        line.stop();
        let result = dialogue();
        line.wait().is_paused = false;
        line.go_on();
        result
    }

    /// Writes other text, below which the line goes on.
    pub(super) fn aside(&self, write: impl FnOnce()) {
        match &self.line {
            Some(line) => line.bar.suspend(write),
            None => write(),
        }
    }
}

impl Line {
    fn new() -> Self {
        let wait = Arc::<Mutex<Wait>>::default();
        let shown = wait.clone();
        let line = move |state: &ProgressState, out: &mut dyn Write| {
            let (elapsed, room) = (state.elapsed(), usize::from(screen::columns()));
            if let Some(what) = &lock(&shown).what
                && elapsed >= PATIENCE
            {
                let _ = out.write_str(&one_line(&printable::shown(what), elapsed.as_secs(), room));
            }
        };
        let style = ProgressStyle::with_template("{line}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .with_key("line", line);
        let bar = ProgressBar::with_draw_target(None, Screen::line()).with_style(style);
        bar.finish_and_clear();
        Self { bar, wait }
    }

    /// Counts the time from now, if it has been at rest.
    fn go_on(&self) {
        let mut wait = self.wait();
        let begins = wait.what.is_some() && !wait.is_paused && !wait.is_ticking;
        wait.is_ticking |= begins;
        // Whoever draws asks for it.
        drop(wait);
        if begins {
            self.bar.reset();
            self.bar.enable_steady_tick(TICK);
        }
    }

    fn stop(&self) {
        self.wait().is_ticking = false;
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }

    fn wait(&self) -> MutexGuard<'_, Wait> {
        lock(&self.wait)
    }
}

/// What fits into a line of the terminal: of a longer one, only the last piece
/// would go away again.
fn one_line(what: &str, seconds: u64, all: usize) -> String {
    let end = format!(" … {seconds} s");
    let room = all.saturating_sub(1).saturating_sub(columns::width(&end));
    format!("{}{end}", columns::cut(what, room))
}

fn lock(wait: &Mutex<Wait>) -> MutexGuard<'_, Wait> {
    wait.lock().unwrap_or_else(PoisonError::into_inner)
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
