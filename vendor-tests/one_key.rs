//! One key of a network and several processes that need it: the one that has it leads the
//! others on. The same is asked of each network whose key one process uses at a time, with
//! the real daemons, in namespaces of the tests' own.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Home, Run, Terminal, noise, returns, run, signal, start, until, wait, wait_status,
};
use crate::links::{Namespace, PORT};

/// A computer that is in no network, and the machine `web` that our key leads to. It is
/// called `db`, too, as which it has its address alone.
pub struct Case<'a> {
    pub home: &'a Home,
    pub us: &'a Namespace,
    /// Our binary there.
    pub command: &'a dyn Fn(&[&str]) -> Command,
    /// How many connections the machine has.
    pub sessions: &'a dyn Fn() -> usize,
    /// What is said while the key is waited for.
    pub busy: &'a str,
}

/// Puts `db` into the exports, which stand alone or in a snapshot.
pub fn name_it_db(home: &Home, file: &str, address: &str) {
    let mut document: Value = serde_json::from_str(&home.read(file)).unwrap();
    let exports = match document.get_mut("exports") {
        Some(exports) => exports,
        None => &mut document,
    };
    let module = "clan_lib.network.direct";
    exports["clan-core/internet:net::"] =
        json!({ "networking": { "module": module, "priority": 900 } });
    exports["clan-core/internet:net:default:db"] =
        json!({ "peer": { "hosts": [{ "plain": address }], "port": PORT, "user": "root" } });
    home.write(file, document.to_string());
}

impl Case<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let run = self.home.path("run");
        if !run.exists() {
            fs::create_dir(&run).unwrap();
            fs::set_permissions(&run, Permissions::from_mode(0o700)).unwrap();
        }
        let mut command = (self.command)(args);
        command.env("XDG_RUNTIME_DIR", run).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(args), "util-linux")))
    }

    /// One that sees no process outside, and has no number there.
    fn run_apart(&self, args: &[&str]) -> Run {
        let here = self.command(args);
        let mut words = here.get_args();
        let mut command = Command::new(here.get_program());
        command.args(words.next()).args(["/usr/bin/unshare", "--pid", "--fork", "--mount-proc"]);
        command.args(words).current_dir(here.get_current_dir().unwrap());
        command.env_clear().envs(here.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "util-linux")))
    }

    /// A shell on a terminal, which has answered.
    fn shell(&self, machine: &str) -> Terminal {
        let mut terminal = Terminal::of(self.command(&["ssh", machine]), 90, 30);
        self.echo(&mut terminal, &format!("in {machine}"));
        terminal
    }

    fn echo(&self, terminal: &mut Terminal, word: &str) {
        terminal.send(&format!("echo '{word}' | tr a-z A-Z\r"));
        terminal.expect(&word.to_uppercase());
    }

    /// A script on the machine that goes on after its first word.
    fn script(&self, args: &[&str], seconds: u32) -> Child {
        let script = format!("echo up; exec sleep {seconds}");
        let args = [args, &["-c", "sh", "-c", &script]].concat();
        let mut command = self.command(&args);
        let mut child = start(command.stdout(Stdio::piped()), "util-linux");
        let mut up = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut up).unwrap();
        assert_eq!(up, "up\n");
        child
    }

    /// Whether some process has a key.
    fn is_held(&self) -> bool {
        let table = fs::read_to_string(format!("/proc/{}/net/unix", self.us.pid())).unwrap();
        table.contains("@clan-connect/")
    }

    /// The process that has the key.
    fn holder(&self) -> i32 {
        let [program, enter] = self.us.enter();
        let list = run(&program, &[&enter, "ss", "-Hxlp"], "iproute2");
        let line = list.lines().find(|line| line.contains("@clan-connect/")).unwrap();
        let pid = line.split("pid=").nth(1).unwrap();
        pid[..pid.find(|char: char| !char.is_ascii_digit()).unwrap()].parse().unwrap()
    }

    fn is_over(&self) {
        until("the end of every session", || (self.sessions)() == 0);
        until("the end of every node", || !self.is_held());
    }
}

