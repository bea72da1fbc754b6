//! What is told of a shared connection (`-O conninfo`, `-O channels`, `~I`, `~#`), to
//! our clients and to those of OpenSSH 10.3, which has the extension for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::time::Duration;

use crate::clan::{SECRET_HOST, secret_machine};
use crate::harness::{Home, Run, THEIRS, Terminal, start, until, wait};
use crate::openssh_mux::Mux;

const IP: &str = "127.0.0.1";

#[test]
fn a_master_tells_of_its_connection() {
    let mux = Mux::new();
    let (ours, port) = (mux.ours(), mux.place.server.port());
    let mut master = mux.master(&ours, &["-oCiphers=aes256-gcm@openssh.com"]);
    let told = mux.run(&ours, &["-O", "conninfo", "box"]).exits(0);
    assert_eq!(told.stderr, "");
    let text = told.text();
    let pid = format!(" pid {}\r\n", master.child.id());
    assert!(text.starts_with("Connection information for ") && text.contains(&pid), "{text}");
    for line in [
        "  user root\r\n",
        &format!("  host 127.0.0.1 port {port}\r\n"),
        &format!(" -> 127.0.0.1:{port}\r\n"),
        "  tcp 127.0.0.1:",
        "  software OpenSSH_",
        "  kexalgorithm ",
        "  hostkeyalgorithm ssh-ed25519\r\n",
        "  cipher aes256-gcm@openssh.com\r\n",
        "  mac <implicit>\r\n",
        "  compression none\r\n",
        "B out\r\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in: {text}");
    }
    // An answer is shown whatever else is not, and it is of now.
    let traffic = || {
        let text = mux.run(&ours, &["-q", "-O", "conninfo", "box"]).exits(0).text();
        text.split_once("  traffic ").unwrap().1.to_owned()
    };
    let before = traffic();
    mux.run(&ours, &["box", "head -c 3000000 /dev/zero"]).exits(0);
    let after = traffic();
    assert!(!before.contains("MB in") && after.contains("MB in"), "{before} {after}");
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    master.ends();
    let gone = mux.run(&ours, &["-O", "conninfo", "box"]).exits(255);
    gone.says(&["Control socket connect(", "No such file or directory"]);
    // Other agreements have other words.
    let agreed = ["-C", "-oCiphers=aes128-ctr", "-oMACs=hmac-sha2-256"];
    let mut master = mux.master(&ours, &agreed);
    let text = mux.run(&ours, &["-O", "conninfo", "box"]).exits(0).text();
    for line in ["cipher aes128-ctr\r\n", "mac hmac-sha2-256\r\n", "compression zlib@openssh.com"] {
        assert!(text.contains(line), "{line:?} is not in: {text}");
    }
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    master.ends();
}

#[test]
fn a_master_tells_of_its_channels() {
    let mux = Mux::new();
    let (ours, port) = (mux.ours(), mux.place.server.port());
    let mut master = mux.master(&ours, &[]);
    let channels = || mux.run(&ours, &["-O", "channels", "box"]).exits(0).text();
    let none = "The following connections are open:\r\n";
    assert_eq!(channels(), none);
    let mut command = mux.command(&ours, &["box", "cat; : hunter2"]);
    let mut child = start(command.stdin(Stdio::piped()), "");
    until("the session", || channels().contains("  #0 client-session (command)\r\n"));
    assert!(!channels().contains("hunter2"), "{}", channels());
    let socket = mux.place.home.path("forwarded").display().to_string();
    let local = format!("{socket}:{IP}:{port}");
    mux.run(&ours, &["-O", "forward", "-L", &local, "box"]).exits(0);
    let mut forwarded = UnixStream::connect(&socket).unwrap();
    forwarded.read_exact(&mut [0; 4]).unwrap();
    let one = format!("  #1 direct (to 127.0.0.1:{port})\r\n");
    assert!(channels().contains(&one), "{}", channels());
    let remote = format!("{IP}:0:{IP}:{port}");
    let given = mux.run(&ours, &["-O", "forward", "-R", &remote, "box"]).exits(0).text();
    let given: u16 = given.trim().parse().unwrap();
    let mut back = TcpStream::connect((IP, given)).unwrap();
    back.read_exact(&mut [0; 4]).unwrap();
    let two = format!("  #2 forwarded-tcpip (to 127.0.0.1:{port})\r\n");
    assert!(channels().contains(&two), "{}", channels());
    drop((forwarded, back, command, child.stdin.take()));
    assert!(wait(child).status.success());
    until("the end of all", || channels() == none);
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    master.ends();
}

