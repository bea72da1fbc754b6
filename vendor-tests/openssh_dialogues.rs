//! Programs that answer questions or make sure that none is asked: BatchMode, what
//! expect(1) does, and the login of Emacs' TRAMP. Beside OpenSSH's own client, which has
//! to say the same and end the same.

use std::process::Command;

use crate::harness::{Account, Home, Run, THEIRS, Terminal, run, start, wait};
use crate::openssh_personality::Place;

const PASSWORDS: &str = "PasswordAuthentication yes\nKbdInteractiveAuthentication no\n";

/// The server's key as a line of known_hosts.
fn known(place: &Place) -> String {
    let (port, name) = (place.server.port(), format!("sshd-{}/host_key.pub", place.server.port()));
    format!("[127.0.0.1]:{port} {}\n", place.home.read(&name).trim())
}

/// A server that takes passwords and two keys: that of the host `box`, and one with the
/// passphrase "secret", which alone is there for the host `locked`.
fn with_locked() -> Place {
    let home = Home::new();
    let keys = home.default_key();
    let locked = home.keygen("locked", "ed25519", "secret").display().to_string();
    let keys = keys + &home.read("locked.pub");
    let place = Place::of(home, &keys, PASSWORDS).with_files("");
    let config = place.home.read("home/.ssh/config");
    let of_box = config.lines().skip(1).filter(|line| !line.contains("IdentityFile"));
    let of_locked: String = of_box.map(|line| format!("{line}\n")).collect();
    let of_locked =
        format!("Host locked\n{of_locked}  IdentityFile {locked}\n  IdentitiesOnly yes\n");
    place.home.write("home/.ssh/config", config + &of_locked);
    place
}

/// Both clients without a terminal and on one, from the same known_hosts.
#[track_caller]
fn same(place: &Place, known: &str, args: &[&str]) -> Run {
    let run = |ssh: &str| {
        place.home.write("home/.ssh/known_hosts", known);
        let run = Run::of(wait(start(&mut place.client(ssh, args), "openssh-client")));
        Run { stderr: run.stderr.replace('\r', ""), ..run }
    };
    let talk = |ssh: &str| {
        place.home.write("home/.ssh/known_hosts", known);
        let config = place.home.path("home/.ssh/config");
        let fixed = ["--ctty", ssh, "-F", config.to_str().unwrap()];
        let command = place.command("/usr/bin/setsid", &[&fixed, args].concat());
        let mut terminal = Terminal::of(command, 200, 50);
        let code = terminal.exit_code();
        (code, terminal.text().replace('\r', ""))
    };
    let (ours, theirs) = (run(&place.ours()), run(THEIRS));
    assert_eq!(ours.stderr, theirs.stderr, "{args:?}");
    assert_eq!((ours.code, &ours.stdout), (theirs.code, &theirs.stdout), "{args:?}");
    assert_eq!(talk(&place.ours()), talk(THEIRS), "{args:?} on a terminal");
    ours
}

