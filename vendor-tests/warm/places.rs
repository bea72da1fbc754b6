//! Where the sockets of warm sessions are: what is wrong there costs warmth alone, and
//! nothing in it, nor in the process that stays, tells a secret.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use super::Warm;
use crate::clan::{SECRET_HOST, secret_machine};
use crate::harness::{BINARY, Home, Run, start, until, wait};

#[test]
fn a_place_that_is_no_good_costs_warmth_alone() {
    let warm = Warm::new();
    let run = warm.home.path("run");
    let below = run.join("clan-connect");
    let clear = || {
        let _ = fs::remove_dir_all(&run);
        let _ = fs::remove_file(&run);
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, Permissions::from_mode(0o700)).unwrap();
    };
    let works = |why: &str| {
        let before = warm.logins();
        for _ in 0..2 {
            let done = warm.ssh(&["-v"], "echo done").exits(0);
            assert_eq!(done.text(), "done\n");
            assert!(done.stderr.contains(why), "{why} is not in: {}", done.stderr);
            // Who has asked for it is told without -v, and nobody else.
            let said = warm.ssh(&[], "true").exits(0).stderr;
            assert!(said.starts_with("warning: no connection is kept warm: "), "{said}");
            let mut unasked = warm.command(&["ssh", "m", "-c", "true"]);
            unasked.env("CLAN_CONNECT_PERSIST", "1m");
            assert_eq!(Run::of(wait(start(&mut unasked, ""))).exits(0).stderr, "");
        }
        assert_eq!(warm.logins(), before + 6, "{why}");
    };
    let mut nowhere = warm.kept(&["-v"], "true");
    let nowhere = Run::of(wait(start(nowhere.env_remove("XDG_RUNTIME_DIR"), ""))).exits(0);
    nowhere.says(&["XDG_RUNTIME_DIR is not set"]);
    fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
    works("its mode has to be 0700");
    clear();
    chown(&run, Some(12345), Some(12345)).unwrap();
    works("is another user's");
    clear();
    fs::write(&below, "").unwrap();
    works("is not a directory");
    clear();
    let elsewhere = warm.home.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o700)).unwrap();
    symlink(&elsewhere, &below).unwrap();
    works("is not a directory");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    clear();
    fs::create_dir(&below).unwrap();
    chown(&below, Some(12345), Some(12345)).unwrap();
    works("is another user's");
    clear();
    fs::remove_dir(&run).unwrap();
    works("No such file or directory");
    clear();
    warm.ssh(&[], "true").exits(0);
    assert_eq!(warm.sockets().len(), 1);
}

#[test]
fn a_file_at_the_socket_path_is_removed_or_avoided() {
    let warm = Warm::new();
    warm.ssh(&[], "true").exits(0);
    let socket = warm.sockets()[0].clone();
    let close = || {
        warm.run(&["close", "--all"]).exits(0);
        until("the end", || warm.sockets().is_empty());
    };
    close();
    // Nobody listens there any more: a new one does.
    drop(UnixListener::bind(&socket).unwrap());
    warm.ssh(&[], "true").exits(0);
    let before = warm.logins();
    warm.ssh(&[], "true").exits(0);
    assert_eq!(warm.logins(), before);
    close();
    // A file, a directory and a link to nowhere: a connection of one's own.
    let put: [(&str, &dyn Fn()); 3] = [
        ("a file", &|| fs::write(&socket, "").unwrap()),
        ("a directory", &|| fs::create_dir(&socket).unwrap()),
        ("a link", &|| symlink("/nonexistent", &socket).unwrap()),
    ];
    for (what, put) in put {
        put();
        for _ in 0..2 {
            let done = warm.ssh(&[], "echo done").exits(0);
            assert_eq!((done.text().as_str(), done.stderr.as_str()), ("done\n", ""), "{what}");
        }
        warm.run(&["network", "list"]).exits(0);
        let _ = fs::remove_file(&socket);
        let _ = fs::remove_dir(&socket);
    }
    // Somebody else listens there: he gets nothing.
    let python = "import os,socket,sys\n\
        s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);os.chmod(sys.argv[1],0o666)\n\
        os.setuid(12345);s.listen(5);print('up',flush=True)\n\
        c,_=s.accept();c.settimeout(20)\n\
        print(c.recv(65536),flush=True)\n";
    let mut theirs = Command::new("python3");
    theirs.args(["-c", python]).arg(&socket).stdout(Stdio::piped());
    let theirs = start(&mut theirs, "python3");
    until("the other's socket", || socket.exists());
    std::thread::sleep(std::time::Duration::from_millis(200));
    let done = warm.ssh(&["-v"], "echo done").exits(0);
    assert_eq!(done.text(), "done\n");
    assert!(done.stderr.contains("not over a warm connection"), "{}", done.stderr);
    let got = String::from_utf8(wait(theirs).stdout).unwrap();
    assert_eq!(got, "up\nb''\n");
}

#[test]
fn a_secret_host_is_nowhere_but_in_the_call_that_connects() {
    let home = Home::new();
    let (server, exports) = secret_machine(&home);
    let (flake, log) = (home.path("clan"), home.path("strace.log"));
    fs::create_dir(home.path("run")).unwrap();
    fs::set_permissions(home.path("run"), Permissions::from_mode(0o700)).unwrap();
    let global = ["--flake", flake.to_str().unwrap(), "--exports", &exports];
    let words = ["ssh", "my_cool_machine", "--persist", "1m", "-c", "echo", "hello"];
    let env = |command: &mut Command| {
        command.env_clear().env("HOME", home.path("home")).env("PATH", "/usr/bin:/bin");
        command.env("XDG_RUNTIME_DIR", home.path("run")).current_dir(home.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    };
    let mut traced = Command::new("strace");
    // It ends with the process that it has started: who stays is let go.
    traced.args(["-f", "-s", "1000000", "-o", log.to_str().unwrap(), BINARY]);
    traced.args(global).args(words);
    env(&mut traced);
    let mut traced = start(&mut traced, "strace");
    until("the login", || server.log().contains("Accepted publickey"));
    until("the socket", || {
        let entries = fs::read_dir(home.path("run/clan-connect"));
        entries.is_ok_and(|entries| entries.count() == 1)
    });
    let ours = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        env(command.args(args));
        Run::of(wait(start(&mut command, "")))
    };
    let again = ours(&[&global[..], &["-vvv"], &words].concat()).exits(0);
    assert_eq!(again.text(), "hello\n");
    assert!(!again.stderr.contains(SECRET_HOST), "{}", again.stderr);
    assert_eq!(server.log().matches("Accepted publickey").count(), 1);
    let listed = ours(&[&global[..], &["network", "list"]].concat()).exits(0).text();
    assert!(listed.contains("Warm connections\n  my_cool_machine  as root over "), "{listed}");
    assert!(!listed.contains(SECRET_HOST));
    // Who closes the connection any sooner ends the first command, too.
    let mut hello = [0; 6];
    traced.stdout.as_mut().unwrap().read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello\n");
    ours(&["close", "--all"]).exits(0);
    assert_eq!(wait(traced).stdout, b"");
    let calls = fs::read_to_string(&log).unwrap();
    let programs = calls.lines().filter(|line| line.contains(" execve(")).count();
    assert_eq!(programs, 2, "we, and we once more");
    for line in calls.lines().filter(|line| line.contains(SECRET_HOST)) {
        let may = ["connect(", "getpeername(", "getsockname(", "connect resumed", "name resumed"];
        assert!(may.iter().any(|call| line.contains(call)), "{}", &line[..line.len().min(300)]);
    }
}
