//! Our client and OpenSSH's sshd, agent and known_hosts.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Account, Home, Run, Server, Terminal, noise, run, signal, sshd, until};
use rustix::process::Signal;

const IP: &str = "127.0.0.1";

/// A home with a key, and an sshd that takes it.
fn machine(config: &str) -> (Home, Server) {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, IP, &key, config);
    (home, server)
}

fn ssh(home: &Home, server: &Server, args: &[&str]) -> Run {
    let target = server.target();
    home.run(&[&["ssh", "m", "--target-host", &target], args].concat())
}

#[test]
fn a_command_prints_and_its_status_is_ours() {
    let (home, server) = machine("");
    let done = ssh(&home, &server, &["-c", "sh", "-c", "echo out; echo err >&2"]).exits(0);
    assert_eq!((done.text().as_str(), done.stderr.contains("err\n")), ("out\n", true));
    for status in [1, 42, 254, 255] {
        ssh(&home, &server, &["-c", "sh", "-c", &format!("exit {status}")]).exits(status);
    }
    ssh(&home, &server, &["-c", "no-such-command"]).exits(127);
}

#[test]
fn a_signal_gives_128_and_its_number() {
    let (home, server) = machine("");
    for (name, number) in [("TERM", 15), ("KILL", 9), ("HUP", 1)] {
        let kill = format!("kill -{name} $$");
        ssh(&home, &server, &["-c", "sh", "-c", &kill]).exits(128 + number);
    }
}

#[test]
fn standard_error_is_kept_apart() {
    let (home, server) = machine("");
    let script = "for i in 1 2 3; do echo o$i; echo e$i >&2; done";
    let done = ssh(&home, &server, &["-q", "-c", "sh", "-c", script]).exits(0);
    assert_eq!(done.text(), "o1\no2\no3\n");
    let lines: Vec<&str> = done.stderr.lines().filter(|line| line.starts_with('e')).collect();
    assert_eq!(lines, ["e1", "e2", "e3"]);
}

#[test]
fn every_word_arrives_as_it_was_typed() {
    let (home, server) = machine("");
    let words = ["a  b", "$HOME", "\"q\"", "it's", "", "*", "a\nb", "--", "-n"];
    for before in ["-c", "--"] {
        let args = [&[before, "printf", "[%s]"], &words[..]].concat();
        let expected: String = words.iter().map(|word| format!("[{word}]")).collect();
        assert_eq!(ssh(&home, &server, &args).exits(0).text(), expected);
    }
    ssh(&home, &server, &["-c", "echo hi"])
        .exits(255)
        .says(&["'echo hi' is taken for the name of one program;", " -- sh -c 'echo hi'"]);
}

#[test]
fn sixty_four_mebibytes_come_back_unharmed() {
    let (home, server) = machine("");
    let data = noise(64 << 20);
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-c", "cat"];
    let done = home.run_with_input(&args, data.clone()).exits(0);
    assert!(done.stdout == data, "{} bytes came back", done.stdout.len());
}

#[test]
fn a_transfer_survives_rekeying() {
    let (home, server) = machine("RekeyLimit 4M\nLogLevel DEBUG");
    let data = noise(32 << 20);
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-c", "cat"];
    let done = home.run_with_input(&args, data.clone()).exits(0);
    assert!(done.stdout == data, "{} bytes came back", done.stdout.len());
    let exchanges = server.log().matches("SSH2_MSG_NEWKEYS sent").count();
    assert!(exchanges > 4, "{exchanges} key exchanges");
}

#[test]
fn the_end_of_input_is_passed_on_and_output_still_comes() {
    let (home, server) = machine("");
    let target = server.target();
    let args =
        ["ssh", "m", "--target-host", &target, "-c", "sh", "-c", "wc -c; sleep 0.2; echo end"];
    let done = home.run_with_input(&args, vec![b'x'; 1000]).exits(0);
    assert_eq!(done.text(), "1000\nend\n");
    assert_eq!(ssh(&home, &server, &["-c", "wc", "-c"]).exits(0).text(), "0\n");
}