#[test]
fn batch_mode_asks_nobody_and_says_what_openssh_says() {
    let place = with_locked();
    let known = known(&place);
    let batch = "-oBatchMode=yes";
    for check in ["ask", "yes"] {
        let check = format!("-oStrictHostKeyChecking={check}");
        let done = same(&place, "", &[batch, &check, "box", "true"]).exits(255);
        assert!(done.stderr.ends_with("Host key verification failed.\n"), "{done:?}");
    }
    // A server that would take a password, and one that has never heard of ours.
    let only = [batch, "-oPubkeyAuthentication=no", "box", "true"];
    let denied = same(&place, &known, &only).exits(255);
    let words = "root@127.0.0.1: Permission denied (publickey,password).\n";
    assert_eq!(denied.stderr, words);
    let nobody =
        [batch, "-oIdentityFile=none", "-oIdentitiesOnly=yes", "-l", "no-such-user", "box", "true"];
    same(&place, &known, &nobody).exits(255);
    // A key that is locked, alone and after one that is not there, though it would do.
    for args in [&[batch, "locked", "true"][..], &[batch, "-i", "/nonexistent", "locked", "true"]] {
        let denied = same(&place, &known, args).exits(255);
        assert!(denied.stderr.ends_with(words), "{denied:?}");
        assert!(!denied.stderr.contains("passphrase"), "{denied:?}");
    }
    // What is right is not said anything about; with -q nothing is.
    let done = same(&place, &known, &[batch, "box", "echo", "in"]).exits(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
    for (known, args) in [("", &["-oStrictHostKeyChecking=ask"][..]), (&known, &only[1..2])] {
        let args = [&["-q", batch], args, &["box", "true"]].concat();
        assert_eq!(same(&place, known, &args).exits(255).stderr, "");
    }
}

/// What expect(1) does, by its port to Python: waits for words, answers, and prints all
/// that was said and the status.
const EXPECT: &str = r#"
import sys, pexpect
ssh, config, *rest = sys.argv[1:]
answers, args = rest[:rest.index("--")], rest[rest.index("--") + 1:]
child = pexpect.spawn(ssh, ["-F", config] + args, timeout=30, encoding="utf-8")
said = ""
for words, answer in zip(answers[::2], answers[1::2]):
    child.expect_exact(words)
    said += child.before + child.after
    # As people do, and when nothing is echoed that should not be.
    child.sendline(answer)
child.expect(pexpect.EOF)
said += child.before
child.close()
sys.stdout.write(said.replace("\r", ""))
print("status", child.exitstatus, child.signalstatus)
"#;

#[test]
fn expect_hears_the_same_questions_and_ends_the_same() {
    let account = Account::new("ccexpect");
    let place = with_locked();
    let known = known(&place);
    let script = place.home.write("expect.py", EXPECT);
    let config = place.home.path("home/.ssh/config");
    let talk = |known: &str, answers: &[&str], args: &[&str]| {
        let run = |ssh: &str| {
            place.home.write("home/.ssh/known_hosts", known);
            let fixed = [script.to_str().unwrap(), ssh, config.to_str().unwrap()];
            let args = [&fixed[..], answers, &["--"], args].concat();
            let mut command = place.command("/usr/bin/python3", &args);
            let done = wait(start(command.env("TERM", "dumb"), "python3-pexpect"));
            let done = Run::of(done).exits(0);
            (done.text(), place.home.read("home/.ssh/known_hosts"))
        };
        let (ours, theirs) = (run(&place.ours()), run(THEIRS));
        assert_eq!(ours, theirs, "{answers:?} {args:?}");
        ours.0
    };
    let ask = ["-oStrictHostKeyChecking=ask", "box", "echo", "in"];
    // "no" to the host key.
    let sure = "(yes/no";
    let said = talk("", &[sure, "no"], &ask);
    assert!(said.ends_with("\nHost key verification failed.\nstatus 255 None\n"), "{said}");
    let said = talk("", &[sure, "yes"], &ask);
    assert!(said.ends_with("in\nstatus 0 None\n"), "{said}");
    // A wrong password, then the right one; wrong ones alone.
    let login = ["-oPubkeyAuthentication=no", "-l", &account.name, "box", "echo", "in"];
    let password = "assword:";
    let said = talk(&known, &[password, "wrong", password, &account.password], &login);
    assert!(said.contains("Permission denied, please try again."), "{said}");
    assert!(said.ends_with("\nin\nstatus 0 None\n"), "{said}");
    let said = talk(&known, &[password, "1", password, "2", password, ""], &login);
    let denied = "Permission denied (publickey,password).\nstatus 255 None\n";
    assert!(said.ends_with(denied), "{said}");
    // A passphrase: wrong, and none at all.
    let key = ["-oPasswordAuthentication=no", "locked", "echo", "in"];
    let phrase = "Enter passphrase for key";
    let said = talk(&known, &[phrase, "1", phrase, "2", phrase, "3"], &key);
    assert!(said.ends_with("status 255 None\n"), "{said}");
    let once = [&["-oNumberOfPasswordPrompts=1"], &key[..]].concat();
    let said = talk(&known, &[phrase, "1"], &once);
    assert!(said.ends_with("status 255 None\n"), "{said}");
    let said = talk(&known, &[phrase, ""], &key);
    assert!(said.ends_with("status 255 None\n"), "{said}");
    let said = talk(&known, &[phrase, "wrong", phrase, "secret"], &key);
    assert!(said.ends_with("\nin\nstatus 0 None\n"), "{said}");
}

/// What TRAMP does (tramp.el, tramp-sh.el): a local shell becomes ssh; prompts are told by
/// its regular expressions; then the remote shell gets a prompt that nothing else has, and
/// files go through it.
const TRAMP: &str = r#"
import re, sys, base64, pexpect
ssh, config, user, password, *method = sys.argv[1:]
yesno = r"Are you sure you want to continue connecting \(yes/no(/\[fingerprint\])?\)\?\s*"
asked = r"(?i)[^\r\n]*(password|passphrase|passcode|verification code)[^\r\n:]*:\0? *$"
wrong = r"(?i)[^\n]*(permission denied|login incorrect|connection refused|host key verification failed)[^\n]*"
shell = r"(^|[\r\n])[^#$%>\r\n]*[#$%>] *$"
child = pexpect.spawn("/bin/sh", ["-i"], timeout=30, encoding="utf-8", dimensions=(24, 80))
child.expect(r"[#$] $")
# Its own prompt must not be taken for the remote one.
child.sendline("PS1='local> '; stty -echo")
child.expect("local> $")
child.sendline(" ".join(["exec", ssh, "-F", config, "-l", user] + method))
steps = []
while True:
    at = child.expect([yesno, asked, wrong, shell, pexpect.EOF])
    steps.append(["yesno", "password", "wrong", "shell", "end"][at])
    if at == 0: child.sendline("yes")
    if at == 1: child.sendline(password)
    if at == 2: continue
    if at >= 3: break
if steps[-1] == "shell":
    mark = "///4b3b7d4fa561141e84c94a1cf25e8575#$"
    end = re.escape(mark) + " ?$"
    child.sendline("exec env ENV='' HISTFILE=/dev/null PROMPT_COMMAND='' PS1='" + mark.replace("///", "//''/") + "' PS2='' PS3='' /bin/sh -i")
    child.expect(end)
    def send(text):
        child.sendline(text)
        child.expect(end)
        return child.before.replace("\r", "")
    send("stty -inlcr -onlcr -echo kill '^U' erase '^H'")
    steps.append(send("echo \"`uname -s` $TERM\"").strip())
    steps.append("tty" if send("tty").startswith("/dev/pts/") else "no tty")
    data = bytes(range(256)) * 64
    text = base64.encodebytes(data).decode()
    child.sendline("base64 -d > tramp-file <<'EOF'")
    for line in text.splitlines(): child.sendline(line)
    child.sendline("EOF")
    child.expect(end)
    back = send("base64 < tramp-file; rm tramp-file")
    steps.append("same" if base64.b64decode("".join(back.split())) == data else "other")
    steps.append(send("false; echo tramp_exit_status $?").strip())
    # No character begins an escape with -e none.
    for typed in ["", "~.", "~?"]: send(typed)
    steps.append(send("echo still").strip())
    child.sendline("exit")
    child.expect(pexpect.EOF)
child.close()
print(steps, child.exitstatus)
"#;

#[test]
fn tramp_logs_in_and_moves_a_file() {
    let account = Account::new("cctramp");
    let place = Place::shared(PASSWORDS);
    println!("{}", run("ssh", &["-V"], "openssh-client"));
    let script = place.home.write("tramp.py", TRAMP);
    let config = place.home.path("home/.ssh/config");
    let text = place.home.read("home/.ssh/config").replace("accept-new", "ask");
    place.home.write("home/.ssh/config", text + "  PubkeyAuthentication no\n");
    let socket = place.home.path("tramp.%C").display().to_string();
    let talk = |known: &str, password: &str, method: &[&str]| {
        let run = |ssh: &str| {
            place.home.write("home/.ssh/known_hosts", known);
            let fixed = [script.to_str().unwrap(), ssh, config.to_str().unwrap()];
            let args = [&fixed[..], &[&account.name, password], method].concat();
            let mut command: Command = place.command("/usr/bin/python3", &args);
            let done = wait(start(command.env("TERM", "dumb"), "python3-pexpect"));
            Run::of(done).exits(0).text()
        };
        let (ours, theirs) = (run(&place.ours()), run(THEIRS));
        assert_eq!(ours, theirs, "{method:?}");
        ours
    };
    let known = known(&place);
    let done = "'Linux dumb', 'tty', 'same', 'tramp_exit_status 1', 'still'";
    let control = format!("-oControlPath='{socket}'");
    for method in [
        // Its methods "ssh" and "sshx", older and newer, with and without sharing.
        &["-e", "none", "box"][..],
        &["-e", "none", "-t", "-t", "box", "/bin/sh"],
        &["-e", "none", "-t", "-t", "-oRemoteCommand='/bin/sh -l'", "box"],
        &["-oControlMaster=auto", &control, "-oControlPersist=no", "-e", "none", "box"],
    ] {
        let said = talk("", &account.password, method);
        let expected = format!("['yesno', 'password', 'shell', {done}] 0\n");
        assert_eq!(said, expected, "{method:?}");
    }
    let method = ["-e", "none", "-t", "-t", "box", "/bin/sh"];
    let said = talk(&known, &account.password, &method);
    assert_eq!(said, format!("['password', 'shell', {done}] 0\n"));
    let said = talk(&known, "wrong", &method);
    let steps = "'password', 'wrong', 'password', 'wrong', 'password', 'wrong', 'end'";
    assert_eq!(said, format!("[{steps}] 255\n"));
}
