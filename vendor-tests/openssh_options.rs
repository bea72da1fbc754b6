//! Options of ssh_config(5), with OpenSSH's server, agent and certificates.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Run, THEIRS, Terminal, free_port, noise, start, until, wait};
use crate::openssh::Agent;
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

/// Runs a program with this agent.
fn with(agent: &Agent, place: &Place, program: &str, args: &[&str]) -> Run {
    let mut command = place.command(program, args);
    command.env("SSH_AUTH_SOCK", &agent.1);
    Run::of(wait(start(&mut command, "openssh-client")))
}

fn holds(agent: &Agent, place: &Place) -> bool {
    with(agent, place, "/usr/bin/ssh-add", &["-l"]).text().contains("ED25519")
}

/// Options that are accepted for those who have them in their files are told with `-v`.
#[test]
fn what_changes_nothing_is_said_to_who_asks() {
    let place = Place::ready();
    let library = "/nonexistent/pkcs11.so";
    let words = "warning: PKCS11Provider changes nothing: no library is loaded; ssh-add -s lends \
                 its keys to an agent\n";
    let option = format!("-oPKCS11Provider={library}");
    for args in [&["-I", library][..], &[&option], &["-I", library, &option]] {
        let done = place.ssh(&[args, &["box", "echo", "in"]].concat()).exits(0);
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", words), "{args:?}");
        let quiet = place.ssh(&[&["-q"], args, &["box", "true"]].concat()).exits(0);
        assert_eq!(quiet.stderr, "");
        assert!(!place.ssh(&[args, &["-G", "box"]].concat()).exits(0).stderr.contains("warning"));
    }
    for none in ["-oPKCS11Provider=none", "-oGSSAPIAuthentication=yes", "-oCheckHostIP=yes"] {
        assert_eq!(place.ssh(&[none, "box", "true"]).exits(0).stderr, "", "{none}");
    }
    // What stands in a file is no news to whoever has it there.
    let config = place.home.read("home/.ssh/config")
        + &format!("  PKCS11Provider {library}\n  GSSAPIAuthentication no\n  CheckHostIP yes\n");
    place.home.write("home/.ssh/config", config);
    assert_eq!(place.ssh(&["box", "true"]).exits(0).stderr, "");
    let verbose = place.ssh(&["-v", "-oHostbasedAuthentication=yes", "-K", "box", "true"]).exits(0);
    for name in ["PKCS11Provider", "CheckHostIP", "HostbasedAuthentication", "GSSAPIAuthentication"]
    {
        let line = format!("debug1: {name} changes nothing here\r\n");
        assert_eq!(verbose.stderr.matches(&line).count(), 1, "{name}: {}", verbose.stderr);
    }
    let verbose = place.ssh(&["-v", "-oCheckHostIP=no", "box", "true"]).exits(0).stderr;
    for name in ["CheckHostIP", "GSSAPIAuthentication", "Tunnel", "VisualHostKey"] {
        assert!(!verbose.contains(&format!("{name} changes")), "{verbose}");
    }
}

