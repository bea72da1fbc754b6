//! The signals that end the program. Owns that they do so at every stage: the work
//! is done on a thread of its own, and a file that does not answer or a program
//! that does not end is left behind with it.

use std::future::pending;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::children;

/// How long what hears of a signal may take to end by itself.
const GRACE: Duration = Duration::from_millis(400);
/// What Linux gives to a program's first thread, in bytes.
const STACK: usize = 8 << 20;
/// The exit statuses for what cannot be started and for what has panicked.
const FAILED: u8 = 255;
const PANICKED: u8 = 101;

/// The number of the signal that has come, or 0.
static CAME: LazyLock<watch::Sender<u8>> = LazyLock::new(|| watch::Sender::new(0));

/// Does `work` and returns its exit status, or 128 and the number of a signal that
/// ended it. A signal that was ignored when we were started stays so, as nohup(1)
/// wants it.
pub fn run(work: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(watched(work)),
        Err(_) => work(),
    }
}

async fn watched(work: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    // Before there is anything to be ended.
    let mut signals = Signals::listen();
    let (done, mut result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("main".to_owned()).stack_size(STACK);
    // Nobody is left to be told where a signal was faster.
    if thread.spawn(move || done.send(work()).unwrap_or_default()).is_err() {
        return FAILED;
    }
    let number = tokio::select! {
        code = &mut result => return code.unwrap_or(PANICKED),
        number = signals.any() => number,
    };
    CAME.send_replace(number);
    let is_heard = CAME.receiver_count() > 0;
    if is_heard {
        tokio::select! {
            _ = result => {}
            () = tokio::time::sleep(GRACE) => {}
            _ = signals.any() => {}
        }
    }
    children::end();
    128 + number
}

/// Those that end us, where nobody had them ignored.
struct Signals {
    hangup: Option<Signal>,
    interrupt: Option<Signal>,
    quit: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    fn listen() -> Self {
        let ignored = ignored();
        // Where nobody can listen, the signal ends us by itself.
        let on = |kind: SignalKind| {
            let bit = 1 << (kind.as_raw_value() - 1);
            (ignored & bit == 0).then(|| signal(kind).ok()).flatten()
        };
        Self {
            hangup: on(SignalKind::hangup()),
            interrupt: on(SignalKind::interrupt()),
            quit: on(SignalKind::quit()),
            terminate: on(SignalKind::terminate()),
        }
    }

    /// The number of the next one.
    async fn any(&mut self) -> u8 {
        tokio::select! {
            () = next(&mut self.hangup) => 1,
            () = next(&mut self.interrupt) => 2,
            () = next(&mut self.quit) => 3,
            () = next(&mut self.terminate) => 15,
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    let came = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if came.is_none() {
        pending::<()>().await;
    }
}

/// A bit for each signal that whoever started us has ignored (proc(5), `SigIgn`).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether one has come: what fails from then on is no news to anybody.
pub(crate) fn has_come() -> bool {
    *CAME.borrow() != 0
}

/// What hears of a signal, and has a moment to end by itself.
#[derive(Debug)]
pub struct Stop(watch::Receiver<u8>);

impl Stop {
    /// From now on.
    pub fn new() -> Self {
        Self(CAME.subscribe())
    }

    /// The exit status for the signal that came: 128 + its number.
    pub async fn signalled(&mut self) -> u8 {
        let came = self.0.wait_for(|number| *number != 0).await.map(|number| *number);
        match came {
            Ok(number) => 128 + number,
            // The sender is never dropped.
            Err(_) => pending().await,
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_the_status() {
        assert_eq!(run(|| 7), 7);
    }

    #[test]
    fn the_signals_that_are_ignored_are_known() {
        // Rust's own runtime ignores SIGPIPE, 13.
        assert_ne!(ignored() & (1 << 12), 0);
        assert_eq!(ignored() & (1 << 14), 0, "SIGTERM");
    }
}
