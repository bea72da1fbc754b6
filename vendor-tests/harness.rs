//! What the vendor tests share: other vendors' servers on loopback, a home and
//! a clan in a temporary folder, our binary with a clean environment, and a
//! pseudo-terminal. A program that is missing fails the test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// No step of any test takes longer.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_clan-connect");

/// Programs that vendor-tests/run fetched from elsewhere than Debian.
pub const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/vendor-programs");

/// OpenSSH's own client, beside which ours is run.
pub const THEIRS: &str = "/usr/bin/ssh";

/// Starts `program`, or fails with the package that has it.
pub fn start(command: &mut Command, package: &str) -> Child {
    let program = command.get_program().to_owned();
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?}: {error}; apt-get install {package}"))
}

/// Runs `program` to its end and fails unless it succeeds.
pub fn run(program: &str, args: &[&str], package: &str) -> String {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = wait(start(&mut command, package));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a program. Another process writes it: a child that this one starts meanwhile
/// would have it open for writing, and nobody could run it.
pub fn copy_program(from: &str, to: &Path) {
    run("install", &["-m", "755", from, to.to_str().unwrap()], "coreutils");
}

/// Waits for a child, but not for ever; reads all its output.
pub fn wait(mut child: Child) -> Output {
    let reader = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                stream.read_to_end(&mut bytes).unwrap();
            }
            bytes
        })
    };
    let stdout = reader(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = reader(child.stderr.take().map(|stream| Box::new(stream) as _));
    let status = wait_status(&mut child);
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

pub fn wait_status(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > LIMIT {
            let _ = child.kill();
            panic!("still running after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` holds, but not for ever.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that was free a moment ago, on `ip`.
pub fn free_port(ip: &str) -> u16 {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port()
}

/// Bytes that no compression and no text conversion survives unharmed.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A folder with a home in it.
pub struct Home {
    pub dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(home.path("home/.ssh")).unwrap();
        // Debian's own ssh_config has names hashed.
        home.write("home/.ssh/config", "HashKnownHosts no\n");
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A file that only its owner can read.
    pub fn secret(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, bytes);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A program. Another process writes it: a child that this one starts meanwhile
    /// would have it open for writing, and nobody could run it.
    pub fn script(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let mut install = Command::new("install");
        install.args(["-D", "-m", "755", "/dev/stdin"]).arg(&path).stdin(Stdio::piped());
        let mut child = start(&mut install, "coreutils");
        child.stdin.take().unwrap().write_all(text.as_ref()).unwrap();
        assert!(wait_status(&mut child).success());
        path
    }

    /// A copy that is no more open to others than the original.
    pub fn copy(&self, from: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(self.path(from), to).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A new key pair; returns the private half's path.
    pub fn keygen(&self, name: &str, kind: &str, passphrase: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = path.to_str().unwrap();
        run("ssh-keygen", &["-q", "-t", kind, "-N", passphrase, "-f", text], "openssh-client");
        path
    }

    /// The user's own key, as `~/.ssh/id_ed25519`.
    pub fn default_key(&self) -> String {
        self.keygen("home/.ssh/id_ed25519", "ed25519", "");
        self.read("home/.ssh/id_ed25519.pub")
    }

    /// Our binary, with nothing in its environment but this home. In a session
    /// of its own it has no controlling terminal, wherever the tests run; since
    /// setsid(1) is no process group's leader it becomes our binary itself.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_with(&["/usr/bin/setsid"], args)
    }

    /// The same, started through these programs.
    pub fn command_with(&self, through: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new(through[0]);
        command
            .args(&through[1..])
            .arg(BINARY)
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"))
            // Nothing is there to be started.
            .env("PATH", "/nonexistent")
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(args), "util-linux")))
    }

    pub fn run_with_env(&self, args: &[&str], env: &[(&str, &str)]) -> Run {
        let mut command = self.command(args);
        Run::of(wait(start(command.envs(env.iter().copied()), "util-linux")))
    }

    pub fn run_with_input(&self, args: &[&str], input: Vec<u8>) -> Run {
        let mut child = start(self.command(args).stdin(Stdio::piped()), "util-linux");
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let done = wait(child);
        // The remote side may close before it has read everything.
        let _ = writer.join().unwrap();
        Run::of(done)
    }
}

/// Gives `data` to a command that returns it, such as cat, and fails unless it does.
pub fn returns(command: &mut Command, data: &[u8]) {
    let mut child = start(command.stdin(Stdio::piped()), "");
    let mut stdin = child.stdin.take().unwrap();
    let sent = data.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let done = Run::of(wait(child)).exits(0);
    writer.join().unwrap().unwrap();
    assert!(done.stdout == data, "{} bytes came back", done.stdout.len());
}

/// What a run of our binary gave.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails unless it exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// Fails unless its messages contain every one of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        self
    }
}