#[test]
fn an_encrypted_key_asks_for_its_passphrase() {
    let home = Home::new();
    home.keygen("home/.ssh/id_ed25519", "ed25519", "open sesame");
    let server = sshd(&home, IP, &home.read("home/.ssh/id_ed25519.pub"), "");
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-c", "echo", "hello"];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    terminal.expect("Enter passphrase for key");
    terminal.send("wrong\r");
    until("another prompt", || terminal.text().matches("nter passphrase").count() == 2);
    terminal.send("open sesame\r");
    terminal.expect("hello");
    assert_eq!(terminal.exit_code(), Some(0));
    assert!(!terminal.text().contains("sesame"), "{}", terminal.text());
    // Without a terminal it says why.
    home.run(&args).exits(255).says(&["locked by a passphrase", "permission denied"]);
}

#[test]
fn without_a_terminal_the_users_own_program_asks() {
    let home = Home::new();
    home.keygen("home/.ssh/id_ed25519", "ed25519", "open sesame");
    let server = sshd(&home, IP, &home.read("home/.ssh/id_ed25519.pub"), "");
    let script = "#!/bin/sh\nprintf '%s' \"$1\" > asked\nprintf 'open sesame\\n'\n";
    let program = home.write("askpass", script);
    run("chmod", &["+x", program.to_str().unwrap()], "coreutils");
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-c", "true"];
    let askpass = ("SSH_ASKPASS", program.to_str().unwrap());
    home.run_with_env(&args, &[askpass, ("DISPLAY", ":0")]).exits(0);
    assert!(home.read("asked").starts_with("Enter passphrase for key"), "{}", home.read("asked"));
    home.run_with_env(&args, &[askpass]).exits(255);
    home.run_with_env(&args, &[askpass, ("SSH_ASKPASS_REQUIRE", "force")]).exits(0);
}

#[test]
fn every_kind_of_key_is_good() {
    for (kind, file) in [("rsa", "id_rsa"), ("ecdsa", "id_ecdsa"), ("ed25519", "id_ed25519")] {
        let home = Home::new();
        home.keygen(&format!("home/.ssh/{file}"), kind, "");
        let server = sshd(&home, IP, &home.read(&format!("home/.ssh/{file}.pub")), "");
        ssh(&home, &server, &["-c", "true"]).exits(0);
    }
}

#[test]
fn a_certificate_beside_the_key_is_used() {
    let home = Home::new();
    home.default_key();
    let ca = home.keygen("ca", "ed25519", "");
    let public = home.path("home/.ssh/id_ed25519.pub");
    let sign =
        ["-q", "-s", ca.to_str().unwrap(), "-I", "id", "-n", "root", public.to_str().unwrap()];
    run("ssh-keygen", &sign, "openssh-client");
    let ca_line = format!("TrustedUserCAKeys {}", home.path("ca.pub").display());
    let server = sshd(&home, IP, "", &ca_line);
    ssh(&home, &server, &["-c", "true"]).exits(0);
    assert!(
        server.log().contains("Accepted publickey") && server.log().contains("ID id"),
        "{}",
        server.log()
    );
}

/// OpenSSH's agent, holding keys.
pub struct Agent(std::process::Child, pub String);

impl Agent {
    pub fn start(home: &Home, keys: &[&str]) -> Self {
        let socket = home.path("agent").to_str().unwrap().to_owned();
        let mut command = Command::new("ssh-agent");
        let child = crate::harness::start(
            command.args(["-D", "-a", &socket]).stdout(Stdio::null()),
            "openssh-client",
        );
        until("the agent's socket", || std::path::Path::new(&socket).exists());
        for key in keys {
            let mut add = Command::new("ssh-add");
            add.arg("-q").arg(home.path(key)).env("SSH_AUTH_SOCK", &socket);
            assert!(add.status().unwrap().success());
        }
        Self(child, socket)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        // It could not do so itself.
        let _ = std::fs::remove_file(&self.1);
    }
}

