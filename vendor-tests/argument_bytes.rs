//! Arguments, variables, names of files and lines of configuration in another encoding
//! than UTF-8: they are bytes, and stay as they are, as with OpenSSH's ssh beside it.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Home, Run, THEIRS, run, signal, sshd_through, start, until, wait};
use crate::openssh_personality::Place;

struct Pair(Place);

impl Pair {
    fn new() -> Self {
        Self(Place::ready())
    }

    fn os(&self, name: &[u8]) -> PathBuf {
        self.0.home.dir.path().join(OsStr::from_bytes(name))
    }

    fn command(&self, ssh: &str, args: &[&[u8]]) -> Command {
        let mut command = self.0.client(ssh, &[]);
        command.args(args.iter().map(|arg| OsStr::from_bytes(arg)));
        command.env("LC_LATIN", OsStr::from_bytes(b"gr\xfc\xdfe"));
        command
    }

    /// Runs both; they have to agree about the status, every byte of output, and what
    /// is said.
    #[track_caller]
    fn same(&self, args: &[&[u8]]) -> Run {
        let run = |ssh: &str| Run::of(wait(start(&mut self.command(ssh, args), "openssh-client")));
        let (ours, theirs) = (run(&self.0.ours()), run(THEIRS));
        let shown: Vec<_> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
        assert_eq!(ours.code, theirs.code, "{shown:?}\n{}\n{}", ours.stderr, theirs.stderr);
        assert!(ours.stdout == theirs.stdout, "{shown:?}\n{}\n{}", ours.text(), theirs.text());
        ours
    }
}

/// What od(1) has for some bytes.
const HEX: &[u8] = b"printf %s \"r\xe9po \xff\xc3\" | od -An -tx1";

#[test]
fn commands_are_bytes() {
    let pair = Pair::new();
    let hex = " 72 e9 70 6f 20 ff c3\n";
    assert_eq!(pair.same(&[b"box", HEX]).exits(0).text(), hex);
    assert_eq!(
        pair.same(&[b"box", b"echo", b"\xe9", b"'\xa0 \x80'"]).exits(0).stdout,
        b"\xe9 \xa0 \x80\n"
    );
    let remote = b"-oRemoteCommand=printf %%s 'r\xe9po' | od -An -tx1".as_slice();
    assert_eq!(pair.same(&[b"-T", remote, b"box"]).exits(0).text(), " 72 e9 70 6f\n");
    // What stands for such bytes among ourselves is itself where somebody types it.
    let private = "echo \u{10ffe9} \u{10ff80} | od -An -tx1".as_bytes();
    pair.same(&[b"box", private]).exits(0);
    // The same as the only command of our own program, and over a master.
    let (config, home) = (pair.0.home.path("home/.ssh/config"), &pair.0.home);
    let mut own =
        home.command(&["--color", "never", "openssh", "-F", config.to_str().unwrap(), "box"]);
    own.arg(OsStr::from_bytes(HEX));
    assert_eq!(Run::of(wait(start(&mut own, ""))).exits(0).text(), hex);
    let socket = [b"-S".as_slice(), pair.os(b"s\xf6cket").as_os_str().as_bytes()].concat();
    for master in [THEIRS.to_owned(), pair.0.ours()] {
        let sent = b"-oSendEnv=LC_*".as_slice();
        let mut command = pair.command(&master, &[b"-M", b"-N", sent, &socket, b"box"]);
        let mut master = start(&mut command, "openssh-client");
        until("the master", || pair.os(b"s\xf6cket").exists());
        let command = b"printf '%s \xe4' $LC_LATIN | od -An -tx1";
        let done = pair.same(&[&socket, sent, b"box", command]).exits(0);
        assert_eq!(done.text(), " 67 72 fc df 65 20 e4\n");
        let _ = wait(start(&mut pair.command(THEIRS, &[&socket, b"-Oexit", b"box"]), ""));
        until("the master's end", || master.try_wait().unwrap().is_some());
        until("the socket's end", || !pair.os(b"s\xf6cket").exists());
    }
}

#[test]
fn paths_of_git_are_bytes() {
    let pair = Pair::new();
    let repository = pair.os(b"r\xe9po.git");
    let git = |args: &[&OsStr]| {
        let mut command = pair.0.command("git", &[]);
        let ssh =
            format!("{} -F {}", pair.0.ours(), pair.0.home.path("home/.ssh/config").display());
        command.args(args).env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
        Run::of(wait(start(&mut command, "git"))).exits(0)
    };
    git(&["init".as_ref(), "-q".as_ref(), "--bare".as_ref(), repository.as_os_str()]);
    let url =
        OsString::from_vec([b"ssh://box".as_slice(), repository.as_os_str().as_bytes()].concat());
    git(&["ls-remote".as_ref(), &url]);
    let short =
        OsString::from_vec([b"box:".as_slice(), repository.as_os_str().as_bytes()].concat());
    let copy = pair.os(b"c\xf6py");
    git(&["clone".as_ref(), "-q".as_ref(), &short, copy.as_os_str()]);
    assert!(copy.join(".git").exists());
}

