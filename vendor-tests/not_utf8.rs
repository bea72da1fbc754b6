//! Text that is not UTF-8, which the RFCs ask for and servers do not heed: it ends
//! nothing, and is shown as OpenSSH shows it.

use std::os::unix::process::ExitStatusExt;

use crate::harness::{Home, Run, THEIRS, Terminal, sshd, start, wait};
use crate::hostile_server::Hostile;
use crate::openssh_personality::Place;

const IP: &str = "127.0.0.1";
/// `Grüße` in Latin-1, as OpenSSH shows it (utf8.c).
const SHOWN: &str = "Gr\\374\\337e";

/// The library's words, which mean nothing to anybody.
#[track_caller]
fn is_in_our_words(done: &Run) {
    for word in
        ["SshEncoding", "CharacterEncoding", "more messages from the channel", "Inconsistent"]
    {
        assert!(!done.stderr.contains(word), "{}", done.stderr);
    }
}

#[test]
fn a_banner_in_another_encoding_lets_everybody_in() {
    for (bytes, shown) in [
        (&b"Zugang nur f\xfcr Befugte\n"[..], "Zugang nur f\\374r Befugte\n"),
        (b"\x93\xfa\x96{ Shift-JIS\n", "\\223\\372\\226{ Shift-JIS\n"),
        ("UTF-8: Grüße\n".as_bytes(), "UTF-8: Grüße\n"),
        (b"half a letter: \xc3\n", "half a letter: \\303\n"),
    ] {
        let home = Home::new();
        let banner = home.write("issue", bytes).display().to_string();
        let key = home.default_key();
        let place = Place::of(home, &key, &format!("Banner {banner}\n"));
        let known = format!("-oUserKnownHostsFile={}", place.home.path("kh").display());
        let identity = place.home.path("home/.ssh/id_ed25519").display().to_string();
        let args = [&known, "-i", &identity, "box", "echo", "in"];
        for ssh in [THEIRS, &place.ours()] {
            let mut command = place.client(ssh, &args);
            let done = Run::of(wait(start(command.env("LC_ALL", "C.UTF-8"), "openssh-client")));
            assert_eq!(done.exits(0).says(&[shown]).text(), "in\n", "{ssh}");
        }
    }
    // The other front end.
    let home = Home::new();
    let key = home.default_key();
    let banner = home.write("issue", b"f\xfcr\n").display().to_string();
    let server = sshd(&home, IP, &key, &format!("Banner {banner}\n"));
    let target = format!("root@{}", server.target());
    let done = home.run(&["ssh", "m", "--target-host", &target, "-c", "echo", "in"]).exits(0);
    assert_eq!(done.says(&["f\\374r"]).text(), "in\n");
}

#[test]
fn messages_in_another_encoding_end_no_session() {
    for scenario in [
        "latin-global-request",
        "latin-channel-request",
        "latin-channel",
        "latin-debug",
        "latin-languages",
        "latin-banner",
    ] {
        let hostile = Hostile::new(scenario);
        let args = ["root@127.0.0.1", "cmd"];
        for mut command in [hostile.theirs(&args), hostile.ours(&[], &args)] {
            let done = Run::of(wait(start(&mut command, "openssh-client")));
            is_in_our_words(&done);
            assert_eq!(done.exits(7).text(), "hello\n", "{scenario}");
        }
    }
}

#[test]
fn the_last_words_of_a_server_are_shown_whatever_they_are_in() {
    for (scenario, words) in [
        ("latin-goodbye", SHOWN),
        ("goodbye-in-no-language", SHOWN),
        ("latin-refusal", "open failed: administratively prohibited: Gr\\374\\337e"),
    ] {
        let hostile = Hostile::new(scenario);
        // After the host the first value counts no less, but -v comes in between.
        let args = ["-v", "root@127.0.0.1", "cmd"];
        for mut command in [hostile.theirs(&args), hostile.ours(&[], &args)] {
            command.env("LC_ALL", "C.UTF-8");
            let done = Run::of(wait(start(&mut command, "openssh-client")));
            is_in_our_words(&done);
            done.exits(255).says(&[words]);
        }
    }
}

#[test]
fn a_signal_is_told_with_whatever_message() {
    let hostile = Hostile::new("latin-signal");
    let ended = wait(start(&mut hostile.ours(&[], &["root@127.0.0.1", "cmd"]), ""));
    assert_eq!((ended.stdout.as_slice(), ended.status.signal()), (&b"hello\n"[..], None));
    let done = Run::of(ended);
    is_in_our_words(&done);
    // Not a connection that was lost: that is said.
    assert!(!done.stderr.contains("connection"), "{}", done.stderr);
    assert!(matches!(done.code, Some(143 | 255)), "{done:?}");
}