/// A message of PROTOCOL.mux: numbers, then texts.
fn message(numbers: &[u32], texts: &[&[u8]]) -> Vec<u8> {
    let mut body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    for text in texts {
        body.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        body.extend_from_slice(text);
    }
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

fn next(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).unwrap();
    body
}

#[test]
fn a_client_of_openssh_10_3_is_told_as_by_its_own_master() {
    let mux = Mux::new();
    let ours = mux.ours();
    let mut master = mux.master(&ours, &[]);
    let mut stream = UnixStream::connect(&mux.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // As its mux.c sends and takes them.
    stream.write_all(&message(&[1, 4], &[])).unwrap();
    assert_eq!(next(&mut stream), message(&[1, 4], &[b"info", b"0"])[4..]);
    for (id, name, is_told, start) in [
        (7, "connection", 1, "Connection information for "),
        (8, "channels", 1, "The following connections are open:\r\n"),
        (9, "secrets", 0, "info request type not supported"),
    ] {
        stream.write_all(&message(&[0x2000_0001, id], &[name.as_bytes()])).unwrap();
        let answer = next(&mut stream);
        let head = message(&[0x9000_0001, id, is_told], &[]);
        assert_eq!(answer[..12], head[4..], "{name}");
        let text = String::from_utf8(answer[16..].to_vec()).unwrap();
        assert!(text.starts_with(start), "{text}");
    }
    drop(stream);
    mux.run(&ours, &["-O", "exit", "box"]).exits(0);
    master.ends();
}

#[test]
fn a_master_that_tells_nothing_or_what_it_should_not_is_no_trouble() {
    let mux = Mux::new();
    let ours = mux.ours();
    // The masters of OpenSSH before 10.3 have no words for it.
    let mut master = mux.master(THEIRS, &[]);
    for command in ["conninfo", "channels"] {
        let done = mux.run(&ours, &["-O", command, "box"]);
        match done.code {
            Some(0) => assert!(done.text().contains("\r\n"), "{done:?}"),
            _ => {
                let done = done.exits(255);
                assert_eq!(done.stderr.trim_end(), "mux server does not support info request");
                assert_eq!(done.text(), "");
            }
        }
    }
    mux.run(THEIRS, &["-O", "exit", "box"]).exits(0);
    master.ends();
    let foul = "a\x1b]0;title\x07\r\nb\rc\r\n";
    for (hello, answers, code, stdout, stderr) in [
        (&["other", "x"][..], None, 255, "", "mux server does not support info request"),
        (
            &["info", ""],
            Some((0x9000_0001, Some(1), foul)),
            0,
            "a\\u{1b}]0;title\\u{7}\r\nb\\rc\r\n",
            "",
        ),
        (
            &["info", "0"],
            Some((0x9000_0001, Some(0), "no \x1b")),
            255,
            "",
            "returned error: no \\u{1b}",
        ),
        (
            &["x", "", "info", "0"],
            Some((0x8000_0003, None, "why\x1b")),
            255,
            "",
            "error: why\\u{1b}",
        ),
        (&["info", "0"], Some((0x8000_0005, Some(1), "")), 255, "", "does not speak version 4"),
        (&["info"], None, 255, "", "does not speak version 4"),
    ] {
        let listener = UnixListener::bind(&mux.socket).unwrap();
        let hello: Vec<&[u8]> = hello.iter().map(|text| text.as_bytes()).collect();
        let hello = message(&[1, 4], &hello);
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            next(&mut stream);
            stream.write_all(&hello).unwrap();
            let Some((kind, status, text)) = answers else { return };
            let asked = next(&mut stream);
            let id = u32::from_be_bytes(asked[4..8].try_into().unwrap());
            let numbers: Vec<u32> = [kind, id].into_iter().chain(status).collect();
            stream.write_all(&message(&numbers, &[text.as_bytes()])).unwrap();
        });
        let done = mux.run(&ours, &["-O", "conninfo", "box"]).exits(code).says(&[stderr]);
        assert_eq!(done.text(), stdout);
        serving.join().unwrap();
        std::fs::remove_file(&mux.socket).unwrap();
    }
}