#[test]
fn variables_are_bytes() {
    let pair = Pair::new();
    let show = b"printf %s $LC_LATIN$LC_SET | od -An -tx1".as_slice();
    for (option, expected) in [
        (b"-oSendEnv=LC_LATIN".to_vec(), " 67 72 fc df 65\n"),
        (b"-oSendEnv=LC_L*".to_vec(), " 67 72 fc df 65\n"),
        (b"-oSetEnv=LC_SET=\xe9\xff".to_vec(), " e9 ff\n"),
        (b"-oSetEnv=\"LC_SET=\xe4 b\"".to_vec(), " e4 62\n"),
    ] {
        assert_eq!(pair.same(&[&option, b"box", show]).exits(0).text(), expected);
    }
    // In a file, too.
    let file = pair.0.home.path("home/.ssh/config");
    let config =
        [pair.0.home.read("home/.ssh/config").as_bytes(), b"  SetEnv LC_SET=\xe9\n"].concat();
    pair.0.home.write("home/.ssh/config", config);
    assert!(file.exists());
    assert_eq!(pair.same(&[b"box", show]).exits(0).text(), " e9\n");
}

#[test]
fn names_of_files_are_bytes() {
    let pair = Pair::new();
    let key = pair.os(b"cl\xe9");
    std::fs::rename(pair.0.home.path("home/.ssh/id_ed25519"), &key).unwrap();
    let key = key.as_os_str().as_bytes();
    let none = b"-oIdentityFile=none".as_slice();
    let option = [b"-oIdentityFile=".as_slice(), key].concat();
    let known = pair.os(b"kn\xf6wn");
    pair.same(&[b"-oBatchMode=yes", b"box", b"true"]).exits(255);
    assert_eq!(pair.same(&[b"-i", key, b"box", b"echo", b"in"]).exits(0).text(), "in\n");
    assert_eq!(pair.same(&[none, &option, b"box", b"echo", b"in"]).exits(0).text(), "in\n");
    // By a variable, and in a file.
    let variable = [b"-oIdentityFile=".as_slice(), b"${LC_KEY}"].concat();
    for ssh in [THEIRS.to_owned(), pair.0.ours()] {
        let mut command = pair.command(&ssh, &[&variable, b"box", b"echo", b"in"]);
        command.env("LC_KEY", OsStr::from_bytes(key));
        assert_eq!(Run::of(wait(start(&mut command, ""))).exits(0).text(), "in\n", "{ssh}");
    }
    for ssh in [THEIRS.to_owned(), pair.0.ours()] {
        let shown = wait(start(&mut pair.command(&ssh, &[b"-G", &option, b"box"]), "")).stdout;
        let line = [b"identityfile ".as_slice(), key, b"\n"].concat();
        assert!(shown.windows(line.len()).any(|window| window == line), "{ssh}");
    }
    let config =
        [pair.0.home.read("home/.ssh/config").as_bytes(), b"  IdentityFile ", key, b"\n"].concat();
    let file = pair.os(b"c\xf6nfig");
    std::fs::write(&file, config).unwrap();
    for ssh in [THEIRS.to_owned(), pair.0.ours()] {
        let mut command = Command::new(&ssh);
        let args = [b"-F".as_slice(), file.as_os_str().as_bytes(), b"box", b"echo", b"in"];
        command
            .args(args.iter().map(|arg| OsStr::from_bytes(arg)))
            .env("HOME", pair.0.home.path("home"));
        let output = run_command(&mut command);
        assert_eq!(output.exits(0).text(), "in\n", "{ssh}");
    }
    // What is written there, and what a program of the user's is called with.
    let known_option = [b"-oUserKnownHostsFile=".as_slice(), known.as_os_str().as_bytes()].concat();
    pair.same(&[b"-i", key, &known_option, b"box", b"true"]).exits(0);
    assert!(std::fs::read_to_string(&known).unwrap().contains("ssh-ed25519"));
    let local = b"-oLocalCommand=printf '\xe9 %%s' \xff | od -An -tx1".as_slice();
    let started = pair.same(&[b"-i", key, b"-oPermitLocalCommand=yes", local, b"box", b"true"]);
    assert_eq!(started.text(), " e9 20 ff\n");
}

