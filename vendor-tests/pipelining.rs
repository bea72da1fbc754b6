//! What is begun along with the login: that it is done once, whatever the server makes
//! of it, and not at all before the user has had his say. Beside OpenSSH's sshd and
//! others.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{
    Account, Home, Run, Server, THEIRS, Terminal, dropbear, noise, returns, run, sshd, start,
    until, wait,
};
use crate::openssh_personality::Place;

/// What sshd says of a channel that was opened before its time, or of requests on it.
const REFUSED: &str = "dispatch_protocol_error: type 90";
/// It says how often it has opened a session.
const DEBUG: &str = "LogLevel DEBUG2\n";

/// OpenSSH's agent, which ends with us.
pub(crate) struct Agent {
    child: Child,
    pub(crate) socket: String,
}

impl Agent {
    pub(crate) fn start(home: &Home) -> Self {
        Self::with_program(home, "/bin/false")
    }

    /// One that asks by this program.
    fn with_program(home: &Home, program: &str) -> Self {
        let socket = home.path("agent").display().to_string();
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a", &socket]).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("SSH_ASKPASS", program).env("SSH_ASKPASS_REQUIRE", "force");
        let child = start(command.env("DISPLAY", ":0"), "openssh-client");
        until("the agent's socket", || Path::new(&socket).exists());
        Self { child, socket }
    }

