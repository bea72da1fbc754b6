//! `vars` and `ssh` where secrets come from elsewhere than the clan's own
//! stores: passage, a plugin of age, a machine of the clan.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Home, Run, Terminal, run, signal, sshd, start, until, wait};
use serde_json::{Value, json};

/// A new identity of age at `name`; returns its public key.
pub fn identity(home: &Home, name: &str) -> String {
    let path = home.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    run("age-keygen", &["-o", path.to_str().unwrap()], "age");
    run("age-keygen", &["-y", path.to_str().unwrap()], "age").trim().to_owned()
}

pub fn seal(home: &Home, recipient: &str, plain: &str, to: &str) {
    let plain = home.write("plain", plain);
    home.write(to, "");
    let (to, from) = (home.path(to), plain.to_str().unwrap().to_owned());
    run("age", &["-r", recipient, "-o", to.to_str().unwrap(), &from], "age");
}

#[test]
fn entries_of_passage_open_and_those_of_pass_say_what_to_do() {
    let home = Home::new();
    home.write("clan/.clan-flake", "");
    let public = identity(&home, "home/.passage/identities");
    let store = "home/.passage/store/clan-vars";
    seal(&home, &public, "of m", &format!("{store}/per-machine/m/g/f.age"));
    seal(&home, &public, "of all", &format!("{store}/shared/g/s.age"));
    home.write("home/.password-store/clan-vars/per-machine/m/g/old.gpg", "x");
    let get = |var: &str| home.run(&["--flake", "clan", "vars", "get", "m", var]);
    assert_eq!(get("g/f").exits(0).text(), "of m");
    assert_eq!(get("g/s").exits(0).text(), "of all");
    get("g/old").exits(1).says(&["encrypted by GPG", ".password-store", "passage"]);
    let moved = home.path("elsewhere");
    fs::rename(home.path("home/.passage"), &moved).unwrap();
    let env = [
        ("PASSAGE_DIR", moved.join("store")),
        ("PASSAGE_IDENTITIES_FILE", moved.join("identities")),
    ];
    let env = env.each_ref().map(|(name, path)| (*name, path.to_str().unwrap()));
    let args = ["--flake", "clan", "vars", "get", "m", "g/f"];
    assert_eq!(home.run_with_env(&args, &env).exits(0).text(), "of m");
}

#[test]
fn vars_list_shows_public_values_and_who_keeps_the_others() {
    let home = Home::new();
    let public = identity(&home, "home/.config/age/identities");
    let stranger = identity(&home, "stranger");
    home.write("clan/vars/per-machine/m/openssh/ssh.id_ed25519.pub/value", "ssh-ed25519 AAAA\n");
    home.write("clan/vars/shared/text/lines/value", "one\ntwo\n");
    home.write("clan/vars/shared/text/bytes/value", [0xff, 0]);
    let dir = "clan/secrets/clan-vars";
    seal(&home, &public, "x", &format!("{dir}/per-machine/m/tor_tor/hostname/hostname.age"));
    seal(&home, &stranger, "x", &format!("{dir}/shared/other/key/key.age"));
    home.write("clan/secrets/clan-vars/per-machine/else/g/f/f.age", "x");
    let done = home.run(&["--flake", "clan", "vars", "list", "m"]).exits(0);
    assert_eq!(
        done.text().lines().collect::<Vec<_>>(),
        [
            "openssh/ssh.id_ed25519.pub  ssh-ed25519 AAAA",
            "other/key                   <secret: age, shared; none of your keys opens it, and the \
             clan has no key of \"m\" that could>",
            "text/bytes                  <2 bytes, not text>",
            "text/lines                  one …",
            "tor_tor/hostname            <secret: age>",
        ]
    );
    let done = home.run(&["--flake", "clan", "vars", "list", "m", "--json"]).exits(0);
    let rows: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(rows[0]["value"], "ssh-ed25519 AAAA\n");
    assert_eq!(rows[2]["value_base64"], "/wA=");
    let hostname = json!({
        "generator": "tor_tor", "file": "hostname", "shared": false, "counts": true,
        "secret": true, "store": "age", "opens": true, "reason": null,
    });
    assert_eq!((&rows[4], rows[1]["opens"].as_bool()), (&hostname, Some(false)));
    home.run(&["--flake", "clan", "vars", "list", "../m"]).exits(1).says(&["slash"]);
}

