//! The table of `network overview`, which fills up on the terminal while the
//! peers answer. Owns its layout and the cursor; where the table does not fit,
//! there is only the line of progress.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Ui, columns};
use crate::{printable, term};

/// One peer of one network; all of it printable.
pub(super) struct Row {
    pub(super) machine: String,
    pub(super) network: String,
    /// What became of it; empty as long as nobody knows.
    pub(super) state: String,
}

pub(super) struct Board {
    state: Mutex<State>,
    /// The terminal's columns, if the table fits.
    columns: Option<usize>,
}

struct State {
    rows: Vec<Row>,
    is_drawn: bool,
}

impl Board {
    /// The rows of a network follow each other.
    pub(super) fn new(rows: Vec<Row>, ui: &Ui) -> Self {
        let lines = layout(&rows).lines().count();
        let columns = term::size()
            .filter(|_| ui.progress.is_wanted())
            .filter(|size| usize::try_from(size.rows).is_ok_and(|rows| lines < rows))
            .and_then(|size| usize::try_from(size.columns).ok());
        let board = Self { state: Mutex::new(State { rows, is_drawn: false }), columns };
        board.draw(&mut board.lock());
        board
    }

    /// Whether it is on the terminal.
    pub(super) fn is_shown(&self) -> bool {
        self.columns.is_some()
    }

    pub(super) fn set(&self, place: usize, text: String) {
        let mut state = self.lock();
        if let Some(row) = state.rows.get_mut(place) {
            row.state = text;
        }
        self.draw(&mut state);
    }

    /// The table as it is now.
    pub(super) fn text(&self) -> String {
        layout(&self.lock().rows)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws it over what was drawn before; the cursor stays below.
    fn draw(&self, state: &mut State) {
        let Some(room) = self.columns.map(|columns| columns.saturating_sub(1)) else { return };
        let table = layout(&state.rows);
        let mut text = back(state.is_drawn, &table);
        for line in printable::shown(&table).lines() {
            let line = columns::cut(line, room);
            text.push_str(&format!("{line}\x1b[K\n"));
        }
        state.is_drawn = true;
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// What is on standard output then takes its place.
impl Drop for Board {
    fn drop(&mut self) {
        let state = self.lock();
        let text = back(state.is_drawn, &layout(&state.rows));
        if !text.is_empty() {
            let _ = std::io::stderr().lock().write_all(format!("{text}\x1b[J").as_bytes());
        }
    }
}

/// To the first line of what was drawn.
fn back(is_drawn: bool, table: &str) -> String {
    if is_drawn { format!("\r\x1b[{}A", table.lines().count()) } else { String::new() }
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
