//! A job that has nothing but the program and a few variables: no home, no terminal, no
//! account, no file that it may write.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::clan::{SECRET_HOST, secret_machine};
use crate::harness::{BINARY, Home, Run, Server, copy_program, noise, run, sshd, start, wait};

struct Job {
    home: Home,
    server: Server,
    key: String,
}

impl Job {
    fn new() -> Self {
        let home = Home::new();
        let public = home.default_key();
        let server = sshd(&home, "127.0.0.1", &public, "");
        let key = home.read("home/.ssh/id_ed25519");
        Self { home, server, key }
    }

    /// With `m` at this port, and this key of its server.
    fn snapshot(&self, port: u16, host_key: &str) {
        let snapshot = json!({ "clan_connect_snapshot": 1,
            "machines": { "m": { "host_keys": [host_key] } },
            "exports": { "net": { "priority": 10, "module": "clan_lib.network.direct",
                "peers": { "m": { "host": { "plain": "127.0.0.1" }, "port": port } } } } });
        self.home.write("clan/.clan-flake", "");
        self.home.write("clan/clan-connect.json", snapshot.to_string());
    }

    /// All ways in which a session ends: each makes the snapshot for it, and has the private key,
    /// a command for the machine, and the status.
    fn endings(&self) -> impl Iterator<Item = (String, &'static str, i32)> {
        let port = self.server.address.port();
        let right = self.home.read(&format!("sshd-{port}/host_key.pub")).trim().to_owned();
        self.home.keygen("other", "ed25519", "");
        let other = self.home.read("other.pub");
        let other = other.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let (key, stranger) = (self.key.clone(), self.home.read("other"));
        let all = [
            (port, right.clone(), key.clone(), "exit 7", 7),
            (1, right.clone(), key.clone(), "true", 251),
            (port, other, key.clone(), "true", 252),
            (port, right.clone(), stranger, "true", 253),
            // It ends the server's side of its own connection.
            (port, right, key, "kill -9 $PPID; sleep 5", 254),
        ];
        all.into_iter().map(|(port, host_key, key, words, status)| {
            self.snapshot(port, &host_key);
            (key, words, status)
        })
    }

    /// As nobody in particular, who can write nowhere.
    fn run(&self, key: &str, args: &[&str]) -> Run {
        let clan = self.home.path("clan").display().to_string();
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--reuid", "54321", "--regid", "54321", "--clear-groups", BINARY]);
        command.args(["--flake", &clan]).args(args).current_dir("/");
        command.env_clear().env("CLAN_CONNECT_SSH_KEY", key);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "util-linux")))
    }
}

#[test]
fn a_key_given_by_value_logs_in_where_there_are_no_files() {
    let job = Job::new();
    let host_key = job.home.read(&format!("sshd-{}/host_key.pub", job.server.port()));
    job.snapshot(job.server.address.port(), host_key.trim());
    let root = ["ssh", "m", "-l", "root", "-c", "echo", "in"];
    // Stores of secrets cut off what they like at the end.
    for key in [job.key.as_str(), job.key.trim()] {
        assert_eq!(job.run(key, &root).exits(0).text(), "in\n");
    }
    // It is not shown, whatever it is.
    for (key, why) in [("s3cr3t-and-no-key", "$CLAN_CONNECT_SSH_KEY (not a private key)"), ("", "")]
    {
        let failed = job.run(key, &root).exits(255);
        let failed = failed.says(&["permission denied", why]);
        assert!(!failed.stderr.contains("s3cr3t"), "{}", failed.stderr);
    }
    let verbose = [&["-vvv"], &root[..]].concat();
    let shown = job.run(&job.key, &verbose).exits(0).stderr;
    let line = job.key.lines().nth(1).unwrap();
    assert!(!shown.contains(line), "the key is shown");
}

#[test]
fn failures_have_statuses_of_their_own_on_request() {
    let job = Job::new();
    for (key, words, status) in job.endings() {
        let (key, words) = (key.as_str(), words);
        // As programs call it that copy, as well.
        for words in [
            &["ssh", "m", "-l", "root", "-c", "sh", "-c", words][..],
            &["openssh", "-oBatchMode=yes", "-l", "root", "m", words],
        ] {
            job.run(key, &[&["--exit-codes", "detailed"], words].concat()).exits(status);
            let plain = if status == 7 { 7 } else { 255 };
            job.run(key, words).exits(plain);
        }
    }
}

