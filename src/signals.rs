//! The signals that end the program. Owns that they do so at every stage: they are
//! waited for on a thread of their own, and a file that does not answer or a program
//! that does not end is left behind.

use std::future::pending;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::{children, term};

/// How long what hears of a signal may take to end by itself.
const GRACE: Duration = Duration::from_millis(700);
/// The exit status of ssh(1) that a signal ended.
const FAILED: u8 = 255;
/// The exit status for what has panicked.
const PANICKED: u8 = 101;
/// The number of SIGTERM.
const TERMINATE: u8 = 15;

/// What is left of the status of a process that a signal ended.
static ENDING: AtomicU8 = AtomicU8::new(Ending::Number as u8);

/// The exit status where the system refuses what we need.
static REFUSED: AtomicU8 = AtomicU8::new(FAILED);

/// What a signal makes the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// 128 and its number, as shells say it.
    Number,
    /// 255, as ssh(1) has it once it is connected.
    Ssh,
    /// The same, but 0 for SIGTERM: nothing was to be run, and it has done what it was
    /// there for (clientloop.c, `client_loop`).
    SshBare,
    /// 0: the client of a master, to which a stream is joined (mux.c,
    /// `mux_client_request_stdio_fwd`).
    SshStream,
}

/// Says what a signal means from now on.
pub fn end_as(ending: Ending) {
    ENDING.store(ending as u8, Ordering::Relaxed);
}

fn status(number: u8) -> u8 {
    match ENDING.load(Ordering::Relaxed) {
        ending if ending == Ending::Number as u8 => 128 + number,
        ending if ending == Ending::SshBare as u8 && number == TERMINATE => 0,
        ending if ending == Ending::SshStream as u8 => 0,
        _ => FAILED,
    }
}

/// The number of the signal that has come, or 0.
static CAME: LazyLock<watch::Sender<u8>> = LazyLock::new(|| watch::Sender::new(0));

/// Does `work` and returns its exit status. A signal ends the process, with the status
/// that [`end_as`] says. One that was ignored when we were started stays so, as nohup(1)
/// wants it.
///
/// The work is done on the first thread, where memory costs the fewest system calls.
pub fn run(work: impl FnOnce() -> u8) -> u8 {
    let (done, result) = watch::channel(());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // Where nobody can listen, a signal ends us by itself.
    let watcher = runtime.ok().and_then(|runtime| {
        // Before there is anything to be ended.
        let signals = runtime.block_on(async { Signals::listen() });
        let watch = move || runtime.block_on(watched(signals, result));
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).ok()
    });
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(PANICKED);
    drop(done);
    if let Some(watcher) = watcher.filter(|_| has_come()) {
        // It ends the process.
        let _ = watcher.join();
    }
    code
}

/// Ends the process when a signal comes before `done` is dropped.
#[expect(clippy::disallowed_methods, reason = "nobody waits for what is left behind")]
async fn watched(mut signals: Signals, mut done: watch::Receiver<()>) {
    let number = tokio::select! {
        _ = done.changed() => return,
        number = signals.any() => number,
    };
    // Whoever hears of it may be done before the next line.
    let is_heard = CAME.receiver_count() > 0;
    CAME.send_replace(number);
    if is_heard {
        tokio::select! {
            _ = done.changed() => {}
            () = tokio::time::sleep(GRACE) => {}
            _ = signals.any() => {}
        }
    }
    children::end();
    term::leave();
    std::process::exit(i32::from(status(number)));
}

/// Ends the process where it cannot go on: the system gives it no thread, or no descriptor,
/// for the runtime, which panics then. Unwinding would wait for threads that wait for the
/// one that is missing. The exit status is `status`, until [`fail_as`] says another.
pub(crate) fn end_where_the_system_refuses(status: u8) {
    fail_as(status);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match refusal(info.payload_as_str()) {
        Some(why) => refused(why),
        None => report(info),
    }));
}

/// What is said of a panic over what the system refuses: the words are those of tokio's
/// `Spawner::spawn_task` and `OsExtraData`, and of [`std::thread::spawn`].
fn refusal(panic: Option<&str>) -> Option<&'static str> {
    let panic = panic?;
    let starts = |start| panic.starts_with(start);
    if starts("OS can't spawn worker thread") || starts("failed to spawn thread") {
        return Some(
            "cannot start a thread: the system allows no more\nhint: raise the limit of \
             processes (ulimit -u, or pids.max of the container) or of memory (ulimit -v)",
        );
    }
    starts("failed to create UnixStream").then_some(
        "cannot start: too many open files\nhint: raise the limit of open files (ulimit -n)",
    )
}

#[expect(clippy::disallowed_methods, reason = "what waits for a thread never ends")]
fn refused(why: &str) {
    use std::io::Write;
    children::end();
    term::leave();
    let _ = writeln!(std::io::stderr(), "error: {why}");
    std::process::exit(i32::from(REFUSED.load(Ordering::Relaxed)));
}

/// Says what the exit status is where the system refuses what we need.
pub(crate) fn fail_as(status: u8) {
    REFUSED.store(status, Ordering::Relaxed);
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
        let is_ignored = |kind: SignalKind| ignored & (1 << (kind.as_raw_value() - 1)) != 0;
        // Where nobody can listen, the signal ends us by itself.
        let on = |kind| if is_ignored(kind) { None } else { signal(kind).ok() };
        if is_ignored(SignalKind::child()) {
            // Who started us waits for no child; nobody could wait for ours (ssh.c,
            // `main`). To listen once is enough.
            let _ = signal(SignalKind::child());
        }
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
            () = next(&mut self.terminate) => TERMINATE,
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

    /// The exit status for the signal that came.
    pub async fn signalled(&mut self) -> u8 {
        let came = self.0.wait_for(|number| *number != 0).await.map(|number| *number);
        match came {
            Ok(number) => status(number),
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
    fn a_panic_over_what_the_system_refuses_has_words() {
        let words = |panic: &str| refusal(Some(panic)).unwrap_or_default();
        let thread = "OS can't spawn worker thread: Resource temporarily unavailable";
        assert!(words(thread).contains("ulimit -u"));
        assert!(words("failed to spawn thread: Os { code: 11 }").contains("pids.max"));
        assert!(words("failed to create UnixStream: Os { code: 24 }").contains("ulimit -n"));
        assert_eq!((refusal(Some("index out of bounds")), refusal(None)), (None, None));
    }

    #[test]
    fn the_signals_that_are_ignored_are_known() {
        // Rust's own runtime ignores SIGPIPE, 13.
        assert_ne!(ignored() & (1 << 12), 0);
        assert_eq!(ignored() & (1 << 14), 0, "SIGTERM");
    }
}
