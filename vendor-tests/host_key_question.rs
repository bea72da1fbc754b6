//! What is asked and said about host keys, and about passwords: an interface of
//! ssh(1) that programs read. Beside OpenSSH's ssh on a terminal, and by sshpass,
//! pexpect's pxssh and SSH_ASKPASS.

use std::process::Command;

use crate::harness::{Account, Home, Run, Server, THEIRS, Terminal, run, sshd, start, wait};
use crate::openssh_personality::Place;

const SURE: &str = "Are you sure you want to continue connecting (yes/no/[fingerprint])? ";
const AGAIN: &str = "Please type 'yes', 'no' or the fingerprint: ";

impl Place {
    fn known_hosts(&self, text: &str) {
        self.home.write("home/.ssh/known_hosts", text);
    }

    /// The server's key as a line for `names`.
    fn line(&self, names: &str) -> String {
        let key = self.home.read(&format!("sshd-{}/host_key.pub", self.server.port()));
        format!("{names} {}\n", key.trim())
    }

    fn name(&self) -> String {
        format!("[127.0.0.1]:{}", self.server.port())
    }

    /// Either client on a terminal; `answers` are what is waited for and then typed.
    /// Returns all that the terminal has shown and the exit status.
    fn talk(&self, ssh: &str, args: &[&str], answers: &[(&str, &str)]) -> (String, Option<i32>) {
        let config = self.home.path("home/.ssh/config");
        let fixed = ["--ctty", ssh, "-F", config.to_str().unwrap()];
        let command = self.command("/usr/bin/setsid", &[&fixed, args].concat());
        let mut terminal = Terminal::of(command, 200, 50);
        let mut asked = std::collections::HashMap::new();
        for (question, answer) in answers {
            // The same question may be asked more than once.
            let count: &mut usize = asked.entry(question).or_default();
            *count += 1;
            terminal.expect_times(question, *count);
            terminal.send(&format!("{answer}\r"));
        }
        let code = terminal.exit_code();
        (terminal.text().replace('\r', ""), code)
    }
}

/// Both clients from the same known_hosts; says the same, ends the same.
fn beside(place: &Place, known: &str, args: &[&str], answers: &[(&str, &str)]) -> (String, i32) {
    place.known_hosts(known);
    let theirs = place.talk(THEIRS, args, answers);
    let theirs_known = place.home.read("home/.ssh/known_hosts");
    place.known_hosts(known);
    let ours = place.talk(&place.ours(), args, answers);
    assert_eq!(ours.0, theirs.0, "{args:?} with\n{known}");
    assert_eq!(ours.1, theirs.1, "{args:?} with\n{known}");
    assert_eq!(place.home.read("home/.ssh/known_hosts"), theirs_known, "{args:?} with\n{known}");
    (ours.0, ours.1.unwrap())
}

#[test]
fn the_question_is_that_of_openssh_word_for_word() {
    let place = Place::shared("");
    let ask = ["-oStrictHostKeyChecking=ask", "box", "echo", "in"];
    let name = place.name();
    let public = place.home.path(&format!("sshd-{}/host_key.pub", place.server.port()));
    let listed = run("ssh-keygen", &["-lf", public.to_str().unwrap()], "openssh-client");
    let fingerprint = listed.split_whitespace().nth(1).unwrap().to_owned();

    let (said, code) = beside(&place, "", &ask, &[(SURE, "yes")]);
    assert_eq!(code, 0);
    let expected = format!(
        "The authenticity of host '{name} ({name})' can't be established.\n\
         ED25519 key fingerprint is {fingerprint}.\n\
         This key is not known by any other names.\n\
         {SURE}yes\n\
         Warning: Permanently added '{name}' (ED25519) to the list of known hosts.\n\
         in\n"
    );
    assert_eq!(said, expected);
    // Once, with the way out; what is no answer is asked about again.
    let (said, code) = beside(&place, "", &ask, &[(SURE, "maybe"), (AGAIN, "y"), (AGAIN, "no")]);
    assert_eq!((said.matches("authenticity").count(), code), (1, 255), "{said}");
    assert!(said.ends_with("no\nHost key verification failed.\n"), "{said}");
    let (_, code) = beside(&place, "", &ask, &[(SURE, &fingerprint)]);
    assert_eq!(code, 0);
    let (_, code) = beside(&place, "", &ask, &[(SURE, "  YES  please")]);
    assert_eq!(code, 0);
    let (_, code) = beside(&place, "", &ask, &[(SURE, "")]);
    assert_eq!(code, 255);
    // Known as others, also as more than are listed.
    let (said, _) = beside(&place, &place.line("other,10.0.0.1"), &ask, &[(SURE, "no")]);
    assert!(said.contains(":1: other,10.0.0.1\n"), "{said}");
    let many: String = (0..11).map(|at| place.line(&format!("other{at}"))).collect();
    let (said, _) = beside(&place, &many, &ask, &[(SURE, "no")]);
    assert!(said.contains("    (3 additional names omitted)\n"), "{said}");
    // By a name, by an alias, and where nobody knows the address.
    let by_name = [&["-oHostName=localhost"], &ask[..]].concat();
    beside(&place, "", &by_name, &[(SURE, "yes")]);
    let alias = [&["-oHostKeyAlias=other-name"], &ask[..]].concat();
    let (said, _) = beside(&place, "", &alias, &[(SURE, "yes")]);
    assert!(said.contains(&format!("'other-name ({name})'")), "{said}");
    let port = place.server.port();
    let proxy =
        format!("-oProxyCommand=bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3 & cat >&3'");
    let proxied = [&[proxy.as_str()], &ask[..]].concat();
    let (said, _) = beside(&place, "", &proxied, &[(SURE, "yes")]);
    assert!(said.contains("(<no hostip for proxy command>)"), "{said}");
}

