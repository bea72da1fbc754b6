//! What a server gets whose key nobody vouches for, beside OpenSSH's ssh: no
//! password, no agent, no forward (sshconnect.c, `check_host_key`), and no say in
//! the user's list of keys.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{
    Account, Home, Run, THEIRS, Terminal, free_port, run, sshd, start, until, wait,
};
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";

/// An agent that ends with us.
struct Agent {
    child: Child,
    socket: String,
}

impl Agent {
    fn start(home: &Home) -> Self {
        let socket = home.path("agent").to_str().unwrap().to_owned();
        let mut command = std::process::Command::new("ssh-agent");
        command.args(["-D", "-a", &socket]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = start(&mut command, "openssh-client");
        until("the agent", || std::path::Path::new(&socket).exists());
        Self { child, socket }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with another key than the one that is known, and an agent.
struct Changed {
    place: Place,
    agent: Agent,
    known: String,
}

impl Changed {
    fn new() -> Self {
        let place = Place::shared("AllowTcpForwarding yes\nAllowAgentForwarding yes\n");
        place.home.keygen("stale", "ed25519", "");
        let known = format!("[{IP}]:{} {}", place.server.port(), place.home.read("stale.pub"));
        place.home.write("home/.ssh/known_hosts", &known);
        let agent = Agent::start(&place.home);
        Self { place, agent, known }
    }

    fn run(&self, ssh: &str, args: &[&str]) -> Run {
        let mut command = self.place.client(ssh, args);
        command.env("SSH_AUTH_SOCK", &self.agent.socket);
        Run::of(wait(start(&mut command, "openssh-client")))
    }
}

/// The sentences about what is off, in order.
fn off(run: &Run) -> Vec<&str> {
    let is_said =
        |line: &&str| line.contains("is disabled") || line.contains("forwarding disabled");
    run.stderr.lines().map(str::trim_end).filter(is_said).collect()
}

#[test]
fn a_changed_key_gets_neither_agent_nor_forwards_from_either_client() {
    let changed = Changed::new();
    let ours = changed.place.ours();
    let port = changed.place.server.port();
    let mut all = Vec::new();
    for ssh in [THEIRS, &ours] {
        let (local, dynamic) = (free_port(IP), free_port(IP));
        let forward = format!("{local}:{IP}:{port}");
        let remote = format!("{}:{IP}:{port}", free_port(IP));
        let back = remote.split(':').next().unwrap();
        let command = format!(
            "echo agent=$SSH_AUTH_SOCK; for port in {local} {dynamic} {back}; do \
             bash -c \"exec 3<>/dev/tcp/{IP}/$port\" 2>/dev/null && echo open $port; done; true"
        );
        let socks = dynamic.to_string();
        let args = ["-A", "-L", &forward, "-R", &remote, "-D", &socks, "box", &command];
        let no = [&["-oStrictHostKeyChecking=no", "-oUpdateHostKeys=yes"], &args[..]].concat();
        let done = changed.run(ssh, &no).exits(0);
        assert_eq!(done.text(), "agent=\n", "{ssh}");
        all.push(off(&done).iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(changed.place.home.read("home/.ssh/known_hosts"), changed.known);
    }
    assert_eq!(all[1], all[0]);
    assert_eq!(all[1].len(), 5, "{all:?}");
    // The same with a key that is known, so that the test can fail.
    let (local, name) = (free_port(IP), format!("-oHostKeyAlias=new-{port}"));
    let forward = format!("{local}:{IP}:{port}");
    let command =
        format!("echo $SSH_AUTH_SOCK; bash -c 'exec 3<>/dev/tcp/{IP}/{local}' && echo open");
    let args = [&name, "-oStrictHostKeyChecking=no", "-A", "-L", &forward, "box", &command];
    let done = changed.run(&ours, &args).exits(0);
    assert!(done.text().contains("/agent") && done.text().ends_with("open\n"), "{done:?}");
}

#[test]
fn streams_and_jumps_through_a_changed_host_end_before_they_begin() {
    let changed = Changed::new();
    let ours = changed.place.ours();
    let port = changed.place.server.port();
    let config = changed.place.home.read("home/.ssh/config");
    let files = format!(
        "  UserKnownHostsFile {0}\n  IdentityFile {1}\n",
        changed.place.home.path("kh").display(),
        changed.place.home.path("home/.ssh/id_ed25519").display()
    );
    let behind = format!(
        "Host behind\n  HostName {IP}\n  Port {port}\n  User root\n  ProxyJump box\n  \
         StrictHostKeyChecking no\n{files}"
    );
    let config = config.replace("StrictHostKeyChecking accept-new", "StrictHostKeyChecking no");
    changed.place.home.write("home/.ssh/config", config + &behind);
    let through = format!("{IP}:{port}");
    let logins = || changed.place.server.log().matches("Accepted publickey").count();
    for args in [
        &["-W", through.as_str(), "box"][..],
        &["behind", "echo", "in"],
        &["-oExitOnForwardFailure=yes", "box", "echo", "in"],
        &["-oExitOnForwardFailure=yes", "-A", "box", "echo", "in"],
    ] {
        for ssh in [THEIRS, &ours] {
            let done = changed.run(ssh, args).exits(255);
            assert_eq!(done.text(), "", "{ssh} {args:?}");
            let end = "Error: forwarding disabled due to host key check failure";
            let done = done.says(&["HAS CHANGED", end]);
            assert!(off(&done).contains(&end), "{ssh}");
            assert_eq!(logins(), 0, "{ssh} {args:?}");
        }
    }
    // Nothing else is there that could be off: then it goes on.
    let none = ["-oExitOnForwardFailure=yes", "-oPasswordAuthentication=no"];
    let none = [&none[..], &["-oKbdInteractiveAuthentication=no", "box", "echo", "in"]].concat();
    for ssh in [THEIRS, &ours] {
        assert_eq!(changed.run(ssh, &none).exits(0).text(), "in\n", "{ssh}");
    }
}

#[test]
fn nothing_is_forwarded_by_a_master_of_a_changed_host_either() {
    let changed = Changed::new();
    let ours = changed.place.ours();
    let socket = changed.place.home.path("m").to_str().unwrap().to_owned();
    let no = "-oStrictHostKeyChecking=no";
    let mut command = changed.place.client(&ours, &["-S", &socket, "-M", "-N", "-A", no, "box"]);
    command.env("SSH_AUTH_SOCK", &changed.agent.socket).stderr(Stdio::null());
    let mut master = start(&mut command, "");
    until("the master", || std::path::Path::new(&socket).exists());
    let through =
        |ssh: &str, args: &[&str]| changed.run(ssh, &[&["-S", socket.as_str()], args].concat());
    let port = changed.place.server.port();
    for ssh in [THEIRS, &ours] {
        let local = free_port(IP);
        for forward in [
            ["-L", &format!("{local}:{IP}:{port}")],
            ["-R", &format!("{local}:{IP}:{port}")],
            ["-D", &local.to_string()],
        ] {
            let done = through(ssh, &[&["-O", "forward"], &forward[..], &["box"]].concat());
            done.exits(255).says(&["forwarding is disabled: the host key is not the known one"]);
        }
        assert!(std::net::TcpStream::connect((IP, local)).is_err(), "{ssh}");
        let done = through(ssh, &["-A", "box", "echo agent=$SSH_AUTH_SOCK"]).exits(0);
        assert_eq!(done.text(), "agent=\n", "{ssh}");
        let stream = through(ssh, &["-W", &format!("{IP}:{port}"), "box"]);
        assert_eq!((stream.text().as_str(), stream.code), ("", Some(255)), "{ssh}");
    }
    let _ = master.kill();
    let _ = master.wait();
}

#[test]
fn a_password_goes_only_to_a_server_whose_key_was_checked() {
    let home = Home::new();
    let account = Account::new("ccworth");
    let config = "PasswordAuthentication yes\nKbdInteractiveAuthentication no\n";
    let place = Place::of(home, "", config);
    let server = &place.server;
    let name = format!("[{IP}]:{}", server.port());
    place.home.keygen("stale", "ed25519", "");
    let stale = format!("{name} {}", place.home.read("stale.pub"));
    let login = format!("{}@{IP}", account.name);
    let kh = place.home.path("kh");
    let files = format!("-oUserKnownHostsFile={}", kh.display());
    // As ssh(1): a changed key gets none with `no`, a new one is stored and gets it.
    for ssh in [THEIRS, &place.ours()] {
        let port = format!("-p{}", server.port());
        let log_in = |check: &str| {
            let check = format!("-oStrictHostKeyChecking={check}");
            let fixed = ["-p", &account.password, ssh, "-F", "none", &port, &files, &check];
            let more = ["-oPubkeyAuthentication=no", &login, "echo", "in"];
            place.run("sshpass", &[&fixed[..], &more].concat(), "sshpass")
        };
        place.home.write("kh", &stale);
        log_in("no").exits(255).says(&["Password authentication is disabled", "Permission denied"]);
        place.home.write("kh", "");
        assert_eq!(log_in("no").exits(0).text(), "in\n", "{ssh}");
        assert!(place.home.read("kh").starts_with(&name), "{ssh}");
    }
    // Our own `none`: neither a changed nor an unknown key gets one, and nobody is asked.
    let target = format!("{}@{}", account.name, server.target());
    for (known, why) in [
        (stale.as_str(), "the host key is not the known one"),
        ("", "the host key was not checked"),
    ] {
        place.home.write("home/.ssh/known_hosts", known);
        let args = ["ssh", "m", "--target-host", &target, "--host-key-check", "none"];
        let args = [&args[..], &["-c", "echo", "in"]].concat();
        let mut terminal = Terminal::start(&place.home, &args, 200, 50, &[]);
        assert_eq!(terminal.exit_code(), Some(255));
        let said = terminal.text();
        assert!(said.contains(why) && said.contains("Password authentication is"), "{said}");
        assert!(!said.contains("password: "), "{said}");
    }
    // An installer's password is its own; its key is trusted on first use.
    place.home.write("home/.ssh/known_hosts", "");
    let shown = serde_json::json!({ "pass": account.password, "addrs": [server.target()] });
    let shown = shown.to_string();
    let installer = ["ssh", "-j", &shown, "-l", &account.name];
    let known = [&installer[..], &["-c", "echo", "in"]].concat();
    assert_eq!(place.home.run(&known).exits(0).text(), "in\n");
    place.home.write("home/.ssh/known_hosts", "");
    let none = [&installer[..], &["--host-key-check", "none", "-c", "echo", "in"]].concat();
    let done = place.home.run(&none).exits(255);
    assert!(!done.stderr.contains(&account.password), "{}", done.stderr);
    assert!(!server.log().contains(&format!("Failed password for {}", account.name)));
}

/// A server with two keys, of which `ed` is the one that it shows.
struct Two {
    place: Place,
}

impl Two {
    fn new() -> Self {
        let home = Home::new();
        let key = home.default_key();
        home.keygen("ed", "ed25519", "");
        home.keygen("rsa", "rsa", "");
        home.keygen("stale", "ed25519", "");
        home.keygen("ca", "ed25519", "");
        let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
        let sign = ["-q", "-s", &path("ca"), "-I", "x", "-h", "-n", IP, &path("ed.pub")];
        run("ssh-keygen", &sign, "openssh-client");
        let config = format!("HostKey {}\nHostKey {}\n", path("ed"), path("rsa"));
        Self { place: Place::of(home, &key, &config) }
    }

    fn line(&self, name: &str) -> String {
        let words = self.place.home.read(&format!("{name}.pub"));
        let key: Vec<&str> = words.split_whitespace().take(2).collect();
        format!("[{IP}]:{} {}\n", self.place.server.port(), key.join(" "))
    }

    /// What is in the user's file after a session that began with `user` and `global`.
    fn after(&self, ssh: &str, user: &str, global: &str, options: &[&str]) -> String {
        let home = &self.place.home;
        let files = [("kh", user), ("gkh", global)].map(|(name, text)| home.write(name, text));
        let key = home.path("home/.ssh/id_ed25519");
        let fixed = [
            "-Fnone".to_owned(),
            format!("-p{}", self.place.server.port()),
            format!("-i{}", key.display()),
            format!("-oUserKnownHostsFile={}", files[0].display()),
            format!("-oGlobalKnownHostsFile={}", files[1].display()),
            "-oUpdateHostKeys=yes".to_owned(),
        ];
        let mut args: Vec<&str> = fixed.iter().map(String::as_str).collect();
        args.extend(options);
        // The server tells of its keys at once, and proves them when asked.
        let target = format!("root@{IP}");
        args.extend([target.as_str(), "sleep 1"]);
        self.place.run(ssh, &args, "openssh-client").exits(0);
        home.read("kh")
    }
}

#[test]
fn only_a_key_that_the_user_vouches_for_brings_others() {
    let two = Two::new();
    let (ed, rsa, stale) = (two.line("ed"), two.line("rsa"), two.line("stale"));
    let command = two.place.home.script("known", format!("#!/bin/sh\necho '{}'\n", ed.trim()));
    let command = format!("-oKnownHostsCommand={} %H", command.display());
    let plain = format!("{IP} {}", ed.split_once(' ').unwrap().1);
    let shown = "-oHostKeyAlgorithms=ssh-ed25519,rsa-sha2-512";
    let case = |user: &str, global: &str, options: &[&str]| {
        let options = [&[shown], options].concat();
        let theirs = two.after(THEIRS, user, global, &options);
        let ours = two.after(&two.place.ours(), user, global, &options);
        assert_eq!(ours, theirs, "{options:?}\nuser:\n{user}global:\n{global}");
        ours
    };
    // Known by the user's own file, and there alone.
    let both = case(&ed, "", &[]);
    assert!(both.contains(&rsa), "{both}");
    let others = format!("{rsa}{stale}");
    let loopback = ["-oNoHostAuthenticationForLocalhost=yes"];
    let no = ["-oStrictHostKeyChecking=no"];
    let program = [command.as_str()];
    let cases: [(&str, &str, &[&str]); 8] = [
        // It is this computer, whatever its key.
        (&rsa, "", &loopback),
        ("", "", &loopback),
        // A changed key.
        (&stale, "", &no),
        // Known by the system's list, or by a program.
        ("", &ed, &[]),
        (&others, &ed, &[]),
        ("", "", &program),
        (&stale, "", &program),
        // Known without the port.
        (&plain, "", &[]),
    ];
    for (user, global, options) in cases {
        assert_eq!(case(user, global, options), user, "{options:?}");
    }
    // The first use itself is no reason to learn more, the next one is.
    for check in ["accept-new", "no"] {
        let check = format!("-oStrictHostKeyChecking={check}");
        assert_eq!(case("", "", &[&check]), ed);
    }
}

#[test]
fn a_certificate_is_no_reason_to_learn_keys() {
    let two = Two::new();
    let home = &two.place.home;
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let key = home.read("home/.ssh/id_ed25519.pub");
    let config = format!(
        "HostKey {0}\nHostKey {1}\nHostCertificate {0}-cert.pub\n",
        path("ed"),
        path("rsa")
    );
    let server = sshd(home, IP, &key, &config);
    let ca = home.read("ca.pub");
    let authority = format!("@cert-authority [{IP}]:{} {ca}", server.port());
    for ssh in [THEIRS, &two.place.ours()] {
        let files = home.write("kh", &authority);
        let files = format!("-oUserKnownHostsFile={}", files.display());
        let port = format!("-p{}", server.port());
        let identity = path("home/.ssh/id_ed25519");
        let args = ["-Fnone", &port, "-i", &identity, &files, "-oUpdateHostKeys=yes"];
        let args = [&args[..], &["-oStrictHostKeyChecking=yes", "root@127.0.0.1", "sleep 1"]];
        two.place.run(ssh, &args.concat(), "openssh-client").exits(0);
        assert_eq!(home.read("kh"), authority, "{ssh}");
    }
}

#[test]
fn keys_that_hostkeyalgorithms_does_not_take_are_not_learned() {
    let two = Two::new();
    let (ed, rsa) = (two.line("ed"), two.line("rsa"));
    let only = "-oHostKeyAlgorithms=ssh-ed25519";
    for ssh in [THEIRS, &two.place.ours()] {
        assert_eq!(two.after(ssh, &ed, "", &[only]), ed, "{ssh}");
    }
    // Unlike OpenSSH: the server still has it, so that it is not forgotten either.
    let both = format!("{ed}{rsa}");
    let started = Instant::now();
    assert_eq!(two.after(&two.place.ours(), &both, "", &[only]), both);
    assert!(started.elapsed() >= Duration::from_secs(1));
}