/// A server that ends with us.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Server {
    fn start(mut command: Command, package: &str, address: SocketAddr, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = start(&mut command, package);
        let mut server = Self { address, child, log };
        until("the server's banner", || {
            assert!(server.child.try_wait().unwrap().is_none(), "server died: {}", server.log());
            let Ok(mut stream) = TcpStream::connect(address) else { return false };
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut start = [0; 4];
            stream.read_exact(&mut start).is_ok() && &start == b"SSH-"
        });
        server
    }

    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// `HOST:PORT` for `--target-host`.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// OpenSSH's sshd. `authorized` are lines of authorized_keys; `config` is added
/// to its configuration.
/// A `HostKey` there is the only one.
pub fn sshd(home: &Home, ip: &str, authorized: &str, config: &str) -> Server {
    sshd_through(&[], home, ip, authorized, config)
}

/// The same, started through these programs.
pub fn sshd_through(
    through: &[&str],
    home: &Home,
    ip: &str,
    authorized: &str,
    config: &str,
) -> Server {
    sshd_of(&[through, &["/usr/sbin/sshd"]].concat(), home, ip, authorized, config)
}

/// The same of OpenSSH 10, which vendor-tests/run fetches.
pub fn newer_sshd(home: &Home, ip: &str, authorized: &str, config: &str) -> Server {
    let dir = format!("{PROGRAMS}/openssh-10");
    let program = format!("{dir}/sshd");
    assert!(Path::new(&program).exists(), "no {program}: run vendor-tests/newer-sshd {dir}");
    let config = format!("{config}\nPerSourcePenalties no\n");
    sshd_of(&[&program], home, ip, authorized, &config)
}

fn sshd_of(words: &[&str], home: &Home, ip: &str, authorized: &str, config: &str) -> Server {
    let port = free_port(ip);
    let config = sshd_config(home, ip, port, authorized, config);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["-D", "-e", "-f"]).arg(config);
    let address = SocketAddr::new(ip.parse().unwrap(), port);
    Server::start(command, "openssh-server", address, home.path(&format!("sshd-{port}/log")))
}

/// The configuration of an sshd, with a new host key.
pub fn sshd_config(home: &Home, ip: &str, port: u16, authorized: &str, config: &str) -> PathBuf {
    println!("{}", run("ssh", &["-V"], "openssh-client"));
    // sshd separates privileges in this folder, which its package's service
    // would have made.
    let _ = fs::create_dir_all("/run/sshd");
    let name = format!("sshd-{port}");
    // The port may have been another server's before.
    let _ = fs::remove_dir_all(home.path(&name));
    let host_key = home.keygen(&format!("{name}/host_key"), "ed25519", "");
    let keys = home.write(&format!("{name}/authorized_keys"), authorized);
    let host_key = match config.contains("HostKey ") {
        true => String::new(),
        false => format!("HostKey {}\n", host_key.display()),
    };
    // bash(1) reads ~/.bashrc for a command over ssh, unless it is a shell in a shell: what
    // somebody has there is no matter of these tests.
    let config = format!(
        "{config}\nListenAddress {ip}\nPort {port}\n{host_key}AuthorizedKeysFile {}\nStrictModes no\n\
         PidFile none\nAcceptEnv LANG LC_*\nPermitRootLogin yes\nLogLevel VERBOSE\n\
         SetEnv SHLVL=1\nPerSourcePenalties no\n",
        keys.display()
    );
    // Older versions do not know the penalties.
    let config =
        if run_version() < 9.8 { config.replace("PerSourcePenalties no\n", "") } else { config };
    home.write(&format!("{name}/config"), config)
}

fn run_version() -> f64 {
    let output = Command::new("ssh").arg("-V").output().expect("apt-get install openssh-client");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let digits: String = text
        .trim_start_matches("OpenSSH_")
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    digits.trim_end_matches('.').parse().unwrap_or(0.0)
}

/// Dropbear, for the keys in `~/.ssh/authorized_keys` of `account`.
pub fn dropbear(home: &Home, args: &[&str]) -> Server {
    let key = home.path(&format!("dropbear-{}.key", free_port("127.0.0.1")));
    run("dropbearkey", &["-t", "ed25519", "-f", key.to_str().unwrap()], "dropbear-bin");
    dropbear_of(home, &key, args)
}

/// The same with a host key that OpenSSH has.
pub fn dropbear_with_key(home: &Home, host_key: &str) -> Server {
    let key = home.path("dropbear.key");
    let args = ["openssh", "dropbear", host_key, key.to_str().unwrap()];
    run("dropbearconvert", &args, "dropbear-bin");
    dropbear_of(home, &key, &[])
}

