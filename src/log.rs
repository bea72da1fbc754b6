//! The log of `-vv` and more: ours and that of the libraries, one line an
//! event on standard error. Owns the filter that no secret and no control
//! character passes.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

use crate::printable;
use crate::secret;

/// Turns the log on. `verbosity` counts the `-v`: two show our own events and
/// warnings of the libraries, three their debug events as well. Their trace
/// events stay off always: they hold the bytes of the session.
pub(crate) fn start(verbosity: u8) {
    let level = match verbosity {
        0 | 1 => return,
        _ => LevelFilter::Debug,
    };
    if log::set_boxed_logger(Box::new(Logger { libraries: verbosity > 2 })).is_ok() {
        log::set_max_level(level);
    }
}

struct Logger {
    libraries: bool,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("clan_connect")
            || if self.libraries {
                metadata.level() <= LevelFilter::Debug
            } else {
                metadata.level() <= LevelFilter::Warn
            }
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = secret::redacted(&record.args().to_string());
            let line = printable::line(&line);
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(
                std::io::stderr().lock(),
                "{:<5} {}: {line}\r",
                record.level(),
                record.target()
            );
        }
    }

    fn flush(&self) {}
}
