//! Servers in Python that do what no honest one does. Owns their process and what they
//! say of what they see: their port first, then a line each.

use std::io::{ErrorKind, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
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
    output: Mutex<Output>,
    pub(crate) port: String,
}

/// What it says, which is read when somebody looks: what it said before it answered is there
/// when the answer is.
struct Output {
    stdout: ChildStdout,
    /// The beginning of the next line.
    begun: Vec<u8>,
    lines: Vec<String>,
}

impl Output {
    fn read(&mut self) {
        let mut some = [0; 4096];
        loop {
            match self.stdout.read(&mut some) {
                Ok(0) => return,
                Ok(count) => self.begun.extend(&some[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
            while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                self.lines.push(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
        }
    }
}

impl Scripted {
    /// The script, and what it is called with.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(python());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = start(&mut command, "python3-paramiko");
        let stdout = child.stdout.take().unwrap();
        rustix::io::ioctl_fionbio(&stdout, true).unwrap();
        let output = Mutex::new(Output { stdout, begun: Vec::new(), lines: Vec::new() });
        let mut server = Self { child, output, port: String::new() };
        server.waits_for("port ");
        let first = server.seen()[0].clone();
        server.port = first.trim_start_matches("port ").to_owned();
        server
    }

    /// All lines by now.
    pub(crate) fn seen(&self) -> Vec<String> {
        let mut output = self.output.lock().unwrap();
        output.read();
        output.lines.clone()
    }

    /// Forgets the lines that begin so.
    pub(crate) fn forget(&self, start: &str) {
        self.output.lock().unwrap().lines.retain(|line| !line.starts_with(start));
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
