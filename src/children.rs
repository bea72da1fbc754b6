//! The programs that we wait for: nix, and what the user has configured. Owns that
//! none of them, nor what they have started, outlives a signal that ends us.

use std::collections::HashMap;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long they may take to end when they are told to.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often it is looked whether they have.
const TICK: Duration = Duration::from_millis(10);
/// More than any of them starts.
const MAX_PROCESSES: usize = 10_000;

static AWAITED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// A program that is waited for, as long as this value is there.
#[derive(Debug)]
pub(crate) struct Awaited(u32);

impl Awaited {
    /// The process with this number, which must be a child that was not waited for.
    pub(crate) fn new(pid: u32) -> Self {
        AWAITED.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        Self(pid)
    }

    pub(crate) fn child(child: &Child) -> Self {
        Self::new(child.id())
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut all = AWAITED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|pid| *pid == self.0) {
            all.swap_remove(at);
        }
    }
}

/// Runs a program to its end.
pub(crate) fn status(command: &mut Command) -> std::io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let _awaited = Awaited::child(&child);
    child.wait()
}

/// Ends all that are waited for, with all that they have started: in our own
/// process group they can ask on the terminal, so there is no group to be killed.
pub(crate) fn end() {
    let roots = AWAITED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !roots.is_empty() {
        end_with_descendants(&roots);
    }
}

fn end_with_descendants(roots: &[u32]) {
    let mut doomed = below(roots);
    doomed.iter().for_each(|process| process.signal(Signal::TERM));
    let told = Instant::now();
    while told.elapsed() < PATIENCE && doomed.iter().any(Process::is_running) {
        std::thread::sleep(TICK);
    }
    // What they have started meanwhile, too.
    doomed.extend(below(roots));
    doomed.iter().filter(|process| process.is_running()).for_each(|process| {
        process.signal(Signal::KILL);
    });
}

/// A process, and when it was started: its number alone may be another's by now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    started: String,
    is_dead: bool,
}

impl Process {
    /// From proc(5), `/proc/PID/stat`; the name in it may hold anything.
    fn read(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.to_owned();
        Some(Self { pid, parent, started, is_dead })
    }

    fn is_running(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started && !now.is_dead)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_running()) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// These processes and all that descend from them.
fn below(roots: &[u32]) -> Vec<Process> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut of: HashMap<u32, Vec<Process>> = HashMap::new();
    let mut found = Vec::new();
    for process in pids.filter_map(Process::read) {
        match roots.contains(&process.pid) {
            true => found.push(process),
            false => of.entry(process.parent).or_default().push(process),
        }
    }
    let mut at = 0;
    while let Some(pid) = found.get(at).map(|process| process.pid)
        && found.len() < MAX_PROCESSES
    {
        found.extend(of.remove(&pid).unwrap_or_default());
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_killed_even_if_they_ignore_signals() {
        let script = "trap '' TERM; (trap '' TERM; sleep 60; true) & sleep 60; true";
        #[allow(clippy::disallowed_methods, reason = "a test")]
        let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        let waiting = Instant::now();
        while below(&[child.id()]).len() < 4 {
            assert!(waiting.elapsed() < Duration::from_secs(20));
            std::thread::sleep(TICK);
        }
        let all = below(&[child.id()]);
        end_with_descendants(&[child.id()]);
        child.wait().unwrap();
        // What was killed needs a moment to be gone.
        let killed = Instant::now();
        while all.iter().any(Process::is_running) {
            assert!(killed.elapsed() < Duration::from_secs(20), "{all:?}");
            std::thread::sleep(TICK);
        }
        assert!(below(&[std::process::id()]).iter().any(|process| process.is_running()));
    }
}
