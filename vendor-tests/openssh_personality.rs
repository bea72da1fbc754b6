//! Called as `ssh`: beside OpenSSH's own ssh, and by the programs that call it.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Home, Run, Server, free_port, noise, run, sshd, start, wait};

const IP: &str = "127.0.0.1";

/// A folder in which our binary is the only `ssh`, and a server that takes its key.
pub(crate) struct Place {
    pub(crate) home: Home,
    pub(crate) server: Server,
}

impl Place {
    pub(crate) fn new(config: &str) -> Self {
        let home = Home::new();
        let key = home.default_key();
        Self::of(home, &key, config)
    }

    /// The same in a folder that has things already, for these keys.
    pub(crate) fn of(home: Home, authorized: &str, config: &str) -> Self {
        let server = sshd(&home, IP, authorized, config);
        Self::at(home, server)
    }

    /// The same for a server that runs already.
    pub(crate) fn at(home: Home, server: Server) -> Self {
        std::fs::create_dir_all(home.path("bin")).unwrap();
        symlink(BINARY, home.path("bin/ssh")).unwrap();
        let text = format!(
            "Host box\n  HostName {IP}\n  Port {}\n  User root\n  StrictHostKeyChecking accept-new\n",
            server.port()
        );
        home.write("home/.ssh/config", text);
        Self { home, server }
    }

    /// The same for OpenSSH's client too, which asks the system, and not the
    /// environment, for the home.
    pub(crate) fn shared(config: &str) -> Self {
        Self::new(config).with_files("")
    }

    /// One whose host is known by now.
    pub(crate) fn ready() -> Self {
        let place = Self::shared("");
        place.ssh(&["box", "true"]).exits(0);
        place
    }

    /// Names the files of this home, and says `more`, in a configuration for both.
    pub(crate) fn with_files(self, more: &str) -> Self {
        let place = self;
        let path = |name: &str| place.home.path(name).display().to_string();
        let more = format!(
            "  UserKnownHostsFile {}\n  IdentityFile {}\n{more}",
            path("home/.ssh/known_hosts"),
            path("home/.ssh/id_ed25519")
        );
        let config = place.home.read("home/.ssh/config") + &more;
        place.home.write("home/.ssh/config", config);
        place
    }

    pub(crate) fn ours(&self) -> String {
        self.home.path("bin/ssh").to_str().unwrap().to_owned()
    }

    /// Either client with the configuration of this place, unless another is named.
    pub(crate) fn client(&self, ssh: &str, args: &[&str]) -> Command {
        let config = self.home.path("home/.ssh/config");
        let fixed = ["-F", config.to_str().unwrap()];
        let args = if args.contains(&"-F") { args.to_vec() } else { [&fixed, args].concat() };
        self.command(ssh, &args)
    }

    /// A program with our `ssh` before all others, in `dir` below the folder.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/bin:/bin:/usr/sbin", self.home.path("bin").display());
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path("home"))
            .env("PATH", path)
            .current_dir(self.home.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, program: &str, args: &[&str], package: &str) -> Run {
        Run::of(wait(start(&mut self.command(program, args), package)))
    }

    pub(crate) fn ssh(&self, args: &[&str]) -> Run {
        self.run(&self.ours(), args, "")
    }
}