#[test]
fn the_agent_signs_for_keys_that_are_nowhere_else() {
    for kind in ["ed25519", "rsa"] {
        let home = Home::new();
        home.keygen("agent-key", kind, "");
        let server = sshd(&home, IP, &home.read("agent-key.pub"), "");
        let agent = Agent::start(&home, &["agent-key"]);
        std::fs::remove_file(home.path("agent-key")).unwrap();
        let target = server.target();
        let args = ["ssh", "m", "--target-host", &target, "-c", "true"];
        home.run_with_env(&args, &[("SSH_AUTH_SOCK", &agent.1)]).exits(0);
        home.run(&args).exits(255);
    }
}

#[test]
fn a_full_agent_does_not_use_up_the_servers_patience() {
    let (home, server) = machine("MaxAuthTries 3");
    let decoys: Vec<String> = (0..8).map(|at| format!("decoy{at}")).collect();
    for decoy in &decoys {
        home.keygen(decoy, "ed25519", "");
    }
    let agent = Agent::start(&home, &decoys.iter().map(String::as_str).collect::<Vec<_>>());
    let (target, key) = (server.target(), home.path("home/.ssh/id_ed25519"));
    let key = key.to_str().unwrap();
    let args = ["ssh", "m", "--target-host", &target, "-i", key, "-c", "true"];
    home.run_with_env(&args, &[("SSH_AUTH_SOCK", &agent.1)]).exits(0);
    // Without a name the server gives up, and the error says what would help.
    let args = ["ssh", "m", "--target-host", &target, "-c", "true"];
    home.run_with_env(&args, &[("SSH_AUTH_SOCK", &agent.1)]).exits(255).says(&["-i FILE"]);
}

#[test]
fn a_password_and_questions_are_answered_on_the_terminal() {
    let account = Account::new("ccpw");
    for (config, prompt) in [
        ("UsePAM no\nPasswordAuthentication yes\nKbdInteractiveAuthentication no", "'s password:"),
        ("UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes", "Password:"),
    ] {
        let home = Home::new();
        let server = sshd(&home, IP, "", config);
        let target = server.target();
        let args =
            ["ssh", "m", "--target-host", &target, "-l", &account.name, "-c", "echo", "hello"];
        let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
        terminal.expect(prompt);
        terminal.send("wrong\r");
        until("another prompt", || terminal.text().matches(prompt).count() == 2);
        terminal.send(&format!("{}\r", account.password));
        terminal.expect("hello");
        assert_eq!(terminal.exit_code(), Some(0));
        assert!(!terminal.text().contains(&account.password), "{}", terminal.text());
        // Nobody to ask: no waiting, and what the server offered.
        let methods = ["permission denied", "no prompt is possible"];
        home.run(&args).exits(255).says(&methods);
    }
}

#[test]
fn two_factors_are_both_given() {
    let account = Account::new("cctwo");
    let home = Home::new();
    let key = home.default_key();
    account.authorize(&key);
    let config = "UsePAM no\nAuthenticationMethods publickey,password";
    let server = sshd(&home, IP, &key, config);
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target, "-l", &account.name, "-c", "echo", "hello"];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    terminal.expect("'s password:");
    terminal.send(&format!("{}\r", account.password));
    terminal.expect("hello");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn refused_authentication_says_what_was_offered() {
    let home = Home::new();
    home.default_key();
    let server = sshd(&home, IP, "", "PasswordAuthentication no\nKbdInteractiveAuthentication no");
    ssh(&home, &server, &["-c", "true"]).exits(255).says(&[
        "permission denied for root@m (publickey)",
        "id_ed25519",
        "-l USER",
    ]);
}

