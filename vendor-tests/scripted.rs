//! Servers in Python that do what no honest one does. Owns their process and what they
//! say of what they see: their port first, then a line each.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::harness::{LIMIT, start};

/// A Python that has paramiko.
pub(crate) fn python() -> &'static str {
    let has = |python: &&&str| {
        let mut command = Command::new(python);
        let command = command.args(["-c", "import paramiko"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let all = ["python3", "/usr/bin/python3"];
    all.iter().find(has).expect("apt-get install python3-paramiko")
}

/// A server that ends with us.
pub(crate) struct Scripted {
    child: Child,
    seen: Arc<Mutex<Vec<String>>>,
    pub(crate) port: String,
}

impl Scripted {
    /// The script, and what it is called with.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(python());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = start(&mut command, "python3-paramiko");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (lines, sink) = (BufReader::new(child.stdout.take().unwrap()).lines(), seen.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let mut server = Self { child, seen, port: String::new() };
        server.waits_for("port ");
        let first = server.seen()[0].clone();
        server.port = first.trim_start_matches("port ").to_owned();
        server
    }

    /// All lines by now.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<String>> {
        self.seen.lock().unwrap()
    }

    pub(crate) fn says(&self, start: &str) -> bool {
        self.seen().iter().any(|line| line.starts_with(start))
    }

    /// Waits until it says a line that begins so.
    pub(crate) fn waits_for(&self, start: &str) {
        let started = Instant::now();
        // Python takes its time, on a busy machine more than others.
        while !self.says(start) {
            assert!(started.elapsed() < LIMIT, "the server did not say {start:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