#[test]
fn it_runs_what_ssh_runs_and_exits_as_ssh_does() {
    let place = Place::new("");
    assert_eq!(place.ssh(&["box", "echo", "a  b", "'c  d'"]).exits(0).text(), "a b c  d\n");
    place.ssh(&["box", "exit", "7"]).exits(7);
    place.ssh(&["-p", "1", "box", "true"]).exits(255).says(&["Connection refused"]);
    place.ssh(&["-4", "-oHostName=localhost", "box", "true"]).exits(0);
    place.ssh(&["-6", "-oHostName=localhost", "box", "true"]).exits(255);
    let unknown = place.ssh(&["-oHostName=nowhere.invalid", "box", "true"]).exits(255);
    unknown.says(&["Could not resolve hostname nowhere.invalid"]);
    let denied =
        ["-oIdentityFile=/nonexistent", "-oIdentitiesOnly=yes", "-oBatchMode=yes", "box", "true"];
    place.ssh(&denied).exits(255).says(&["root@127.0.0.1: Permission denied (publickey"]);
    let strict = ["-oUserKnownHostsFile=/dev/null", "-oStrictHostKeyChecking=yes", "box", "true"];
    place.ssh(&strict).exits(255).says(&["Host key verification failed."]);
    place.ssh(&["-oNonsense=1", "box"]).exits(255).says(&["Bad configuration option: nonsense"]);
    place.ssh(&["-z", "box"]).exits(255).says(&["unknown option -- z"]);
    place.ssh(&["box;true"]).exits(255).says(&["hostname contains invalid characters"]);
    let log = place.home.path("log");
    let logged = place.ssh(&["-E", log.to_str().unwrap(), "-p", "1", "box", "true"]).exits(255);
    assert_eq!(logged.stderr, "");
    assert!(place.home.read("log").contains("Connection refused"));
    assert_eq!(place.ssh(&["-C", "box", "echo", "in"]).exits(0).text(), "in\n");
    // Nothing is asked with `no`, and a changed key is gone on with.
    let known = place.home.read("home/.ssh/known_hosts");
    place.home.keygen("stale", "ed25519", "");
    let stale = place.home.read("stale.pub");
    let stale = stale.split_whitespace().nth(1).unwrap();
    let blob = known.split_whitespace().nth(2).unwrap();
    place.home.write("home/.ssh/known_hosts", known.replace(blob, stale));
    place.ssh(&["box", "true"]).exits(255).says(&["Host key verification failed."]);
    let no = ["-oStrictHostKeyChecking=no", "box", "true"];
    place.ssh(&no).exits(0).says(&["HAS CHANGED", "Password authentication is disabled"]);
    place.home.write("home/.ssh/known_hosts", known);
    place.ssh(&["-V"]).exits(0).says(&["OpenSSH_"]);
    assert!(place.ssh(&["-Q", "cipher"]).exits(0).text().contains("aes256-gcm@openssh.com\n"));
    let set = ["-oSetEnv=LC_TEST=one", "box", "echo $LC_TEST"];
    assert_eq!(place.ssh(&set).exits(0).text(), "one\n");
    let local =
        ["-oPermitLocalCommand=yes", "-oLocalCommand=echo started %n %p", "box", "echo", "in"];
    let text = place.ssh(&local).exits(0).text();
    assert_eq!(text, format!("started box {}\nin\n", place.server.port()));
    // Standard input is passed on, and not read with -n.
    let data = noise(3 << 20);
    let mut command = place.command(place.home.path("bin/ssh").to_str().unwrap(), &["box", "cat"]);
    let mut child = start(command.stdin(Stdio::piped()), "");
    let mut input = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &sent));
    assert!(wait(child).stdout == data);
    writer.join().unwrap().unwrap();
    assert_eq!(place.ssh(&["-n", "box", "cat"]).exits(0).text(), "");
}

