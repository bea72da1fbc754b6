//! The letters of ssh(1) and ssh_config(5) on `clan-connect ssh MACHINE`, beside
//! OpenSSH's own ssh with the same ones; and what `network ping` and `trust` make of
//! them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Home, Run, Server, free_port, noise, run, signal, sshd, start, until, wait};

const IP: &str = "127.0.0.1";

/// A machine `m` of a clan, which is `box` to OpenSSH.
struct Place {
    home: Home,
    server: Server,
}

/// Who is called.
#[derive(Debug, Clone, Copy)]
enum Who {
    Ours,
    Theirs,
}

impl Place {
    fn new(config: &str) -> Self {
        let home = Home::new();
        let key = home.default_key();
        let server = sshd(&home, IP, &key, &format!("AcceptEnv _TEST_*\n{config}"));
        let place = Self { home, server };
        place.exports(json!({ "port": place.server.address.port(), "user": "root" }));
        let path = |name: &str| place.home.path(name).display().to_string();
        let text = format!(
            "Host box\n  HostName {IP}\n  Port {}\n  User root\n  \
             UserKnownHostsFile {}\n  IdentityFile {}\n  StrictHostKeyChecking accept-new\n",
            place.server.port(),
            path("home/.ssh/known_hosts"),
            path("home/.ssh/id_ed25519"),
        );
        place.home.write("theirs", text);
        place
    }

    /// The clan has this of the machine.
    fn exports(&self, peer: Value) {
        let mut peer = peer;
        peer["host"] = json!({ "plain": IP });
        let exports = json!({ "net": { "priority": 10, "peers": { "m": peer } } });
        self.home.write("exports.json", exports.to_string());
    }

    fn command(&self, who: Who, options: &[&str], command: &[&str]) -> Command {
        match who {
            Who::Ours => {
                let run = if command.is_empty() { &[][..] } else { &["-c"] };
                let first = ["--exports", "exports.json", "ssh", "m"];
                self.home.command(&[&first[..], options, run, command].concat())
            }
            Who::Theirs => {
                let config = self.home.path("theirs").display().to_string();
                let mut ssh = Command::new("/usr/bin/ssh");
                ssh.args(["-F", &config]).args(options).arg("box").args(command);
                ssh.env_clear().env("HOME", self.home.path("home"));
                ssh.current_dir(self.home.dir.path()).stdin(Stdio::null());
                ssh.stdout(Stdio::piped()).stderr(Stdio::piped());
                ssh
            }
        }
    }

    fn run(&self, who: Who, options: &[&str], command: &[&str]) -> Run {
        Run::of(wait(start(&mut self.command(who, options, command), "openssh-client")))
    }

    fn ours(&self, options: &[&str], command: &[&str]) -> Run {
        self.run(Who::Ours, options, command)
    }

    fn config(&self, text: &str) {
        self.home.write("home/.ssh/config", format!("{text}\nHost *\n  HashKnownHosts no\n"));
    }

    fn logins(&self) -> usize {
        self.server.log().matches("Accepted publickey").count()
    }
}

/// Answers every line that begins with `hello`.
fn web() -> u16 {
    let web = TcpListener::bind((IP, 0)).unwrap();
    let port = web.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in web.incoming().flatten() {
            let mut line = [0; 5];
            if stream.read_exact(&mut line).is_ok() {
                let _ = stream.write_all(&[b"got ", &line[..]].concat());
            }
        }
    });
    port
}

fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(b"hello").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn listens(port: u16) -> bool {
    TcpStream::connect((IP, port)).is_ok()
}

fn ends(mut child: Child) {
    until("the end", || child.try_wait().unwrap().is_some());
}

