//! A private Tor network for all tests of this file, and onion services in it. A test whose
//! machines have networks of their own has one of its own as well.
//! `vendor-tests/tor-network` makes it and ends it when we end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Home, free_port, run, signal, start};

pub struct Network {
    pub arti: String,
    torrc: String,
    seed: Vec<PathBuf>,
    /// `IP:PORT FINGERPRINT` of every relay.
    pub relays: Vec<String>,
    pids: Vec<(String, i32)>,
    /// The closing of its input ends the network, however we end.
    process: Child,
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The network, for one test at a time: some freeze parts of it.
pub fn network() -> (&'static Network, MutexGuard<'static, ()>) {
    static NETWORK: OnceLock<Network> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (NETWORK.get_or_init(|| Network::start(&[], "127.0.0.1")), turn)
}

impl Network {
    /// On an address of the computer's that these programs lead to.
    pub fn start(through: &[String], ip: &str) -> Self {
        println!("{}", run("tor", &["--version"], "tor"));
        let dir = tempfile::tempdir().unwrap().keep();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-tests/tor-network");
        let mut command = command(through, program);
        command.arg(&dir).arg(ip).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = start(&mut command, "python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let info: Value = serde_json::from_str(&line).expect("tor-network says why it failed");
        let text = |name: &str| info[name].as_str().unwrap().to_owned();
        let texts = |name: &str| -> Vec<String> {
            let list = info[name].as_array().unwrap();
            list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let pids = info["pids"].as_object().unwrap().iter();
        Self {
            arti: text("arti"),
            torrc: text("torrc"),
            seed: texts("seed").into_iter().map(PathBuf::from).collect(),
            relays: texts("relays"),
            pids: pids.map(|(name, pid)| (name.clone(), pid.as_i64().unwrap() as i32)).collect(),
            process: child,
        }
    }

    /// Stops every relay for as long as the value lives.
    pub fn freeze(&self) -> Frozen<'_> {
        for (_, pid) in &self.pids {
            signal(*pid, Signal::STOP);
        }
        Frozen(self)
    }

    /// C tor with these options, in a directory of its own below `home`.
    pub fn tor(&self, home: &Home, name: &str, options: &str) -> Tor {
        self.tor_through(&[], home, name, options)
    }

    /// The same, started through these programs.
    fn tor_through(&self, through: &[String], home: &Home, name: &str, options: &str) -> Tor {
        let dir = home.path(name);
        if !dir.exists() {
            fs::create_dir_all(&dir).unwrap();
            run("chmod", &["700", dir.to_str().unwrap()], "coreutils");
            for path in &self.seed {
                let _ = fs::copy(path, dir.join(path.file_name().unwrap()));
            }
        }
        let log = dir.join("notice.log");
        let torrc = format!(
            "{}DataDirectory {}\nLog notice file {}\n{options}",
            self.torrc,
            dir.display(),
            log.display()
        );
        let torrc = home.write(&format!("{name}.torrc"), torrc);
        let mut command = command(through, "tor");
        command.arg("-f").arg(torrc).args(["--defaults-torrc", "/dev/null", "--hush"]);
        Tor { child: start(command.stdin(Stdio::null()), "tor"), dir }
    }

    /// C tor with a SOCKS port; returns the port too.
    pub fn client(&self, home: &Home) -> (Tor, u16) {
        let port = free_port("127.0.0.1");
        let tor = self.tor(home, "c-tor", &format!("SocksPort 127.0.0.1:{port} ExtendedErrors\n"));
        crate::harness::until("tor's SOCKS port", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        (tor, port)
    }

    /// An onion service of C tor's for a port of loopback. The same `name` is
    /// the same service again.
    pub fn onion(&self, home: &Home, name: &str, port: u16, options: &str) -> (Tor, String) {
        self.onion_through(&[], home, name, port, options)
    }

    /// The same of a computer that these programs lead to.
    pub fn onion_through(
        &self,
        through: &[String],
        home: &Home,
        name: &str,
        port: u16,
        options: &str,
    ) -> (Tor, String) {
        let service = home.path(name).join("service");
        // 23 leads nowhere, 24 is not offered.
        let options = format!(
            "SocksPort 0\nHiddenServiceDir {}\nHiddenServicePort 22 127.0.0.1:{port}\n\
             HiddenServicePort 23 127.0.0.1:1\n{options}",
            service.display()
        );
        let tor = self.tor_through(through, home, name, &options);
        let hostname = service.join("hostname");
        crate::harness::until("the onion service's name", || hostname.exists());
        (tor, fs::read_to_string(&hostname).unwrap().trim().to_owned())
    }
}

/// A program that is started through others.
fn command(through: &[String], program: &str) -> Command {
    let words: Vec<&str> = through.iter().map(String::as_str).chain([program]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Goes on when dropped.
pub struct Frozen<'a>(&'a Network);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        for (_, pid) in &self.0.pids {
            signal(*pid, Signal::CONT);
        }
    }
}

/// A process of C tor that ends with the value.
pub struct Tor {
    child: Child,
    dir: PathBuf,
}

impl Tor {
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Tor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
