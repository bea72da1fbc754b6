//! Words and statuses that programs look for which run `ssh`: what a signal makes of
//! it, `-V`, `-v`, `-O` and the escape sequences. Beside OpenSSH's own client.

use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::{Run, THEIRS, Terminal, signal, start, until, wait, wait_status};
use crate::openssh_personality::Place;

/// Starts a client, sends it a signal once it is logged in, and waits for its end.
fn ended_by(place: &Place, ssh: &str, args: &[&str], ender: Signal) -> Run {
    let logins = || place.server.log().matches("Accepted publickey").count();
    let before = logins();
    let child = start(&mut place.client(ssh, args), "openssh-client");
    let pid = i32::try_from(child.id()).unwrap();
    until("the login", || logins() > before);
    // It stands a moment later; sshd says nothing of that.
    std::thread::sleep(std::time::Duration::from_millis(700));
    signal(pid, ender);
    Run::of(wait(child))
}

#[test]
fn a_signal_means_what_it_means_with_openssh() {
    let place = Place::shared("");
    for (args, ender) in [
        (&["box", "sleep 20"][..], Signal::TERM),
        (&["box", "sleep 20"], Signal::INT),
        (&["box", "sleep 20"], Signal::HUP),
        (&["-N", "box"], Signal::TERM),
        (&["-N", "box"], Signal::INT),
        (&["-N", "-M", "-S", "control", "box"], Signal::TERM),
        (&["-oSessionType=none", "box"], Signal::TERM),
    ] {
        let ours = ended_by(&place, &place.ours(), args, ender);
        let theirs = ended_by(&place, THEIRS, args, ender);
        assert_eq!(ours.code, theirs.code, "{args:?} {ender:?}: {ours:?} {theirs:?}");
    }
}

#[test]
fn the_version_is_found_where_scripts_look_for_it() {
    let place = Place::new("");
    // `ssh -V 2>&1 | sed -n 's/^OpenSSH_\([0-9]*\)\.\([0-9]*\).*/\1 \2/p'` and the like.
    let numbers = |ssh: &str| {
        let said = place.run(ssh, &["-V"], "openssh-client").exits(0).stderr;
        let rest = said.strip_prefix("OpenSSH_").unwrap_or_else(|| panic!("{said}")).to_owned();
        let (major, rest) = rest.split_once('.').unwrap();
        let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (major.parse::<u32>().unwrap(), minor.parse::<u32>().unwrap())
    };
    assert!(numbers(&place.ours()) >= (9, 0) && numbers(THEIRS) >= (7, 0));
    place.ssh(&["-V"]).exits(0).says(&["clan-connect"]);
}

#[test]
fn with_v_it_says_what_scripts_look_for() {
    let place = Place::shared("");
    // What follows is not the same in every version of OpenSSH.
    let lines = |run: Run| -> Vec<String> {
        let wanted = |line: &&str| {
            ["Remote protocol version", "Server host key:", "Authenticated to", "Exit status"]
                .iter()
                .any(|words| line.contains(words))
        };
        let text = run.exits(0).stderr.replace('\r', "");
        let mut lines: Vec<String> = text.lines().filter(wanted).map(str::to_owned).collect();
        for line in &mut lines {
            // 9.2 says which method, and how, since 9.9 in other words.
            line.truncate(line.find(" using ").unwrap_or(line.len()));
        }
        lines
    };
    let args = ["-v", "box", "true"];
    let run = |ssh: &str| Run::of(wait(start(&mut place.client(ssh, &args), "openssh-client")));
    // So that the key is known to both.
    run(&place.ours()).exits(0);
    let (ours, theirs) = (run(&place.ours()), run(THEIRS));
    let offered = "debug1: Offering public key: ";
    for run in [&ours, &theirs] {
        let offer = run.stderr.lines().find(|line| line.starts_with(offered)).unwrap();
        assert!(offer.contains(" ED25519 SHA256:"), "{offer}");
    }
    let (ours, mut theirs) = (lines(ours), lines(theirs));
    // "compat_banner" and others of theirs speak of it once more.
    theirs.dedup();
    let remote = |line: &str| {
        let at = line.find(", remote software version").map(|at| at + 40);
        line.get(..at.unwrap_or(line.len()).min(line.len())).unwrap().to_owned()
    };
    let ours: Vec<String> = ours.iter().map(|line| remote(line)).collect();
    let theirs: Vec<String> = theirs.iter().map(|line| remote(line)).collect();
    assert_eq!(ours, theirs);
    // Without it there is nothing of the kind.
    let mut command = place.client(&place.ours(), &["box", "true"]);
    let quiet = Run::of(wait(start(&mut command, "")));
    assert_eq!(quiet.exits(0).stderr, "");
    let mut command = place.client(&place.ours(), &["-oLogLevel=VERBOSE", "box", "true"]);
    let verbose = Run::of(wait(start(&mut command, "")));
    assert!(verbose.stderr.contains("Authenticated to 127.0.0.1 (["), "{verbose:?}");
    assert!(!verbose.stderr.contains("debug1"), "{verbose:?}");
}