#[test]
fn forwards_carry_data_and_end_with_a_signal() {
    let place = Place::new("AllowTcpForwarding yes\nAllowStreamLocalForwarding yes\n");
    for who in [Who::Theirs, Who::Ours] {
        let (local, remote, socks, to) = (free_port(IP), free_port(IP), free_port(IP), web());
        let socket = place.home.path(&format!("socket-{who:?}"));
        let l = format!("{IP}:{local}:localhost:{to}");
        let u = format!("{}:{IP}:{to}", socket.display());
        let (r, d) = (format!("{IP}:{remote}:{IP}:{to}"), format!("{IP}:{socks}"));
        let args = ["-N", "-L", &l, "-L", &u, "-R", &r, "-D", &d];
        let child = start(&mut place.command(who, &args, &[]), "openssh-client");
        until("the listeners", || listens(local) && listens(remote) && listens(socks));
        assert_eq!(ask(TcpStream::connect((IP, local)).unwrap()), "got hello", "{who:?}");
        assert_eq!(ask(TcpStream::connect((IP, remote)).unwrap()), "got hello", "{who:?}");
        let unix = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        assert_eq!(ask(unix), "got hello", "{who:?}");
        // SOCKS 4 with an address.
        let mut stream = TcpStream::connect((IP, socks)).unwrap();
        let request = [&[4, 1][..], &to.to_be_bytes(), &[127, 0, 0, 1, 0]].concat();
        stream.write_all(&request).unwrap();
        let mut reply = [0; 8];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!((reply[1], ask(stream)), (90, "got hello".to_owned()), "{who:?}");
        signal(i32::try_from(child.id()).unwrap(), Signal::TERM);
        ends(child);
        until("the end of the listeners", || !listens(local) && !listens(remote));
        // What cannot be had ends it only where that is said.
        let taken = format!("{IP}:{}:{IP}:{to}", place.server.port());
        let exit = ["-L", &taken, "-o", "ExitOnForwardFailure=yes"];
        let done = place.run(who, &exit, &["true"]).exits(255);
        done.says(&["ould not request local forwarding"]);
        place.run(who, &["-L", &taken], &["true"]).exits(0);
        // One address of two is another program's.
        let half = format!("{}:{IP}:{to}", place.server.port());
        let said = format!("bind [{IP}]:{}: Address already in use", place.server.port());
        let done = place.run(who, &["-L", &half], &["true"]).exits(0).says(&[&said]);
        assert!(!done.stderr.contains("os error"), "{}", done.stderr);
        let bad = place.run(who, &["-L", "1"], &["true"]).exits(255);
        bad.says(&["Bad local forwarding specification '1'"]);
    }
    // By their names, too.
    let (local, to) = (free_port(IP), web());
    let (listen, lead) = (format!("{IP}:{local} {IP}:{to}"), ["--ssh-option", "LocalForward"]);
    let args = [&lead[..], &[&listen, "-o", "SessionType=none"]].concat();
    let child = start(&mut place.command(Who::Ours, &args, &[]), "");
    until("the listener", || listens(local));
    assert_eq!(ask(TcpStream::connect((IP, local)).unwrap()), "got hello");
    signal(i32::try_from(child.id()).unwrap(), Signal::TERM);
    ends(child);
}

#[test]
fn the_other_letters_do_the_same_as_opensshs() {
    let place = Place::new("AllowAgentForwarding yes\n");
    let (target, to) = (place.server.target(), web());
    let data = noise(1 << 20);
    for who in [Who::Theirs, Who::Ours] {
        // -W, with a half-close.
        assert!(place.run(who, &["-W", &target], &[]).text().starts_with("SSH-2.0-"), "{who:?}");
        let through = format!("{IP}:{to}");
        let mut command = place.command(who, &["-W", &through], &[]);
        let mut child = start(command.stdin(Stdio::piped()), "");
        child.stdin.take().unwrap().write_all(b"hello").unwrap();
        assert_eq!(Run::of(wait(child)).exits(0).text(), "got hello", "{who:?}");
        let bad = place.run(who, &["-W", "nonsense"], &[]).exits(255);
        bad.says(&["Bad stdio forwarding specification 'nonsense'"]);
        // -C, -4, -6, -o.
        let mut command = place.command(who, &["-C"], &["cat"]);
        let mut child = start(command.stdin(Stdio::piped()), "");
        let (mut input, sent) = (child.stdin.take().unwrap(), data.clone());
        let writer = std::thread::spawn(move || input.write_all(&sent));
        assert!(wait(child).stdout == data, "{who:?}");
        writer.join().unwrap().unwrap();
        place.run(who, &["-4"], &["true"]).exits(0);
        place.run(who, &["-6"], &["true"]).exits(255);
        let env = ["-o", "SetEnv=_TEST_A=one", "-oSetEnv=_TEST_A=two"];
        let print = ["printenv", "_TEST_A"];
        assert_eq!(place.run(who, &env, &print).exits(0).text(), "one\n", "{who:?}");
        place.run(who, &["-o", "Nonsense=1"], &["true"]).exits(255).says(&["nonsense"]);
        // A command of our own before theirs.
        let local = ["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo local %r %p"];
        let done = place.run(who, &local, &["echo", "there"]).exits(0);
        let local = format!("local root {}\nthere\n", place.server.port());
        assert_eq!(done.text(), local, "{who:?}");
        // A shared connection.
        let path = place.home.path(&format!("mux-{who:?}")).display().to_string();
        let share = ["-o", "ControlMaster=auto", "-o", "ControlPersist=yes"];
        let socket = ["-o", &*format!("ControlPath={path}")];
        let share = [&share[..], &socket[..]].concat();
        let before = place.logins();
        for word in ["one", "two"] {
            let done = place.run(who, &share, &["echo", word]).exits(0);
            assert_eq!(done.text(), format!("{word}\n"), "{who:?}");
        }
        assert_eq!(place.logins() - before, 1, "{who:?}");
        // That of a clan's machine has a suffix, by which OpenSSH ends it as well.
        let all = std::fs::read_dir(place.home.path(".")).unwrap();
        let names = all.map(|entry| entry.unwrap().path().display().to_string());
        let made: Vec<String> =
            names.filter(|name| name.contains(&format!("/mux-{who:?}"))).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        let socket = format!("ControlPath={}", made[0]);
        place.run(Who::Theirs, &["-O", "exit", "-o", &socket], &[]).exits(0);
    }
}