#[test]
fn what_is_said_of_wrong_and_unknown_keys_is_what_openssh_says() {
    let place = Place::shared("");
    place.home.keygen("stale", "ed25519", "");
    place.home.keygen("rsa", "rsa", "");
    let words = |file: &str| {
        let key = place.home.read(file);
        key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    let name = place.name();
    let stale = format!("# first\n{name} {}\n", words("stale.pub"));
    let other_type = format!("{name} {}\n", words("rsa.pub"));
    for check in ["ask", "yes", "accept-new", "no"] {
        let check = format!("-oStrictHostKeyChecking={check}");
        for known in [&stale, &other_type] {
            let (said, code) = beside(&place, known, &[&check, "box", "echo", "in"], &[]);
            assert!(said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{said}");
            assert_eq!(code, if check.ends_with("=no") { 0 } else { 255 }, "{said}");
            assert!(!said.contains("Permanently"), "{said}");
        }
    }
    let strict = ["-oStrictHostKeyChecking=yes", "box", "echo", "in"];
    let (said, code) = beside(&place, "", &strict, &[]);
    assert_eq!(code, 255);
    let expected = format!("No ED25519 host key is known for {name} and you have");
    assert!(said.starts_with(&expected), "{said}");
    // Nothing is asked with BatchMode, and nothing said with -q.
    let batch = ["-oBatchMode=yes", "-oStrictHostKeyChecking=ask", "box", "echo", "in"];
    assert_eq!(beside(&place, "", &batch, &[]), ("Host key verification failed.\n".into(), 255));
    for check in ["accept-new", "no"] {
        let check = format!("-oStrictHostKeyChecking={check}");
        let (said, _) = beside(&place, "", &[&check, "box", "echo", "in"], &[]);
        assert!(said.starts_with("Warning: Permanently added '"), "{said}");
        assert_eq!(beside(&place, "", &["-q", &check, "box", "echo", "in"], &[]).0, "in\n");
    }
}

#[test]
fn passwords_and_passphrases_are_asked_for_in_the_words_of_openssh() {
    let place = Place::shared("PasswordAuthentication yes\nKbdInteractiveAuthentication no\n");
    let known = place.line(&place.name());
    let ask = "root@127.0.0.1's password: ";
    let only = ["-oPubkeyAuthentication=no", "box", "true"];
    let (said, code) = beside(&place, &known, &only, &[(ask, "a"), (ask, "b"), (ask, "c")]);
    assert_eq!((said.matches("Permission denied, please try again.").count(), code), (2, 255));
    let once = [&["-oNumberOfPasswordPrompts=1", "-oHostName=LOCALHOST"], &only[..]].concat();
    let ask = "root@localhost's password: ";
    let known_by_name = place.line(&format!("[localhost]:{}", place.server.port()));
    beside(&place, &known_by_name, &once, &[(ask, "a")]);
    let alias = [&["-oNumberOfPasswordPrompts=1", "-oHostKeyAlias=Alias"], &only[..]].concat();
    beside(&place, &place.line("alias"), &alias, &[("root@alias's password: ", "a")]);
    // A key that is locked.
    let key = place.home.path("home/.ssh/id_ed25519");
    let key = key.to_str().unwrap();
    run("ssh-keygen", &["-q", "-p", "-P", "", "-N", "secret", "-f", key], "openssh-client");
    let ask = format!("Enter passphrase for key '{key}': ");
    let answers = [(ask.as_str(), "wrong"), (&ask, "secret")];
    let (said, _) = beside(&place, &known, &["box", "echo", "in"], &answers);
    assert!(said.ends_with("\nin\n"), "{said}");
}

#[test]
fn askpass_is_given_the_whole_question() {
    let place = Place::shared("");
    let script = "#!/bin/sh\nprintf '%s|' \"$1\" >> asked\nif [ -e again ]; then echo yes; else touch again; echo y; fi\n";
    let script = place.home.script("askpass", script);
    let mut asked = Vec::new();
    for ssh in [THEIRS, &place.ours()] {
        place.known_hosts("");
        let _ = std::fs::remove_file(place.home.path("again"));
        let _ = std::fs::remove_file(place.home.path("asked"));
        let args = ["-oStrictHostKeyChecking=ask", "box", "echo", "in"];
        let mut command = place.client(ssh, &args);
        command.env("SSH_ASKPASS", &script).env("SSH_ASKPASS_REQUIRE", "force");
        let done = Run::of(wait(start(&mut command, "openssh-client"))).exits(0);
        assert_eq!(done.text(), "in\n");
        asked.push(place.home.read("asked"));
    }
    assert_eq!(asked[1], asked[0]);
    assert!(asked[1].ends_with(&format!("{SURE}|{AGAIN}|")), "{asked:?}");
}

/// A server that takes the password of an account, and that account.
fn with_password() -> (Place, Account) {
    let config = "PasswordAuthentication yes\nKbdInteractiveAuthentication no\n";
    (Place::shared(config), Account::new("ccquest"))
}

#[test]
fn sshpass_ends_as_it_does_with_openssh() {
    let (place, account) = with_password();
    let config = place.home.path("home/.ssh/config");
    let login = format!("{}@127.0.0.1", account.name);
    let fixed =
        ["-F", config.to_str().unwrap(), "-oHostName=127.0.0.1", "-oPubkeyAuthentication=no"];
    let port = format!("-oPort={}", place.server.port());
    let sshpass = |ssh: &str, password: &str, check: &str| -> Command {
        let check = format!("-oStrictHostKeyChecking={check}");
        let args = [&["-p", password, ssh], &fixed[..], &[&port, &check, &login, "echo", "in"]];
        let files = format!("-oUserKnownHostsFile={}", place.home.path("kh").display());
        let args = args.concat();
        let (start, rest) = args.split_at(3);
        place.command("sshpass", &[start, &[&files], rest].concat())
    };
    for ssh in [THEIRS, &place.ours()] {
        let run = |password: &str, check: &str| {
            Run::of(wait(start(&mut sshpass(ssh, password, check), "sshpass")))
        };
        place.home.write("kh", "");
        // Its words for a host key that it is not asked to believe.
        run(&account.password, "ask").exits(6);
        run(&account.password, "yes").exits(255);
        assert_eq!(place.home.read("kh"), "");
        assert_eq!(run(&account.password, "accept-new").exits(0).text(), "in\n", "{ssh}");
        assert_eq!(run(&account.password, "ask").exits(0).text(), "in\n", "{ssh}");
        run("wrong", "ask").exits(5);
    }
}

const PXSSH: &str = r#"
import sys
from pexpect import pxssh
ssh, config, user, password, port = sys.argv[1:]
session = pxssh.pxssh(timeout=30, encoding="utf-8")
session.login("127.0.0.1", user, password, port=int(port), ssh_config=config, cmd=ssh)
session.sendline("echo sum-$((40+2))")
session.prompt()
print(session.before)
session.logout()
"#;

#[test]
fn pxssh_logs_in_with_a_password_and_a_key_that_is_new() {
    let (place, account) = with_password();
    let script = place.home.write("log_in.py", PXSSH);
    let files = place.home.path("kh").display().to_string();
    let config =
        format!("StrictHostKeyChecking ask\nUserKnownHostsFile {files}\nPubkeyAuthentication no\n");
    let config = place.home.write("pxssh_config", config);
    for ssh in [THEIRS, &place.ours()] {
        place.home.write("kh", "");
        let args = [script.to_str().unwrap(), ssh, config.to_str().unwrap(), &account.name];
        let port = place.server.port();
        let args = [&args[..], &[&account.password, &port]].concat();
        let mut command = place.command("/usr/bin/python3", &args);
        let done = Run::of(wait(start(command.env("TERM", "dumb"), "python3-pexpect"))).exits(0);
        assert!(done.text().contains("sum-42"), "{ssh}: {done:?}");
        assert_eq!(place.home.read("kh").lines().count(), 1, "{ssh}");
    }
}

/// The native command, on a terminal.
fn native(home: &Home, server: &Server, answers: &[(&str, &str)]) -> (String, Option<i32>) {
    let target = format!("root@{}", server.target());
    let args = ["ssh", "m", "--target-host", &target, "--host-key-check", "ask"];
    let args = [&args[..], &["-c", "echo", "in"]].concat();
    let mut terminal = Terminal::start(home, &args, 200, 50, &[]);
    for (question, answer) in answers {
        terminal.expect(question);
        terminal.send(&format!("{answer}\r"));
    }
    let code = terminal.exit_code();
    (terminal.text().replace('\r', ""), code)
}

#[test]
fn the_native_command_asks_the_same_question() {
    let home = Home::new();
    let key = home.default_key();
    let server = sshd(&home, "127.0.0.1", &key, "");
    let name = format!("[{}]:{}", server.address.ip(), server.port());
    let title = format!("The authenticity of host '{name} ({name})' can't be established.");
    let (said, code) = native(&home, &server, &[(SURE, "what"), (AGAIN, "no")]);
    assert!(said.contains(&title) && code == Some(255), "{said}");
    assert_eq!(said.matches("authenticity").count(), 1, "{said}");
    assert!(said.contains("you did not accept it"), "{said}");
    let (said, code) = native(&home, &server, &[(SURE, "yes")]);
    assert!(said.contains(&title) && said.contains("in\n") && code == Some(0), "{said}");
}
