//! What OpenSSH's own regression tests hold a client to: the same command line by
//! our binary and by OpenSSH's, with the same outcome.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Account, Run, THEIRS, free_port, noise, start, until, wait};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

struct Pair {
    place: Place,
    ours: String,
}

impl Pair {
    fn new(server: &str) -> Self {
        let place = Place::shared(server);
        let ours = place.ours();
        place.ssh(&["box", "true"]).exits(0);
        Self { place, ours }
    }

    fn command(&self, ssh: &str, args: &[&str]) -> Command {
        self.place.client(ssh, args)
    }

    fn run(&self, ssh: &str, args: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(ssh, args), "openssh-client")))
    }

    /// Runs both; they have to agree about the status and every byte of output.
    #[track_caller]
    fn both(&self, args: &[&str]) -> (Run, Run) {
        let (ours, theirs) = (self.run(&self.ours, args), self.run(THEIRS, args));
        assert_eq!(ours.code, theirs.code, "{args:?}\nours: {ours:?}\ntheirs: {theirs:?}");
        assert!(ours.stdout == theirs.stdout, "{args:?}\nours: {ours:?}\ntheirs: {theirs:?}");
        (ours, theirs)
    }

    /// The same, with every byte of the messages.
    #[track_caller]
    fn same(&self, args: &[&str]) -> Run {
        let (ours, theirs) = self.both(args);
        // OpenSSH ends its own lines as a raw terminal needs it.
        let plain = |text: &str| text.replace("\r\n", "\n");
        assert_eq!(plain(&ours.stderr), plain(&theirs.stderr), "{args:?}");
        ours
    }
}

#[test]
fn statuses_output_and_errors_are_the_same() {
    let pair = Pair::new("");
    for status in ["0", "1", "4", "5", "44", "255"] {
        pair.same(&["box", "exit", status]);
        pair.same(&["box", &format!("sleep 0.1; exec > /dev/null 2>&1; exit {status}")]);
    }
    for script in [
        "echo out; echo err >&2; echo out2",
        "exec > /dev/null; echo late >&2",
        "exec 2> /dev/null; echo only out",
        "printf 'no newline'; printf 'none here' >&2",
        // Errors go on after the end of output.
        "exec 1>&-; head -c 300000 /dev/zero | tr '\\0' e >&2",
        "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2",
        "cat",
        "no-such-command-here",
    ] {
        pair.same(&["box", script]);
        pair.same(&["-n", "box", script]);
        pair.same(&["-T", "box", script]);
    }
    pair.same(&["-tt", "box", "echo on a terminal; exit 3"]);
    pair.same(&["-t", "box", "tty"]);
    pair.same(&["box", "--", "echo", "-n", "a  b", "'c  d'"]);
    pair.same(&["-q", "-p", "1", "box", "true"]);
    pair.both(&["-vvv", "-q", "box", "echo", "verbose"]);
    pair.same(&["box", "kill -TERM $$"]);
    // Nothing to read from, nothing to write to.
    for redirection in ["<&-", ">&-", "2>&-", "<&- 2>&-"] {
        let status = |ssh: &str| {
            let config = pair.place.home.path("home/.ssh/config");
            let script =
                format!("{ssh} -F {} box 'echo out; exit 9' {redirection}", config.display());
            Run::of(wait(start(&mut pair.place.command("sh", &["-c", &script]), "")))
        };
        let (ours, theirs) = (status(&pair.ours), status(THEIRS));
        assert_eq!((ours.code, ours.text()), (theirs.code, theirs.text()), "{redirection}");
    }
}

