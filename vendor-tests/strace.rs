//! What the kernel sees of our binary, by strace: no program is started, and a
//! secret host leaves the process only as the address that is connected to.

use std::fs;
use std::process::{Command, Stdio};

use crate::clan::{SECRET_HOST, secret_machine};
use crate::harness::{BINARY, Home, Run, start, wait};

/// Calls that take or return the peer's address in binary: the host itself.
const MAY_NAME_THE_HOST: [&str; 3] = ["connect(", "getpeername(", "getsockname("];

#[test]
fn no_program_is_started_and_a_secret_host_is_only_connected_to() {
    let home = Home::new();
    let (_server, exports) = secret_machine(&home);
    let (flake, log) = (home.path("clan"), home.path("strace.log"));
    let mut command = Command::new("strace");
    command
        // Long strings, lest the host hide behind a cut.
        .args(["-f", "-s", "1000000", "-o", log.to_str().unwrap(), BINARY])
        .args(["--flake", flake.to_str().unwrap(), "--exports", &exports, "-vvv"])
        .args(["ssh", "my_cool_machine", "-c", "echo", "hello"])
        .env_clear()
        .env("HOME", home.path("home"))
        // There for whoever wants to start something.
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let done = wait(start(&mut command, "strace"));
    assert!(done.status.success(), "{done:?}");
    assert_eq!(done.stdout, b"hello\n");

    let calls = fs::read_to_string(&log).unwrap();
    // A line is a process, blanks and the call: `123   connect(7, …`.
    let call =
        |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').to_owned();
    let called: Vec<String> = calls.lines().map(call).collect();
    let programs = called.iter().filter(|call| call.starts_with("exec"));
    assert_eq!(programs.count(), 1, "only strace's own start of us");
    assert!(!called.iter().any(|call| call.starts_with("fork(") || call.starts_with("vfork(")));
    let named: Vec<&String> = called.iter().filter(|call| call.contains(SECRET_HOST)).collect();
    assert!(named.iter().any(|call| call.starts_with("connect(")), "the host was not dialled");
    for call in named {
        let fine = MAY_NAME_THE_HOST.iter().any(|allowed| call.starts_with(allowed))
            || call.starts_with("<... connect resumed>")
            || call.starts_with("<... getpeername resumed>");
        assert!(fine, "{}", call.chars().take(300).collect::<String>());
    }
    // glibc's resolver and user database, had they been linked.
    for file in ["/etc/nsswitch.conf", "/etc/gai.conf", "libnss_", "/etc/ld.so"] {
        assert!(!calls.contains(file), "{file} was opened");
    }
}

#[test]
fn the_version_is_told_before_anything_is_set_up() {
    let home = Home::new();
    // As the description of the command line has it told.
    let described = home.run(&["-q", "--version"]).exits(0).text();
    assert!(described.starts_with("clan-connect ") && described.ends_with('\n'), "{described:?}");
    let log = home.path("strace.log");
    let through = ["/usr/bin/strace", "-f", "-o", log.to_str().unwrap()];
    for args in [&["--version"][..], &["-V"], &["--version", "nonsense"]] {
        let told = Run::of(wait(start(&mut home.command_with(&through, args), "strace")));
        assert_eq!(told.exits(0).text(), described, "{args:?}");
        let calls = home.read("strace.log");
        for thread in ["clone(", "clone3(", "epoll_create1("] {
            assert!(!calls.contains(thread), "{args:?}: {thread}");
        }
    }
    // ssh(1) has another version, and another letter for it.
    let of_ssh = home.run(&["openssh", "--version"]);
    assert_ne!(of_ssh.code, Some(0), "{of_ssh:?}");
}