fn dropbear_of(home: &Home, key: &Path, args: &[&str]) -> Server {
    let port = free_port("127.0.0.1");
    let mut command = Command::new("dropbear");
    command.args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-P"]);
    command.arg(home.path("dropbear.pid")).arg("-r").arg(key).args(args);
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    Server::start(command, "dropbear-bin", address, home.path("dropbear.log"))
}

/// An account of this computer that exists as long as the value. Needs root.
pub struct Account {
    pub name: String,
    pub password: String,
    pub home: PathBuf,
}

impl Account {
    pub fn new(name: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "accounts can only be made by root");
        // Tests run at the same time, and in several processes.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}{}-{made}", std::process::id());
        let home = PathBuf::from("/tmp").join(&name);
        let args = ["-m", "-d", home.to_str().unwrap(), "-s", "/bin/sh", "-K", "UMASK=022", &name];
        run("/usr/sbin/useradd", &args, "passwd");
        let account = Self { password: format!("pw {name} '\"$"), name, home };
        let mut command = Command::new("/usr/sbin/chpasswd");
        let mut child = start(command.stdin(Stdio::piped()), "passwd");
        let line = format!("{}:{}\n", account.name, account.password);
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        assert!(wait_status(&mut child).success());
        account
    }

    /// Lets the holder of `key` in by dropbear and sshd.
    pub fn authorize(&self, key: &str) {
        let dir = self.home.join(".ssh");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("authorized_keys"), key).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let owner = format!("{0}:{0}", self.name);
        run("chown", &["-R", &owner, dir.to_str().unwrap()], "coreutils");
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // A process of the session may need a moment to go.
        for _ in 0..50 {
            let done = Command::new("/usr/sbin/userdel")
                .args(["-r", "-f", &self.name])
                .stderr(Stdio::null())
                .status();
            if done.is_ok_and(|status| status.success()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// A command on a pseudo-terminal, as a person would use it.
pub struct Terminal {
    child: Child,
    master: File,
    seen: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts our binary on a terminal of this size.
    pub fn start(
        home: &Home,
        args: &[&str],
        columns: u16,
        rows: u16,
        env: &[(&str, &str)],
    ) -> Self {
        let mut command = home.command_with(&["/usr/bin/setsid", "--ctty"], args);
        command.env("TERM", "xterm-test").envs(env.iter().copied());
        Self::of(command, columns, rows)
    }

    /// Starts a command that takes the terminal for its own, as `setsid --ctty` does.
    pub fn of(mut command: Command, columns: u16, rows: u16) -> Self {
        let (master, slave) = open_pty();
        rustix::termios::tcsetwinsize(&master, size(columns, rows)).unwrap();
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let child = start(&mut command, "util-linux");
        // The command keeps its ends of the terminal open until it is gone.
        drop(command);
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let master = File::from(master);
        let (mut output, sink) = (master.try_clone().unwrap(), seen.clone());
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut chunk) {
                sink.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Self { child, master, seen, reader }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until the terminal shows `text`.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        self.expect_times(text, 1);
    }

    /// Waits until the terminal has shown `text` so often.
    #[track_caller]
    pub fn expect_times(&self, text: &str, count: usize) {
        let started = Instant::now();
        while self.text().matches(text).count() < count {
            let waited = started.elapsed();
            assert!(waited < Duration::from_secs(20), "no {text:?} in: {}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// The size travels by itself, so the shell is asked until it has arrived.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        // The kernel sends SIGWINCH to the foreground process group.
        rustix::termios::tcsetwinsize(&self.master, size(columns, rows)).unwrap();
        until("the new size", || {
            self.send("stty size\r");
            std::thread::sleep(Duration::from_millis(100));
            self.text().contains(&format!("{rows} {columns}"))
        });
    }

    /// Whether the terminal is in raw mode now.
    pub fn is_raw(&self) -> bool {
        let settings = rustix::termios::tcgetattr(&self.master).unwrap();
        !settings.local_modes.contains(rustix::termios::LocalModes::ICANON)
    }

    /// All of the terminal's settings, to be compared.
    pub fn settings(&self) -> String {
        format!("{:?}", rustix::termios::tcgetattr(&self.master).unwrap())
    }

    /// The process of our binary.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let status = wait_status(&mut self.child);
        // The last of the output may still be under way; a process in the
        // background may keep the terminal for longer.
        let ended = Instant::now();
        while !self.reader.is_finished() && ended.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        status.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> rustix::termios::Winsize {
    rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn open_pty() -> (OwnedFd, OwnedFd) {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
    (master, slave)
}

/// The processes that were started with all of these words.
pub fn running(words: &[&str]) -> Vec<i32> {
    let of = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let has = |word: &&str| line.split('\0').any(|known| known == *word);
        words.iter().all(has).then_some(pid)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
}

/// Sends a signal.
pub fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Whether `needle` occurs in any file below `dir`.
pub fn found_below(dir: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(found_below(&path, needle));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
        {
            found.push(path);
        }
    }
    found
}