#[test]
fn every_byte_arrives_whatever_the_size() {
    let pair = Pair::new("");
    let sizes = [0, 1, 10, 100, 1 << 10, 4095, 32 << 10, 64 << 10, (1 << 17) + 1, 5 << 20];
    for size in sizes {
        let data = noise(size);
        let file = pair.place.home.write("data", &data);
        let read = format!("cat {}", file.display());
        assert!(pair.run(&pair.ours, &["box", &read]).exits(0).stdout == data, "{size} down");
        let copy = pair.place.home.path("copy");
        let mut command = pair.command(&pair.ours, &["box", &format!("cat > {}", copy.display())]);
        command.stdin(std::fs::File::open(&file).unwrap());
        assert!(wait(start(&mut command, "")).status.success());
        assert!(std::fs::read(copy).unwrap() == data, "{size} up");
        // The other side may end before it has read everything.
        let mut command = pair.command(&pair.ours, &["box", "exit 6"]);
        command.stdin(std::fs::File::open(&file).unwrap());
        assert_eq!(wait(start(&mut command, "")).status.code(), Some(6), "{size} unread");
    }
    // Sent without a pause before anything is read back: neither side may wait
    // for the other.
    let data = noise(1 << 20);
    let mut child = start(pair.command(&pair.ours, &["box", "cat"]).stdin(Stdio::piped()), "");
    let mut input = child.stdin.take().unwrap();
    input.write_all(&data).unwrap();
    drop(input);
    assert!(wait(child).stdout == data);
}

#[test]
fn uris_and_names_are_understood_alike() {
    let pair = Pair::new("");
    let port = pair.place.server.port();
    let known = pair.place.home.path("home/.ssh/known_hosts").display().to_string();
    let key = pair.place.home.path("home/.ssh/id_ed25519").display().to_string();
    let known = format!("-oUserKnownHostsFile={known}");
    let alone = ["-F", "none", &known, "-oBatchMode=yes", "-i", &key];
    for uri in [
        format!("ssh://root@{IP}:{port}"),
        format!("ssh://root@{IP}:{port}/"),
        format!("ssh://root@[{IP}]:{port}"),
        format!("ssh://ro%6ft@{IP}:{port}"),
    ] {
        let done = pair.both(&[&alone[..], &[&uri, "echo", "in"]].concat());
        assert_eq!(done.0.text(), "in\n", "{uri}");
    }
    for bad in ["ssh://", "ssh://root@", "ssh://h:x", "ssh://h:1:2", "ssh://h/path", "@h", "-x@h"] {
        pair.both(&[&alone[..], &["--", bad, "true"]].concat());
    }
    pair.both(&[&alone[..], &["-p", &port, &format!("root@{IP}"), "echo in"]].concat());
    pair.both(&[&alone[..], &["-p", &port, "-l", "root", "LOCALHOST", "echo in"]].concat());
    for args in [
        &["-p", "0", "box"][..],
        &["-p", "x", "box"],
        &["-p", "70000", "box"],
        &["-oPort=0", "box"],
        &["-l", "-x", "box"],
        &["-o", "Port", "box"],
        &["-oNoSuchOption=1", "box"],
        &["-L", "1", "box"],
        &["-R", "a:b:c:d:e", "box"],
        &["-D", "x", "box"],
        &["-W", "x", "box"],
        &["-O", "dance", "-S", "/x", "box"],
        &["-O", "check", "box"],
        &["-Q", "nothing"],
        &["-z"],
        &[],
    ] {
        pair.both(args);
    }
}

#[test]
fn the_environment_is_sent_as_it_is_said() {
    let pair = Pair::new("AcceptEnv _TEST_* OTHER\n");
    let run = |ssh: &str, args: &[&str]| {
        let script = "env | grep -E '^(_TEST_|OTHER)' | sort";
        let mut command = pair.command(ssh, &[args, &["box", script]].concat());
        for (name, value) in [("_TEST_A", "1"), ("_TEST_B", "2"), ("OTHER", "3 = 4")] {
            command.env(name, value);
        }
        Run::of(wait(start(&mut command, ""))).text()
    };
    for args in [
        &[][..],
        &["-oSendEnv=_TEST_A"],
        &["-oSendEnv=_TEST_? OTHER"],
        &["-oSendEnv=_TEST_*", "-oSendEnv=OTHER"],
        &["-oSetEnv=_TEST_A=set"],
        &["-oSetEnv=_TEST_A=set", "-oSendEnv=_TEST_*"],
        &["-oSetEnv=_TEST_C=\"a b\" OTHER=", "-oSetEnv=_TEST_D=no"],
        &["-oSendEnv=NOTHING"],
    ] {
        assert_eq!(run(&pair.ours, args), run(THEIRS, args), "{args:?}");
    }
}