/// A plugin that knows one secret word: it takes any stanza of its own type
/// and gives the file key back, which stands in it in the clear, if the user
/// types the word (C2SP age-plugin).
const PLUGIN: &str = r#"#!/usr/bin/env python3
import base64, os, sys
def read():
    line = sys.stdin.readline().rstrip("\n")
    assert line.startswith("-> "), line
    words, body = line[3:].split(" "), ""
    while True:
        part = sys.stdin.readline().rstrip("\n")
        body += part
        if len(part) < 64:
            return words, base64.b64decode(body + "=" * (-len(body) % 4))
def write(words, body=b""):
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[at:at + 64] for at in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64:
        lines.append("")
    sys.stdout.write("-> " + words + "\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()
assert sys.argv[1] == "--age-plugin=identity-v1", sys.argv
key = None
while True:
    words, body = read()
    if words[0] == "recipient-stanza" and words[2] == "test":
        key = body
    if words[0] == "done":
        break
write("msg", b"touch it \x1b[31m")
assert read()[0][0] == "ok"
write("request-secret", b"PIN of the test")
words, pin = read()
if key is not None and words[0] == "ok" and pin == b"1234":
    write("file-key 0", key)
    read()
write("done")
"#;

#[test]
fn a_plugin_of_age_is_started_and_asks_on_the_terminal() {
    let home = Home::new();
    home.write("clan/.clan-flake", "");
    let plugin = home.script("bin/age-plugin-test", PLUGIN);
    let path = format!("{}:/usr/bin:/bin", home.path("bin").display());
    let name = age::plugin::Identity::default_for_plugin("test").to_string();
    home.write("home/.config/age/identities", format!("# a token\n{name}\n"));
    let var = "clan/secrets/clan-vars/per-machine/m/g/f/f.age";
    home.write(var, age::encrypt(&InTheClear, b"by token").unwrap());
    let args = ["--flake", "clan", "vars", "get", "m", "g/f"];
    let mut terminal = Terminal::start(&home, &args, 80, 24, &[("PATH", &path)]);
    terminal.expect("touch it");
    terminal.expect("PIN of the test: ");
    terminal.send("1234\r");
    terminal.expect("by token");
    assert_eq!(terminal.exit_code(), Some(0));
    assert!(!terminal.text().contains('\x1b') && !terminal.text().contains("1234"));
    // Nobody to ask; no such program.
    home.run_with_env(&args, &[("PATH", &path)]).exits(1).says(&["cannot decrypt"]);
    home.run(&args).exits(1).says(&["age-plugin-test is not in the path"]);
    // A list asks nobody, and starts nothing.
    fs::write(&plugin, "#!/bin/sh\ntouch started\n").unwrap();
    let args = ["--flake", "clan", "vars", "list", "m"];
    home.run_with_env(&args, &[("PATH", &path)]).exits(0);
    assert!(!home.path("started").exists());
}

/// A plugin that never answers, or never stops talking.
#[test]
fn a_plugin_of_age_is_bounded_and_ends_with_us() {
    let home = Home::new();
    home.write("clan/.clan-flake", "");
    let path = format!("{}:/usr/bin:/bin", home.path("bin").display());
    let name = age::plugin::Identity::default_for_plugin("test").to_string();
    home.write("home/.config/age/identities", format!("{name}\n"));
    home.write(
        "clan/secrets/clan-vars/per-machine/m/g/f/f.age",
        age::encrypt(&InTheClear, b"by token").unwrap(),
    );
    let args = ["--flake", "clan", "vars", "get", "m", "g/f"];
    home.script("bin/age-plugin-test", "#!/bin/sh\nexec cat /dev/zero\n");
    // In less memory than it would need otherwise.
    let mut command = home.command_with(&["prlimit", "--as=2000000000"], &args);
    let done = Run::of(wait(start(command.env("PATH", &path), "util-linux")));
    done.exits(1).says(&["age-plugin-test failed", "cannot decrypt"]);
    home.script("bin/age-plugin-test", "#!/bin/sh\necho $$ >pid\nexec sleep 1000\n");
    let child = start(home.command(&args).env("PATH", &path), "util-linux");
    let is_there = || fs::read_to_string(home.path("pid")).is_ok_and(|pid| pid.ends_with('\n'));
    until("the plugin", is_there);
    let pid: i32 = home.read("pid").trim().parse().unwrap();
    signal(i32::try_from(child.id()).unwrap(), rustix::process::Signal::TERM);
    assert_eq!(Run::of(wait(child)).code, Some(143));
    until("its end", || !fs::exists(format!("/proc/{pid}")).unwrap());
}

/// A recipient whose stanza holds the file key as it is.
struct InTheClear;

impl age::Recipient for InTheClear {
    fn wrap_file_key(
        &self,
        key: &age_core::format::FileKey,
    ) -> Result<(Vec<age_core::format::Stanza>, std::collections::HashSet<String>), age::EncryptError>
    {
        use age_core::secrecy::ExposeSecret;
        let body = key.expose_secret().to_vec();
        let stanza = age_core::format::Stanza { tag: "test".into(), args: vec!["x".into()], body };
        Ok((vec![stanza], Default::default()))
    }
}

/// Our binary in a root of its own: a machine of the clan.
pub fn on_machine(home: &Home, args: &[&str]) -> Run {
    assert!(rustix::process::geteuid().is_root(), "only root can chroot");
    if !home.path("root/clan-connect").exists() {
        run("cp", &[BINARY, home.path("root/clan-connect").to_str().unwrap()], "coreutils");
    }
    let mut command = Command::new("/usr/sbin/chroot");
    command
        .arg(home.path("root"))
        .arg("/clan-connect")
        .args(args)
        .env_clear()
        .env("HOME", "/root")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let done = wait(start(&mut command, "coreutils"));
    Run {
        code: done.status.code(),
        stdout: done.stdout,
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

#[test]
fn a_machine_reaches_another_with_exports_and_what_it_was_given() {
    let home = Home::new();
    let key = home.keygen("root/root/.ssh/id_ed25519", "ed25519", "");
    let server = sshd(&home, "127.0.0.1", home.read("root/root/.ssh/id_ed25519.pub").trim(), "");
    assert!(key.exists());
    let var = json!({ "machine": "other", "generator": "tor_tor", "file": "hostname" });
    let exports = json!({
        "net": { "priority": 1, "peers": { "other": {
            "host": { "var": var }, "port": server.address.port(),
        } } },
    });
    home.write("root/exports.json", exports.to_string());
    let ssh = ["--exports", "/exports.json", "ssh", "other", "-c", "echo", "hi"];
    on_machine(&home, &ssh).exits(255).says(&["the clan it belongs to is not here"]);
    // As sops-nix deploys it, which links /run/secrets to a generation.
    home.write("root/run/secrets.d/1/vars/shared/tor_tor/hostname", "127.0.0.1\n");
    std::os::unix::fs::symlink("secrets.d/1", home.path("root/run/secrets")).unwrap();
    let done = on_machine(&home, &ssh).exits(0);
    assert_eq!(done.text(), "hi\n");
    assert!(!done.stderr.contains("127.0.0.1"), "{}", done.stderr);
    // Not deployed, but the clan is here, and so is the machine's own key.
    fs::remove_dir_all(home.path("root/run/secrets.d")).unwrap();
    let public = identity(&home, "root/etc/secret-vars/key.txt");
    let clan = "root/clan/secrets/clan-vars/per-machine/other/tor_tor/hostname/hostname.age";
    seal(&home, &public, "127.0.0.1\n", clan);
    on_machine(&home, &[&["--flake", "/clan"], &ssh[..]].concat()).exits(0);
}