#[test]
fn what_applies_is_what_applies_to_openssh() {
    let place = Place::new("");
    let more = place.home.path("more");
    let config = place.home.write(
        "config",
        "Host box b*\n HostName=%h.example\n User \"me too\"\n IdentityFile ~/.ssh/a\n\
         Include MORE/*.conf\nMatch host *.example user me*\n Port 2222\n SendEnv LANG LC_*\n\
         Match exec \"test %n = box\"\n ServerAliveInterval 7\nMatch final host *.example\n \
         Compression yes\nHost *\n Port 1\n ForwardAgent yes\n ProxyJump a@j1:5,j2\n\
         LocalForward 8080 [::1]:80\n RemoteForward 9090 localhost:90\n DynamicForward 1080\n\
         UserKnownHostsFile /x /y\n StrictHostKeyChecking no\n IdentityFile ~/.ssh/b\n"
            .replace("MORE", more.to_str().unwrap()),
    );
    place.home.write("more/one.conf", "ConnectTimeout 11\n");
    // Lists of algorithms, and what is Debian's own, are each program's.
    let own = [
        "ciphers",
        "hostkeyalgorithms",
        "kexalgorithms",
        "casignaturealgorithms",
        "macs",
        "pubkeyacceptedalgorithms",
        "hostbasedacceptedalgorithms",
        "requiredrsasize",
        "gssapi",
        "securitykeyprovider",
        "xauthlocation",
        "logverbose",
        "ipqos",
        "forwardx11trusted",
        "hashknownhosts",
        // Of OpenSSH 9.5 and later.
        "obscurekeystroketiming",
    ];
    let home = place.home.path("home").display().to_string();
    let lines = |text: String| -> Vec<String> {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !own.iter().any(|name| line.to_lowercase().starts_with(name)))
            // Types of keys that we cannot use.
            .filter(|line| !["_sk", "_xmss", "_dsa"].iter().any(|end| line.ends_with(end)))
            // OpenSSH asks the system where the home is.
            .map(|line| line.replace("/root/", &format!("{home}/")))
            .map(|line| line.replace("canonicalizePermittedcnames", "canonicalizepermittedcnames"))
            .collect();
        lines.sort();
        // The second pass makes OpenSSH 9.2 say some things twice.
        lines.dedup();
        lines
    };
    for args in [
        &["box"][..],
        &["b2"],
        &["other"],
        &["-p", "77", "-l", "you", "box"],
        &["-oPort=5", "-J", "x", "-A", "-C", "box"],
        &["-tt", "-L", "1:h:2", "-R", "3:[::2]:4", "-D", "[::1]:5", "me@other"],
        &["-N", "-W", "h:1", "ssh://u@other:99"],
        &["-a", "-4", "-q", "-oControlMaster=auto", "-S", "/x/%C", "other"],
        &["-F", "none", "other"],
        &[
            "-oUserKnownHostsFile=~/kh_%h ${HOME}/x%%y ~root/z",
            "-oIdentityAgent=~/%r",
            "-oForwardAgent=$SOCK",
            "-oRemoteCommand=echo %h %%h ${HOME}",
            "-oPermitRemoteOpen=a:1 *:2",
            "other",
        ],
        &["-oIdentityAgent=$SOCK", "-oControlPath=none", "-oRemoteCommand=none", "other"],
        &["-L", "%d/x:h:22", "-R", "${HOME}/y:/%h", "-L", "7:[fe80::1%lo]:22", "other"],
        &["BOX"],
        &["-oUser=ME", "Other.EXAMPLE"],
        &["-L", "./x:%h:22", "-D", "[fe80::1%lo]:9", "other"],
    ] {
        let file = if args.contains(&"-F") { &[][..] } else { &["-F", config.to_str().unwrap()] };
        let args = [&["-G"], file, args].concat();
        let ours = lines(place.ssh(&args).exits(0).text());
        let theirs = place.run("/usr/bin/ssh", &args, "openssh-client").exits(0);
        let theirs = lines(theirs.text());
        let only = |one: &[String], other: &[String]| {
            one.iter().filter(|line| !other.contains(line)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(only(&ours, &theirs), only(&theirs, &ours), "{args:?}");
        assert_eq!(ours, theirs, "{args:?}");
    }
}

#[test]
fn ports_are_forwarded_every_way() {
    use std::io::{Read, Write};
    let place = Place::new("AllowTcpForwarding yes\nAllowStreamLocalForwarding yes\n");
    let (local, socks, remote) = (free_port(IP), free_port(IP), free_port(IP));
    let unix = place.home.path("sock");
    let web = std::net::TcpListener::bind((IP, 0)).unwrap();
    let to = web.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in web.incoming().flatten() {
            std::thread::spawn(move || {
                let mut line = [0; 5];
                if stream.read_exact(&mut line).is_ok() {
                    let _ = stream.write_all(&[b"got ", &line[..]].concat());
                }
            });
        }
    });
    let (l, u) = (format!("{local}:localhost:{to}"), format!("{}:{IP}:{to}", unix.display()));
    let (r, d) = (format!("{IP}:{remote}:localhost:{to}"), socks.to_string());
    let args = ["-N", "-oExitOnForwardFailure=yes", "-L", &l, "-L", &u, "-R", &r, "-D", &d, "box"];
    let ssh = place.home.path("bin/ssh");
    let mut child = start(&mut place.command(ssh.to_str().unwrap(), &args), "");
    crate::harness::until("the listeners", || {
        std::net::TcpStream::connect((IP, remote)).is_ok()
            && std::net::TcpStream::connect((IP, local)).is_ok()
    });
    let ask = |mut stream: Box<dyn Duplex>| {
        stream.write_all(b"hello").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let tcp = |port| Box::new(std::net::TcpStream::connect((IP, port)).unwrap()) as Box<dyn Duplex>;
    assert_eq!(ask(tcp(local)), "got hello");
    assert_eq!(ask(tcp(remote)), "got hello");
    assert_eq!(ask(Box::new(std::os::unix::net::UnixStream::connect(&unix).unwrap())), "got hello");
    // curl is not needed: SOCKS 5 by hand, a name for the other side to resolve.
    let mut stream = std::net::TcpStream::connect((IP, socks)).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut two = [0; 2];
    stream.read_exact(&mut two).unwrap();
    assert_eq!(two, [5, 0]);
    let mut request = vec![5, 1, 0, 3, 9];
    request.extend(b"localhost");
    request.extend(to.to_be_bytes());
    stream.write_all(&request).unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..2], [5, 0]);
    assert_eq!(ask(Box::new(stream)), "got hello");
    // A hundred at the same time.
    let many: Vec<_> = (0..100)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect((IP, local)).unwrap();
                stream.write_all(b"hello").unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                text
            })
        })
        .collect();
    assert!(many.into_iter().all(|thread| thread.join().unwrap() == "got hello"));
    child.kill().unwrap();
    child.wait().unwrap();
    // -W, as a ProxyCommand of another ssh would.
    let place_of = format!("{IP}:{}", place.server.port());
    let banner = place.ssh(&["-W", &place_of, "box"]);
    assert!(banner.text().starts_with("SSH-2.0-OpenSSH"), "{banner:?}");
    // A port that is taken.
    let taken = format!("{IP}:{}:localhost:1", place.server.port());
    let args = ["-oExitOnForwardFailure=yes", "-L", &taken, "box", "true"];
    place.ssh(&args).exits(255).says(&["could not request local forwarding"]);
}