#[test]
fn an_agent_is_lent_only_with_its_letter() {
    let place = Place::new("AllowAgentForwarding yes\n");
    let socket = place.home.path("agent").display().to_string();
    let mut agent = start(
        Command::new("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()),
        "openssh-client",
    );
    until("the agent", || std::path::Path::new(&socket).exists());
    let key = place.home.path("home/.ssh/id_ed25519");
    let mut add = Command::new("ssh-add");
    add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket);
    assert!(wait(start(&mut add, "openssh-client")).status.success());
    for who in [Who::Theirs, Who::Ours] {
        for (letters, code) in [(&["-A"][..], 0), (&[], 2), (&["-a"], 2)] {
            let mut command = place.command(who, letters, &["ssh-add", "-l"]);
            let done = Run::of(wait(start(command.env("SSH_AUTH_SOCK", &socket), "")));
            assert_eq!(done.code, Some(code), "{who:?} {letters:?}: {done:?}");
        }
    }
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn jump_hosts_are_machines_of_the_clan_or_of_the_configuration() {
    let place = Place::new("");
    let theirs = place.home.read("theirs");
    place.config(&theirs);
    let peer = json!({ "host": { "plain": IP }, "port": place.server.address.port() });
    let exports = json!({ "net": { "priority": 10, "peers": { "m": peer, "gate": peer } } });
    let snapshot = json!({ "clan_connect_snapshot": 1, "exports": exports });
    place.home.write("exports.json", snapshot.to_string());
    for (letters, logins) in [
        (&["-J", "box"][..], 2),
        (&["-J", "gate"], 2),
        (&["-J", "box,gate"], 3),
        (&["-J", "none"], 1),
    ] {
        let before = place.logins();
        assert_eq!(place.ours(letters, &["echo", "in"]).exits(0).text(), "in\n", "{letters:?}");
        assert_eq!(place.logins() - before, logins, "{letters:?}");
    }
    // The files count as well, and less than the command line.
    place.config(&format!("Host m\n  ProxyJump box\n{theirs}"));
    for (letters, logins) in [(&[][..], 2), (&["-J", "none"], 1), (&["-F", "none"], 1)] {
        let before = place.logins();
        place.ours(letters, &["true"]).exits(0);
        assert_eq!(place.logins() - before, logins, "{letters:?}");
    }
}

#[test]
fn a_file_tells_neither_programs_nor_jump_hosts_of_a_secret_host() {
    let place = Place::new("");
    let theirs = place.home.read("theirs");
    let secret = crate::clan::SECRET_HOST;
    let var = json!({ "machine": "m", "generator": "net", "file": "host" });
    let hidden = json!({ "host": { "var": var }, "port": place.server.address.port() });
    let exports = json!({ "hidden": { "priority": 10, "peers": { "m": hidden } } });
    crate::clan::clan(&place.home);
    place.home.write("clan/exports.json", exports.to_string());
    let recipient = place.home.read("home/.config/age/identities");
    let recipient = recipient.split("public key: ").nth(1).unwrap().lines().next().unwrap();
    let sealed = "clan/secrets/clan-vars/per-machine/m/net/host/host.age";
    let sealed = place.home.write(sealed, "");
    let mut age = Command::new("age");
    age.args(["-r", recipient, "-o"]).arg(sealed).stdin(Stdio::piped());
    let mut child = start(&mut age, "age");
    child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    assert!(wait(child).status.success());
    let ssh = |letters: &[&str]| {
        let first = ["--flake", "clan", "--exports", "clan/exports.json", "-v", "ssh", "m"];
        place.home.run(&[&first[..], letters, &["-c", "true"]].concat())
    };
    place.config(&format!("Host m\n  ProxyJump box\n{theirs}"));
    let done = ssh(&[]).exits(255).says(&[
        "the secret host is not sent to a jump host that only ssh_config names",
        "hint: if the jump host may know it, name it with -J HOST",
    ]);
    assert!(!done.stderr.contains(secret), "{}", done.stderr);
    // Who names it on the command line has it told: here it is not there.
    let done = ssh(&["-J", "box"]).exits(255).says(&["stdio forwarding failed on the jump host"]);
    assert!(!done.stderr.contains(secret), "{}", done.stderr);
    let trace = place.home.path("trace").display().to_string();
    place.config(&format!("Host m\n  ProxyCommand echo %h >> {trace}\n"));
    ssh(&[]).exits(255).says(&["the ProxyCommand would show the secret host"]);
    assert_eq!(place.home.read("trace"), "");
}

#[test]
fn what_a_file_says_of_a_machine_counts_below_the_clan() {
    let place = Place::new("");
    let port = place.server.port();
    let whole = "Host m\n  HostName 192.0.2.1\n  Port 1\n  User nosuchuser\n  \
                 SetEnv _TEST_A=file\n  RemoteCommand echo %r $_TEST_A\n";
    place.config(whole);
    // The clan's own host, port and user; everything else is the file's.
    assert_eq!(place.ours(&[], &[]).exits(0).text(), "root file\n");
    // The command line counts most.
    let env = ["--ssh-option", "SetEnv", "_TEST_A=said"];
    assert_eq!(place.ours(&env, &[]).exits(0).text(), "root said\n");
    place.ours(&["-p", "1"], &[]).exits(255).says(&["connection refused"]);
    // Another file, or none.
    let other = place.home.write("other", "Host m\n  SetEnv _TEST_A=other\n");
    let other = other.to_str().unwrap();
    let print = ["printenv", "_TEST_A"];
    assert_eq!(place.ours(&["-F", other], &print).exits(0).text(), "other\n");
    place.ours(&["-F", "none"], &print).exits(1);
    place.ours(&["-F", "missing"], &print).exits(255).says(&["missing"]);
    // Whom to log in as, where the clan does not say.
    place.exports(json!({ "port": place.server.address.port() }));
    let denied = place.ours(&["-o", "BatchMode=yes"], &[]).exits(255);
    denied.says(&["permission denied for nosuchuser@m"]);
    assert_eq!(place.ours(&["-l", "root"], &[]).exits(0).text(), "root file\n");
    // A port, where only the inventory knows the address.
    let inventory = |target: Value| {
        let machines = json!({ "m": { "target_host": target } });
        let snapshot = json!({ "clan_connect_snapshot": 1, "machines": machines, "exports": {} });
        place.home.write("exports.json", snapshot.to_string());
    };
    inventory(json!(format!("root@{IP}")));
    place.config(&format!("Host m\n  Port {port}\n"));
    place.ours(&[], &["true"]).exits(0);
    // And an address, where nobody else knows any.
    inventory(Value::Null);
    place.config(&format!("Host m\n  HostName {IP}\n  Port {port}\n  User root\n"));
    let done = place.ours(&["--ssh-option", "LogLevel", "VERBOSE"], &["true"]).exits(0);
    done.says(&["over network ssh_config"]);
    place.config("");
    place.ours(&[], &["true"]).exits(255).says(&["machine \"m\" has no address"]);
    // What is wrong in a file is said with its line.
    place.config("Host m\n  Port x\n");
    place.ours(&[], &["true"]).exits(255).says(&["config line 2: Bad port 'x'."]);
    // Conditions count, and programs run as for ssh(1).
    place.exports(json!({ "port": place.server.address.port() }));
    let mark = place.home.path("mark").display().to_string();
    place.config(&format!(
        "Match originalhost m user root exec \"echo %n >> {mark}\"\n  SetEnv _TEST_A=matched\n"
    ));
    assert_eq!(place.ours(&[], &print).exits(0).text(), "matched\n");
    assert_eq!(place.home.read("mark"), "m\n");
}

#[test]
fn host_key_options_of_a_file_count_below_the_command_line() {
    let place = Place::new("");
    let port = place.server.port();
    place.config("Host m\n  StrictHostKeyChecking yes\n  UserKnownHostsFile ~/known\n");
    place.ours(&[], &["true"]).exits(255).says(&["host key"]);
    place.ours(&["--host-key-check", "tofu"], &["true"]).exits(0);
    assert!(place.home.read("home/known").starts_with("m ssh-ed25519 "));
    place.ours(&[], &["true"]).exits(0);
    assert_eq!(place.home.read("home/.ssh/known_hosts"), "");
    // The other commands look in the same place.
    let network =
        |args: &[&str]| place.home.run(&[&["--exports", "exports.json", "network"], args].concat());
    let state = |more: &[&str]| {
        let done = network(&[&["ping", "m", "--json"], more].concat()).exits(0);
        let value: Value = serde_json::from_slice(&done.stdout).unwrap();
        value["routes"][0]["host_key"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&[]), "known");
    assert_eq!(state(&["-F", "none"]), "unknown");
    assert_eq!(state(&["-F", "none", "-o", "UserKnownHostsFile=~/known"]), "known");
    let listed = network(&["trust", "list", "m"]).exits(0).text();
    assert!(listed.contains("home/known:1"), "{listed}");
    assert_eq!(network(&["trust", "list", "m", "-F", "none"]).exits(0).text(), "");
    let file = ["--ssh-option", "UserKnownHostsFile", "~/third"];
    let key = place.home.path(&format!("sshd-{port}/host_key.pub")).display().to_string();
    network(&[&["trust", "add", "m", &*key][..], &file].concat()).exits(0);
    let third = ["-F", "none", "-o", "UserKnownHostsFile=~/third", "--host-key-check", "strict"];
    place.ours(&third, &["true"]).exits(0);
    network(&[&["trust", "remove", "m"][..], &file].concat()).exits(0);
    place.ours(&third, &["true"]).exits(255);
    // A name of one's own is the only one.
    let alias = ["-F", "none", "-o", "UserKnownHostsFile=~/alias", "-o", "HostKeyAlias=it"];
    network(&[&["trust", "add", "m", &*key][..], &alias].concat()).exits(0);
    assert!(place.home.read("home/alias").starts_with("it ssh-ed25519 "));
    place.ours(&[&alias[..], &["--host-key-check", "strict"]].concat(), &["true"]).exits(0);
}

#[test]
fn ping_and_overview_go_the_way_that_ssh_goes() {
    let place = Place::new("");
    let theirs = place.home.read("theirs");
    let closed = sshd(&place.home, "127.9.0.1", "", "");
    let peer = json!({ "host": { "plain": "127.9.0.1" }, "port": closed.address.port() });
    let exports = json!({ "net": { "priority": 10, "peers": { "m": peer, "n": peer } } });
    place.home.write("exports.json", exports.to_string());
    let network =
        |args: &[&str]| place.home.run(&[&["--exports", "exports.json", "network"], args].concat());
    place.config(&theirs);
    // From an address where nothing comes from, only the jump host leads there.
    let nowhere = ["-o", "BindAddress=127.0.0.77", "-o", "ConnectTimeout=2"];
    network(&["ping", "m"]).exits(0);
    let v6 = network(&["ping", "m", "-6"]).exits(1);
    assert!(v6.text().contains("net via 127.9.0.1 port "), "{}", v6.text());
    network(&[&["ping", "m"], &nowhere[..]].concat()).exits(0);
    let before = place.logins();
    let jumped = network(&["ping", "m", "-J", "box"]).exits(0);
    assert!(jumped.text().contains("SSH-2.0-OpenSSH"), "{}", jumped.text());
    assert_eq!(place.logins() - before, 1);
    // One jump host for all that lie behind it.
    place.config(&format!("Host m n\n  ProxyJump box\n{theirs}"));
    let before = place.logins();
    let all = network(&["overview", "--json"]).exits(0);
    let value: Value = serde_json::from_slice(&all.stdout).unwrap();
    let peers = value["networks"][0]["peers"].as_array().unwrap();
    assert!(peers.len() == 2 && peers.iter().all(|peer| peer["ok"] == true), "{value}");
    assert_eq!(place.logins() - before, 1);
    // One that is not there is the reason.
    place.config("Host m\n  ProxyJump root@127.0.0.1:1\n");
    let all = network(&["overview"]).exits(0).text();
    assert!(all.contains("m  failed   jump host: cannot reach machine"), "{all}");
    assert!(all.contains("n  ok"), "{all}");
    network(&["ping", "m"]).exits(1).says(&["connection refused"]);
    let command = network(&["ping", "m", "-o", "ProxyCommand=/bin/false"]).exits(1);
    assert!(command.text().contains("net via 127.9.0.1 port "), "{}", command.text());
    // Nobody was logged in to but the jump host.
    assert!(!closed.log().contains("Accepted"), "{}", closed.log());
}

#[test]
fn installers_and_addresses_take_the_letters_too() {
    let place = Place::new("AllowTcpForwarding yes\n");
    let target = place.server.target();
    let args = ["ssh", "any", "--target-host", &target, "-W", &target];
    assert!(place.home.run(&args).text().starts_with("SSH-2.0-"));
    let json = json!({ "addrs": [IP] }).to_string();
    let port = place.server.port();
    let args = ["ssh", "-j", &json, "-p", &port, "-W", &target];
    assert!(place.home.run(&args).text().starts_with("SSH-2.0-"));
    // What data says starts no program and opens nothing.
    let (local, to) = (free_port(IP), web());
    for option in [
        format!("LocalForward={local} {IP}:{to}"),
        "ProxyCommand=touch INJECTED".to_owned(),
        "LocalCommand=touch INJECTED".to_owned(),
        "SessionType=none".to_owned(),
        "ControlPath=x".to_owned(),
    ] {
        let json = json!({ "addrs": [format!("{target}?{option}")] }).to_string();
        let done = place.home.run(&["ssh", "-j", &json, "-c", "true"]).exits(0);
        done.says(&["options of an address are ignored"]);
        let address = format!("{target}?{option}");
        let done = place.home.run(&["ssh", "any", "--target-host", &address, "-c", "true"]);
        done.exits(255).says(&["is not taken from an address"]);
    }
    assert!(!place.home.path("INJECTED").exists());
}

#[test]
fn a_named_key_stands_in_the_place_of_the_default_ones() {
    let place = Place::new("");
    let other = place.home.keygen("other", "ed25519", "").display().to_string();
    let named = |file: &str| place.ours(&["-v", "-i", file], &["true"]);
    // The machine knows the default one alone.
    named(&other).exits(255).says(&["permission denied", "other"]);
    place.ours(&["-o", &format!("IdentityFile={other}")], &["true"]).exits(255);
    let default = place.home.path("home/.ssh/id_ed25519").display().to_string();
    named(&default).exits(0);
    named("~/.ssh/id_ed25519").exits(0);
    // As with ssh(1), one that is not there is left out.
    let done = named("nowhere").exits(0);
    done.says(&["Identity file nowhere not accessible: No such file or directory."]);
    run("chmod", &["0644", &other], "coreutils");
    named(&other).exits(255).says(&["Permissions 0644 for", "bad permissions"]);
    // Its private half is nowhere.
    std::fs::remove_file(&other).unwrap();
    let public = format!("{other}.pub");
    named(&public).exits(255).says(&["Warning: a named key is not used: ", "private half"]);
}

#[test]
fn what_ssh_takes_is_taken_or_told_what_does_it() {
    let place = Place::new("");
    place.exports(json!({ "port": place.server.address.port(), "user": "nobody-here" }));
    let ours =
        |words: &[&str]| place.home.run(&[&["--exports", "exports.json", "ssh"], words].concat());
    ours(&["m", "--", "true"]).exits(255);
    assert_eq!(ours(&["root@m", "--", "id", "-un"]).exits(0).text(), "root\n");
    // The letter counts more.
    assert_eq!(ours(&["-l", "root", "x@m", "--", "id", "-un"]).exits(0).text(), "root\n");
    ours(&["-tt", "root@m", "--", "true"]).exits(0);
    // A variable that is not set names no other machine.
    for (text, lacking) in [("@m", "user"), ("root@", "machine"), ("@", "user")] {
        let said = format!("{text} names no {lacking}: write MACHINE or USER@MACHINE");
        ours(&[text, "--", "true"]).exits(255).says(&[&said]);
    }
    let meant = "put the command behind --: clan-connect --exports exports.json ssh m -- uname -a";
    ours(&["m", "uname", "-a"]).exits(255).says(&[meant]);
    ours(&["m", "-n"]).exits(255).says(&["-n is -o StdinNull=yes here", "clan-connect openssh"]);
    ours(&["root@m", "-o", "StdinNull=yes", "--", "true"]).exits(0);
}
