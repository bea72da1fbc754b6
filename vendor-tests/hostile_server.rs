//! Our client against an SSH server that does what no honest one does (paramiko's,
//! with messages of its own): what that costs is bounded, what is legal is never
//! lost, and the terminal sees no control character.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::{Home, LIMIT, Run, THEIRS, run, start, until, wait};
use crate::scripted::{Scripted, python};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-tests/hostile-server");
/// What a scenario may cost more than an honest session: windows, messages that
/// wait, and buffers. Each sends up to 400 MB.
const MOST_MORE: u64 = 64 << 10;
/// A flood lasts four seconds; several run at once.
const MOST_TIME: Duration = Duration::from_secs(40);

pub(crate) struct Hostile {
    pub(crate) home: Home,
    pub(crate) server: Scripted,
}

impl Hostile {
    pub(crate) fn new(scenario: &str) -> Self {
        let home = Home::new();
        home.default_key();
        Self { home, server: Scripted::start(&[SCRIPT, scenario]) }
    }

    /// The numbers in the line that begins so.
    fn numbers(&self, start: &str) -> Vec<u64> {
        let seen = self.server.seen();
        let line = seen.iter().find(|line| line.starts_with(start)).unwrap();
        line.split(' ').filter_map(|word| word.parse().ok()).collect()
    }