#[test]
fn events_go_to_a_descriptor_that_only_the_caller_may_open() {
    let job = Job::new();
    let host_key = job.home.read(&format!("sshd-{}/host_key.pub", job.server.port()));
    job.snapshot(job.server.address.port(), host_key.trim());
    let events = |words: &[&str], status: u8| -> Vec<Value> {
        let clan = job.home.path("clan").display().to_string();
        let mut command = Command::new("/bin/sh");
        // What comes by the third descriptor is all that is printed.
        command.args(["-c", "exec \"$@\" 3>&1 >/dev/null", "-", "/usr/bin/setpriv"]);
        command.args(["--reuid", "54321", "--regid", "54321", "--clear-groups", BINARY]);
        command.args(["--flake", &clan, "--events", "/dev/fd/3"]).args(words).current_dir("/");
        command.env_clear().env("CLAN_CONNECT_SSH_KEY", &job.key);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = Run::of(wait(start(&mut command, "util-linux"))).exits(status.into());
        let text = run.text();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        // How often it waits depends on the computer.
        events.filter(|event| event["event"] != "waiting").collect()
    };
    let names = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    };
    let good = events(&["ssh", "m", "-l", "root", "-c", "exit", "3"], 3);
    assert_eq!(names(&good), ["trying", "connected", "ended"], "{good:?}");
    assert_eq!(good[1]["network"], "net");
    assert_eq!(good[1]["user"], "root");
    assert_eq!(good[2]["status"], 3);
    assert!(good.iter().all(|event| event["seconds"].as_f64().is_some()), "{good:?}");
    job.snapshot(1, host_key.trim());
    let bad = events(&["--exit-codes", "detailed", "ssh", "m", "-l", "root", "-c", "true"], 251);
    assert_eq!(names(&bad), ["trying", "failed", "error", "ended"], "{bad:?}");
    assert_eq!(bad[1]["reason"], "connection refused");
    assert_eq!(bad[3]["status"], 251);
    // Where nobody logs in.
    for (port, status, became) in [(job.server.address.port(), 0, "reached"), (1, 1, "failed")] {
        job.snapshot(port, host_key.trim());
        for words in [&["network", "ping", "m"][..], &["network", "overview"], &["proxy", "m"]] {
            let status = match (words[0], words[1]) {
                ("proxy", _) if status != 0 => 255,
                (_, "overview") => 0,
                _ => status,
            };
            let asked = events(words, status);
            let of_way: Vec<&Value> = asked.iter().filter(|it| it["network"] == "net").collect();
            assert_eq!(of_way.len(), 2, "{words:?}: {asked:?}");
            assert_eq!(
                (&of_way[0]["event"], &of_way[1]["event"]),
                (&json!("trying"), &json!(became))
            );
            assert_eq!(
                (&of_way[1]["machine"], &of_way[1]["host"]),
                (&json!("m"), &json!("127.0.0.1"))
            );
            assert_eq!(asked.last().unwrap()["status"], status);
        }
    }
}