/// Where there is no device, OpenSSH's client says the same.
#[test]
fn a_tunnel_that_there_is_none_of_is_told() {
    let place = Place::ready();
    let said = "Tunnel device open failed.\nCould not request tunnel forwarding.\n";
    let both = |args: &[&str], code: i32, said: &str| {
        // In a namespace without /dev/net, where OpenSSH has none either.
        let hide = "mount -t tmpfs none /dev/net 2>/dev/null; exec \"$@\"";
        let config = place.home.path("home/.ssh/config");
        for ssh in [place.ours(), THEIRS.to_owned()] {
            let through = ["-m", "/bin/sh", "-c", hide, "sh", &ssh, "-F", config.to_str().unwrap()];
            let mut command = place.command("/usr/bin/unshare", &[&through, args].concat());
            let done = Run::of(wait(start(&mut command, "util-linux"))).exits(code);
            assert_eq!(done.stderr.replace('\r', ""), said, "{ssh} {args:?}");
        }
    };
    both(&["-w", "any:any", "box", "true"], 0, said);
    both(&["-oTunnel=ethernet", "-w", "3", "box", "true"], 0, said);
    both(&["-oTunnel=yes", "box", "true"], 0, said);
    both(&["-oTunnelDevice=3:4", "box", "true"], 0, "");
    both(&["-oTunnel=no", "-w", "3:4", "box", "true"], 0, "");
    both(&["-oClearAllForwardings=yes", "-w", "3:4", "box", "true"], 0, "");
    both(&["-q", "-w", "3:4", "box", "true"], 0, "");
    // The command may not have left together with the login.
    let ran = place.home.path("ran");
    let touch = format!("touch {}", ran.display());
    for way in [&["-w", "any"][..], &["-w", "0:0"], &["-oTunnel=ethernet"], &["-oTunnel=yes"]] {
        let exit = ["-oExitOnForwardFailure=yes", "box", &touch];
        both(&[way, &exit].concat(), 255, said);
    }
    assert!(!ran.exists());
    both(&["-w", "x:y", "box", "true"], 255, "Bad tun device 'x:y'\n");
    for args in [&["-G", "-w", "3:4", "h"][..], &["-G", "-oTunnel=ethernet", "-w", "any", "h"]] {
        let shown = |ssh: &str| {
            let text = Run::of(wait(start(&mut place.client(ssh, args), ""))).exits(0).text();
            text.lines().filter(|line| line.starts_with("tunnel")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(shown(&place.ours()), shown(THEIRS), "{args:?}");
    }
}

#[test]
fn keys_are_given_to_the_agent_when_the_user_wants_it() {
    let place = Place::new("");
    let agent = Agent::start(&place.home, &[]);
    let ssh = |args: &[&str]| with(&agent, &place, &place.ours(), args);
    ssh(&["box", "true"]).exits(0);
    assert!(!holds(&agent, &place));
    ssh(&["-oAddKeysToAgent=2", "box", "true"]).exits(0);
    assert!(holds(&agent, &place));
    until("the end of the key's time", || !holds(&agent, &place));
    let askpass = |answer: &str| {
        let script = place.home.script("askpass", format!("#!/bin/sh\necho {answer}\n"));
        let ssh = place.home.path("bin/ssh");
        let mut command =
            place.command(ssh.to_str().unwrap(), &["-oAddKeysToAgent=ask", "box", "true"]);
        command.env("SSH_AUTH_SOCK", &agent.1).env("SSH_ASKPASS", &script);
        command.env("SSH_ASKPASS_REQUIRE", "force");
        Run::of(wait(start(&mut command, ""))).exits(0);
    };
    askpass("no");
    assert!(!holds(&agent, &place));
    askpass("yes");
    assert!(holds(&agent, &place));
    ssh(&["-oAddKeysToAgent=whenever", "box", "true"]).exits(255).says(&["unsupported option"]);
}

#[test]
fn keys_are_exchanged_again_as_often_as_is_asked_for() {
    let place = Place::new("LogLevel DEBUG1\n");
    let data = noise(4 << 20);
    for limit in ["-oRekeyLimit=256k", "-oRekeyLimit=default 1"] {
        let before = place.server.log().matches("SSH2_MSG_NEWKEYS received").count();
        let ssh = place.home.path("bin/ssh");
        let script = if limit.contains("256") { "cat" } else { "cat; sleep 3" };
        let mut command = place.command(ssh.to_str().unwrap(), &[limit, "box", script]);
        let mut child = start(command.stdin(Stdio::piped()), "");
        let mut input = child.stdin.take().unwrap();
        let sent = data.clone();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &sent));
        assert!(wait(child).stdout == data);
        writer.join().unwrap().unwrap();
        let times = place.server.log().matches("SSH2_MSG_NEWKEYS received").count() - before;
        println!("{limit}: {times} key exchanges");
        assert!(times > if limit.contains("256") { 8 } else { 2 }, "{limit}: {times}");
    }
    place.ssh(&["-oRekeyLimit=often", "box", "true"]).exits(255).says(&["Bad number 'often'"]);
}

#[test]
fn the_escape_character_is_the_users() {
    let place = Place::new("");
    let config = place.home.path("home/.ssh/config");
    let start = |options: &[&str]| {
        let fixed = ["openssh", "-F", config.to_str().unwrap(), "-tt"];
        let args = [&fixed[..], options, &["box", "cat"]].concat();
        Terminal::start(&place.home, &args, 80, 24, &[])
    };
    let mut percent = start(&["-e", "%"]);
    percent.send("~.\r");
    percent.expect("~.\r\n~.\r\n");
    percent.send("%?");
    percent.expect("%.   - terminate connection");
    percent.send("\r%.");
    assert_eq!(percent.exit_code(), Some(255));
    let mut control = start(&["-oEscapeChar=^]"]);
    control.send("on\r");
    control.expect("on\r\non\r\n");
    control.send("\x1d.");
    assert_eq!(control.exit_code(), Some(255));
    let mut none = start(&["-e", "none"]);
    none.send("~.\r");
    none.expect("~.\r\n~.\r\n");
    none.send("\x04");
    assert_eq!(none.exit_code(), Some(0));
    place
        .ssh(&["-e", "two", "-tt", "box", "true"])
        .exits(255)
        .says(&["Bad escape character 'two'"]);
}