trait Duplex: std::io::Read + std::io::Write {}
impl<T: std::io::Read + std::io::Write> Duplex for T {}

#[test]
fn jump_hosts_and_proxy_commands_lead_there() {
    let place = Place::new("");
    let other = sshd(&place.home, IP, &place.home.read("home/.ssh/id_ed25519.pub"), "");
    let config = place.home.read("home/.ssh/config");
    let ssh = place.home.path("bin/ssh");
    place.home.write(
        "home/.ssh/config",
        format!(
            "{config}Host far\n  HostName {IP}\n  Port {0}\n  User root\n  ProxyJump box\n\
             StrictHostKeyChecking accept-new\nHost piped\n  HostName {IP}\n  Port {0}\n  User root\n\
             ProxyCommand {1} -W %h:%p box\n  StrictHostKeyChecking accept-new\n",
            other.port(),
            ssh.display()
        ),
    );
    for host in ["far", "piped"] {
        assert_eq!(place.ssh(&[host, "echo", "far"]).exits(0).text(), "far\n");
    }
    let twice = ["-J", "box,far", "-oStrictHostKeyChecking=accept-new", "box", "echo", "back"];
    assert_eq!(place.ssh(&twice).exits(0).text(), "back\n");
    place.ssh(&["-J", "none", "-p", "1", "far", "true"]).exits(255).says(&["Connection refused"]);
    let broken = ["-oProxyCommand=false", "box", "true"];
    place.ssh(&broken).exits(255);
}

