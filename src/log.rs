//! The log of `-vv` and more: our events and those of the libraries, one line an
//! event on standard error. Owns the writer that lets no secret and no control
//! character pass, and what a library can tell us by its log alone.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::printable;
use crate::secret;

/// Where our own words go instead of standard error, if they do.
static FILE: OnceLock<File> = OnceLock::new();

/// `-E`: from now on our own words go to `file`. Standard error stays what it is, for
/// the machine's and for what others than we say.
pub(crate) fn go_to(file: File) {
    // The first one counts, and there is only one.
    let _ = FILE.set(file);
}

/// Writes words of our own.
pub(crate) fn write(text: &str) {
    // Nobody is left to tell when it is closed.
    let _ = match FILE.get() {
        Some(mut file) => file.write_all(text.as_bytes()),
        None => io::stderr().lock().write_all(text.as_bytes()),
    };
}

/// Turns the log on. `verbosity` counts the `-v`: two show our own events and
/// warnings of the libraries, three their debug events as well. Their trace
/// events stay off always: they hold the bytes of the session.
pub(crate) fn start(verbosity: u8) {
    let libraries = if verbosity > 2 { LevelFilter::DEBUG } else { LevelFilter::WARN };
    let shown =
        Targets::new().with_default(libraries).with_target("clan_connect", LevelFilter::DEBUG);
    let lines = fmt::layer().without_time().with_ansi(false).with_writer(|| Redacted);
    let lines = (verbosity > 1).then(|| lines.log_internal_errors(false).with_filter(shown));
    let watches = Watches.with_filter(LevelFilter::ERROR);
    // Whoever embeds this may have a log of his own.
    let _ = registry().with(lines).with(watches).try_init();
}

/// Takes whole lines.
struct Redacted;

impl Write for Redacted {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self::write(&shown(&String::from_utf8_lossy(line)));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line as it may be seen. The terminal may be in raw mode.
fn shown(line: &str) -> String {
    format!("{}\r\n", printable::line(&secret::redacted(line.trim_end())))
}

/// Calls `seen` for every error that `target` logs, whatever is shown. Only where
/// [`start`] was called.
pub(crate) fn watch(target: &'static str, seen: impl Fn() + Send + 'static) {
    let watch = Watch { target, seen: Box::new(seen) };
    WATCHES.lock().unwrap_or_else(PoisonError::into_inner).push(watch);
}

struct Watch {
    target: &'static str,
    seen: Box<dyn Fn() + Send>,
}

static WATCHES: Mutex<Vec<Watch>> = Mutex::new(Vec::new());

/// Sees the events that [`watch`] asks for.
struct Watches;

impl<S: Subscriber> Layer<S> for Watches {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        for watch in watches.iter().filter(|watch| watch.target == event.metadata().target()) {
            (watch.seen)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_watch_sees_the_errors_of_its_target_though_nothing_is_shown() {
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = seen.clone();
        watch("a::target", move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let log = registry().with(Watches.with_filter(LevelFilter::ERROR));
        tracing::subscriber::with_default(log, || {
            tracing::error!(target: "a::target", "x");
            tracing::warn!(target: "a::target", "x");
            tracing::error!(target: "another", "x");
        });
        assert_eq!(seen.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_line_shows_no_secret_and_no_control_character() {
        secret::conceal(&Secret::new("sealed.example".to_owned()));
        let line = shown("DEBUG hickory: query sealed.example\x1b[2J\nnext\n");
        assert!(line.starts_with("DEBUG hickory: query <secret>"), "{line}");
        assert_eq!(line.matches(char::is_control).collect::<String>(), "\r\n", "{line}");
    }
}