#[test]
fn a_secret_host_is_in_events_on_request_alone() {
    let home = Home::new();
    let (_server, exports) = secret_machine(&home);
    let connected = |more: &[&str]| -> Vec<Value> {
        let clan = ["--flake", "clan", "--exports", &exports, "--events", "events"];
        let ssh = ["ssh", "my_cool_machine", "--network", "hidden", "-c", "true"];
        home.run(&[&clan, more, &ssh[..]].concat()).exits(0);
        let events = home.read("events");
        std::fs::remove_file(home.path("events")).unwrap();
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let host = |events: &[Value], name: &str| {
        events.iter().find(|event| event["event"] == name).unwrap()["host"].clone()
    };
    let hidden = connected(&[]);
    assert_eq!(host(&hidden, "connected"), "<secret: tor_tor/hostname>");
    assert!(hidden.iter().all(|event| !event.to_string().contains(SECRET_HOST)), "{hidden:?}");
    let shown = connected(&["--show-secrets"]);
    assert_eq!(host(&shown, "connected"), SECRET_HOST);
    // It is not decrypted yet.
    assert_eq!(host(&shown, "trying"), "<var: tor_tor/hostname>");
}

#[test]
fn events_go_to_no_descriptor_but_one_that_was_handed_over() {
    let job = Job::new();
    let host_key = job.home.read(&format!("sshd-{}/host_key.pub", job.server.port()));
    job.snapshot(job.server.address.port(), host_key.trim());
    // Standard output has what the command there says.
    let run = job.run(&job.key, &["--events", "-", "ssh", "m", "-l", "root", "-c", "true"]);
    let run = run.exits(255).says(&["--events cannot be -", "/dev/fd/3"]);
    assert!(run.stdout.is_empty(), "{run:?}");
    // Nobody has opened them, so that they are the program's own by now (the third is the
    // first that it gets); one can only be read, and one is no number.
    let lowest = ["/dev/fd/3", "/dev/fd/4", "/proc/self/fd/5", "/dev/fd/7"];
    for name in lowest.into_iter().chain(["/dev/fd/0", "/dev/fd/-1", "/dev/fd/"]) {
        let run = job.run(&job.key, &["--events", name, "ssh", "m", "-l", "root", "-c", "true"]);
        run.exits(255).says(&["cannot write events to", name]);
    }
    // Standard error is what it is, with its place in the file.
    let clan = job.home.path("clan").display().to_string();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$@\" 2>both", "-", BINARY, "--flake", &clan, "-v"]);
    command.args(["--events", "/dev/stderr", "ssh", "m", "-l", "root", "-c", "true"]);
    command.env_clear().env("CLAN_CONNECT_SSH_KEY", &job.key).current_dir(job.home.dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Run::of(wait(start(&mut command, "dash"))).exits(0);
    let both = job.home.read("both");
    let (events, words): (Vec<&str>, Vec<&str>) =
        both.lines().partition(|line| serde_json::from_str::<Value>(line).is_ok());
    assert!(events.len() >= 3 && !words.is_empty(), "{both}");
    assert!(words.iter().all(|line| !line.contains('{')), "{both}");
    // What is started has no part in it.
    let seen = job.home.path("seen").display().to_string();
    let proxy = format!("ProxyCommand=sh -c 'ls -l /proc/self/fd >{seen}'");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$@\" 7>/dev/null", "-", BINARY, "--flake", &clan]);
    command.args(["--events", "/dev/fd/7", "ssh", "m", "-o", &proxy, "-c", "true"]).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Run::of(wait(start(&mut command, "coreutils"))).exits(255);
    let seen = job.home.read("seen");
    assert!(seen.contains(" 2 -> ") && !seen.contains(" 7 -> "), "{seen}");
}

#[test]
fn a_reader_of_events_that_stops_holds_nothing_up() {
    let job = Job::new();
    let host_key = job.home.read(&format!("sshd-{}/host_key.pub", job.server.port()));
    job.snapshot(job.server.address.port(), host_key.trim());
    let run = |events: &str| {
        let words = ["--events", events, "ssh", "m", "-l", "root", "-c", "echo", "done"];
        job.run(&job.key, &words)
    };
    // A full pipe that nobody reads, and one that nobody has open.
    let fifo = job.home.path("fifo");
    assert!(Command::new("mkfifo").args(["-m", "666"]).arg(&fifo).status().unwrap().success());
    run(fifo.to_str().unwrap()).exits(255).says(&["cannot write events to", "fifo"]);
    let held = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    (&held).write_all(&[b'x'; 65536]).unwrap();
    assert_eq!(run(fifo.to_str().unwrap()).exits(0).text(), "done\n");
}

/// Starts a program in an empty root that is mounted for reading only: ROOT UID:GID PROGRAM…
const ENTER: &str = "#!/bin/sh
exec /usr/bin/unshare --mount /bin/sh -ec '
mount --make-rprivate /
mount --bind \"$1\" \"$1\"
mount -o remount,bind,ro \"$1\"
root=$1 user=$2
shift 2
exec chroot --userspec=\"$user\" \"$root\" \"$@\"' sh \"$@\"
";

