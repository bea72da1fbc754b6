//! The table of `network overview`, which fills up on the terminal while the
//! peers answer. indicatif draws it; owns its layout. Where the table does not fit,
//! there is only the line of progress.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::progress::Screen;
use super::{Ui, columns};
use crate::{printable, term};

/// One peer of one network; all of it printable.
pub(super) struct Row {
    pub(super) machine: String,
    pub(super) network: String,
    /// What became of it; empty as long as nobody knows.
    pub(super) state: String,
}

pub(super) struct LiveTable {
    rows: Mutex<Vec<Row>>,
    /// What is on the terminal, if the table fits.
    drawn: Option<Drawn>,
}

struct Drawn {
    lines: MultiProgress,
    bars: Vec<ProgressBar>,
    /// The columns of a line.
    room: usize,
}

impl LiveTable {
    /// The rows of a network follow each other.
    pub(super) fn new(rows: Vec<Row>, ui: &Ui) -> Self {
        let text = layout(&rows);
        let drawn = term::size()
            .filter(|_| ui.progress.is_wanted())
            .filter(|size| usize::try_from(size.rows).is_ok_and(|rows| text.lines().count() < rows))
            .and_then(|size| usize::try_from(size.columns).ok())
            .map(|columns| Drawn::new(&text, columns.saturating_sub(1)));
        Self { rows: Mutex::new(rows), drawn }
    }

    /// Whether it is on the terminal.
    pub(super) fn is_shown(&self) -> bool {
        self.drawn.is_some()
    }

    /// Says what became of the peer of a row.
    pub(super) fn set(&self, row: usize, state: String) {
        let mut rows = self.rows();
        if let Some(row) = rows.get_mut(row) {
            row.state = state;
        }
        if let Some(drawn) = &self.drawn {
            drawn.show(&layout(&rows));
        }
    }

    /// The table as it is now.
    pub(super) fn text(&self) -> String {
        layout(&self.rows())
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drawn {
    fn new(text: &str, room: usize) -> Self {
        let lines = MultiProgress::with_draw_target(Screen::table());
        let style = ProgressStyle::with_template("{msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        // The last one stays empty: there the cursor is, whatever ends this process.
        let bars = (0..=text.lines().count())
            .map(|_| lines.add(ProgressBar::no_length().with_style(style.clone())))
            .collect();
        let drawn = Self { lines, bars, room };
        drawn.show(text);
        if let Some(last) = drawn.bars.last() {
            last.tick();
        }
        drawn
    }

    /// Draws the lines that have changed.
    fn show(&self, text: &str) {
        let lines = text.lines().chain([""]);
        for (bar, line) in self.bars.iter().zip(lines) {
            let line = printable::shown(line);
            let line = columns::cut(&line, self.room);
            if bar.message() != line {
                bar.set_message(line.to_owned());
            }
        }
    }
}

/// What is on standard output then takes its place.
impl Drop for Drawn {
    fn drop(&mut self) {
        // Nobody is left to see it when standard error is closed.
        let _ = self.lines.clear();
        // Each bar would draw the others again when it is dropped.
        self.lines.set_draw_target(ProgressDrawTarget::hidden());
    }
}

fn layout(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| columns::width(&row.machine)).max().unwrap_or(0);
    let (mut text, mut last) = (String::new(), None);
    for Row { machine, network, state } in rows {
        if last != Some(network) {
            text.push_str(&format!("{network}\n"));
            last = Some(network);
        }
        let state = if state.is_empty() { "…" } else { state };
        text.push_str(&format!("  {}  {state}\n", columns::padded(machine, width)));
    }
    if text.is_empty() { "No networks found\n".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_is_not_known_yet() {
        let row = |machine: &str, network: &str, state: &str| Row {
            machine: machine.to_owned(),
            network: network.to_owned(),
            state: state.to_owned(),
        };
        let rows = [row("a", "net", "ok"), row("longer", "net", ""), row("a", "tor", "failed")];
        assert_eq!(layout(&rows), "net\n  a       ok\n  longer  …\ntor\n  a       failed\n");
        assert_eq!(layout(&[]), "No networks found\n");
        let wide = [row("機械", "net", "ok"), row("longer", "net", "ok")];
        assert_eq!(layout(&wide), "net\n  機械    ok\n  longer  ok\n");
    }
}