#[test]
fn names_of_users_are_bytes() {
    // A server with an account that has such a name, in a list of accounts of its own.
    let home = Home::new();
    let key = home.default_key();
    let accounts = std::fs::read("/etc/passwd").unwrap();
    let own = b"us\xe9r:*:0:0::/root:/bin/sh\n\xff\xc3:*:0:0::/root:/bin/sh\n";
    home.write("passwd", [&accounts[..], own].concat());
    let script = "mount --bind \"$0\" /etc/passwd && exec \"$@\"";
    let passwd = home.path("passwd").display().to_string();
    let through = ["/usr/bin/unshare", "-m", "/bin/sh", "-c", script, &passwd];
    let server = sshd_through(&through, &home, "127.0.0.1", &key, "UsePAM no\n");
    let pair = Pair(Place::at(home, server).with_files(""));
    for args in [
        &[b"-l".as_slice(), b"us\xe9r", b"box", b"echo", b"in"][..],
        &[b"us\xe9r@box", b"echo", b"in"],
        &[b"ssh://us%E9r@box", b"echo", b"in"],
        &[b"-oUser=\xff\xc3", b"box", b"echo", b"in"],
    ] {
        assert_eq!(pair.same(args).exits(0).text(), "in\n");
    }
    // In a file, and where nobody of that name is.
    let config = pair.0.home.read("home/.ssh/config").replace("User root", "User @");
    let (before, after) = config.split_once('@').unwrap();
    let config = [before.as_bytes(), b"us\xe9r", after.as_bytes()].concat();
    pair.0.home.write("home/.ssh/config", config);
    assert_eq!(pair.same(&[b"box", b"echo", b"in"]).exits(0).text(), "in\n");
    let refused = || pair.0.server.log().matches("Invalid user n\\351 from").count();
    let denied = pair.same(&[b"-oBatchMode=yes", b"n\xe9@box", b"true"]).exits(255);
    assert!(denied.stderr.contains("n\\351@127.0.0.1: Permission denied ("), "{denied:?}");
    assert_eq!(refused(), 2, "{}", pair.0.server.log());
}

#[test]
fn sockets_of_the_server_are_bytes() {
    let pair = Pair::new();
    for ssh in [THEIRS.to_owned(), pair.0.ours()] {
        let path = |name: &[u8]| {
            let path = pair.os(name);
            let _ = std::fs::remove_file(&path);
            path
        };
        let (here, there) = (path(b"h\xe9re"), path(b"th\xe9re"));
        let (back, asked) = (path(b"b\xe4ck\xff"), path(b"ask\xe9d"));
        let (far, near) = (UnixListener::bind(&there).unwrap(), UnixListener::bind(&back).unwrap());
        let both = |one: &PathBuf, other: &PathBuf| {
            [one.as_os_str().as_bytes(), b":", other.as_os_str().as_bytes()].concat()
        };
        let (local, remote) = (both(&here, &there), both(&asked, &back));
        let mut child = start(
            &mut pair.command(&ssh, &[b"-N", b"-L", &local, b"-R", &remote, b"box"]),
            "openssh-client",
        );
        for (listener, path) in [(&far, &here), (&near, &asked)] {
            // It is there before anybody listens on it.
            let mut connected = None;
            until("the socket", || {
                connected = UnixStream::connect(path).ok();
                connected.is_some()
            });
            let mut stream = connected.unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
            let (mut end, _) = listener.accept().unwrap();
            end.write_all(b"through").unwrap();
            drop(end);
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert_eq!(text, "through", "{ssh}");
        }
        signal(i32::try_from(child.id()).unwrap(), rustix::process::Signal::TERM);
        until("the end", || child.try_wait().unwrap().is_some());
    }
}

fn run_command(command: &mut Command) -> Run {
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Run::of(wait(start(command, "openssh-client")))
}

#[test]
fn no_such_byte_reaches_the_terminal() {
    let pair = Pair::new();
    println!("{}", run("ssh", &["-V"], "openssh-client"));
    let mut command = pair.command(&pair.0.ours(), &[b"-oNons\xe9nse=1", b"box", b"true"]);
    let output = wait(start(&mut command, ""));
    assert_eq!(output.status.code(), Some(255));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("nons\\351nse"), "{said}");
    let missing = pair.os(b"m\x9b31mss\xe9").into_os_string().into_vec();
    let done = pair.same(&[b"-i", &missing, b"box", b"true"]).exits(0);
    done.says(&["m\\23331mss\\351 not accessible: No such file or directory."]);
}