#[test]
fn connections_come_from_where_they_are_to_come_from() {
    let place = Place::new("");
    let from = ["box", "echo $SSH_CLIENT"];
    let client = |args: &[&str]| {
        let text = place.ssh(&[args, &from].concat()).exits(0).text();
        text.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(client(&["-b", "127.0.0.9"]), "127.0.0.9");
    assert_eq!(client(&["-oBindAddress=127.0.0.8", "-B", "lo"]), "127.0.0.8");
    place
        .ssh(&["-b", "nowhere", "box", "true"])
        .exits(255)
        .says(&["not an address of this computer"]);
    place.ssh(&["-b", "::1", "box", "true"]).exits(255);
    place.ssh(&["-B", "no-such-if", "box", "true"]).exits(255);
    // A server that comes up late.
    let port = free_port(IP);
    let ssh = place.home.path("bin/ssh");
    let port_text = port.to_string();
    let args = ["-v", "-p", &port_text, "-oConnectionAttempts=20", "box", "echo", "late"];
    let mut waiting = start(&mut place.command(ssh.to_str().unwrap(), &args), "");
    let mut said = BufReader::new(waiting.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("failed: ")), "it never tried");
    // Who says more must find somebody who reads.
    std::thread::spawn(move || said.for_each(drop));
    let server = std::net::TcpListener::bind((IP, port)).unwrap();
    let to = place.server.address;
    std::thread::spawn(move || {
        let (mut here, _) = server.accept().unwrap();
        let mut there = std::net::TcpStream::connect(to).unwrap();
        let (mut from, mut back) = (here.try_clone().unwrap(), there.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut there));
        std::io::copy(&mut back, &mut here)
    });
    assert_eq!(Run::of(wait(waiting)).exits(0).text(), "late\n");
    place
        .ssh(&["-oConnectionAttempts=0", "box", "true"])
        .exits(255)
        .says(&["integer value too small"]);
}

/// How often somebody came to a port where nobody speaks, and how long it took.
fn visits(place: &Place, ssh: &str, args: &[&str], answer: &'static [u8]) -> (usize, Duration) {
    let server = std::net::TcpListener::bind((IP, 0)).unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let came = Arc::new(AtomicUsize::new(0));
    let counted = came.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = server.accept() {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = std::io::Write::write_all(&mut stream, answer);
        }
    });
    let began = Instant::now();
    let attempts = ["-oConnectionAttempts=3", "-p", &port];
    let args = [&attempts[..], args, &["box", "true"]].concat();
    Run::of(wait(start(&mut place.client(ssh, &args), "openssh-client"))).exits(255);
    (came.load(Ordering::Relaxed), began.elapsed())
}

#[test]
fn only_connecting_is_repeated_once_a_second_as_by_openssh() {
    let place = Place::shared("");
    for ssh in ["/usr/bin/ssh", &place.ours()] {
        // Somebody is there, and closes, speaks nothing we know, or closes later.
        for answer in [b"".as_slice(), b"HTTP/1.0 400 no\r\n\r\n", b"SSH-2.0-x\r\n"] {
            let (came, _) = visits(&place, ssh, &[], answer);
            assert_eq!(came, 1, "{ssh}: {}", answer.escape_ascii());
        }
        // A name that there is none of is none later.
        let (_, elapsed) = visits(&place, ssh, &["-oHostName=nowhere.invalid"], b"");
        assert!(elapsed < Duration::from_secs(2), "{ssh}: {elapsed:?}");
        // Nobody is there.
        let closed = format!("-oPort={}", free_port(IP));
        let (began, args) = (Instant::now(), ["-oConnectionAttempts=3", &closed, "box", "true"]);
        Run::of(wait(start(&mut place.client(ssh, &args), "openssh-client"))).exits(255);
        let elapsed = began.elapsed();
        assert!(elapsed > Duration::from_millis(1900), "{ssh}: {elapsed:?}");
    }
}