#[test]
fn what_is_not_forwarded_can_be_given_up() {
    let place = Place::shared("");
    for ssh in [place.ours(), THEIRS.to_owned()] {
        let name = if ssh == THEIRS { "theirs" } else { "ours" };
        let socket = place.home.path(name);
        let socket = socket.to_str().unwrap();
        let mut command = place.client(&ssh, &["-M", "-S", socket, "-f", "-N", "box"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(wait(start(&mut command, "openssh-client")).status.success());
        for forward in [&["-L", "2:h:1"][..], &["-R", "3:h:1"], &["-D", "4"], &["-L", "/a:/b"]] {
            let args = [&["-S", socket, "-O", "cancel"], forward, &["box"]].concat();
            let done = Run::of(wait(start(&mut place.client(&ssh, &args), "openssh-client")));
            let said = done.exits(0).stderr.replace('\r', "");
            assert_eq!(
                said,
                "mux_client_forward: forwarding request failed: port not forwarded\n\
                 muxclient: master cancel forward request failed\n",
                "{ssh} {forward:?}"
            );
        }
        let mut command = place.client(&ssh, &["-S", socket, "-O", "exit", "box"]);
        wait(start(&mut command, "openssh-client"));
    }
}

#[test]
fn a_signal_means_the_same_to_the_client_of_a_master() {
    let place = Place::shared("");
    let socket = place.home.path("socket").display().to_string();
    for master in [THEIRS.to_owned(), place.ours()] {
        let mut command = place.client(&master, &["-M", "-N", "-S", &socket, "box"]);
        let mut master = start(&mut command, "openssh-client");
        until("the master", || std::path::Path::new(&socket).exists());
        let run = |ssh: &str, args: &[&str], is_there: &mut dyn FnMut() -> bool, ender| {
            let mut command = place.client(ssh, &[&["-S", &socket], args].concat());
            // What runs on the server keeps what it writes to open for longer.
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = start(&mut command, "openssh-client");
            until("the session", is_there);
            // The client hears of it a moment later.
            std::thread::sleep(std::time::Duration::from_millis(500));
            signal(i32::try_from(child.id()).unwrap(), ender);
            wait_status(&mut child).code()
        };
        let mark = place.home.path("mark");
        let touch = format!("touch {}; exec sleep 5", mark.display());
        let to = format!("127.0.0.1:{}", place.server.port());
        let ours = place.ours();
        for ender in [Signal::TERM, Signal::INT, Signal::HUP] {
            for ssh in [THEIRS, &ours] {
                let _ = std::fs::remove_file(&mark);
                let code = run(ssh, &["box", &touch], &mut || mark.exists(), ender);
                assert_eq!(code, Some(255), "{ssh} {ender:?}");
                // A stream that nobody else ends: the server that it leads to has logged it.
                let before = place.server.log().matches("Connection from").count();
                let mut is_there =
                    || place.server.log().matches("Connection from").count() > before;
                let code = run(ssh, &["-W", &to, "box"], &mut is_there, ender);
                assert_eq!(code, Some(0), "{ssh} -W {ender:?}");
            }
            // Of -N there is nothing to be seen but what it forwards.
            let local = place.home.path("local");
            let _ = std::fs::remove_file(&local);
            let forward = format!("{}:{to}", local.display());
            let code = run(&ours, &["-N", "-L", &forward, "box"], &mut || local.exists(), ender);
            assert_eq!(code, Some(255), "-N {ender:?}");
            let cancel = ["-S", &socket, "-O", "cancel", "-L", &forward, "box"];
            wait(start(&mut place.client(&ours, &cancel), ""));
        }
        let mut command = place.client(THEIRS, &["-S", &socket, "-O", "exit", "box"]);
        wait(start(&mut command, "openssh-client"));
        until("the end of the master", || master.try_wait().unwrap().is_some());
    }
}

#[test]
fn a_break_reaches_the_server() {
    // 9.2 logs every request with this.
    let place = Place::shared("LogLevel DEBUG1\n");
    let asked = || place.server.log().matches("request break reply 0").count();
    let config = place.home.path("home/.ssh/config");
    let socket = place.home.path("socket").display().to_string();
    let talk = |ssh: &str, args: &[&str]| {
        let before = asked();
        let mut command = place.command("/usr/bin/setsid", &["--ctty", ssh, "-F"]);
        command.arg(&config).args(args).args(["-tt", "box", "sh -c 'echo rea''dy; cat'"]);
        let mut terminal = Terminal::of(command, 80, 24);
        terminal.expect("ready");
        until("the raw terminal", || terminal.is_raw());
        terminal.send("\r~B");
        terminal.expect("~B\r\n");
        until("the break", || asked() > before);
        // It is no more than that, and not once more.
        terminal.send("after\r");
        terminal.expect("after");
        terminal.send("\r~.");
        assert_eq!(terminal.exit_code(), Some(255), "{}", terminal.text());
        assert_eq!(asked(), before + 1);
    };
    for ssh in [THEIRS.to_owned(), place.ours()] {
        talk(&ssh, &[]);
        // Over a master it is the client's channel that is meant.
        let mut command = place.client(&ssh, &["-M", "-N", "-S", &socket, "box"]);
        let mut master = start(&mut command, "openssh-client");
        until("the master", || std::path::Path::new(&socket).exists());
        talk(&place.ours(), &["-S", &socket]);
        talk(THEIRS, &["-S", &socket]);
        let mut command = place.client(THEIRS, &["-S", &socket, "-O", "exit", "box"]);
        wait(start(&mut command, "openssh-client"));
        until("the end of the master", || master.try_wait().unwrap().is_some());
    }
}

#[test]
fn escape_sequences_say_what_they_say_with_openssh() {
    let place = Place::shared("");
    let talk = |ssh: &str| {
        let config = place.home.path("home/.ssh/config");
        let mut command = place.command("/usr/bin/setsid", &["--ctty", ssh, "-F"]);
        command.arg(config).args(["-tt", "box", "sh -c 'echo rea''dy; cat'"]);
        let mut terminal = Terminal::of(command, 80, 24);
        terminal.expect("ready");
        until("the raw terminal", || terminal.is_raw());
        for (keys, said) in [
            ("\r~?", "Supported escape sequences:"),
            ("\r~V", "~V [LogLevel "),
            ("\r~v", "~v [LogLevel "),
            ("\r~#", "The following connections are open:\r\n  #0 client-session"),
            ("\r~C", "commandline disabled"),
        ] {
            terminal.send(keys);
            terminal.expect(said);
        }
        terminal.send("\r~.");
        assert_eq!(terminal.exit_code(), Some(255), "{}", terminal.text());
        terminal.text()
    };
    talk(&place.ours());
    talk(THEIRS);
}
