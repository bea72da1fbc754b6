//! `--events`: what happens on the way to a machine, as one JSON object a line, for the
//! logs of jobs and for programs. Owns their names and fields, which others build on, and
//! that no reader can hold a session up.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::advice::{self, Caller};
use crate::descriptors;
use crate::error::{Error, Result};
use crate::printable;
use crate::race::RaceEvent;
use crate::secret::redacted;

/// A pipe takes lines of this length whole or not at all (PIPE_BUF, pipe(7)).
const LONGEST: usize = 4096;
/// To how many bytes the texts of a longer line are cut.
const SHORT: usize = 160;

static SINK: OnceLock<Sink> = OnceLock::new();

struct Sink {
    file: File,
    began: Instant,
}

/// From now on events go to `path`, such as `/dev/fd/3`. A reader that does not keep up
/// loses lines, and never makes us wait.
pub(super) fn start(path: &Path) -> Result<()> {
    let taken = descriptors::taken(path).map(|taken| taken.map(File::from));
    let file = taken.unwrap_or_else(|| open(path));
    let file = file.map_err(|source| Error::File {
        action: "write events to",
        path: path.to_owned(),
        source,
    })?;
    let _ = SINK.set(Sink { file, began: Instant::now() });
    Ok(())
}

/// Without waiting for somebody who reads.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

/// What the race does on the way to a machine.
pub(super) fn race(machine: &str, event: &RaceEvent<'_>) {
    tell(|| match event {
        RaceEvent::Started(route) => json!({
            "event": "trying", "machine": machine, "network": route.network,
            "technology": route.technology.name(), "host": route.shown_host(),
            "port": route.port,
        }),
        RaceEvent::Waiting(route, phase) => json!({
            "event": "waiting", "machine": machine, "network": route.network,
            "phase": phase.to_string(),
        }),
        RaceEvent::Failed(attempt) => json!({
            "event": "failed", "machine": machine, "network": attempt.network,
            "host": attempt.host, "reason": attempt.cause.to_string(),
        }),
    });
}

/// The login has succeeded.
pub(super) fn connected(machine: &str, network: &str, user: &str, vouched_by: &str) {
    tell(|| {
        json!({
            "event": "connected", "machine": machine, "network": network, "user": user,
            "host_key_by": vouched_by,
        })
    });
}

/// An error of our own.
pub(super) fn error(error: &Error) {
    tell(
        || json!({ "event": "error", "message": error.to_string(), "hints": advice::of(error, Caller::CommandLine) }),
    );
}

/// All is over, with this exit status.
pub(super) fn ended(status: u8) -> u8 {
    tell(|| json!({ "event": "ended", "status": status }));
    status
}

fn tell(event: impl FnOnce() -> Value) {
    let Some(sink) = SINK.get() else { return };
    let mut event = event();
    if let Value::Object(fields) = &mut event {
        let seconds = (sink.began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        fields.insert("seconds".to_owned(), json!(seconds));
    }
    // A reader that is gone or slow is no reason to stop.
    let room = poll(&mut [PollFd::new(&sink.file, PollFlags::OUT)], Some(&Timespec::default()));
    if room.unwrap_or_default() == 0 {
        return;
    }
    let _ = (&sink.file).write(fitting(&mut event).as_bytes());
}

/// The event as a line without secrets that is not too long for a pipe.
fn fitting(event: &mut Value) -> String {
    each_text(event, &|text| *text = redacted(text));
    let whole = line(event);
    if whole.len() <= LONGEST {
        return whole;
    }
    each_text(event, &|text| text.truncate(text.floor_char_boundary(SHORT)));
    line(event)
}

fn line(event: &Value) -> String {
    printable::json(&format!("{event}\n")).into_owned()
}

fn each_text(value: &mut Value, change: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(all) => all.iter_mut().for_each(|value| each_text(value, change)),
        Value::Object(fields) => fields.values_mut().for_each(|value| each_text(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_too_long_fits_a_pipe() {
        let hints = ["\u{7}".repeat(9000), "more".to_owned(), "\u{7}".repeat(90)];
        let mut event = json!({ "event": "error", "message": "ä\u{1b}".repeat(4000),
            "hints": hints });
        let text = fitting(&mut event);
        assert!(text.len() <= LONGEST, "{}", text.len());
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains('\u{1b}'));
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read.get("event"), Some(&json!("error")));
    }
}