#[test]
fn questions_in_another_encoding_are_asked() {
    let hostile = Hostile::new("latin-questions");
    let mut options = hostile.options();
    options.retain(|option| option != "-oBatchMode=yes");
    options.push("-oPreferredAuthentications=keyboard-interactive".to_owned());
    options.extend(["-oNumberOfPasswordPrompts=1".to_owned(), "root@127.0.0.1".to_owned()]);
    for ssh in ["theirs", "ours"] {
        let program = if ssh == "ours" { crate::harness::BINARY } else { THEIRS };
        let mut command = std::process::Command::new("setsid");
        command.args(["--ctty", program]).args((ssh == "ours").then_some("openssh")).args(&options);
        command.env_clear().env("HOME", hostile.home.path("home")).env("LC_ALL", "C.UTF-8");
        let mut terminal = Terminal::of(command, 100, 30);
        terminal.expect(&format!("(root@127.0.0.1) {SHOWN}: "));
        terminal.send("answer\r");
        assert_eq!(terminal.exit_code(), Some(255), "{ssh}: {}", terminal.text());
    }
    assert!(hostile.server.says("answers 1"));
}

/// What the terminal shows while the password is changed.
fn change(hostile: &Hostile, program: &str) -> String {
    // Each learns the host's key for itself.
    let _ = std::fs::remove_file(hostile.home.path("known"));
    let mut options = hostile.options();
    options.retain(|option| option != "-oBatchMode=yes");
    // What the server says about it is no error.
    options.retain(|option| option != "-oLogLevel=ERROR");
    options.push("-oPreferredAuthentications=password".to_owned());
    options.extend(["root@127.0.0.1".to_owned(), "cmd".to_owned()]);
    let mut command = std::process::Command::new("setsid");
    command.args(["--ctty", program]).args((program != THEIRS).then_some("openssh"));
    command.args(&options).env_clear().env("HOME", hostile.home.path("home"));
    command.env("LC_ALL", "C.UTF-8");
    let mut terminal = Terminal::of(command, 100, 30);
    let mut asked = 0;
    for (prompt, answer) in [
        ("root@127.0.0.1's password: ", "old"),
        ("Enter root@127.0.0.1's old password: ", "old"),
        ("Enter root@127.0.0.1's new password: ", "one"),
        ("Retype root@127.0.0.1's new password: ", "another"),
        ("Enter root@127.0.0.1's new password: ", "weak"),
        ("Retype root@127.0.0.1's new password: ", "weak"),
        ("Enter root@127.0.0.1's old password: ", "old"),
        ("Enter root@127.0.0.1's new password: ", "good"),
        ("Retype root@127.0.0.1's new password: ", "good"),
    ] {
        // What was asked before is in the text already.
        crate::harness::until(prompt, || {
            terminal.text().get(asked..).is_some_and(|text| text.contains(prompt))
        });
        asked = terminal.text().len();
        terminal.send(&format!("{answer}\r"));
    }
    assert_eq!(terminal.exit_code(), Some(7), "{program}: {}", terminal.text());
    terminal.text().replace('\r', "")
}

/// A message of number 60 is what the method that runs has it mean (RFC 4252, section 6):
/// a key that would do, a password that has expired, a question.
#[test]
fn one_number_is_three_messages_in_one_login() {
    let hostile = Hostile::new("sixty");
    // A key for which the question comes before the signature.
    let key = hostile.home.keygen("rsa", "rsa", "").display().to_string();
    for program in [THEIRS, crate::harness::BINARY] {
        let mut options = hostile.options();
        let own = options.iter().position(|option| option == "-i").unwrap() + 1;
        options[own] = key.clone();
        options.retain(|option| option != "-oBatchMode=yes");
        let order = "-oPreferredAuthentications=publickey,password,keyboard-interactive";
        options.extend([order, "-oNumberOfPasswordPrompts=1"].map(str::to_owned));
        options.extend(["root@127.0.0.1".to_owned(), "cmd".to_owned()]);
        let mut command = std::process::Command::new("setsid");
        command.args(["--ctty", program]).args((program != THEIRS).then_some("openssh"));
        command.args(&options).env_clear().env("HOME", hostile.home.path("home"));
        let mut terminal = Terminal::of(command, 100, 30);
        for (prompt, answer) in [
            ("root@127.0.0.1's password: ", "old"),
            ("Enter root@127.0.0.1's old password: ", "old"),
            ("Enter root@127.0.0.1's new password: ", "good"),
            ("Retype root@127.0.0.1's new password: ", "good"),
            ("(root@127.0.0.1) Code: ", "123"),
        ] {
            terminal.expect(prompt);
            terminal.send(&format!("{answer}\r"));
        }
        assert_eq!(terminal.exit_code(), Some(7), "{program}: {}", terminal.text());
        assert!(terminal.text().contains("hello"), "{program}: {}", terminal.text());
    }
    assert!(hostile.server.says("key 2") && hostile.server.says("answers 1"));
}

#[test]
fn a_password_that_has_expired_is_changed() {
    let hostile = Hostile::new("expired");
    let (theirs, ours) = (change(&hostile, THEIRS), change(&hostile, crate::harness::BINARY));
    assert_eq!(ours, theirs);
    for line in ["It has expired, says J\\374rgen\n", "It is too weak\n", "Mismatch; try again"] {
        assert!(ours.contains(line), "{ours}");
    }
    assert!(ours.ends_with("hello\n") && hostile.server.says("password old good"), "{ours}");
}