#[test]
fn a_shell_has_the_terminals_size_name_and_language() {
    let (home, server) = machine("");
    let target = server.target();
    let args = ["ssh", "m", "--target-host", &target];
    let env = [("LANG", "C.UTF-8"), ("LC_TEST", "spoken"), ("OTHER", "unsaid")];
    let mut terminal = Terminal::start(&home, &args, 101, 37, &env);
    terminal.expect("#");
    terminal.send("stty size; echo \"=$TERM=$LANG=$LC_TEST=$OTHER=\"\r");
    terminal.expect("37 101");
    terminal.expect("=xterm-test=C.UTF-8=spoken==");
    assert!(terminal.is_raw());
    terminal.resize(90, 20);
    terminal.send("exit 3\r");
    assert_eq!(terminal.exit_code(), Some(3));
    assert!(!terminal.is_raw());
}

#[test]
fn a_command_gets_a_terminal_on_request_only() {
    let (home, server) = machine("");
    let tty = ["-t", "-c", "sh", "-c", "tty >/dev/null && echo yes || echo no"];
    assert_eq!(ssh(&home, &server, &tty).exits(0).text().trim(), "yes");
    assert_eq!(ssh(&home, &server, &tty[1..]).exits(0).text().trim(), "no");
}

#[test]
fn the_escape_character_ends_helps_and_can_be_sent() {
    let (home, server) = machine("");
    let target = server.target();
    let mut terminal = Terminal::start(&home, &["ssh", "m", "--target-host", &target], 80, 24, &[]);
    terminal.expect("#");
    terminal.send("\r~?");
    terminal.expect("Supported escape sequences");
    terminal.send("\recho A~~B\r");
    terminal.expect("A~~B");
    terminal.send("\r~.");
    assert_eq!(terminal.exit_code(), Some(255));
    assert!(terminal.text().contains("connection to m closed"));
    assert!(!terminal.is_raw());
}

#[test]
fn the_terminal_is_given_back_whatever_ends_us() {
    for (ender, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let (home, server) = machine("");
        let args = ["ssh", "m", "--target-host", &server.target()];
        let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
        terminal.expect("#");
        until("raw mode", || terminal.is_raw());
        signal(terminal.pid(), ender);
        assert_eq!(terminal.exit_code(), Some(code));
        assert!(!terminal.is_raw(), "after {ender:?}");
    }
}

#[test]
fn a_server_that_dies_is_told_and_the_terminal_given_back() {
    let (home, server) = machine("");
    let target = server.target();
    let mut terminal = Terminal::start(&home, &["ssh", "m", "--target-host", &target], 80, 24, &[]);
    terminal.expect("#");
    terminal.send("kill -9 $PPID\r");
    assert_eq!(terminal.exit_code(), Some(255));
    terminal.expect("connection to m closed by the peer");
    assert!(!terminal.is_raw());
}

#[test]
fn a_dead_peer_is_noticed_by_keepalives() {
    let (home, server) = machine("");
    let target = server.target();
    let options =
        ["--ssh-option", "ServerAliveInterval", "1", "--ssh-option", "ServerAliveCountMax", "2"];
    let args = [
        &["ssh", "m", "--target-host", &target],
        &options[..],
        &["-c", "sh", "-c", "echo $PPID; sleep 60"],
    ]
    .concat();
    let mut child = home.command(&args).spawn().unwrap();
    // The command's parent is the sshd of this session alone.
    let mut first = [0; 16];
    let count = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    let pid: i32 = std::str::from_utf8(&first[..count]).unwrap().trim().parse().unwrap();
    signal(pid, Signal::STOP);
    let started = Instant::now();
    let done = crate::harness::wait(child);
    signal(pid, Signal::KILL);
    assert_eq!(done.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&done.stderr).contains("no longer answers"), "{done:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn known_hosts_is_shared_with_openssh_in_both_directions() {
    let (home, server) = machine("");
    let (port, target) = (server.port(), server.target());
    let known = home.path("home/.ssh/known_hosts");
    let theirs = |check: &str| {
        let check = format!("StrictHostKeyChecking={check}");
        let file = format!("UserKnownHostsFile={}", known.display());
        let key = home.path("home/.ssh/id_ed25519");
        let done = Command::new("ssh")
            .args([
                "-F",
                "/dev/null",
                "-o",
                "HashKnownHosts=yes",
                "-o",
                &check,
                "-o",
                &file,
                "-p",
                &port,
                "-i",
            ])
            .arg(key)
            .args(["root@127.0.0.1", "true"])
            .output();
        done.unwrap().status.success()
    };
    // Ours writes, theirs reads.
    ssh(&home, &server, &["-c", "true"]).exits(0).says(&["is new"]);
    assert!(theirs("yes"));
    // Theirs writes, hashed, ours reads.
    std::fs::remove_file(&known).unwrap();
    assert!(theirs("accept-new"));
    assert!(home.read("home/.ssh/known_hosts").starts_with("|1|"));
    let strict = ["ssh", "m", "--target-host", &target, "--host-key-check", "strict", "-c", "true"];
    home.run(&strict).exits(0);
}