#[test]
fn git_and_rsync_and_scp_and_sftp_and_nix_take_it_for_ssh() {
    let place = Place::new(&format!("Subsystem sftp {}\n", sftp_server()));
    let data = noise(8 << 20);
    place.home.write("tree/big", &data);
    place.home.write("tree/dir/small", "small\n");
    let path = |name: &str| place.home.path(name).to_str().unwrap().to_owned();
    // git
    let git = |args: &[&str]| place.run("git", args, "git").exits(0);
    let tree = path("tree");
    for args in [
        &["init", "-q", "-b", "main", &tree][..],
        &["-C", &tree, "add", "."],
        &["-C", &tree, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ] {
        git(args);
    }
    let (from, clone) = (format!("box:{tree}"), path("clone"));
    git(&["clone", "-q", &from, &clone]);
    assert!(std::fs::read(place.home.path("clone/big")).unwrap() == data);
    git(&["-C", &clone, "push", "-q", "origin", "HEAD:refs/heads/new"]);
    git(&["-C", &clone, "fetch", "-q", "--all"]);
    // rsync, both ways
    let rsync = |args: &[&str]| place.run("rsync", args, "rsync").exits(0);
    rsync(&["-az", "--delete", &format!("{tree}/"), &format!("box:{}/", path("synced"))]);
    rsync(&["-a", &format!("root@box:{}/", path("synced")), &path("back")]);
    assert!(std::fs::read(place.home.path("back/big")).unwrap() == data);
    // scp and sftp are OpenSSH's own, with our ssh below them.
    let ssh = path("bin/ssh");
    let scp = |args: &[&str]| {
        place.run("scp", &[&["-S", &ssh], args].concat(), "openssh-client").exits(0)
    };
    scp(&["-q", &path("tree/big"), &format!("box:{}", path("copied"))]);
    scp(&["-qr", &format!("box:{}", path("tree/dir")), &path("dir")]);
    assert!(std::fs::read(place.home.path("copied")).unwrap() == data);
    assert_eq!(place.home.read("dir/small"), "small\n");
    scp(&["-qO", &format!("box:{}", path("tree/big")), &path("legacy")]);
    assert!(std::fs::read(place.home.path("legacy")).unwrap() == data);
    place.home.write("batch", format!("get {} {}\n", path("tree/dir/small"), path("got")));
    place.run("sftp", &["-S", &ssh, "-b", &path("batch"), "box"], "openssh-client").exits(0);
    assert_eq!(place.home.read("got"), "small\n");
}

/// Where Debian has it.
fn sftp_server() -> &'static str {
    let path = "/usr/lib/openssh/sftp-server";
    assert!(std::path::Path::new(path).exists(), "apt-get install openssh-sftp-server");
    println!("{}", run("git", &["--version"], "git"));
    path
}