#[test]
fn an_empty_root_with_the_file_and_a_variable_is_enough() {
    let job = Job::new();
    let host_key = job.home.read(&format!("sshd-{}/host_key.pub", job.server.port()));
    job.snapshot(job.server.address.port(), host_key.trim());
    job.home.write("root/clan-connect.json", job.home.read("clan/clan-connect.json"));
    let root = job.home.path("root").display().to_string();
    copy_program(BINARY, &job.home.path("root/clan-connect"));
    let enter = job.home.script("enter", ENTER).display().to_string();
    let run = |key: &str, program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("CLAN_CONNECT_SSH_KEY", key).env("CLAN_DIR", "/clan-connect.json");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "coreutils, rsync")))
    };
    let ours_with = |key: &str, args: &[&str]| {
        let fixed = [&*root, "0:0", "/clan-connect", "--flake", "clan-connect.json"];
        run(key, &enter, &[&fixed[..], args].concat())
    };
    let ours = |args: &[&str]| ours_with(&job.key, args);
    let done = ours(&["ssh", "m", "-c", "echo", "in"]).exits(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
    assert_eq!(ours(&["ssh", "m", "-c", "sh", "-c", "exit 7"]).code, Some(7));
    ours(&["--exit-codes", "detailed", "ssh", "n", "-c", "true"]).exits(255).says(&["\"n\""]);
    // Nothing can be written there.
    let refused = ours(&["--events", "/events", "ssh", "m", "-c", "true"]).exits(255);
    refused.says(&["cannot write events to /events", "Read-only file system"]);
    // As the ssh of a program that copies.
    let data = noise(1 << 20);
    let from = job.home.write("from", &data).display().to_string();
    let to = job.home.path("to").display().to_string();
    let ssh = format!("{enter} {root} 0:0 /clan-connect openssh");
    run(&job.key, "rsync", &["-e", &ssh, &from, &format!("m:{to}")]).exits(0);
    assert!(fs::read(&to).unwrap() == data, "another file came");
    for (key, words, status) in job.endings() {
        job.home.copy("clan/clan-connect.json", "root/clan-connect.json");
        let words = ["--exit-codes", "detailed", "ssh", "m", "-c", "sh", "-c", words];
        ours_with(&key, &words).exits(status);
    }
    // A file of another user's is not taken as his who runs there, unless that is root's.
    job.snapshot(job.server.address.port(), host_key.trim());
    job.home.copy("clan/clan-connect.json", "root/clan-connect.json");
    let as_user = |user: &str| {
        let ssh = ["ssh", "m", "-l", "root", "-c", "echo", "in"];
        let args = [&*root, user, "/clan-connect", "--flake", "/clan-connect.json"];
        run(&job.key, &enter, &[&args[..], &ssh].concat())
    };
    as_user("54321:54321").exits(0);
    chown(job.home.path("root/clan-connect.json"), Some(54321), None).unwrap();
    as_user("54321:54321").exits(0);
    let refused = as_user("0:0").exits(255);
    refused.says(&["the snapshot /clan-connect.json is not used", "belongs to uid 54321"]);
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// Prints the scripts of the jobs in a page, each with a zero byte behind it.
const SCRIPTS: &str = "
import re, sys, yaml
page = open(sys.argv[1]).read()
for text in re.findall(r'```yaml\\n(.*?)```', page, re.S):
    for job in [job for job in yaml.safe_load(text).get('jobs', yaml.safe_load(text)).values()]:
        steps = [step['run'] for step in job.get('steps', []) if 'run' in step]
        sys.stdout.write('\\n'.join(steps or job['script']) + '\\0')
";

#[test]
fn the_jobs_of_the_documentation_run_as_they_are_written() {
    let home = Home::new();
    let public = home.default_key();
    home.script("machine/systemctl", "#!/bin/sh\necho $1 is fine\n");
    let path = home.path("machine").display().to_string();
    let config = format!("SetEnv SHLVL=1 PATH={path}:/usr/bin:/bin\n");
    let server = sshd(&home, "127.0.0.1", &public, &config);
    let host_key = home.read(&format!("sshd-{}/host_key.pub", server.port()));
    // A checkout of the clan's repository, with the snapshot that its admin has made.
    let flake = format!(
        "{{ outputs = _: {{
          clan.exports.net = {{ priority = 10;
            peers.web01 = {{ host.plain = \"127.0.0.1\"; port = {}; }}; }};
          clanInternals.inventoryClass.inventorySerialization.machines.web01 = {{ }};
        }}; }}",
        server.port()
    );
    home.write("clan/flake.nix", flake);
    home.write("clan/vars/per-machine/web01/openssh/ssh.id_ed25519.pub/value", host_key);
    let clan = home.path("clan").display().to_string();
    let git = |dir: &str, args: &[&str]| {
        let who = ["-C", dir, "-c", "user.name=me", "-c", "user.email=me@example.invalid"];
        run("git", &[&who[..], args].concat(), "git")
    };
    git(&clan, &["init", "--quiet"]);
    git(&clan, &["add", "--all"]);
    let args = ["--flake", "clan", "exports", "snapshot"];
    home.run_with_env(&args, &[("PATH", "/usr/bin:/bin")]).exits(0);
    assert!(home.read("clan/clan-connect.json").contains("fingerprint"), "it is of a clan");
    git(&clan, &["add", "--all"]);
    git(&clan, &["commit", "--quiet", "-m", "clan"]);
    git(".", &["clone", "--quiet", &clan, home.path("job").to_str().unwrap()]);
    // Where the program comes from, and what builds it there.
    home.write("source/Cargo.lock", "");
    let source = home.path("source").display().to_string();
    git(&source, &["init", "--quiet"]);
    git(&source, &["add", "--all"]);
    git(&source, &["commit", "--quiet", "-m", "source"]);
    let commit = git(&source, &["rev-parse", "HEAD"]);
    home.script("programs/apt-get", "#!/bin/sh\n");
    let built = home.path("built").display().to_string();
    let cargo = format!(
        "#!/bin/sh\nset -e\ntest -f Cargo.lock\nmkdir -p target/host/release\n\
         cp {BINARY} target/host/release/clan-connect\necho \"$*\" >>{built}\n"
    );
    home.script("programs/cargo", cargo);
    // There is no nix, which would evaluate a clan that has changed.
    for program in ["chmod", "cp", "git", "mkdir", "mv", "rm"] {
        symlink(format!("/usr/bin/{program}"), home.path("programs").join(program)).unwrap();
    }
    let programs = home.path("programs").display().to_string();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci.md");
    let scripts = run("/usr/bin/python3", &["-c", SCRIPTS, page], "python3-yaml");
    let scripts: Vec<&str> = scripts.split_terminator('\0').collect();
    assert_eq!(scripts.len(), 3, "{scripts:?}");
    // As GitLab's runner leaves it.
    run("chmod", &["-R", "a+w", home.path("job").to_str().unwrap()], "coreutils");
    let job = |script: &str, key: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-ec", script]).current_dir(home.path("job"));
        command.env_clear().env("CLAN_CONNECT_SSH_KEY", key).env("PATH", &programs);
        command.env("SOURCE", &source).env("COMMIT", commit.trim());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "dash")))
    };
    let key = home.read("home/.ssh/id_ed25519");
    job(scripts[0], &key).exits(255).says(&["can be written by everybody"]);
    for script in scripts.iter().rev() {
        fs::remove_file(home.path("job/clan-connect")).unwrap();
        let done = job(script, &key).exits(0);
        assert_eq!(done.text(), "is-system-running is fine\n", "{script}");
        assert!(!done.stderr.contains("warning"), "{script}: {}", done.stderr);
        // With the program from the cache.
        job(script, "none").exits(253);
    }
    assert_eq!(home.read("built"), "build --release --locked\n".repeat(4));
    assert!(!home.path("job/source").exists());
    // The same files without git, as some runners fetch them.
    fs::remove_dir_all(home.path("job/.git")).unwrap();
    let done = job(scripts[0], &key).exits(0);
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
    // What git tracks has changed.
    home.write("job/vars/shared/g/f/value", "1");
    let done = job(scripts[0], &key).exits(0);
    assert!(done.stderr.contains("the clan has changed since"), "{}", done.stderr);
}