#[test]
fn every_token_stands_for_the_same() {
    let pair = Pair::new("");
    let local = |token: &str| {
        let command = format!("-oLocalCommand=printf '%%s\\n' '{token}'");
        let args = ["-oPermitLocalCommand=yes", &command, "box", "true"];
        let (ours, _) = pair.both(&args);
        assert_eq!(ours.text().lines().count(), 1, "{token}: {ours:?}");
    };
    for token in ["C", "h", "i", "k", "L", "l", "n", "p", "r", "T", "u", "%"] {
        local(&format!("%{token}"));
    }
    pair.both(&["-oPermitLocalCommand=yes", "-oLocalCommand=echo %Z", "box", "true"]);
    pair.both(&["-oPermitLocalCommand=no", "-oLocalCommand=echo local", "box", "echo remote"]);
    pair.both(&["-oRemoteCommand=echo %n %h %p %r", "box"]);
    pair.both(&["-oRemoteCommand=echo one", "box", "echo two"]);
    for keyword in ["ControlPath", "IdentityAgent"] {
        pair.both(&[
            &format!("-o{keyword}=/x/%h-%p-%r-%n-%C-%l-%L-%i-%u"),
            "-S",
            "none",
            "box",
            "true",
        ]);
    }
    let path = |ssh: &str| {
        let shown = pair.run(ssh, &["-G", "-S", "/x/%C-%h-%n", "-l", "you", "box"]).exits(0).text();
        shown.lines().find(|line| line.starts_with("controlpath")).unwrap().to_owned()
    };
    assert_eq!(path(&pair.ours), path(THEIRS));
    // Of files: a known hosts file that is named by tokens and variables.
    let dir = pair.place.home.path("kh-box").display().to_string();
    std::fs::copy(pair.place.home.path("home/.ssh/known_hosts"), &dir).unwrap();
    let named = format!("-oUserKnownHostsFile={}", dir.replace("kh-box", "kh-%n"));
    pair.both(&[&named, "-oStrictHostKeyChecking=yes", "box", "echo found"]);
    let named = format!("-oUserKnownHostsFile={}", dir.replace("kh-box", "kh-${LC_WHICH}"));
    pair.both(&[&named, "-oStrictHostKeyChecking=yes", "box", "echo found"]);
    // Of a program that knows the host keys.
    let log = pair.place.home.path("asked");
    let known = pair.place.home.path("home/.ssh/known_hosts");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nsed 's/^[^ ]*/box/' {}\n",
        log.display(),
        known.display()
    );
    let script = pair.place.home.script("keys", &script);
    let asked = |ssh: &str| {
        let _ = std::fs::remove_file(&log);
        let words = "%% %C %h %i %k %L %l %n %p %r %u %f %H %I %K %t";
        let program = format!("-oKnownHostsCommand={} {words}", script.display());
        let strict = ["-oUserKnownHostsFile=none", "-oStrictHostKeyChecking=yes"];
        let args = [&[&*program][..], &strict, &["-oHostKeyAlias=box", "box", "true"]].concat();
        pair.run(ssh, &args).exits(0);
        std::fs::read_to_string(&log).unwrap().lines().last().unwrap().to_owned()
    };
    assert_eq!(asked(&pair.ours), asked(THEIRS));
}

#[test]
fn files_that_are_wrong_are_refused_alike() {
    let pair = Pair::new("");
    let config = pair.place.home.read("home/.ssh/config");
    let try_with = |text: &str| {
        let file = pair.place.home.write("try", format!("{text}\n{config}"));
        pair.both(&["-F", file.to_str().unwrap(), "box", "echo", "ran"]).0
    };
    for good in [
        "# comment\n\n  \t\nHost other\nPort 1",
        "Host \"box\"\nSetEnv A=b",
        "Match all\nSetEnv A=b",
        "Match host box user root\nCompression yes",
        "Match !host box\nPort 1",
        "Match exec \"false\"\nPort 1",
        "Match exec \"test %n = box\"\nCompression yes",
        "Match originalhost box localuser root\nCompression=yes",
        "IgnoreUnknown Fancy*\nFancyOption 1",
        "Include /nonexistent/*.conf",
        "Protocol 2\nUsePrivilegedPort no",
        "HOST box\nCOMPRESSION YES",
        "ServerAliveInterval 10 # why",
    ] {
        assert_eq!(try_with(good).exits(0).text(), "ran\n", "{good}");
    }
    for bad in [
        "NoSuchOption 1",
        "Port",
        "Port x",
        "Port 99999",
        "Compression maybe",
        "Match",
        "Match nonsense x",
        "Match host",
        "Host",
        "HostName \"unclosed",
        "StrictHostKeyChecking perhaps",
        "LocalForward 1",
        "ConnectTimeout soon",
        "ServerAliveInterval x",
        "RequestTTY perhaps",
        "AddressFamily inet5",
        "ControlMaster perhaps",
        "RekeyLimit x",
        "Host other\nNoSuchOption 1",
        "Port 22 23",
    ] {
        let done = try_with(bad).exits(255);
        let origin = done.stderr.contains("line ") || done.stderr.contains("command-line");
        assert!(origin, "{bad}: {}", done.stderr);
    }
}