#[test]
fn escape_sequences_tell_it_to_a_person() {
    let mux = Mux::new();
    let (ours, port) = (mux.ours(), mux.place.server.port());
    let talk = |ssh: &str, args: &[&str], said: &[(&str, &str)]| {
        let config = mux.place.home.path("home/.ssh/config");
        let mut command = mux.place.command("/usr/bin/setsid", &["--ctty", ssh, "-F"]);
        command.arg(config).args(args).args(["-tt", "box", "sh -c 'echo rea''dy; cat'"]);
        let mut terminal = Terminal::of(command, 100, 24);
        terminal.expect("ready");
        until("the raw terminal", || terminal.is_raw());
        for (keys, said) in said {
            terminal.send(keys);
            terminal.expect(said);
        }
        terminal.send("\r~.");
        assert_eq!(terminal.exit_code(), Some(255), "{}", terminal.text());
    };
    let tcp = format!(" -> 127.0.0.1:{port}\r\n");
    let list = ("\r~#", "~#\r\nThe following connections are open:\r\n  #");
    let info = [("\r~I", "~I\r\nConnection information for "), ("", &tcp), ("", "  mac ")];
    talk(&ours, &["-S", "none"], &[&info[..], &[list]].concat());
    // Over a master, to whose client OpenSSH tells it, too.
    for master in [THEIRS, &ours] {
        let mut running = mux.master(master, &[]);
        talk(THEIRS, &["-S", &mux.socket], &[list]);
        talk(&ours, &["-S", &mux.socket], &[list]);
        if master == ours {
            talk(THEIRS, &["-S", &mux.socket], &info);
        }
        mux.run(&ours, &["-O", "exit", "box"]).exits(0);
        running.ends();
    }
}

#[test]
fn a_secret_host_is_told_by_its_label() {
    let home = Home::new();
    let (server, exports) = secret_machine(&home);
    let socket = home.path("m").display().to_string();
    let (flake, path) = (home.path("clan"), format!("ControlPath={socket}"));
    let fixed = ["--flake", flake.to_str().unwrap(), "--exports", &exports, "ssh"];
    let share = ["my_cool_machine", "-o", "ControlMaster=yes", "-o", &path, "-N"];
    let mut master = home.command(&[&fixed[..], &share].concat()).spawn().unwrap();
    let made = || {
        let all = std::fs::read_dir(home.path(".")).unwrap();
        let names = all.map(|entry| entry.unwrap().path().display().to_string());
        names.into_iter().find(|name| name.contains("/m-"))
    };
    until("the master", || made().is_some());
    let socket = made().unwrap();
    let mut command = home.command(&["openssh", "-S", &socket, "-O", "conninfo", "x"]);
    let text = Run::of(wait(start(&mut command, ""))).exits(0).text();
    let port = server.port();
    for line in [
        "  user root\r\n",
        &format!("  host <secret: tor_tor/hostname> port {port}\r\n"),
        "  network hidden\r\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in: {text}");
    }
    assert!(!text.contains(SECRET_HOST) && !text.contains("  tcp "), "{text}");
    home.run(&["openssh", "-S", &socket, "-O", "exit", "x"]).exits(0);
    wait(master.wait().map(|_| master).unwrap());
}