    pub(crate) fn add(&self, key: &Path, args: &[&str]) {
        // Its socket is there a moment before it listens.
        until("the key in the agent", || {
            let mut command = Command::new("ssh-add");
            command.args(["-q"]).args(args).arg(key).env("SSH_AUTH_SOCK", &self.socket);
            command.stderr(Stdio::null()).status().unwrap().success()
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A place where a command leaves a line each time it runs.
struct Counted {
    place: Place,
}

impl Counted {
    fn new(config: &str) -> Self {
        Self { place: Place::shared(&format!("{DEBUG}{config}")) }
    }

    fn script(&self) -> String {
        format!("echo ran | tee -a {}", self.place.home.path("ran").display())
    }

    fn times(&self) -> usize {
        self.place.home.read("ran").lines().count()
    }

    fn ours(&self, args: &[&str]) -> Run {
        let script = self.script();
        let args = [args, &["box", &script]].concat();
        Run::of(wait(start(&mut self.place.client(&self.place.ours(), &args), "")))
    }

    /// Fails unless sshd was asked for a session before its time.
    fn was_refused(&self) {
        until("the refusal", || self.place.server.log().contains(REFUSED));
    }

    fn key(&self, name: &str) -> String {
        self.place.home.keygen(name, "ed25519", "").display().to_string()
    }

    fn own(&self) -> String {
        self.place.home.path("home/.ssh/id_ed25519").display().to_string()
    }
}

/// Two keys and no others, in this order.
fn keys<'a>(first: &'a str, second: &'a str) -> [&'a str; 5] {
    ["-oIdentitiesOnly=yes", "-i", first, "-i", second]
}

#[test]
fn a_command_behind_a_refused_key_is_run_once_with_the_next() {
    let counted = Counted::new("");
    let (other, third) = (counted.key("other"), counted.key("third"));
    let own = counted.own();
    let args = [&keys(&other, &third)[..], &["-i", &own]].concat();
    for times in 1..=3 {
        let done = counted.ours(&args).exits(0);
        assert_eq!((done.text().as_str(), counted.times()), ("ran\n", times));
        counted.was_refused();
    }
    // A terminal and variables are refused with it, and asked for again.
    let port = counted.place.server.port();
    let more = ["-tt", "-oSetEnv=LC_X=spoken", "-p", &port, "box", "stty size; echo =$LC_X="];
    let all = [&args[..], &more].concat();
    let mut command = counted.place.client(&counted.place.ours(), &all);
    let done = Run::of(wait(start(&mut command, ""))).exits(0);
    assert!(done.text().contains("=spoken="), "{}", done.text());
}

#[test]
fn a_command_behind_keys_that_are_all_refused_is_not_run() {
    let counted = Counted::new("");
    let (one, other) = (counted.key("one"), counted.key("other"));
    counted.place.home.write("home/.ssh/config", {
        let config = counted.place.home.read("home/.ssh/config");
        config.lines().filter(|line| !line.contains("IdentityFile")).collect::<Vec<_>>().join("\n")
    });
    let args = [&keys(&one, &other)[..], &["-oBatchMode=yes"]].concat();
    counted.ours(&args).exits(255).says(&["Permission denied (publickey"]);
    counted.was_refused();
    assert_eq!(counted.times(), 0);
    // And not behind the only try that the server allows.
    let counted = Counted::new("MaxAuthTries 1\n");
    let own = counted.own();
    counted.ours(&["-i", &own]).exits(0);
    assert_eq!(counted.times(), 1);
    let other = counted.key("other");
    counted.ours(&keys(&other, &own)).exits(255);
    assert_eq!(counted.times(), 1);
}

#[test]
fn a_command_behind_the_first_of_two_factors_is_run_once_after_the_second() {
    for (pam, method, prompt) in
        [("no", "password", "'s password:"), ("yes", "keyboard-interactive", "Password:")]
    {
        let account = Account::new("ccpipe");
        let home = Home::new();
        let key = home.default_key();
        account.authorize(&key);
        let config = format!(
            "{DEBUG}UsePAM {pam}\nKbdInteractiveAuthentication yes\n\
             AuthenticationMethods publickey,{method}"
        );
        let server = sshd(&home, "127.0.0.1", &key, &config);
        let target = server.target();
        let script = "echo ran | tee -a ran";
        let args =
            ["ssh", "m", "--target-host", &target, "-l", &account.name, "-c", "sh", "-c", script];
        let ran = || std::fs::read_to_string(account.home.join("ran")).unwrap_or_default();
        let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
        terminal.expect(prompt);
        assert!(server.log().contains(REFUSED), "{}", server.log());
        assert_eq!(ran(), "");
        // Not with a wrong one either.
        terminal.send("wrong\r");
        terminal.expect_times(prompt, 2);
        assert_eq!(ran(), "");
        terminal.send(&format!("{}\r", account.password));
        terminal.expect("ran");
        assert_eq!(terminal.exit_code(), Some(0));
        assert_eq!(ran(), "ran\n");
    }
}

#[test]
fn a_refused_session_or_request_is_told_as_without() {
    // Keys that allow less, and servers that do.
    let home = Home::new();
    let key = home.default_key();
    let forced = format!("restrict,command=\"echo forced $SSH_ORIGINAL_COMMAND; exit 5\" {key}");
    for (authorized, config, args, code) in [
        (&key, "MaxSessions 0\n", &["box", "true"][..], 255),
        (&key, "PermitTTY no\n", &["-tt", "box", "echo hello"], 0),
        (&key, "", &["-s", "box", "nothing"], 255),
        (&forced, "", &["box", "echo a"], 5),
        (&forced, "", &["-W", "127.0.0.1:1", "box"], 255),
        (&key, "AllowTcpForwarding no\n", &["-W", "127.0.0.1:1", "box"], 255),
        (&key, "AllowTcpForwarding yes\n", &["-W", "127.0.0.1:1", "box"], 255),
        (&key, "ForceCommand echo always\n", &["box", "echo never"], 0),
    ] {
        let place = Place::of(Home::new(), authorized, config).with_files("");
        place.home.write("home/.ssh/id_ed25519", home.read("home/.ssh/id_ed25519"));
        let private = place.home.path("home/.ssh/id_ed25519").display().to_string();
        run("chmod", &["600", &private], "coreutils");
        let run = |ssh: &str, more: &[&str]| {
            let mut command = place.client(ssh, &[more, args].concat());
            Run::of(wait(start(&mut command, "openssh-client")))
        };
        let theirs = run(THEIRS, &["-oLogLevel=ERROR"]);
        let waiting = run(&place.ours(), &["-oPipelining=no"]);
        let ours = run(&place.ours(), &[]);
        assert_eq!(ours.code, Some(code), "{config} {args:?}: {}", ours.stderr);
        assert_eq!((waiting.code, &waiting.stdout), (ours.code, &ours.stdout), "{args:?}");
        // Either may be gone before it has said which channel it was.
        let said = |run: &Run| {
            let lines = run.stderr.lines().filter(|line| !line.starts_with("channel "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(said(&waiting), said(&ours), "{config} {args:?}");
        // It gives up without a terminal that it was to have by all means.
        if !args.contains(&"-tt") {
            assert_eq!(theirs.code, Some(code), "{config} {args:?}: {}", theirs.stderr);
            assert_eq!(theirs.stdout, ours.stdout, "{config} {args:?}");
        }
    }
}

#[test]
fn nothing_is_begun_where_nothing_is_asked_for_or_something_comes_before() {
    let opened = |server: &Server| server.log().matches("server_input_channel_open: ctype").count();
    let counted = Counted::new("");
    let mut command = counted.place.client(&counted.place.ours(), &["-v", "-N", "box"]);
    let mut child = start(&mut command, "");
    until("the login", || counted.place.server.log().contains("Accepted publickey"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(opened(&counted.place.server), 0, "{}", counted.place.server.log());
    child.kill().unwrap();
    child.wait().unwrap();
    // The command here runs before the one there.
    let ran = counted.place.home.path("ran").display().to_string();
    let local = format!("-oLocalCommand=test ! -e {ran} && echo first > {ran}");
    counted.ours(&["-oPermitLocalCommand=yes", &local]).exits(0);
    assert_eq!(counted.place.home.read("ran"), "first\nran\n");
    // A forward that cannot be had ends it before the command.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("-L{}:127.0.0.1:1", taken.local_addr().unwrap());
    counted.ours(&["-oExitOnForwardFailure=yes", &forward]).exits(255);
    assert_eq!(counted.times(), 2);
    assert!(!counted.place.server.log().contains(REFUSED));
}

#[test]
fn an_agent_that_asks_the_user_is_waited_for_and_nothing_is_begun_meanwhile() {
    let counted = Counted::new("");
    let home = &counted.place.home;
    let program = home.script("ask", {
        let path = |name: &str| home.path(name).display().to_string();
        let (asked, answer) = (path("asked"), path("answer"));
        format!(
            "#!/bin/sh\necho asked >> {asked}\nuntil test -e {answer}; do sleep 0.05; done\n\
             exec cat {answer}\n"
        )
    });
    let agent = Agent::with_program(home, &program.display().to_string());
    agent.add(Path::new(&counted.own()), &["-c"]);
    // Only the agent has it.
    std::fs::remove_file(counted.own()).unwrap();
    let script = counted.script();
    let begin = || {
        let mut command = counted.place.client(&counted.place.ours(), &["box", &script]);
        command.env("SSH_AUTH_SOCK", &agent.socket);
        let child = start(&mut command, "");
        until("the question", || home.path("asked").exists());
        child
    };
    let child = begin();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(counted.times(), 0);
    home.write("answer", "yes\n");
    assert_eq!(Run::of(wait(child)).exits(0).text(), "ran\n");
    assert_eq!(counted.times(), 1);
    // Who says no has nothing run.
    std::fs::remove_file(home.path("answer")).unwrap();
    std::fs::remove_file(home.path("asked")).unwrap();
    let child = begin();
    home.write("answer", "no\n");
    Run::of(wait(child)).exits(255);
    assert_eq!(counted.times(), 1);
    assert!(!counted.place.server.log().contains(REFUSED));
}

#[test]
fn the_passphrase_of_a_key_is_asked_for_before_anything_is_begun() {
    let home = Home::new();
    home.keygen("home/.ssh/id_ed25519", "ed25519", "open sesame");
    let key = home.read("home/.ssh/id_ed25519.pub");
    let server = sshd(&home, "127.0.0.1", &key, DEBUG);
    let target = server.target();
    let ran = home.path("ran");
    let script = format!("echo ran | tee -a {}", ran.display());
    let args = ["ssh", "m", "--target-host", &target, "-l", "root", "-c", "sh", "-c", &script];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    terminal.expect("passphrase");
    assert!(!server.log().contains("ctype session") && !server.log().contains(REFUSED));
    terminal.send("open sesame\r");
    terminal.expect("ran");
    assert_eq!(terminal.exit_code(), Some(0));
    assert_eq!(home.read("ran"), "ran\n");
}

#[test]
fn what_is_compressed_once_the_login_has_succeeded_is_not_begun_before() {
    let counted = Counted::new("Compression yes\n");
    assert_eq!(counted.ours(&["-C"]).exits(0).text(), "ran\n");
    let own = counted.own();
    let other = counted.key("other");
    let args = [&["-C"], &keys(&other, &own)[..]].concat();
    assert_eq!(counted.ours(&args).exits(0).text(), "ran\n");
    assert_eq!(counted.times(), 2);
    assert!(!counted.place.server.log().contains(REFUSED));
}

#[test]
fn input_waits_for_the_window() {
    let counted = Counted::new("");
    let data = noise(5 << 20);
    let mut command = counted.place.client(&counted.place.ours(), &["box", "cat"]);
    returns(&mut command, &data);
}

#[test]
fn the_agent_is_lent_to_what_is_begun_and_only_if_the_user_says_so() {
    let counted = Counted::new("AllowAgentForwarding yes\n");
    let agent = Agent::start(&counted.place.home);
    agent.add(Path::new(&counted.own()), &[]);
    let list = |args: &[&str]| {
        let args = [args, &["box", "ssh-add -l"]].concat();
        let mut command = counted.place.client(&counted.place.ours(), &args);
        command.env("SSH_AUTH_SOCK", &agent.socket);
        Run::of(wait(start(&mut command, "")))
    };
    for _ in 0..5 {
        assert!(list(&["-A"]).exits(0).text().contains("SHA256:"));
    }
    list(&[]).exits(2);
}

#[test]
fn other_servers_are_asked_in_the_usual_order() {
    let account = Account::new("ccpdb");
    let home = Home::new();
    let own = home.default_key();
    let other = home.keygen("other", "ed25519", "").display().to_string();
    account.authorize(&own);
    let server = dropbear(&home, &[]);
    let target = server.target();
    let to = ["ssh", "m", "--target-host", &target, "-l", &account.name];
    let script = ["-c", "sh", "-c", "echo ran | tee -a ran"];
    let both = ["-i", &other, "-i", "~/.ssh/id_ed25519"];
    for (times, keys) in [(1, &[][..]), (2, &both)] {
        let done = home.run(&[&to[..], keys, &script].concat()).exits(0);
        assert_eq!(done.text(), "ran\n");
        let ran = std::fs::read_to_string(account.home.join("ran")).unwrap();
        assert_eq!(ran.lines().count(), times);
    }
}