/// Asks by SOCKS for a connection, and returns it.
fn socks(proxy: u16, version: u8, host: &str, port: u16) -> TcpStream {
    let mut stream = TcpStream::connect((IP, proxy)).unwrap();
    let name = host.as_bytes();
    match version {
        4 => {
            let ip: std::net::Ipv4Addr = host.parse().unwrap();
            let bytes = [&[4, 1][..], &port.to_be_bytes(), &ip.octets(), b"me\0"].concat();
            stream.write_all(&bytes).unwrap();
        }
        // 4a: a name, and an address that cannot be.
        40 => {
            let bytes = [&[4, 1][..], &port.to_be_bytes(), &[0, 0, 0, 1], b"me\0", name, b"\0"];
            stream.write_all(&bytes.concat()).unwrap();
        }
        _ => {
            stream.write_all(&[5, 1, 0]).unwrap();
            stream.read_exact(&mut [0; 2]).unwrap();
            let length = u8::try_from(name.len()).unwrap();
            let bytes = [&[5, 1, 0, 3, length][..], name, &port.to_be_bytes()].concat();
            stream.write_all(&bytes).unwrap();
        }
    }
    let mut reply = vec![0; if version == 5 { 10 } else { 8 }];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[1], if version == 5 { 0 } else { 90 }, "{version} {host}");
    stream
}