#[test]
fn short_names_are_found_in_their_domains() {
    let place = Place::new("");
    let config = place.home.read("home/.ssh/config");
    place.home.write(
        "home/.ssh/config",
        format!(
            "HashKnownHosts no\nCanonicalizeHostname yes\nCanonicalDomains invalid localhost\n{config}\
             Host *.localhost\n  Port {}\n  User root\n  StrictHostKeyChecking accept-new\n\
             Match canonical host short.localhost\n  SetEnv LC_FOUND=canonical\n",
            place.server.port()
        ),
    );
    let shown = place.ssh(&["-G", "short"]).exits(0).text();
    assert!(shown.contains("\nhostname short.localhost\n"), "{shown}");
    assert_eq!(place.ssh(&["short", "echo $LC_FOUND"]).exits(0).text(), "canonical\n");
    assert!(place.home.read("home/.ssh/known_hosts").contains("[short.localhost]:"));
    let strict = ["-oCanonicalDomains=invalid", "-oCanonicalizeFallbackLocal=no", "short", "true"];
    place.ssh(&strict).exits(255).says(&["Could not resolve host \"short\""]);
}

#[test]
fn what_the_user_forbids_is_not_done() {
    let place = Place::new("AllowTcpForwarding yes\nAcceptEnv _TEST_*\n");
    let port = place.server.port();
    // A list of what the server's clients may reach by SOCKS.
    let (open, shut) = (free_port(IP).to_string(), free_port(IP).to_string());
    let permitted = format!("-oPermitRemoteOpen={IP}:{port}");
    let ask = |at: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(format!("{IP}:{at}")).unwrap();
        let port: u16 = port.parse().unwrap();
        stream.write_all(&[5, 1, 0]).unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        let request = [&[5, 1, 0, 1, 127, 0, 0, 1][..], &port.to_be_bytes()].concat();
        stream.write_all(&request).unwrap();
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).map(|()| reply[1] == 0).unwrap_or(false)
    };
    for (at, option, allowed) in
        [(&open, permitted.as_str(), true), (&shut, "-oPermitRemoteOpen=none", false)]
    {
        let listen = format!("{IP}:{at}");
        let args = ["-N", option, "-R", &listen, "box"];
        let mut ssh = start(&mut place.command(&place.ours(), &args), "");
        until("the listener", || std::net::TcpStream::connect(&listen).is_ok());
        assert_eq!(ask(at), allowed, "{option}");
        ssh.kill().unwrap();
        ssh.wait().unwrap();
    }
    // Keys of a kind that is not wanted, and those that others may read.
    place.ssh(&["-oPubkeyAcceptedAlgorithms=rsa-sha2-512", "box", "true"]).exits(255);
    place.ssh(&["-oPubkeyAcceptedAlgorithms=ssh-ed25519", "box", "true"]).exits(0);
    use std::os::unix::fs::PermissionsExt;
    let key = place.home.path("home/.ssh/id_ed25519");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    place.ssh(&["-oBatchMode=yes", "box", "true"]).exits(255).says(&["Permission denied"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // A socket with the permissions that are asked for.
    let socket = place.home.path("socket");
    let listen = format!("{}:{IP}:{port}", socket.display());
    let args = ["-N", "-oStreamLocalBindMask=0117", "-L", &listen, "box"];
    let mut ssh = start(&mut place.command(&place.ours(), &args), "");
    until("the socket", || {
        std::fs::metadata(&socket).is_ok_and(|meta| meta.permissions().mode() & 0o777 == 0o660)
    });
    ssh.kill().unwrap();
    ssh.wait().unwrap();
    // Whatever key it has, it is this computer.
    let nothing = ["-oUserKnownHostsFile=/dev/null", "-oStrictHostKeyChecking=yes"];
    let this = [&nothing[..], &["-oNoHostAuthenticationForLocalhost=yes", "box", "true"]].concat();
    place.ssh(&this).exits(0);
    place.ssh(&[&nothing[..], &["box", "true"]].concat()).exits(255);
    // What is taken back is taken back word by word.
    let sent = |args: &[&str]| {
        let mut command =
            place.command(&place.ours(), &[args, &["box", "env | grep -c _TEST_"]].concat());
        command.env("_TEST_A", "1").env("_TEST_B", "2");
        Run::of(wait(start(&mut command, ""))).text()
    };
    assert_eq!(sent(&["-oSendEnv=_TEST_A _TEST_B", "-oSendEnv=-_TEST_B"]), "1\n");
    assert_eq!(sent(&["-oSendEnv=_TEST_*", "-oSendEnv=-_TEST_B"]), "2\n");
}
