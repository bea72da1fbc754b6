//! Our client beside OpenSSH's where the environment lacks what most have: a home,
//! and a working directory.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Home, Run, sshd, start, wait};

/// Where the home is, as OpenSSH's client or ours says it of a socket below it.
fn shown_home(mut command: Command, variable: Option<&str>) -> String {
    command.args(["-F", "none", "-S", "%d/none", "-O", "check", "host.test"]).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let variable = variable.map(|home| ("HOME", home));
    Run::of(wait(start(command.envs(variable), "openssh-client"))).exits(255).stderr
}

#[test]
fn without_a_home_in_the_environment_that_of_the_account_counts_as_for_openssh() {
    for variable in [None, Some("")] {
        let theirs = shown_home(Command::new("/usr/bin/ssh"), variable);
        let mut ours = Command::new(BINARY);
        ours.arg("openssh");
        assert_eq!(shown_home(ours, variable).trim(), theirs.trim(), "{variable:?}");
        assert!(theirs.contains("(/") && theirs.contains("/none)"), "{theirs}");
    }
}

/// Our binary where the working directory is gone.
fn nowhere(home: &Home, args: &[&str]) -> Run {
    let dir = home.path("gone");
    fs::create_dir(&dir).unwrap();
    let script = "cd \"$1\" && rmdir \"$1\" && shift && exec \"$@\"";
    let through = ["/usr/bin/setsid", "/bin/sh", "-c", script, "sh", dir.to_str().unwrap()];
    let mut command = home.command_with(&through, args);
    Run::of(wait(start(command.env("PATH", "/usr/bin:/bin"), "util-linux")))
}

#[test]
fn a_working_directory_that_is_gone_stops_nothing() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, "127.0.0.1", &key, "");
    let target = server.target();
    let native = ["ssh", "m", "--target-host", &target, "-c", "echo", "native"];
    assert_eq!(nowhere(&home, &native).exits(0).text(), "native\n");
    let accepts = ["-o", "StrictHostKeyChecking=accept-new", "127.0.0.1", "echo personality"];
    let port = server.port();
    let personality = [&["openssh", "-p", &port], &accepts[..]].concat();
    assert_eq!(nowhere(&home, &personality).exits(0).text(), "personality\n");
    let exports = home.write("exports.json", "{}");
    nowhere(&home, &["--exports", exports.to_str().unwrap(), "network", "list"]).exits(0);
    // What only a clan can tell is still an error, and one that says so.
    nowhere(&home, &["network", "list"]).exits(1).says(&["no clan", "--flake"]);
}
