//! A job that has nothing but the program and a few variables: no home, no terminal, no
//! account, no file that it may write.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{BINARY, Home, Run, Server, run, sshd, start, wait};

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
    let port = job.server.address.port();
    let host_key = job.home.read(&format!("sshd-{}/host_key.pub", job.server.port()));
    job.home.keygen("other", "ed25519", "");
    let other = job.home.read("other.pub");
    let other = other.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let stranger = job.home.read("other");
    let (right, key) = (host_key.trim(), job.key.as_str());
    for (port, host_key, key, words, status) in [
        (port, right, key, "exit 7", 7),
        (1, right, key, "true", 251),
        (port, &*other, key, "true", 252),
        (port, right, &*stranger, "true", 253),
        // It ends the server's side of its own connection.
        (port, right, key, "kill -9 $PPID; sleep 5", 254),
    ] {
        job.snapshot(port, host_key);
        let words = ["ssh", "m", "-l", "root", "-c", "sh", "-c", words];
        job.run(key, &[&["--exit-codes", "detailed"], &words[..]].concat()).exits(status);
        let plain = if status == 7 { 7 } else { 255 };
        job.run(key, &words).exits(plain);
    }
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
    let snapshot = json!({ "clan_connect_snapshot": 1,
        "machines": { "web01": { "host_keys": [host_key.trim()] } },
        "exports": { "net": { "priority": 10, "peers": { "web01": {
            "host": { "plain": "127.0.0.1" }, "port": server.address.port() } } } } });
    home.write("job/clan-connect.json", snapshot.to_string());
    std::os::unix::fs::symlink(BINARY, home.path("job/clan-connect")).unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci.md");
    let scripts = run("/usr/bin/python3", &["-c", SCRIPTS, page], "python3-yaml");
    let scripts: Vec<&str> = scripts.split_terminator('\0').collect();
    assert_eq!(scripts.len(), 3, "{scripts:?}");
    // As GitLab's runner leaves it.
    run("chmod", &["-R", "a+w", home.path("job").to_str().unwrap()], "coreutils");
    let job = |script: &str, key: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-ec", script]).current_dir(home.path("job"));
        command.env_clear().env("CLAN_CONNECT_SSH_KEY", key);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of(wait(start(&mut command, "dash")))
    };
    let key = home.read("home/.ssh/id_ed25519");
    job(scripts[0], &key).exits(255).says(&["can be written by everybody"]);
    for script in scripts.iter().rev() {
        assert_eq!(job(script, &key).exits(0).text(), "is-system-running is fine\n", "{script}");
        job(script, "none").exits(253);
    }
}