/// Two terminals to two machines, and what else there is beside them.
pub fn terminals_share_it(case: &Case<'_>) {
    let mut web = case.shell("web");
    assert!(case.is_held());
    let began = Instant::now();
    let mut db = case.shell("db");
    println!("a shell beside another: {:?}", began.elapsed());
    // One more option is a connection of its own, and a script has always one.
    for args in [&["ssh", "-A", "web"][..], &["ssh", "db"]] {
        let began = Instant::now();
        let done = case.run(&[args, &["-c", "echo", "more"]].concat()).exits(0);
        println!("a command beside two: {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(done.text(), "more\n");
        assert!(!done.stderr.contains("waiting"), "{}", done.stderr);
    }
    // Every byte, there and back, by the other process.
    let mut echo = case.command(&["ssh", "web", "-c", "cat"]);
    returns(echo.stdin(Stdio::piped()), &noise(8 << 20));
    let mut kept = Terminal::of(case.command(&["ssh", "-A", "web", "-c", "echo", "again"]), 90, 30);
    kept.expect("again");
    assert_eq!(kept.exit_code(), Some(0));
    let ping = case.run(&["network", "ping", "web", "--json"]).exits(0).text();
    let ping: Value = serde_json::from_str(&ping).unwrap();
    assert_eq!(ping["routes"][0]["ok"], true, "{ping}");
    let apart = case.run_apart(&["ssh", "db", "-c", "echo", "apart"]).exits(0);
    assert_eq!(apart.text(), "apart\n");
    assert!(!apart.stderr.contains("another"), "{}", apart.stderr);
    // The end of the first is not the second's, though the first has the key.
    web.send("exit\r");
    assert_eq!(web.exit_code(), Some(0));
    until("the end of the first", || (case.sessions)() == 1);
    case.echo(&mut db, "still here");
    // Nor is it an end of the network for others.
    assert_eq!(case.run(&["ssh", "web", "-c", "echo", "new"]).exits(0).text(), "new\n");
    db.send("exit 3\r");
    assert_eq!(db.exit_code(), Some(3));
    case.is_over();
}

/// A process in the background that is killed, and one that does nothing any more.
pub fn what_becomes_of_the_one_that_has_it_is_told(case: &Case<'_>) {
    let _web = case.shell("web");
    let holder = case.holder();
    let mut db = case.shell("db");
    // Whoever comes while it is stopped waits for it, and no longer than for a network.
    signal(holder, Signal::STOP);
    let began = Instant::now();
    let late = case.run(&["ssh", "db", "--timeout", "4", "-c", "true"]).exits(255);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(late.stderr.contains("another"), "{}", late.stderr);
    signal(holder, Signal::CONT);
    case.echo(&mut db, "went on");
    signal(holder, Signal::KILL);
    assert_eq!(db.exit_code(), Some(255));
    until("the end of every node", || !case.is_held());
    // The key is free at once.
    assert_eq!(case.run(&["ssh", "db", "-c", "echo", "new"]).exits(0).text(), "new\n");
    // Who closes all leaves none. Those of who was killed hear of it at some time.
    let deserted = (case.sessions)();
    let shells = [case.shell("web"), case.shell("db")];
    assert!((case.sessions)() >= shells.len());
    case.run(&["close", "--all"]).exits(0);
    until("the end of both", || (case.sessions)() <= deserted);
    until("the end of every node", || !case.is_held());
    drop(shells);
}

/// Scripts wait for each other, and go by each other where that takes too long.
pub fn scripts_wait_and_then_share_it(case: &Case<'_>) {
    let first = case.script(&["ssh", "web"], 2);
    let second = case.run(&["-v", "ssh", "db", "-c", "echo", "second"]).exits(0);
    assert_eq!(second.says(&[case.busy]).text(), "second\n");
    let mut first = first;
    assert!(wait_status(&mut first).success());
    // One that takes long.
    let mut first = case.script(&["ssh", "web"], 100);
    let began = Instant::now();
    // A ping does not mind that it may end.
    let ping = case.run(&["network", "ping", "web", "--json"]).exits(0);
    assert_eq!(ping.stderr, "");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let second = case.run(&["ssh", "db", "-c", "echo", "second"]).exits(0);
    println!("beside a long script: {:?}", began.elapsed());
    assert_eq!(second.says(&["ends with it"]).text(), "second\n");
    let id = |child: &Child| i32::try_from(child.id()).unwrap();
    // A guest that is killed leaves nothing behind.
    let mut guest = case.script(&["ssh", "db"], 100);
    assert_eq!((case.sessions)(), 2);
    guest.kill().unwrap();
    guest.wait().unwrap();
    until("the end of the guest's session", || (case.sessions)() == 1);
    // A process that has the key ends at once, and its guest hears of it.
    let mut command = case.command(&["ssh", "db", "-c", "sh", "-c", "echo up; exec sleep 100"]);
    let mut guest = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()), "util-linux");
    let mut up = String::new();
    BufReader::new(guest.stdout.as_mut().unwrap()).read_line(&mut up).unwrap();
    let asked = Instant::now();
    signal(id(&first), Signal::TERM);
    assert_eq!(wait_status(&mut first).code(), Some(128 + Signal::TERM.as_raw()));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    Run::of(wait(guest)).exits(255).says(&["connection to db"]);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    case.is_over();
}

/// A terminal and a job of cron have different variables.
pub fn the_environment_changes_nothing(case: &Case<'_>, key: &[&str]) {
    let mut first = case.script(&[key, &["ssh", "web"]].concat(), 3);
    let mut command = (case.command)(&[key, &["-v", "ssh", "db", "-c", "echo", "job"]].concat());
    command.env_remove("XDG_RUNTIME_DIR").env("XDG_STATE_HOME", case.home.path("elsewhere"));
    let job = Run::of(wait(start(command.stdin(Stdio::null()), "util-linux"))).exits(0);
    assert_eq!(job.says(&[case.busy]).text(), "job\n");
    assert!(wait_status(&mut first).success());
    case.is_over();
}

/// Another user who takes the name of the key's socket keeps nobody from anything.
pub fn a_stranger_with_its_name_is_no_obstacle(case: &Case<'_>) {
    let first = case.script(&["ssh", "web"], 100);
    let table = fs::read_to_string(format!("/proc/{}/net/unix", case.us.pid())).unwrap();
    let name = table.split_whitespace().find(|word| word.starts_with("@clan-connect/"));
    let name = name.unwrap()[1..].to_owned();
    let mut first = first;
    first.kill().unwrap();
    first.wait().unwrap();
    until("the end of the node", || !case.is_held());
    let script = "import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind('\\0' + sys.argv[1])
s.listen(5)
print('up', flush=True)
time.sleep(600)
";
    let [program, enter] = case.us.enter();
    let mut squatter = Command::new(program);
    squatter.args([&enter, "python3", "-c", script, &name]).stdout(Stdio::piped());
    let mut squatter = start(&mut squatter, "python3");
    let mut up = String::new();
    BufReader::new(squatter.stdout.as_mut().unwrap()).read_line(&mut up).unwrap();
    let done = case.run(&["ssh", "web", "-c", "echo", "hi"]).exits(0);
    let done = done.says(&["another user has taken the socket name"]);
    assert_eq!(done.text(), "hi\n");
    squatter.kill().unwrap();
    squatter.wait().unwrap();
}