#[test]
fn an_agent_is_lent_to_the_machine_and_only_when_asked() {
    let place = Place::new("AllowAgentForwarding yes\n");
    let socket = place.home.path("agent");
    let socket = socket.to_str().unwrap();
    let mut agent = start(
        Command::new("ssh-agent").args(["-D", "-a", socket]).stdout(Stdio::null()),
        "openssh-client",
    );
    crate::harness::until("the agent", || std::path::Path::new(socket).exists());
    let key = place.home.path("home/.ssh/id_ed25519");
    let with_agent = |program: &str, args: &[&str]| {
        let mut command = place.command(program, args);
        command.env("SSH_AUTH_SOCK", socket);
        Run::of(wait(start(&mut command, "openssh-client")))
    };
    // Only where the key's way leads: to this server, and no further.
    with_agent("/usr/bin/ssh-add", &["-q", key.to_str().unwrap()]).exits(0);
    let ssh = place.home.path("bin/ssh");
    let list = ["-A", "box", "ssh-add -l"];
    let listed = with_agent(ssh.to_str().unwrap(), &list).exits(0).text();
    assert!(listed.contains("SHA256:"), "{listed}");
    let without = with_agent(ssh.to_str().unwrap(), &["box", "ssh-add -l"]);
    assert_eq!(without.code, Some(2), "{without:?}");
    let again = with_agent(ssh.to_str().unwrap(), &["-A", "-a", "box", "ssh-add -l"]);
    assert_eq!(again.code, Some(2), "{again:?}");
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn it_goes_to_the_background_when_all_stands() {
    let place = Place::new("");
    let mark = place.home.path("mark");
    let script = format!("sleep 1; echo done > {}", mark.display());
    let started = std::time::Instant::now();
    let ssh = place.home.path("bin/ssh");
    let mut command = place.command(ssh.to_str().unwrap(), &["-f", "box", &script]);
    // Who stays keeps what it was given to write to.
    let child = start(command.stdout(Stdio::null()).stderr(Stdio::null()), "");
    assert!(wait(child).status.success());
    assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(!mark.exists());
    crate::harness::until("the end of the command", || place.home.read("mark") == "done\n");
    place.ssh(&["-f", "-oBatchMode=yes", "-p", "1", "box", "true"]).exits(255).says(&["refused"]);
}

#[test]
fn ansible_and_nix_take_it_for_ssh() {
    let place = Place::new(&format!("Subsystem sftp {}\n", sftp_server()));
    let mut tasks = String::new();
    for at in 0..10 {
        tasks += &format!("    - shell: echo {at} >> {}\n", place.home.path("log").display());
        tasks += &format!(
            "    - copy: {{ content: 'text {at}', dest: '{}' }}\n",
            place.home.path(&format!("file{at}")).display()
        );
    }
    place.home.write("play.yml", format!("- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}"));
    place.home.write(
        "ansible.cfg",
        "[ssh_connection]\npipelining = true\nssh_args = -C\n[defaults]\nhost_key_checking = false\n",
    );
    let args = ["-i", "box,", "-e", "ansible_python_interpreter=/usr/bin/python3", "play.yml"];
    let mut command = place.command("ansible-playbook", &args);
    command.env("LC_ALL", "C.UTF-8");
    let done = Run::of(wait(start(&mut command, "ansible-core"))).exits(0);
    assert!(done.text().contains("ok=20"), "{}", done.text());
    assert_eq!(place.home.read("log").lines().count(), 10);
    assert_eq!(place.home.read("file9"), "text 9");
    // nix
    place.home.write("thing", "a thing for the store\n");
    let thing = place.home.path("thing");
    let path =
        place.run("nix-store", &["--add", thing.to_str().unwrap()], "nix-bin").exits(0).text();
    place.run("nix-copy-closure", &["--to", "box", path.trim()], "nix-bin").exits(0);
    place.run("nix-copy-closure", &["--from", "box", path.trim()], "nix-bin").exits(0);
    let ping =
        ["--extra-experimental-features", "nix-command", "store", "ping", "--store", "ssh://box"];
    place.run("nix", &ping, "nix-bin").exits(0);
    let copy =
        ["--extra-experimental-features", "nix-command", "copy", "--to", "ssh://box", path.trim()];
    place.run("nix", &copy, "nix-bin").exits(0);
}

#[test]
fn a_machine_of_the_clan_is_reached_over_its_networks_and_others_directly() {
    let place = Place::new("");
    let dir = place.home.path("clan");
    std::fs::create_dir_all(&dir).unwrap();
    place.home.write("clan/.clan-flake", "");
    let exports = serde_json::json!({
        "dead": { "priority": 20, "peers": { "web": { "host": { "plain": IP }, "port": 1 } } },
        "good": { "priority": 10, "peers": { "web": { "host": { "plain": IP },
            "port": place.server.address.port() } } },
    });
    let public = place.home.read(&format!("sshd-{}/host_key.pub", place.server.port()));
    let snapshot = serde_json::json!({
        "clan_connect_snapshot": 1,
        "fingerprint": clan_connect::internals::fingerprint(&dir),
        "machines": { "web": { "host_keys": [public.trim()] } },
        "exports": exports,
    });
    place.home.write("clan/clan-connect.json", snapshot.to_string());
    let ssh = place.home.path("bin/ssh");
    let in_clan = |args: &[&str]| {
        let mut command = place.command(ssh.to_str().unwrap(), args);
        Run::of(wait(start(command.env("CLAN_DIR", &dir), "")))
    };
    // Its key is the clan's, so that nobody is asked.
    assert_eq!(in_clan(&["web", "echo", "in"]).exits(0).text(), "in\n");
    assert_eq!(in_clan(&["box", "echo", "in"]).exits(0).text(), "in\n");
    in_clan(&["-oHostName=127.0.0.1", "-oPort=1", "web", "true"]).exits(255).says(&["refused"]);
    // As a jump host, too.
    let config = place.home.read("home/.ssh/config");
    place.home.write("home/.ssh/config", format!("{config}Host behind\n  HostName {IP}\n  Port {}\n  User root\n  ProxyJump web\n  StrictHostKeyChecking accept-new\n", place.server.port()));
    assert_eq!(in_clan(&["behind", "echo", "in"]).exits(0).text(), "in\n");
    // Our own command goes over the same hosts, to all that is reached directly.
    let as_clan = |args: &[&str]| {
        let mut command = place.command(BINARY, &[&["ssh"], args].concat());
        Run::of(wait(start(command.env("CLAN_DIR", &dir), "")))
    };
    let connections = || place.server.log().matches("Accepted publickey").count();
    for (options, logins) in [
        (&["--ssh-option", "ProxyJump", "web"][..], 2),
        (&["--ssh-option", "ProxyJump", "box,web"], 3),
        (&["--ssh-option", "ProxyJump", "none"], 1),
        (&["--ssh-option", "ProxyCommand", &format!("{} -W %h:%p box", ssh.display())], 2),
    ] {
        let before = connections();
        let run =
            as_clan(&[&["web", "--network", "good"], options, &["-c", "echo", "in"]].concat());
        assert_eq!(run.exits(0).text(), "in\n", "{options:?}");
        assert_eq!(connections() - before, logins, "{options:?}");
    }
    let target = format!("root@{}?ProxyJump=web", place.server.target());
    let run = as_clan(&["other", "--target-host", &target, "-c", "echo", "in"]);
    assert_eq!(run.exits(0).text(), "in\n");
    let closed = format!("{IP}:1?ProxyJump=web");
    let run = as_clan(&["other", "--target-host", &closed, "-c", "true"]).exits(255);
    run.says(&["stdio forwarding failed on the jump host: connect failed"]);
    let run = as_clan(&["web", "--ssh-option", "ProxyJump", "nowhere.invalid", "-c", "true"]);
    run.exits(255).says(&["could not resolve hostname"]);
}

/// What `ssh -G` prints of both programs, or what it says is wrong.
fn both_resolve(place: &Place, config: &str, host: &str) -> [(Option<i32>, Vec<String>); 2] {
    let file = place.home.write("config", config);
    let args = ["-F", file.to_str().unwrap(), "-G", host];
    let names = ["hostname", "port", "proxyjump", "proxycommand", "localcommand", "remotecommand"];
    let names = [&names[..], &["stricthostkeychecking", "knownhostscommand"]].concat();
    let lines = |run: crate::harness::Run| {
        let lines = run.stdout.iter().map(|byte| char::from(*byte)).collect::<String>();
        let is_named = |line: &&str| names.iter().any(|name| line.starts_with(&format!("{name} ")));
        let lines = lines.lines().filter(is_named).map(str::to_owned).collect();
        (run.code, lines)
    };
    [lines(place.ssh(&args)), lines(place.run("/usr/bin/ssh", &args, "openssh-client"))]
}

#[test]
fn a_proxy_jump_ends_where_it_does_with_openssh_and_yields_as_there() {
    let place = Place::new("");
    for line in [
        "ProxyJump gate # x",
        "ProxyJump gate x",
        "ProxyJump gate#x",
        "ProxyJump a,b c,d # e",
        "ProxyJump = u@gate:5 # \"x\"",
        "ProxyJump ssh://u@h:1 # c",
        "ProxyJump none",
        "ProxyJump none\nProxyCommand x",
        "ProxyCommand x\nProxyJump none",
        "ProxyCommand none\nProxyJump a",
        "ProxyJump none\nProxyJump a\nProxyCommand x",
        "ProxyJump none\nProxyCommand none\nProxyJump a",
        "Host m\nProxyJump none\nHost *\nProxyCommand x",
        "Host m\nProxyCommand x\nHost *\nProxyJump none",
        "Host m\nProxyCommand none\nHost *\nProxyJump a",
        "Host m\nProxyJump none\nHost *\nProxyJump a",
        "ProxyJump a, b",
        "ProxyJump #",
        "ProxyCommand a # b",
        "ProxyCommand none # b",
        "LocalCommand a # b",
        "RemoteCommand a # b",
        "KnownHostsCommand /a # b",
    ] {
        let [ours, theirs] = both_resolve(&place, &format!("{line}\n"), "m");
        assert_eq!(ours, theirs, "{line}");
    }
    // OpenSSH 9.2 takes this one for a host of that name.
    let [(code, ours), _] = both_resolve(&place, "ProxyJump none # direct\n", "m");
    assert_eq!((code, ours.iter().any(|line| line.starts_with("proxyjump"))), (Some(0), false));
}

#[test]
fn files_are_read_again_where_names_are_canonicalised_as_with_openssh() {
    let place = Place::new("");
    let strict = "Match canonical\n StrictHostKeyChecking yes\n";
    let noted = place.home.path("noted");
    for before in [
        "CanonicalizeHostname yes\n",
        "CanonicalizeHostname always\n",
        "CanonicalizeHostname yes\nProxyCommand x\n",
        "CanonicalizeHostname no\n",
        "Match final\n Port 7\n",
        "",
    ] {
        for host in ["FoO", "127.0.0.1"] {
            let exec = format!("Match exec \"echo %h %C >>{}\"\n Port 9\n", noted.display());
            let config = format!("{before}{strict}{exec}");
            let [ours, theirs] = both_resolve(&place, &config, host);
            assert_eq!(ours, theirs, "{config} {host}");
            let text = std::fs::read_to_string(&noted).unwrap();
            std::fs::remove_file(&noted).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let (ours, theirs) = lines.split_at(lines.len() / 2);
            assert_eq!(ours, theirs, "{config} {host}");
        }
    }
}

#[test]
fn a_fifo_in_the_place_of_the_configuration_holds_nobody_up() {
    let place = Place::new("");
    let config = place.home.path("home/.ssh/config");
    std::fs::remove_file(&config).unwrap();
    crate::harness::run("mkfifo", &["-m", "600", config.to_str().unwrap()], "coreutils");
    let mut command = place.command(&place.ours(), &["-G", "box"]);
    let done = crate::harness::Run::of(wait(start(&mut command, "")));
    done.exits(255).says(&["config", "not a regular file"]);
}