    pub(crate) fn options(&self) -> Vec<String> {
        let path = |name: &str| self.home.path(name).display().to_string();
        [
            "-F",
            "none",
            "-oLogLevel=ERROR",
            "-oIdentitiesOnly=yes",
            "-oBatchMode=yes",
            // Old versions of paramiko know none of ours.
            "-oKexAlgorithms=ecdh-sha2-nistp256",
            "-oStrictHostKeyChecking=accept-new",
            &format!("-oUserKnownHostsFile={}", path("known")),
            "-oGlobalKnownHostsFile=/dev/null",
            "-i",
            &path("home/.ssh/id_ed25519"),
            "-p",
            &self.server.port,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Ours, through these programs.
    pub(crate) fn ours(&self, through: &[&str], args: &[&str]) -> Command {
        let options = self.options();
        let options = options.iter().map(String::as_str);
        let args: Vec<&str> =
            std::iter::once("openssh").chain(options).chain(args.iter().copied()).collect();
        self.home.command_with(&[&["/usr/bin/setsid"], through].concat(), &args)
    }

    pub(crate) fn theirs(&self, args: &[&str]) -> Command {
        let mut command = Command::new(THEIRS);
        command.args(self.options()).args(args).env_clear().env("HOME", self.home.path("home"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What a session of ours took at most, in KiB, and how it went.
fn peak(hostile: &Hostile, args: &[&str]) -> (u64, Duration, Run) {
    let file = hostile.home.path("peak");
    let time = ["/usr/bin/time", "-q", "-f", "%M", "-o", file.to_str().unwrap()];
    let mut command = hostile.ours(&time, &[args, &["root@127.0.0.1", "cmd"]].concat());
    let started = Instant::now();
    let done = Run::of(wait(start(command.stdout(Stdio::null()), "time")));
    let peak = hostile.home.read("peak").trim().parse().unwrap();
    (peak, started.elapsed(), done)
}

#[test]
fn messages_that_nobody_knows_are_said_to_be_unknown_and_end_nothing() {
    for scenario in ["unknown-messages", "unknown-early", "banner-first"] {
        let hostile = Hostile::new(scenario);
        let args = ["root@127.0.0.1", "cmd"];
        for ours in [false, true] {
            if scenario != "unknown-messages" && !ours {
                // OpenSSH ends the connection at these before it is logged in. RFC 4253
                // has an answer for what is unknown, and RFC 4252 a banner at any time.
                continue;
            }
            let mut command = if ours { hostile.ours(&[], &args) } else { hostile.theirs(&args) };
            let done = Run::of(wait(start(&mut command, "openssh-client")));
            assert_eq!(done.code, Some(7), "{scenario}, ours {ours}: {done:?}");
            assert_eq!(done.text(), "hello\n", "{scenario}");
            if scenario == "unknown-messages" {
                hostile.server.waits_for("unknown 2");
            }
        }
    }
    // But not for ever.
    for scenario in ["unknown-endless", "unknown-early-endless"] {
        let hostile = Hostile::new(scenario);
        let began = Instant::now();
        let mut command = hostile.ours(&[], &["root@127.0.0.1", "cmd"]);
        Run::of(wait(start(&mut command, "openssh-client"))).exits(255);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn whatever_a_server_sends_is_bounded_in_memory_time_and_words() {
    let list = run(python(), &[SCRIPT, "list"], "python3-paramiko");
    // That one needs a listener.
    let scenarios: Vec<&str> = list.lines().filter(|name| *name != "forwards").collect();
    assert!(scenarios.len() > 60, "{scenarios:?}");
    let (honest, _, done) = peak(&Hostile::new("honest"), &[]);
    done.exits(7);
    let (next, wrong) = (Mutex::new(scenarios.iter()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(scenario) = next.lock().unwrap().next() else { return };
            let (peak, time, done) = peak(&Hostile::new(scenario), &[]);
            println!("{scenario}: {peak} KiB, {time:?}, {:?}", done.code);
            let strange = |c: char| c.is_control() && !"\r\n\t".contains(c) || c == '\u{202e}';
            let words = done.stderr.len() > 4 << 20
                || done.stderr.contains(strange)
                || done.stderr.contains("panicked");
            let code = done.code.is_none_or(|code| ![3, 7, 137, 143, 255].contains(&code));
            if peak > honest + MOST_MORE || time > MOST_TIME || words || code {
                let text: String = done.stderr.chars().take(500).collect();
                wrong.lock().unwrap().push(format!("{scenario}: {peak} KiB, {time:?}, {text}"));
            }
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "an honest session took {honest} KiB; {}", wrong.join("\n"));
}

#[test]
fn the_key_of_a_server_stays_the_same_in_later_key_exchanges() {
    let hostile = Hostile::new("another-key");
    let args = ["-o", "HostKeyAlgorithms=+ecdsa-sha2-nistp256", "root@127.0.0.1", "cmd"];
    let done = Run::of(wait(start(&mut hostile.ours(&[], &args), ""))).exits(255);
    assert!(!done.text().contains("after"), "{}", done.text());
    done.says(&["the server has changed its key in the middle of the session"]);
}

#[test]
fn channels_that_nobody_asked_for_are_refused_once_with_the_reason() {
    let hostile = Hostile::new("refusals");
    Run::of(wait(start(&mut hostile.ours(&[], &["root@127.0.0.1", "cmd"]), ""))).exits(7);
    let mut seen = hostile.server.seen();
    seen.retain(|line| !line.starts_with("port "));
    seen.sort();
    let expected = [
        "refused auth-agent@openssh.com 1",
        "refused direct-streamlocal@openssh.com 1",
        "refused direct-tcpip 1",
        "refused forwarded-streamlocal@openssh.com 1",
        "refused forwarded-tcpip 1",
        "refused nobody@example.com 3",
        "refused session 1",
        "refused tun@openssh.com 3",
        "refused x11 1",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn connections_through_a_listener_are_bounded_in_number() {
    let hostile = Hostile::new("forwards");
    // Whoever connects is accepted by the system alone, and nobody reads.
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&target, 2000).unwrap();
    let forward = format!("7777:{}", target.local_addr().unwrap());
    let args = ["-R", &forward, "root@127.0.0.1", "cmd"];
    let through = ["/usr/bin/prlimit", "--nofile=4096"];
    wait(start(&mut hostile.ours(&through, &args), "util-linux"));
    let mut seen = hostile.server.seen();
    seen.retain(|line| line.starts_with("accepted") || line.starts_with("refused"));
    // 4 is a shortage of resources (RFC 4254, section 5.1).
    assert_eq!(seen, ["accepted 1000", "refused 4 50"]);
}

/// Lets a session run into a full pipe, and reads only when the server has sent
/// everything.
fn paused(hostile: &Hostile, mut command: Command) -> Run {
    let child = start(&mut command, "openssh-client");
    hostile.server.waits_for("sent all");
    hostile.server.forget("sent all");
    Run::of(wait(child))
}

fn pieces(mark: &str, count: usize) -> String {
    (0..count).map(|number| format!("{mark}{number:07}\n")).collect()
}

#[test]
fn a_reader_that_pauses_loses_nothing() {
    let long = "x".repeat(53);
    let (bytes_out, bytes_err) = ("o".repeat(9_000), "e".repeat(9_000));
    let cases = [
        ("small-errors", String::new(), pieces(&long, 18_000)),
        ("small-both", pieces("out", 9_000), pieces("err", 9_000)),
        ("bytes-of-both", bytes_out, bytes_err),
    ];
    for (scenario, stdout, stderr) in cases {
        let hostile = Hostile::new(scenario);
        let args = ["root@127.0.0.1", "cmd"];
        for command in [hostile.theirs(&args), hostile.ours(&[], &args)] {
            let program = command.get_program().to_owned();
            let done = paused(&hostile, command).exits(7);
            assert!(done.text() == stdout, "{scenario}, {program:?}: {} bytes", done.stdout.len());
            assert!(done.stderr == stderr, "{scenario}, {program:?}: {}", done.stderr.len());
        }
    }
}

#[test]
fn a_session_whose_reader_pauses_is_no_matter_to_others_of_its_master() {
    let hostile = Hostile::new("small-errors");
    let socket = hostile.home.path("m");
    let to = ["-S", socket.to_str().unwrap(), "root@127.0.0.1"];
    let mut master = start(&mut hostile.ours(&[], &[&["-M", "-N"], &to[..]].concat()), "");
    until("the master", || socket.exists());
    let session = || start(&mut hostile.ours(&[], &[&to[..], &["cmd"]].concat()), "");
    let pausing = session();
    hostile.server.waits_for("sent all");
    let expected = pieces(&"x".repeat(53), 18_000);
    let other = Run::of(wait(session())).exits(7);
    assert!(other.stderr == expected, "{} bytes", other.stderr.len());
    let pausing = Run::of(wait(pausing)).exits(7);
    assert!(pausing.stderr == expected, "{} bytes", pausing.stderr.len());
    let _ = master.kill();
    master.wait().unwrap();
}

#[test]
fn messages_that_are_no_data_end_the_connection_when_there_are_too_many() {
    let hostile = Hostile::new("exit-signals");
    let file = hostile.home.path("peak");
    let time = ["/usr/bin/time", "-q", "-f", "%M", "-o", file.to_str().unwrap()];
    let mut command = hostile.ours(&time, &["root@127.0.0.1", "cmd"]);
    let child = start(&mut command, "time");
    // Nobody reads what comes before them until they have been sent.
    hostile.server.waits_for("flood");
    // The last word on how it ended is one of them: by a signal.
    let done = Run::of(wait(child)).exits(255);
    assert_eq!(done.stdout.len(), 200_000, "what came before is not lost");
    let sent = hostile.numbers("flood")[0];
    assert!(sent < 100, "{sent} messages of 250 kB were taken");
    let peak: u64 = hostile.home.read("peak").trim().parse().unwrap();
    let (honest, ..) = self::peak(&Hostile::new("honest"), &[]);
    assert!(peak < honest + MOST_MORE, "{peak} KiB against {honest} KiB");
    let hostile = Hostile::new("unread-answers");
    let child = start(&mut hostile.ours(&[], &["root@127.0.0.1", "cmd"]), "");
    hostile.server.waits_for("flood");
    let done = Run::of(wait(child)).exits(255);
    assert_eq!(done.stdout.len(), 200_000, "what came before is not lost");
    done.says(&["too many unexpected messages"]);
}

#[test]
fn a_window_grows_for_a_reader_that_is_quick_and_for_no_other() {
    // On a computer that does something else just then, nobody is quick.
    let most = || {
        let hostile = Hostile::new("windows");
        let (_, _, done) = peak(&hostile, &[]);
        done.exits(7);
        let number = |start: &str| *hostile.numbers(start).last().unwrap();
        assert_eq!(number("first window"), 2 << 20);
        assert!(number("most") <= 16 << 20, "{}", number("most"));
        number("most")
    };
    assert!((0..5).any(|_| most() > 6 << 20), "five times it has not grown");
    // Nobody reads, so that all the server can send is the first window.
    let hostile = Hostile::new("windows");
    let mut child = start(&mut hostile.ours(&[], &["root@127.0.0.1", "cmd"]), "");
    hostile.server.waits_for("first window");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        assert!(!hostile.server.says("most"), "32 MiB were sent to a reader that does not read");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut bytes = 0;
    let mut reader = child.stdout.take().unwrap();
    let mut chunk = vec![0; 1 << 16];
    while let Ok(count @ 1..) = reader.read(&mut chunk) {
        bytes += count;
        assert!(started.elapsed() < LIMIT);
    }
    assert_eq!(bytes, 32 << 20);
    assert_eq!(wait(child).status.code(), Some(7));
}