/// Says what it hears, until there is no more.
fn echo() -> u16 {
    let listener = TcpListener::bind((IP, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut back = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut &stream, &mut back);
                let _ = stream.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    port
}

fn says(mut stream: TcpStream, data: &[u8]) {
    let mut writer = stream.try_clone().unwrap();
    let sent = data.to_vec();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    writing.join().unwrap();
    assert!(heard == data, "{} of {} bytes", heard.len(), data.len());
}

#[test]
fn every_kind_of_forward_carries_a_hundred_connections() {
    let pair = Pair::new("AllowTcpForwarding yes\nMaxSessions 100\n");
    let to = echo();
    let (l, d, r, rd) = (free_port(IP), free_port(IP), free_port(IP), free_port(IP));
    let config = pair.place.home.read("home/.ssh/config");
    // Those of the configuration count with those of the command line.
    let more = format!("  LocalForward {l} localhost:{to}\n  DynamicForward {d}\n");
    pair.place.home.write("home/.ssh/config", config + &more);
    let (remote, dynamic) = (format!("{IP}:{r}:localhost:{to}"), format!("{IP}:{rd}"));
    let args = ["-N", "-oExitOnForwardFailure=yes", "-R", &remote, "-R", &dynamic, "box"];
    let data = noise(200 << 10);
    let time = |client: &str| {
        let mut ssh = start(&mut pair.command(client, &args), "openssh-client");
        let all = [l, d, r, rd];
        until("the listeners", || all.iter().all(|at| TcpStream::connect((IP, *at)).is_ok()));
        let started = Instant::now();
        std::thread::scope(|scope| {
            for at in 0..100 {
                let data = &data;
                let (version, host) = [(4, IP), (40, "localhost"), (5, "localhost")][at / 4 % 3];
                scope.spawn(move || {
                    let stream = match at % 4 {
                        0 => TcpStream::connect((IP, l)).unwrap(),
                        1 => TcpStream::connect((IP, r)).unwrap(),
                        2 => socks(d, version, host, to),
                        _ => socks(rd, version, host, to),
                    };
                    says(stream, data);
                });
            }
        });
        let elapsed = started.elapsed();
        ssh.kill().unwrap();
        ssh.wait().unwrap();
        until("their end", || TcpStream::connect((IP, r)).is_err());
        elapsed
    };
    let (ours, theirs) = (time(&pair.ours), time(THEIRS));
    println!(
        "100 connections of 200 KiB each way: {ours:?}, OpenSSH {theirs:?}, ratio {:.2}",
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
    // With ClearAllForwardings nothing listens, and nothing fails.
    let busy = TcpListener::bind((IP, l)).unwrap();
    let clear = ["-oClearAllForwardings=yes", "-oExitOnForwardFailure=yes", "box", "echo", "ran"];
    assert_eq!(pair.both(&clear).0.exits(0).text(), "ran\n");
    let taken = format!("{IP}:{l}:{IP}:1");
    let strict = ["-F", "CONFIG", "-oExitOnForwardFailure=yes", "box", "echo", "ran"];
    let plain = pair.place.home.read("home/.ssh/config").replace(&more, "");
    let plain = pair.place.home.write("plain", plain).display().to_string();
    let strict = strict.map(|word| if word == "CONFIG" { plain.as_str() } else { word });
    pair.both(&[&["-L", &taken], &strict[..]].concat()).0.exits(255);
    let lenient = ["-F", &plain, "-L", &taken, "box", "echo", "ran"];
    assert_eq!(pair.both(&lenient).0.exits(0).text(), "ran\n");
    drop(busy);
    let twice = [&["-R", &remote], &["-R", &remote][..], &strict].concat();
    pair.both(&twice);
}

#[test]
fn a_server_that_forwards_nothing_is_told_apart() {
    let pair = Pair::new("AllowTcpForwarding no\nAllowStreamLocalForwarding no\n");
    let (l, r) = (free_port(IP), free_port(IP));
    let local = format!("{l}:{IP}:{}", pair.place.server.port());
    let mut ssh = start(&mut pair.command(&pair.ours, &["-N", "-L", &local, "box"]), "");
    until("the listener", || TcpStream::connect((IP, l)).is_ok());
    let mut refused = Vec::new();
    TcpStream::connect((IP, l)).unwrap().read_to_end(&mut refused).unwrap();
    assert!(refused.is_empty());
    assert!(ssh.try_wait().unwrap().is_none(), "one refused connection is not the end");
    ssh.kill().unwrap();
    ssh.wait().unwrap();
    let to = format!("{IP}:{}", pair.place.server.port());
    let (ours, theirs) = pair.both(&["-W", &to, "box"]);
    assert!(ours.stderr.contains("stdio forwarding failed"), "{ours:?}");
    assert!(theirs.stderr.contains("stdio forwarding failed"), "{theirs:?}");
    let remote = format!("{IP}:{r}:{to}");
    pair.both(&["-oExitOnForwardFailure=yes", "-R", &remote, "box", "echo", "ran"]).0.exits(255);
    let warned = pair.both(&["-R", &remote, "box", "echo", "ran"]).0.exits(0);
    warned.says(&["remote port forwarding failed"]);
}

#[test]
fn a_session_outlasts_its_command_while_connections_are_forwarded() {
    let pair = Pair::new("");
    let to = echo();
    let l = free_port(IP);
    let local = format!("{l}:{IP}:{to}");
    let args = ["-L", &local, "box", "echo $$; read line; echo over"];
    let mut ssh = start(pair.command(&pair.ours, &args).stdin(Stdio::piped()), "");
    let mut output = BufReader::new(ssh.stdout.take().unwrap()).lines();
    let shell = output.next().unwrap().unwrap();
    until("the listener", || TcpStream::connect((IP, l)).is_ok());
    let mut stream = TcpStream::connect((IP, l)).unwrap();
    ssh.stdin.take().unwrap().write_all(b"end\n").unwrap();
    assert_eq!(output.next().unwrap().unwrap(), "over");
    until("the command's end", || !Path::new("/proc").join(&shell).exists());
    stream.write_all(b"still").unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still");
    assert!(ssh.try_wait().unwrap().is_none());
    drop(stream);
    assert!(wait(ssh).status.success());
}

#[test]
fn banners_and_dead_servers_are_told_of() {
    let place = Pair::new("").place;
    let banner = place.home.write("banner", "be welcome \u{1b}[31m\n");
    let pair = Pair::new(&format!("Banner {}\n", banner.display()));
    let shown = pair.run(&pair.ours, &["box", "true"]).exits(0).stderr;
    assert!(shown.contains("be welcome") && !shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(pair.same(&["-q", "box", "true"]).stderr, "");
    assert_eq!(pair.same(&["-oLogLevel=ERROR", "box", "true"]).stderr, "");
    // A server that stops answers nothing more.
    let alive =
        ["-oServerAliveInterval=1", "-oServerAliveCountMax=2", "box", "echo $PPID; sleep 60"];
    let mut ssh = start(&mut pair.command(&pair.ours, &alive), "");
    let mut line = String::new();
    let mut output = std::io::BufReader::new(ssh.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    let session: i32 = line.trim().parse().unwrap();
    crate::harness::signal(session, rustix::process::Signal::STOP);
    let started = Instant::now();
    let done = Run::of(wait(ssh)).exits(255);
    crate::harness::signal(session, rustix::process::Signal::KILL);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    done.says(&["Timeout, server 127.0.0.1 not responding."]);
}

#[test]
fn subsystems_are_run_and_missed() {
    let pair = Pair::new("Subsystem shout tr a-z A-Z\n");
    let shout = |ssh: &str| {
        let mut child = start(pair.command(ssh, &["-s", "box", "shout"]).stdin(Stdio::piped()), "");
        child.stdin.take().unwrap().write_all(b"loud\n").unwrap();
        Run::of(wait(child)).exits(0).text()
    };
    assert_eq!((shout(&pair.ours), shout(THEIRS)), ("LOUD\n".to_owned(), "LOUD\n".to_owned()));
    let (ours, _) = pair.both(&["-s", "box", "whisper"]);
    ours.says(&["subsystem request failed on channel 0"]);
    pair.both(&["-s", "box"]);
    pair.same(&["-f", "box"]);
    // A program that is no way there.
    for broken in ["false", "echo hello", "no-such-program-here"] {
        let proxy = format!("-oProxyCommand={broken}");
        let (ours, theirs) = pair.both(&[&proxy, "box", "true"]);
        ours.says(&["Connection closed by remote host"]);
        // OpenSSH's words depend on whether its own greeting was written before.
        assert!(
            theirs.stderr.contains("Connection closed by remote host")
                || theirs.stderr.contains("Broken pipe"),
            "{}",
            theirs.stderr
        );
    }
    let (ours, theirs) = pair.both(&["-oHostName=nowhere.invalid", "box", "true"]);
    println!("{}{}", ours.stderr, theirs.stderr);
    // What the user's own command reads is not the machine's.
    let own = ["-oPermitLocalCommand=yes", "-oLocalCommand=cat; echo own", "-n", "box", "echo it"];
    assert_eq!(pair.same(&own).text(), "own\nit\n");
}

#[test]
fn passwords_are_asked_for_as_often_as_is_allowed() {
    let account = Account::new("regress");
    let pair = Pair::new("PasswordAuthentication yes\nUsePAM no\nMaxAuthTries 10\n");
    let to = format!("{}@box", account.name);
    let ask = |ssh: &str, answer: &str, options: &[&str]| {
        let script = "#!/bin/sh\necho asked >> asked\ncat answer\n";
        let script = pair.place.home.script("askpass", script);
        pair.place.home.write("answer", answer);
        let _ = std::fs::remove_file(pair.place.home.path("asked"));
        let fixed = ["-oPreferredAuthentications=password"];
        let mut command = pair.command(ssh, &[&fixed, options, &[&to, "id -un"]].concat());
        command.env("SSH_ASKPASS", &script).env("SSH_ASKPASS_REQUIRE", "force");
        let done = Run::of(wait(start(&mut command, "")));
        (done.code, done.text(), pair.place.home.read("asked").lines().count())
    };
    let both = |answer: &str, options: &[&str]| {
        let ours = ask(&pair.ours, answer, options);
        assert_eq!(ours, ask(THEIRS, answer, options), "{options:?}");
        ours
    };
    let right = both(&account.password, &[]);
    assert_eq!(right, (Some(0), format!("{}\n", account.name), 1));
    assert_eq!(both("wrong", &["-oNumberOfPasswordPrompts=2"]), (Some(255), String::new(), 2));
    assert_eq!(both(&account.password, &["-oBatchMode=yes"]), (Some(255), String::new(), 0));
    assert_eq!(both(&account.password, &["-oPasswordAuthentication=no"]).0, Some(255));
}