#[test]
fn a_changed_host_key_is_refused_with_both_fingerprints() {
    let (home, server) = machine("");
    let other = home.keygen("other", "ed25519", "");
    let key = home.read("other.pub");
    let key: Vec<&str> = key.split_whitespace().take(2).collect();
    home.write(
        "home/.ssh/known_hosts",
        format!("# mine\n[127.0.0.1]:{} {}\n", server.port(), key.join(" ")),
    );
    let print = |file: &str| {
        let text = run("ssh-keygen", &["-lf", file], "openssh-client");
        text.split_whitespace().nth(1).unwrap().to_owned()
    };
    let known = print(&format!("{}.pub", other.display()));
    let config = format!("sshd-{}/host_key.pub", server.port());
    let offered = print(home.path(&config).to_str().unwrap());
    ssh(&home, &server, &["-c", "true"]).exits(255).says(&[
        "HAS CHANGED",
        &known,
        &offered,
        "known_hosts:2",
    ]);
    assert!(!server.log().contains("Accepted"), "{}", server.log());
    // `none` goes on, warns, and leaves the file alone.
    let before = home.read("home/.ssh/known_hosts");
    ssh(&home, &server, &["--host-key-check", "none", "-c", "true"])
        .exits(0)
        .says(&["HAS CHANGED"]);
    assert_eq!(home.read("home/.ssh/known_hosts"), before);
}

#[test]
fn unknown_host_keys_are_treated_as_asked() {
    let (home, server) = machine("");
    let check = |how: &str| ssh(&home, &server, &["--host-key-check", how, "-c", "true"]);
    check("strict").exits(255).says(&["host key verification failed"]);
    check("ask").exits(255).says(&["host key verification failed"]);
    assert_eq!(home.read("home/.ssh/known_hosts"), "");
    let target = server.target();
    let args =
        ["ssh", "m", "--target-host", &target, "--host-key-check", "ask", "-c", "echo", "hello"];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[]);
    terminal.expect("(yes/no/[fingerprint])?");
    terminal.send("perhaps\r");
    terminal.expect("Please type");
    terminal.send("yes\r");
    terminal.expect("hello");
    assert_eq!(terminal.exit_code(), Some(0));
    check("strict").exits(0);
}

#[test]
fn the_servers_banner_cannot_play_with_the_terminal() {
    let home = Home::new();
    let key = home.default_key();
    let banner = home.write("banner", "welcome\n\x1b]0;owned\x07\x1b[2Jrest\n");
    let server = sshd(&home, IP, &key, &format!("Banner {}", banner.display()));
    let done = ssh(&home, &server, &["-c", "true"]).exits(0).says(&["welcome\n", "rest"]);
    assert!(!done.stderr.contains('\x1b') && !done.stderr.contains('\x07'), "{}", done.stderr);
}
