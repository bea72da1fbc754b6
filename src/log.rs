//! The log of `-vv` and more: ours and that of the libraries, one line an
//! event on standard error. Owns the filter that no secret and no control
//! character passes, and of what a library can tell us only by its log.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::printable;
use crate::secret;

/// Turns the log on. `verbosity` counts the `-v`: two show our own events and
/// warnings of the libraries, three their debug events as well. Their trace
/// events stay off always: they hold the bytes of the session.
pub(crate) fn start(verbosity: u8) {
    let logger = Logger { shown: verbosity > 1, libraries: verbosity > 2 };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        // Never less: somebody may watch.
        log::set_max_level(if verbosity > 1 { LevelFilter::Debug } else { LevelFilter::Error });
    }
}

/// Calls `seen` for every event of `target` that is as bad as `level`, whatever
/// is shown. Only where [`start`] was called.
pub(crate) fn watch(target: &'static str, level: Level, seen: impl Fn() + Send + 'static) {
    let watch = Watch { target, level, seen: Box::new(seen) };
    WATCHES.lock().unwrap_or_else(PoisonError::into_inner).push(watch);
}

struct Watch {
    target: &'static str,
    level: Level,
    seen: Box<dyn Fn() + Send>,
}

static WATCHES: Mutex<Vec<Watch>> = Mutex::new(Vec::new());

struct Logger {
    shown: bool,
    libraries: bool,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let least = match self.libraries || metadata.target().starts_with("clan_connect") {
            true => LevelFilter::Debug,
            false => LevelFilter::Warn,
        };
        self.shown && metadata.level() <= least
    }

    fn log(&self, record: &Record<'_>) {
        let watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        for watch in watches.iter() {
            if record.target() == watch.target && record.level() <= watch.level {
                (watch.seen)();
            }
        }
        drop(watches);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_watch_sees_its_target_though_nothing_is_shown() {
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = seen.clone();
        watch("a::target", Level::Error, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let logger = Logger { shown: false, libraries: false };
        for (target, level) in
            [("a::target", Level::Error), ("a::target", Level::Warn), ("another", Level::Error)]
        {
            let args = format_args!("x");
            logger.log(&Record::builder().target(target).level(level).args(args).build());
        }
        assert_eq!(seen.load(Ordering::Relaxed), 1);
    }
}
